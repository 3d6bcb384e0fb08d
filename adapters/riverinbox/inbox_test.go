package riverinbox_test

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/pgxdedupe"
	"github.com/thewalletcrew/walletcrew-go/adapters/riverinbox"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

const (
	secret   = walletcrew.Secret("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	patience = 30 * time.Second
)

var schemas atomic.Int64

// emptyDatabase returns a pool whose connections use a schema of their own, which is empty.
func emptyDatabase(t testing.TB) *pgxpool.Pool {
	t.Helper()
	source := "postgres://postgres@" + cmp.Or(os.Getenv("WALLETCREW_TEST_POSTGRES"), "127.0.0.1:5432") + "/test?sslmode=disable"
	schema := fmt.Sprintf("riverinbox_%d_%d_%d", os.Getpid(), time.Now().UnixNano(), schemas.Add(1))
	admin, err := pgx.Connect(t.Context(), source)
	if err != nil {
		if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
			t.Fatalf("PostgreSQL is needed: %v", err)
		}
		t.Skipf("no PostgreSQL: %v", err)
	}
	_, err = admin.Exec(t.Context(), "CREATE SCHEMA "+schema)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = admin.Exec(context.Background(), "DROP SCHEMA "+schema+" CASCADE")
		_ = admin.Close(context.Background())
	})
	pool, err := pgxpool.New(t.Context(), source+"&search_path="+schema)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func newDatabase(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool := emptyDatabase(t)
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: quiet})
	require.NoError(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(t, err)
	return pool
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// A kind is pgx or database/sql.
type kind struct {
	name  string
	inbox func(pool *pgxpool.Pool, name string, opts ...riverinbox.Option) (*riverinbox.Inbox, error)
	start func(t *testing.T, pool *pgxpool.Pool, config *river.Config) (stop func())
}

var kinds = []kind{
	{"pgx", riverinbox.New, func(t *testing.T, pool *pgxpool.Pool, config *river.Config) func() {
		t.Helper()
		client, err := river.NewClient(riverpgxv5.New(pool), config)
		require.NoError(t, err)
		require.NoError(t, client.Start(context.Background()))
		return func() { _ = client.StopAndCancel(context.Background()) }
	}},
	{"database/sql", func(pool *pgxpool.Pool, name string, opts ...riverinbox.Option) (*riverinbox.Inbox, error) {
		return riverinbox.NewSQL(stdlib.OpenDBFromPool(pool), name, opts...)
	}, func(t *testing.T, pool *pgxpool.Pool, config *river.Config) func() {
		t.Helper()
		config.PollOnly = true
		client, err := river.NewClient(riverdatabasesql.New(stdlib.OpenDBFromPool(pool)), config)
		require.NoError(t, err)
		require.NoError(t, client.Start(context.Background()))
		return func() { _ = client.StopAndCancel(context.Background()) }
	}},
}

func onEachKind(t *testing.T, test func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox)) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			pool := newDatabase(t)
			inbox, err := k.inbox(pool, "orders")
			require.NoError(t, err)
			require.NoError(t, inbox.EnsureSchema(t.Context()))
			test(t, k, pool, inbox)
		})
	}
}

// impatient lets River try again at once.
type impatient struct{}

func (impatient) NextRetry(*rivertype.JobRow) time.Time { return time.Now() }

func (k kind) work(t *testing.T, pool *pgxpool.Pool, inbox *riverinbox.Inbox, fn receiver.HandlerFunc, opts ...riverinbox.WorkerOption) (stop func()) {
	t.Helper()
	config := &river.Config{Workers: river.NewWorkers(), Logger: quiet, RetryPolicy: impatient{}, FetchPollInterval: 50 * time.Millisecond, FetchCooldown: 10 * time.Millisecond}
	require.NoError(t, inbox.AddWorker(config, fn, append([]riverinbox.WorkerOption{riverinbox.WithLogger(quiet)}, opts...)...))
	stop = sync.OnceFunc(k.start(t, pool, config))
	t.Cleanup(stop)
	return stop
}

func newHandler(t testing.TB, fn receiver.HandlerFunc) http.Handler {
	t.Helper()
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	return receiver.NewHandler(v, fn, receiver.WithLogger(quiet))
}

