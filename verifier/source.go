package verifier

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A SecretSource says which secrets a tenant's deliveries may be signed with. It must be safe for concurrent use, and return when
// ctx ends: until then the delivery isn't answered.
//
// TenantID is what the delivery's header says. Nobody has verified it: use it to choose, and for nothing else. It is UTF-8
// text of at most 256 bytes without a NUL; a delivery with another one is refused (401) without a call. The slice that is returned is only read.
//
//   - Secrets and no error: the delivery is verified with them.
//   - No secrets and no error, or [ErrUnknownTenant] (errors.Is): the tenant isn't known, and the delivery is refused (401).
//   - Any other error: nothing can be said. That is [ErrSecretsUnavailable] (503), and the platform delivers again.
//
// A source that wraps another must have a method Unwrap() SecretSource. Without it:
//
//   - [New] can't see that the inner source could never verify anything.
//   - Around [FromAPI], a webhook's new secret is refused (401) until FromAPI lists again by itself, after 10 minutes or more.
//   - Events are remembered by the secret that fitted, instead of by tenant. One that was handled before a rotation is handled
//     again after it.
//
// If the wrapper has no method Refresh of its own, the verifier refreshes the inner source directly, and then asks the wrapper
// for its secrets once more. Pass your ctx on to the inner source: without it, [Tenants] is asked once more.
type SecretSource interface {
	Secrets(ctx context.Context, tenantID string) ([]walletcrew.Secret, error)
}

// A SecretFunc is a SecretSource that chooses by tenant, such as a look-up in your database. It must return only this tenant's secrets:
// Event.TenantID is true, except for its spelling, because no other tenant's secret fits. It is called for each delivery whose signature
// has the right form; [Cached] calls it less often.
//
// The sender writes the tenant in the header, and your look-up may find the tenant under many spellings. So deduplication goes by the
// secrets instead: secrets that are returned together are one scope, which the first of them names. A captured delivery that comes again is
// a duplicate, however its header is spelled.
//
// While a secret is replaced, return both, the old one first, as [walletcrew.Rotation.Secrets] does. An event is then the same under both.
// Once the old one is gone, an earlier event that comes again, signed with the new secret, is handled again. With [Tenants] it isn't,
// because there your own ID stands for the tenant, whatever its secrets.
type SecretFunc func(ctx context.Context, tenantID string) ([]walletcrew.Secret, error)

// Secrets calls f.
func (f SecretFunc) Secrets(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	return f(ctx, tenantID)
}

func (f SecretFunc) check() error {
	if f == nil {
		return errors.New("verifier: the SecretFunc is nil")
	}
	return nil
}

// A Refresher is a SecretSource that can look again. The verifier calls Refresh when no secret fits. The source must limit how
// often it really looks, because anybody can send a signature that doesn't fit.
//
// If your own source has this method, give it the method Unwrap() SecretSource, too; [New] refuses it otherwise.
//
//   - If it wraps another source, such as [FromAPI], Unwrap returns that one. Events keep their scope of deduplication: an event
//     that was handled before a rotation of the secret isn't handled again after it.
//   - If it wraps none, Unwrap returns nil. The scope is then the secret that fitted.
type Refresher interface {
	Refresh(ctx context.Context, tenantID string) ([]walletcrew.Secret, error)
}

// What a source of this package may be able to do besides. New looks for it once, from the outermost source to the innermost.
type (
	wrapper  interface{ Unwrap() SecretSource }
	checked  interface{ check() error } // says what is wrong with it, at start
	prepared interface {
		keys() ([]*walletcrew.Key, error)
	} // its secrets are fixed; only if it isn't wrapped
	scoped interface{ scope() string } // has one scope of deduplication
	dated  interface {
		current(ctx context.Context, tenantID string, asked time.Time) bool
	} // a Refresher that knows whether looking once more would be of use
	explaining interface {
		explain(ctx context.Context, tenantID string, err error) error
	} // knows why no secret may have fitted
	doubtful interface{ doubts() []string } // may be wrong, but can't be refused
)

// maxWrapped ends the search in a source that wraps itself.
const maxWrapped = 100

