package verifier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
)

// How often FromAPI looks.
const (
	looksAtOnce  = 5                // tokens at most, and at start
	lookEvery    = 30 * time.Second // one more token
	pauseAfter   = time.Second      // after a look that failed
	longestPause = 10 * time.Minute
	lookTimeout  = 10 * time.Second
	together     = 100 * time.Millisecond // who asks so soon after a look began shares it; later, a webhook may have been made since
	reviewSecret = 10 * time.Minute       // a cached list is looked at again, so that a deleted webhook's secret stops to be accepted
	staleSecret  = 2 * reviewSecret       // and from then on a delivery waits for that look,
	staleWait    = 3 * time.Second        // but no longer than this
)

// FromAPI is a SecretSource of the secrets of the webhooks of the client's tenant, disabled ones included, whatever tenant the
// delivery's header names: of all of them, so that who runs another endpoint of the tenant, and has its secret, can sign for this
// one too; [ForEndpoint] takes only this one's. The key needs the scope Webhook.Read.
//
// It lists the webhooks when the first delivery comes, and keeps their secrets in memory. When no secret fits, it lists again,
// so that a webhook made a moment ago is found; since anyone can send what doesn't fit, it does so at most 5 times in a row and
// then once each 30 seconds, so that a new webhook's deliveries may be refused (401) for that long; concurrent deliveries share one
// call. A call that failed doesn't count, but is followed by a pause
// of a second, or of what the API asks for with Retry-After (10 minutes at most).
//
// It also lists anew when a delivery comes and the list is over 10 minutes old, so that the secret of a webhook that was deleted
// comes to be refused: in the background, or, where the list is over 20 minutes old, before that delivery is checked, which waits 3
// seconds at most and only while the API is well.
//
// While the API can't be reached, the secrets it has go on to serve. Where it never had any, deliveries are answered with
// [ErrSecretsUnavailable] (503).
func FromAPI(client *walletcrew.Client, opts ...APIOption) SecretSource {
	s := &apiSource{tokens: looksAtOnce, secrets: func() []walletcrew.Secret { return nil }}
	for _, opt := range opts {
		opt(s)
	}
	if client != nil {
		s.tenant = client.TenantID()
		s.list = func(ctx context.Context) ([]walletcrew.Secret, error) {
			var secrets []walletcrew.Secret
			seen := map[walletcrew.Secret]bool{"": true}
			for w, err := range client.Webhooks.All(ctx, nil) {
				if err != nil {
					return nil, err
				}
				if !seen[w.SignatureSecret] && (s.endpoint == nil || endpoint.Same(w.Endpoint, *s.endpoint)) {
					seen[w.SignatureSecret] = true
					secrets = append(secrets, w.SignatureSecret)
				}
			}
			return secrets, nil
		}
	}
	return s
}

// An APIOption is passed to [FromAPI].
type APIOption func(*apiSource)

// ForEndpoint takes only the secrets of webhooks with this endpoint, as [walletcrew.WebhooksService.Ensure] knows it: a URL whose
// host ignores case. Then no other endpoint's owner can sign for this one. An empty URL is an error of [New].
func ForEndpoint(url string) APIOption { return func(s *apiSource) { s.endpoint = &url } }

type apiSource struct {
	tenant   string
	endpoint *string // nil for all
	list     func(context.Context) ([]walletcrew.Secret, error)

	mu       sync.Mutex
	loaded   bool
	loadedAt time.Time
	secrets  func() []walletcrew.Secret // a closure, so that fmt can't print them; the slice is never changed
	under    look                       // the look under way; nil where there is none
	lookedAt time.Time                  // when the last look began
	tokens   int
	filledAt time.Time // when the last token was added; zero while there are as many as can be
	failedAt time.Time
	failure  error
}

// A look is one call of the API, shared by all who ask meanwhile; closed when it has ended.
type look chan struct{}

// Format writes the same whatever the verb.
func (s *apiSource) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "verifier.FromAPI(...)") }

func (s *apiSource) Secrets(ctx context.Context, _ string) ([]walletcrew.Secret, error) {
	s.mu.Lock()
	if !s.loaded {
		return s.await(ctx)
	}
	age := time.Since(s.loadedAt)
	if age > staleSecret && s.failure == nil {
		return s.awaitBriefly(ctx)
	}
	defer s.mu.Unlock()
	if age > reviewSecret && s.under == nil && !s.pausing() {
		s.start()
	}
	return s.secrets(), nil
}

