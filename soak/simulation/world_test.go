package simulation

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// A world is all that one seed decides. It runs in a bubble of testing/synctest, where time passes only when nobody has anything to do.
//
// Nothing in it draws from a stream of chance that others draw from, too: a draw belongs to whom and what it is for, see draw. So it
// doesn't matter in which order the goroutines of one moment run. And each step ends at a nanosecond of its own, so that one moment
// rarely has two.
type world struct {
	seed   uint64
	began  time.Time
	mutant *mutant
	rates  rates
	calm   time.Duration // nothing goes wrong after that
	over   chan struct{} // closed when the world ends: then nothing waits any more

	mu      sync.Mutex
	lines   []string
	broken  []string
	faults  map[string]int // how often each kind was injected
	drawn   map[string]int
	windows map[string][]window // by event: when a fault may make it look as if somebody had it
	jumps   []jump
}

// A window is a time in which something is excused.
type window struct{ from, until time.Duration }

// A jump is one of a server's clock.
type jump struct {
	at time.Duration
	by time.Duration
}

// rates say how often something goes wrong at a step, from 0 to 1. Each seed has some of them: a world with all of them at once hides what
// two of them do.
type rates struct {
	lostBefore, lostAfter, slow, crash, hangUp, answerLost       float64
	fail, temporary, panics, discard, long, endless              float64
	outages, jumps, failovers, deploys, rotations, moves, pauses float64
}

func newWorld(seed uint64, m *mutant) *world {
	w := &world{seed: seed, began: time.Now(), mutant: m, over: make(chan struct{}), faults: map[string]int{}, drawn: map[string]int{},
		windows: map[string][]window{}}
	r := w.draw("rates")
	w.calm = time.Duration(60+r.IntN(120)) * time.Second
	pick := func(most float64) float64 {
		if r.IntN(2) == 0 {
			return 0
		}
		return most * r.Float64()
	}
	w.rates = rates{
		lostBefore: pick(0.2), lostAfter: pick(0.2), slow: pick(0.1), crash: pick(0.03), hangUp: pick(0.2), answerLost: pick(0.3),
		fail: pick(0.4), temporary: pick(0.4), panics: pick(0.2), discard: pick(0.1), long: pick(0.3), endless: pick(0.1),
		outages: pick(3), jumps: pick(3), failovers: pick(2), deploys: pick(2), rotations: pick(2), moves: pick(2), pauses: pick(2),
	}
	return w
}

// draw returns a source of chance that belongs to these labels and the seed alone.
func (w *world) draw(labels ...string) *rand.Rand {
	h := fnv.New64a()
	for _, l := range labels {
		_, _ = io.WriteString(h, l)
		_, _ = h.Write([]byte{0})
	}
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

// drawNext is draw for what happens several times: each time another.
func (w *world) drawNext(labels ...string) *rand.Rand {
	label := strings.Join(labels, "\x00")
	w.mu.Lock()
	w.drawn[label]++
	n := w.drawn[label]
	w.mu.Unlock()
	return w.draw(append(labels, fmt.Sprint(n))...)
}

// between draws a time, to the nanosecond.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

// now is the time since the world began.
func (w *world) now() time.Duration { return time.Since(w.began) }

// isCalm reports whether nothing goes wrong any more.
func (w *world) isCalm() bool { return w.now() > w.calm || w.isOver() }

func (w *world) isOver() bool {
	select {
	case <-w.over:
		return true
	default:
		return false
	}
}

// happens decides whether a fault is injected, and counts it.
func (w *world) happens(r *rand.Rand, kind string, rate float64) bool {
	if rate == 0 || r.Float64() >= rate || w.isCalm() {
		return false
	}
	w.count(kind)
	return true
}

func (w *world) count(kind string) {
	w.mu.Lock()
	w.faults[kind]++
	w.mu.Unlock()
}

// say adds a line to the history.
func (w *world) say(who, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf("%13.6fs  %-12s %s", w.now().Seconds(), who, fmt.Sprintf(format, args...)))
}

// breaks reports a rule that was broken.
func (w *world) breaks(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.mu.Lock()
	w.broken = append(w.broken, text)
	w.mu.Unlock()
	w.say("BROKEN", "%s", text)
}

// anyEvent stands for a call that is about no event, or that doesn't say about which.
const anyEvent = "-"

// excuse says that for this time the event may look held, and why doesn't matter.
func (w *world) excuse(event string, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.windows[event] = append(w.windows[event], window{w.now(), w.now() + d})
}

func (w *world) excused(event string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range slices.Concat(w.windows[event], w.windows[anyEvent]) {
		if now := w.now(); x.from <= now && now <= x.until {
			return true
		}
	}
	return false
}

// jumped says by how much the servers' clock was set forward since then, and by how much back.
func (w *world) jumped(since time.Duration) (forward, back time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, j := range w.jumps {
		if j.at >= since {
			forward += max(j.by, 0)
			back += max(-j.by, 0)
		}
	}
	return forward, back
}

// sleep waits, but not after the end.
func (w *world) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.over:
	}
}

var (
	errLost = fmt.Errorf("simulation: the connection broke: %w", io.ErrUnexpectedEOF)
	errGone = errors.New("simulation: the process has crashed, or the world has ended")
)

// A process is one that can crash: from then on, each of its calls fails at once, and nothing that it does has an effect. (They can't block
// instead: database/sql holds a mutex meanwhile, and while somebody waits for a mutex, a bubble's time stands still.)
type process struct {
	w     *world
	name  string
	gone  chan struct{}
	skew  time.Duration // of its own clock
	once  sync.Once
	died  time.Duration
	onEnd func()
}

