package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// A kind of world: what its receivers use.
type kind string

const (
	memory kind = "memory" // receiver.NewMemoryDeduper, one process
	redisK kind = "redis"  // redisdedupe, several
	leases kind = "leases" // sqldedupe as a deduper
	once   kind = "once"   // sqldedupe.Once
	both   kind = "both"   // sqldedupe.Once behind sqldedupe as a deduper
)

var kinds = []kind{memory, redisK, leases, once, both, stream, streamOnce}

// An event is one of the platform's, and what became of it.
type event struct {
	id   string
	body []byte

	runs     []*run
	claims   []*claim
	claiming int           // calls of Claim that haven't returned
	calls    int           // functions that were called
	effects  int           // that were made; in a database: committed
	dropped  bool          // discarded by the function
	settled  time.Duration // when the platform had its 2xx
	answered int           // deliveries

	stored, deaths, redriven int  // in a stream: by receivers; as a dead letter; from there
	given, hard              int  // since then: deliveries to workers; calls that failed for good
	shaken                   bool // a worker has ended
}

// A run is a call of the function that made the effect, or may make it yet.
type run struct {
	process *process
	claim   *claim // nil without a deduper
	began   time.Duration
	ended   time.Duration // 0: it runs
	effect  bool
}

// A claim is a lease as its process knows it.
type claim struct {
	process   *process
	token     string
	asked     time.Duration // when it was asked for: the lease begins then or later
	granted   time.Duration // when the answer was there
	lease     time.Duration // as the documents say, whatever was asked for
	tried     time.Duration // the first time that it was tried to complete it: it may have been done then
	settling  time.Duration // the last time that it was tried to complete or release it
	failed    bool          // and that failed
	completed time.Duration // when it was said to be completed
	released  bool
	forgotten bool // by the server
}

// A sim is a world of receivers.
type sim struct {
	*world
	kind      kind
	retention time.Duration
	events    []*event
	byID      map[string]*event
	slots     []*slot
	redis     *redisServer
	db        *database
	back      *backstage     // nil without a stream
	senders   sync.WaitGroup // one for each event
	ends      []func()       // of processes, for the end

	rotated time.Duration // when the platform signs with the new secret
	tenants bool          // the source is verifier.Tenants
}

// A slot is where a replica runs, one after the other.
type slot struct {
	sim     *sim
	number  int
	started int
	latest  *process // that was started
	now     *replica // nil while there is none
}

// A replica is one receiver's process.
type replica struct {
	*process
	handler *receiver.Handler
	timeout time.Duration
	inside  map[*event]int // deliveries
}

const (
	maxTimeout  = 10 * time.Second
	leaseMargin = 10 * time.Second // how much longer than its time a lease is, says NewHandler
	tenant      = "acme"
	oldSecret   = walletcrew.Secret("k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E")
	newSecret   = walletcrew.Secret("Zt6Py8Wl1Dh3Cj5Ek7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4")
)

var quiet = slog.New(slog.DiscardHandler)

// secrets are what a receiver accepts: the new one a while before the platform uses it, the old one a while after, or with a SecretFunc for
// ever, since it names the scope of deduplication.
func (s *sim) secrets(context.Context, string) ([]walletcrew.Secret, error) {
	switch now := s.now(); {
	case s.rotated == 0 || now < s.rotated-time.Minute:
		return []walletcrew.Secret{oldSecret}, nil
	case now < s.rotated+2*time.Minute || !s.tenants:
		return []walletcrew.Secret{oldSecret, newSecret}, nil
	}
	return []walletcrew.Secret{newSecret}, nil
}

// source is where a receiver has its secrets from.
func (s *sim) source() verifier.SecretSource {
	secrets := verifier.SecretFunc(s.secrets)
	if !s.tenants {
		return secrets
	}
	return verifier.Tenants(func(context.Context, string) (verifier.Tenant, error) {
		return verifier.Tenant{ID: tenant, Source: secrets}, nil
	})
}

// start starts a replica.
func (l *slot) start() {
	s := l.sim
	l.started++
	p := s.newProcess(fmt.Sprintf("replica %d.%d", l.number, l.started))
	l.latest = p
	if !s.streamed() {
		deduper, fn, end := s.adapters(p)
		s.ends = append(s.ends, end)
		l.run(p, deduper, fn)
		return
	}
	p.onEnd = func() { l.again(p) }
	go func() {
		if fn, ok := s.publisher(p); ok && !p.dead() {
			l.run(p, nil, fn)
		}
	}()
}

