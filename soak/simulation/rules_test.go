package simulation

import (
	"context"
	"errors"
	"time"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// These are the rules: what the documents promise, and where they allow an effect to happen twice.

// slack is how late something may be seen.
const slack = 100 * time.Millisecond

// judge looks at an answer.
func (s *sim) judge(e *event, to *replica, d *delivered, took time.Duration) {
	s.mu.Lock()
	done := s.effectsOf(e) > 0 || e.dropped || e.stored > 0
	s.mu.Unlock()
	switch {
	case d.status/100 == 2 && !done:
		s.breaks("%s was acknowledged with %d (%s), and nobody had handled it", e.id, d.status, d.out.Result)
	case d.status/100 == 4:
		s.breaks("%s was refused with %d (%s)", e.id, d.status, d.out.Reason)
	case d.out.Reason == receiver.ReasonInFlight && !s.isHeld(e):
		s.breaks("%s was answered with %d, in flight, but nobody had it, and nothing had gone wrong", e.id, d.status)
	}
	const settling = 3 * time.Second // a deduper that hangs
	if took > to.timeout+settling+slack {
		s.breaks("%s was answered after %v; the timeout is %v", e.id, took, to.timeout)
	}
}

// isHeld reports whether a delivery may be told that another has the event.
func (s *sim) isHeld(e *event) bool {
	if s.excused(e.id) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.claiming > 0 {
		return true
	}
	ran := map[*claim]bool{}
	for _, r := range e.runs {
		ran[r.claim] = true
		if r.ended == 0 && !r.process.dead() || r.ended > s.now()-4*time.Second { // it is still being told to the deduper
			return true
		}
	}
	for _, c := range e.claims { // the function is about to be called
		if !ran[c] && !c.released && !c.process.dead() && s.now() < c.asked+maxTimeout+4*time.Second {
			return true
		}
	}
	return false
}

// crashed excuses what the process had: until its leases end.
func (s *sim) crashed() {
	for _, e := range s.events {
		s.excuse(e.id, s.longestLease()+time.Second)
	}
}

// longestLease is for how long a lease that is taken now or was taken may last, on a server whose clock was set back.
func (w *world) longestLease() time.Duration {
	_, back := w.jumped(0)
	return maxTimeout + leaseMargin + back
}

// told looks whether the deduper may answer so to a Complete. C is nil for a claim whose answer was lost.
func (s *sim) told(e *event, c *claim, asked time.Duration, err error) {
	s.mu.Lock()
	later, any := false, false
	for i, other := range e.claims {
		if other == c {
			for _, o := range e.claims[i+1:] {
				any = true
				later = later || o.granted < asked
			}
		}
	}
	forgotten, tried := c.forgotten, c.tried
	s.mu.Unlock()
	forward, _ := s.jumped(c.asked)
	switch {
	case forgotten:
	case err == nil && later:
		s.breaks("%s: %s completed a lease that another had taken over", e.id, c.process.name)
	case errors.Is(err, receiver.ErrLeaseLost) && tried == asked && !any && !s.excused(e.id) && s.now() < c.asked+c.lease+s.retention-forward-slack:
		s.breaks("%s: %s was told that its lease is lost, but nobody had taken it over", e.id, c.process.name)
	}
}

// forgot says that a server has forgotten what it knew of an event.
func (s *sim) forgot(event string) {
	s.mu.Lock()
	if e := s.byID[event]; e != nil {
		for _, c := range e.claims {
			c.forgotten = true
		}
	}
	s.mu.Unlock()
	s.excuse(event, time.Minute)
}

// mayRunAgain looks whether the documents allow that a run begins after another of the same event.
func (s *sim) mayRunAgain(e *event, before, again *run) {
	s.mu.Lock()
	made, running := before.effect, before.ended == 0 && !before.process.dead()
	c := before.claim
	s.mu.Unlock()
	if !made && !running {
		return
	}
	what := "made its effect"
	if running {
		what = "still ran"
	}
	if c == nil { // each process for itself
		if before.process == again.process {
			s.breaks("%s: the function was called again by %s, though the first call %s", e.id, again.process.name, what)
		}
		return
	}
	forward, _ := s.jumped(c.asked)
	s.mu.Lock()
	defer s.mu.Unlock()
	now, leaseEnds := s.now(), c.asked+c.lease-forward
	retention := s.retention
	if s.kind == memory {
		leaseEnds = c.asked + c.lease
	}
	why := ""
	switch {
	case c.forgotten, s.kind == memory && before.process != again.process:
		return
	case c.tried > 0 && now+slack >= c.tried+retention-forward:
		return
	case c.completed > 0:
		why = "it had been completed"
	case now < leaseEnds:
		why = "its lease had not run out"
	case before.process.died > 0, running, before.ended >= leaseEnds:
		return
	case !c.failed:
		why = "it was never completed"
	case c.settling < leaseEnds-15*time.Second:
		why = "it wasn't tried to complete it until its lease ended"
	default:
		return
	}
	s.mu.Unlock()
	s.breaks("%s: the function was called again by %s, though the call of %s %s: %s", e.id, again.process.name, before.process.name, what, why)
	s.mu.Lock()
}

// finally looks at the whole, when nothing happens any more.
func (s *sim) finally() {
	for _, e := range s.events {
		switch {
		case e.settled == 0:
			s.breaks("%s was never settled, %v after all was well again", e.id, s.now()-s.calm)
		case e.settled > s.calm+3*time.Minute:
			s.breaks("%s was only settled %v after all was well again", e.id, e.settled-s.calm)
		}
		if s.transactional() && s.effectsOf(e) > 1 {
			s.breaks("%s has %d effects, and must have one", e.id, s.effectsOf(e))
		}
	}
	for _, l := range s.slots {
		if l.now == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		if err := l.now.handler.Shutdown(ctx); err != nil {
			s.breaks("%s doesn't end: %v", l.now.name, err)
		}
		cancel()
	}
}

// effectsOf counts the effects that are there: those of a database, once they are committed.
func (s *sim) effectsOf(e *event) int {
	if !s.transactional() {
		return e.effects
	}
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	return s.db.effects[e.id]
}

// transactional reports whether the effects are rows of the database.
func (s *sim) transactional() bool { return s.kind == once || s.kind == both || s.kind == streamOnce }
