package otelwalletcrew_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/otelwalletcrew"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

const secret = walletcrew.Secret("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

const (
	strangersTrace = "0af7651916cd43dd8448eb211c80319c"
	strangersSpan  = "b7ad6b7169203331"
)

type telemetry struct {
	*otelwalletcrew.Telemetry
	spans   *tracetest.SpanRecorder
	tracers *sdktrace.TracerProvider
	reader  *sdkmetric.ManualReader
}

func newTelemetry(t *testing.T) telemetry {
	t.Helper()
	spans, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	tel, err := otelwalletcrew.New(otelwalletcrew.WithTracerProvider(tracers), otelwalletcrew.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))), nil)
	require.NoError(t, err)
	return telemetry{tel, spans, tracers, reader}
}

// span returns the one that ended with this name.
func (tel telemetry) span(t *testing.T, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	var found sdktrace.ReadOnlySpan
	var names []string
	for _, s := range tel.spans.Ended() {
		if names = append(names, s.Name()); s.Name() == name {
			require.Nil(t, found, "two spans with the name %q", name)
			found = s
		}
	}
	require.NotNil(t, found, "no span %q among %q", name, names)
	return found
}

func attributesOf(s sdktrace.ReadOnlySpan) map[string]string {
	all := make(map[string]string)
	for _, a := range s.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func (tel telemetry) handler(t *testing.T, fn receiver.HandlerFunc) http.Handler {
	t.Helper()
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	return tel.Handler(receiver.NewHandler(v, fn, receiver.WithObserver(tel.Observe)))
}

func delivery(name walletcrew.EventName, body string) *http.Request {
	r := walletcrewtest.NewRequest("http://shop.example/webhooks", secret, "shop", name, []byte(body))
	r.Header.Set("Traceparent", "00-"+strangersTrace+"-"+strangersSpan+"-01")
	r.Header.Set("Baggage", "stranger=1")
	return r
}

// One trace from the request to the worker in another process, also through a dead letter and its redrive: all that goes from one to the
// other is the map of headers.
func TestOneTraceFromTheRequestToTheWorker(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t)
	var sent map[string]string
	var event *walletcrew.Event
	handOver := func(ctx context.Context, e *walletcrew.Event) error {
		sent, event = receiver.Headers(ctx), e
		return nil
	}
	h := otelhttp.NewHandler(tel.handler(t, tel.Publish("orders", handOver)), "webhooks", otelhttp.WithTracerProvider(tel.tracers), otelhttp.WithPublicEndpointFn(otelwalletcrew.PublicEndpoint),
		otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, delivery(walletcrew.EventPassInstalled, `{"__id":"e-1"}`))
	require.Equal(t, http.StatusNoContent, w.Code)

	worker := newTelemetry(t) // another process
	work := worker.Process("orders", func(ctx context.Context, _ *walletcrew.Event) error {
		assert.Empty(t, baggage.FromContext(ctx).Members())
		return errors.New("boom")
	})
	require.Error(t, work(receiver.WithHeaders(t.Context(), sent), event))
	require.Error(t, work(receiver.WithHeaders(t.Context(), sent), event), "after a redrive")

	server, receive, send := tel.span(t, "POST"), tel.span(t, "receive Pass:Installed"), tel.span(t, "send orders")
	assert.Equal(t, trace.SpanKindConsumer, receive.SpanKind())
	assert.Equal(t, trace.SpanKindProducer, send.SpanKind())
	assert.Equal(t, server.SpanContext().SpanID(), receive.Parent().SpanID())
	assert.Equal(t, receive.SpanContext().SpanID(), send.Parent().SpanID())
	require.Len(t, receive.Links(), 1)
	assert.Equal(t, strangersTrace, receive.Links()[0].SpanContext.TraceID().String(), "linked to what the sender says")
	for _, s := range tel.spans.Ended() {
		assert.Equal(t, server.SpanContext().TraceID(), s.SpanContext().TraceID())
		assert.NotEqual(t, strangersTrace, s.SpanContext().TraceID().String(), "a stranger's is never a parent")
		assert.NotContains(t, fmt.Sprint(s.Attributes()), "__id", "no body")
	}
	require.Len(t, worker.spans.Ended(), 2)
	for _, s := range worker.spans.Ended() {
		assert.Equal(t, "process orders", s.Name())
		assert.Equal(t, trace.SpanKindConsumer, s.SpanKind())
		assert.Equal(t, server.SpanContext().TraceID(), s.SpanContext().TraceID(), "one trace")
		assert.Equal(t, send.SpanContext().SpanID(), s.Parent().SpanID())
		require.Len(t, s.Links(), 1)
		assert.Equal(t, send.SpanContext().SpanID(), s.Links()[0].SpanContext.SpanID())
		assert.Equal(t, codes.Error, s.Status().Code)
		assert.Equal(t, "failed", attributesOf(s)["error.type"])
	}
	assert.Equal(t, map[string]string{
		"messaging.system": "walletcrew", "messaging.operation.type": "process", "messaging.operation.name": "receive",
		"messaging.destination.name": "Pass:Installed", "messaging.message.id": "e-1", "messaging.message.body.size": "14",
		"http.response.status_code": "204", "walletcrew.result": "handled", "walletcrew.reason": "", "walletcrew.event": "Pass:Installed", "walletcrew.tenant": "shop",
	}, attributesOf(receive))
	assert.Equal(t, semconv.SchemaURL, receive.InstrumentationScope().SchemaURL)
}

