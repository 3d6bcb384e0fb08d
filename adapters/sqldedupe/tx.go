package sqldedupe

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// ErrNoID means that an event has no "__id", so that nothing tells whether it was done before.
var ErrNoID = errors.New("sqldedupe: the event has no __id")

// InTx records in your transaction that the event with this key is done, and says whether it is the first to do so. If it is,
// make the event's effect in the same transaction and commit; if it isn't, roll back, and acknowledge the event: it is done, and
// committed. After an error roll back and let the event be delivered again: return the error from your HandlerFunc.
//
//	first, err := dedupe.InTx(ctx, tx, key)
//	if err != nil || !first {
//		return err // with tx rolled back
//	}
//	// the effect, and then
//	return tx.Commit()
//
// [Deduper.Once] does that. The effect and the record are committed together or not at all, so the effect comes to be exactly
// once within the retention, whatever crashes. That holds for what is done through tx, not for a mail that is sent meanwhile.
//
// Of several transactions with one key, one goes on; the others wait in InTx until it ends. If it commits, they get false, or an
// error where their isolation level doesn't let them see it (PostgreSQL's from REPEATABLE READ on, MariaDB's with
// innodb_snapshot_isolation, SQLite's where tx has read before); if it rolls back, one of them goes on. Call InTx first in a
// transaction: then there is nothing to roll back that was done in vain, nor a deadlock with what others do in another order.
// The wait ends with the context, or with the database's own limit (innodb_lock_wait_timeout, busy_timeout), as an error.
//
// Tx must be one of the database that the Deduper was made with. Key must be printable ASCII of 1 to 512 bytes, and belong to
// the event in a way that the sender can't choose: [Key] and [KeyIn] make one. It must not be one that is given to Claim: the
// handler's own keys never are one of theirs. Expired rows aren't removed here but by [Deduper.Purge], Claim
// and Once.
func (d *Deduper) InTx(ctx context.Context, tx *sql.Tx, key string) (first bool, err error) {
	if tx == nil {
		return false, errors.New("sqldedupe: InTx: the transaction is nil")
	}
	if err := checkKey(key); err != nil {
		return false, fmt.Errorf("sqldedupe: InTx: %w", err)
	}
	state, err := d.take(ctx, tx, d.sql.done, key, newToken(), d.retention)
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
// [Deduper.InTx] for what that means. Key is [Key], or what [KeyIn] returns, or your own. The transaction has the database's
// default isolation level; it is rolled back if fn returns an error, a Discard included, or panics.
//
// Fn may begin several times for one event, but only one of these transactions is committed. A duplicate returns nil, and so is
// [receiver.Handled] to an observer, as the first is. All errors are to be delivered again: nothing is dropped in silence, and an event
// without "__id" is [ErrNoID] each time it comes (the README says how to drop it). Those of the database before fn is called are
// [receiver.Temporary] (503), and those of the commit that are known to be its trouble and not fn's: a lost connection, a deadlock,
// a full disk, but no deferred constraint, and no transaction that fn has ended or outlived. An error of the commit leaves open
// whether it took place; the next delivery finds out. A [receiver.Deduper] besides isn't needed: with one, fewer transactions wait,
// at the cost of two more commits.
//
// After a commit it also removes expired rows now and then, as [Deduper.Claim] does: the delivery's answer waits for that, 2 s at most.
//
// For functions with a type make a [receiver.Mux] in fn: see the example.
func (d *Deduper) Once(key func(*walletcrew.Event) (string, error), fn TxFunc) receiver.HandlerFunc {
	if key == nil || fn == nil {
		panic("sqldedupe: Once: a function is nil")
	}
	return func(ctx context.Context, e *walletcrew.Event) error {
		k, err := key(e)
		if err == nil {
			err = checkKey(k)
		}
		if err != nil {
			return fmt.Errorf("sqldedupe: the key of the event: %w", err)
		}
		tx, first, err := d.begin(ctx, k)
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

// begin begins a transaction whose first statement is InTx's. Up to there it can be tried again.
func (d *Deduper) begin(ctx context.Context, key string) (tx *sql.Tx, first bool, err error) {
	err = retry(ctx, func() (err error) {
		if tx, err = d.db.BeginTx(ctx, nil); err != nil {
			return fmt.Errorf("sqldedupe: begin: %w", d.explain(err))
		}
		if first, err = d.InTx(ctx, tx, key); err != nil {
			_ = tx.Rollback()
		}
		return err
	})
	return tx, first, err
}

// Key returns a key for [Deduper.InTx] from the event's tenant and "__id", or [ErrNoID].
//
// Use it only where something vouches for the tenant, which is a header that isn't signed: a verifier on [verifier.SecretFunc]
// with a secret of each tenant's own. With [verifier.Static] and [verifier.FromAPI] nothing does: who has captured a delivery
// could send it again under another tenant's name, and it would be another event. Use [KeyIn] there.
func Key(e *walletcrew.Event) (string, error) {
	if e == nil {
		return "", ErrNoID
	}
	return KeyIn(e.TenantID)(e)
}

// KeyIn returns a function like [Key] that takes scope for the tenant, whatever the header says. The scope is yours to choose,
// such as the tenant's id of the client for [verifier.FromAPI]; all receivers of the same events must choose the same.
//
// Keys are printable ASCII of at most 512 bytes, and different for different scopes and ids.
func KeyIn(scope string) func(e *walletcrew.Event) (string, error) {
	return func(e *walletcrew.Event) (string, error) {
		if e == nil || e.ID == "" {
			return "", ErrNoID
		}
		// "e/" keeps them apart from the keys that the handler gives to Claim.
		key := "e/" + url.PathEscape(scope) + "/" + url.PathEscape(e.ID)
		if len(key) > maxKeyBytes {
			sum := sha256.Sum256([]byte(key))
			key = "e/" + hex.EncodeToString(sum[:])
		}
		return key, nil
	}
}
