package simulation

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// These worlds have a durable hand-over: receivers that publish into a stream, workers that take events out of it, and operators who put
// dead letters back.

const (
	stream     kind = "stream"      // the effect is somewhere else: at least once
	streamOnce kind = "stream+once" // the effect is a row, with sqldedupe.Once in the worker
)

func (s *sim) streamed() bool { return s.kind == stream || s.kind == streamOnce }

// A backstage is what is behind the receivers of such a world.
type backstage struct {
	nats      *natsServer
	workers   []*workerSlot
	maxTries  int
	disturbed map[*process][]window // when its connection was broken, or stood still
}

type workerSlot struct {
	sim     *sim
	number  int
	started int
	latest  *process
	now     *worker
}

type worker struct {
	*process
	stop  context.CancelFunc
	ended chan struct{} // when Run has returned
	err   error
}

func (s *sim) openStream() {
	s.back = &backstage{nats: newNatsServer(s.world), maxTries: 3 + s.draw("tries").IntN(4), disturbed: map[*process][]window{}}
	n := s.back.nats
	n.broke = func(p *process, d time.Duration) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.back.disturbed[p] = append(s.back.disturbed[p], window{s.now(), s.now() + d})
	}
	n.given = func(_ *process, event string) {
		if e := s.byID[event]; e != nil {
			s.mu.Lock()
			e.given++
			s.mu.Unlock()
		}
	}
	n.stored = s.wasStored
}

// wasStored looks at each message that the server stores.
func (s *sim) wasStored(stream, id, key string) {
	e := s.byID[id]
	if e == nil {
		return // a claim of a dead letter
	}
	s.mu.Lock()
	dead, again := strings.HasSuffix(stream, "_DEAD"), strings.HasPrefix(key, "redrive.")
	tooSoon := false
	switch {
	case dead:
		e.deaths++
		tooSoon = e.given < s.back.maxTries || e.hard == 0 && !e.shaken
	case again || e.deaths > 0:
		e.redriven++
	default:
		e.stored++
	}
	stored, deaths, redriven, given, hard := e.stored, e.deaths, e.redriven, e.given, e.hard
	if dead {
		e.given, e.hard = 0, 0
	}
	s.mu.Unlock()
	switch {
	case stored > 1:
		s.breaks("%s is in the stream %d times", id, stored)
	case redriven > deaths:
		s.breaks("%s died %d times, and was put back %d times", id, deaths, redriven)
	case tooSoon:
		s.breaks("%s is a dead letter after %d deliveries and %d failures", id, given, hard)
	}
}

func streamConfigOf() jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: "SIM", Prefix: "sim", Logger: quiet}
}

// attach connects until that works, and opens the stream.
func (s *sim) attach(ctx context.Context, p *process, then func(*jetstream.Stream) error) bool {
	for {
		if nc, err := s.back.nats.connect(p); err == nil {
			opened, err := jetstream.EnsureStream(ctx, nc, streamConfigOf())
			if err == nil {
				err = then(opened)
			}
			if err == nil {
				go func() {
					select {
					case <-p.gone:
						time.Sleep(time.Microsecond) // what is in its buffers is lost
					case <-s.over:
					}
					nc.Close()
				}()
				return true
			}
			nc.Close()
		}
		if p.pause(ctx, time.Second) != nil {
			return false
		}
	}
}

// publisher is what a receiver of such a world does with an event.
func (s *sim) publisher(p *process) (fn receiver.HandlerFunc, ok bool) {
	ok = s.attach(context.Background(), p, func(opened *jetstream.Stream) error {
		publisher, err := jetstream.NewPublisher(context.Background(), opened)
		if err == nil {
			fn = publisher.Handle
		}
		return err
	})
	return fn, ok
}

func (l *workerSlot) start() {
	s := l.sim
	l.started++
	p := s.newProcess(fmt.Sprintf("worker %d.%d", l.number, l.started))
	ctx, stop := context.WithCancel(context.Background())
	w := &worker{process: p, stop: stop, ended: make(chan struct{})}
	l.now, l.latest = w, p
	p.onEnd = func() {
		if l.now == w {
			l.now = nil
		}
		s.shake()
		go func() {
			time.Sleep(time.Microsecond)
			stop()
			s.sleep(between(s.draw("restart", p.name), 100*time.Millisecond, 10*time.Second))
			if !s.isOver() && l.latest == p {
				l.start()
			}
		}()
	}
	s.say(p.name, "starts")
	fn := s.workerFunction(p)
	if m := s.mutant; m != nil && m.worker != nil {
		fn = m.worker(fn)
	}
	cfg := jetstream.ConsumerConfig{Concurrency: 2, MaxTries: s.back.maxTries, Timeout: 10 * time.Second, DrainTimeout: 5 * time.Second, Logger: quiet,
		AckWait: time.Duration(10-3*((l.number+l.started)%2)) * time.Second, // two versions
		Backoff: func(try int) time.Duration { return min(500*time.Millisecond<<min(try, 10), 8*time.Second) }}
	go func() {
		defer close(w.ended)
		var consumer *jetstream.Consumer
		if s.attach(ctx, p, func(opened *jetstream.Stream) (err error) {
			consumer, err = jetstream.NewConsumer(ctx, opened, fn, cfg)
			return err
		}) {
			w.err = consumer.Run(ctx)
		}
	}()
}

// halt ends a worker as a deployment does.
func (l *workerSlot) halt() {
	w := l.now
	if w == nil {
		return
	}
	l.now = nil
	l.sim.say(w.name, "is asked to stop")
	w.stop()
	select {
	case <-w.ended:
	case <-w.gone:
		return
	case <-time.After(time.Minute):
		l.sim.breaks("%s doesn't stop", w.name)
	}
	w.once.Do(func() {
		w.died = l.sim.now()
		l.sim.say(w.name, "has stopped: %v", w.err)
		l.sim.shake()
		close(w.gone)
	})
}

