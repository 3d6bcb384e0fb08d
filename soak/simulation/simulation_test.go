package simulation

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/redisdedupe"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// One thread runs all of a world, and the garbage is collected between two worlds: so the goroutines of one moment run in the same order each
// time. The world's own notes rely on that one thread, so the race detector has nothing to look for here.
func TestMain(m *testing.M) {
	if raceDetector {
		fmt.Println("the simulation runs without the race detector")
		return
	}
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	os.Exit(m.Run())
}

// adapters makes what a replica uses: a deduper, or nil, and the function. Close is called at the end.
func (s *sim) adapters(p *process) (deduper receiver.Deduper, fn receiver.HandlerFunc, end func()) {
	plain := func(ctx context.Context, ev *walletcrew.Event) error {
		e := s.byID[ev.ID]
		return s.work(ctx, p, e, s.effect(p, e))
	}
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	switch s.kind {
	case memory:
		return receiver.NewMemoryDeduper(0, s.retention), plain, func() {}
	case redisK:
		client := s.redis.client(p)
		d, err := redisdedupe.New(client, "sim", redisdedupe.WithRetention(s.retention))
		must(err)
		return d, plain, func() { _ = client.Close() }
	}
	db := s.db.open(p)
	d, err := sqldedupe.New(db, sqldedupe.Postgres, "sim", sqldedupe.WithRetention(s.retention))
	must(err)
	end = func() { _ = db.Close() }
	switch s.kind {
	case leases:
		return d, plain, end
	case both:
		deduper = d
	}
	onced := func(ctx context.Context, tx *sql.Tx, ev *walletcrew.Event) error {
		e := s.byID[ev.ID]
		return s.work(ctx, p, e, func(ctx context.Context) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO effects (event) VALUES ($1)", e.id)
			return err
		})
	}
	if m := s.mutant; m != nil && m.once != nil {
		return deduper, m.once(s, db, d, onced), end
	}
	return deduper, d.Once(onced), end
}

// run is a world of receivers from its beginning to its end.
func (s *sim) run() {
	r := s.draw("world")
	s.kind = kinds[r.IntN(len(kinds))]
	if m := s.mutant; m != nil && len(m.kinds) > 0 {
		s.kind = m.kinds[r.IntN(len(m.kinds))]
	}
	s.retention = time.Hour
	if r.IntN(4) == 0 && !s.transactional() {
		s.retention = between(r, time.Minute, 3*time.Minute)
	}
	replicas := 1 + r.IntN(3)
	switch s.kind {
	case memory:
		replicas = 1
	case redisK:
		s.redis = newRedisServer(s.world)
		defer s.redis.lua.Close()
	case stream:
	default:
		s.db = newDatabase(s.world)
	}
	if s.streamed() {
		s.openStream()
	}
	s.say("world", "seed %d: %s, %d replicas, calm after %v", s.seed, s.kind, replicas, s.calm)
	s.byID = map[string]*event{}
	for i := range 2 + r.IntN(4) {
		id := "e" + strconv.Itoa(i+1)
		e := &event{id: id, body: []byte(`{"__id":"` + id + `","passId":"p-1"}`)}
		s.events = append(s.events, e)
		s.byID[id] = e
	}
	s.tenants = s.draw("source").IntN(2) == 0
	if s.rates.rotations > 1 {
		s.count("rotation")
		s.rotated = between(r, 0, s.calm)
	}
	for i := range replicas {
		l := &slot{sim: s, number: i + 1}
		s.slots = append(s.slots, l)
		l.start()
	}
	if s.redis != nil {
		go s.redis.live(func(r *rand.Rand) { s.redis.failover(r, s.forgot) })
	}
	if s.db != nil {
		go s.db.live(nil)
	}
	var operators sync.WaitGroup
	if s.streamed() {
		go s.back.nats.live(nil)
		for i := range 1 + r.IntN(2) {
			l := &workerSlot{sim: s, number: i + 1}
			s.back.workers = append(s.back.workers, l)
			l.start()
		}
		if r.IntN(2) == 0 {
			s.operators(&operators)
		}
	}
	if s.rates.deploys > 1 {
		go s.deploy()
	}
	for _, e := range s.events {
		s.senders.Go(func() { s.platform(e) })
	}
	s.senders.Wait()
	if s.streamed() {
		operators.Wait()
		s.finallyStreamed(s.emptied())
	}
	s.finally()
	close(s.over)
	time.Sleep(3 * time.Minute) // crashed processes go on until the leases end that they couldn't give back
	for _, end := range s.ends {
		end()
	}
}

