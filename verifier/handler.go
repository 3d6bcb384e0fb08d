package verifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// HandlerFunc handles an event. Nil acknowledges it; an error asks the platform for it again, unless it is a [Discard]. It must
// be safe for concurrent use. The context ends with the time of [WithTimeout] or with the request, whichever is first.
type HandlerFunc func(ctx context.Context, e *walletcrew.Event) error

// A HandlerOption is passed to [NewHandler].
type HandlerOption func(*handler)

const defaultTimeout = 25 * time.Second // under the platform's 30

// WithDeduper calls the function once for each event: the deduper is asked before, and told after. Nil, as without the option:
// the function is called for each delivery. See [NewHandler] for what is answered, [ContinueWithoutDeduper] for when it fails.
func WithDeduper(d Deduper) HandlerOption { return func(h *handler) { h.deduper = d } }

// ContinueWithoutDeduper calls the function also when the deduper can't be asked, so that an event may be handled twice. Without
// this option such a delivery is answered with 503: nothing is lost as long as the platform delivers again, which it is said to
// do, though when and how often isn't documented.
func ContinueWithoutDeduper() HandlerOption { return func(h *handler) { h.failOpen = true } }

// WithTimeout sets how long the function may take, and the body to come in; default 25 s, under the platform's 30 s. NewHandler
// panics if d isn't positive.
func WithTimeout(d time.Duration) HandlerOption { return func(h *handler) { h.timeout = d } }

// WithLogger sets where refused deliveries (info), failures (warn) and panics (error) are logged, never with a body, a signature
// or a secret. Without it, or with nil, that is slog.Default().
func WithLogger(l *slog.Logger) HandlerOption { return func(h *handler) { h.logger = l } }

// WithObserver calls f once for each delivery, when it has been answered: for metrics and traces. It runs on the request's
// goroutine.
func WithObserver(f func(context.Context, Outcome)) HandlerOption {
	return func(h *handler) { h.observer = f }
}

// Discard marks an error as final: the event is logged and acknowledged (2xx), counts as done, and isn't delivered again. Return
// it for an event that can never be handled. Discard(nil) is nil.
func Discard(err error) error {
	if err == nil {
		return nil
	}
	return &discarded{err}
}

type discarded struct{ err error }

func (d *discarded) Error() string { return "discarded: " + d.err.Error() }
func (d *discarded) Unwrap() error { return d.err }

// IsDiscard reports whether err is or wraps what [Discard] returned: for those who call a HandlerFunc themselves.
func IsDiscard(err error) bool {
	_, ok := errors.AsType[*discarded](err)
	return ok
}

// An Outcome says what became of one delivery.
type Outcome struct {
	Event  *walletcrew.Event // nil if refused
	Result Result
	Status int // that was answered
	Bytes  int // of the body, as far as it was read
	// Verify, Decode and Function say how long each took; 0 for what wasn't reached. Verify includes the look-up of secrets.
	Verify, Decode, Function time.Duration
	Err                      error // nil for Handled and Duplicate
}

// A Result is what became of a delivery, in a word that serves as a metric's label.
type Result string

// The results, with the status that is answered.
const (
	Handled     Result = "handled"     // 204: the function returned nil
	Duplicate   Result = "duplicate"   // 204: it was handled before; the function wasn't called
	Discarded   Result = "discarded"   // 204: the function returned a Discard
	InFlight    Result = "in_flight"   // 503: another process is handling it, or this one was still at it when the time was up
	Failed      Result = "failed"      // 500: the function returned an error
	Panicked    Result = "panicked"    // 500: the function panicked
	TimedOut    Result = "timed_out"   // 503: the function took too long, or the sender hung up
	Unavailable Result = "unavailable" // 503: the secrets or the deduper can't be had
	Refused     Result = "refused"     // 4xx, see StatusCode
)

// NewHandler returns a handler of deliveries: it verifies, decodes, deduplicates, calls fn, and answers. It panics if v or fn is
// nil, or an option is wrong.
//
// The answer is 204 once fn has returned nil, 500 for an error or a panic (which is logged with its stack), and 503 with
// Retry-After if fn doesn't return in time; what is refused is answered as [StatusCode] says. No answer has a body but the
// status's own words.
//
// Fn runs on a goroutine of its own, under a context that ends with [WithTimeout] or the request. If it goes on after that, the
// delivery is answered all the same, and what it returns late is logged and still counts: the event is done, or free to be
// delivered again.
//
// With [WithDeduper], the event's key is claimed first, for a lease of 10 s more than the timeout. Done already: 204, and fn
// isn't called. Held by this handler: it waits, and then looks again; held by another process: 503. After fn: completed, or
// released if fn failed, so that the next delivery runs it. If completing fails, the event was handled all the same: 204, and an
// error in the log; it may come to be handled once more. After a crash the lease runs out, and the next delivery runs it. So fn
// runs once for an event unless it outlives its lease, or something fails between its end and the completing: write it so that
// twice does no harm. An event without "__id" is never taken for a duplicate.
func NewHandler(v *Verifier, fn HandlerFunc, opts ...HandlerOption) http.Handler {
	h := &handler{verifier: v, fn: fn, timeout: defaultTimeout}
	for _, opt := range opts {
		opt(h)
	}
	switch {
	case v == nil:
		panic("verifier: NewHandler: the Verifier is nil")
	case fn == nil:
		panic("verifier: NewHandler: the function is nil")
	case h.timeout <= 0:
		panic("verifier: NewHandler: the timeout isn't positive")
	}
	return h
}

