package verifier

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/guard"
)

// Cached keeps what source says of a tenant for ttl: its secrets, and with [Tenants] its ID. It holds at most size tenants; for
// another one, it forgets the one that wasn't asked for the longest. A ttl under 1 ms, a size under 1 and a nil source are errors
// of [New].
//
//   - Deliveries of one tenant share a look-up; those of different tenants don't wait for each other. A look-up has 10 seconds,
//     and goes on if the deliveries give up: each waits until its own context ends.
//   - If no secret fits, it looks again before ttl is over, so that a new secret is found. It does so for each tenant at most 5
//     times in a row and then once each 30 seconds, because anybody can send a signature that doesn't fit. After a look-up that
//     failed, which isn't one of the 5, it makes no other for a second.
//   - A secret that you took away is accepted until ttl is over.
//   - Errors aren't kept, and neither is that a tenant isn't known: each delivery of an unknown tenant is a look-up. So made-up
//     names take no room from your tenants, and a new tenant is known at once.
//   - Only the last spelling of each tenant is kept. Another spelling is looked up, and takes no room from other tenants.
//
// Cached has Unwrap: events keep the scope that source gives them. If source looks again by itself, as [FromAPI] does, Cached
// leaves that to it.
func Cached(source SecretSource, ttl time.Duration, size int) SecretSource {
	c := &cachedSource{
		source: source, ttl: ttl, size: size,
		spelled: map[string]*entry{}, tenants: map[string]*list.Element{}, under: map[string]*look{},
	}
	if source != nil {
		c.inner, c.fault = newLookup(source)
	}
	return c
}

type cachedSource struct {
	source SecretSource
	inner  *lookup
	fault  error // of source
	ttl    time.Duration
	size   int

	mu      sync.Mutex
	spelled map[string]*entry        // by what the header says
	tenants map[string]*list.Element // by ID: one spelling each
	order   list.List                // of *entry; the one asked for last is in front
	under   map[string]*look         // look-ups under way, by what the header says
}

// An entry is what is known of a tenant.
type entry struct {
	claimed, id string
	answer      answered
	asked       time.Time     // when the look-up began
	tokens      *rate.Limiter // of looks because no secret fitted; one that failed costs none
	failure     error         // of the last look,
	pause       time.Time     // until when it stands
}

// An answered is what the source said. The secrets are in a closure, so that fmt can't print them.
type answered struct {
	secrets func() []walletcrew.Secret
	tenant  *tenant // nil unless Tenants found it
}

// A look is a look-up under way.
type look struct {
	ended  chan struct{} // closed when the fields below are set
	asked  time.Time
	again  bool // because no secret fitted
	answer answered
	err    error
}

func (c *cachedSource) check() error {
	switch {
	case c.source == nil:
		return errors.New("verifier: Cached: the source is nil")
	case c.ttl < time.Millisecond:
		return fmt.Errorf("verifier: Cached: a ttl of %v is under 1 ms: did you mean %d*time.Second?", c.ttl, c.ttl)
	case c.size < 1:
		return fmt.Errorf("verifier: Cached: a size of %d: at least one tenant must fit", c.size)
	}
	return c.fault
}

// Unwrap returns the source.
func (c *cachedSource) Unwrap() SecretSource { return c.source }

// Format writes the same whatever the verb.
func (c *cachedSource) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "verifier.Cached(...)") }

func (c *cachedSource) Secrets(ctx context.Context, claimed string) ([]walletcrew.Secret, error) {
	for asked := time.Now(); ; {
		c.mu.Lock()
		if e := c.spelled[claimed]; e != nil && time.Since(e.asked) < c.ttl {
			c.order.MoveToFront(c.tenants[e.id])
			answer := e.answer
			c.mu.Unlock()
			return answer.to(ctx)
		}
		l := c.look(claimed, false)
		c.mu.Unlock()
		secrets, err := l.wait(ctx)
		if !isUnknown(secrets, err) || !l.asked.Before(asked.Add(-together)) {
			return secrets, err
		} // else it was asked for before this delivery came, and the tenant may have been made since
	}
}

// Refresh looks again if it may, and returns what is known then.
func (c *cachedSource) Refresh(ctx context.Context, claimed string) ([]walletcrew.Secret, error) {
	c.mu.Lock()
	if e := c.spelled[claimed]; e != nil && c.under[claimed] == nil {
		switch {
		case time.Now().Before(e.pause):
			defer c.mu.Unlock()
			return nil, e.failure
		case time.Since(e.asked) < together || e.exhausted():
			answer := e.answer
			c.mu.Unlock()
			return answer.to(ctx)
		}
	}
	l := c.look(claimed, true)
	c.mu.Unlock()
	return l.wait(ctx)
}

func (e *entry) exhausted() bool { return e.tokens.Tokens() < 1 }

