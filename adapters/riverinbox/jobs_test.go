package riverinbox_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/pgxdedupe"
	"github.com/thewalletcrew/walletcrew-go/adapters/riverinbox"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// The inbox inserts into River's table itself, so that must be what River's own client inserts: the row, and what the workers are told.
func TestAJobIsStoredAsRiversClientStoresIt(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, _ *riverinbox.Inbox) {
		for _, schema := range []string{"", schemaOf(t, pool) + "_Jobs"} {
			prefix := ""
			if schema != "" {
				prefix = pgx.Identifier{schema}.Sanitize() + "."
				_, err := pool.Exec(t.Context(), "CREATE SCHEMA "+pgx.Identifier{schema}.Sanitize())
				require.NoError(t, err)
				t.Cleanup(func() {
					_, _ = pool.Exec(context.Background(), "DROP SCHEMA "+pgx.Identifier{schema}.Sanitize()+" CASCADE")
				})
				migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: quiet, Schema: schema})
				require.NoError(t, err)
				_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
				require.NoError(t, err)
			}
			inbox, err := k.inbox(pool, "orders", riverinbox.WithRiverSchema(schema))
			require.NoError(t, err)
			client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Schema: schema})
			require.NoError(t, err)
			conn := listen(t, pool, cmp.Or(schema, schemaOf(t, pool))+".river_insert")
			var args riverinbox.Args
			require.Equal(t, http.StatusNoContent, deliver(newHandler(t, inbox.Handle), "shop", `{"__id":"e-`+schema+`"}`))
			ours := notification(t, conn)
			var stored []byte
			require.NoError(t, pool.QueryRow(t.Context(), "SELECT args FROM "+prefix+"river_job").Scan(&stored))
			require.NoError(t, args.UnmarshalJSON(stored))
			_, err = client.Insert(t.Context(), args, &river.InsertOpts{Queue: "orders", MaxAttempts: 1000})
			require.NoError(t, err)
			assert.Equal(t, notification(t, conn), ours, "what the workers are told")

			columns, err := pool.Query(t.Context(), "SELECT to_jsonb(j) - ARRAY['id', 'created_at', 'scheduled_at'] FROM "+prefix+"river_job j ORDER BY id")
			require.NoError(t, err)
			both, err := pgx.CollectRows(columns, pgx.RowTo[map[string]any])
			require.NoError(t, err)
			require.Len(t, both, 2)
			assert.Equal(t, both[1], both[0], "the row")
			assert.Zero(t, count(t, pool, "SELECT count(*) FROM "+prefix+"river_job WHERE abs(extract(epoch FROM now() - created_at)) > 60 OR abs(extract(epoch FROM now() - scheduled_at)) > 60"))
		}
	})
}

func schemaOf(t *testing.T, pool *pgxpool.Pool) (name string) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT current_schema()").Scan(&name))
	return name
}

func listen(t *testing.T, pool *pgxpool.Pool, channel string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	_, err = conn.Exec(t.Context(), "LISTEN "+pgx.Identifier{channel}.Sanitize())
	require.NoError(t, err)
	return conn
}

func notification(t *testing.T, conn *pgx.Conn) [2]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	require.NoError(t, err)
	return [2]string{n.Channel, n.Payload}
}

// PostgreSQL lets only one transaction commit at a time of those that notify.
func TestTheWorkersAreToldOfABurstOnce(t *testing.T) {
	t.Parallel()
	pool := newDatabase(t)
	inbox, err := riverinbox.New(pool, "orders")
	require.NoError(t, err)
	require.NoError(t, inbox.EnsureSchema(t.Context()))
	channel := schemaOf(t, pool) + ".river_insert"
	conn := listen(t, pool, channel)
	h := newHandler(t, inbox.Handle)
	began := time.Now()
	for i := range 50 {
		require.Equal(t, http.StatusNoContent, deliver(h, "shop", fmt.Sprintf(`{"__id":"e-%d"}`, i)))
	}
	most := int(time.Since(began)/river.FetchCooldownDefault) + 1
	_, err = conn.Exec(t.Context(), "NOTIFY "+pgx.Identifier{channel}.Sanitize()+", 'end'")
	require.NoError(t, err)
	told := 0
	for notification(t, conn)[1] != "end" {
		told++
	}
	assert.Positive(t, told)
	assert.LessOrEqual(t, told, most)
}