type handler struct {
	verifier *Verifier
	fn       HandlerFunc
	deduper  Deduper
	failOpen bool
	timeout  time.Duration
	logger   *slog.Logger
	observer func(context.Context, Outcome)

	turns turns
}

// leaseMargin is how much longer than the function's time a lease lasts: for a late end, and for completing.
const leaseMargin = 10 * time.Second

// settleTimeout bounds completing and releasing, which go on when the request has ended.
const settleTimeout = 5 * time.Second

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d, err := h.receive(w, r)
	out := Outcome{Bytes: len(d.body), Verify: d.verifyTook, Decode: d.decodeTook}
	if err != nil {
		out.Result, out.Status, out.Err = Refused, StatusCode(err), err
		if out.Status >= 500 {
			out.Result = Unavailable
		}
	} else {
		out.Event = d.event
		h.handle(r.Context(), d, &out)
	}
	h.log(r.Context(), &out)
	answer(w, out.Status)
	if h.observer != nil {
		h.observer(r.Context(), out)
	}
}

// receive gives the body as long to come in as the function may take: a sender that trickles doesn't hold a goroutine.
func (h *handler) receive(w http.ResponseWriter, r *http.Request) (*delivery, error) {
	control := http.NewResponseController(w)
	bounded := control.SetReadDeadline(time.Now().Add(h.timeout)) == nil // a recorder, say, has none
	d, err := h.verifier.receive(r)
	if bounded && err == nil {
		_ = control.SetReadDeadline(time.Time{}) // else it would end the request's context while the function runs
	}
	return d, err
}

// handle runs the function for a delivery that was accepted, and says what became of it.
func (h *handler) handle(ctx context.Context, d *delivery, out *Outcome) {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	key := ""
	if h.deduper != nil {
		key = h.verifier.dedupeKey(d)
	}
	if key == "" {
		h.run(ctx, d.event, out, func(error) {})
		return
	}

	// One at a time in this process; other processes are up to the deduper.
	if err := h.turns.take(ctx, key); err != nil {
		out.unavailable(InFlight, fmt.Errorf("verifier: the event is being handled: %w", err))
		return
	}
	mine := true
	defer func() {
		if mine {
			h.turns.give(key)
		}
	}()
	claim, err := h.deduper.Claim(ctx, key, h.timeout+leaseMargin)
	if err == nil && (claim.State < Claimed || claim.State > Done) {
		err = fmt.Errorf("verifier: the deduper answered with an invalid claim (%d)", claim.State)
	}
	switch {
	case err != nil && h.failOpen:
		h.record(ctx, slog.LevelWarn, "verifier: the deduper failed; the event is handled without it", d.event, err)
		mine = false
		h.run(ctx, d.event, out, func(error) { h.turns.give(key) })
	case err != nil:
		out.unavailable(Unavailable, fmt.Errorf("verifier: the deduper failed: %w", err))
	case claim.State == Done:
		out.Result, out.Status = Duplicate, http.StatusNoContent
	case claim.State == Held:
		out.unavailable(InFlight, errors.New("verifier: another process is handling the event"))
	default:
		mine = false
		h.run(ctx, d.event, out, func(result error) {
			defer h.turns.give(key)
			h.settle(ctx, d.event, key, claim.Token, result)
		})
	}
}

func (o *Outcome) unavailable(result Result, err error) {
	o.Result, o.Status, o.Err = result, http.StatusServiceUnavailable, err
}

// settle tells the deduper how the function ended.
func (h *handler) settle(ctx context.Context, e *walletcrew.Event, key, token string, result error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if result == nil || IsDiscard(result) {
		if err := h.deduper.Complete(ctx, key, token); err != nil {
			h.record(ctx, slog.LevelError, "verifier: the event was handled, but can't be marked as done; it may be handled again", e, err)
		}
		return
	}
	if err := h.deduper.Release(ctx, key, token); err != nil {
		h.record(ctx, slog.LevelWarn, "verifier: the event can't be released; it can be handled again when its lease has run out", e, err)
	}
}

