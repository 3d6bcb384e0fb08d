package verifier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A Tenant is the tenant that a delivery's header means, see [Tenants].
type Tenant struct {
	// ID is the tenant in your own spelling, such as a row's key. Each tenant has its own, the same for every spelling in the header. "" is
	// an error.
	ID string
	// Source has the tenant's secrets: Static, FromAPI (kept by you, one for each tenant), or your own. It is called with ID. Nil is an
	// error.
	Source SecretSource
}

// Tenants is the source of a service with many tenants. F says which tenant the header means, in your own spelling, and where
// that tenant's secrets come from. If one of the secrets fits, the ID becomes Event.TenantID and the scope of deduplication. So a
// delivery that is sent again as "ACME" or "acme " is the same event, even if f finds "acme" by that name.
//
// F is called for each delivery whose signature has the right form, before the signature is checked. Anybody can write anything
// into the header, up to 256 bytes. [Cached] calls f less often. F must be safe for concurrent use, and return when ctx ends.
//
//   - If f's error is [ErrUnknownTenant] (errors.Is), the delivery is refused (401).
//   - Any other error is [ErrSecretsUnavailable] (503), and the platform delivers again. So is a Tenant without ID, and one whose
//     Source is nil or could never verify anything.
//
// Each tenant has its own source: if the FromAPI of one tenant can't reach the API, or has used up its calls, the others go on.
// Keep the FromAPI sources, in a map for example, because each holds the secrets that it has listed.
func Tenants(f func(ctx context.Context, claimed string) (Tenant, error)) SecretSource {
	return &tenantsSource{f}
}

type tenantsSource struct {
	find func(ctx context.Context, claimed string) (Tenant, error)
}

// A tenant is a Tenant that can be asked.
type tenant struct {
	id     string
	lookup *lookup
	within *note // for Tenants in a Tenant's source
}

func (s *tenantsSource) check() error {
	if s.find == nil {
		return errors.New("verifier: Tenants: the function is nil")
	}
	return nil
}

// Format writes the same whatever the verb.
func (s *tenantsSource) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "verifier.Tenants(...)")
}

func (s *tenantsSource) tenant(ctx context.Context, claimed string) (*tenant, error) {
	found, err := s.find(ctx, claimed)
	switch {
	case err != nil:
		return nil, err
	case found.ID == "":
		return nil, errors.New("verifier.Tenants: the function returned a Tenant without an ID: return ErrUnknownTenant for one that you don't know")
	case found.Source == nil:
		return nil, fmt.Errorf("verifier.Tenants: the Tenant with the ID %.64q has no Source: it is nil", found.ID)
	}
	l, err := newLookup(found.Source)
	if err != nil {
		return nil, fmt.Errorf("verifier.Tenants: the Source of the Tenant with the ID %.64q: %w", found.ID, err)
	}
	return &tenant{found.ID, l, new(note)}, nil
}

// of returns whom ctx notes, or finds him.
func (s *tenantsSource) of(ctx context.Context, claimed string) (*tenant, error) {
	if t := noted(ctx); t != nil {
		return t, nil
	}
	return s.tenant(ctx, claimed)
}

func (s *tenantsSource) Secrets(ctx context.Context, claimed string) ([]walletcrew.Secret, error) {
	t, err := s.tenant(ctx, claimed)
	if err != nil {
		return nil, err
	}
	leave(ctx, t)
	return t.lookup.source.Secrets(withNote(ctx, t.within), t.id)
}

// Refresh lets the tenant's source look again, if it can.
func (s *tenantsSource) Refresh(ctx context.Context, claimed string) ([]walletcrew.Secret, error) {
	t, err := s.of(ctx, claimed)
	if err != nil {
		return nil, err
	}
	ctx = withNote(ctx, t.within)
	if !t.lookup.refreshes(ctx) {
		return t.lookup.source.Secrets(ctx, t.id)
	}
	return t.lookup.refresh(ctx, t.id)
}

// refreshes reports whether the tenant's source can look again. One that isn't known has none.
func (s *tenantsSource) refreshes(ctx context.Context) bool {
	t := noted(ctx)
	return t != nil && t.lookup.refreshes(withNote(ctx, t.within))
}

func (s *tenantsSource) current(ctx context.Context, _ string, asked time.Time) bool {
	t := noted(ctx)
	return t == nil || t.lookup.current(withNote(ctx, t.within), t.id, asked)
}

func (s *tenantsSource) explain(ctx context.Context, _ string, err error) error {
	t := noted(ctx)
	if t == nil {
		return err
	}
	return t.lookup.explain(withNote(ctx, t.within), t.id, err)
}
