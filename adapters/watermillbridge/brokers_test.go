package watermillbridge_test

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/watermillbridge"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

const patience = 30 * time.Second

// A broker is a real one behind a proxy that can be stopped.
type broker struct {
	name  string
	url   string
	open  func(t *testing.T, proxied, direct, topic string) (message.Publisher, message.Subscriber)
	topic string
}

var brokers = []broker{
	{"RabbitMQ", "amqp://guest:guest@" + env("WALLETCREW_TEST_RABBITMQ", "127.0.0.1:5672") + "/", openRabbitMQ, ""},
	{"PostgreSQL", "postgres://postgres@" + env("WALLETCREW_TEST_POSTGRES", "127.0.0.1:5432") + "/test?sslmode=disable", openPostgreSQL, ""},
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func openRabbitMQ(t *testing.T, proxied, direct, topic string) (message.Publisher, message.Subscriber) {
	t.Helper()
	config := amqp.NewDurableQueueConfig(proxied)
	config.Publish.ConfirmDelivery = true
	publisher, err := amqp.NewPublisher(config, watermill.NopLogger{})
	require.NoError(t, err)
	t.Cleanup(func() { go func() { _ = publisher.Close() }() }) // watermill-amqp's Close waits for ever for a connection that doesn't come back
	subscriber, err := amqp.NewSubscriber(amqp.NewDurableQueueConfig(direct), watermill.NopLogger{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = subscriber.Close() })
	require.NoError(t, subscriber.SubscribeInitialize(topic)) // the broker confirms, and drops, what no queue is there for
	return publisher, subscriber
}

func openPostgreSQL(t *testing.T, proxied, _, topic string) (message.Publisher, message.Subscriber) {
	t.Helper()
	db, err := stdsql.Open("pgx", proxied)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	schema := sql.DefaultPostgreSQLSchema{GeneratePayloadType: func(string) string { return "BYTEA" }}
	publisher, err := sql.NewPublisher(sql.BeginnerFromStdSQL(db), sql.PublisherConfig{SchemaAdapter: schema, AutoInitializeSchema: true}, watermill.NopLogger{})
	require.NoError(t, err)
	subscriber, err := sql.NewSubscriber(sql.BeginnerFromStdSQL(db), sql.SubscriberConfig{
		SchemaAdapter: schema, OffsetsAdapter: sql.DefaultPostgreSQLOffsetsAdapter{}, InitializeSchema: true, PollInterval: 20 * time.Millisecond,
	}, watermill.NopLogger{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = subscriber.Close() })
	t.Cleanup(func() {
		_, _ = db.Exec(`DROP TABLE IF EXISTS "watermill_` + topic + `", "watermill_offsets_` + topic + `"`)
	})
	return publisher, subscriber
}

func onEachBroker(t *testing.T, test func(t *testing.T, publisher message.Publisher, subscriber message.Subscriber, topic string, proxy *proxy)) {
	t.Parallel()
	for _, b := range brokers {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(b.url)
			require.NoError(t, err)
			conn, err := net.DialTimeout("tcp", u.Host, 5*time.Second)
			if err != nil {
				if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
					t.Fatalf("%s is needed: %v", b.name, err)
				}
				t.Skipf("no %s: %v", b.name, err)
			}
			_ = conn.Close()
			p := newProxy(t, u.Host)
			u.Host = p.address
			topic := fmt.Sprintf("walletcrew_%d_%d", os.Getpid(), time.Now().UnixNano())
			publisher, subscriber := b.open(t, u.String(), b.url, topic)
			test(t, publisher, subscriber, topic, p)
		})
	}
}

const secret = walletcrew.Secret("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

func newHandler(t *testing.T, publisher message.Publisher, topic string, opts ...receiver.HandlerOption) http.Handler {
	t.Helper()
	publish, err := watermillbridge.Publish(publisher, topic)
	require.NoError(t, err)
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	return receiver.NewHandler(v, publish, opts...)
}

func deliver(h http.Handler, id string) int {
	body := []byte(`{"__id":"` + id + `","text":"B\u00fcro \u002B"}`)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, walletcrewtest.NewRequest("/webhooks", secret, "shop/é", walletcrew.EventPassInstalled, body))
	return w.Code
}

func TestEventsGoThroughTheBrokerToTheFunction(t *testing.T) {
	onEachBroker(t, func(t *testing.T, publisher message.Publisher, subscriber message.Subscriber, topic string, _ *proxy) {
		var mu sync.Mutex
		seen, failed := make(map[string]int), make(map[string]bool)
		router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
		require.NoError(t, err)
		router.AddConsumerHandler("installs", topic, subscriber, watermillbridge.Worker(func(ctx context.Context, e *walletcrew.Event) error {
			mu.Lock()
			defer mu.Unlock()
			assert.Equal(t, walletcrew.EventPassInstalled, e.Name)
			assert.Equal(t, "shop/é", e.TenantID)
			assert.Equal(t, `{"__id":"`+e.ID+`","text":"B\u00fcro \u002B"}`, string(e.Raw), "to the byte")
			assert.True(t, strings.HasSuffix(receiver.Key(ctx), "/"+e.ID), receiver.Key(ctx))
			if len(e.ID)%2 == 0 && !failed[e.ID] {
				failed[e.ID] = true
				return fmt.Errorf("the first time %s fails", e.ID)
			}
			seen[e.ID]++
			return nil
		}))
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- router.Run(ctx) }()
		<-router.Running()
		h := newHandler(t, publisher, topic)
		for i := range 20 {
			require.Equal(t, http.StatusNoContent, deliver(h, fmt.Sprint("e-", i)))
		}
		require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == 20 }, patience, 10*time.Millisecond, "each event comes to the function")
		cancel()
		require.NoError(t, <-done)
	})
}

