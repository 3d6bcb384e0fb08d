package receiver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/thewalletcrew/walletcrew-go/internal/guard"
)

// claims stands between a handler and its deduper. It lets one delivery of a key at a time go in this process, and it sees to it
// that the deduper hears in the end of every claim that was or may have been taken: what can't be told at once is told later.
type claims struct {
	deduper Deduper      // nil: there are only turns
	local   localDeduper // nil if the deduper is none, and wraps none
	atOnce  bool         // the deduper itself is local: it needs no time limit
	lease   time.Duration
	log     *log

	mu    sync.Mutex
	turns map[string]*turn // of the keys that are being handled
	debts []debt           // the oldest first
	paid  chan struct{}    // closed when there are no more debts; nil while there are none
}

// A localDeduper is one in this process: it answers at once, and await waits until the key is given back, or ctx has ended. It reports
// whether there was anything to wait for.
type localDeduper interface {
	await(ctx context.Context, key string) bool
}

// A turn is a key's while a delivery of it is handled. It ends with its time, also if it isn't given back: a function that never
// returns doesn't hold its event for ever.
type turn struct {
	key     string
	until   time.Time
	waiting int
	ended   chan struct{} // made by the first who waits, closed when the turn ends
	claimed bool
	token   string // of the lease, if claimed
}

// A debt is what the deduper must still be told.
type debt struct {
	key, token string
	done       bool      // complete it, else release it
	doubtful   bool      // whether it was claimed isn't known: the answer was lost
	until      time.Time // the lease's end: then it needn't be told any more
}

const (
	settleTimeout = 3 * time.Second // bounds completing and releasing, which go on when the request has ended, where the delivery's time leaves less
	debtPause     = time.Second     // between two rounds of paying
	maxDebts      = 10_000          // what is over that waits for its lease
	maxFailures   = 3               // in one round
	maxWrapped    = 100             // of what wraps itself
)

// maxWaiting is how many deliveries of one event wait while another is handled. Each holds its body; a sender repeats what is refused.
const maxWaiting = 4

var (
	errBusy    = errors.New("receiver: this process is still handling the event")
	errTooMany = fmt.Errorf("receiver: this process is handling the event, and %d other deliveries of it wait already", maxWaiting)
)

func newClaims(deduper Deduper, lease time.Duration, log *log) *claims {
	c := &claims{deduper: deduper, lease: lease, log: log, turns: make(map[string]*turn)}
	_, c.atOnce = deduper.(localDeduper)
	for range maxWrapped {
		if c.local, _ = deduper.(localDeduper); c.local != nil {
			break
		}
		w, ok := deduper.(interface{ Unwrap() Deduper })
		if !ok {
			break
		}
		deduper = w.Unwrap()
	}
	return c
}

// take waits until nobody in this process handles the key, and claims it: other processes are up to the deduper. Mine becomes the key's
// turn. It is returned, to be settled, if the state is Claimed, or if the deduper failed. The error is [errBusy] if the context ended before the turn
// came, [errTooMany] if there is no room to wait.
func (c *claims) take(ctx context.Context, key string, mine *turn) (*turn, ClaimState, error) {
	mine.key = key
	if err := c.enter(ctx, mine); err != nil {
		return nil, 0, err
	}
	keep := false
	defer func() { // also after a runtime.Goexit
		if !keep {
			c.leave(mine)
		}
	}()
	if c.deduper == nil {
		keep = true
		return mine, Claimed, nil
	}
	for inVain := 0; ; {
		claim, err := c.claim(ctx, key)
		switch {
		case err != nil, claim.State == Claimed:
			keep, mine.claimed, mine.token = true, err == nil, claim.Token
			return mine, claim.State, err
		case claim.State == Done, c.local == nil, inVain == 3: // a wrapper that changes keys would be asked over and over
			return nil, claim.State, nil
		}
		if !c.local.await(ctx, key) { // another handler in this process has it
			inVain++
		}
		if err := ctx.Err(); err != nil {
			return nil, 0, fmt.Errorf("%w: %w", errBusy, err)
		}
	}
}

func (c *claims) claim(ctx context.Context, key string) (claim Claim, err error) {
	err = guard.Call("receiver: the deduper", func() (err error) {
		claim, err = c.deduper.Claim(ctx, key, c.lease)
		return err
	})
	switch {
	case err != nil && claim.Token != "":
		c.owe(debt{key: key, token: claim.Token, doubtful: true, until: time.Now().Add(c.lease)})
	case err == nil && (claim.State < Claimed || claim.State > Done):
		err = fmt.Errorf("receiver: the deduper answered with an invalid claim (%d)", claim.State)
	}
	return claim, err
}

