package riverinbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/pgxdedupe"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A database is PostgreSQL by pgx or by database/sql.
type database interface {
	take(ctx context.Context, e *walletcrew.Event) error // the event, its record and its job
	inTx(ctx context.Context, f func(transaction) error) error
	exec(ctx context.Context, statement string) error
	ensureDedupe(ctx context.Context) error
	checkDedupe(ctx context.Context) error
}

// A transaction ends with the function it is given to.
type transaction interface {
	insert(ctx context.Context, args Args) error                            // a job
	complete(ctx context.Context, job *river.Job[Args]) error               // a job that runs
	exec(ctx context.Context, statement string, args ...any) error          // without rows
	query(ctx context.Context, statement string, args ...any) (rows, error) // close it
}

// rows are pgx.Rows or *sql.Rows.
type rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}

// maxAttempts is far over what a worker allows: it ends a job itself, as a dead letter, where River would discard and forget it.
const maxAttempts = 1000

func (i *Inbox) insertOpts() *river.InsertOpts {
	return &river.InsertOpts{Queue: i.name, MaxAttempts: maxAttempts}
}

type pgxDatabase struct {
	inbox  *Inbox
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx] // which only inserts
	dedupe *pgxdedupe.Deduper
	once   receiver.HandlerFunc
}

func newPgx(pool *pgxpool.Pool, i *Inbox) (database, error) {
	if pool == nil {
		return nil, errors.New("the pool is nil")
	}
	dedupe, err := pgxdedupe.New(pool, i.dedupeName(), pgxdedupe.WithTable(i.events), pgxdedupe.WithRetention(i.retention))
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Schema: i.schema})
	if err != nil {
		return nil, err
	}
	d := &pgxDatabase{inbox: i, pool: pool, client: client, dedupe: dedupe}
	d.once = dedupe.Once(func(ctx context.Context, tx pgx.Tx, e *walletcrew.Event) error {
		return pgxTx{d, tx}.insert(ctx, argsOf(ctx, e))
	})
	return d, nil
}

func (d *pgxDatabase) take(ctx context.Context, e *walletcrew.Event) error {
	if receiver.Key(ctx) != "" {
		return d.once(ctx, e)
	}
	return d.inTx(ctx, func(tx transaction) error { return tx.insert(ctx, argsOf(ctx, e)) })
}

func (d *pgxDatabase) inTx(ctx context.Context, f func(transaction) error) error {
	return pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error { return f(pgxTx{d, tx}) })
}

func (d *pgxDatabase) exec(ctx context.Context, statement string) error {
	_, err := d.pool.Exec(ctx, statement)
	return err
}

func (d *pgxDatabase) ensureDedupe(ctx context.Context) error { return d.dedupe.EnsureSchema(ctx) }
func (d *pgxDatabase) checkDedupe(ctx context.Context) error  { return d.dedupe.Check(ctx) }

type pgxTx struct {
	*pgxDatabase
	tx pgx.Tx
}

func (t pgxTx) insert(ctx context.Context, args Args) error {
	if _, err := t.client.InsertTx(ctx, t.tx, args, t.inbox.insertOpts()); err != nil {
		return fmt.Errorf("insert the job: %w", err)
	}
	return nil
}

func (t pgxTx) complete(ctx context.Context, job *river.Job[Args]) error {
	_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, t.tx, job)
	return err
}

func (t pgxTx) exec(ctx context.Context, statement string, args ...any) error {
	_, err := t.tx.Exec(ctx, statement, args...)
	return err
}

func (t pgxTx) query(ctx context.Context, statement string, args ...any) (rows, error) {
	return t.tx.Query(ctx, statement, args...)
}

type sqlDatabase struct {
	inbox  *Inbox
	db     *sql.DB
	client *river.Client[*sql.Tx] // which only inserts
	dedupe *sqldedupe.Deduper
	once   receiver.HandlerFunc
}

func newSQL(db *sql.DB, i *Inbox) (database, error) {
	dedupe, err := sqldedupe.New(db, sqldedupe.Postgres, i.dedupeName(), sqldedupe.WithTable(i.events), sqldedupe.WithRetention(i.retention))
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient(riverdatabasesql.New(db), &river.Config{Schema: i.schema})
	if err != nil {
		return nil, err
	}
	d := &sqlDatabase{inbox: i, db: db, client: client, dedupe: dedupe}
	d.once = dedupe.Once(func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
		return sqlTx{d, tx}.insert(ctx, argsOf(ctx, e))
	})
	return d, nil
}

func (d *sqlDatabase) take(ctx context.Context, e *walletcrew.Event) error {
	if receiver.Key(ctx) != "" {
		return d.once(ctx, e)
	}
	return d.inTx(ctx, func(tx transaction) error { return tx.insert(ctx, argsOf(ctx, e)) })
}

func (d *sqlDatabase) inTx(ctx context.Context, f func(transaction) error) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if err := f(sqlTx{d, tx}); err != nil {
		return err
	}
	return tx.Commit()
}

func (d *sqlDatabase) exec(ctx context.Context, statement string) error {
	_, err := d.db.ExecContext(ctx, statement)
	return err
}

func (d *sqlDatabase) ensureDedupe(ctx context.Context) error { return d.dedupe.EnsureSchema(ctx) }
func (d *sqlDatabase) checkDedupe(ctx context.Context) error  { return d.dedupe.Check(ctx) }

type sqlTx struct {
	*sqlDatabase
	tx *sql.Tx
}

func (t sqlTx) insert(ctx context.Context, args Args) error {
	if _, err := t.client.InsertTx(ctx, t.tx, args, t.inbox.insertOpts()); err != nil {
		return fmt.Errorf("insert the job: %w", err)
	}
	return nil
}

func (t sqlTx) complete(ctx context.Context, job *river.Job[Args]) error {
	_, err := river.JobCompleteTx[*riverdatabasesql.Driver](ctx, t.tx, job)
	return err
}

func (t sqlTx) exec(ctx context.Context, statement string, args ...any) error {
	_, err := t.tx.ExecContext(ctx, statement, args...)
	return err
}

func (t sqlTx) query(ctx context.Context, statement string, args ...any) (rows, error) {
	return t.tx.QueryContext(ctx, statement, args...)
}
