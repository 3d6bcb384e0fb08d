package riverinbox

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// A database is PostgreSQL by pgx or by database/sql.
type database interface {
	exec(ctx context.Context, statement string, args ...any) error // a transaction of its own
	inTx(ctx context.Context, f func(transaction) error) error
}

// A transaction ends with the function it is given to.
type transaction interface {
	exec(ctx context.Context, statement string, args ...any) error          // without rows
	query(ctx context.Context, statement string, args ...any) (rows, error) // read them all
	complete(ctx context.Context, job *river.Job[Args]) error               // a job that runs
}

// rows are pgx.Rows or *sql.Rows.
type rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}

type pgxDatabase struct{ pool *pgxpool.Pool }

func (d pgxDatabase) exec(ctx context.Context, statement string, args ...any) error {
	_, err := d.pool.Exec(ctx, statement, args...)
	return err
}

func (d pgxDatabase) inTx(ctx context.Context, f func(transaction) error) error {
	return pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error { return f(pgxTx{tx}) })
}

type pgxTx struct{ tx pgx.Tx }

func (t pgxTx) exec(ctx context.Context, statement string, args ...any) error {
	_, err := t.tx.Exec(ctx, statement, args...)
	return err
}

func (t pgxTx) query(ctx context.Context, statement string, args ...any) (rows, error) {
	return t.tx.Query(ctx, statement, args...)
}

func (t pgxTx) complete(ctx context.Context, job *river.Job[Args]) error {
	_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, t.tx, job)
	return err
}

type sqlDatabase struct{ db *sql.DB }

func (d sqlDatabase) exec(ctx context.Context, statement string, args ...any) error {
	_, err := d.db.ExecContext(ctx, statement, args...)
	return err
}

func (d sqlDatabase) inTx(ctx context.Context, f func(transaction) error) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if err := f(sqlTx{tx}); err != nil {
		return err
	}
	return tx.Commit()
}

type sqlTx struct{ tx *sql.Tx }

func (t sqlTx) exec(ctx context.Context, statement string, args ...any) error {
	_, err := t.tx.ExecContext(ctx, statement, args...)
	return err
}

func (t sqlTx) query(ctx context.Context, statement string, args ...any) (rows, error) {
	return t.tx.QueryContext(ctx, statement, args...)
}

func (t sqlTx) complete(ctx context.Context, job *river.Job[Args]) error {
	_, err := river.JobCompleteTx[*riverdatabasesql.Driver](ctx, t.tx, job)
	return err
}