// awaitBriefly is await, but goes on with what is known where the look takes long.
func (s *apiSource) awaitBriefly(ctx context.Context) ([]walletcrew.Secret, error) {
	wait, cancel := context.WithTimeout(ctx, staleWait)
	defer cancel()
	secrets, err := s.await(wait)
	if err == nil || ctx.Err() != nil {
		return secrets, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known()
}

// Refresh looks again if it may, and returns what is known then.
func (s *apiSource) Refresh(ctx context.Context, _ string) ([]walletcrew.Secret, error) {
	s.mu.Lock()
	if s.loaded && s.under == nil && !s.pausing() {
		s.fill()
		if s.tokens == 0 {
			defer s.mu.Unlock()
			return s.secrets(), nil
		}
	}
	return s.await(ctx)
}

// doubt says why a secret that fits may be missing from what is known; "" where it is as new as can be.
func (s *apiSource) doubt() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch age := time.Since(s.loadedAt).Round(time.Second); {
	case s.failure != nil:
		return fmt.Sprintf("or the webhook is newer than the list, which is %v old and can't be had now: %v", age, s.failure)
	case s.tokens == 0:
		return fmt.Sprintf("or the webhook is newer than the list, which is %v old: so many didn't fit that FromAPI looks only once each %v", age, lookEvery)
	}
	return ""
}

// lastLook is when the last look began.
func (s *apiSource) lastLook() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookedAt
}

// await waits for a look, starting one if it may; s.mu is held, and released on return.
func (s *apiSource) await(ctx context.Context) ([]walletcrew.Secret, error) {
	if s.under == nil && s.pausing() {
		defer s.mu.Unlock()
		return s.known()
	}
	l := s.under
	if l == nil {
		l = s.start()
	}
	s.mu.Unlock()
	select {
	case <-l:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known()
}

func (s *apiSource) known() ([]walletcrew.Secret, error) {
	if !s.loaded {
		return nil, s.failure
	}
	return s.secrets(), nil
}

func (s *apiSource) pausing() bool {
	if s.failure == nil {
		return false
	}
	pause := pauseAfter
	if api, ok := errors.AsType[*walletcrew.APIError](s.failure); ok {
		pause = max(pause, min(api.RetryAfter, longestPause))
	}
	return time.Since(s.failedAt) < pause
}

// start begins a look; s.mu is held. The look belongs to no delivery: it takes nothing of the context of the one that asked for it,
// which may be used again when that has been answered.
func (s *apiSource) start() look {
	l := make(look)
	s.under = l
	s.lookedAt = time.Now()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
		defer cancel()
		var secrets []walletcrew.Secret
		err := errors.New("verifier: FromAPI: the client ended its goroutine")
		defer func() { // also after a runtime.Goexit
			s.mu.Lock()
			defer s.mu.Unlock()
			s.end(secrets, err)
			close(l)
		}()
		err = guard("the API's client", func() (err error) {
			secrets, err = s.list(ctx)
			return err
		})
	}()
	return l
}

// end takes in what a look has found; s.mu is held.
func (s *apiSource) end(secrets []walletcrew.Secret, err error) {
	s.under = nil
	s.failure = err
	if err != nil {
		s.failedAt = time.Now()
		return
	}
	if s.loaded {
		s.take()
	}
	s.loaded, s.loadedAt = true, time.Now()
	s.secrets = func() []walletcrew.Secret { return secrets }
}

// fill adds the tokens that time has brought.
func (s *apiSource) fill() {
	if s.filledAt.IsZero() {
		return
	}
	for s.tokens < looksAtOnce && time.Since(s.filledAt) >= lookEvery {
		s.tokens++
		s.filledAt = s.filledAt.Add(lookEvery)
	}
	if s.tokens == looksAtOnce {
		s.filledAt = time.Time{}
	}
}

func (s *apiSource) take() {
	s.fill()
	s.tokens = max(0, s.tokens-1)
	if s.filledAt.IsZero() {
		s.filledAt = time.Now()
	}
}
