package walletcrewtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// TestReceiver tests whether the receiver at url keeps the rules of receiving. The receiver may be written with this SDK or with anything
// else. Like [testing/fstest.TestFS], TestReceiver returns nil or one error. The error names each broken rule, the behaviour that was seen,
// and the seed. Each rule is named after the loss that it prevents.
//
//	server := httptest.NewServer(myHandler)
//	defer server.Close()
//	err := walletcrewtest.TestReceiver(t.Context(), server.URL, secret,
//		walletcrewtest.WithEffects(func(eventID string) int { return orders.Count(eventID) }))
//
// Don't point it at production, because the genuine events take effect. It delivers some hundred events, genuine and forged, whole and
// broken off, once and several times, 20 of them at once.
//
// Without an option it judges only the answers. With [WithEffects] it also sees events that are lost or that take effect twice.
// [WithFailures] adds the rules about functions that fail, and [WithRotation] the rule about a new secret.
//
// Statuses are judged loosely:
//
//   - 2xx means that the delivery was accepted.
//   - Any 4xx or a 503 means that it was refused.
//   - 429 or 503 to a genuine delivery means that it must come again. TestReceiver delivers it again for at most 10 seconds, or for 35
//     after a hang-up: then a receiver may not know whether it has claimed the event, and a lease of [receiver.NewHandler] lasts so long.
//
// TestReceiver waits until the receiver gives up on a body that stops coming. With a correct receiver it takes at most 40 seconds, if a
// delivery takes under a second. It ends when ctx ends.
//
// A passed test is no proof: a race may not have shown itself. The other errors are those of [CheckReceiver].
func TestReceiver(ctx context.Context, url string, secret walletcrew.Secret, opts ...ReceiverOption) error {
	report, err := CheckReceiver(ctx, url, secret, opts...)
	if err != nil {
		return err
	}
	var broken []string
	for _, rule := range report.Rules {
		if !rule.Passed && !rule.Skipped {
			broken = append(broken, rule.Name+": "+rule.Why)
		}
	}
	if len(broken) == 0 {
		return nil
	}
	return fmt.Errorf("walletcrewtest: TestReceiver found broken rules (again with WithSeed(%d)):\n\t%s", report.Seed, strings.Join(broken, "\n\t"))
}

