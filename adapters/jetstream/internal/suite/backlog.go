package suite

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
)

// Backlog is what must hold while n events of one name wait for a backend that is away.
func Backlog(t *testing.T, nc *nats.Conn, n int) {
	f := setUp(t, nc)
	f.outcomes = nil // too many
	f.fill("Pass:Installed", n)

	var back atomic.Bool
	var away, handled, others atomic.Int64
	var slowest atomic.Int64
	cfg := jetstream.ConsumerConfig{Logger: Quiet, MaxTries: 1, Observer: func(_ context.Context, o jetstream.Outcome) {
		if o.Event.Name == walletcrew.EventCustomerUpserted {
			others.Add(1)
			slowest.Store(max(slowest.Load(), int64(o.Age)))
		}
	}}
	c, err := jetstream.NewConsumer(t.Context(), f.stream, func(_ context.Context, e *walletcrew.Event) error {
		switch {
		case e.Name == walletcrew.EventCustomerUpserted:
		case !back.Load():
			away.Add(1)
			return errAway
		default:
			handled.Add(1)
		}
		return nil
	}, cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	began := time.Now()
	go func() { result <- c.Run(ctx) }()

	deliveries := func() (delivered, redelivered int) {
		found, err := f.js.Consumer(t.Context(), f.cfg.Name, "worker")
		require.NoError(t, err)
		return int(found.CachedInfo().Delivered.Consumer), found.CachedInfo().NumRedelivered //nolint:gosec // small
	}
	require.Eventually(t, func() bool { delivered, _ := deliveries(); return delivered >= n }, 2*Patience, 10*time.Millisecond)
	t.Logf("%d events were set aside in %s", n, time.Since(began).Round(time.Millisecond))
	before, _ := deliveries()
	calls := away.Load()
	assert.Less(t, calls, int64(n/100), "but for those that ran already, and for probes, the function isn't called")
	began = time.Now()
	const alongside = 100
	for i := range alongside {
		f.publish("acme", walletcrew.EventCustomerUpserted, fmt.Sprintf(`{"__id":"other-%d"}`, i))
		time.Sleep(50 * time.Millisecond) // the load of a normal day
	}
	require.Eventually(t, func() bool { return others.Load() == alongside }, Patience, 5*time.Millisecond, "events of other names must be handled")
	seconds := int64(time.Since(began)/time.Second) + 1
	after, _ := deliveries()
	t.Logf("others took %s at most; %d probes and %d redeliveries in %d s", time.Duration(slowest.Load()).Round(time.Millisecond), away.Load()-calls, after-before-alongside, seconds)
	assert.Less(t, time.Duration(slowest.Load()), 5*time.Second)
	assert.LessOrEqual(t, away.Load()-calls, 4*seconds+1, "only probes run")
	assert.LessOrEqual(t, int64(after-before-alongside), 10*seconds, "at most ten redeliveries a second")
	stats := c.Stats()
	assert.Equal(t, []walletcrew.EventName{walletcrew.EventPassInstalled}, stats.Paused)
	assert.InDelta(t, n, stats.Waiting, 1)

	back.Store(true)
	require.Eventually(t, func() bool { return handled.Load() > 0 }, Patience, time.Millisecond)
	began = time.Now()
	const many = 2000 // of which 256 come at once
	require.Eventually(t, func() bool { return handled.Load() > many }, Patience, time.Millisecond)
	took := time.Since(began)
	assert.Less(t, took, 5*time.Second, "the backlog must run at full speed within 5 s")
	require.Eventually(t, func() bool { return handled.Load() >= int64(n) && f.left(f.cfg.Name) == 0 }, 2*Patience, 10*time.Millisecond)
	t.Logf("%d events of the backlog were handled %s after the probe, all of it %s", many, took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	assert.EqualValues(t, n, handled.Load(), "each once")
	assert.Empty(t, f.deadLetters())
	assert.Zero(t, c.Stats().Waiting)
	cancel()
	require.NoError(t, <-result)
}

// fill publishes n events.
func (f *fixture) fill(name walletcrew.EventName, n int) {
	f.t.Helper()
	js, err := natsjs.New(f.nc, natsjs.WithPublishAsyncMaxPending(4000))
	require.NoError(f.t, err)
	subject := f.cfg.Prefix + "." + jetstream.Subject("acme", name)
	for i := range n {
		_, err := js.PublishAsync(subject, fmt.Appendf(nil, `{"__id":"%d","passId":"p-1001","device":"apple"}`, i), natsjs.WithStallWait(Patience))
		require.NoError(f.t, err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(2 * Patience):
		require.FailNow(f.t, "the events can't be published in time")
	}
	require.Equal(f.t, n, f.left(f.cfg.Name))
}
