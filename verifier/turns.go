package verifier

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// turns lets one delivery of a key go at a time. A turn that isn't given back ends with its time all the same, so that a function
// that never returns doesn't hold its event for ever.
type turns struct {
	mu   sync.Mutex
	busy map[string]*turn
}

type turn struct {
	key   string
	until time.Time
	ended chan struct{} // made by the first who waits, closed when the turn ends
}

// take waits for the turn. The error is [errBusy] where the context ended first.
func (t *turns) take(ctx context.Context, mine *turn) error {
	for {
		t.mu.Lock()
		other := t.busy[mine.key]
		if other != nil && !time.Now().Before(other.until) {
			t.end(other)
			other = nil
		}
		if other == nil {
			if t.busy == nil {
				t.busy = make(map[string]*turn)
			}
			t.busy[mine.key] = mine
			t.mu.Unlock()
			return nil
		}
		if other.ended == nil {
			other.ended = make(chan struct{})
		}
		ended, left := other.ended, time.Until(other.until)
		t.mu.Unlock()
		if err := await(ctx, ended, left); err != nil {
			return err
		}
	}
}

// await waits for what ends, at most so long. The error is [errBusy] where the context ended first.
func await(ctx context.Context, ended <-chan struct{}, atMost time.Duration) error {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errBusy, ctx.Err())
	}
	return nil
}

// give ends the turn, if it hasn't ended or was never taken.
func (t *turns) give(mine *turn) {
	if mine.key == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[mine.key] == mine {
		t.end(mine)
	}
}

func (t *turns) end(it *turn) {
	delete(t.busy, it.key)
	if it.ended != nil {
		close(it.ended)
	}
}