// CheckReceiver is [TestReceiver] with a report as its result. If the receiver breaks rules, that is in the report and no error. An error
// means that the check couldn't be made:
//
//   - Url isn't http or https, or can't be reached.
//   - The secret is empty.
//   - Ctx has ended. The error is then ctx's (errors.Is).
func CheckReceiver(ctx context.Context, url string, secret walletcrew.Secret, opts ...ReceiverOption) (*ReceiverReport, error) {
	t, err := newReceiverTest(url, secret, opts)
	if err == nil {
		err = t.run(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("walletcrewtest: CheckReceiver: %w", err)
	}
	return t.report, nil
}

// A ReceiverReport is the result of [CheckReceiver].
type ReceiverReport struct {
	Seed  uint64         // for WithSeed
	Rules []ReceiverRule // all, always in the same order
}

// A ReceiverRule is the result for one rule.
type ReceiverRule struct {
	Name            string // what is lost without it
	Passed, Skipped bool   // both false: it is broken
	Why             string // what was expected and what came, or why it was skipped; "" if it passed
}

// A ReceiverOption is passed to [TestReceiver] and [CheckReceiver].
type ReceiverOption func(*receiverTest)

// WithDeliveries chooses the tenant and the event of the deliveries. Choose an event that the receiver handles. The default is "test" and
// Pass:Installed.
func WithDeliveries(tenantID string, name walletcrew.EventName) ReceiverOption {
	return func(t *receiverTest) { t.tenant, t.event = tenantID, name }
}

// WithEffects lets the test see the receiver's effects: count returns how often the event with this "__id" took effect. The effect must be
// there as soon as the delivery is answered with 2xx, since it doesn't come again then. If the receiver hands events over to a durable
// queue, the effect is that the event is in the queue. Count must be safe for concurrent use.
func WithEffects(count func(eventID string) int) ReceiverOption {
	return func(t *receiverTest) { t.count = count }
}

// WithFailures adds the rules about a function that fails. Fail must make the receiver fail for the next deliveries of this event, so many
// times, before they take effect. It is called before the first of them is sent, and must be safe for concurrent use.
func WithFailures(fail func(eventID string, times int)) ReceiverOption {
	return func(t *receiverTest) { t.fail = fail }
}

// WithRotation adds the rule about a rotation of the secret. Rotate must give the receiver a new secret and return it. Afterwards, the
// receiver must accept both the old and the new one. Rotate is called once, at the end of the test.
func WithRotation(rotate func(ctx context.Context) (walletcrew.Secret, error)) ReceiverOption {
	return func(t *receiverTest) { t.rotate = rotate }
}

// WithSeed repeats the random choices of a test: how deliveries are forged, changed and cut off, and in which order they come. The events'
// ids are new each time, because a receiver that still runs would take them for duplicates. The order in which the receiver works on
// simultaneous deliveries isn't repeated either. The default is a random seed.
func WithSeed(seed uint64) ReceiverOption { return func(t *receiverTest) { t.report.Seed = seed } }

// A receiverRule is one that a receiver must keep.
type receiverRule struct {
	name string
	need func(*receiverTest) string // an option without which it is skipped
	test func(*ruleRun) error       // the error is what was expected and what came
	// waits: it only waits for most of its time, and nothing that comes meanwhile matters to it.
	waits bool
	// alone: what it looks for shows itself better on a machine that does nothing else.
	alone bool
}

// receiverRules are the rules but the first, which must hold for these to say anything, and the last ones.
var receiverRules = []receiverRule{
	{name: "anyone can forge an event", need: always, test: (*ruleRun).forged},
	{name: "anyone can change an event", need: always, test: (*ruleRun).tampered},
	{name: "anyone can suppress an event", need: always, test: (*ruleRun).suppressed},
	{name: "anyone can have JSON decoded", need: always, test: (*ruleRun).decodedUnverified},
	{name: "anyone can have data unpacked", need: always, test: (*ruleRun).compressed},
	{name: "anyone can fill the memory", need: always, test: (*ruleRun).huge},
	{name: "anyone can hold a connection open", need: always, test: (*ruleRun).slow, waits: true},
	{name: "nothing passes for an event", need: always, test: (*ruleRun).empty},
	{name: "half an event passes for a whole one", need: always, test: (*ruleRun).cutOff},
	{name: "an event takes effect that wasn't posted", need: always, test: (*ruleRun).otherMethods},
	{name: "a new kind of event is refused for ever", need: always, test: (*ruleRun).unknownEvent},
	{name: "an event is refused for how its JSON is written", need: always, test: (*ruleRun).otherJSON},
	{name: "one malformed event stops the others", need: always, test: (*ruleRun).malformed},
	{name: "an event is lost when the receiver ends after its answer", need: needEffects, test: (*ruleRun).answeredEarly},
	{name: "an event takes effect twice when it is delivered twice", need: always, test: (*ruleRun).duplicates},
	{name: "an event takes effect twice, or is lost, when it is delivered twice at once", need: always, test: (*ruleRun).atOnce, alone: true},
	{name: "anyone can make an event take effect again", need: needEffects, test: (*ruleRun).replayed},
	{name: "an event is taken for another", need: always, test: (*ruleRun).similar},
	{name: "an event takes effect twice when others come in between", need: always, test: (*ruleRun).outOfOrder},
	{name: "an event takes effect twice when its answer is lost", need: always, test: (*ruleRun).lostAnswer},
	{name: "an event is lost, or takes effect twice, when the sender hangs up", need: always, test: (*ruleRun).hangUp},
	{name: "an event is lost when its function fails once", need: needFailures, test: (*ruleRun).failing},
	{name: "an event is lost when its function fails and it is delivered twice at once", need: needFailures, test: (*ruleRun).failingAtOnce, alone: true},
}

var (
	firstRule    = receiverRule{name: "every event is lost", need: always, test: (*ruleRun).genuineOnes}
	rotationRule = receiverRule{name: "events are lost when the secret is rotated", need: needRotation, test: (*ruleRun).rotation}
	leakRule     = receiverRule{name: "anyone can learn to sign from an answer", need: always, test: (*ruleRun).leaked}
)

func always(*receiverTest) string { return "" }

func needEffects(t *receiverTest) string { return need(t.count == nil, "WithEffects") }

func needFailures(t *receiverTest) string { return need(t.fail == nil, "WithFailures") }

func needRotation(t *receiverTest) string { return need(t.rotate == nil, "WithRotation") }

func need(missing bool, option string) string {
	if missing {
		return "it takes the option " + option
	}
	return ""
}

type receiverTest struct {
	url    *url.URL
	secret walletcrew.Secret
	tenant string
	event  walletcrew.EventName
	count  func(string) int
	fail   func(string, int)
	rotate func(context.Context) (walletcrew.Secret, error)
	report *ReceiverReport

	sample      map[string]any // the members of the event's sample; nil if there is none
	nonce       string         // in all ids of this run
	answerLimit time.Duration  // how long an answer may take
	slowLimit   time.Duration  // how long a body may be waited for
	patience    time.Duration  // how long a delivery is repeated
	lease       time.Duration  // and for how long after its sender hung up
	hugeSize    int            // bytes
	rounds      [2]int         // of a crowd: at least, at most

	mu       sync.Mutex
	secrets  []walletcrew.Secret // all, after a rotation
	expected []expectation
	leak     string
}

// An expectation is looked at once more at the end: an effect may come late.
type expectation struct {
	rule, id, what string
	times          int
}

func newReceiverTest(target string, secret walletcrew.Secret, opts []ReceiverOption) (*receiverTest, error) {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return nil, errors.New("the URL can't be parsed")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("the URL is not an absolute one of http or https")
	case secret == "":
		return nil, errors.New("the secret is empty")
	}
	t := &receiverTest{
		url: u, secret: secret, secrets: []walletcrew.Secret{secret}, tenant: "test", event: walletcrew.EventPassInstalled,
		report:      &ReceiverReport{Seed: randomUint64()},
		nonce:       randomHex(4),
		answerLimit: deliveryTimeout, slowLimit: deliveryTimeout, patience: 10 * time.Second, lease: 35 * time.Second, hugeSize: 32 << 20,
		rounds: [2]int{4, 200},
	}
	for _, opt := range opts {
		if opt != nil {
			opt(t)
		}
	}
	if e, err := walletcrew.ParseEvent(t.event, []byte("{}")); err == nil && samples[e.Name] != nil {
		_ = json.Unmarshal(samples[e.Name], &t.sample) // our own
	}
	return t, nil
}

