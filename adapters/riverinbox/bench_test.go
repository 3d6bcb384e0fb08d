package riverinbox_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

const atOnce = 8

// A delivery, verified and taken into the inbox, beside a transaction that only inserts its body: 8 at once, in turns, since the machine's speed
// changes. The figures are medians of the turns.
//
//	go test -run '^$' -bench Delivery -benchtime 20x
func BenchmarkDelivery(b *testing.B) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			pool := newDatabase(b)
			config := pool.Config().Copy()
			config.MaxConns = atOnce
			pool, err := pgxpool.NewWithConfig(b.Context(), config)
			require.NoError(b, err)
			b.Cleanup(pool.Close)
			inbox, err := k.inbox(pool, "orders")
			require.NoError(b, err)
			require.NoError(b, inbox.EnsureSchema(b.Context()))
			_, err = pool.Exec(b.Context(), "CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL)")
			require.NoError(b, err)
			h := newHandler(b, inbox.Handle)
			var ids atomic.Int64
			body := func() string { return fmt.Sprintf(`{"__id":"e-%d","x":%q}`, ids.Add(1), strings.Repeat("x", 500)) }
			bare := func() {
				if err := insertBare(b.Context(), pool, body()); err != nil {
					b.Error(err)
				}
			}
			delivery := func() {
				if code := deliver(h, "shop", body()); code != http.StatusNoContent {
					b.Error(code)
				}
			}
			rate(bare) // the pool's connections, and their statements
			rate(delivery)
			var bares, deliveries, ratios []float64
			for b.Loop() {
				before := rate(bare)
				of := rate(delivery)
				mean := (before + rate(bare)) / 2
				bares, deliveries, ratios = append(bares, mean), append(deliveries, of), append(ratios, of/mean)
			}
			b.ReportMetric(median(bares), "bare/s")
			b.ReportMetric(median(deliveries), "deliveries/s")
			b.ReportMetric(median(ratios), "ratio")
		})
	}
}

func insertBare(ctx context.Context, pool *pgxpool.Pool, body string) error {
	tx, err := pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, "INSERT INTO bare (body) VALUES ($1)", []byte(body)); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// rate is how often f runs in a second.
func rate(f func()) float64 {
	const turn = 300 * time.Millisecond
	var n atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range atOnce {
		all.Go(func() {
			for time.Since(began) < turn {
				f()
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
