package walletcrewtest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func ExampleTestDeduper() {
	// In your test: if err := ...; err != nil { t.Fatal(err) }
	err := walletcrewtest.TestDeduper(context.Background(), receiver.NewMemoryDeduper(0, 0))
	fmt.Println(err)
	// Output: <nil>
}

func TestTheMemoryDeduperKeepsTheRules(t *testing.T) {
	t.Parallel()
	for name, deduper := range map[string]func() receiver.Deduper{
		"as it comes": func() receiver.Deduper { return receiver.NewMemoryDeduper(0, 0) },
		"with no more room and time than TestDeduper says": func() receiver.Deduper { return receiver.NewMemoryDeduper(5000, time.Minute) },
	} {
		synctest.Test(t, func(t *testing.T) {
			assert.NoError(t, walletcrewtest.TestDeduper(t.Context(), deduper()), name)
		})
	}
}

// A slow deduper keeps the rules, but its answers take a time. It gives up when the context ends, with or without having done the work.
func slow(good receiver.Deduper, takes func() time.Duration) receiver.Deduper {
	pause := func(ctx context.Context) error {
		select {
		case <-time.After(takes()):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	around := func(ctx context.Context, call func() error) error {
		if err := pause(ctx); err != nil {
			return err
		}
		err := call()
		if late := pause(ctx); late != nil {
			return late
		}
		return err
	}
	return broken{
		Deduper: good,
		claim: func(ctx context.Context, key string, lease time.Duration) (claim receiver.Claim, err error) {
			err = around(ctx, func() (err error) {
				claim, err = good.Claim(ctx, key, lease)
				return err
			})
			if err != nil {
				claim = receiver.Claim{Token: claim.Token}
			}
			return claim, err
		},
		complete: func(ctx context.Context, key, token string) error {
			return around(ctx, func() error { return good.Complete(ctx, key, token) })
		},
		release: func(ctx context.Context, key, token string) error {
			return around(ctx, func() error { return good.Release(ctx, key, token) })
		},
	}
}

func TestTestDeduperPassesADeduperThatIsSlowOrStandsStill(t *testing.T) {
	t.Parallel()
	for name, takes := range map[string]func() time.Duration{
		"a server far away":     func() time.Duration { return 40 * time.Millisecond },
		"a server that is slow": func() time.Duration { return 500 * time.Millisecond },
		"a machine that stands still for a second at times": func() time.Duration {
			if rand.N(50) == 0 {
				return time.Second
			}
			return rand.N(3 * time.Millisecond)
		},
	} {
		for range 2 {
			synctest.Test(t, func(t *testing.T) {
				assert.NoError(t, walletcrewtest.TestDeduper(t.Context(), slow(&model{}, takes)), name)
			})
		}
	}
}

func TestTestDeduperSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		capped := &model{leaseOf: func(l time.Duration) time.Duration { return min(l, time.Hour) }}
		assert.EqualError(t, walletcrewtest.TestDeduper(t.Context(), capped), `walletcrewtest: TestDeduper found broken rules:
	a lease lasts as long as was asked for: Claim 1h0m59.97s after the beginning of a lease of 1h1m0s: `+
			`expected held, got claimed: two deliveries of one event both got it: it is handled twice
	a lease lasts as long as was asked for: Claim 12h0m5s after the beginning of a lease of 24h0m10s: `+
			`expected held, got claimed: two deliveries of one event both got it: it is handled twice`)
	})
}

func TestTestDeduperEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := walletcrewtest.TestDeduper(ctx, &model{})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "TestDeduper was stopped")
		assert.Equal(t, time.Second, time.Since(began))
	})
}

func TestTestDeduperOfNilIsAnError(t *testing.T) {
	t.Parallel()
	assert.ErrorContains(t, walletcrewtest.TestDeduper(t.Context(), nil), "the deduper is nil")
}
