package walletcrewtest_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"net/url"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A model is a plain deduper that keeps the rules. Its fields are where a mutant breaks one; nil leaves it as it is.
type model struct {
	keyOf    func(key string) string
	leaseOf  func(lease time.Duration) time.Duration
	tokenOf  func(key string, n int) string                           // n counts the leases of all keys
	fits     func(m *model, key, token string) bool                   // may this token complete?
	frees    func(m *model, key, token string) bool                   // may this token release?
	refused  func(m *model, e *event, now time.Time, l time.Duration) // what a refused claim does, m.mu held
	took     func(old, taken *event)                                  // what a claim that took the key does besides
	lost     error                                                    // instead of ErrLeaseLost
	unlocked func()                                                   // runs without the lock, between the look and the change
	onlyOver bool                                                     // unlocked only for a lease that is taken over
	settling func()                                                   // as unlocked, for Complete and Release
	forgets  func(e *event, now time.Time) bool

	mu     sync.Mutex
	events map[string]*event
	given  map[string]string // all tokens, each with its key
	leases int
}

type event struct {
	token         string
	since, until  time.Time // of the lease
	done          bool
	doneSince     time.Time
	formerlyTaken int
}

func (m *model) key(key string) string {
	if m.keyOf != nil {
		return m.keyOf(key)
	}
	return key
}

func (m *model) Claim(_ context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	key = m.key(key)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.events == nil {
		m.events, m.given = map[string]*event{}, map[string]string{}
	}
	now, old := time.Now(), m.events[key]
	switch {
	case old == nil, m.forgets != nil && m.forgets(old, now):
	case old.done:
		return receiver.Claim{State: receiver.Done}, nil
	case now.Before(old.until):
		if m.refused != nil {
			m.refused(m, old, now, lease)
		}
		return receiver.Claim{State: receiver.Held}, nil
	}
	if m.unlocked != nil && (old != nil || !m.onlyOver) {
		m.mu.Unlock()
		m.unlocked()
		m.mu.Lock()
	}
	m.leases++
	token := fmt.Sprintf("lease-%d", m.leases*7919)
	if m.tokenOf != nil {
		token = m.tokenOf(key, m.leases)
	}
	if m.leaseOf != nil {
		lease = m.leaseOf(lease)
	}
	taken := &event{token: token, since: now, until: now.Add(lease)}
	if m.took != nil {
		m.took(old, taken)
	}
	m.events[key], m.given[token] = taken, key
	return receiver.Claim{State: receiver.Claimed, Token: token}, nil
}

func (m *model) errLost() error {
	if m.lost != nil {
		return m.lost
	}
	return receiver.ErrLeaseLost
}

func (m *model) Complete(_ context.Context, key, token string) error {
	key = m.key(key)
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.events[key]
	if e == nil || e.token != token && (m.fits == nil || !m.fits(m, key, token)) {
		return m.errLost()
	}
	if m.settling != nil {
		m.mu.Unlock()
		m.settling()
		m.mu.Lock()
	}
	m.events[key] = &event{token: e.token, since: e.since, until: e.until, done: true, doneSince: time.Now()}
	return nil
}

func (m *model) Release(_ context.Context, key, token string) error {
	key = m.key(key)
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.events[key]
	if e == nil || (e.done || e.token != token) && (m.frees == nil || !m.frees(m, key, token)) {
		return m.errLost()
	}
	if m.settling != nil {
		m.mu.Unlock()
		m.settling()
		m.mu.Lock()
	}
	delete(m.events, key)
	return nil
}

// A broken deduper does some of the three differently.
type broken struct {
	receiver.Deduper
	claim             func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error)
	complete, release func(ctx context.Context, key, token string) error
}

func (b broken) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	if b.claim == nil {
		return b.Deduper.Claim(ctx, key, lease)
	}
	return b.claim(ctx, key, lease)
}

func (b broken) Complete(ctx context.Context, key, token string) error {
	if b.complete == nil {
		return b.Deduper.Complete(ctx, key, token)
	}
	return b.complete(ctx, key, token)
}

func (b broken) Release(ctx context.Context, key, token string) error {
	if b.release == nil {
		return b.Deduper.Release(ctx, key, token)
	}
	return b.release(ctx, key, token)
}

// A mutant keeps all rules but one.
type mutant struct {
	name string
	make func() receiver.Deduper
	want string // in the error
	// real says that it is tried by the real clock, too, where each takes two seconds and more.
	real bool
	// realOnly says that it never returns, which a bubble can't wait for.
	realOnly bool
}

func leased(leaseOf func(time.Duration) time.Duration) func() receiver.Deduper {
	return func() receiver.Deduper { return &model{leaseOf: leaseOf} }
}

func keyed(keyOf func(string) string) func() receiver.Deduper {
	return func() receiver.Deduper { return &model{keyOf: keyOf} }
}

