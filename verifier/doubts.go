package verifier

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// doubts are leases that may have been taken: the answer to their claim was lost. They are released when the deduper answers
// again, so that after an outage no event waits for a lease that nobody has.
type doubts struct {
	some atomic.Bool // whether there are any; cheap to ask

	mu   sync.Mutex
	all  []doubt // the oldest first
	busy bool
	next time.Time // before that they aren't looked at again
}

type doubt struct {
	key, token string
	until      time.Time // the lease's end
	missed     bool      // it was released once, and there was none: the claim may be on its way still
}

const (
	maxDoubts   = 10_000 // what is over that waits for its lease
	doubtsPause = time.Second
)

func (d *doubts) add(it doubt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keep(append(d.all, it))
}

func (d *doubts) keep(all []doubt) {
	d.all = all[max(0, len(all)-maxDoubts):]
	d.some.Store(len(d.all) > 0)
}

// settle is called when the deduper has answered. It doesn't wait.
func (d *doubts) settle(deduper Deduper) {
	if !d.some.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy || time.Now().Before(d.next) {
		return
	}
	d.busy = true
	now := d.all
	d.all = nil
	go func() {
		left := release(deduper, now)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.keep(append(left, d.all...))
		d.busy, d.next = false, time.Now().Add(doubtsPause)
	}()
}

// release returns those that are to be released later.
func release(deduper Deduper, all []doubt) (left []doubt) {
	for i, it := range all {
		if time.Now().After(it.until) {
			continue
		}
		err := guard("the deduper", func() error {
			ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
			defer cancel()
			return deduper.Release(ctx, it.key, it.token)
		})
		switch {
		case errors.Is(err, ErrLeaseLost):
			if !it.missed {
				it.missed = true
				left = append(left, it)
			}
		case err != nil:
			return append(left, all[i:]...)
		}
	}
	return left
}
