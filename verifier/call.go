package verifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A call is one delivery on its way through a handler, with all that it needs: it is allocated at once, but for the channel.
type call struct {
	delivery
	handler *handler
	ctx     *deadlineContext // of all that is done for it; of its own, since who keeps it must not keep the delivery
	began   time.Time        // the function

	turn    turn
	key     string // of the deduper; "" where it isn't asked
	claimed bool
	token   string // of the lease, if claimed

	endings chan ending // of the function, or of its time; room for both
	decided atomic.Bool // who comes first, the function or the end of the time, decides the answer

	earlier, later *call // in handler.deadlines
}

// An ending is why a call waits no longer.
type ending struct {
	returned bool // else its time is up
	err      error
}

// newCall begins a delivery's time.
func newCall(ctx context.Context, h *handler) *call {
	c := &call{handler: h, endings: make(chan ending, 2)}
	c.timed = h.observer != nil
	c.ctx = &deadlineContext{Context: ctx, deadline: time.Now().Add(h.timeout)}
	h.deadlines.add(c)
	return c
}

// end is called when the delivery is answered; the function may go on.
func (c *call) end() {
	c.handler.deadlines.remove(c)
	c.ctx.end()
}

// receive gives the body until the deadline to come in: a sender that trickles doesn't hold a goroutine.
func (c *call) receive(w http.ResponseWriter, r *http.Request) error {
	v := c.handler.verifier
	limited := c.limitBody(w, r)
	return guard("the source of secrets", func() error {
		if err := v.checkRequest(r, &c.delivery); err != nil {
			return err
		}
		if err := v.readBody(r, &c.delivery); err != nil {
			return err
		}
		if limited {
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		}
		return explain(v.accept(c.ctx, &c.delivery), r, &c.delivery)
	})
}

// limitBody sets the body's deadline, and reports whether it must be taken back when the body is in: the connection may be read from
// already, for the next request (it is where there is no body, or a middleware has read it), and the deadline of this one would end
// it, and the contexts of all that follow. Where the body isn't in, the deadline stays: net/http still reads what is left of it.
func (c *call) limitBody(w http.ResponseWriter, r *http.Request) (limited bool) {
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	if server != nil && server.ReadTimeout > 0 && server.ReadTimeout <= c.handler.timeout {
		return false
	}
	err := http.NewResponseController(w).SetReadDeadline(c.ctx.deadline)
	if err == nil {
		return true
	}
	if server != nil && server.ReadTimeout <= 0 { // a recorder, say, has neither
		c.handler.unlimited.Do(func() {
			c.handler.record(c.ctx, slog.LevelWarn, "verifier: WithTimeout can't limit how long a body takes to come in: give the ResponseWriter that wraps "+
				"net/http's a method Unwrap, or set http.Server.ReadTimeout", nil, err)
		})
	}
	return false
}

// handle runs the function for a delivery that was accepted, and says what became of it.
func (c *call) handle(out *Outcome) {
	h := c.handler
	if err := c.ctx.Err(); err != nil { // nobody would hear how the function ended
		out.unavailable(TimedOut, fmt.Errorf("verifier: the time was up before the function was called: %w", err))
		return
	}
	if h.deduper != nil {
		c.key = h.verifier.dedupeKey(&c.delivery)
	}
	if c.key == "" {
		c.run(out)
		return
	}
	running := false // then the turn is given back when the function has ended
	defer func() {
		if !running {
			h.turns.give(&c.turn)
		}
	}()
	claim, err := c.claim()
	if err != nil && h.failOpen && !errors.Is(err, errBusy) {
		h.record(c.ctx, slog.LevelWarn, "verifier: the deduper failed; the event is handled without it", c.event, err)
		if err = c.take(); err == nil {
			running = true
			c.run(out)
			return
		}
	}
	switch {
	case errors.Is(err, errBusy):
		out.unavailable(InFlight, err)
	case err != nil:
		out.unavailable(Unavailable, fmt.Errorf("verifier: the deduper failed: %w", err))
	case claim.State == Done:
		out.Result, out.Status = Duplicate, http.StatusNoContent
	case claim.State == Held:
		out.unavailable(InFlight, errors.New("verifier: another process is handling the event"))
	default:
		c.claimed, c.token = true, claim.Token
		running = true
		if err := c.ctx.Err(); err != nil { // a deduper that doesn't look at its context
			c.settle(err)
			out.unavailable(TimedOut, fmt.Errorf("verifier: the time was up before the function was called: %w", err))
			return
		}
		c.run(out)
	}
}

