package suite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

func ignored(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	mux := receiver.NewMux()
	mux.HandleFunc("Pass:Installed", ok)
	var log LockedBuffer
	f.run(mux.Handle, jetstream.ConsumerConfig{MaxTries: 1, Concurrency: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	names := []walletcrew.EventName{"Pass:Created", "Pass:Created", "Wallet:New", "Wallet:Newer", "", "", "Pass:Installed"}
	for i, name := range names {
		f.publish("acme", name, fmt.Sprintf(`{"__id":"%d","secret":"s3cret"}`, i))
	}
	for _, name := range names {
		o := f.outcome()
		assert.Equal(t, name, o.Event.Name)
		require.NoError(t, o.Err)
		if name == "Pass:Installed" {
			assert.Equal(t, jetstream.Handled, o.Result)
		} else {
			assert.Equal(t, jetstream.Ignored, o.Result)
			assert.Equal(t, jetstream.Result("ignored"), o.Result)
		}
	}
	f.emptiesItself()
	assert.Empty(t, f.deadLetters())
	text := log.String()
	assert.Equal(t, 2, strings.Count(text, "level=INFO"), "once for a name that is known, and once for all others:\n%s", text)
	assert.Equal(t, 1, strings.Count(text, "level=WARN"), "an event without a name:\n%s", text)
	assert.NotContains(t, text, "s3cret")

	// What failed besides isn't ignored.
	f = setUp(t, nc)
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	f.run(func(context.Context, *walletcrew.Event) error { return errors.Join(receiver.ErrIgnored, errBug) }, jetstream.ConsumerConfig{MaxTries: 1})
	assert.Equal(t, jetstream.DeadLettered, f.outcome().Result)
}

// More names are away than there are workers, and each probe takes long.
func manyAway(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	const names, workers, others = 40, 4, 50
	for i := range names {
		for n := range 2 {
			f.publish("acme", walletcrew.EventName(fmt.Sprintf("Away:N%d", i)), fmt.Sprintf(`{"__id":"%d-%d"}`, i, n))
		}
	}
	var back atomic.Bool
	var handled, runs, most atomic.Int64
	f.run(func(_ context.Context, e *walletcrew.Event) error {
		most.Store(max(most.Load(), runs.Add(1)))
		defer runs.Add(-1)
		if e.Name.Category() == "Away" && !back.Load() {
			time.Sleep(20 * time.Millisecond)
			return errAway
		}
		handled.Add(1)
		return nil
	}, jetstream.ConsumerConfig{Concurrency: workers, AckWait: steadyWait})
	for range names {
		f.outcome()
	}
	began := time.Now()
	for i := range others {
		f.publish("acme", "Pass:Installed", fmt.Sprintf(`{"__id":"other-%d"}`, i))
	}
	require.Eventually(t, func() bool { return handled.Load() == others }, Patience, time.Millisecond, "events of other names must be handled")
	assert.Less(t, time.Since(began), 10*time.Second)
	back.Store(true)
	f.emptiesItself()
	assert.EqualValues(t, others+2*names, handled.Load(), "each once")
	assert.LessOrEqual(t, most.Load(), int64(workers), "probes are among the Concurrency")
	assert.Empty(t, f.deadLetters())
}

func restartsInOutage(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	const events = 30
	for i := range events {
		f.publish("acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d"}`, i))
	}
	for range 10 { // far more than MaxTries
		end := f.run(func(context.Context, *walletcrew.Event) error { return errAway }, jetstream.ConsumerConfig{MaxTries: 1, Concurrency: 2, AckWait: steadyWait})
		for range 3 {
			assert.Equal(t, jetstream.Retried, f.outcome().Result)
		}
		require.NoError(t, end())
		for len(f.outcomes) > 0 {
			<-f.outcomes
		}
	}
	began := time.Now()
	f.run(ok, jetstream.ConsumerConfig{MaxTries: 1})
	for range events {
		assert.Equal(t, jetstream.Handled, f.outcome().Result)
	}
	assert.Less(t, time.Since(began), 20*time.Second)
	assert.Empty(t, f.deadLetters())
}

// The end of one process, in an outage with a backlog. Another must not wait for it.
func endGivesBack(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	const events = 200
	for i := range events {
		f.publish("acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d"}`, i))
	}
	c, err := jetstream.NewConsumer(t.Context(), f.stream, func(context.Context, *walletcrew.Event) error { return errAway }, jetstream.ConsumerConfig{Logger: Quiet})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- c.Run(ctx) }()
	require.Eventually(t, func() bool { return c.Stats().Waiting == events }, Patience, time.Millisecond)
	assert.Equal(t, []walletcrew.EventName{walletcrew.EventPassCreated}, c.Stats().Paused)
	cancel()
	require.NoError(t, <-result)
	began := time.Now()
	f.run(ok, jetstream.ConsumerConfig{})
	for range events {
		assert.Equal(t, jetstream.Handled, f.outcome().Result)
	}
	assert.Less(t, time.Since(began), 20*time.Second, "not only after the lease of 10 minutes")
	f.emptiesItself()
}

func expiringBacklog(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc, func(c *jetstream.StreamConfig) { c.KeepFor = 20 * time.Second })
	const events = 50
	for i := range events {
		f.publish("acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d"}`, i))
	}
	var runs atomic.Int64
	f.run(func(context.Context, *walletcrew.Event) error { runs.Add(1); return errAway }, jetstream.ConsumerConfig{Concurrency: 2})
	for dead := 0; dead < events; {
		if o := f.outcome(); o.Result == jetstream.DeadLettered {
			assert.Greater(t, o.Age, 10*time.Second, "not before it must be")
			assert.ErrorContains(t, o.Err, "the database is away")
			dead++
		}
	}
	ids := map[string]bool{}
	for _, d := range f.deadLetters() {
		ids[d.Event.ID] = true
		assert.Contains(t, d.Reason, "the stream drops the event before it can be tried again")
	}
	assert.Len(t, ids, events)
	assert.LessOrEqual(t, runs.Load(), int64(2+4*20+events), "probes, and at most one last call for each")
}
