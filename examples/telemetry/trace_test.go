package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/otelwalletcrew"
	"github.com/thewalletcrew/walletcrew-go/adapters/riverinbox"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

const (
	secret         = walletcrew.Secret("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	strangersTrace = "0af7651916cd43dd8448eb211c80319c"
	patience       = 30 * time.Second
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func missing(t *testing.T, server string, err error) {
	t.Helper()
	if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
		t.Fatalf("%s is needed: %v", server, err)
	}
	t.Skipf("no %s: %v", server, err)
}

// A process has a Telemetry of its own, as if it ran elsewhere: all that connects two is what the server between them keeps.
type process struct {
	*otelwalletcrew.Telemetry
	tracers *sdktrace.TracerProvider
	spans   *tracetest.SpanRecorder
}

func newProcess(t *testing.T) process {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	tel, err := otelwalletcrew.New(otelwalletcrew.WithTracerProvider(tracers))
	require.NoError(t, err)
	return process{tel, tracers, spans}
}

// receive delivers one event, with a stranger's trace, to a receiver that hands it over with fn.
func (p process) receive(t *testing.T, fn receiver.HandlerFunc) {
	t.Helper()
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	h := otelhttp.NewHandler(p.Handler(receiver.NewHandler(v, p.Publish("orders", fn), receiver.WithObserver(p.Observe), receiver.WithLogger(quiet))), "webhooks",
		otelhttp.WithTracerProvider(p.tracers), otelhttp.WithPublicEndpointFn(otelwalletcrew.PublicEndpoint), otelhttp.WithPropagators(propagation.TraceContext{}))
	r := walletcrewtest.NewRequest("http://shop.example/webhooks", secret, "shop", walletcrew.EventPassInstalled, walletcrewtest.Sample(walletcrew.EventPassInstalled))
	r.Header.Set("Traceparent", "00-"+strangersTrace+"-b7ad6b7169203331-01")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusNoContent, w.Code)
}

// requireOneTrace looks at the spans: three of the receiver's, and of the worker one that failed for good and one after the redrive.
func requireOneTrace(t *testing.T, receiving, working process) {
	t.Helper()
	require.Eventually(t, func() bool { return len(working.spans.Ended()) == 2 }, patience, 5*time.Millisecond)
	spans := map[string]sdktrace.ReadOnlySpan{}
	for _, s := range receiving.spans.Ended() {
		spans[s.Name()] = s
	}
	require.Len(t, spans, 3)
	server, receive, send := spans["POST"], spans["receive Pass:Installed"], spans["send orders"]
	assert.False(t, server.Parent().IsValid(), "a stranger's trace is no parent")
	assert.Equal(t, server.SpanContext().SpanID(), receive.Parent().SpanID())
	assert.Equal(t, receive.SpanContext().SpanID(), send.Parent().SpanID())
	for _, s := range working.spans.Ended() {
		assert.Equal(t, "process orders", s.Name())
		assert.Equal(t, server.SpanContext().TraceID(), s.SpanContext().TraceID(), "one trace")
		assert.Equal(t, send.SpanContext().SpanID(), s.Parent().SpanID())
		require.Len(t, s.Links(), 1)
		assert.Equal(t, send.SpanContext().SpanID(), s.Links()[0].SpanContext.SpanID())
		assert.NotEqual(t, strangersTrace, s.SpanContext().TraceID().String())
	}
}

// failing fails until it is repaired.
func failing(repaired *atomic.Bool) receiver.HandlerFunc {
	return func(context.Context, *walletcrew.Event) error {
		if repaired.Load() {
			return nil
		}
		return errors.New("a bug")
	}
}

