// Package seedtest tests that receiver.NewHandler keeps the rules of walletcrewtest.TestReceiver, whatever its deduper.
package seedtest

import (
	"context"
	crand "crypto/rand"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

const (
	fewSeeds  = 2
	fewTime   = 4 * time.Second
	manyTime  = 15 * time.Second // so that the machine may be busy
	atOnce    = 8                // a run waits for most of its time, but all share the deduper's connections
	timeToEnd = time.Minute      // of a run on a busy machine
)

var oldSecret, newSecret = walletcrew.Secret(crand.Text() + crand.Text()), walletcrew.Secret(crand.Text() + crand.Text())

// TheHandlerKeepsTheRules checks a handler with the deduper, with a few random seeds. WALLETCREW_TEST_SEEDS=1000 has a thousand, but for those
// that don't end within go test's -timeout. A failure names its seed; WALLETCREW_TEST_SEED=<seed> is that one alone.
func TheHandlerKeepsTheRules(t *testing.T, deduper receiver.Deduper) {
	t.Helper()
	seeds, limit := fewSeeds, fewTime
	if n, err := strconv.Atoi(os.Getenv("WALLETCREW_TEST_SEEDS")); err == nil {
		seeds, limit = n, manyTime
	}
	next := make(chan uint64, seeds)
	if seed, err := strconv.ParseUint(os.Getenv("WALLETCREW_TEST_SEED"), 10, 64); err == nil {
		seeds = 1
		next <- seed
	} else {
		for range seeds {
			next <- rand.Uint64() //nolint:gosec // not a secret
		}
	}
	close(next)
	deadline, limited := t.Deadline()
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range min(seeds, atOnce) {
		wg.Go(func() {
			for seed := range next {
				if limited && time.Until(deadline) < timeToEnd+manyTime {
					return
				}
				checkHandler(t, deduper, seed, limit)
				mu.Lock()
				done++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if t.Logf("%d seeds", done); done < seeds {
		t.Errorf("the time was up after %d of %d seeds: give go test a longer -timeout", done, seeds)
	}
}

func checkHandler(t *testing.T, deduper receiver.Deduper, seed uint64, limit time.Duration) {
	l := newLedger()
	source := &rotating{all: []walletcrew.Secret{oldSecret}}
	v, err := verifier.New(verifier.SecretFunc(source.get))
	if err != nil {
		t.Error(err)
		return
	}
	var logged logBuffer
	server := httptest.NewServer(receiver.NewHandler(v, func(_ context.Context, e *walletcrew.Event) error { return l.do(e.ID) },
		receiver.WithDeduper(deduper), receiver.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))), receiver.WithTimeout(limit)))
	defer server.Close()
	report, err := walletcrewtest.CheckReceiver(t.Context(), server.URL, oldSecret, walletcrewtest.WithEffects(l.count),
		walletcrewtest.WithFailures(l.fail), walletcrewtest.WithRotation(source.rotate), walletcrewtest.WithSeed(seed))
	if err != nil {
		t.Errorf("seed %d: %v", seed, err)
		return
	}
	for _, rule := range report.Rules {
		if !rule.Passed {
			t.Errorf("seed %d: %+v\n%s", seed, rule, logged.about("dedupe"))
		}
	}
}

// A logBuffer is what the handler has logged.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// about returns the lines with the word, which may explain what a rule found.
func (b *logBuffer) about(word string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []string
	for line := range strings.Lines(b.text.String()) {
		if strings.Contains(line, word) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// rotating is a receiver's source.
type rotating struct {
	mu  sync.Mutex
	all []walletcrew.Secret
}

func (s *rotating) get(context.Context, string) ([]walletcrew.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all, nil
}

func (s *rotating) rotate(context.Context) (walletcrew.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = []walletcrew.Secret{oldSecret, newSecret}
	return newSecret, nil
}

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
