package receiver_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

const lease = time.Minute

func claim(t testing.TB, d receiver.Deduper, key string) receiver.Claim {
	t.Helper()
	c, err := d.Claim(context.Background(), key, lease)
	require.NoError(t, err)
	if c.State == receiver.Claimed {
		require.NotEmpty(t, c.Token, "a lease has a token")
	} else {
		require.Empty(t, c.Token, "only who has the lease gets its token")
	}
	return c
}

// finish claims a key, which must be free, and completes it.
func finish(t testing.TB, d receiver.Deduper, key string) {
	t.Helper()
	c := claim(t, d, key)
	require.Equal(t, receiver.Claimed, c.State, "%s must be free", key)
	require.NoError(t, d.Complete(context.Background(), key, c.Token))
}

func requireState(t testing.TB, want receiver.ClaimState, d receiver.Deduper, key, why string) {
	t.Helper()
	require.Equal(t, want.String(), claim(t, d, key).State.String(), why)
}

func TestMemoryDeduperRemembersWhatIsDoneAndHeld(t *testing.T) {
	t.Parallel()
	d := receiver.NewMemoryDeduper(0, 0)
	finish(t, d, "a")
	requireState(t, receiver.Done, d, "a", "it was completed")
	requireState(t, receiver.Done, d, "a", "asking doesn't change it")
	first := claim(t, d, "b")
	requireState(t, receiver.Held, d, "b", "another holds it")
	require.NoError(t, d.Release(t.Context(), "b", first.Token))
	requireState(t, receiver.Claimed, d, "b", "it was given back")
	requireState(t, receiver.Claimed, d, "", "the empty key is a key")
}

func TestMemoryDeduperIsExactUpToItsCapacityAndForgetsTheOldestDoneBeyond(t *testing.T) {
	t.Parallel()
	for _, capacity := range []int{1, 2, 3, 1000} {
		d := receiver.NewMemoryDeduper(capacity, 0)
		for i := range capacity {
			finish(t, d, fmt.Sprint(i))
		}
		for i := range capacity {
			requireState(t, receiver.Done, d, fmt.Sprint(i), "all are remembered up to the capacity")
		}
		finish(t, d, "one more")
		requireState(t, receiver.Done, d, "one more", "the newest is remembered")
		for i := 1; i < capacity; i++ {
			requireState(t, receiver.Done, d, fmt.Sprint(i), "only the oldest had to go")
		}
		requireState(t, receiver.Claimed, d, "0", "the oldest was forgotten")
	}
}

func TestMemoryDeduperForgetsWhatWasDoneFirstAndNotWhatWasClaimedFirst(t *testing.T) {
	t.Parallel()
	d := receiver.NewMemoryDeduper(2, 0)
	slow := claim(t, d, "slow")
	finish(t, d, "quick")
	require.NoError(t, d.Complete(t.Context(), "slow", slow.Token))
	finish(t, d, "new")
	requireState(t, receiver.Done, d, "slow", "it was done after quick")
}

func TestMemoryDeduperNeverForgetsWhatIsHeld(t *testing.T) {
	t.Parallel()
	d := receiver.NewMemoryDeduper(3, 0)
	a, b := claim(t, d, "a"), claim(t, d, "b")
	for i := range 100 {
		finish(t, d, fmt.Sprint(i))
	}
	requireState(t, receiver.Held, d, "a", "what is being handled may not be handled twice")
	c := claim(t, d, "c")
	_, err := d.Claim(t.Context(), "d", lease)
	require.ErrorContains(t, err, "full", "full of what is held: an error, not a claim that nobody remembers")
	for key, token := range map[string]string{"a": a.Token, "b": b.Token, "c": c.Token} {
		requireState(t, receiver.Held, d, key, "the error changed nothing")
		require.NoError(t, d.Complete(t.Context(), key, token))
	}
	requireState(t, receiver.Claimed, d, "d", "there is room again")
}

func TestMemoryDeduperFullOfLeasesThatRanOutHasRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := receiver.NewMemoryDeduper(3, 0)
		a := claim(t, d, "a")
		claim(t, d, "b")
		time.Sleep(lease / 2)
		claim(t, d, "c")
		time.Sleep(lease / 2)
		requireState(t, receiver.Claimed, d, "d", "what crashed doesn't fill it for ever")
		requireState(t, receiver.Held, d, "c", "whose lease goes on")
		require.ErrorIs(t, d.Complete(t.Context(), "a", a.Token), receiver.ErrLeaseLost, "it was forgotten")
	})
}

