package walletcrewtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// raceTime bounds one race on a server. In memory the number of its rounds does, but for that of raceFree.
const raceTime = 400 * time.Millisecond

// races has many call at once, in one race after another: what they look for takes nanoseconds, and other work in between would hide it.
func (t *ruleTest) races() {
	t.raceFree()
	t.raceClaims("race/2", 2, 500)
	t.raceClaims("race/16", 16, 20)
	t.raceOver(400)
	t.raceLate(400)
	t.raceEnds(400)
	t.raceDone(20)
}

// raceFree has many take and give back one key, each at its own pace, as if it were a lock. Of a look and a change that aren't one step,
// and nanoseconds apart, that shows one pair in ten thousand: far more than rounds do that begin at once.
func (t *ruleTest) raceFree() {
	key := t.key("race/free/")
	key += strings.Repeat("k", 512-len(key)) // the longest: to look for it takes a while
	most := int64(math.MaxInt64)
	if t.fake {
		most = 20_000 // there is no time to bound it
	}
	const what = "by the one that got it of several at once"
	t.call("Claim or Release, one of several at once", func(ctx context.Context) {
		end := time.Now().Add(raceTime)
		var calls, holders atomic.Int64
		var stop atomic.Bool
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for !stop.Load() && calls.Add(1) < most && time.Now().Before(end) {
					token, state := t.oneOf(ctx, key, 32)
					if state != receiver.Claimed {
						if state != receiver.Held {
							stop.Store(true)
						}
						continue
					}
					twice := holders.Add(1) > 1
					holders.Add(-1)
					err := t.d.Release(ctx, key, token)
					if twice = twice || errors.Is(err, receiver.ErrLeaseLost); twice {
						t.broke(lossOf(receiver.Held, receiver.Claimed), "several of 32 Claims at once were claimed, expected 1")
					} else if err != nil {
						t.settled("Release "+what, nil, err, "the next deliveries are refused until the lease ends", "")
					}
					if err != nil || twice {
						stop.Store(true)
					}
				}
			})
		}
		wg.Wait()
	})
}

// oneOf claims, as one of several at once. The state is 0 if the answer isn't to be expected.
func (t *ruleTest) oneOf(ctx context.Context, key string, n int) (token string, state receiver.ClaimState) {
	claim, err := t.d.Claim(ctx, key, longLease)
	switch {
	case err != nil:
		t.broke("the handler answers 503, and the event isn't handled", "one of %d Claims at once: %v", n, err)
	case claim.State == receiver.Claimed:
		return claim.Token, claim.State
	case t.answered(claim, receiver.Held, fmt.Sprintf("of a free key, as one of %d at once", n)):
		return "", claim.State
	}
	return "", 0
}

// raceClaims has n claim one key that is free: a new one, or one that was released.
func (t *ruleTest) raceClaims(name string, n, rounds int) {
	claims, errs := make([]receiver.Claim, n), make([]error, n)
	key := func(round int) string { return t.key(fmt.Sprint(name, "/", round/2)) }
	t.together(n, rounds, nil, func(ctx context.Context, worker, round int) {
		claims[worker], errs[worker] = t.d.Claim(ctx, key(round), longLease)
	}, func(round int) bool {
		return t.oneWon(key(round), claims, errs, "of a free key")
	})
}

// raceOver has two take over a lease that ran out.
func (t *ruleTest) raceOver(rounds int) {
	claims, errs := make([]receiver.Claim, 2), make([]error, 2)
	left := t.leftovers("race/over")
	t.together(2, rounds, func(round int) bool {
		_, ok := left(round)
		return ok
	}, func(ctx context.Context, worker, round int) {
		claims[worker], errs[worker] = t.d.Claim(ctx, t.key(fmt.Sprint("race/over/", round)), longLease)
	}, func(round int) bool {
		return t.oneWon(t.key(fmt.Sprint("race/over/", round)), claims, errs, "of a key whose lease ran out")
	})
}

