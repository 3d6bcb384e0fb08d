package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// The headers of an event's message. A value with a space, a '%', or a character that isn't printable ASCII is escaped as in a URL. The key
// never is.
const (
	HeaderEvent  = "Walletcrew-Event"
	HeaderTenant = "Walletcrew-Tenant" // what the delivery's header said; see verifier.Verifier for when it is vouched for
	HeaderID     = "Walletcrew-Id"     // for people: not there without an "__id", or where it is longer than 200 bytes
	HeaderKey    = "Walletcrew-Key"    // the deduplication key, see receiver.Key: not there without one

	HeaderReceived = "Walletcrew-Received" // Event.ReceivedAt, RFC 3339
)

// headerPrefix begins the names of the headers that travel with an event, see receiver.Headers.
const headerPrefix = "Walletcrew-H-"

// HeaderPublished is the time when the event was first published, in RFC 3339. Only events that [DeadLetter.Redrive] has put back have this
// header.
const HeaderPublished = "Walletcrew-Published"

// A Publisher puts events into a stream. It is safe for concurrent use.
type Publisher struct {
	stream *Stream
	watch  *watch
}

// A link is the time for which the connection holds: what waits for an answer waits in vain after that.
type link struct {
	ctx    context.Context
	broken context.CancelFunc
}

func newLink() *link {
	ctx, broken := context.WithCancel(context.Background())
	return &link{ctx, broken}
}

// A watch renews the link of a connection when it breaks: one for all publishers on it. It ends with the connection.
type watch struct {
	begin sync.Once
	link  atomic.Pointer[link]
}

var watches sync.Map // of *nats.Conn to *watch

func watchOf(nc *nats.Conn) *watch {
	found, _ := watches.LoadOrStore(nc, new(watch))
	w := found.(*watch)
	w.begin.Do(func() {
		w.link.Store(newLink())
		changes := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
		if nc.IsClosed() { // before it was watched: nothing more is heard of it
			changes <- nats.CLOSED
		}
		go func() {
			defer watches.Delete(nc)
			for status := range changes {
				w.link.Swap(newLink()).broken()
				if status == nats.CLOSED {
					return
				}
			}
		}()
	})
	return w
}

// publishTimeout bounds an acknowledgement: a server that is well answers within milliseconds.
const publishTimeout = 5 * time.Second

