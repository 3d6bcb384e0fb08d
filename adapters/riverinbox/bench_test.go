package riverinbox_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"slices"
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
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/riverinbox"
)

const atOnce = 8

// A delivery, verified and taken into the inbox, beside a transaction that only inserts its body, and beside one that only inserts the job with
// River's own client: 8 at once, in turns, since the machine's speed changes. The ratios are to the bare transaction, and medians of the turns.
//
//	go test -run '^$' -bench Delivery -benchtime 30x
func BenchmarkDelivery(b *testing.B) {
	b.Run("pgx", func(b *testing.B) {
		pool := benchDatabase(b)
		inbox, err := riverinbox.New(pool, "orders")
		require.NoError(b, err)
		client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{})
		require.NoError(b, err)
		in := func(f func(pgx.Tx) error) error { return pgx.BeginFunc(b.Context(), pool, f) }
		benchmark(b, inbox,
			func(body []byte) error {
				return in(func(tx pgx.Tx) error { _, err := tx.Exec(b.Context(), insertBare, body); return err })
			},
			func(args riverinbox.Args) error {
				return in(func(tx pgx.Tx) error { _, err := client.InsertTx(b.Context(), tx, args, jobOpts); return err })
			})
	})
	b.Run("database/sql", func(b *testing.B) {
		db := stdlib.OpenDB(*benchDatabase(b).Config().ConnConfig)
		b.Cleanup(func() { _ = db.Close() })
		db.SetMaxOpenConns(atOnce)
		db.SetMaxIdleConns(atOnce)
		inbox, err := riverinbox.NewSQL(db, "orders")
		require.NoError(b, err)
		client, err := river.NewClient(riverdatabasesql.New(db), &river.Config{})
		require.NoError(b, err)
		in := func(f func(*sql.Tx) error) error {
			tx, err := db.BeginTx(b.Context(), nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			if err := f(tx); err != nil {
				return err
			}
			return tx.Commit()
		}
		benchmark(b, inbox,
			func(body []byte) error {
				return in(func(tx *sql.Tx) error { _, err := tx.ExecContext(b.Context(), insertBare, body); return err })
			},
			func(args riverinbox.Args) error {
				return in(func(tx *sql.Tx) error { _, err := client.InsertTx(b.Context(), tx, args, jobOpts); return err })
			})
	})
}

const insertBare = "INSERT INTO bare (body) VALUES ($1)"

var jobOpts = &river.InsertOpts{Queue: "orders", MaxAttempts: 1000}

func benchDatabase(b *testing.B) *pgxpool.Pool {
	b.Helper()
	config := newDatabase(b).Config().Copy()
	config.MaxConns = atOnce
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	require.NoError(b, err)
	b.Cleanup(pool.Close)
	_, err = pool.Exec(b.Context(), "CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL)")
	require.NoError(b, err)
	return pool
}

func benchmark(b *testing.B, inbox *riverinbox.Inbox, insert func(body []byte) error, insertJob func(args riverinbox.Args) error) {
	b.Helper()
	require.NoError(b, inbox.EnsureSchema(b.Context()))
	h := newHandler(b, inbox.Handle)
	var ids atomic.Int64
	body := func() string { return fmt.Sprintf(`{"__id":"e-%d","x":%q}`, ids.Add(1), strings.Repeat("x", 500)) }
	bare := func() error { return insert([]byte(body())) }
	job := func() error {
		text := body()
		return insertJob(riverinbox.Args{Name: "Pass:Installed", Tenant: "shop", Key: text[:20], Received: time.Now(), Body: []byte(text)})
	}
	delivery := func() error {
		if code := deliver(h, "shop", body()); code != http.StatusNoContent {
			return fmt.Errorf("answered with %d", code)
		}
		return nil
	}
	for _, f := range []func() error{bare, job, delivery} { // the pool's connections, and their statements
		rate(b, f)
	}
	var bares, deliveries, ratios, rivers []float64
	for b.Loop() {
		before, of, between, ofRiver, after := rate(b, bare), rate(b, delivery), rate(b, bare), rate(b, job), rate(b, bare)
		bares, deliveries = append(bares, between), append(deliveries, of)
		ratios, rivers = append(ratios, 2*of/(before+between)), append(rivers, 2*ofRiver/(between+after))
	}
	b.ReportMetric(median(bares), "bare/s")
	b.ReportMetric(median(deliveries), "deliveries/s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(rivers), "river-ratio")
}

// rate is how often f runs in a second.
func rate(b *testing.B, f func() error) float64 {
	b.Helper()
	const turn = 100 * time.Millisecond
	var n atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range atOnce {
		all.Go(func() {
			for time.Since(began) < turn {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	all.Wait()
	return float64(n.Load()) / time.Since(began).Seconds()
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
