package receiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/answer"
	"github.com/thewalletcrew/walletcrew-go/internal/dedupekey"
	"github.com/thewalletcrew/walletcrew-go/internal/guard"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// A call is one delivery on its way through a handler. It belongs to the request's goroutine; when the time is up it is timeUp's, until
// that returns.
type call struct {
	handler  *Handler
	w        http.ResponseWriter
	r        *http.Request
	ctx      context.Context // of all that is done for it
	turn     turn
	body     timedBody
	delivery *verifier.Delivery // nil until it is received
	out      Outcome
	arrived  time.Time
	last     time.Duration  // from the arrival until the step before ended, and this one began
	early    sync.WaitGroup // timeUp
	finished bool           // it is decided, logged and observed
	answered bool           // by writeEmpty: the status is written
	exiting  bool           // user code has called runtime.Goexit: net/http won't send what is in its buffers
}

var errShuttingDown = errors.New("receiver: the handler is shutting down")

// receive verifies and decodes the delivery, and reports whether it goes on. The body has until the end of ctx to come in: a sender
// that trickles doesn't hold a goroutine.
func (c *call) receive() bool {
	r := c.r.WithContext(c.ctx)
	if r.Body != nil {
		c.body.ReadCloser = r.Body
		r.Body = &c.body
		c.limitBody()
	}
	err := guard.Call("receiver: the source of secrets", func() (err error) {
		c.delivery, err = c.handler.verifier.Delivery(r)
		return err
	})
	c.lap()
	c.out.Bytes = c.body.read
	if d := c.delivery; d != nil {
		c.out.Event, c.out.Read, c.out.Verify, c.out.Decode = d.Event, d.Read, d.Verify, d.Decode
		if d.Authentic {
			c.handler.log.signatureHeld()
		}
	}
	if err != nil {
		c.out.refuse(err)
		c.finish()
	}
	return err == nil
}

// lap returns how long a step took that ends now.
func (c *call) lap() time.Duration {
	before := c.last
	c.last = time.Since(c.arrived) // which costs half of what time.Now does
	return c.last - before
}

// A timedBody is a body that has a deadline to come in.
type timedBody struct {
	io.ReadCloser
	read    int
	limited http.ResponseWriter // whose connection has the deadline; nil if none has
}

// Read takes the deadline back when the body is in: the connection may be read from already, for the next request, and the deadline of
// this one would end it, and the contexts of all that follow. Where the body isn't in, the deadline stays: net/http still reads what is
// left of it.
func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += n
	if b.limited != nil && errors.Is(err, io.EOF) {
		_ = http.NewResponseController(b.limited).SetReadDeadline(time.Time{})
		b.limited = nil
	}
	return n, err
}

// limitBody sets the body's deadline, unless the server's own is shorter.
func (c *call) limitBody() {
	h := c.handler
	server, _ := c.r.Context().Value(http.ServerContextKey).(*http.Server)
	if server != nil && server.ReadTimeout > 0 && server.ReadTimeout <= h.timeout {
		return
	}
	deadline, _ := c.ctx.Deadline()
	err := http.NewResponseController(c.w).SetReadDeadline(deadline)
	switch {
	case err == nil:
		c.body.limited = c.w
	case server != nil && server.ReadTimeout <= 0: // a recorder, say, has neither
		h.unlimited.Do(func() {
			h.log.record(c.ctx, slog.LevelWarn, "receiver: WithTimeout can't limit how long a body takes to come in: give the ResponseWriter that wraps "+
				"net/http's a method Unwrap, or set http.Server.ReadTimeout", nil, err)
		})
	}
}

