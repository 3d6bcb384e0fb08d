package redisdedupe_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/redisdedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

const secret walletcrew.Secret = "the secret of the tests of redisdedupe"

// A receiver is a handler with a deduper, and counts what its function was called with.
type service struct {
	handler http.Handler
	mu      sync.Mutex
	runs    map[string]int
}

func newReceiver(t *testing.T, d receiver.Deduper) *service {
	t.Helper()
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	r := &service{runs: map[string]int{}}
	r.handler = receiver.NewHandler(v, func(_ context.Context, e *walletcrew.Event) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.runs[e.ID]++
		return nil
	}, receiver.WithDeduper(d), receiver.WithLogger(slog.New(slog.DiscardHandler)))
	return r
}

func (r *service) deliver(id string) int {
	body := fmt.Appendf(nil, `{"__id":%q,"passId":"p-1"}`, id)
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, walletcrewtest.NewRequest("/hook", secret, "shop", walletcrew.EventPassCreated, body))
	return w.Code
}

func TestAnOutageIsAnsweredWith503AndEndsByItself(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d, err := redisdedupe.New(s.client(t), "orders")
	require.NoError(t, err)
	r := newReceiver(t, d)
	require.Equal(t, http.StatusNoContent, r.deliver("before"))

	s.kill(t)
	for i := range 20 {
		began := time.Now()
		assert.Equal(t, http.StatusServiceUnavailable, r.deliver(fmt.Sprint("during-", i)), "while the server is down")
		assert.Less(t, time.Since(began), patience/2, "an outage must not hold deliveries")
	}
	require.ErrorContains(t, d.Check(t.Context()), "the server can't be reached")

	s.start(t)
	require.Eventually(t, func() bool { return r.deliver("during-0") == http.StatusNoContent }, patience, 50*time.Millisecond,
		"it recovers by itself, and no lease, of 35 s, was taken")
	assert.Equal(t, http.StatusNoContent, r.deliver("before"))
	assert.Equal(t, 1, r.runs["before"], "what was done before is remembered, since the server keeps a log")
	assert.Equal(t, 1, r.runs["during-0"])
	assert.Zero(t, r.runs["during-1"], "a delivery that was answered with 503 must not have run")
}

// A server that doesn't answer is worse than one that is away.
func TestAServerThatHangsHoldsADeliveryNoLongerThanTheClientWaits(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	hasty, err := redisdedupe.New(s.client(t, func(o *redis.Options) { o.ReadTimeout = 200 * time.Millisecond }), "orders")
	require.NoError(t, err)
	patient, err := redisdedupe.New(s.client(t), "orders")
	require.NoError(t, err)
	r, other := newReceiver(t, hasty), newReceiver(t, patient)
	fresh := func() bool { // a new event each: 200 ms may be too little for one, whose lease is then held
		return r.deliver(rand.Text()) == http.StatusNoContent
	}
	require.Eventually(t, fresh, patience, 50*time.Millisecond)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGSTOP))
	began := time.Now()
	assert.Equal(t, http.StatusServiceUnavailable, r.deliver("during"))
	assert.Less(t, time.Since(began), 15*time.Second, "not the 25 s that the function has")
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGCONT))
	require.Eventually(t, fresh, patience, 50*time.Millisecond, "it recovers by itself")
	assert.Eventually(t, func() bool { return other.deliver("during") == http.StatusNoContent }, patience, 50*time.Millisecond,
		"the server took a lease for a claim that had been given up: it must not hold the event for the 35 s of the lease")
	assert.Zero(t, r.runs["during"])
	assert.Equal(t, 1, other.runs["during"])
}

