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

// loopbackSubjects compare whole servers, with the load generator in this process: writeBytes, so that what is measured is mostly
// the server, or useClient, which costs as much as the server does.
func loopbackSubjects(generator func(address string) func([]request)) func() []subject {
	return func() []subject {
		const bare, sdk = "bare handler", "NewHandler"
		return []subject{
			load(readOnly(), generator, bare),
			load(receiver.NewHandler(newVerifier(verifier.Static(secret)), nothing), generator, sdk, rateOf(bare, 0.90)),
			load(handlerAfter(1<<16), generator, "NewHandler, memory deduper, new id", timeOf(sdk, 1.10)),
		}
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

// A request to be sent, and the bytes that it is on the wire.
type request struct {
	*http.Request
	wire []byte
}

// load serves the handler, and has deliveries of new events sent to it on eight connections that are kept.
func load(h http.Handler, generator func(address string) func([]request), name string, goals ...goal) subject {
	address, _ := listen(h)

	const senders = 8
	var send [senders]func([]request)
	for i := range send {
		send[i] = generator(address)
	}
	var ready []request
	prepare := func(n int) { ready = requests(address, n) }
	run := func(n int) {
		var all sync.WaitGroup
		for i := range send {
			all.Go(func() { send[i](ready[i*n/senders : (i+1)*n/senders]) })
		}
		all.Wait()
	}
	return subject{name: name, prepare: prepare, run: run, goals: goals}
}

// listen serves the handler on a port of its own, until it is told to stop.
func listen(h http.Handler) (address string, stop func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	}()
	return l.Addr().String(), func() { must(server.Close()) }
}

// requests are deliveries of new events.
func requests(address string, n int) []request {
	ready := make([]request, n)
	for i := range ready {
		body := fresh(bytes.Clone(installed))
		r, err := http.NewRequest(http.MethodPost, "http://"+address+"/webhooks", bytes.NewReader(body))
		must(err)
		r.Header = headerOf(body)
		var wire bytes.Buffer
		must(r.Write(&wire))
		r.Body, err = r.GetBody()
		must(err)
		ready[i] = request{r, wire.Bytes()}
	}
	return ready
}

// writeBytes writes bytes that are ready, and of the answers reads only what it must.
func writeBytes(address string) func([]request) {
	conn, err := net.Dial("tcp", address)
	must(err)
	return func(requests []request) {
		answers := bufio.NewReader(conn)
		for _, r := range requests {
			exchange(conn, answers, r.wire)
		}
	}
}

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

// useClient sends with net/http's client.
func useClient(string) func([]request) {
	client := &http.Client{Transport: new(http.Transport)}
	return func(requests []request) {
		for _, r := range requests {
			response, err := client.Do(r.Request)
			must(err)
			must(response.Body.Close())
			ensure(response.StatusCode == http.StatusNoContent, response.Status)
		}
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
		{name: "memory deduper, new id", prepare: news.renew, run: news.to(with), goals: []goal{timeOf(no, 1.10)}},
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
	ctx := context.WithValue(context.Background(), http.ServerContextKey, &http.Server{ReadHeaderTimeout: time.Minute})
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
