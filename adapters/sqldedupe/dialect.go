package sqldedupe

import (
	_ "embed"
	"strconv"
	"strings"
)

// A Dialect is a database engine. The zero value is none, and an error of [New].
type Dialect int

// The engines, with the oldest versions whose SQL is used here. Tested with PostgreSQL 15, MariaDB 10.11, MySQL 9.7 and
// modernc.org/sqlite (SQLite 3.54).
const (
	Postgres Dialect = iota + 1 // PostgreSQL 9.5
	MySQL                       // MySQL 5.7 or MariaDB 10.2, tables of InnoDB
	SQLite                      // SQLite 3.24
)

// String returns "PostgreSQL", "MySQL" or "SQLite".
func (d Dialect) String() string {
	switch d {
	case Postgres:
		return "PostgreSQL"
	case MySQL:
		return "MySQL"
	case SQLite:
		return "SQLite"
	}
	return "Dialect(" + strconv.Itoa(int(d)) + ")"
}

// statements are a dialect's. A statement that changes rows is atomic by itself: what it tests, it tests on the row that it has
// locked. Durations are in milliseconds.
type statements struct {
	take     string // key, token, done, for how long: takes a row that is free or has expired, leaves one that isn't
	look     string // key: token, done
	complete string // retention, key, token
	release  string // key, token
	purge    string // retention, max: passes over rows that others have locked
	// purgeWaiting is the same for servers to which SKIP LOCKED is a syntax error, or that allow no DELETE with a join
	// (sql_safe_updates), and waits; "" where there are none.
	purgeWaiting string
	version      string
	schema       string
	// countsTaken says whether take affects one row if it took it and none if not. MySQL's count depends on how the
	// connection was opened (clientFoundRows), so there the row is read back.
	countsTaken bool
}

//go:embed schema/postgres.sql
var postgresSchema string

//go:embed schema/mysql.sql
var mysqlSchema string

//go:embed schema/sqlite.sql
var sqliteSchema string