// again starts another replica after a while.
func (l *slot) again(p *process) {
	s := l.sim
	if l.now != nil && l.now.process == p {
		l.now = nil
	}
	s.crashed()
	go func() {
		s.sleep(between(s.draw("restart", p.name), 100*time.Millisecond, 10*time.Second))
		if !s.isOver() && l.latest == p {
			l.start()
		}
	}()
}

// run makes the handler of a replica.
func (l *slot) run(p *process, deduper receiver.Deduper, fn receiver.HandlerFunc) {
	s := l.sim
	r := &replica{process: p, inside: map[*event]int{}, timeout: maxTimeout / time.Duration(1+(l.started+l.number)%2)} // two versions
	if s.draw("one timeout").IntN(2) == 0 || s.streamed() {                                                            // not that of a publish, 5 s: two things would end at one moment
		r.timeout = 8 * time.Second
	}
	p.onEnd = func() { l.again(p) }
	v, err := verifier.New(s.source())
	if err != nil {
		panic(err)
	}
	opts := []receiver.HandlerOption{receiver.WithTimeout(r.timeout), receiver.WithLogger(quiet), receiver.WithObserver(observe)}
	if m := s.mutant; m != nil {
		if m.function != nil {
			fn = m.function(s, p, fn)
		}
		if m.deduper != nil && deduper != nil {
			deduper = m.deduper(p, deduper)
		}
		opts = append(opts, m.options...)
	}
	if deduper != nil {
		opts = append(opts, receiver.WithDeduper(&watched{Deduper: deduper, sim: s, process: p, lease: r.timeout + leaseMargin}))
	}
	r.handler = receiver.NewHandler(v, fn, opts...)
	s.say(p.name, "starts, with a timeout of %v", r.timeout)
	l.now = r
}

// stop ends a replica as a deployment does: nothing more is sent to it, and it has a time to end.
func (l *slot) stop(patience time.Duration) {
	r := l.now
	if r == nil {
		return
	}
	l.now = nil
	l.sim.say(r.name, "is asked to stop")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.handler.Shutdown(ctx); err != nil && !r.dead() {
		r.crash("since it didn't stop: " + err.Error())
		return
	}
	r.once.Do(func() {
		l.sim.say(r.name, "has stopped")
		close(r.gone)
	})
}

// A watched deduper tells the world what the handler did with it.
type watched struct {
	receiver.Deduper
	sim     *sim
	process *process
	lease   time.Duration
}

// Unwrap lets the handler see a memory deduper.
func (d *watched) Unwrap() receiver.Deduper { return d.Deduper }

func (d *watched) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	e := d.sim.byID[aboutOf(key)]
	c := &claim{process: d.process, asked: d.sim.now(), lease: d.lease}
	d.sim.mu.Lock()
	e.claiming++
	d.sim.mu.Unlock()
	got, err := d.Deduper.Claim(ctx, key, lease)
	d.sim.mu.Lock()
	defer d.sim.mu.Unlock()
	e.claiming--
	if err == nil && got.State == receiver.Claimed {
		c.token, c.granted = got.Token, d.sim.now()
		e.claims = append(e.claims, c)
	}
	return got, err
}

func (d *watched) find(key, token string) *claim {
	d.sim.mu.Lock()
	defer d.sim.mu.Unlock()
	for _, c := range d.sim.byID[aboutOf(key)].claims {
		if c.process == d.process && c.token == token {
			return c
		}
	}
	return nil // of a claim whose answer was lost
}

func (d *watched) Complete(ctx context.Context, key, token string) error {
	c, asked := d.find(key, token), d.sim.now()
	if c == nil {
		return d.Deduper.Complete(ctx, key, token)
	}
	if c.tried == 0 {
		c.tried = asked
	}
	c.settling, c.failed = asked, true // until it is known
	err := d.Deduper.Complete(ctx, key, token)
	d.sim.told(d.sim.byID[aboutOf(key)], c, asked, err)
	d.sim.mu.Lock()
	defer d.sim.mu.Unlock()
	c.settling, c.failed = d.sim.now(), err != nil
	if err == nil && c.completed == 0 {
		c.completed = asked
	}
	return err
}

func (d *watched) Release(ctx context.Context, key, token string) error {
	c := d.find(key, token)
	if c == nil {
		return d.Deduper.Release(ctx, key, token)
	}
	err := d.Deduper.Release(ctx, key, token)
	d.sim.mu.Lock()
	defer d.sim.mu.Unlock()
	c.settling, c.failed = d.sim.now(), err != nil
	c.released = c.released || err == nil
	return err
}

