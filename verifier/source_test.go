package verifier_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

func TestStaticWithSeveralSecretsAcceptsEachOfThem(t *testing.T) {
	t.Parallel()
	secrets := []walletcrew.Secret{"first", "second", knownSecret, otherSecret, walletcrew.Secret(paddedBody(200))}
	v := verifierOf(t, verifier.Static(secrets...))
	for i, secret := range secrets {
		assert.NoError(t, v.Verify(t.Context(), "any", []byte(knownBody), walletcrew.Sign(secret, []byte(knownBody))), "the secret number %d", i)
	}
	assert.ErrorIs(t, v.Verify(t.Context(), "any", []byte(knownBody), walletcrew.Sign("a sixth", []byte(knownBody))), walletcrew.ErrSignatureMismatch)
}

func TestStaticItselfReturnsItsSecretsToAWrapper(t *testing.T) {
	t.Parallel()
	secrets, err := verifier.Static(knownSecret, otherSecret).Secrets(t.Context(), "any")
	require.NoError(t, err)
	assert.Equal(t, []walletcrew.Secret{knownSecret, otherSecret}, secrets)
}

func TestWhatASecretFuncAnswersDecidesTheStatus(t *testing.T) {
	t.Parallel()
	errDown := errors.New("the database is down")
	for name, tt := range map[string]struct {
		secrets []walletcrew.Secret
		err     error
		is      error
		status  int
	}{
		"the secret":                      {[]walletcrew.Secret{knownSecret}, nil, nil, 204},
		"the secret among others":         {[]walletcrew.Secret{otherSecret, knownSecret}, nil, nil, 204},
		"another secret":                  {[]walletcrew.Secret{otherSecret}, nil, walletcrew.ErrSignatureMismatch, 401},
		"no secrets":                      {nil, nil, verifier.ErrUnknownTenant, 401},
		"an empty list":                   {[]walletcrew.Secret{}, nil, verifier.ErrUnknownTenant, 401},
		"an empty secret":                 {[]walletcrew.Secret{""}, nil, verifier.ErrSecretsUnavailable, 503},
		"an empty one first":              {[]walletcrew.Secret{"", knownSecret}, nil, verifier.ErrSecretsUnavailable, 503},
		"an empty one among wrong ones":   {[]walletcrew.Secret{otherSecret, ""}, nil, verifier.ErrSecretsUnavailable, 503},
		"an error":                        {nil, errDown, verifier.ErrSecretsUnavailable, 503},
		"an error with secrets":           {[]walletcrew.Secret{knownSecret}, errDown, verifier.ErrSecretsUnavailable, 503},
		"an error of the 401 kind":        {nil, fmt.Errorf("look up: %w", walletcrew.ErrSignatureMismatch), verifier.ErrSecretsUnavailable, 503},
		"an error that says: unknown":     {nil, fmt.Errorf("no row: %w", verifier.ErrUnknownTenant), verifier.ErrUnknownTenant, 401},
		"an error that is a cancellation": {nil, context.Canceled, verifier.ErrSecretsUnavailable, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			v := verifierOf(t, verifier.SecretFunc(func(_ context.Context, tenantID string) ([]walletcrew.Secret, error) {
				calls++
				assert.Equal(t, "acme", tenantID, "the source gets the tenant as the header spells it")
				return tt.secrets, tt.err
			}))
			err := v.Verify(t.Context(), "acme", []byte(knownBody), knownHex)
			if tt.is == nil {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, tt.is)
			}
			if tt.err != nil {
				assert.ErrorIs(t, err, tt.err, "the source's own error is still in it, for the log")
			}
			assert.Equal(t, tt.status, verifier.StatusCode(err))
			assert.Equal(t, tt.status == 503, errors.Is(err, verifier.ErrSecretsUnavailable), "that a tenant isn't known is no failure of the source")
			assert.Equal(t, 1, calls, "a SecretFunc is asked once for a delivery")

			ran := 0
			w := httptest.NewRecorder()
			receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error { ran++; return nil }, receiver.WithLogger(silentLog())).
				ServeHTTP(w, posted([]byte(knownBody)))
			assert.Equal(t, tt.status, w.Code, "the handler's answer")
			assert.Equal(t, tt.status == 204, ran == 1, "the function runs only for what is accepted")
			assert.Equal(t, tt.status == 503, w.Header().Get("Retry-After") != "", "503 asks for the delivery again")
		})
	}
}

