package sqldedupe

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Purge removes up to max expired rows of the table, those that expired first, and returns how many it removed. If that is less than max,
// there are no more. A row is expired if its event was done, or its lease ran out, longer ago than the retention. Purge also removes rows
// of other names, so one job serves them all. It is one statement. A max under 1 is an error. Several calls may run at once.
//
// Purge skips rows that a running transaction uses, and doesn't wait for them, with two exceptions:
//
//   - On SQLite, each writer waits for the one before.
//   - On MySQL before 8.0, on MariaDB before 10.6, and on MariaDB if the connection has sql_safe_updates=1, it waits for such a row, and
//     other transactions may wait for Purge meanwhile.
//
// [Deduper.Complete] and [Deduper.Once] remove expired rows by themselves, see [Deduper.PurgeInBackground]. Use Purge in a job of your own,
// such as for a table that gets no more events. An expired row counts as forgotten, even while it hasn't been removed.
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

// PurgeInBackground removes some expired rows if it is time to. It doesn't wait: a goroutine runs one statement on a connection of the
// pool, and ends. [Deduper.Complete] and [Deduper.Once] call it for each event that is done. If you use [Deduper.InTx] alone, call it after
// each commit.
//
// One such statement runs at a time. It removes as many rows as it can in about 5 ms, but at least 10.
//
//   - While there are more expired rows, the next statement comes after a pause of three times its duration.
//   - If events come in faster than that, the next one comes at once. It removes four times as many rows as events were done
//     meanwhile, so the table shrinks.
//   - Once there are no more, the next one comes a second later at the earliest.
//
// Errors are ignored: rows that weren't removed are removed later. The statement has the values of ctx, but doesn't end with it. There is
// nothing to close except your [sql.DB].
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
		p.slice(func(max int) (n int64, took time.Duration, err error) {
			defer func() {
				if value := recover(); value != nil { // of a driver, or of what is around it: it would end the program
					err = fmt.Errorf("sqldedupe: the purge panicked: %v", value)
				}
			}()
			return remove(max)
		})
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
	p.done.Add(-done)
	p.behind = err == nil && n >= int64(size) // one that fails may be too large: the next is the smaller for it
	switch {
	case err != nil || !p.behind:
		rest = max(rest, purgeRest)
	case size > p.rows:
		rest = 0
	}
	p.next = time.Now().Add(rest)
	switch {
	case took > sliceTime || err != nil:
		p.rows = max(p.rows/2, minSlice)
	case took < sliceTime/2 && p.behind:
		p.rows = min(2*p.rows, maxSlice)
	}
}
