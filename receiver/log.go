package receiver

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"golang.org/x/time/rate"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/guard"
)

// A log writes what becomes of deliveries. What anybody can cause as often as he likes is written once for each reason, and then
// counted: one line says how many there were, when summaryAfter has passed.
type log struct {
	logger *slog.Logger // nil: slog.Default, as it is then

	mu      sync.Mutex
	more    map[Reason]int // besides the first; nil while nothing is counted
	loud    bool           // one of them was worth a warning
	summary *time.Timer    // writes the summary
	seldom  map[string]*rate.Sometimes

	held       atomic.Bool  // a signature has, since the start
	mismatches atomic.Int64 // while none has
}

const (
	summaryAfter = 10 * time.Second
	saidAgain    = time.Minute // what is only said now and then
)

// outcome tells of a delivery that wasn't simply handled.
func (l *log) outcome(c *call) {
	ctx, out, status := c.r.Context(), &c.out, slog.Int("status", c.out.Status)
	switch out.Result {
	case Handled, Duplicate:
	case Ignored:
		l.ignored(c)
	case Refused:
		l.refused(c)
	case Discarded:
		l.record(ctx, slog.LevelWarn, "receiver: the function discarded the event", out.Event, out.Err, out.sender()...)
	case Panicked:
		l.record(ctx, slog.LevelError, "receiver: a panic while the delivery was handled", out.Event, out.Err, append(out.context(), status)...)
	default:
		stranger := out.Result == InFlight || out.Result == Unavailable || out.Reason == ReasonHungUp // anybody can cause it
		if stranger && !l.first(out.Reason, true) {
			return
		}
		attrs := []slog.Attr{status, slog.String("result", string(out.Result)), slog.String("reason", string(out.Reason))}
		l.record(ctx, slog.LevelWarn, "receiver: the event was not handled", out.Event, out.Err, append(attrs, out.context()...)...)
	}
}

// sender says where the delivery comes from, by its own account. What the event says already is left out.
func (o *Outcome) sender() []slog.Attr {
	var attrs []slog.Attr
	if e := o.Event; e == nil || o.ClaimedName != "" && e.Name != o.ClaimedName {
		attrs = append(attrs, slog.String("claimed_event", short(string(o.ClaimedName))))
	}
	if e := o.Event; e == nil || e.TenantID != o.ClaimedTenant {
		attrs = append(attrs, slog.String("claimed_tenant", short(o.ClaimedTenant)))
	}
	return append(attrs, slog.String("remote", short(o.RemoteAddr)))
}

// context adds how long each step took.
func (o *Outcome) context() []slog.Attr {
	attrs := o.sender()
	for _, step := range [...]struct {
		name string
		took time.Duration
	}{{"read", o.Read}, {"verify", o.Verify}, {"decode", o.Decode}, {"dedupe", o.Dedupe}, {"function", o.Function}, {"total", o.Total}} {
		if step.took > 0 {
			attrs = append(attrs, slog.Duration(step.name, step.took))
		}
	}
	return attrs
}

// ignored tells of an event that no function takes, once a minute for each name that is known, and for all others together. An event
// without a name is a warning: where a proxy drops the header, that is every event.
func (l *log) ignored(c *call) {
	e, level, about := c.out.Event, slog.LevelInfo, string(c.out.Label)
	message := "receiver: no function takes the event; it was acknowledged"
	if strings.TrimSpace(string(e.Name)) == "" {
		level, about = slog.LevelWarn, "no name"
		message = "receiver: no function takes an event without a name; it was acknowledged: does a proxy drop the header " +
			walletcrew.HeaderEventName + "?"
	}
	if l.due("ignored: " + about) {
		l.record(c.r.Context(), level, message, e, nil, c.out.sender()...)
	}
}

// due reports whether it is time to speak of this again. What there is to speak of must be bounded.
func (l *log) due(about string) (due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seldom == nil {
		l.seldom = make(map[string]*rate.Sometimes)
	}
	if l.seldom[about] == nil {
		l.seldom[about] = &rate.Sometimes{Interval: saidAgain}
	}
	l.seldom[about].Do(func() { due = true })
	return due
}

