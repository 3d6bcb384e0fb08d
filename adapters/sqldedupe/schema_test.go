package sqldedupe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

func TestTheSchemaIsMadeOnceAndByOneOfMany(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		var wg sync.WaitGroup
		for range 8 {
			deduper := d.deduper(t, d.connect(t))
			wg.Go(func() {
				assert.NoError(t, deduper.EnsureSchema(t.Context()))
				assert.NoError(t, deduper.Check(t.Context()))
			})
		}
		wg.Wait()
		assert.Zero(t, d.count(t, "SELECT COUNT(*) FROM "+d.table), "a check leaves nothing behind")
	})
}

// A table without its index would be taken for all there is to make.
func TestASchemaIsMadeWholeOrNotAtAll(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		if d.dialect == sqldedupe.MySQL {
			return // one statement makes both
		}
		lost := errors.New("the connection is lost")
		db, _ := d.aborting(t, "CREATE INDEX", 1000, lost)
		require.ErrorIs(t, d.deduper(t, db).EnsureSchema(t.Context()), lost)
		d.ready(t)
		indexes := "SELECT count(*) FROM pg_indexes WHERE indexname = '"
		if d.dialect == sqldedupe.SQLite {
			indexes = "SELECT count(*) FROM sqlite_master WHERE name = '"
		}
		assert.Equal(t, 1, d.count(t, indexes+d.table+"_expires_at'"))
	})
}

func TestAMissingOrOtherTableIsNamed(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper := d.deduper(t, d.db)
		err := deduper.Check(t.Context())
		require.ErrorIs(t, err, sqldedupe.ErrSchema)
		require.ErrorContains(t, err, "there is no "+d.table)
		require.ErrorContains(t, err, "EnsureSchema")
		_, err = deduper.Claim(t.Context(), "key", time.Minute)
		require.ErrorIs(t, err, sqldedupe.ErrSchema)
		require.ErrorIs(t, call(t.Context(), deduper.Once(add("t")), "e-1"), sqldedupe.ErrSchema)

		d.exec(t, "CREATE TABLE "+d.table+" (event_key varchar(600) PRIMARY KEY, token bigint, expires_at timestamp)")
		for _, err := range []error{deduper.Check(t.Context()), deduper.EnsureSchema(t.Context())} {
			require.ErrorIs(t, err, sqldedupe.ErrSchema)
			assert.ErrorContains(t, err, "isn't as schema/")
		}
	})
}

func TestATableThatMergesKeysOrForgetsThemIsRefused(t *testing.T) {
	t.Parallel()
	for name, column := range map[string]string{
		"a collation that ignores case": "event_key VARCHAR(600) CHARACTER SET latin1 COLLATE latin1_swedish_ci NOT NULL PRIMARY KEY",
		"a collation that pads":         "event_key VARCHAR(600) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY",
		"no primary key":                "event_key VARBINARY(600) NOT NULL",
	} {
		d := onEngine(t, sqldedupe.MySQL)
		d.exec(t, "CREATE TABLE "+d.table+" ("+column+", token BIGINT NOT NULL, done BOOLEAN NOT NULL, expires_at DATETIME(3) NOT NULL) ENGINE = InnoDB")
		require.ErrorIs(t, d.deduper(t, d.db).Check(t.Context()), sqldedupe.ErrSchema, name)
	}
}

func TestAColumnThatPadsIsRefused(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.Postgres)
	d.exec(t, "CREATE TABLE "+d.table+" (event_key char(600) NOT NULL PRIMARY KEY, token bigint NOT NULL, done boolean NOT NULL, expires_at timestamptz NOT NULL)")
	require.ErrorIs(t, d.deduper(t, d.db).Check(t.Context()), sqldedupe.ErrSchema)
}

// Enough for this name isn't enough for the longest.
func TestATableTooNarrowForTheLongestNameAndKeyIsRefused(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		column, rest := "varchar(%d)", " NOT NULL PRIMARY KEY, token BIGINT NOT NULL, done BOOLEAN NOT NULL, expires_at timestamptz NOT NULL)"
		switch d.dialect {
		case sqldedupe.SQLite:
			return // has no widths
		case sqldedupe.MySQL:
			column, rest = "VARBINARY(%d)", strings.Replace(rest, "timestamptz", "DATETIME(3)", 1)+" ENGINE = InnoDB"
		}
		for _, width := range []int{512, 579, 580} {
			d.exec(t, "DROP TABLE IF EXISTS "+d.table)
			d.exec(t, "CREATE TABLE "+d.table+" (event_key "+fmt.Sprintf(column, width)+rest)
			err := d.deduper(t, d.db).Check(t.Context())
			if width == 580 {
				require.NoError(t, err)
				continue
			}
			require.ErrorIs(t, err, sqldedupe.ErrSchema, width)
			assert.ErrorContains(t, err, "narrower than in schema/", width)
		}
	})
}

