package redisdedupe_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/redisdedupe"
	"github.com/thewalletcrew/walletcrew-go/internal/seedtest"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func TestItKeepsTheRulesOfADeduper(t *testing.T) {
	t.Parallel()
	require.NoError(t, walletcrewtest.TestDeduper(t.Context(), newDeduper(t, newClient(t))))
}

func TestTheHandlerKeepsTheRulesOfAReceiver(t *testing.T) {
	t.Parallel()
	seedtest.TheHandlerKeepsTheRules(t, newDeduper(t, newClient(t)))
}

func TestWrongArgumentsAreErrors(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: redisAddress()})
	defer func() { _ = client.Close() }()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": redisAddress()}})
	defer func() { _ = ring.Close() }()
	prefix := func(prefix string) []redisdedupe.Option {
		return []redisdedupe.Option{redisdedupe.WithPrefix(prefix)}
	}
	tests := map[string]struct {
		client redis.UniversalClient
		name   string
		opts   []redisdedupe.Option
		want   string
	}{
		"no client":                 {nil, "orders", nil, "the client is nil"},
		"a client that isn't set":   {(*redis.Client)(nil), "orders", nil, "the client is nil"},
		"a ring":                    {ring, "orders", nil, "a Ring moves keys"},
		"no name":                   {client, "", nil, "the name is empty: name what the function does"},
		"a name with a colon":       {client, "or:ders", nil, `the name "or:ders": a name has 1 to 64 ASCII letters`},
		"a name with a slash":       {client, "or/ders", nil, "a name has"},
		"a name with a space":       {client, "or ders", nil, "a name has"},
		"a name with a line break":  {client, "orders\n", nil, `"orders\n": a name has`},
		"a name with a hash tag":    {client, "{orders}", nil, "a name has"},
		"a name with a pattern":     {client, "orders*", nil, "a name has"},
		"a name that isn't ASCII":   {client, "été", nil, "a name has"},
		"a name that is too long":   {client, strings.Repeat("n", 65), nil, "a name has"},
		"no prefix":                 {client, "orders", prefix(""), "ends with ':'"},
		"a prefix without an end":   {client, "orders", prefix("shop"), `WithPrefix("shop"): a prefix has`},
		"a prefix with a hash tag":  {client, "orders", prefix("{shop}:"), "a prefix has"},
		"a prefix with a slash":     {client, "orders", prefix("shop/a:"), "a prefix has"},
		"a prefix that is too long": {client, "orders", prefix(strings.Repeat("p", 200) + ":"), "a prefix has"},
		"no retention":              {client, "orders", []redisdedupe.Option{redisdedupe.WithRetention(0)}, "at least 1ms"},
		"a nil option":              {client, "orders", []redisdedupe.Option{nil}, ""},
		"a name of all that may be": {client, "Orders-2.eu_" + strings.Repeat("n", 52), prefix("Shop-1.eu:x_y:"), ""},
	}
	for what, tt := range tests {
		_, err := redisdedupe.New(tt.client, tt.name, tt.opts...)
		if tt.want == "" {
			require.NoError(t, err, what)
			continue
		}
		require.ErrorContains(t, err, "redisdedupe: ", what)
		require.ErrorContains(t, err, tt.want, what)
	}
	d, err := redisdedupe.New(client, "orders")
	require.NoError(t, err)
	_, err = d.Claim(t.Context(), "key", time.Microsecond)
	require.ErrorContains(t, err, "under 1ms")
}

// What one has done, and what it holds, is nothing to another.
func TestANameSharesNothingWithAnother(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	prefix := newPrefix(t, client)
	var dedupers []*redisdedupe.Deduper
	for _, of := range []struct{ prefix, name string }{
		{prefix, "orders"}, {prefix, "order"}, {prefix, "orders.mails"}, {prefix, "Orders"},
		{prefix + "orders:", "mails"}, {prefix + "orders:", "orders"}, {prefix + "orders:mails:", "mails"},
	} {
		d, err := redisdedupe.New(client, of.name, redisdedupe.WithPrefix(of.prefix))
		require.NoError(t, err)
		dedupers = append(dedupers, d)
	}
	// As receiver.Key makes them, with tenants and ids that look like names.
	keys := []string{"-/1", "t/mails:/1", "t/orders:mails/orders:1", "t/mails/1", "s/6d61696c73/mails:1", "h/6d61"}
	var claims []receiver.Claim
	for _, d := range dedupers {
		for _, key := range keys {
			claims = append(claims, claimed(t, d, key, time.Minute))
		}
	}
	for i, d := range dedupers {
		for j, key := range keys {
			other := dedupers[(i+1)%len(dedupers)]
			require.ErrorIs(t, other.Complete(t.Context(), key, claims[i*len(keys)+j].Token), receiver.ErrLeaseLost)
			require.NoError(t, d.Complete(t.Context(), key, claims[i*len(keys)+j].Token))
		}
	}
	assert.Len(t, client.Keys(t.Context(), prefix+"*").Val(), len(claims))
	assert.EqualValues(t, 1, client.Exists(t.Context(), prefix+"orders:t/mails/1").Val(), "prefix, name, ':' and key, as WithPrefix says")
}