func (w *world) newProcess(name string) *process {
	return &process{w: w, name: name, gone: make(chan struct{}), skew: between(w.draw("skew", name), -2*time.Minute, 2*time.Minute)}
}

func (p *process) dead() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

func (p *process) crash(where string) {
	p.once.Do(func() {
		p.died = p.w.now()
		p.w.say(p.name, "CRASHES %s", where)
		close(p.gone)
		if p.onEnd != nil {
			p.onEnd()
		}
	})
}

// step is a moment at which the process may crash. It reports whether to go on.
func (p *process) step(r *rand.Rand, where string) bool {
	if !p.dead() && p.w.happens(r, "crash", p.w.rates.crash) {
		time.Sleep(time.Microsecond) // others of this moment go first, each time
		p.crash(where)
	}
	return !p.dead()
}

// pause is a step that takes time.
func (p *process) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		time.Sleep(time.Microsecond) // others who wait for it go first, each time
		return ctx.Err()
	case <-p.gone:
	case <-p.w.over:
	}
	return errGone
}

// A server is away now and then. Its clock is its own.
type server struct {
	w      *world
	name   string
	mu     sync.Mutex
	down   bool
	offset time.Duration
}

func (s *server) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// live makes outages and jumps of the clock until it is calm. Nothing that is simulated goes by the clock of NATS.
func (s *server) live(forget func(r *rand.Rand)) {
	w, r := s.w, s.w.draw("server", s.name)
	var acts []func()
	for n := range 8 {
		switch {
		case float64(n) < w.rates.outages:
			acts = append(acts, func() {
				if w.isCalm() {
					return
				}
				w.count("outage")
				s.set(func() { s.down = true })
				w.say(s.name, "is AWAY")
				w.sleep(between(r, 100*time.Millisecond, 20*time.Second))
				s.set(func() { s.down = false })
				w.say(s.name, "is back")
			})
		case float64(n) < w.rates.outages+w.rates.jumps && s.name != "nats":
			acts = append(acts, func() {
				if w.isCalm() {
					return
				}
				w.count("clock jump")
				by := between(r, -40*time.Second, 40*time.Second)
				w.mu.Lock()
				w.jumps = append(w.jumps, jump{w.now(), by})
				w.mu.Unlock()
				s.set(func() { s.offset += by })
				if by < 0 {
					w.excuse(anyEvent, w.longestLease())
				}
				w.say(s.name, "its clock JUMPS by %v", by)
			})
		case forget != nil && float64(n) < w.rates.outages+w.rates.jumps+w.rates.failovers:
			acts = append(acts, func() {
				if w.isCalm() {
					return
				}
				w.count("failover")
				forget(r)
			})
		}
	}
	r.Shuffle(len(acts), func(i, j int) { acts[i], acts[j] = acts[j], acts[i] })
	for _, act := range acts {
		w.sleep(between(r, time.Second, w.calm/4))
		act()
	}
}

func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// A request is a call to a server. Effect runs there, and says what is answered. Arrived is called when it has run, or never will; it may be
// nil. About is the event.
type request struct {
	call, about string
	effect      func() string
	arrived     func()
}

// ask carries a call of a process to a server, and the answer back. The request or the answer may be lost, the request may take longer than
// any lease, and arrive although the caller has given up; the process may crash before, meanwhile and after.
func (p *process) ask(ctx context.Context, s *server, q request) error {
	w, call, about := p.w, q.call, q.about
	if q.arrived == nil {
		q.arrived = func() {}
	}
	r := w.drawNext("ask", p.name, s.name, call, about)
	if !p.step(r, "before "+call+" of "+about) {
		q.arrived()
		return errGone
	}
	there, back := between(r, 100*time.Microsecond, 2*time.Millisecond), between(r, 100*time.Microsecond, 2*time.Millisecond)
	before := w.happens(r, "request lost", w.rates.lostBefore)
	after := !before && w.happens(r, "answer lost", w.rates.lostAfter)
	slow := !before && !after && w.happens(r, "slow", w.rates.slow)
	note := ""
	switch {
	case slow:
		there = between(r, time.Second, 60*time.Second)
		w.excuse(about, there+time.Minute)
	case before, after:
		w.excuse(about, 10*time.Second)
		note = ", ANSWER LOST"
		if r.IntN(2) == 0 { // the client waits in vain
			back = between(r, time.Second, 3*time.Second)
		}
	}
	result := make(chan error, 1)
	go func() {
		w.sleep(there)
		select {
		case <-w.over:
			q.arrived()
			result <- errGone
			return
		default:
		}
		switch {
		case before:
			w.say(p.name, "%s %s: REQUEST LOST", call, about)
		case s.isDown():
			before = true
			w.excuse(about, 10*time.Second)
			w.say(p.name, "%s %s: %s is away", call, about, s.name)
		default:
			w.say(p.name, "%s %s: %s%s", call, about, q.effect(), note)
		}
		q.arrived()
		w.sleep(back)
		if before || after {
			result <- errLost
			return
		}
		result <- nil
	}()
	var err error
	select {
	case err = <-result:
	case <-ctx.Done(): // no crash here: it would be at the very moment in which others see the end of the context, too
		w.excuse(about, 10*time.Second)
		return ctx.Err()
	case <-p.gone:
	case <-w.over:
		err = errGone
	}
	if !p.step(r, "after "+call+" of "+about) {
		return errGone
	}
	return err
}