func TestOneTraceThroughJetStreamAndItsDeadLetters(t *testing.T) {
	t.Parallel()
	url := cmp.Or(os.Getenv("WALLETCREW_TEST_NATS"), "nats://127.0.0.1:4222")
	name := fmt.Sprintf("telemetry_%d_%d", os.Getpid(), time.Now().UnixNano())
	cfg := jetstream.StreamConfig{Name: name, Prefix: name}
	receiving, working := newProcess(t), newProcess(t)

	nc, err := jetstream.Connect(url)
	if err != nil {
		missing(t, "NATS", err)
	}
	t.Cleanup(nc.Close)
	stream, err := jetstream.EnsureStream(t.Context(), nc, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, stream := range []string{name, name + "_DEAD"} {
			_, _ = nc.Request("$JS.API.STREAM.DELETE."+stream, nil, patience)
		}
	})
	publisher, err := jetstream.NewPublisher(t.Context(), stream)
	require.NoError(t, err)
	receiving.receive(t, publisher.Handle)

	workerConn, err := jetstream.Connect(url)
	require.NoError(t, err)
	t.Cleanup(workerConn.Close)
	workerStream, err := jetstream.OpenStream(t.Context(), workerConn, cfg)
	require.NoError(t, err)
	var repaired atomic.Bool
	dead := make(chan struct{}, 1)
	consumer, err := jetstream.NewConsumer(t.Context(), workerStream, working.Process("orders", failing(&repaired)), jetstream.ConsumerConfig{
		MaxTries: 1, Logger: quiet, Observer: func(_ context.Context, o jetstream.Outcome) {
			if o.Result == jetstream.DeadLettered {
				dead <- struct{}{}
			}
		},
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- consumer.Run(ctx) }()
	t.Cleanup(func() { stop(); assert.NoError(t, <-ended) })
	select {
	case <-dead:
	case <-time.After(patience):
		require.Fail(t, "no dead letter")
	}

	repaired.Store(true)
	for letter, err := range stream.DeadLetters(t.Context()) {
		require.NoError(t, err)
		require.NoError(t, letter.Redrive(t.Context()))
	}
	requireOneTrace(t, receiving, working)
}

func TestOneTraceThroughRiverAndItsDeadLetters(t *testing.T) {
	t.Parallel()
	pool := newDatabase(t)
	inbox, err := riverinbox.New(pool, "orders")
	require.NoError(t, err)
	require.NoError(t, inbox.EnsureSchema(t.Context()))
	receiving, working := newProcess(t), newProcess(t)
	receiving.receive(t, inbox.Handle)

	var repaired atomic.Bool
	config := &river.Config{Workers: river.NewWorkers(), Logger: quiet, FetchPollInterval: 50 * time.Millisecond, FetchCooldown: 10 * time.Millisecond}
	require.NoError(t, inbox.AddWorker(config, working.Process("orders", failing(&repaired)), riverinbox.WithTries(1), riverinbox.WithLogger(quiet)))
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	require.NoError(t, err)
	require.NoError(t, client.Start(context.WithoutCancel(t.Context())))
	t.Cleanup(func() { _ = client.StopAndCancel(context.Background()) })

	var letter *riverinbox.DeadLetter
	require.Eventually(t, func() bool {
		for d, err := range inbox.DeadLetters(t.Context()) {
			if err == nil {
				letter = d
			}
		}
		return letter != nil
	}, patience, 20*time.Millisecond, "no dead letter")
	repaired.Store(true)
	require.NoError(t, letter.Redrive(t.Context()))
	requireOneTrace(t, receiving, working)
}

// newDatabase returns a pool whose connections use a schema of their own, with River's tables.
func newDatabase(t *testing.T) *pgxpool.Pool {
	t.Helper()
	source := "postgres://postgres@" + cmp.Or(os.Getenv("WALLETCREW_TEST_POSTGRES"), "127.0.0.1:5432") + "/test?sslmode=disable"
	admin, err := pgx.Connect(t.Context(), source)
	if err != nil {
		missing(t, "PostgreSQL", err)
	}
	schema := fmt.Sprintf("telemetry_%d_%d", os.Getpid(), time.Now().UnixNano())
	_, err = admin.Exec(t.Context(), "CREATE SCHEMA "+schema)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = admin.Exec(context.Background(), "DROP SCHEMA "+schema+" CASCADE")
		_ = admin.Close(context.Background())
	})
	pool, err := pgxpool.New(t.Context(), source+"&search_path="+schema)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: quiet})
	require.NoError(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(t, err)
	return pool
}