func TestTheSchemaFilesAreWhatEnsureSchemaRuns(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.SQLite)
	text, err := os.ReadFile(filepath.Join("schema", "sqlite.sql"))
	require.NoError(t, err)
	d.exec(t, string(text))
	deduper, err := sqldedupe.New(d.db, sqldedupe.SQLite, "orders")
	require.NoError(t, err)
	require.NoError(t, deduper.Check(t.Context()), "the file makes the default table")
}

func TestALackingPermissionIsNamed(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		d := onEngine(t, sqldedupe.Postgres)
		user := d.table + "_user"
		d.exec(t, "CREATE ROLE "+user+" LOGIN")
		t.Cleanup(func() {
			_, _ = connect(t, d.driver, d.source).Exec("DROP OWNED BY " + user + "; DROP ROLE " + user)
		})
		theirs := d.deduper(t, connect(t, d.driver, postgresDSN(user)))
		d.exec(t, "CREATE SCHEMA "+user)
		elsewhere := d.deduper(t, connect(t, d.driver, postgresDSN(user)), sqldedupe.WithTable(user+".events"))
		require.ErrorContains(t, elsewhere.EnsureSchema(t.Context()), "permission")
		d.exec(t, "DROP SCHEMA "+user)

		d.ready(t)
		for _, grant := range []string{"", "SELECT, INSERT, UPDATE", "SELECT, UPDATE, DELETE"} {
			if grant != "" {
				d.exec(t, "GRANT "+grant+" ON "+d.table+" TO "+user)
			}
			require.ErrorContains(t, theirs.Check(t.Context()), "lacks a permission")
			_, err := theirs.Claim(t.Context(), "key", time.Minute)
			if grant != "SELECT, INSERT, UPDATE" {
				require.ErrorContains(t, err, "lacks a permission")
			}
			d.exec(t, "REVOKE ALL ON "+d.table+" FROM "+user)
		}
		d.exec(t, "GRANT SELECT, INSERT, UPDATE, DELETE ON "+d.table+" TO "+user)
		assert.NoError(t, theirs.EnsureSchema(t.Context()), "who may not create a table needs not to where it is there")
	})
	t.Run("MariaDB", func(t *testing.T) {
		t.Parallel()
		d := onEngine(t, sqldedupe.MySQL)
		user := d.table
		d.exec(t, "CREATE USER "+user+"@'%' IDENTIFIED BY 'pw'")
		t.Cleanup(func() { _, _ = connect(t, d.driver, d.source).Exec("DROP USER " + user + "@'%'") })
		d.ready(t)
		d.exec(t, "GRANT SELECT, INSERT ON "+d.table+" TO "+user+"@'%'")
		theirs := d.deduper(t, connect(t, d.driver, mysqlDSN(user+":pw", "")))
		require.ErrorContains(t, theirs.Check(t.Context()), "lacks a permission")
		d.exec(t, "GRANT UPDATE, DELETE ON "+d.table+" TO "+user+"@'%'")
		require.NoError(t, theirs.EnsureSchema(t.Context()))
		d.exec(t, "DROP TABLE "+d.table)
		require.ErrorContains(t, theirs.EnsureSchema(t.Context()), "may not create")
		err := d.deduper(t, connect(t, d.driver, mysqlDSN(user+":other", ""))).Check(t.Context())
		assert.ErrorContains(t, err, "refuses the user or password")
	})
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, db *sql.DB, dialect sqldedupe.Dialect, table string) string {
		t.Helper()
		deduper, err := sqldedupe.New(db, dialect, "orders", sqldedupe.WithTable(table))
		require.NoError(t, err)
		err = deduper.Check(t.Context())
		require.Error(t, err)
		return err.Error()
	}
	t.Run("another engine", func(t *testing.T) {
		onEachEngine(t, func(t *testing.T, d *database) {
			d.ready(t)
			for _, dialect := range []sqldedupe.Dialect{sqldedupe.Postgres, sqldedupe.MySQL, sqldedupe.SQLite} {
				if dialect != d.dialect {
					text := check(t, d.db, dialect, d.table)
					assert.True(t, strings.Contains(text, "isn't "+dialect.String()) || strings.Contains(text, "doesn't seem to be "+dialect.String()), text)
				}
			}
		})
	})
	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		assert.Contains(t, check(t, connect(t, "pgx", "postgres://postgres@127.0.0.1:1/test?sslmode=disable"), sqldedupe.Postgres, "t"), "can't be reached")
		assert.Contains(t, check(t, connect(t, "mysql", "root@tcp(127.0.0.1:1)/test"), sqldedupe.MySQL, "t"), "can't be reached")
		assert.Contains(t, check(t, connect(t, "sqlite", "file:"+filepath.Join(t.TempDir(), "no", "such", "folder.db")), sqldedupe.SQLite, "t"), "no such database")
	})
	t.Run("no such user, no such database", func(t *testing.T) {
		t.Parallel()
		d := onEngine(t, sqldedupe.Postgres)
		assert.Contains(t, check(t, connect(t, d.driver, postgresDSN("nobody_here")), d.dialect, "t"), "refuses the user")
		assert.Contains(t, check(t, connect(t, d.driver, strings.Replace(d.source, "/test?", "/nothing_here?", 1)), d.dialect, "t"), "no such database")
		m := onEngine(t, sqldedupe.MySQL)
		assert.Contains(t, check(t, connect(t, m.driver, strings.Replace(m.source, "/test?", "/nothing_here?", 1)), m.dialect, "t"), "no such database")
	})
	t.Run("read-only", func(t *testing.T) {
		t.Parallel()
		d := onEngine(t, sqldedupe.Postgres)
		d.ready(t)
		assert.Contains(t, check(t, connect(t, d.driver, d.source+"&default_transaction_read_only=on"), d.dialect, d.table), "read-only")
		m := onEngine(t, sqldedupe.MySQL)
		m.ready(t)
		setting := "tx_read_only" // of MariaDB before 11.1
		if m.count(t, "SELECT version() NOT LIKE '%MariaDB%'") == 1 {
			setting = "transaction_read_only"
		}
		assert.Contains(t, check(t, connect(t, m.driver, m.source+setting+"=1"), m.dialect, m.table), "read-only")
		s := onEngine(t, sqldedupe.SQLite)
		s.ready(t)
		assert.Contains(t, check(t, connect(t, s.driver, s.source+"&mode=ro"), s.dialect, s.table), "read-only")
	})
	t.Run("settings of MySQL", func(t *testing.T) {
		t.Parallel()
		d := onEngine(t, sqldedupe.MySQL)
		d.ready(t)
		assert.Contains(t, check(t, connect(t, d.driver, d.source+"autocommit=0"), d.dialect, d.table), "autocommit=0")
		d.exec(t, "ALTER TABLE "+d.table+" ENGINE = MyISAM")
		assert.Contains(t, check(t, d.db, d.dialect, d.table), "use InnoDB")
	})
}

