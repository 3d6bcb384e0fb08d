package riverinbox_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/pgxdedupe"
	"github.com/thewalletcrew/walletcrew-go/adapters/riverinbox"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

const deads = "SELECT count(*) FROM walletcrew_dead_letters"

// PostgreSQL's jsonb takes no \u0000, and River writes what it is told into one, together with the results of other jobs.
func TestAnErrorMayHoldAnyCharacter(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		h := newHandler(t, inbox.Handle)
		for _, id := range []string{"error", "discard", "panic", "good"} {
			require.Equal(t, http.StatusNoContent, deliver(h, "shop", `{"__id":"`+id+`"}`))
		}
		boom := errors.New("bo\x00om\xff")
		var mu sync.Mutex
		calls := map[string]int{}
		k.work(t, pool, inbox, func(_ context.Context, e *walletcrew.Event) error {
			mu.Lock()
			calls[e.ID]++
			first := calls[e.ID] == 1
			mu.Unlock()
			switch {
			case e.ID == "discard":
				return receiver.Discard(boom)
			case e.ID == "error" && first:
				return boom
			case e.ID == "panic" && first:
				panic(boom)
			}
			return nil
		})
		eventually(t, "all are completed or cancelled", func() bool {
			return count(t, pool, jobs+" WHERE state = 'completed'") == 3 && count(t, pool, jobs+" WHERE state = 'cancelled'") == 1
		})
		var told string
		require.NoError(t, pool.QueryRow(t.Context(), "SELECT errors[1]->>'error' FROM river_job WHERE state = 'cancelled'").Scan(&told))
		assert.Contains(t, told, "bo om")
	})
}

// What can't be read as an event's job must not wait in the queue for years: River would try it a thousand times.
func TestAJobThatCannotBeReadBecomesADeadLetter(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		h := newHandler(t, inbox.Handle)
		broken := []string{`{"body":3}`, `{"body":"not base64!"}`, `{"name":[]}`, `{"headers":"x"}`, `{}`, `null`, `3`}
		for i, args := range broken {
			require.Equal(t, http.StatusNoContent, deliver(h, "shop", fmt.Sprintf(`{"__id":"e-%d"}`, i)))
			_, err := pool.Exec(t.Context(), "UPDATE river_job SET args = $1::text::jsonb WHERE id = (SELECT max(id) FROM river_job)", args)
			require.NoError(t, err)
		}
		stop := k.work(t, pool, inbox, func(context.Context, *walletcrew.Event) error { t.Error("called"); return nil })
		eventually(t, "all die", func() bool { return count(t, pool, deads) == len(broken) })
		stop()
		for d, err := range inbox.DeadLetters(t.Context()) {
			require.NoError(t, err)
			assert.Nil(t, d.Event)
			assert.Contains(t, append(broken, ""), strings.ReplaceAll(string(d.Body), ": ", ":"), "the arguments as they were")
			require.NoError(t, d.Redrive(t.Context()))
		}
		k.work(t, pool, inbox, func(context.Context, *walletcrew.Event) error { t.Error("called"); return nil })
		eventually(t, "they die again", func() bool { return count(t, pool, deads) == len(broken) })
	})
}

// River rescues a job that still runs, and runs it again: then only the later run may end it.
func TestARunThatWasRescuedBuriesNothing(t *testing.T) {
	for _, state := range []string{"retryable", "running"} {
		t.Run(state, func(t *testing.T) {
			onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
				require.Equal(t, http.StatusNoContent, deliver(newHandler(t, inbox.Handle), "shop", `{"__id":"e-1"}`))
				k.work(t, pool, inbox, func(ctx context.Context, _ *walletcrew.Event) error {
					// What the rescuer has made of it meanwhile, or has and another worker.
					attempt := map[string]int{"retryable": 1, "running": 2}[state]
					_, err := pool.Exec(ctx, "UPDATE river_job SET state = $1::text::river_job_state, attempt = $2, scheduled_at = now()", state, attempt)
					assert.NoError(t, err)
					return errors.New("boom")
				}, riverinbox.WithTries(1))
				eventually(t, "it is settled", func() bool { return count(t, pool, jobs+" WHERE finalized_at IS NOT NULL") == 1 })
				assert.Equal(t, 1, count(t, pool, deads), "one dead letter")
				assert.Equal(t, 1, count(t, pool, deads+" WHERE reason LIKE '%crashed%'"), "by the later run")
			})
		})
	}
}

