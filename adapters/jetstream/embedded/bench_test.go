package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/internal/suite"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// BenchmarkHandOver compares deliveries over HTTP, verified and published, with a bare JetStream publish of the same bodies, in
// turns on one server: the share is what is left of the bare publish. Unpublished is HTTP and verification alone: where that isn't
// much faster than the bare publish, the share can't be near 1, since all runs on the same cores. With WALLETCREW_TEST_NATS it runs on that server, too.
//
//	go test -run - -bench HandOver -benchtime 20000x
func BenchmarkHandOver(b *testing.B) {
	servers := map[string]func(*testing.B) *nats.Conn{
		"embedded, sync always": func(b *testing.B) *nats.Conn { return embeddedConn(b, 0) },
		"embedded, sync 2m":     func(b *testing.B) *nats.Conn { return embeddedConn(b, 2*time.Minute) },
	}
	if url := os.Getenv("WALLETCREW_TEST_NATS"); url != "" {
		servers["installed"] = func(b *testing.B) *nats.Conn {
			nc, err := jetstream.Connect(url)
			require.NoError(b, err)
			b.Cleanup(nc.Close)
			return nc
		}
	}
	for name, connect := range servers {
		for _, concurrency := range []int{8, 64} {
			b.Run(fmt.Sprintf("%s/%d at once", name, concurrency), func(b *testing.B) { handOver(b, connect(b), concurrency) })
		}
	}
}

func embeddedConn(b *testing.B, sync time.Duration) *nats.Conn {
	s := start(b, embedded.Options{Dir: b.TempDir(), SyncInterval: sync, Logger: slog.New(slog.DiscardHandler)})
	nc, err := s.Connect()
	require.NoError(b, err)
	b.Cleanup(nc.Close)
	return nc
}

func handOver(b *testing.B, nc *nats.Conn, concurrency int) {
	name := fmt.Sprintf("WCBENCH_%d", time.Now().UnixNano())
	stream, err := jetstream.EnsureStream(b.Context(), nc, jetstream.StreamConfig{Name: name, Prefix: strings.ToLower(name)})
	require.NoError(b, err)
	js, err := natsjs.New(nc)
	require.NoError(b, err)
	b.Cleanup(func() {
		if !nc.IsClosed() {
			_ = js.DeleteStream(context.Background(), name)
			_ = js.DeleteStream(context.Background(), name+"_DEAD")
		}
	})
	p, err := jetstream.NewPublisher(b.Context(), stream)
	require.NoError(b, err)
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(b, err)
	publishing := httptest.NewServer(receiver.NewHandler(v, p.Handle))
	defer publishing.Close()
	idle := httptest.NewServer(receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error { return nil }))
	defer idle.Close()
	subject := strings.ToLower(name) + ".acme.Pass.Installed"

	bodies, requests := make([][]byte, b.N), make([]string, b.N)
	for i := range bodies {
		bodies[i] = fmt.Appendf(nil, `{"__id":"%08d-6f0e-4c55-9a55-0a3c2f5f9d10","passId":"p-%d","passType":"user","identifiers":{"customerId":"C-42"},"device":"apple"}`, i, i)
		requests[i] = fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s: %s\r\n%s: Pass:Installed\r\n%s: acme\r\nContent-Length: %d\r\n\r\n%s",
			walletcrew.HeaderSignature, walletcrew.Sign(secret, bodies[i]), walletcrew.HeaderEventName, walletcrew.HeaderTenantID, len(bodies[i]), bodies[i])
	}
	// In short rounds, so that all see the same machine.
	const rounds = 25
	var bare, delivered, unpublished time.Duration
	toReceiver, toIdle := dial(b, publishing, concurrency), dial(b, idle, concurrency)
	b.ResetTimer()
	for round := range rounds {
		from, to := round*b.N/rounds, (round+1)*b.N/rounds
		bare += timed(concurrency, from, to, func(_ int, next func() (int, bool)) {
			for i, ok := next(); ok; i, ok = next() {
				if _, err := js.Publish(b.Context(), subject, bodies[i]); err != nil {
					b.Error(err)
					return
				}
			}
		})
		delivered += timed(concurrency, from, to, func(worker int, next func() (int, bool)) { send(b, toReceiver[worker], requests, next) })
		unpublished += timed(concurrency, from, to, func(worker int, next func() (int, bool)) { send(b, toIdle[worker], requests, next) })
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/bare.Seconds(), "bare/s")
	b.ReportMetric(float64(b.N)/delivered.Seconds(), "deliveries/s")
	b.ReportMetric(float64(b.N)/unpublished.Seconds(), "unpublished/s")
	b.ReportMetric(bare.Seconds()/delivered.Seconds(), "share")
	b.ReportMetric(0, "ns/op")
}

