package riverinbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// An Inbox takes events into PostgreSQL. Make it with [New] or [NewSQL]. It is safe for concurrent use, by any number of processes under
// one name. It has nothing to close; the pool is yours. After a delivery, Handle removes some expired records in a goroutine, which ends with
// its statement (see [sqldedupe.Deduper.PurgeInBackground]).
type Inbox struct {
	name      string
	table     string // of dead letters
	events    string // table of deduplication
	schema    string // River's
	retention time.Duration
	db        database
	dedupe    *sqldedupe.Deduper // for its table

	insertAlways, insertOnce string       // statements
	notified                 atomic.Int64 // UnixNano
}

// An Option is passed to [New] and [NewSQL].
type Option func(*Inbox)

// WithRetention sets for how long the inbox remembers that an event came; default 24 h. Under 1 ms, New returns an error. It doesn't depend
// on how long River keeps jobs. It isn't documented for how long the platform may deliver an event again. Rows are small, so days are
// cheap.
func WithRetention(retention time.Duration) Option { return func(i *Inbox) { i.retention = retention } }

// WithRiverSchema sets the PostgreSQL schema of River's tables, the same as in river.Config.Schema. Default "": the connection's
// search_path decides.
func WithRiverSchema(schema string) Option { return func(i *Inbox) { i.schema = schema } }

// WithTables sets the names of the inbox's own tables; default "walletcrew_events", which it shares with sqldedupe and pgxdedupe, and
// "walletcrew_dead_letters". Each has up to 50 ASCII letters, digits and underscores, and may have a schema's name and a dot before it.
func WithTables(events, deadLetters string) Option {
	return func(i *Inbox) { i.events, i.table = events, deadLetters }
}