// Nor may the effect be made twice then: the second run waits for the first one's transaction.
func TestAJobThatIsRescuedWhileItRunsTakesEffectOnce(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		_, err := pool.Exec(t.Context(), "CREATE TABLE effects (id text)")
		require.NoError(t, err)
		dedupe, err := pgxdedupe.New(pool, "orders")
		require.NoError(t, err)
		inside, released := make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(released) })
		var effects, runs atomic.Int64
		once := dedupe.Once(func(ctx context.Context, tx pgx.Tx, e *walletcrew.Event) error {
			if effects.Add(1) == 1 {
				close(inside)
				<-released
			}
			_, err := tx.Exec(ctx, "INSERT INTO effects VALUES ($1)", e.ID)
			return err
		})
		require.Equal(t, http.StatusNoContent, deliver(newHandler(t, inbox.Handle), "shop", `{"__id":"e-1"}`))
		k.work(t, pool, inbox, func(ctx context.Context, e *walletcrew.Event) error {
			runs.Add(1)
			return once(ctx, e)
		})
		t.Cleanup(release) // before the worker is stopped
		<-inside
		_, err = pool.Exec(t.Context(), "UPDATE river_job SET state = 'available', scheduled_at = now()") // as the rescuer leaves it
		require.NoError(t, err)
		eventually(t, "it runs twice at once", func() bool { return runs.Load() == 2 })
		release()
		eventually(t, "it is completed", func() bool { return count(t, pool, jobs+" WHERE state = 'completed'") == 1 })
		assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM effects"))
	})
}

// A deployment cuts a function off; that isn't the event's fault.
func TestAWorkerThatIsStoppedInTheLastTryMakesNoDeadLetter(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		require.Equal(t, http.StatusNoContent, deliver(newHandler(t, inbox.Handle), "shop", `{"__id":"e-1"}`))
		running := make(chan struct{})
		stop := k.work(t, pool, inbox, func(ctx context.Context, _ *walletcrew.Event) error {
			close(running)
			<-ctx.Done()
			return fmt.Errorf("cut off: %w", ctx.Err())
		}, riverinbox.WithTries(1))
		<-running
		stop()
		assert.Zero(t, count(t, pool, deads))
		assert.Equal(t, 1, count(t, pool, jobs+" WHERE state = 'available' AND attempt = 0"))
		var runs atomic.Int64
		k.work(t, pool, inbox, func(context.Context, *walletcrew.Event) error { runs.Add(1); return nil }, riverinbox.WithTries(1))
		eventually(t, "it runs", func() bool { return runs.Load() == 1 })
	})
}

// River's leader may be a client of other workers. It discards stuck jobs of kinds that it doesn't know.
func TestAJobThatAnotherClientsRescuerDiscardedComesAgain(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		h := newHandler(t, inbox.Handle)
		require.Equal(t, http.StatusNoContent, deliver(h, "shop", `{"__id":"e-1"}`))
		_, err := pool.Exec(t.Context(), "UPDATE river_job SET state = 'running', attempt = 1, attempted_at = now() - interval '1 day'")
		require.NoError(t, err)
		_, err = pool.Exec(t.Context(), "INSERT INTO river_job (kind, queue, state, finalized_at, max_attempts, args) VALUES ('theirs', 'orders', 'discarded', now(), 1, '{}')")
		require.NoError(t, err)

		workers := river.NewWorkers()
		river.AddWorker(workers, &othersWorker{})
		stop := k.start(t, pool, &river.Config{Workers: workers, Queues: map[string]river.QueueConfig{"others": {MaxWorkers: 1}}, Logger: quiet})
		eventually(t, "River discards it", func() bool {
			return count(t, pool, jobs+" WHERE kind = 'walletcrew_event' AND state = 'discarded'") == 1
		})
		stop()

		var runs atomic.Int64
		k.work(t, pool, inbox, func(context.Context, *walletcrew.Event) error { runs.Add(1); return nil })
		eventually(t, "it runs", func() bool { return runs.Load() == 1 })
		assert.Equal(t, 1, count(t, pool, jobs+" WHERE kind = 'theirs' AND state = 'discarded'"), "what isn't the inbox's stays")
	})
}

