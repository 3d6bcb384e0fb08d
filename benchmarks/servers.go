package main

import (
	"cmp"
	"context"
	"log/slog"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
	"github.com/thewalletcrew/walletcrew-go/adapters/riverinbox"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// serverGroups need a PostgreSQL, and a disk that a JetStream server in this process writes to. What is compared with has no HTTP, no
// signature and no JSON: it is the least that keeping a body safe costs.
func serverGroups() []group {
	return []group{
		{"riverinbox, 8 at once", riverSubjects, tenSlices},
		{"jetstream, sync_interval: always, 8 at once", jetstreamSubjects, tenSlices},
	}
}

// handOver verifies deliveries that come over loopback, and hands the events over.
func handOver(name string, handle receiver.HandlerFunc, goals ...goal) subject {
	return load(name, receiver.NewHandler(newVerifier(verifier.Static(secret)), handle), newEvent, goals...)
}

// bodies has the senders keep bodies that are ready.
func bodies(name string, keep func(body []byte)) subject {
	var ready [][]byte
	prepare := func(n int) {
		ready = make([][]byte, n)
		for i := range ready {
			ready[i] = newEvent().body
		}
	}
	run := func(n int) {
		bySenders(n, func(_, from, to int) {
			for _, body := range ready[from:to] {
				keep(body)
			}
		})
	}
	return subject{name: name, prepare: prepare, run: run}
}

func riverSubjects() []subject {
	const bare = "a transaction with one INSERT"
	ctx, pool := context.Background(), emptySchema()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	must(err)
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	must(err)
	inbox, err := riverinbox.New(pool, "benchmarks")
	must(err)
	must(inbox.EnsureSchema(ctx))
	_, err = pool.Exec(ctx, "CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL)")
	must(err)
	insert := func(body []byte) {
		must(pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO bare (body) VALUES ($1)", body)
			return err
		}))
	}
	return []subject{bodies(bare, insert), handOver("delivery", inbox.Handle, rateOf(bare, 0.70))}
}

func postgres() (address string) {
	return cmp.Or(os.Getenv("WALLETCREW_TEST_POSTGRES"), "127.0.0.1:5432")
}

// emptySchema returns connections that see only a schema of their own, which is made anew.
func emptySchema() *pgxpool.Pool {
	const schema = "walletcrew_benchmarks"
	ctx := context.Background()
	config, err := pgxpool.ParseConfig("postgres://postgres@" + postgres() + "/test?sslmode=disable")
	must(err)
	config.MaxConns = senders
	config.ConnConfig.RuntimeParams["search_path"] = schema
	pool, err := pgxpool.NewWithConfig(ctx, config)
	must(err)
	_, err = pool.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
	must(err)
	_, err = pool.Exec(ctx, "CREATE SCHEMA "+schema)
	must(err)
	atEnd(func() {
		_, err := pool.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE")
		must(err)
		pool.Close()
	})
	return pool
}

func jetstreamSubjects() []subject {
	const bare = "a bare publish"
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "walletcrew-benchmarks-")
	must(err)
	server, err := embedded.Start(ctx, embedded.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)}) // SyncInterval 0: always
	must(err)
	nc, err := server.Connect()
	must(err)
	atEnd(func() {
		nc.Close()
		server.Close()
		must(os.RemoveAll(dir))
	})
	const name, prefix = "BENCHMARKS", "benchmarks"
	stream, err := jetstream.EnsureStream(ctx, nc, jetstream.StreamConfig{Name: name, Prefix: prefix})
	must(err)
	publisher, err := jetstream.NewPublisher(ctx, stream)
	must(err)
	js, err := natsjs.New(nc)
	must(err)
	publish := func(body []byte) {
		_, err := js.Publish(ctx, prefix+"."+tenant+".Pass.Installed", body)
		must(err)
	}
	return []subject{bodies(bare, publish), handOver("delivery", publisher.Handle, rateOf(bare, 0.85)), handOver("delivery, not published", nothing, rateOf(bare, none))}
}

var ends []func()

// atEnd has f called at the end of the program.
func atEnd(f func()) { ends = append(ends, f) }

func end() {
	for _, f := range ends {
		f()
	}
}