// handle runs the function for a delivery that was accepted, if it is its turn.
func (c *call) handle() {
	key := c.delivery.Key()
	c.ctx = dedupekey.With(c.ctx, key) // also if there is none: the request's may have another
	if !c.inTime() {                   // nobody would hear how the function ended
		c.finish()
		return
	}
	if key == "" {
		c.run(nil)
		return
	}
	mine, ok := c.claim(key)
	c.out.Dedupe = c.lap()
	switch {
	case !ok:
		c.finish()
	case !c.inTime(): // a deduper that doesn't look at its context
		c.settle(mine, c.ctx.Err())
		c.out.Dedupe += c.lap()
		c.finish()
	default:
		c.run(mine)
	}
}

// inTime reports whether there is time left to call the function.
func (c *call) inTime() bool {
	err := c.ctx.Err()
	if err != nil {
		c.out.late("the time was up before the function was called", err)
	}
	return err == nil
}

// claim claims the event, and reports whether the function is to be called.
func (c *call) claim(key string) (*turn, bool) {
	h := c.handler
	mine, state, err := h.claims.take(c.ctx, key, &c.turn)
	switch {
	case errors.Is(err, errTooMany):
		c.out.unavailable(InFlight, ReasonTooManyWaiting, err)
	case mine == nil && err != nil:
		c.out.unavailable(InFlight, ReasonInFlight, err)
	case err != nil && h.failOpen:
		h.log.record(c.ctx, slog.LevelWarn, "receiver: the deduper failed; the event is handled without it", c.out.Event, err)
		return mine, true
	case err != nil:
		c.settle(mine, err)
		c.out.unavailable(Unavailable, ReasonDeduperUnavailable, fmt.Errorf("receiver: the deduper failed: %w", err))
	case state == Done:
		c.out.Result, c.out.Status = Duplicate, http.StatusNoContent
	case state == Held:
		c.out.unavailable(InFlight, ReasonInFlight, errors.New("receiver: another delivery of the event is being handled, by another process or another handler"))
	default:
		return mine, true
	}
	return nil, false
}

// run calls the function. If its time is up before, the delivery is answered meanwhile.
func (c *call) run(mine *turn) {
	began := c.last // which timeUp writes
	c.early.Add(1)
	stop := context.AfterFunc(c.ctx, c.timeUp)
	var err error
	returned := false
	defer func() {
		if !returned {
			err, c.exiting = guard.Goexit("receiver: the function"), true
		}
		late, ended := !stop(), time.Since(c.arrived)
		took, settled := ended-began, false
		defer func() { // also after a runtime.Goexit of the deduper
			c.exiting = c.exiting || !settled
			if late {
				c.early.Wait() // not before the deduper knows: an observer may take its time
				c.late(err, took)
				return
			}
			c.out.Function, c.last = took, ended
			if mine != nil && mine.claimed {
				c.out.Dedupe += c.lap()
			}
			c.out.decide(c.ctx, err)
			c.finish()
		}()
		c.settle(mine, err)
		settled = true
	}()
	err = guard.Call("receiver: the function", func() error { return c.handler.fn(c.ctx, c.out.Event) })
	returned = true
}

// settle tells the deduper how the function ended, and lets the next delivery of the event go.
func (c *call) settle(mine *turn, result error) {
	if mine == nil {
		return
	}
	h, done := c.handler, isDone(result)
	err := h.claims.settle(c.ctx, mine, done)
	switch {
	case err == nil:
	case done:
		h.log.record(c.ctx, slog.LevelError, "receiver: the event was handled, but can't be marked as done; it may be handled again", c.out.Event, err)
	default:
		h.log.record(c.ctx, slog.LevelWarn, "receiver: the event can't be released; it can be handled again when its lease has run out", c.out.Event, err)
	}
}

// timeUp answers while the function goes on.
func (c *call) timeUp() {
	defer c.early.Done()
	c.out.Function = c.lap()
	c.out.late("the function did not return in time", c.ctx.Err())
	c.decided()
	err := guard.Call("receiver: the ResponseWriter", func() error {
		if !canFlush(c.w) {
			return nil
		}
		c.writeEmpty()
		return http.NewResponseController(c.w).Flush()
	})
	c.handler.log.outcome(c)
	if guard.Of(err) != nil { // other errors are the sender's, who has gone
		c.handler.log.record(c.ctx, slog.LevelError, "receiver: the delivery can't be answered before the function returns", c.out.Event, err)
	}
	c.handler.observe(c.r.Context(), c.out)
}

