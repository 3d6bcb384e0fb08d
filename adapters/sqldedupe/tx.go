package sqldedupe

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// ErrNoID means that there is no deduplication key, so nobody can tell whether the event was done before. Either the event has no "__id",
// or the context isn't the one that the handler or a worker calls its function with, see [receiver.Key].
var ErrNoID = errors.New("sqldedupe: there is no deduplication key")

// InTx records in your transaction that the event of the context is done, and says whether this is the first time.
//
//   - True: make the event's effect in the same transaction, and commit.
//   - False: roll back and return nil. The event was done before, and that is committed.
//   - An error: roll back and return the error from your HandlerFunc, so that the event is delivered again.
//
// If your function has its own transaction, write:
//
//	first, err := dedupe.InTx(ctx, tx)
//	if err != nil || !first {
//		return err // with tx rolled back
//	}
//	// the effect, and then
//	return tx.Commit()
//
// [Deduper.Once] does all of this. Effect and record are committed together or not at all. So the effect is made exactly once
// within the retention, whatever crashes. That holds for what is done through tx, not for a mail that is sent meanwhile.
//
// [receiver.Key] identifies the event. The sender can't choose the key's scope. Without a key, the error is [ErrNoID]. Ctx is the
// one that your HandlerFunc is called with, or comes from it.
//
// Of several transactions with one key, one goes on, and the others wait in InTx until it ends.
//
//   - If it rolls back, one of the others goes on.
//   - If it commits, the others get false. They get an error if their isolation level doesn't let them see the commit: on PostgreSQL from
//     REPEATABLE READ on, on MariaDB with innodb_snapshot_isolation, on SQLite if tx has read before.
//   - If the context ends first, or the database's own limit is reached (innodb_lock_wait_timeout, busy_timeout), they get an error.
//
// Call InTx first in a transaction. Then no work is rolled back for a duplicate, and transactions that do the rest in different orders
// can't end in a deadlock.
//
// Tx must belong to the database that the Deduper was made with. The records are separate from the leases of [Deduper.Claim], so the same
// Deduper may be in the handler's [receiver.WithDeduper]. InTx doesn't remove expired rows. If you use only InTx, call
// [Deduper.PurgeInBackground] after each commit.
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

// A TxFunc makes an event's effect by means of tx. It must be safe for concurrent use, and it must not commit, roll back, or
// change the schema.
//
// It must return every error of the database. After a deadlock, MariaDB and MySQL have rolled all of the transaction back. If you
// tried a statement again within it, its effect would be committed alone, without the record.
type TxFunc func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error

// Once returns a HandlerFunc that runs fn exactly once for each event, in a transaction that also records the event:
// [Deduper.InTx] says what that means, and how an event is known. The transaction has the database's default isolation level. It
// is rolled back if fn panics or returns an error, a Discard included. Fn may begin several times for one event, but only one of
// these transactions is committed.
//
// A duplicate returns nil, so that an observer sees it as [receiver.Handled], like the first. After any error the platform delivers the
// event again; nothing is dropped in silence:
//
//   - [ErrNoID] if the event has no "__id", each time it comes (the README says how to drop it), or if the context has no
//     [receiver.Key], as in a worker of your own without [receiver.WithKey].
//   - [receiver.Temporary] (503) for an error of the database before fn is called.
//   - The same for a commit that failed through the database's fault: a lost connection, a deadlock, a full disk. A deferred
//     constraint is no such fault, and neither is a transaction that fn has ended or outlived.
//
// After an error of the commit, nobody knows whether it took place; the next delivery finds out.
//
// You don't need a [receiver.Deduper] besides, but it may be this one: then fewer transactions wait, at the cost of two more
// commits.
//
// After a commit, Once also calls [Deduper.PurgeInBackground]. The delivery's answer doesn't wait for that.
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
		d.PurgeInBackground(ctx)
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