// Other middlewares put what came with the request into the context, too.
func TestAStrangersTraceIsNoParentAndItsBaggageIsDropped(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t)
	var members []baggage.Member
	h := tel.handler(t, func(ctx context.Context, _ *walletcrew.Event) error {
		members = baggage.FromContext(ctx).Members()
		return nil
	})
	r := delivery(walletcrew.EventPassCreated, `{"__id":"e-1"}`)
	p := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	h.ServeHTTP(httptest.NewRecorder(), r.WithContext(p.Extract(r.Context(), propagation.HeaderCarrier(r.Header))))
	s := tel.span(t, "receive Pass:Created")
	assert.False(t, s.Parent().IsValid())
	assert.NotEqual(t, strangersTrace, s.SpanContext().TraceID().String())
	require.Len(t, s.Links(), 1)
	assert.Empty(t, members)
}

func TestWhatIsRefusedHasAReason(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t)
	h := tel.handler(t, func(_ context.Context, e *walletcrew.Event) error {
		switch e.ID {
		case "temporary":
			return receiver.Temporary(errors.New("boom"))
		case "panic":
			panic("boom")
		}
		return nil
	})
	forged := delivery(walletcrew.EventPassCreated, `{"__id":"forged"}`)
	forged.Header.Set(walletcrew.HeaderSignature, strings.Repeat("0", 64))
	for _, c := range []struct {
		r             *http.Request
		reason, event string
		status        codes.Code
	}{
		{forged, "signature_mismatch", "Pass:Created", codes.Unset},
		{delivery(walletcrew.EventPassUpdated, `{"__id":"temporary"}`), "temporary", "Pass:Updated", codes.Error},
		{delivery(walletcrew.EventCustomerUpserted, `{"__id":"panic"}`), "panicked", "Customer:Upserted", codes.Error},
		{delivery("Store:Opened", `{"__id":"new"}`), "", "other", codes.Unset},
	} {
		h.ServeHTTP(httptest.NewRecorder(), c.r)
		s := tel.span(t, "receive "+c.event)
		assert.Equal(t, c.reason, attributesOf(s)["walletcrew.reason"])
		assert.Equal(t, c.reason, attributesOf(s)["error.type"])
		assert.Equal(t, c.status, s.Status().Code, c.reason)
	}
}

func (tel telemetry) metrics(t *testing.T) map[string]metricdata.Aggregation {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, tel.reader.Collect(t.Context(), &all))
	found := make(map[string]metricdata.Aggregation)
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			found[m.Name] = m.Data
		}
	}
	return found
}