// The records are those of pgxdedupe and sqldedupe, as the table's purging, its size and its documentation are.
func TestTheRecordOfAnEventIsADedupers(t *testing.T) {
	onEachKind(t, func(t *testing.T, _ kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		dedupe, err := pgxdedupe.New(pool, "orders.inbox")
		require.NoError(t, err)
		first := func(key string) (first bool) {
			require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
				first, err = dedupe.InTxKey(t.Context(), tx, key)
				return err
			}))
			return first
		}
		event := func(id string) *walletcrew.Event {
			e, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, []byte(`{"__id":"`+id+`"}`))
			require.NoError(t, err)
			return e
		}
		require.NoError(t, inbox.Handle(receiver.WithKey(t.Context(), "key-1"), event("e-1")))
		assert.False(t, first("key-1"), "a deduper finds the inbox's record")
		assert.True(t, first("key-2"))
		require.NoError(t, inbox.Handle(receiver.WithKey(t.Context(), "key-2"), event("e-2")))
		assert.Equal(t, 1, count(t, pool, jobs), "and the inbox a deduper's")
		assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM walletcrew_events WHERE done AND expires_at BETWEEN now() + interval '23 hours' AND now() + interval '25 hours'"))
	})
}

func TestAnEventIsForgottenAfterTheRetention(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind, pool *pgxpool.Pool, inbox *riverinbox.Inbox) {
		h := newHandler(t, inbox.Handle)
		_, err := pool.Exec(t.Context(), "INSERT INTO walletcrew_events SELECT 'old-' || n, 0, true, now() - interval '3 days' FROM generate_series(1, 1500) n")
		require.NoError(t, err)
		for range 2 {
			require.Equal(t, http.StatusNoContent, deliver(h, "shop", `{"__id":"e-1"}`))
		}
		require.Equal(t, 1, count(t, pool, jobs))
		_, err = pool.Exec(t.Context(), "UPDATE walletcrew_events SET expires_at = now() WHERE event_key LIKE '%e-1'")
		require.NoError(t, err)
		for range 2 {
			require.Equal(t, http.StatusNoContent, deliver(h, "shop", `{"__id":"e-1"}`))
		}
		require.Equal(t, 2, count(t, pool, jobs), "it comes as a new one")
		eventually(t, "deliveries have the expired records removed, also in a process without a worker", func() bool {
			require.Equal(t, http.StatusNoContent, deliver(h, "shop", `{"__id":"e-1"}`))
			return count(t, pool, "SELECT count(*) FROM walletcrew_events") == 1
		})
	})
}

// From REPEATABLE READ on, PostgreSQL has an error for a duplicate that comes at the same time.
func TestDuplicatesAtOnceInADatabaseThatIsSerializable(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		config := newDatabase(t).Config().Copy()
		config.ConnConfig.RuntimeParams["default_transaction_isolation"] = "serializable"
		config.MaxConns = 8
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		inbox, err := k.inbox(pool, "orders")
		require.NoError(t, err)
		require.NoError(t, inbox.EnsureSchema(t.Context()))
		for i := range 20 {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					e, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, []byte("{}"))
					assert.NoError(t, err)
					assert.NoError(t, inbox.Handle(receiver.WithKey(t.Context(), fmt.Sprint("key-", i)), e))
				})
			}
			wg.Wait()
		}
		assert.Equal(t, 20, count(t, pool, jobs))
	}
}
