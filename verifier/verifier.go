package verifier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A Verifier decides whether a delivery is the platform's. Make it with [New]; it is safe for concurrent use.
//
// Only the body is signed. The event name and the tenant in the headers aren't, so an attacker who has captured one delivery can
// send its body again under other headers:
//
//   - Another event name: refused with [ErrEventNameMismatch] where the body names the event itself ("__eventName", which isn't
//     documented). Where it doesn't, the name in the header is all there is, and a captured Pass:Installed could come as a
//     Pass:Uninstalled. Its "__id" is still the same: with a receiver.Deduper, an event that was handled isn't handled again under
//     another name. (And one that wasn't handled yet is used up by a delivery under a name that your function acknowledges.)
//   - Another tenant: with [SecretFunc] the secret must be one of that tenant's, so it is refused unless tenants share a secret
//     (don't). With [Static] and [FromAPI] nothing vouches for the tenant's name: Event.TenantID is what the sender wrote; don't
//     choose a customer's data by it. Deduplication doesn't rely on it.
//   - The same once more, at any time: nothing in a delivery that is documented says when it was signed. Deduplicate.
//
// He can't change one bit of the body, and can't make a delivery of his own.
type Verifier struct {
	source       SecretSource
	maxBodyBytes int64

	// What the source can do besides; nil if it can't.
	matches func(body []byte, sig walletcrew.Signature) bool // of fixed secrets; a closure, so that fmt can't print the keys
	refresh func(ctx context.Context, tenantID string) ([]walletcrew.Secret, error)
	current func(asked time.Time) bool
	explain func(err error) error

	scope  func(tenantID string, fitted walletcrew.Secret) string
	doubts []string
}

// An Option is passed to [New].
type Option func(*Verifier) error

const (
	defaultMaxBodyBytes = 1 << 20
	maxTenantBytes      = 256 // what a source is asked for: anybody can write anything into the header
)

// WithMaxBodyBytes sets how large a body may be, in bytes; default 1 MiB. Exactly n passes. A number under 1 is an error.
func WithMaxBodyBytes(n int64) Option {
	return func(v *Verifier) error {
		if n < 1 {
			return fmt.Errorf("verifier: WithMaxBodyBytes(%d): the limit must be at least 1", n)
		}
		v.maxBodyBytes = n
		return nil
	}
}

// New returns a Verifier that takes its secrets from source. A source that can't ever verify anything (nil, [Static] without
// secrets or with an empty one, [FromAPI] without a client) is an error here, at start. So is one that is a [Refresher] and doesn't
// say what it wraps. A nil option is ignored.
func New(source SecretSource, opts ...Option) (*Verifier, error) {
	if source == nil {
		return nil, errors.New("verifier: the source is nil")
	}
	chain, err := unwrap(source)
	if err != nil {
		return nil, err
	}
	for _, s := range chain {
		if err := checkSource(s); err != nil {
			return nil, err
		}
	}
	v := &Verifier{source: source, maxBodyBytes: defaultMaxBodyBytes}
	if err := v.learn(chain); err != nil {
		return nil, err
	}
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(v); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// learn finds what the source can do besides.
func (v *Verifier) learn(chain []SecretSource) error {
	if p, ok := as[prepared](v.source); ok {
		keys, err := p.keys()
		if err != nil {
			return err
		}
		v.matches = func(body []byte, sig walletcrew.Signature) bool {
			for _, key := range keys {
				if key.Matches(body, sig) {
					return true
				}
			}
			return false
		}
	}
	for i, s := range chain {
		r, ok := s.(Refresher)
		if !ok {
			continue
		}
		v.refresh = r.Refresh
		if i > 0 { // the outermost may return other secrets than the one that it wraps
			v.refresh = func(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
				if _, err := r.Refresh(ctx, tenantID); err != nil {
					return nil, err
				}
				return v.source.Secrets(ctx, tenantID)
			}
		}
		if d, ok := as[dated](s); ok {
			v.current = d.current
		}
		break
	}
	if e, ok := first[explaining](chain); ok {
		v.explain = e.explain
	}
	if d, ok := first[doubtful](chain); ok {
		v.doubts = d.doubts()
	}
	v.scope = func(_ string, fitted walletcrew.Secret) string { return "s/" + fingerprint(fitted) }
	if s, ok := first[scoped](chain); ok {
		v.scope = func(tenantID string, _ walletcrew.Secret) string { return s.scope(tenantID) }
	}
	return nil
}

// Format writes the same whatever the verb: a source of yours may be printed with its secrets.
func (Verifier) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "verifier.Verifier(...)") }

