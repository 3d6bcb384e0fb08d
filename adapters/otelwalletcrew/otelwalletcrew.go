// Package otelwalletcrew traces and measures deliveries with OpenTelemetry. One trace leads from the HTTP request to the worker's function
// in another process. The labels of the metrics have a bounded number of values.
//
//	tel, err := otelwalletcrew.New()
//	if err != nil {
//		return err
//	}
//	h := receiver.NewHandler(v, tel.Publish("orders", inbox.Handle), receiver.WithObserver(tel.Observe))
//	http.Handle("POST /webhooks/walletcrew", otelhttp.NewHandler(tel.Handler(h), "walletcrew", otelhttp.WithPublicEndpointFn(otelwalletcrew.PublicEndpoint)))
//
// In the worker:
//
//	work := tel.Process("orders", mux.Handle) // instead of mux.Handle
//
// And for the client:
//
//	client, err := walletcrew.NewClient(tenant, walletcrew.WithAPIKey(key), tel.Client())
//
// # Spans
//
// They follow OpenTelemetry's semantic conventions for messaging, version 1.43.0.
//
//   - [Telemetry.Handler]: a CONSUMER span for each delivery. It is a child of the server's span, if there is one, and linked to the
//     "traceparent" in the request. Anybody may have written that, so it is never a parent, and its baggage is dropped. Use
//     otelhttp.WithPublicEndpointFn(PublicEndpoint): without it, otelhttp takes it as the parent.
//   - [Telemetry.Publish]: a PRODUCER span where the event is handed over. Its context travels with the event, see receiver.Headers.
//   - [Telemetry.Process]: a CONSUMER span for each run of the worker's function, a child of the PRODUCER span, and linked to it.
//   - [Telemetry.Client]: a CLIENT span for each call of the client, and within it one for each attempt.
//
// A span never holds a body. It holds the text of errors, also of those that your function returns, cut to 1,000 bytes. So keep
// confidential data out of errors. Values that the sender chose are cut to 200 bytes.
//
// # Metrics
//
//   - messaging.process.duration, a histogram in seconds, of handlers and workers
//   - walletcrew.deliveries, a counter of deliveries by walletcrew.result, walletcrew.reason and walletcrew.event
//   - walletcrew.runs, a counter of runs of workers' functions by walletcrew.result and walletcrew.event
//   - walletcrew.dead_letters, a gauge by messaging.destination.name, if you give [Telemetry.DeadLetters] a function that counts them
//
// walletcrew.event is the name of a known event, else "other". So a sender can't add series by inventing names.
package otelwalletcrew

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
	"go.opentelemetry.io/otel/trace"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

const scope = "github.com/thewalletcrew/walletcrew-go/adapters/otelwalletcrew"

// The attributes that OpenTelemetry has no name for.
const (
	KeyResult = attribute.Key("walletcrew.result") // receiver.Result, or of a worker's function: handled, ignored, discarded, temporary, failed, panicked
	KeyReason = attribute.Key("walletcrew.reason") // receiver.Reason, "" for what was handled
	KeyEvent  = attribute.Key("walletcrew.event")  // the event's name if it is a known one, else "other"
	KeyTenant = attribute.Key("walletcrew.tenant") // of spans only: metrics would have a series for each
)

// system is messaging.system: the platform has no name among OpenTelemetry's.
const system = "walletcrew"

const countTimeout = 5 * time.Second // of the function of DeadLetters

// Telemetry makes spans and metrics. Make it with [New]; it is safe for concurrent use, and one is enough for a process.
type Telemetry struct {
	tracer     trace.Tracer
	duration   metric.Float64Histogram
	deliveries metric.Int64Counter
	runs       metric.Int64Counter

	tracers trace.TracerProvider
	meters  metric.MeterProvider
}

// An Option is passed to [New].
type Option func(*Telemetry)

// WithTracerProvider sets where spans go; default, also for nil, otel.GetTracerProvider.
func WithTracerProvider(p trace.TracerProvider) Option { return func(t *Telemetry) { t.tracers = p } }

