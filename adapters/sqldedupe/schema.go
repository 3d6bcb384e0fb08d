package sqldedupe

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// EnsureSchema creates the table with its index if it is missing, and then does the same as [Deduper.Check]. If the table exists and is
// usable, EnsureSchema changes nothing, and needs no right to. It doesn't add an index to such a table; without the index, each purge reads
// the whole table. Several processes may call it at once.
//
// If your program may not create tables, run the file for your database: schema/postgres.sql, schema/mysql.sql or schema/sqlite.sql.
func (d *Deduper) EnsureSchema(ctx context.Context) error {
	err := d.check(ctx)
	if !errors.Is(err, ErrSchema) {
		return wrap("EnsureSchema", err)
	}
	// "IF NOT EXISTS" of PostgreSQL isn't safe against another who creates the same at the same time; the next try finds it.
	for range 3 {
		if err = d.create(ctx); err == nil {
			break
		}
	}
	if err != nil {
		if permission.match(err) {
			return fmt.Errorf("sqldedupe: EnsureSchema: the database's user may not create %s: run the schema's file as another: %w", d.table, err)
		}
		return wrap("EnsureSchema", d.explain(err))
	}
	return wrap("EnsureSchema", d.check(ctx))
}

// create makes all or nothing: a table without its index would do for check. MySQL has one statement for both.
func (d *Deduper) create(ctx context.Context) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for statement := range strings.SplitSeq(d.sql.schema, ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Check finds at the start of a program the faults that would show later. It returns an error if
//
//   - the database can't be reached, or refuses the user
//   - the database is another engine, is too old, or is read-only
//   - the table is missing or has another shape ([ErrSchema])
//   - a permission is missing
//   - MySQL's connections don't commit by themselves, or the table isn't InnoDB's
//   - SQLite has no busy timeout
//
// It runs each statement once on a key of its own, in a transaction that it rolls back.
func (d *Deduper) Check(ctx context.Context) error { return wrap("Check", d.check(ctx)) }

func wrap(call string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("sqldedupe: %s: %w", call, err)
}

func (d *Deduper) check(ctx context.Context) error {
	if err := d.db.PingContext(ctx); err != nil {
		if explained := d.explain(err); explained != err { //nolint:errorlint // whether it was wrapped
			return explained
		}
		return fmt.Errorf("the database can't be reached: %w", err)
	}
	var version string
	if err := d.db.QueryRowContext(ctx, d.sql.version).Scan(&version); preparedElsewhere.match(err) {
		return d.explain(err)
	} else if err != nil {
		return fmt.Errorf("the database doesn't seem to be %s: %w", d.dialect, err)
	}
	if err := d.dialect.checkVersion(version); err != nil {
		return err
	}
	if err := d.checkSettings(ctx); err != nil {
		return err
	}
	if err := retry(ctx, func() error { return d.rehearse(ctx) }); err != nil {
		return d.explain(err)
	}
	if d.dialect == Postgres {
		return d.checkPooler(ctx)
	}
	return nil
}

// The versions that have what the statements use.
var (
	minPostgres = []int{9, 5}
	minMySQL    = []int{5, 7}
	minMariaDB  = []int{10, 2}
	minSQLite   = []int{3, 24}

	postgresVersion = regexp.MustCompile(`^PostgreSQL (\d+(?:\.\d+)*)`)
	plainVersion    = regexp.MustCompile(`^(?:5\.5\.5-)?(\d+(?:\.\d+)*)`) // some proxies put 5.5.5- before MariaDB's
)

// checkVersion reads what the server calls itself, such as "PostgreSQL 15.20 (Debian ...) on ..." or "10.11.19-MariaDB".
func (d Dialect) checkVersion(text string) error {
	form, product, least := plainVersion, d.String(), minSQLite
	switch d {
	case Postgres:
		form, least = postgresVersion, minPostgres
	case MySQL:
		least = minMySQL
		if strings.Contains(text, "MariaDB") {
			product, least = "MariaDB", minMariaDB
		}
	}
	m := form.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("the database isn't %s: it calls itself %q", d, text)
	}
	for i, part := range strings.Split(m[1], ".") {
		n, _ := strconv.Atoi(part)
		if i >= len(least) || n > least[i] {
			break
		}
		if n < least[i] {
			return fmt.Errorf("the database is %s %s: %d.%d or later is needed", product, m[1], least[0], least[1])
		}
	}
	return nil
}

