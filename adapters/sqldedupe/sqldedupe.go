// Package sqldedupe is a [receiver.Deduper] in a SQL database: PostgreSQL, MySQL, MariaDB or SQLite. It can also do something that a queue
// or a cache can't: [Deduper.InTx] records an event in the transaction that holds its effect. Both are committed or neither is, so the
// effect is made exactly once.
//
// # Exactly once
//
// If the effect of an event is a change in the same database, use [Deduper.Once]. It makes a handler function of yours:
//
//	dedupe, err := sqldedupe.New(db, sqldedupe.Postgres, "orders") // the name of what your function does with the events
//	if err != nil {
//		return err
//	}
//	if err := dedupe.EnsureSchema(ctx); err != nil {
//		return err
//	}
//	handle := dedupe.Once(func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
//		_, err := tx.ExecContext(ctx, "UPDATE passes SET installs = installs + 1 WHERE ...")
//		return err
//	})
//	http.Handle("/webhooks/walletcrew", receiver.NewHandler(v, handle))
//
// # Effectively once
//
// If the effect is elsewhere, pass the Deduper to [receiver.WithDeduper]. One replica runs the function for an event, and the record is as
// safe as the database. After a crash between the effect and Complete, the function runs again.
//
// # The name
//
// A table serves many receivers, and each row belongs to the name that [New] was given. All replicas of one receiver use one name, and so
// share what they know. Two receivers with one name would take each other's events for duplicates: if both get an event, as from two
// webhooks, one handles it, and the other never does. So the name has no default.
//
// # Limits
//
//   - An event is remembered for the retention ([WithRetention], 24 h by default). If it comes again after that, it is new.
//   - If the database loses a commit, the event is handled again. That can happen with a failover to an asynchronous replica,
//     synchronous_commit = off, innodb_flush_log_at_trx_commit other than 1, or PRAGMA synchronous = OFF. With InTx the effect is lost
//     together with the record, so the two agree even then.
//   - All times are the database server's, for SQLite the machine's. If that clock is set forward, leases end early.
//
// # Speed
//
// On PostgreSQL and SQLite, Claim is one statement, and two if the key is taken. On MySQL and MariaDB it is always two. Complete and
// Release are one each. The driver go-sql-driver/mysql prepares each statement first. With interpolateParams=true in its DSN it doesn't,
// which saves a round trip for each.
//
// # SQLite
//
// SQLite has one writer at a time. Open the database with a busy timeout, so that a writer waits for its turn. Open it in WAL mode, so that
// readers don't wait: "file:events.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)" with modernc.org/sqlite. A database in memory
// belongs to one connection: it needs db.SetMaxOpenConns(1), and serves tests only.
package sqldedupe

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A Deduper remembers events in a table. Make it with [New]. It is safe for concurrent use, by any number of processes that use the same
// table and name. It has nothing to close; the [sql.DB] is yours. It has no goroutine, except while [Deduper.PurgeInBackground] runs a
// statement.
type Deduper struct {
	db        *sql.DB
	dialect   Dialect
	name      string
	table     string
	retention time.Duration
	sql       statements

	purger purger
	writer chan struct{} // holds one element while a statement writes; nil where there may be several writers
}

var _ receiver.Deduper = (*Deduper)(nil)

// An Option is passed to [New].
type Option func(*Deduper) error

const (
	defaultTable     = "walletcrew_events"
	defaultRetention = 24 * time.Hour
	maxKeyBytes      = 512
	maxNameBytes     = 64
	maxStoredBytes   = maxNameBytes + len(separatorTx) + maxKeyBytes // the schema's column holds more
)

// A row's key is the name, a separator, and the key. A name holds neither of the separators' first characters, so no two names, and no
// two kinds of rows, have a row in common.
const (
	separatorClaim = ":"
	separatorTx    = "/tx:"
)

// An identifier leaves room for the index's name within PostgreSQL's 63 bytes.
var (
	nameForm            = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	identifier          = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,49}$`)
	qualifiedIdentifier = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,49}\.)?[A-Za-z_][A-Za-z0-9_]{0,49}$`)
)