// workerFunction is the function of a worker.
func (s *sim) workerFunction(p *process) receiver.HandlerFunc {
	keyed := func(fn receiver.HandlerFunc) receiver.HandlerFunc {
		return func(ctx context.Context, ev *walletcrew.Event) error {
			if key := receiver.Key(ctx); aboutOf(key) != ev.ID {
				s.breaks("the key of %s in the worker is %q", ev.ID, key)
			}
			err := fn(ctx, ev)
			if err != nil && !receiver.IsTemporary(err) && !receiver.IsDiscard(err) {
				s.mu.Lock()
				s.byID[ev.ID].hard++
				s.mu.Unlock()
			}
			return err
		}
	}
	hard := func(e *event) { // a panic doesn't return
		s.mu.Lock()
		e.hard++
		s.mu.Unlock()
	}
	work := func(ctx context.Context, e *event, effect func(context.Context) error) (err error) {
		ended := false
		defer func() {
			if !ended {
				hard(e)
			}
		}()
		err = s.work(ctx, p, e, effect)
		ended = true
		return err
	}
	if s.kind == stream {
		return keyed(func(ctx context.Context, ev *walletcrew.Event) error {
			e := s.byID[ev.ID]
			return work(ctx, e, s.effect(p, e))
		})
	}
	db := s.db.open(p)
	s.mu.Lock()
	s.ends = append(s.ends, func() { _ = db.Close() })
	s.mu.Unlock()
	d, err := sqldedupe.New(db, sqldedupe.Postgres, "sim", sqldedupe.WithRetention(s.retention))
	if err != nil {
		panic(err)
	}
	return keyed(d.Once(func(ctx context.Context, tx *sql.Tx, ev *walletcrew.Event) error {
		e := s.byID[ev.ID]
		return work(ctx, e, func(ctx context.Context) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO effects (event) VALUES ($1)", e.id)
			return err
		})
	}))
}

// shake says that a process has ended that may have had any of the events.
func (s *sim) shake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		e.shaken = true
	}
}

// mayComeAgain looks whether the function of a worker may be called again.
func (s *sim) mayComeAgain(e *event, before, again *run) {
	s.mu.Lock()
	made, running := before.effect, before.ended == 0 && !before.process.dead()
	excused := before.process.dead() || e.redriven > 0 // it may have become a dead letter, and have been handled all the same
	for _, x := range s.back.disturbed[before.process] {
		excused = excused || x.until >= before.began && x.from <= again.began
	}
	// One that was cut off itself may go on with an event that another has been given meanwhile, and has settled.
	since := again.began
	for _, r := range e.runs {
		if r.process == again.process {
			since = min(since, r.began)
		}
	}
	for _, x := range s.back.disturbed[again.process] {
		excused = excused || x.until >= since && x.from <= again.began
	}
	s.mu.Unlock()
	if !excused && (made || running) {
		s.breaks("%s: %s was given it, though %s had it since %v, had made its effect: %v, and was connected all the time",
			e.id, again.process.name, before.process.name, before.began, made)
	}
}

// emptied reports whether the stream is empty, and waits for that.
func (s *sim) emptied() bool {
	for {
		s.back.nats.mu.Lock()
		events := s.back.nats.streams["SIM"]
		n := 0
		if events != nil {
			n = len(events.msgs)
		}
		s.back.nats.mu.Unlock()
		if n == 0 {
			return true
		}
		if s.now() > s.calm+15*time.Minute {
			return false
		}
		s.sleep(5 * time.Second)
	}
}

// operators put the dead letters back, two of them at the same time.
func (s *sim) operators(ended *sync.WaitGroup) {
	for i := range 2 {
		ended.Go(func() {
			r := s.draw("operator", fmt.Sprint(i))
			for round := 1; ; round++ {
				last := s.now() > s.calm
				p := s.newProcess(fmt.Sprintf("operator %d.%d", i+1, round))
				s.attach(context.Background(), p, func(opened *jetstream.Stream) error {
					for dead, err := range opened.DeadLetters(context.Background()) {
						if err != nil || p.dead() {
							return nil
						}
						s.say(p.name, "puts %s back", dead.Event.ID)
						err = dead.Redrive(context.Background())
						s.say(p.name, "has put %s back: %v", dead.Event.ID, err)
					}
					return nil
				})
				p.once.Do(func() { close(p.gone) })
				if last {
					return
				}
				const every = 20 * time.Second
				s.sleep(every - s.now()%every + between(r, 0, 10*time.Millisecond))
			}
		})
	}
}

// isDead reports whether the event is among the dead letters.
func (s *sim) isDead(e *event) bool {
	s.back.nats.mu.Lock()
	defer s.back.nats.mu.Unlock()
	if dead := s.back.nats.streams["SIM_DEAD"]; dead != nil {
		for _, m := range dead.msgs {
			if eventOf(m.header) == e.id {
				return true
			}
		}
	}
	return false
}

// finallyStreamed looks at the whole.
func (s *sim) finallyStreamed(empty bool) {
	if !empty {
		s.breaks("events are in the stream still, %v after all was well again", s.now()-s.calm)
	}
	for _, e := range s.events {
		if e.settled > 0 && empty && s.effectsOf(e) == 0 && !e.dropped && !s.isDead(e) {
			s.breaks("%s was acknowledged, and is LOST: it had no effect, and is neither in the stream nor a dead letter", e.id)
		}
	}
	var stopping sync.WaitGroup
	for _, l := range s.back.workers {
		stopping.Go(l.halt)
	}
	stopping.Wait()
}
