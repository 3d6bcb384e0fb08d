package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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

const secret = walletcrew.Secret("k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E")

// drain takes what is in the stream, until it has n different events or none comes for a while.
func drain(t *testing.T, nc *nats.Conn, n int) map[string]bool {
	t.Helper()
	stream, err := jetstream.OpenStream(t.Context(), nc, jetstream.StreamConfig{})
	require.NoError(t, err)
	ids := make(chan string, 1000)
	c, err := jetstream.NewConsumer(t.Context(), stream, func(_ context.Context, e *walletcrew.Event) error { ids <- e.ID; return nil }, jetstream.ConsumerConfig{Logger: suite.Quiet})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- c.Run(ctx) }()
	got := map[string]bool{}
	for len(got) < n {
		select {
		case id := <-ids:
			got[id] = true
		case <-time.After(suite.Patience): // twice AckWait: what came to a worker that was cut off comes again
			n = 0
		}
	}
	cancel()
	for {
		select {
		case <-ids:
		case err := <-result:
			require.NoError(t, err)
			return got
		}
	}
}

// load delivers over HTTP, as the platform would, each event until it is answered with 2xx, some twice; and handles them with a
// worker meanwhile.
type load struct {
	t       *testing.T
	nc      *nats.Conn
	handler http.Handler

	mu       sync.Mutex
	acked    map[string]time.Time
	answers  map[int]int
	handled  map[string]int
	lastGood time.Time
	latest   time.Time // the beginning of the last delivery to begin that was acknowledged
	slowest  time.Duration

	stopSending, stopWorking context.CancelFunc

	senders sync.WaitGroup
	worker  chan error
}

func startLoad(t *testing.T, nc *nats.Conn, cfg jetstream.StreamConfig) *load {
	t.Helper()
	l := &load{t: t, nc: nc, acked: map[string]time.Time{}, answers: map[int]int{}, handled: map[string]int{}, worker: make(chan error, 1)}
	var stream *jetstream.Stream
	var err error
	require.Eventually(t, func() bool { // a cluster needs a moment
		stream, err = jetstream.EnsureStream(t.Context(), nc, cfg)
		return err == nil
	}, suite.Patience, 100*time.Millisecond)
	p, err := jetstream.NewPublisher(t.Context(), stream)
	require.NoError(t, err)
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	l.handler = receiver.NewHandler(v, p.Handle, receiver.WithLogger(suite.Quiet))
	c, err := jetstream.NewConsumer(t.Context(), stream, func(_ context.Context, e *walletcrew.Event) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.handled[e.ID]++
		return nil
	}, jetstream.ConsumerConfig{Logger: suite.Quiet, AckWait: 2 * time.Second})
	require.NoError(t, err)
	working, stopWorking := context.WithCancel(context.Background())
	ctx, stopSending := context.WithCancel(working)
	l.stopSending, l.stopWorking = stopSending, stopWorking
	t.Cleanup(stopWorking)
	go func() { l.worker <- c.Run(working) }()
	for n := range 8 {
		l.senders.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", n, i)
				for l.deliver(id) >= 300 && ctx.Err() == nil {
					time.Sleep(20 * time.Millisecond)
				}
				if rand.N(5) == 0 {
					l.deliver(id)
				}
			}
		})
	}
	return l
}

func (l *load) deliver(id string) int {
	body := []byte(`{"__id":"` + id + `","passId":"p-1001","device":"apple"}`)
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	r.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(secret, body))
	r.Header.Set(walletcrew.HeaderEventName, "Pass:Installed")
	r.Header.Set(walletcrew.HeaderTenantID, "acme")
	w := httptest.NewRecorder()
	began := time.Now()
	l.handler.ServeHTTP(w, r)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[w.Code]++
	l.slowest = max(l.slowest, time.Since(began))
	if w.Code < 300 {
		l.lastGood = time.Now()
		if began.After(l.latest) {
			l.latest = began
		}
		if _, ok := l.acked[id]; !ok {
			l.acked[id] = l.lastGood
		}
	}
	return w.Code
}

// nothingSince asserts that no delivery was acknowledged that began later.
func (l *load) nothingSince(began time.Time, message string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	assert.False(l.t, l.latest.After(began), message)
}

