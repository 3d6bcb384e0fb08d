package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// The further headers of a dead letter. Its other headers and its body are the event's; its subject is the event's, under the
// prefix with "-dead": walletcrew-dead.acme.Pass.Installed. Where the body leaves no room for them in what the server takes as one
// message (max_payload), the reason is shortened, and then they are left out.
const (
	HeaderReason   = "Walletcrew-Dead-Reason"   // the last error's text, without line breaks, at most 1,024 bytes
	HeaderSubject  = "Walletcrew-Dead-Subject"  // where the event was
	HeaderTries    = "Walletcrew-Dead-Tries"    // how often it was delivered
	HeaderConsumer = "Walletcrew-Dead-Consumer" // who gave up
	HeaderTime     = "Walletcrew-Dead-Time"     // when the event was published first, RFC 3339
)

const maxReason = 1024

// publishDeadLetter returns when the dead letter is stored. Twice is once: its Nats-Msg-Id names the very message.
func (s *Stream) publishDeadLetter(ctx context.Context, consumer string, m jetstream.Msg, meta *jetstream.MsgMetadata, reason error) error {
	tokens := strings.TrimPrefix(m.Subject(), s.cfg.Prefix+".")
	dead := &nats.Msg{Subject: s.deadSubject(tokens), Data: m.Data(), Header: make(nats.Header)}
	for name, values := range m.Headers() {
		if !strings.HasPrefix(name, "Nats-") { // those tell the server what to do
			dead.Header[name] = values
		}
	}
	dead.Header.Set(jetstream.ExpectedStreamHeader, s.deadLetters().Name)
	dead.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("%s.%s.%d.%d", meta.Stream, consumer, meta.Sequence.Stream, meta.Timestamp.UnixNano()))
	dead.Header.Set(HeaderReason, oneLine(reason.Error()))
	dead.Header.Set(HeaderSubject, m.Subject())
	dead.Header.Set(HeaderTries, strconv.FormatUint(meta.NumDelivered, 10))
	dead.Header.Set(HeaderConsumer, consumer)
	dead.Header.Set(HeaderTime, meta.Timestamp.UTC().Format(time.RFC3339Nano))
	return s.publishWhole(ctx, "publish a dead letter", dead, HeaderReason, HeaderReason, HeaderTime, HeaderTries, HeaderConsumer,
		HeaderSubject, jetstream.ExpectedStreamHeader, jetstream.MsgIDHeader)
}

// publishWhole publishes a message whose body came with fewer headers: where it is too large for the server, it leaves headers out,
// one after the other. One that is named twice is shortened first.
func (s *Stream) publishWhole(ctx context.Context, doing string, m *nats.Msg, spare ...string) error {
	err := s.publish(ctx, doing, m)
	for i := 0; i < len(spare) && errors.Is(err, nats.ErrMaxPayload); i++ {
		name := spare[i]
		if value := m.Header.Get(name); slices.Contains(spare[i+1:], name) && len(value) > maxShortened {
			m.Header.Set(name, strings.ToValidUTF8(value[:maxShortened-3], "")+"...")
		} else {
			m.Header.Del(name)
		}
		err = s.publish(ctx, doing, m)
	}
	return err
}

const maxShortened = 100

func (s *Stream) publish(ctx context.Context, doing string, m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	seen := s.nc.LastError()
	if _, err := s.js.PublishMsg(ctx, m); err != nil {
		return s.explain(doing, seen, err)
	}
	return nil
}

// oneLine makes a text fit for a header.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason-3], "") + "..."
	}
	return strings.TrimSpace(text)
}

// A DeadLetter is an event that could not be handled.
type DeadLetter struct {
	Event    *walletcrew.Event // nil if it can't be parsed
	Key      string            // of the event, see receiver.Key; "" without one
	Body     []byte
	Reason   string
	Subject  string // where it was
	Consumer string // who gave up
	Tries    int
	Time     time.Time // when it was published first

	stream   *Stream
	header   nats.Header
	sequence uint64
	buried   time.Time
}

// DeadLetters returns the dead letters, the oldest first, up to the last one that is there when it is called. The error ends it.
// Each costs a question to the server: it is made for people and for repairs, not for speed.
func (s *Stream) DeadLetters(ctx context.Context) iter.Seq2[*DeadLetter, error] {
	return func(yield func(*DeadLetter, error) bool) {
		seen := s.nc.LastError()
		dead, err := s.js.Stream(ctx, s.deadLetters().Name)
		if err != nil {
			yield(nil, s.explain("look up the dead letters", seen, err))
			return
		}
		state := dead.CachedInfo().State
		for next := state.FirstSeq; state.Msgs > 0 && next <= state.LastSeq; next++ {
			m, err := dead.GetMsg(ctx, next, jetstream.WithGetMsgSubject(s.deadSubject(">")))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err != nil {
				yield(nil, s.explain("read a dead letter", seen, err))
				return
			}
			if m.Sequence > state.LastSeq {
				return
			}
			if next = m.Sequence; !yield(s.deadLetter(m), nil) {
				return
			}
		}
	}
}

func (s *Stream) deadLetter(m *jetstream.RawStreamMsg) *DeadLetter {
	d := &DeadLetter{
		Body:     m.Data,
		Reason:   m.Header.Get(HeaderReason),
		Subject:  m.Header.Get(HeaderSubject),
		Consumer: m.Header.Get(HeaderConsumer),
		stream:   s,
		header:   m.Header,
		sequence: m.Sequence,
		buried:   m.Time,
	}
	if d.Subject == "" { // there was no room for it
		d.Subject = s.subject(strings.TrimPrefix(m.Subject, s.deadSubject("")))
	}
	d.Tries, _ = strconv.Atoi(m.Header.Get(HeaderTries))
	d.Time, _ = time.Parse(time.RFC3339Nano, m.Header.Get(HeaderTime))
	d.Event, d.Key, _ = s.event(d.Subject, m.Header, m.Data)
	return d
}

// Redrive puts the event back to where it was, to be tried anew from 1, and removes the dead letter once the stream has it. In a log
// ([StreamConfig].KeepFor) all its consumers get the event again, also those that have handled it: for one alone, call its function
// with receiver.WithKey(ctx, d.Key) and d.Event, and then Delete.
//
// The event keeps its key, so that a function that has made its effect already can tell. The duplicate window doesn't hold it up.
func (d *DeadLetter) Redrive(ctx context.Context) error {
	m := &nats.Msg{Subject: d.Subject, Data: d.Body, Header: make(nats.Header)}
	for _, name := range []string{HeaderEvent, HeaderTenant, HeaderID, HeaderKey} {
		if values := d.header[name]; len(values) > 0 {
			m.Header[name] = values
		}
	}
	m.Header.Set(jetstream.ExpectedStreamHeader, d.stream.cfg.Name)
	// Not the event's own: within the duplicate window, the stream would take it for what it has had.
	m.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("redrive.%d.%d", d.sequence, d.buried.UnixNano()))
	if err := d.stream.publishWhole(ctx, "put a dead letter back", m, jetstream.MsgIDHeader, jetstream.ExpectedStreamHeader); err != nil {
		return err
	}
	return d.Delete(ctx)
}

// Delete removes the dead letter.
func (d *DeadLetter) Delete(ctx context.Context) error {
	seen := d.stream.nc.LastError()
	dead, err := d.stream.js.Stream(ctx, d.stream.deadLetters().Name)
	if err == nil {
		err = dead.DeleteMsg(ctx, d.sequence)
	}
	if err != nil {
		return d.stream.explain("delete a dead letter", seen, err)
	}
	return nil
}
