// Package watermillbridge hands webhook events over to any broker that Watermill publishes to: Kafka, RabbitMQ, SQS, Pub/Sub, SQL. The
// delivery is answered with 2xx once the publisher says that the broker has the event.
//
//	publish, err := watermillbridge.Publish(publisher, "walletcrew.events") // any message.Publisher
//	if err != nil {
//		return err
//	}
//	http.Handle("/webhooks/walletcrew", receiver.NewHandler(v, publish))
//
// And in the worker, the same functions as behind a handler:
//
//	router.AddConsumerHandler("installs", "walletcrew.events", subscriber, watermillbridge.Worker(mux.Handle))
//
// # Which publishers
//
// The event is safe after a 2xx only if the publisher waits until the broker has the message.
//
//   - The publishers for Kafka, SQS, SQL and Google Pub/Sub do.
//   - Watermill's gochannel keeps events in memory, so [Publish] refuses it.
//   - For NATS, use adapters/jetstream instead.
//
// RabbitMQ needs two things:
//
//   - Set Publish.ConfirmDelivery in the amqp.Config. Without it the publisher doesn't wait for the broker, and [Publish] refuses it.
//   - Make the queue before the first event, with the method SubscribeInitialize of an amqp.Subscriber. If there is no queue for a message,
//     the broker confirms it and drops it. Publish.Mandatory doesn't help, because Watermill ignores the messages that the broker returns.
package watermillbridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/google/uuid"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/ignoredlog"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// The metadata of an event's message. Name, tenant and id are escaped as in a URL's path, so that every broker keeps them. An empty value
// is left out.
const (
	MetadataName     = "walletcrew_name"
	MetadataTenant   = "walletcrew_tenant"   // see verifier.Verifier for when it is vouched for
	MetadataID       = "walletcrew_id"       // the event's "__id", for people
	MetadataKey      = "walletcrew_key"      // the deduplication key, see receiver.Key
	MetadataReceived = "walletcrew_received" // when, in RFC 3339 with nanoseconds
	metadataHeader   = "walletcrew_h_"       // before the name of each of receiver.Headers
)

// ErrNotOurs means that a message isn't one that [Publish] made. Use errors.Is.
var ErrNotOurs = errors.New("watermillbridge: the message wasn't made by Publish")

// Publish returns a function that publishes each event to the topic, and returns when the publisher does. An error of the publisher becomes
// a [receiver.Temporary], so that the handler answers 503 and the platform delivers the event again.
//
// The message's payload is the body, byte for byte. Its UUID is made from the deduplication key ([receiver.Key]), so it is always the same
// for one event. Brokers don't deduplicate by it, but a consumer may. An event without "__id" gets a random UUID. The metadata has the
// name, the tenant, the id, the key, and the headers of a trace ([receiver.Headers]).
//
// A nil publisher and an empty topic are errors. So are two publishers that may lose events: a gochannel, and one of watermill-amqp without
// Publish.ConfirmDelivery, also within Watermill's decorators.
func Publish(publisher message.Publisher, topic string) (receiver.HandlerFunc, error) {
	switch {
	case publisher == nil:
		return nil, errors.New("watermillbridge: Publish: the publisher is nil")
	case topic == "":
		return nil, errors.New("watermillbridge: Publish: the topic is empty")
	}
	if why := untrue(reflect.ValueOf(publisher), 8); why != "" {
		return nil, fmt.Errorf("watermillbridge: Publish: %s", why)
	}
	return func(ctx context.Context, e *walletcrew.Event) error {
		if e == nil || len(e.Raw) == 0 {
			return errors.New("watermillbridge: the event has no body")
		}
		if err := publisher.Publish(topic, newMessage(ctx, e)); err != nil {
			return receiver.Temporary(fmt.Errorf("watermillbridge: publish to %s: %w", topic, err))
		}
		return nil
	}, nil
}

var gochannelType = reflect.TypeFor[*gochannel.GoChannel]()

// untrue says why a 2xx wouldn't be true; "" if nothing is known against the publisher, nor against those that a decorator's struct holds.
func untrue(v reflect.Value, depth int) string {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer && v.Type() != gochannelType {
		v = v.Elem()
	}
	switch {
	case !v.IsValid() || depth == 0:
		return ""
	case v.Type() == gochannelType:
		return "gochannel keeps events in memory, so that a 2xx would lose them with the process: use a broker, or call your function from the handler"
	case v.Kind() != reflect.Struct:
		return ""
	case v.Type().Name() == "Publisher" && strings.Contains(v.Type().PkgPath(), "/watermill-amqp/") && !isSet(v, "config", "Publish", "ConfirmDelivery") && !isSet(v, "config", "Publish", "Transactional"):
		return "the publisher doesn't wait for RabbitMQ, so that a 2xx may lose events: set Publish.ConfirmDelivery in its amqp.Config"
	}
	for i := range v.NumField() {
		if v.Type().Field(i).Type.Implements(publisherType) {
			if why := untrue(v.Field(i), depth-1); why != "" {
				return why
			}
		}
	}
	return ""
}

