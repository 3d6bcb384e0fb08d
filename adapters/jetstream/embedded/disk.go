package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// enoughRoom is what must be free before the server goes on after its disk was full: two of the largest messages, so that it
// isn't full again at once.
const enoughRoom = 2 * maxPayload

// maxPause is how long a disk that is really broken is left alone between two attempts.
const maxPause = 30 * time.Second

var errStopped = errors.New("embedded: the server has stopped, since its disk is full or can't be written to")

// An outage is what the watch knows of a disk that can't be written to.
type outage struct {
	had     contents
	pause   time.Duration // before the next attempt: doubled with each in a row
	next    time.Time     // when that is
	resumed time.Time     // when the last one went well
}

func (o *outage) postpone() {
	o.pause = min(max(2*o.pause, time.Second), maxPause)
	o.next = time.Now().Add(o.pause)
}

// watch gets the server over a disk that can't be written to: a full one, or no file descriptors for a moment. nats-server keeps a
// stream's first write error for good: from then on the stream stores nothing and removes nothing, and a publish gets no answer at
// all. So the server is stopped, and started again when there is room. It is the whole server, since nats-server 2.15 can't start
// JetStream alone again under load: it replaces queues that clients' requests read without a lock, and keeps the old subscriptions.
func (s *Server) watch() {
	var o outage
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-s.ending:
			return
		case <-look.C:
			if s.running() == nil {
				s.resume(&o)
			}
		case <-s.log.wrong: // it may be this: no second is lost
		}
		if ns := s.running(); ns != nil {
			if text := writeError(ns); text != "" {
				s.halt(&o, ns, text)
			}
		}
	}
}

func (s *Server) halt(o *outage, ns *server.Server, text string) {
	what := "embedded: the disk can't be written to; nothing is stored until it can"
	if strings.Contains(text, "no space left") || strings.Contains(text, "quota exceeded") {
		what = "embedded: the disk is full; nothing is stored until there is room"
	}
	s.log.slog.Error(what, slog.String("dir", s.options.Dir), slog.String("error", text))
	o.had = contentsOf(ns)
	if time.Since(o.resumed) > maxPause {
		o.pause = 0 // it went well in between
	}
	if !s.full(o) {
		o.postpone()
	}
	s.set(nil)
	stop(ns)
}

// full reports whether there is no room. Then what is wrong is known, and when it is over, so that no pause is needed.
func (s *Server) full(o *outage) bool {
	if hasRoom(s.options.Dir, enoughRoom) {
		return false
	}
	*o = outage{had: o.had}
	return true
}

func (s *Server) resume(o *outage) {
	if s.full(o) || time.Now().Before(o.next) {
		return
	}
	ns, err := s.restart(o.had)
	if err != nil {
		o.postpone()
		s.log.slog.Error("embedded: the server can't be started again; trying again", slog.Any("error", err), slog.Duration("in", o.pause))
		return
	}
	o.resumed = time.Now()
	s.set(ns)
	s.log.slog.Warn("embedded: the disk can be written to again, and events are stored", slog.String("dir", s.options.Dir))
}

// restart starts the server again. One that could not read everything is none: nats-server leaves out what it can't read, and a
// consumer that is made anew would get all that is in a log again.
func (s *Server) restart(had contents) (*server.Server, error) {
	ctx, cancel := context.WithCancel(context.Background())
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
	if err != nil {
		return nil, err
	}
	ns, err := s.start(ctx, opts)
	if err != nil {
		return nil, err
	}
	has := contentsOf(ns)
	for name, folder := range had {
		_, err := os.Stat(folder)
		if _, ok := has[name]; !ok && !errors.Is(err, fs.ErrNotExist) { // else somebody has removed it
			stop(ns)
			return nil, fmt.Errorf("embedded: %s could not be read; see the log", name)
		}
	}
	return ns, nil
}

// contents are the streams and durable consumers that are on the disk, with the folder of each.
type contents map[string]string

func contentsOf(ns *server.Server) contents {
	all := contents{}
	info, err := ns.Jsz(&server.JSzOptions{Consumer: true, Config: true})
	if err != nil {
		return nil // no JetStream
	}
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			if stream.Config == nil || stream.Config.Storage != server.FileStorage {
				continue
			}
			folder := filepath.Join(info.Config.StoreDir, account.Name, "streams", stream.Name) // as nats-server lays it out
			all["stream "+stream.Name] = folder
			for _, c := range stream.Consumer {
				if c.Config != nil && c.Config.Durable != "" && !c.Config.MemoryStorage {
					all["consumer "+stream.Name+" > "+c.Name] = filepath.Join(folder, "obs", c.Name)
				}
			}
		}
	}
	return all
}

// writeError returns the error of a stream that could not be written, or "".
func writeError(ns *server.Server) string {
	for _, e := range ns.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if strings.Contains(e.Error, "write error") {
			return e.Error
		}
	}
	return ""
}
