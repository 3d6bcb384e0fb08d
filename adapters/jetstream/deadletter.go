package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// The headers that a dead letter has besides the event's. Its body is the event's, and so is its subject, except for "-dead" after the
// prefix: walletcrew-dead.acme.Pass.Installed. If the message would be larger than the server allows (max_payload), the reason is
// shortened; if that isn't enough, these headers are left out.
const (
	HeaderReason   = "Walletcrew-Dead-Reason"   // the last error's text, without line breaks, at most 1,024 bytes
	HeaderSubject  = "Walletcrew-Dead-Subject"  // where the event was
	HeaderTries    = "Walletcrew-Dead-Tries"    // how often it was delivered
	HeaderConsumer = "Walletcrew-Dead-Consumer" // who gave up
	HeaderTime     = "Walletcrew-Dead-Time"     // when the event was published first, RFC 3339
)

// ErrNoDeadLetter means that the dead letter isn't there, or not any more: somebody has put it back or deleted it. Use errors.Is.
var ErrNoDeadLetter = errors.New("jetstream: there is no such dead letter")

// A DeadLetter is an event that could not be handled. Get it with [Stream.DeadLetters] or [Stream.DeadLetter].
type DeadLetter struct {
	// ID identifies the dead letter for Stream.DeadLetter. It never changes, and no other dead letter ever has it. It is made of the
	// place in the dead letters' stream and the time when it was stored there, such as "17-18c2f0a4b1e3d600", not of the event's "__id": an
	// event that died twice has two. It holds only letters, digits and '-'.
	ID       string
	Event    *walletcrew.Event // nil if it can't be parsed
	Key      string            // of the event, see receiver.Key; "" without one
	Body     []byte
	Reason   string
	Subject  string // where it was
	Consumer string // who gave up
	Tries    int
	Time     time.Time // when the event was published first; a dead letter that was put back and died again keeps it
	DiedAt   time.Time // when it became a dead letter, by the server's clock

	stream   *Stream
	header   nats.Header
	sequence uint64
	takeover time.Duration // of a claim; 0 is claimTakeover
}

// DeadLetters returns the dead letters, the oldest first, up to the last one that is there when it is called. An error ends the loop. Each
// dead letter takes a request to the server: this is for people and repairs, not for speed.
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
			m, err := dead.GetMsg(ctx, next, jetstream.WithGetMsgSubject(s.deadSubject("*.*.*"))) // a claim isn't one
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

// DeadLetter returns the dead letter with this [DeadLetter].ID, or [ErrNoDeadLetter], also if the ID is malformed.
func (s *Stream) DeadLetter(ctx context.Context, id string) (*DeadLetter, error) {
	sequence, ok := sequenceOf(id)
	if !ok {
		return nil, fmt.Errorf("%w: %q is no ID of one", ErrNoDeadLetter, id)
	}
	seen := s.nc.LastError()
	dead, err := s.js.Stream(ctx, s.deadLetters().Name)
	if err != nil {
		return nil, s.explain("look up the dead letters", seen, err)
	}
	return s.getDeadLetter(ctx, dead, id, sequence)
}

func (s *Stream) getDeadLetter(ctx context.Context, dead jetstream.Stream, id string, sequence uint64) (*DeadLetter, error) {
	seen := s.nc.LastError()
	m, err := dead.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && (idOf(m) != id || strings.HasPrefix(m.Subject, s.claimSubject(""))) {
		return nil, fmt.Errorf("%w: %s", ErrNoDeadLetter, id)
	}
	if err != nil {
		return nil, s.explain("read a dead letter", seen, err)
	}
	return s.deadLetter(m), nil
}

// idOf holds the time, too: a stream that was deleted and made anew counts from 1 again.
func idOf(m *jetstream.RawStreamMsg) string {
	return fmt.Sprintf("%d-%x", m.Sequence, m.Time.UnixNano())
}

func sequenceOf(id string) (uint64, bool) {
	digits, _, ok := strings.Cut(id, "-")
	sequence, err := strconv.ParseUint(digits, 10, 64)
	return sequence, ok && err == nil && sequence > 0
}

func (s *Stream) deadLetter(m *jetstream.RawStreamMsg) *DeadLetter {
	d := &DeadLetter{
		ID:       idOf(m),
		Body:     m.Data,
		Reason:   m.Header.Get(HeaderReason),
		Subject:  m.Header.Get(HeaderSubject),
		Consumer: m.Header.Get(HeaderConsumer),
		DiedAt:   m.Time,
		stream:   s,
		header:   m.Header,
		sequence: m.Sequence,
	}
	if d.Subject == "" { // there was no room for it
		d.Subject = s.subject(strings.TrimPrefix(m.Subject, s.deadSubject("")))
	}
	d.Tries, _ = strconv.Atoi(m.Header.Get(HeaderTries))
	d.Time, _ = time.Parse(time.RFC3339Nano, m.Header.Get(HeaderTime))
	d.Event, d.Key, _ = s.event(d.Subject, m.Header, m.Data)
	return d
}
