package riverinbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
)

// maxAttempts is far over what a worker allows: it ends a job itself, as a dead letter, where River would discard and forget it.
const maxAttempts = 1000

// An event costs one round trip: a statement records it, in the way of sqldedupe.InTx, and inserts a job if the record is new. It does so without
// River's client, whose InsertTx costs more than all of this; River's clients for other languages insert into the table, too. The columns that
// aren't named have their defaults, so times are the server's. Tests compare both with what River and sqldedupe make of it.
const (
	recordEvent = `WITH first AS (
	INSERT INTO %s AS e (event_key, token, done, expires_at)
	VALUES ($4, 0, true, clock_timestamp() + $5::bigint * interval '1 millisecond')
	ON CONFLICT (event_key) DO UPDATE SET expires_at = excluded.expires_at WHERE e.expires_at <= clock_timestamp()
	RETURNING true
)
`
	insertJob = `INSERT INTO %[1]s (args, kind, max_attempts, queue)
SELECT $1::text::jsonb, '%[2]s', %[3]d, '%[4]s' %[5]s
RETURNING CASE WHEN $2::boolean THEN pg_notify(concat(coalesce(nullif($3::text, ''), current_schema()), '.river_insert'), '{"queue": "%[4]s"}') END`
)

func (i *Inbox) prepare() {
	i.insertAlways = fmt.Sprintf(insertJob, i.jobs(), Args{}.Kind(), maxAttempts, i.name, "")
	i.insertOnce = fmt.Sprintf(recordEvent, i.events) + fmt.Sprintf(insertJob, i.jobs(), Args{}.Kind(), maxAttempts, i.name, "FROM first")
}

// An executor is a transaction, or a database that makes one of the statement.
type executor interface {
	exec(ctx context.Context, statement string, args ...any) error
}

// insert puts a job into the queue.
func (i *Inbox) insert(ctx context.Context, to executor, args Args) error {
	text, err := json.Marshal(args)
	if err != nil {
		return err
	}
	return to.exec(ctx, i.insertAlways, string(text), i.notifies(), i.schema)
}

// take does the same if the event's key is new.
func (i *Inbox) take(ctx context.Context, to executor, args Args) error {
	text, err := json.Marshal(args)
	if err != nil {
		return err
	}
	return to.exec(ctx, i.insertOnce, string(text), i.notifies(), i.schema, i.dedupeName()+"/tx:"+args.Key, i.retention.Milliseconds())
}

// notifies says whether the workers are told of a job. They look each second anyway, and PostgreSQL lets only one transaction commit at a time of
// those that notify: so, as with River's client, it is one in River's cooldown.
func (i *Inbox) notifies() bool {
	last, now := i.notified.Load(), time.Now().UnixNano()
	return now-last >= int64(river.FetchCooldownDefault) && i.notified.CompareAndSwap(last, now)
}

// A serialization is an error that PostgreSQL has for two transactions at once, from REPEATABLE READ on: for a duplicate, too.
func serialization(err error) bool {
	e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err)
	return ok && (e.SQLState() == "40001" || e.SQLState() == "40P01")
}

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
