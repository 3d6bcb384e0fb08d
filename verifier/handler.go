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

// WithTimeout sets how long a delivery may take, from its arrival to the end of the function: for the body to come in, the
// secrets to be had and the function to run, all together. Default 25 s, under the platform's 30 s. NewHandler panics if d isn't
// positive, or is over 24 h. A shorter http.Server.ReadTimeout still bounds the body.
func WithTimeout(d time.Duration) HandlerOption { return func(h *handler) { h.timeout = d } }

// WithLogger sets where refused deliveries (info), failures (warn) and panics (error) are logged, never with a body, a signature
// or a secret. Without it, or with nil, that is slog.Default().
func WithLogger(l *slog.Logger) HandlerOption { return func(h *handler) { h.logger = l } }

// WithObserver calls f once for each delivery, when its answer is decided: for metrics and traces. It runs on the request's
// goroutine, and the answer is only complete when it returns. If it panics, that is logged.
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

// Temporary marks an error as one that passes by itself, such as that of a database or a broker that can't be reached: it is
// answered with 503 and Retry-After instead of 500. The event is asked for again in both cases. Temporary(nil) is nil.
func Temporary(err error) error {
	if err == nil {
		return nil
	}
	return &temporary{err}
}

type temporary struct{ err error }

func (t *temporary) Error() string        { return t.err.Error() }
func (t *temporary) Unwrap() error        { return t.err }
func (t *temporary) Is(target error) bool { return target == errTemporary }

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
	Failed      Result = "failed"      // 500: the function returned an error; 503 for a Temporary one
	Panicked    Result = "panicked"    // 500: the function panicked, or the source of secrets did
	TimedOut    Result = "timed_out"   // 503: the function took too long, or the sender hung up
	Unavailable Result = "unavailable" // 503: the secrets or the deduper can't be had
	Refused     Result = "refused"     // 4xx, see StatusCode
)

// NewHandler returns a handler of deliveries: it verifies, decodes, deduplicates, calls fn, and answers. It panics if v or fn is
// nil, or an option is wrong.
//
// The answer is 204 once fn has returned nil, 500 for an error or a panic (which is logged with its stack), and 503 with
// Retry-After for a [Temporary] error or if fn doesn't return in time; what is refused is answered as [StatusCode] says. No answer has a body but the
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
	case h.timeout <= 0 || h.timeout > maxTimeout:
		panic("verifier: NewHandler: the timeout isn't between 0 and 24 h")
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

// maxTimeout is far over what the platform waits; a lease must end some day.
const maxTimeout = 24 * time.Hour

// leaseMargin is how much longer than the function's time a lease lasts: for a late end, and for completing.
const leaseMargin = 10 * time.Second

// settleTimeout bounds completing and releasing, which go on when the request has ended.
const settleTimeout = 3 * time.Second

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout)
	defer cancel()
	d, err := h.receive(ctx, w, r)
	out := Outcome{Bytes: len(d.body), Verify: d.verifyTook, Decode: d.decodeTook}
	if err != nil {
		out.refuse(err)
	} else {
		out.Event = d.event
		h.handle(ctx, d, &out)
	}
	h.log(r.Context(), &out)
	answer(w, out.Status)
	h.observe(r.Context(), out)
}

// receive gives the body until the end of ctx to come in: a sender that trickles doesn't hold a goroutine.
func (h *handler) receive(ctx context.Context, w http.ResponseWriter, r *http.Request) (d *delivery, err error) {
	control := http.NewResponseController(w)
	if server, ok := ctx.Value(http.ServerContextKey).(*http.Server); !ok || server.ReadTimeout <= 0 || server.ReadTimeout > h.timeout {
		deadline, _ := ctx.Deadline()
		_ = control.SetReadDeadline(deadline) // a recorder, say, has none
	}
	err = guard("the source of secrets", func() error {
		var err error
		d, err = h.verifier.receive(ctx, r)
		return err
	})
	if d == nil {
		d = new(delivery)
	}
	return d, err
}