// A database whose disk is full: SQLite can be limited.
func TestAFullDatabaseIsAnError(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.SQLite)
	d.ready(t)
	pages := d.count(t, "PRAGMA page_count")
	db := connect(t, d.driver, d.source)
	db.SetMaxOpenConns(1)
	var limit int
	require.NoError(t, db.QueryRowContext(t.Context(), "PRAGMA max_page_count = "+strconv.Itoa(pages)).Scan(&limit))
	deduper := d.deduper(t, db)
	var err error
	for i := 0; i < 2000 && err == nil; i++ {
		_, err = deduper.Claim(context.Background(), strings.Repeat("k", 500)+strconv.Itoa(i), time.Minute)
	}
	require.ErrorContains(t, err, "disk is full")
}

// Some administrators set it for all connections, so that nobody empties a table by mistake.
func TestMariaDBWithSafeUpdates(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.MySQL)
	deduper := d.deduper(t, connect(t, d.driver, mysqlDSN("root", "sql_safe_updates=1")))
	require.NoError(t, deduper.EnsureSchema(t.Context()))
	require.NoError(t, deduper.Check(t.Context()))
	claim, err := deduper.Claim(t.Context(), "-/1", time.Minute)
	require.NoError(t, err)
	require.NoError(t, deduper.Complete(t.Context(), "-/1", claim.Token))
	claim, err = deduper.Claim(t.Context(), "-/2", time.Minute)
	require.NoError(t, err)
	require.NoError(t, deduper.Release(t.Context(), "-/2", claim.Token))
	runs := 0
	once := deduper.Once(func(context.Context, *sql.Tx, *walletcrew.Event) error { runs++; return nil })
	for range 2 {
		require.NoError(t, once(receiver.WithKey(t.Context(), "-/3"), &walletcrew.Event{ID: "3"}))
	}
	assert.Equal(t, 1, runs)
	d.exec(t, "UPDATE "+d.table+" SET expires_at = '2020-01-01'")
	n, err := deduper.Purge(t.Context(), 10)
	require.NoError(t, err)
	assert.EqualValues(t, 2, n)
}