// A panicked is what a function's panic is turned into.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("verifier: the function panicked: %v", p.value) }

// Unwrap returns what the function panicked with, if that is an error.
func (p *panicked) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// run calls the function on a goroutine of its own, and waits for it or for the context. Ended is called when the function has
// ended, which may be after run has.
func (h *handler) run(ctx context.Context, e *walletcrew.Event, out *Outcome, ended func(error)) {
	began := time.Now()
	results := make(chan error, 1)
	var decided atomic.Bool // who comes first, the function or the end of the time, decides the answer
	go h.call(ctx, e, func(err error) {
		if decided.CompareAndSwap(false, true) {
			results <- err
			return
		}
		ended(err)
		h.late(ctx, e, err, time.Since(began))
	})

	var err error
	select {
	case err = <-results:
	case <-ctx.Done():
		if decided.CompareAndSwap(false, true) {
			out.Function = time.Since(began)
			out.unavailable(TimedOut, fmt.Errorf("verifier: the function did not return in time: %w", ctx.Err()))
			return
		}
		err = <-results // it ended at this very moment
	}
	out.Function = time.Since(began)
	ended(err)
	out.decide(ctx, err)
}

// call calls the function, and then tells how it ended: also after a panic or a runtime.Goexit.
func (h *handler) call(ctx context.Context, e *walletcrew.Event, tell func(error)) {
	err := error(&panicked{value: "runtime.Goexit was called"})
	defer func() {
		if value := recover(); value != nil {
			err = &panicked{value, debug.Stack()}
		}
		tell(err)
	}()
	err = h.fn(ctx, e)
}

// decide says what the function's result comes to.
func (o *Outcome) decide(ctx context.Context, err error) {
	o.Err = err
	_, panicking := errors.AsType[*panicked](err)
	switch {
	case err == nil:
		o.Result, o.Status = Handled, http.StatusNoContent
	case IsDiscard(err):
		o.Result, o.Status = Discarded, http.StatusNoContent
	case panicking:
		o.Result, o.Status = Panicked, http.StatusInternalServerError
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		o.unavailable(TimedOut, err)
	default:
		o.Result, o.Status = Failed, http.StatusInternalServerError
	}
}

func (h *handler) late(ctx context.Context, e *walletcrew.Event, err error, took time.Duration) {
	message := "verifier: the function failed after its delivery was answered with 503"
	if err == nil || IsDiscard(err) {
		message = "verifier: the function succeeded after its delivery was answered with 503"
	}
	h.record(ctx, slog.LevelWarn, message, e, err, slog.Duration("took", took))
}

// log tells of a delivery that wasn't simply handled.
func (h *handler) log(ctx context.Context, out *Outcome) {
	status := slog.Int("status", out.Status)
	switch out.Result {
	case Handled, Duplicate:
	case Refused:
		h.record(ctx, slog.LevelInfo, "verifier: a delivery was refused", nil, out.Err, status)
	case Discarded:
		h.record(ctx, slog.LevelWarn, "verifier: the function discarded the event", out.Event, out.Err)
	case Panicked:
		h.record(ctx, slog.LevelError, "verifier: the function panicked", out.Event, out.Err, status)
	default:
		h.record(ctx, slog.LevelWarn, "verifier: the event was not handled", out.Event, out.Err, status, slog.String("result", string(out.Result)))
	}
}

func (h *handler) record(ctx context.Context, level slog.Level, message string, e *walletcrew.Event, err error, attrs ...slog.Attr) {
	logger := h.logger
	if logger == nil {
		logger = slog.Default()
	}
	if e != nil {
		attrs = append(attrs, slog.String("event", string(e.Name)), slog.String("id", e.ID), slog.String("tenant", e.TenantID))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	if p, ok := errors.AsType[*panicked](err); ok && p.stack != nil {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	logger.LogAttrs(ctx, level, message, attrs...)
}

// turns lets one delivery of a key go at a time.
type turns struct {
	mu   sync.Mutex
	busy map[string]chan struct{} // closed when the turn ends; nil as long as nobody waits for it
}

// take waits for the turn, or for the end of the context.
func (t *turns) take(ctx context.Context, key string) error {
	for {
		t.mu.Lock()
		ended, busy := t.busy[key]
		if !busy {
			if t.busy == nil {
				t.busy = make(map[string]chan struct{})
			}
			t.busy[key] = nil
			t.mu.Unlock()
			return nil
		}
		if ended == nil {
			ended = make(chan struct{})
			t.busy[key] = ended
		}
		t.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *turns) give(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ended := t.busy[key]; ended != nil {
		close(ended)
	}
	delete(t.busy, key)
}
