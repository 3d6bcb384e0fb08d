package pgxdedupe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A TxFunc makes an event's effect by means of tx. It must neither commit nor roll back, and must be safe for concurrent use.
type TxFunc func(ctx context.Context, tx pgx.Tx, e *walletcrew.Event) error

// Once returns a HandlerFunc that runs fn exactly once for each event, in a transaction that also records the event. The transaction has
// the database's default isolation level. It is rolled back if fn panics or returns an error, a Discard included.
//
// Fn may begin several times for one event, but only one of these transactions is committed. A duplicate returns nil. After any error the
// platform delivers the event again:
//
//   - [ErrNoID] if the event has no "__id", each time it comes.
//   - [receiver.Temporary] (503) for an error of the database before fn is called.
//   - The same for a commit that failed through the database's fault: a lost connection, a deadlock, a full disk.
//
// After an error of the commit, nobody knows whether it took place; the next delivery finds out.
//
// After a commit it calls [Deduper.PurgeInBackground]. The delivery's answer doesn't wait for that.
func (d *Deduper) Once(fn TxFunc) receiver.HandlerFunc {
	if fn == nil {
		panic("pgxdedupe: Once: the function is nil")
	}
	return func(ctx context.Context, e *walletcrew.Event) error {
		if _, err := keyOf(ctx); err != nil {
			return err
		}
		tx, first, err := d.begin(ctx)
		if err != nil {
			return receiver.Temporary(err)
		}
		defer rollback(ctx, tx) // does nothing after Commit
		if !first {
			return nil
		}
		if err := fn(ctx, tx, e); err != nil {
			return err
		}
		if err := tx.Commit(ctx); err != nil {
			err = fmt.Errorf("pgxdedupe: commit: %w", err)
			if passes(err) {
				err = receiver.Temporary(err)
			}
			return err
		}
		d.PurgeInBackground(ctx)
		return nil
	}
}

// begin begins a transaction whose first statement is InTx's. Up to there it can be tried again, as long as another transaction is in
// the way.
func (d *Deduper) begin(ctx context.Context) (pgx.Tx, bool, error) {
	const most = 5 * time.Second
	for began := time.Now(); ; {
		tx, err := d.pool.Begin(ctx)
		if err != nil {
			return nil, false, fmt.Errorf("pgxdedupe: begin: %w", err)
		}
		first, err := d.InTx(ctx, tx)
		if err == nil {
			return tx, first, nil
		}
		rollback(ctx, tx)
		if !hasCode(err, "40001", "40P01") || time.Since(began) > most || ctx.Err() != nil {
			return nil, false, err
		}
	}
}

// rollback also does it when the function's time is up, but doesn't wait for ever: then it closes the connection.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = tx.Rollback(ctx)
}

// InTx records in your transaction that the event of the context is done, and says whether this is the first time.
//
//   - True: make the event's effect in the same transaction, and commit.
//   - False: roll back and return nil. The event was done before, and that is committed.
//   - An error: roll back and return the error from your HandlerFunc, so that the event is delivered again.
//
// [Deduper.Once] does all of this.
//
// [receiver.Key] identifies the event. Without a key, the error is [ErrNoID]. Of several transactions with one key, one goes on, and the
// others wait in InTx until it ends. From REPEATABLE READ on they then get an error, since they can't see what it committed. Call InTx
// first in a transaction. Then no work is rolled back for a duplicate.
func (d *Deduper) InTx(ctx context.Context, tx pgx.Tx) (first bool, err error) {
	key, err := keyOf(ctx)
	if err != nil {
		return false, err
	}
	return d.InTxKey(ctx, tx, key)
}

func keyOf(ctx context.Context) (string, error) {
	key := receiver.Key(ctx)
	if key == "" {
		return "", fmt.Errorf("%w: the event has no __id, or the context isn't the one that the handler or worker gave", ErrNoID)
	}
	return key, nil
}

// The statements are sqldedupe's. Clock_timestamp and not now: a statement may have waited for another transaction, and now would be
// from before.
const (
	take = `INSERT INTO %s AS e (event_key, token, done, expires_at)
VALUES ($1, $2, true, clock_timestamp() + $3::bigint * interval '1 millisecond')
ON CONFLICT (event_key) DO UPDATE SET token = excluded.token, done = excluded.done, expires_at = excluded.expires_at
WHERE e.expires_at <= clock_timestamp()`
	look = `SELECT done FROM %s WHERE event_key = $1`
)

// InTxKey is [Deduper.InTx] for a key of your own, such as one for each of several effects of an event: receiver.Key(ctx) + "/mail". It
// must be printable ASCII of 1 to 512 bytes, and belong to the event in a way that the sender can't choose: the tenant, for one, is a
// header that isn't signed.
func (d *Deduper) InTxKey(ctx context.Context, tx pgx.Tx, key string) (first bool, err error) {
	if tx == nil {
		return false, errors.New("pgxdedupe: InTx: the transaction is nil")
	}
	if err := checkKey(key); err != nil {
		return false, fmt.Errorf("pgxdedupe: InTx: %w", err)
	}
	stored := d.name + "/tx:" + key // as sqldedupe's
	tag, err := tx.Exec(ctx, fmt.Sprintf(take, d.table), stored, newToken(), d.retention.Milliseconds())
	if err != nil {
		return false, d.explain(err)
	}
	if tag.RowsAffected() > 0 {
		return true, nil
	}
	var done bool
	if err := tx.QueryRow(ctx, fmt.Sprintf(look, d.table), stored).Scan(&done); err != nil {
		return false, d.explain(err)
	}
	if !done {
		return false, fmt.Errorf("pgxdedupe: InTx: %w: the row %q isn't one of InTx", ErrSchema, stored)
	}
	return false, nil
}

func (d *Deduper) explain(err error) error {
	switch {
	case hasCode(err, "42P01", "3F000"):
		return fmt.Errorf("pgxdedupe: InTx: %w: there is no %s: call EnsureSchema: %w", ErrSchema, d.table, err)
	case hasCode(err, "42501"):
		return fmt.Errorf("pgxdedupe: InTx: the database's user lacks a permission (SELECT, INSERT, UPDATE and DELETE on %s are needed): %w", d.table, err)
	}
	return fmt.Errorf("pgxdedupe: InTx: %w", err)
}

func hasCode(err error, codes ...string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(codes, e.Code)
}

// passes reports whether the error is known to be trouble of the database, and not of what was asked of it.
func passes(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false // the function took too long
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return slices.Contains([]string{"08", "40", "53", "57", "58"}, e.Code[:min(2, len(e.Code))]) || e.Code == "25006"
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err)
}

func checkKey(key string) error {
	if key == "" || len(key) > 512 {
		return fmt.Errorf("a key of %d bytes: it must have 1 to 512", len(key))
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return errors.New("the key isn't printable ASCII")
		}
	}
	return nil
}

// newToken returns 63 random bits.
func newToken() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return int64(binary.LittleEndian.Uint64(b[:]) >> 1)
}
