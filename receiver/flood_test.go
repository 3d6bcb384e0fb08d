package receiver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// A flood of forged deliveries of the largest size must not take the receiver's memory. Not parallel: it measures the heap.
//
// It sends 500 requests each way, fewer with -short or -race; with WALLETCREW_LONG=1 in the environment, the 10,000 of issue 4.
func TestAFloodOfLargeForgedDeliveriesStaysUnder200MiB(t *testing.T) {
	const atOnce, most = 64, 200 << 20
	requests := 500
	switch {
	case os.Getenv("WALLETCREW_LONG") == "1":
		requests = 10_000
	case testing.Short() || raceDetector:
		requests = 200
	}
	mib := string(paddedBody(1 << 20))
	head := "POST / HTTP/1.1\r\nHost: receiver.example\r\nX-Neostore-Signature: " + nowhere + "\r\n"
	for how, request := range map[string]string{
		"with a Content-Length": head + "Content-Length: 1048576\r\n\r\n" + mib,
		"in chunks":             head + "Transfer-Encoding: chunked\r\n\r\n" + chunks(mib, 32<<10, ""),
	} {
		t.Run(how, func(t *testing.T) {
			server := httptest.NewServer(receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)),
				func(context.Context, *walletcrew.Event) error {
					assert.Fail(t, "the function ran for a forged delivery")
					return nil
				}, receiver.WithLogger(silentLog())))
			defer server.Close()

			runtime.GC()
			stop, sampled := make(chan struct{}), make(chan runtime.MemStats)
			go peakHeap(stop, sampled)
			began := time.Now()
			var left atomic.Int64
			left.Store(int64(requests))
			var wg sync.WaitGroup
			for range atOnce {
				wg.Go(func() { assert.NoError(t, flood(server.Listener.Addr().String(), request, &left)) })
			}
			wg.Wait()
			took := time.Since(began)
			close(stop)
			peak := <-sampled
			t.Logf("%d requests of 1 MiB, %d at a time, in %v: the heap's peak is %d MiB allocated, %d MiB in use",
				requests, atOnce, took.Round(time.Millisecond), peak.HeapAlloc>>20, peak.HeapInuse>>20)
			assert.Less(t, peak.HeapInuse, uint64(most), "the heap stays under 200 MiB")
			assert.Less(t, peak.HeapAlloc, uint64(most), "the heap stays under 200 MiB")
		})
	}
}

// peakHeap sends the highest numbers that it saw until stop.
func peakHeap(stop <-chan struct{}, result chan<- runtime.MemStats) {
	var peak, now runtime.MemStats
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		runtime.ReadMemStats(&now)
		peak.HeapAlloc, peak.HeapInuse = max(peak.HeapAlloc, now.HeapAlloc), max(peak.HeapInuse, now.HeapInuse)
		select {
		case <-tick.C:
		case <-stop:
			result <- peak
			return
		}
	}
}

// flood sends the request over one connection for as long as any are left. All floods share the request's bytes.
func flood(address, request string, left *atomic.Int64) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	out := struct{ io.Writer }{conn} // without ReadFrom
	buf := make([]byte, 32<<10)
	for left.Add(-1) >= 0 {
		if _, err := io.CopyBuffer(out, struct{ io.Reader }{strings.NewReader(request)}, buf); err != nil {
			return err
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("a forged delivery was answered with %d", resp.StatusCode)
		}
	}
	return nil
}

// A sender may open many connections, promise a lot on each and send nothing. Not parallel: it measures the heap.
func TestManyPromisesOfLargeBodiesTakeLittleMemory(t *testing.T) {
	const connections = 500
	server := httptest.NewServer(receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)),
		func(context.Context, *walletcrew.Event) error { return nil }, receiver.WithLogger(silentLog())))
	defer server.Close()
	runtime.GC()
	var before, during runtime.MemStats
	runtime.ReadMemStats(&before)
	head := "POST / HTTP/1.1\r\nHost: receiver.example\r\nX-Neostore-Signature: " + nowhere + "\r\nExpect: 100-continue\r\nContent-Length: 1048576\r\n\r\n"
	for range connections {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		_, err = io.WriteString(conn, head)
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusContinue, resp.StatusCode, "the handler waits for the body now")
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	each := int64(during.HeapInuse-before.HeapInuse) / connections
	t.Logf("%d promises of 1 MiB hold %d KiB each", connections, each>>10)
	assert.Less(t, each, int64(200<<10), "a promise of 1 MiB of which nothing came may not hold 1 MiB")
}
