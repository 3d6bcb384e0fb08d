package verifier_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// deliveredFor is what a delivery of the known body becomes that claims to be the tenant's.
func deliveredFor(v *verifier.Verifier, claimed string, secret walletcrew.Secret) (*verifier.Delivery, error) {
	header := map[string]string{
		walletcrew.HeaderSignature: walletcrew.Sign(secret, []byte(knownBody)), walletcrew.HeaderEventName: "Pass:Installed", walletcrew.HeaderTenantID: claimed,
	}
	return v.DeliveryFrom(context.Background(), func(name string) string { return header[name] }, []byte(knownBody))
}

func statusFor(v *verifier.Verifier, claimed string, secret walletcrew.Secret) int {
	_, err := deliveredFor(v, claimed, secret)
	return verifier.StatusCode(err)
}

// collated finds a tenant as a database column does that ignores case, accents and spaces at the end.
func collated(tenants map[string]verifier.SecretSource) verifier.SecretSource {
	return verifier.Tenants(func(_ context.Context, claimed string) (verifier.Tenant, error) {
		id := strings.ReplaceAll(strings.ToLower(strings.TrimRight(claimed, " ")), "é", "e")
		source, ok := tenants[id]
		if !ok {
			return verifier.Tenant{}, fmt.Errorf("no row: %w", verifier.ErrUnknownTenant)
		}
		return verifier.Tenant{ID: "id of " + id, Source: source}, nil
	})
}

func TestACapturedDeliveryInAnotherSpellingOfItsTenantIsOneEvent(t *testing.T) {
	t.Parallel()
	source := collated(map[string]verifier.SecretSource{"acme": verifier.Static(knownSecret), "other": verifier.Static(otherSecret)})
	for name, source := range map[string]verifier.SecretSource{
		"Tenants": source, "a wrapper": wrapping{source}, "Cached": verifier.Cached(source, hour, 10), "wrapped, cached": wrapping{verifier.Cached(wrapping{source}, hour, 10)},
		"cached twice":      verifier.Cached(verifier.Cached(source, hour, 10), hour, 10),
		"kept by a wrapper": &keeping{SecretSource: source}, // which doesn't ask Tenants each time
	} {
		v := verifierOf(t, source)
		ran := 0
		h := receiver.NewHandler(v, func(ctx context.Context, e *walletcrew.Event) error {
			ran++
			assert.Equal(t, "id of acme", e.TenantID, name)
			assert.Equal(t, "t/id%20of%20acme/0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10", receiver.Key(ctx), name)
			return nil
		}, receiver.WithDeduper(receiver.NewMemoryDeduper(100, hour)), receiver.WithLogger(silentLog()))
		for range 2 { // what is cached says the same
			for _, claimed := range []string{"acme", "ACME", "acmé", "acme ", "Acme  "} {
				d, err := deliveredFor(v, claimed, knownSecret)
				require.NoError(t, err, "%s, %q", name, claimed)
				assert.Equal(t, "id of acme", d.Event.TenantID, "%s, %q", name, claimed)
				assert.Equal(t, claimed, d.ClaimedTenant)
				assert.Equal(t, "t/id%20of%20acme", d.Scope)
				r := posted([]byte(knownBody))
				r.Header[walletcrew.HeaderTenantID] = []string{claimed}
				h.ServeHTTP(discarded{}, r)

				assert.Equal(t, 401, statusFor(v, claimed, otherSecret), "another tenant's secret")
			}
		}
		assert.Equal(t, 1, ran, "%s: one event, handled once", name)
		assert.Equal(t, 401, statusFor(v, "cinema", knownSecret), name)
		assert.Equal(t, 401, statusFor(v, "other", knownSecret), name)
		assert.Equal(t, 204, statusFor(v, "OTHER", otherSecret), name)
	}
}

// keeping is a user's own cache, which asks what it wraps once for each spelling.
type keeping struct {
	verifier.SecretSource
	mu   sync.Mutex
	kept map[string][]walletcrew.Secret
}

func (k *keeping) Unwrap() verifier.SecretSource { return k.SecretSource }

func (k *keeping) Secrets(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if secrets := k.kept[tenantID]; secrets != nil {
		return secrets, nil
	}
	secrets, err := k.SecretSource.Secrets(ctx, tenantID)
	if err == nil {
		if k.kept == nil {
			k.kept = map[string][]walletcrew.Secret{}
		}
		k.kept[tenantID] = secrets
	}
	return secrets, err
}

