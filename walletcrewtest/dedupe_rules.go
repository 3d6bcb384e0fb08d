package walletcrewtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// promptRules come first.
var promptRules = []deduperRule{
	{"a call returns when its context ends", (*ruleTest).prompt},
}

var deduperRules = []deduperRule{
	{"what is answered when the context has ended is so", (*ruleTest).ended},
	{"a key that is held isn't given away", (*ruleTest).held},
	{"a lease lasts as long as was asked for", (*ruleTest).leases},
	{"a new lease has a length of its own", (*ruleTest).renewed},
	{"what is completed is done", (*ruleTest).completed},
	{"what is released can be claimed", (*ruleTest).released},
	{"a token that isn't the lease's changes nothing", (*ruleTest).foreignTokens},
	{"a lease that ran out can be taken over, and its token is outdated", (*ruleTest).takenOver},
	{"a lease that ran out, but that nobody took over, can be completed or released", (*ruleTest).lateEnd},
	{"keys are compared exactly", (*ruleTest).keys},
	{"of several at once, one wins", (*ruleTest).races},
}

// prompt makes each kind of call with a context that has ended, and with one that ends soon. A deduper in memory may answer all the
// same. Many calls come at once, since they may wait for one another.
func (t *ruleTest) prompt() {
	claim := func(key string) func(context.Context) {
		return func(ctx context.Context) { _, _ = t.d.Claim(ctx, t.key(key), shortLease) }
	}
	complete := func(key, token string) func(context.Context) {
		return func(ctx context.Context) { _ = t.d.Complete(ctx, t.key(key), token) }
	}
	release := func(key, token string) func(context.Context) {
		return func(ctx context.Context) { _ = t.d.Release(ctx, t.key(key), token) }
	}
	type calls map[string]func(context.Context)
	all := func(cc calls) {
		var wg sync.WaitGroup
		for what, call := range cc {
			for i := range 32 {
				wg.Go(func() { t.ending(what, time.Duration(i%2)*50*time.Millisecond, call) })
			}
		}
		wg.Wait()
	}
	all(calls{
		"Claim of a new key":                    claim("prompt/new"),
		"Complete of a key that nobody claimed": complete("prompt/nobody's", "1"),
		"Release of a key that nobody claimed":  release("prompt/nobody's", "1"),
	})
	if t.hangs() {
		return
	}
	var held, done receiver.Claim // whether these are as they should be, other rules say
	t.call("Claim", func(ctx context.Context) { held, _ = t.d.Claim(ctx, t.key("prompt/held"), longLease) })
	t.call("Claim", func(ctx context.Context) { done, _ = t.d.Claim(ctx, t.key("prompt/done"), longLease) })
	t.call("Complete", func(ctx context.Context) { _ = t.d.Complete(ctx, t.key("prompt/done"), done.Token) })
	all(calls{
		"Claim of a key that is held":       claim("prompt/held"),
		"Claim of a key that is done":       claim("prompt/done"),
		"Complete with another key's token": complete("prompt/held", done.Token),
		"Complete of a key that is done":    complete("prompt/done", done.Token),
		"Release with another key's token":  release("prompt/held", done.Token),
		"Release of a key that is done":     release("prompt/done", done.Token),
	})
	t.call("Release", func(ctx context.Context) { _ = t.d.Release(ctx, t.key("prompt/held"), held.Token) })
}

// ending runs a call whose context ends after a time, and says whether it returned.
func (t *ruleTest) ending(what string, after time.Duration, call func(context.Context)) bool {
	ctx, cancel := context.WithCancel(t.ctx)
	if after > 0 {
		ctx, cancel = context.WithTimeout(t.ctx, after)
	} else {
		cancel()
	}
	defer cancel()
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		call(ctx)
	}()
	timer := time.NewTimer(after + grace)
	defer timer.Stop()
	select {
	case <-returned:
		return true
	case <-timer.C:
		t.hang(what)
		return false
	}
}