// until waits for n further events to be acknowledged, and returns how long the first took.
func (l *load) until(n int) time.Duration {
	l.t.Helper()
	count := func() (int, time.Time) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acked), l.lastGood
	}
	began := time.Now()
	have, _ := count()
	var first time.Duration
	require.Eventually(l.t, func() bool {
		now, last := count()
		if first == 0 && now > have {
			first = last.Sub(began)
		}
		return now >= have+n
	}, 2*suite.Patience, 5*time.Millisecond, "the receiver must recover by itself")
	return first
}

func (l *load) end() {
	l.t.Helper()
	missing := func() (ids []string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for id := range l.acked {
			if l.handled[id] == 0 {
				ids = append(ids, id)
			}
		}
		return ids
	}
	l.stopSending()
	l.senders.Wait()
	assert.Eventually(l.t, func() bool { return len(missing()) == 0 }, suite.Patience, 50*time.Millisecond)
	ids := missing()
	assert.Empty(l.t, ids, "%d acknowledged events are lost", len(ids))
	l.stopWorking()
	assert.NoError(l.t, <-l.worker)
	l.mu.Lock()
	defer l.mu.Unlock()
	twice := 0
	for _, n := range l.handled {
		if n > 1 {
			twice++
		}
	}
	for status := range l.answers {
		assert.Contains(l.t, []int{204, 503}, status)
	}
	l.t.Logf("%d acknowledged, %d handled, %d of them more than once, answers %v, slowest answer %s", len(l.acked), len(l.handled), twice, l.answers, l.slowest.Round(time.Millisecond))
}

func TestAServerThatDiesUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		signal syscall.Signal
		sync   time.Duration
	}{
		"killed":                      {syscall.SIGKILL, 0},
		"killed, synced now and then": {syscall.SIGKILL, time.Minute},
		"stopped":                     {syscall.SIGTERM, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := embedded.Options{Dir: t.TempDir(), Listen: freeAddress(t), SyncInterval: c.sync}
			server := startProcess(t, o)
			nc, err := jetstream.Connect(server.url, nats.Timeout(10*time.Second))
			require.NoError(t, err)
			defer nc.Close()
			l := startLoad(t, nc, jetstream.StreamConfig{})
			for range 3 {
				l.until(300)
				server.stop(c.signal)
				gone := time.Now()
				time.Sleep(500 * time.Millisecond)
				l.nothingSince(gone, "nothing may be acknowledged while the server is away")
				server = startProcess(t, o)
				recovered := l.until(100)
				assert.Less(t, recovered, 15*time.Second)
				t.Logf("recovered %s after the server's return", recovered.Round(time.Millisecond))
			}
			l.end()
		})
	}
}

func TestAServerOfAClusterDiesUnderLoadAndNothingIsLost(t *testing.T) {
	t.Parallel()
	var options []embedded.Options
	var routes, urls []string
	for range 3 {
		routes = append(routes, freeAddress(t))
	}
	for i, route := range routes {
		options = append(options, embedded.Options{
			Dir:          t.TempDir(),
			Listen:       freeAddress(t),
			SyncInterval: time.Minute, // the other replicas have it
			Cluster:      &embedded.Cluster{Name: "test", ServerName: fmt.Sprintf("n%d", i), Listen: route, Routes: routes},
		})
	}
	servers := map[string]*process{}
	for _, o := range options {
		servers[o.Cluster.ServerName] = startProcess(t, o)
		urls = append(urls, servers[o.Cluster.ServerName].url)
	}
	nc, err := jetstream.Connect(strings.Join(urls, ","), nats.Timeout(10*time.Second))
	require.NoError(t, err)
	defer nc.Close()
	l := startLoad(t, nc, jetstream.StreamConfig{Replicas: 3})
	js, err := nc.JetStream()
	require.NoError(t, err)
	for range 3 {
		l.until(300)
		var leader string
		require.Eventually(t, func() bool {
			info, err := js.StreamInfo("WALLETCREW")
			if err != nil || info.Cluster == nil || info.Cluster.Leader == "" {
				return false
			}
			leader = info.Cluster.Leader
			for _, peer := range info.Cluster.Replicas {
				if !peer.Current || peer.Offline {
					return false
				}
			}
			return true
		}, 2*suite.Patience, 50*time.Millisecond)
		servers[leader].stop(syscall.SIGKILL)
		recovered := l.until(300) // by the two that are left
		t.Logf("recovered %s after the stream's leader was killed", recovered.Round(time.Millisecond))
		assert.Less(t, recovered, suite.Patience)
		for _, o := range options {
			if o.Cluster.ServerName == leader {
				servers[leader] = startProcess(t, o)
			}
		}
	}
	l.end()
}
