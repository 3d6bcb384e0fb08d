package pgxdedupe_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/pgxdedupe"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/internal/seedtest"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

var schemas atomic.Int64

// postgres returns a pool whose connections use a schema of their own, with the settings given.
func postgres(t *testing.T, settings ...string) *pgxpool.Pool {
	t.Helper()
	source := "postgres://postgres@" + cmp.Or(os.Getenv("WALLETCREW_TEST_POSTGRES"), "127.0.0.1:5432") + "/test?sslmode=disable"
	schema := fmt.Sprintf("pgxdedupe_%d_%d_%d", os.Getpid(), time.Now().UnixNano(), schemas.Add(1))
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
	pool, err := pgxpool.New(t.Context(), source+"&search_path="+schema+strings.Join(append([]string{""}, settings...), "&"))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func ready(t *testing.T, pool *pgxpool.Pool, name string, opts ...pgxdedupe.Option) *pgxdedupe.Deduper {
	t.Helper()
	d, err := pgxdedupe.New(pool, name, opts...)
	require.NoError(t, err)
	require.NoError(t, d.EnsureSchema(t.Context()))
	return d
}

func counter(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	_, err := pool.Exec(t.Context(), "CREATE TABLE counter (n int); INSERT INTO counter VALUES (0)")
	require.NoError(t, err)
}

func count(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT n FROM counter").Scan(&n))
	return n
}

func add(ctx context.Context, tx pgx.Tx, _ *walletcrew.Event) error {
	_, err := tx.Exec(ctx, "UPDATE counter SET n = n + 1")
	return err
}

func call(ctx context.Context, handle receiver.HandlerFunc, id string) error {
	return handle(receiver.WithKey(ctx, "t/shop/"+id), &walletcrew.Event{ID: id, Name: walletcrew.EventPassCreated, TenantID: "shop"})
}

func TestItKeepsTheRulesOfADeduper(t *testing.T) {
	t.Parallel()
	require.NoError(t, walletcrewtest.TestDeduper(t.Context(), ready(t, postgres(t), "orders")))
}

func TestTheHandlerKeepsTheRulesOfAReceiver(t *testing.T) {
	t.Parallel()
	seedtest.TheHandlerKeepsTheRules(t, ready(t, postgres(t, "pool_max_conns=15"), "orders"))
}

func TestOfConcurrentTransactionsOneMakesTheEffect(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			pool := postgres(t, "default_query_exec_mode="+mode)
			counter(t, pool)
			handle := ready(t, pool, "orders").Once(add)
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() { assert.NoError(t, call(t.Context(), handle, "e-1")) })
			}
			wg.Wait()
			assert.Equal(t, 1, count(t, pool), "50 transactions with one key")
			require.NoError(t, call(t.Context(), handle, "e-2"))
			assert.Equal(t, 2, count(t, pool), "another event")
		})
	}
}

func TestWhatFailsIsRolledBackAndComesAgain(t *testing.T) {
	t.Parallel()
	pool := postgres(t)
	counter(t, pool)
	d := ready(t, pool, "orders")
	boom := errors.New("boom")
	for name, end := range map[string]func() error{
		"an error":  func() error { return boom },
		"a discard": func() error { return receiver.Discard(boom) },
		"a panic":   func() error { panic("boom") },
	} {
		handle := d.Once(func(ctx context.Context, tx pgx.Tx, e *walletcrew.Event) error {
			return errors.Join(add(ctx, tx, e), end())
		})
		func() {
			defer func() { _ = recover() }()
			require.Error(t, call(t.Context(), handle, "e-1"), name)
		}()
		assert.Equal(t, 0, count(t, pool), name)
	}
	require.NoError(t, call(t.Context(), d.Once(add), "e-1"))
	assert.Equal(t, 1, count(t, pool))
	require.Eventually(t, func() bool { return pool.Stat().AcquiredConns() == 0 }, 30*time.Second, 10*time.Millisecond, "no connection is kept; a purge ends")
}

func TestThePackageAndSqldedupeKnowEachOthersRows(t *testing.T) {
	t.Parallel()
	pool := postgres(t)
	counter(t, pool)
	d := ready(t, pool, "orders")
	other, err := sqldedupe.New(stdlib.OpenDBFromPool(pool), sqldedupe.Postgres, "orders")
	require.NoError(t, err)
	ctx := receiver.WithKey(t.Context(), "t/shop/e-1")
	require.NoError(t, d.Once(add)(ctx, &walletcrew.Event{ID: "e-1"}))

	tx, err := stdlib.OpenDBFromPool(pool).BeginTx(ctx, nil)
	require.NoError(t, err)
	first, err := other.InTx(ctx, tx)
	require.NoError(t, err)
	assert.False(t, first, "sqldedupe knows what pgxdedupe recorded")
	require.NoError(t, tx.Rollback())

	claim, err := d.Claim(ctx, "t/shop/e-1", time.Minute)
	require.NoError(t, err)
	assert.Equal(t, receiver.Claimed, claim.State, "leases are apart from records")
	elsewhere := ready(t, pool, "mails")
	require.NoError(t, elsewhere.Once(add)(ctx, &walletcrew.Event{ID: "e-1"}))
	assert.Equal(t, 2, count(t, pool), "another name, another function")
}