func TestATenantThatIsNoneIsNeverOpen(t *testing.T) {
	t.Parallel()
	errDown := errors.New("the database is down")
	any401 := fmt.Errorf("no row: %w", verifier.ErrUnknownTenant)
	for name, tt := range map[string]struct {
		tenant verifier.Tenant
		err    error
		status int
		says   string
	}{
		"unknown":                    {verifier.Tenant{}, any401, 401, "no row"},
		"unknown, and a Tenant":      {verifier.Tenant{ID: "a", Source: verifier.Static(knownSecret)}, any401, 401, "no row"},
		"an error":                   {verifier.Tenant{}, errDown, 503, "the database is down"},
		"an error and a Tenant":      {verifier.Tenant{ID: "a", Source: verifier.Static(knownSecret)}, errDown, 503, "the database is down"},
		"an error of the 401 kind":   {verifier.Tenant{}, fmt.Errorf("x: %w", walletcrew.ErrSignatureMismatch), 503, "x"},
		"the zero Tenant":            {verifier.Tenant{}, nil, 503, "without an ID"},
		"no ID":                      {verifier.Tenant{Source: verifier.Static(knownSecret)}, nil, 503, "without an ID"},
		"a nil Source":               {verifier.Tenant{ID: "a"}, nil, 503, `the ID "a" has no Source`},
		"a nil SecretFunc":           {verifier.Tenant{ID: "a", Source: verifier.SecretFunc(nil)}, nil, 503, "the SecretFunc is nil"},
		"Static without secrets":     {verifier.Tenant{ID: "a", Source: verifier.Static()}, nil, 503, `"a": verifier: Static: `},
		"an empty secret":            {verifier.Tenant{ID: "a", Source: verifier.Static("")}, nil, 503, `"a": verifier: Static: `},
		"FromAPI without a client":   {verifier.Tenant{ID: "a", Source: verifier.FromAPI(nil)}, nil, 503, "the client is nil"},
		"a source without Unwrap":    {verifier.Tenant{ID: "a", Source: embedding{verifier.Static(knownSecret)}}, nil, 503, "Unwrap() verifier.SecretSource"},
		"one that knows none":        {verifier.Tenant{ID: "a", Source: unknown{}}, nil, 401, "no secrets for the tenant"},
		"one of Cached's that is no": {verifier.Tenant{ID: "a", Source: verifier.Cached(verifier.Static(knownSecret), 0, 1)}, nil, 503, "under 1 ms"},
	} {
		source := verifier.Tenants(func(context.Context, string) (verifier.Tenant, error) { return tt.tenant, tt.err })
		for _, source := range []verifier.SecretSource{source, verifier.Cached(source, hour, 10), &keeping{SecretSource: source}, adding{wrapping{source}, "mine"}} {
			v := verifierOf(t, source)
			for _, secret := range []walletcrew.Secret{knownSecret, "", otherSecret} {
				d, err := deliveredFor(v, "acme", secret)
				require.Error(t, err, "%s, %T", name, source)
				assert.Equal(t, tt.status, verifier.StatusCode(err), "%s, %T: %v", name, source, err)
				assert.Equal(t, tt.status == 503, errors.Is(err, verifier.ErrSecretsUnavailable), name)
				assert.False(t, d.Authentic)
				assert.Nil(t, d.Event)
				if _, adds := source.(adding); !adds {
					assert.ErrorContains(t, err, tt.says, name)
					assert.Equal(t, tt.status == 401, errors.Is(err, verifier.ErrUnknownTenant), name)
				}
				noSecretIn(t, err.Error(), "%s", name)
			}
		}
	}
	_, err := verifier.New(verifier.Tenants(nil))
	require.ErrorContains(t, err, "verifier: Tenants: the function is nil")
}

type unknown struct{}

func (unknown) Secrets(context.Context, string) ([]walletcrew.Secret, error) { return nil, nil }

// A secret that a wrapper adds for a tenant that isn't known says nothing of whose event it is.
func TestAWrapperAroundTenantsCannotVouchForAnUnknownTenant(t *testing.T) {
	t.Parallel()
	source := collated(map[string]verifier.SecretSource{"acme": verifier.Static(knownSecret)})
	v := verifierOf(t, lenient{wrapping{source}, "mine"})
	assert.Equal(t, 204, statusFor(v, "acme", "mine"))
	assert.Equal(t, 401, statusFor(v, "cinema", "mine"))
}

// lenient has a secret for everybody.
type lenient struct {
	wrapping
	secret walletcrew.Secret
}

func (l lenient) Secrets(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	secrets, _ := l.SecretSource.Secrets(ctx, tenantID)
	return append([]walletcrew.Secret{l.secret}, secrets...), nil
}