// NewPublisher returns a publisher. It first checks that the server would take events, by sending one that the server must refuse. The
// error is [ErrPermission] if the user may not publish, and [ErrUnavailable] if nobody listens. NewPublisher logs a warning if the server
// or the stream can't take the largest events, see StreamConfig.MaxBodyBytes.
func NewPublisher(ctx context.Context, stream *Stream) (*Publisher, error) {
	if stream == nil {
		return nil, errors.New("jetstream: the stream is nil")
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	seen := stream.nc.LastError()
	probe := nats.NewMsg(stream.subject(Subject("", "")))
	// "~" can't be a stream's name here, so the probe is never stored.
	_, err := stream.js.PublishMsg(ctx, probe, jetstream.WithExpectStream("~"))
	if api, ok := errors.AsType[*jetstream.APIError](err); !ok || api.ErrorCode != codeNotThisStream {
		if err == nil {
			err = errors.New("the server ignores Nats-Expected-Stream")
		}
		return nil, stream.explain("publish to "+stream.cfg.Prefix+".>", seen, err)
	}
	if err := stream.roomFor(stream.cfg.Name, stream.maxMsgSize); err != nil {
		logger := stream.cfg.Logger
		if logger == nil {
			logger = slog.Default()
		}
		logger.WarnContext(ctx, "jetstream: the largest events will get 503 each time they come", slog.Any("error", err))
	}
	return &Publisher{stream, watchOf(stream.nc)}, nil
}

// Handle is a [receiver.HandlerFunc]. It publishes the event, and returns nil once the stream has acknowledged it: a 2xx means that the
// event is stored. After an error, the event may be stored or not. If it is delivered again, it is recognized, see below.
//
// The message is e.Raw, byte for byte, with the event's name, tenant, "__id", [receiver.Key] and [receiver.Headers] as headers. The key is
// also the message's Nats-Msg-Id. Within the duplicate window JetStream drops an event that it already has; for Handle that is a success. A
// captured delivery that is sent again under another tenant's name is the same event, because the sender doesn't choose the key.
//
// Pass the context that the handler calls its function with, or one derived from it. Without a key in it, as for an event without "__id",
// the message has no Nats-Msg-Id, and is never taken for a duplicate. If it isn't a handler of this SDK that calls Handle, set the key with
// [receiver.WithKey]. The key must be printable ASCII without spaces, of at most 512 bytes; any other is an error.
//
// Handle waits for at most 5 s, and not longer than ctx lasts. If there is no connection, or if it breaks, Handle fails at once. So a
// server that is away costs neither time nor memory.
//
// Each of these errors is a [receiver.Temporary], so that the handler answers 503:
//
//   - [ErrUnavailable], [ErrStreamFull], [ErrPermission] and [ErrStreamNotFound]
//   - nats.ErrMaxPayload if the message is too large for the server. Its max_payload is 1 MB by default, headers included. The verifier
//     lets through bodies of 1 MiB by default, so raise max_payload to 2 MB.
func (p *Publisher) Handle(ctx context.Context, e *walletcrew.Event) error {
	s, link := p.stream, p.watch.link.Load()
	if e == nil || len(e.Raw) == 0 {
		return errors.New("jetstream: the event has no body")
	}
	key := receiver.Key(ctx)
	if key != "" && !isKey(key) {
		return fmt.Errorf("jetstream: the context's deduplication key (%d bytes) isn't printable ASCII without spaces, of at most %d bytes", len(key), maxKey)
	}
	if status := s.nc.Status(); status != nats.CONNECTED {
		return receiver.Temporary(fmt.Errorf("%w: %s", ErrUnavailable, status))
	}
	waiting, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	defer context.AfterFunc(link.ctx, cancel)()
	seen := s.nc.LastError()
	// ExpectStream is set in message: the options would cost more.
	if _, err := s.js.PublishMsg(waiting, s.message(ctx, e, key)); err != nil {
		if link.ctx.Err() != nil && ctx.Err() == nil {
			return receiver.Temporary(fmt.Errorf("%w: the connection broke before the acknowledgement", ErrUnavailable))
		}
		return receiver.Temporary(s.explain("publish", seen, err))
	}
	return nil
}

// message is the event as it travels. The key is "" or a key.
func (s *Stream) message(ctx context.Context, e *walletcrew.Event, key string) *nats.Msg {
	m := &nats.Msg{Subject: s.subject(Subject(e.TenantID, e.Name)), Data: e.Raw, Header: make(nats.Header, 6)}
	m.Header[jetstream.ExpectedStreamHeader] = []string{s.cfg.Name}
	m.Header[HeaderEvent] = []string{escape(string(e.Name), isHeaderSafe)}
	m.Header[HeaderTenant] = []string{escape(e.TenantID, isHeaderSafe)}
	if id := escape(e.ID, isHeaderSafe); id != "" && len(id) <= maxToken {
		m.Header[HeaderID] = []string{id}
	}
	if key != "" {
		m.Header[HeaderKey] = []string{key}
		m.Header[jetstream.MsgIDHeader] = m.Header[HeaderKey]
	}
	if !e.ReceivedAt.IsZero() {
		m.Header[HeaderReceived] = []string{e.ReceivedAt.UTC().Format(time.RFC3339Nano)}
	}
	for name, value := range receiver.Headers(ctx) {
		m.Header[headerPrefix+name] = []string{value}
	}
	return m
}

// withHeaders returns a context for the event's function: with its key, also without one, since Run's own context may have another's, and
// with the headers that came along.
func withHeaders(ctx context.Context, header nats.Header, key string) context.Context {
	ctx = receiver.WithKey(ctx, key)
	var along map[string]string
	for name, values := range header {
		if name, ok := strings.CutPrefix(name, headerPrefix); ok && len(values) > 0 {
			if along == nil {
				along = make(map[string]string)
			}
			along[name] = values[0]
		}
	}
	if along == nil {
		return ctx
	}
	return receiver.WithHeaders(ctx, along)
}

// maxKey is how long a key of package receiver can be, in bytes.
const maxKey = 512

func isKey(text string) bool {
	return text != "" && len(text) <= maxKey && !strings.ContainsFunc(text, func(r rune) bool { return r < '!' || r > '~' })
}

// event is the way back from message. What has no headers, published by hand, is called what its subject says, and has no key.
func (s *Stream) event(subject string, header nats.Header, body []byte) (e *walletcrew.Event, key string, err error) {
	tokens := subject
	if len(subject) > len(s.cfg.Prefix) {
		tokens = subject[len(s.cfg.Prefix)+1:]
	}
	tenant, name, _ := ParseSubject(tokens)
	if values := header[HeaderTenant]; len(values) > 0 {
		var ok bool
		if tenant, ok = unescape(values[0]); !ok {
			return nil, "", fmt.Errorf("jetstream: the header %s is not escaped as it must be", HeaderTenant)
		}
	}
	if values := header[HeaderEvent]; len(values) > 0 {
		text, ok := unescape(values[0])
		if !ok {
			return nil, "", fmt.Errorf("jetstream: the header %s is not escaped as it must be", HeaderEvent)
		}
		name = walletcrew.EventName(text)
	}
	if values := header[HeaderKey]; len(values) > 0 {
		if key = values[0]; !isKey(key) {
			return nil, "", fmt.Errorf("jetstream: the header %s (%d bytes) isn't printable ASCII without spaces, of 1 to %d bytes", HeaderKey, len(key), maxKey)
		}
	}
	if e, err = walletcrew.ParseEvent(name, body); err != nil {
		return nil, "", err
	}
	e.TenantID = tenant
	e.ReceivedAt, _ = time.Parse(time.RFC3339Nano, header.Get(HeaderReceived)) // zero where it isn't there
	return e, key, nil
}