func TestMemoryDeduperForgetsAfterItsTime(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ ttl, want time.Duration }{
		"by default a day": {0, 24 * time.Hour},
		"an hour":          {time.Hour, time.Hour},
		"for ever":         {math.MaxInt64, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := receiver.NewMemoryDeduper(0, test.ttl)
				time.Sleep(time.Hour)
				finish(t, d, "a")
				if test.want == 0 {
					time.Sleep(10 * 365 * 24 * time.Hour)
					requireState(t, receiver.Done, d, "a", "it has no end")
					return
				}
				time.Sleep(test.want - time.Nanosecond)
				requireState(t, receiver.Done, d, "a", "its time isn't over")
				time.Sleep(time.Nanosecond)
				requireState(t, receiver.Claimed, d, "a", "its time is over")
			})
		})
	}
}

func TestMemoryDeduperALeaseThatRanOutCanBeClaimedAndTheOldTokenIsFenced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, ctx := receiver.NewMemoryDeduper(0, 0), t.Context()
		old := claim(t, d, "a")
		time.Sleep(lease - time.Nanosecond)
		requireState(t, receiver.Held, d, "a", "the lease goes on")
		time.Sleep(time.Nanosecond)
		taken := claim(t, d, "a")
		require.Equal(t, receiver.Claimed, taken.State, "the lease has run out")
		require.NotEqual(t, old.Token, taken.Token)
		require.ErrorIs(t, d.Complete(ctx, "a", old.Token), receiver.ErrLeaseLost)
		require.ErrorIs(t, d.Release(ctx, "a", old.Token), receiver.ErrLeaseLost)
		requireState(t, receiver.Held, d, "a", "the old token changed nothing")
		require.NoError(t, d.Complete(ctx, "a", taken.Token))
		require.ErrorIs(t, d.Release(ctx, "a", old.Token), receiver.ErrLeaseLost, "what is done stays done")
		require.ErrorIs(t, d.Release(ctx, "a", taken.Token), receiver.ErrLeaseLost, "what is done stays done")
		require.ErrorIs(t, d.Complete(ctx, "a", taken.Token), receiver.ErrLeaseLost)
		requireState(t, receiver.Done, d, "a", "done")
	})
}

func TestMemoryDeduperALeaseThatRanOutCanBeCompletedIfNobodyTookItOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := receiver.NewMemoryDeduper(0, 0)
		c := claim(t, d, "a")
		time.Sleep(10 * lease)
		require.NoError(t, d.Complete(t.Context(), "a", c.Token))
		requireState(t, receiver.Done, d, "a", "it was handled, if late")
	})
}

func TestMemoryDeduperAnEventIsForgottenAfterItsTimeAlsoIfItsLeaseWasLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := receiver.NewMemoryDeduper(0, time.Second)
		finish(t, d, "a")
		time.Sleep(time.Second - time.Nanosecond)
		requireState(t, receiver.Done, d, "a", "")
		time.Sleep(time.Nanosecond)
		requireState(t, receiver.Claimed, d, "a", "a second is over")
	})
}

func TestMemoryDeduperATokenFromBeforeAReleaseIsOutdated(t *testing.T) {
	t.Parallel()
	d, ctx := receiver.NewMemoryDeduper(0, 0), t.Context()
	old := claim(t, d, "a")
	require.NoError(t, d.Release(ctx, "a", old.Token))
	require.ErrorIs(t, d.Release(ctx, "a", old.Token), receiver.ErrLeaseLost, "it was given back already")
	require.ErrorIs(t, d.Complete(ctx, "a", old.Token), receiver.ErrLeaseLost)
	requireState(t, receiver.Claimed, d, "a", "free")
	require.ErrorIs(t, d.Complete(ctx, "a", old.Token), receiver.ErrLeaseLost)
	requireState(t, receiver.Held, d, "a", "the old token changed nothing")
}

func TestMemoryDeduperATokenServesItsOwnKeyOnly(t *testing.T) {
	t.Parallel()
	d, ctx := receiver.NewMemoryDeduper(0, 0), t.Context()
	a := claim(t, d, "a")
	claim(t, d, "b")
	for _, token := range []string{a.Token, "", "0", "-1", "nonsense", "zzzzzzzzzzzzzzzzzzzzzz", a.Token + " "} {
		require.ErrorIs(t, d.Complete(ctx, "b", token), receiver.ErrLeaseLost, "token %q", token)
		require.ErrorIs(t, d.Release(ctx, "b", token), receiver.ErrLeaseLost, "token %q", token)
	}
	require.ErrorIs(t, d.Complete(ctx, "never claimed", a.Token), receiver.ErrLeaseLost)
	finish(t, d, "done")
	require.ErrorIs(t, d.Complete(ctx, "done", "0"), receiver.ErrLeaseLost)
	require.ErrorIs(t, d.Release(ctx, "done", "0"), receiver.ErrLeaseLost)
	requireState(t, receiver.Held, d, "b", "no other token changed anything")
}