func (d *Deduper) checkSettings(ctx context.Context) error {
	switch d.dialect {
	case MySQL:
		var autocommit int
		if err := d.db.QueryRowContext(ctx, "SELECT @@autocommit").Scan(&autocommit); err != nil {
			return d.explain(err)
		}
		if autocommit == 0 {
			return errors.New("the connections have autocommit=0: nothing that isn't in a transaction would be kept")
		}
		schema, table, qualified := strings.Cut(d.table, ".")
		if !qualified {
			schema, table = "", d.table
		}
		var engine sql.NullString
		err := d.db.QueryRowContext(ctx, "SELECT engine FROM information_schema.tables WHERE table_schema = COALESCE(NULLIF(?, ''), DATABASE()) AND table_name = ?", schema, table).Scan(&engine)
		if err == nil && !strings.EqualFold(engine.String, "InnoDB") {
			return fmt.Errorf("%w: the engine of %s is %q, which has no transactions: use InnoDB", ErrSchema, d.table, engine.String)
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return d.explain(err)
		}
	case SQLite:
		var timeout int
		if err := d.db.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&timeout); err != nil {
			return d.explain(err)
		}
		if timeout == 0 {
			return errors.New("the connections have no busy timeout: add _pragma=busy_timeout(5000) (modernc.org/sqlite) or _busy_timeout=5000 (mattn/go-sqlite3) to the database's name")
		}
	}
	return nil
}

// checkPooler finds a pooler between, such as PgBouncer in transaction mode, that gives a connection another backend for each transaction: a
// statement that the driver has prepared isn't there then, or is there already. Two connections make one of both happen: while the second is
// in a transaction, the first, which has prepared the statement, gets another backend, and the second may have the first one's.
func (d *Deduper) checkPooler(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, poolerTimeout)
	defer cancel()
	if limit := d.db.Stats().MaxOpenConnections; limit == 1 {
		return nil // one connection, and so no other that could get in its way
	}
	first, err := d.db.Conn(ctx)
	if err != nil {
		return d.explain(err)
	}
	defer func() { _ = first.Close() }()
	second, err := d.db.Conn(ctx)
	if err != nil {
		return nil //nolint:nilerr // the pool is busy: it has no room for this test
	}
	defer func() { _ = second.Close() }()
	look := func(q queryer) error { return q.QueryRowContext(ctx, d.sql.look, "").Scan(new(int64), new(bool)) }
	err = func() error {
		if err := look(first); !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		tx, err := second.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		if err := look(tx); !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return look(first)
	}()
	if preparedElsewhere.match(err) {
		return d.explain(err)
	}
	return nil // that it works was seen before
}

const poolerTimeout = 2 * time.Second

// rehearse runs every statement on a key that nobody else has.
func (d *Deduper) rehearse(ctx context.Context) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	key := d.name + separatorClaim + "check/" + rand.Text()
	if _, err := d.claim(ctx, tx, key, newToken(), time.Minute); err != nil {
		return err
	}
	// A column that ignores case or cuts, or a table without its key, would merge events or not know them again.
	long := key + strings.Repeat("x", maxStoredBytes-len(key)-1) // of the longest name: the table may serve one some day
	for _, step := range []struct {
		key  string
		want receiver.ClaimState
	}{
		{key + "A", receiver.Claimed}, {key + "a", receiver.Claimed}, {key + "A", receiver.Held},
		{key + "A ", receiver.Claimed}, // a column that pads
		{long + "1", receiver.Claimed}, {long + "2", receiver.Claimed},
	} {
		state, err := d.claim(ctx, tx, step.key, newToken(), time.Minute)
		if err != nil {
			return err
		}
		if state != step.want {
			return fmt.Errorf("%w: keys are not compared exactly, not kept whole, or not unique", ErrSchema)
		}
	}
	if n, err := rowsOf(ctx, tx, d.sql.look, key+"A"); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("%w: a key that was claimed twice has %d rows: the primary key is missing", ErrSchema, n))
	}
	var token int64
	var done bool
	if err := tx.QueryRowContext(ctx, d.sql.look, key).Scan(&token, &done); err != nil {
		return err
	}
	retention := d.retention.Milliseconds()
	for _, s := range []struct {
		statement string
		args      []any
	}{
		{d.sql.complete, []any{retention, key, token}},
		{d.sql.release, []any{key, token}},
	} {
		if _, err := tx.ExecContext(ctx, s.statement, s.args...); err != nil {
			return err
		}
	}
	_, err = d.purge(ctx, tx, 0)
	return err
}

func rowsOf(ctx context.Context, tx *sql.Tx, query, key string) (n int, err error) {
	rows, err := tx.QueryContext(ctx, query, key)
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}
