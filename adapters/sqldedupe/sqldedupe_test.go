package sqldedupe_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/internal/seedtest"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func TestItKeepsTheRulesOfADeduper(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		require.NoError(t, walletcrewtest.TestDeduper(t.Context(), d.ready(t)))
	})
}

func TestTheHandlerKeepsTheRulesOfAReceiver(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) { seedtest.TheHandlerKeepsTheRules(t, d.ready(t)) })
}

func TestReplicasGetAKeyOnce(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		d.ready(t)
		var dedupers []*sqldedupe.Deduper
		for range 4 {
			db := d.connect(t)
			db.SetMaxOpenConns(5)
			dedupers = append(dedupers, d.deduper(t, db))
		}
		var wins atomic.Int32
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				claim, err := dedupers[i%4].Claim(t.Context(), "key", time.Minute)
				if assert.NoError(t, err) && claim.State == receiver.Claimed {
					wins.Add(1)
					assert.NoError(t, dedupers[i%4].Complete(t.Context(), "key", claim.Token))
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 1, wins.Load(), "of 100 claims on 4 replicas one gets the key")
	})
}

// Many keys at once: transactions that meet must not fail, whatever the engine thinks of their order.
func TestReplicasWorkOnManyKeysAtOnce(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		deduper := d.ready(t)
		var wins atomic.Int32
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for j := range 50 {
					key := fmt.Sprint("key-", (i*7+j)%50)
					claim, err := deduper.Claim(t.Context(), key, time.Minute)
					switch {
					case err == nil && claim.State != receiver.Claimed:
					case err == nil && j%5 == 0:
						err = deduper.Release(t.Context(), key, claim.Token)
					case err == nil:
						wins.Add(1)
						err = deduper.Complete(t.Context(), key, claim.Token)
					}
					assert.NoError(t, err)
				}
			})
		}
		wg.Wait()
		for j := range 50 { // those that were held whenever somebody came who would have completed them
			key := fmt.Sprint("key-", j)
			if claim, err := deduper.Claim(t.Context(), key, time.Minute); assert.NoError(t, err) && claim.State == receiver.Claimed {
				wins.Add(1)
				assert.NoError(t, deduper.Complete(t.Context(), key, claim.Token))
			}
		}
		assert.EqualValues(t, 50, wins.Load(), "each key is completed once")
	})
}

func TestSQLiteWithoutABusyTimeoutStillClaims(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.SQLite)
	d.ready(t)
	hasty := d.deduper(t, connect(t, "sqlite", strings.Replace(d.source, "_pragma=busy_timeout(60000)&", "", 1)))
	require.ErrorContains(t, hasty.Check(t.Context()), "no busy timeout")
	var wins atomic.Int32
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			claim, err := hasty.Claim(t.Context(), "key", time.Minute)
			require.NoError(t, err)
			if claim.State == receiver.Claimed {
				wins.Add(1)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, wins.Load())
}

func TestWhatIsDoneIsForgottenAfterTheRetention(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		const retention = 400 * time.Millisecond
		deduper := d.ready(t, sqldedupe.WithRetention(retention))
		for try := 0; ; try++ { // until the test has been quicker than the retention
			key := fmt.Sprint("key-", try)
			claim := claimed(t, deduper, key, time.Minute)
			began := time.Now()
			require.NoError(t, deduper.Complete(t.Context(), key, claim.Token))
			again := state(t, deduper, key)
			if again == receiver.Claimed && time.Since(began) >= retention {
				continue
			}
			require.Equal(t, receiver.Done, again)
			require.Eventually(t, func() bool { return state(t, deduper, key) == receiver.Claimed }, patience, 20*time.Millisecond,
				"after the retention it can be claimed again")
			return
		}
	})
}

func TestPurgeRemovesWhatExpiredAndNoMoreThanAsked(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		short := d.ready(t, sqldedupe.WithRetention(time.Millisecond))
		long := d.named(t, d.db, "another") // a purge is for all names of the table
		short.StopPurging()
		long.StopPurging()
		for i := range 25 {
			key := fmt.Sprint("done-", i)
			require.NoError(t, short.Complete(t.Context(), key, claimed(t, short, key, time.Minute).Token))
		}
		claimed(t, short, "held", time.Minute)
		crashed := claimed(t, short, "crashed", time.Millisecond)
		require.NoError(t, long.Complete(t.Context(), "remembered", claimed(t, long, "remembered", time.Minute).Token))
		time.Sleep(50 * time.Millisecond) // the server's time

		for _, want := range []int64{10, 10, 5, 0} {
			n, err := long.Purge(t.Context(), 10)
			require.NoError(t, err)
			assert.Equal(t, want, n)
		}
		assert.Equal(t, 3, d.count(t, "SELECT COUNT(*) FROM "+d.table), "held, remembered, and a lease that can still be completed")
		require.NoError(t, d.deduper(t, d.db).Complete(t.Context(), "crashed", crashed.Token))

		claimed(t, short, "crashed again", time.Millisecond)
		time.Sleep(50 * time.Millisecond)
		n, err := short.Purge(t.Context(), 10)
		require.NoError(t, err)
		assert.EqualValues(t, 1, n, "a lease that ran out longer ago than the retention")
		_, err = short.Purge(t.Context(), 0)
		require.Error(t, err)
	})
}

