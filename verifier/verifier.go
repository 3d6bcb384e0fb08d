package verifier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A Verifier decides whether a delivery is the platform's. Make it with [New]; it is safe for concurrent use.
//
// The platform signs only the body, not the event name and the tenant in the headers. An attacker who has captured a delivery
// can't change one bit of its body, and can't make a delivery of their own. But they can send the body again:
//
//   - Under another event name. If the body names the event itself ("__eventName", which isn't documented), that is refused with
//     [ErrEventNameMismatch]. If it doesn't, the header's name is all there is, and a captured Pass:Installed could come as a
//     Pass:Uninstalled. Its "__id" is still the same, so with a receiver.Deduper an event that was handled isn't handled again
//     under another name. (If it wasn't handled yet, a delivery under a name that your function acknowledges uses it up.)
//   - Under another tenant. With [SecretFunc] and [Tenants] that is refused, because the secret must be that tenant's; so don't
//     let tenants share one. With [Static] and [FromAPI] nothing vouches for the tenant: Event.TenantID is what the sender wrote.
//     Don't choose a customer's data by it.
//   - Under another spelling of the same tenant. It is the same event.
//   - Unchanged, at any time. Nothing in a delivery that is documented says when it was signed. Deduplicate.
type Verifier struct {
	lookup       *lookup
	maxBodyBytes int64
	matches      func(body []byte, sig walletcrew.Signature) bool // of fixed secrets, else nil; a closure, so that fmt can't print the keys
	doubts       []string
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

// New returns a Verifier that takes its secrets from source. A source that could never verify anything is an error, so that you notice at
// start: nil, [Static] without secrets or with an empty one, [FromAPI] without a client, [Cached] without room. So is a [Refresher] without
// the method Unwrap. A nil option is ignored.
func New(source SecretSource, opts ...Option) (*Verifier, error) {
	l, err := newLookup(source)
	if err != nil {
		return nil, err
	}
	v := &Verifier{lookup: l, maxBodyBytes: defaultMaxBodyBytes}
	if d, ok := first[doubtful](l.chain); ok {
		v.doubts = d.doubts()
	}
	if err := v.prepare(); err != nil {
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

// prepare is for a source whose secrets are fixed.
func (v *Verifier) prepare() error {
	p, ok := as[prepared](v.lookup.source)
	if !ok {
		return nil
	}
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
	return nil
}

// Format writes the same whatever the verb, because printing a source of yours might show its
// secrets.
func (Verifier) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "verifier.Verifier(...)") }

// Doubts returns sentences for a log about likely mistakes in the source that can't be refused: that a secret begins or ends with
// characters that files and shells add. Nil if there are none. receiver.NewHandler logs them.
func (v *Verifier) Doubts() []string { return slices.Clone(v.doubts) }

// Verify checks that one of the tenant's secrets signed exactly these bytes. TenantID is the tenant in the delivery's header. It only
// chooses the secrets. The errors are those of [walletcrew.VerifySignature], [ErrUnknownTenant] and [ErrSecretsUnavailable].
func (v *Verifier) Verify(ctx context.Context, tenantID string, body []byte, signature string) error {
	sig, err := walletcrew.ParseSignature(signature)
	if err != nil {
		return err // before the source is bothered
	}
	_, err = v.verify(ctx, tenantID, body, sig)
	return err
}

// A fit is what is known once a secret has fitted.
type fit struct {
	secret  walletcrew.Secret   // "" for fixed secrets
	secrets []walletcrew.Secret // all that were returned with it
	id      string              // of the tenant whose secret it is, if the source is Tenants; else ""
}

// verify returns what fitted.
func (v *Verifier) verify(ctx context.Context, tenantID string, body []byte, sig walletcrew.Signature) (fit, error) {
	l := v.lookup
	if v.matches != nil {
		if v.matches(body, sig) {
			return fit{}, nil
		}
		return fit{}, l.explain(ctx, tenantID, walletcrew.ErrSignatureMismatch)
	}
	if len(tenantID) > maxTenantBytes {
		return fit{}, fmt.Errorf("%w: its name has %d bytes, and %d at most are looked up", ErrUnknownTenant, len(tenantID), maxTenantBytes)
	}
	if !utf8.ValidString(tenantID) || strings.IndexByte(tenantID, 0) >= 0 { // a database refuses such a text, which would be a 503 that a stranger makes
		return fit{}, fmt.Errorf("%w: its name isn't UTF-8 text", ErrUnknownTenant)
	}
	if l.tenants != nil {
		ctx = withNote(ctx, new(note))
	}
	secrets, err := l.source.Secrets(ctx, tenantID)
	if err != nil && !isUnknown(nil, err) {
		return fit{}, unavailable(err)
	}
	var secret walletcrew.Secret
	if err == nil {
		secret, err = match(body, sig, secrets)
	}
	if l.mayFind(ctx, err) {
		failure := l.again(ctx, tenantID, secrets, func(fresh []walletcrew.Secret) bool {
			secrets = fresh
			secret, err = match(body, sig, fresh)
			return err == nil
		})
		if failure != nil {
			return fit{}, unavailable(failure)
		}
	}
	if err != nil {
		return fit{}, l.explain(ctx, tenantID, err)
	}
	id, err := l.vouched(ctx, tenantID)
	return fit{secret, secrets, id}, err
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