// signatureHeld notes that the secret is right.
func (l *log) signatureHeld() {
	if !l.held.Load() {
		l.held.Store(true)
	}
}

// doubtSecret says what may be wrong where no signature holds: an attack looks otherwise, since the platform's deliveries come, too.
func (l *log) doubtSecret(ctx context.Context) {
	if l.held.Load() {
		return
	}
	if failed := l.mismatches.Add(1); failed > 1 && l.due("secret") {
		l.record(ctx, slog.LevelWarn, "receiver: signatures keep failing, and none has held since the start: compare the secret with the webhook's "+
			"signatureSecret; a proxy that changes the body breaks signatures, too; verifier.Diagnose says which it is", nil, nil, slog.Int64("failed", failed))
	}
}

// refused tells of a delivery that was refused. What wasn't the platform's may say anything of itself; what was is lost unless somebody
// looks.
func (l *log) refused(c *call) {
	if c.out.Reason == ReasonSignatureMismatch {
		defer l.doubtSecret(c.r.Context()) // after what it is about
	}
	authentic := c.delivery.Authentic
	if !l.first(c.out.Reason, authentic) {
		return
	}
	level, message := slog.LevelInfo, "receiver: a delivery was refused"
	attrs := []slog.Attr{slog.Int("status", c.out.Status), slog.String("reason", string(c.out.Reason)), slog.Int("bytes", c.out.Bytes)}
	if authentic {
		level, message = slog.LevelWarn, "receiver: a delivery of the platform's was refused"
	}
	attrs = append(attrs, c.out.context()...)
	if c.r.Pattern != "" {
		attrs = append(attrs, slog.String("pattern", c.r.Pattern))
	}
	l.record(c.r.Context(), level, message, nil, c.out.Err, attrs...)
}

// first reports whether this is the first of its reason since the last summary, and counts it otherwise.
func (l *log) first(reason Reason, loud bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more == nil {
		l.more = make(map[Reason]int)
		l.summary = time.AfterFunc(summaryAfter, l.flush)
	}
	_, seen := l.more[reason]
	if !seen {
		l.more[reason] = 0
		return true
	}
	l.more[reason]++
	l.loud = l.loud || loud
	return false
}

// flush writes the summary.
func (l *log) flush() {
	l.mu.Lock()
	more, level := l.more, slog.LevelInfo
	if l.loud {
		level = slog.LevelWarn
	}
	if l.more = nil; l.summary != nil {
		l.summary.Stop()
	}
	l.loud = false
	l.mu.Unlock()
	var attrs []slog.Attr
	for _, reason := range slices.Sorted(maps.Keys(more)) {
		if n := more[reason]; n > 0 {
			attrs = append(attrs, slog.Int(string(reason), n))
		}
	}
	if len(attrs) > 0 {
		l.record(context.Background(), level, "receiver: more deliveries were not handled, for reasons that were logged before", nil, nil, attrs...)
	}
}

func (l *log) record(ctx context.Context, level slog.Level, message string, e *walletcrew.Event, err error, attrs ...slog.Attr) {
	logger := l.logger
	if logger == nil {
		logger = slog.Default()
	}
	if e != nil {
		attrs = append(attrs, slog.String("event", short(string(e.Name))), slog.String("id", short(e.ID)), slog.String("tenant", short(e.TenantID)))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", fmt.Sprint(err))) // which survives an error that panics
	}
	if p := guard.Of(err); p != nil {
		attrs = append(attrs, slog.String("stack", string(p.Stack)))
	}
	_ = guard.Call("receiver: the logger", func() error { logger.LogAttrs(ctx, level, message, attrs...); return nil }) // it can't be told to anybody
}

const maxLogged = 200 // bytes of what the sender chose; a deduper's key may be longer

// short returns what the sender chose for a line of the log: cut, and without what a terminal might obey.
func short(s string) string {
	if len(s) > maxLogged {
		s = strings.ToValidUTF8(s[:maxLogged], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
