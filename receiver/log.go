package receiver

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/guard"
)

// A log writes what becomes of deliveries.
type log struct{ logger *slog.Logger } // nil: slog.Default, as it is then

// outcome tells of a delivery that wasn't simply handled.
func (l log) outcome(c *call) {
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
		l.record(ctx, slog.LevelWarn, "receiver: the event was not handled", out.Event, out.Err, status, slog.String("result", string(out.Result)))
	}
}

// refused tells of a delivery that was refused. What wasn't the platform's may say anything of itself, and comes as often as somebody
// likes; what was is lost unless somebody looks.
func (l log) refused(c *call) {
	level, message := slog.LevelInfo, "receiver: a delivery was refused"
	attrs := []slog.Attr{slog.Int("status", c.out.Status), slog.Int("bytes", c.out.Bytes)}
	if d := c.delivery; d.Authentic {
		level, message = slog.LevelWarn, "receiver: a delivery of the platform's was refused"
		attrs = append(attrs, slog.String("event", short(string(d.ClaimedName))), slog.String("tenant", short(d.ClaimedTenant)))
	}
	if c.r.Pattern != "" {
		attrs = append(attrs, slog.String("pattern", c.r.Pattern))
	}
	l.record(c.r.Context(), level, message, nil, c.out.Err, attrs...)
}

func (l log) record(ctx context.Context, level slog.Level, message string, e *walletcrew.Event, err error, attrs ...slog.Attr) {
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
