package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/thewalletcrew/walletcrew-go/adapters/riverinbox"
)

// postgres is the dead letters of a riverinbox.
type postgres struct {
	pool  *pgxpool.Pool
	name  string
	inbox *riverinbox.Inbox // nil: no inbox has dead letters
}

func (c *cli) openPostgres(ctx context.Context, f deadFlags) (deadLetters, error) {
	config, err := pgxpool.ParseConfig(f.postgres)
	if err != nil { // the error's text may hold a piece of the password
		return nil, usagef("this is no PostgreSQL URL: it is like postgres://user@host:5432/database, and PGPASSWORD or PGPASSFILE has the password")
	}
	config.MaxConns = 2
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	config.ConnConfig.RuntimeParams["application_name"] = "walletcrew dead"
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, withoutPassword(err, config.ConnConfig.Password)
	}
	p := &postgres{pool: pool, name: f.inbox}
	if err := p.choose(ctx, c, f); err != nil {
		pool.Close()
		return nil, withoutPassword(err, config.ConnConfig.Password)
	}
	return p, nil
}

// choose finds the inbox that is meant: the one that was named, or the only one that has dead letters.
func (p *postgres) choose(ctx context.Context, c *cli, f deadFlags) error {
	opts := []riverinbox.Option{riverinbox.WithRiverSchema(f.riverSchema)}
	if f.table != "" {
		opts = append(opts, riverinbox.WithTables("walletcrew_events", f.table))
	}
	names, err := riverinbox.Inboxes(ctx, p.pool, opts...)
	if server, ok := errors.AsType[*pgconn.PgError](err); ok && server.Code == "42P01" {
		return fmt.Errorf("this database has no table of dead letters: is it the receiver's? search_path in the URL and --table name others: %w", err)
	}
	switch {
	case err != nil:
		return err
	case p.name == "" && len(names) > 1:
		return usagef("which inbox? Several have dead letters: --inbox %s", strings.Join(names, ", or "))
	case p.name == "" && len(names) == 0:
		return nil
	case p.name == "":
		p.name = names[0]
	case len(names) > 0 && !slices.Contains(names, p.name):
		c.say("inbox %s has no dead letters; these have some: %s", p.name, strings.Join(names, ", "))
	}
	p.inbox, err = riverinbox.New(p.pool, p.name, opts...)
	if err != nil {
		return usagef("--inbox: %v", err)
	}
	return nil
}

// withoutPassword is for errors of connecting.
func withoutPassword(err error, password string) error {
	if password == "" || !strings.Contains(err.Error(), password) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), password, "[redacted]"))
}

func (p *postgres) Close() { p.pool.Close() }

func (p *postgres) All(ctx context.Context) iter.Seq2[deadLetter, error] {
	return func(yield func(deadLetter, error) bool) {
		if p.inbox == nil {
			return
		}
		for d, err := range p.inbox.DeadLetters(ctx) {
			if err != nil {
				yield(deadLetter{}, err)
				return
			}
			if !yield(p.letter(d), nil) {
				return
			}
		}
	}
}

func (p *postgres) letter(d *riverinbox.DeadLetter) deadLetter {
	letter := deadLetter{ID: d.ID, Reason: d.Reason, Consumer: p.name, Tries: d.Tries, Time: d.Time, DiedAt: d.DiedAt, Bytes: len(d.Body), body: d.Body}
	if d.Event != nil {
		letter.Event, letter.Tenant, letter.EventID = string(d.Event.Name), d.Event.TenantID, d.Event.ID
	}
	return letter
}

func (p *postgres) get(ctx context.Context, id string) (*riverinbox.DeadLetter, error) {
	if p.inbox == nil {
		return nil, errNoDeadLetter
	}
	d, err := p.inbox.DeadLetter(ctx, id)
	return d, plainDead(err)
}

func (p *postgres) Get(ctx context.Context, id string) (deadLetter, error) {
	d, err := p.get(ctx, id)
	if err != nil {
		return deadLetter{}, err
	}
	return p.letter(d), nil
}

func (p *postgres) Redrive(ctx context.Context, id string) error {
	d, err := p.get(ctx, id)
	if err != nil {
		return err
	}
	return plainDead(d.Redrive(ctx))
}

func (p *postgres) Delete(ctx context.Context, id string) error {
	d, err := p.get(ctx, id)
	if err != nil {
		return err
	}
	return plainDead(d.Delete(ctx))
}