// deploy replaces the replicas one after the other.
func (s *sim) deploy() {
	r := s.draw("deploy")
	s.sleep(between(r, 0, s.calm))
	for _, l := range s.slots {
		if s.isCalm() {
			return
		}
		if l.now == nil {
			continue
		}
		s.count("deploy")
		p := l.latest
		l.stop(between(r, time.Second, 40*time.Second))
		s.sleep(between(r, time.Millisecond, 5*time.Second))
		if l.latest == p && !s.isOver() {
			l.start()
		}
	}
	if !s.streamed() {
		return
	}
	for _, l := range s.back.workers {
		if s.isCalm() {
			return
		}
		if l.now == nil {
			continue
		}
		s.count("deploy")
		p := l.latest
		l.halt()
		s.sleep(between(r, time.Millisecond, 5*time.Second))
		if l.latest == p && !s.isOver() {
			l.start()
		}
	}
}

// A result is what came of a seed.
type result struct {
	seed    uint64
	broken  []string
	history []string
	faults  map[string]int
	lasted  time.Duration // in the world's time
}

func (r *result) hash() uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(strings.Join(r.history, "\n")))
	return h.Sum64()
}

// simulate runs a seed. A goroutine that never ends is one of the rules that it may break.
func simulate(t *testing.T, seed uint64, m *mutant) (res *result) {
	runtime.GC() // twice empties each sync.Pool: nats.go has one of timers, and those of another bubble can't be used
	runtime.GC()
	res = &result{seed: seed}
	defer func() {
		if value := recover(); value != nil {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			for stack := range strings.SplitSeq(string(stacks), "\n\n") {
				if strings.Contains(stack, "synctest bubble") {
					res.broken = append(res.broken, fmt.Sprintf("%v: %s", value, stack))
				}
			}
		}
	}()
	synctest.Test(t, func(*testing.T) {
		w := newWorld(seed, m)
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			res.broken, res.history, res.faults, res.lasted = w.broken, w.lines, w.faults, w.now()
		}()
		(&sim{world: w}).run()
	})
	return res
}

// seeds are those that are asked for: WALLETCREW_SIMULATION is one, "17", or a range, "0-100000".
func seeds(t *testing.T, count uint64) (from, to uint64) {
	text := os.Getenv("WALLETCREW_SIMULATION")
	if text == "" {
		return 0, count
	}
	first, last, isRange := strings.Cut(text, "-")
	from, err := strconv.ParseUint(first, 10, 64)
	to = from + 1
	if isRange && err == nil {
		to, err = strconv.ParseUint(last, 10, 64)
	}
	if err != nil {
		t.Fatalf("WALLETCREW_SIMULATION=%q: it must be a seed, or two with a '-' between", text)
	}
	return from, to
}

func TestNothingIsLostAndNothingIsDoneTwice(t *testing.T) {
	from, to := seeds(t, 200)
	began, faults, failures := time.Now(), map[string]int{}, 0
	var lived time.Duration
	for seed := from; seed < to; seed++ {
		res := simulate(t, seed, nil)
		lived += res.lasted
		for kind, n := range res.faults {
			faults[kind] += n
		}
		if len(res.broken) > 0 {
			failures++
			t.Errorf("seed %d:\n%s\nhistory:\n%s", seed, strings.Join(res.broken, "\n"), strings.Join(res.history, "\n"))
			if failures == 3 {
				t.FailNow()
			}
		} else if to == from+1 {
			t.Logf("history:\n%s", strings.Join(res.history, "\n"))
		}
	}
	t.Logf("%d seeds in %v, %v in their worlds; faults: %v", to-from, time.Since(began).Round(time.Millisecond), lived.Round(time.Second), faults)
}

// Seeds that found something in our code, or in a rule.
func TestSeedsThatFailed(t *testing.T) {
	for seed, about := range map[uint64]string{
		1000104: "Redrive asked the server without end for a claim that was gone",
		2000299: "a dead letter whose event was handled all the same, and is put back",
		14937:   "a worker that is asked to stop while it can't reach the server yet",
	} {
		if res := simulate(t, seed, nil); len(res.broken) > 0 {
			t.Errorf("seed %d (%s):\n%s\nhistory:\n%s", seed, about, strings.Join(res.broken, "\n"), strings.Join(res.history, "\n"))
		}
	}
}

// A seed gives the same history each time. Of three, two must be alike: the machine may have stopped the only thread for so long that the
// runtime let another goroutine go first.
func TestASeedShowsItselfAgain(t *testing.T) {
	for seed := range uint64(50) {
		if (&world{seed: seed}).crowded() {
			continue
		}
		one, two := simulate(t, seed, nil), simulate(t, seed, nil)
		if one.hash() == two.hash() {
			continue
		}
		three := simulate(t, seed, nil)
		if three.hash() != one.hash() && three.hash() != two.hash() {
			t.Errorf("seed %d: %s", seed, difference(one.history, two.history))
		}
	}
}

func difference(one, two []string) string {
	for i := range min(len(one), len(two)) {
		if one[i] != two[i] {
			return fmt.Sprintf("line %d is\n%s\nand then\n%s", i, one[i], two[i])
		}
	}
	return "one history ends before the other"
}
