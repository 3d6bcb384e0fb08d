package sqldedupe

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// ErrNoID means that there is no deduplication key, so that nothing tells whether the event was done before: the event has no "__id", or
// the context isn't the one that the handler or a worker calls its function with, see [receiver.Key].
var ErrNoID = errors.New("sqldedupe: there is no deduplication key")

// InTx records in your transaction that the event of the context is done, and says whether it is the first to do so. If it is, make
// the event's effect in the same transaction and commit; if it isn't, roll back, and acknowledge the event: it is done, and committed.
// After an error roll back and let the event be delivered again: return the error from your HandlerFunc.
//
//	first, err := dedupe.InTx(ctx, tx)
//	if err != nil || !first {
//		return err // with tx rolled back
//	}
//	// the effect, and then
//	return tx.Commit()
//
// [Deduper.Once] does that. The effect and the record are committed together or not at all, so the effect comes to be exactly
// once within the retention, whatever crashes. That holds for what is done through tx, not for a mail that is sent meanwhile.
//
// The event is known by [receiver.Key], whose scope the sender can't choose. Without a key, the error is [ErrNoID]. Ctx is the one
// that your HandlerFunc is called with, or comes from it.
//
// Of several transactions with one key, one goes on; the others wait in InTx until it ends. If it commits, they get false, or an
// error where their isolation level doesn't let them see it (PostgreSQL's from REPEATABLE READ on, MariaDB's with
// innodb_snapshot_isolation, SQLite's where tx has read before); if it rolls back, one of them goes on. Call InTx first in a
// transaction: then there is nothing to roll back that was done in vain, nor a deadlock with what others do in another order.
// The wait ends with the context, or with the database's own limit (innodb_lock_wait_timeout, busy_timeout), as an error.
//
// Tx must be one of the database that the Deduper was made with. The records are apart from the leases of [Deduper.Claim]: a handler
// whose function calls InTx may have the same Deduper in [receiver.WithDeduper]. Expired rows aren't removed here but by
// [Deduper.Purge], Claim and Once.
func (d *Deduper) InTx(ctx context.Context, tx *sql.Tx) (first bool, err error) {
	key := receiver.Key(ctx)
	if key == "" {
		return false, fmt.Errorf("%w: the event has no __id, or the context isn't the one that the handler or worker gave", ErrNoID)
	}
	return d.InTxKey(ctx, tx, key)
}

// InTxKey is [Deduper.InTx] for a key of your own, such as one for each of several effects of an event: receiver.Key(ctx) + "/mail". It
// must be printable ASCII of 1 to 512 bytes, and belong to the event in a way that the sender can't choose: the tenant, for one, is a
// header that isn't signed.
func (d *Deduper) InTxKey(ctx context.Context, tx *sql.Tx, key string) (first bool, err error) {
	if tx == nil {
		return false, errors.New("sqldedupe: InTx: the transaction is nil")
	}
	if err := checkKey(key); err != nil {
		return false, fmt.Errorf("sqldedupe: InTx: %w", err)
	}
	state, err := d.take(ctx, tx, d.name+separatorTx+key, newToken(), true, d.retention)
	if err == nil && state == gone { // the row is locked until the transaction's end
		err = errors.New("the row is neither ours nor another's")
	}
	if err != nil {
		return false, fmt.Errorf("sqldedupe: InTx: %w", d.explain(err))
	}
	return state == receiver.Claimed, nil
}

// A TxFunc makes an event's effect by means of tx. It must neither commit nor roll back, and must return every error of the
// database: after a deadlock, MariaDB and MySQL have rolled all of the transaction back, and a statement that is tried again within
// it would take effect alone, without the record. For the same reason it must not change the schema. It must be safe for concurrent
// use.
type TxFunc func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error

// Once returns a HandlerFunc that runs fn exactly once for each event, in a transaction that also records the event: see
// [Deduper.InTx] for what that means, and for how an event is known. The transaction has the database's default isolation level; it is
// rolled back if fn returns an error, a Discard included, or panics.
//
// Fn may begin several times for one event, but only one of these transactions is committed. A duplicate returns nil, and so is
// [receiver.Handled] to an observer, as the first is. All errors are to be delivered again: nothing is dropped in silence, and an event
// without "__id" is [ErrNoID] each time it comes (the README says how to drop it). So is one whose context has no [receiver.Key], as in
// a worker of your own without [receiver.WithKey]. Those of the database before fn is called are
// [receiver.Temporary] (503), and those of the commit that are known to be its trouble and not fn's: a lost connection, a deadlock,
// a full disk, but no deferred constraint, and no transaction that fn has ended or outlived. An error of the commit leaves open
// whether it took place; the next delivery finds out. A [receiver.Deduper] besides isn't needed, but may be this one: with it, fewer
// transactions wait, at the cost of two more commits.
//
// After a commit it also removes expired rows now and then, as [Deduper.Claim] does: the delivery's answer waits for that, 2 s at most.
//
// For functions with a type make a [receiver.Mux] in fn: see the example.
func (d *Deduper) Once(fn TxFunc) receiver.HandlerFunc {
	if fn == nil {
		panic("sqldedupe: Once: the function is nil")
	}
	return func(ctx context.Context, e *walletcrew.Event) error {
		key := receiver.Key(ctx)
		switch err := checkKey(key); {
		case key == "" && e != nil && e.ID != "":
			return fmt.Errorf("%w in the context, though the event has an __id: receiver.Handler, verifier.Middleware and the adapters' workers set it; elsewhere, call receiver.WithKey", ErrNoID)
		case key == "":
			return fmt.Errorf("%w: the event has no __id", ErrNoID)
		case err != nil:
			return fmt.Errorf("sqldedupe: the key of the event: %w", err)
		}
		tx, first, err := d.begin(ctx, key)
		if err != nil {
			return receiver.Temporary(err)
		}
		defer func() { _ = tx.Rollback() }() // does nothing after Commit
		if !first {
			return nil
		}
		if err := fn(ctx, tx, e); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			err = fmt.Errorf("sqldedupe: commit: %w", d.explain(err))
			if passes(err) {
				err = receiver.Temporary(err)
			}
			return err
		}
		d.purgeIfDue(ctx)
		return nil
	}
}

// begin begins a transaction whose first statement is InTxKey's. Up to there it can be tried again.
func (d *Deduper) begin(ctx context.Context, key string) (tx *sql.Tx, first bool, err error) {
	err = retry(ctx, func() (err error) {
		if tx, err = d.db.BeginTx(ctx, nil); err != nil {
			return fmt.Errorf("sqldedupe: begin: %w", d.explain(err))
		}
		if first, err = d.InTxKey(ctx, tx, key); err != nil {
			_ = tx.Rollback()
		}
		return err
	})
	return tx, first, err
}
