package walletcrewtest_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A ledger is what a receiver did: how often each event took effect, and how often it is still to fail.
type ledger struct {
	mu      sync.Mutex
	effects map[string]int
	fails   map[string]int
}

func newLedger() *ledger { return &ledger{effects: map[string]int{}, fails: map[string]int{}} }

func (l *ledger) count(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.effects[id]
}

func (l *ledger) fail(id string, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails[id] = times
}

// do is an effect, unless it is to fail.
func (l *ledger) do(id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails[id] > 0 {
		l.fails[id]--
		return errors.New("ordered to fail")
	}
	l.effects[id]++
	return nil
}

// secrets are those of a receiver that can be rotated.
type secrets struct {
	mu  sync.Mutex
	all []walletcrew.Secret
}

func (s *secrets) get(context.Context, string) ([]walletcrew.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all, nil
}

const newSecret walletcrew.Secret = "Zz0Yx9Wv8Ut7Sr6Qp5On4Ml3Kj2Ih1Gf0Ed9Cb8Az7Yx6Wv5Ut4Sr3Qp2On1Ml0K"

func (s *secrets) rotate(context.Context) (walletcrew.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = []walletcrew.Secret{newSecret, testSecret}
	return newSecret, nil
}

// checkHandler checks receiver.NewHandler with a memory deduper.
func checkHandler(t *testing.T, seed uint64, with func(l *ledger, s *secrets) []walletcrewtest.ReceiverOption) *walletcrewtest.ReceiverReport {
	t.Helper()
	l, s := newLedger(), &secrets{all: []walletcrew.Secret{testSecret}}
	h := receiver.NewHandler(must(verifier.New(verifier.SecretFunc(s.get))),
		func(_ context.Context, e *walletcrew.Event) error { return l.do(e.ID) },
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)), receiver.WithLogger(quiet), receiver.WithTimeout(4*time.Second))
	server := httptest.NewServer(h)
	defer server.Close()
	report, err := walletcrewtest.CheckReceiver(t.Context(), server.URL, testSecret, append(with(l, s), walletcrewtest.WithSeed(seed))...)
	require.NoError(t, err)
	return report
}

func withAll(l *ledger, s *secrets) []walletcrewtest.ReceiverOption {
	return []walletcrewtest.ReceiverOption{walletcrewtest.WithEffects(l.count), walletcrewtest.WithFailures(l.fail), walletcrewtest.WithRotation(s.rotate)}
}

// TestTheHandlerKeepsTheRules has a few seeds; WALLETCREW_TEST_SEEDS=1000 has a thousand.
func TestTheHandlerKeepsTheRules(t *testing.T) {
	t.Parallel()
	seeds := 2
	if n, err := strconv.Atoi(os.Getenv("WALLETCREW_TEST_SEEDS")); err == nil {
		seeds = n
	}
	next := make(chan uint64, seeds)
	for range seeds {
		next <- uint64(time.Now().UnixNano())
	}
	close(next)
	var wg sync.WaitGroup
	for range min(seeds, 6) {
		wg.Go(func() {
			for seed := range next {
				for _, rule := range checkHandler(t, seed, withAll).Rules {
					assert.True(t, rule.Passed, "seed %d: %+v", seed, rule)
				}
			}
		})
	}
	wg.Wait()
}
