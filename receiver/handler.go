package receiver

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// A Handler receives deliveries: an http.Handler. Make it with [NewHandler].
type Handler struct {
	verifier *verifier.Verifier
	fn       HandlerFunc
	timeout  time.Duration
	claims   *claims
	log      log
	observer func(context.Context, Outcome)

	deduper   Deduper
	failOpen  bool
	inside    gate
	unlimited sync.Once // it was said that a body's time can't be limited
}

// A HandlerFunc handles an event. If it returns nil, the event is acknowledged. If it returns an error, the platform delivers the
// event again, unless the error is a [Discard] or [ErrIgnored].
//
// It must be safe for concurrent use. It must not change the event, which is logged and observed, too. The context ends with the
// time of [WithTimeout] or with the request, whichever is first: return then. The context has the event's deduplication key, see
// [Key].
type HandlerFunc func(ctx context.Context, e *walletcrew.Event) error

// A HandlerOption is passed to [NewHandler].
type HandlerOption func(*Handler)

const (
	defaultTimeout = 25 * time.Second // under the platform's 30
	maxTimeout     = 24 * time.Hour   // far over what the platform waits; a lease must end some day
	leaseMargin    = 10 * time.Second // how much longer than the function's time a lease lasts: for a late end, and for completing
)

// WithDeduper calls the function once for each event: the handler asks the deduper before it calls the function, and tells it
// afterwards. [NewHandler] lists the answers, and [ContinueWithoutDeduper] is for a deduper that fails. With a nil deduper, or
// without this option, the function is called for each delivery, but for one delivery of an event at a time.
//
// Give each function its own deduper, because a deduper only remembers that an event was handled, not by which function. The
// dedupers of the adapters ask for a name for that. If two functions share one, an event that comes to both, as from two
// webhooks, is handled by the first and taken for a duplicate by the second. It is the same with two tenants that have a
// verifier.Static source each.
func WithDeduper(d Deduper) HandlerOption { return func(h *Handler) { h.deduper = d } }

// ContinueWithoutDeduper calls the function even if the deduper can't be asked, so that an event may be handled twice. Without
// this option, the handler answers 503 then. Nothing is lost by that as long as the platform delivers again: it is said to, but
// when and how often isn't documented.
func ContinueWithoutDeduper() HandlerOption { return func(h *Handler) { h.failOpen = true } }

// WithTimeout sets how long a delivery may take, from its arrival to the end of the function: reading the body, getting the
// secrets and running the function, all together. The default is 25 s, because the platform waits for 30 s. NewHandler panics if
// d is under 1 ms or over 24 h.
//
// A shorter http.Server.ReadTimeout still limits reading the body. If a middleware wraps the http.ResponseWriter without a method
// Unwrap, as http.TimeoutHandler does, nothing else limits it: the handler logs that as a warning, once. The source of secrets
// and the deduper learn of the limit through their context. One that ignores its context delays the answer.
func WithTimeout(d time.Duration) HandlerOption { return func(h *Handler) { h.timeout = d } }

// WithLogger sets the logger. Without it, or with nil, that is [slog.Default]. The handler logs
//
//   - refused deliveries: info, or warn if the signature held
//   - failures and discarded events: warn
//   - panics: error
//
// It never logs a body, a signature or a secret. The attributes claimed_event and claimed_tenant come from headers, which aren't
// signed: don't trust them. Remote is the http.Request's RemoteAddr. All three are cut, and their control characters replaced.
//
// Anybody can cause any number of refusals. So the handler logs the first of each [Reason] in full and counts the next ones. One
// line says how many there were, 10 seconds after the first or at [Handler.Shutdown]. It does the same for deliveries of an event
// that is in flight, and while the secrets or the deduper can't be had. What your function returns is always logged.
//
// Two things are logged at most once a minute:
//
//   - events that are [Ignored], for each known name: info, or warn for events without a name
//   - that signatures keep failing, as long as none has held since the start: warn. The secret is probably wrong, and the line
//     says what to compare
func WithLogger(l *slog.Logger) HandlerOption { return func(h *Handler) { h.log.logger = l } }

// WithObserver calls f once for each delivery, when its answer is decided: for metrics and traces. F runs on the request's
// goroutine, or on another one if the time is up before the function has returned. The answer is only complete when f returns.
// What the function does after the answer is logged, not observed. If f panics, that is logged.
func WithObserver(f func(context.Context, Outcome)) HandlerOption {
	return func(h *Handler) { h.observer = f }
}