// isSet reads a boolean of another package's struct. If it isn't there, in another version, the publisher may be used.
func isSet(v reflect.Value, path ...string) bool {
	for _, name := range path {
		if v.Kind() != reflect.Struct {
			return true
		}
		v = v.FieldByName(name)
	}
	return v.Kind() != reflect.Bool || v.Bool()
}

var publisherType = reflect.TypeFor[message.Publisher]()

// namespace is that of the UUIDs: random, and never to be changed.
var namespace = uuid.MustParse("5f0a3c1e-8d0b-4c53-9d0a-6f6d1f6f3a52")

func newMessage(ctx context.Context, e *walletcrew.Event) *message.Message {
	key, id := receiver.Key(ctx), watermill.NewUUID()
	if key != "" {
		id = uuid.NewSHA1(namespace, []byte(key)).String()
	}
	m := message.NewMessageWithContext(ctx, id, message.Payload(e.Raw))
	set := func(name, value string) {
		if value != "" { // which SQS, for one, refuses
			m.Metadata.Set(name, value)
		}
	}
	set(MetadataName, url.PathEscape(string(e.Name)))
	set(MetadataTenant, url.PathEscape(e.TenantID))
	set(MetadataID, url.PathEscape(e.ID))
	set(MetadataKey, key)
	if !e.ReceivedAt.IsZero() {
		set(MetadataReceived, e.ReceivedAt.UTC().Format(time.RFC3339Nano))
	}
	for name, value := range receiver.Headers(ctx) {
		set(metadataHeader+name, value)
	}
	return m
}

// Event returns the event of a message that [Publish] made, and a context for your function: the message's, with the deduplication key and
// the headers of a trace. The errors are [ErrNotOurs] and [walletcrew.ErrInvalidPayload]. Event verifies nothing: any program that can
// write to the broker can write any event.
func Event(m *message.Message) (context.Context, *walletcrew.Event, error) {
	ctx := m.Context()
	name, err := url.PathUnescape(m.Metadata.Get(MetadataName))
	if err != nil {
		return ctx, nil, fmt.Errorf("%w: its %s isn't escaped as it must be", ErrNotOurs, MetadataName)
	}
	tenant, err := url.PathUnescape(m.Metadata.Get(MetadataTenant))
	if err != nil {
		return ctx, nil, fmt.Errorf("%w: its %s isn't escaped as it must be", ErrNotOurs, MetadataTenant)
	}
	e, err := walletcrew.ParseEvent(walletcrew.EventName(name), m.Payload)
	if err != nil {
		return ctx, nil, fmt.Errorf("watermillbridge: %w", err)
	}
	e.TenantID = tenant
	if text := m.Metadata.Get(MetadataReceived); text != "" {
		if e.ReceivedAt, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return ctx, nil, fmt.Errorf("%w: its %s is no time", ErrNotOurs, MetadataReceived)
		}
	}
	headers := make(map[string]string)
	for name, value := range m.Metadata {
		if name, ok := strings.CutPrefix(name, metadataHeader); ok {
			headers[name] = value
		}
	}
	return receiver.WithHeaders(receiver.WithKey(ctx, m.Metadata.Get(MetadataKey)), headers), e, nil
}

// Worker returns a handler for a Watermill router that calls fn for each event that [Publish] made. If fn returns nil, the message is
// acknowledged. So is it after a [receiver.Discard], which is logged (warn, [slog.Default]), and after [receiver.ErrIgnored], which is logged
// once a minute for each known name (info; warn for events without a name). Any other error is returned, and Watermill has the broker
// deliver the message again at once.
//
// Add middleware.Retry for waits between the tries, and middleware.PoisonQueue for messages that never succeed. A message that isn't an
// event fails, too, with [ErrNotOurs] or [walletcrew.ErrInvalidPayload].
//
// An event may come more than once, and then fn runs again. To make its effect only once, use Once of sqldedupe or pgxdedupe, which know
// the event by its key. Worker panics if fn is nil.
func Worker(fn receiver.HandlerFunc) message.NoPublishHandlerFunc {
	if fn == nil {
		panic("watermillbridge: Worker: the function is nil")
	}
	ignored := new(ignoredlog.Log)
	return func(m *message.Message) error {
		ctx, e, err := Event(m)
		if err != nil {
			return err
		}
		switch err = fn(ctx, e); {
		case receiver.IsIgnored(err):
			ignored.Write(ctx, slog.Default(), "watermillbridge", string(e.Name), e.Name.Known(), slog.Any("event", e))
			return nil
		case receiver.IsDiscard(err):
			slog.LogAttrs(ctx, slog.LevelWarn, "watermillbridge: the function discarded the event", slog.Any("event", e), slog.String("error", err.Error()))
			return nil
		}
		return err
	}
}
