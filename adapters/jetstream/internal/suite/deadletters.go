package suite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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

var errBug = errors.New("a bug")

// die makes dead letters of events with these bodies, and returns them.
func (f *fixture) die(bodies ...string) []*jetstream.DeadLetter {
	f.t.Helper()
	for _, body := range bodies {
		f.publish("acme", "Pass:Created", body)
	}
	end := f.run(func(context.Context, *walletcrew.Event) error { return errBug }, jetstream.ConsumerConfig{MaxTries: 1, Concurrency: 1})
	for range bodies {
		require.Equal(f.t, jetstream.DeadLettered, f.outcome().Result)
	}
	require.NoError(f.t, end())
	dead := f.deadLetters()
	require.Len(f.t, dead, len(bodies))
	return dead
}

func deadLetterID(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	before := time.Now()
	dead := f.die(`{}`, `{}`, `{"__id":"1"}`) // the first two have no __id
	ids := map[string]bool{}
	for _, d := range dead {
		ids[d.ID] = true
		assert.Regexp(t, `^[0-9]+-[0-9a-f]+$`, d.ID)
		got, err := f.stream.DeadLetter(t.Context(), d.ID)
		require.NoError(t, err)
		assert.Equal(t, d, got)
		assert.WithinRange(t, d.DiedAt, before.Add(-time.Minute), time.Now().Add(time.Minute)) // the server's clock
		assert.False(t, d.DiedAt.Before(d.Time))
	}
	assert.Len(t, ids, 3)
	one := dead[0].ID
	for _, id := range []string{"", "1", "x", "0-0", "-1-1", one + "0", one[:len(one)-1], "99" + one, "18446744073709551616-1", strings.Repeat("9", 400) + "-1"} {
		_, err := f.stream.DeadLetter(t.Context(), id)
		assert.ErrorIs(t, err, jetstream.ErrNoDeadLetter, "%q", id)
	}

	// A stream that was made anew counts from 1 again.
	require.NoError(t, f.js.DeleteStream(t.Context(), f.cfg.Name+"_DEAD"))
	_, err := jetstream.EnsureStream(t.Context(), nc, f.cfg)
	require.NoError(t, err)
	again := f.die(`{"__id":"2"}`)
	assert.NotEqual(t, one, again[0].ID)
	_, err = f.stream.DeadLetter(t.Context(), one)
	require.ErrorIs(t, err, jetstream.ErrNoDeadLetter)
	require.ErrorIs(t, dead[0].Delete(t.Context()), jetstream.ErrNoDeadLetter)
	require.ErrorIs(t, dead[0].Redrive(t.Context()), jetstream.ErrNoDeadLetter)
	assert.Len(t, f.deadLetters(), 1)
	assert.Zero(t, f.left(f.cfg.Name))
}

func redriveDeleted(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	dead := f.die(`{"__id":"1"}`, `{"__id":"2"}`)
	mine, err := f.stream.DeadLetter(t.Context(), dead[0].ID)
	require.NoError(t, err)
	require.NoError(t, dead[0].Delete(t.Context()))
	require.ErrorIs(t, mine.Redrive(t.Context()), jetstream.ErrNoDeadLetter, "somebody else has deleted it")
	require.ErrorIs(t, mine.Delete(t.Context()), jetstream.ErrNoDeadLetter)
	assert.Zero(t, f.left(f.cfg.Name), "it isn't put back")

	require.NoError(t, dead[1].Redrive(t.Context()))
	require.ErrorIs(t, dead[1].Redrive(t.Context()), jetstream.ErrNoDeadLetter, "somebody else has put it back")
	require.ErrorIs(t, dead[1].Delete(t.Context()), jetstream.ErrNoDeadLetter)
	assert.Equal(t, 1, f.left(f.cfg.Name))
	assert.Zero(t, f.left(f.cfg.Name+"_DEAD"), "nothing is left of the claims")
}

// Two operators have the list before them. The duplicate window is of no help: it is over before they are done.
func redriveAtOnce(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc, func(c *jetstream.StreamConfig) { c.DuplicateWindow = 100 * time.Millisecond })
	const letters, callers = 10, 6
	var bodies []string
	for i := range letters {
		bodies = append(bodies, fmt.Sprintf(`{"__id":"%d"}`, i))
	}
	dead := f.die(bodies...)
	var redriven, deleted atomic.Int32
	var calls sync.WaitGroup
	for n := range callers {
		for _, d := range dead {
			calls.Go(func() {
				own, err := f.stream.DeadLetter(t.Context(), d.ID)
				if err == nil && n%2 == 0 {
					if err = own.Redrive(t.Context()); err == nil {
						redriven.Add(1)
					}
				} else if err == nil {
					if err = own.Delete(t.Context()); err == nil {
						deleted.Add(1)
					}
				}
				if err != nil {
					assert.ErrorIs(t, err, jetstream.ErrNoDeadLetter)
				}
			})
		}
	}
	calls.Wait()
	assert.EqualValues(t, letters, redriven.Load()+deleted.Load(), "one call for each dead letter takes effect")
	assert.EqualValues(t, redriven.Load(), f.left(f.cfg.Name), "what was deleted isn't put back, and the others are once")
	assert.Zero(t, f.left(f.cfg.Name+"_DEAD"))
}

