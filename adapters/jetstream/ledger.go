package jetstream

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A ledger is what this process knows of the events that it has given back. JetStream counts each delivery of an event, and can't say
// which of them was a try.
type ledger struct {
	mu       sync.Mutex
	events   map[uint64]*entry // by their sequence in the stream
	pauses   map[walletcrew.EventName]*pause
	told     map[walletcrew.EventName]time.Time // when a pause was logged last
	arrivals uint64                             // deliveries
	purgeAt  int                                // so many entries
}

// An entry is an event that was delivered to this process, and isn't settled.
type entry struct {
	aside    int       // deliveries that were no tries
	failed   int       // tries that failed in this process
	strikes  int       // pauses that it began, and that another event has ended
	due      time.Time // when the server delivers it again; zero if at once, or if it is in progress
	reply    string    // where the server is told of it: not empty while it is set aside
	limit    time.Time // set aside no longer than this; zero is for ever
	recalled *pause    // which has called it back
}

func newLedger() *ledger {
	return &ledger{
		events:  map[uint64]*entry{},
		pauses:  map[walletcrew.EventName]*pause{},
		told:    map[walletcrew.EventName]time.Time{},
		purgeAt: 1024,
	}
}

// entry returns the event's, and makes it. The ledger is locked.
func (l *ledger) entry(sequence uint64) *entry {
	e := l.events[sequence]
	if e == nil {
		l.purge()
		e = new(entry)
		l.events[sequence] = e
	}
	return e
}

// forgetAfter is for how long an event that should have come again is remembered: another process may have settled it.
const forgetAfter = time.Hour

// purge forgets what another process has settled. Its cost is spread over the entries that are made.
func (l *ledger) purge() {
	if len(l.events) < l.purgeAt {
		return
	}
	before := time.Now().Add(-forgetAfter)
	for sequence, e := range l.events {
		if !e.due.IsZero() && e.due.Before(before) {
			delete(l.events, sequence)
		}
	}
	l.purgeAt = max(1024, 2*len(l.events))
}

// arrive says which try a delivery is: 1 for the first.
func (l *ledger) arrive(meta *jetstream.MsgMetadata) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrivals++
	delivered := int(min(meta.NumDelivered, 1<<30))
	e := l.events[meta.Sequence.Stream]
	if e == nil {
		return delivered
	}
	if e.recalled != nil {
		e.recalled.recalled--
	}
	if delivered == 1 { // of a stream that was made anew
		delete(l.events, meta.Sequence.Stream)
		return 1
	}
	e.due, e.reply, e.recalled = time.Time{}, "", nil
	return max(delivered-e.aside, 1)
}

func (l *ledger) settled(meta *jetstream.MsgMetadata) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.events, meta.Sequence.Stream)
}

// givenBack says that the event comes again after the delay. Failed: this was a try.
func (l *ledger) givenBack(meta *jetstream.MsgMetadata, delay time.Duration, failed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(meta.Sequence.Stream)
	e.due = time.Now().Add(delay)
	if failed {
		e.failed++
	} else {
		e.aside++
	}
}

func (l *ledger) failures(meta *jetstream.MsgMetadata) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.events[meta.Sequence.Stream]; e != nil {
		return e.failed
	}
	return 0
}

// nak tells the server to deliver an event after the delay. Said again, it counts anew, and costs no delivery.
func (c *Consumer) nak(reply string, delay time.Duration) error {
	if delay > 0 {
		return c.stream.nc.Publish(reply, fmt.Appendf(nil, `-NAK {"delay":%d}`, delay))
	}
	// NATS 2.9 may lose a message that it should deliver at once (to a process that has just ended). Then it comes after AckWait, counted
	// from now, and not after the lease.
	if err := c.stream.nc.Publish(reply, []byte("+WPI")); err != nil {
		return err
	}
	return c.stream.nc.Publish(reply, []byte("-NAK"))
}

// setAside gives the event back for the lease, unless the process renews it or calls the event back. The ledger is locked.
func (c *Consumer) setAside(d *delivery, p *pause) {
	now := time.Now()
	e := c.ledger.entry(d.meta.Sequence.Stream)
	e.aside++
	e.reply, e.limit = d.m.Reply(), c.limit(d.meta)
	e.due = c.lease(now, e)
	if err := c.nak(e.reply, e.due.Sub(now)); err != nil {
		e.reply, e.due = "", now.Add(c.cfg.AckWait)
		return
	}
	p.queue = append(p.queue, d.meta.Sequence.Stream)
}

// lease returns when an event that is set aside now comes again by itself.
func (c *Consumer) lease(now time.Time, e *entry) time.Time {
	due := now.Add(c.times.lease)
	if !e.limit.IsZero() && e.limit.Before(due) {
		due = e.limit
	}
	return due
}

// renew keeps what is set aside from coming by itself, so that it costs no delivery however long it waits. What a process that died
// had set aside comes to another within the lease.
func (c *Consumer) renew() {
	l := c.ledger
	l.mu.Lock()
	var aside []uint64
	for sequence, e := range l.events {
		if e.reply != "" {
			aside = append(aside, sequence)
		}
	}
	l.mu.Unlock()
	c.chunks(aside, func(e *entry) {
		now := time.Now()
		switch left := e.due.Sub(now); {
		case left < c.times.guard: // it may be in progress elsewhere
			e.reply = ""
		case left < c.times.lease/2+c.times.renew:
			if due := c.lease(now, e); due.After(e.due) && c.nak(e.reply, due.Sub(now)) == nil {
				e.due = due
			}
		}
	})
}

// handBack gives all that is set aside to other processes, at once.
func (c *Consumer) handBack() {
	c.ledger.mu.Lock()
	var aside []uint64
	for sequence, e := range c.ledger.events {
		if e.reply != "" {
			aside = append(aside, sequence)
		}
	}
	c.ledger.mu.Unlock()
	if len(aside) == 0 {
		return
	}
	// NATS 2.9 loses the first one, since this process has just ended to ask, and then delivers once more what it delivered last. So the
	// first one is the last.
	slices.Sort(aside)
	last := len(aside) - 1
	aside = slices.Insert(aside[:last], 0, aside[last])
	c.chunks(aside, func(e *entry) {
		if time.Until(e.due) > c.times.guard {
			_ = c.nak(e.reply, 0) // or else it comes after the lease
		}
		e.reply = ""
	})
}

// chunks calls do for each event that is set aside, and lets others have the ledger now and then.
func (c *Consumer) chunks(sequences []uint64, do func(*entry)) {
	const size = 500
	l := c.ledger
	for len(sequences) > 0 {
		n := min(size, len(sequences))
		l.mu.Lock()
		for _, sequence := range sequences[:n] {
			if e := l.events[sequence]; e != nil && e.reply != "" {
				do(e)
			}
		}
		l.mu.Unlock()
		sequences = sequences[n:]
	}
}