// A transaction of InTx lasts for as long as the effect does. SQLite has one writer at a time, so there all wait.
func TestPurgeNeitherWaitsForATransactionNorLetsClaimsWait(t *testing.T) {
	t.Parallel()
	for _, e := range engines[:3] {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			d := e.open(t)
			deduper, short := d.ready(t), d.deduper(t, d.db, sqldedupe.WithRetention(time.Millisecond))
			for i := range 10 {
				key := fmt.Sprint("done-", i)
				first, err := record(t, d, short, key)
				require.NoError(t, err)
				require.True(t, first)
			}
			time.Sleep(50 * time.Millisecond)                   // the server's time
			for _, key := range []string{"done-5", "done-50"} { // one that had expired, and a new one
				tx, err := d.db.BeginTx(t.Context(), nil)
				require.NoError(t, err)
				defer func() { _ = tx.Rollback() }()
				first, err := deduper.InTxKey(t.Context(), tx, key)
				require.NoError(t, err)
				require.True(t, first)
			}

			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var wg sync.WaitGroup
			wg.Go(func() {
				n, err := deduper.Purge(ctx, 5)
				assert.NoError(t, err, "a purge must not wait for a transaction")
				assert.EqualValues(t, 5, n)
				n, err = deduper.Purge(ctx, 10)
				assert.NoError(t, err, "a purge must not wait for a transaction")
				assert.EqualValues(t, 4, n, "of 10 that expired, one is used again")
			})
			for i := range 100 {
				for _, lease := range []time.Duration{time.Millisecond, time.Minute, 48 * time.Hour} { // before, among and behind the others
					_, err := deduper.Claim(ctx, fmt.Sprint("done-", i+100, lease), lease)
					assert.NoError(t, err, "a claim must not wait for a purge")
				}
			}
			wg.Wait()
		})
	}
}

// purgesOne makes the tables, and a row that is done and expires at once.
func purgesOne(t *testing.T, deduper *sqldedupe.Deduper) {
	t.Helper()
	require.NoError(t, deduper.EnsureSchema(t.Context()))
	deduper.StopPurging()
	require.NoError(t, deduper.Complete(t.Context(), "key", claimed(t, deduper, "key", time.Minute).Token))
	time.Sleep(50 * time.Millisecond) // the server's time
	n, err := deduper.Purge(t.Context(), 10)
	require.NoError(t, err)
	assert.EqualValues(t, 1, n)
}

// MySQL 5.7 and MariaDB up to 10.5 have no SKIP LOCKED.
func TestPurgeWorksWithoutSkipLocked(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.MySQL)
	db, left := d.aborting(t, "SKIP LOCKED", 1000, &mysql.MySQLError{Number: 1064, Message: "You have an error in your SQL syntax"})
	deduper := d.deduper(t, db, sqldedupe.WithRetention(time.Millisecond))
	purgesOne(t, deduper)
	assert.Less(t, left.Load(), int64(1000), "it was tried with SKIP LOCKED first")
}