// What a stopped broker doesn't have must not be acknowledged; what was acknowledged must be there afterwards.
func TestAStoppedBrokerIsAnsweredWith503AndLosesNothing(t *testing.T) {
	onEachBroker(t, func(t *testing.T, publisher message.Publisher, subscriber message.Subscriber, topic string, proxy *proxy) {
		if _, rabbit := publisher.(*amqp.Publisher); rabbit && raceDetector {
			t.Skip("watermill-amqp has a race where a connection breaks")
		}
		messages, err := subscriber.Subscribe(t.Context(), topic)
		require.NoError(t, err)
		h := newHandler(t, publisher, topic, receiver.WithTimeout(5*time.Second))
		require.Equal(t, http.StatusNoContent, deliver(h, "before"))
		proxy.stop()
		for i := range 5 {
			require.Equal(t, http.StatusServiceUnavailable, deliver(h, fmt.Sprint("during-", i)))
		}
		proxy.start(t)
		require.Eventually(t, func() bool { return deliver(h, "after") == http.StatusNoContent }, patience, 50*time.Millisecond, "it recovers by itself")
		want := map[string]bool{"before": true, "after": true}
		for len(want) > 0 {
			select {
			case m := <-messages:
				_, e, err := watermillbridge.Event(m)
				require.NoError(t, err)
				delete(want, e.ID)
				m.Ack()
			case <-time.After(patience):
				t.Fatalf("acknowledged, and lost: %v", want)
			}
		}
	})
}

// A broker that takes bytes and says nothing hasn't got the event.
func TestASilentBrokerIsAnsweredWith503(t *testing.T) {
	onEachBroker(t, func(t *testing.T, publisher message.Publisher, _ message.Subscriber, topic string, proxy *proxy) {
		if _, rabbit := publisher.(*amqp.Publisher); rabbit && raceDetector {
			t.Skip("watermill-amqp has a race where a connection breaks")
		}
		var answers atomic.Int64
		h := newHandler(t, publisher, topic, receiver.WithTimeout(time.Second), receiver.WithObserver(func(_ context.Context, o receiver.Outcome) { answers.Add(int64(o.Status)) }))
		require.Equal(t, http.StatusNoContent, deliver(h, "before"))
		proxy.mute.Store(true)
		server := httptest.NewServer(h)
		defer server.Close()
		r := walletcrewtest.NewRequest(server.URL, secret, "shop", walletcrew.EventPassInstalled, []byte(`{"__id":"during"}`))
		r.RequestURI = ""
		response, err := server.Client().Do(r)
		require.NoError(t, err)
		_ = response.Body.Close()
		assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
		proxy.stop() // lets the publisher go
	})
}

// A proxy passes connections on, until it is stopped.
type proxy struct {
	address, target string
	mute            atomic.Bool // what the target says is kept back
	mu              sync.Mutex
	listener        net.Listener
	conns           []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	p := &proxy{target: target, address: "127.0.0.1:0"}
	p.start(t)
	t.Cleanup(p.stop)
	return p
}

func (p *proxy) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", p.address)
	require.NoError(t, err)
	p.mu.Lock()
	p.listener, p.address = l, l.Addr().String()
	p.mu.Unlock()
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", p.target)
			if err != nil {
				_ = from.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, from, to)
			p.mu.Unlock()
			go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
			go func() { _, _ = io.Copy(muted{from, p}, to); _ = from.Close() }()
		}
	}()
}

func (p *proxy) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.listener.Close()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

type muted struct {
	io.Writer
	proxy *proxy
}

func (m muted) Write(b []byte) (int, error) {
	if m.proxy.mute.Load() {
		return len(b), nil
	}
	return m.Writer.Write(b)
}

// What was acknowledged before anybody subscribed must be there, too.
func TestWhatComesBeforeTheFirstSubscriberIsKept(t *testing.T) {
	onEachBroker(t, func(t *testing.T, publisher message.Publisher, subscriber message.Subscriber, topic string, _ *proxy) {
		require.Equal(t, http.StatusNoContent, deliver(newHandler(t, publisher, topic), "early"))
		messages, err := subscriber.Subscribe(t.Context(), topic)
		require.NoError(t, err)
		select {
		case m := <-messages:
			m.Ack()
		case <-time.After(patience):
			t.Fatal("acknowledged, and lost")
		}
	})
}
