package riverinbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// jobs is the name of River's table.
func (i *Inbox) jobs() string {
	if i.schema == "" {
		return "river_job"
	}
	return pgx.Identifier{i.schema, "river_job"}.Sanitize()
}

// hold locks the job until the transaction ends, if this is still the run that owns it: River may have rescued the job, and run it again.
func (i *Inbox) hold(ctx context.Context, tx transaction, job int64, attempt int) error {
	n, err := affected(ctx, tx, "SELECT id FROM "+i.jobs()+" WHERE id = $1 AND attempt = $2 AND state = 'running' FOR UPDATE", job, attempt)
	if err == nil && n == 0 {
		err = errors.New("the job isn't this run's any more: River has rescued it")
	}
	return err
}

// revive makes discarded jobs available again, and returns how many.
func (i *Inbox) revive(ctx context.Context) (n int, err error) {
	err = i.db.inTx(ctx, func(tx transaction) error {
		n, err = affected(ctx, tx, "UPDATE "+i.jobs()+` SET state = 'available', finalized_at = NULL, scheduled_at = now(),
	max_attempts = GREATEST(max_attempts, attempt + 1) WHERE state = 'discarded' AND queue = $1 AND kind = $2 RETURNING id`, i.name, Args{}.Kind())
		return err
	})
	return n, err
}

func affected(ctx context.Context, tx transaction, statement string, args ...any) (n int, err error) {
	found, err := tx.query(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	for found.Next() {
		n++
	}
	if err := found.Err(); err != nil {
		return 0, fmt.Errorf("the jobs of River: %w", err)
	}
	return n, nil
}
