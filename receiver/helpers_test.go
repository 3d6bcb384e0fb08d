package receiver_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"testing"

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

func silentLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func verifierOf(t testing.TB, source verifier.SecretSource, opts ...verifier.Option) *verifier.Verifier {
	t.Helper()
	v, err := verifier.New(source, opts...)
	require.NoError(t, err)
	return v
}

// clientOf is of a tenant with one webhook, whose secret is knownSecret.
func clientOf(t testing.TB, tenant string) *walletcrew.Client {
	t.Helper()
	list := []byte(`[{"id":"w1","endpoint":"https://shop.example/hooks","events":["*"],"enabled":true,"signatureSecret":"` + string(knownSecret) + `"}]`)
	client, err := walletcrew.NewClient(tenant, walletcrew.WithAPIKey("key"), walletcrew.WithHTTPClient(&http.Client{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Request: r, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(list))}, nil
		}),
	}))
	require.NoError(t, err)
	return client
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// onceEach requires that each of n events was completed once. It shows the first that weren't, since one fault shows in all of them.
func onceEach(t *testing.T, n int, times func(i int) int) {
	t.Helper()
	const most = 5
	wrong := 0
	for i := range n {
		if got := times(i); got != 1 {
			if wrong++; wrong <= most {
				t.Errorf("event %d was completed %d times, expected once", i, got)
			}
		}
	}
	if wrong > most {
		t.Errorf("and %d more", wrong-most)
	}
}
