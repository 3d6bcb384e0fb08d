package walletcrewtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// TestDeduper tests whether d keeps the rules of [receiver.Deduper]. Like [testing/fstest.TestFS], it returns nil or one error. The error
// names each broken rule, with the expected and the actual result, and the damage that it does.
//
//	if err := walletcrewtest.TestDeduper(t.Context(), d); err != nil {
//		t.Fatal(err)
//	}
//
// It checks:
//   - A call returns within 5 s after its context has ended, and its answer then is true.
//   - A lease holds its key for exactly the time that was asked for, whatever other claims come meanwhile.
//   - Complete and Release take effect, also if the lease ran out and nobody has claimed the key
//     since.
//   - A token that isn't that of the key's latest lease changes nothing, and the error is [receiver.ErrLeaseLost].
//   - Keys are compared exactly: all forms that the handler makes, up to 512 bytes, and 2,000 at once.
//   - Of several calls at once, one wins: on a key that is free, given back, left over, or being completed.
//
// It takes a few seconds of real time, since d's clock may be another machine's. In that time it sees the end of leases of up to 1.4 s. Of
// longer ones it sees only that they don't end within 2 s. If the deduper lives in your process, test it again in a testing/synctest
// bubble, where a day passes in no time. There, TestDeduper waits for leases of up to 24 h and 10 s, the longest that the handler takes.
//
//	synctest.Test(t, func(t *testing.T) {
//		if err := walletcrewtest.TestDeduper(t.Context(), mydeduper.New()); err != nil {
//			t.Fatal(err)
//		}
//	})
//
// TestDeduper can run on a server that is in use, and several times at once, because each key has "walletcrewtest-" and a random text in
// it, or their hash. D must have room for 5,000 events, and remember an event that is done for a minute. Afterwards, some hundred keys are
// left as done, and a few as held for an hour.
//
// Test yourself how long d remembers an event that is done, and its behaviour when its server fails. A passed test is no proof: a race may
// not have shown itself, least of all on one core.
func TestDeduper(ctx context.Context, d receiver.Deduper) error {
	if d == nil {
		return errors.New("walletcrewtest: TestDeduper: the deduper is nil")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &deduperTest{ctx: ctx, d: d, id: "walletcrewtest-" + rand.Text()[:12], fake: fakeTime(), hung: make(chan struct{})}
	if t.run(promptRules) { // else all others would hang, too
		t.run(deduperRules)
	}
	broken := t.seen()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("walletcrewtest: TestDeduper was stopped: %w", context.Cause(ctx))
	case len(broken) == 0:
		return nil
	}
	return errors.New("walletcrewtest: TestDeduper found broken rules:\n\t" + strings.Join(broken, "\n\t"))
}

// A long lease can't run out during the test, a short one does soon.
const (
	longLease  = time.Hour
	shortLease = 250 * time.Millisecond

	patience = 30 * time.Second       // for a call on a server that is busy
	grace    = 5 * time.Second        // for a call to return when its context has ended: the machine may stand still for a while
	early    = 10 * time.Millisecond  // how much earlier a lease may end: clocks count in milliseconds, and not all at one speed
	late     = 100 * time.Millisecond // how much later
)

// A deduperRule is one that a deduper must keep.
type deduperRule struct {
	name string
	test func(*ruleTest)
}

type deduperTest struct {
	ctx  context.Context
	d    receiver.Deduper
	id   string // what is in all keys
	fake bool   // waiting costs nothing

	mu     sync.Mutex
	broken map[string][]string // by rule
	hung   chan struct{}       // closed when a call doesn't return
}

// run tests the rules side by side: most of them wait for leases. It says false if a call hangs, and doesn't wait for that.
func (t *deduperTest) run(rules []deduperRule) bool {
	ended := make(chan struct{})
	var wg sync.WaitGroup
	for _, rule := range rules {
		wg.Go(func() { rule.test(&ruleTest{deduperTest: t, name: rule.name}) })
	}
	go func() {
		wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-t.hung:
	}
	if !t.hangs() {
		return true
	}
	if t.fake {
		t.wait(longLease) // a bubble can't end before its goroutines: give them the time
	}
	return false
}

// hangs says whether a call didn't return.
func (t *deduperTest) hangs() bool {
	select {
	case <-t.hung:
		return true
	default:
		return false
	}
}

// seen returns what is broken: of each rule what was seen first, since one fault can show in many ways.
func (t *deduperTest) seen() []string {
	const most = 6
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for _, rule := range slices.Sorted(maps.Keys(t.broken)) {
		seen := t.broken[rule]
		for _, text := range seen[:min(len(seen), most)] {
			all = append(all, rule+": "+text)
		}
		if more := len(seen) - most; more > 0 {
			all = append(all, fmt.Sprintf("%s: and %d more", rule, more))
		}
	}
	return all
}

// A ruleTest is one rule's part. Its methods report what is broken, and go on.
type ruleTest struct {
	*deduperTest
	name string
}