// ended looks at what became of calls whose context had ended, or ended while they ran. After an error, the handler tells the
// deduper again.
func (t *ruleTest) ended() {
	var wg sync.WaitGroup
	for i, after := range []time.Duration{0, time.Millisecond, 50 * time.Millisecond} {
		when := fmt.Sprintf("with a context that ends after %v", after)
		wg.Go(func() { t.endedClaim(t.key(fmt.Sprint("ended/claim/", i)), after, when) })
		wg.Go(func() {
			t.endedSettle(t.key(fmt.Sprint("ended/complete/", i)), after, when, t.d.Complete, receiver.Done)
		})
		wg.Go(func() {
			t.endedSettle(t.key(fmt.Sprint("ended/release/", i)), after, when, t.d.Release, receiver.Claimed)
		})
	}
	wg.Wait()
}

func (t *ruleTest) endedClaim(key string, after time.Duration, when string) {
	var claim receiver.Claim
	var err error
	if !t.ending("Claim", after, func(ctx context.Context) { claim, err = t.d.Claim(ctx, key, longLease) }) {
		return
	}
	if err == nil {
		if t.answered(claim, receiver.Claimed, "of a new key, "+when) {
			t.claim(key, longLease, receiver.Held, "of a key that was claimed "+when)
			t.release(key, claim.Token, nil, "of a key that was claimed "+when)
		}
		return
	}
	// The lease may have been taken, with or without a token. With one, it can be given back.
	if claim.Token != "" {
		t.call("Release", func(ctx context.Context) { err = t.d.Release(ctx, key, claim.Token) })
		if err != nil && !errors.Is(err, receiver.ErrLeaseLost) {
			t.broke(lossOf(receiver.Claimed, receiver.Held), "Release of a claim that failed %s: expected no error or ErrLeaseLost, got: %v", when, err)
		}
	}
	key += "/short"
	if !t.ending("Claim", after, func(ctx context.Context) { _, _ = t.d.Claim(ctx, key, shortLease) }) {
		return
	}
	until := time.Now().Add(shortLease + grace) // the claim may still be on its way to the server
	t.waitOut(shortLease)
	for t.ctx.Err() == nil {
		t.call("Claim", func(ctx context.Context) { claim, err = t.d.Claim(ctx, key, longLease) })
		if err == nil && claim.State == receiver.Held && time.Now().Before(until) {
			t.wait(late)
			continue
		}
		break
	}
	if err != nil {
		t.broke("the handler answers 503, and the event isn't handled", "Claim after one that failed %s: %v", when, err)
	} else if t.answered(claim, receiver.Claimed, "after the lease of a claim that failed "+when) {
		t.release(key, claim.Token, nil, "by the holder")
	}
}

func (t *ruleTest) endedSettle(key string, after time.Duration, when string, settle func(ctx context.Context, key, token string) error, want receiver.ClaimState) {
	call := map[receiver.ClaimState]string{receiver.Done: "Complete ", receiver.Claimed: "Release "}[want] + when
	token, ok := t.claim(key, longLease, receiver.Claimed, "of a new key")
	if !ok {
		return
	}
	var err error
	if !t.ending(call, after, func(ctx context.Context) { err = settle(ctx, key, token) }) {
		return
	}
	if err != nil {
		call += ", then without"
		t.call(call, func(ctx context.Context) { err = settle(ctx, key, token) })
		if err != nil && !errors.Is(err, receiver.ErrLeaseLost) {
			t.broke("the deduper isn't told how the event ended", "%s: expected no error or ErrLeaseLost, got: %v", call, err)
			return
		}
	}
	if token, ok = t.claim(key, longLease, want, "after "+call); ok && want == receiver.Claimed {
		t.release(key, token, nil, "by the holder")
	}
}

func (t *ruleTest) held() {
	key := t.key("held")
	token, ok := t.claim(key, longLease, receiver.Claimed, "of a new key")
	if !ok {
		return
	}
	for range 5 {
		t.claim(key, longLease, receiver.Held, "of a key that is held")
	}
	t.claim(key, time.Millisecond, receiver.Held, "with a short lease, of a key that is held with a long one")
	t.waitOut(time.Millisecond)
	t.claim(key, longLease, receiver.Held, "after the time of a lease that was refused")
	t.release(key, token, nil, "by the holder")
}

