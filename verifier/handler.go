package verifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// HandlerFunc handles an event. Nil acknowledges it; an error asks the platform for it again, unless it is a [Discard]. It must
// be safe for concurrent use, and must not change the event, which is logged and observed too. The context ends with the time of
// [WithTimeout] or with the request, whichever is first.
type HandlerFunc func(ctx context.Context, e *walletcrew.Event) error

// A HandlerOption is passed to [NewHandler].
type HandlerOption func(*handler)

const defaultTimeout = 25 * time.Second // under the platform's 30

// WithDeduper calls the function once for each event: the deduper is asked before, and told after. Nil, as without the option:
// the function is called for each delivery. See [NewHandler] for what is answered, [ContinueWithoutDeduper] for when it fails.
//
// A deduper belongs to one function: it only remembers that an event was handled, not by whom. Handlers whose functions do
// different things need one each (with adapters: a prefix or a table each), or an event that comes to both, as to two webhooks,
// is handled by the first and taken for a duplicate by the other. So do two tenants that have a [Static] source each.
func WithDeduper(d Deduper) HandlerOption { return func(h *handler) { h.deduper = d } }

// ContinueWithoutDeduper calls the function also when the deduper can't be asked, so that an event may be handled twice. Without
// this option such a delivery is answered with 503: nothing is lost as long as the platform delivers again, which it is said to
// do, though when and how often isn't documented.
func ContinueWithoutDeduper() HandlerOption { return func(h *handler) { h.failOpen = true } }

// WithTimeout sets how long a delivery may take, from its arrival to the end of the function: for the body to come in, the
// secrets to be had and the function to run, all together. Default 25 s, under the platform's 30 s. NewHandler panics if d isn't
// positive, or is over 24 h. A shorter http.Server.ReadTimeout still bounds the body, and only that does where a middleware wraps
// the http.ResponseWriter without a method Unwrap (http.TimeoutHandler does): then this is logged as a warning, once. The source of
// secrets and the deduper are told by their context; one that doesn't look at it holds up the answer.
func WithTimeout(d time.Duration) HandlerOption { return func(h *handler) { h.timeout = d } }

// WithLogger sets where refused deliveries (info; warn if the signature held), failures and discarded events (warn) and panics
// (error) are logged, never with a body, a signature or a secret. Without it, or with nil, that is [slog.Default].
func WithLogger(l *slog.Logger) HandlerOption { return func(h *handler) { h.logger = l } }

// WithObserver calls f once for each delivery, when its answer is decided: for metrics and traces. It runs on the request's
// goroutine, and the answer is only complete when it returns. If it panics, that is logged.
func WithObserver(f func(context.Context, Outcome)) HandlerOption {
	return func(h *handler) { h.observer = f }
}

// Discard marks an error as final: the event is logged and acknowledged (2xx), counts as done, and isn't delivered again. Return
// it for an event that can never be handled. Discard(nil) is nil.
//
// An error that wraps it is one too, also one that wraps others besides, as those of errors.Join do: if one of several failures must
// be tried again, don't join a Discard to it.
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

// IsTemporary reports whether err is or wraps what [Temporary] returned: for those who call a HandlerFunc themselves.
func IsTemporary(err error) bool { return errors.Is(err, errTemporary) }