// take takes the event's turn, if it hasn't. The error is [errBusy] where the context ended first.
func (c *call) take() error {
	if c.turn.key != "" {
		return nil
	}
	c.turn = turn{key: c.key, until: c.ctx.deadline.Add(leaseMargin)}
	if err := c.handler.turns.take(c.ctx, &c.turn); err != nil {
		c.turn = turn{}
		return err
	}
	return nil
}

// claim claims the event, once no other delivery of it is being handled in this process; other processes are up to the deduper.
func (c *call) claim() (claim Claim, err error) {
	h, lease := c.handler, c.handler.timeout+leaseMargin
	if memory, ok := h.deduper.(*memoryDeduper); ok { // knows by itself when the other has ended
		return memory.claimInTurn(c.ctx, c.key, lease)
	}
	if err := c.take(); err != nil {
		return Claim{}, err
	}
	err = guard("the deduper", func() (err error) {
		claim, err = h.deduper.Claim(c.ctx, c.key, lease)
		return err
	})
	switch {
	case err == nil:
		h.doubts.settle(h.deduper)
	case claim.Token != "":
		h.doubts.add(doubt{key: c.key, token: claim.Token, until: time.Now().Add(lease)})
	}
	if err == nil && (claim.State < Claimed || claim.State > Done) {
		err = fmt.Errorf("verifier: the deduper answered with an invalid claim (%d)", claim.State)
	}
	return claim, err
}

// errBusy: this process is at it.
var errBusy = errors.New("verifier: this process is still handling the event")

// run calls the function on a goroutine of its own, and waits for it, for the deadline, or for the sender to hang up.
func (c *call) run(out *Outcome) {
	c.began = time.Now()
	go c.function()

	var end ending
	select {
	case end = <-c.endings:
	case <-c.ctx.Context.Done():
	}
	if !end.returned {
		<-c.ctx.Done() // the function's context has ended too, before anybody hears of it
		if c.decided.CompareAndSwap(false, true) {
			out.Function = time.Since(c.began)
			out.unavailable(TimedOut, fmt.Errorf("verifier: the function did not return in time: %w", c.ctx.Err()))
			return
		}
		for !end.returned {
			end = <-c.endings // it returned at this very moment
		}
	}
	out.Function = time.Since(c.began)
	c.settle(end.err)
	out.decide(c.ctx, end.err)
}

// function calls the user's function, and tells how it ended: also after a panic or a runtime.Goexit.
func (c *call) function() {
	var err error
	returned := false
	defer func() {
		if !returned {
			value := recover()
			if value == nil {
				value = "runtime.Goexit was called"
			}
			err = &panicked{"the function", value, debug.Stack()}
		}
		if c.decided.CompareAndSwap(false, true) {
			c.endings <- ending{true, err}
			return
		}
		c.settle(err)
		c.late(err)
	}()
	err = c.handler.fn(c.ctx, c.event)
	if err != nil { // a nil pointer as an error panics when it is asked: here, where it is the function's panic
		_, _ = err.Error(), errors.Is(err, context.Canceled) || IsDiscard(err)
	}
	returned = true
}

// settle tells the deduper how the function ended, and lets the next delivery of the event go.
func (c *call) settle(result error) {
	if c.key == "" {
		return
	}
	h := c.handler
	defer h.turns.give(&c.turn)
	if !c.claimed {
		return
	}
	ctx := context.Context(c.ctx)
	if _, inMemory := h.deduper.(*memoryDeduper); !inMemory { // the timer would be the most of the memory deduper's cost, for nothing
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
		defer cancel()
	}
	if isDone(result) {
		if err := guard("the deduper", func() error { return h.deduper.Complete(ctx, c.key, c.token) }); err != nil {
			h.record(ctx, slog.LevelError, "verifier: the event was handled, but can't be marked as done; it may be handled again", c.event, err)
		}
		return
	}
	if err := guard("the deduper", func() error { return h.deduper.Release(ctx, c.key, c.token) }); err != nil {
		h.record(ctx, slog.LevelWarn, "verifier: the event can't be released; it can be handled again when its lease has run out", c.event, err)
	}
}

// late tells of a function that ended after its delivery was answered.
func (c *call) late(err error) {
	level, message := slog.LevelWarn, "verifier: the function failed after its delivery was answered with 503"
	switch {
	case !isPanic(err) && errors.Is(err, context.Cause(c.ctx)):
		level = slog.LevelDebug // it did what it should, and the outcome says so
	case isDone(err):
		message = "verifier: the function succeeded after its delivery was answered with 503"
	case isPanic(err):
		level, message = slog.LevelError, "verifier: the function panicked after its delivery was answered with 503"
	}
	c.handler.record(c.ctx, level, message, c.event, err, slog.Duration("took", time.Since(c.began)))
}