// oneWon says whether one of the claims got the key, and the others saw that. It releases the key.
func (t *ruleTest) oneWon(key string, claims []receiver.Claim, errs []error, what string) bool {
	won, ok := 0, true
	for i, claim := range claims {
		switch {
		case errs[i] != nil:
			t.broke("the handler answers 503, and the event isn't handled", "one of %d Claims at once %s: %v", len(claims), what, errs[i])
			ok = false
		case claim.State == receiver.Claimed:
			won++
			if won == 1 {
				t.release(key, claim.Token, nil, "by the one that got it of several at once")
			}
		default:
			ok = t.answered(claim, receiver.Held, fmt.Sprintf("%s, as one of %d at once", what, len(claims))) && ok
		}
	}
	switch {
	case won > 1:
		t.broke(lossOf(receiver.Held, receiver.Claimed), "%d of %d Claims at once %s were claimed, expected 1", won, len(claims), what)
	case won == 0 && ok:
		t.broke(lossOf(receiver.Claimed, receiver.Held), "none of %d Claims at once %s was claimed, expected 1", len(claims), what)
	}
	return ok && won == 1
}

// raceLate has one complete a lease that ran out, while another takes it over.
func (t *ruleTest) raceLate(rounds int) {
	var token string
	var completed, failed error
	var claim receiver.Claim
	left := t.leftovers("race/late")
	t.together(2, rounds, func(round int) (ok bool) {
		token, ok = left(round)
		return ok
	}, func(ctx context.Context, worker, round int) {
		key := t.key(fmt.Sprint("race/late/", round))
		if worker == 0 {
			completed = t.d.Complete(ctx, key, token)
		} else {
			claim, failed = t.d.Claim(ctx, key, longLease)
		}
	}, func(round int) bool {
		key := t.key(fmt.Sprint("race/late/", round))
		switch {
		case failed != nil:
			t.broke("the handler answers 503, and the event isn't handled", "Claim of a key whose lease ran out, and Complete, at once: %v", failed)
		case completed == nil && claim.State == receiver.Claimed:
			t.broke("the event was handled, and it is handled again", "Complete and Claim at once, of a key whose lease ran out: both got it, expected one")
		case completed == nil:
			_, ok := t.claim(key, longLease, receiver.Done, "after Complete and Claim at once, of which Complete won")
			return ok
		case !errors.Is(completed, receiver.ErrLeaseLost):
			t.settled("Complete, and Claim at once, of a key whose lease ran out", receiver.ErrLeaseLost, completed, "", "")
		case t.answered(claim, receiver.Claimed, "and Complete at once, of a key whose lease ran out, where Complete is ErrLeaseLost"):
			t.claim(key, longLease, receiver.Held, "after Complete and Claim at once, of which Claim won")
			t.release(key, claim.Token, nil, "after Complete and Claim at once, of which Claim won")
			return true
		}
		return false
	})
}

// raceEnds has two end one lease: one by Complete, one by Release.
func (t *ruleTest) raceEnds(rounds int) {
	var token string
	var errs [2]error
	key := func(round int) string { return t.key(fmt.Sprint("race/ends/", round)) }
	t.together(2, rounds, func(round int) (ok bool) {
		token, ok = t.claim(key(round), longLease, receiver.Claimed, "of a new key")
		return ok
	}, func(ctx context.Context, worker, round int) {
		end := t.d.Complete
		if worker == 1 {
			end = t.d.Release
		}
		errs[worker] = end(ctx, key(round), token)
	}, func(round int) bool {
		if (errs[0] == nil) == (errs[1] == nil) {
			t.broke("the event is both done and given back", "Complete and Release at once, with one token: expected one to win, got: %v, %v", errs[0], errs[1])
			return false
		}
		if errs[0] == nil {
			t.settled("Release, and Complete at once", receiver.ErrLeaseLost, errs[1], "", "")
			_, ok := t.claim(key(round), longLease, receiver.Done, "after Complete and Release at once, of which Complete won")
			return ok
		}
		t.settled("Complete, and Release at once", receiver.ErrLeaseLost, errs[0], "", "")
		again, ok := t.claim(key(round), longLease, receiver.Claimed, "after Complete and Release at once, of which Release won")
		if ok {
			t.release(key(round), again, nil, "by the holder")
		}
		return ok
	})
}

