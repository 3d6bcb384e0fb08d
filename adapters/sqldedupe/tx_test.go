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

// call calls a function of Once as a handler does: the context has the event's key.
func call(ctx context.Context, handle receiver.HandlerFunc, id string) error {
	return handle(receiver.WithKey(ctx, "t/shop/"+id), event(id))
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
		handle := deduper.Once(add(counter))
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { assert.NoError(t, call(t.Context(), handle, "e-1")) })
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
								ok, err := deduper.InTxKey(t.Context(), tx, key)
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
				first, err := deduper.InTxKey(t.Context(), tx, "key")
				require.NoError(t, err)
				require.True(t, first)

				second := make(chan bool, 1)
				go func() {
					other, err := d.db.BeginTx(t.Context(), nil)
					if !assert.NoError(t, err) {
						close(second)
						return
					}
					first, err := deduper.InTxKey(t.Context(), other, "key")
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
		_, err = deduper.InTxKey(t.Context(), tx, "key")
		require.NoError(t, err)

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		other, err := d.db.BeginTx(ctx, nil)
		require.NoError(t, err)
		defer func() { _ = other.Rollback() }()
		began := time.Now()
		time.AfterFunc(200*time.Millisecond, cancel)
		_, err = deduper.InTxKey(ctx, other, "key")
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
		require.ErrorIs(t, call(t.Context(), deduper.Once(fails(failure)), "e-1"), failure)
		require.True(t, receiver.IsDiscard(call(t.Context(), deduper.Once(fails(receiver.Discard(failure))), "e-1")))
		require.Panics(t, func() {
			_ = call(t.Context(), deduper.Once(func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
				require.NoError(t, add(counter)(ctx, tx, e))
				panic("after the effect")
			}), "e-1")
		})
		assert.Equal(t, 0, d.count(t, "SELECT n FROM "+counter))
		for range 3 {
			require.NoError(t, call(t.Context(), deduper.Once(add(counter)), "e-1"))
		}
		assert.Equal(t, 1, d.count(t, "SELECT n FROM "+counter))
	})
}

// The process, or its connection, dies between the record and the commit.
func TestWhatAKilledConnectionLeftIsDoneByTheNext(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper, counter := d.ready(t), d.counter(t)
		killed := false
		handle := deduper.Once(func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
			if err := add(counter)(ctx, tx, e); err != nil || killed {
				return err
			}
			killed = true
			d.killConnection(t, tx)
			return nil
		})
		require.Error(t, call(t.Context(), handle, "e-1"), "the commit must fail")
		assert.Equal(t, 0, d.count(t, "SELECT n FROM "+counter))
		require.NoError(t, call(t.Context(), handle, "e-1"))
		require.NoError(t, call(t.Context(), handle, "e-1"))
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
	twice := deduper.Once(func(ctx context.Context, tx *sql.Tx, _ *walletcrew.Event) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO "+child+" VALUES (1), (1)")
		return err
	})
	swallows := deduper.Once(func(ctx context.Context, tx *sql.Tx, _ *walletcrew.Event) error {
		_, _ = tx.ExecContext(ctx, "SELECT 1/0")
		return nil
	})
	ran := false
	outlives := deduper.Once(func(ctx context.Context, _ *sql.Tx, _ *walletcrew.Event) error {
		ran = true
		<-ctx.Done()
		return nil
	})
	commits := deduper.Once(func(_ context.Context, tx *sql.Tx, _ *walletcrew.Event) error { return tx.Commit() })
	late := func(ctx context.Context, e *walletcrew.Event) (err error) {
		for wait := 200 * time.Millisecond; !ran; wait *= 2 { // until it is enough for the function to begin
			ctx, cancel := context.WithTimeout(ctx, wait)
			err = outlives(ctx, e)
			cancel()
		}
		return err
	}
	for i, handle := range []receiver.HandlerFunc{twice, swallows, late, commits} {
		err := call(t.Context(), handle, fmt.Sprint("own-", i))
		require.ErrorContains(t, err, "commit")
		assert.False(t, receiver.IsTemporary(err), "the function is at fault: %v", err)
	}

	for _, key := range []string{"", "é", strings.Repeat("x", 513)} {
		err := deduper.Once(add(counter))(receiver.WithKey(t.Context(), key), event("e-2"))
		require.ErrorContains(t, err, "key")
		assert.False(t, receiver.IsTemporary(err), "the key is wrong for good: %v", err)
	}

	killed := deduper.Once(func(_ context.Context, tx *sql.Tx, _ *walletcrew.Event) error {
		d.killConnection(t, tx)
		return nil
	})
	err := call(t.Context(), killed, "e-3")
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

