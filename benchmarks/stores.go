package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
	"github.com/thewalletcrew/walletcrew-go/adapters/riverinbox"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

var silent = slog.New(slog.DiscardHandler)

// atOnceWorking is how many functions run at once, in both stores.
const atOnceWorking = 16

// A streamStore is JetStream, whose server runs in this process.
type streamStore struct {
	dir, copied string
	synced      bool
	server      *embedded.Server
	nc          *nats.Conn
	stream      *jetstream.Stream
	publisher   *jetstream.Publisher
}

// openStream keeps the stream in dir; copied is a folder that it may use.
func openStream(dir, copied string, synced bool) *streamStore {
	s := &streamStore{dir: dir, copied: copied, synced: synced}
	s.open(synced)
	return s
}

func (s *streamStore) open(synced bool) {
	ctx, interval := context.Background(), time.Minute
	if synced {
		interval = 0
	}
	var err error
	s.server, err = embedded.Start(ctx, embedded.Options{Dir: s.dir, SyncInterval: interval, Logger: silent})
	must(err)
	s.nc, err = s.server.Connect()
	must(err)
	s.stream, err = jetstream.EnsureStream(ctx, s.nc, jetstream.StreamConfig{MaxBytes: 8 << 30})
	must(err)
	s.publisher, err = jetstream.NewPublisher(ctx, s.stream)
	must(err)
}

func (s *streamStore) close() {
	s.nc.Close()
	s.server.Close()
}

func (*streamStore) name() string { return "JetStream" }

func (*streamStore) serverCPU() time.Duration { return 0 } // it is in this process

func (s *streamStore) take(ctx context.Context, e *walletcrew.Event) error {
	return s.publisher.Handle(ctx, e)
}

func (s *streamStore) work(ctx context.Context, fn receiver.HandlerFunc) {
	c, err := jetstream.NewConsumer(ctx, s.stream, fn, jetstream.ConsumerConfig{Concurrency: atOnceWorking, Logger: silent})
	must(err)
	must(c.Run(ctx))
}

func (s *streamStore) fill(n int) {
	s.publish(n, "walletcrew.", func(header nats.Header, _ string) {
		header.Set(natsjs.MsgIDHeader, header.Get(jetstream.HeaderKey))
	})
}

// publish puts n events there, as the adapter does, but many at once, and with a server that doesn't wait for the disk meanwhile.
func (s *streamStore) publish(n int, prefix string, change func(header nats.Header, subject string)) {
	s.close()
	s.open(false)
	js, err := natsjs.New(s.nc, natsjs.WithPublishAsyncMaxPending(1000))
	must(err)
	for range n {
		ctx, e := keyedEvent(events.Add(1))
		subject := jetstream.Subject(e.TenantID, e.Name)
		m := &nats.Msg{Subject: prefix + subject, Data: e.Raw, Header: nats.Header{
			jetstream.HeaderEvent: {string(e.Name)}, jetstream.HeaderTenant: {e.TenantID}, jetstream.HeaderID: {e.ID}, jetstream.HeaderKey: {receiver.Key(ctx)},
		}}
		change(m.Header, subject)
		_, err := js.PublishMsgAsync(m, natsjs.WithStallWait(time.Minute))
		must(err)
	}
	<-js.PublishAsyncComplete()
	s.close()
	s.open(s.synced)
}

func (s *streamStore) stored() (bytes float64) {
	must(filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		bytes += float64(info.Size())
		return err
	}))
	return bytes
}

func (s *streamStore) starts() []start {
	return []start{
		{"JetStream, server and worker", func() time.Duration {
			s.close()
			began := time.Now()
			s.open(s.synced)
			untilTheFirst(s)
			return time.Since(began)
		}},
		// What is on the disk while the server runs is what a kill leaves.
		{"JetStream, both were killed", func() time.Duration {
			must(os.CopyFS(s.copied, os.DirFS(s.dir)))
			defer func() { must(os.RemoveAll(s.copied)) }()
			began := time.Now()
			killed := openStream(s.copied, "", s.synced)
			untilTheFirst(killed)
			took := time.Since(began)
			killed.close()
			return took
		}},
	}
}