func TestARecordIsForgottenAfterTheRetention(t *testing.T) {
	t.Parallel()
	pool := postgres(t)
	counter(t, pool)
	handle := ready(t, pool, "orders", pgxdedupe.WithRetention(time.Hour)).Once(add)
	require.NoError(t, call(t.Context(), handle, "e-1"))
	var left time.Duration
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT expires_at - now() FROM walletcrew_events").Scan(&left))
	assert.InDelta(t, time.Hour, left, float64(time.Minute))
	_, err := pool.Exec(t.Context(), "UPDATE walletcrew_events SET expires_at = now() - interval '1 second'")
	require.NoError(t, err)
	require.NoError(t, call(t.Context(), handle, "e-1"))
	assert.Equal(t, 2, count(t, pool))
}

func TestInTxBelongsToTheTransaction(t *testing.T) {
	t.Parallel()
	pool := postgres(t)
	d := ready(t, pool, "orders")
	ctx := receiver.WithKey(t.Context(), "t/shop/e-1")
	try := func(key string) bool {
		tx, err := pool.Begin(ctx)
		require.NoError(t, err)
		defer func() { _ = tx.Rollback(ctx) }()
		var first bool
		if key == "" {
			first, err = d.InTx(ctx, tx)
		} else {
			first, err = d.InTxKey(ctx, tx, key)
		}
		require.NoError(t, err)
		require.NoError(t, tx.Commit(ctx))
		return first
	}
	assert.True(t, try(""))
	assert.False(t, try(""))
	assert.True(t, try("t/shop/e-1/mail"))
	assert.False(t, try("t/shop/e-1/mail"))
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	t.Parallel()
	pool := postgres(t)
	_, err := pgxdedupe.New(nil, "orders")
	require.ErrorContains(t, err, "nil")
	for _, name := range []string{"", "a b", "a/b", strings.Repeat("a", 65)} {
		_, err = pgxdedupe.New(pool, name)
		require.ErrorContains(t, err, "name", "%q", name)
	}
	_, err = pgxdedupe.New(pool, "orders", pgxdedupe.WithTable("a;b"), nil)
	require.ErrorContains(t, err, "a;b")
	_, err = pgxdedupe.New(pool, "orders", pgxdedupe.WithRetention(24))
	require.ErrorContains(t, err, "did you mean 24*time.Hour")
	d, err := pgxdedupe.New(pool, "orders")
	require.NoError(t, err)
	assert.PanicsWithValue(t, "pgxdedupe: Once: the function is nil", func() { d.Once(nil) })

	require.ErrorIs(t, d.Check(t.Context()), pgxdedupe.ErrSchema)
	err = call(t.Context(), d.Once(add), "e-1")
	require.ErrorIs(t, err, pgxdedupe.ErrSchema)
	assert.True(t, receiver.IsTemporary(err), "503: somebody makes the table, and the event comes again")

	require.NoError(t, d.EnsureSchema(t.Context()))
	require.ErrorIs(t, d.Once(add)(t.Context(), &walletcrew.Event{ID: "e-1"}), pgxdedupe.ErrNoID, "no key in the context")
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	for _, key := range []string{"", "ä", "a\n", strings.Repeat("a", 513)} {
		_, err = d.InTxKey(t.Context(), tx, key)
		require.ErrorContains(t, err, "key", "%q", key)
	}
	_, err = d.InTxKey(t.Context(), nil, "a")
	require.ErrorContains(t, err, "nil")
}

// A connection that breaks at the commit leaves open whether it took place: 503, and the next delivery finds out.
func TestABrokenConnectionIsTemporaryAndNothingIsDoneTwice(t *testing.T) {
	t.Parallel()
	pool := postgres(t)
	counter(t, pool)
	d := ready(t, pool, "orders")
	cut := d.Once(func(ctx context.Context, tx pgx.Tx, e *walletcrew.Event) error {
		err := add(ctx, tx, e)
		return errors.Join(err, tx.Conn().PgConn().Conn().Close())
	})
	err := call(t.Context(), cut, "e-1")
	require.Error(t, err)
	assert.True(t, receiver.IsTemporary(err), "%v", err)
	assert.Equal(t, 0, count(t, pool))
	require.NoError(t, call(t.Context(), d.Once(add), "e-1"))
	assert.Equal(t, 1, count(t, pool))
}

func TestADatabaseThatIsAwayIsTemporary(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), "postgres://postgres@127.0.0.1:1/postgres?sslmode=disable")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	d, err := pgxdedupe.New(pool, "orders")
	require.NoError(t, err)
	err = call(t.Context(), d.Once(add), "e-1")
	require.Error(t, err)
	assert.True(t, receiver.IsTemporary(err))
}

// A single connection: the purge must not want it while it has it, nor the next delivery while it waits for the purge.
func TestOncePurgesWithoutLettingADeliveryWait(t *testing.T) {
	t.Parallel()
	pool := postgres(t, "pool_max_conns=1")
	counter(t, pool)
	handle := ready(t, pool, "orders").Once(add)
	_, err := pool.Exec(t.Context(), `INSERT INTO walletcrew_events
		SELECT 'expired-' || n, 1, true, now() - interval '1 hour' FROM generate_series(1, 10000) n`)
	require.NoError(t, err)
	expired := func() (n int) {
		require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM walletcrew_events WHERE event_key LIKE 'expired-%'").Scan(&n))
		return n
	}
	for events := 0; expired() > 0; events += 50 {
		require.Less(t, events, 3000, "events that came while the table had rows to be removed")
		for i := range 50 {
			require.NoError(t, call(t.Context(), handle, fmt.Sprintf("e-%d-%d", events, i)))
		}
	}
}