// Clock_timestamp and not now: a statement may have waited for another transaction, and now would be from before. Purge takes
// now, which an index can be searched for. Its array is made once, where a join could run the subquery for each row of the table, and
// remove other rows each time.
var postgresStatements = statements{
	take: `INSERT INTO {table} AS e (event_key, token, done, expires_at)
VALUES ($1, $2, $3, clock_timestamp() + $4::bigint * interval '1 millisecond')
ON CONFLICT (event_key) DO UPDATE SET token = excluded.token, done = excluded.done, expires_at = excluded.expires_at
WHERE e.expires_at <= clock_timestamp()`,
	look: `SELECT token, done FROM {table} WHERE event_key = $1`,
	complete: `UPDATE {table} SET done = true, expires_at = clock_timestamp() + $1::bigint * interval '1 millisecond'
WHERE event_key = $2 AND token = $3 AND NOT done`,
	release: `DELETE FROM {table} WHERE event_key = $1 AND token = $2 AND NOT done`,
	purge: `DELETE FROM {table} WHERE event_key = ANY (ARRAY (
	SELECT event_key FROM {table}
	WHERE expires_at <= now() AND (done OR expires_at <= now() - $1::bigint * interval '1 millisecond')
	ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
	version:     `SELECT version()`,
	schema:      postgresSchema,
	countsTaken: true,
}

// MySQL assigns from left to right: the columns that the conditions look at come last. VALUES(), which MySQL 8 calls deprecated,
// is all that MariaDB and MySQL both know. Utc_timestamp stands still during a statement; one that waits for another's lock
// takes a lease that is shorter by the wait, which is safe. FOR UPDATE reads what is committed, whatever the isolation level,
// and from the primary, whatever the proxy.
//
// A plain DELETE would wait for the row of a transaction, with all that it has passed and the gaps between locked, into which other
// keys are inserted. So purge locks what is free, first and for the length of one statement, and then goes only to these rows: from
// the derived table, by their key, whatever the optimizer thinks of it.
var mysqlStatements = statements{
	take: `INSERT INTO {table} (event_key, token, done, expires_at)
VALUES (?, ?, ?, UTC_TIMESTAMP(3) + INTERVAL (? * 1000) MICROSECOND)
ON DUPLICATE KEY UPDATE
	token = IF(expires_at <= UTC_TIMESTAMP(3), VALUES(token), token),
	done = IF(expires_at <= UTC_TIMESTAMP(3), VALUES(done), done),
	expires_at = IF(expires_at <= UTC_TIMESTAMP(3), VALUES(expires_at), expires_at)`,
	look: `SELECT token, done FROM {table} WHERE event_key = ? FOR UPDATE`,
	complete: `UPDATE {table} SET done = TRUE, expires_at = UTC_TIMESTAMP(3) + INTERVAL (? * 1000) MICROSECOND
WHERE event_key = ? AND token = ? AND NOT done`,
	release: `DELETE FROM {table} WHERE event_key = ? AND token = ? AND NOT done`,
	purge: `DELETE {table} FROM (
	SELECT event_key FROM {table}
	WHERE expires_at <= UTC_TIMESTAMP(3) AND (done OR expires_at <= UTC_TIMESTAMP(3) - INTERVAL (? * 1000) MICROSECOND)
	ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED) AS walletcrew_expired
STRAIGHT_JOIN {table} FORCE INDEX (PRIMARY) ON {table}.event_key = walletcrew_expired.event_key`,
	purgeWaiting: `DELETE FROM {table}
WHERE expires_at <= UTC_TIMESTAMP(3) AND (done OR expires_at <= UTC_TIMESTAMP(3) - INTERVAL (? * 1000) MICROSECOND)
ORDER BY expires_at LIMIT ?`,
	version: `SELECT version()`,
	schema:  mysqlSchema,
}

var sqliteStatements = withNow(statements{
	take: `INSERT INTO {table} AS e (event_key, token, done, expires_at) VALUES (?, ?, ?, {now} + ?)
ON CONFLICT (event_key) DO UPDATE SET token = excluded.token, done = excluded.done, expires_at = excluded.expires_at
WHERE e.expires_at <= {now}`,
	look:     `SELECT token, done FROM {table} WHERE event_key = ?`,
	complete: `UPDATE {table} SET done = 1, expires_at = {now} + ? WHERE event_key = ? AND token = ? AND NOT done`,
	release:  `DELETE FROM {table} WHERE event_key = ? AND token = ? AND NOT done`,
	purge: `DELETE FROM {table} WHERE event_key IN (
	SELECT event_key FROM {table} WHERE expires_at <= {now} AND (done OR expires_at <= {now} - ?)
	ORDER BY expires_at LIMIT ?)`,
	version:     `SELECT sqlite_version()`,
	schema:      sqliteSchema,
	countsTaken: true,
})

// withNow puts the Unix time in milliseconds for {now}, in a way that SQLite knows in all versions.
func withNow(s statements) statements {
	return s.replaced(strings.NewReplacer("{now}", "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"))
}

func (s statements) replaced(r *strings.Replacer) statements {
	for _, text := range []*string{&s.take, &s.look, &s.complete, &s.release, &s.purge, &s.purgeWaiting, &s.schema} {
		*text = r.Replace(*text)
	}
	return s
}

// forTable returns the dialect's statements for a table, ok is false for no dialect. The schema's files name the default table;
// an index is named without the table's schema.
func (d Dialect) forTable(table string) (s statements, ok bool) {
	switch d {
	case Postgres:
		s = postgresStatements
	case MySQL:
		s = mysqlStatements
	case SQLite:
		s = sqliteStatements
	default:
		return s, false
	}
	name := table[strings.LastIndexByte(table, '.')+1:]
	return s.replaced(strings.NewReplacer("{table}", table, defaultTable+"_expires_at", name+"_expires_at", defaultTable, table)), true
}
