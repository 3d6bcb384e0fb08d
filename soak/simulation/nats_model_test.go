package simulation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What a worker, a receiver and an operator ask of JetStream is answered by the model as by a server.
func TestJetStreamDoesTheSameOnTheModel(t *testing.T) {
	t.Run("model", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(1, nil)
			w.rates = rates{}
			nc, err := newNatsServer(w).connect(w.newProcess("test"))
			if err != nil {
				t.Fatal(err)
			}
			streamStory(t, nc, "MODEL")
			nc.Close()
			close(w.over)
			time.Sleep(time.Minute)
		})
	})
	t.Run("NATS", func(t *testing.T) {
		address := os.Getenv("WALLETCREW_TEST_NATS")
		if address == "" {
			address = nats.DefaultURL
		}
		if u, err := url.Parse(address); err == nil {
			conn, err := net.DialTimeout("tcp", u.Host, 10*time.Second)
			if err != nil {
				if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
					t.Fatal(err)
				}
				t.Skip("no NATS server: set WALLETCREW_TEST_NATS")
			}
			_ = conn.Close()
		}
		nc, err := nats.Connect(address)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		streamStory(t, nc, "SIMULATION_"+rand.Text()[:12])
	})
}

// streamStory publishes, takes, acknowledges, gives back, and deletes.
func streamStory(t *testing.T, nc *nats.Conn, name string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	prefix := strings.ToLower(name)
	opened, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{prefix + ".>"}, Retention: jetstream.WorkQueuePolicy,
		Duplicates: time.Minute, MaxMsgs: 4, Discard: jetstream.DiscardNew})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = js.DeleteStream(context.WithoutCancel(ctx), name) }()
	var told []string
	tell := func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
	code := func(err error) string {
		if err == nil {
			return "ok"
		}
		if api, ok := errors.AsType[*jetstream.APIError](err); ok {
			return fmt.Sprint(api.ErrorCode)
		}
		if api, ok := errors.AsType[jetstream.JetStreamError](err); ok && api.APIError() != nil {
			return fmt.Sprint(api.APIError().ErrorCode)
		}
		return err.Error()
	}
	publish := func(subject, id string, opts ...jetstream.PublishOpt) {
		if id != "" {
			opts = append(opts, jetstream.WithMsgID(id))
		}
		ack, err := js.Publish(ctx, prefix+"."+subject, []byte(subject), opts...)
		if err != nil {
			tell("publish %s: %s", subject, code(err))
			return
		}
		tell("publish %s: %d, duplicate %v", subject, ack.Sequence, ack.Duplicate)
	}
	publish("a", "1")
	publish("b", "1")
	publish("c", "2", jetstream.WithExpectStream("~"))
	publish("c", "2", jetstream.WithExpectLastSequencePerSubject(0))
	publish("c", "3", jetstream.WithExpectLastSequencePerSubject(0))
	publish("c", "3", jetstream.WithExpectLastSequencePerSubject(2))
	publish("d", "")
	publish("e", "")

	cfg := jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second, MaxDeliver: -1, FilterSubject: prefix + ".>"}
	_, err = js.Consumer(ctx, name, "worker")
	tell("no consumer yet: %s", code(err))
	consumer, err := js.CreateConsumer(ctx, name, cfg)
	if err != nil {
		t.Fatal(err)
	}
	next := func() jetstream.Msg {
		m, err := consumer.Next(jetstream.FetchMaxWait(3 * time.Second))
		if err != nil {
			tell("next: %v", err)
			return nil
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		tell("next: %s, %d, delivery %d, %d left", m.Data(), meta.Sequence.Stream, meta.NumDelivered, meta.NumPending)
		return m
	}
	a := next()
	_ = a.Ack()
	b := next()
	_ = b.NakWithDelay(2500 * time.Millisecond)
	c := next() // isn't settled: it comes again after AckWait
	d := next() // is kept with signs of life
	began := time.Now()
	for range 4 {
		_ = d.InProgress()
		time.Sleep(400 * time.Millisecond)
	}
	again := next()
	_ = again.InProgress()
	_ = again.Nak()
	again = next()
	_ = again.Term()
	_ = d.Ack()
	_ = c.Ack() // too late, which matters to nobody
	last := next()
	if waited := time.Since(began); waited < 2*time.Second {
		tell("what was given back for 2.5 s came after %v", waited)
	}
	_ = last.Ack()
	if err := nc.FlushWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; { // the server settles them in its own time
		info, err := opened.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs == 0 || time.Now().After(deadline) {
			tell("%d messages are left", info.State.Msgs)
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	part, err := consumer.FetchNoWait(5)
	n := 0
	for range part.Messages() {
		n++
	}
	tell("fetched %d, %s, %v", n, code(err), part.Error())
	publish("f", "9")
	m, err := opened.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(prefix+".*"))
	if err != nil {
		tell("get: %s", code(err))
	} else {
		tell("get: %d %s", m.Sequence, m.Data)
		tell("delete: %s", code(opened.DeleteMsg(ctx, m.Sequence)))
	}
	_, err = opened.GetMsg(ctx, 99)
	tell("get: %s", code(err))

	want := []string{
		"publish a: 1, duplicate false", "publish b: 1, duplicate true", "publish c: 10060", "publish c: 2, duplicate false", "publish c: 10071",
		"publish c: 3, duplicate false", "publish d: 4, duplicate false", "publish e: 10077", "no consumer yet: 10014",
		"next: a, 1, delivery 1, 3 left", "next: c, 2, delivery 1, 2 left", "next: c, 3, delivery 1, 1 left", "next: d, 4, delivery 1, 0 left",
		"next: c, 3, delivery 2, 0 left", "next: c, 3, delivery 3, 0 left", "next: c, 2, delivery 2, 0 left", "0 messages are left",
		"fetched 0, ok, <nil>", "publish f: 5, duplicate false", "get: 5 f", "delete: ok", "get: 10037",
	}
	if got := strings.Join(told, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("expected\n%s\ngot\n%s", strings.Join(want, "\n"), got)
	}
}
