package walletcrewtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// TestDeduper tests whether d keeps the rules of [receiver.Deduper], in the way of testing/fstest.TestFS: nil, or one error that
// names every rule that was seen broken, with what was expected and what came.
//
//	if err := walletcrewtest.TestDeduper(t.Context(), d); err != nil {
//		t.Fatal(err)
//	}
//
// It uses real time, since d's clock may be another machine's, and takes about a second; more where an answer takes over 100 ms.
// Its keys begin with "walletcrewtest/" and a random text, so that it can run on a server that is in use, and several times at
// once. Some of them stay there as done until d forgets them.
//
// It tests what the interface promises. How long d remembers what is done, and what it does when its server fails, is yours to
// test. A passed test is no proof: a race may not have shown itself.
func TestDeduper(ctx context.Context, d receiver.Deduper) error {
	if d == nil {
		return errors.New("walletcrewtest: TestDeduper: the deduper is nil")
	}
	t := &deduperTest{ctx: ctx, d: d, prefix: "walletcrewtest/" + rand.Text() + "/"}
	var wg sync.WaitGroup
	for _, rule := range deduperRules {
		wg.Go(func() { rule.test(&ruleTest{deduperTest: t, name: rule.name}) })
	}
	wg.Wait()
	if len(t.broken) == 0 {
		return nil
	}
	slices.Sort(t.broken)
	return errors.New("walletcrewtest: TestDeduper found broken rules:\n\t" + strings.Join(slices.Compact(t.broken), "\n\t"))
}

// A long lease can't run out during the test; a short one does soon, by whichever clock.
const (
	longLease  = time.Hour
	shortLease = 250 * time.Millisecond
	ranOut     = shortLease + 100*time.Millisecond // after Claim has returned
)

var deduperRules = []struct {
	name string
	test func(*ruleTest)
}{
	{"a key that is held isn't given away", (*ruleTest).held},
	{"what is completed is done", (*ruleTest).completed},
	{"what is released can be claimed", (*ruleTest).released},
	{"a token that isn't the lease's changes nothing", (*ruleTest).foreignTokens},
	{"a lease that ran out can be taken over, and its token is outdated", (*ruleTest).takenOver},
	{"a lease that ran out, but that nobody took over, can be completed", (*ruleTest).lateComplete},
	{"a lease that ran out, but that nobody took over, can be released", (*ruleTest).lateRelease},
	{"keys are compared exactly", (*ruleTest).keys},
	{"of several at once, one gets a key", func(t *ruleTest) { t.race("race") }},
	{"of several at once, one takes a lease over that ran out", (*ruleTest).raceTakeOver},
	{"what is done stays done when others race for it", (*ruleTest).raceDone},
}

type deduperTest struct {
	ctx    context.Context
	d      receiver.Deduper
	prefix string

	mu     sync.Mutex
	broken []string
}

// A ruleTest is one rule's part. Its methods report what is broken, and go on.
type ruleTest struct {
	*deduperTest
	name string
}

func (t *ruleTest) broke(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken = append(t.broken, t.name+": "+fmt.Sprintf(format, args...))
}

// claim claims, and says whether that ended as expected.
func (t *ruleTest) claim(key string, lease time.Duration, want receiver.ClaimState, when string) (token string, ok bool) {
	claim, err := t.d.Claim(t.ctx, t.prefix+key, lease)
	switch {
	case err != nil:
		t.broke("Claim %s: expected %s, got the error: %v", when, want, err)
	case claim.State != want:
		t.broke("Claim %s: expected %s, got %s", when, want, claim.State)
	case want == receiver.Claimed && claim.Token == "":
		t.broke("Claim %s: the claim has no token", when)
	case want != receiver.Claimed && claim.Token != "":
		t.broke("Claim %s: a claim that is %s must have no token, got one", when, want)
	default:
		return claim.Token, true
	}
	return claim.Token, false
}

func (t *ruleTest) complete(key, token string, want error, when string) {
	t.expect("Complete "+when, want, t.d.Complete(t.ctx, t.prefix+key, token))
}

func (t *ruleTest) release(key, token string, want error, when string) {
	t.expect("Release "+when, want, t.d.Release(t.ctx, t.prefix+key, token))
}