// WithMeterProvider sets where metrics go; default, also for nil, otel.GetMeterProvider.
func WithMeterProvider(p metric.MeterProvider) Option { return func(t *Telemetry) { t.meters = p } }

// New returns a Telemetry. The error is the meter provider's. A nil option is ignored.
func New(opts ...Option) (*Telemetry, error) {
	t := new(Telemetry)
	for _, opt := range opts {
		if opt != nil {
			opt(t)
		}
	}
	if t.tracers == nil {
		t.tracers = otel.GetTracerProvider()
	}
	if t.meters == nil {
		t.meters = otel.GetMeterProvider()
	}
	t.tracer = t.tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	meter := t.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	duration, err := messagingconv.NewProcessDuration(meter, metric.WithExplicitBucketBoundaries(
		0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 25)) // the convention's, and the handler's time limit
	t.duration = duration.Inst()
	deliveries, err2 := meter.Int64Counter("walletcrew.deliveries", metric.WithUnit("{delivery}"), metric.WithDescription("Deliveries that were answered."))
	runs, err3 := meter.Int64Counter("walletcrew.runs", metric.WithUnit("{run}"), metric.WithDescription("Runs of a worker's function."))
	t.deliveries, t.runs = deliveries, runs
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, fmt.Errorf("otelwalletcrew: %w", err)
	}
	return t, nil
}

// traceContext is W3C's, whatever the program's global propagator is: the headers are ours on both sides, and carry no baggage.
var traceContext propagation.TraceContext

// A delivery is what Handler's span knows until Observe.
type delivery struct{ span trace.Span }

type deliveryKey struct{}

// Handler returns a handler that receives each delivery in a span. Next is the [receiver.Handler]. Its observer must be
// [Telemetry.Observe], which names the span and adds the result.
func (t *Telemetry) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := baggage.ContextWithoutBaggage(r.Context())
		opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			semconv.MessagingSystemKey.String(system), semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("receive"))}
		stranger := trace.SpanContextFromContext(traceContext.Extract(context.Background(), propagation.HeaderCarrier(r.Header)))
		if stranger.IsValid() {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: stranger.WithTraceState(trace.TraceState{})})) // which may be kilobytes
		}
		if trace.SpanContextFromContext(ctx).IsRemote() { // put there by a middleware from the request
			opts = append(opts, trace.WithNewRoot())
		}
		ctx, span := t.tracer.Start(ctx, "receive", opts...)
		defer span.End()
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, deliveryKey{}, delivery{span})))
	})
}

// Observe is for [receiver.WithObserver]. It counts and measures the delivery, also without [Telemetry.Handler].
func (t *Telemetry) Observe(ctx context.Context, o receiver.Outcome) {
	label := string(o.Label)
	attrs := []attribute.KeyValue{KeyResult.String(string(o.Result)), KeyReason.String(string(o.Reason)), KeyEvent.String(label)}
	t.deliveries.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(attrs...)))
	t.measure(ctx, "receive", label, string(o.Reason), o.Total)

	d, ok := ctx.Value(deliveryKey{}).(delivery)
	if !ok || !d.span.IsRecording() {
		return
	}
	d.span.SetName("receive " + label)
	d.span.SetAttributes(attrs...)
	d.span.SetAttributes(semconv.MessagingDestinationName(label), semconv.MessagingMessageBodySize(o.Bytes), semconv.HTTPResponseStatusCode(o.Status))
	if e := o.Event; e != nil {
		d.span.SetAttributes(messageOf(e)...)
	}
	if o.Reason != "" {
		d.span.SetAttributes(semconv.ErrorTypeKey.String(string(o.Reason)))
	}
	if o.Status >= http.StatusInternalServerError { // what a stranger sent is no error of ours
		d.span.SetStatus(codes.Error, string(o.Reason))
	}
}

