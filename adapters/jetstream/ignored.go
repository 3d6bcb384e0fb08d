package jetstream

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// An ignoredLog says which events no function takes, as the receiver does: once a minute for each name that is known, and for all others
// together. An event without a name is a warning.
type ignoredLog struct {
	mu     sync.Mutex
	seldom map[string]*rate.Sometimes
}

func (l *ignoredLog) log(ctx context.Context, logger *slog.Logger, out *Outcome) {
	level, about, message := slog.LevelInfo, "other", "jetstream: no function takes the event; it was acknowledged"
	switch name := out.Event.Name; {
	case strings.TrimSpace(string(name)) == "":
		level, about = slog.LevelWarn, "no name"
		message = "jetstream: no function takes an event without a name; it was acknowledged: does a proxy before the receiver drop a header?"
	case name.Known():
		about = string(name)
	}
	l.mu.Lock()
	if l.seldom == nil {
		l.seldom = map[string]*rate.Sometimes{}
	}
	if l.seldom[about] == nil {
		l.seldom[about] = &rate.Sometimes{Interval: time.Minute}
	}
	due := false
	l.seldom[about].Do(func() { due = true })
	l.mu.Unlock()
	if due {
		logger.Log(ctx, level, message, out.attrs()...)
	}
}