func (o *Outcome) refuse(err error) {
	o.Result, o.Status, o.Err = Refused, StatusCode(err), err
	if isPanic(err) {
		o.Result, o.Status = Panicked, http.StatusInternalServerError
	} else if o.Status >= 500 {
		o.Result = Unavailable
	}
}

func (h *handler) observe(ctx context.Context, out Outcome) {
	if h.observer == nil {
		return
	}
	err := guard("the observer", func() error { h.observer(ctx, out); return nil })
	if err != nil { // the event was handled, or not, all the same: a panic would take the answer with it
		h.record(ctx, slog.LevelError, "verifier: the observer failed", out.Event, err)
	}
}

// handle runs the function for a delivery that was accepted, and says what became of it.
func (h *handler) handle(ctx context.Context, d *delivery, out *Outcome) {
	key := ""
	if h.deduper != nil {
		key = h.verifier.dedupeKey(d)
	}
	if key == "" {
		h.run(ctx, d.event, out, func(error) {})
		return
	}

	// One at a time in this process; other processes are up to the deduper.
	lease := h.timeout + leaseMargin
	turn, err := h.turns.take(ctx, key, lease)
	if err != nil {
		out.unavailable(InFlight, fmt.Errorf("verifier: this process is still handling the event: %w", err))
		return
	}
	mine := true
	defer func() {
		if mine {
			h.turns.give(turn)
		}
	}()
	var claim Claim
	err = guard("the deduper", func() (err error) {
		claim, err = h.deduper.Claim(ctx, key, lease)
		return err
	})
	if err == nil && (claim.State < Claimed || claim.State > Done) {
		err = fmt.Errorf("verifier: the deduper answered with an invalid claim (%d)", claim.State)
	}
	switch {
	case err != nil && h.failOpen:
		h.record(ctx, slog.LevelWarn, "verifier: the deduper failed; the event is handled without it", d.event, err)
		mine = false
		h.run(ctx, d.event, out, func(error) { h.turns.give(turn) })
	case err != nil:
		out.unavailable(Unavailable, fmt.Errorf("verifier: the deduper failed: %w", err))
	case claim.State == Done:
		out.Result, out.Status = Duplicate, http.StatusNoContent
	case claim.State == Held:
		out.unavailable(InFlight, errors.New("verifier: another process is handling the event"))
	default:
		mine = false
		token := claim.Token // the closure keeps claim off the stack
		h.run(ctx, d.event, out, func(result error) {
			defer h.turns.give(turn)
			h.settle(ctx, d.event, key, token, result)
		})
	}
}

func (o *Outcome) unavailable(result Result, err error) {
	o.Result, o.Status, o.Err = result, http.StatusServiceUnavailable, err
}

// settle tells the deduper how the function ended.
func (h *handler) settle(ctx context.Context, e *walletcrew.Event, key, token string, result error) {
	if _, inMemory := h.deduper.(*memoryDeduper); !inMemory { // the timer would be the most of the memory deduper's cost, for nothing
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
		defer cancel()
	}
	if isDone(result) {
		if err := guard("the deduper", func() error { return h.deduper.Complete(ctx, key, token) }); err != nil {
			h.record(ctx, slog.LevelError, "verifier: the event was handled, but can't be marked as done; it may be handled again", e, err)
		}
		return
	}
	if err := guard("the deduper", func() error { return h.deduper.Release(ctx, key, token) }); err != nil {
		h.record(ctx, slog.LevelWarn, "verifier: the event can't be released; it can be handled again when its lease has run out", e, err)
	}
}

// isDone reports whether the event needn't come again.
func isDone(result error) bool { return result == nil || !isPanic(result) && IsDiscard(result) }