// measure records messaging.process.duration. A reason is bounded; "" is none.
func (t *Telemetry) measure(ctx context.Context, operation, destination, reason string, took time.Duration) {
	attrs := []attribute.KeyValue{
		semconv.MessagingSystemKey.String(system), semconv.MessagingOperationName(operation), semconv.MessagingDestinationName(destination),
	}
	if reason != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(reason))
	}
	t.duration.Record(ctx, took.Seconds(), metric.WithAttributeSet(attribute.NewSet(attrs...)))
}

// messageOf never has what is in the body.
func messageOf(e *walletcrew.Event) []attribute.KeyValue {
	if e == nil {
		return nil
	}
	attrs := []attribute.KeyValue{semconv.MessagingMessageBodySize(len(e.Raw)), KeyTenant.String(short(e.TenantID))}
	if e.ID != "" {
		attrs = append(attrs, semconv.MessagingMessageID(short(e.ID)))
	}
	return attrs
}

// What somebody else chose is cut to so many bytes.
const (
	maxAttribute = 200  // of the sender's
	maxMessage   = 1000 // of an error's text
)

func short(text string) string { return cut(text, maxAttribute) }

// cut returns valid UTF-8: protobuf refuses a whole batch of spans for one text that isn't.
func cut(text string, limit int) string {
	return strings.ToValidUTF8(text[:min(len(text), limit)], "")
}

// Publish returns a function that hands the event over in a PRODUCER span, whose context travels with the event. Destination is the name of
// the stream, queue or topic. It is part of the span's name, so use few different ones. Fn is the publisher's function, such as that of
// adapters/jetstream, riverinbox or watermillbridge.
func (t *Telemetry) Publish(destination string, fn receiver.HandlerFunc) receiver.HandlerFunc {
	return func(ctx context.Context, e *walletcrew.Event) (err error) {
		ctx, span := t.tracer.Start(ctx, "send "+destination, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(append(messageOf(e),
			semconv.MessagingSystemKey.String(system), semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("send"),
			semconv.MessagingDestinationName(destination), KeyEvent.String(labelOf(e)))...))
		defer span.End()
		result := "panicked" // unless fn returns
		defer func() { fail(span, result, err) }()
		headers := propagation.MapCarrier{}
		traceContext.Inject(ctx, headers)
		err = fn(receiver.WithHeaders(ctx, headers), e)
		result = resultOf(err)
		return err
	}
}

// Process returns a function for a worker that runs fn in a CONSUMER span, and counts and measures the runs. The span is a child of that of
// [Telemetry.Publish], and linked to it. A panic is recorded, and then goes on.
func (t *Telemetry) Process(destination string, fn receiver.HandlerFunc) receiver.HandlerFunc {
	return func(ctx context.Context, e *walletcrew.Event) (err error) {
		began, label := time.Now(), labelOf(e)
		opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(append(messageOf(e),
			semconv.MessagingSystemKey.String(system), semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("process"),
			semconv.MessagingDestinationName(destination), KeyEvent.String(label))...)}
		came := traceContext.Extract(context.Background(), propagation.MapCarrier(receiver.Headers(ctx)))
		if producer := trace.SpanContextFromContext(came); producer.IsValid() { // without it, a span of the worker's own is the parent
			ctx = trace.ContextWithRemoteSpanContext(ctx, producer)
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: producer}))
		}
		ctx, span := t.tracer.Start(ctx, "process "+destination, opts...)
		defer span.End()
		result := "panicked" // unless fn returns
		defer func() {
			t.runs.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(KeyResult.String(result), KeyEvent.String(label))))
			reason := result
			if result == "handled" || result == "ignored" {
				reason = ""
			}
			t.measure(ctx, "process", destination, reason, time.Since(began))
			fail(span, result, err)
		}()
		err = fn(ctx, e)
		result = resultOf(err)
		return err
	}
}

