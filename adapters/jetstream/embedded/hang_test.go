//go:build unix

package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/internal/suite"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// A server that hangs takes no bytes: once the socket's buffers are full, a write to it blocks, and with it all that use the
// connection, until FlusherTimeout ends it.
func TestAHungServerHoldsDeliveriesNoLongerThanTheirTime(t *testing.T) {
	const senders, bodySize, limit = 64, 300 << 10, 2 * time.Second
	server := startProcess(t, embedded.Options{Dir: t.TempDir(), Listen: freeAddress(t), SyncInterval: time.Minute})
	nc, err := jetstream.Connect(server.url, nats.Timeout(10*time.Second))
	require.NoError(t, err)
	defer nc.Close()
	stream, err := jetstream.EnsureStream(t.Context(), nc, jetstream.StreamConfig{})
	require.NoError(t, err)
	p, err := jetstream.NewPublisher(t.Context(), stream)
	require.NoError(t, err)
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	h := receiver.NewHandler(v, p.Handle, receiver.WithTimeout(limit), receiver.WithLogger(suite.Quiet))

	var acked, refused, slowest, fastest atomic.Int64 // fastest: of those that were refused
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	for n := range senders {
		running.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				body := append(fmt.Appendf(nil, `{"__id":"%d-%d","x":"`, n, i), bytes.Repeat([]byte("x"), bodySize)...)
				body = append(body, `"}`...)
				r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
				r.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(secret, body))
				r.Header.Set(walletcrew.HeaderEventName, "Pass:Installed")
				r.Header.Set(walletcrew.HeaderTenantID, "acme")
				w := httptest.NewRecorder()
				began := time.Now()
				h.ServeHTTP(w, r)
				took := int64(time.Since(began))
				for old := slowest.Load(); took > old && !slowest.CompareAndSwap(old, took); old = slowest.Load() {
				}
				switch w.Code {
				case http.StatusNoContent:
					acked.Add(1)
				case http.StatusServiceUnavailable:
					refused.Add(1)
					for old := fastest.Load(); took < old && !fastest.CompareAndSwap(old, took); old = fastest.Load() {
					}
					time.Sleep(20 * time.Millisecond)
				default:
					t.Error("answered", w.Code)
				}
			}
		})
	}
	until := func(n int64) {
		t.Helper()
		n += acked.Load()
		require.Eventually(t, func() bool { return acked.Load() >= n }, suite.Patience, 5*time.Millisecond)
	}
	until(2 * senders)
	require.NoError(t, server.cmd.Process.Signal(syscall.SIGSTOP))
	calm := time.Duration(slowest.Swap(0))
	fastest.Store(int64(time.Hour))
	var goroutines int
	var heap uint64
	var stood time.Duration // how long the machine, or this process, stood still meanwhile
	const pause = 50 * time.Millisecond
	for began, last := time.Now(), time.Now(); time.Since(began) < 4*limit; time.Sleep(pause) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		goroutines, heap = max(goroutines, runtime.NumGoroutine()), max(heap, m.HeapAlloc)
		stood += max(0, time.Since(last)-2*pause)
		last = time.Now()
	}
	before := acked.Load()
	answered, longest, shortest := refused.Load(), time.Duration(slowest.Load()), time.Duration(fastest.Load())
	require.NoError(t, server.cmd.Process.Signal(syscall.SIGCONT))
	continued := time.Now()
	until(senders)
	recovered := time.Since(continued)
	stop()
	running.Wait()
	t.Logf("%d acknowledged before, in %s at most; %d refused in %s, the slowest in %s, the fastest in %s, up to %d goroutines and %d MiB; recovered after %s",
		before, calm.Round(time.Millisecond), answered, 4*limit, longest.Round(time.Millisecond), shortest.Round(time.Millisecond), goroutines, heap>>20, recovered.Round(time.Millisecond))
	assert.Less(t, longest, limit+max(1500*time.Millisecond, 4*calm)+stood, "no delivery waits longer than its time, but for a busy machine")
	assert.Less(t, shortest, limit/4, "once a write has failed, deliveries are refused at once")
	assert.Less(t, goroutines, 4*senders+40, "what was answered doesn't go on waiting")
	assert.Less(t, heap, uint64(400<<20), "the bodies of what was answered are let go")
}