// begin records that the function is called, and looks whether it may be.
func (s *sim) begin(p *process, e *event) (*run, *runPlan) {
	s.mu.Lock()
	e.calls++
	n := e.calls
	r := &run{process: p, began: s.now()}
	for _, c := range e.claims {
		if c.process == p {
			r.claim = c
		}
	}
	earlier := append([]*run(nil), e.runs...)
	e.runs = append(e.runs, r)
	s.mu.Unlock()
	plan := s.plan(e, n)
	s.say(p.name, "function of %s, call %d: %s", e.id, n, plan)
	switch s.kind {
	case once, both, streamOnce:
	case stream:
		for _, before := range earlier {
			s.mayComeAgain(e, before, r)
		}
	default:
		for _, before := range earlier {
			s.mayRunAgain(e, before, r)
		}
	}
	return r, plan
}

func (s *sim) end(r *run) {
	s.mu.Lock()
	r.ended = s.now()
	s.mu.Unlock()
}

// A runPlan is what one call of the function does.
type runPlan struct {
	before, after time.Duration // of the effect
	heeds         bool          // the context
	outcome       string
}

func (p *runPlan) String() string {
	text := fmt.Sprintf("%v, then %s", p.before.Round(time.Millisecond), p.outcome)
	if !p.heeds {
		text += ", whatever its context says"
	}
	return text
}

func (s *sim) plan(e *event, n int) *runPlan {
	r := s.draw("function", e.id, fmt.Sprint(n))
	p := &runPlan{before: between(r, time.Millisecond, 200*time.Millisecond), after: between(r, time.Microsecond, 100*time.Millisecond), heeds: r.IntN(2) == 0, outcome: "effect"}
	switch {
	case s.happens(r, "endless function", s.rates.endless):
		p.before, p.heeds = between(r, 15*time.Second, 60*time.Second), false
	case s.happens(r, "long function", s.rates.long):
		p.before = between(r, time.Second, 18*time.Second)
	}
	if r.IntN(3) == 0 {
		p.before, p.after = p.after, p.before
	}
	switch {
	case s.happens(r, "function fails", s.rates.fail):
		p.outcome = "fail"
	case s.happens(r, "function says temporary", s.rates.temporary):
		p.outcome = "temporary"
	case s.happens(r, "function panics", s.rates.panics):
		p.outcome = "panic"
	case s.happens(r, "function discards", s.rates.discard):
		p.outcome = "discard"
	}
	return p
}

var errFunction = errors.New("simulation: the function failed")

