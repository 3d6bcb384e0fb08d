package walletcrewtest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		require.NoError(t, walletcrewtest.TestDeduper(t.Context(), receiver.NewMemoryDeduper(0, 0)))
		assert.LessOrEqual(t, time.Since(began), time.Second, "the test is meant to be quick")
	})
}

// A broken deduper that keeps all rules but one.
type broken struct {
	receiver.Deduper
	claim    func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error)
	complete func(ctx context.Context, key, token string) error
	release  func(ctx context.Context, key, token string) error
}

func (b broken) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	if b.claim == nil {
		return b.Deduper.Claim(ctx, key, lease)
	}
	return b.claim(ctx, key, lease)
}

func (b broken) Complete(ctx context.Context, key, token string) error {
	if b.complete == nil {
		return b.Deduper.Complete(ctx, key, token)
	}
	return b.complete(ctx, key, token)
}

func (b broken) Release(ctx context.Context, key, token string) error {
	if b.release == nil {
		return b.Deduper.Release(ctx, key, token)
	}
	return b.release(ctx, key, token)
}

func TestTestDeduperNamesTheBrokenRule(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		wrap func(good receiver.Deduper) receiver.Deduper
		want string
	}{
		"leases never run out": {
			func(good receiver.Deduper) receiver.Deduper {
				return broken{Deduper: good, claim: func(ctx context.Context, key string, _ time.Duration) (receiver.Claim, error) {
					return good.Claim(ctx, key, 24*time.Hour)
				}}
			},
			"a lease that ran out can be taken over",
		},
		"leases run out at once": {
			func(good receiver.Deduper) receiver.Deduper {
				return broken{Deduper: good, claim: func(ctx context.Context, key string, _ time.Duration) (receiver.Claim, error) {
					return good.Claim(ctx, key, time.Nanosecond)
				}}
			},
			"a key that is held isn't given away",
		},
		"no fencing": {
			func(good receiver.Deduper) receiver.Deduper {
				return broken{Deduper: good, complete: func(ctx context.Context, key, token string) error {
					if err := good.Complete(ctx, key, token); !errors.Is(err, receiver.ErrLeaseLost) {
						return err
					}
					return nil
				}}
			},
			"expected ErrLeaseLost, got no error",
		},
		"release frees what is done": {
			func(good receiver.Deduper) receiver.Deduper {
				var mu sync.Mutex
				freed := map[string]bool{}
				return broken{
					Deduper: good,
					claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
						mu.Lock()
						defer mu.Unlock()
						if freed[key] {
							return receiver.Claim{State: receiver.Claimed, Token: "x"}, nil
						}
						return good.Claim(ctx, key, lease)
					},
					release: func(ctx context.Context, key, token string) error {
						mu.Lock()
						defer mu.Unlock()
						err := good.Release(ctx, key, token)
						freed[key] = freed[key] || errors.Is(err, receiver.ErrLeaseLost)
						return err
					},
				}
			},
			"after a Release that came after Complete: expected done, got claimed",
		},
		"keys without case": {
			func(good receiver.Deduper) receiver.Deduper {
				fold := func(key string) string {
					if key[len(key)-1] == 'A' {
						return key[:len(key)-1] + "a"
					}
					return key
				}
				return broken{Deduper: good, claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
					return good.Claim(ctx, fold(key), lease)
				}}
			},
			"keys are compared exactly",
		},
		"everybody wins": {
			func(good receiver.Deduper) receiver.Deduper {
				return broken{Deduper: good, claim: func(context.Context, string, time.Duration) (receiver.Claim, error) {
					return receiver.Claim{State: receiver.Claimed, Token: "x"}, nil
				}}
			},
			"of several at once, one gets a key: 32 of 32 Claims at once were claimed, expected 1",
		},
		"the server is down": {
			func(good receiver.Deduper) receiver.Deduper {
				return broken{Deduper: good, claim: func(context.Context, string, time.Duration) (receiver.Claim, error) {
					return receiver.Claim{}, errors.New("connection refused")
				}}
			},
			"connection refused",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := walletcrewtest.TestDeduper(t.Context(), tt.wrap(receiver.NewMemoryDeduper(0, 0)))
			require.Error(t, err, "expected the broken rule to be seen")
			assert.ErrorContains(t, err, tt.want)
		})
	}
	require.Error(t, walletcrewtest.TestDeduper(t.Context(), nil), "nil is no deduper")
}
