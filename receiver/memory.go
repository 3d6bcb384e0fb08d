package receiver

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"strconv"
	"sync"
	"time"
)

// NewMemoryDeduper returns a Deduper for one process. It remembers an event that is done for ttl. It remembers at most capacity events;
// beyond that, it forgets the one that was done first. It never forgets an event that is being handled; if those alone fill it, Claim
// fails. A capacity of 0 means 65,536 events, and a ttl of 0 means 24 hours. NewMemoryDeduper panics if either is negative, or if ttl is
// under 1 ms.
//
// It takes at most 200 bytes for each event, and a little more while other deliveries wait for it. It has no goroutine. It forgets
// everything when the process ends: after a restart, a duplicate of an earlier event is handled again.
func NewMemoryDeduper(capacity int, ttl time.Duration) Deduper {
	switch {
	case capacity < 0 || ttl < 0:
		panic("receiver: NewMemoryDeduper: capacity and ttl can't be negative")
	case ttl > 0 && ttl < time.Millisecond:
		panic(fmt.Sprintf("receiver: NewMemoryDeduper: a ttl of %v is under 1 ms: did you mean %d*time.Hour?", ttl, ttl))
	case int64(capacity) >= math.MaxInt32:
		panic("receiver: NewMemoryDeduper: capacity is over 2^31-2")
	}
	if capacity == 0 {
		capacity = 1 << 16
	}
	if ttl == 0 {
		ttl = 24 * time.Hour
	}
	return &memoryDeduper{
		capacity: capacity,
		ttl:      ttl,
		began:    time.Now(),
		seeds:    [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		index:    make(map[memoryKey]int32),
		free:     none,
		oldest:   none,
		newest:   none,
	}
}

type memoryDeduper struct {
	capacity int
	ttl      time.Duration
	began    time.Time
	seeds    [2]maphash.Seed

	mu             sync.Mutex
	tokens         uint64
	waiting        map[memoryKey]chan struct{} // closed when the key is completed, released or forgotten
	index          map[memoryKey]int32
	entries        []memoryEntry
	free           int32 // a chain through next
	oldest, newest int32 // of what is done, in the order in which it will be forgotten
}

// memoryKey stands for a key: two hashes with seeds of this process, which nobody outside can make collide.
type memoryKey [2]uint64

type memoryEntry struct {
	key   memoryKey
	until int64  // the end of the lease, or of what is remembered; see now
	token uint64 // 0: done
	next  int32
	prev  int32 // of what is done
}

const none = int32(-1)

var errDeduperFull = errors.New("receiver: the memory deduper is full of events that are being handled")

func (m *memoryDeduper) hash(key string) memoryKey {
	return memoryKey{maphash.String(m.seeds[0], key), maphash.String(m.seeds[1], key)}
}

// now is the time since the start in nanoseconds: setting the clock doesn't end a lease.
func (m *memoryDeduper) now() int64 { return int64(time.Since(m.began)) }

func after(now int64, d time.Duration) int64 {
	if d > 0 && now > math.MaxInt64-int64(d) {
		return math.MaxInt64
	}
	return now + int64(d)
}

func (m *memoryDeduper) Claim(_ context.Context, key string, lease time.Duration) (Claim, error) {
	state, token, err := m.take(m.hash(key), m.now(), lease)
	if state != Claimed {
		return Claim{State: state}, err
	}
	return Claim{State: Claimed, Token: strconv.FormatUint(token, 36)}, nil
}

// take is the part of Claim that must be done at once.
func (m *memoryDeduper) take(k memoryKey, now int64, lease time.Duration) (ClaimState, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	i, ok := m.index[k]
	switch {
	case !ok:
		if i, ok = m.add(k, now); !ok {
			return 0, 0, errDeduperFull
		}
	case m.entries[i].until > now && m.entries[i].token == 0:
		return Done, 0, nil
	case m.entries[i].until > now:
		return Held, 0, nil
	case m.entries[i].token == 0: // forgotten, and not removed yet
		m.unchain(i)
	}
	m.tokens++
	m.entries[i].token, m.entries[i].until = m.tokens, after(now, lease)
	return Claimed, m.tokens, nil
}

// await waits while the key is held, and reports whether it was.
func (m *memoryDeduper) await(ctx context.Context, key string) bool {
	ended, left := m.holder(m.hash(key), m.now())
	if ended != nil {
		_ = await(ctx, ended, left)
	}
	return ended != nil
}

// holder returns what is closed when the key is given back, and what is left of its lease; nil if nobody holds it.
func (m *memoryDeduper) holder(k memoryKey, now int64) (ended chan struct{}, left time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.index[k]
	if !ok || m.entries[i].token == 0 || m.entries[i].until <= now {
		return nil, 0
	}
	if m.waiting == nil {
		m.waiting = make(map[memoryKey]chan struct{})
	}
	if m.waiting[k] == nil {
		m.waiting[k] = make(chan struct{})
	}
	return m.waiting[k], time.Duration(m.entries[i].until - now)
}

func (m *memoryDeduper) Complete(_ context.Context, key, token string) error {
	return m.settle(key, token, func(i int32, now int64) {
		e := &m.entries[i]
		e.token, e.until, e.prev, e.next = 0, after(now, m.ttl), m.newest, none
		if m.newest == none {
			m.oldest = i
		} else {
			m.entries[m.newest].next = i
		}
		m.newest = i
		m.wake(e.key)
	})
}

func (m *memoryDeduper) Release(_ context.Context, key, token string) error {
	return m.settle(key, token, func(i int32, _ int64) { m.remove(i) })
}

// settle ends the lease that has the token.
func (m *memoryDeduper) settle(key, token string, end func(i int32, now int64)) error {
	t, err := strconv.ParseUint(token, 36, 64)
	if err != nil || t == 0 {
		return ErrLeaseLost
	}
	k, now := m.hash(key), m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.index[k]
	if !ok || m.entries[i].token != t {
		return ErrLeaseLost
	}
	end(i, now)
	return nil
}

// wake lets those who wait for the key look again.
func (m *memoryDeduper) wake(k memoryKey) {
	if ended, ok := m.waiting[k]; ok {
		delete(m.waiting, k)
		close(ended)
	}
}

// forgottenAtOnce is how much of what is out of date a Claim removes, at most: more than comes in, and never all of a burst.
const forgottenAtOnce = 8

// forget removes some of what is out of date.
func (m *memoryDeduper) forget(now int64) {
	for range forgottenAtOnce {
		if m.oldest == none || m.entries[m.oldest].until > now {
			return
		}
		m.removeOldest()
	}
}

// add makes room if there is none: of what is done first, then of what was claimed and whose lease ran out.
func (m *memoryDeduper) add(k memoryKey, now int64) (int32, bool) {
	if len(m.index) >= m.capacity && m.oldest != none {
		m.removeOldest()
	}
	if len(m.index) >= m.capacity {
		for i := range m.entries {
			if e := &m.entries[i]; e.token != 0 && e.until <= now {
				m.remove(int32(i))
			}
		}
	}
	if len(m.index) >= m.capacity {
		return none, false
	}
	i := m.free
	if i == none {
		i = int32(len(m.entries)) //nolint:gosec // capacity fits
		m.entries = append(m.entries, memoryEntry{})
	} else {
		m.free = m.entries[i].next
	}
	m.entries[i] = memoryEntry{key: k, next: none}
	m.index[k] = i
	return i, true
}

func (m *memoryDeduper) removeOldest() {
	i := m.oldest
	m.unchain(i)
	m.remove(i)
}

// unchain takes an entry out of the chain of what is done.
func (m *memoryDeduper) unchain(i int32) {
	e := &m.entries[i]
	if e.prev == none {
		m.oldest = e.next
	} else {
		m.entries[e.prev].next = e.next
	}
	if e.next == none {
		m.newest = e.prev
	} else {
		m.entries[e.next].prev = e.prev
	}
}

// remove takes an entry that is in no chain.
func (m *memoryDeduper) remove(i int32) {
	k := m.entries[i].key
	m.wake(k)
	delete(m.index, k)
	m.entries[i] = memoryEntry{next: m.free}
	m.free = i
}