func TestMemoryDeduperALeaseWithoutAnEndIsHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := receiver.NewMemoryDeduper(0, 0)
		time.Sleep(time.Hour)
		c, err := d.Claim(t.Context(), "a", math.MaxInt64)
		require.NoError(t, err)
		require.Equal(t, receiver.Claimed, c.State)
		requireState(t, receiver.Held, d, "a", "the longest lease isn't over at once")
	})
}

func TestNewMemoryDeduperRefusesNegativeNumbers(t *testing.T) {
	t.Parallel()
	assert.Panics(t, func() { receiver.NewMemoryDeduper(-1, 0) })
	assert.Panics(t, func() { receiver.NewMemoryDeduper(0, -1) })
	assert.Panics(t, func() { receiver.NewMemoryDeduper(math.MaxInt, 0) }, "more than it can hold")
	assert.NotPanics(t, func() { receiver.NewMemoryDeduper(1_000_000_000, time.Millisecond) }, "a capacity costs nothing until it is used")
	assert.Panics(t, func() { receiver.NewMemoryDeduper(math.MaxInt32, 0) })
	assert.NotPanics(t, func() { receiver.NewMemoryDeduper(math.MaxInt32-1, 0) }, "room is taken as it is needed")
}

func TestMemoryDeduperByDefaultHolds65536Events(t *testing.T) {
	t.Parallel()
	d := receiver.NewMemoryDeduper(0, 0)
	for i := range 65_536 {
		finish(t, d, fmt.Sprint(i))
	}
	requireState(t, receiver.Done, d, "0", "65,536 fit")
	finish(t, d, "one more")
	requireState(t, receiver.Done, d, "1", "only the oldest goes")
	requireState(t, receiver.Claimed, d, "0", "65,537 don't fit")
}

func TestMemoryDeduperGivesAKeyToOneOfMany(t *testing.T) {
	t.Parallel()
	d := receiver.NewMemoryDeduper(64, 0)
	var held [8]atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 2000 {
				i := rand.IntN(len(held))
				key := fmt.Sprint("shared ", i)
				c, err := d.Claim(t.Context(), key, time.Hour)
				if !assert.NoError(t, err) || c.State != receiver.Claimed {
					continue
				}
				if held[i].Add(1) != 1 {
					assert.Fail(t, "two hold one key")
				}
				held[i].Add(-1)
				assert.NoError(t, d.Release(t.Context(), key, c.Token))
				other := fmt.Sprint(rand.Int())
				if c, err = d.Claim(t.Context(), other, time.Hour); assert.NoError(t, err) && c.State == receiver.Claimed {
					assert.NoError(t, d.Complete(t.Context(), other, c.Token))
				}
			}
		})
	}
	wg.Wait()
}

func TestMemoryDeduperTakesAtMost200BytesAnEvent(t *testing.T) { //nolint:paralleltest // measures the heap
	const events, most = 1 << 16, 200
	if raceDetector {
		t.Skip("the race detector needs memory of its own")
	}
	for name, turnover := range map[string]int{"just full": 0, "after four times as many": 4 * events} {
		heap := func() int64 {
			runtime.GC()
			runtime.GC()
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			return int64(stats.HeapAlloc)
		}
		key := func(i int) string { return fmt.Sprintf("t/acme-tenant-0001/%08d-6f0e-4c55-9a55-%012d-----", i, i) }
		require.Len(t, key(1), 60)
		before, goroutines := heap(), runtime.NumGoroutine()
		d := receiver.NewMemoryDeduper(0, 0)
		for i := range events + turnover {
			finish(t, d, key(i))
		}
		perEvent := float64(heap()-before) / events
		t.Logf("%s: %.0f bytes an event", name, perEvent)
		assert.LessOrEqual(t, perEvent, float64(most), "%s: at most 200 bytes an event", name)
		assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines, "it needs no goroutine")
		requireState(t, receiver.Done, d, key(events+turnover-1), "it is in use until here")
	}
}