// Two webhooks deliver one event to two receivers, which share a server.
func TestAnEventRunsOnceForEachName(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	prefix := newPrefix(t, client)
	runs := func(names ...string) (n int) {
		for _, name := range names {
			d, err := redisdedupe.New(client, name, redisdedupe.WithPrefix(prefix))
			require.NoError(t, err)
			r := newReceiver(t, d)
			for range 2 {
				require.Equal(t, http.StatusNoContent, r.deliver("e-1"))
			}
			n += r.runs["e-1"]
		}
		return n
	}
	assert.Equal(t, 2, runs("orders", "mails"))
	assert.Equal(t, 0, runs("orders", "mails"), "their replicas know what was done")
}

func TestReplicasGetAKeyOnce(t *testing.T) {
	t.Parallel()
	prefix := newPrefix(t, newClient(t))
	var dedupers []*redisdedupe.Deduper
	for range 4 { // each with connections of its own
		d, err := redisdedupe.New(newClient(t), "orders", redisdedupe.WithPrefix(prefix))
		require.NoError(t, err)
		dedupers = append(dedupers, d)
	}
	var claimed atomic.Int32
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			claim, err := dedupers[i%4].Claim(t.Context(), "key", time.Minute)
			if assert.NoError(t, err) && claim.State == receiver.Claimed {
				claimed.Add(1)
				assert.NoError(t, dedupers[i%4].Complete(t.Context(), "key", claim.Token))
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, claimed.Load(), "of 100 claims on 4 replicas one gets the key")
}

func TestWhatIsDoneIsForgottenAfterTheRetention(t *testing.T) {
	t.Parallel()
	const retention = 300 * time.Millisecond
	d := newDeduper(t, newClient(t), redisdedupe.WithRetention(retention))
	for try := 0; ; try++ { // until the test has been quicker than the retention
		key := fmt.Sprint("key-", try)
		claim := claimed(t, d, key, time.Minute)
		began := time.Now()
		require.NoError(t, d.Complete(t.Context(), key, claim.Token))
		again, err := d.Claim(t.Context(), key, time.Minute)
		require.NoError(t, err)
		if again.State == receiver.Claimed && time.Since(began) >= retention {
			continue
		}
		require.Equal(t, receiver.Done, again.State)
		require.Eventually(t, func() bool {
			again, err := d.Claim(t.Context(), key, time.Minute)
			return err == nil && again.State == receiver.Claimed
		}, patience, 20*time.Millisecond, "after the retention it can be claimed again")
		return
	}
}

func TestEveryKeyExpires(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	prefix := newPrefix(t, client)
	d, err := redisdedupe.New(client, "orders", redisdedupe.WithPrefix(prefix), redisdedupe.WithRetention(time.Hour))
	require.NoError(t, err)
	claim := claimed(t, d, "key", time.Minute)
	assert.InDelta(t, 61*time.Minute, client.PTTL(t.Context(), prefix+"orders:key").Val(), float64(patience), "a lease, and the retention after it")
	require.NoError(t, d.Complete(t.Context(), "key", claim.Token))
	assert.InDelta(t, time.Hour, client.PTTL(t.Context(), prefix+"orders:key").Val(), float64(patience), "done: the retention")
}

// A lease that ran out so long ago that it was forgotten can't be completed.
func TestAForgottenLeaseIsLost(t *testing.T) {
	t.Parallel()
	d := newDeduper(t, newClient(t), redisdedupe.WithRetention(100*time.Millisecond))
	claim := claimed(t, d, "key", 50*time.Millisecond)
	time.Sleep(250 * time.Millisecond) // the server's time
	require.ErrorIs(t, d.Complete(t.Context(), "key", claim.Token), receiver.ErrLeaseLost)
	require.ErrorIs(t, d.Release(t.Context(), "key", claim.Token), receiver.ErrLeaseLost)
}

func TestADeliveryTakesTwoRoundTripsAndADuplicateOne(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	d := newDeduper(t, client)
	require.NoError(t, d.Check(t.Context()))
	warm := claimed(t, d, "warm", time.Minute) // the server learns the scripts
	require.NoError(t, d.Complete(t.Context(), "warm", warm.Token))

	counter := &countingHook{}
	client.AddHook(counter)
	claim := claimed(t, d, "key", time.Minute)
	require.NoError(t, d.Complete(t.Context(), "key", claim.Token))
	assert.EqualValues(t, 2, counter.commands.Load(), "Claim and Complete")

	counter.commands.Store(0)
	again, err := d.Claim(t.Context(), "key", time.Minute)
	require.NoError(t, err)
	assert.Equal(t, receiver.Done, again.State)
	assert.EqualValues(t, 1, counter.commands.Load(), "a duplicate")

	counter.commands.Store(0)
	claim = claimed(t, d, "failing", time.Minute)
	require.NoError(t, d.Release(t.Context(), "failing", claim.Token))
	assert.EqualValues(t, 2, counter.commands.Load(), "Claim and Release")
}