type othersArgs struct{}

func (othersArgs) Kind() string { return "others" }

type othersWorker struct {
	river.WorkerDefaults[othersArgs]
}

func (*othersWorker) Work(context.Context, *river.Job[othersArgs]) error { return nil }

// Whatever the receiver and the worker do, they hold one connection at a time.
func TestAPoolOfOneConnectionIsEnough(t *testing.T) {
	t.Parallel()
	full := newDatabase(t)
	config := full.Config().Copy()
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	db := stdlib.OpenDB(*config.ConnConfig)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	for _, k := range []struct {
		name string
		make func() (*riverinbox.Inbox, error)
	}{
		{"pgx", func() (*riverinbox.Inbox, error) { return riverinbox.New(pool, "orders") }},
		{"sql", func() (*riverinbox.Inbox, error) { return riverinbox.NewSQL(db, "mails") }},
	} {
		inbox, err := k.make()
		require.NoError(t, err)
		require.NoError(t, inbox.EnsureSchema(t.Context()))
		h := newHandler(t, inbox.Handle)
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() { deliver(h, "shop", fmt.Sprintf(`{"__id":"e-%d"}`, i%10)) })
		}
		wg.Wait()
		for i := range 10 {
			require.Equal(t, http.StatusNoContent, deliver(h, "shop", fmt.Sprintf(`{"__id":"e-%d"}`, i)))
		}
	}
	require.Equal(t, 20, count(t, full, jobs))

	inbox, err := riverinbox.New(pool, "orders")
	require.NoError(t, err)
	dedupe, err := pgxdedupe.New(pool, "orders")
	require.NoError(t, err)
	once := dedupe.Once(func(context.Context, pgx.Tx, *walletcrew.Event) error { return nil })
	kinds[0].work(t, pool, inbox, func(ctx context.Context, e *walletcrew.Event) error {
		if err := once(ctx, e); err != nil {
			return err
		}
		if strings.HasSuffix(e.ID, "5") {
			return errors.New("boom")
		}
		return nil
	}, riverinbox.WithTries(1))
	eventually(t, "all run, and one dies", func() bool {
		return count(t, full, jobs+" WHERE state = 'completed' AND queue = 'orders'") == 10 && count(t, full, deads) == 1
	})
	for d, err := range inbox.DeadLetters(t.Context()) {
		require.NoError(t, err)
		require.NoError(t, d.Redrive(t.Context()))
	}
}

func TestABodyOfAMebibyteComesAsItWas(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		body := `{"__id":"e-1","x":"` + strings.Repeat(`\u0000é<`, 90_000) + `"}`
		require.Equal(t, http.StatusNoContent, deliver(newHandler(t, inbox.Handle), "shop", body))
		var got atomic.Value
		k.work(t, pool, inbox, func(_ context.Context, e *walletcrew.Event) error {
			got.Store(string(e.Raw))
			return errors.New("boom")
		}, riverinbox.WithTries(1))
		eventually(t, "it dies", func() bool { return count(t, pool, deads) == 1 })
		assert.Zero(t, strings.Compare(body, got.Load().(string)), "to the byte") // a mebibyte is no message
		for d, err := range inbox.DeadLetters(t.Context()) {
			require.NoError(t, err)
			assert.Zero(t, strings.Compare(body, string(d.Body)), "to the byte")
		}
	})
}

func TestTheWorkersSchemaMustBeTheInboxs(t *testing.T) {
	t.Parallel()
	inbox, err := riverinbox.New(newDatabase(t), "orders", riverinbox.WithRiverSchema("jobs"))
	require.NoError(t, err)
	fn := func(context.Context, *walletcrew.Event) error { return nil }
	require.ErrorContains(t, inbox.AddWorker(&river.Config{Workers: river.NewWorkers()}, fn), `WithRiverSchema`)
	require.NoError(t, inbox.AddWorker(&river.Config{Workers: river.NewWorkers(), Schema: "jobs"}, fn))
}