// settle tells the deduper how a delivery ended, and lets the next one of the key go. What can't be told is told later; the error
// says why.
func (c *claims) settle(ctx context.Context, mine *turn, done bool) error {
	defer c.leave(mine)
	if !mine.claimed {
		return nil
	}
	d := debt{key: mine.key, token: mine.token, done: done, until: mine.until}
	told := false
	defer func() {
		if !told { // also after a runtime.Goexit
			c.owe(d)
		}
	}()
	err := c.tell(ctx, d)
	told = err == nil || errors.Is(err, ErrLeaseLost)
	return err
}

// drain waits until the deduper has been told everything, or the context has ended.
func (c *claims) drain(ctx context.Context) error {
	c.mu.Lock()
	paid := c.paid
	c.mu.Unlock()
	if paid == nil {
		return nil
	}
	select {
	case <-paid:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the deduper has not been told yet how all events ended: %w", ctx.Err())
	}
}

// enter waits for the key's turn.
func (c *claims) enter(ctx context.Context, mine *turn) error {
	for {
		c.mu.Lock()
		now := time.Now()
		other := c.turns[mine.key]
		if other == nil || !now.Before(other.until) {
			if other != nil {
				c.end(other)
			}
			mine.until = now.Add(c.lease)
			c.turns[mine.key] = mine
			c.mu.Unlock()
			return nil
		}
		if other.waiting == maxWaiting {
			c.mu.Unlock()
			return errTooMany
		}
		if other.waiting++; other.ended == nil {
			other.ended = make(chan struct{})
		}
		ended, left := other.ended, other.until.Sub(now)
		c.mu.Unlock()
		if err := await(ctx, ended, left); err != nil {
			c.mu.Lock()
			other.waiting--
			c.mu.Unlock()
			return fmt.Errorf("%w: %w", errBusy, err)
		}
	}
}

// leave gives the turn back, if it hasn't ended.
func (c *claims) leave(mine *turn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turns[mine.key] == mine {
		c.end(mine)
	}
}

func (c *claims) end(t *turn) {
	delete(c.turns, t.key)
	if t.ended != nil {
		close(t.ended)
	}
}

// await waits for what ends, at most so long. The error is the context's, if that ended first.
func await(ctx context.Context, ended <-chan struct{}, atMost time.Duration) error {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// tell tells the deduper of a debt, also when ctx has ended. It has the time that ctx leaves, since a deduper may be slow where many wait for
// its connections, and what can't be told is a second effect in the end. With a long time limit it is defaultTimeout, since a
// connection may be dead, and another try within the lease goes through.
func (c *claims) tell(ctx context.Context, d debt) error {
	if !c.atOnce { // that one doesn't look at ctx, and the timer would be the most of what it costs
		var cancel context.CancelFunc
		limit := settleTimeout
		if deadline, ok := ctx.Deadline(); ok {
			limit = max(limit, min(time.Until(deadline), defaultTimeout))
		}
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
	}
	return guard.Call("receiver: the deduper", func() error {
		if d.done {
			return c.deduper.Complete(ctx, d.key, d.token)
		}
		return c.deduper.Release(ctx, d.key, d.token)
	})
}

// owe keeps what can't be told now. One goroutine pays, however many debts there are.
func (c *claims) owe(d debt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(append(c.debts, d))
	if c.paid == nil {
		c.paid = make(chan struct{})
		go c.pay()
	}
}

// keep keeps the newest of the debts; c.mu is held.
func (c *claims) keep(debts []debt) { c.debts = debts[max(0, len(debts)-maxDebts):] }

// pay tells the deduper of the debts, in rounds with a pause before each, until there are none.
func (c *claims) pay() {
	time.Sleep(debtPause)
	c.mu.Lock()
	left := c.debts
	c.debts = nil
	c.mu.Unlock()
	defer func() { // also after a runtime.Goexit
		c.mu.Lock()
		defer c.mu.Unlock()
		c.keep(append(left, c.debts...))
		if len(c.debts) > 0 {
			go c.pay()
			return
		}
		close(c.paid)
		c.paid = nil
	}()
	left = c.round(left)
}

// round tells the deduper of the debts, and returns those that are left. Where one can't be told, that may be because of its key, or
// because the deduper is away: after some, it gives up, and these are the last the next time.
func (c *claims) round(due []debt) []debt {
	var left, failed []debt
	for i, d := range due {
		if time.Now().After(d.until) {
			if d.done {
				c.log.record(context.Background(), slog.LevelError, "receiver: an event was handled, but could not be marked as done until its lease "+
					"ended; it may be handled again", nil, nil, slog.String("key", short(d.key)))
			}
			continue
		}
		err := c.tell(context.Background(), d)
		switch {
		case err == nil:
		case !errors.Is(err, ErrLeaseLost):
			if failed = append(failed, d); len(failed) == maxFailures {
				return append(append(left, due[i+1:]...), failed...)
			}
		case d.doubtful: // there was none: the claim may be on its way still, so it is released once more
			d.doubtful = false
			left = append(left, d)
		}
	}
	return append(left, failed...)
}
