package sqldedupe_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

func TestMain(m *testing.M) {
	_ = mysql.SetLogger(log.New(io.Discard, "", 0)) // of the failures that the tests bring about
	os.Exit(m.Run())
}

// patience is for what comes in the end, but late on a machine that is busy: it only ends a hang.
const patience = 30 * time.Second

// An engine is a database that the tests run on.
type engine struct {
	name    string
	dialect sqldedupe.Dialect
	driver  string
	dsn     func(t testing.TB) string // a new database for SQLite, the shared one else
	absent  string                    // what to say where it is missing
}

var engines = []engine{
	{"PostgreSQL", sqldedupe.Postgres, "pgx", func(testing.TB) string { return postgresDSN("postgres") },
		"sqldedupe: no PostgreSQL at " + postgresAddress() + " (set WALLETCREW_TEST_POSTGRES)"},
	{"MariaDB", sqldedupe.MySQL, "mysql", func(testing.TB) string { return mysqlDSN("root", "") },
		"sqldedupe: no MariaDB at " + mysqlAddress() + " (set WALLETCREW_TEST_MYSQL)"},
	{"MariaDB, other settings", sqldedupe.MySQL, "mysql", func(testing.TB) string {
		return mysqlDSN("root", "clientFoundRows=true&interpolateParams=true&time_zone=%27%2B05:30%27")
	}, "sqldedupe: no MariaDB at " + mysqlAddress() + " (set WALLETCREW_TEST_MYSQL)"},
	{"SQLite", sqldedupe.SQLite, "sqlite", func(t testing.TB) string {
		return "file:" + filepath.Join(t.TempDir(), "events.db") + "?_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)"
	}, ""},
}

// The variables hold an address, host:port.
func postgresAddress() string { return env("WALLETCREW_TEST_POSTGRES", "127.0.0.1:5432") }
func mysqlAddress() string    { return env("WALLETCREW_TEST_MYSQL", "127.0.0.1:3306") }

func postgresDSN(user string) string {
	return "postgres://" + user + "@" + postgresAddress() + "/test?sslmode=disable&connect_timeout=30"
}

func mysqlDSN(user, params string) string {
	return user + "@tcp(" + mysqlAddress() + ")/test?timeout=30s&" + params
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// A database is one engine during one test.
type database struct {
	engine
	source string
	db     *sql.DB
	table  string // the test's own; removed at the end
}

func (e engine) open(t testing.TB) *database {
	t.Helper()
	d := &database{engine: e, source: e.dsn(t), table: "walletcrew_test_" + strings.ToLower(rand.Text()[:12])}
	d.db = d.connect(t)
	if err := d.db.PingContext(t.Context()); err != nil {
		if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
			t.Fatal(e.absent, err)
		}
		t.Skip(e.absent)
	}
	t.Cleanup(func() { _, _ = d.db.ExecContext(context.Background(), "DROP TABLE IF EXISTS "+d.table) })
	return d
}

// connect opens the database once more, as another process would.
func (d *database) connect(t testing.TB) *sql.DB {
	t.Helper()
	return connect(t, d.driver, d.source)
}

func connect(t testing.TB, driver, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	require.NoError(t, err)
	db.SetMaxOpenConns(15) // several tests share the server's
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (d *database) deduper(t testing.TB, db *sql.DB, opts ...sqldedupe.Option) *sqldedupe.Deduper {
	t.Helper()
	return d.named(t, db, "orders", opts...)
}

func (d *database) named(t testing.TB, db *sql.DB, name string, opts ...sqldedupe.Option) *sqldedupe.Deduper {
	t.Helper()
	deduper, err := sqldedupe.New(db, d.dialect, name, append([]sqldedupe.Option{sqldedupe.WithTable(d.table)}, opts...)...)
	require.NoError(t, err)
	return deduper
}

// ready returns a deduper whose table is there.
func (d *database) ready(t testing.TB, opts ...sqldedupe.Option) *sqldedupe.Deduper {
	t.Helper()
	deduper := d.deduper(t, d.db, opts...)
	require.NoError(t, deduper.EnsureSchema(t.Context()))
	return deduper
}

func (d *database) exec(t testing.TB, statement string) {
	t.Helper()
	_, err := d.db.ExecContext(t.Context(), statement)
	require.NoError(t, err, statement)
}

func (d *database) count(t testing.TB, query string) (n int) {
	t.Helper()
	require.NoError(t, d.db.QueryRowContext(t.Context(), query).Scan(&n), query)
	return n
}

// counter makes a table with one row, whose number n is the effect of the tests' events.
func (d *database) counter(t testing.TB) (table string) {
	t.Helper()
	table = d.table + "_counter"
	kind := ""
	if d.dialect == sqldedupe.MySQL {
		kind = " ENGINE = InnoDB"
	}
	d.exec(t, "CREATE TABLE "+table+" (n INTEGER NOT NULL)"+kind)
	t.Cleanup(func() { _, _ = d.db.ExecContext(context.Background(), "DROP TABLE IF EXISTS "+table) })
	d.exec(t, "INSERT INTO "+table+" VALUES (0)")
	return table
}

func onEachEngine(t *testing.T, test func(t *testing.T, d *database)) {
	t.Helper()
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			test(t, e.open(t))
		})
	}
}

func onEngine(t *testing.T, dialect sqldedupe.Dialect) *database {
	t.Helper()
	for _, e := range engines {
		if e.dialect == dialect {
			return e.open(t)
		}
	}
	t.Fatal("no such engine")
	return nil
}

func claimed(t testing.TB, d receiver.Deduper, key string, lease time.Duration) receiver.Claim {
	t.Helper()
	claim, err := d.Claim(t.Context(), key, lease)
	require.NoError(t, err)
	require.Equal(t, receiver.Claimed, claim.State, "expected to get %q", key)
	return claim
}

func state(t testing.TB, d receiver.Deduper, key string) receiver.ClaimState {
	t.Helper()
	claim, err := d.Claim(t.Context(), key, time.Minute)
	require.NoError(t, err)
	return claim.State
}
