package verifier_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// How much is allocated for a delivery; how long it takes is for benchmarks/. TestVerifyAllocatesNothingOfItsOwn is in verifier_test.go.
// None is parallel: AllocsPerRun counts what others allocate.

// installedBody is a Pass:Installed of 600 bytes with all the members that the platform's other integrations carry.
var installedBody = []byte(`{"__id":"0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10","__timestamp":"2026-11-23T10:11:12.131Z",` +
	`"passId":"p-10012","passType":"loyalty-card","passKind":"customerCard",` +
	`"identifiers":{"customerId":"C-421234","email":"ada.lovelace@shop.example","crmNumber":4711},` +
	`"metadata":{"store":"Paris 9","language":"fr","points":120},"device":"apple",` +
	`"additionalInformation":{"registrationInformation":{"activeRegistrationCount":1,"totalRegistrationCount":3},` +
	`"registrationSource":{"tags":["spring","newsletter"],"medium":"email","origin":"https://shop.example/app",` +
	`"userAgent":"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1)"}}}`)

func TestVerifyAllocatesLittleMoreThanTheSecretFunc(t *testing.T) {
	if raceDetector {
		t.Skip("allocations say nothing while the race detector is on")
	}
	lookUp := func(_ context.Context, tenantID string) ([]walletcrew.Secret, error) {
		return []walletcrew.Secret{knownSecret, walletcrew.Secret(strings.Repeat(tenantID, 10))}, nil
	}
	alone := testing.AllocsPerRun(200, func() { lookedUp, _ = lookUp(context.Background(), "acme") })
	require.InDelta(t, 2.0, alone, 0, "the slice and the string")
	v := verifierOf(t, verifier.SecretFunc(lookUp))
	for _, size := range []int{512, 2 << 10, 64 << 10} {
		body := paddedBody(size)
		signature := walletcrew.Sign(knownSecret, body)
		var err error
		allocs := testing.AllocsPerRun(50, func() { err = v.Verify(context.Background(), "acme", body, signature) })
		require.NoError(t, err)
		assert.LessOrEqual(t, allocs, alone+7, "%d bytes: only the user's function allocates, and crypto/hmac for its secret", size)
	}
}

var lookedUp []walletcrew.Secret // where the compiler can't tell what becomes of them

func TestEventFromAllocatesLittle(t *testing.T) {
	if raceDetector {
		t.Skip("allocations say nothing while the race detector is on")
	}
	v := verifierOf(t, verifier.Static(knownSecret))
	header := signedHeaders(installedBody).get
	var e *walletcrew.Event
	var err error
	allocs := testing.AllocsPerRun(200, func() { e, err = v.EventFrom(context.Background(), header, installedBody) })
	require.NoError(t, err)
	require.IsType(t, &walletcrew.PassInstalled{}, e.Data)
	assert.LessOrEqual(t, allocs, 16.0, "the event, its payload, and one copy of the body for all its strings: not one for each member")
}

func TestServeHTTPAllocatesLittle(t *testing.T) {
	if raceDetector {
		t.Skip("allocations say nothing while the race detector is on")
	}
	// As net/http's server hands it over: the context can be cancelled, and names the server.
	ctx := context.WithValue(t.Context(), http.ServerContextKey, &http.Server{ReadHeaderTimeout: time.Minute})
	var body bytes.Reader
	r := posted(installedBody).WithContext(ctx)
	r.Body = io.NopCloser(&body)
	handled := 0
	h := verifier.NewHandler(verifierOf(t, verifier.Static(knownSecret)), func(context.Context, *walletcrew.Event) error {
		handled++
		return nil
	})
	w := &statusOnly{header: http.Header{}}
	allocs := testing.AllocsPerRun(200, func() {
		body.Reset(installedBody)
		h.ServeHTTP(w, r)
	})
	require.Equal(t, http.StatusNoContent, w.status)
	require.Equal(t, 201, handled, "AllocsPerRun runs it once more, to warm up")
	assert.LessOrEqual(t, allocs, 20.0, "of which net/http's own are none, and the event's twelve")
}

// statusOnly is a response that goes nowhere, and takes deadlines as net/http's does.
type statusOnly struct {
	header http.Header
	status int
}

func (w *statusOnly) Header() http.Header             { return w.header }
func (w *statusOnly) Write(p []byte) (int, error)     { return len(p), nil }
func (w *statusOnly) WriteHeader(status int)          { w.status = status }
func (w *statusOnly) SetReadDeadline(time.Time) error { return nil }
