package jetstream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Run calls the function for each event, until ctx ends. Call it once.
//
// The function's context has the event's [receiver.Key], the same as in the receiver. What the function returns decides about the
// event:
//
//   - nil acknowledges it.
//   - An error lets it come again after [ConsumerConfig].Backoff, and so does a panic. After MaxTries it is a dead letter.
//   - A [receiver.Discard] ends it: it doesn't come again, and is no dead letter.
//   - A [receiver.Temporary] error pauses its name, see below.
//
// An event that can't be parsed is a dead letter, too. A dead letter leaves the stream only once it is stored where
// [Stream.DeadLetters] finds it.
//
// If the server is away, Run logs that and tries again until the server is back. It returns [ErrUnavailable] only if the
// connection is closed for good. [Connect] makes a connection that never gives up.
//
// When ctx ends, Run takes no further event, and waits for the functions that are running. Their own context goes on until
// [ConsumerConfig].DrainTimeout. If all of them have ended, Run returns nil. Otherwise its error says how many haven't; their
// events come again after AckWait.
//
// # Temporary errors
//
// A [receiver.Temporary] error is for trouble that isn't the event's own, such as a database that is away. It would hit the other
// events with this name, too. So the name is paused:
//
//   - One of its events is kept as a probe: the function is called with it again after the back-off, which is 5 s at most. A
//     process probes at most four times a second, however many names are paused.
//   - The others are set aside: the server keeps them, and the function isn't called for them. They take none of the Concurrency,
//     so events of other names go on, however many wait.
//   - Once a probe ends in anything else, the events that were set aside come again, as fast as they are handled.
//
// None of this counts as a try, and makes no event a dead letter, however long it lasts. When ctx ends, the events that were set
// aside are given back for other processes at once. If the process dies, they come again within 10 minutes. An event whose
// function always returns a Temporary error stays: the log names it, and [Stats].Oldest shows its age.
func (c *Consumer) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := c.start(ctx, work)
	select {
	case <-ended:
		return fmt.Errorf("%w: the connection is closed", ErrUnavailable)
	case <-ctx.Done():
	}
	select {
	case <-ended:
	case <-time.After(c.cfg.DrainTimeout):
		cancel()
		select {
		case <-ended:
		case <-time.After(settleTimeout):
			c.handBack()
			return fmt.Errorf("jetstream: %d functions haven't ended in time; their events come again", c.running.Load())
		}
	}
	c.handBack() // nobody here asks for events any more
	flush, cancelFlush := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancelFlush()
	if err := c.stream.nc.FlushWithContext(flush); err != nil { // the last acknowledgements
		return fmt.Errorf("%w: the last acknowledgements may be lost, and their events come again: %w", ErrUnavailable, err)
	}
	return nil
}

// start starts all that runs; ended is closed when it has ended.
func (c *Consumer) start(ctx, work context.Context) (ended <-chan struct{}) {
	run, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	for range c.cfg.Concurrency {
		workers.Go(func() { c.work(run, work) })
	}
	c.tending.Go(func() { c.skim(run, work) })
	c.tending.Go(func() {
		ticker := time.NewTicker(c.times.renew)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				c.renew()
			case <-run.Done():
				return
			}
		}
	})
	all := make(chan struct{})
	go func() {
		workers.Wait()
		stop()
		c.tending.Wait()
		close(all)
	}()
	return all
}

// settleTimeout bounds what is left to do when a function has ended.
const settleTimeout = 5 * time.Second

// work is one of the Concurrency.
func (c *Consumer) work(ctx, work context.Context) {
	for failures := 0; ctx.Err() == nil && !c.stream.nc.IsClosed(); {
		consumer, err := c.attach(ctx)
		for err == nil && ctx.Err() == nil {
			failures = 0
			err = c.take(ctx, work, consumer)
		}
		if ctx.Err() != nil {
			return
		}
		if failures++; failures > 1 { // one is what the restart of a server looks like
			c.complain(ctx, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// take handles one event after the other, until ctx ends or something is wrong. An event is asked for only when the one before
// has ended: none waits here while another worker could have it, or while its AckWait runs.
func (c *Consumer) take(ctx, work context.Context, consumer jetstream.Consumer) error {
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(2*time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Drain)() // what is on its way already is still handled
	for {
		m, err := messages.Next()
		if err != nil {
			return err
		}
		began := time.Now()
		if err := c.handle(ctx, work, m); err != nil {
			return err
		}
		if time.Since(began) > c.cfg.AckWait/2 {
			return nil // after a reconnection, a second event may have come meanwhile, and be too old now
		}
	}
}
