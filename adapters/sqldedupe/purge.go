package sqldedupe

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Purge removes up to max expired rows of the table, those that expired first, and returns how many that were: events that were done
// longer ago than the retention, and leases that ran out longer ago. Those of other names are among them: one job serves them all. It is one statement; fewer than max says that there are no more. A
// max under 1 is an error. Several may run at once.
//
// It passes over the rows of transactions that are running, and waits for none: they are in use again. Two engines can't:
// SQLite, where each writer waits for the one before, and MySQL before 8.0 and MariaDB before 10.6, where it waits for such a row and
// lets others wait meanwhile. So does MariaDB if the connection has sql_safe_updates=1.
//
// [Deduper.Complete] and [Deduper.Once] remove expired rows by themselves, see [Deduper.PurgeInBackground]. Purge is for a job of your own,
// as for a table that nothing is delivered to any more. A row that hasn't been removed isn't remembered any longer for that.
func (d *Deduper) Purge(ctx context.Context, max int) (int64, error) {
	if max < 1 {
		return 0, fmt.Errorf("sqldedupe: Purge(%d): the number must be at least 1", max)
	}
	var n int64
	err := retry(ctx, func() (err error) {
		return d.write(ctx, func() error {
			n, err = d.purge(ctx, d.db, max)
			return err
		})
	})
	if err != nil {
		return 0, fmt.Errorf("sqldedupe: Purge: %w", d.explain(err))
	}
	return n, nil
}

func (d *Deduper) purge(ctx context.Context, q queryer, max int) (int64, error) {
	result, err := q.ExecContext(ctx, d.sql.purge, d.retention.Milliseconds(), max)
	if err != nil && d.sql.purgeWaiting != "" && (syntax.match(err) || safeMode.match(err)) {
		result, err = q.ExecContext(ctx, d.sql.purgeWaiting, d.retention.Milliseconds(), max)
	}
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// PurgeInBackground removes some expired rows if it is due, and doesn't wait for that: a goroutine runs one statement on a connection of
// the pool, and ends. [Deduper.Complete] and [Deduper.Once] call it for each event that is done. If you use [Deduper.InTx] alone, call it
// after each commit.
//
// One such statement runs at a time. It removes as many rows as go in about 5 ms, 10 at least. While there are more, the next one comes
// after three times as long, and if that is too slow for what comes in, at once and for four times as many rows as events were done
// meanwhile: so the table shrinks. Once there are no more, the next comes a second later at the earliest.
//
// Its errors are swallowed: what wasn't removed is removed later. It keeps the values of ctx, and not its end. There is nothing to close
// but your sql.DB.
func (d *Deduper) PurgeInBackground(ctx context.Context) {
	d.purger.eventDone(func(max int) (n int64, took time.Duration, err error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), purgeTimeout)
		defer cancel()
		err = retry(ctx, func() error {
			return d.write(ctx, func() error {
				conn, err := d.db.Conn(ctx)
				if err != nil {
					return err
				}
				defer func() { _ = conn.Close() }()
				began := time.Now() // how long it waits for its turn and a connection says nothing about the statement
				n, err = d.purge(ctx, conn, max)
				took = time.Since(began)
				return err
			})
		})
		return n, took, err
	})
}

// A purger decides when a slice of the expired rows is removed, and how large it is. The zero value is ready.
type purger struct {
	done atomic.Int64 // events since a slice was removed

	mu     sync.Mutex // held while a slice is removed
	next   time.Time  // when the next one may be
	rows   int        // what goes in sliceTime, as far as is known
	behind bool       // there may be more than the last slice
}

const (
	sliceTime    = 5 * time.Millisecond // who waits for a slice, such as SQLite's next writer, waits that long
	minSlice     = 10
	firstSlice   = 100
	maxSlice     = 1000
	sliceOutrun  = 4      // rows for each event that was done since, while behind
	maxOutrun    = 10_000 // no statement removes more
	purgeRest    = time.Second
	purgeTimeout = 10 * time.Second // of the wait for a connection, and the statement
)

// eventDone counts an event, and removes a slice in a goroutine if one is due and none is being removed.
func (p *purger) eventDone(remove func(max int) (n int64, took time.Duration, err error)) {
	p.done.Add(1)
	if !p.mu.TryLock() {
		return
	}
	if time.Now().Before(p.next) {
		p.mu.Unlock()
		return
	}
	go func() {
		defer p.mu.Unlock()
		p.slice(remove)
	}()
}

// slice makes slices smaller where they take long. Where most of that isn't for their rows (an old transaction keeps PostgreSQL and InnoDB
// from forgetting what was removed, and each slice wades through it) that alone would never end: so one is never smaller than what came in.
func (p *purger) slice(remove func(max int) (n int64, took time.Duration, err error)) {
	if p.rows == 0 {
		p.rows = firstSlice
	}
	done, size := p.done.Load(), p.rows
	if p.behind {
		size = max(size, int(min(sliceOutrun*done, maxOutrun)))
	}
	n, took, err := remove(size)
	rest := 3 * took
	if err == nil {
		p.done.Add(-done)
		p.behind = n >= int64(size)
	}
	switch {
	case err != nil || !p.behind:
		rest = max(rest, purgeRest)
	case size > p.rows:
		rest = 0
	}
	p.next = time.Now().Add(rest)
	switch {
	case took > sliceTime:
		p.rows = max(p.rows/2, minSlice)
	case took < sliceTime/2 && p.behind:
		p.rows = min(2*p.rows, maxSlice)
	}
}
