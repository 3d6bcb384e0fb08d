package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/pgxdedupe"
	"github.com/thewalletcrew/walletcrew-go/adapters/riverinbox"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

const (
	inboxName = "soak"
	// Short, so that what a killed worker had comes again soon. River looks every 30 s, and chooses a new leader within 15 s.
	jobTime    = 2 * time.Second
	stuckAfter = 3 * time.Second
)

// river: HTTP → receivers (riverinbox) → River → workers (pgxdedupe.Once) → PostgreSQL, two processes of each, while these are killed at random
// moments, and PostgreSQL as well in each round with an odd number.
func (r *round) river(ctx context.Context) error {
	events := r.events
	if events == 0 {
		events = 20_000
	}
	duplicates := events / 5
	s, err := r.startServer(ctx, "postgres")
	if err != nil {
		return err
	}
	jobs, err := openJobs(ctx, s.url())
	if err != nil {
		return err
	}
	defer jobs.close()
	db, err := openEffects(ctx, s.url(), "soak")
	if err != nil {
		return err
	}
	defer db.close()

	c := role{Function: "inbox", Timeout: 10 * time.Second, Postgres: s.url(), Schema: db.schema, WithoutDeduper: r.broken}
	var receivers, workers []*process
	var addresses []string
	for i := range 2 {
		c.Name = "receiver"
		p, address, err := r.receiver("receiver-"+strconv.Itoa(i), c)
		if err != nil {
			return err
		}
		receivers, addresses = append(receivers, p), append(addresses, address)
		c.Name = "river"
		if p, err = r.spawnRole("worker-"+strconv.Itoa(i), c); err != nil {
			return err
		}
		workers = append(workers, p)
	}
	platform := newPlatform(20*time.Millisecond, 32, addresses...)
	if err := platform.ready(ctx); err != nil {
		return err
	}

	delivering, delivered := context.WithCancel(ctx)
	defer delivered()
	working, worked := context.WithCancel(ctx)
	defer worked()
	began := time.Now()
	k := killers{round: r}
	k.these(delivering, "receivers", r.killsPerSecond, (*process).kill, receivers...)
	k.these(working, "workers", r.killsPerSecond, (*process).kill, workers...)
	if r.number%2 == 1 {
		k.these(delivering, "PostgreSQL", r.killsPerSecond/5, (*process).killAll, s.process)
	}
	err = platform.all(ctx, plan(r.random, events, duplicates))
	delivered()
	took := time.Since(began)
	if err == nil {
		err = db.wait(ctx, events*9/10, 3*time.Minute)
	}
	worked()
	kills, killErr := k.wait()
	if err = errors.Join(err, killErr); err != nil {
		return err
	}

	// Nothing may be under way any more, or a double would come too late to be counted.
	if err := until(ctx, 4*time.Minute, jobs.settled); err != nil {
		return err
	}
	stored, err := jobs.count(ctx, events)
	if err != nil {
		return err
	}
	effects, err := db.count(ctx, events)
	if err != nil {
		return err
	}
	attempts := platform.taken()
	r.say("events %d, deliveries %d (duplicates %d), attempts %d (%s) in %.1fs; kills: %s", events, events+duplicates, duplicates, len(attempts),
		count(attempts), took.Seconds(), kills)
	r.say("jobs %d, lost %d, doubled %d, altered %d, not completed %d, run again %d, dead letters %d; effects: rows %d, lost %d, doubled %d",
		stored.rows, len(stored.lost), len(stored.doubled), stored.altered, stored.failed, stored.again, stored.dead, effects.rows, len(effects.lost), len(effects.doubled))
	if len(stored.lost) > 0 || len(stored.doubled) > 0 || stored.rows != events {
		r.wrong("jobs: %d of %d events: lost %v, doubled %v", stored.rows, events, some(stored.lost), some(stored.doubled))
	}
	if stored.altered > 0 || stored.failed > 0 || stored.dead > 0 {
		r.wrong("%d jobs hold another event than was delivered, %d weren't completed, %d became dead letters", stored.altered, stored.failed, stored.dead)
	}
	r.judge(effects)
	return nil
}

// killers kill processes until a context ends.
type killers struct {
	*round
	running sync.WaitGroup
	mu      sync.Mutex
	text    string
	errs    []error
}