// leases takes leases of all lengths: up to that of the longest time limit of a handler. By the real clock, it waits for the short
// ones only.
func (t *ruleTest) leases() {
	var wg sync.WaitGroup
	for _, lease := range []time.Duration{
		time.Millisecond, shortLease, 1400 * time.Millisecond, 40 * time.Second, 11 * time.Minute, 61 * time.Minute, 24*time.Hour + 10*time.Second,
	} {
		wg.Go(func() {
			if lease < 2*time.Second || t.fake {
				t.leaseEnds(lease)
			} else {
				t.leaseBegins(lease)
			}
		})
	}
	wg.Wait()
}

// leaseEnds looks whether a key is held while the lease lasts, and free after it. A conclusion is drawn only where the clock proves it:
// answers may take long, and the machine may stand still.
func (t *ruleTest) leaseEnds(lease time.Duration) {
	key, of := t.key("lease/"+lease.String()), "a lease of "+lease.String()
	before := time.Now()
	if _, ok := t.claim(key, lease, receiver.Claimed, "with "+of); !ok {
		return
	}
	after := time.Now()
	proved := lease < shortLease // too short to see it last
	for _, at := range []time.Duration{0, lease / 2, lease * 9 / 10, lease - 3*early} {
		if at < 0 {
			continue
		}
		t.wait(time.Until(before.Add(at)))
		var claim receiver.Claim
		var err error
		t.call("Claim", func(ctx context.Context) { claim, err = t.d.Claim(ctx, key, longLease) })
		if time.Since(before) < lease-early {
			proved = proved || at > lease/2
			if err != nil {
				t.broke("the handler answers 503, and the event isn't handled", "Claim during %s: expected held, got the error: %v", of, err)
				return
			}
			if !t.answered(claim, receiver.Held, fmt.Sprintf("%v after the beginning of %s", at, of)) {
				return
			}
		} else if err == nil && claim.State == receiver.Claimed { // it ran out meanwhile
			t.release(key, claim.Token, nil, "by the holder")
			break
		}
	}
	t.wait(time.Until(after.Add(lease + late)))
	if token, ok := t.claim(key, longLease, receiver.Claimed, fmt.Sprintf("%v after the end of %s", late, of)); ok {
		t.release(key, token, nil, "by the holder")
	}
	switch {
	case proved:
	case lease > 20*time.Second:
		t.broke("the test can't say how long a lease lasts", "answers take too long")
	default:
		t.leaseEnds(3 * lease)
	}
}

// leaseBegins looks whether a lease is taken for a short one, since it is too large a number.
func (t *ruleTest) leaseBegins(lease time.Duration) {
	key, of := t.key("lease/"+lease.String()), "a lease of "+lease.String()
	token, ok := t.claim(key, lease, receiver.Claimed, "with "+of)
	if !ok {
		return
	}
	t.claim(key, longLease, receiver.Held, "right after the beginning of "+of)
	t.wait(2 * time.Second)
	t.claim(key, longLease, receiver.Held, "2s after the beginning of "+of)
	t.release(key, token, nil, "by the holder")
}

