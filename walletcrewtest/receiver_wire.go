package walletcrewtest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strconv"
	"strings"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A ruleRun is the test of one rule.
type ruleRun struct {
	*receiverTest
	ctx  context.Context
	name string
	rand *mathrand.Rand // of this rule alone, so that the seed repeats its choices whatever the others do
}

// A parcel is a delivery to be sent. Unlike the platform's it may be anything.
type parcel struct {
	id        string // of the event that it is, or pretends to be
	body      []byte
	method    string // "" for POST
	signature string
	unsigned  bool // without the header
	event     walletcrew.EventName
	tenant    string
	encoding  string
	chunked   bool
	forged    bool // signed otherwise than with the secret over the body: the right signature is not for its sender to know
}

// genuine makes an event of its own, as the platform would deliver it. Its members are in order, and without a space, so that a receiver
// isn't refused here for what the rule about JSON is for.
func (r *ruleRun) genuine() parcel { return r.signed(r.newEventID(), r.members(nil)) }

// newEventID is a UUID. A part of it is the run's own: in a receiver that still runs, the ids of the last run would be duplicates.
func (r *ruleRun) newEventID() string {
	a, b := r.rand.Uint64(), r.rand.Uint64()
	return fmt.Sprintf("%s-%04x-4%03x-8%03x-%012x", r.nonce, a&0xffff, a>>16&0xfff, a>>28&0xfff, b&0xffffffffffff)
}

// members are those of the sample of the event, for a pass of its own, and others.
func (r *ruleRun) members(others map[string]any) map[string]any {
	members := map[string]any{}
	if r.sample != nil {
		maps.Copy(members, r.sample)
		members["passId"] = fmt.Sprintf("p-%08x", r.rand.Uint32())
	}
	maps.Copy(members, others)
	return members
}

func (r *ruleRun) signed(id string, members map[string]any) parcel {
	members["__id"] = id
	body, err := json.Marshal(members)
	if err != nil {
		panic(err) // what is in them is ours
	}
	return r.signedBody(id, body)
}

func (r *ruleRun) signedBody(id string, body []byte) parcel {
	return parcel{id: id, body: body, signature: walletcrew.Sign(r.secret, body), event: r.event, tenant: r.tenant}
}

// forge is the parcel with another signature.
func (p parcel) forge(signature string) parcel {
	p.signature, p.forged = signature, true
	return p
}

func (p *parcel) header() http.Header {
	h := http.Header{}
	setHeaders(h, p.signature, p.tenant, p.event)
	if p.unsigned {
		h.Del(walletcrew.HeaderSignature)
	}
	if p.encoding != "" {
		h.Set("Content-Encoding", p.encoding)
	}
	return h
}

// A reply is what came of a parcel.
type reply struct {
	status int
	body   []byte
	err    error // there was none
	late   bool  // and the time was up
}

func (a reply) String() string {
	switch {
	case a.late:
		return "no answer in time"
	case a.err != nil && connectionEnded(a.err):
		return "a connection that ended without an answer"
	case a.err != nil:
		return "no answer: " + a.err.Error()
	}
	return strings.TrimSpace(strconv.Itoa(a.status) + " " + http.StatusText(a.status))
}

// accepted: it doesn't come again.
func (a reply) accepted() bool { return a.err == nil && a.status/100 == 2 }

// refused: it is not wanted, or not now.
func (a reply) refused() bool {
	return a.err == nil && (a.status/100 == 4 || a.status == http.StatusServiceUnavailable)
}

// postponed: it is to come again.
func (a reply) postponed() bool {
	return a.err == nil && (a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable)
}

const maxReply = 1 << 20 // bytes of an answer that are looked at

// send sends the parcel, on a connection of its own, and waits for the answer. So nothing is sent twice behind the test's back, as
// http.Transport does where a connection that it had kept turns out to be closed.
func (r *ruleRun) send(p parcel) reply {
	w, err := r.open(p)
	if err != nil {
		return noReply(err)
	}
	defer w.reset()
	written := make(chan struct{})
	go func() { // the answer may come before
		defer close(written)
		w.writeBody()
	}()
	a := w.answer(r.answerLimit)
	_ = w.SetWriteDeadline(time.Now())
	<-written
	return a
}

// read reads an answer, and looks for what it must not say.
func (r *ruleRun) read(p parcel, resp *http.Response) reply {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	r.lookForSecrets(p, resp, text)
	if err != nil && !connectionEnded(err) { // one that is cut off matters to no sender
		return noReply(err)
	}
	return reply{status: resp.StatusCode, body: text}
}

func noReply(err error) reply {
	netErr, ok := errors.AsType[net.Error](err)
	late := ok && netErr.Timeout() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
	return reply{err: err, late: late}
}

// A wire is a connection on which a delivery can be sent in pieces.
type wire struct {
	net.Conn
	in   *bufio.Reader
	r    *ruleRun
	p    parcel
	stop func() bool
}

// open connects and sends a parcel's header.
func (r *ruleRun) open(p parcel) (*wire, error) {
	w, err := r.dial(p)
	if err == nil {
		w.write(w.head())
	}
	return w, err
}