func TestAFullServerIsAnsweredWith503(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	client := s.client(t)
	d, err := redisdedupe.New(client, "orders")
	require.NoError(t, err)
	require.NoError(t, d.Check(t.Context()))
	r := newReceiver(t, d)
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "1").Err())
	assert.Equal(t, http.StatusServiceUnavailable, r.deliver("e-1"))
	require.ErrorContains(t, d.Check(t.Context()), "the server is out of memory")
	assert.Zero(t, r.runs["e-1"])
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, client redis.UniversalClient) error {
		d, err := redisdedupe.New(client, "orders")
		require.NoError(t, err)
		return d.Check(t.Context())
	}
	t.Run("all is well", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, check(t, startServer(t).client(t)))
	})
	t.Run("no server", func(t *testing.T) {
		t.Parallel()
		s := startServer(t)
		s.kill(t)
		assert.ErrorContains(t, check(t, s.client(t)), "the server can't be reached")
	})
	t.Run("a password is wanted, or another", func(t *testing.T) {
		t.Parallel()
		s := startServer(t, "--requirepass", "right")
		require.ErrorContains(t, check(t, s.client(t)), "the server wants a password")
		err := check(t, s.client(t, func(o *redis.Options) { o.Password = "wrong-password" }))
		require.ErrorContains(t, err, "the server refuses the user name or password")
		assert.NotContains(t, err.Error(), "wrong-password")
		assert.NoError(t, check(t, s.client(t, func(o *redis.Options) { o.Password = "right" })))
	})
	t.Run("permissions", func(t *testing.T) {
		t.Parallel()
		s := startServer(t)
		admin := s.client(t)
		as := func(rules ...any) error {
			name := fmt.Sprint("user-", len(rules))
			require.NoError(t, admin.Do(t.Context(), append([]any{"ACL", "SETUSER", name, "on", ">pw"}, rules...)...).Err())
			return check(t, s.client(t, func(o *redis.Options) { o.Username, o.Password = name, "pw" }))
		}
		enough := rules("~walletcrew:dedupe:orders:* " + permissions)
		require.NoError(t, as(enough...), "what the README names is enough")
		readme, err := os.ReadFile("README.md")
		require.NoError(t, err)
		assert.Contains(t, string(readme), "`~walletcrew:dedupe:orders:* "+permissions+"`")
		assert.Contains(t, string(readme), "`"+clusterPermissions+"`")
		require.ErrorContains(t, as(enough[:len(enough)-1]...), "lacks a permission", "without time")
		require.ErrorContains(t, as(append([]any{"~walletcrew:dedupe:mails:*"}, append(enough[1:], "+echo")...)...), "lacks a permission", "on another name's keys")
		assert.ErrorContains(t, as(enough[:2]...), "lacks a permission", "ping alone")
	})
	t.Run("a replica", func(t *testing.T) {
		t.Parallel()
		primary := startServer(t)
		replica := startServer(t, "--replicaof", "127.0.0.1", fmt.Sprint(port(t, primary.addr)))
		client := replica.client(t)
		d, err := redisdedupe.New(client, "orders")
		require.NoError(t, err)
		says := func(call func() error, text string) { // at the latest once it has the primary's data: it may be loading that
			t.Helper()
			var err error
			for began := time.Now(); time.Since(began) < patience; time.Sleep(50 * time.Millisecond) {
				if err = call(); err != nil && strings.Contains(err.Error(), text) {
					return
				}
				require.Error(t, err)
			}
			require.ErrorContains(t, err, text)
		}
		says(func() error { return check(t, client) }, "the server is a replica")
		says(func() error {
			_, err := d.Claim(t.Context(), "key", time.Minute)
			return err
		}, "read-only replica")
	})
	t.Run("eviction", func(t *testing.T) {
		t.Parallel()
		for _, policy := range []string{"allkeys-lru", "volatile-ttl"} {
			err := check(t, startServer(t, "--maxmemory", "64mb", "--maxmemory-policy", policy).client(t))
			require.ErrorIs(t, err, redisdedupe.ErrEviction)
			require.ErrorContains(t, err, policy)
			require.ErrorContains(t, err, "set noeviction")
		}
		assert.NoError(t, check(t, startServer(t, "--maxmemory", "64mb", "--maxmemory-policy", "noeviction").client(t)))
		assert.NoError(t, check(t, startServer(t, "--maxmemory-policy", "allkeys-lru").client(t)), "without a limit nothing is evicted")
	})
}

// The first answer is lost with the lease in it, and what the client sends again is refused: a refusal says nothing of the first.
func TestALeaseIsGivenBackAlsoIfTheClientsOwnRetryIsRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	admin := s.client(t)
	require.NoError(t, admin.ConfigSet(t.Context(), "replica-serve-stale-data", "no").Err())
	var lose atomic.Bool
	d, err := redisdedupe.New(s.client(t, func(o *redis.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &losingConn{Conn: conn, lose: &lose, lost: func() {
				assert.NoError(t, admin.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(), "the server has just become a replica")
			}}, err
		}
	}), "orders")
	require.NoError(t, err)
	require.NoError(t, d.Release(t.Context(), "warm", claimed(t, d, "warm", time.Minute).Token))
	lose.Store(true)
	claim, err := d.Claim(t.Context(), "key", time.Minute)
	require.ErrorContains(t, err, "MASTERDOWN")
	require.NoError(t, admin.ReplicaOf(t.Context(), "NO", "ONE").Err(), "and is a primary again")
	again, err := d.Claim(t.Context(), "key", time.Minute)
	require.NoError(t, err)
	require.Equal(t, receiver.Held, again.State, "the lost answer was that of a lease")
	require.NoError(t, d.Release(t.Context(), "key", claim.Token))
}

func TestCheckWarnsOfAServerThatForgetsAtItsRestart(t *testing.T) {
	t.Parallel()
	said := func(args ...string) string {
		var log bytes.Buffer
		d, err := redisdedupe.New(startServer(t, args...).client(t), "orders", redisdedupe.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		require.NoError(t, err)
		require.NoError(t, d.Check(t.Context()), "no reason not to start")
		return log.String()
	}
	for _, args := range [][]string{{"--appendonly", "no"}, {"--appendonly", "no", "--save", "3600 1"}} {
		text := said(args...)
		assert.Equal(t, 1, strings.Count(text, "level=WARN"), text)
		assert.Contains(t, text, "appendonly yes")
	}
	assert.Empty(t, said("--appendonly", "yes"))
}
