package walletcrewtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/seedtest"
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

const newSecret walletcrew.Secret = "Zz0Yx9Wv8Ut7Sr6Qp5On4Ml3Kj2Ih1Gf0Ed9Cb8Az7Yx6Wv5Ut4Sr3Qp2On1Ml0K"

// Secrets makes it a verifier's source.
func (s *secrets) Secrets(context.Context, string) ([]walletcrew.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all, nil
}

func (s *secrets) rotate(context.Context) (walletcrew.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = []walletcrew.Secret{newSecret, testSecret}
	return newSecret, nil
}

func ExampleTestReceiver() {
	// Your handler, and what it does. In your test: if err := ...; err != nil { t.Fatal(err) }
	orders := newLedger()
	server := httptest.NewServer(receiver.NewHandler(must(verifier.New(verifier.Static(testSecret))),
		func(_ context.Context, e *walletcrew.Event) error { return orders.do(e.ID) },
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)), receiver.WithTimeout(3*time.Second), receiver.WithLogger(quiet)))
	defer server.Close()

	err := walletcrewtest.TestReceiver(context.Background(), server.URL, testSecret,
		walletcrewtest.WithEffects(orders.count), walletcrewtest.WithFailures(orders.fail))
	fmt.Println(err)
	// Output: <nil>
}

// A receiver that checks nothing.
func ExampleCheckReceiver() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(3 * time.Second))
		if _, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20)); err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	defer server.Close()

	report, err := walletcrewtest.CheckReceiver(context.Background(), server.URL, testSecret)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, rule := range report.Rules[:4] {
		fmt.Printf("%s: %t\n", rule.Name, rule.Passed)
	}
	// Output:
	// every event is lost: true
	// anyone can forge an event: false
	// anyone can change an event: false
	// anyone can suppress an event: true
}

// The receiver of the examples below: your handler in an httptest.Server.
var receiverURL string

// A receiver that handles other events than Pass:Installed, of a tenant that it knows.
func ExampleWithDeliveries() {
	err := walletcrewtest.TestReceiver(context.Background(), receiverURL, testSecret, walletcrewtest.WithDeliveries("acme", walletcrew.EventCustomerUpserted))
	fmt.Println(err)
}

// What the receiver did, from where it did it.
func ExampleWithEffects() {
	orders := newLedger() // yours: SELECT count(*) FROM orders WHERE event_id = $1
	err := walletcrewtest.TestReceiver(context.Background(), receiverURL, testSecret, walletcrewtest.WithEffects(orders.count))
	fmt.Println(err)
}

// A function of the receiver that fails on order.
func ExampleWithFailures() {
	orders := newLedger() // yours: a map of ids and how often each fails, which your function looks at first
	err := walletcrewtest.TestReceiver(context.Background(), receiverURL, testSecret, walletcrewtest.WithFailures(orders.fail))
	fmt.Println(err)
}

// A receiver that takes another secret without a restart.
func ExampleWithRotation() {
	current := &secrets{} // yours: the source of the verifier
	err := walletcrewtest.TestReceiver(context.Background(), receiverURL, testSecret, walletcrewtest.WithRotation(current.rotate))
	fmt.Println(err)
}

// The seed is in the error of the test that failed.
func ExampleWithSeed() {
	err := walletcrewtest.TestReceiver(context.Background(), receiverURL, testSecret, walletcrewtest.WithSeed(42))
	fmt.Println(err)
}

// TestTheHandlerKeepsTheRules isn't parallel itself: other tests beside it would take the machine's time, which the rules measure.
func TestTheHandlerKeepsTheRules(t *testing.T) {
	t.Run("the handler", func(t *testing.T) {
		t.Parallel()
		seedtest.TheHandlerKeepsTheRules(t, receiver.NewMemoryDeduper(0, 0))
	})
	t.Run("plain", aReceiverThatIsNotMadeWithTheSDKKeepsTheRules)
	t.Run("by hand", aCorrectReceiverByHandPasses)
}

