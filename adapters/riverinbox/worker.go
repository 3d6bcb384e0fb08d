package riverinbox

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/thewalletcrew/walletcrew-go/internal/ignoredlog"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

const (
	defaultTries   = 10
	maxTries       = 100
	defaultTimeout = time.Minute // River's own
	maxSnooze      = 30 * time.Second
	buryTimeout    = 5 * time.Second
	tendTimeout    = 2 * time.Second // the jobs that were found wait for it
	tendEvery      = time.Minute
)

// A WorkerOption is passed to [Inbox.AddWorker].
type WorkerOption func(*worker)

// WithTries sets how often the function is tried before the event becomes a dead letter; default 10, from 1 to 100, or AddWorker returns an
// error. With River's waits, 10 tries take about 6 hours. A [receiver.Temporary] error doesn't count as a try. A crash of the worker does.
func WithTries(n int) WorkerOption { return func(w *worker) { w.tries = n } }

// WithTimeout sets how long the function may take; default 1 min. After that, its context ends. Under 1 ms, AddWorker returns an error.
func WithTimeout(d time.Duration) WorkerOption { return func(w *worker) { w.timeout = d } }

// WithLogger sets the worker's logger; default [slog.Default]. The worker logs discarded events (warn), dead letters (error) and, once a
// minute for each known name, ignored events (info; warn for events without a name). River logs failures itself.
func WithLogger(l *slog.Logger) WorkerOption { return func(w *worker) { w.logger = l } }

// AddWorker adds a worker to the configuration of a River client. The worker calls fn for the inbox's events. AddWorker also adds the
// queue, with 10 workers, if config has none of that name. Make the client with the same kind of connection as the inbox: pgx for [New],
// database/sql for [NewSQL].
//
// If RescueStuckJobsAfter is zero, AddWorker sets it to twice the longest timeout plus a minute. With River's own default, the event of a
// worker that crashed would wait for an hour. If other workers of the client take longer, set a longer time yourself.
//
// Of all clients that share River's tables, one is the leader. It rescues stuck jobs, with its own RescueStuckJobsAfter. A leader without
// the inbox's worker discards those of the inbox. So AddWorker adds a hook to the configuration. Once a minute, the hook looks for jobs of
// the inbox that were discarded, and lets them run again. It also removes the records of events that the inbox need no longer remember.
//
// A client can work for one inbox only; make a client for each inbox. It is an error if
//
//   - an argument is nil or wrong
//   - Workers is nil
//   - Schema isn't the inbox's
//   - jobs would be rescued before the function's time is up
func (i *Inbox) AddWorker(config *river.Config, fn receiver.HandlerFunc, opts ...WorkerOption) error {
	w := &worker{inbox: i, fn: fn, tries: defaultTries, timeout: defaultTimeout}
	for _, opt := range opts {
		if opt != nil {
			opt(w)
		}
	}
	switch {
	case fn == nil:
		return errors.New("riverinbox: AddWorker: the function is nil")
	case config == nil || config.Workers == nil:
		return errors.New("riverinbox: AddWorker: the config has no Workers: set it to river.NewWorkers()")
	case w.tries < 1 || w.tries > maxTries:
		return fmt.Errorf("riverinbox: AddWorker: WithTries(%d): it must be from 1 to %d", w.tries, maxTries)
	case w.timeout < time.Millisecond:
		return fmt.Errorf("riverinbox: AddWorker: WithTimeout(%v): it must be at least 1ms: did you mean %d*time.Second?", w.timeout, w.timeout)
	case config.Schema != i.schema:
		return fmt.Errorf("riverinbox: AddWorker: the config's Schema is %q, but the inbox puts its jobs into %q: set Schema, and WithRiverSchema, to the same", config.Schema, i.schema)
	case config.RescueStuckJobsAfter != 0 && config.RescueStuckJobsAfter <= w.timeout:
		return fmt.Errorf("riverinbox: AddWorker: RescueStuckJobsAfter is %v, and the function has %v: River would run it again while it runs", config.RescueStuckJobsAfter, w.timeout)
	}
	if err := river.AddWorkerSafely(config.Workers, w); err != nil {
		return fmt.Errorf("riverinbox: AddWorker: a client has one inbox's worker: %w", err)
	}
	if _, there := config.Queues[i.name]; !there {
		if config.Queues == nil {
			config.Queues = make(map[string]river.QueueConfig)
		}
		config.Queues[i.name] = river.QueueConfig{MaxWorkers: 10}
	}
	if config.RescueStuckJobsAfter == 0 {
		config.RescueStuckJobsAfter = 2*max(w.timeout, config.JobTimeout) + time.Minute
	}
	config.Hooks = append(slices.Clip(config.Hooks), river.HookMetricEmitFunc(func(ctx context.Context, m *rivertype.HookMetricEmitParams) {
		if fetched, ok := m.Metric.(*rivertype.JobGetAvailableDurationMetric); ok && fetched.Queue == i.name {
			w.tend(ctx)
		}
	}))
	return nil
}

type worker struct {
	river.WorkerDefaults[Args]
	inbox   *Inbox
	fn      receiver.HandlerFunc
	tries   int
	timeout time.Duration
	logger  *slog.Logger
	ignored ignoredlog.Log
	tended  atomic.Int64 // UnixNano
}

