package redisdedupe_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/redisdedupe"
)

// BenchmarkDelivery compares what a delivery costs with bare commands on the same keys. The kinds take turns in short rounds, so
// that what else the machine does meets all alike; of the rounds, the median counts. Use -benchtime 50x: 50 rounds.
func BenchmarkDelivery(b *testing.B) {
	client := newClient(b)
	prefix := newPrefix(b, client)
	d, err := redisdedupe.New(client, "orders", redisdedupe.WithPrefix(prefix), redisdedupe.WithRetention(time.Minute))
	require.NoError(b, err)
	claim, err := d.Claim(b.Context(), "duplicate", time.Minute)
	require.NoError(b, err)
	require.NoError(b, d.Complete(b.Context(), "duplicate", claim.Token))
	compare(b, []kind{
		{"setnx", func(ctx context.Context, key string) error {
			return client.SetNX(ctx, prefix+key, "1", time.Minute).Err()
		}},
		{"setnx+set", func(ctx context.Context, key string) error { // the least that two steps can cost
			if err := client.SetNX(ctx, prefix+key, "1", time.Minute).Err(); err != nil {
				return err
			}
			return client.Set(ctx, prefix+key, "2", time.Minute).Err()
		}},
		{"claim+complete", func(ctx context.Context, key string) error {
			claim, err := d.Claim(ctx, key, time.Minute)
			if err != nil {
				return err
			}
			return d.Complete(ctx, key, claim.Token)
		}},
		{"duplicate", func(ctx context.Context, _ string) error {
			_, err := d.Claim(ctx, "duplicate", time.Minute)
			return err
		}},
	})
}

type kind struct {
	name string
	op   func(ctx context.Context, key string) error
}

// compare runs a round of each kind b.N times, 2,000 deliveries on 16 goroutines, and reports the medians per second.
func compare(b *testing.B, kinds []kind) {
	b.Helper()
	const deliveries, goroutines = 2000, 16
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