// A riverStore is a database of its own in PostgreSQL.
type riverStore struct {
	database string
	admin    *pgx.Conn
	pool     *pgxpool.Pool
	inbox    *riverinbox.Inbox
}

func openRiver(synced bool) (*riverStore, error) {
	ctx := context.Background()
	source := "postgres://postgres@" + cmp.Or(os.Getenv("WALLETCREW_TEST_POSTGRES"), "127.0.0.1:5432") + "/%s?sslmode=disable"
	admin, err := pgx.Connect(ctx, fmt.Sprintf(source, "postgres"))
	if err != nil {
		return nil, fmt.Errorf("%w: PostgreSQL is needed: %w", errNotHere, err)
	}
	s, commit := &riverStore{admin: admin, database: "wc_growth_synced"}, ""
	if !synced {
		s.database, commit = "wc_growth_unsynced", "&synchronous_commit=off"
	}
	s.drop() // of a run that was ended
	_, err = admin.Exec(ctx, "CREATE DATABASE "+s.database)
	must(err)
	s.pool, err = pgxpool.New(ctx, fmt.Sprintf(source, s.database)+"&pool_max_conns=24"+commit)
	must(err)
	migrator, err := rivermigrate.New(riverpgxv5.New(s.pool), &rivermigrate.Config{Logger: silent})
	must(err)
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	must(err)
	s.inbox, err = riverinbox.New(s.pool, "orders")
	must(err)
	must(s.inbox.EnsureSchema(ctx))
	return s, nil
}

func (s *riverStore) drop() {
	_, err := s.admin.Exec(context.Background(), "DROP DATABASE IF EXISTS "+s.database+" WITH (FORCE)")
	must(err)
}

func (s *riverStore) close() {
	s.pool.Close()
	s.drop()
	must(s.admin.Close(context.Background()))
}

func (*riverStore) name() string { return "River" }

