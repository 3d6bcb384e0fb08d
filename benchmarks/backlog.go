package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// An eventStore is a durable hand-over with what it stores in, which nobody else uses.
type eventStore interface {
	name() string
	take(ctx context.Context, e *walletcrew.Event) error
	// work calls fn for events until ctx ends.
	work(ctx context.Context, fn receiver.HandlerFunc)
	// fill adds events that wait, in whatever way is fast.
	fill(n int)
	// stored is in bytes.
	stored() float64
	starts() []start
	// serverCPU is what the server has used, if it is another process and can be seen; else 0.
	serverCPU() time.Duration
	// bury adds dead letters.
	bury(n int)
	// dead lists the dead letters, while do returns true.
	dead(ctx context.Context, do func(redrive func(context.Context) error) bool)
	lookUps() []lookUp
}

// A lookUp is a question about dead letters that answers with little.
type lookUp struct {
	name string
	do   func()
}

// A start is how a worker can come back; it returns after how long it was given its first event.
type start struct {
	name string
	do   func() time.Duration
}

// backlogCurve: events that wait for a worker that was away.
func backlogCurve() growth {
	const x, rate = "events that wait", "events a second"
	const taken, done, cpu = "Taken, 16 at once", "Worked off, 16 at once", "CPU"
	const memory, disk, restart = "Memory of the Go process", "Stored", "From a start to the first event"
	return growth{
		name: "backlog", title: "A backlog of events of 600 bytes, in JetStream (embedded) and in River (PostgreSQL)",
		panels: []panel{
			{title: taken, x: x, y: rate, linear: true},
			{title: done, x: x, y: rate, linear: true},
			{title: cpu, x: x, y: "µs an event"},
			{title: restart, x: x, y: "milliseconds"},
			{title: memory, x: x, y: "heap, MiB"},
			{title: disk, x: x, y: "MiB"},
		},
		measure: func(quick bool, add func(point)) error {
			sizes, sample := []int{1000, 10_000, 100_000, 1_000_000}, 2000
			if quick {
				sizes, sample = []int{200, 600}, 100
			}
			return onStores(true, func(s eventStore, before float64) {
				waiting := 0
				for _, size := range sizes {
					s.fill(size - waiting)
					at := float64(size)
					measure := func(title, how string, do func(eventStore, int) (perSecond, used float64)) {
						server := s.serverCPU()
						rate, used := do(s, sample)
						add(point{title, s.name(), at, rate})
						add(point{cpu, s.name() + ", " + how, at, used})
						if server = s.serverCPU() - server; server > 0 {
							add(point{cpu, s.name() + ", " + how + ", PostgreSQL", at, server.Seconds() * 1e6 / float64(sample)})
						}
					}
					measure(taken, "taken", takeRate)
					add(point{memory, s.name(), at, max(heapBytes()-before, 1) / (1 << 20)})
					add(point{disk, s.name(), at, s.stored() / (1 << 20)})
					for _, start := range s.starts() {
						add(point{restart, start.name, at, start.do().Seconds() * 1e3})
						sample++ // which handled one
					}
					measure(done, "worked off", workRate)
					waiting = size
				}
			})
		},
	}
}

// onStores measures one store after the other. With synced, each commit waits for the disk, as by default. Before is how much the heap held
// without the store.
func onStores(synced bool, measure func(s eventStore, before float64)) error {
	dir, err := os.MkdirTemp("", "walletcrew-growth-")
	must(err)
	defer func() { _ = os.RemoveAll(dir) }()
	before := heapBytes()
	s := openStream(filepath.Join(dir, "stream"), filepath.Join(dir, "copy"), synced)
	measure(s, before)
	s.close()

	before = heapBytes()
	r, err := openRiver(synced)
	if err != nil {
		return err
	}
	defer r.close()
	measure(r, before)
	return nil
}

// keyedEvent returns an event that nobody has seen, with its key.
func keyedEvent(id int64) (context.Context, *walletcrew.Event) {
	body := bytes.Clone(installed)
	copy(body[len(`{"__id":"`):], fmt.Sprintf("%08x", id))
	e, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, body)
	must(err)
	e.TenantID = tenant
	return receiver.WithKey(context.Background(), "-/"+e.ID), e
}