// renewed takes a key twice, and looks whether the second lease lasts as long as was asked for.
func (t *ruleTest) renewed() {
	var wg sync.WaitGroup
	for _, tt := range []struct {
		first, second time.Duration
		over          bool // else it is released
		want          receiver.ClaimState
		when          string
	}{
		{longLease, shortLease, false, receiver.Claimed, "after a short lease, which followed one that was long and released"},
		{shortLease, longLease, false, receiver.Held, "during a long lease, which followed one that was short and released"},
		{shortLease, time.Millisecond, true, receiver.Claimed, "after a lease of 1ms, which followed one that ran out"},
		{time.Millisecond, longLease, true, receiver.Held, "during a long lease, which followed one that ran out"},
	} {
		wg.Go(func() {
			key := t.key(fmt.Sprintf("renewed/%v/%v", tt.first, tt.second))
			token, ok := t.claim(key, tt.first, receiver.Claimed, "of a new key")
			switch {
			case !ok:
				return
			case tt.over:
				t.waitOut(tt.first)
			default:
				t.release(key, token, nil, "by the holder")
			}
			if token, ok = t.claim(key, tt.second, receiver.Claimed, "for the second time"); !ok {
				return
			}
			t.waitOut(shortLease)
			if again, ok := t.claim(key, longLease, tt.want, tt.when); ok {
				if tt.want == receiver.Claimed {
					token = again
				}
				t.release(key, token, nil, "by the holder")
			}
		})
	}
	wg.Wait()
}

func (t *ruleTest) completed() {
	var wg sync.WaitGroup
	for _, lease := range []time.Duration{time.Millisecond, shortLease, longLease} {
		wg.Go(func() {
			key := t.key("done/" + lease.String())
			token, ok := t.claim(key, lease, receiver.Claimed, "of a new key")
			if !ok {
				return
			}
			t.complete(key, token, nil, "by the holder")
			t.claim(key, longLease, receiver.Done, "of a key that is completed")
			var err error
			t.call("Complete", func(ctx context.Context) { err = t.d.Complete(ctx, key, token) })
			if err != nil && !errors.Is(err, receiver.ErrLeaseLost) {
				t.broke("the handler tells it again and again", "Complete for the second time: expected no error or ErrLeaseLost, got: %v", err)
			}
			t.claim(key, longLease, receiver.Done, "after Complete with one token twice")
			t.complete(key, token+"0", receiver.ErrLeaseLost, "of a key that is done, with another token")
			t.claim(key, longLease, receiver.Done, "after Complete with two tokens")
			t.release(key, token, receiver.ErrLeaseLost, "after Complete")
			t.claim(key, longLease, receiver.Done, "after a Release that came after Complete")
			t.claim(key, time.Millisecond, receiver.Done, "with a short lease, of a key that is completed")
			t.waitOut(shortLease)
			t.claim(key, longLease, receiver.Done, "when the time of the lease is over")
			t.wait(2 * time.Second)
			t.claim(key, longLease, receiver.Done, "2s after Complete")
		})
	}
	wg.Wait()
}

// released takes and releases a key again and again: no token of before is good for the last lease.
func (t *ruleTest) released() {
	key := t.key("released")
	var outdated []string
	for range 6 {
		token, ok := t.claim(key, longLease, receiver.Claimed, "of a key that is new or was released")
		if !ok {
			return
		}
		if slices.Contains(outdated, token) {
			t.reused()
			return
		}
		t.release(key, token, nil, "by the holder")
		t.release(key, token, receiver.ErrLeaseLost, "for the second time")
		t.complete(key, token, receiver.ErrLeaseLost, "after Release")
		outdated = append(outdated, token)
	}
	token, ok := t.claim(key, longLease, receiver.Claimed, "of a key that was released")
	if !ok {
		return
	}
	for _, token := range outdated {
		t.complete(key, token, receiver.ErrLeaseLost, "with the token of a lease before")
		t.release(key, token, receiver.ErrLeaseLost, "with the token of a lease before")
	}
	t.claim(key, longLease, receiver.Held, "after an outdated Complete and Release")
	t.complete(key, token, nil, "by the holder")
	t.claim(key, longLease, receiver.Done, "of a key that is completed")
}

func (t *ruleTest) reused() {
	t.broke("whoever lost the lease can complete the event, or give it away, while another handles it", "the token of a new lease must be a new one")
}

