package verifier_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/sample"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

const (
	knownSecret = walletcrew.Secret(sample.Secret)
	knownBody   = sample.Body
	knownHex    = sample.Hex
	knownBase64 = sample.Base64
	otherSecret = walletcrew.Secret(sample.OtherSecret)
	nowhere     = sample.Nowhere
)

func posted(body []byte) *http.Request { return sample.Posted(body) }
func paddedBody(n int) []byte          { return sample.PaddedBody(n) }

func verifierOf(t testing.TB, source verifier.SecretSource, opts ...verifier.Option) *verifier.Verifier {
	t.Helper()
	v, err := verifier.New(source, opts...)
	require.NoError(t, err)
	return v
}

// namedHeaders are headers of a framework that knows exactly these names.
type namedHeaders map[string]string

func (h namedHeaders) get(name string) string { return h[name] }

func signedHeaders(body []byte) namedHeaders {
	return namedHeaders{
		walletcrew.HeaderSignature: walletcrew.Sign(knownSecret, body),
		walletcrew.HeaderEventName: string(walletcrew.EventPassInstalled),
		walletcrew.HeaderTenantID:  "acme",
	}
}

// untouchable is a body that nobody may read.
type untouchable struct{ t testing.TB }

func (u untouchable) Read([]byte) (int, error) {
	u.t.Helper()
	assert.Fail(u.t, "the body was read, though the header alone shows that the request must be refused")
	return 0, io.EOF
}
func (u untouchable) Close() error { return nil }

// unasked is a source that nobody may ask.
func unasked(t testing.TB) verifier.SecretFunc {
	return func(context.Context, string) ([]walletcrew.Secret, error) {
		t.Helper()
		assert.Fail(t, "the source was asked for secrets, though the delivery must be refused before")
		return nil, nil
	}
}