func (r *ruleRun) dial(p parcel) (*wire, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.answerLimit)
	defer cancel()
	port := cmp.Or(r.url.Port(), map[string]string{"http": "80", "https": "443"}[r.url.Scheme])
	addr := net.JoinHostPort(r.url.Hostname(), port)
	var conn net.Conn
	var err error
	if r.url.Scheme == "https" {
		conn, err = (&tls.Dialer{Config: &tls.Config{NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", addr)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("no connection: %w", err)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(r.answerLimit))
	w := &wire{Conn: conn, in: bufio.NewReader(conn), r: r, p: p}
	w.stop = context.AfterFunc(r.ctx, func() { _ = conn.Close() })
	return w, nil
}

func (w *wire) head() []byte {
	p, u := w.p, w.r.url
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: walletcrewtest\r\n", cmp.Or(p.method, http.MethodPost), u.RequestURI(), u.Host)
	if p.chunked {
		head.WriteString("Transfer-Encoding: chunked\r\n")
	} else {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", len(p.body))
	}
	_ = p.header().Write(&head)
	head.WriteString("\r\n")
	return head.Bytes()
}

// write sends bytes. If the receiver has closed the connection, reading says what it answered.
func (w *wire) write(b []byte) { _, _ = w.Write(b) }

func (w *wire) writeBody() {
	if !w.p.chunked {
		w.write(w.p.body)
		return
	}
	body := httputil.NewChunkedWriter(w)
	_, _ = body.Write(w.p.body)
	_ = body.Close()
	w.write([]byte("\r\n"))
}

// answer waits for the answer.
func (w *wire) answer(limit time.Duration) reply {
	w.wait(limit)
	resp, err := http.ReadResponse(w.in, &http.Request{Method: cmp.Or(w.p.method, http.MethodPost)})
	if err != nil {
		return noReply(err)
	}
	defer func() {
		_ = w.SetReadDeadline(time.Now()) // Close reads what is left of the body, which may have no end
		_ = resp.Body.Close()
	}()
	return w.r.read(w.p, resp)
}

// wait waits until something comes. When the time is up there is a moment more: the machine may be busy, or have stood still.
func (w *wire) wait(limit time.Duration) {
	for _, d := range []time.Duration{limit, limit / 10} {
		_ = w.SetReadDeadline(time.Now().Add(d))
		if _, err := w.in.Peek(1); noReply(err).late {
			continue
		}
		return
	}
}

// halfClose tells the receiver that nothing more comes. An answer may still.
func (w *wire) halfClose() {
	if c, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

// reset ends the connection at once, as a sender that crashes.
func (w *wire) reset() {
	if c, ok := w.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = c.SetLinger(0)
	}
	w.close()
}

func (w *wire) close() {
	w.stop()
	_ = w.Close()
}

// pause waits, or until the test ends.
func (r *ruleRun) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.ctx.Done():
	}
}

// until repeats a delivery, ever more slowly, until it is settled, or the patience or the test has ended.
func (r *ruleRun) until(p parcel, settled func(reply) bool) reply {
	return r.within(r.patience, p, settled)
}

func (r *ruleRun) within(patience time.Duration, p parcel, settled func(reply) bool) reply {
	const atLeast = 5 // tries: on a busy machine the first may take all the time
	began, wait := time.Now(), 20*time.Millisecond
	for tries := 1; ; tries++ {
		a := r.send(p)
		over := time.Since(began) > patience && (a.late || tries >= atLeast)
		if settled(a) || over || r.ctx.Err() != nil {
			return a
		}
		r.pause(wait)
		wait = min(2*wait, time.Second)
	}
}

// accept delivers, again where the receiver asks for that, and expects 2xx.
func (r *ruleRun) accept(p parcel, what string) error {
	a := r.until(p, func(a reply) bool { return !a.postponed() })
	if !a.accepted() {
		return fmt.Errorf("%s: expected 2xx, got %s", what, a)
	}
	return nil
}

// take delivers, and expects 2xx and one effect.
func (r *ruleRun) take(p parcel, what string) error {
	if err := r.accept(p, what); err != nil {
		return err
	}
	return r.effect(p.id, 1, what)
}

// refuse delivers, and expects a refusal and no effect.
func (r *ruleRun) refuse(p parcel, what string) error {
	if a := r.send(p); !a.refused() {
		return fmt.Errorf("%s: expected 4xx, got %s", what, a)
	}
	return r.effect(p.id, 0, what)
}

// effect expects that an event took effect so many times. Too few may become more soon.
func (r *ruleRun) effect(id string, times int, what string) error {
	if r.count == nil {
		return nil
	}
	r.mu.Lock()
	r.expected = append(r.expected, expectation{r.name, id, what, times})
	r.mu.Unlock()
	n := r.count(id)
	for range 300 {
		if n >= times || r.ctx.Err() != nil {
			break
		}
		r.pause(10 * time.Millisecond)
		n = r.count(id)
	}
	if n != times {
		return fmt.Errorf("%s: expected %s, got %s", what, effects(times), effects(n))
	}
	return nil
}
