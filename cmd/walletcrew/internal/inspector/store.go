package inspector

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// The verdicts of a [Record].
const (
	Verified  = "verified"  // the signature holds, and the body is an event
	Forged    = "forged"    // a signature, but of other bytes or another secret
	Unsigned  = "unsigned"  // no signature
	Malformed = "malformed" // what came can't be read: the signature's form, the body, or what its headers say
	Refused   = "refused"   // anything else that was not accepted, such as an unknown tenant or a body that is too large
)

// A Record is one delivery as the inspector shows it. It never holds a secret. Header, Body and Findings belong to the store once the
// record is added: don't change what they hold, also not in one that Get returned.
type Record struct {
	ID      string // yours, unique; it stands in the page's addresses
	Time    time.Time
	Event   string // as the headers, or a signed body, say
	Tenant  string
	EventID string // "__id", or "" if the body has none
	Header  http.Header
	Body    []byte // as it came

	Verdict   string   // one of the constants above
	Findings  []string // of verifier.Diagnose, in words
	Duplicate bool     // this __id was seen before

	// What your service answered. ForwardURL is "" if there is none to forward to. Status is 0 if it wasn't
	// forwarded yet, or forwarding failed: then Error says why.
	ForwardURL string
	Status     int
	Answer     string
	Duration   time.Duration
	Error      string

	// Omitted is set by the store: Body and Answer alone would have been larger than all it may hold, and were left out. Such a
	// record can't be replayed.
	Omitted bool
}

// size is about what a record takes in memory, in bytes.
func (r *Record) size() int64 {
	const fixed = 512 // the struct, the map's entry, the strings' and slices' own
	n := fixed + len(r.ID) + len(r.Event) + len(r.Tenant) + len(r.EventID) + len(r.Body) + len(r.Verdict) +
		len(r.ForwardURL) + len(r.Answer) + len(r.Error)
	for name, values := range r.Header {
		n += 64 + len(name)
		for _, value := range values {
			n += 16 + len(value)
		}
	}
	for _, finding := range r.Findings {
		n += 16 + len(finding)
	}
	return int64(n)
}

// A Store holds the latest deliveries in memory: when there are too many, or they take too much, the oldest go. It is safe for
// concurrent use.
type Store struct {
	maxRecords int
	maxBytes   int64

	mu       sync.RWMutex
	records  []*entry // in the order they were added; those before first are gone
	first    int
	byID     map[string]*entry
	bytes    int64
	seq      uint64 // of the last one added
	revision uint64
	watchers map[chan struct{}]struct{}
}

// An entry is never changed: a changed record is a new entry in its place.
type entry struct {
	Record
	seq      uint64 // 1, 2, 3, …: the order of arrival
	revision uint64 // the store's when it was changed last
	bytes    int64
}

// NewStore returns a store of at most maxRecords deliveries that take at most maxBytes together. 0 or less: 10,000 and 256 MiB.
func NewStore(maxRecords int, maxBytes int64) *Store {
	if maxRecords <= 0 {
		maxRecords = 10_000
	}
	if maxBytes <= 0 {
		maxBytes = 256 << 20
	}
	return &Store{maxRecords: maxRecords, maxBytes: maxBytes, byID: map[string]*entry{}, watchers: map[chan struct{}]struct{}{}}
}

// Add adds a delivery as the latest. One with the ID of another that is still held replaces it in its place.
func (s *Store) Add(r Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.byID[r.ID]; old != nil {
		s.replace(old, r)
		return
	}
	s.seq++
	s.revision++
	e := s.entry(r, s.seq)
	s.records = append(s.records, e)
	s.byID[r.ID] = e
	s.bytes += e.bytes
	s.trim()
	s.tell()
}

// Update changes the delivery with this ID, such as when your service has answered. If the store doesn't hold it any more, f is not
// called. f must not call the store.
func (s *Store) Update(id string, f func(*Record)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byID[id]
	if old == nil {
		return
	}
	r := old.Record
	f(&r)
	r.ID = id
	s.replace(old, r)
}

// Get returns the delivery with this ID, and whether the store holds it.
func (s *Store) Get(id string) (Record, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.byID[id]; e != nil {
		return e.Record, true
	}
	return Record{}, false
}

// List returns the latest deliveries, the newest first: at most limit, all of them if limit is 0 or less.
func (s *Store) List(limit int) []Record {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := len(s.records) - s.first
	if limit > 0 {
		n = min(n, limit)
	}
	list := make([]Record, 0, n)
	for i := range n {
		list = append(list, s.records[len(s.records)-1-i].Record)
	}
	return list
}

// Subscribe returns a channel that receives a value after each change; several changes may be one value. It is never closed:
// wait for ctx too. It ends with ctx.
func (s *Store) Subscribe(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{}, 1)
	s.mu.Lock()
	s.watchers[changed] = struct{}{}
	s.mu.Unlock()
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, changed)
	})
	return changed
}

// since returns what changed after a revision, the oldest first, and the store's state: its revision, and the first seq that it
// still holds.
func (s *Store) since(revision uint64) (changed []*entry, now, oldest uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	held := s.records[s.first:]
	for _, e := range held {
		if e.revision > revision {
			changed = append(changed, e)
		}
	}
	oldest = s.seq + 1
	if len(held) > 0 {
		oldest = held[0].seq
	}
	return changed, s.revision, oldest
}

// all returns what the store holds, the oldest first.
func (s *Store) all() []*entry {
	held, _, _ := s.since(0)
	return held
}

// get returns the entry with this ID, or nil.
func (s *Store) get(id string) *entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byID[id]
}

func (s *Store) entry(r Record, seq uint64) *entry {
	size := r.size()
	if size > s.maxBytes {
		r.Body, r.Answer, r.Omitted = nil, "", true
		size = r.size()
	}
	return &entry{Record: r, seq: seq, revision: s.revision, bytes: size}
}

func (s *Store) replace(old *entry, r Record) {
	s.revision++
	e := s.entry(r, old.seq)
	s.records[s.index(old)] = e
	s.byID[r.ID] = e
	s.bytes += e.bytes - old.bytes
	s.trim()
	s.tell()
}

// index finds an entry's place: the seqs are without gaps.
func (s *Store) index(e *entry) int { return s.first + int(e.seq-s.records[s.first].seq) } //nolint:gosec // at most len(s.records)

// trim drops the oldest until the rest fits; the latest stays in any case.
func (s *Store) trim() {
	for n := len(s.records) - s.first; n > s.maxRecords || n > 1 && s.bytes > s.maxBytes; n-- {
		e := s.records[s.first]
		s.records[s.first] = nil
		s.first++
		s.bytes -= e.bytes
		delete(s.byID, e.ID)
	}
	if s.first > len(s.records)/2 { // move the rest to the front, so that the slice doesn't grow for ever
		n := copy(s.records, s.records[s.first:])
		clear(s.records[n:])
		s.records, s.first = s.records[:n], 0
	}
}

func (s *Store) tell() {
	for changed := range s.watchers {
		select {
		case changed <- struct{}{}:
		default: // one is there already
		}
	}
}