// The connection breaks after the server has carried a command out; go-redis sends it again.
func TestACommandThatIsSentAgainIsNoOther(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"Claim", "Complete"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			shared := newClient(t)
			var lose atomic.Bool
			client := redis.NewClient(&redis.Options{Addr: redisAddress(), Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
				return &losingConn{Conn: conn, lose: &lose}, err
			}})
			defer func() { _ = client.Close() }()
			d, err := redisdedupe.New(client, "orders", redisdedupe.WithPrefix(newPrefix(t, shared)))
			require.NoError(t, err)
			warm := claimed(t, d, "warm", time.Minute)
			require.NoError(t, d.Complete(t.Context(), "warm", warm.Token))

			lose.Store(call == "Claim")
			claim := claimed(t, d, "key", time.Minute)
			lose.Store(call == "Complete")
			require.NoError(t, d.Complete(t.Context(), "key", claim.Token))
			assert.False(t, lose.Load(), "an answer was meant to be lost")
			again, err := d.Claim(t.Context(), "key", time.Minute)
			require.NoError(t, err)
			assert.Equal(t, receiver.Done, again.State)
		})
	}
}

// A losingConn breaks instead of handing an answer over, once.
type losingConn struct {
	net.Conn
	lose *atomic.Bool
	lost func() // may be nil
}

func (c *losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.lose.CompareAndSwap(true, false) {
		if c.lost != nil {
			c.lost()
		}
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

func TestAKeyOfAnotherProgramIsAnError(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	prefix := newPrefix(t, client)
	d, err := redisdedupe.New(client, "orders", redisdedupe.WithPrefix(prefix))
	require.NoError(t, err)
	require.NoError(t, client.Set(t.Context(), prefix+"orders:text", "cached", time.Minute).Err())
	require.NoError(t, client.LPush(t.Context(), prefix+"orders:list", "x").Err())
	for key, want := range map[string]string{"text": "another program uses keys with this prefix", "list": "WRONGTYPE"} {
		_, err := d.Claim(t.Context(), key, time.Minute)
		require.ErrorContains(t, err, want)
		require.Error(t, d.Complete(t.Context(), key, "1.2"))
		require.Error(t, d.Release(t.Context(), key, "1.2"))
	}
	assert.Equal(t, "cached", client.Get(t.Context(), prefix+"orders:text").Val(), "it is left alone")
}

// The sizes that the package's comment and the README name.
func TestAnEventTakesAsMuchMemoryAsDocumented(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const events = 20000
	for _, tt := range []struct {
		prefix string
		max    int
	}{{"walletcrew:dedupe:", 210}, {"w:", 190}} {
		client := startServer(t, "--appendonly", "no").client(t)
		d, err := redisdedupe.New(client, "orders", redisdedupe.WithPrefix(tt.prefix))
		require.NoError(t, err)
		before := usedMemory(t, client)
		work := make(chan int)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range work {
					key := "t/shop/0b9d3a52-6f0e-4c55-9a55-" + fmt.Sprintf("%012d", i)
					claim, err := d.Claim(ctx, key, time.Minute)
					if assert.NoError(t, err) {
						assert.NoError(t, d.Complete(ctx, key, claim.Token))
					}
				}
			})
		}
		for i := range events {
			work <- i
		}
		close(work)
		wg.Wait()
		perEvent := (usedMemory(t, client) - before) / events
		single := client.MemoryUsage(ctx, tt.prefix+"orders:t/shop/0b9d3a52-6f0e-4c55-9a55-000000000000").Val()
		t.Logf("prefix %q: %d bytes an event (MEMORY USAGE of one key: %d)", tt.prefix, perEvent, single)
		assert.LessOrEqual(t, perEvent, tt.max)
	}
}

func usedMemory(t *testing.T, client *redis.Client) int {
	t.Helper()
	info := client.InfoMap(t.Context(), "memory")
	require.NoError(t, info.Err())
	n, err := strconv.Atoi(info.Item("Memory", "used_memory"))
	require.NoError(t, err)
	return n
}

func TestAnErrorOfTheContextComesBack(t *testing.T) {
	t.Parallel()
	d := newDeduper(t, newClient(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.Claim(ctx, "key", time.Minute)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, receiver.ErrLeaseLost)
}

func claimed(t testing.TB, d receiver.Deduper, key string, lease time.Duration) receiver.Claim {
	t.Helper()
	claim, err := d.Claim(t.Context(), key, lease)
	require.NoError(t, err)
	require.Equal(t, receiver.Claimed, claim.State)
	return claim
}

// A countingHook counts the round trips.
type countingHook struct{ commands atomic.Int64 }

func (h *countingHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *countingHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.commands.Add(1)
		return next(ctx, cmd)
	}
}

func (h *countingHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.commands.Add(1)
		return next(ctx, cmds)
	}
}