// Doubts returns what may be wrong with the source, but can't be refused, as sentences for a log: nil, or that a secret begins or
// ends in what files and shells put there. receiver.NewHandler logs it.
func (v *Verifier) Doubts() []string { return slices.Clone(v.doubts) }

// Verify checks that one of the tenant's secrets signed exactly these bytes. TenantID is what the delivery's header says; it
// only chooses among secrets. The errors are those of [walletcrew.VerifySignature], [ErrUnknownTenant] and
// [ErrSecretsUnavailable].
func (v *Verifier) Verify(ctx context.Context, tenantID string, body []byte, signature string) error {
	sig, err := walletcrew.ParseSignature(signature)
	if err != nil {
		return err // before the source is bothered
	}
	_, err = v.verify(ctx, tenantID, body, sig)
	return err
}

// verify returns the secret that fitted, "" for fixed secrets.
func (v *Verifier) verify(ctx context.Context, tenantID string, body []byte, sig walletcrew.Signature) (walletcrew.Secret, error) {
	if v.matches != nil {
		if v.matches(body, sig) {
			return "", nil
		}
		return "", v.explained(walletcrew.ErrSignatureMismatch)
	}
	if len(tenantID) > maxTenantBytes {
		return "", fmt.Errorf("%w: its name has %d bytes, and %d at most are looked up", ErrUnknownTenant, len(tenantID), maxTenantBytes)
	}
	var secret walletcrew.Secret
	secrets, err := v.source.Secrets(ctx, tenantID)
	switch {
	case err == nil:
		secret, err = match(body, sig, secrets)
	case !errors.Is(err, ErrUnknownTenant):
		return "", unavailable(err)
	}
	if err != nil && v.refresh != nil && !errors.Is(err, ErrSecretsUnavailable) {
		secret, err = v.lookAgain(ctx, tenantID, body, sig, secrets, err)
	}
	return secret, v.explained(err)
}

// lookAgain is for when none of the secrets fits. Err says how.
func (v *Verifier) lookAgain(ctx context.Context, tenantID string, body []byte, sig walletcrew.Signature, secrets []walletcrew.Secret, err error) (walletcrew.Secret, error) {
	for range 2 {
		asked := time.Now()
		fresh, failure := v.refresh(ctx, tenantID)
		if failure != nil {
			return "", unavailable(failure)
		}
		if !slices.Equal(fresh, secrets) { // else a forgery costs two hashes a secret, and not one
			secrets = fresh
			var secret walletcrew.Secret
			if secret, err = match(body, sig, secrets); err == nil {
				return secret, nil
			}
		}
		if v.current == nil || v.current(asked) {
			break
		} // else what it found was asked for before, and may lack a webhook that was made since
	}
	return "", err
}

// explained adds what the source knows of why no secret fitted.
func (v *Verifier) explained(err error) error {
	if err == nil || v.explain == nil || errors.Is(err, ErrSecretsUnavailable) {
		return err
	}
	return v.explain(err)
}

// match returns the secret that signed the body.
func match(body []byte, sig walletcrew.Signature, secrets []walletcrew.Secret) (walletcrew.Secret, error) {
	if len(secrets) == 0 {
		return "", ErrUnknownTenant
	}
	for _, secret := range secrets {
		switch err := sig.Verify(body, secret); {
		case err == nil:
			return secret, nil
		case errors.Is(err, walletcrew.ErrNoSecret):
			return "", unavailable(err) // the source's fault, not the sender's
		}
	}
	return "", walletcrew.ErrSignatureMismatch
}
