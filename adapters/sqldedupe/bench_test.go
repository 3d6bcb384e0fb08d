package sqldedupe_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
)

// BenchmarkDelivery compares what a delivery costs with bare statements on the same keys. The kinds take turns in short rounds,
// so that what else the machine does meets all alike; of the rounds, the median counts. Use -benchtime 20x: 20 rounds.
func BenchmarkDelivery(b *testing.B) {
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) {
			d := e.open(b)
			d.db.SetMaxIdleConns(15)
			deduper := d.ready(b)
			insert, update := bareStatements(b, d)
			const duplicates = 500
			for i := range duplicates {
				key := fmt.Sprint("duplicate-", i)
				require.NoError(b, deduper.Complete(b.Context(), key, claimed(b, deduper, key, time.Minute).Token))
			}
			once := deduper.Once(func(context.Context, *sql.Tx, *walletcrew.Event) error { return nil })
			compare(b, []kind{
				{"insert", func(ctx context.Context, key string) error {
					_, err := d.db.ExecContext(ctx, insert, key)
					return err
				}},
				{"insert+update", func(ctx context.Context, key string) error {
					if _, err := d.db.ExecContext(ctx, insert, key); err != nil {
						return err
					}
					_, err := d.db.ExecContext(ctx, update, key)
					return err
				}},
				{"claim+complete", func(ctx context.Context, key string) error {
					claim, err := deduper.Claim(ctx, key, time.Minute)
					if err != nil {
						return err
					}
					return deduper.Complete(ctx, key, claim.Token)
				}},
				{"duplicate", func(ctx context.Context, key string) error {
					_, err := deduper.Claim(ctx, "duplicate-"+key[len(key)-2:], time.Minute)
					return err
				}},
				{"once", func(ctx context.Context, key string) error { return call(ctx, once, key) }},
			})
		})
	}
}

// bareStatements are on a table with the same key and no second index.
func bareStatements(b *testing.B, d *database) (insert, update string) {
	b.Helper()
	bare := d.table + "_bare"
	keyType, mark := "TEXT", "?"
	switch d.dialect {
	case sqldedupe.Postgres:
		keyType, mark = `varchar(600) COLLATE "C"`, "$1"
	case sqldedupe.MySQL:
		keyType = "VARBINARY(600)"
	}
	d.exec(b, "CREATE TABLE "+bare+" (event_key "+keyType+" NOT NULL PRIMARY KEY, done INTEGER NOT NULL)")
	b.Cleanup(func() { _, _ = d.db.Exec("DROP TABLE " + bare) })
	return "INSERT INTO " + bare + " VALUES (" + mark + ", 0)", "UPDATE " + bare + " SET done = 1 WHERE event_key = " + mark
}

type kind struct {
	name string
	op   func(ctx context.Context, key string) error
}

// compare runs a round of each kind b.N times, 200 deliveries on 8 goroutines, and reports the medians per second.
func compare(b *testing.B, kinds []kind) {
	b.Helper()
	const deliveries, goroutines = 200, 8
	took := make([][]time.Duration, len(kinds))
	var next atomic.Int64
	for b.Loop() {
		for i, k := range kinds {
			var left atomic.Int64
			left.Store(deliveries)
			began := time.Now()
			var wg sync.WaitGroup
			for range goroutines {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if err := k.op(b.Context(), fmt.Sprintf("t/shop/0b9d3a52-6f0e-4c55-9a55-%012d", next.Add(1))); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			took[i] = append(took[i], time.Since(began))
		}
	}
	for i, k := range kinds {
		slices.Sort(took[i])
		b.ReportMetric(deliveries/took[i][len(took[i])/2].Seconds(), k.name+"/s")
	}
	b.ReportMetric(0, "ns/op") // of a round of all kinds: says nothing
}
