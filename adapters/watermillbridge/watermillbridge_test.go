package watermillbridge_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/watermillbridge"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A recorder is a publisher that keeps what it is given.
type recorder struct {
	topic    string
	messages []*message.Message
	err      error
}

func (r *recorder) Publish(topic string, messages ...*message.Message) error {
	if r.err != nil {
		return r.err
	}
	r.topic, r.messages = topic, append(r.messages, messages...)
	return nil
}

func (*recorder) Close() error { return nil }

func parsed(t *testing.T, name walletcrew.EventName, tenant, body string) *walletcrew.Event {
	t.Helper()
	e, err := walletcrew.ParseEvent(name, []byte(body))
	require.NoError(t, err)
	e.TenantID, e.ReceivedAt = tenant, time.Date(2026, 11, 28, 9, 30, 0, 123456789, time.UTC)
	return e
}

func TestAnEventComesBackToTheByte(t *testing.T) {
	t.Parallel()
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, body := range []string{`{"__id":"e-1"}`, "\ufeff{ }\n", `{"__id":"a\u002B\/","lone":"\ud800"}`} {
		for _, name := range []walletcrew.EventName{walletcrew.EventPassInstalled, "Büro:Öffnet", "", "a/b%\n"} {
			for _, tenant := range []string{"shop", "", "a/b c%", "Büro"} {
				to := new(recorder)
				publish, err := watermillbridge.Publish(to, "events")
				require.NoError(t, err)
				ctx := receiver.WithHeaders(receiver.WithKey(t.Context(), "t/shop/e%201"), map[string]string{"traceparent": trace})
				e := parsed(t, name, tenant, body)
				require.NoError(t, publish(ctx, e))
				require.Equal(t, "events", to.topic)
				m := to.messages[0]
				for name, value := range m.Metadata {
					require.NotEmpty(t, value, name)
				}
				got, back, err := watermillbridge.Event(message.NewMessage(m.UUID, m.Payload).Copy())
				require.NoError(t, err, "without metadata it is an event without a name")
				require.Empty(t, back.Name)
				require.Empty(t, receiver.Key(got))

				got, back, err = watermillbridge.Event(m)
				require.NoError(t, err)
				require.Equal(t, e, back)
				require.Equal(t, "t/shop/e%201", receiver.Key(got))
				require.Equal(t, map[string]string{"traceparent": trace}, receiver.Headers(got))
			}
		}
	}
}

func TestTheUUIDIsThatOfTheKey(t *testing.T) {
	t.Parallel()
	to := new(recorder)
	publish, err := watermillbridge.Publish(to, "events")
	require.NoError(t, err)
	for _, key := range []string{"t/shop/e-1", "t/shop/e-1", "t/shop/e-2", "", ""} {
		require.NoError(t, publish(receiver.WithKey(t.Context(), key), parsed(t, walletcrew.EventPassCreated, "other", `{}`)))
	}
	ids := make([]string, len(to.messages))
	for i, m := range to.messages {
		ids[i] = m.UUID
		assert.Len(t, m.UUID, 36, "watermill-sql's column takes no more")
	}
	assert.Equal(t, ids[0], ids[1], "one event, one UUID, whatever tenant the sender claims")
	assert.NotEqual(t, ids[0], ids[2])
	assert.NotEqual(t, ids[3], ids[4], "an event without a key is never a duplicate")
	assert.Equal(t, "f0798b0e-8025-5f7d-b7d8-aca97171059d", ids[0], "the UUIDs stay the same from release to release")
}

type wrapped struct{ inner message.Publisher }

func (w *wrapped) Publish(topic string, messages ...*message.Message) error {
	return w.inner.Publish(topic, messages...)
}
func (w *wrapped) Close() error { return w.inner.Close() }