// A name is also that of a River queue.
var (
	nameForm  = regexp.MustCompile(`^[a-z0-9]+([_-][a-z0-9]+)*$`)
	tableForm = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,49}\.)?[A-Za-z_][A-Za-z0-9_]{0,49}$`)
)

const (
	maxName = 50 // bytes
	maxPuts = 10 // tries
)

// New returns an inbox that uses pgx. Name says what the worker does with the events, such as "orders". It is the name of the River queue
// for its jobs, and has 1 to 50 lower-case ASCII letters and digits, with '_' or '-' between. The replicas of one receiver use the same
// name. Two receivers that do different things with the same events need two names.
//
// A nil pool, a wrong name and a wrong option are errors; a nil option is ignored. New doesn't ask the database: call
// [Inbox.EnsureSchema] or [Inbox.Check] when the program starts.
func New(pool *pgxpool.Pool, name string, opts ...Option) (*Inbox, error) {
	if pool == nil {
		return nil, errors.New("riverinbox: the pool is nil")
	}
	return newInbox(pgxDatabase{pool}, stdlib.OpenDBFromPool(pool), name, opts) // keeps no connection of its own; database/sql has a goroutine for it that waits
}

// NewSQL is [New] for database/sql, with any driver for PostgreSQL. The worker's client is then a river.Client[*sql.Tx].
func NewSQL(db *sql.DB, name string, opts ...Option) (*Inbox, error) {
	return newInbox(sqlDatabase{db}, db, name, opts)
}

func newInbox(db database, tables *sql.DB, name string, opts []Option) (*Inbox, error) {
	i, err := configured(name, opts)
	if err != nil {
		return nil, err
	}
	i.db = db
	i.dedupe, err = sqldedupe.New(tables, sqldedupe.Postgres, i.dedupeName(), sqldedupe.WithTable(i.events), sqldedupe.WithRetention(i.retention))
	if err != nil {
		return nil, fmt.Errorf("riverinbox: %w", err)
	}
	i.prepare()
	return i, nil
}

// configured is an inbox without a database.
func configured(name string, opts []Option) (*Inbox, error) {
	if !nameForm.MatchString(name) || len(name) > maxName {
		return nil, fmt.Errorf("riverinbox: the name %q: a name has 1 to %d lower-case ASCII letters and digits, with '_' or '-' between, such as \"orders\"", name, maxName)
	}
	i := &Inbox{name: name, events: "walletcrew_events", table: "walletcrew_dead_letters", retention: 24 * time.Hour}
	for _, opt := range opts {
		if opt != nil {
			opt(i)
		}
	}
	if !tableForm.MatchString(i.table) {
		return nil, fmt.Errorf("riverinbox: WithTables: %q is not a name of ASCII letters, digits and underscores", i.table)
	}
	return i, nil
}

// dedupeName is another than the inbox's: a function of the worker may use a deduper under the inbox's own name, and must not find the
// event done because it has come in.
func (i *Inbox) dedupeName() string { return i.name + ".inbox" }

// Handle is a [receiver.HandlerFunc]. It returns nil once the event's job is committed, or if it was before. Every error is a
// [receiver.Temporary], so that the handler answers 503 and the platform delivers the event again. The event may be stored in spite of the
// error; then Handle finds it when it comes again.
//
// [receiver.Key] identifies an event, so pass the context that the handler calls its function with. An event without a key, such as one
// without "__id", gets a job each time it comes.
func (i *Inbox) Handle(ctx context.Context, e *walletcrew.Event) error {
	if e == nil || len(e.Raw) == 0 {
		return errors.New("riverinbox: the event has no body")
	}
	put := i.take
	if receiver.Key(ctx) == "" {
		put = i.insert
	}
	for try := 1; ; try++ {
		err := put(ctx, i.db, argsOf(ctx, e))
		if err == nil {
			i.dedupe.PurgeInBackground(ctx)
			return nil
		}
		i.notified.Store(0) // no worker was told
		if try == maxPuts || !serialization(err) {
			return receiver.Temporary(fmt.Errorf("riverinbox: insert the job: %w", err))
		}
	}
}

// EnsureSchema creates the inbox's own tables if they are missing, and then does the same as [Inbox.Check]. It doesn't create River's
// tables. Run River's migrations before, with rivermigrate or the river command.
func (i *Inbox) EnsureSchema(ctx context.Context) error {
	if err := i.dedupe.EnsureSchema(ctx); err != nil {
		return fmt.Errorf("riverinbox: EnsureSchema: %w", err)
	}
	// "IF NOT EXISTS" isn't safe against another who creates the same at the same time; the next try finds it.
	var err error
	for range 3 {
		if err = i.db.exec(ctx, fmt.Sprintf(deadLetterSchema, i.table)); err == nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("riverinbox: EnsureSchema: create %s: %w", i.table, err)
	}
	return i.Check(ctx)
}

// Check finds at the start of a program the faults that would show later: the database can't be reached, or a table or a permission is
// missing. It puts a job and a dead letter into the database, in a transaction that it rolls back.
func (i *Inbox) Check(ctx context.Context) error {
	if err := i.dedupe.Check(ctx); err != nil {
		return fmt.Errorf("riverinbox: Check: %w", err)
	}
	errDone := errors.New("done")
	err := i.db.inTx(ctx, func(tx transaction) error {
		if err := i.take(ctx, tx, Args{Name: "check", Key: "check " + rand.Text(), Body: []byte("{}")}); err != nil {
			return fmt.Errorf("no job can be inserted: run River's migrations, and see to the permissions of the database's user: %w", err)
		}
		row := deadRow{Name: "check", Body: []byte("{}"), Queued: time.Now()}
		if err := i.insertDead(ctx, tx, row); err != nil {
			return fmt.Errorf("the table %s: call EnsureSchema: %w", i.table, err)
		}
		return errDone
	})
	i.notified.Store(0) // nobody was told
	if errors.Is(err, errDone) {
		return nil
	}
	return fmt.Errorf("riverinbox: Check: %w", err)
}