// An Outcome says what became of one delivery.
type Outcome struct {
	Event  *walletcrew.Event // nil if refused
	Result Result
	Status int // that was answered
	Bytes  int // of the body, as far as it was read
	// Verify, Decode and Function say how long each took; 0 for what wasn't reached. Verify
	// includes the look-up of secrets.
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
// Retry-After for a [Temporary] error or if fn doesn't return in time; what is refused is answered as [StatusCode] says. No
// answer has a body but the status's own words.
//
// Fn runs on a goroutine of its own, under a context that ends with [WithTimeout] or the request. If it goes on after that, the
// delivery is answered all the same, and what it returns late is logged and still counts: the event is done, or free to be
// delivered again.
//
// With [WithDeduper], the event's key is claimed first, for a lease of 10 s more than the timeout. Done already: 204, and fn
// isn't called. Held by this handler, or by another with the same memory deduper: it waits, and then looks again; held by another
// process: 503. After fn: completed, or released if fn failed, so that the next delivery runs it. If completing fails, the event
// was handled all the same: 204, and an error in the log; it may come to be handled once more. After a crash the lease runs out,
// and the next delivery runs it. So fn runs once for an event unless it outlives its lease, or something fails between its end
// and the completing: write it so that twice does no harm. An event without "__id" is never taken for a duplicate.
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
	if v.odd {
		h.record(context.Background(), slog.LevelWarn, "verifier: "+oddSecret, nil, nil)
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

	deadlines deadlines
	turns     turns
	doubts    doubts
	unlimited sync.Once // it was said that a body's time can't be limited
}

// maxTimeout is far over what the platform waits; a lease must end some day.
const maxTimeout = 24 * time.Hour

// leaseMargin is how much longer than the function's time a lease lasts: for a late end, and for completing.
const leaseMargin = 10 * time.Second

// settleTimeout bounds completing and releasing, which go on when the request has ended.
const settleTimeout = 3 * time.Second

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newCall(r.Context(), h)
	defer c.end()
	err := c.receive(w, r)
	out := Outcome{Bytes: len(c.body), Verify: c.verifyTook, Decode: c.decodeTook}
	if err != nil {
		out.refuse(err)
	} else {
		out.Event = c.event
		c.handle(&out)
	}
	h.log(r, &out, c.authentic)
	answer(w, out.Status)
	h.observe(r.Context(), out)
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

func (o *Outcome) unavailable(result Result, err error) {
	o.Result, o.Status, o.Err = result, http.StatusServiceUnavailable, err
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

// log tells of a delivery that wasn't simply handled.
func (h *handler) log(r *http.Request, out *Outcome, authentic bool) {
	ctx, status := r.Context(), slog.Int("status", out.Status)
	switch out.Result {
	case Handled, Duplicate:
	case Refused:
		h.refused(r, out, authentic)
	case Discarded:
		h.record(ctx, slog.LevelWarn, "verifier: the function discarded the event", out.Event, out.Err)
	case Panicked:
		h.record(ctx, slog.LevelError, "verifier: a panic while the delivery was handled", out.Event, out.Err, status)
	default:
		h.record(ctx, slog.LevelWarn, "verifier: the event was not handled", out.Event, out.Err, status, slog.String("result", string(out.Result)))
	}
}

// refused tells of a delivery that was refused. What wasn't the platform's may say anything of itself, and comes as often as somebody
// likes; what was is lost unless somebody looks.
func (h *handler) refused(r *http.Request, out *Outcome, authentic bool) {
	level, message := slog.LevelInfo, "verifier: a delivery was refused"
	attrs := []slog.Attr{slog.Int("status", out.Status), slog.Int("bytes", out.Bytes)}
	if authentic {
		level, message = slog.LevelWarn, "verifier: a delivery of the platform's was refused"
		header := requestHeader(r.Header)
		attrs = append(attrs, slog.String("event", short(header.get(headerEventName))), slog.String("tenant", short(header.get(headerTenantID))))
	}
	if r.Pattern != "" {
		attrs = append(attrs, slog.String("pattern", r.Pattern))
	}
	h.record(r.Context(), level, message, nil, out.Err, attrs...)
}

func (h *handler) record(ctx context.Context, level slog.Level, message string, e *walletcrew.Event, err error, attrs ...slog.Attr) {
	logger := h.logger
	if logger == nil {
		logger = slog.Default()
	}
	if e != nil {
		attrs = append(attrs, slog.String("event", short(string(e.Name))), slog.String("id", short(e.ID)), slog.String("tenant", short(e.TenantID)))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", fmt.Sprint(err))) // which survives an error that panics
	}
	if p, ok := err.(*panicked); ok { //nolint:errorlint // as isPanic
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	_ = guard("the logger", func() error { logger.LogAttrs(ctx, level, message, attrs...); return nil }) // it can't be told to anybody
}

const maxLogged = 200 // bytes of what the sender chose; a deduper's key may be longer

func short(s string) string {
	if len(s) <= maxLogged {
		return s
	}
	return strings.ToValidUTF8(s[:maxLogged], "") + "..."
}