// A panicked is what a panic in the user's part is turned into, or its runtime.Goexit.
type panicked struct {
	who   string
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("verifier: %s panicked: %v", p.who, p.value) }

// Unwrap returns the value, if that is an error.
func (p *panicked) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// isPanic looks no deeper: an error's methods may themselves panic.
func isPanic(err error) bool {
	_, ok := err.(*panicked) //nolint:errorlint // see above
	return ok
}

// guard calls what the user supplied, and turns a panic into an error.
func guard(who string, f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicked{who, value, debug.Stack()}
		}
	}()
	return f()
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
		tell(err)
	}()
	err = h.fn(ctx, e)
	if err != nil { // a nil pointer as an error panics when it is asked: here, where it is the function's panic
		_, _ = err.Error(), errors.Is(err, context.Canceled) || IsDiscard(err)
	}
	returned = true
}

// decide says what the function's result comes to.
func (o *Outcome) decide(ctx context.Context, err error) {
	o.Err = err
	switch {
	case err == nil:
		o.Result, o.Status = Handled, http.StatusNoContent
	case isPanic(err):
		o.Result, o.Status = Panicked, http.StatusInternalServerError
	case IsDiscard(err):
		o.Result, o.Status = Discarded, http.StatusNoContent
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		o.unavailable(TimedOut, err)
	case errors.Is(err, errTemporary):
		o.unavailable(Failed, err)
	default:
		o.Result, o.Status = Failed, http.StatusInternalServerError
	}
}

func (h *handler) late(ctx context.Context, e *walletcrew.Event, err error, took time.Duration) {
	level, message := slog.LevelWarn, "verifier: the function failed after its delivery was answered with 503"
	switch {
	case !isPanic(err) && errors.Is(err, context.Cause(ctx)):
		level = slog.LevelDebug // it did what it should, and the outcome says so
	case isDone(err):
		message = "verifier: the function succeeded after its delivery was answered with 503"
	case isPanic(err):
		level, message = slog.LevelError, "verifier: the function panicked after its delivery was answered with 503"
	}
	h.record(ctx, level, message, e, err, slog.Duration("took", took))
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
		h.record(ctx, slog.LevelError, "verifier: a panic while the delivery was handled", out.Event, out.Err, status)
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
		attrs = append(attrs, slog.String("error", fmt.Sprint(err))) // which survives an error that panics
	}
	if p, ok := err.(*panicked); ok { //nolint:errorlint // as isPanic
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	logger.LogAttrs(ctx, level, message, attrs...)
}

// turns lets one delivery of a key go at a time. A turn that isn't given back ends with its time all the same, so that a function
// that never returns doesn't hold its event for ever.
type turns struct {
	mu   sync.Mutex
	busy map[string]*turn
}

type turn struct {
	key   string
	until time.Time
	ended chan struct{} // made by the first who waits, closed when the turn ends
}

// take waits for the turn, or for the end of the context.
func (t *turns) take(ctx context.Context, key string, atMost time.Duration) (*turn, error) {
	for {
		t.mu.Lock()
		other := t.busy[key]
		now := time.Now()
		if other == nil || !now.Before(other.until) {
			if other != nil {
				t.end(other)
			}
			if t.busy == nil {
				t.busy = make(map[string]*turn)
			}
			mine := &turn{key: key, until: now.Add(atMost)}
			t.busy[key] = mine
			t.mu.Unlock()
			return mine, nil
		}
		if other.ended == nil {
			other.ended = make(chan struct{})
		}
		ended, left := other.ended, other.until.Sub(now)
		t.mu.Unlock()
		timer := time.NewTimer(left)
		select {
		case <-ended:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		timer.Stop()
	}
}

// give ends the turn, if it hasn't ended.
func (t *turns) give(mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[mine.key] == mine {
		t.end(mine)
	}
}

func (t *turns) end(it *turn) {
	delete(t.busy, it.key)
	if it.ended != nil {
		close(it.ended)
	}
}