func TestTenThousandInventedNamesMakeNoSeries(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t)
	h := tel.handler(t, func(context.Context, *walletcrew.Event) error { return nil })
	work := tel.Process("orders", func(context.Context, *walletcrew.Event) error { return nil })
	for i := range 10_000 {
		r := delivery(walletcrew.EventName(fmt.Sprint("Invented:", i)), fmt.Sprintf(`{"__id":"e-%d"}`, i))
		if i%2 == 0 {
			r.Header.Set(walletcrew.HeaderSignature, fmt.Sprintf("%064d", i))
		}
		r.Header.Set(walletcrew.HeaderTenantID, fmt.Sprint("tenant-", i))
		h.ServeHTTP(httptest.NewRecorder(), r)
		require.NoError(t, work(t.Context(), &walletcrew.Event{Name: walletcrew.EventName(fmt.Sprint("Invented:", i)), TenantID: fmt.Sprint("tenant-", i)}))
	}
	m := tel.metrics(t)
	assert.Len(t, m["walletcrew.deliveries"].(metricdata.Sum[int64]).DataPoints, 2, "handled and refused")
	assert.Len(t, m["walletcrew.runs"].(metricdata.Sum[int64]).DataPoints, 1)
	assert.Len(t, m["messaging.process.duration"].(metricdata.Histogram[float64]).DataPoints, 3)
}

func TestTheMetricsCountWhatHappened(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t)
	h := tel.handler(t, func(context.Context, *walletcrew.Event) error { return nil })
	for range 3 {
		h.ServeHTTP(httptest.NewRecorder(), delivery(walletcrew.EventPassCreated, `{}`))
	}
	for _, err := range []error{nil, receiver.ErrIgnored, receiver.Discard(errors.New("a")), receiver.Temporary(errors.New("b")), errors.New("c")} {
		_ = tel.Process("orders", func(context.Context, *walletcrew.Event) error { return err })(t.Context(), &walletcrew.Event{Name: walletcrew.EventPassCreated})
	}
	assert.Panics(t, func() {
		_ = tel.Process("orders", func(context.Context, *walletcrew.Event) error { panic("d") })(t.Context(), &walletcrew.Event{Name: walletcrew.EventPassCreated})
	})
	m := tel.metrics(t)
	deliveries := m["walletcrew.deliveries"].(metricdata.Sum[int64]).DataPoints
	require.Len(t, deliveries, 1)
	assert.EqualValues(t, 3, deliveries[0].Value)
	assert.Equal(t, attribute.NewSet(attribute.String("walletcrew.result", "handled"), attribute.String("walletcrew.reason", ""), attribute.String("walletcrew.event", "Pass:Created")), deliveries[0].Attributes)
	results := make(map[string]int64)
	for _, p := range m["walletcrew.runs"].(metricdata.Sum[int64]).DataPoints {
		v, _ := p.Attributes.Value("walletcrew.result")
		results[v.AsString()] = p.Value
	}
	assert.Equal(t, map[string]int64{"handled": 1, "ignored": 1, "discarded": 1, "temporary": 1, "failed": 1, "panicked": 1}, results)
}

func TestACallOfTheClientIsOneSpanAroundItsAttempts(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t)
	server := walletcrewtest.NewServer()
	t.Cleanup(server.Close)
	server.Fail(walletcrewtest.Fault{StatusCode: http.StatusServiceUnavailable})
	client := server.Client(tel.Client(), walletcrew.WithRetries(2, time.Millisecond, time.Millisecond))
	_, err := client.Webhooks.List(t.Context(), nil)
	require.NoError(t, err)
	call := tel.span(t, "walletcrew GET")
	var attempts int
	for _, s := range tel.spans.Ended() {
		if s.Name() != "walletcrew GET" {
			attempts++
			assert.Equal(t, call.SpanContext().SpanID(), s.Parent().SpanID(), s.Name())
		}
	}
	assert.Equal(t, 2, attempts)
	assert.Equal(t, codes.Unset, call.Status().Code)
	for _, r := range server.Requests() {
		assert.Empty(t, r.Header.Get("Traceparent"), "the platform needn't know our ids")
	}

	refused := newTelemetry(t)
	client = server.Client(refused.Client())
	_, err = client.Webhooks.Get(t.Context(), "missing")
	require.ErrorIs(t, err, walletcrew.ErrNotFound)
	s := refused.span(t, "walletcrew GET")
	assert.Equal(t, "404", attributesOf(s)["error.type"])
	assert.Equal(t, codes.Error, s.Status().Code)
}