// these kills each of the processes, so often in a second on average.
func (k *killers) these(ctx context.Context, name string, perSecond float64, kill func(*process), processes ...*process) {
	var each sync.WaitGroup
	var total int
	for _, p := range processes {
		own := rand.New(rand.NewPCG(k.random.Uint64(), 0)) //nolint:gosec // not a secret
		each.Go(func() {
			n, err := p.killAtRandom(ctx, perSecond, own, kill)
			k.mu.Lock()
			defer k.mu.Unlock()
			total += n
			k.errs = append(k.errs, err)
		})
	}
	k.running.Go(func() {
		each.Wait()
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.text != "" {
			k.text += ", "
		}
		k.text += fmt.Sprintf("%s %d", name, total)
	})
}

// wait returns what was killed, once all contexts have ended.
func (k *killers) wait() (string, error) {
	k.running.Wait()
	return k.text, errors.Join(k.errs...)
}

// inbox is the receiver's side.
func (c role) inbox(ctx context.Context) (*riverinbox.Inbox, *pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(c.Postgres)
	if err != nil {
		return nil, nil, err
	}
	config.MaxConns = 16
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	inbox, err := riverinbox.New(pool, inboxName)
	if err == nil {
		err = inbox.EnsureSchema(ctx)
	}
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return inbox, pool, nil
}

// river is the worker's side.
func (c role) river(ctx context.Context) error {
	err := until(ctx, starting, func(ctx context.Context) error {
		inbox, pool, err := c.inbox(ctx)
		if err != nil {
			return err
		}
		fn, err := c.pgxOnce(ctx, pool)
		if err == nil {
			err = c.startRiver(inbox, pool, fn)
		}
		if err != nil {
			pool.Close()
		}
		return err
	})
	if err != nil {
		return err
	}
	select {} // until it is killed
}

func (c role) startRiver(inbox *riverinbox.Inbox, pool *pgxpool.Pool, fn receiver.HandlerFunc) error {
	config := &river.Config{Workers: river.NewWorkers(), RetryPolicy: impatient{}, JobTimeout: jobTime,
		RescueStuckJobsAfter: stuckAfter, FetchPollInterval: 200 * time.Millisecond}
	if err := inbox.AddWorker(config, fn, riverinbox.WithTimeout(jobTime)); err != nil {
		return err
	}
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	if err != nil {
		return err
	}
	return client.Start(context.Background())
}

// impatient lets River try again at once.
type impatient struct{}

func (impatient) NextRetry(*rivertype.JobRow) time.Time { return time.Now() }

// pgxOnce is once with pgx.
func (c role) pgxOnce(ctx context.Context, pool *pgxpool.Pool) (receiver.HandlerFunc, error) {
	insert := "INSERT INTO " + c.Schema + ".effects (event_id) VALUES ($1)"
	if c.WithoutDeduper {
		return func(ctx context.Context, e *walletcrew.Event) error {
			_, err := pool.Exec(ctx, insert, e.ID)
			return err
		}, nil
	}
	dedupe, err := pgxdedupe.New(pool, inboxName)
	if err != nil {
		return nil, err
	}
	return dedupe.Once(func(ctx context.Context, tx pgx.Tx, e *walletcrew.Event) error {
		_, err := tx.Exec(ctx, insert, e.ID)
		return err
	}), dedupe.EnsureSchema(ctx)
}

// jobs looks at River's table from outside.
type jobs struct{ pool *pgxpool.Pool }

func openJobs(ctx context.Context, url string) (*jobs, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &jobs{pool}, nil
}

func (j *jobs) close() { j.pool.Close() }

// settled is nil when no job is left to be run.
func (j *jobs) settled(ctx context.Context) error {
	var n int
	err := j.pool.QueryRow(ctx, "SELECT count(*) FROM river_job WHERE finalized_at IS NULL").Scan(&n)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d jobs aren't finished", n)
	}
	return err
}

// A jobTally is what was found of the jobs. River keeps them for longer than a round takes.
type jobTally struct {
	tally
	altered, failed, again, dead int
}

func (j *jobs) count(ctx context.Context, events int) (t jobTally, err error) {
	if err := j.pool.QueryRow(ctx, "SELECT count(*) FROM walletcrew_dead_letters").Scan(&t.dead); err != nil {
		return t, err
	}
	rows, err := j.pool.Query(ctx, "SELECT decode(args->>'body', 'base64'), state = 'completed', attempt FROM river_job")
	if err != nil {
		return t, err
	}
	var ids []string
	var data []byte
	var completed bool
	var attempt int
	_, err = pgx.ForEachRow(rows, []any{&data, &completed, &attempt}, func() error {
		if !completed {
			t.failed++
		}
		if attempt > 1 {
			t.again++
		}
		e, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, data)
		if err != nil || !bytes.Equal(data, body(e.ID)) {
			t.altered++
			return nil
		}
		ids = append(ids, e.ID)
		return nil
	})
	t.tally = tallyOf(ids, events)
	return t, err
}