func TestRecordsExpireAfterTheRetention(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper, counter := d.ready(t, sqldedupe.WithRetention(100*time.Millisecond)), d.counter(t)
		handle := deduper.Once(add(counter))
		require.NoError(t, call(t.Context(), handle, "e-1"))
		time.Sleep(200 * time.Millisecond) // the server's time
		require.NoError(t, call(t.Context(), handle, "e-1"))
		assert.Equal(t, 2, d.count(t, "SELECT n FROM "+counter))
	})
}

// A handler claims an event, and its function records the event in a transaction, both with one Deduper: were they one row, the
// transaction would take the handler's lease for another's, and the event would be lost.
func TestRecordsAreApartFromLeases(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper := d.ready(t)
		claim := claimed(t, deduper, "key", time.Minute)
		tx, err := d.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer func() { _ = tx.Rollback() }()
		first, err := deduper.InTxKey(t.Context(), tx, "key")
		require.NoError(t, err)
		assert.True(t, first, "claimed, and not recorded")
		first, err = deduper.InTxKey(t.Context(), tx, "key")
		require.NoError(t, err)
		assert.False(t, first, "twice in one transaction")
		if d.dialect != sqldedupe.SQLite { // where each writer waits for the one before
			require.NoError(t, deduper.Release(t.Context(), "key", claim.Token), "the lease's row isn't locked")
			claim = claimed(t, deduper, "key", time.Minute)
		}
		require.NoError(t, tx.Commit())
		assert.Equal(t, receiver.Held, state(t, deduper, "key"), "recorded, and not done for the handler")
		require.NoError(t, deduper.Complete(t.Context(), "key", claim.Token))
		assert.Equal(t, receiver.Done, state(t, deduper, "key"))

		require.NoError(t, deduper.Complete(t.Context(), "done", claimed(t, deduper, "done", time.Minute).Token))
		first, err = record(t, d, deduper, "done")
		require.NoError(t, err)
		assert.True(t, first, "done for a handler, and not recorded")
	})
}

// record calls InTxKey in a transaction of its own.
func record(t *testing.T, d *database, deduper *sqldedupe.Deduper, key string) (first bool, err error) {
	t.Helper()
	tx, err := d.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	if first, err = deduper.InTxKey(t.Context(), tx, key); err != nil {
		return first, err
	}
	return first, tx.Commit()
}

func TestOneDeduperMayBothClaimAndRecord(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		const events, deliveries = 10, 4
		deduper, counter := d.ready(t), d.counter(t)
		var failed sync.Map
		handler := newHandler(t, deduper.Once(func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
			if err := add(counter)(ctx, tx, e); err != nil {
				return err
			}
			if _, again := failed.LoadOrStore(e.ID, true); !again {
				return errors.New("each event fails once")
			}
			return nil
		}), receiver.WithDeduper(deduper))
		var wg sync.WaitGroup
		for i := range events * deliveries {
			wg.Go(func() {
				for t.Context().Err() == nil { // until 2xx, as the platform does
					if deliver(handler, fmt.Sprint("e-", i%events)) == http.StatusNoContent {
						return
					}
				}
			})
		}
		wg.Wait()
		assert.Equal(t, events, d.count(t, "SELECT n FROM "+counter), "each event once")
		assert.Equal(t, 2*events, d.count(t, "SELECT COUNT(*) FROM "+d.table), "a lease and a record each")
	})
}

// The tenant is a header that isn't signed: another one makes no other event of a captured delivery.
func TestACapturedDeliveryRunsOnceUnderWhateverTenant(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper, counter := d.ready(t), d.counter(t)
		handler := newHandler(t, deduper.Once(add(counter)))
		body := []byte(`{"__id":"e-1","passId":"p-1"}`)
		for i := range 10 {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, walletcrewtest.NewRequest("/hook", secret, fmt.Sprint("t", i), walletcrew.EventPassCreated, body))
			assert.Equal(t, http.StatusNoContent, w.Code)
		}
		assert.Equal(t, 1, d.count(t, "SELECT n FROM "+counter))
	})
}

