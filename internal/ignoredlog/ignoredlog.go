// Package ignoredlog is how a worker logs the events that no function takes: as seldom as the receiver does.
package ignoredlog

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A Log says which events no function takes: once a minute for each name that is known, and for all others together. An event without
// a name is a warning. Its zero value is ready.
type Log struct {
	mu     sync.Mutex
	seldom map[string]*rate.Sometimes
}

// Write logs an event with this name, if it is time. From is the package that the line begins with.
func (l *Log) Write(ctx context.Context, logger *slog.Logger, from string, name string, known bool, attrs ...slog.Attr) {
	level, about, message := slog.LevelInfo, "other", ": no function takes the event; it was acknowledged"
	switch {
	case strings.TrimSpace(name) == "":
		level, about = slog.LevelWarn, "no name"
		message = ": no function takes an event without a name; it was acknowledged: does a proxy before the receiver drop a header?"
	case known:
		about = name
	}
	if l.due(about) {
		logger.LogAttrs(ctx, level, from+message, attrs...)
	}
}

func (l *Log) due(about string) (due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seldom == nil {
		l.seldom = map[string]*rate.Sometimes{}
	}
	if l.seldom[about] == nil {
		l.seldom[about] = &rate.Sometimes{Interval: time.Minute}
	}
	l.seldom[about].Do(func() { due = true })
	return due
}
