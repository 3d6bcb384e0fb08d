package jetstream

import (
	"context"
	"log/slog"
	"slices"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// times are what a test makes shorter.
type times struct {
	lease      time.Duration // an event that is set aside comes again by itself after this; until then its process renews it
	renew      time.Duration // how often the process looks what to renew
	guard      time.Duration // an event that is due within this may be in progress elsewhere: it is left alone
	leastProbe time.Duration // between two probes of a name
	mostProbe  time.Duration
	arrival    time.Duration // how long an event that was called back may take
	recall     time.Duration // between two parts of a backlog
}

var defaultTimes = times{
	lease:      10 * time.Minute,
	renew:      time.Minute,
	guard:      30 * time.Second,
	leastProbe: 250 * time.Millisecond,
	mostProbe:  5 * time.Second,
	arrival:    2 * time.Second,
	recall:     50 * time.Millisecond,
}

const (
	probesPerSecond = 4   // in a process, of all names
	maxPauses       = 256 // names; each costs a goroutine and an event in memory
	firstRecall     = 256 // events; doubled each time
	maxRecall       = 1024
)

// A pause is for the events of one name whose function says that it can't work for now. One of them, held, is tried again and again;
// the others are set aside on the server. When a probe succeeds, they are called back. The ledger's lock is over all of it.
type pause struct {
	name     walletcrew.EventName
	paused   bool // false while the backlog is called back
	held     *delivery
	running  bool             // the function, for held
	fails    int              // of the probes, in a row
	err      error            // the last
	wanted   chan<- *delivery // not nil: the next event that comes is the probe
	queue    []uint64         // what was set aside, the oldest first; some may have gone
	recalled int              // events that were called back, and haven't come
}

// A diversion is what becomes of an event of a name that is paused.
type diversion int

const (
	notDiverted diversion = iota
	setAside              // on the server
	isProbe               // it belongs to the pause now
)

// divert keeps an event of a name that is paused from the function. In a log, Expired says that it is too late for that, and why its name
// is paused.
func (c *Consumer) divert(d *delivery) (kept diversion, expired error) {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pauses[d.out.Event.Name]
	switch {
	case p == nil || !p.paused:
		return notDiverted, nil
	case c.expires(d.meta, 2*c.margin()): // set aside until its limit, it has come again
		return notDiverted, p.err
	case p.wanted != nil:
		d.keepAlive(c)
		p.wanted <- d // it has room
		p.wanted = nil
		return isProbe, nil
	}
	c.setAside(d, p)
	c.noticeBacklog(d)
	return setAside, nil
}

// pause is for a delivery whose function has returned a Temporary error.
func (c *Consumer) pause(run, ctx context.Context, d *delivery) {
	c.tellAway(ctx, d)
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pauses[d.out.Event.Name]
	switch {
	case run.Err() != nil: // nobody tends it any more
		c.setAside(d, new(pause))
		d.stop()
		return
	case p == nil && len(l.pauses) >= maxPauses:
		e := l.entry(d.meta.Sequence.Stream)
		e.aside++
		e.due = time.Now().Add(c.times.mostProbe)
		_ = c.nak(d.m.Reply(), c.times.mostProbe)
		d.stop()
		return
	case p == nil:
		p = &pause{name: d.out.Event.Name}
		l.pauses[p.name] = p
		c.tending.Go(func() { c.tend(run, ctx, p) })
	case p.paused:
		c.setAside(d, p)
		d.stop()
		return
	}
	p.paused, p.held, p.fails, p.err = true, d, 1, d.out.Err
	l.entry(d.meta.Sequence.Stream).strikes++
}

// tend probes, and calls the backlog back, until nothing is left or Run ends.
func (c *Consumer) tend(run, ctx context.Context, p *pause) {
	for c.probe(run, ctx, p) {
		if c.recall(run, p) {
			return
		}
	}
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := p.held; d != nil { // Run gives it back with the others
		p.held = nil
		c.setAside(d, p)
		d.stop()
	}
}

// probe tries the function with the event that is held. It returns true once the function can work.
func (c *Consumer) probe(run, ctx context.Context, p *pause) bool {
	for {
		c.ledger.mu.Lock()
		d, fails := p.held, p.fails
		c.ledger.mu.Unlock()
		if !c.awaitProbe(run, ctx, fails) {
			return false
		}
		if d == nil || fails&(fails-1) == 0 { // the trouble may be this event's own: now and then, and ever more seldom
			if d = c.another(run, p, d); d == nil {
				if c.resume(p, true) {
					return true
				}
				continue
			}
		}
		select {
		case c.slots <- struct{}{}:
		case <-run.Done():
			return false
		}
		c.setRunning(p, true)
		c.attempt(ctx, d)
		c.setRunning(p, false)
		<-c.slots
		if isTemporary(d.out.Err) && !c.expires(d.meta, c.times.mostProbe) {
			c.ledger.mu.Lock()
			p.fails++
			p.err = d.out.Err
			c.ledger.mu.Unlock()
			c.tellAway(ctx, d)
			continue
		}
		c.ledger.mu.Lock()
		p.held = nil
		c.ledger.mu.Unlock()
		if away := isTemporary(d.out.Err); !away {
			c.resume(p, false)
			c.settle(ctx, d)
			d.stop()
			c.cfg.Logger.InfoContext(ctx, "jetstream: the function works again", slog.String("event", string(p.name)))
			return true
		}
		c.settle(ctx, d) // it expires
		d.stop()
	}
}

func (c *Consumer) setRunning(p *pause, running bool) {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	p.running = running
}

// awaitProbe waits for the time of the next probe. It returns false when Run ends.
func (c *Consumer) awaitProbe(run, ctx context.Context, fails int) bool {
	delay := min(max(c.backoff(ctx, min(fails, c.cfg.MaxTries)), c.times.leastProbe), c.times.mostProbe)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-run.Done():
		return false
	case <-timer.C:
	}
	return c.probes.Wait(run) == nil && !c.stream.nc.IsClosed()
}

