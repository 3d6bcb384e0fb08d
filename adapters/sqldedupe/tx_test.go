package sqldedupe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func event(id string) *walletcrew.Event {
	return &walletcrew.Event{ID: id, Name: walletcrew.EventPassCreated, TenantID: "shop"}
}

// add makes the effect: one more in the counter.
func add(table string) sqldedupe.TxFunc {
	return func(ctx context.Context, tx *sql.Tx, _ *walletcrew.Event) error {
		_, err := tx.ExecContext(ctx, "UPDATE "+table+" SET n = n + 1")
		return err
	}
}

func TestOfConcurrentTransactionsOneMakesTheEffect(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper, counter := d.ready(t), d.counter(t)
		handle := deduper.Once(sqldedupe.Key, add(counter))
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { assert.NoError(t, handle(t.Context(), event("e-1"))) })
		}
		wg.Wait()
		assert.Equal(t, 1, d.count(t, "SELECT n FROM "+counter), "50 transactions with one key")
	})
}

// Whatever the isolation level, and whatever the transaction has read before, an error may come but never a second effect.
func TestTheEffectIsMadeOnceAtEachIsolationLevel(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		levels := []sql.IsolationLevel{sql.LevelDefault}
		if d.dialect != sqldedupe.SQLite {
			levels = append(levels, sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable)
		}
		deduper, counter := d.ready(t), d.counter(t)
		want := 0
		for _, level := range levels {
			for _, readFirst := range []bool{false, true} {
				key := fmt.Sprint(level, readFirst)
				var first, failed atomic.Int32
				var wg sync.WaitGroup
				for range 12 {
					wg.Go(func() {
						for range 10_000 { // as the platform delivers again, but without a pause
							ok, err := func() (bool, error) {
								tx, err := d.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: level})
								if err != nil {
									return false, err
								}
								defer func() { _ = tx.Rollback() }()
								if readFirst {
									var n int
									if err := tx.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+d.table).Scan(&n); err != nil {
										return false, err
									}
								}
								ok, err := deduper.InTx(t.Context(), tx, key)
								if err != nil || !ok {
									return false, err
								}
								if err := add(counter)(t.Context(), tx, nil); err != nil {
									return false, err
								}
								return true, tx.Commit()
							}()
							if err == nil {
								if ok {
									first.Add(1)
								}
								return
							}
							failed.Add(1)
						}
						t.Error("a transaction failed 10,000 times")
					})
				}
				wg.Wait()
				want++
				assert.EqualValues(t, 1, first.Load(), "%s, read first: %t", level, readFirst)
				assert.Equal(t, want, d.count(t, "SELECT n FROM "+counter), "%s, read first: %t", level, readFirst)
				t.Logf("%s, read first: %t: %d of 12 transactions failed and were tried again", level, readFirst, failed.Load())
			}
		}
	})
}

func TestATransactionWaitsForAnotherWithItsKey(t *testing.T) {
	for _, commits := range []bool{true, false} {
		t.Run(map[bool]string{true: "that commits", false: "that rolls back"}[commits], func(t *testing.T) {
			onEachEngine(t, func(t *testing.T, d *database) {
				deduper := d.ready(t)
				tx, err := d.db.BeginTx(t.Context(), nil)
				require.NoError(t, err)
				defer func() { _ = tx.Rollback() }()
				first, err := deduper.InTx(t.Context(), tx, "key")
				require.NoError(t, err)
				require.True(t, first)

				second := make(chan bool, 1)
				go func() {
					other, err := d.db.BeginTx(t.Context(), nil)
					if !assert.NoError(t, err) {
						close(second)
						return
					}
					first, err := deduper.InTx(t.Context(), other, "key")
					assert.NoError(t, err)
					assert.NoError(t, other.Commit())
					second <- first
				}()
				select {
				case <-second:
					t.Error("the second transaction did not wait")
				case <-time.After(300 * time.Millisecond):
				}
				if commits {
					require.NoError(t, tx.Commit())
				} else {
					require.NoError(t, tx.Rollback())
				}
				select {
				case first := <-second:
					assert.Equal(t, !commits, first)
				case <-time.After(patience):
					t.Error("the second transaction waits although the first has ended")
				}
			})
		})
	}
}

func TestAWaitEndsWithTheContext(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper := d.ready(t)
		tx, err := d.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer func() { _ = tx.Rollback() }()
		_, err = deduper.InTx(t.Context(), tx, "key")
		require.NoError(t, err)

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		other, err := d.db.BeginTx(ctx, nil)
		require.NoError(t, err)
		defer func() { _ = other.Rollback() }()
		began := time.Now()
		time.AfterFunc(200*time.Millisecond, cancel)
		_, err = deduper.InTx(ctx, other, "key")
		require.Error(t, err)
		assert.Less(t, time.Since(began), patience, "the engines themselves wait for 50 s or more")
	})
}