func deliver(h http.Handler, tenant string, body string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, walletcrewtest.NewRequest("/webhooks", secret, tenant, walletcrew.EventPassInstalled, []byte(body)))
	return w.Code
}

func count(t *testing.T, pool *pgxpool.Pool, query string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), query, args...).Scan(&n))
	return n
}

const jobs = "SELECT count(*) FROM river_job"

func eventually(t *testing.T, message string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, 20*time.Millisecond, message)
}

func TestAnEventIsOneJobAndComesToTheFunctionAsItCame(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		traced := func(ctx context.Context, e *walletcrew.Event) error {
			return inbox.Handle(receiver.WithHeaders(ctx, map[string]string{"traceparent": "00-a"}), e)
		}
		h := newHandler(t, traced)
		bodies := []string{"\ufeff{ \"__id\":\"e-1\" }\n", `{"__id":"e-2","null":"\u0000","lone":"\ud800","big":123456789012345678901234567890}`}
		var wg sync.WaitGroup
		for range 10 {
			for _, body := range bodies {
				wg.Go(func() {
					assert.Contains(t, []int{http.StatusNoContent, http.StatusServiceUnavailable}, deliver(h, "shop/é", body))
				})
			}
		}
		wg.Wait()
		for _, body := range bodies {
			require.Equal(t, http.StatusNoContent, deliver(h, "another tenant, as a captured delivery may claim", body))
		}
		require.Equal(t, 2, count(t, pool, jobs), "of 22 deliveries of two events")

		var mu sync.Mutex
		got := make(map[string]string)
		k.work(t, pool, inbox, func(ctx context.Context, e *walletcrew.Event) error {
			mu.Lock()
			defer mu.Unlock()
			assert.Equal(t, walletcrew.EventPassInstalled, e.Name)
			assert.Equal(t, "shop/é", e.TenantID)
			assert.Contains(t, receiver.Key(ctx), e.ID)
			assert.Equal(t, map[string]string{"traceparent": "00-a"}, receiver.Headers(ctx))
			assert.WithinDuration(t, time.Now(), e.ReceivedAt, time.Minute)
			got[e.ID] += string(e.Raw)
			return nil
		})
		eventually(t, "both come", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == 2 })
		assert.Equal(t, map[string]string{"e-1": bodies[0], "e-2": bodies[1]}, got, "to the byte")
		eventually(t, "both are completed", func() bool { return count(t, pool, jobs+" WHERE state = 'completed'") == 2 })

		_, err := pool.Exec(t.Context(), "DELETE FROM river_job")
		require.NoError(t, err)
		require.Equal(t, http.StatusNoContent, deliver(h, "shop/é", bodies[1]))
		assert.Zero(t, count(t, pool, jobs), "a duplicate after River has cleaned up is still one")
	})
}

func TestAnEventWithoutAnIDGetsAJobEachTime(t *testing.T) {
	onEachKind(t, func(t *testing.T, _ kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		h := newHandler(t, inbox.Handle)
		for range 3 {
			require.Equal(t, http.StatusNoContent, deliver(h, "shop", `{}`))
		}
		assert.Equal(t, 3, count(t, pool, jobs))
	})
}

// A function of the worker may have a deduper of the inbox's name: the event has only come in then, and isn't done.
func TestTheEffectIsMadeOnceWithADeduperOfTheSameName(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		_, err := pool.Exec(t.Context(), "CREATE TABLE effects (id text)")
		require.NoError(t, err)
		dedupe, err := pgxdedupe.New(pool, "orders")
		require.NoError(t, err)
		effect := dedupe.Once(func(ctx context.Context, tx pgx.Tx, e *walletcrew.Event) error {
			_, err := tx.Exec(ctx, "INSERT INTO effects VALUES ($1)", e.ID)
			return err
		})
		h := newHandler(t, inbox.Handle)
		for i := range 20 {
			require.Equal(t, http.StatusNoContent, deliver(h, "shop", fmt.Sprintf(`{"__id":"e-%d"}`, i)))
		}
		var crashes sync.Map
		k.work(t, pool, inbox, func(ctx context.Context, e *walletcrew.Event) error {
			err := effect(ctx, e)
			if _, before := crashes.LoadOrStore(e.ID, true); !before {
				panic("after the effect") // River runs it again
			}
			return err
		})
		eventually(t, "all are completed", func() bool { return count(t, pool, jobs+" WHERE state = 'completed'") == 20 })
		assert.Equal(t, 20, count(t, pool, "SELECT count(*) FROM effects"))
		assert.Equal(t, 20, count(t, pool, "SELECT count(DISTINCT id) FROM effects"))
	})
}

