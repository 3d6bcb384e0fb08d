package embedded

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// enoughRoom is what must be free before the server goes on after its disk was full: two of the largest messages, so that it
// isn't full again at once.
const enoughRoom = 2 * maxPayload

// startTimeout bounds a start after the disk was full; reading the streams takes a while.
const startTimeout = time.Minute

var errDiskFull = errors.New("embedded: the disk is full")

// watch gets the server over a full disk. nats-server keeps a stream's first write error for good: from then on the stream stores
// nothing and removes nothing, and a publish gets no answer at all. So the server is stopped, and started again when there is room.
// It is the whole server, since nats-server 2.15 can't start JetStream alone again under load: it replaces queues that clients'
// requests read without a lock, and keeps the old subscriptions.
func (s *Server) watch() {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-s.ending:
			return
		case <-look.C:
			if s.running() == nil {
				s.resume()
			}
		case <-s.log.wrong: // it may be this: no second is lost
		}
		if ns := s.running(); ns != nil {
			if text := outOfSpace(ns); text != "" {
				s.log.slog.Error(errDiskFull.Error()+"; nothing is stored until there is room", slog.String("dir", s.options.Dir), slog.String("error", text))
				s.set(nil)
				stop(ns)
			}
		}
	}
}

func (s *Server) resume() {
	if !hasRoom(s.options.Dir, enoughRoom) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	started := make(chan struct{})
	defer close(started)
	go func() {
		select {
		case <-s.ending: // Close waits for the watch
			cancel()
		case <-started:
		}
	}()
	opts, err := s.options.server()
	if err == nil {
		var ns *server.Server
		if ns, err = s.start(ctx, opts); err == nil {
			s.set(ns)
			s.log.slog.Warn("embedded: there is room on the disk again, and events are stored", slog.String("dir", s.options.Dir))
			return
		}
	}
	s.log.slog.Error("embedded: the server can't be started again; trying again", slog.Any("error", err))
}

// outOfSpace returns the error of a stream that the disk had no room for, or "".
func outOfSpace(ns *server.Server) string {
	for _, e := range ns.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if strings.Contains(e.Error, "write error") && (strings.Contains(e.Error, "no space left") || strings.Contains(e.Error, "quota exceeded")) {
			return e.Error
		}
	}
	return ""
}
