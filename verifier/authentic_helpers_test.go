package verifier_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// The vector for the signature: computed with OpenSSL and with Python, not with this module.
const (
	knownSecret = walletcrew.Secret("k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E")
	knownBody   = `{"__id":"0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10","passId":"p-1001","passType":"user","identifiers":{"customerId":"C-42"},"device":"apple"}`
	knownHex    = "5c979b2f309a6023a40fb8d84bf7709286b14f1086b59235871333b6101b9360"
	knownBase64 = "XJebLzCaYCOkD7jYS/dwkoaxTxCGtZI1hxMzthAbk2A="

	otherSecret = walletcrew.Secret("Zz0Yx9Wv8Ut7Sr6Qp5On4Ml3Kj2Ih1Gf0Ed9Cb8Az7Yx6Wv5Ut4Sr3Qp2On1Ml0K")
)

// nowhere is a signature of the right form that no secret here makes.
const nowhere = "0000000000000000000000000000000000000000000000000000000000000000"

func verifierOf(t testing.TB, source verifier.SecretSource, opts ...verifier.Option) *verifier.Verifier {
	t.Helper()
	v, err := verifier.New(source, opts...)
	require.NoError(t, err)
	return v
}

// posted is a delivery as net/http hands it over: signed with knownSecret, of tenant "acme", a Pass:Installed.
func posted(body []byte) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/webhooks", bytes.NewReader(body))
	r.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(knownSecret, body))
	r.Header.Set(walletcrew.HeaderEventName, string(walletcrew.EventPassInstalled))
	r.Header.Set(walletcrew.HeaderTenantID, "acme")
	return r
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

// paddedBody is a JSON object of exactly n bytes.
func paddedBody(n int) []byte {
	const frame = `{"__id":"1","pad":""}`
	body := make([]byte, 0, n)
	body = append(body, frame[:len(frame)-2]...)
	body = append(body, bytes.Repeat([]byte{'x'}, n-len(frame))...)
	return append(body, `"}`...)
}
