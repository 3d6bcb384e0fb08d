package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A message is a delivery on its way: its headers and its bytes as they came.
type message struct {
	Method string // "": POST
	Header http.Header
	Body   []byte
}

// An answer is what a service said to a message.
type answer struct {
	Status   int
	Header   http.Header
	Body     []byte // its first MiB
	Duration time.Duration
}

const (
	maxBody    = 16 << 20 // of a delivery; more is refused
	maxAnswer  = 1 << 20
	answerTime = 30 * time.Second // what the platform gives a receiver (webhook guide)
)

// newSender returns a client that sends as the platform does: a redirect is an answer like any other, and nothing is added.
func newSender() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // or it would add a header
	transport.MaxIdleConnsPerHost = 256
	return &http.Client{
		Transport:     transport,
		Timeout:       answerTime,
		CheckRedirect: dontFollow,
	}
}

func dontFollow(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// post sends the message to target, byte for byte. The error means that there was no answer.
func post(ctx context.Context, client *http.Client, target string, m message) (answer, error) {
	method := m.Method
	if method == "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(m.Body)) //nolint:gosec // the user names the target
	if err != nil {
		return answer{}, plainError(err)
	}
	req.Header = endToEnd(m.Header)
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header["User-Agent"] = []string{""} // or net/http would write its own
	}
	start := time.Now()
	resp, err := client.Do(req) //nolint:gosec // the user names the target
	if err != nil {
		return answer{Duration: time.Since(start)}, plainError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 100 {
		return answer{Duration: time.Since(start)}, fmt.Errorf("the answer's status, %03d, is none", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{Duration: time.Since(start)}, plainError(err)
	}
	header := endToEnd(resp.Header)
	header.Del("Content-Length") // the body may have been cut
	return answer{Status: resp.StatusCode, Header: header, Body: body, Duration: time.Since(start)}, nil
}

// plainError leaves out the URL, which the reader knows, and which may hold a credential.
func plainError(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		if wrapped.Timeout() {
			return errors.New("no answer in time")
		}
		return wrapped.Err
	}
	return err
}

// What concerns one connection only (RFC 9110, 7.6.1).
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"}

// endToEnd returns the headers without those of the connection they came by.
func endToEnd(h http.Header) http.Header {
	kept := h.Clone()
	if kept == nil {
		kept = http.Header{}
	}
	drop := slices.Clone(hopByHop)
	for _, value := range h["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			drop = append(drop, strings.TrimSpace(name))
		}
	}
	for _, name := range drop {
		kept.Del(name)
	}
	return kept
}