func TestWithoutAnOptionItsRulesAreSkipped(t *testing.T) {
	t.Parallel()
	skipped := map[string]string{}
	server := httptest.NewServer(receiver.NewHandler(must(verifier.New(verifier.Static(testSecret))), func(context.Context, *walletcrew.Event) error { return nil },
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)), receiver.WithLogger(quiet), receiver.WithTimeout(4*time.Second)))
	defer server.Close()
	report, err := walletcrewtest.CheckReceiver(t.Context(), server.URL, testSecret, walletcrewtest.WithSeed(7))
	require.NoError(t, err)
	assert.EqualValues(t, 7, report.Seed)
	var names []string
	for _, rule := range report.Rules {
		names = append(names, rule.Name)
		if rule.Skipped {
			skipped[rule.Name] = rule.Why
			assert.False(t, rule.Passed, rule.Name)
			continue
		}
		assert.True(t, rule.Passed, "%+v", rule)
		assert.Empty(t, rule.Why)
	}
	assert.Equal(t, map[string]string{
		ruleEarly:     "it takes the option WithEffects",
		ruleReplayed:  "it takes the option WithEffects",
		ruleFails:     "it takes the option WithFailures",
		ruleFailsOnce: "it takes the option WithFailures",
		ruleRotation:  "it takes the option WithRotation",
	}, skipped)
	assert.Equal(t, []string{
		ruleAll, ruleForge, ruleChange, ruleSuppress, ruleDecode, ruleUnpack, ruleHuge, ruleSlow, ruleEmpty, ruleCutOff, ruleMethods, ruleUnknown,
		ruleJSON, ruleMalformed, ruleEarly, ruleDuplicates, ruleAtOnce, ruleReplayed, ruleSimilar, ruleOrder, ruleLost, ruleHangUp, ruleFails,
		ruleFailsOnce, ruleRotation, ruleLeak,
	}, names, "always the same, in one order")
}

func TestAnyEventWillDo(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for _, name := range append(walletcrew.Events(), "Wallet:Opened", "pass.created", "") {
		wg.Go(func() {
			p := newPlain()
			assert.Empty(t, brokenRules(checkPlain(t, p, walletcrewtest.WithDeliveries("acme", name), walletcrewtest.WithEffects(p.count))), name)
		})
	}
	wg.Wait()
}

// It can't know whether the claim was taken whose answer it didn't wait for, and lets the lease run out.
func TestAReceiverMayKeepALeaseAfterAHangUp(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var leased string
	var until time.Time
	p := newPlain()
	p.once = func(p *plain, r *http.Request, id string, do func() error) int {
		mu.Lock()
		first := leased == ""
		held := id == leased && time.Now().Before(until)
		mu.Unlock()
		if first {
			select {
			case <-r.Context().Done():
				mu.Lock()
				defer mu.Unlock()
				leased, until = id, time.Now().Add(3*time.Second) // over the patience of checkPlain, under its lease
				return http.StatusServiceUnavailable
			case <-time.After(50 * time.Millisecond): // of each delivery, until a sender hangs up
			}
		}
		if held {
			return http.StatusServiceUnavailable
		}
		return claimed(p, r, id, do)
	}
	assert.Empty(t, brokenRules(checkPlain(t, p, walletcrewtest.WithEffects(p.count))))
	assert.NotEmpty(t, leased, "a sender hung up")
}

func TestTheErrorNamesTheRuleWhatCameAndTheSeed(t *testing.T) {
	t.Parallel()
	p := newPlain()
	p.known = func(name string) int {
		if !walletcrew.EventName(name).Known() {
			return http.StatusTeapot
		}
		return 0
	}
	server := httptest.NewServer(p)
	defer server.Close()
	err := walletcrewtest.TestReceiver(t.Context(), server.URL, testSecret, walletcrewtest.WithSeed(4711), nil)
	assert.EqualError(t, err, `walletcrewtest: TestReceiver found broken rules (again with WithSeed(4711)):
	a new kind of event is refused for ever: a genuine delivery of the event "Pass:Tested717", which isn't known: expected 2xx, got 418 I'm a teapot`)
	assert.NotContains(t, err.Error(), string(testSecret))
}

func TestWithoutGenuineDeliveriesNothingElseIsSaid(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	report, err := walletcrewtest.CheckReceiver(t.Context(), server.URL, testSecret)
	require.NoError(t, err)
	assert.Contains(t, report.Rules[0].Why, "expected 2xx, got 404 Not Found: is the secret the receiver's")
	for _, rule := range report.Rules[1 : len(report.Rules)-1] {
		assert.True(t, rule.Skipped, rule.Name)
	}
}

func TestAReceiverThatIsNotThereIsAnErrorAndNoRule(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	tls.Config.ErrorLog = quietLog
	defer tls.Close()
	for url, want := range map[string]string{
		"http://" + listener.Addr().String(): "can't be reached",
		tls.URL:                              "certificate",
		"ftp://127.0.0.1/":                   "not an absolute one of http or https",
		"/webhooks":                          "not an absolute one of http or https",
		"http://":                            "not an absolute one of http or https",
		"http://a b/%zz":                     "can't be parsed",
	} {
		report, err := walletcrewtest.CheckReceiver(t.Context(), url, testSecret)
		assert.Nil(t, report, url)
		assert.ErrorContains(t, err, "walletcrewtest: CheckReceiver: ", url)
		assert.ErrorContains(t, err, want, url)
		assert.ErrorContains(t, walletcrewtest.TestReceiver(t.Context(), url, testSecret), want, url)
	}
	_, err = walletcrewtest.CheckReceiver(t.Context(), tls.URL, "")
	assert.ErrorContains(t, err, "the secret is empty")
}

func TestTheTestOfAReceiverEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, hangs := range map[string]func(n int) bool{
		"at the first delivery": func(int) bool { return true },
		"later":                 func(n int) bool { return n > 50 },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		n, p := 0, newPlain()
		release := make(chan struct{})
		p.before = func(*plain, http.ResponseWriter, *http.Request) int {
			mu.Lock()
			n++
			hang := hangs(n)
			mu.Unlock()
			if hang {
				cancel()
				<-release
			}
			return 0
		}
		server := httptest.NewServer(p)
		began := time.Now()
		_, err := walletcrewtest.CheckReceiver(ctx, server.URL, testSecret)
		assert.ErrorIs(t, err, context.Canceled, name)
		assert.Less(t, time.Since(began), 20*time.Second, name)
		close(release)
		server.Close()
		cancel()
	}
}

// A function of the user's that doesn't return doesn't hold up the end.
func TestTheTestOfAReceiverEndsWithItsContextWhateverCountDoes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	defer close(release)
	server := httptest.NewServer(newPlain())
	defer server.Close()
	_, err := walletcrewtest.CheckReceiver(ctx, server.URL, testSecret, walletcrewtest.WithEffects(func(string) int {
		cancel()
		<-release
		return 0
	}))
	assert.ErrorIs(t, err, context.Canceled)
}

func TestAReceiverThatHangsOrFloodsIsFoundInTime(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		why     string
		limit   time.Duration
	}{
		"it hangs":           {func(http.ResponseWriter, *http.Request) { <-hang }, "no answer in time", time.Second},
		"it drops":           {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "a connection that ended without an answer", time.Minute},
		"it redirects":       {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusTemporaryRedirect) }, "307", time.Minute},
		"it answers forever": {func(w http.ResponseWriter, _ *http.Request) { flood(w, hang) }, "404", time.Minute},
		"its answer stops": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			<-hang
		}, "no answer in time", time.Second},
	} {
		server := httptest.NewServer(test.handler)
		began := time.Now()
		report, err := walletcrewtest.CheckReceiver(t.Context(), server.URL, testSecret, walletcrewtest.WithLimits(test.limit, time.Second, time.Second))
		require.NoError(t, err, name)
		assert.Less(t, time.Since(began), 30*time.Second, "%s: an answer without an end isn't read for as long as it may take", name)
		assert.Contains(t, report.Rules[0].Why, test.why, name)
		defer server.Close()
	}
	close(hang)
}

func flood(w http.ResponseWriter, until chan struct{}) {
	w.WriteHeader(http.StatusNotFound)
	for {
		select {
		case <-until:
			return
		default:
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}
}

func TestTheSeedRepeatsWhatIsSent(t *testing.T) {
	t.Parallel()
	sent := func(seed uint64) []string {
		var mu sync.Mutex
		all := map[string]bool{}
		p := newPlain()
		p.early = func(_ *plain, r *http.Request, body []byte) int {
			mu.Lock()
			defer mu.Unlock()
			all[fmt.Sprint(r.Method, r.Header.Values(walletcrew.HeaderSignature), r.Header.Get(walletcrew.HeaderEventName), len(body), string(body[:min(len(body), 800)]))] = true
			return 0
		}
		p.takes = 0
		assert.Empty(t, brokenRules(checkPlain(t, p, walletcrewtest.WithSeed(seed), walletcrewtest.WithNonce("00000000"))))
		var list []string
		for request := range all {
			list = append(list, request)
		}
		slices.Sort(list)
		return list
	}
	var first, again, other []string
	var wg sync.WaitGroup
	wg.Go(func() { first = sent(1) })
	wg.Go(func() { again = sent(1) })
	wg.Go(func() { other = sent(2) })
	wg.Wait()
	assert.Greater(t, len(first), 150)
	assert.Empty(t, difference(first, again))
	assert.NotEmpty(t, difference(first, other))
}

func difference(a, b []string) []string {
	var only []string
	for _, s := range append(slices.Clone(a), b...) {
		if slices.Contains(a, s) != slices.Contains(b, s) {
			only = append(only, strings.ToValidUTF8(s, "?"))
		}
	}
	return only
}
