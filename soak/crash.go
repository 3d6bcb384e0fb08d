package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/internal/freeport"
)

// crash: HTTP → receiver → stream → worker → PostgreSQL, while receiver and worker are killed at random moments.
func (r *round) crash(ctx context.Context) error {
	events := r.events
	if events == 0 {
		events = 20_000
	}
	duplicates := events / 5
	random := r.random
	unique := fmt.Sprintf("soak_%08x", rand.Uint32()) //nolint:gosec // not repeated with -seed, so that runs don't meet

	db, err := openEffects(ctx, r.postgres, unique)
	if err != nil {
		return err
	}
	defer db.close()
	address, err := freeport.Address()
	if err != nil {
		return err
	}
	c := role{Listen: address, Function: "publish", Timeout: 10 * time.Second, NATS: r.nats, Stream: unique, Postgres: r.postgres, Schema: unique,
		WithoutDeduper: r.broken}
	targets := map[string]*process{}
	if r.nats == "" {
		at, err := freeport.Address()
		if err != nil {
			return err
		}
		c.NATS = "nats://" + at
		if targets["stream"], err = r.spawnRole("stream", role{Name: "stream", Listen: at, Dir: filepath.Join(r.dir, "stream")}); err != nil {
			return err
		}
	}
	var log *eventLog
	err = until(ctx, time.Minute, func(ctx context.Context) (err error) {
		log, err = openLog(ctx, c)
		return err
	})
	if err != nil {
		if r.nats != "" {
			return skipped{err.Error()}
		}
		return err
	}
	defer log.close(r.nats != "")
	for _, name := range []string{"receiver", "worker"} {
		c.Name = name
		if targets[name], err = r.spawnRole(name, c); err != nil {
			return err
		}
	}

	// The kills begin with the first delivery. The worker's go on until it has nearly caught up.
	var killers sync.WaitGroup
	kills := map[string]int{}
	var mu sync.Mutex
	delivering, delivered := context.WithCancel(ctx)
	defer delivered()
	working, worked := context.WithCancel(ctx)
	defer worked()
	platform := newPlatform(20*time.Millisecond, 32, address)
	if err := platform.ready(ctx); err != nil {
		return err
	}
	began := time.Now()
	for _, name := range r.kill {
		during := delivering
		if name == "worker" {
			during = working
		}
		p := targets[name]
		if p == nil { // a stream that isn't ours
			continue
		}
		own := rand.New(rand.NewPCG(random.Uint64(), 0)) //nolint:gosec // not a secret
		killers.Go(func() {
			n, err := p.killAtRandom(during, r.killsPerSecond, own, (*process).kill)
			mu.Lock()
			defer mu.Unlock()
			if kills[name] = n; err != nil {
				r.wrong("%v", err)
			}
		})
	}
	err = platform.all(ctx, plan(random, events, duplicates))
	delivered()
	took := time.Since(began)
	if err == nil {
		err = db.wait(ctx, events*95/100, 2*time.Minute)
	}
	worked()
	killers.Wait()
	if err != nil {
		return err
	}

	// Nothing may be under way any more, or a double would come too late to be counted.
	if err := until(ctx, 2*time.Minute, log.handled); err != nil {
		return err
	}
	stored, err := log.count(ctx, events)
	if err != nil {
		return err
	}
	effects, err := db.count(ctx, events)
	if err != nil {
		return err
	}
	attempts := platform.taken()
	r.say("events %d, deliveries %d (duplicates %d), attempts %d (%s) in %.1fs; kills: receiver %d, worker %d, stream %d",
		events, events+duplicates, duplicates, len(attempts), count(attempts), took.Seconds(), kills["receiver"], kills["worker"], kills["stream"])
	r.say("stream: messages %d, lost %d, altered %d, handed out again %d, dead letters %d; effects: rows %d, lost %d, doubled %d",
		stored.messages, len(stored.lost), stored.altered, stored.again, stored.dead, effects.rows, len(effects.lost), len(effects.doubled))
	if stored.messages < uint64(events) || len(stored.lost) > 0 {
		r.wrong("lost from the stream: %v", some(stored.lost))
	}
	if stored.altered > 0 {
		r.wrong("%d messages aren't what was delivered", stored.altered)
	}
	r.judge(effects)
	return nil
}

// judge notes what an effect's count says.
func (r *round) judge(e tally) {
	if len(e.lost) > 0 {
		r.wrong("no effect: %d events: %v", len(e.lost), some(e.lost))
	}
	if len(e.doubled) > 0 {
		r.wrong("several effects: %d events: %v", len(e.doubled), some(e.doubled))
	}
}

func some(ids []string) []string { return ids[:min(len(ids), 10)] }

// A tally says which events had their effect.
type tally struct {
	rows          int
	lost, doubled []string
}