func TestMemoryDeduperAllocatesNoMoreOnceItIsFull(t *testing.T) { //nolint:paralleltest // counts allocations
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	d := receiver.NewMemoryDeduper(100, 0)
	keys := make([]string, 5000)
	for i := range keys {
		keys[i] = fmt.Sprint(i)
		finish(t, d, keys[i])
	}
	i := 0
	perEvent := testing.AllocsPerRun(4000, func() {
		c, _ := d.Claim(context.Background(), keys[i], lease)
		_ = d.Complete(context.Background(), keys[i], c.Token)
		i++
	})
	assert.LessOrEqual(t, perEvent, 1.0, "an event costs its token")
}

// A plainDeduper is what NewMemoryDeduper promises, written as plainly as can be.
type plainDeduper struct {
	capacity int
	ttl      time.Duration
	entries  map[string]*plainEntry
	order    []string // of what is done
}

type plainEntry struct {
	done  bool
	until time.Time
	token string
}

func (p *plainDeduper) forget(key string) {
	delete(p.entries, key)
	for i, k := range p.order {
		if k == key {
			p.order = append(p.order[:i:i], p.order[i+1:]...)
			return
		}
	}
}

func (p *plainDeduper) claim(key string, d time.Duration) (state receiver.ClaimState, full bool) {
	now := time.Now()
	for k, e := range p.entries {
		if e.done && !now.Before(e.until) {
			p.forget(k)
		}
	}
	e := p.entries[key]
	switch {
	case e == nil:
		if len(p.entries) >= p.capacity && len(p.order) > 0 {
			p.forget(p.order[0])
		}
		if len(p.entries) >= p.capacity {
			for k, e := range p.entries {
				if !e.done && !now.Before(e.until) {
					delete(p.entries, k)
				}
			}
		}
		if len(p.entries) >= p.capacity {
			return 0, true
		}
	case e.done:
		return receiver.Done, false
	case now.Before(e.until):
		return receiver.Held, false
	}
	p.entries[key] = &plainEntry{until: now.Add(d)}
	return receiver.Claimed, false
}

func (p *plainDeduper) settle(key, token string, complete bool) bool {
	e := p.entries[key]
	if e == nil || e.done || e.token != token {
		return false
	}
	if complete {
		e.done, e.until = true, time.Now().Add(p.ttl)
		p.order = append(p.order, key)
	} else {
		delete(p.entries, key)
	}
	return true
}

func TestMemoryDeduperDoesWhatAPlainOneDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 4))
				capacity, ttl := 5+random.IntN(15), 30*time.Second
				d := receiver.NewMemoryDeduper(capacity, ttl)
				plain := &plainDeduper{capacity: capacity, ttl: ttl, entries: map[string]*plainEntry{}}
				type given struct{ key, token string }
				var tokens []given
				count := map[string]int{}
				for step := range 10_000 {
					what := fmt.Sprintf("seed %d, step %d", seed, step)
					switch op := random.IntN(10); {
					case op < 5:
						key, lease := fmt.Sprint(random.IntN(3*capacity)), time.Duration(random.IntN(20))*time.Second
						got, err := d.Claim(t.Context(), key, lease)
						want, full := plain.claim(key, lease)
						require.Equal(t, full, err != nil, "%s: full or not: %v", what, err)
						require.Equal(t, want, got.State, "%s: the state of %s", what, key)
						if want == receiver.Claimed {
							plain.entries[key].token = got.Token
							tokens = append(tokens, given{key, got.Token})
						}
						count[fmt.Sprint(want, full)]++
					case op < 9 && len(tokens) > 0: // mostly a late token, and old ones too
						i := len(tokens) - 1 - min(random.IntN(capacity*2), len(tokens)-1)
						complete := op < 8
						settle := d.Release
						if complete {
							settle = d.Complete
						}
						err := settle(t.Context(), tokens[i].key, tokens[i].token)
						require.Equal(t, plain.settle(tokens[i].key, tokens[i].token, complete), err == nil, "%s: %v", what, err)
						if err != nil {
							require.ErrorIs(t, err, receiver.ErrLeaseLost)
						}
						count[fmt.Sprint("settled ", err == nil)]++
					default:
						time.Sleep(time.Duration(random.IntN(4)) * time.Second)
					}
				}
				for _, what := range []string{"claimed false", "held false", "done false", "invalid true", "settled true", "settled false"} {
					require.Greater(t, count[what], 100, "the test must come to %s often: %v", what, count)
				}
			})
		})
	}
}