func emptyFull(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc, func(c *jetstream.StreamConfig) { c.MaxMsgs = 3 })
	dead := f.die(`{"__id":"1"}`, `{"__id":"2"}`, `{"__id":"3"}`)
	require.NoError(t, dead[0].Redrive(t.Context()), "there is no room for a claim")
	f.publish("acme", "Pass:Created", `{"__id":"4"}`)
	end := f.run(func(context.Context, *walletcrew.Event) error { return errBug }, jetstream.ConsumerConfig{MaxTries: 1, Concurrency: 1})
	require.Equal(t, jetstream.DeadLettered, f.outcome().Result)
	require.NoError(t, end())
	require.NoError(t, dead[1].Delete(t.Context()))
	require.NoError(t, dead[2].Delete(t.Context()))
	require.ErrorIs(t, dead[2].Delete(t.Context()), jetstream.ErrNoDeadLetter)
}

func redriveAge(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	first := f.die(`{"__id":"1"}`)[0]
	require.NoError(t, first.Redrive(t.Context()))
	end := f.run(func(context.Context, *walletcrew.Event) error { return errBug }, jetstream.ConsumerConfig{MaxTries: 1})
	o := f.outcome()
	assert.Greater(t, o.Age, time.Duration(0))
	assert.WithinDuration(t, first.Time, time.Now().Add(-o.Age), time.Second)
	require.NoError(t, end())
	again := f.deadLetters()[0]
	assert.True(t, first.Time.Equal(again.Time), "%s, %s: when it was published first", first.Time, again.Time)
	assert.True(t, again.DiedAt.After(first.DiedAt))
	assert.NotEqual(t, first.ID, again.ID)
	require.NoError(t, again.Redrive(t.Context()))
	f.run(ok, jetstream.ConsumerConfig{})
	assert.GreaterOrEqual(t, f.outcome().Age, o.Age)
}

func stats(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	_, err := f.stream.Stats(t.Context(), "worker")
	require.ErrorIs(t, err, natsjs.ErrConsumerNotFound)
	f.die(`{"__id":"dead"}`)
	get := func() jetstream.Stats {
		stats, err := f.stream.Stats(t.Context(), "worker")
		require.NoError(t, err)
		return stats
	}
	// The server counts a moment after it has acknowledged, and Run doesn't wait for its answer to the last acknowledgement.
	require.Eventually(t, func() bool { return get() == jetstream.Stats{Dead: 1} }, Patience, time.Millisecond, "nothing waits: nothing is old")
	published := time.Now()
	for i := range 5 {
		f.publish("acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d"}`, i))
	}
	var s jetstream.Stats
	require.Eventually(t, func() bool { s = get(); return s.Pending == 5 }, Patience, time.Millisecond)
	assert.Zero(t, s.Unsettled)
	assert.Positive(t, s.Oldest)
	assert.LessOrEqual(t, s.Oldest, time.Since(published)+time.Second) // another clock

	running, release := make(chan string, 5), make(chan struct{})
	c, err := jetstream.NewConsumer(t.Context(), f.stream, func(_ context.Context, e *walletcrew.Event) error {
		if e.ID == "0" || e.ID == "1" {
			return errBug
		}
		running <- e.ID
		<-release
		return nil
	}, jetstream.ConsumerConfig{Concurrency: 2, Logger: Quiet, AckWait: Patience, Backoff: func(int) time.Duration { return time.Hour }})
	require.NoError(t, err)
	assert.Equal(t, jetstream.ConsumerStats{}, c.Stats())
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- c.Run(ctx) }()
	for range 2 {
		<-running
	}
	assert.Equal(t, jetstream.ConsumerStats{InProgress: 2, Waiting: 2}, c.Stats(), "this process can tell them apart")
	var now jetstream.Stats
	require.Eventually(t, func() bool { now = get(); return now.Unsettled == 4 }, Patience, 10*time.Millisecond)
	assert.EqualValues(t, 1, now.Pending)
	assert.Positive(t, now.Oldest)
	close(release)
	require.Eventually(t, func() bool { now = get(); return now.Unsettled == 2 && now.Pending == 0 }, Patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(jetstream.ConsumerStats{Waiting: 2}, c.Stats()) }, Patience, 10*time.Millisecond)
	assert.GreaterOrEqual(t, now.Oldest, s.Oldest, "the oldest one failed, and waits")
	cancel()
	require.NoError(t, <-result)
}