func TestWrongArgumentsAreErrors(t *testing.T) {
	t.Parallel()
	db, long := &sql.DB{}, strings.Repeat("n", 65)
	none := sqldedupe.WithRetention(time.Hour)
	tests := map[string]struct {
		db      *sql.DB
		dialect sqldedupe.Dialect
		name    string
		opt     sqldedupe.Option
		want    string
	}{
		"no database":               {nil, sqldedupe.Postgres, "orders", none, "the database is nil"},
		"no dialect":                {db, 0, "orders", none, "the dialect is none of"},
		"no name":                   {db, sqldedupe.Postgres, "", none, "the name is empty: name what the function does"},
		"a name with a colon":       {db, sqldedupe.Postgres, "or:ders", none, `the name "or:ders": a name has 1 to 64 ASCII letters`},
		"a name with a slash":       {db, sqldedupe.MySQL, "orders/tx", none, "a name has"},
		"a name with a space":       {db, sqldedupe.SQLite, "or ders", none, "a name has"},
		"a name with a line break":  {db, sqldedupe.SQLite, "orders\n", none, "a name has"},
		"a name that isn't ASCII":   {db, sqldedupe.SQLite, "été", none, "a name has"},
		"too long a name":           {db, sqldedupe.Postgres, long, none, "a name has"},
		"no retention":              {db, sqldedupe.MySQL, "orders", sqldedupe.WithRetention(0), "at least 1ms"},
		"an empty table":            {db, sqldedupe.MySQL, "orders", sqldedupe.WithTable(""), "not a name"},
		"a statement for a table":   {db, sqldedupe.MySQL, "orders", sqldedupe.WithTable("t; DROP TABLE t"), "not a name"},
		"a quoted table":            {db, sqldedupe.Postgres, "orders", sqldedupe.WithTable(`"t"`), "not a name"},
		"too long a table":          {db, sqldedupe.Postgres, "orders", sqldedupe.WithTable(strings.Repeat("t", 51)), "not a name"},
		"two dots":                  {db, sqldedupe.Postgres, "orders", sqldedupe.WithTable("a.b.c"), "not a name"},
		"a schema, in SQLite":       {db, sqldedupe.SQLite, "orders", sqldedupe.WithTable("main.t"), "not a name"},
		"a line break in the table": {db, sqldedupe.SQLite, "orders", sqldedupe.WithTable("t\n"), "not a name"},
	}
	for what, tt := range tests {
		_, err := sqldedupe.New(tt.db, tt.dialect, tt.name, tt.opt)
		require.ErrorContains(t, err, "sqldedupe: ", what)
		require.ErrorContains(t, err, tt.want, what)
	}
	d, err := sqldedupe.New(db, sqldedupe.SQLite, "Orders-2.eu_"+long[:52], nil) // a nil option is ignored
	require.NoError(t, err)
	for _, key := range []string{"", strings.Repeat("k", 513), "ä", "a\x00"} {
		_, err := d.Claim(t.Context(), key, time.Minute)
		require.Error(t, err)
		_, err = d.InTxKey(t.Context(), &sql.Tx{}, key)
		require.Error(t, err)
	}
	_, err = d.Claim(t.Context(), "key", time.Microsecond)
	require.ErrorContains(t, err, "under 1ms")
	_, err = d.InTxKey(t.Context(), nil, "key")
	require.ErrorContains(t, err, "the transaction is nil")
}

func TestTablesInASchemaOfTheirOwn(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.Postgres)
	d.exec(t, "CREATE SCHEMA "+d.table+"_schema")
	t.Cleanup(func() {
		_, _ = connect(t, d.driver, d.source).Exec("DROP SCHEMA IF EXISTS " + d.table + "_schema CASCADE")
	})
	deduper := d.deduper(t, d.db, sqldedupe.WithTable(d.table+"_schema.events"))
	require.NoError(t, deduper.EnsureSchema(t.Context()))
	claimed(t, deduper, "key", time.Minute)
	assert.Equal(t, 1, d.count(t, "SELECT COUNT(*) FROM pg_indexes WHERE schemaname = '"+d.table+"_schema' AND indexname = 'events_expires_at'"))
}

func TestTablesInADatabaseOfTheirOwn(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.MySQL)
	db := connect(t, d.driver, strings.Replace(d.source, "/test?", "/?", 1)) // none is selected
	deduper := d.deduper(t, db, sqldedupe.WithTable("test."+d.table), sqldedupe.WithRetention(time.Millisecond))
	purgesOne(t, deduper)
}

// After a quiet night: the planner knows of one row. It may then choose to look for the rows that are to be removed anew for each
// row of the table, which finds others each time.
func TestPurgeIsBoundedWhateverThePlannerKnows(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.Postgres)
	deduper := d.ready(t)
	for _, c := range []struct{ rows, max int }{{80, 10}, {20_000, 1000}} {
		d.exec(t, "TRUNCATE "+d.table)
		d.exec(t, "INSERT INTO "+d.table+" VALUES ('before', 1, true, now() - interval '1 hour')")
		d.exec(t, "VACUUM ANALYZE "+d.table)
		d.exec(t, fmt.Sprintf("INSERT INTO %s SELECT 'key-' || n, n, true, now() - interval '1 hour' FROM generate_series(1, %d) n", d.table, c.rows))
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		defer cancel()
		n, err := deduper.Purge(ctx, c.max)
		require.NoError(t, err, "%d of %d rows", c.max, c.rows)
		assert.EqualValues(t, c.max, n)
	}
}

// A purge that scans the table would slow down as it grows.
func TestPurgeUsesTheIndex(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.Postgres)
	d.ready(t)
	d.exec(t, "INSERT INTO "+d.table+" SELECT 'key-' || n, n, true, now() + n * interval '1 second' FROM generate_series(1, 20000) n")
	d.exec(t, "ANALYZE "+d.table)
	rows, err := d.db.QueryContext(t.Context(), "EXPLAIN SELECT event_key FROM "+d.table+` WHERE expires_at <= now() AND (done OR expires_at <= now() - interval '1 day')
		ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	var plan []string
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		plan = append(plan, line)
	}
	require.NoError(t, rows.Err())
	assert.Contains(t, strings.Join(plan, "\n"), d.table+"_expires_at")
}
