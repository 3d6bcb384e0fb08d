package verifier_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
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
		"an error that says: unknown":     {nil, verifier.ErrUnknownTenant, verifier.ErrSecretsUnavailable, 503},
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
			assert.Equal(t, 1, calls, "a SecretFunc is asked once for a delivery")

			ran := 0
			w := httptest.NewRecorder()
			verifier.NewHandler(v, func(context.Context, *walletcrew.Event) error { ran++; return nil }, verifier.WithLogger(silentLog())).
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