// Timeout implements river.Worker.
func (w *worker) Timeout(*river.Job[Args]) time.Duration { return w.timeout }

// Work implements river.Worker.
func (w *worker) Work(ctx context.Context, job *river.Job[Args]) error {
	if job.Attempt > w.tries { // the last one was never told
		return w.bury(ctx, job, errors.New("riverinbox: the workers crashed or were cut off in each of its tries"))
	}
	ctx, e, err := job.Args.event(ctx)
	if err != nil {
		return w.bury(ctx, job, err)
	}
	err = call(func() error { return w.fn(ctx, e) })
	if err != nil {
		err = plainError{err}
	}
	switch {
	case err == nil:
		return nil
	case receiver.IsIgnored(err):
		w.ignored.Write(ctx, cmp.Or(w.logger, slog.Default()), "riverinbox", string(e.Name), e.Name.Known(), w.attrs(job, slog.Any("event", e))...)
		return nil
	case receiver.IsDiscard(err):
		w.log(ctx, slog.LevelWarn, "riverinbox: the function discarded the event", job, slog.Any("event", e), slog.String("error", err.Error()))
		return river.JobCancel(err)
	case receiver.IsTemporary(err):
		return river.JobSnooze(snoozeFor(job.Metadata))
	case errors.Is(ctx.Err(), context.Canceled) && errors.Is(err, context.Canceled): // the client stops: River takes no try for that
		return err
	case job.Attempt >= w.tries:
		return w.bury(ctx, job, err)
	}
	return err
}

// bury makes the event a dead letter, in the transaction that ends its job. If that fails, the job comes again, and is buried then.
func (w *worker) bury(ctx context.Context, job *river.Job[Args], reason error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), buryTimeout) // the function may have used up its time
	defer cancel()
	row := deadRow{
		Name: job.Args.Name, Tenant: job.Args.Tenant, Key: job.Args.Key, Received: job.Args.Received, Headers: job.Args.Headers, Body: job.Args.Body,
		Reason: oneLine(reason.Error()), Tries: min(job.Attempt, w.tries), Queued: job.CreatedAt,
	}
	err := w.inbox.db.inTx(ctx, func(tx transaction) error {
		if err := w.inbox.hold(ctx, tx, job.ID, job.Attempt); err != nil {
			return err
		}
		if err := w.inbox.insertDead(ctx, tx, row); err != nil {
			return err
		}
		return tx.complete(ctx, job)
	})
	if err != nil {
		return plainError{fmt.Errorf("riverinbox: the event can't be made a dead letter: %w (it failed with: %w)", err, reason)}
	}
	w.log(ctx, slog.LevelError, "riverinbox: the event is a dead letter", job, slog.String("error", row.Reason), slog.Int("tries", row.Tries))
	return nil
}

// tend does what has to be done once in a while, when a worker has looked for jobs: no delivery waits for it.
//
// It lets jobs of the inbox run again that a leader has discarded which doesn't know them; the inbox's own worker discards none.
func (w *worker) tend(ctx context.Context) {
	last, now := w.tended.Load(), time.Now().UnixNano()
	if now-last < int64(tendEvery) || !w.tended.CompareAndSwap(last, now) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tendTimeout)
	defer cancel()
	n, err := w.inbox.revive(ctx)
	if n > 0 {
		w.warn(ctx, "riverinbox: jobs that another River client has discarded run again", slog.Int("jobs", n))
	}
	if err != nil {
		w.warn(ctx, "riverinbox: can't look for discarded jobs", slog.Any("error", err))
	}
}

func (w *worker) warn(ctx context.Context, message string, attr slog.Attr) {
	cmp.Or(w.logger, slog.Default()).LogAttrs(ctx, slog.LevelWarn, message, slog.String("inbox", w.inbox.name), attr)
}

// A plainError is an error whose text PostgreSQL takes: with \u0000 in it, River could store neither it nor the results of the jobs that it
// stores together with it.
type plainError struct{ error }

func (e plainError) Error() string { return strings.ReplaceAll(e.error.Error(), "\x00", " ") }
func (e plainError) Unwrap() error { return e.error }

// snoozeFor returns how long a Temporary error waits: 1 s, doubled up to 30 s, and a little by chance. River counts the snoozes.
func snoozeFor(metadata []byte) time.Duration {
	var m struct {
		Snoozes int `json:"snoozes"`
	}
	_ = json.Unmarshal(metadata, &m) // none
	d := min(time.Second<<min(m.Snoozes, 10), maxSnooze)
	return d/2 + rand.N(d) //nolint:gosec // it only keeps two from meeting again
}

// call calls the function, and makes an error of its panic: River would, too, but the last try needs it for the dead letter.
func call(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("riverinbox: the function panicked: %v\n%s", value, debug.Stack())
		}
	}()
	return f()
}

func (w *worker) log(ctx context.Context, level slog.Level, message string, job *river.Job[Args], attrs ...slog.Attr) {
	cmp.Or(w.logger, slog.Default()).LogAttrs(ctx, level, message, w.attrs(job, attrs...)...)
}

func (w *worker) attrs(job *river.Job[Args], more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{slog.Int64("job", job.ID), slog.String("inbox", w.inbox.name), slog.String("name", job.Args.Name), slog.String("key", job.Args.Key)}, more...)
}
