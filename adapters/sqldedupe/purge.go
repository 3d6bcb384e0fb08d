package sqldedupe

import (
	"context"
	"fmt"
	"time"
)

// What Claim and Once do by themselves: they remove at least twice what comes in, in batches that take milliseconds.
const (
	purgeInterval = time.Minute
	purgeClaims   = 500
	purgeBatch    = 1000
	purgeTimeout  = 2 * time.Second
)

// Purge removes up to max expired rows of the table, those that expired first, and returns how many that were: events that were done
// longer ago than the retention, and leases that ran out longer ago. Those of other names are among them: one job serves them all. It is one statement; fewer than max says that there are no more. A
// max under 1 is an error. Several may run at once.
//
// It passes over the rows of transactions that are running, and waits for none: they are in use again. Two engines can't:
// SQLite, where each writer waits for the one before, and MySQL before 8.0 and MariaDB before 10.6, where it waits for such a row and
// lets others wait meanwhile. So does MariaDB if the connection has sql_safe_updates=1.
//
// [Deduper.Claim] and [Deduper.Once] do it now and then. If you use [Deduper.InTx] alone, call it once in a while, from a job or:
//
//	for range time.Tick(time.Minute) {
//		for {
//			n, err := dedupe.Purge(ctx, 1000)
//			if err != nil || n < 1000 {
//				break
//			}
//		}
//	}
//
// A row that hasn't been removed isn't remembered any longer for that.
func (d *Deduper) Purge(ctx context.Context, max int) (int64, error) {
	if max < 1 {
		return 0, fmt.Errorf("sqldedupe: Purge(%d): the number must be at least 1", max)
	}
	var n int64
	err := retry(ctx, func() (err error) {
		n, err = d.purge(ctx, d.db, max)
		return err
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

func (d *Deduper) purgeIfDue(ctx context.Context) {
	due := d.claims.Add(1) >= purgeClaims || time.Now().UnixNano()-d.lastPurge.Load() >= int64(d.purgeEvery)
	if !due || !d.purging.CompareAndSwap(false, true) {
		return
	}
	defer d.purging.Store(false)
	d.claims.Store(0)
	d.lastPurge.Store(time.Now().UnixNano())
	ctx, cancel := context.WithTimeout(ctx, purgeTimeout)
	defer cancel()
	_, _ = d.Purge(ctx, purgeBatch) // what was claimed or committed doesn't depend on it
}