// Protobuf refuses a whole batch of spans for one text that isn't UTF-8, and a stranger's tracestate may be kilobytes.
func TestWhatASenderChoseIsShortAndUTF8(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t)
	h := tel.handler(t, tel.Publish("orders", func(context.Context, *walletcrew.Event) error { return nil }))
	for _, tenant := range []string{"\xff\xfe", strings.Repeat("ü", 500), "a" + strings.Repeat("ü", 500)} {
		r := delivery(walletcrew.EventPassCreated, `{"__id":"`+strings.Repeat("é", 500)+`"}`)
		r.Header.Set(walletcrew.HeaderTenantID, tenant)
		r.Header.Set("Tracestate", "stranger="+strings.Repeat("x", 250))
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	ended := tel.spans.Ended()
	require.Len(t, ended, 6)
	for _, s := range ended {
		for _, a := range s.Attributes() {
			assert.LessOrEqual(t, len(a.Value.String()), 200, a.Key)
			assert.True(t, utf8.ValidString(a.Value.String()), "%s: %q", a.Key, a.Value.String())
		}
		for _, link := range s.Links() {
			assert.Zero(t, link.SpanContext.TraceState().Len())
		}
		assert.Zero(t, s.SpanContext().TraceState().Len())
	}
}

func TestWhatAnErrorSaysIsShortAndUTF8(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t)
	e := &walletcrew.Event{Name: walletcrew.EventPassCreated}
	for _, err := range []error{errors.New(strings.Repeat("\xff", 10) + strings.Repeat("x", 1<<20)), (*brokenError)(nil)} {
		fn := func(context.Context, *walletcrew.Event) error { return err }
		require.NotPanics(t, func() { _ = tel.Process("orders", fn)(t.Context(), e); _ = tel.Publish("orders", fn)(t.Context(), e) })
	}
	require.Len(t, tel.spans.Ended(), 4)
	for _, s := range tel.spans.Ended() {
		require.Len(t, s.Events(), 1)
		for _, a := range s.Events()[0].Attributes {
			assert.LessOrEqual(t, len(a.Value.String()), 1000)
			assert.True(t, utf8.ValidString(a.Value.String()))
		}
		assert.Equal(t, codes.Error, s.Status().Code)
	}
}

type brokenError struct{ text string }

func (e *brokenError) Error() string { return e.text } // nil panics

func TestAPanicAtTheHandOverIsAnErrorOfItsSpan(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t)
	assert.Panics(t, func() {
		_ = tel.Publish("orders", func(context.Context, *walletcrew.Event) error { panic("boom") })(t.Context(), &walletcrew.Event{})
	})
	s := tel.span(t, "send orders")
	assert.Equal(t, codes.Error, s.Status().Code)
	assert.Equal(t, "panicked", attributesOf(s)["error.type"])
}

func TestNoEventIsNoPanic(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t)
	fn := func(context.Context, *walletcrew.Event) error { return nil }
	assert.NoError(t, tel.Publish("orders", fn)(t.Context(), nil))
	assert.NoError(t, tel.Process("orders", fn)(t.Context(), nil))
	tel.Observe(t.Context(), receiver.Outcome{})
}