func (c *cachedSource) current(_ context.Context, claimed string, asked time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.spelled[claimed]
	return e == nil || !e.asked.Before(asked.Add(-together)) || c.under[claimed] == nil && (e.exhausted() || time.Now().Before(e.pause))
}

func (c *cachedSource) explain(ctx context.Context, claimed string, err error) error {
	err = c.inner.explain(ctx, claimed, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.spelled[claimed]; e != nil && e.exhausted() {
		return fmt.Errorf("%w, or the secret is newer than what Cached has, which is %v old: so many didn't fit that it looks only once each %v",
			err, time.Since(e.asked).Round(time.Second), lookEvery)
	}
	return err
}

// look returns the look-up under way, or begins one. It belongs to no delivery, and takes nothing of the context of the one that asked
// for it. C.mu is held.
func (c *cachedSource) look(claimed string, again bool) *look {
	if l := c.under[claimed]; l != nil {
		return l
	}
	claimed = strings.Clone(claimed) // it is kept, and may be a part of a server's buffer
	l := &look{ended: make(chan struct{}), asked: time.Now(), again: again, err: errors.New("verifier: Cached: the source ended its goroutine")}
	c.under[claimed] = l
	go func() {
		defer func() { c.end(claimed, l) }() // also after a runtime.Goexit
		ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
		defer cancel()
		n := new(note)
		l.err = guard.Call("verifier: the source within Cached", func() error {
			secrets, err := c.ask(withNote(ctx, n), claimed, again)
			l.answer = answered{func() []walletcrew.Secret { return secrets }, n.found.Load()}
			return err
		})
	}()
	return l
}

// ask asks the source, and lets it look again where that is of use.
func (c *cachedSource) ask(ctx context.Context, claimed string, again bool) ([]walletcrew.Secret, error) {
	secrets, err := c.inner.source.Secrets(ctx, claimed)
	unknown := isUnknown(secrets, err)
	switch {
	case err != nil && !unknown:
		return nil, err
	case !again && !unknown, unknown && c.inner.cached, !c.inner.refreshes(ctx):
		return secrets, err
	}
	failure := c.inner.again(ctx, claimed, secrets, func(fresh []walletcrew.Secret) bool {
		secrets, err = fresh, nil
		return false
	})
	if failure != nil {
		return nil, failure
	}
	return secrets, err
}

// end takes in what a look-up has found.
func (c *cachedSource) end(claimed string, l *look) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(l.ended)
	delete(c.under, claimed)
	e := c.spelled[claimed]
	switch {
	case l.err == nil && !isUnknown(l.answer.secrets(), nil):
		c.keep(claimed, l)
	case e == nil:
	case l.err == nil || isUnknown(nil, l.err):
		c.forget(e)
	default:
		e.failure, e.pause = l.err, time.Now().Add(pauseAfter)
	}
}

// keep remembers an answer. C.mu is held.
func (c *cachedSource) keep(claimed string, l *look) {
	id := claimed
	if l.answer.tenant != nil {
		id = l.answer.tenant.id
	}
	if e := c.spelled[claimed]; e != nil && e.id != id {
		c.forget(e)
	}
	element := c.tenants[id]
	if element == nil {
		element = c.order.PushFront(&entry{id: id, tokens: rate.NewLimiter(rate.Every(lookEvery), looksAtOnce)})
		c.tenants[id] = element
	}
	c.order.MoveToFront(element)
	e := element.Value.(*entry)
	if l.again {
		e.tokens.Allow()
	}
	if c.spelled[e.claimed] == e {
		delete(c.spelled, e.claimed)
	}
	c.spelled[claimed] = e
	e.claimed, e.answer, e.asked, e.failure, e.pause = claimed, l.answer, l.asked, nil, time.Time{}
	for c.order.Len() > c.size {
		c.forget(c.order.Back().Value.(*entry))
	}
}

func (c *cachedSource) forget(e *entry) {
	delete(c.spelled, e.claimed)
	c.order.Remove(c.tenants[e.id])
	delete(c.tenants, e.id)
}

// wait waits for the look-up's end.
func (l *look) wait(ctx context.Context) ([]walletcrew.Secret, error) {
	select {
	case <-l.ended:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.err != nil {
		return nil, l.err
	}
	return l.answer.to(ctx)
}

// to hands the answer to the one who asked for it with ctx.
func (a answered) to(ctx context.Context) ([]walletcrew.Secret, error) {
	leave(ctx, a.tenant)
	return a.secrets(), nil
}

// isUnknown reports whether a source that answered so doesn't know the tenant.
func isUnknown(secrets []walletcrew.Secret, err error) bool {
	if guard.Of(err) != nil {
		return false // a panic, whatever its value
	}
	return err == nil && len(secrets) == 0 || errors.Is(err, ErrUnknownTenant)
}
