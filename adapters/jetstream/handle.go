package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A delivery is one event that the server has given to this process.
type delivery struct {
	m    jetstream.Msg
	meta *jetstream.MsgMetadata
	key  string
	out  Outcome
	done chan struct{} // closed by stop; nil until keepAlive
}

// handle deals with one event. Run ends with Run's context, ctx with the time for what still runs then. The error says that the
// consumer isn't this process's any more; it is nil for all that is the event's own.
func (c *Consumer) handle(run, ctx context.Context, m jetstream.Msg) (notOurs error) {
	d, notOurs := c.open(ctx, m)
	if d == nil || c.diverted(ctx, d) {
		return notOurs
	}
	d.keepAlive(c)
	c.slots <- struct{}{} // a probe may have it
	c.serve(run, ctx, d)
	return nil
}

// open reads an event. It returns nil for what the function isn't called for, and has dealt with it.
func (c *Consumer) open(ctx context.Context, m jetstream.Msg) (d *delivery, notOurs error) {
	meta, err := m.Metadata()
	if err != nil { // not a consumer's message: can't be
		c.cfg.Logger.ErrorContext(ctx, "jetstream: a message without metadata", slog.String("subject", m.Subject()), slog.Any("error", err))
		return nil, nil
	}
	d = &delivery{m: m, meta: meta, out: Outcome{Subject: m.Subject(), Try: c.ledger.arrive(meta)}}
	d.out.Event, d.key, d.out.Err = c.stream.event(m.Subject(), m.Headers(), m.Data())
	switch {
	case d.out.Err != nil:
		c.bury(ctx, d)
	case slices.ContainsFunc(c.cfg.Patterns, d.out.Event.Name.Matches):
		return d, nil
	default:
		if notOurs = c.confirm(ctx); notOurs != nil { // the consumer was made anew while this process ran
			d.out.Err = notOurs
			c.giveBack(ctx, d, time.Second, false)
			break
		}
		d.out.Err = fmt.Errorf("jetstream: %s fits none of the consumer's patterns, but its subject does: the header %s belies it", d.out.Event.Name, HeaderEvent)
		c.bury(ctx, d)
	}
	c.finish(ctx, d)
	return nil, notOurs
}

// serve calls the function, in a slot that it frees.
func (c *Consumer) serve(run, ctx context.Context, d *delivery) {
	if c.diverted(ctx, d) { // while it waited for the slot
		<-c.slots
		return
	}
	c.attempt(ctx, d)
	<-c.slots
	if isTemporary(d.out.Err) && !c.expires(d.meta, c.times.mostProbe) {
		c.pause(run, ctx, d)
		return
	}
	c.settle(ctx, d)
	d.stop()
}

// diverted reports whether the event is done with, or with somebody else: its name is paused.
func (c *Consumer) diverted(ctx context.Context, d *delivery) bool {
	kept, expired := c.divert(d)
	if expired != nil {
		d.out.Err = fmt.Errorf("%w (%w)", expired, errExpires)
		c.bury(ctx, d)
		c.finish(ctx, d)
		d.stop()
		return true
	}
	if kept == setAside {
		d.stop()
	}
	return kept != notDiverted
}

// attempt calls the function, unless the event is one that workers don't survive.
func (c *Consumer) attempt(ctx context.Context, d *delivery) {
	if c.deadly(d) {
		d.out.Err = fmt.Errorf("%w: %d times", errDeadly, d.out.Try-1)
		return
	}
	began := time.Now()
	d.out.Err = c.call(withHeaders(ctx, d.m.Headers(), d.key), d.out.Event)
	d.out.Function = time.Since(began)
}

// settle tells the server, the log and the observer what became of the event.
func (c *Consumer) settle(ctx context.Context, d *delivery) {
	var err error
	switch out := &d.out; {
	case out.Err == nil:
		out.Result, err = Handled, d.m.Ack()
	case receiver.IsIgnored(out.Err):
		out.Result, out.Err, err = Ignored, nil, d.m.Ack()
	case receiver.IsDiscard(out.Err):
		out.Result, err = Discarded, d.m.Term()
	default:
		c.fail(ctx, d)
	}
	if err != nil {
		c.cfg.Logger.WarnContext(ctx, "jetstream: an event can't be acknowledged, and comes again", append(d.out.attrs(), slog.Any("error", err))...)
	}
	c.finish(ctx, d)
}

// finish is for an event that was settled or given back.
func (c *Consumer) finish(ctx context.Context, d *delivery) {
	if d.out.Result != Retried {
		c.ledger.settled(d.meta)
	}
	c.log(ctx, &d.out)
	c.observe(ctx, d)
}

var (
	errExpires   = errors.New("and the stream drops the event before it can be tried again")
	errDeadly    = errors.New("jetstream: the event was delivered and never settled, since the workers crashed or were cut off, or its dead letter couldn't be stored")
	errNotBuried = errors.New("it can't be put among the dead letters")
)