// work is the function: effect makes its effect.
func (s *sim) work(ctx context.Context, p *process, e *event, effect func(context.Context) error) error {
	if p.dead() {
		return errGone
	}
	r, plan := s.begin(p, e)
	defer s.end(r)
	chance := s.drawNext("work", e.id)
	waiting := ctx
	if !plan.heeds {
		waiting = context.WithoutCancel(ctx)
	}
	if !p.step(chance, "in the function of "+e.id+", before the effect") {
		return errGone
	}
	if err := p.pause(waiting, plan.before); err != nil {
		return err
	}
	switch plan.outcome {
	case "fail":
		return errFunction
	case "temporary":
		return receiver.Temporary(errFunction)
	case "panic":
		panic("simulation: the function panics")
	case "discard":
		s.mu.Lock()
		e.dropped = true
		s.mu.Unlock()
		return receiver.Discard(errFunction)
	}
	if err := effect(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	r.effect = true
	s.mu.Unlock()
	if !p.step(chance, "in the function of "+e.id+", after the effect") {
		return errGone
	}
	if err := p.pause(context.Background(), plan.after); err != nil {
		return err
	}
	return nil
}

// effect is one that happens somewhere else, at once.
func (s *sim) effect(p *process, e *event) func(context.Context) error {
	return func(context.Context) error {
		s.mu.Lock()
		e.effects++
		n := e.effects
		s.mu.Unlock()
		s.say(p.name, "EFFECT of %s, number %d", e.id, n)
		return nil
	}
}

// A delivered is an attempt of the platform.
type delivered struct {
	header http.Header
	sent   chan struct{} // closed when the answer has gone out
	once   sync.Once
	status int
	out    receiver.Outcome
}

type deliveredKey struct{}

func observe(ctx context.Context, out receiver.Outcome) {
	if d, ok := ctx.Value(deliveredKey{}).(*delivered); ok {
		d.out = out
	}
}

func (d *delivered) Header() http.Header { return d.header }
func (d *delivered) WriteHeader(status int) {
	if d.status == 0 {
		d.status = status
	}
}

func (d *delivered) Write(p []byte) (int, error) {
	d.WriteHeader(http.StatusOK)
	return len(p), nil
}

// Flush sends what there is.
func (d *delivered) Flush() {
	d.WriteHeader(http.StatusOK)
	d.once.Do(func() { close(d.sent) })
}

// crowded reports whether any number of deliveries of one event may be in one replica. If not, it is two, one of which waits for the other: of
// three, two may wait until the same moment, and which of two timers of one moment comes first is up to chance in a bubble. So only these
// seeds are not quite the same each time.
func (w *world) crowded() bool { return w.seed%8 == 7 }

func (s *sim) inside(r *replica, e *event, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.inside[e] += by
}

// deliver is one attempt. It returns the status that the platform got, 0 for none.
func (s *sim) deliver(e *event, n int) int {
	r := s.draw("deliver", e.id, fmt.Sprint(n))
	var up []*replica
	s.mu.Lock()
	for _, l := range s.slots {
		if l.now != nil && (s.crowded() || l.now.inside[e] < 2) {
			up = append(up, l.now)
		}
	}
	s.mu.Unlock()
	if len(up) == 0 {
		return 0
	}
	to := up[r.IntN(len(up))]
	patience := 30 * time.Second
	if s.happens(r, "sender hangs up", s.rates.hangUp) {
		patience = between(r, time.Millisecond, 12*time.Second)
	}
	secret := oldSecret
	if s.rotated > 0 && s.now() >= s.rotated {
		secret = newSecret
	}
	d := &delivered{header: http.Header{}, sent: make(chan struct{})}
	ctx, hangUp := context.WithCancel(context.WithValue(context.Background(), deliveredKey{}, d))
	defer hangUp()
	began := s.now()
	s.say("platform", "delivers %s to %s, attempt %d", e.id, to.name, n)
	s.inside(to, e, 1)
	go func() {
		defer s.inside(to, e, -1)
		defer d.Flush()
		to.handler.ServeHTTP(d, post(ctx, secret, e))
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-d.sent:
	case <-to.gone:
		s.say("platform", "gets no answer for %s: %s has gone", e.id, to.name)
		return 0
	case <-timer.C:
		s.say("platform", "hangs up on %s after %v", e.id, patience.Round(time.Millisecond))
		return 0
	}
	if to.dead() {
		return 0
	}
	s.say("platform", "has %d for %s (%s %s)", d.status, e.id, d.out.Result, d.out.Reason)
	s.judge(e, to, d, s.now()-began)
	if s.happens(r, "answer to the platform lost", s.rates.answerLost) {
		s.say("platform", "the answer for %s is LOST", e.id)
		return 0
	}
	return d.status
}

func post(ctx context.Context, secret walletcrew.Secret, e *event) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/", bytes.NewReader(e.body))
	if err != nil {
		panic(err)
	}
	r.Header = http.Header{
		walletcrew.HeaderSignature: {walletcrew.Sign(secret, e.body)},
		walletcrew.HeaderEventName: {"Pass:Installed"},
		walletcrew.HeaderTenantID:  {tenant},
	}
	return r
}

// platform delivers an event until it gets a 2xx, and then some more.
func (s *sim) platform(e *event) {
	r := s.draw("platform", e.id)
	s.sleep(between(r, 0, s.calm))
	extra := r.IntN(3)
	n := 0
	var twins sync.WaitGroup
	defer twins.Wait()
	for {
		n++
		if r.IntN(4) == 0 { // the same at the same time
			twin := n
			n++
			twins.Go(func() {
				s.sleep(between(s.draw("twin", e.id, fmt.Sprint(twin)), 0, 300*time.Millisecond))
				s.deliver(e, twin)
			})
		}
		status := s.deliver(e, n)
		e.answered++
		if status/100 == 2 {
			if e.settled == 0 {
				e.settled = s.now()
			}
			if extra == 0 {
				return
			}
			extra--
			s.sleep(between(r, time.Millisecond, min(s.retention*3/2, 4*time.Minute)))
			continue
		}
		if s.now() > s.calm+5*time.Minute {
			return
		}
		wait := between(r, 100*time.Millisecond, 15*time.Second)
		if r.IntN(3) == 0 {
			wait /= 50
		}
		s.sleep(wait)
	}
}