func TestWhatIsRolledBackIsDoneByTheNext(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper, counter := d.ready(t), d.counter(t)
		failure := errors.New("after the effect")
		fails := func(err error) sqldedupe.TxFunc {
			return func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
				require.NoError(t, add(counter)(ctx, tx, e))
				return err
			}
		}
		require.ErrorIs(t, deduper.Once(sqldedupe.Key, fails(failure))(t.Context(), event("e-1")), failure)
		require.True(t, receiver.IsDiscard(deduper.Once(sqldedupe.Key, fails(receiver.Discard(failure)))(t.Context(), event("e-1"))))
		require.Panics(t, func() {
			_ = deduper.Once(sqldedupe.Key, func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
				require.NoError(t, add(counter)(ctx, tx, e))
				panic("after the effect")
			})(t.Context(), event("e-1"))
		})
		assert.Equal(t, 0, d.count(t, "SELECT n FROM "+counter))
		for range 3 {
			require.NoError(t, deduper.Once(sqldedupe.Key, add(counter))(t.Context(), event("e-1")))
		}
		assert.Equal(t, 1, d.count(t, "SELECT n FROM "+counter))
	})
}

// The process, or its connection, dies between the record and the commit.
func TestWhatAKilledConnectionLeftIsDoneByTheNext(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper, counter := d.ready(t), d.counter(t)
		killed := false
		handle := deduper.Once(sqldedupe.Key, func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
			if err := add(counter)(ctx, tx, e); err != nil || killed {
				return err
			}
			killed = true
			d.killConnection(t, tx)
			return nil
		})
		require.Error(t, handle(t.Context(), event("e-1")), "the commit must fail")
		assert.Equal(t, 0, d.count(t, "SELECT n FROM "+counter))
		require.NoError(t, handle(t.Context(), event("e-1")))
		require.NoError(t, handle(t.Context(), event("e-1")))
		assert.Equal(t, 1, d.count(t, "SELECT n FROM "+counter))
	})
}

// A worker holds an event whose error is Temporary until it passes by itself, which what is the event's own never does.
func TestOnlyTroubleOfTheDatabaseIsTemporary(t *testing.T) {
	t.Parallel()
	d := engines[0].open(t)
	deduper, counter := d.ready(t), d.counter(t)
	child := counter + "_child"
	d.exec(t, "CREATE TABLE "+child+" (n INT UNIQUE DEFERRABLE INITIALLY DEFERRED)")
	t.Cleanup(func() { _, _ = d.db.ExecContext(context.Background(), "DROP TABLE "+child) })
	twice := deduper.Once(sqldedupe.Key, func(ctx context.Context, tx *sql.Tx, _ *walletcrew.Event) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO "+child+" VALUES (1), (1)")
		return err
	})
	swallows := deduper.Once(sqldedupe.Key, func(ctx context.Context, tx *sql.Tx, _ *walletcrew.Event) error {
		_, _ = tx.ExecContext(ctx, "SELECT 1/0")
		return nil
	})
	ran := false
	outlives := deduper.Once(sqldedupe.Key, func(ctx context.Context, _ *sql.Tx, _ *walletcrew.Event) error {
		ran = true
		<-ctx.Done()
		return nil
	})
	commits := deduper.Once(sqldedupe.Key, func(_ context.Context, tx *sql.Tx, _ *walletcrew.Event) error { return tx.Commit() })
	late := func(_ context.Context, e *walletcrew.Event) (err error) {
		for wait := 200 * time.Millisecond; !ran; wait *= 2 { // until it is enough for the function to begin
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			err = outlives(ctx, e)
			cancel()
		}
		return err
	}
	for i, handle := range []receiver.HandlerFunc{twice, swallows, late, commits} {
		err := handle(t.Context(), event(fmt.Sprint("own-", i)))
		require.ErrorContains(t, err, "commit")
		assert.False(t, receiver.IsTemporary(err), "the function is at fault: %v", err)
	}

	for _, key := range []string{"", "é", strings.Repeat("x", 513)} {
		wrong := deduper.Once(func(*walletcrew.Event) (string, error) { return key, nil }, add(counter))
		err := wrong(t.Context(), event("e-2"))
		require.ErrorContains(t, err, "the key")
		assert.False(t, receiver.IsTemporary(err), "the key is wrong for good: %v", err)
	}

	killed := deduper.Once(sqldedupe.Key, func(_ context.Context, tx *sql.Tx, _ *walletcrew.Event) error {
		d.killConnection(t, tx)
		return nil
	})
	err := killed(t.Context(), event("e-3"))
	require.Error(t, err)
	assert.True(t, receiver.IsTemporary(err), "the connection broke: %v", err)
	assert.Zero(t, d.count(t, "SELECT n FROM "+counter))
}

func (d *database) killConnection(t *testing.T, tx *sql.Tx) {
	t.Helper()
	id, kill := "SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%d)"
	switch d.dialect {
	case sqldedupe.MySQL:
		id, kill = "SELECT CONNECTION_ID()", "KILL %d"
	case sqldedupe.SQLite: // there is nobody to kill it: the transaction is ended behind the handler's back
		require.NoError(t, tx.Rollback())
		return
	}
	var n int
	require.NoError(t, tx.QueryRowContext(t.Context(), id).Scan(&n))
	d.exec(t, fmt.Sprintf(kill, n))
	time.Sleep(50 * time.Millisecond)
}

