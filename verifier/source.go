package verifier

import (
	"context"
	"fmt"
	"io"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A SecretSource says which secrets a tenant's deliveries may be signed with. It must be safe for concurrent use. TenantID is
// what the delivery's header says, unverified: use it to choose, and for nothing else. No secrets and no error means that the
// tenant isn't known: the delivery is refused with [ErrUnknownTenant] (401). An error means that nothing can be said:
// [ErrSecretsUnavailable] (503), and the platform delivers again. The slice is only read. It must return when ctx ends: until then
// the delivery isn't answered.
type SecretSource interface {
	Secrets(ctx context.Context, tenantID string) ([]walletcrew.Secret, error)
}

// SecretFunc is a SecretSource that chooses by tenant, such as a look-up in your database. It must return secrets of this tenant
// only: that no other tenant's secret fits is what makes Event.TenantID true, and deduplication goes by tenant, as the header
// spells it. So compare tenant ids exactly. It is called for each delivery whose signature has the right form; caching is yours.
type SecretFunc func(ctx context.Context, tenantID string) ([]walletcrew.Secret, error)

// Secrets calls f.
func (f SecretFunc) Secrets(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	return f(ctx, tenantID)
}

// Refresher is a SecretSource that can look again. The verifier asks it when no secret fits; the source limits how often it
// really looks, since anyone can send a signature that doesn't fit. A wrapper around [FromAPI] passes Refresh on.
type Refresher interface {
	Refresh(ctx context.Context, tenantID string) ([]walletcrew.Secret, error)
}

// Static is a SecretSource of fixed secrets, whatever the tenant: one, or several while a secret is rotated. None, or an empty
// one, is an error of [New]. Nothing vouches for the tenant in the header.
func Static(secrets ...walletcrew.Secret) SecretSource {
	secrets = append([]walletcrew.Secret(nil), secrets...)
	return &staticSource{secrets: func() []walletcrew.Secret { return secrets }}
}

// A staticSource keeps its secrets in a closure: fmt calls no method of what is in an unexported field, and prints the fields
// with a verb that doesn't fit.
type staticSource struct{ secrets func() []walletcrew.Secret }

func (s *staticSource) Secrets(context.Context, string) ([]walletcrew.Secret, error) {
	return s.secrets(), nil
}

// Format writes the same whatever the verb.
func (s *staticSource) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "verifier.Static([redacted])")
}