// An empty key must never verify, even where the signature is the one that an empty key makes.
func TestAnEmptySecretVerifiesNothing(t *testing.T) {
	t.Parallel()
	body := []byte(knownBody)
	v := verifierOf(t, verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { return []walletcrew.Secret{""}, nil }))
	assert.ErrorIs(t, v.Verify(t.Context(), "", body, walletcrew.Sign("", body)), verifier.ErrSecretsUnavailable)
}

// refreshing is a user's own source that can look again.
type refreshing struct {
	first, then []walletcrew.Secret
	err         error
	asked       []string
}

func (r *refreshing) Secrets(_ context.Context, tenantID string) ([]walletcrew.Secret, error) {
	r.asked = append(r.asked, "secrets "+tenantID)
	return r.first, nil
}

func (r *refreshing) Refresh(_ context.Context, tenantID string) ([]walletcrew.Secret, error) {
	r.asked = append(r.asked, "refresh "+tenantID)
	return r.then, r.err
}

// Unwrap says that it wraps none.
func (r *refreshing) Unwrap() verifier.SecretSource { return nil }

func TestARefresherIsAskedOnceAndOnlyWhenNoSecretFits(t *testing.T) {
	t.Parallel()
	good, bad, none := []walletcrew.Secret{knownSecret}, []walletcrew.Secret{otherSecret}, []walletcrew.Secret(nil)
	errDown := errors.New("down")
	for name, tt := range map[string]struct {
		source refreshing
		is     error
		asked  []string
	}{
		"it fits":                       {refreshing{first: good}, nil, []string{"secrets acme"}},
		"it fits after the refresh":     {refreshing{first: bad, then: good}, nil, []string{"secrets acme", "refresh acme"}},
		"an unknown tenant gets known":  {refreshing{first: none, then: good}, nil, []string{"secrets acme", "refresh acme"}},
		"it never fits":                 {refreshing{first: bad, then: bad}, walletcrew.ErrSignatureMismatch, []string{"secrets acme", "refresh acme"}},
		"the tenant is gone":            {refreshing{first: bad, then: none}, verifier.ErrUnknownTenant, []string{"secrets acme", "refresh acme"}},
		"the refresh fails":             {refreshing{first: bad, err: errDown}, verifier.ErrSecretsUnavailable, []string{"secrets acme", "refresh acme"}},
		"an empty secret":               {refreshing{first: []walletcrew.Secret{""}, then: good}, verifier.ErrSecretsUnavailable, []string{"secrets acme"}},
		"an empty secret after refresh": {refreshing{first: bad, then: []walletcrew.Secret{""}}, verifier.ErrSecretsUnavailable, []string{"secrets acme", "refresh acme"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := tt.source
			err := verifierOf(t, &source).Verify(t.Context(), "acme", []byte(knownBody), knownHex)
			if tt.is == nil {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, tt.is)
			}
			assert.Equal(t, tt.asked, source.asked)
		})
	}
}

// embedding is what Go programmers write first: it passes Refresh on, and loses what else FromAPI is known for.
type embedding struct{ verifier.SecretSource }

func (e embedding) Refresh(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	return e.SecretSource.(verifier.Refresher).Refresh(ctx, tenantID)
}

// A wrapping is a source of the user's own that says what it wraps.
type wrapping struct{ verifier.SecretSource }

func (w wrapping) Unwrap() verifier.SecretSource { return w.SecretSource }

