package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// An Outcome is the result of one delivery to a [Consumer], for ConsumerConfig.Observer.
type Outcome struct {
	Event    *walletcrew.Event // nil if it can't be parsed
	Subject  string
	Result   Result
	Try      int           // 1 for the first; see ConsumerConfig.MaxTries for what counts
	Age      time.Duration // since the event was published first, also if it was a dead letter meanwhile; by this machine's clock, never negative
	Function time.Duration // 0 if it wasn't called
	Err      error         // nil for Handled and Ignored
}

// A Result says how a delivery to a [Consumer] ended. It is one of the constants, so it can be a
// metric's label.
type Result string

// The results.
const (
	Handled      Result = "handled"       // the function returned nil: acknowledged
	Ignored      Result = "ignored"       // the function returned receiver.ErrIgnored, as a Mux does that has none for it: acknowledged
	Discarded    Result = "discarded"     // the function returned a receiver.Discard: terminated
	Retried      Result = "retried"       // the function failed or panicked: it is tried again after the back-off
	DeadLettered Result = "dead_lettered" // it failed for good, and is among the dead letters
)

func (o *Outcome) attrs() []any {
	attrs := []any{slog.String("subject", o.Subject), slog.Int("try", o.Try)}
	if o.Event != nil {
		attrs = append(attrs, slog.String("event", string(o.Event.Name)), slog.String("tenant", o.Event.TenantID), slog.String("id", o.Event.ID))
	}
	return attrs
}

func (c *Consumer) log(ctx context.Context, out *Outcome) {
	attrs := append(out.attrs(), slog.Any("error", out.Err))
	switch out.Result {
	case Ignored:
		c.ignored.Write(ctx, c.cfg.Logger, "jetstream", string(out.Event.Name), out.Event.Name.Known(), slog.Group("", out.attrs()...))
	case Discarded:
		c.cfg.Logger.WarnContext(ctx, "jetstream: the function discarded the event", attrs...)
	case Retried:
		if errors.Is(out.Err, errNotBuried) {
			c.cfg.Logger.ErrorContext(ctx, "jetstream: the event is a dead letter, but can't be stored as one: it stays in the stream and is tried again",
				append(attrs, slog.String("dead_letters", c.stream.deadLetters().Name))...)
			break
		}
		c.cfg.Logger.WarnContext(ctx, "jetstream: the event was not handled, and comes again", attrs...)
	case DeadLettered:
		c.cfg.Logger.ErrorContext(ctx, "jetstream: the event is among the dead letters now", attrs...)
	}
}

// guard keeps a panic of what the user gave besides the function from ending the process.
func (c *Consumer) guard(ctx context.Context, who string, f func()) {
	defer func() {
		if value := recover(); value != nil {
			c.cfg.Logger.ErrorContext(ctx, fmt.Sprintf("jetstream: %s panicked: %v", who, value), slog.String("stack", string(debug.Stack())))
		}
	}()
	f()
}

func (c *Consumer) observe(ctx context.Context, d *delivery) {
	if c.cfg.Observer != nil {
		d.out.Age = d.age()
		ctx = withHeaders(ctx, d.m.Headers(), d.key)
		c.guard(ctx, "the observer", func() { c.cfg.Observer(ctx, d.out) })
	}
}

func (c *Consumer) backoff(ctx context.Context, try int) time.Duration {
	wait := defaultBackoff(try)
	c.guard(ctx, "Backoff", func() { wait = c.cfg.Backoff(try) })
	return max(wait, 0)
}