func timed(concurrency, from, to int, work func(worker int, next func() (int, bool))) time.Duration {
	var at atomic.Int64
	at.Store(int64(from))
	began := time.Now()
	var workers sync.WaitGroup
	for worker := range concurrency {
		workers.Go(func() {
			work(worker, func() (int, bool) {
				i := int(at.Add(1)) - 1
				return i, i < to
			})
		})
	}
	workers.Wait()
	return time.Since(began)
}

func dial(b *testing.B, server *httptest.Server, number int) []net.Conn {
	conns := make([]net.Conn, number)
	for i := range conns {
		var err error
		conns[i], err = net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(b, err)
		b.Cleanup(func() { _ = conns[i].Close() })
	}
	return conns
}

// send delivers over one connection. It is as little of an HTTP client as possible, since it runs on the receiver's cores.
func send(b *testing.B, conn net.Conn, requests []string, next func() (int, bool)) {
	in := bufio.NewReader(conn)
	for i, ok := next(); ok; i, ok = next() {
		if _, err := io.WriteString(conn, requests[i]); err != nil {
			b.Error(err)
			return
		}
		status, err := in.ReadString('\n')
		if err != nil || !strings.HasPrefix(status, "HTTP/1.1 "+fmt.Sprint(http.StatusNoContent)) {
			b.Error(status, err)
			return
		}
		for line := ""; line != "\r\n"; {
			if line, err = in.ReadString('\n'); err != nil {
				b.Error(err)
				return
			}
		}
	}
}

// BenchmarkSizes measures what an event of 600 bytes takes: on the stream's disk, and in the server's memory for the duplicate
// window, which is what is left when the stream was emptied.
//
//	go test -run - -bench Sizes -benchtime 100000x
func BenchmarkSizes(b *testing.B) {
	dir := b.TempDir()
	s := start(b, embedded.Options{Dir: dir, SyncInterval: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	nc, err := s.Connect()
	require.NoError(b, err)
	b.Cleanup(nc.Close)
	stream, err := jetstream.EnsureStream(b.Context(), nc, jetstream.StreamConfig{})
	require.NoError(b, err)
	p, err := jetstream.NewPublisher(b.Context(), stream)
	require.NoError(b, err)
	before := heap()
	timed(32, 0, b.N, func(_ int, next func() (int, bool)) {
		for i, ok := next(); ok; i, ok = next() {
			e, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, installed(i))
			if err == nil {
				e.TenantID = "acme"
				err = p.Handle(suite.Keyed(b.Context(), e), e)
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
	var onDisk int64
	require.NoError(b, filepath.WalkDir(filepath.Join(dir, "jetstream", "$G", "streams", "WALLETCREW", "msgs"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		onDisk += info.Size()
		return err
	}))
	js, err := natsjs.New(nc)
	require.NoError(b, err)
	info, err := js.Stream(b.Context(), "WALLETCREW")
	require.NoError(b, err)
	accounted := info.CachedInfo().State.Bytes
	require.NoError(b, info.Purge(b.Context()))
	after := heap()
	b.ReportMetric(float64(len(installed(b.N))), "body-B/event")
	b.ReportMetric(float64(onDisk)/float64(b.N), "disk-B/event")
	b.ReportMetric(float64(accounted)/float64(b.N), "MaxBytes-B/event")
	b.ReportMetric(float64(after-before)/float64(b.N), "memory-B/event")
	b.ReportMetric(0, "ns/op")
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers held
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// installed is a Pass:Installed of about 600 bytes.
func installed(i int) []byte {
	return fmt.Appendf(nil, `{"__id":"%08d-6f0e-4c55-9a55-0a3c2f5f9d10","passId":"%08d-4b1c-4f0e-8d35-5e0f6c1b7a21","passType":"loyalty-card-2026","passKind":"customerCard",`+
		`"identifiers":{"customerId":"C-%08d","email":"someone.%08d@customers.example","phone":"+33 6 12 34 56 78"},"metadata":{"store":"Paris-Rivoli","language":"fr-FR","level":"gold"},`+
		`"device":"apple","additionalInformation":{"registrationInformation":{"activeRegistrationCount":1,"totalRegistrationCount":2},`+
		`"registrationSource":{"tags":["instore","poster"],"medium":"qr","origin":"https://shop.example/loyalty","userAgent":"Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X)"}}}`, i, i, i, i)
}