func TestWhatTheFunctionReturns(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		boom := errors.New("boom\nwith a second line")
		var calls sync.Map
		h := newHandler(t, inbox.Handle)
		for _, id := range []string{"nil", "ignored", "discard", "temporary", "error", "panic"} {
			require.Equal(t, http.StatusNoContent, deliver(h, "shop", `{"__id":"`+id+`"}`))
		}
		k.work(t, pool, inbox, func(_ context.Context, e *walletcrew.Event) error {
			n, _ := calls.LoadOrStore(e.ID, new(atomic.Int64))
			switch n.(*atomic.Int64).Add(1); e.ID {
			case "ignored":
				return receiver.ErrIgnored
			case "discard":
				return receiver.Discard(boom)
			case "temporary":
				return receiver.Temporary(boom)
			case "error":
				return boom
			case "panic":
				panic(boom)
			}
			return nil
		}, riverinbox.WithTries(3))
		eventually(t, "two die", func() bool { return count(t, pool, "SELECT count(*) FROM walletcrew_dead_letters") == 2 })
		eventually(t, "three are completed or dead", func() bool { return count(t, pool, jobs+" WHERE state = 'completed'") == 4 })
		eventually(t, "the discarded is cancelled", func() bool { return count(t, pool, jobs+" WHERE state = 'cancelled'") == 1 })
		eventually(t, "the temporary one is snoozed", func() bool {
			return count(t, pool, jobs+" WHERE state IN ('scheduled', 'available') AND attempt = 0 AND metadata->>'snoozes' >= '1'") == 1
		})
		for id, want := range map[string]int64{"nil": 1, "ignored": 1, "discard": 1, "error": 3, "panic": 3} {
			n, _ := calls.Load(id)
			assert.Equal(t, want, n.(*atomic.Int64).Load(), id)
		}
		var dead []*riverinbox.DeadLetter
		for d, err := range inbox.DeadLetters(t.Context()) {
			require.NoError(t, err)
			dead = append(dead, d)
		}
		for _, d := range dead {
			assert.Contains(t, d.Reason, "boom with a second line")
			assert.Equal(t, 3, d.Tries)
			assert.Equal(t, `{"__id":"`+d.Event.ID+`"}`, string(d.Body))
			assert.Contains(t, d.Key, d.Event.ID)
			assert.Equal(t, "shop", d.Event.TenantID)
			assert.WithinDuration(t, time.Now(), d.DiedAt, time.Minute)
			assert.WithinDuration(t, time.Now(), d.Time, time.Minute)
		}
	})
}

func TestWhatIsIgnoredIsLoggedSeldom(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		names := []walletcrew.EventName{"Pass:Created", "Pass:Created", "Wallet:New", "Wallet:Newer", "", ""}
		for _, name := range names {
			e, err := walletcrew.ParseEvent(name, []byte(`{}`))
			require.NoError(t, err)
			require.NoError(t, inbox.Handle(t.Context(), e))
		}
		var text bytes.Buffer
		stop := k.work(t, pool, inbox, receiver.NewMux().Handle, riverinbox.WithLogger(slog.New(slog.NewTextHandler(&text, nil))))
		eventually(t, "all are completed", func() bool { return count(t, pool, jobs+" WHERE state = 'completed'") == len(names) })
		stop()
		assert.Equal(t, 2, strings.Count(text.String(), "level=INFO"), "%s", text.String())
		assert.Equal(t, 1, strings.Count(text.String(), "level=WARN"), "an event without a name: %s", text.String())
	})
}