// raceDone has the holder complete while others claim and use outdated tokens: whatever the order, it is done at the end.
func (t *ruleTest) raceDone(rounds int) {
	var outdated, token string
	key := func(round int) string { return t.key(fmt.Sprint("race/done/", round)) }
	t.together(6, rounds, func(round int) (ok bool) {
		if outdated, ok = t.claim(key(round), longLease, receiver.Claimed, "of a new key"); !ok {
			return false
		}
		t.release(key(round), outdated, nil, "by the holder")
		token, ok = t.claim(key(round), longLease, receiver.Claimed, "of a key that was released")
		return ok
	}, func(ctx context.Context, worker, round int) {
		switch worker {
		case 0:
			t.complete(key(round), token, nil, "by the holder")
		case 1, 2, 3:
			claim, err := t.d.Claim(ctx, key(round), longLease)
			switch {
			case err != nil:
				t.broke("the handler answers 503, and the event isn't handled", "Claim beside Complete: %v", err)
			case claim.State != receiver.Done:
				t.answered(claim, receiver.Held, "beside Complete")
			}
		case 4:
			t.release(key(round), outdated, receiver.ErrLeaseLost, "with the token of the lease before")
		case 5:
			t.complete(key(round), outdated, receiver.ErrLeaseLost, "with the token of the lease before")
		}
	}, func(round int) bool {
		_, ok := t.claim(key(round), longLease, receiver.Done, "after Complete")
		return ok
	})
}

// leftovers returns a function for the rounds of a race: it claims a key for each, and returns its token when the lease has run out.
// It does so for many at once, since that takes a while.
func (t *ruleTest) leftovers(name string) func(round int) (token string, ok bool) {
	const batch = 200
	var tokens [batch]string
	return func(round int) (string, bool) {
		if round%batch == 0 {
			t.each(batch, func(i int) {
				tokens[i], _ = t.claim(t.key(fmt.Sprint(name, "/", round+i)), time.Millisecond, receiver.Claimed, "of a new key")
			})
			t.waitOut(time.Millisecond)
		}
		return tokens[round%batch], tokens[round%batch] != ""
	}
}

// together runs n goroutines, which begin each round at once. Before and after a round, one of them prepares it, and looks at what
// came of it; the rounds end when it says false.
func (t *ruleTest) together(n, rounds int, before func(round int) bool, act func(ctx context.Context, worker, round int), after func(round int) bool) {
	t.call("one of several calls at once", func(ctx context.Context) {
		end := time.Now().Add(raceTime)
		var arrived atomic.Int64
		var stop atomic.Bool
		var wg sync.WaitGroup
		for worker := range n {
			wg.Go(func() {
				arrivals := int64(0)
				meet := func() bool {
					arrivals += int64(n)
					return meet(ctx, &arrived, arrivals)
				}
				for round := range rounds {
					if worker == 0 && (stop.Load() || time.Now().After(end) || before != nil && !before(round)) {
						stop.Store(true)
					}
					if !meet() || stop.Load() {
						return
					}
					act(ctx, worker, round)
					if !meet() {
						return
					}
					if worker == 0 && !after(round) {
						stop.Store(true)
					}
				}
			})
		}
		wg.Wait()
	})
}

// meet waits until all have arrived. It spins, so that they leave within nanoseconds of one another; after a while it sleeps, since the
// others may have to wait for a server, or for the fake clock. It says false if the context ended first.
func meet(ctx context.Context, arrived *atomic.Int64, all int64) bool {
	arrived.Add(1)
	for spins := 0; arrived.Load() < all; spins++ {
		switch {
		case spins < 200:
		case spins < 300:
			runtime.Gosched()
		default:
			if ctx.Err() != nil {
				return false
			}
			time.Sleep(min(time.Duration(spins-299)*10*time.Microsecond, time.Millisecond))
		}
	}
	return true
}
