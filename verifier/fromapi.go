package verifier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
	"github.com/thewalletcrew/walletcrew-go/internal/guard"
)

// How often FromAPI looks.
const (
	looksAtOnce  = 5                // besides the first
	lookEvery    = 30 * time.Second // then
	pauseAfter   = time.Second      // after a look that failed; or what the API asks for,
	longestPause = 10 * time.Minute // but no longer
	lookTimeout  = 10 * time.Second
	together     = 100 * time.Millisecond // a look that began so shortly before counts as new; after that, a webhook may have been made
	reviewAfter  = 10 * time.Minute       // then the list is looked at again; a delivery waits for that
	staleAfter   = 20 * time.Minute       // from then on,
	staleWait    = 3 * time.Second        // but no longer
)

// FromAPI is a SecretSource that reads the secrets from the management API: those of all webhooks of the client's tenant,
// disabled ones included, whatever tenant the delivery's header names. The key needs the scope Webhook.Read.
//
// Anybody who has the secret of one of the tenant's webhooks can sign for this endpoint, too. With [ForEndpoint], only the
// secrets of this endpoint's webhooks count.
//
// FromAPI lists the webhooks when the first delivery comes, and keeps their secrets in memory. From then on:
//
//   - If no secret fits, it lists again. It does so at most 5 times in a row and then once each 30 seconds, because anybody can
//     send a signature that doesn't fit. For that long, the deliveries of a new webhook may be refused (401). Concurrent
//     deliveries share one call.
//   - If a call fails, it makes no other for a second, or for as long as the API asks with Retry-After, but 10 minutes at most. A
//     failed call isn't one of the 5. The secrets that it has stay in use. If it never had any, deliveries get
//     [ErrSecretsUnavailable] (503).
//   - If the list is over 10 minutes old when a delivery comes, it lists again in the background. So the secret of a deleted
//     webhook is refused in the end. If the list is over 20 minutes old, the delivery waits for the new one, but 3 seconds at
//     most, and only while calls to the API succeed.
//   - If the list can't be read to its end ([walletcrew.ErrListIncomplete]), it uses the secrets that it could read.
func FromAPI(client *walletcrew.Client, opts ...APIOption) SecretSource {
	s := &apiSource{client: client, tokens: rate.NewLimiter(rate.Every(lookEvery), looksAtOnce)}
	for _, opt := range opts {
		if opt != nil {
			opt(s)
		}
	}
	return s
}

// An APIOption is passed to [FromAPI].
type APIOption func(*apiSource)

// ForEndpoint takes only the secrets of webhooks with this endpoint, so that no other endpoint's owner can sign for this one. Two
// spellings of a URL are one endpoint if they have the same normal form (RFC 3986, 6.2.2), as in
// [walletcrew.WebhooksService.Ensure]. An empty URL is an error of [New].
func ForEndpoint(url string) APIOption { return func(s *apiSource) { s.endpoint = &url } }

type apiSource struct {
	client   *walletcrew.Client
	endpoint *string       // nil for all
	tokens   *rate.Limiter // of looks after the first; one that failed costs none

	mu       sync.Mutex
	secrets  func() []walletcrew.Secret // nil before the first list; a closure, so that fmt can't print them
	listed   time.Time
	under    chan struct{} // closed when the look under way has ended; nil if there is none
	lookedAt time.Time     // when the last look began
	failure  error         // of the last look
	pause    time.Time     // its end
}

func (s *apiSource) check() error {
	switch {
	case s.client == nil:
		return errors.New("verifier: FromAPI: the client is nil")
	case s.endpoint != nil && *s.endpoint == "":
		return errors.New("verifier: FromAPI: the endpoint is empty")
	}
	return nil
}

func (s *apiSource) scope() string { return tenantScope(s.client.TenantID()) }

// Format writes the same whatever the verb.
func (s *apiSource) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "verifier.FromAPI(...)") }