// WithTable sets the table's name; default "walletcrew_events". It consists of up to 50 ASCII letters, digits and underscores, and doesn't
// begin with a digit; on PostgreSQL and MySQL it may have a schema's or database's name and a dot before it. Anything else is an error. It
// isn't quoted, so it must not be a reserved word. All replicas of one receiver use the same table. Receivers with other names may use it,
// too.
func WithTable(name string) Option {
	return func(d *Deduper) error {
		if !identifier.MatchString(name) && (d.dialect == SQLite || !qualifiedIdentifier.MatchString(name)) {
			return fmt.Errorf("sqldedupe: WithTable(%q): not a name of ASCII letters, digits and underscores", name)
		}
		d.table = name
		return nil
	}
}

// WithRetention sets for how long an event that is done is remembered; default 24 h, at least 1 ms. A lease that ran out can also be
// completed for at least that long. It isn't documented for how long the platform may deliver an event again. Rows are small, so days are
// cheap.
//
// Names that share a table may have different retentions. An event that is done is remembered for that of its own name. A lease that ran
// out may be forgotten after the shortest of them.
func WithRetention(retention time.Duration) Option {
	return func(d *Deduper) error {
		if retention < time.Millisecond {
			return fmt.Errorf("sqldedupe: WithRetention(%s): it must be at least 1ms: did you mean %d*time.Hour?", retention, retention)
		}
		d.retention = retention
		return nil
	}
}

// New returns a Deduper. Name says which receiver it is for, such as "orders" or your service's name, and is part of every row's key.
// The replicas of one receiver use the same name. Two receivers whose functions do different things need two names: under one, each
// takes the other's events for duplicates. A name has 1 to 64 ASCII letters, digits, '-', '_' and '.'.
//
// A nil db, a dialect that is none of the constants, a wrong name or a wrong option is an error; a nil option is ignored. New doesn't
// ask the database: call [Deduper.EnsureSchema] or [Deduper.Check] when the program starts.
func New(db *sql.DB, dialect Dialect, name string, opts ...Option) (*Deduper, error) {
	switch {
	case db == nil:
		return nil, errors.New("sqldedupe: the database is nil")
	case name == "":
		return nil, errors.New("sqldedupe: the name is empty: name what the function does, such as \"orders\"; receivers under one name take each other's events for duplicates")
	case !nameForm.MatchString(name):
		return nil, fmt.Errorf("sqldedupe: the name %q: a name has 1 to 64 ASCII letters, digits, '-', '_' and '.'", name)
	}
	d := &Deduper{db: db, dialect: dialect, name: name, table: defaultTable, retention: defaultRetention}
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(d); err != nil {
			return nil, err
		}
	}
	var ok bool
	if d.sql, ok = dialect.forTable(d.table); !ok {
		return nil, fmt.Errorf("sqldedupe: %s: the dialect is none of Postgres, MySQL and SQLite", dialect)
	}
	if dialect == SQLite {
		d.writer = make(chan struct{}, 1)
	}
	return d, nil
}