func (t *ruleTest) foreignTokens() {
	key, nobodys := t.key("mine"), t.key("nobody's")
	mine, ok := t.claim(key, longLease, receiver.Claimed, "of a new key")
	if !ok {
		return
	}
	other, ok := t.claim(t.key("other"), longLease, receiver.Claimed, "of another new key")
	if !ok {
		return
	}
	for _, tt := range []struct{ token, what string }{
		{other, "with another key's token"}, {"", "with an empty token"}, {"invented", "with an invented token"},
		{"0", "with the token 0"}, {"1", "with the token 1"}, {"-1", "with the token -1"}, {"%", "with a percent sign for a token"},
		{mine + "0", "with a token that has a character more"}, {mine + mine, "with a token that is there twice"},
		{mine[:len(mine)-1], "with a token that has a character less"}, {mine[1:], "with a token that lacks its first character"},
	} {
		if tt.token == mine { // a deduper may count: 1 is somebody's
			continue
		}
		t.complete(key, tt.token, receiver.ErrLeaseLost, tt.what)
		t.claim(key, longLease, receiver.Held, "after Complete "+tt.what)
		t.release(key, tt.token, receiver.ErrLeaseLost, tt.what)
		t.claim(key, longLease, receiver.Held, "after Release "+tt.what)
		t.complete(nobodys, tt.token, receiver.ErrLeaseLost, tt.what+", of a key that nobody claimed")
		t.release(nobodys, tt.token, receiver.ErrLeaseLost, tt.what+", of a key that nobody claimed")
	}
	if token, ok := t.claim(nobodys, longLease, receiver.Claimed, "of a new key, after Complete and Release that were refused"); ok {
		t.release(nobodys, token, nil, "by the holder")
	}
	t.release(key, mine, nil, "by the holder")
	t.claim(t.key("other"), longLease, receiver.Held, "after another key was released")
	t.release(t.key("other"), other, nil, "by the holder")
}

func (t *ruleTest) takenOver() {
	var wg sync.WaitGroup
	for _, end := range []receiver.ClaimState{receiver.Held, receiver.Done} {
		wg.Go(func() {
			key := t.key("over/" + end.String())
			var outdated []string
			var token string
			for i := range 4 {
				lease := time.Millisecond
				if i == 3 {
					lease = longLease
				}
				var ok bool
				if token, ok = t.claim(key, lease, receiver.Claimed, "of a key that is new, or whose lease ran out"); !ok {
					return
				}
				if slices.Contains(outdated, token) {
					t.reused()
					return
				}
				if i < 3 {
					outdated = append(outdated, token)
					t.waitOut(lease)
				}
			}
			if end == receiver.Done {
				t.complete(key, token, nil, "by the one who took over")
			}
			for _, token := range outdated {
				t.complete(key, token, receiver.ErrLeaseLost, "with the token of a lease that was taken over")
				t.claim(key, longLease, end, "after an outdated Complete")
				t.release(key, token, receiver.ErrLeaseLost, "with the token of a lease that was taken over")
				t.claim(key, longLease, end, "after an outdated Release")
			}
			if end == receiver.Held {
				t.release(key, token, nil, "by the one who took over")
			}
		})
	}
	wg.Wait()
}

func (t *ruleTest) lateEnd() {
	leases := []time.Duration{time.Millisecond, shortLease}
	if t.fake {
		leases = append(leases, time.Minute, 24*time.Hour+10*time.Second)
	}
	var wg sync.WaitGroup
	for _, lease := range leases {
		wg.Go(func() {
			completed, released := t.key("late/complete/"+lease.String()), t.key("late/release/"+lease.String())
			first, ok := t.claim(completed, lease, receiver.Claimed, "of a new key")
			second, ok2 := t.claim(released, lease, receiver.Claimed, "of a new key")
			if !ok || !ok2 {
				return
			}
			t.waitOut(lease)
			t.complete(completed, first, nil, "after the lease ran out")
			t.claim(completed, longLease, receiver.Done, "of a key that was completed late")
			t.release(released, second, nil, "after the lease ran out")
			t.complete(released, second, receiver.ErrLeaseLost, "after a late Release")
			if token, ok := t.claim(released, longLease, receiver.Claimed, "of a key that was released late"); ok {
				t.release(released, token, nil, "by the holder")
			}
		})
	}
	wg.Wait()
}