// unwrap returns the source and what it wraps, the outermost first.
func unwrap(source SecretSource) ([]SecretSource, error) {
	var chain []SecretSource
	for source != nil {
		if len(chain) == maxWrapped {
			return nil, errors.New("verifier: the source wraps itself: its Unwrap must return the source that it wraps, or nil")
		}
		chain = append(chain, source)
		w, wraps := source.(wrapper)
		if !wraps {
			break
		}
		source = w.Unwrap()
	}
	return chain, nil
}

// first returns the outermost that is a T.
func first[T any](chain []SecretSource) (found T, ok bool) {
	for _, source := range chain {
		if found, ok = as[T](source); ok {
			return found, true
		}
	}
	return found, false
}

// as returns the source as a T, if it is one of this package's: a struct of yours that embeds a SecretFunc has its methods, too.
func as[T any](source SecretSource) (found T, ok bool) {
	t := reflect.TypeOf(source)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.PkgPath() != reflect.TypeFor[SecretFunc]().PkgPath() {
		return found, false
	}
	found, ok = source.(T)
	return found, ok
}

// checkSource refuses a source that could never verify anything, or whose scope would change unnoticed.
func checkSource(source SecretSource) error {
	if c, ok := as[checked](source); ok {
		if err := c.check(); err != nil {
			return err
		}
	}
	_, refreshes := source.(Refresher)
	_, wraps := source.(wrapper)
	_, ours := as[SecretSource](source)
	if refreshes && !wraps && !ours {
		return fmt.Errorf("verifier: the source %T has Refresh but no Unwrap: write func (s %[1]T) Unwrap() verifier.SecretSource, which returns "+
			"the source that it wraps, or nil if it wraps none", source)
	}
	return nil
}

func tenantScope(tenantID string) string { return "t/" + url.PathEscape(tenantID) }

func secretScope(secret walletcrew.Secret) string { return "s/" + fingerprint(secret) }

// fingerprint names a secret without telling anything of it.
func fingerprint(secret walletcrew.Secret) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte("walletcrew deduplication scope"))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Static is a [SecretSource] of fixed secrets, the same for every tenant: one, or several while a secret is rotated. No secret, or an empty
// one, is an error of [New]. Nothing vouches for the tenant in the header.
func Static(secrets ...walletcrew.Secret) SecretSource {
	secrets = slices.Clone(secrets)
	return &staticSource{secrets: func() []walletcrew.Secret { return secrets }}
}

// A staticSource keeps its secrets in a closure: fmt calls no method of what is in an unexported field, and prints the fields
// with a verb that doesn't fit.
type staticSource struct{ secrets func() []walletcrew.Secret }

func (s *staticSource) Secrets(context.Context, string) ([]walletcrew.Secret, error) {
	return s.secrets(), nil
}

func (s *staticSource) keys() ([]*walletcrew.Key, error) {
	secrets := s.secrets()
	if len(secrets) == 0 {
		return nil, walletcrew.ErrNoSecret
	}
	keys := make([]*walletcrew.Key, len(secrets))
	for i, secret := range secrets {
		var err error
		if keys[i], err = walletcrew.NewKey(secret); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (s *staticSource) check() error {
	if _, err := s.keys(); err != nil {
		return fmt.Errorf("verifier: Static: %w", err)
	}
	return nil
}

func (s *staticSource) scope() string { return "-" }

// doubts: a secret begins or ends in what files and shells put there. It may be right all the same: which characters the platform
// uses isn't documented.
func (s *staticSource) doubts() []string {
	const odd = " \t\r\n\"'`\uFEFF"
	for _, secret := range s.secrets() {
		if strings.Trim(string(secret), odd) != string(secret) {
			return []string{"a secret begins or ends in white space, a line break or a quote: is that part of it?"}
		}
	}
	return nil
}

func (s *staticSource) explain(_ context.Context, _ string, err error) error {
	for _, doubt := range s.doubts() {
		err = fmt.Errorf("%w: %s", err, doubt)
	}
	return err
}

// Format writes the same whatever the verb.
func (s *staticSource) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "verifier.Static([redacted])")
}
