package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// What an outage may cost at most.
const (
	functionTime = 2 * time.Second               // the receiver's WithTimeout
	maxLatency   = 6 * time.Second               // functionTime, and up to 3 s to settle what was handled
	maxRecovery  = 5 * time.Second               // for an event that is new
	maxHeld      = functionTime + 15*time.Second // for one that was tried meanwhile: its lease may be taken
	maxMemory    = 256 << 20
)

// outage: events come at a steady rate, and the server that the receiver needs goes away and comes back.
func (r *round) outage(ctx context.Context, name string) error {
	s, err := r.startServer(ctx, name)
	if err != nil {
		return err
	}
	c := role{Timeout: functionTime}
	var effect func(ctx context.Context, events int) (tally, error)
	switch name {
	case "redis": // the effect is elsewhere
		c.Function, c.Redis, c.Prefix, c.File = "append", s.address, "soak:", filepath.Join(r.dir, "effects")
		effect = func(_ context.Context, events int) (tally, error) { return lines(c.File, events) }
	case "postgres": // the effect is in the transaction
		db, err := openEffects(ctx, s.url(), "soak")
		if err != nil {
			return err
		}
		defer db.close()
		c.Function, c.Postgres, c.Schema = "once", s.url(), db.schema
		effect = db.count
	case "nats", "embedded": // the effect is a message in the stream
		c.Function, c.NATS, c.Stream = "publish", "nats://"+s.address, "SOAK"
		effect = func(ctx context.Context, events int) (tally, error) {
			log, err := openLog(ctx, c)
			if err != nil {
				return tally{}, err
			}
			defer log.close(false)
			in, err := log.count(ctx, events)
			if in.altered > 0 {
				r.wrong("%d messages aren't what was delivered", in.altered)
			}
			return tally{rows: int(in.messages), lost: in.lost}, err //nolint:gosec // small
		}
	}
	c.Name = "receiver"
	receiver, address, err := r.receiver("receiver", c)
	if err != nil {
		return err
	}
	platform := newPlatform(500*time.Millisecond, 256, address)
	if err := platform.ready(ctx); err != nil {
		return err
	}

	arriving, enough := context.WithCancel(ctx)
	defer enough()
	var l load
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- l.run(ctx, arriving, platform, r.rate, r.random.Uint64()) }()
	pause := min(3*time.Second, r.options.outage)
	for _, way := range r.ways {
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		if err := r.fail(ctx, s, way, receiver, platform, pause); err != nil {
			return err
		}
	}
	enough()
	if err := <-ended; err != nil {
		return err
	}
	took := time.Since(began)
	t, err := effect(ctx, l.events)
	if err != nil {
		return err
	}
	attempts := platform.taken()
	r.say("events %d, deliveries %d, attempts %d (%s) in %.1fs; effects %d, lost %d, doubled %d", l.events, l.deliveries, len(attempts), count(attempts),
		took.Seconds(), t.rows, len(t.lost), len(t.doubled))
	if name == "redis" { // at least once: what was handled when the server went away can't be marked as done
		t.doubled = nil
	}
	r.judge(t)
	return nil
}

