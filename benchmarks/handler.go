package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

func nothing(context.Context, *walletcrew.Event) error { return nil }

// loopbackSubjects compare whole servers, with the load generator in this process: it does so little that nearly all is the server.
func loopbackSubjects() []subject {
	const bare, hand = "bare handler", "handler by hand"
	byHand := newByHand(func(context.Context, *plainInstalled) error { return nil }, 1<<16)
	sdk := receiver.NewHandler(newVerifier(verifier.Static(secret)), nothing)
	return []subject{
		load(bare, readOnly(), newEvent),
		load("NewHandler", sdk, newEvent, rateOf(bare, none), rateOf(hand, none)),
		load("NewHandler, memory deduper", handlerAfter(1<<16), newEvent, rateOf(bare, 0.90), rateOf(hand, 1.15)),
		load(hand, byHand, newEvent, rateOf(bare, none)),
		load("go-github: ValidatePayload, ParseWebHook", http.HandlerFunc(githubHandler), githubDelivery, rateOf(bare, none)),
		load("stripe-go: ConstructEvent", http.HandlerFunc(stripeHandler), stripeDelivery, rateOf(bare, none)),
	}
}

func readOnly() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// A message is what a platform sends.
type message struct {
	body   []byte
	header http.Header
}

// newEvent is a delivery of an event that nobody has seen.
func newEvent() message {
	body := fresh(bytes.Clone(installed))
	return message{body, headerOf(body)}
}

// write appends the message as it is on the wire.
func (m message) write(wire *bytes.Buffer) {
	r, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/webhooks", bytes.NewReader(m.body))
	must(err)
	r.Header = m.header
	must(r.Write(wire))
}

// wires are the messages of one slice, all of one length. One buffer for all subjects: the less memory is in use, the more often its
// garbage is collected while a subject runs, as in a server.
var wires bytes.Buffer

const senders = 8

// load serves the handler, and has messages sent to it on eight connections that are kept.
func load(name string, h http.Handler, next func() message, goals ...goal) subject {
	address, _ := listen(h)
	var conns [senders]net.Conn
	length := 0
	prepare := func(n int) {
		wires.Reset()
		for range n {
			next().write(&wires)
		}
		length = wires.Len() / n
		for i := range conns {
			if conns[i] == nil { // only now: the server gives a new connection 5 s to send something
				var err error
				conns[i], err = net.Dial("tcp", address)
				must(err)
			}
		}
	}
	run := func(n int) {
		bySenders(n, func(i, from, to int) { send(conns[i], wires.Bytes()[from*length:to*length], length) })
	}
	return subject{name: name, prepare: prepare, run: run, goals: goals}
}

// listen serves the handler on a port of its own, until it is told to stop. The limits are those of docs/production.md.
func listen(h http.Handler) (address string, stop func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	}()
	return l.Addr().String(), func() { must(server.Close()) }
}

// bySenders divides n operations among the senders.
func bySenders(n int, f func(sender, from, to int)) {
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() { f(i, i*n/senders, (i+1)*n/senders) })
	}
	all.Wait()
}

// send writes the messages, one after the other.
func send(conn net.Conn, messages []byte, length int) {
	answers := bufio.NewReader(conn)
	for ; len(messages) > 0; messages = messages[length:] {
		exchange(conn, answers, messages[:length])
	}
}

// exchange writes a message, and of the answer reads only what it must.
func exchange(conn net.Conn, answers *bufio.Reader, wire []byte) {
	_, err := conn.Write(wire)
	must(err)
	line, err := answers.ReadSlice('\n')
	must(err)
	ensure(bytes.HasPrefix(line, []byte("HTTP/1.1 204 ")), string(line))
	for len(line) > len("\r\n") {
		line, err = answers.ReadSlice('\n')
		must(err)
	}
}

var lastID int

// fresh gives the body an id that nobody has seen.
func fresh(body []byte) []byte {
	lastID++
	copy(body[len(`{"__id":"`):], fmt.Sprintf("%08x", lastID))
	return body
}

// dedupeSubjects compare ServeHTTP alone, which shows more of the deduper than a whole server would.
func dedupeSubjects() []subject {
	without := receiver.NewHandler(newVerifier(verifier.Static(secret)), nothing)
	with, seen := handlerAfter(1<<16), handlerAfter(0) // the first is full, as it is from then on
	news, same := new(deliveries), new(deliveries)
	const no = "no deduper"
	return []subject{
		{name: no, prepare: news.renew, run: news.to(without), goals: []goal{allocations(25)}},
		{name: "memory deduper, new id", prepare: news.renew, run: news.to(with), goals: []goal{timeOf(no, 1.12)}},
		{name: "memory deduper, duplicate", prepare: func(n int) {
			if len(same.all) < n {
				same.renew(n)
				same.to(seen)(n)
			}
		}, run: same.to(seen), goals: []goal{timeOf(no, 1.00)}},
	}
}

// deliveries are requests as net/http's server hands them over, to be sent in turn.
type deliveries struct{ all []*delivery }

type delivery struct {
	request *http.Request
	body    []byte
	reader  bytes.Reader
}

func (d *delivery) Read(p []byte) (int, error) { return d.reader.Read(p) }
func (d *delivery) Close() error               { return nil }

// renew makes n deliveries of events that nobody has seen.
func (d *deliveries) renew(n int) {
	ctx := context.WithValue(context.Background(), http.ServerContextKey, &http.Server{ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second})
	for len(d.all) < n {
		it := &delivery{body: bytes.Clone(installed)}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/webhooks", it)
		must(err)
		r.ContentLength = int64(len(it.body))
		it.request = r
		d.all = append(d.all, it)
	}
	for _, it := range d.all[:n] {
		it.request.Header = headerOf(fresh(it.body))
	}
}

func (d *deliveries) to(h http.Handler) func(n int) {
	w := &recorder{header: http.Header{}}
	return func(n int) {
		for _, it := range d.all[:n] {
			it.reader.Reset(it.body)
			h.ServeHTTP(w, it.request)
			ensure(w.status == http.StatusNoContent, "the delivery was not handled")
		}
	}
}

// A recorder is a response that goes nowhere, and that takes deadlines as net/http's does.
type recorder struct {
	header http.Header
	status int
}

func (w *recorder) Header() http.Header             { return w.header }
func (w *recorder) Write(p []byte) (int, error)     { return len(p), nil }
func (w *recorder) WriteHeader(status int)          { w.status = status }
func (w *recorder) SetReadDeadline(time.Time) error { return nil }