func TestOnceRemovesWhatExpired(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper := d.ready(t, sqldedupe.WithRetention(time.Millisecond))
		handle := deduper.Once(sqldedupe.Key, func(context.Context, *sql.Tx, *walletcrew.Event) error { return nil })
		for i := range 600 {
			require.NoError(t, handle(t.Context(), event(fmt.Sprint("e-", i))))
		}
		assert.Less(t, d.count(t, "SELECT COUNT(*) FROM "+d.table), 200, "of 600 that expired at once, without a job")
	})
}

func TestRecordsExpireAfterTheRetention(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper, counter := d.ready(t, sqldedupe.WithRetention(100*time.Millisecond)), d.counter(t)
		handle := deduper.Once(sqldedupe.Key, add(counter))
		require.NoError(t, handle(t.Context(), event("e-1")))
		time.Sleep(200 * time.Millisecond) // the server's time
		require.NoError(t, handle(t.Context(), event("e-1")))
		assert.Equal(t, 2, d.count(t, "SELECT n FROM "+counter))
	})
}

// A key that is claimed is not done: InTx takes it, and the claim's token is outdated.
func TestInTxTakesAKeyThatIsOnlyClaimed(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper := d.ready(t)
		claim := claimed(t, deduper, "key", time.Minute)
		tx, err := d.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		first, err := deduper.InTx(t.Context(), tx, "key")
		require.NoError(t, err)
		assert.True(t, first)
		first, err = deduper.InTx(t.Context(), tx, "key")
		require.NoError(t, err)
		assert.False(t, first, "twice in one transaction")
		require.NoError(t, tx.Commit())
		require.ErrorIs(t, deduper.Complete(t.Context(), "key", claim.Token), receiver.ErrLeaseLost)
		require.ErrorIs(t, deduper.Release(t.Context(), "key", claim.Token), receiver.ErrLeaseLost)
		assert.Equal(t, receiver.Done, state(t, deduper, "key"))
	})
}

func TestKeysAreDifferentForDifferentEvents(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 600)
	seen := map[string]string{}
	for _, scope := range []string{"", "-", "t", "shop", "Shop", "a/b", "a", long} {
		for _, id := range []string{"1", "b/1", "/", "é", " ", long, long + "y"} {
			what := fmt.Sprintf("%q %q", scope, id)
			key, err := sqldedupe.KeyIn(scope)(event(id))
			require.NoError(t, err)
			assert.LessOrEqual(t, len(key), 512)
			assert.True(t, strings.HasPrefix(key, "e/"), "apart from the handler's keys")
			assert.Empty(t, seen[key], "%s has the key of", what)
			seen[key] = what
			for i := range len(key) {
				assert.True(t, key[i] > ' ' && key[i] <= '~', "printable ASCII")
			}
		}
	}
	key, err := sqldedupe.Key(event("1"))
	require.NoError(t, err)
	assert.Equal(t, "e/shop/1", key)
	for _, e := range []*walletcrew.Event{nil, event("")} {
		_, err := sqldedupe.KeyIn("shop")(e)
		require.ErrorIs(t, err, sqldedupe.ErrNoID)
	}
	_, err = sqldedupe.Key(nil)
	require.ErrorIs(t, err, sqldedupe.ErrNoID)
}

const secret walletcrew.Secret = "the secret of the tests of sqldedupe"

// deliver sends a signed delivery through handler, and returns the status.
func deliver(handler http.Handler, id string) int {
	body := fmt.Appendf(nil, `{"__id":%q,"passId":"p-1"}`, id)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, walletcrewtest.NewRequest("/hook", secret, "shop", walletcrew.EventPassCreated, body))
	return w.Code
}

func newHandler(t *testing.T, fn receiver.HandlerFunc, opts ...receiver.HandlerOption) http.Handler {
	t.Helper()
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	return receiver.NewHandler(v, fn, append(opts, receiver.WithLogger(slog.New(slog.DiscardHandler)))...)
}

func TestDuplicatesThroughTheHandlerMakeOneEffect(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper, counter := d.ready(t), d.counter(t)
		var handlers []http.Handler // two replicas; one also claims first
		handlers = append(handlers, newHandler(t, deduper.Once(sqldedupe.KeyIn("shop"), add(counter))))
		handlers = append(handlers, newHandler(t, deduper.Once(sqldedupe.KeyIn("shop"), add(counter)), receiver.WithDeduper(deduper)))
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				for { // until 2xx, as the platform does
					if deliver(handlers[i%2], fmt.Sprint("e-", i%15)) == http.StatusNoContent {
						return
					}
				}
			})
		}
		wg.Wait()
		assert.Equal(t, 15, d.count(t, "SELECT n FROM "+counter))
	})
}