// answering changes the answers of Claim.
func answering(change func(receiver.Claim, string) (receiver.Claim, error)) func() receiver.Deduper {
	return func() receiver.Deduper {
		good := &model{}
		return broken{Deduper: good, claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			claim, err := good.Claim(ctx, key, lease)
			if err != nil {
				return claim, err
			}
			return change(claim, key)
		}}
	}
}

func settling(wrap func(m *model) broken) func() receiver.Deduper {
	return func() receiver.Deduper {
		m := &model{}
		b := wrap(m)
		b.Deduper = m
		return b
	}
}

const blocks = 10 * time.Second

const (
	twice    = "it is handled twice"
	again    = "it is handled again"
	lasts    = "a lease lasts as long as was asked for"
	merged   = "keys are compared exactly"
	lost     = "the event is lost"
	waits    = "waits"
	fencing  = "expected ErrLeaseLost, got no error"
	hangs    = "hasn't returned"
	newToken = "the token of a new lease must be a new one"
)

var errOther = errors.New("no such row")

// The deviations, sorted by what they break.
var mutants = []mutant{
	// leases
	{name: "an hour, whatever the lease", make: leased(func(time.Duration) time.Duration { return time.Hour }), want: waits},
	{name: "a minute, whatever the lease", real: true, make: leased(func(time.Duration) time.Duration { return time.Minute }), want: waits},
	{name: "capped at 1 s", real: true, make: leased(func(l time.Duration) time.Duration { return min(l, time.Second) }), want: twice},
	{name: "capped at 30 s", make: leased(func(l time.Duration) time.Duration { return min(l, 30*time.Second) }), want: twice},
	{name: "capped at 1 h", make: leased(func(l time.Duration) time.Duration { return min(l, time.Hour) }), want: twice},
	{name: "capped at 24 h", make: leased(func(l time.Duration) time.Duration { return min(l, 24*time.Hour) }), want: twice},
	{name: "never ends", real: true, make: leased(func(time.Duration) time.Duration { return math.MaxInt64 }), want: waits},
	{name: "long ones never end", make: leased(func(l time.Duration) time.Duration {
		if l > 20*time.Hour {
			return math.MaxInt64
		}
		return l
	}), want: waits},
	{name: "ends at once", real: true, make: leased(func(time.Duration) time.Duration { return 0 }), want: twice},
	{name: "ends at 4/5", real: true, make: leased(func(l time.Duration) time.Duration { return l / 5 * 4 }), want: twice},
	{name: "lasts twice as long", make: leased(func(l time.Duration) time.Duration { return 2 * l }), want: waits},
	{name: "rounded to seconds", real: true, make: leased(func(l time.Duration) time.Duration { return l.Round(time.Second) }), want: lasts},
	{name: "cut to seconds", make: leased(func(l time.Duration) time.Duration { return l.Truncate(time.Second) }), want: lasts},
	{name: "rounded up to seconds", real: true, make: leased(func(l time.Duration) time.Duration { return (l + time.Second - 1).Truncate(time.Second) }), want: lasts},
	{name: "a second at least", make: leased(func(l time.Duration) time.Duration { return max(l, time.Second) }), want: waits},
	{name: "microseconds in 32 bits", make: leased(func(l time.Duration) time.Duration {
		return time.Duration(int32(l.Microseconds())) * time.Microsecond
	}), want: twice},
	{name: "milliseconds taken for seconds", make: leased(func(l time.Duration) time.Duration {
		if l < time.Minute {
			l *= 1000
		}
		return l
	}), want: waits},
	{name: "a refused claim prolongs", real: true, want: waits, make: func() receiver.Deduper {
		return &model{refused: func(_ *model, e *event, now time.Time, l time.Duration) {
			if until := now.Add(l); until.After(e.until) {
				e.until = until
			}
		}}
	}},
	{name: "a refused claim starts the lease again", want: waits, make: func() receiver.Deduper {
		return &model{refused: func(_ *model, e *event, now time.Time, _ time.Duration) { e.until = now.Add(e.until.Sub(e.since)) }}
	}},
	{name: "a refused claim shortens", want: twice, make: func() receiver.Deduper {
		return &model{refused: func(_ *model, e *event, now time.Time, l time.Duration) { e.until = now.Add(l) }}
	}},
	{name: "a refused claim takes the token away", want: "expected no error", make: func() receiver.Deduper {
		return &model{refused: func(_ *model, e *event, _ time.Time, _ time.Duration) { e.token += "'" }}
	}},
	{name: "the third refused claim gets it", want: twice, make: func() receiver.Deduper {
		return &model{refused: func(_ *model, e *event, now time.Time, _ time.Duration) {
			if e.formerlyTaken++; e.formerlyTaken >= 3 {
				e.until = now
			}
		}}
	}},
	{name: "one that is taken over keeps its end", real: true, want: twice, make: func() receiver.Deduper {
		return &model{took: func(old, taken *event) {
			if old != nil {
				taken.until = old.until
			}
		}}
	}},
	{name: "after Release the first lease goes on", want: waits, make: func() receiver.Deduper {
		m := &model{}
		first := map[string]time.Duration{}
		return broken{Deduper: m, claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			m.mu.Lock()
			if before, ok := first[key]; ok && m.events[key] == nil {
				lease = before
			}
			first[key] = lease
			m.mu.Unlock()
			return m.Claim(ctx, key, lease)
		}}
	}},

	// keys
	{name: "case folded", make: keyed(strings.ToLower), want: merged},
	{name: "trimmed", make: keyed(strings.TrimSpace), want: merged},
	{name: "padding ignored", make: keyed(func(k string) string { return strings.TrimRight(k, " ") }), want: merged},
	{name: "slashes trimmed", make: keyed(func(k string) string { return strings.Trim(k, "/") }), want: merged},
	{name: "dots trimmed", make: keyed(func(k string) string { return strings.TrimRight(k, ".") }), want: merged},
	{name: "base64 padding trimmed", make: keyed(func(k string) string { return strings.TrimRight(k, "=") }), want: merged},
	{name: "zeros trimmed", make: keyed(func(k string) string { return strings.TrimRight(k, "0") }), want: merged},
	{name: "cut at 64", make: keyed(func(k string) string { return k[:min(len(k), 64)] }), want: merged},
	{name: "cut at 100", make: keyed(func(k string) string { return k[:min(len(k), 100)] }), want: merged},
	{name: "cut at 255", make: keyed(func(k string) string { return k[:min(len(k), 255)] }), want: merged},
	{name: "cut at 511", make: keyed(func(k string) string { return k[:min(len(k), 511)] }), want: merged},
	{name: "the last 64", make: keyed(func(k string) string { return k[max(0, len(k)-64):] }), want: merged},
	{name: "the last 500", make: keyed(func(k string) string { return k[max(0, len(k)-500):] }), want: merged},
	{name: "the last byte dropped", make: keyed(func(k string) string { return k[:len(k)-1] }), want: merged},
	{name: "hashed to 16 bits", real: true, make: keyed(func(k string) string {
		h := fnv.New32a()
		_, _ = h.Write([]byte(k))
		return strconv.Itoa(int(h.Sum32() & 0xffff))
	}), want: merged},
	{name: "the scope dropped", make: keyed(func(k string) string { return k[strings.LastIndex(k, "/")+1:] }), want: merged},
	{name: "the scope's kind dropped", make: keyed(func(k string) string { return k[strings.Index(k, "/")+1:] }), want: merged},
	{name: "the tenant dropped", make: keyed(func(k string) string {
		if parts := strings.SplitN(k, "/", 3); len(parts) == 3 && parts[0] == "t" {
			return "t/" + parts[2]
		}
		return k
	}), want: merged},
	{name: "the secret's hash dropped", make: keyed(func(k string) string {
		if parts := strings.SplitN(k, "/", 3); len(parts) == 3 && parts[0] == "s" {
			return "s/" + parts[2]
		}
		return k
	}), want: merged},
	{name: "the id dropped", make: keyed(path.Dir), want: merged},
	{name: "escapes decoded", make: keyed(func(k string) string {
		if decoded, err := url.PathUnescape(k); err == nil {
			return decoded
		}
		return k
	}), want: merged},
	{name: "escapes decoded as in a query", make: keyed(func(k string) string {
		if decoded, err := url.QueryUnescape(k); err == nil {
			return decoded
		}
		return k
	}), want: merged},
	{name: "cleaned as a path", make: keyed(path.Clean), want: merged},
	{name: "double slashes merged", make: keyed(func(k string) string { return strings.ReplaceAll(k, "//", "/") }), want: merged},
	{name: "slashes dropped", make: keyed(func(k string) string { return strings.ReplaceAll(k, "/", "") }), want: merged},
	{name: "slashes and dashes are one", make: keyed(func(k string) string { return strings.ReplaceAll(k, "/", "-") }), want: merged},
	{name: "colons and slashes are one", make: keyed(func(k string) string { return strings.ReplaceAll(k, ":", "/") }), want: merged},
	{name: "all but letters and digits replaced", make: keyed(func(k string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '/' {
				return r
			}
			return '_'
		}, k)
	}), want: merged},
	{name: "up to a question mark", make: keyed(func(k string) string { before, _, _ := strings.Cut(k, "?"); return before }), want: merged},
	{name: "up to a hash", make: keyed(func(k string) string { before, _, _ := strings.Cut(k, "#"); return before }), want: merged},
	{name: "only the hash tag", make: keyed(func(k string) string {
		if _, after, ok := strings.Cut(k, "{"); ok {
			if tag, _, ok := strings.Cut(after, "}"); ok && tag != "" {
				return tag
			}
		}
		return k
	}), want: merged},
	{name: "backslashes dropped", make: keyed(func(k string) string { return strings.ReplaceAll(k, `\`, "") }), want: merged},
	{name: "quotes dropped", make: keyed(strings.NewReplacer(`'`, "", `"`, "").Replace), want: merged},
	{name: "numbers compared as numbers", make: keyed(func(k string) string {
		i := strings.LastIndex(k, "/") + 1
		if f, err := strconv.ParseFloat(k[i:], 64); err == nil {
			return k[:i] + strconv.FormatFloat(f, 'g', -1, 64)
		}
		return k
	}), want: merged},
	{name: "long keys refused", want: "value too long", make: settling(func(m *model) broken {
		return broken{claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			if len(key) > 255 {
				return receiver.Claim{}, errors.New("value too long")
			}
			return m.Claim(ctx, key, lease)
		}}
	})},
	{name: "keys with a percent sign refused", want: "invalid escape", make: settling(func(m *model) broken {
		return broken{claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			if strings.Contains(key, "%") {
				return receiver.Claim{}, errors.New("invalid escape")
			}
			return m.Claim(ctx, key, lease)
		}}
	})},
	{name: "one key for all", make: keyed(func(string) string { return "" }), want: merged},
	{name: "Complete merges keys", want: "", make: settling(func(m *model) broken {
		return broken{complete: func(ctx context.Context, key, token string) error {
			err := m.Complete(ctx, key, token)
			m.mu.Lock()
			defer m.mu.Unlock()
			for k, e := range m.events {
				if err == nil && strings.EqualFold(k, key) {
					e.done = true
				}
			}
			return err
		}}
	})},
	{name: "Complete completes a whole scope", want: lost, make: settling(func(m *model) broken {
		return broken{complete: func(ctx context.Context, key, token string) error {
			err := m.Complete(ctx, key, token)
			m.mu.Lock()
			defer m.mu.Unlock()
			for k, e := range m.events {
				if err == nil && path.Dir(k) == path.Dir(key) {
					e.done = true
				}
			}
			return err
		}}
	})},
	{name: "Release releases a whole scope", want: twice, make: settling(func(m *model) broken {
		return broken{release: func(ctx context.Context, key, token string) error {
			err := m.Release(ctx, key, token)
			m.mu.Lock()
			defer m.mu.Unlock()
			for k, e := range m.events {
				if err == nil && !e.done && path.Dir(k) == path.Dir(key) {
					delete(m.events, k)
				}
			}
			return err
		}}
	})},
	{name: "Release releases what begins with it", want: merged, make: settling(func(m *model) broken {
		return broken{release: func(ctx context.Context, key, token string) error {
			err := m.Release(ctx, key, token)
			m.mu.Lock()
			defer m.mu.Unlock()
			for k, e := range m.events {
				if err == nil && !e.done && strings.HasPrefix(k, key) {
					delete(m.events, k)
				}
			}
			return err
		}}
	})},

	// answers
	{name: "Held for Done", want: "expected done, got held", make: answering(func(c receiver.Claim, _ string) (receiver.Claim, error) {
		if c.State == receiver.Done {
			c.State = receiver.Held
		}
		return c, nil
	})},
	{name: "Done for Held", want: lost, make: answering(func(c receiver.Claim, _ string) (receiver.Claim, error) {
		if c.State == receiver.Held {
			c.State = receiver.Done
		}
		return c, nil
	})},
	{name: "an error for Held", want: "locked", make: answering(func(c receiver.Claim, _ string) (receiver.Claim, error) {
		if c.State == receiver.Held {
			return receiver.Claim{}, errors.New("locked")
		}
		return c, nil
	})},
	{name: "ErrLeaseLost for Held", want: "the lease is lost", make: answering(func(c receiver.Claim, _ string) (receiver.Claim, error) {
		if c.State == receiver.Held {
			return receiver.Claim{}, receiver.ErrLeaseLost
		}
		return c, nil
	})},
	{name: "the zero Claim", want: "invalid", make: answering(func(receiver.Claim, string) (receiver.Claim, error) { return receiver.Claim{}, nil })},
	{name: "the zero Claim for Held", want: "invalid", make: answering(func(c receiver.Claim, _ string) (receiver.Claim, error) {
		if c.State == receiver.Held {
			c.State = 0
		}
		return c, nil
	})},
	{name: "Claimed for all", want: twice, make: answering(func(receiver.Claim, string) (receiver.Claim, error) {
		return receiver.Claim{State: receiver.Claimed, Token: "x"}, nil
	})},
	{name: "no token", want: "no token", make: answering(func(c receiver.Claim, _ string) (receiver.Claim, error) {
		c.Token = ""
		return c, nil
	})},
	{name: "the holder's token for Held", want: "must have no token", make: func() receiver.Deduper {
		m := &model{}
		return broken{Deduper: m, claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			claim, err := m.Claim(ctx, key, lease)
			m.mu.Lock()
			defer m.mu.Unlock()
			if claim.State == receiver.Held && m.events[key] != nil {
				claim.Token = m.events[key].token
			}
			return claim, err
		}}
	}},
	{name: "a token for Done", want: "must have no token", make: answering(func(c receiver.Claim, _ string) (receiver.Claim, error) {
		if c.State == receiver.Done {
			c.Token = "done"
		}
		return c, nil
	})},
	{name: "the server is down", want: "connection refused", make: answering(func(receiver.Claim, string) (receiver.Claim, error) {
		return receiver.Claim{}, errors.New("connection refused")
	})},

	// Complete
	{name: "Complete does nothing", want: "expected done, got held", make: settling(func(*model) broken {
		return broken{complete: func(context.Context, string, string) error { return nil }}
	})},
	{name: "Complete releases", want: again, make: settling(func(m *model) broken { return broken{complete: m.Release} })},
	{name: "Complete takes any token", want: fencing, make: func() receiver.Deduper {
		return &model{fits: func(*model, string, string) bool { return true }}
	}},
	{name: "Complete takes an empty token", want: "with an empty token", make: func() receiver.Deduper {
		return &model{fits: func(_ *model, _, token string) bool { return token == "" }}
	}},
	{name: "Complete takes any token that was ever given", want: fencing, make: func() receiver.Deduper {
		return &model{fits: func(m *model, _, token string) bool { return m.given[token] != "" }}
	}},
	{name: "Complete takes another key's token", want: "with another key's token", make: func() receiver.Deduper {
		return &model{fits: func(m *model, key, token string) bool { return m.given[token] != "" && m.given[token] != key }}
	}},
	{name: "Complete takes an outdated token", want: fencing, make: func() receiver.Deduper {
		return &model{fits: func(m *model, key, token string) bool { return m.given[token] == key }}
	}},
	{name: "Complete takes a token's beginning", want: fencing, make: func() receiver.Deduper {
		return &model{fits: func(m *model, key, token string) bool {
			return token != "" && strings.HasPrefix(m.events[key].token, token)
		}}
	}},
	{name: "Complete takes what begins with the token", want: fencing, make: func() receiver.Deduper {
		return &model{fits: func(m *model, key, token string) bool { return strings.HasPrefix(token, m.events[key].token) }}
	}},
	{name: "Complete takes any token of what is done", want: fencing, make: func() receiver.Deduper {
		return &model{fits: func(m *model, key, _ string) bool { return m.events[key].done }}
	}},
	{name: "Complete completes, and says ErrLeaseLost", want: "", make: settling(func(m *model) broken {
		return broken{complete: func(ctx context.Context, key, token string) error {
			_ = m.Complete(ctx, key, token)
			return receiver.ErrLeaseLost
		}}
	})},
	{name: "a refused Complete completes", want: lost, make: settling(func(m *model) broken {
		return broken{complete: func(ctx context.Context, key, token string) error {
			err := m.Complete(ctx, key, token)
			m.mu.Lock()
			defer m.mu.Unlock()
			if e := m.events[key]; err != nil && e != nil {
				e.done = true
			}
			return err
		}}
	})},
	{name: "a refused Complete releases", want: twice, make: settling(func(m *model) broken {
		return broken{complete: func(ctx context.Context, key, token string) error {
			err := m.Complete(ctx, key, token)
			m.mu.Lock()
			defer m.mu.Unlock()
			if e := m.events[key]; err != nil && e != nil && !e.done {
				delete(m.events, key)
			}
			return err
		}}
	})},
	{name: "a refused Complete of what nobody claimed makes it done", want: lost, make: settling(func(m *model) broken {
		return broken{complete: func(ctx context.Context, key, token string) error {
			err := m.Complete(ctx, key, token)
			m.mu.Lock()
			defer m.mu.Unlock()
			if err != nil && m.events != nil && m.events[key] == nil {
				m.events[key] = &event{done: true}
			}
			return err
		}}
	})},
	{name: "Complete of what nobody claimed is no error", want: fencing, make: settling(func(m *model) broken {
		return broken{complete: func(ctx context.Context, key, token string) error {
			m.mu.Lock()
			unknown := m.events[key] == nil
			m.mu.Unlock()
			if unknown {
				return nil
			}
			return m.Complete(ctx, key, token)
		}}
	})},
	{name: "a late Complete is refused", real: true, want: again, make: settling(func(m *model) broken {
		return broken{complete: func(ctx context.Context, key, token string) error {
			m.mu.Lock()
			e := m.events[key]
			late := e != nil && !e.done && !time.Now().Before(e.until)
			m.mu.Unlock()
			if late {
				return receiver.ErrLeaseLost
			}
			return m.Complete(ctx, key, token)
		}}
	})},
	{name: "an outdated Complete is an error of another kind", want: "expected ErrLeaseLost, got: no such row", make: func() receiver.Deduper { return &model{lost: errOther} }},
	{name: "Complete twice is an error of another kind", want: "no such row", make: settling(func(m *model) broken {
		return broken{complete: func(ctx context.Context, key, token string) error {
			m.mu.Lock()
			done := m.events[key] != nil && m.events[key].done
			m.mu.Unlock()
			if done {
				return errOther
			}
			return m.Complete(ctx, key, token)
		}}
	})},
	{name: "Complete twice makes it undone", want: again, make: settling(func(m *model) broken {
		return broken{complete: func(ctx context.Context, key, token string) error {
			m.mu.Lock()
			e := m.events[key]
			done := e != nil && e.done && e.token == token
			if done {
				delete(m.events, key)
			}
			m.mu.Unlock()
			if done {
				return nil
			}
			return m.Complete(ctx, key, token)
		}}
	})},
	{name: "done is forgotten at once", want: again, make: func() receiver.Deduper {
		return &model{forgets: func(e *event, _ time.Time) bool { return e.done }}
	}},
	{name: "done is forgotten when the lease ends", want: again, make: func() receiver.Deduper {
		return &model{forgets: func(e *event, now time.Time) bool { return e.done && !now.Before(e.until) }}
	}},
	{name: "done is forgotten after a second", real: true, want: again, make: func() receiver.Deduper {
		return &model{forgets: func(e *event, now time.Time) bool { return e.done && now.Sub(e.doneSince) > time.Second }}
	}},
	{name: "done is forgotten when the lease of a refused claim ends", want: again, make: func() receiver.Deduper {
		m := &model{forgets: func(e *event, now time.Time) bool { return e.done && !e.until.IsZero() && now.After(e.until) }}
		return broken{
			Deduper: m,
			claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
				claim, err := m.Claim(ctx, key, lease)
				m.mu.Lock()
				defer m.mu.Unlock()
				if claim.State == receiver.Done {
					m.events[key].until = time.Now().Add(lease)
				}
				return claim, err
			},
			complete: func(ctx context.Context, key, token string) error {
				err := m.Complete(ctx, key, token)
				m.mu.Lock()
				defer m.mu.Unlock()
				if err == nil {
					m.events[key].until = time.Time{}
				}
				return err
			},
		}
	}},
	{name: "what is held is forgotten for what is new", want: "2000 keys", make: func() receiver.Deduper {
		m := &model{}
		m.took = func(_, _ *event) {
			if len(m.events) > 1000 {
				for k := range m.events {
					delete(m.events, k)
					break
				}
			}
		}
		return m
	}},
	{name: "what was completed late is forgotten at once", want: again, make: func() receiver.Deduper {
		return &model{forgets: func(e *event, _ time.Time) bool { return e.done && e.doneSince.After(e.until) }}
	}},

	// Release
	{name: "Release does nothing", want: waits, make: settling(func(*model) broken {
		return broken{release: func(context.Context, string, string) error { return nil }}
	})},
	{name: "Release completes", want: lost, make: settling(func(m *model) broken { return broken{release: m.Complete} })},
	{name: "Release takes any token", want: fencing, make: func() receiver.Deduper {
		return &model{frees: func(m *model, key, _ string) bool { return !m.events[key].done }}
	}},
	{name: "Release takes an empty token", want: "with an empty token", make: func() receiver.Deduper {
		return &model{frees: func(m *model, key, token string) bool { return !m.events[key].done && token == "" }}
	}},
	{name: "Release takes another key's token", want: "with another key's token", make: func() receiver.Deduper {
		return &model{frees: func(m *model, key, token string) bool {
			return !m.events[key].done && m.given[token] != "" && m.given[token] != key
		}}
	}},
	{name: "Release takes an outdated token", want: fencing, make: func() receiver.Deduper {
		return &model{frees: func(m *model, key, token string) bool { return !m.events[key].done && m.given[token] == key }}
	}},
	{name: "Release frees what is done", want: again, make: func() receiver.Deduper {
		return &model{frees: func(m *model, key, token string) bool { return m.events[key].token == token }}
	}},
	{name: "an outdated Release frees what is done", want: again, make: func() receiver.Deduper {
		return &model{frees: func(m *model, key, token string) bool { return m.events[key].done && m.events[key].token != token }}
	}},
	{name: "a refused Release frees what is done", want: again, make: settling(func(m *model) broken {
		return broken{release: func(ctx context.Context, key, token string) error {
			err := m.Release(ctx, key, token)
			m.mu.Lock()
			defer m.mu.Unlock()
			if e := m.events[key]; err != nil && e != nil && e.done {
				delete(m.events, key)
			}
			return err
		}}
	})},
	{name: "a refused Release releases", want: twice, make: settling(func(m *model) broken {
		return broken{release: func(ctx context.Context, key, token string) error {
			err := m.Release(ctx, key, token)
			m.mu.Lock()
			defer m.mu.Unlock()
			if e := m.events[key]; err != nil && e != nil && !e.done {
				delete(m.events, key)
			}
			return err
		}}
	})},
	{name: "Release of what is done is no error", want: fencing, make: settling(func(m *model) broken {
		return broken{release: func(ctx context.Context, key, token string) error {
			m.mu.Lock()
			done := m.events[key] != nil && m.events[key].done
			m.mu.Unlock()
			if done {
				return nil
			}
			return m.Release(ctx, key, token)
		}}
	})},
	{name: "Release of what nobody claimed is no error", want: fencing, make: settling(func(m *model) broken {
		return broken{release: func(ctx context.Context, key, token string) error {
			m.mu.Lock()
			unknown := m.events[key] == nil
			m.mu.Unlock()
			if unknown {
				return nil
			}
			return m.Release(ctx, key, token)
		}}
	})},
	{name: "a late Release is refused", want: "expected no error", make: settling(func(m *model) broken {
		return broken{release: func(ctx context.Context, key, token string) error {
			m.mu.Lock()
			e := m.events[key]
			late := e != nil && !e.done && !time.Now().Before(e.until)
			m.mu.Unlock()
			if late {
				return receiver.ErrLeaseLost
			}
			return m.Release(ctx, key, token)
		}}
	})},
	{name: "a released key can be completed", want: fencing, make: settling(func(m *model) broken {
		released := map[string]string{}
		return broken{
			release: func(ctx context.Context, key, token string) error {
				err := m.Release(ctx, key, token)
				m.mu.Lock()
				defer m.mu.Unlock()
				if err == nil {
					released[key] = token
				}
				return err
			},
			complete: func(ctx context.Context, key, token string) error {
				m.mu.Lock()
				if m.events[key] == nil && token != "" && released[key] == token {
					m.events[key] = &event{done: true, token: token}
				}
				m.mu.Unlock()
				return m.Complete(ctx, key, token)
			},
		}
	})},

	// tokens
	{name: "one token for all leases", want: "", make: func() receiver.Deduper {
		return &model{tokenOf: func(string, int) string { return "token" }}
	}},
	{name: "one token for each key", want: newToken, make: func() receiver.Deduper {
		return &model{tokenOf: func(key string, _ int) string { return key }}
	}},
	{name: "tokens of a key used again in turn", want: newToken, make: func() receiver.Deduper {
		turns := map[string]int{}
		return &model{tokenOf: func(key string, _ int) string { turns[key]++; return strconv.Itoa(turns[key] % 3) }}
	}},
	{name: "tokens counted from 1 after Release", want: newToken, make: func() receiver.Deduper {
		m := &model{}
		m.tokenOf = func(key string, _ int) string {
			if m.events[key] == nil {
				return "1"
			}
			n, _ := strconv.Atoi(m.events[key].token)
			return strconv.Itoa(n + 1)
		}
		return m
	}},
	{name: "the time for a token", want: newToken, make: func() receiver.Deduper {
		return &model{tokenOf: func(string, int) string { return time.Now().Truncate(10 * time.Millisecond).String() }}
	}},

	// races
	{name: "check, yield, then set", real: true, want: twice, make: func() receiver.Deduper { return &model{unlocked: runtime.Gosched} }},
	{name: "check, sleep, then set", want: twice, make: func() receiver.Deduper {
		return &model{unlocked: func() { time.Sleep(time.Millisecond) }}
	}},
	{name: "check, yield, then take over", want: twice, make: func() receiver.Deduper { return &model{unlocked: runtime.Gosched, onlyOver: true} }},
	{name: "check, sleep, then take over", want: twice, make: func() receiver.Deduper {
		return &model{unlocked: func() { time.Sleep(time.Millisecond) }, onlyOver: true}
	}},
	{name: "check, yield, then complete or release", real: true, want: "at once", make: func() receiver.Deduper { return &model{settling: runtime.Gosched} }},
	{name: "check, sleep, then complete or release", want: "at once", make: func() receiver.Deduper {
		return &model{settling: func() { time.Sleep(time.Millisecond) }}
	}},

	// contexts
	{name: "Claim blocks", real: true, want: hangs, make: settling(func(m *model) broken {
		return broken{claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			time.Sleep(blocks)
			return m.Claim(ctx, key, lease)
		}}
	})},
	{name: "Complete blocks", real: true, want: hangs, make: settling(func(m *model) broken {
		return broken{complete: func(ctx context.Context, key, token string) error {
			time.Sleep(blocks)
			return m.Complete(ctx, key, token)
		}}
	})},
	{name: "Release blocks", real: true, want: hangs, make: settling(func(m *model) broken {
		return broken{release: func(ctx context.Context, key, token string) error {
			time.Sleep(blocks)
			return m.Release(ctx, key, token)
		}}
	})},
	{name: "Claim waits for the holder", want: hangs, make: answering(func(c receiver.Claim, _ string) (receiver.Claim, error) {
		if c.State == receiver.Held {
			time.Sleep(blocks)
		}
		return c, nil
	})},
	{name: "Claim waits for the holder, or for the context", want: "expected held", make: func() receiver.Deduper {
		m := &model{}
		return broken{Deduper: m, claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			for {
				claim, err := m.Claim(ctx, key, lease)
				if err != nil || claim.State != receiver.Held {
					return claim, err
				}
				select {
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
					return receiver.Claim{}, ctx.Err()
				}
			}
		}}
	}},
	{name: "a call waits for the one before, which takes a second", real: true, want: hangs, make: settling(func(m *model) broken {
		line := make(chan struct{}, 1)
		return broken{claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			line <- struct{}{}
			defer func() { <-line }()
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			time.Sleep(200 * time.Millisecond)
			return m.Claim(ctx, key, lease)
		}}
	})},
	{name: "Claim never returns once the context has ended", want: hangs, realOnly: true, make: settling(func(m *model) broken {
		return broken{claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			if ctx.Err() != nil {
				select {}
			}
			return m.Claim(ctx, key, lease)
		}}
	})},
	{name: "Complete with an ended context says nil, and does nothing", want: "expected done, got held", make: settling(func(m *model) broken {
		return broken{complete: func(ctx context.Context, key, token string) error {
			if ctx.Err() != nil {
				return nil
			}
			return m.Complete(ctx, key, token)
		}}
	})},
	{name: "Release with an ended context says nil, and does nothing", want: waits, make: settling(func(m *model) broken {
		return broken{release: func(ctx context.Context, key, token string) error {
			if ctx.Err() != nil {
				return nil
			}
			return m.Release(ctx, key, token)
		}}
	})},
	{name: "Claim with an ended context says claimed, and does nothing", want: twice, make: settling(func(m *model) broken {
		return broken{claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			if ctx.Err() != nil {
				return receiver.Claim{State: receiver.Claimed, Token: "x"}, nil
			}
			return m.Claim(ctx, key, lease)
		}}
	})},
	{name: "Claim with an ended context fails, and holds the key for ever", real: true, want: waits, make: settling(func(m *model) broken {
		return broken{claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			if ctx.Err() != nil {
				_, _ = m.Claim(ctx, key, math.MaxInt64)
				return receiver.Claim{}, ctx.Err()
			}
			return m.Claim(ctx, key, lease)
		}}
	})},
}