// fail lets the server fail once, and says how the receiver bore it.
func (r *round) fail(ctx context.Context, s *server, way string, receiver *process, platform *platform, pause time.Duration) error {
	watching, watched := context.WithCancel(ctx)
	defer watched()
	before := receiver.memory()
	most := make(chan int64, 1)
	var stood time.Duration // how long this machine stood still meanwhile
	go func() {
		memory, lost := highest(watching, receiver.memory)
		stood = lost
		most <- memory
	}()

	began := time.Now()
	if err := s.interrupt(ctx, way); err != nil {
		return err
	}
	down := time.Now()
	if err := sleep(ctx, r.options.outage); err != nil {
		return err
	}
	up := time.Now()
	if err := s.bring(way); err != nil {
		return err
	}
	if err := until(ctx, time.Minute, s.ready); err != nil {
		return fmt.Errorf("%s doesn't come back: %w", s.name, err)
	}
	ready := time.Now()
	if err := platform.calm(ctx, pause, ready.Add(maxHeld+maxRecovery)); err != nil {
		return err
	}
	watched()
	memory := <-most

	var during []attempt      // of the outage, from beginning to end
	var first, last time.Time // the first that was accepted after it, and the last new one that wasn't
	var lastAgain time.Time   // and the last that was refused again
	var took []time.Duration
	for _, a := range platform.taken() {
		if !a.began.Before(down) && a.ended.Before(up) {
			during = append(during, a)
		}
		if a.ended.After(began) {
			took = append(took, a.ended.Sub(a.began))
		}
		switch {
		case a.ended.Before(up):
		case a.status/100 == 2 && (first.IsZero() || a.ended.Before(first)):
			first = a.ended
		case a.status/100 != 2 && a.again:
			lastAgain = later(lastAgain, a.ended)
		case a.status/100 != 2:
			last = later(last, a.ended)
		}
	}
	if len(took) == 0 || first.IsZero() {
		return fmt.Errorf("%s: nothing was accepted after the outage", way)
	}
	slices.Sort(took)
	longest, p99 := took[len(took)-1], took[len(took)*99/100]
	answers := count(during)
	firstAfter, lastAfter, heldFor := max(0, first.Sub(ready)), max(0, last.Sub(ready)), max(0, lastAgain.Sub(ready))
	r.say("%s for %.1fs: answers meanwhile %s; latency p99 %s, max %s; memory %d MiB before, %d MiB at most", way, up.Sub(down).Seconds(), answers,
		p99.Round(time.Millisecond), longest.Round(time.Millisecond), before>>20, memory>>20)
	r.say("%s: server ready after %.2fs; from there first 2xx after %.2fs, last refusal of a new event after %.2fs, of one tried before after %.2fs", way,
		ready.Sub(up).Seconds(), firstAfter.Seconds(), lastAfter.Seconds(), heldFor.Seconds())
	if stood > 0 {
		r.say("%s: this machine stood still for %.1fs, which is added to the limits", way, stood.Seconds())
	}
	mustAnswer := way != "hung" || r.options.outage > 2*functionTime // who hangs answers late
	if n := answers[503]; n == 0 && mustAnswer || n != len(during) {
		r.wrong("%s: answers other than 503, or none: %s", way, answers)
	}
	if longest > maxLatency+stood {
		r.wrong("%s: an answer took %s", way, longest)
	}
	if lastAfter > maxRecovery+stood || firstAfter > maxRecovery+stood {
		r.wrong("%s: recovered only after %s", way, max(firstAfter, lastAfter))
	}
	if heldFor > maxHeld+stood {
		r.wrong("%s: events that were tried meanwhile were refused for %s after", way, heldFor)
	}
	if memory > maxMemory {
		r.wrong("%s: the receiver took %d MiB", way, memory>>20)
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// highest samples f until ctx ends, and adds up by how much its pauses of 50 ms were too long: a moment each is usual.
func highest(ctx context.Context, f func() int64) (most int64, stood time.Duration) {
	for last := time.Now(); ; {
		most = max(most, f())
		if sleep(ctx, 50*time.Millisecond) != nil {
			return most, stood
		}
		if late := time.Since(last) - 250*time.Millisecond; late > 0 {
			stood += late
		}
		last = time.Now()
	}
}

// A load is events that come whether or not the ones before were accepted, a fifth of them again.
type load struct{ events, deliveries int }

// run lets events come until arriving ends, and then waits until all are accepted.
func (l *load) run(ctx, arriving context.Context, p *platform, perSecond float64, seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not a secret
	var waiting sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	deliver := func(id string, after time.Duration) {
		l.deliveries++
		waiting.Go(func() {
			err := sleep(ctx, after)
			if err == nil {
				err = p.deliver(ctx, id)
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	ticker := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
	defer ticker.Stop()
	for ; arriving.Err() == nil; l.events++ {
		id := eventID(l.events)
		deliver(id, 0)
		if random.IntN(5) == 0 {
			deliver(id, time.Duration(random.Int64N(int64(2*time.Second))))
		}
		select {
		case <-ticker.C:
		case <-arriving.Done():
		}
	}
	waiting.Wait()
	return errors.Join(errs[:min(len(errs), 3)]...)
}

// lines counts the ids in a file, one a line.
func lines(file string, events int) (tally, error) {
	text, err := os.ReadFile(file) //nolint:gosec // our own
	return tallyOf(strings.Fields(string(text)), events), err
}
