package receiver_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/sample"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

var installedBody = []byte(sample.Installed)

// How much is allocated for a delivery. It isn't parallel: AllocsPerRun counts what others allocate.
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
	h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), func(context.Context, *walletcrew.Event) error {
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
	assert.LessOrEqual(t, allocs, 25.0, "the event takes nine, the time limit and the delivery thirteen, the key two")
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

// BenchmarkServeHTTP is a delivery as net/http's server hands it over, without the network: benchmarks/ has that.
func BenchmarkServeHTTP(b *testing.B) {
	for name, opts := range map[string][]receiver.HandlerOption{
		"alone": nil, "memory": {receiver.WithDeduper(receiver.NewMemoryDeduper(1<<16, 0))},
	} {
		b.Run(name, func(b *testing.B) {
			v, err := verifier.New(verifier.Static(sample.Secret))
			require.NoError(b, err)
			h := receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error { return nil }, opts...)
			ctx, cancel := context.WithCancel(context.WithValue(b.Context(), http.ServerContextKey, &http.Server{ReadHeaderTimeout: time.Minute}))
			defer cancel()
			const ready = 4096 // signing isn't measured
			var bodies [ready][]byte
			var signatures [ready][]string
			sign := func(round int) {
				for i := range ready {
					bodies[i] = bytes.Replace(installedBody, []byte("0b9d3a52"), fmt.Appendf(nil, "%08d", round*ready+i), 1)
					signatures[i] = []string{walletcrew.Sign(sample.Secret, bodies[i])}
				}
			}
			var body bytes.Reader
			r := posted(installedBody).WithContext(ctx)
			r.Body = io.NopCloser(&body)
			w := &statusOnly{header: http.Header{}}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i%ready == 0 {
					b.StopTimer()
					sign(i / ready)
					b.StartTimer()
				}
				body.Reset(bodies[i%ready])
				r.Header[walletcrew.HeaderSignature] = signatures[i%ready]
				h.ServeHTTP(w, r)
				if w.status != http.StatusNoContent {
					b.Fatal(w.status)
				}
				i++
			}
		})
	}
}
