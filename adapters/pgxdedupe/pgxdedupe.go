// Package pgxdedupe is package sqldedupe for programs that use pgx without database/sql. [Deduper.Once], [Deduper.InTx] and
// [Deduper.InTxKey] take a [pgx.Tx], and record an event in the transaction that holds its effect. Both are committed or neither is, so the
// effect is made exactly once.
//
//	dedupe, err := pgxdedupe.New(pool, "orders") // the name of what your function does with the events
//	if err != nil {
//		return err
//	}
//	if err := dedupe.EnsureSchema(ctx); err != nil {
//		return err
//	}
//	handle := dedupe.Once(func(ctx context.Context, tx pgx.Tx, e *walletcrew.Event) error {
//		_, err := tx.Exec(ctx, "UPDATE passes SET installs = installs + 1 WHERE ...")
//		return err
//	})
//	http.Handle("/webhooks/walletcrew", receiver.NewHandler(v, handle))
//
// A [Deduper] is also a [receiver.Deduper], for effects that aren't in the database.
//
// The table, its schema and its rows are those of sqldedupe, so both packages may serve one name. What sqldedupe says about names,
// retention, purging, and a database that loses commits holds here, too.
package pgxdedupe

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// The errors are sqldedupe's. Use errors.Is.
var (
	ErrNoID   = sqldedupe.ErrNoID   // there is no deduplication key
	ErrSchema = sqldedupe.ErrSchema // the table is missing or has another shape
)

const (
	defaultTable     = "walletcrew_events"
	defaultRetention = 24 * time.Hour
)

// A Deduper remembers events in a table of PostgreSQL. Make it with [New]. It is safe for concurrent use, by any number of processes that
// use the same table and name. It has nothing to close; the pool is yours. So make one when the program starts, and not for each
// event: database/sql keeps a goroutine for each Deduper, which only waits.
type Deduper struct {
	pool      *pgxpool.Pool
	leases    *sqldedupe.Deduper
	name      string
	table     string
	retention time.Duration
}

var _ receiver.Deduper = (*Deduper)(nil)

// An Option is passed to [New].
type Option func(*Deduper)

// WithTable sets the table's name; default "walletcrew_events". It consists of up to 50 ASCII letters, digits and underscores, and
// doesn't begin with a digit; it may have a schema's name and a dot before it. Anything else is an error of [New]. It isn't quoted.
func WithTable(name string) Option { return func(d *Deduper) { d.table = name } }

// WithRetention sets for how long an event that is done is remembered; default 24 h. Under 1 ms, New returns an error. It isn't documented
// for how long the platform may deliver an event again. Rows are small, so days are cheap.
func WithRetention(retention time.Duration) Option {
	return func(d *Deduper) { d.retention = retention }
}

// New returns a Deduper. Name says which receiver it is for, such as "orders". The replicas of one receiver use the same name. Two
// receivers whose functions do different things need two names: under one, each takes the other's events for duplicates. A name has 1 to 64
// ASCII letters, digits, '-', '_' and '.'.
//
// A nil pool, a wrong name and a wrong option are errors; a nil option is ignored. New doesn't ask the database: call
// [Deduper.EnsureSchema] or [Deduper.Check] when the program starts.
func New(pool *pgxpool.Pool, name string, opts ...Option) (*Deduper, error) {
	d := &Deduper{pool: pool, name: name, table: defaultTable, retention: defaultRetention}
	for _, opt := range opts {
		if opt != nil {
			opt(d)
		}
	}
	var db *sql.DB
	if pool != nil {
		db = stdlib.OpenDBFromPool(pool) // keeps no connection of its own, and has nothing to close
	}
	var err error
	d.leases, err = sqldedupe.New(db, sqldedupe.Postgres, name, sqldedupe.WithTable(d.table), sqldedupe.WithRetention(d.retention))
	if err != nil {
		return nil, fmt.Errorf("pgxdedupe: %w", err)
	}
	return d, nil
}

// Claim implements [receiver.Deduper], see [sqldedupe.Deduper.Claim].
func (d *Deduper) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	return d.leases.Claim(ctx, key, lease)
}

// Complete implements [receiver.Deduper], see [sqldedupe.Deduper.Complete].
func (d *Deduper) Complete(ctx context.Context, key, token string) error {
	return d.leases.Complete(ctx, key, token)
}

// Release implements [receiver.Deduper], see [sqldedupe.Deduper.Release].
func (d *Deduper) Release(ctx context.Context, key, token string) error {
	return d.leases.Release(ctx, key, token)
}

// EnsureSchema creates the table if it is missing, and then does the same as [Deduper.Check].
func (d *Deduper) EnsureSchema(ctx context.Context) error { return d.leases.EnsureSchema(ctx) }

// Check finds at the start of a program the faults that would show later, see
// [sqldedupe.Deduper.Check].
func (d *Deduper) Check(ctx context.Context) error { return d.leases.Check(ctx) }

// Purge removes up to max expired rows and returns how many it removed, see
// [sqldedupe.Deduper.Purge].
func (d *Deduper) Purge(ctx context.Context, max int) (int64, error) { return d.leases.Purge(ctx, max) }

// PurgeInBackground removes some expired rows if it is time to, and doesn't wait for that, see [sqldedupe.Deduper.PurgeInBackground].
// [Deduper.Complete] and [Deduper.Once] call it for each event that is done. If you use only [Deduper.InTx], call it after each commit. The
// pool's Close waits for a running statement, for milliseconds.
func (d *Deduper) PurgeInBackground(ctx context.Context) { d.leases.PurgeInBackground(ctx) }