// resume ends the pause. With onlyEmpty it does so only if no event is left to probe with.
func (c *Consumer) resume(p *pause, onlyEmpty bool) bool {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	if onlyEmpty && len(p.queue) > 0 {
		return false
	}
	p.paused = false
	return true
}

// next takes the oldest event from the queue that this process may call back. The ledger is locked.
func (c *Consumer) next(p *pause) (sequence uint64, e *entry) {
	for len(p.queue) > 0 {
		sequence, e = p.queue[0], c.ledger.events[p.queue[0]]
		p.queue = p.queue[1:]
		if e == nil || e.reply == "" {
			continue
		}
		if time.Until(e.due) > c.times.guard {
			return sequence, e
		}
		e.reply = "" // it comes by itself
	}
	p.queue = nil
	return 0, nil
}

// putBack is for what next took, and couldn't be called back: without a connection, say. The ledger is locked.
func (p *pause) putBack(sequence uint64) { p.queue = slices.Insert(p.queue, 0, sequence) }

// another calls back an event that was set aside, to probe with it instead of d, or waits for a new one if d is nil. It returns d if
// none comes.
func (c *Consumer) another(run context.Context, p *pause, d *delivery) *delivery {
	l := c.ledger
	l.mu.Lock()
	switch sequence, e := c.next(p); {
	case e == nil && d == nil: // one that is new
	case e == nil:
		l.mu.Unlock()
		return d
	case c.nak(e.reply, 0) != nil:
		p.putBack(sequence)
		l.mu.Unlock()
		return d
	default:
		e.reply, e.due = "", time.Now()
	}
	came := make(chan *delivery, 1)
	p.wanted = came
	l.mu.Unlock()

	var next *delivery
	timer := time.NewTimer(c.times.arrival)
	defer timer.Stop()
	select {
	case next = <-came:
	case <-timer.C:
	case <-run.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p.wanted = nil
	if next == nil {
		select {
		case next = <-came: // just now
		default:
			return d // another process has it
		}
	}
	if d != nil {
		c.setAside(d, p)
		d.stop()
	}
	p.held = next
	return next
}

// recall lets what was set aside come again, as fast as it is handled: what waited in the server's queue would be delivered in vain if the
// function failed again. It returns true when nothing is left, and false if the name was paused again or Run ends.
func (c *Consumer) recall(run context.Context, p *pause) bool {
	l := c.ledger
	ticker := time.NewTicker(c.times.recall)
	defer ticker.Stop()
	l.mu.Lock()
	p.recalled = 0
	l.mu.Unlock()
	arrivals := uint64(0)
	for batch := firstRecall; ; {
		l.mu.Lock()
		if p.paused {
			l.mu.Unlock()
			return false
		}
		if l.arrivals == arrivals { // other processes have taken what was called back
			p.recalled = 0
		}
		arrivals = l.arrivals
		if p.recalled <= batch/2 {
			for n := 0; n < batch; n++ {
				sequence, e := c.next(p)
				if e == nil {
					delete(l.pauses, p.name)
					l.mu.Unlock()
					return true
				}
				if !c.callBack(p, e) {
					p.putBack(sequence)
					break
				}
			}
			batch = min(2*batch, maxRecall)
		}
		l.mu.Unlock()
		select {
		case <-run.Done():
			return false
		case <-ticker.C:
		}
	}
}

// callBack lets an event come again: at once, but one that keeps pausing its name while others are handled waits ever longer. It reports
// whether the server could be told.
func (c *Consumer) callBack(p *pause, e *entry) bool {
	var delay time.Duration
	if e.strikes > 1 {
		delay = defaultBackoff(e.strikes) // the user's own isn't called under the lock
	}
	if c.nak(e.reply, delay) != nil {
		return false
	}
	if delay == 0 {
		e.recalled = p
		p.recalled++
	}
	e.reply, e.due = "", time.Now().Add(delay)
	return true
}

// isTemporary goes by the receiver's order: what is ignored or discarded doesn't come again.
func isTemporary(err error) bool {
	return receiver.IsTemporary(err) && !receiver.IsDiscard(err) && !receiver.IsIgnored(err)
}

// tellAway logs a Temporary error, once in a while for each name, and tells the observer.
func (c *Consumer) tellAway(ctx context.Context, d *delivery) {
	d.out.Result = Retried
	l := c.ledger
	l.mu.Lock()
	tell := time.Since(l.told[d.out.Event.Name]) > 30*time.Second
	if tell {
		if len(l.told) >= maxPauses {
			clear(l.told)
		}
		l.told[d.out.Event.Name] = time.Now()
	}
	l.mu.Unlock()
	if tell {
		c.cfg.Logger.WarnContext(ctx, "jetstream: the function can't work for now; events of this name wait until it can",
			append(d.out.attrs(), slog.Any("error", d.out.Err))...)
	}
	c.observe(ctx, d)
}