func randomUint64() uint64 {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64)) // never fails
	return n.Uint64()
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// run tests the first rule, then all others side by side, then those that must be alone, while the slow one may still wait.
func (t *receiverTest) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	if err := t.reach(ctx); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.runRules(ctx)
	}()
	select {
	case <-ended:
	case <-ctx.Done(): // the test's own calls end; one of the user's functions may not
	}
	if ctx.Err() != nil {
		return fmt.Errorf("stopped: %w", context.Cause(ctx))
	}
	return nil
}

func (t *receiverTest) runRules(ctx context.Context) {
	rules := []ReceiverRule{t.try(ctx, firstRule)}
	others := make([]ReceiverRule, len(receiverRules)+1)
	if rules[0].Passed {
		t.runOthers(ctx, others)
	} else {
		for i, rule := range append(slices.Clip(receiverRules), rotationRule) {
			others[i] = ReceiverRule{Name: rule.name, Skipped: true, Why: "nothing can be said while genuine deliveries don't get through"}
		}
	}
	rules = append(append(rules, others...), t.try(ctx, leakRule))
	t.lookAgain(ctx, rules)
	t.report.Rules = rules
}

func (t *receiverTest) runOthers(ctx context.Context, results []ReceiverRule) {
	var quick, long sync.WaitGroup
	for i, rule := range receiverRules {
		wg := &quick
		switch {
		case rule.alone:
			continue
		case rule.waits:
			wg = &long
		}
		wg.Go(func() { results[i] = t.try(ctx, rule) })
	}
	quick.Wait()
	for i, rule := range receiverRules {
		if rule.alone {
			results[i] = t.try(ctx, rule)
		}
	}
	results[len(receiverRules)] = t.try(ctx, rotationRule)
	long.Wait()
}

func (t *receiverTest) try(ctx context.Context, rule receiverRule) ReceiverRule {
	result := ReceiverRule{Name: rule.name}
	if why := rule.need(t); why != "" {
		result.Skipped, result.Why = true, why
		return result
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, rule.name)
	r := &ruleRun{receiverTest: t, ctx: ctx, name: rule.name, rand: mathrand.New(mathrand.NewPCG(t.report.Seed, h.Sum64()))} //nolint:gosec // not a secret
	if err := rule.test(r); err != nil {
		result.Why = err.Error()
		return result
	}
	result.Passed = true
	return result
}

// lookAgain finds effects that came later.
func (t *receiverTest) lookAgain(ctx context.Context, rules []ReceiverRule) {
	if t.count == nil || ctx.Err() != nil {
		return
	}
	for _, e := range t.expected {
		n := t.count(e.id)
		if n == e.times {
			continue
		}
		for i := range rules {
			if rule := &rules[i]; rule.Name == e.rule && rule.Passed {
				rule.Passed, rule.Why = false, fmt.Sprintf("%s: expected %s, at the end of the test it was %s", e.what, effects(e.times), effects(n))
			}
		}
	}
}

// reach finds out whether there is anything at the URL.
func (t *receiverTest) reach(ctx context.Context) error {
	r := &ruleRun{receiverTest: t, ctx: ctx, name: firstRule.name, rand: mathrand.New(mathrand.NewPCG(t.report.Seed, 0))} //nolint:gosec // not a secret
	a := r.send(r.genuine())
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("stopped: %w", context.Cause(ctx))
	case isDial(a.err):
	case a.err == nil, a.late, connectionEnded(a.err): // it is there
		return nil
	}
	return fmt.Errorf("the receiver can't be reached: %w", a.err)
}

func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func connectionEnded(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "read" || op.Op == "write") && !op.Timeout() || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func effects(n int) string {
	switch n {
	case 0:
		return "no effect"
	case 1:
		return "one effect"
	}
	return fmt.Sprintf("%d effects", n)
}