// fail decides what becomes of an event that wasn't handled.
func (c *Consumer) fail(ctx context.Context, d *delivery) {
	delay := c.backoff(ctx, d.out.Try)
	switch {
	case errors.Is(d.out.Err, errDeadly):
		c.bury(ctx, d)
	case isTemporary(d.out.Err), c.expires(d.meta, delay): // the first comes here only if it expires
		d.out.Err = fmt.Errorf("%w (%w)", d.out.Err, errExpires)
		c.bury(ctx, d)
	case ctx.Err() != nil: // it was broken off, since Run ends
		c.giveBack(ctx, d, 0, false)
	case c.isLast(d):
		c.bury(ctx, d)
	default:
		c.giveBack(ctx, d, delay, true)
	}
}

// A delivery to another process, or to this one before it was started again, may have been no try: the event was set aside there. An event
// that is older than doubtAfter, so that this can have been, isn't given up before it has failed leastFailures times here.
const (
	doubtAfter    = 10 * time.Minute
	leastFailures = 3
)

func (c *Consumer) isLast(d *delivery) bool {
	failed := c.ledger.failures(d.meta) + 1
	switch {
	case d.out.Try < c.cfg.MaxTries:
		return false
	case failed >= d.out.Try, d.out.Try >= leastFailures*c.cfg.MaxTries, d.age() < doubtAfter:
		return true
	}
	return failed >= min(leastFailures, c.cfg.MaxTries)
}

// deadly reports whether the event was delivered so often without a worker settling it that the workers must have died of it. A worker that
// is started again every five minutes of a long outage counts no event as deadly.
func (c *Consumer) deadly(d *delivery) bool {
	return d.out.Try > max(2*c.cfg.MaxTries, 20)+int(d.age()/(5*time.Minute))
}

// age is how long ago the event was published first.
func (d *delivery) age() time.Duration {
	return max(time.Since(published(d.m.Headers(), d.meta)), 0)
}

// expires reports whether the stream may have dropped the event when it is tried again after the delay.
func (c *Consumer) expires(meta *jetstream.MsgMetadata, delay time.Duration) bool {
	age := c.stream.maxAge
	return age > 0 && time.Until(meta.Timestamp.Add(age)) < delay+c.margin()
}

// limit is the time until which the event can be set aside in a log; zero is for ever.
func (c *Consumer) limit(meta *jetstream.MsgMetadata) time.Time {
	age := c.stream.maxAge
	if age == 0 {
		return time.Time{}
	}
	return meta.Timestamp.Add(age - 2*c.margin())
}

// margin is what is left of an event's time in a log when it must be settled.
func (c *Consumer) margin() time.Duration { return min(c.cfg.AckWait, c.stream.maxAge/10) }

// giveBack lets the event come again. Should the message be lost, it does so after AckWait. Failed: this was a try.
func (c *Consumer) giveBack(ctx context.Context, d *delivery, delay time.Duration, failed bool) {
	d.out.Result = Retried
	c.ledger.givenBack(d.meta, delay, failed)
	if err := d.m.NakWithDelay(delay); err != nil {
		c.cfg.Logger.WarnContext(ctx, "jetstream: an event can't be given back, and comes again", append(d.out.attrs(), slog.Any("error", err))...)
	}
}

// bury puts the event among the dead letters, and only then takes it out of the stream.
func (c *Consumer) bury(ctx context.Context, d *delivery) {
	if err := c.stream.publishDeadLetter(ctx, c.cfg.Name, d.m, d.meta, d.out.Try, d.out.Err); err != nil {
		d.out.Err = fmt.Errorf("%w (and %w: %w)", d.out.Err, errNotBuried, err)
		delay := c.backoff(ctx, d.out.Try)
		if c.expires(d.meta, delay) {
			delay = min(delay, time.Second) // while there is time
		}
		c.giveBack(ctx, d, delay, true)
		return
	}
	d.out.Result = DeadLettered
	if err := d.m.Term(); err != nil {
		c.cfg.Logger.WarnContext(ctx, "jetstream: a dead letter can't be taken out of the stream, and comes again", append(d.out.attrs(), slog.Any("error", err))...)
	}
}

// keepAlive tells the server that the event is in progress, until stop is called.
func (d *delivery) keepAlive(c *Consumer) {
	if d.done != nil {
		return
	}
	done := make(chan struct{})
	d.done = done
	go func() {
		ticker := time.NewTicker(c.cfg.AckWait / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_ = d.m.InProgress() // without a connection there is nothing to be done
			case <-done:
				return
			}
		}
	}()
}

func (d *delivery) stop() {
	if d.done != nil {
		close(d.done)
		d.done = nil
	}
}

// ErrPanicked means that the function panicked, or called runtime.Goexit. Use errors.Is on [Outcome].Err.
var ErrPanicked = errors.New("jetstream: the function panicked")

// call calls the function on a goroutine of its own, so that neither a panic nor a runtime.Goexit ends the worker.
func (c *Consumer) call(ctx context.Context, e *walletcrew.Event) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	c.running.Add(1)
	defer c.running.Add(-1)
	result := make(chan error, 1)
	go func() {
		err := fmt.Errorf("%w: runtime.Goexit was called", ErrPanicked)
		defer func() {
			if value := recover(); value != nil {
				err = fmt.Errorf("%w: %v", ErrPanicked, value)
				c.cfg.Logger.ErrorContext(ctx, err.Error(), slog.String("event", string(e.Name)), slog.String("id", e.ID), slog.String("stack", string(debug.Stack())))
			}
			result <- err
		}()
		err = c.fn(ctx, e)
	}()
	return <-result
}
