package receiver

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

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
}

const summaryAfter = 10 * time.Second

// outcome tells of a delivery that wasn't simply handled.
func (l *log) outcome(c *call) {
	ctx, out, status := c.r.Context(), &c.out, slog.Int("status", c.out.Status)
	switch out.Result {
	case Handled, Duplicate:
	case Refused:
		l.refused(c)
	case Discarded:
		l.record(ctx, slog.LevelWarn, "receiver: the function discarded the event", out.Event, out.Err)
	case Panicked:
		l.record(ctx, slog.LevelError, "receiver: a panic while the delivery was handled", out.Event, out.Err, status)
	default:
		stranger := out.Result == InFlight || out.Result == Unavailable || out.Reason == ReasonHungUp // anybody can cause it
		if stranger && !l.first(out.Reason, true) {
			return
		}
		l.record(ctx, slog.LevelWarn, "receiver: the event was not handled", out.Event, out.Err, status,
			slog.String("result", string(out.Result)), slog.String("reason", string(out.Reason)))
	}
}

// refused tells of a delivery that was refused. What wasn't the platform's may say anything of itself; what was is lost unless somebody
// looks.
func (l *log) refused(c *call) {
	d := c.delivery
	if !l.first(c.out.Reason, d.Authentic) {
		return
	}
	level, message := slog.LevelInfo, "receiver: a delivery was refused"
	attrs := []slog.Attr{slog.Int("status", c.out.Status), slog.String("reason", string(c.out.Reason)), slog.Int("bytes", c.out.Bytes)}
	if d.Authentic {
		level, message = slog.LevelWarn, "receiver: a delivery of the platform's was refused"
		attrs = append(attrs, slog.String("event", short(string(d.ClaimedName))), slog.String("tenant", short(d.ClaimedTenant)))
	}
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

func short(s string) string {
	if len(s) <= maxLogged {
		return s
	}
	return strings.ToValidUTF8(s[:maxLogged], "") + "..."
}