// die makes dead letters of events.
func die(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox, n int) []*riverinbox.DeadLetter {
	t.Helper()
	h := newHandler(t, inbox.Handle)
	for i := range n {
		require.Equal(t, http.StatusNoContent, deliver(h, "shop", fmt.Sprintf(`{"__id":"e-%d"}`, i)))
	}
	stop := k.work(t, pool, inbox, func(context.Context, *walletcrew.Event) error { return errors.New("boom") }, riverinbox.WithTries(1))
	eventually(t, "they die", func() bool { return count(t, pool, "SELECT count(*) FROM walletcrew_dead_letters") == n })
	stop()
	var all []*riverinbox.DeadLetter
	for d, err := range inbox.DeadLetters(t.Context()) {
		require.NoError(t, err)
		all = append(all, d)
	}
	require.Len(t, all, n)
	return all
}

func TestADeadLetterIsRedrivenOnce(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		dead := die(t, k, pool, inbox, 3)
		_, err := pool.Exec(t.Context(), "DELETE FROM river_job")
		require.NoError(t, err)

		again, err := inbox.DeadLetter(t.Context(), dead[0].ID)
		require.NoError(t, err)
		assert.Equal(t, dead[0].Key, again.Key)
		var done, gone atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				switch err := again.Redrive(t.Context()); {
				case err == nil:
					done.Add(1)
				case errors.Is(err, riverinbox.ErrNoDeadLetter):
					gone.Add(1)
				default:
					assert.NoError(t, err)
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 1, done.Load(), "of eight operators one redrives it")
		assert.EqualValues(t, 7, gone.Load())
		assert.Equal(t, 1, count(t, pool, jobs))

		require.NoError(t, dead[1].Delete(t.Context()))
		require.ErrorIs(t, dead[1].Delete(t.Context()), riverinbox.ErrNoDeadLetter)
		require.ErrorIs(t, dead[1].Redrive(t.Context()), riverinbox.ErrNoDeadLetter, "what somebody else has deleted isn't published again")
		assert.Equal(t, 1, count(t, pool, jobs))
		for _, id := range []string{dead[1].ID, "999999", "x", "", "9999999999999999999999"} {
			_, err = inbox.DeadLetter(t.Context(), id)
			require.ErrorIs(t, err, riverinbox.ErrNoDeadLetter, id)
		}

		var runs atomic.Int64
		k.work(t, pool, inbox, func(ctx context.Context, e *walletcrew.Event) error {
			assert.Equal(t, dead[0].Key, receiver.Key(ctx), "the event keeps its key")
			assert.Equal(t, dead[0].Event.ID, e.ID)
			runs.Add(1)
			return nil
		})
		eventually(t, "it runs", func() bool { return runs.Load() == 1 })

		other, err := k.inbox(pool, "mails")
		require.NoError(t, err)
		for d, err := range other.DeadLetters(t.Context()) {
			t.Error("another inbox's dead letter", d, err)
		}
		_, err = other.DeadLetter(t.Context(), dead[2].ID)
		require.ErrorIs(t, err, riverinbox.ErrNoDeadLetter)
	})
}

func TestDeadLettersAreReadInPages(t *testing.T) {
	t.Parallel()
	pool := newDatabase(t)
	inbox, err := riverinbox.New(pool, "orders")
	require.NoError(t, err)
	require.NoError(t, inbox.EnsureSchema(t.Context()))
	_, err = pool.Exec(t.Context(), `INSERT INTO walletcrew_dead_letters (inbox, event_name, tenant, event_key, headers, body, reason, tries, queued_at)
SELECT 'orders', 'Pass:Created', 'shop', '', 'null', convert_to('{"__id":"e-' || n || '"}', 'UTF8'), 'boom', 1, now() FROM generate_series(1, 250) n`)
	require.NoError(t, err)
	var seen int
	for d, err := range inbox.DeadLetters(t.Context()) {
		require.NoError(t, err)
		seen++
		assert.Equal(t, fmt.Sprint("e-", seen), d.Event.ID, "the oldest first")
		require.NoError(t, d.Redrive(t.Context()), "while it is read")
	}
	assert.Equal(t, 250, seen)
	assert.Equal(t, 250, count(t, pool, jobs))
}