func (t *ruleTest) expect(call string, want, got error) {
	switch {
	case want == nil && got != nil:
		t.broke("%s: expected no error, got: %v", call, got)
	case want != nil && got == nil:
		t.broke("%s: expected ErrLeaseLost, got no error", call)
	case !errors.Is(got, want):
		t.broke("%s: expected ErrLeaseLost, got: %v", call, got)
	}
}

func (t *ruleTest) wait() {
	select {
	case <-time.After(ranOut):
	case <-t.ctx.Done():
	}
}

func (t *ruleTest) held() {
	token, ok := t.claim("held", longLease, receiver.Claimed, "of a new key")
	if !ok {
		return
	}
	t.claim("held", longLease, receiver.Held, "of a key that is held")
	t.claim("held", time.Millisecond, receiver.Held, "with a short lease, of a key that is held with a long one")
	time.Sleep(5 * time.Millisecond)
	t.claim("held", longLease, receiver.Held, "after the time of a lease that was refused")
	t.release("held", token, nil, "by the holder")
}

func (t *ruleTest) completed() {
	token, ok := t.claim("done", shortLease, receiver.Claimed, "of a new key")
	if !ok {
		return
	}
	t.complete("done", token, nil, "by the holder")
	t.claim("done", longLease, receiver.Done, "of a key that is completed")
	t.release("done", token, receiver.ErrLeaseLost, "after Complete")
	t.claim("done", longLease, receiver.Done, "after a Release that came after Complete")
	t.wait()
	t.claim("done", longLease, receiver.Done, "when the time of the lease is over")
}

func (t *ruleTest) released() {
	first, ok := t.claim("released", longLease, receiver.Claimed, "of a new key")
	if !ok {
		return
	}
	t.release("released", first, nil, "by the holder")
	t.release("released", first, receiver.ErrLeaseLost, "for the second time")
	t.complete("released", first, receiver.ErrLeaseLost, "after Release")
	second, ok := t.claim("released", longLease, receiver.Claimed, "of a key that was released")
	if !ok {
		return
	}
	if second == first {
		t.broke("the token of a new lease must be a new one")
	}
	t.complete("released", first, receiver.ErrLeaseLost, "with the token of the lease before")
	t.release("released", first, receiver.ErrLeaseLost, "with the token of the lease before")
	t.claim("released", longLease, receiver.Held, "after an outdated Complete and Release")
	t.complete("released", second, nil, "by the holder")
}

func (t *ruleTest) foreignTokens() {
	mine, ok := t.claim("mine", longLease, receiver.Claimed, "of a new key")
	if !ok {
		return
	}
	other, ok := t.claim("other", longLease, receiver.Claimed, "of another new key")
	if !ok {
		return
	}
	tokens := []struct{ token, what string }{
		{other, "with another key's token"}, {"", "with an empty token"}, {"invented", "with an invented token"},
		{mine + "0", "with a token that has a character more"}, {"0", "with the token 0"}, {"1", "with the token 1"},
	}
	for _, tt := range tokens {
		if tt.token == mine { // a deduper may count: 1 is somebody's
			continue
		}
		t.complete("mine", tt.token, receiver.ErrLeaseLost, tt.what)
		t.release("mine", tt.token, receiver.ErrLeaseLost, tt.what)
		t.complete("nobody's", tt.token, receiver.ErrLeaseLost, tt.what+", of a key that nobody claimed")
		t.release("nobody's", tt.token, receiver.ErrLeaseLost, tt.what+", of a key that nobody claimed")
	}
	t.claim("mine", longLease, receiver.Held, "after Complete and Release with tokens that aren't the lease's")
	t.release("mine", mine, nil, "by the holder")
	t.release("other", other, nil, "by the holder")
}

func (t *ruleTest) takenOver() {
	for _, key := range []string{"over/held", "over/done"} {
		first, ok := t.claim(key, shortLease, receiver.Claimed, "of a new key")
		if !ok {
			return
		}
		t.wait()
		second, ok := t.claim(key, longLease, receiver.Claimed, "of a key whose lease ran out")
		if !ok {
			return
		}
		if second == first {
			t.broke("the token of a new lease must be a new one")
		}
		if key == "over/done" {
			t.complete(key, second, nil, "by the one who took over")
		}
		t.complete(key, first, receiver.ErrLeaseLost, "with the token of the lease that was taken over")
		t.release(key, first, receiver.ErrLeaseLost, "with the token of the lease that was taken over")
		if key == "over/done" {
			t.claim(key, longLease, receiver.Done, "after an outdated Complete and Release of what is done")
			return
		}
		t.claim(key, longLease, receiver.Held, "after an outdated Complete and Release of what is held")
		t.release(key, second, nil, "by the one who took over")
	}
}

