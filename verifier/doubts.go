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
	all  []doubt   // the oldest first
	next time.Time // before that they aren't looked at again
	busy bool      // somebody looks at them: one at a time, also where a deduper never answers
}

type doubt struct {
	key, token string
	until      time.Time // the lease's end
	missed     bool      // it was released once, and there was none: the claim may be on its way still
}

const (
	maxDoubts   = 10_000 // what is over that waits for its lease
	maxFailures = 3      // in one round
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
	now := time.Now()
	if d.busy || now.Before(d.next) {
		return
	}
	d.busy, d.next = true, now.Add(doubtsPause)
	all := d.all
	d.keep(nil)
	go func() {
		left := all
		defer func() { // also after a runtime.Goexit
			d.mu.Lock()
			defer d.mu.Unlock()
			d.busy = false
			d.keep(append(left, d.all...))
		}()
		left = release(deduper, all)
	}()
}

// release returns those that are to be released later. Where one can't be, that may be because of its key, or because the deduper is
// away again: after some, it gives up, and these are the last the next time.
func release(deduper Deduper, all []doubt) []doubt {
	var left, failed []doubt
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
		case err == nil:
		case !errors.Is(err, ErrLeaseLost):
			if failed = append(failed, it); len(failed) == maxFailures {
				return append(append(all[i+1:], left...), failed...)
			}
		case !it.missed:
			it.missed = true
			left = append(left, it)
		}
	}
	return append(left, failed...)
}
