package jetstream_test

import (
	"context"
	"errors"
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
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/internal/suite"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// open returns a stream with n events, on a connection of its own for each call of again.
func open(t *testing.T, n int) (stream *jetstream.Stream, again func() (*jetstream.Stream, *nats.Conn), events natsjs.Stream) {
	t.Helper()
	address := testServer(t)
	connect := func() *nats.Conn {
		nc, err := jetstream.Connect(address, nats.Timeout(suite.Patience))
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	nc := connect()
	cfg := suite.Config(t, nc)
	stream, err := jetstream.EnsureStream(t.Context(), nc, cfg)
	require.NoError(t, err)
	publisher, err := jetstream.NewPublisher(t.Context(), stream)
	require.NoError(t, err)
	for i := range n {
		e := suite.Event(t, "acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d"}`, i))
		require.NoError(t, publisher.Handle(suite.Keyed(t.Context(), e), e))
	}
	js, err := natsjs.New(nc)
	require.NoError(t, err)
	events, err = js.Stream(t.Context(), cfg.Name)
	require.NoError(t, err)
	return stream, func() (*jetstream.Stream, *nats.Conn) {
		own := connect()
		stream, err := jetstream.OpenStream(t.Context(), own, cfg)
		require.NoError(t, err)
		return stream, own
	}, events
}

var errAway = receiver.Temporary(errors.New("the database is away"))

// Nine hours are 54 leases of ten minutes. Here a lease is a second.
func TestALongOutageCostsNoDeliveries(t *testing.T) {
	t.Parallel()
	const events, outage = 300, 15 * time.Second
	stream, _, s := open(t, events)
	var back atomic.Bool
	var handled atomic.Int64
	c, err := jetstream.NewConsumer(t.Context(), stream, func(context.Context, *walletcrew.Event) error {
		if !back.Load() {
			return errAway
		}
		handled.Add(1)
		return nil
	}, jetstream.ConsumerConfig{Logger: suite.Quiet, MaxTries: 1, Backoff: func(int) time.Duration { return time.Second }})
	require.NoError(t, err)
	c.SetLease(3*time.Second, 100*time.Millisecond, 200*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- c.Run(ctx) }()
	require.Eventually(t, func() bool { return c.Stats().Waiting == events }, suite.Patience, time.Millisecond)
	deliveries := func() int {
		found, err := s.Consumer(t.Context(), "worker")
		require.NoError(t, err)
		return int(found.CachedInfo().Delivered.Consumer)
	}
	before := deliveries()
	<-time.After(outage)
	assert.Less(t, deliveries()-before, int(outage/time.Second), "only an event to probe with, now and then")
	back.Store(true)
	require.Eventually(t, func() bool { return handled.Load() == events }, suite.Patience, time.Millisecond)
	cancel()
	require.NoError(t, <-result)
	for d, err := range stream.DeadLetters(t.Context()) {
		assert.Fail(t, "an outage leaves no dead letter", "%v %v", d, err)
	}
}

// A process that is cut off can give nothing back.
func TestWhatAProcessThatDiedHadSetAsideComesAfterTheLease(t *testing.T) {
	t.Parallel()
	const events = 100
	stream, again, _ := open(t, events)
	dying, connection := again()
	c, err := jetstream.NewConsumer(t.Context(), dying, func(context.Context, *walletcrew.Event) error { return errAway },
		jetstream.ConsumerConfig{Logger: suite.Quiet, AckWait: time.Second})
	require.NoError(t, err)
	c.SetLease(2*time.Second, 100*time.Millisecond, 200*time.Millisecond)
	result := make(chan error, 1)
	go func() { result <- c.Run(context.Background()) }()
	require.Eventually(t, func() bool { return c.Stats().Waiting == events }, suite.Patience, time.Millisecond)
	connection.Close()
	require.ErrorIs(t, <-result, jetstream.ErrUnavailable)

	handled := make(chan string, events)
	other, err := jetstream.NewConsumer(t.Context(), stream, func(_ context.Context, e *walletcrew.Event) error {
		handled <- e.ID
		return nil
	}, jetstream.ConsumerConfig{Logger: suite.Quiet, AckWait: time.Second})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { result <- other.Run(ctx) }()
	ids := map[string]bool{}
	for len(ids) < events {
		select {
		case id := <-handled:
			ids[id] = true
		case <-time.After(suite.Patience):
			require.FailNow(t, "events are missing", "%d of %d", len(ids), events)
		}
	}
	cancel()
	require.NoError(t, <-result)
}

// Two processes, and a backend that comes and goes: each event is handled, and none given up.
func TestABackendThatComesAndGoes(t *testing.T) {
	t.Parallel()
	const events = 2000
	stream, again, s := open(t, events)
	var calls atomic.Int64
	fn := func(context.Context, *walletcrew.Event) error {
		if calls.Add(1)%100 == 1 {
			return errAway
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 2)
	other, _ := again()
	for _, stream := range []*jetstream.Stream{stream, other} {
		c, err := jetstream.NewConsumer(t.Context(), stream, fn, jetstream.ConsumerConfig{Logger: suite.Quiet, MaxTries: 1, AckWait: 5 * time.Second,
			Backoff: func(int) time.Duration { return 0 }})
		require.NoError(t, err)
		go func() { result <- c.Run(ctx) }()
	}
	require.Eventually(t, func() bool {
		info, err := s.Info(t.Context())
		require.NoError(t, err)
		return info.State.Msgs == 0
	}, 2*suite.Patience, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-result)
	require.NoError(t, <-result)
	for d, err := range stream.DeadLetters(t.Context()) {
		assert.Fail(t, "no event is given up", "%v %v", d, err)
	}
}

// The process that put a dead letter back died before it deleted it, and before that it had claimed it.
func TestADeadLetterWhoseRedriveDiedIsPutBackOnce(t *testing.T) {
	t.Parallel()
	stream, again, s := open(t, 1)
	c, err := jetstream.NewConsumer(t.Context(), stream, func(context.Context, *walletcrew.Event) error { return errors.New("a bug") },
		jetstream.ConsumerConfig{Logger: suite.Quiet, MaxTries: 1})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- c.Run(ctx) }()
	letters := func() (all []*jetstream.DeadLetter) {
		for d, err := range stream.DeadLetters(t.Context()) {
			require.NoError(t, err)
			all = append(all, d)
		}
		return all
	}
	require.Eventually(t, func() bool { return len(letters()) == 1 }, suite.Patience, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-result)
	d := letters()[0]
	_, nc := again()
	js, err := natsjs.New(nc)
	require.NoError(t, err)
	_, err = js.Publish(t.Context(), d.ClaimSubject(), nil)
	require.NoError(t, err)
	require.NoError(t, jetstream.PutBack(d, t.Context()))

	require.Len(t, letters(), 1, "it isn't lost, and the claim isn't one")
	stats, err := stream.Stats(t.Context(), "worker")
	require.NoError(t, err)
	assert.EqualValues(t, 1, stats.Dead)
	impatient, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	require.ErrorIs(t, d.Redrive(impatient), context.DeadlineExceeded, "another may still be at it")
	d.SetClaimTakeover(200 * time.Millisecond)
	require.NoError(t, d.Redrive(t.Context()))
	require.ErrorIs(t, d.Redrive(t.Context()), jetstream.ErrNoDeadLetter)
	info, err := s.Info(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 1, info.State.Msgs, "it is in the stream once")
	dead, err := js.Stream(t.Context(), info.Config.Name+"_DEAD")
	require.NoError(t, err)
	assert.Zero(t, dead.CachedInfo().State.Msgs, "nothing is left of the claims")
}