func (t *ruleTest) lateComplete() {
	token, ok := t.claim("late/complete", shortLease, receiver.Claimed, "of a new key")
	if !ok {
		return
	}
	t.wait()
	t.complete("late/complete", token, nil, "after the lease ran out")
	t.claim("late/complete", longLease, receiver.Done, "of a key that was completed late")
}

func (t *ruleTest) lateRelease() {
	token, ok := t.claim("late/release", shortLease, receiver.Claimed, "of a new key")
	if !ok {
		return
	}
	t.wait()
	t.release("late/release", token, nil, "after the lease ran out")
	if token, ok = t.claim("late/release", longLease, receiver.Claimed, "of a key that was released late"); ok {
		t.release("late/release", token, nil, "by the holder")
	}
}

// keys claims keys that a collation, a limit or a pattern could take for one another.
func (t *ruleTest) keys() {
	long := strings.Repeat("k", 512-len(t.prefix)-len("keys/")-1)
	tokens := map[string]string{}
	for _, key := range []string{"a", "A", "a ", "a%", "a_", "a%20", "a*", "{a}", "{a}b", "a/b", "a\\", "'a'", `"a"`, long + "1", long + "2"} {
		token, ok := t.claim("keys/"+key, longLease, receiver.Claimed, fmt.Sprintf("of the new key %q (%d bytes)", abridged(key), len(t.prefix+"keys/"+key)))
		if ok {
			tokens[key] = token
		}
	}
	for key, token := range tokens {
		t.release("keys/"+key, token, nil, fmt.Sprintf("of the key %q", abridged(key)))
	}
}

func abridged(key string) string {
	if len(key) > 40 {
		return key[:10] + "…" + key[len(key)-10:]
	}
	return key
}

// race has many claim one key that is free, and returns the winner's token.
func (t *ruleTest) race(key string) (token string, ok bool) {
	const racers = 32
	claims, errs := make([]receiver.Claim, racers), make([]error, racers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			<-start
			claims[i], errs[i] = t.d.Claim(t.ctx, t.prefix+key, longLease)
		})
	}
	close(start)
	wg.Wait()
	won := 0
	for i, claim := range claims {
		switch {
		case errs[i] != nil:
			t.broke("one of %d Claims at once: %v", racers, errs[i])
		case claim.State == receiver.Claimed:
			won++
			token = claim.Token
		case claim.State != receiver.Held:
			t.broke("one of %d Claims at once: expected claimed or held, got %s", racers, claim.State)
		}
	}
	if won != 1 {
		t.broke("%d of %d Claims at once were claimed, expected 1", won, racers)
		return token, false
	}
	return token, true
}

func (t *ruleTest) raceTakeOver() {
	outdated, ok := t.claim("race/over", shortLease, receiver.Claimed, "of a new key")
	if !ok {
		return
	}
	t.wait()
	token, ok := t.race("race/over")
	if !ok {
		return
	}
	t.complete("race/over", outdated, receiver.ErrLeaseLost, "with the token of the lease that was taken over")
	t.complete("race/over", token, nil, "by the one who took over")
}

// raceDone has the holder complete while others claim and use outdated tokens: whatever the order, it is done at the end.
func (t *ruleTest) raceDone() {
	outdated, ok := t.claim("race/done", longLease, receiver.Claimed, "of a new key")
	if !ok {
		return
	}
	t.release("race/done", outdated, nil, "by the holder")
	token, ok := t.claim("race/done", longLease, receiver.Claimed, "of a key that was released")
	if !ok {
		return
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			claim, err := t.d.Claim(t.ctx, t.prefix+"race/done", longLease)
			if err != nil {
				t.broke("Claim beside Complete: %v", err)
			} else if claim.State == receiver.Claimed {
				t.broke("Claim beside Complete: expected held or done, got claimed")
			}
		})
		wg.Go(func() { t.release("race/done", outdated, receiver.ErrLeaseLost, "with the token of the lease before") })
	}
	wg.Go(func() { t.complete("race/done", token, nil, "by the holder") })
	wg.Wait()
	t.claim("race/done", longLease, receiver.Done, "after Complete")
}