func TestTenantsAreAskedOnceForADelivery(t *testing.T) {
	t.Parallel()
	asked, asksSource := 0, 0
	source := verifier.Tenants(func(_ context.Context, claimed string) (verifier.Tenant, error) {
		asked++
		return verifier.Tenant{ID: "42", Source: verifier.SecretFunc(func(_ context.Context, id string) ([]walletcrew.Secret, error) {
			assert.Equal(t, "42", id, "the tenant's source is asked by your spelling")
			asksSource++
			return []walletcrew.Secret{knownSecret}, nil
		})}, nil
	})
	for _, source := range []verifier.SecretSource{source, wrapping{source}} {
		asked, asksSource = 0, 0
		v := verifierOf(t, source)
		require.Equal(t, 204, statusFor(v, "acme", knownSecret))
		require.Equal(t, 401, statusFor(v, "acme", otherSecret))
		assert.Equal(t, []int{2, 2}, []int{asked, asksSource}, "once for each delivery, also for a forged one: there is nothing to look at again")
	}
	require.Equal(t, 401, statusFor(verifierOf(t, source), strings.Repeat("a", 257), knownSecret))
	for _, name := range []string{"\xff", "acm\xe9", "ac\x00me"} {
		err := verifierOf(t, source).Verify(t.Context(), name, []byte(knownBody), walletcrew.Sign(knownSecret, []byte(knownBody)))
		require.ErrorIs(t, err, verifier.ErrUnknownTenant, "%q", name)
	}
	assert.Equal(t, 2, asked, "nobody looks up a name of over 256 bytes, or one that a database refuses as text")
}

func TestEachTenantsAPIIsItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		apis := map[string]*fakeAPI{"acme": {}, "globex": {}}
		sources := map[string]verifier.SecretSource{}
		for id, api := range apis {
			api.set(walletcrew.Secret("the first of " + id))
			sources[id] = verifier.FromAPI(api.client(t))
		}
		for name, v := range map[string]*verifier.Verifier{"Tenants": verifierOf(t, collated(sources)), "a wrapper": verifierOf(t, wrapping{collated(sources)})} {
			require.Equal(t, 204, statusFor(v, "ACME", walletcrew.Secret("the first of acme")), name)
			require.Equal(t, 204, statusFor(v, "globex", walletcrew.Secret("the first of globex")), name)
			require.Equal(t, 401, statusFor(v, "globex", walletcrew.Secret("the first of acme")), name)

			apis["acme"].set("the second of acme", "the first of acme")
			assert.Equal(t, 204, statusFor(v, "acme", "the second of acme"), "%s: a secret made a moment ago is found", name)
			for range 50 { // forgeries of one tenant
				require.Equal(t, 401, statusFor(v, "acme", "forged"))
			}
			_, err := deliveredFor(v, "acme", "forged")
			require.ErrorContains(t, err, "FromAPI looks only once each 30s", "%s: the source's own explanation", name)
			apis["globex"].set("the second of globex")
			assert.Equal(t, 204, statusFor(v, "globex", "the second of globex"), "%s: they use up no look of the other", name)

			// One is slow, or down.
			apis["acme"].takes = 9 * second
			done := make(chan int)
			synctest.Wait()
			after(31 * second)
			go func() { done <- statusFor(v, "acme", "the third of acme") }()
			synctest.Wait()
			assert.Equal(t, 204, statusFor(v, "acme", "the second of acme"), "%s: nobody waits for a look because of a forgery", name)
			assert.Equal(t, 204, statusFor(v, "globex", "the second of globex"), name)
			assert.Equal(t, 401, <-done, name)
			apis["acme"].takes = 0
			apis["acme"].set("the first of acme")
			apis["globex"].set("the first of globex")
			after(10 * minute)
			require.Equal(t, 204, statusFor(v, "acme", "the first of acme"), name)
			require.Equal(t, 204, statusFor(v, "globex", "the first of globex"), name)
			after(10 * minute)
		}
	})
}

func TestTenantsWithinTenants(t *testing.T) {
	t.Parallel()
	api := &fakeAPI{}
	api.set(otherSecret)
	inner := collated(map[string]verifier.SecretSource{"brand": verifier.FromAPI(api.client(t))})
	v := verifierOf(t, verifier.Tenants(func(context.Context, string) (verifier.Tenant, error) {
		return verifier.Tenant{ID: "Brand", Source: wrapping{inner}}, nil
	}))
	d, err := deliveredFor(v, "x", otherSecret)
	require.NoError(t, err)
	assert.Equal(t, "Brand", d.Event.TenantID, "the outermost says whose it is")
	assert.Equal(t, "t/Brand", d.Scope)
	api.set(knownSecret)
	assert.Equal(t, 204, statusFor(v, "x", knownSecret), "and the innermost looks again")
}
