package redisdedupe_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/redisdedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func TestItKeepsTheRulesOfADeduper(t *testing.T) {
	t.Parallel()
	require.NoError(t, walletcrewtest.TestDeduper(t.Context(), newDeduper(t, newClient(t))))
}

func TestWrongArgumentsAreErrors(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: redisAddress()})
	defer func() { _ = client.Close() }()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": redisAddress()}})
	defer func() { _ = ring.Close() }()
	tests := map[string]struct {
		client redis.UniversalClient
		opts   []redisdedupe.Option
		want   string
	}{
		"no client":         {nil, nil, "the client is nil"},
		"a ring":            {ring, nil, "a Ring moves keys"},
		"no prefix":         {client, []redisdedupe.Option{redisdedupe.WithPrefix("")}, "the prefix is empty"},
		"no retention":      {client, []redisdedupe.Option{redisdedupe.WithRetention(0)}, "at least 1ms"},
		"a lease too short": {client, nil, ""},
	}
	for name, tt := range tests {
		d, err := redisdedupe.New(tt.client, tt.opts...)
		if tt.want != "" {
			require.ErrorContains(t, err, tt.want, name)
			continue
		}
		require.NoError(t, err)
		_, err = d.Claim(t.Context(), "key", time.Microsecond)
		require.ErrorContains(t, err, "under 1ms")
	}
}

func TestReplicasGetAKeyOnce(t *testing.T) {
	t.Parallel()
	prefix := newPrefix(t, newClient(t))
	var dedupers []*redisdedupe.Deduper
	for range 4 { // each with connections of its own
		d, err := redisdedupe.New(newClient(t), redisdedupe.WithPrefix(prefix))
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
	d, err := redisdedupe.New(client, redisdedupe.WithPrefix(prefix), redisdedupe.WithRetention(time.Hour))
	require.NoError(t, err)
	claim := claimed(t, d, "key", time.Minute)
	assert.InDelta(t, 61*time.Minute, client.PTTL(t.Context(), prefix+"key").Val(), float64(patience), "a lease, and the retention after it")
	require.NoError(t, d.Complete(t.Context(), "key", claim.Token))
	assert.InDelta(t, time.Hour, client.PTTL(t.Context(), prefix+"key").Val(), float64(patience), "done: the retention")
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
			d, err := redisdedupe.New(client, redisdedupe.WithPrefix(newPrefix(t, shared)))
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
	d, err := redisdedupe.New(client, redisdedupe.WithPrefix(prefix))
	require.NoError(t, err)
	require.NoError(t, client.Set(t.Context(), prefix+"text", "cached", time.Minute).Err())
	require.NoError(t, client.LPush(t.Context(), prefix+"list", "x").Err())
	for key, want := range map[string]string{"text": "the prefix is used by another program", "list": "WRONGTYPE"} {
		_, err := d.Claim(t.Context(), key, time.Minute)
		require.ErrorContains(t, err, want)
		require.Error(t, d.Complete(t.Context(), key, "1.2"))
		require.Error(t, d.Release(t.Context(), key, "1.2"))
	}
	assert.Equal(t, "cached", client.Get(t.Context(), prefix+"text").Val(), "it is left alone")
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
		d, err := redisdedupe.New(client, redisdedupe.WithPrefix(tt.prefix))
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
		single := client.MemoryUsage(ctx, tt.prefix+"t/shop/0b9d3a52-6f0e-4c55-9a55-000000000000").Val()
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