func TestAnInboxFindsItsDeadLettersBesideTheManyOfAnother(t *testing.T) {
	t.Parallel()
	pool := newDatabase(t)
	inbox, err := riverinbox.New(pool, "orders")
	require.NoError(t, err)
	require.NoError(t, inbox.EnsureSchema(t.Context()))
	_, err = pool.Exec(t.Context(), `INSERT INTO walletcrew_dead_letters (inbox, event_name, tenant, event_key, headers, body, reason, tries, queued_at)
SELECT 'mails', 'Pass:Created', 'shop', '', 'null', '{}', 'boom', 1, now() FROM generate_series(1, 5000)`)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), "ANALYZE walletcrew_dead_letters")
	require.NoError(t, err)
	for _, question := range []string{"SELECT max(id)", "SELECT id"} {
		var plan string
		rows, err := pool.Query(t.Context(), "EXPLAIN "+question+" FROM walletcrew_dead_letters WHERE inbox = 'orders'")
		require.NoError(t, err)
		for rows.Next() {
			var line string
			require.NoError(t, rows.Scan(&line))
			plan += line + "\n"
		}
		require.NoError(t, rows.Err())
		assert.Regexp(t, `Index Cond: \(+inbox = 'orders'`, plan, "it doesn't read what is another's: "+question)
		assert.NotContains(t, plan, "Seq Scan", question)
	}
}

func TestTheInboxesThatHaveDeadLettersAreFound(t *testing.T) {
	t.Parallel()
	pool := newDatabase(t)
	_, err := riverinbox.Inboxes(t.Context(), pool)
	require.ErrorContains(t, err, "walletcrew_dead_letters", "there is no such table yet")
	inbox, err := riverinbox.New(pool, "orders")
	require.NoError(t, err)
	require.NoError(t, inbox.EnsureSchema(t.Context()))
	names, err := riverinbox.Inboxes(t.Context(), pool)
	require.NoError(t, err)
	assert.Empty(t, names)
	_, err = pool.Exec(t.Context(), `INSERT INTO walletcrew_dead_letters (inbox, event_name, tenant, event_key, headers, body, reason, tries, queued_at)
SELECT unnest(ARRAY['orders', 'mails', 'orders']), 'Pass:Created', 'shop', '', 'null', '{}', 'boom', 1, now()`)
	require.NoError(t, err)
	names, err = riverinbox.Inboxes(t.Context(), pool)
	require.NoError(t, err)
	assert.Equal(t, []string{"mails", "orders"}, names)
	_, err = riverinbox.Inboxes(t.Context(), nil)
	require.Error(t, err)
	_, err = riverinbox.Inboxes(t.Context(), pool, riverinbox.WithTables("walletcrew_events", "no; such"))
	require.Error(t, err)
}

// A worker that is killed in each try must not run the function for ever, nor lose the event: River would discard it in the end.
func TestWhatKillsItsWorkersBecomesADeadLetter(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		require.Equal(t, http.StatusNoContent, deliver(newHandler(t, inbox.Handle), "shop", `{"__id":"e-1"}`))
		_, err := pool.Exec(t.Context(), "UPDATE river_job SET attempt = 3") // as River's rescuer leaves it
		require.NoError(t, err)
		k.work(t, pool, inbox, func(context.Context, *walletcrew.Event) error { t.Error("called"); return nil }, riverinbox.WithTries(3))
		eventually(t, "it dies", func() bool {
			return count(t, pool, "SELECT count(*) FROM walletcrew_dead_letters WHERE reason LIKE '%crashed%'") == 1
		})
	})
}

func TestAJobThatIsNoEventBecomesADeadLetter(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		h := newHandler(t, inbox.Handle)
		require.Equal(t, http.StatusNoContent, deliver(h, "shop", `{"__id":"e-1"}`))
		_, err := pool.Exec(t.Context(), `UPDATE river_job SET args = jsonb_set(args, '{body}', '"W10="')`) // []
		require.NoError(t, err)
		k.work(t, pool, inbox, func(context.Context, *walletcrew.Event) error { t.Error("called"); return nil })
		eventually(t, "it dies", func() bool { return count(t, pool, "SELECT count(*) FROM walletcrew_dead_letters") == 1 })
		for d, err := range inbox.DeadLetters(t.Context()) {
			require.NoError(t, err)
			assert.Nil(t, d.Event)
			assert.Equal(t, "[]", string(d.Body))
		}
	})
}