// serverCPU is that of the processes of the pool's connections.
func (s *riverStore) serverCPU() (used time.Duration) {
	rows, err := s.pool.Query(context.Background(), "SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
	must(err)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	must(err)
	for _, pid := range pids {
		used += cpuTimeOf(pid)
	}
	return used
}

func (s *riverStore) take(ctx context.Context, e *walletcrew.Event) error {
	return s.inbox.Handle(ctx, e)
}

func (s *riverStore) work(ctx context.Context, fn receiver.HandlerFunc) {
	config := &river.Config{
		Workers: river.NewWorkers(), Logger: silent,
		Queues:        map[string]river.QueueConfig{"orders": {MaxWorkers: atOnceWorking}},
		FetchCooldown: time.Millisecond,
	}
	must(s.inbox.AddWorker(config, fn, riverinbox.WithLogger(silent)))
	client, err := river.NewClient(riverpgxv5.New(s.pool), config)
	must(err)
	must(client.Start(context.WithoutCancel(ctx)))
	<-ctx.Done()
	must(client.Stop(context.WithoutCancel(ctx)))
}

// fill copies one job, and what the inbox remembers of it.
func (s *riverStore) fill(n int) {
	template := events.Add(1)
	must(s.take(keyedEvent(template)))
	from := events.Add(int64(n)) - int64(n)
	const another = `lpad(to_hex($2::bigint + i), 8, '0')`
	id := fmt.Sprintf("%08x", template)
	s.exec(`INSERT INTO river_job (args, kind, max_attempts, metadata, priority, queue, state, scheduled_at, tags)
		SELECT jsonb_set(args, '{key}', to_jsonb(replace(args->>'key', $1, `+another+`))), kind, max_attempts, metadata, priority, queue, state, scheduled_at, tags
		FROM river_job, generate_series(1, $3::int) AS i WHERE args->>'key' LIKE '%' || $1 || '%'`, id, from, n-1)
	s.exec(`INSERT INTO walletcrew_events (event_key, token, done, expires_at) SELECT replace(event_key, $1, `+another+`), token, done, expires_at
		FROM walletcrew_events, generate_series(1, $3::int) AS i WHERE event_key LIKE '%' || $1 || '%'`, id, from, n-1)
	s.exec("ANALYZE") // as autovacuum does soon
}

func (s *riverStore) exec(statement string, args ...any) int64 {
	done, err := s.pool.Exec(context.Background(), statement, args...)
	must(err)
	return done.RowsAffected()
}

func (s *riverStore) stored() (bytes float64) {
	must(s.pool.QueryRow(context.Background(), "SELECT pg_database_size(current_database())").Scan(&bytes))
	return bytes
}

func (s *riverStore) starts() []start {
	return []start{{"River, worker", func() time.Duration {
		began := time.Now()
		untilTheFirst(s)
		return time.Since(began)
	}}}
}

// bury makes them by hand: the worker would make each of a job. Before them, another inbox has as many.
func (s *riverStore) bury(n int) {
	s.exec("DELETE FROM walletcrew_dead_letters")
	for _, inbox := range []string{"others", "orders"} {
		ctx, e := keyedEvent(events.Add(int64(n)))
		s.exec(`INSERT INTO walletcrew_dead_letters (inbox, event_name, tenant, event_key, headers, body, reason, tries, received_at, queued_at)
			SELECT $1, $2, $3, $4 || i, '{}', $5, 'the order system answered 500', 10, now(), now() FROM generate_series(1, $6::int) AS i`,
			inbox, string(e.Name), e.TenantID, receiver.Key(ctx), e.Raw, n)
	}
	s.exec("ANALYZE")
}

func (s *riverStore) dead(ctx context.Context, do func(redrive func(context.Context) error) bool) {
	for d, err := range s.inbox.DeadLetters(ctx) {
		must(err)
		if !do(d.Redrive) {
			return
		}
	}
}

func (s *riverStore) lookUps() []lookUp {
	ctx := context.Background()
	var id string
	for d, err := range s.inbox.DeadLetters(ctx) {
		must(err)
		id = d.ID
		break
	}
	without, err := riverinbox.New(s.pool, "without")
	must(err)
	return []lookUp{
		{"River: DeadLetter by its ID", func() {
			_, err := s.inbox.DeadLetter(ctx, id)
			must(err)
		}},
		{"River: the first of DeadLetters", func() { s.dead(ctx, func(func(context.Context) error) bool { return false }) }},
		{"River: DeadLetters of an inbox without any", func() {
			for _, err := range without.DeadLetters(ctx) {
				must(err)
				panic("it has one")
			}
		}},
	}
}

// bury makes them by hand, as the consumer does.
func (s *streamStore) bury(n int) {
	s.publish(n, "walletcrew-dead.", func(header nats.Header, subject string) {
		header.Set(jetstream.HeaderSubject, "walletcrew."+subject)
		header.Set(jetstream.HeaderReason, "the order system answered 500")
		header.Set(jetstream.HeaderTries, "20")
		header.Set(jetstream.HeaderConsumer, "worker")
		header.Set(jetstream.HeaderTime, time.Now().UTC().Format(time.RFC3339Nano))
	})
}

func (s *streamStore) dead(ctx context.Context, do func(redrive func(context.Context) error) bool) {
	for d, err := range s.stream.DeadLetters(ctx) {
		must(err)
		if !do(d.Redrive) {
			return
		}
	}
}

func (s *streamStore) lookUps() []lookUp {
	ctx := context.Background()
	var id string
	for d, err := range s.stream.DeadLetters(ctx) {
		must(err)
		id = d.ID
		break
	}
	_, err := jetstream.NewConsumer(ctx, s.stream, nothing, jetstream.ConsumerConfig{Logger: silent})
	must(err)
	return []lookUp{
		{"JetStream: DeadLetter by its ID", func() {
			_, err := s.stream.DeadLetter(ctx, id)
			must(err)
		}},
		{"JetStream: the first of DeadLetters", func() { s.dead(ctx, func(func(context.Context) error) bool { return false }) }},
		{"JetStream: Stats", func() {
			_, err := s.stream.Stats(ctx, "worker")
			must(err)
		}},
	}
}