// An adding has one secret more than what it wraps.
type adding struct {
	wrapping
	more walletcrew.Secret
}

func (a adding) Secrets(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	secrets, err := a.SecretSource.Secrets(ctx, tenantID)
	return append(slices.Clone(secrets), a.more), err
}

// A looping says that it wraps itself.
type looping struct{ verifier.SecretSource }

func (l looping) Unwrap() verifier.SecretSource { return l }

func TestNewRefusesASourceThatHidesWhatItWraps(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]verifier.SecretSource{
		"alone":           embedding{verifier.FromAPI(new(fakeAPI).client(t))},
		"within another":  wrapping{embedding{verifier.FromAPI(new(fakeAPI).client(t))}},
		"around no other": struct{ embedding }{},
	} {
		_, err := verifier.New(source)
		require.ErrorContains(t, err, "Unwrap() verifier.SecretSource", "%s: events would get another scope, and run twice in a rotation", name)
	}
	_, err := verifier.New(looping{verifier.Static(knownSecret)})
	require.ErrorContains(t, err, "wraps itself")
}

func TestAWrapperKeepsWhatItsSourceIsKnownFor(t *testing.T) {
	t.Parallel()
	anyTenant := verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
		return []walletcrew.Secret{knownSecret}, nil
	})
	api := new(fakeAPI)
	api.set(knownSecret)
	for name, tt := range map[string]struct {
		source verifier.SecretSource
		scope  string
	}{
		"Static":                 {verifier.Static(knownSecret), "-"},
		"SecretFunc":             {anyTenant, "s/a01cd9f1bc74363e0fdd568f7c219fe4"},
		"FromAPI":                {verifier.FromAPI(api.client(t)), "t/acme"},
		"a source of one's own":  {struct{ verifier.SecretSource }{verifier.Static(knownSecret)}, "s/a01cd9f1bc74363e0fdd568f7c219fe4"},
		"a Refresher of one own": {&refreshing{first: []walletcrew.Secret{knownSecret}}, "s/a01cd9f1bc74363e0fdd568f7c219fe4"},
	} {
		for _, source := range []verifier.SecretSource{tt.source, wrapping{tt.source}, wrapping{wrapping{tt.source}}} {
			r := posted([]byte(knownBody))
			r.Header.Set(walletcrew.HeaderTenantID, "globex")
			d, err := verifierOf(t, source).Delivery(r)
			require.NoError(t, err, name)
			assert.Equal(t, tt.scope, d.Scope, name)
		}
	}
	for name, source := range map[string]verifier.SecretSource{
		"Static": wrapping{verifier.Static("")}, "SecretFunc": wrapping{verifier.SecretFunc(nil)}, "FromAPI": wrapping{verifier.FromAPI(nil)},
	} {
		_, err := verifier.New(source)
		require.Error(t, err, "%s: what can never verify anything is refused also within another source", name)
	}
}

func TestAWrapperAroundFromAPIRefreshesWithoutAMethodOfItsOwn(t *testing.T) {
	t.Parallel()
	api := new(fakeAPI)
	api.set(otherSecret)
	v := verifierOf(t, adding{wrapping{verifier.FromAPI(api.client(t))}, "mine"})
	require.Equal(t, 204, sentWith(v, otherSecret))
	require.Equal(t, 204, sentWith(v, "mine"))
	api.set(knownSecret)
	assert.Equal(t, 204, sentWith(v, knownSecret), "a webhook made a moment ago is found")
	assert.Equal(t, 204, sentWith(v, "mine"), "what the wrapper adds still counts")
	assert.Equal(t, 401, sentWith(v, "forged"))
}

func TestAWrapperAroundStaticIsAskedItself(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, adding{wrapping{verifier.Static(otherSecret)}, knownSecret})
	assert.Equal(t, 204, sentWith(v, knownSecret), "its own secret counts")
	assert.Equal(t, 204, sentWith(v, otherSecret))
}

