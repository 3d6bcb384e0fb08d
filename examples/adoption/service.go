package main

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"log/slog"
	"net/url"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A service makes the effects of events in its database.
type service struct {
	config
	db     *sql.DB
	dedupe *sqldedupe.Deduper
	logger *slog.Logger
}

// mux has functions for the events that the service can do something with, and so says what to subscribe to.
func (s *service) mux() *receiver.Mux {
	mux, once := receiver.NewMux(), s.dedupe.Once(s.effects)
	mux.HandleFunc(walletcrew.AllPassEvents, once)
	if s.customer != "" {
		mux.HandleFunc(walletcrew.EventCustomerUpserted, once)
	}
	if s.store != "" {
		mux.HandleFunc(walletcrew.EventRedirectRedirected, once)
	}
	return mux
}

// effects are committed together with the record that the event is done, or not at all.
func (s *service) effects(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
	r := rowOf(e)
	err := r.insert(ctx, tx)
	if err != nil {
		return err
	}
	switch e.Data.(type) {
	case *walletcrew.CustomerUpserted:
		err = startJourney(ctx, tx, member(e, s.customer))
	case *walletcrew.RedirectRedirected:
		err = r.countRedirect(ctx, tx, member(e, s.store))
	default:
		err = r.updatePass(ctx, tx)
	}
	if errors.Is(err, errNobody) { // it would say no more if it came again
		s.logger.WarnContext(ctx, "logged, and nothing else", "why", err, "event", e)
		return nil
	}
	return err
}

var errNobody = errors.New("the event doesn't say which pass or customer it is about")

//go:embed schema.sql
var schema string

// open connects to the database, and makes the tables that it lacks. Close the service's db at the end.
func (c config) open(ctx context.Context, logger *slog.Logger) (*service, error) {
	driver, source, dialect := "sqlite", "file:"+url.PathEscape(c.sqlite)+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)", sqldedupe.SQLite
	if c.postgres != "" {
		driver, source, dialect = "pgx", c.postgres, sqldedupe.Postgres
		if !withoutPassword(source) {
			return nil, errors.New("-postgres: it takes a URL without a password, such as postgres://user@host/database; put the password in PGPASSWORD or ~/.pgpass")
		}
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(8) // the deliveries of a burst wait for one, and PostgreSQL has some left for others
	dedupe, err := sqldedupe.New(db, dialect, "adoption", sqldedupe.WithRetention(30*24*time.Hour))
	if err == nil {
		err = dedupe.EnsureSchema(ctx)
	}
	if err == nil {
		statements := schema
		if dialect == sqldedupe.Postgres { // all of it is one transaction there, and two that create a table at once get in each other's way
			statements = "SELECT pg_advisory_xact_lock(hashtext('walletcrew adoption'));" + schema
		}
		_, err = db.ExecContext(ctx, statements)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &service{c, db, dedupe, logger}, nil
}

// withoutPassword reports whether a URL may stand in a flag, which everybody on the machine can read.
func withoutPassword(source string) bool {
	u, err := url.Parse(source)
	if err != nil || u.Host == "" {
		return false
	}
	_, has := u.User.Password()
	return !has && !u.Query().Has("password")
}