func TestTestDeduperPassesAModel(t *testing.T) {
	t.Parallel()
	assert.NoError(t, walletcrewtest.TestDeduper(t.Context(), &model{}))
	synctest.Test(t, func(t *testing.T) {
		assert.NoError(t, walletcrewtest.TestDeduper(t.Context(), &model{}), "in a bubble")
	})
}

// In a bubble leases of a day cost nothing.
func TestTestDeduperFailsEachMutantInABubble(t *testing.T) {
	if raceDetector {
		t.Skip("it takes a minute with the race detector on, and finds no other mutant")
	}
	t.Parallel()
	for _, m := range mutants {
		if m.realOnly {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { m.mustFail(t) })
		})
	}
}

// The kinds whose discovery depends on the clock. All at once: they wait most of the time.
func TestTestDeduperFailsMutantsByTheRealClock(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for _, m := range mutants {
		if m.real || m.realOnly {
			wg.Go(func() { m.mustFail(t) })
		}
	}
	wg.Wait()
}

// It isn't parallel to others, since such a race shows where two cores run at once.
func TestTestDeduperFindsACheckThenSetWithoutALock(t *testing.T) {
	if runtime.GOMAXPROCS(0) == 1 {
		t.Skip("on one core, it doesn't show")
	}
	var err error
	for range 10 { // each time it is found is enough: the machine may stand still for a while
		if err = walletcrewtest.TestDeduper(t.Context(), &model{unlocked: func() {}}); err != nil {
			break
		}
	}
	assert.ErrorContains(t, err, twice)
}

func (m mutant) mustFail(t *testing.T) {
	err := walletcrewtest.TestDeduper(t.Context(), m.make())
	if assert.Error(t, err, "the mutant got through: %s", m.name) {
		assert.ErrorContains(t, err, m.want, m.name)
	}
}
