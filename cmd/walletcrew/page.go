package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A page is the session's inspector, with the local API beside it.
type page struct {
	*server
	running running
}

// serve serves the inspector, and writes the file by which other commands find the session.
func (s *session) serve(ctx context.Context, r running, webhooks *walletcrew.WebhooksService, endpoint string) (*page, error) {
	inspector := s.inspector(webhooks, r.Mode, endpoint)
	r.Session, r.Token, r.Started = s.id, rand.Text(), time.Now()
	mux := http.NewServeMux()
	mux.Handle(localPath, s.localAPI(r.Token))
	mux.Handle("/", inspector)
	srv, err := serve(ctx, inspectorAddr, true, mux)
	if err != nil {
		return nil, err
	}
	srv.http.RegisterOnShutdown(inspector.Close)
	r.Inspector = srv.URL
	p := &page{srv, r}
	if err := r.write(); err != nil {
		if r.Mode == "listen" { // or a crash would leave a webhook that nobody finds
			srv.close()
			return nil, fmt.Errorf("the file that says what this registers can't be written (WALLETCREW_CONFIG_DIR chooses another directory): %w", err)
		}
		s.cli.say("other commands won't find this one: %v", err)
	}
	return p, nil
}

func (p *page) close() {
	p.server.close()
	_ = p.running.remove()
}

// answers reports whether a GET of the URL is answered with 200.
func answers(ctx context.Context, target string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	resp, err := localClient.Do(req)
	if err != nil {
		return plainError(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", target, resp.StatusCode)
	}
	return nil
}

// options sets what dev and listen have in common.
func (s *session) options(forwardTo string, keep bool, record string) error {
	if forwardTo != "" {
		if err := checkTarget("--forward-to", forwardTo); err != nil {
			return err
		}
		s.forward = &forwarder{url: forwardTo, client: s.sender, say: s.cli.say}
	}
	switch {
	case keep && s.forward == nil:
		return usagef("--keep goes with --forward-to")
	case keep:
		s.forward.queue = newQueue(maxKept, maxKeptBytes)
	}
	if record != "" {
		r, err := newRecorder(record)
		if err != nil {
			return err
		}
		s.record = r
	}
	return nil
}

// What --keep keeps.
const (
	maxKept      = 10_000
	maxKeptBytes = 256 << 20
)

func (s *session) close() {
	if s.forward != nil {
		s.forward.end()
	}
	if s.record != nil {
		if err := s.record.close(); err != nil {
			s.cli.say("--record: %v", err)
		}
	}
}

// response is the answer as an http.Client gets it.
func (a answer) response(r *http.Request) *http.Response {
	return &http.Response{
		Status: fmt.Sprintf("%d %s", a.Status, http.StatusText(a.Status)), StatusCode: a.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.Header.Clone(), Body: io.NopCloser(bytes.NewReader(a.Body)), ContentLength: int64(len(a.Body)), Request: r,
	}
}