// NewHandler returns a handler that receives deliveries: it verifies a delivery, decodes it, leaves out duplicates, calls fn, and
// answers. It panics if v or fn is nil, or if an option is wrong. A nil option is ignored.
//
// The answer is
//
//   - 204 if fn returned nil, a [Discard] or [ErrIgnored]
//   - 500 if fn returned another error, or panicked; the stack is logged
//   - 503 with Retry-After if fn returned a [Temporary] error, or didn't return in time
//   - the status of verifier.StatusCode if the delivery is refused
//
// An answer has no body but the status's own words.
//
// # Time
//
// Fn runs on the request's goroutine. Its context ends when the time of [WithTimeout] is up, or when the request ends. If fn
// hasn't returned by then, the handler answers 503 at once (over HTTP/1 with "Connection: close"), and ServeHTTP returns when fn
// does. The result of fn is logged and still counts: the event is done, or free to be delivered again. If a middleware's
// http.ResponseWriter can't be flushed, the 503 goes out when fn returns. [Handler.Shutdown] waits for all of this.
//
// # Duplicates
//
// With [WithDeduper], the handler claims the event's key before it calls fn. The lease is 10 s longer than the timeout.
//
//   - If the event is done, the handler answers 204 and doesn't call fn.
//   - If this handler is working on the event, or another one with the same memory deduper, the delivery waits for the result and
//     then looks again. At most four deliveries of one event wait; the others get 503 at once. It is the same without a deduper.
//   - If another process is working on the event, the handler answers 503.
//
// After fn, the handler completes the key, and the event is done. If fn failed or ignored the event, the handler releases the
// key, so that the next delivery calls fn.
//
// For either, the deduper has what is left of the timeout, 3 s at least and 25 s at most. If it can't be told by then, the handler tells it again in
// the background until the lease ends. If it was completing that failed, the handler answers 204, because the event was handled,
// and logs an error; the event may be handled once more. After a crash, the lease runs out, and the next delivery calls fn.
//
// So fn runs once for an event, unless it outlives its lease, or something fails between its end and the completing. Write fn so
// that a second run does no harm. An event without "__id" is never taken for a duplicate.
func NewHandler(v *verifier.Verifier, fn HandlerFunc, opts ...HandlerOption) *Handler {
	h := &Handler{verifier: v, fn: fn, timeout: defaultTimeout}
	for _, opt := range opts {
		if opt != nil {
			opt(h)
		}
	}
	switch {
	case v == nil:
		panic("receiver: NewHandler: the Verifier is nil")
	case fn == nil:
		panic("receiver: NewHandler: the function is nil")
	case h.timeout > 0 && h.timeout < time.Millisecond:
		panic(fmt.Sprintf("receiver: NewHandler: WithTimeout(%v) is under 1 ms: did you mean %d*time.Second?", h.timeout, h.timeout))
	case h.timeout <= 0 || h.timeout > maxTimeout:
		panic("receiver: NewHandler: the timeout isn't between 1 ms and 24 h")
	}
	h.claims = newClaims(h.deduper, h.timeout+leaseMargin, &h.log)
	for _, doubt := range v.Doubts() {
		h.log.record(context.Background(), slog.LevelWarn, "receiver: "+doubt, nil, nil)
	}
	return h
}

// ServeHTTP receives one delivery.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{handler: h, w: w, r: r, arrived: time.Now()}
	if !h.inside.enter() {
		c.out.unavailable(Unavailable, ReasonShuttingDown, errShuttingDown)
		c.finish()
		return
	}
	defer h.inside.leave()
	defer c.exit()
	var cancel context.CancelFunc
	c.ctx, cancel = context.WithDeadline(r.Context(), c.arrived.Add(h.timeout))
	defer cancel()
	if c.receive() {
		c.handle()
	}
}

// Shutdown answers deliveries with 503 from now on, and waits for
//
//   - functions that are still running, including those whose delivery was already answered with 503
//   - what the deduper must still be told
//
// If ctx ends first, Shutdown returns an error that is ctx.Err(), and what it waited for goes on. You may call it more than once.
//
// Call http.Server.Shutdown first. On HTTP/1 that waits for functions, too. On HTTP/2 it doesn't wait for a function whose sender
// has hung up.
func (h *Handler) Shutdown(ctx context.Context) error {
	if err := h.inside.close(ctx); err != nil {
		return fmt.Errorf("receiver: Shutdown: %w", err)
	}
	h.log.flush()
	if err := h.claims.drain(ctx); err != nil {
		return fmt.Errorf("receiver: Shutdown: %w", err)
	}
	return nil
}

// A gate counts the deliveries inside, and lets none in once it is closed.
type gate struct {
	mu     sync.Mutex
	inside int
	closed bool
	empty  chan struct{} // closed when the last is out; made by the first who waits
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.empty != nil {
		close(g.empty)
	}
}

// close waits until nobody is inside.
func (g *gate) close(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	inside := g.inside
	if g.empty == nil && inside > 0 {
		g.empty = make(chan struct{})
	}
	empty := g.empty
	g.mu.Unlock()
	if inside == 0 {
		return nil
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("deliveries are still being handled, %d of them: %w", inside, ctx.Err())
	}
}
