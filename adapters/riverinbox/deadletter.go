package riverinbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// ErrNoDeadLetter means that there is no dead letter with this id, or that somebody else has redriven or deleted it. Use errors.Is.
var ErrNoDeadLetter = errors.New("riverinbox: there is no such dead letter")

const deadLetterSchema = `CREATE TABLE IF NOT EXISTS %[1]s (
	id          bigint GENERATED ALWAYS AS IDENTITY,
	inbox       text NOT NULL,
	event_name  text NOT NULL, -- escaped as in a URL, as the tenant is
	tenant      text NOT NULL,
	event_key   text NOT NULL,
	headers     text NOT NULL, -- a JSON object
	body        bytea NOT NULL,
	reason      text NOT NULL,
	tries       integer NOT NULL,
	received_at timestamptz,
	queued_at   timestamptz NOT NULL,
	died_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (inbox, id) -- an inbox finds its own beside the many of another
)`

// A DeadLetter is an event that could not be handled.
type DeadLetter struct {
	ID     string            // for DeadLetter, and to redrive or delete it
	Event  *walletcrew.Event // nil if it can't be parsed
	Key    string            // of the event, see receiver.Key; "" without one
	Body   []byte
	Reason string
	Tries  int
	Time   time.Time // when the event was taken into the inbox
	DiedAt time.Time

	inbox *Inbox
	row   deadRow
}

type deadRow struct {
	id                        int64
	Name, Tenant, Key, Reason string
	Received                  time.Time
	Headers                   map[string]string
	Body                      []byte
	Tries                     int
	Queued, died              time.Time
}

const deadColumns = "event_name, tenant, event_key, headers, body, reason, tries, received_at, queued_at"

func (i *Inbox) insertDead(ctx context.Context, tx transaction, r deadRow) error {
	headers, err := json.Marshal(r.Headers)
	if err != nil {
		return err
	}
	var received *time.Time
	if !r.Received.IsZero() {
		received = &r.Received
	}
	return tx.exec(ctx, "INSERT INTO "+i.table+" (inbox, "+deadColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
		i.name, r.Name, r.Tenant, r.Key, string(headers), append([]byte{}, r.Body...), r.Reason, r.Tries, received, r.Queued)
}