// broke reports what was seen, and what a user loses by it.
func (t *ruleTest) broke(loss, format string, args ...any) {
	if t.ctx.Err() != nil {
		return // it was the test that ended the call
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil {
		t.broken = make(map[string][]string)
	}
	if text := fmt.Sprintf(format, args...) + ": " + loss; !slices.Contains(t.broken[t.name], text) {
		t.broken[t.name] = append(t.broken[t.name], text)
	}
}

// hang reports a call that doesn't return, and ends the test.
func (t *ruleTest) hang(call string) {
	t.broke("until it does, the delivery isn't answered, and its goroutine stays", "%s hasn't returned %v after its context ended", call, grace)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.hangs() {
		close(t.hung)
	}
}

// call runs a call of the deduper with a context that ends some day. One that doesn't return even then is reported.
func (t *ruleTest) call(what string, f func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	defer time.AfterFunc(patience+grace, func() { t.hang(what) }).Stop()
	f(ctx)
}

// key returns a key as the handler makes it.
func (t *ruleTest) key(name string) string { return "t/acme/" + t.id + "-" + name }

// claim claims, and says whether that ended as expected.
func (t *ruleTest) claim(key string, lease time.Duration, want receiver.ClaimState, when string) (token string, ok bool) {
	t.call("Claim "+when, func(ctx context.Context) { token, ok = t.claimWith(ctx, key, lease, want, when) })
	return token, ok
}

func (t *ruleTest) claimWith(ctx context.Context, key string, lease time.Duration, want receiver.ClaimState, when string) (token string, ok bool) {
	claim, err := t.d.Claim(ctx, key, lease)
	if err != nil {
		t.broke("the handler answers 503, and the event isn't handled", "Claim %s: expected %s, got the error: %v", when, want, err)
		return "", false
	}
	return claim.Token, t.answered(claim, want, when)
}

// answered says whether a claim is as expected.
func (t *ruleTest) answered(claim receiver.Claim, want receiver.ClaimState, when string) bool {
	switch {
	case claim.State != want:
		t.broke(lossOf(want, claim.State), "Claim %s: expected %s, got %s", when, want, claim.State)
	case want == receiver.Claimed && claim.Token == "":
		t.broke("the lease can neither be completed nor released", "Claim %s: the claim has no token", when)
	case want != receiver.Claimed && claim.Token != "":
		t.broke("with a holder's token another can complete the event", "Claim %s: a claim that is %s must have no token, got one", when, want)
	default:
		return true
	}
	return false
}

// lossOf says what is lost by a wrong answer.
func lossOf(want, got receiver.ClaimState) string {
	switch {
	case got < receiver.Claimed || got > receiver.Done:
		return "the handler takes that for a failure, and answers 503"
	case want == receiver.Claimed && got == receiver.Held:
		return "the event waits for somebody who doesn't handle it, and its deliveries are refused until then"
	case want == receiver.Claimed && got == receiver.Done:
		return "it is acknowledged, but nobody handled it: the event is lost"
	case want == receiver.Held && got == receiver.Claimed:
		return "two deliveries of one event both got it: it is handled twice"
	case want == receiver.Held && got == receiver.Done:
		return "a duplicate is acknowledged while the event is being handled: if that fails, the event is lost"
	case want == receiver.Done && got == receiver.Claimed:
		return "the event was handled, and it is handled again"
	}
	return "the event was handled, and its duplicates are refused all the same, so that the sender repeats them"
}

func (t *ruleTest) complete(key, token string, want error, when string) {
	t.call("Complete "+when, func(ctx context.Context) {
		t.settled("Complete "+when, want, t.d.Complete(ctx, key, token),
			"the event was handled, and when its lease ends it is handled again",
			"whoever lost the lease marks the event as done while another handles it: if the other fails, the event is lost")
	})
}

func (t *ruleTest) release(key, token string, want error, when string) {
	t.call("Release "+when, func(ctx context.Context) {
		t.settled("Release "+when, want, t.d.Release(ctx, key, token),
			"the event failed, and its next deliveries are refused until the lease ends",
			"whoever lost the lease gives the event away while another handles it: it is handled twice")
	})
}

// settled compares the error with what is expected: nil or ErrLeaseLost.
func (t *ruleTest) settled(call string, want, got error, lossOfError, lossOfNil string) {
	switch {
	case want == nil && got != nil:
		t.broke(lossOfError, "%s: expected no error, got: %v", call, got)
	case want != nil && got == nil:
		t.broke(lossOfNil, "%s: expected ErrLeaseLost, got no error", call)
	case !errors.Is(got, want):
		t.broke("the handler takes that for a failing server, and tries again until the lease ends", "%s: expected ErrLeaseLost, got: %v", call, got)
	}
}

// wait waits, or until the test is stopped.
func (t *deduperTest) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.ctx.Done():
	}
}

// waitOut waits until a lease that was taken before now has run out, by whichever clock.
func (t *deduperTest) waitOut(lease time.Duration) { t.wait(lease + late) }

// fakeTime says whether the clock is that of a testing/synctest bubble: it starts in 2000, and stands still while a goroutine runs.
func fakeTime() bool {
	now := time.Now()
	if now.Year() > 2010 {
		return false
	}
	for range 1000 {
		_ = rand.Text()
	}
	return time.Now().Equal(now)
}