// Where each tenant has a secret, the secret says whose an id is.
func TestTwoTenantsMayHaveEventsOfOneID(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper, counter := d.ready(t), d.counter(t)
		v, err := verifier.New(verifier.SecretFunc(func(_ context.Context, tenant string) ([]walletcrew.Secret, error) {
			return []walletcrew.Secret{secret + walletcrew.Secret(tenant)}, nil
		}))
		require.NoError(t, err)
		handler := receiver.NewHandler(v, deduper.Once(add(counter)))
		for _, tenant := range []string{"shop", "museum", "shop", "museum"} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, walletcrewtest.NewRequest("/hook", secret+walletcrew.Secret(tenant), tenant, walletcrew.EventPassCreated, []byte(`{"__id":"e-1"}`)))
			assert.Equal(t, http.StatusNoContent, w.Code)
		}
		assert.Equal(t, 2, d.count(t, "SELECT n FROM "+counter))
	})
}

func TestANameSharesNothingWithAnotherInItsTable(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		d.ready(t)
		counter := d.counter(t)
		names := []string{"orders", "order", "orders.tx", "Orders", "orders-" + strings.Repeat("n", 57)}
		keys := []string{"t/shop/e-1", "tx:t/shop/e-1", strings.Repeat("k", 512)}
		for _, name := range names {
			deduper, replica := d.named(t, d.db, name), d.named(t, d.connect(t), name)
			for _, key := range keys {
				claim := claimed(t, deduper, key, time.Minute)
				require.ErrorIs(t, d.named(t, d.db, "mails").Complete(t.Context(), key, claim.Token), receiver.ErrLeaseLost, "the token of another name's lease")
				assert.Equal(t, receiver.Held, state(t, replica, key))
				require.NoError(t, deduper.Complete(t.Context(), key, claim.Token))
				assert.Equal(t, receiver.Done, state(t, replica, key))
				for i, who := range []*sqldedupe.Deduper{deduper, replica} {
					first, err := record(t, d, who, key)
					require.NoError(t, err)
					assert.Equal(t, i == 0, first, "%s, %s", name, key)
				}
			}
			for range 2 { // an event that the receivers of all names get, twice
				require.Equal(t, http.StatusNoContent, deliver(newHandler(t, deduper.Once(add(counter)), receiver.WithDeduper(replica)), "e-2"))
			}
		}
		assert.Equal(t, len(names), d.count(t, "SELECT n FROM "+counter), "once for each name")
		assert.Equal(t, len(names)*(2*len(keys)+2), d.count(t, "SELECT COUNT(*) FROM "+d.table))
	})
}

// Nothing tells whether such an event was done before.
func TestWithoutAKeyNothingIsDone(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper, counter := d.ready(t), d.counter(t)
		handle := deduper.Once(add(counter))
		for range 2 {
			for _, e := range []*walletcrew.Event{nil, event("")} {
				err := handle(t.Context(), e)
				require.ErrorIs(t, err, sqldedupe.ErrNoID)
				require.ErrorContains(t, err, "the event has no __id")
				assert.False(t, receiver.IsTemporary(err))
				assert.False(t, receiver.IsDiscard(err))
			}
			assert.Equal(t, http.StatusInternalServerError, deliver(newHandler(t, handle), ""), "it is delivered again, and not dropped")
		}
		err := handle(t.Context(), event("e-1"))
		require.ErrorIs(t, err, sqldedupe.ErrNoID)
		require.ErrorContains(t, err, "receiver.WithKey", "what is missing is the key, and what sets it is named")

		tx, err := d.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer func() { _ = tx.Rollback() }()
		_, err = deduper.InTx(t.Context(), tx)
		require.ErrorIs(t, err, sqldedupe.ErrNoID)
		first, err := deduper.InTx(receiver.WithKey(t.Context(), "-/e-1"), tx)
		require.NoError(t, err)
		assert.True(t, first)
		first, err = deduper.InTxKey(t.Context(), tx, "-/e-1")
		require.NoError(t, err)
		assert.False(t, first, "InTx goes by the context's key")
		assert.Zero(t, d.count(t, "SELECT n FROM "+counter))
	})
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
		handlers = append(handlers, newHandler(t, deduper.Once(add(counter))))
		handlers = append(handlers, newHandler(t, deduper.Once(add(counter)), receiver.WithDeduper(deduper)))
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