var events atomic.Int64

// takeAll has n new events taken, so many at once.
func takeAll(s eventStore, n, atOnce int) {
	var left atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				ctx, e := keyedEvent(events.Add(1))
				err := s.take(ctx, e)
				for receiver.IsTemporary(err) { // as the platform does it
					err = s.take(ctx, e)
				}
				must(err)
			}
		})
	}
	all.Wait()
}

// takeRate returns how many events a second were taken, and the microseconds of CPU for one.
func takeRate(s eventStore, n int) (perSecond, cpu float64) {
	began, used := time.Now(), cpuTime()
	takeAll(s, n, 16)
	return float64(n) / time.Since(began).Seconds(), (cpuTime() - used).Seconds() * 1e6 / float64(n)
}

// workRate is of the n events after the first.
func workRate(s eventStore, n int) (perSecond, cpu float64) {
	var mu sync.Mutex
	var began time.Time
	var took, used time.Duration
	worked := 0
	ctx, stop := context.WithCancel(context.Background())
	s.work(ctx, func(context.Context, *walletcrew.Event) error {
		mu.Lock()
		defer mu.Unlock()
		switch worked++; worked {
		case 1:
			began, used = time.Now(), cpuTime()
		case n + 1:
			took, used = time.Since(began), cpuTime()-used
			stop()
		}
		return nil
	})
	return float64(n) / took.Seconds(), used.Seconds() * 1e6 / float64(n)
}

// untilTheFirst starts a worker, and returns when it was given an event.
func untilTheFirst(s eventStore) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s.work(ctx, func(context.Context, *walletcrew.Event) error { stop(); return nil })
}

// heapBytes is what this process's heap holds after a collection.
func heapBytes() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers held
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// deadLettersCurve: many events that nobody could handle, and what an operator does with them.
func deadLettersCurve() growth {
	const x = "dead letters"
	const list, redrive, memory, one = "List all", "Redrive all, 16 at once", "Memory while listing", "Asked for little"
	return growth{
		name: "dead-letters", title: "More dead letters, in JetStream (embedded) and in River (PostgreSQL), without waiting for the disk",
		panels: []panel{
			{title: list, x: x, y: "µs a letter"},
			{title: redrive, x: x, y: "µs a letter"},
			{title: memory, x: x, y: "heap in the middle, KiB"},
			{title: one, x: x, y: "µs a call"},
		},
		measure: func(quick bool, add func(point)) error {
			sizes := []int{1000, 10_000, 100_000}
			if quick {
				sizes = []int{50, 200}
			}
			return onStores(false, func(s eventStore, _ float64) {
				for _, size := range sizes {
					at := float64(size)
					s.bury(size)
					for _, l := range s.lookUps() {
						add(point{one, l.name, at, medianOf(21, l.do).Seconds() * 1e6})
					}
					add(point{list, s.name(), at, listing(s, size, func(int) {}).Seconds() * 1e6 / at})
					before, held := heapBytes(), 0.0
					listing(s, size, func(at int) {
						if at == size/2 {
							held = heapBytes() - before
						}
					})
					add(point{memory, s.name(), at, max(held, 1024) / 1024})
					add(point{redrive, s.name(), at, redriveAll(s).Seconds() * 1e6 / at})
					listing(s, 0, func(int) {})
				}
			})
		},
	}
}

func redriveAll(s eventStore) time.Duration {
	ctx, began := context.Background(), time.Now()
	listed := make(chan func(context.Context) error)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for redrive := range listed {
				must(redrive(ctx))
			}
		})
	}
	s.dead(ctx, func(redrive func(context.Context) error) bool { listed <- redrive; return true })
	close(listed)
	all.Wait()
	return time.Since(began)
}

// listing returns how long it took to read all, which must be want.
func listing(s eventStore, want int, at func(int)) time.Duration {
	began, n := time.Now(), 0
	s.dead(context.Background(), func(func(context.Context) error) bool { at(n); n++; return true })
	ensure(n == want, fmt.Sprintf("%d dead letters instead of %d", n, want))
	return time.Since(began)
}

func medianOf(n int, do func()) time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		began := time.Now()
		do()
		all[i] = time.Since(began)
	}
	slices.Sort(all)
	return all[n/2]
}