// dead returns the rows of a statement that ends in deadColumns, died_at and id.
func (i *Inbox) dead(ctx context.Context, tx transaction, statement string, args ...any) (all []*DeadLetter, err error) {
	found, err := tx.query(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	for found.Next() {
		var r deadRow
		var headers string
		var received *time.Time
		if err := found.Scan(&r.Name, &r.Tenant, &r.Key, &headers, &r.Body, &r.Reason, &r.Tries, &received, &r.Queued, &r.died, &r.id); err != nil {
			return nil, err
		}
		if received != nil {
			r.Received = received.UTC()
		}
		_ = json.Unmarshal([]byte(headers), &r.Headers) // ours
		all = append(all, i.deadLetter(ctx, r))
	}
	return all, found.Err()
}

func (i *Inbox) deadLetter(ctx context.Context, r deadRow) *DeadLetter {
	d := &DeadLetter{
		ID: strconv.FormatInt(r.id, 10), Key: r.Key, Body: r.Body, Reason: r.Reason, Tries: r.Tries, Time: r.Queued.UTC(), DiedAt: r.died.UTC(), inbox: i, row: r,
	}
	_, d.Event, _ = r.args().event(ctx)
	return d
}

func (r deadRow) args() Args {
	return Args{Name: r.Name, Tenant: r.Tenant, Key: r.Key, Received: r.Received, Headers: r.Headers, Body: r.Body}
}

const pageSize = 100

// DeadLetters returns the inbox's dead letters, the oldest first, up to the last one that is there when it is called. An error ends the
// loop.
func (i *Inbox) DeadLetters(ctx context.Context) iter.Seq2[*DeadLetter, error] {
	return func(yield func(*DeadLetter, error) bool) {
		for after, last := int64(0), int64(math.MaxInt64); ; {
			var page []*DeadLetter
			err := i.db.inTx(ctx, func(tx transaction) (err error) {
				if last == math.MaxInt64 {
					if last, err = i.lastDead(ctx, tx); err != nil {
						return err
					}
				}
				page, err = i.dead(ctx, tx, "SELECT "+deadColumns+", died_at, id FROM "+i.table+" WHERE inbox = $1 AND id > $2 AND id <= $3 ORDER BY id LIMIT $4",
					i.name, after, last, pageSize)
				return err
			})
			if err != nil {
				yield(nil, fmt.Errorf("riverinbox: read the dead letters: %w", err))
				return
			}
			for _, d := range page {
				if after = d.row.id; !yield(d, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
		}
	}
}

// Inboxes returns the names of the inboxes that have dead letters, in alphabetical order. It is for a tool that doesn't know the names. A
// nil pool and a wrong name in [WithTables] are errors; the other options don't matter.
func Inboxes(ctx context.Context, pool *pgxpool.Pool, opts ...Option) ([]string, error) {
	if pool == nil {
		return nil, errors.New("riverinbox: the pool is nil")
	}
	i, err := configured("any", opts)
	if err != nil {
		return nil, err
	}
	found, err := pool.Query(ctx, "SELECT DISTINCT inbox FROM "+i.table+" ORDER BY inbox")
	if err != nil {
		return nil, fmt.Errorf("riverinbox: read the dead letters: %w", err)
	}
	names, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("riverinbox: read the dead letters: %w", err)
	}
	return names, nil
}

func (i *Inbox) lastDead(ctx context.Context, tx transaction) (last int64, err error) {
	found, err := tx.query(ctx, "SELECT coalesce(max(id), 0) FROM "+i.table+" WHERE inbox = $1", i.name)
	if err != nil {
		return 0, err
	}
	for found.Next() {
		if err := found.Scan(&last); err != nil {
			return 0, err
		}
	}
	return last, found.Err()
}

// DeadLetter returns the dead letter with this id. The error is [ErrNoDeadLetter] if there is none.
func (i *Inbox) DeadLetter(ctx context.Context, id string) (*DeadLetter, error) {
	return i.one(ctx, id, "SELECT "+deadColumns+", died_at, id FROM "+i.table+" WHERE inbox = $1 AND id = $2", nil)
}

// Redrive puts the event back into the queue, to be tried anew from 1, and removes the dead letter, in one transaction. If somebody else
// was first, nothing is changed, and the error is [ErrNoDeadLetter]. The event keeps its key, so that a deduper in the function knows an
// effect that was already made.
func (d *DeadLetter) Redrive(ctx context.Context) error {
	_, err := d.inbox.one(ctx, d.ID, d.inbox.deleting(), func(tx transaction, r deadRow) error { return d.inbox.insert(ctx, tx, r.args()) })
	return err
}

// Delete removes the dead letter. The error is [ErrNoDeadLetter] if somebody else was first.
func (d *DeadLetter) Delete(ctx context.Context) error {
	_, err := d.inbox.one(ctx, d.ID, d.inbox.deleting(), nil)
	return err
}

func (i *Inbox) deleting() string {
	return "DELETE FROM " + i.table + " WHERE inbox = $1 AND id = $2 RETURNING " + deadColumns + ", died_at, id"
}

// one runs a statement for the dead letter, and then what else belongs into its transaction.
func (i *Inbox) one(ctx context.Context, id, statement string, then func(transaction, deadRow) error) (letter *DeadLetter, err error) {
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: an id is a number, and not %q", ErrNoDeadLetter, id)
	}
	err = i.db.inTx(ctx, func(tx transaction) error {
		found, err := i.dead(ctx, tx, statement, i.name, number)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("%w: %s", ErrNoDeadLetter, id)
		}
		letter = found[0]
		if then == nil {
			return nil
		}
		return then(tx, letter.row)
	})
	if err != nil && !errors.Is(err, ErrNoDeadLetter) {
		err = fmt.Errorf("riverinbox: the dead letter %s: %w", id, err)
	}
	if err != nil {
		return nil, err
	}
	return letter, nil
}

const maxReason = 2000 // bytes

// oneLine makes a text fit for a column and a terminal.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason-3], "") + "..."
	}
	return text
}
