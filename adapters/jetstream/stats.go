package jetstream

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// Stats counts a consumer's events, those of all its processes, as the server knows them.
type Stats struct {
	Pending   uint64        // not delivered to a worker yet
	Unsettled uint64        // in progress or waiting for a retry; the server doesn't say which, see Consumer.Stats
	Dead      uint64        // dead letters in the stream, of all consumers
	Oldest    time.Duration // the age of the oldest event that is pending or unsettled, by the server's clock; 0 without one
}

// Stats asks the server about the consumer with this name ([ConsumerConfig].Name). You can call it in any process, such as one that only
// exports metrics. Each call makes three or more requests, so call it every few seconds at most. The numbers are of slightly different
// moments. [jetstream.ErrConsumerNotFound] (of nats.go) means that there is no such consumer yet.
func (s *Stream) Stats(ctx context.Context, consumer string) (Stats, error) {
	seen := s.nc.LastError()
	found, err := s.js.Consumer(ctx, s.cfg.Name, consumer)
	if err != nil {
		return Stats{}, s.explain("look up consumer "+consumer, seen, err)
	}
	info := found.CachedInfo()
	stats := Stats{Pending: info.NumPending, Unsettled: uint64(max(info.NumAckPending, 0))}
	if stats.Pending+stats.Unsettled > 0 {
		if stats.Oldest, err = s.oldest(ctx, found); err != nil {
			return Stats{}, err
		}
	}
	stats.Dead, err = s.dead(ctx)
	return stats, err
}

// oldest returns the age of the first event after those that the consumer has settled without a gap.
func (s *Stream) oldest(ctx context.Context, consumer jetstream.Consumer) (time.Duration, error) {
	info, seen := consumer.CachedInfo(), s.nc.LastError()
	events, err := s.js.Stream(ctx, s.cfg.Name)
	if err != nil {
		return 0, s.explain("look up stream "+s.cfg.Name, seen, err)
	}
	var first time.Time
	for _, filter := range filtersOf(consumer) {
		m, err := events.GetMsg(ctx, info.AckFloor.Stream+1, jetstream.WithGetMsgSubject(filter))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return 0, s.explain("read the oldest event", seen, err)
		case first.IsZero() || m.Time.Before(first):
			first = m.Time
		}
	}
	if first.IsZero() { // it was settled meanwhile
		return 0, nil
	}
	now := info.TimeStamp
	if now.IsZero() { // NATS before 2.10
		now = time.Now()
	}
	return max(now.Sub(first), 0), nil
}

// dead counts the dead letters. A claim isn't one.
func (s *Stream) dead(ctx context.Context) (uint64, error) {
	seen := s.nc.LastError()
	dead, err := s.js.Stream(ctx, s.deadLetters().Name)
	if err != nil {
		return 0, s.explain("look up the dead letters", seen, err)
	}
	info, err := dead.Info(ctx, jetstream.WithSubjectFilter(s.claimSubject("*")))
	if err != nil {
		return 0, s.explain("look up the dead letters", seen, err)
	}
	n := info.State.Msgs
	for _, claims := range info.State.Subjects {
		n -= min(claims, n)
	}
	return n, nil
}

// ConsumerStats counts the events of this process, see [Consumer.Stats].
type ConsumerStats struct {
	InProgress uint64                 // functions that run now
	Waiting    uint64                 // events that failed and wait for their next try, or whose name is paused
	Paused     []walletcrew.EventName // the names whose function returned a Temporary error, sorted; see Consumer.Run
}

// Stats counts the events that are in progress in this process, and those that it has given back and that wait. [Stream.Stats] counts the
// events of all processes.
func (c *Consumer) Stats() ConsumerStats {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	stats := ConsumerStats{InProgress: uint64(max(c.running.Load(), 0))}
	now := time.Now()
	for _, e := range l.events {
		if e.due.After(now) {
			stats.Waiting++
		}
	}
	for name, p := range l.pauses {
		if p.held != nil && !p.running {
			stats.Waiting++
		}
		if p.paused {
			stats.Paused = append(stats.Paused, name)
		}
	}
	slices.Sort(stats.Paused)
	return stats
}