// DeadLetters reports how many dead letters there are: count is asked at each collection, in every process that calls DeadLetters. So call it
// in one, or take the maximum over them. If count fails or panics, the gauge has no value, and the error goes to otel.Handle. Destination names
// where they are, as for [Telemetry.Publish]. With adapters/jetstream, count returns Stats.Dead of the stream; with riverinbox, the number of
// rows in walletcrew_dead_letters. Stop ends the reports, and may be called again.
func (t *Telemetry) DeadLetters(destination string, count func(context.Context) (int64, error)) (stop func() error, err error) {
	if count == nil {
		return nil, errors.New("otelwalletcrew: DeadLetters needs a function that counts them")
	}
	meter := t.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	gauge, err := meter.Int64ObservableGauge("walletcrew.dead_letters", metric.WithUnit("{event}"), metric.WithDescription("Events that no try could handle."))
	if err != nil {
		return nil, fmt.Errorf("otelwalletcrew: %w", err)
	}
	set := metric.WithAttributeSet(attribute.NewSet(semconv.MessagingDestinationName(destination)))
	registration, err := meter.RegisterCallback(func(ctx context.Context, o metric.Observer) (err error) {
		defer func() {
			if value := recover(); value != nil { // it would end the program
				err = fmt.Errorf("otelwalletcrew: counting the dead letters of %s panicked: %v", destination, value)
			}
		}()
		ctx, cancel := context.WithTimeout(ctx, countTimeout) // an exporter's context may have no end, and all metrics wait for this
		defer cancel()
		n, err := count(ctx)
		if err != nil {
			return fmt.Errorf("otelwalletcrew: count the dead letters of %s: %w", destination, err)
		}
		o.ObserveInt64(gauge, n, set)
		return nil
	}, gauge)
	if err != nil {
		return nil, fmt.Errorf("otelwalletcrew: %w", err)
	}
	return registration.Unregister, nil
}

func labelOf(e *walletcrew.Event) string {
	if e != nil && e.Name.Known() {
		return string(e.Name)
	}
	return "other"
}

func resultOf(err error) string {
	switch {
	case err == nil:
		return "handled"
	case receiver.IsIgnored(err):
		return "ignored"
	case receiver.IsDiscard(err):
		return "discarded"
	case receiver.IsTemporary(err):
		return "temporary"
	}
	return "failed"
}

// fail tells the span of a failure.
func fail(span trace.Span, result string, err error) {
	span.SetAttributes(KeyResult.String(result))
	if result == "handled" || result == "ignored" {
		return
	}
	span.SetAttributes(semconv.ErrorTypeKey.String(result))
	if err != nil {
		span.AddEvent(semconv.ExceptionEventName, trace.WithAttributes(
			semconv.ExceptionType(fmt.Sprintf("%T", err)), semconv.ExceptionMessage(message(err))))
	}
	span.SetStatus(codes.Error, result)
}

// message returns an error's text; fmt survives an Error method that panics.
func message(err error) string { return cut(fmt.Sprint(err), maxMessage) }

// Client returns an option of [walletcrew.NewClient]. Each call of the client gets a CLIENT span, and each of its attempts a span within
// that, by otelhttp. No span has the API key.
func (t *Telemetry) Client() walletcrew.Option {
	call := walletcrew.WithCallHook(func(ctx context.Context, method, path string) (context.Context, func(error)) {
		ctx, span := t.tracer.Start(ctx, "walletcrew "+method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			semconv.HTTPRequestMethodKey.String(method), semconv.URLPath(path)))
		return ctx, func(err error) {
			defer span.End()
			if err == nil {
				return
			}
			kind := "error"
			if api, ok := errors.AsType[*walletcrew.APIError](err); ok {
				kind = strconv.Itoa(api.StatusCode)
			}
			span.SetAttributes(semconv.ErrorTypeKey.String(kind))
			span.SetStatus(codes.Error, message(err)) // it has no key
		}
	})
	attempts := walletcrew.WithTransport(t.transport)
	return func(c *walletcrew.Client) error { return errors.Join(call(c), attempts(c)) }
}