// River, Watermill and NATS have instrumentations of their own: what came with the event decides, and without it the worker's own span does.
func TestAWorkersOwnSpanIsNoProducer(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t)
	ctx, own := tel.tracers.Tracer("worker").Start(t.Context(), "job")
	require.NoError(t, tel.Process("orders", func(context.Context, *walletcrew.Event) error { return nil })(ctx, &walletcrew.Event{}))
	own.End()
	s := tel.span(t, "process orders")
	assert.Equal(t, own.SpanContext().SpanID(), s.Parent().SpanID())
	assert.Empty(t, s.Links())
}

// A stranger decides nothing about what is sampled: neither that his request is, nor that it isn't.
func TestAStrangerDoesNotDecideWhatIsSampled(t *testing.T) {
	t.Parallel()
	for flags, sampler := range map[string]sdktrace.Sampler{"01": sdktrace.NeverSample(), "00": sdktrace.AlwaysSample()} {
		spans := tracetest.NewSpanRecorder()
		tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans), sdktrace.WithSampler(sdktrace.ParentBased(sampler)))
		made, err := otelwalletcrew.New(otelwalletcrew.WithTracerProvider(tracers))
		require.NoError(t, err)
		tel := telemetry{Telemetry: made}
		h := otelhttp.NewHandler(tel.handler(t, func(context.Context, *walletcrew.Event) error { return nil }), "webhooks",
			otelhttp.WithTracerProvider(tracers), otelhttp.WithPublicEndpointFn(otelwalletcrew.PublicEndpoint), otelhttp.WithPropagators(propagation.TraceContext{}))
		r := delivery(walletcrew.EventPassCreated, `{}`)
		r.Header.Set("Traceparent", "00-"+strangersTrace+"-"+strangersSpan+"-"+flags)
		h.ServeHTTP(httptest.NewRecorder(), r)
		want := 0
		if flags == "00" {
			want = 2
		}
		assert.Len(t, spans.Ended(), want)
	}
}

// A gauge says how many there are, and nothing at all while they can't be counted: 0 would end an alert.
func TestDeadLettersAreAGaugeThatHasNoValueWhileTheyCannotBeCounted(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t)
	count := func(context.Context) (int64, error) { return 40, nil }
	stop, err := tel.DeadLetters("orders", func(ctx context.Context) (int64, error) {
		deadline, ok := ctx.Deadline()
		assert.True(t, ok && time.Until(deadline) <= 5*time.Second, "all metrics wait for it, and an exporter's context may have no end")
		return count(ctx)
	})
	require.NoError(t, err)
	_, err = tel.DeadLetters("mails", func(context.Context) (int64, error) { return 2, nil })
	require.NoError(t, err)
	values := func() map[string]int64 {
		var all metricdata.ResourceMetrics
		_ = tel.reader.Collect(t.Context(), &all) // its error is the count's
		values := make(map[string]int64)
		for _, s := range all.ScopeMetrics {
			for _, m := range s.Metrics {
				for _, p := range m.Data.(metricdata.Gauge[int64]).DataPoints {
					name, _ := p.Attributes.Value(semconv.MessagingDestinationNameKey)
					assert.Equal(t, "walletcrew.dead_letters", m.Name)
					assert.Equal(t, 1, p.Attributes.Len(), "the labels are bounded")
					values[name.AsString()] = p.Value
				}
			}
		}
		return values
	}
	assert.Equal(t, map[string]int64{"orders": 40, "mails": 2}, values())
	count = func(context.Context) (int64, error) { return 0, errors.New("the server is away") }
	assert.Equal(t, map[string]int64{"mails": 2}, values())
	count = func(context.Context) (int64, error) { panic("boom") }
	assert.Equal(t, map[string]int64{"mails": 2}, values())
	count = func(context.Context) (int64, error) { return 0, nil }
	assert.Equal(t, map[string]int64{"orders": 0, "mails": 2}, values())
	require.NoError(t, stop())
	require.NoError(t, stop())
	assert.Equal(t, map[string]int64{"mails": 2}, values())

	_, err = tel.DeadLetters("orders", nil)
	require.Error(t, err)
}
