package sqldedupe

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A backlog is a table with expired rows, to which one is added for each event.
type backlog struct {
	each, besides time.Duration // what a statement takes for a row, and in any case

	mu                 sync.Mutex
	rows               int64
	statements, atOnce int
	longest            time.Duration
	err                error
	limit              time.Duration // a statement that takes longer fails then; 0: none does
}

func (b *backlog) remove(most int) (int64, time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(b.rows, int64(most))
	took := b.besides + time.Duration(n)*b.each
	failed := b.limit > 0 && took > b.limit
	if failed {
		took = b.limit
	}
	b.atOnce++
	b.mu.Unlock()
	time.Sleep(took)
	b.mu.Lock()
	b.atOnce--
	b.statements++
	b.longest = max(b.longest, took)
	if failed {
		return 0, took, context.DeadlineExceeded
	}
	if b.err != nil {
		return 0, took, b.err
	}
	b.rows -= n
	return n, took, nil
}

// deliver has events done at a steady pace.
func (b *backlog) deliver(t *testing.T, p *purger, events int, every time.Duration) {
	t.Helper()
	for range events {
		began := time.Now()
		p.eventDone(b.remove)
		require.Zero(t, time.Since(began), "no delivery waits")
		time.Sleep(every)
		b.mu.Lock()
		b.rows++
		require.LessOrEqual(t, b.atOnce, 1, "one statement at a time")
		b.mu.Unlock()
	}
	p.awaitEnd()
}

// awaitEnd returns when no statement runs. A wait for a mutex would stop a bubble's clock.
func (p *purger) awaitEnd() {
	for !p.mu.TryLock() {
		time.Sleep(time.Millisecond)
	}
	p.mu.Unlock()
}

func TestASliceIsAsLargeAsItsTime(t *testing.T) {
	t.Parallel()
	for _, each := range []time.Duration{time.Microsecond, 10 * time.Microsecond, 100 * time.Microsecond, 500 * time.Microsecond} {
		synctest.Test(t, func(t *testing.T) {
			b, p := &backlog{rows: 1_000_000, each: each}, &purger{}
			b.deliver(t, p, 100, 10*time.Millisecond)
			b.longest = 0 // from now on it knows
			b.deliver(t, p, 1000, 10*time.Millisecond)
			assert.LessOrEqual(t, b.longest, 2*sliceTime, "%v a row", each)
			assert.Less(t, b.rows, int64(1_000_000-3*1100), "%v a row: the table shrinks", each)
		})
	}
}

// An old transaction makes each statement wade through what was removed: smaller slices would only mean more of that.
func TestTheTableShrinksThoughEachStatementTakesLong(t *testing.T) {
	t.Parallel()
	for _, besides := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			b, p := &backlog{rows: 100_000, each: 10 * time.Microsecond, besides: besides}, &purger{}
			b.deliver(t, p, 10_000, time.Millisecond)
			assert.Less(t, b.rows, int64(100_000-10_000), "%v a statement", besides)
		})
	}
}

func TestAQuietTableIsLookedAtOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := &backlog{besides: time.Millisecond}, &purger{}
		for range 10_000 {
			p.eventDone(b.remove)
			time.Sleep(time.Millisecond)
		}
		p.awaitEnd()
		assert.InDelta(t, 10, b.statements, 1, "statements in 10 s")
	})
}

func TestAPurgeThatFailsIsTriedAgainOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := &backlog{rows: 10_000, each: time.Microsecond, err: errors.New("no connection")}, &purger{}
		b.deliver(t, p, 10_000, time.Millisecond)
		assert.InDelta(t, 10, b.statements, 1, "statements in 10 s")
		b.err = nil
		b.deliver(t, p, 2000, time.Millisecond)
		assert.Less(t, b.rows, int64(10_000))
	})
}

// On a slow disk, many rows at once take longer than a statement may. The table must shrink all the same.
func TestAPurgeThatIsTooLargeGetsSmaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := &backlog{rows: 100_000, each: 5 * time.Millisecond, limit: 10 * time.Second}, &purger{}
		p.behind, p.rows = true, maxSlice
		p.done.Store(5000) // of a pause: four times as many don't go in time
		b.deliver(t, p, 20_000, 50*time.Millisecond)
		assert.Less(t, b.rows, int64(100_000), "after a thousand seconds and 20,000 further events")
	})
}

// What a driver does in the background must not end the program.
func TestAPanicOfAPurgeIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, calls := &purger{}, 0
		for range 2 {
			p.eventDone(func(int) (int64, time.Duration, error) { calls++; panic("boom") })
			time.Sleep(time.Minute)
		}
		p.awaitEnd()
		assert.Equal(t, 2, calls)
	})
}

// A program that lives for a second removes something, too.
func TestTheFirstEventIsEnough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := &backlog{rows: 1000, each: time.Microsecond}, &purger{}
		p.eventDone(b.remove)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.EqualValues(t, 1000-firstSlice, b.rows)
	})
}

// StopPurging is for tests of other packages that count rows.
func (d *Deduper) StopPurging() { d.purger.mu.Lock() }

func TestAWriterWaitsForItsTurnNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	d, err := New(&sql.DB{}, SQLite, "orders")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, d.write(ctx, func() error {
		cancel()
		_, err := d.Claim(ctx, "key", time.Minute)
		require.ErrorIs(t, err, context.Canceled)
		return nil
	}))
}