// write runs f, which writes. SQLite's writers don't queue: each sleeps, up to 100 ms, and looks whether it finds a moment in which nobody
// writes; under load one may not for seconds. Those of one process queue here.
func (d *Deduper) write(ctx context.Context, f func() error) error {
	if d.writer != nil {
		select {
		case d.writer <- struct{}{}:
			defer func() { <-d.writer }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f()
}

// Claim implements [receiver.Deduper]. The lease is counted in milliseconds of the database's time. A lease under 1 ms is an error, and so
// is a key that isn't printable ASCII of 1 to 512 bytes.
//
// Any other error is the database's, wrapped. The state of the event is unknown then. If only the answer was lost, the lease may have been
// taken. So the Claim has the lease's Token, and the handler releases it when the database answers again.
func (d *Deduper) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	if lease < time.Millisecond {
		return receiver.Claim{}, fmt.Errorf("sqldedupe: Claim: a lease of %s is under 1ms", lease)
	}
	if err := checkKey(key); err != nil {
		return receiver.Claim{}, fmt.Errorf("sqldedupe: Claim: %w", err)
	}
	// One token for all tries: one that is tried again may find the lease that it has taken itself, where MySQL aborted the second
	// of its statements.
	token := newToken()
	claim := receiver.Claim{Token: strconv.FormatInt(token, 36)}
	err := retry(ctx, func() (err error) {
		return d.write(ctx, func() error {
			claim.State, err = d.claim(ctx, d.db, d.name+separatorClaim+key, token, lease)
			return err
		})
	})
	if err != nil {
		return receiver.Claim{Token: claim.Token}, fmt.Errorf("sqldedupe: Claim: %w", d.explain(err))
	}
	if claim.State != receiver.Claimed {
		return receiver.Claim{State: claim.State}, nil
	}
	return claim, nil
}

// A queryer is a *sql.DB or a *sql.Tx.
type queryer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// claim takes the lease of a row, whose key is the stored one.
func (d *Deduper) claim(ctx context.Context, q queryer, key string, token int64, lease time.Duration) (receiver.ClaimState, error) {
	for range 3 {
		if state, err := d.take(ctx, q, key, token, false, lease); err != nil || state != gone {
			return state, err
		}
	}
	return receiver.Held, nil // it comes and goes; somebody has it
}

// gone says that a row was in the way, and had been released when it was looked at.
const gone receiver.ClaimState = 0

// take takes the key's row or leaves it, and says which.
func (d *Deduper) take(ctx context.Context, q queryer, key string, token int64, done bool, expires time.Duration) (receiver.ClaimState, error) {
	result, err := q.ExecContext(ctx, d.sql.take, key, token, done, expires.Milliseconds())
	if err != nil {
		return gone, err
	}
	if d.sql.countsTaken {
		if n, err := result.RowsAffected(); err != nil || n > 0 {
			return receiver.Claimed, err
		}
	}
	var holder int64
	switch err := q.QueryRowContext(ctx, d.sql.look, key).Scan(&holder, &done); {
	case errors.Is(err, sql.ErrNoRows):
		return gone, nil
	case err != nil:
		return gone, err
	case holder == token:
		return receiver.Claimed, nil
	case done:
		return receiver.Done, nil
	}
	return receiver.Held, nil
}

// Complete implements [receiver.Deduper]. A lease that ran out can be completed for at least the retention, if nobody has claimed the key
// since. The error is [receiver.ErrLeaseLost], also for a token that was completed before, or the database's. After an error of the
// database, the event may be done or not.
//
// After a success, Complete also calls [Deduper.PurgeInBackground].
func (d *Deduper) Complete(ctx context.Context, key, token string) error {
	err := d.settle(ctx, "Complete", token, func(token int64) (sql.Result, error) {
		return d.db.ExecContext(ctx, d.sql.complete, d.retention.Milliseconds(), d.name+separatorClaim+key, token)
	})
	if err == nil {
		d.PurgeInBackground(ctx) // not in Claim: the event's function comes after it, and may have a transaction that SQLite's next writer ends
	}
	return err
}

// Release implements [receiver.Deduper]. The error is [receiver.ErrLeaseLost], or the database's. After an error of the database, the key
// may be free or not.
func (d *Deduper) Release(ctx context.Context, key, token string) error {
	return d.settle(ctx, "Release", token, func(token int64) (sql.Result, error) {
		return d.db.ExecContext(ctx, d.sql.release, d.name+separatorClaim+key, token)
	})
}

// settle runs a statement that changes the lease's row, or none if the token is outdated.
func (d *Deduper) settle(ctx context.Context, call, token string, exec func(token int64) (sql.Result, error)) error {
	n, err := strconv.ParseInt(token, 36, 64)
	if err != nil {
		return fmt.Errorf("sqldedupe: %s: %w", call, receiver.ErrLeaseLost) // not a token of ours
	}
	var changed int64
	err = retry(ctx, func() error {
		return d.write(ctx, func() error {
			result, err := exec(n)
			if err == nil {
				changed, err = result.RowsAffected()
			}
			return err
		})
	})
	switch {
	case err != nil:
		return fmt.Errorf("sqldedupe: %s: %w", call, d.explain(err))
	case changed == 0:
		return fmt.Errorf("sqldedupe: %s: %w", call, receiver.ErrLeaseLost)
	}
	return nil
}

func checkKey(key string) error {
	if key == "" || len(key) > maxKeyBytes {
		return fmt.Errorf("a key of %d bytes: it must have 1 to %d", len(key), maxKeyBytes)
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return errors.New("the key isn't printable ASCII")
		}
	}
	return nil
}

// newToken returns 63 random bits: a token from before a row was removed must not fit the row that came after it, so counting
// won't do.
func newToken() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return int64(binary.LittleEndian.Uint64(b[:]) >> 1)
}
