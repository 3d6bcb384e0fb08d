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

// HandlerFunc handles an event. Nil acknowledges it; an error asks the platform for it again, unless it is a [Discard] or [ErrIgnored]. It must
// be safe for concurrent use, and must not change the event, which is logged and observed too. The context ends with the time of
// [WithTimeout] or with the request, whichever is first; return then. It has the event's deduplication key, see [Key].
type HandlerFunc func(ctx context.Context, e *walletcrew.Event) error

// A HandlerOption is passed to [NewHandler].
type HandlerOption func(*Handler)

const (
	defaultTimeout = 25 * time.Second // under the platform's 30
	maxTimeout     = 24 * time.Hour   // far over what the platform waits; a lease must end some day
	leaseMargin    = 10 * time.Second // how much longer than the function's time a lease lasts: for a late end, and for completing
)

// WithDeduper calls the function once for each event: the deduper is asked before, and told after. Nil, as without the option:
// the function is called for each delivery, for one of an event at a time. See [NewHandler] for what is answered, [ContinueWithoutDeduper] for when it fails.
//
// A deduper belongs to one function: it only remembers that an event was handled, not by whom. Give each function that does something
// else its own; the dedupers of adapters ask for a name for that. Otherwise an event that comes to both, as to two webhooks, is handled
// by the first and taken for a duplicate by the other. So is it with two tenants that have a verifier.Static source each.
func WithDeduper(d Deduper) HandlerOption { return func(h *Handler) { h.deduper = d } }

// ContinueWithoutDeduper calls the function also when the deduper can't be asked, so that an event may be handled twice. Without
// this option such a delivery is answered with 503: nothing is lost as long as the platform delivers again, which it is said to
// do, though when and how often isn't documented.
func ContinueWithoutDeduper() HandlerOption { return func(h *Handler) { h.failOpen = true } }

// WithTimeout sets how long a delivery may take, from its arrival to the end of the function: for the body to come in, the
// secrets to be had and the function to run, all together. Default 25 s, under the platform's 30 s. NewHandler panics if d is
// under 1 ms, or over 24 h. A shorter http.Server.ReadTimeout still bounds the body, and only that does where a middleware wraps
// the http.ResponseWriter without a method Unwrap (http.TimeoutHandler does): then this is logged as a warning, once. The source of
// secrets and the deduper are told by their context; one that doesn't look at it holds up the answer.
func WithTimeout(d time.Duration) HandlerOption { return func(h *Handler) { h.timeout = d } }

// WithLogger sets where refused deliveries (info; warn if the signature held), failures and discarded events (warn) and panics
// (error) are logged, never with a body, a signature or a secret. Without it, or with nil, that is [slog.Default]. What only an unsigned
// header says stands in claimed_event and claimed_tenant; remote is the http.Request's RemoteAddr. All three are cut, and their control
// characters replaced.
//
// Anybody can cause refusals, as many as he likes. So the first of each [Reason] is logged in full; those that follow are counted, and
// one line says how many there were, 10 seconds after the first or at [Handler.Shutdown]. It is the same with deliveries of which another
// is in flight, and while the secrets or the deduper can't be had. What your function returns is always logged.
//
// Two things are logged once a minute at most: events that are [Ignored], for each known name (info; warn for events without a name), and,
// until the first signature has held since the start, that signatures keep failing (warn). The latter says what to compare: the secret is
// probably wrong.
func WithLogger(l *slog.Logger) HandlerOption { return func(h *Handler) { h.log.logger = l } }

// WithObserver calls f once for each delivery, when its answer is decided: for metrics and traces. It runs on the request's
// goroutine, or on another if the time is up before the function has returned; the answer is only complete when it returns. What a
// function does after that is logged, not observed. If f panics, that is logged.
func WithObserver(f func(context.Context, Outcome)) HandlerOption {
	return func(h *Handler) { h.observer = f }
}

// NewHandler returns a handler of deliveries: it verifies, decodes, deduplicates, calls fn, and answers. It panics if v or fn is
// nil, or an option is wrong; a nil option is ignored.
//
// The answers:
//
//   - 204 once fn has returned nil, a [Discard] or [ErrIgnored]
//   - 500 for an error or a panic, which is logged with its stack
//   - 503 with Retry-After for a [Temporary] error, and if fn doesn't return in time
//   - what verifier.StatusCode says for a delivery that is refused
//
// No answer has a body but the status's own words.
//
// Fn runs on the request's goroutine, under a context that ends with [WithTimeout] or the request. If fn goes on after that, 503 is
// answered at once all the same (over HTTP/1 with "Connection: close"), and ServeHTTP returns when fn does. What fn returns late is
// logged and still counts: the event is done, or free to be delivered again. Where a middleware's http.ResponseWriter can't be flushed,
// the 503 only goes out when fn returns. [Handler.Shutdown] waits for all of this.
//
// With [WithDeduper], the event's key is claimed first, for a lease of 10 s more than the timeout:
//
//   - It is done already: 204, and fn isn't called.
//   - This handler has it, or another with the same memory deduper: the delivery waits, and then looks again. Four deliveries of one
//     event wait at most; the others get 503 at once. It is so without a deduper, too.
//   - Another process has it: 503.
//
// After fn, the key is completed, or released if fn failed or ignored the event, so that the next delivery runs it. The deduper has what is
// left of the timeout for that, 3 s at least. If it can't be told, it is told again in the background until the lease ends. If it was completing that failed, the event was handled all the same: 204, and an
// error in the log; it may come to be handled once more. After a crash the lease runs out, and the next delivery runs it. So fn runs
// once for an event unless it outlives its lease, or something fails between its end and the completing: write it so that twice does no
// harm. An event without "__id" is never taken for a duplicate.
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

// Shutdown answers deliveries with 503 from now on, and waits for the functions that run, those included whose delivery was answered
// with 503 when their time was up, and for what the deduper must still be told. If ctx ends before, it returns an error that is
// ctx.Err(), and what was waited for goes on. It may be called more than once.
//
// Call http.Server.Shutdown first, then this: on HTTP/1 the server waits for functions, too, but on HTTP/2 a sender that hangs up
// frees the server while the function runs on.
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
