package sqldedupe

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ErrSchema means that the table is missing, or that it isn't as in the schema. Use errors.Is.
var ErrSchema = errors.New("sqldedupe: the table is missing or has another shape")

// codes are what the engines call a failure: SQLSTATEs of PostgreSQL ("23*" is the whole class), numbers of MySQL, texts of
// SQLite. The drivers aren't imported here, so an error is known by what it has in common with all drivers.
type codes struct {
	postgres, mysql []string
	sqlite          string
}

var (
	noTable           = codes{[]string{"42P01", "3F000"}, []string{"1146"}, "no such table"}
	noColumn          = codes{[]string{"42703", "42804", "42P10"}, []string{"1054", "1176"}, "column"}
	tooNarrow         = codes{[]string{"22001"}, []string{"1406"}, "too long for the column"} // SQLite has no widths
	safeMode          = codes{nil, []string{"1175"}, ""}
	syntax            = codes{[]string{"42601"}, []string{"1064"}, "syntax error"}
	permission        = codes{[]string{"42501"}, []string{"1142", "1143", "1044", "1227"}, "not authorized"}
	login             = codes{[]string{"28P01", "28000"}, []string{"1045", "1698"}, "file is not a database"}
	noDatabase        = codes{[]string{"3D000"}, []string{"1049"}, "unable to open database file"}
	readOnly          = codes{[]string{"25006"}, []string{"1290", "1792", "1836"}, "readonly database"}
	full              = codes{[]string{"53100"}, []string{"1021", "1114"}, "disk is full"}
	trouble           = codes{[]string{"08*", "40*", "53*", "57*", "58*"}, []string{"1040", "1053", "1205"}, "disk I/O error"} // of the server
	preparedElsewhere = codes{[]string{"42P05", "26000", "08P01"}, nil, ""}
	transient         = codes{[]string{"40001", "40P01"}, []string{"1213", "1020"}, "is locked"} // deadlocks and the like: nothing was done
)

var mysqlNumber = regexp.MustCompile(`Error (\d{4})[ :(]`)

func (c codes) match(err error) bool {
	if err == nil {
		return false
	}
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		state := e.SQLState()
		return slices.Contains(c.postgres, state) || len(state) > 2 && slices.Contains(c.postgres, state[:2]+"*")
	}
	text := err.Error()
	if m := mysqlNumber.FindStringSubmatch(text); m != nil {
		return slices.Contains(c.mysql, m[1])
	}
	return c.sqlite != "" && strings.Contains(text, c.sqlite)
}

// explain puts before an error what it means here. It wraps the error.
func (d *Deduper) explain(err error) error {
	file := map[Dialect]string{Postgres: "schema/postgres.sql", MySQL: "schema/mysql.sql", SQLite: "schema/sqlite.sql"}[d.dialect]
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case preparedElsewhere.match(err):
		return fmt.Errorf("a pooler such as PgBouncer in transaction mode is between, and the driver prepares statements: with pgx add "+
			"default_query_exec_mode=exec to the connection string (or cache_describe, or simple_protocol), with lib/pq binary_parameters=yes: %w", err)
	case noTable.match(err):
		return fmt.Errorf("%w: there is no %s: call EnsureSchema, or run %s: %w", ErrSchema, d.table, file, err)
	case permission.match(err):
		return fmt.Errorf("the database's user lacks a permission (SELECT, INSERT, UPDATE and DELETE on %s are needed): %w", d.table, err)
	case login.match(err):
		return fmt.Errorf("the database refuses the user or password: %w", err)
	case noDatabase.match(err):
		return fmt.Errorf("there is no such database: %w", err)
	case readOnly.match(err):
		return fmt.Errorf("the database is read-only, a standby perhaps: connect to the primary: %w", err)
	case full.match(err):
		return fmt.Errorf("the database's disk is full: %w", err)
	case tooNarrow.match(err):
		return fmt.Errorf("%w: the column event_key of %s is narrower than in %s, for %d bytes: %w", ErrSchema, d.table, file, maxStoredBytes, err)
	case noColumn.match(err):
		return fmt.Errorf("%w: %s isn't as %s makes it: %w", ErrSchema, d.table, file, err)
	}
	return err
}

// passes reports whether the error is known to be trouble of the database, and not of what was asked of it.
func passes(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false // the function took too long
	}
	for _, target := range []error{driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, target) {
			return true
		}
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, text := range []string{"invalid connection", "conn closed"} { // go-sql-driver/mysql, pgx
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return trouble.match(err) || transient.match(err) || full.match(err) || readOnly.match(err)
}

const retryTime = 5 * time.Second

// retry calls f again while the database says that it got in the way of another transaction, for up to 5 s: SQLite says so if no
// busy timeout is set.
func retry(ctx context.Context, f func() error) error {
	began := time.Now()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := f()
		if err == nil || !transient.match(err) || time.Since(began) > retryTime {
			return err
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // it only keeps two from meeting again
		case <-ctx.Done():
			return err
		}
	}
}