func TestPublishersThatKeepNothingAreRefused(t *testing.T) {
	t.Parallel()
	memory := gochannel.NewGoChannel(gochannel.Config{Persistent: true}, watermill.NopLogger{})
	decorated, err := message.MessageTransformPublisherDecorator(func(*message.Message) {})(memory)
	require.NoError(t, err)
	for why, publisher := range map[string]message.Publisher{"gochannel": memory, "decorated": decorated, "wrapped": &wrapped{decorated}, "by value": struct{ message.Publisher }{memory}} {
		_, err = watermillbridge.Publish(publisher, "events")
		require.ErrorContains(t, err, "gochannel keeps events in memory", why)
	}
	unconfirmed, err := message.MessageTransformPublisherDecorator(func(*message.Message) {})(&amqp.Publisher{})
	require.NoError(t, err)
	for why, publisher := range map[string]message.Publisher{"RabbitMQ without confirms": &amqp.Publisher{}, "decorated": unconfirmed} {
		_, err = watermillbridge.Publish(publisher, "events")
		require.ErrorContains(t, err, "set Publish.ConfirmDelivery", why)
	}
	_, err = watermillbridge.Publish(nil, "events")
	require.ErrorContains(t, err, "nil")
	_, err = watermillbridge.Publish(new(recorder), "")
	require.ErrorContains(t, err, "topic")
	self := new(wrapped)
	self.inner = self
	_, err = watermillbridge.Publish(self, "events")
	require.NoError(t, err, "one that holds itself ends")
	_, err = watermillbridge.Publish(&wrapped{}, "events")
	require.NoError(t, err)
}

func TestAPublishersErrorIsTemporary(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	publish, err := watermillbridge.Publish(&recorder{err: boom}, "events")
	require.NoError(t, err)
	err = publish(t.Context(), parsed(t, walletcrew.EventPassCreated, "shop", `{}`))
	require.ErrorIs(t, err, boom)
	assert.True(t, receiver.IsTemporary(err))
	require.ErrorContains(t, publish(t.Context(), nil), "no body")
	require.ErrorContains(t, publish(t.Context(), new(walletcrew.Event)), "no body")
}

func TestAWorkerReturnsWhatIsToComeAgain(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	to := new(recorder)
	publish, err := watermillbridge.Publish(to, "events")
	require.NoError(t, err)
	require.NoError(t, publish(receiver.WithKey(t.Context(), "k"), parsed(t, walletcrew.EventPassCreated, "shop", `{"__id":"e-1"}`)))
	for _, c := range []struct{ returned, want error }{
		{nil, nil}, {boom, boom}, {receiver.Temporary(boom), boom}, {receiver.Discard(boom), nil}, {receiver.ErrIgnored, nil},
	} {
		err := watermillbridge.Worker(func(ctx context.Context, e *walletcrew.Event) error {
			assert.Equal(t, "e-1", e.ID)
			assert.Equal(t, "k", receiver.Key(ctx))
			return c.returned
		})(to.messages[0])
		if c.want == nil {
			require.NoError(t, err, "%v", c.returned)
		} else {
			require.ErrorIs(t, err, c.want)
		}
	}
	assert.Panics(t, func() { watermillbridge.Worker(nil) })

	work := watermillbridge.Worker(func(context.Context, *walletcrew.Event) error { t.Error("called"); return nil })
	for metadata, value := range map[string]string{watermillbridge.MetadataName: "%zz", watermillbridge.MetadataTenant: "%zz", watermillbridge.MetadataReceived: "now"} {
		m := to.messages[0].Copy()
		m.Metadata.Set(metadata, value)
		require.ErrorIs(t, work(m), watermillbridge.ErrNotOurs)
	}
	require.ErrorIs(t, work(message.NewMessage("1", []byte("[]"))), walletcrew.ErrInvalidPayload)
}

func TestWhatIsIgnoredIsLoggedSeldom(t *testing.T) { //nolint:paralleltest // sets slog's default
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	var text bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&text, nil)))
	to := new(recorder)
	publish, err := watermillbridge.Publish(to, "events")
	require.NoError(t, err)
	for _, name := range []walletcrew.EventName{"Pass:Created", "Pass:Created", "Wallet:New", "Wallet:Newer", "", ""} {
		require.NoError(t, publish(t.Context(), parsed(t, name, "shop", `{"__id":"e-1"}`)))
	}
	work := watermillbridge.Worker(receiver.NewMux().Handle)
	for _, m := range to.messages {
		require.NoError(t, work(m))
	}
	assert.Equal(t, 2, strings.Count(text.String(), "level=INFO"), "%s", text.String())
	assert.Equal(t, 1, strings.Count(text.String(), "level=WARN"), "an event without a name: %s", text.String())
}