func TestAFunctionThatOutlivesItsTimeStillDies(t *testing.T) {
	t.Parallel()
	pool := newDatabase(t)
	inbox, err := riverinbox.New(pool, "orders")
	require.NoError(t, err)
	require.NoError(t, inbox.EnsureSchema(t.Context()))
	require.Equal(t, http.StatusNoContent, deliver(newHandler(t, inbox.Handle), "shop", `{"__id":"e-1"}`))
	kinds[0].work(t, pool, inbox, func(ctx context.Context, _ *walletcrew.Event) error { <-ctx.Done(); return ctx.Err() },
		riverinbox.WithTries(1), riverinbox.WithTimeout(50*time.Millisecond))
	eventually(t, "it dies", func() bool { return count(t, pool, "SELECT count(*) FROM walletcrew_dead_letters") == 1 })
	for d, err := range inbox.DeadLetters(t.Context()) {
		require.NoError(t, err)
		assert.Equal(t, context.DeadlineExceeded.Error(), d.Reason, "in this try")
	}
}

func TestADatabaseThatIsAwayIsAnsweredWith503(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), "postgres://postgres@127.0.0.1:1/postgres?sslmode=disable")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	for _, k := range kinds {
		inbox, err := k.inbox(pool, "orders")
		require.NoError(t, err)
		h := newHandler(t, inbox.Handle)
		assert.Equal(t, http.StatusServiceUnavailable, deliver(h, "shop", `{"__id":"e-1"}`), k.name)
		assert.Equal(t, http.StatusServiceUnavailable, deliver(h, "shop", `{}`), k.name)
		require.Error(t, inbox.Check(t.Context()))
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	for _, k := range kinds {
		for _, name := range []string{"", "Orders", "a b", "a__b", "-a", "0123456789012345678901234567890123456789012345678901"} {
			_, err := k.inbox(pool, name)
			require.ErrorContains(t, err, "name", "%q", name)
		}
		_, err := k.inbox(pool, "orders", riverinbox.WithRetention(24))
		require.ErrorContains(t, err, "did you mean 24*time.Hour", k.name)
		_, err = k.inbox(pool, "orders", riverinbox.WithTables("a;b", "c"))
		require.ErrorContains(t, err, "a;b")
		_, err = k.inbox(pool, "orders", riverinbox.WithTables("a", "b;c"))
		require.ErrorContains(t, err, "b;c")
	}
	_, err := riverinbox.New(nil, "orders")
	require.ErrorContains(t, err, "nil")
	_, err = riverinbox.NewSQL((*sql.DB)(nil), "orders")
	require.ErrorContains(t, err, "nil")

	inbox, err := riverinbox.New(pool, "orders", nil)
	require.NoError(t, err)
	require.ErrorIs(t, inbox.Check(t.Context()), pgxdedupe.ErrSchema)
	require.ErrorContains(t, inbox.EnsureSchema(t.Context()), "River's migrations")
	require.ErrorContains(t, inbox.Handle(t.Context(), nil), "no body")

	fn := func(context.Context, *walletcrew.Event) error { return nil }
	require.ErrorContains(t, inbox.AddWorker(nil, fn), "river.NewWorkers()")
	require.ErrorContains(t, inbox.AddWorker(&river.Config{}, fn), "river.NewWorkers()")
	for _, c := range []struct {
		change func(*river.Config)
		opt    riverinbox.WorkerOption
		want   string
	}{
		{nil, riverinbox.WithTries(0), "from 1 to 100"},
		{nil, riverinbox.WithTimeout(30), "did you mean 30*time.Second"},
		{func(c *river.Config) { c.RescueStuckJobsAfter = time.Minute }, nil, "would run it again while it runs"},
	} {
		config := &river.Config{Workers: river.NewWorkers()}
		if c.change != nil {
			c.change(config)
		}
		require.ErrorContains(t, inbox.AddWorker(config, fn, c.opt), c.want)
	}
	config := &river.Config{Workers: river.NewWorkers(), Queues: map[string]river.QueueConfig{"orders": {MaxWorkers: 3}}}
	require.ErrorContains(t, inbox.AddWorker(config, nil), "nil")
	require.NoError(t, inbox.AddWorker(config, fn))
	assert.Equal(t, 3, config.Queues["orders"].MaxWorkers, "yours stays")
	assert.Equal(t, 3*time.Minute, config.RescueStuckJobsAfter)
	require.ErrorContains(t, inbox.AddWorker(config, fn), "a client has one inbox's worker")
}
