package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const maxReason = 1024

// publishDeadLetter returns when the dead letter is stored. Twice is once: its Nats-Msg-Id names the very message.
func (s *Stream) publishDeadLetter(ctx context.Context, consumer string, m jetstream.Msg, meta *jetstream.MsgMetadata, tries int, reason error) error {
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
	dead.Header.Set(HeaderTries, strconv.Itoa(tries))
	dead.Header.Set(HeaderConsumer, consumer)
	dead.Header.Set(HeaderTime, published(m.Headers(), meta).UTC().Format(time.RFC3339Nano))
	dead.Header.Del(HeaderPublished)
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

// published says when the event was published first: an event that was put back carries it.
func published(header nats.Header, meta *jetstream.MsgMetadata) time.Time {
	if t, err := time.Parse(time.RFC3339Nano, header.Get(HeaderPublished)); err == nil && t.Before(meta.Timestamp) {
		return t
	}
	return meta.Timestamp
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