// tallyOf counts the ids of the events that were accepted, 0 to events-1, in what came of them.
func tallyOf(ids []string, events int) tally {
	t := tally{rows: len(ids)}
	n := make(map[string]int, events)
	for _, id := range ids {
		if n[id]++; n[id] == 2 {
			t.doubled = append(t.doubled, id)
		}
	}
	for i := range events {
		if id := eventID(i); n[id] == 0 {
			t.lost = append(t.lost, id)
		}
	}
	return t
}

// effects is the table that the workers write to, in a schema of the round's own.
type effects struct {
	db     *sql.DB
	schema string
}

func openEffects(ctx context.Context, url, schema string) (*effects, error) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(2)
	err = until(ctx, patience, db.PingContext)
	if err != nil {
		_ = db.Close()
		return nil, skipped{"no PostgreSQL: " + err.Error()}
	}
	for _, statement := range []string{"CREATE SCHEMA " + schema, "CREATE TABLE " + schema + ".effects (event_id text NOT NULL)"} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			_ = db.Close()
			return nil, err
		}
	}
	return &effects{db, schema}, nil
}

func (e *effects) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, _ = e.db.ExecContext(ctx, "DROP SCHEMA "+e.schema+" CASCADE")
	_ = e.db.Close()
}

// wait waits until that many effects are there.
func (e *effects) wait(ctx context.Context, many int, within time.Duration) error {
	return until(ctx, within, func(ctx context.Context) error {
		var n int
		if err := e.db.QueryRowContext(ctx, "SELECT count(*) FROM "+e.schema+".effects").Scan(&n); err != nil {
			return err
		}
		if n < many {
			return fmt.Errorf("only %d of %d effects are there", n, many)
		}
		return nil
	})
}

func (e *effects) count(ctx context.Context, events int) (tally, error) {
	rows, err := e.db.QueryContext(ctx, "SELECT event_id FROM "+e.schema+".effects") //nolint:gosec // the schema's name is ours
	if err != nil {
		return tally{}, err
	}
	defer func() { _ = rows.Close() }()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return tally{}, err
		}
		ids = append(ids, id)
	}
	return tallyOf(ids, events), rows.Err()
}

// An eventLog looks at the stream from outside.
type eventLog struct {
	nc   *nats.Conn
	js   natsjs.JetStream
	name string
}

func openLog(ctx context.Context, c role) (*eventLog, error) {
	nc, err := jetstream.Connect(c.NATS)
	if err != nil {
		return nil, err
	}
	js, err := natsjs.New(nc)
	if err == nil {
		_, err = jetstream.EnsureStream(ctx, nc, c.streamConfig())
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &eventLog{nc, js, c.Stream}, nil
}

func (l *eventLog) close(remove bool) {
	if remove {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = l.js.DeleteStream(ctx, l.name)
		_ = l.js.DeleteStream(ctx, l.name+"_DEAD")
	}
	l.nc.Close()
}

// handled returns nil when the workers have nothing left to do.
func (l *eventLog) handled(ctx context.Context) error {
	consumer, err := l.js.Consumer(ctx, l.name, "worker")
	if err != nil {
		return err
	}
	if info := consumer.CachedInfo(); info.NumPending > 0 || info.NumAckPending > 0 {
		return fmt.Errorf("the worker hasn't handled all: %d wait, %d are under way", info.NumPending, info.NumAckPending)
	}
	return nil
}

// What is in the stream.
type stored struct {
	messages, dead uint64
	altered, again int
	lost           []string
}

func (l *eventLog) count(ctx context.Context, events int) (stored, error) {
	var s stored
	stream, err := l.js.Stream(ctx, l.name)
	if err != nil {
		return s, err
	}
	s.messages = stream.CachedInfo().State.Msgs
	if consumer, err := stream.Consumer(ctx, "worker"); err == nil {
		s.again = int(consumer.CachedInfo().Delivered.Consumer - consumer.CachedInfo().Delivered.Stream) //nolint:gosec // small
	}
	if dead, err := l.js.Stream(ctx, l.name+"_DEAD"); err == nil {
		s.dead = dead.CachedInfo().State.Msgs
	}
	reader, err := stream.OrderedConsumer(ctx, natsjs.OrderedConsumerConfig{})
	if err != nil {
		return s, err
	}
	messages, err := reader.Messages()
	if err != nil {
		return s, err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	seen := make([]bool, events)
	for range s.messages {
		m, err := messages.Next()
		if err != nil {
			return s, errors.Join(err, ctx.Err())
		}
		id := m.Headers().Get(jetstream.HeaderID)
		n, err := strconv.Atoi(id[min(len(id), 2):])
		if err != nil || n < 0 || n >= events || !bytes.Equal(m.Data(), body(eventID(n))) {
			s.altered++
			continue
		}
		seen[n] = true
	}
	for n := range seen {
		if !seen[n] {
			s.lost = append(s.lost, eventID(n))
		}
	}
	return s, nil
}
