package verifier_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// A maintenance is a gateway that may answer in the API's place, with 200 and an array.
type maintenance struct {
	http.RoundTripper
	on atomic.Bool
}

func (m *maintenance) RoundTrip(r *http.Request) (*http.Response, error) {
	if !m.on.Load() {
		return m.RoundTripper.RoundTrip(r)
	}
	return &http.Response{
		StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Request: r, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(`[{"error":"maintenance"}]`)), ContentLength: -1,
	}, nil
}

func TestFromAPIForgetsNoSecretForAListThatIsNotTheAPIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(knownSecret)
		gateway := &maintenance{RoundTripper: api}
		v := verifierOf(t, verifier.FromAPI(api.client(t, walletcrew.WithHTTPClient(&http.Client{Transport: gateway}))))
		require.Equal(t, 204, sentWith(v, knownSecret))
		gateway.on.Store(true)
		time.Sleep(21 * time.Minute) // the next delivery waits for a new list
		assert.Equal(t, 204, sentWith(v, knownSecret))
		time.Sleep(time.Minute)
		assert.Equal(t, 204, sentWith(v, knownSecret))
	})
}