func TestATenantThatIsNotKnownIsLookedForOnceMore(t *testing.T) {
	t.Parallel()
	source := &refreshing{then: []walletcrew.Secret{knownSecret}}
	v := verifierOf(t, unknowing{source})
	assert.Equal(t, 204, sentWith(v, knownSecret), "whether a source says it by an error or by no secrets is all the same")
}

// unknowing says with an error that it has no secrets.
type unknowing struct{ *refreshing }

func (u unknowing) Secrets(context.Context, string) ([]walletcrew.Secret, error) {
	return nil, verifier.ErrUnknownTenant
}

func TestASourceIsNotAskedForATenantOfOver256Bytes(t *testing.T) {
	t.Parallel()
	asked := []int{}
	v := verifierOf(t, verifier.SecretFunc(func(_ context.Context, tenantID string) ([]walletcrew.Secret, error) {
		asked = append(asked, len(tenantID))
		return []walletcrew.Secret{knownSecret}, nil
	}))
	verify := func(n int) error {
		return v.Verify(t.Context(), strings.Repeat("t", n), []byte(knownBody), knownHex)
	}
	require.NoError(t, verify(256))
	for _, n := range []int{257, 900_000} {
		err := verify(n)
		require.ErrorIs(t, err, verifier.ErrUnknownTenant, "anybody can write anything into the header")
		assert.Equal(t, 401, verifier.StatusCode(err))
		assert.Less(t, len(err.Error()), 200)
	}
	assert.Equal(t, []int{256}, asked)
	require.NoError(t, verifierOf(t, verifier.Static(knownSecret)).Verify(t.Context(), strings.Repeat("t", 900_000), []byte(knownBody), knownHex),
		"Static looks nothing up")
}

func TestANilOptionIsIgnored(t *testing.T) {
	t.Parallel()
	v, err := verifier.New(verifier.FromAPI(new(fakeAPI).client(t), nil), nil, verifier.WithMaxBodyBytes(1), nil)
	require.NoError(t, err)
	assert.NotNil(t, v)
}

// oneForAll embeds a SecretFunc, and has the methods of that which aren't exported, too.
type oneForAll struct{ verifier.SecretFunc }

func (oneForAll) Secrets(context.Context, string) ([]walletcrew.Secret, error) {
	return []walletcrew.Secret{knownSecret}, nil
}

func TestASourceThatEmbedsASecretFuncIsOneOfTheUsersOwn(t *testing.T) {
	t.Parallel()
	for _, source := range []verifier.SecretSource{oneForAll{}, &oneForAll{func(context.Context, string) ([]walletcrew.Secret, error) { return nil, nil }}} {
		d, err := verifierOf(t, source).Delivery(posted([]byte(knownBody)))
		require.NoError(t, err)
		assert.Equal(t, "s/a01cd9f1bc74363e0fdd568f7c219fe4", d.Scope, "the sender's header must not choose the scope")
	}
}

func TestARefreshOfTheUsersOwnIsAskedOnceForAForgery(t *testing.T) {
	t.Parallel()
	api := &fakeAPI{}
	api.set(otherSecret)
	wrapped := &forwarding{source: verifier.FromAPI(api.client(t))}
	v := verifierOf(t, wrapped)
	require.Equal(t, 204, sentWith(v, otherSecret))
	for range 20 {
		require.Equal(t, 401, sentWith(v, "forged"))
	}
	assert.Equal(t, 20, wrapped.looked)
}

// aValue is a source whose secret fmt can see.
type aValue struct{ secret walletcrew.Secret }

func (a aValue) Secrets(context.Context, string) ([]walletcrew.Secret, error) {
	return []walletcrew.Secret{a.secret}, nil
}

func TestPrintingAVerifierPrintsNoSourceOfTheUsers(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, aValue{knownSecret})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		noSecretIn(t, fmt.Sprintf(verb, v)+fmt.Sprintf(verb, *v), "with %s", verb)
	}
}