func (s *apiSource) Secrets(ctx context.Context, _ string) ([]walletcrew.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch age := time.Since(s.listed); {
	case s.secrets == nil:
		return s.await(ctx)
	case age > staleAfter && s.failure == nil:
		brief, cancel := context.WithTimeout(ctx, staleWait)
		defer cancel()
		if secrets, err := s.await(brief); err == nil || ctx.Err() != nil {
			return secrets, err
		}
	case age > reviewAfter:
		s.look()
	}
	return s.secrets(), nil
}

// Refresh looks again if it may, and returns what is known then.
func (s *apiSource) Refresh(ctx context.Context, _ string) ([]walletcrew.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secrets != nil && s.under == nil && s.exhausted() {
		return s.secrets(), nil
	}
	return s.await(ctx)
}

func (s *apiSource) exhausted() bool { return s.tokens.Tokens() < 1 }

// current reports whether what is known is as new as somebody can have it who asked then.
func (s *apiSource) current(_ context.Context, _ string, asked time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.lookedAt.Before(asked.Add(-together)) || s.under == nil && (s.exhausted() || time.Now().Before(s.pause))
}

func (s *apiSource) explain(_ context.Context, _ string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch age := time.Since(s.listed).Round(time.Second); {
	case errors.Is(err, ErrUnknownTenant) && s.endpoint != nil: // whatever tenant the header names
		return fmt.Errorf("%w: the client's own has no webhook, or none yet, with the endpoint of ForEndpoint", err)
	case errors.Is(err, ErrUnknownTenant):
		return fmt.Errorf("%w: the client's own has no webhook, or none yet", err)
	case s.failure != nil:
		return fmt.Errorf("%w, or the webhook is newer than the list, which is %v old and can't be had now: %w", err, age, s.failure)
	case s.exhausted():
		return fmt.Errorf("%w, or the webhook is newer than the list, which is %v old: so many didn't fit that FromAPI looks only once each %v", err, age, lookEvery)
	}
	return err
}

// await waits for a look, if it may look, and returns what is known then. S.mu is held, and let go meanwhile.
func (s *apiSource) await(ctx context.Context) ([]walletcrew.Secret, error) {
	if ended := s.look(); ended != nil {
		s.mu.Unlock()
		select {
		case <-ended:
			s.mu.Lock()
		case <-ctx.Done():
			s.mu.Lock()
			return nil, ctx.Err()
		}
	}
	if s.secrets == nil {
		return nil, s.failure
	}
	return s.secrets(), nil
}

// look returns the look under way, or begins one; nil during a pause. It belongs to no delivery, and takes nothing of the context of
// the one that asked for it. S.mu is held.
func (s *apiSource) look() chan struct{} {
	if s.under != nil || time.Now().Before(s.pause) {
		return s.under
	}
	ended := make(chan struct{})
	s.under, s.lookedAt = ended, time.Now()
	go func() {
		defer close(ended)
		var secrets []walletcrew.Secret
		err := errors.New("verifier: FromAPI: the client ended its goroutine")
		defer func() { s.end(secrets, err) }() // also after a runtime.Goexit
		ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
		defer cancel()
		err = guard.Call("the API's client", func() (err error) {
			secrets, err = s.list(ctx)
			return err
		})
		if guard.Of(err) != nil { // the client's, and not the source's
			err = fmt.Errorf("verifier: FromAPI: %w", err)
		}
	}()
	return ended
}

// end takes in what a look has found.
func (s *apiSource) end(secrets []walletcrew.Secret, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.under, s.failure = nil, err
	if err != nil {
		pause := pauseAfter
		if api, ok := errors.AsType[*walletcrew.APIError](err); ok {
			pause = max(pause, min(api.RetryAfter, longestPause))
		}
		s.pause = time.Now().Add(pause)
		return
	}
	if s.secrets != nil {
		s.tokens.Allow()
	}
	s.listed, s.secrets = time.Now(), func() []walletcrew.Secret { return secrets }
}

func (s *apiSource) list(ctx context.Context) ([]walletcrew.Secret, error) {
	var secrets []walletcrew.Secret
	seen := map[walletcrew.Secret]bool{"": true}
	for w, err := range s.client.Webhooks.All(ctx, nil) {
		if errors.Is(err, walletcrew.ErrListIncomplete) {
			break // a delivery signed with one that was read is accepted; the client has logged what is wrong
		}
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