// late tells of a function that ended after its delivery was answered.
func (c *call) late(err error, took time.Duration) {
	if !c.answered {
		c.writeEmpty() // a panic goes on to net/http, which ends the connection: without a status it would send 200
	}
	level, message := slog.LevelWarn, "receiver: the function failed after its delivery was answered with 503"
	switch {
	case guard.Of(err) == nil && errors.Is(err, context.Cause(c.ctx)):
		level = slog.LevelDebug // it did what it should, and the outcome says so
	case guard.Of(err) == nil && IsIgnored(err):
		level, message = slog.LevelDebug, "receiver: the event was ignored after its delivery was answered with 503"
	case err == nil:
		message = "receiver: the function succeeded after its delivery was answered with 503"
	case isDone(err):
		message = "receiver: the function discarded the event after its delivery was answered with 503"
	case guard.Of(err) != nil:
		level, message = slog.LevelError, "receiver: the function panicked after its delivery was answered with 503"
	}
	c.handler.log.record(c.ctx, level, message, c.out.Event, err, slog.Duration("took", took))
}

// finish logs, answers and observes what was decided.
func (c *call) finish() {
	c.decided()
	c.handler.log.outcome(c)
	if c.exiting {
		c.writeEmpty()
		_ = http.NewResponseController(c.w).Flush()
	} else {
		answer.Write(c.w, c.out.Status)
	}
	c.handler.observe(c.r.Context(), c.out)
}

// decided completes the outcome.
func (c *call) decided() {
	c.finished = true
	c.out.Total = c.last
	c.out.RemoteAddr = c.r.RemoteAddr
	if d := c.delivery; d != nil {
		c.out.ClaimedName, c.out.ClaimedTenant = d.ClaimedName, d.ClaimedTenant
	} else { // it wasn't looked at, or a panic came between
		c.out.ClaimedName = walletcrew.EventName(c.r.Header.Get(walletcrew.HeaderEventName))
		c.out.ClaimedTenant = c.r.Header.Get(walletcrew.HeaderTenantID)
	}
	if c.handler.observer != nil || c.out.Result == Ignored {
		c.out.label()
	}
}

// exit answers where user code has called runtime.Goexit before the function was called.
func (c *call) exit() {
	if !c.finished {
		c.exiting = true
		c.lap()
		c.out.refuse(guard.Goexit("receiver: the source of secrets or the deduper"))
		c.finish()
	}
}

// writeEmpty writes an answer that is whole without what net/http does when the handler returns: it has a length, which is zero. The
// connection ends with it, since nothing can follow until the function returns; on HTTP/2 that header would end all other streams.
func (c *call) writeEmpty() {
	header := c.w.Header()
	answer.SetHeader(header, c.out.Status)
	header.Set("Content-Length", "0")
	if c.r.ProtoMajor == 1 {
		header.Set("Connection", "close")
	}
	c.w.WriteHeader(c.out.Status)
	c.answered = true
}

// canFlush reports whether http.ResponseController can flush w. Calling it to find out would send a 200.
func canFlush(w http.ResponseWriter) bool {
	for range maxWrapped {
		switch t := w.(type) {
		case interface{ FlushError() error }, http.Flusher:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return false
		}
	}
	return false
}

// observe tells the observer. A panic of it must not take the answer with it.
func (h *Handler) observe(ctx context.Context, out Outcome) {
	if h.observer == nil {
		return
	}
	err := guard.Call("receiver: the observer", func() error { h.observer(ctx, out); return nil })
	if err != nil {
		h.log.record(ctx, slog.LevelError, "receiver: the observer failed", out.Event, err)
	}
}
