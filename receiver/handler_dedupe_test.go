package receiver_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// A fakeDeduper answers what it is told to, and else that the event is claimed; it keeps what it was asked.
type fakeDeduper struct {
	claims                              []receiver.Claim // one for each Claim
	claimErr, completeErr, releaseErr   error
	claimPanic, completePanic, relPanic any

	mu    sync.Mutex
	calls []string
	keys  []string
	lease time.Duration
}

func (f *fakeDeduper) note(call, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.keys = append(f.calls, call), append(f.keys, key)
}

func (f *fakeDeduper) did() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func (f *fakeDeduper) Claim(_ context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	f.note("claim", key)
	if f.claimPanic != nil {
		panic(f.claimPanic)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lease = lease
	if len(f.claims) > 0 {
		claim := f.claims[0]
		f.claims = f.claims[1:]
		return claim, f.claimErr
	}
	return receiver.Claim{State: receiver.Claimed, Token: "token of " + key}, f.claimErr
}

func (f *fakeDeduper) Complete(ctx context.Context, key, token string) error {
	f.mu.Lock()
	err, value := f.completeErr, f.completePanic
	f.mu.Unlock()
	return f.settle(ctx, "complete", key, token, err, value)
}

func (f *fakeDeduper) Release(ctx context.Context, key, token string) error {
	f.mu.Lock()
	err, value := f.releaseErr, f.relPanic
	f.mu.Unlock()
	return f.settle(ctx, "release", key, token, err, value)
}

// change lets it answer otherwise from now on.
func (f *fakeDeduper) change(to func(f *fakeDeduper)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to(f)
}

func (f *fakeDeduper) settle(ctx context.Context, call, key, token string, err error, value any) error {
	if ctx.Err() != nil {
		call += " under a context that has ended"
	}
	if token != "token of "+key {
		call += " with another token"
	}
	f.note(call, key)
	if value != nil {
		panic(value)
	}
	return err
}

// keyOf returns by which key a delivery is remembered.
func keyOf(t testing.TB, source verifier.SecretSource, r *http.Request) string {
	t.Helper()
	d := new(fakeDeduper)
	h := receiver.NewHandler(verifierOf(t, source), succeed, receiver.WithLogger(silentLog()), receiver.WithDeduper(d))
	requireStatus(t, 204, send(h, r), "a good delivery")
	if len(d.keys) == 0 {
		return ""
	}
	return d.keys[0]
}

// --- one delivery of an event at a time ---

// Each that waits holds its body, and who has captured one delivery can send it as often as he likes.
func TestFewDeliveriesOfAnEventWaitForTheOneThatRuns(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]receiver.Deduper{"in memory": receiver.NewMemoryDeduper(0, 0), "elsewhere": elsewhere{receiver.NewMemoryDeduper(0, 0)}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var runs atomic.Int32
				seen := new(outcomes)
				h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
					runs.Add(1)
					time.Sleep(2 * time.Second)
					return nil
				}, receiver.WithDeduper(d), receiver.WithObserver(seen.observe))
				var all sync.WaitGroup
				var answers [600]atomic.Int32
				for range 300 {
					all.Go(func() { answers[send(h, eventWith("1")).StatusCode].Add(1) })
				}
				synctest.Wait()
				assert.EqualValues(t, 295, answers[503].Load(), "one runs, four wait, and the others are asked for again at once")
				began := time.Now()
				requireStatus(t, 204, send(h, eventWith("2")), "another event has a turn of its own")
				assert.Equal(t, 2*time.Second, time.Since(began))
				all.Wait()
				assert.EqualValues(t, 5, answers[204].Load())
				reasons := map[receiver.Reason]int{}
				for _, out := range seen.all() {
					reasons[out.Reason]++
				}
				assert.Equal(t, 295, reasons[receiver.ReasonTooManyWaiting])
				if d != nil {
					assert.EqualValues(t, 2, runs.Load())
				} else {
					assert.EqualValues(t, 6, runs.Load(), "without a deduper each delivery runs, one after the other")
				}
			})
		})
	}
}

func TestADeliveryThatGivesUpWaitingLeavesItsPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { time.Sleep(20 * time.Second); return nil },
			receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))
		go send(h, eventWith("1"))
		synctest.Wait()
		for range 3 { // of four places each time
			ctx, hangUp := context.WithCancel(t.Context())
			for range 4 {
				go send(h, eventWith("1").WithContext(ctx))
			}
			synctest.Wait()
			hangUp()
			synctest.Wait()
		}
		requireStatus(t, 204, send(h, eventWith("1")), "there is room to wait")
	})
}

// The platform delivers again what it has no answer for, and a function that isn't made for it would run twice at once.
func TestWithoutADeduperAnEventStillRunsOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running, most, runs atomic.Int32
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Second)
			runs.Add(1)
			return nil
		})
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { send(h, eventWith("1")) })
		}
		all.Wait()
		assert.EqualValues(t, 1, most.Load())
		assert.EqualValues(t, 3, runs.Load())
	})
}

// --- claim, run, complete or release ---

func TestAnEventIsHandledOnceAndThenADuplicate(t *testing.T) {
	t.Parallel()
	seen, calls := new(outcomes), 0
	h := handlerOf(t, func(context.Context, *walletcrew.Event) error { calls++; return nil },
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)), receiver.WithObserver(seen.observe))
	for range 5 {
		requireStatus(t, 204, send(h, eventWith("1")), "also a duplicate is acknowledged, or it would come for ever")
	}
	requireStatus(t, 204, send(h, eventWith("2")), "another event")
	assert.Equal(t, 2, calls, "the function runs once for each event")
	assert.Equal(t, receiver.Duplicate, seen.all()[4].Result)
	assert.NotNil(t, seen.all()[4].Event)
}

func TestTheDeduperIsAskedBeforeAndToldAfter(t *testing.T) {
	t.Parallel()
	d := new(fakeDeduper)
	h := handlerOf(t, func(context.Context, *walletcrew.Event) error { d.note("run", ""); return nil }, receiver.WithDeduper(d))
	requireStatus(t, 204, send(h, eventWith("1")), "handled")
	assert.Equal(t, []string{"claim", "run", "complete"}, d.did())
	assert.Equal(t, 35*time.Second, d.lease, "the lease is longer than the function's time, or the event could be claimed while it runs")
}

func TestAFailedEventIsRunByTheNextDelivery(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(context.Context) error{
		"error":   func(context.Context) error { return errors.New("disk full") },
		"panic":   func(context.Context) error { panic("boom") },
		"timeout": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				h := handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error {
					calls++
					if calls < 3 {
						return fail(ctx)
					}
					return nil
				}, receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))
				for i, ok := range []bool{false, false, true, true} {
					got := send(h, eventWith("1"))
					synctest.Wait()
					assert.Equal(t, ok, got.StatusCode == 204, "delivery %d was answered with %d", i+1, got.StatusCode)
				}
				assert.Equal(t, 3, calls, "two failures, one success, and nothing for the duplicate")
			})
		})
	}
}

func TestACrashedEventIsRunWhenItsLeaseHasRunOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := receiver.NewMemoryDeduper(0, 0)
		key := keyOf(t, verifier.Static(knownSecret), eventWith("1"))
		claim, err := shared.Claim(t.Context(), key, 35*time.Second) // by a process that crashes then
		require.NoError(t, err)
		require.Equal(t, receiver.Claimed, claim.State)

		calls := 0
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { calls++; return nil }, receiver.WithDeduper(shared))
		requireStatus(t, 503, send(h, eventWith("1")), "as far as anyone knows, the other process is at it")
		time.Sleep(35 * time.Second)
		requireStatus(t, 204, send(h, eventWith("1")), "the lease has run out")
		assert.Equal(t, 1, calls, "the event isn't lost")
		require.ErrorIs(t, shared.Complete(t.Context(), key, claim.Token), receiver.ErrLeaseLost)
	})
}

func TestAFunctionThatNeverReturnsDoesNotHoldItsEventForEver(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]func() receiver.Deduper{
		"in memory":             func() receiver.Deduper { return receiver.NewMemoryDeduper(0, 0) },
		"elsewhere":             func() receiver.Deduper { return elsewhere{receiver.NewMemoryDeduper(0, 0)} },
		"with one that is down": func() receiver.Deduper { return &fakeDeduper{claimErr: errors.New("down")} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				stuck := make(chan struct{})
				var calls atomic.Int32
				book := new(logbook)
				h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
					if calls.Add(1) == 1 {
						<-stuck
						return errors.New("too late")
					}
					return nil
				}, receiver.WithDeduper(d()), receiver.ContinueWithoutDeduper(), receiver.WithLogger(book.logger()))
				began := time.Now()
				requireStatus(t, 503, send(h, eventWith("1")), "the first delivery's function is stuck")
				requireStatus(t, 204, send(h, eventWith("1")), "the lease runs out, and the next delivery runs the event")
				assert.Equal(t, 35*time.Second, time.Since(began), "it ran when the lease had run out, not before")
				close(stuck)
				synctest.Wait()
				assert.Contains(t, book.String(), "too late", "the late result is in the log")
				time.Sleep(leasesEnd)
			})
		})
	}
}

func TestTheLateFinisherOfAnOldLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]error{"late success": nil, "late failure": errors.New("disk full")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// Two replicas with one deduper. The first function takes 50 s; its lease runs out after 35.
				shared, book := elsewhere{receiver.NewMemoryDeduper(0, 0)}, new(logbook)
				first := handlerOf(t, func(context.Context, *walletcrew.Event) error { time.Sleep(50 * time.Second); return late },
					receiver.WithDeduper(shared), receiver.WithLogger(book.logger()))
				running, secondMay := 0, make(chan struct{})
				second := handlerOf(t, func(context.Context, *walletcrew.Event) error { running++; <-secondMay; return nil },
					receiver.WithDeduper(shared))

				requireStatus(t, 503, send(first, eventWith("1")), "25 s have gone")
				time.Sleep(11 * time.Second) // 36 s: the lease has run out
				answers := make(chan int, 1)
				go func() { answers <- send(second, eventWith("1")).StatusCode }()
				time.Sleep(15 * time.Second) // 51 s: the first has ended
				synctest.Wait()
				require.Equal(t, 1, running, "the second took the event over")
				assert.Contains(t, book.String(), "the lease is lost", "what the first came to is in the log")

				third := handlerOf(t, func(context.Context, *walletcrew.Event) error {
					assert.Fail(t, "the event ran a third time, while the second had it")
					return nil
				}, receiver.WithDeduper(shared))
				requireStatus(t, 503, send(third, eventWith("1")), "the old lease's end neither completed nor released the new one")
				close(secondMay)
				assert.Equal(t, 204, <-answers, "the second completes its own lease")
				requireStatus(t, 204, send(third, eventWith("1")), "done")
			})
		})
	}
}

// --- held ---

// elsewhere is a deduper of which the handler knows nothing but the interface, as of one on a server.
type elsewhere struct{ receiver.Deduper }

// forEachPlace runs the test with the memory deduper, which lets the deliveries of an event wait for each other, and with one
// that can't.
func forEachPlace(t *testing.T, test func(t *testing.T, d receiver.Deduper)) {
	t.Helper()
	for name, place := range map[string]func(receiver.Deduper) receiver.Deduper{
		"in memory": func(d receiver.Deduper) receiver.Deduper { return d },
		"elsewhere": func(d receiver.Deduper) receiver.Deduper { return elsewhere{d} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, place(receiver.NewMemoryDeduper(0, 0))) })
		})
	}
}

func TestADeliveryWaitsForTheOneInThisProcess(t *testing.T) {
	t.Parallel()
	forEachPlace(t, func(t *testing.T, d receiver.Deduper) {
		seen, calls := new(outcomes), 0
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
			calls++
			time.Sleep(10 * time.Second)
			return nil
		}, receiver.WithDeduper(d), receiver.WithObserver(seen.observe))
		go send(h, eventWith("1"))
		time.Sleep(4 * time.Second)
		began := time.Now()
		requireStatus(t, 204, send(h, eventWith("1")), "the event was handled")
		assert.Equal(t, 6*time.Second, time.Since(began), "the second waits no longer than the first takes")
		synctest.Wait()
		assert.Equal(t, 1, calls)
		assert.ElementsMatch(t, []receiver.Result{receiver.Handled, receiver.Duplicate},
			[]receiver.Result{seen.all()[0].Result, seen.all()[1].Result})
	})
}

func TestADeliveryWaitsThoughOtherEventsAreHandledMeanwhile(t *testing.T) {
	t.Parallel()
	forEachPlace(t, func(t *testing.T, d receiver.Deduper) {
		finish := make(chan struct{})
		h := handlerOf(t, func(_ context.Context, e *walletcrew.Event) error {
			if e.ID == "slow" {
				<-finish
			}
			return nil
		}, receiver.WithDeduper(d))
		for range 2 {
			go func() {
				assert.Equal(t, 204, send(h, eventWith("slow")).StatusCode, "the first handles it, the second waits and is a duplicate")
			}()
			synctest.Wait()
			requireStatus(t, 204, send(h, eventWith("quick")), "another event needn't wait")
		}
		close(finish)
		synctest.Wait()
	})
}

func TestADeliveryThatWaitedRunsTheEventIfTheFirstFailed(t *testing.T) {
	t.Parallel()
	forEachPlace(t, func(t *testing.T, d receiver.Deduper) {
		calls := 0
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
			calls++
			time.Sleep(10 * time.Second)
			if calls == 1 {
				return errors.New("disk full")
			}
			return nil
		}, receiver.WithDeduper(d))
		first := make(chan int, 1)
		go func() { first <- send(h, eventWith("1")).StatusCode }()
		time.Sleep(time.Second)
		requireStatus(t, 204, send(h, eventWith("1")), "the second ran it")
		assert.Equal(t, 500, <-first)
		assert.Equal(t, 2, calls)
	})
}

func TestADeliveryWaitsNoLongerThanTheTimeout(t *testing.T) {
	t.Parallel()
	forEachPlace(t, func(t *testing.T, d receiver.Deduper) {
		seen := new(outcomes)
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { time.Sleep(30 * time.Second); return nil },
			receiver.WithDeduper(d), receiver.WithObserver(seen.observe))
		go send(h, eventWith("1"))
		time.Sleep(time.Second)
		began := time.Now()
		got := send(h, eventWith("1"))
		requireStatus(t, 503, got, "nobody knows yet what became of the event")
		assert.Equal(t, "10", got.Header.Get("Retry-After"))
		assert.Equal(t, 25*time.Second, time.Since(began), "the answer must come before the platform gives up")
		assert.Equal(t, receiver.InFlight, seen.all()[1].Result)
		time.Sleep(time.Minute)
	})
}

func TestAnEventThatAnotherProcessHoldsIs503(t *testing.T) {
	t.Parallel()
	seen := new(outcomes)
	h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
		assert.Fail(t, "another process is at it")
		return nil
	}, receiver.WithDeduper(&fakeDeduper{claims: []receiver.Claim{{State: receiver.Held}}}), receiver.WithObserver(seen.observe))
	got := send(h, eventWith("1"))
	requireStatus(t, 503, got, "it isn't done yet: acknowledging it could lose it")
	assert.Equal(t, "10", got.Header.Get("Retry-After"))
	assert.Equal(t, receiver.InFlight, seen.only(t).Result)
}

func TestHandlersThatShareAMemoryDeduperWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared, calls := receiver.NewMemoryDeduper(0, 0), 0
		fn := func(context.Context, *walletcrew.Event) error { calls++; time.Sleep(10 * time.Second); return nil }
		one, other := handlerOf(t, fn, receiver.WithDeduper(shared)), handlerOf(t, fn, receiver.WithDeduper(shared))
		go send(one, eventWith("1"))
		time.Sleep(4 * time.Second)
		began := time.Now()
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { assert.Equal(t, 204, send(other, eventWith("1")).StatusCode, "the event was handled") })
		}
		all.Wait()
		assert.Equal(t, 6*time.Second, time.Since(began))
		assert.Equal(t, 1, calls)
	})
}

// --- a deduper that fails ---

// A lossy deduper is one on a server whose answers don't come while it is down: what it was asked is done all the same, at once or
// when it is up again.
type lossy struct {
	receiver.Deduper
	down atomic.Bool
	late time.Duration // after the error, 0: before it

	mu    sync.Mutex
	taken string // the token of the lease that was taken
}

// leasesEnd is when a handler has nothing more to tell its deduper. A test that has left it something waits for that, since a bubble
// must not end before.
const leasesEnd = time.Minute

var errLost = errors.New("i/o timeout")

func (l *lossy) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	if !l.down.Load() {
		return l.Deduper.Claim(ctx, key, lease)
	}
	take := func() {
		claim, _ := l.Deduper.Claim(context.Background(), key, lease)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.taken = claim.Token
	}
	if l.late == 0 {
		take()
	} else {
		time.AfterFunc(l.late, take)
	}
	return receiver.Claim{Token: "lost"}, errLost
}

func (l *lossy) Release(ctx context.Context, key, token string) error {
	if l.down.Load() {
		return errLost
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if token == "lost" {
		token = l.taken
	}
	return l.Deduper.Release(ctx, key, token)
}

func TestALeaseThatNobodyHasIsGivenBackWhenTheDeduperAnswersAgain(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]time.Duration{"it was taken at once": 0, "it is taken late": 10100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &lossy{Deduper: receiver.NewMemoryDeduper(0, 0), late: late}
				runs := map[string]int{}
				h := handlerOf(t, func(_ context.Context, e *walletcrew.Event) error { runs[e.ID]++; return nil },
					receiver.WithDeduper(d), receiver.WithTimeout(time.Minute))
				d.down.Store(true)
				requireStatus(t, 503, send(h, eventWith("lost")), "the deduper doesn't answer")
				time.Sleep(10 * time.Second)
				d.down.Store(false)
				requireStatus(t, 204, send(h, eventWith("other")), "it does again")
				time.Sleep(200 * time.Millisecond)
				began := time.Now()
				for i := 0; send(h, eventWith("lost")).StatusCode != 204; i++ {
					time.Sleep(200 * time.Millisecond)
					requireStatus(t, 204, send(h, eventWith(fmt.Sprint("other-", i))), "others go on meanwhile")
				}
				assert.LessOrEqual(t, time.Since(began), 2*time.Second, "and not when the lease has run out")
				assert.Equal(t, 1, runs["lost"])
			})
		})
	}
}

// A stuck deduper claims every second event, loses the answers to the others, and never comes back from a Release.
type stuck struct {
	fakeDeduper
	claims, releases atomic.Int64
	goOn             chan struct{}
}

func (s *stuck) Claim(context.Context, string, time.Duration) (receiver.Claim, error) {
	if s.claims.Add(1)%2 == 0 {
		return receiver.Claim{Token: "lost"}, errLost
	}
	return receiver.Claim{State: receiver.Claimed, Token: "got"}, nil
}

func (s *stuck) Release(context.Context, string, string) error {
	s.releases.Add(1)
	<-s.goOn // whatever the context says
	return nil
}

func TestADeduperThatHangsIsNotAskedByMoreAndMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &stuck{goOn: make(chan struct{})}
		h := handlerOf(t, succeed, receiver.WithDeduper(d))
		for i := range 60 {
			send(h, eventWith(fmt.Sprint(i)))
			time.Sleep(time.Second)
		}
		assert.EqualValues(t, 1, d.releases.Load(), "the others wait until it is back, or for the end of their leases")
		close(d.goOn)
		time.Sleep(leasesEnd)
	})
}

func TestWhatIsKeptOfAnOutageIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most, over = 10_000, 500
		d := &fakeDeduper{claimErr: errLost}
		h := handlerOf(t, succeed, receiver.WithDeduper(d))
		for i := range most + over {
			requireStatus(t, 503, send(h, eventWith(fmt.Sprint(i))), "down")
		}
		d.change(func(d *fakeDeduper) { d.claimErr, d.calls = nil, nil })
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, most, d.count("release"), "the others wait for the end of their leases")
		time.Sleep(time.Minute)
		d.mu.Lock()
		d.calls = nil
		d.mu.Unlock()
		requireStatus(t, 204, send(h, eventWith("later")), "")
		synctest.Wait()
		assert.NotContains(t, d.did(), "release", "once is enough")
	})
}

// count says how often the deduper was called so.
func (f *fakeDeduper) count(call string) (n int) {
	for _, did := range f.did() {
		if did == call {
			n++
		}
	}
	return n
}

func TestAfterSomeLeasesThatCannotBeGivenBackTheOthersAreFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDeduper{claimErr: errLost}
		h := handlerOf(t, succeed, receiver.WithDeduper(d))
		for i := range 5 {
			requireStatus(t, 503, send(h, eventWith(fmt.Sprint(i))), "down")
		}
		released := func() (keys []string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			for i, call := range d.calls {
				if call == "release" {
					keys = append(keys, d.keys[i])
				}
			}
			return keys
		}
		d.change(func(d *fakeDeduper) { d.claimErr, d.releaseErr = nil, errLost })
		time.Sleep(1100 * time.Millisecond)
		assert.Equal(t, []string{"-/0", "-/1", "-/2"}, released(), "three failures are enough for now")
		d.change(func(d *fakeDeduper) { d.releaseErr = nil })
		time.Sleep(time.Second)
		assert.Equal(t, []string{"-/3", "-/4", "-/0", "-/1", "-/2"}, released()[3:], "each once")
	})
}

func TestALeaseThatIsNotThereIsGivenBackTwiceAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDeduper{claimErr: errLost, releaseErr: receiver.ErrLeaseLost}
		h := handlerOf(t, succeed, receiver.WithDeduper(d))
		requireStatus(t, 503, send(h, eventWith("1")), "down")
		d.change(func(d *fakeDeduper) { d.claimErr = nil })
		for i := range 10 {
			requireStatus(t, 204, send(h, eventWith(fmt.Sprint("other-", i))), "up again")
			time.Sleep(1100 * time.Millisecond)
		}
		assert.Equal(t, 2, d.count("release"))
	})
}

func TestAnErrorWithoutATokenLeavesNothingToGiveBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDeduper{claims: []receiver.Claim{{}}, claimErr: errLost}
		h := handlerOf(t, succeed, receiver.WithDeduper(d))
		requireStatus(t, 503, send(h, eventWith("1")), "down")
		d.claimErr = nil
		requireStatus(t, 204, send(h, eventWith("2")), "up again")
		synctest.Wait()
		assert.Equal(t, []string{"claim", "claim", "complete"}, d.did())
	})
}

// Of a deduper in parts, such as a Redis Cluster, some may be away while others answer.
func TestALeaseThatCannotBeGivenBackHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(){"an error": func() {}, "a Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &parted{away: map[string]bool{"-/bad": true}, lost: map[string]bool{"-/good": true}, fail: fail}
				h := handlerOf(t, succeed, receiver.WithDeduper(d))
				requireStatus(t, 503, send(h, eventWith("bad")), "its part is away")
				requireStatus(t, 503, send(h, eventWith("good")), "the answer was lost")
				for i := range 10 {
					send(h, eventWith("bad"))
					requireStatus(t, 204, send(h, eventWith(fmt.Sprint(i))), "others go on")
					time.Sleep(1100 * time.Millisecond)
					if i == 5 {
						d.mu.Lock()
						d.fail = func() {}
						d.mu.Unlock()
					}
				}
				d.mu.Lock()
				assert.Contains(t, d.released, "-/good")
				d.mu.Unlock()
				time.Sleep(leasesEnd)
			})
		})
	}
}

type parted struct {
	mu       sync.Mutex
	away     map[string]bool
	lost     map[string]bool
	fail     func() // in Release of what is away
	released []string
}

func (p *parted) Claim(_ context.Context, key string, _ time.Duration) (receiver.Claim, error) {
	if p.away[key] || p.lost[key] {
		return receiver.Claim{Token: "token"}, errLost
	}
	return receiver.Claim{State: receiver.Claimed, Token: "token"}, nil
}

func (p *parted) Complete(context.Context, string, string) error { return nil }

func (p *parted) Release(_ context.Context, key, _ string) error {
	p.mu.Lock()
	fail := p.fail
	p.mu.Unlock()
	if p.away[key] {
		fail()
		return errLost
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = append(p.released, key)
	return nil
}

func TestATurnThatIsNotComeByInTimeAsksNoDeduper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, seen := new(fakeDeduper), new(outcomes)
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { time.Sleep(30 * time.Second); return nil },
			receiver.WithDeduper(d), receiver.WithObserver(seen.observe))
		go send(h, eventWith("1"))
		time.Sleep(time.Second)
		requireStatus(t, 503, send(h, eventWith("1")), "this process is at it")
		assert.Equal(t, 1, d.count("claim"))
		assert.Equal(t, receiver.InFlight, seen.all()[1].Result)
		assert.ErrorIs(t, seen.all()[1].Err, context.DeadlineExceeded)
		time.Sleep(time.Minute)
	})
}

func TestAFullMemoryDeduperIs503AndRunsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { calls.Add(1); time.Sleep(10 * time.Second); return nil },
			receiver.WithDeduper(receiver.NewMemoryDeduper(1, 0)))
		go send(h, eventWith("1"))
		time.Sleep(time.Second)
		requireStatus(t, 503, send(h, eventWith("2")), "there is no room to remember it")
		assert.Equal(t, int32(1), calls.Load())
		time.Sleep(time.Minute)
	})
}

func TestWithoutItsDeduperAnEventStillRunsOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		h := handlerOf(t, func(_ context.Context, e *walletcrew.Event) error {
			if e.ID == "other" {
				time.Sleep(30 * time.Second)
				return nil
			}
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(3 * time.Second)
			now.Add(-1)
			return nil
		}, receiver.WithDeduper(receiver.NewMemoryDeduper(1, 0)), receiver.ContinueWithoutDeduper(), receiver.WithTimeout(time.Minute))
		go send(h, eventWith("other")) // which fills it
		time.Sleep(time.Second)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { assert.Equal(t, 204, send(h, eventWith("1")).StatusCode) })
		}
		all.Wait()
		assert.Equal(t, int32(1), most.Load())
		time.Sleep(time.Minute)
	})
}

func TestWithoutItsDeduperADeliveryStillWaitsNoLongerThanTheTimeout(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]func() receiver.Deduper{
		"in memory, full":           func() receiver.Deduper { return receiver.NewMemoryDeduper(1, 0) },
		"elsewhere, and it is down": func() receiver.Deduper { return &fakeDeduper{claims: []receiver.Claim{{}, {}}, claimErr: errLost} },
		"elsewhere, and it is well": func() receiver.Deduper { return elsewhere{receiver.NewMemoryDeduper(0, 0)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var runs atomic.Int32
				book := new(logbook)
				h := handlerOf(t, func(_ context.Context, e *walletcrew.Event) error {
					if e.ID == "1" {
						runs.Add(1)
					}
					time.Sleep(30 * time.Second)
					return nil
				}, receiver.WithDeduper(d()), receiver.ContinueWithoutDeduper(), receiver.WithLogger(book.logger()))
				if strings.Contains(name, "full") {
					go send(h, eventWith("other"))
					time.Sleep(time.Second)
				}
				go send(h, eventWith("1"))
				time.Sleep(time.Second)
				began := time.Now()
				requireStatus(t, 503, send(h, eventWith("1")), "this process is at it")
				assert.Equal(t, 25*time.Second, time.Since(began))
				assert.Equal(t, int32(1), runs.Load())
				assert.Contains(t, book.String(), "this process is still handling the event")
				if strings.Contains(name, "well") {
					assert.NotContains(t, book.String(), "the deduper failed")
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// What the user supplies may end the goroutine in any place.
func TestATurnIsGivenBackWhateverEndsTheDelivery(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]func(once *sync.Once) []receiver.HandlerOption{
		"the logger panics": func(once *sync.Once) []receiver.HandlerOption {
			return []receiver.HandlerOption{
				receiver.WithDeduper(&fakeDeduper{claims: []receiver.Claim{{}}, claimErr: errLost}), receiver.ContinueWithoutDeduper(),
				receiver.WithLogger(slog.New(&breaking{Handler: slog.DiscardHandler, once: once})),
			}
		},
		"the deduper calls Goexit": func(once *sync.Once) []receiver.HandlerOption {
			return []receiver.HandlerOption{receiver.WithDeduper(&leaving{Deduper: new(fakeDeduper), once: once})}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := handlerOf(t, succeed, opts(new(sync.Once))...)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					defer func() { _ = recover() }() // as net/http's server
					send(h, eventWith("1"))
				}()
				<-ended
				began := time.Now()
				requireStatus(t, 204, send(h, eventWith("1")), "the next delivery runs it")
				assert.Zero(t, time.Since(began))
				time.Sleep(leasesEnd)
			})
		})
	}
}

type breaking struct {
	slog.Handler
	once *sync.Once
}

func (b *breaking) Enabled(context.Context, slog.Level) bool { return true }
func (b *breaking) Handle(context.Context, slog.Record) error {
	b.once.Do(func() { panic("no space left on device") })
	return nil
}

type leaving struct {
	receiver.Deduper
	once *sync.Once
}

func (l *leaving) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	l.once.Do(runtime.Goexit)
	return l.Deduper.Claim(ctx, key, lease)
}

func TestALateFinisherDoesNotEndTheNextOnesTurn(t *testing.T) {
	t.Parallel()
	forEachPlace(t, func(t *testing.T, d receiver.Deduper) {
		takes := make(chan time.Duration, 2)
		takes <- 22 * time.Second // over its time, its lease and its turn
		takes <- 4 * time.Second
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
			time.Sleep(<-takes)
			return nil
		}, receiver.WithDeduper(d), receiver.WithTimeout(10*time.Second))
		answers := make([]int, 3)
		var all sync.WaitGroup
		for i, at := range []time.Duration{0, 21 * time.Second, 23 * time.Second} { // the third comes after the first's end, within the second's
			all.Go(func() {
				time.Sleep(at)
				answers[i] = send(h, eventWith("1")).StatusCode
			})
		}
		all.Wait()
		assert.Equal(t, []int{503, 204, 204}, answers, "the third waits for the second")
	})
}

func TestALeaseThatHasRunOutIsNotGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDeduper{claimErr: errLost, releaseErr: errLost}
		h := handlerOf(t, succeed, receiver.WithDeduper(d))
		requireStatus(t, 503, send(h, eventWith("1")), "down")
		time.Sleep(36 * time.Second)
		before := d.count("release")
		assert.Greater(t, before, 30, "it is tried each second")
		time.Sleep(leasesEnd)
		assert.Equal(t, before, d.count("release"), "nobody has it any more")
	})
}

func TestAReleaseThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDeduper{claimErr: errLost, relPanic: "down again"}
		h := handlerOf(t, succeed, receiver.WithDeduper(d))
		requireStatus(t, 503, send(h, eventWith("1")), "down")
		requireStatus(t, 503, send(h, eventWith("2")), "down")
		d.change(func(d *fakeDeduper) { d.claimErr = nil })
		time.Sleep(1500 * time.Millisecond)
		assert.Equal(t, 2, d.count("release"), "at most once a second")
		d.change(func(d *fakeDeduper) { d.relPanic = nil })
		time.Sleep(time.Second)
		assert.Equal(t, 4, d.count("release"))
		time.Sleep(leasesEnd)
		assert.Equal(t, 4, d.count("release"), "once is enough")
	})
}

// After the function's end the process lives, so nobody need wait for the lease.
func TestWhatTheDeduperCouldNotBeToldIsToldLater(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		result error
		broken *fakeDeduper
		status int
		told   string
	}{
		"completing":            {nil, &fakeDeduper{completeErr: errLost}, 204, "complete"},
		"completing, by panic":  {nil, &fakeDeduper{completePanic: "down"}, 204, "complete"},
		"releasing":             {errors.New("disk full"), &fakeDeduper{releaseErr: errLost}, 500, "release"},
		"releasing, by panic":   {errors.New("disk full"), &fakeDeduper{relPanic: "down"}, 500, "release"},
		"completing a discard":  {receiver.Discard(errors.New("no such pass")), &fakeDeduper{completeErr: errLost}, 204, "complete"},
		"releasing a temporary": {receiver.Temporary(errLost), &fakeDeduper{releaseErr: errLost}, 503, "release"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := test.broken
				h := handlerOf(t, func(context.Context, *walletcrew.Event) error { return test.result }, receiver.WithDeduper(d))
				requireStatus(t, test.status, send(h, eventWith("1")), "the function decides")
				time.Sleep(3500 * time.Millisecond)
				assert.Equal(t, 4, d.count(test.told), "once, and then each second")
				d.change(func(d *fakeDeduper) { d.completeErr, d.releaseErr, d.completePanic, d.relPanic = nil, nil, nil, nil })
				began := time.Now()
				require.NoError(t, h.Shutdown(t.Context()), "it waits for what must still be told")
				assert.LessOrEqual(t, time.Since(began), time.Second)
				assert.Equal(t, 5, d.count(test.told))
				time.Sleep(leasesEnd)
				assert.Equal(t, 5, d.count(test.told), "once is enough")
			})
		})
	}
}

func TestALostLeaseIsNotToldAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDeduper{completeErr: receiver.ErrLeaseLost}
		h := handlerOf(t, succeed, receiver.WithDeduper(d))
		requireStatus(t, 204, send(h, eventWith("1")), "the event was handled")
		time.Sleep(leasesEnd)
		assert.Equal(t, 1, d.count("complete"), "another has the event")
	})
}

func TestShutdownWaitsNoLongerThanItsContextForADeduperThatIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := handlerOf(t, succeed, receiver.WithDeduper(&fakeDeduper{completeErr: errLost}))
		requireStatus(t, 204, send(h, eventWith("1")), "the event was handled")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		err := h.Shutdown(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "the deduper has not been told yet how all events ended")
		assert.Equal(t, 5*time.Second, time.Since(began))
		time.Sleep(leasesEnd)
		assert.NoError(t, h.Shutdown(t.Context()), "the lease has run out")
	})
}

func TestCompletingThatFailsIsStill204(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]*fakeDeduper{
		"error": {completeErr: errors.New("connection reset")},
		"panic": {completePanic: "connection reset"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book, seen := new(logbook), new(outcomes)
			h := handlerOf(t, succeed, receiver.WithDeduper(d), receiver.WithLogger(book.logger()), receiver.WithObserver(seen.observe))
			requireStatus(t, 204, send(h, eventWith("1")), "the event was handled")
			assert.Equal(t, receiver.Handled, seen.only(t).Result)
			assert.Contains(t, book.String(), "level=ERROR")
			assert.Contains(t, book.String(), "connection reset", "that it may come again must be in the log")
			requireStatus(t, 204, send(h, eventWith("1")), "the next delivery isn't stuck")
		})
	}
}

func TestReleasingThatFailsIsStillTheFunctionsFailure(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]*fakeDeduper{
		"error": {releaseErr: errors.New("connection reset")},
		"panic": {relPanic: "connection reset"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book := new(logbook)
			h := handlerOf(t, func(context.Context, *walletcrew.Event) error { return errors.New("disk full") },
				receiver.WithDeduper(d), receiver.WithLogger(book.logger()))
			requireStatus(t, 500, send(h, eventWith("1")), "the function failed")
			assert.Contains(t, book.String(), "connection reset")
			assert.Contains(t, book.String(), "disk full")
		})
	}
}

func TestADeduperThatPanicsLateDoesNotEndTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := new(logbook)
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { time.Sleep(30 * time.Second); return nil },
			receiver.WithDeduper(&fakeDeduper{completePanic: "connection reset"}), receiver.WithLogger(book.logger()))
		requireStatus(t, 503, send(h, eventWith("1")), "out of time")
		time.Sleep(10 * time.Second)
		assert.Contains(t, book.String(), "connection reset")
		time.Sleep(leasesEnd)
	})
}

func TestSettlingGoesOnWhenTheRequestHasEnded(t *testing.T) {
	t.Parallel()
	for want, result := range map[string]error{"complete": nil, "release": errors.New("disk full")} {
		synctest.Test(t, func(t *testing.T) {
			ctx, hangUp := context.WithCancel(t.Context())
			d := new(fakeDeduper)
			h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
				hangUp()
				return result
			}, receiver.WithDeduper(d))
			send(h, eventWith("1").WithContext(ctx))
			synctest.Wait()
			assert.Equal(t, []string{"claim", want}, d.did(), "that the sender hung up doesn't undo what was done")
		})
	}
}

func TestADeduperThatIsDownIs503(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]func() *fakeDeduper{
		"error":          func() *fakeDeduper { return &fakeDeduper{claimErr: errors.New("no route to host")} },
		"panic":          func() *fakeDeduper { return &fakeDeduper{claimPanic: "no route to host"} },
		"the zero Claim": func() *fakeDeduper { return &fakeDeduper{claims: []receiver.Claim{{}}} },
		"a claim of no known state": func() *fakeDeduper {
			return &fakeDeduper{claims: []receiver.Claim{{State: receiver.Done + 1, Token: "x"}}}
		},
		"a claim of a negative state": func() *fakeDeduper {
			return &fakeDeduper{claims: []receiver.Claim{{State: -1, Token: "x"}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book, seen, calls := new(logbook), new(outcomes), 0
			fn := func(context.Context, *walletcrew.Event) error { calls++; return nil }
			h := handlerOf(t, fn, receiver.WithDeduper(d()), receiver.WithLogger(book.logger()), receiver.WithObserver(seen.observe))
			got := send(h, eventWith("1"))
			requireStatus(t, 503, got, "by default nothing is lost and nothing done twice")
			assert.Equal(t, "10", got.Header.Get("Retry-After"))
			out := seen.only(t)
			assert.Equal(t, receiver.Unavailable, out.Result)
			require.ErrorContains(t, out.Err, "deduper")
			assert.Contains(t, book.String(), "deduper")
			assert.Zero(t, calls, "the function isn't called")

			down := d()
			h = handlerOf(t, fn, receiver.WithDeduper(down), receiver.WithLogger(book.logger()), receiver.ContinueWithoutDeduper())
			requireStatus(t, 204, send(h, eventWith("1")), "the user chose to go on without")
			assert.Equal(t, 1, calls)
			assert.Equal(t, []string{"claim"}, down.did(), "there is no claim to complete")
			assert.Contains(t, book.String(), "level=WARN")
			requireStatus(t, 204, send(h, eventWith("1")), "the next delivery isn't stuck")
		})
	}
}

func TestTheOutcomeSaysWhyTheDeduperFailed(t *testing.T) {
	t.Parallel()
	seen, down := new(outcomes), errors.New("redis is down")
	h := handlerOf(t, succeed, receiver.WithDeduper(&fakeDeduper{claims: []receiver.Claim{{}}, claimErr: down}), receiver.WithObserver(seen.observe))
	requireStatus(t, 503, send(h, eventWith("1")), "nothing can be claimed")
	require.ErrorIs(t, seen.only(t).Err, down)
}

func TestContinueWithoutDeduperStillAsksIt(t *testing.T) {
	t.Parallel()
	calls, seen, book := 0, new(outcomes), new(logbook)
	h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), func(context.Context, *walletcrew.Event) error { calls++; return nil },
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)), receiver.ContinueWithoutDeduper(), receiver.WithObserver(seen.observe), receiver.WithLogger(book.logger()))
	requireStatus(t, 204, send(h, eventWith("1")), "handled")
	requireStatus(t, 204, send(h, eventWith("1")), "a duplicate")
	assert.Equal(t, 1, calls, "as long as the deduper answers, an event is handled once")
	assert.Equal(t, receiver.Duplicate, seen.all()[1].Result)
	assert.Empty(t, book.String())
}

func TestAnEventHandledWithoutTheDeduperIsLogged(t *testing.T) {
	t.Parallel()
	book := new(logbook)
	h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), succeed, receiver.WithLogger(book.logger()),
		receiver.WithDeduper(&fakeDeduper{claimErr: errors.New("redis is down")}), receiver.ContinueWithoutDeduper())
	requireStatus(t, 204, send(h, eventWith("1")), "it goes on")
	assert.Contains(t, book.String(), "redis is down", "whoever watches the log learns that events may be handled twice")
}

func TestAReleaseThatWorksIsNotLogged(t *testing.T) {
	t.Parallel()
	book := new(logbook)
	h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), func(context.Context, *walletcrew.Event) error { return errors.New("no stock") },
		receiver.WithLogger(book.logger()), receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))
	requireStatus(t, 500, send(h, eventWith("1")), "the function failed")
	assert.Equal(t, 1, strings.Count(book.String(), "msg="), "the failure, and nothing else: %s", book)
}

func TestAnEventWithoutAnIDIsNeverADuplicate(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"no __id":          `{"passId":"p-1"}`,
		"an empty one":     `{"__id":""}`,
		"null":             `{"__id":null}`,
		"neither text nor": `{"__id":{"a":1}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			h := handlerOf(t, func(context.Context, *walletcrew.Event) error { calls++; return nil },
				receiver.WithDeduper(untouchableDeduper{t}))
			for range 3 {
				requireStatus(t, 204, send(h, posted([]byte(body))), "handled")
			}
			assert.Equal(t, 3, calls, "two events without an id can't be told apart; dropping one could lose it")
		})
	}
}

// --- scopes ---

func underTenant(r *http.Request, tenant string) *http.Request {
	r.Header.Set(walletcrew.HeaderTenantID, tenant)
	return r
}

// wrapped is a source that the package doesn't know.
type wrapped struct{ verifier.SecretSource }

func TestACapturedDeliveryIsADuplicateUnderAnyTenantWithStatic(t *testing.T) {
	t.Parallel()
	calls := 0
	h := handlerOf(t, func(context.Context, *walletcrew.Event) error { calls++; return nil },
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))
	for _, tenant := range []string{"acme", "other", "ACME", "", "acme/1", "%61cme", "-"} {
		requireStatus(t, 204, send(h, underTenant(eventWith("1"), tenant)), "the signature holds")
	}
	assert.Equal(t, 1, calls, "the tenant's header isn't signed: whoever captured a delivery can write anything there")
}

func TestACapturedDeliveryIsADuplicateUnderAnyTenantWithFromAPI(t *testing.T) {
	t.Parallel()
	client := clientOf(t, "acme")
	source := verifier.FromAPI(client)
	a := keyOf(t, source, underTenant(eventWith("1"), "acme"))
	b := keyOf(t, source, underTenant(eventWith("1"), "other"))
	assert.Equal(t, a, b, "the scope is the client's tenant, whatever the header says")
	perTenant := verifier.Tenants(func(_ context.Context, claimed string) (verifier.Tenant, error) {
		return verifier.Tenant{ID: claimed, Source: verifier.Static(knownSecret)}, nil
	})
	assert.Equal(t, keyOf(t, perTenant, underTenant(eventWith("1"), client.TenantID())), a,
		"replicas with FromAPI and with Tenants of the same tenant share what was done")
}

// A function of the user's may find his tenant however the header spells it: by a column that ignores case, or for any header at all.
func TestACapturedDeliveryIsADuplicateUnderAnyTenantWithASecretFunc(t *testing.T) {
	t.Parallel()
	loosely := func(_ context.Context, claimed string) ([]walletcrew.Secret, error) {
		switch plain := strings.ToLower(strings.Trim(claimed, " \u200b")); plain {
		case "acme", "acm\u00e9", "\u24d0cme":
			return []walletcrew.Secret{knownSecret, otherSecret}, nil
		}
		return nil, nil
	}
	for name, source := range map[string]verifier.SecretSource{
		"SecretFunc": verifier.SecretFunc(loosely),
		"Cached":     verifier.Cached(verifier.SecretFunc(loosely), time.Minute, 10),
		"any tenant": verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
			return []walletcrew.Secret{knownSecret}, nil
		}),
	} {
		calls := 0
		deduper := receiver.NewMemoryDeduper(0, 0)
		for range 2 { // the second time after a restart
			h := receiver.NewHandler(verifierOf(t, source), func(context.Context, *walletcrew.Event) error { calls++; return nil },
				receiver.WithDeduper(deduper), receiver.WithLogger(silentLog()))
			for _, tenant := range []string{"ACME", "acme", "acm\u00e9", "acme ", " Acme", "acme\u200b", "\u24d0cme"} {
				requireStatus(t, 204, send(h, underTenant(eventWith("1"), tenant)), name+" "+tenant)
			}
		}
		assert.Equal(t, 1, calls, "%s: the header isn't signed: whoever captured a delivery can write anything there", name)
	}
}

func TestARotationMakesNoEventNewWithASecretFunc(t *testing.T) {
	t.Parallel()
	signed := func(secret walletcrew.Secret) *http.Request {
		r := eventWith("1")
		r.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(secret, []byte(`{"__id":"1","passId":"p-1"}`)))
		return r
	}
	for name, both := range map[string][]walletcrew.Secret{
		"the old one first": {knownSecret, otherSecret},
		"the new one first": {otherSecret, knownSecret}, // then only a process that knew the old one alone
	} {
		returned := []walletcrew.Secret{knownSecret}
		source := verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { return returned, nil })
		before := keyOf(t, source, signed(knownSecret))
		v := verifierOf(t, source)
		key := func(v *verifier.Verifier, secret walletcrew.Secret) string {
			d, err := v.Delivery(signed(secret))
			require.NoError(t, err, name)
			return d.Key()
		}
		require.Equal(t, before, key(v, knownSecret), name)
		returned = both
		assert.Equal(t, before, key(v, otherSecret), "%s: delivered again, signed with the new secret", name)
		assert.Equal(t, before, key(v, knownSecret), "%s: delivered again, signed with the old secret", name)
		assert.Equal(t, key(verifierOf(t, source), knownSecret), key(verifierOf(t, source), otherSecret), "%s: a process that starts meanwhile", name)
		if both[0] == knownSecret {
			assert.Equal(t, before, key(verifierOf(t, source), otherSecret), "%s: a process that starts meanwhile", name)
		}
	}
}

func TestWithASecretFuncEachTenantHasItsOwnScope(t *testing.T) {
	t.Parallel()
	secrets := map[string]walletcrew.Secret{"acme": knownSecret, "other": otherSecret}
	source := verifier.SecretFunc(func(_ context.Context, tenant string) ([]walletcrew.Secret, error) {
		if s, ok := secrets[tenant]; ok {
			return []walletcrew.Secret{s}, nil
		}
		return nil, nil
	})
	var handled []string
	h := receiver.NewHandler(verifierOf(t, source), func(_ context.Context, e *walletcrew.Event) error {
		handled = append(handled, e.TenantID)
		return nil
	}, receiver.WithLogger(silentLog()), receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))

	// The other tenant uses, on purpose, the id of an event of acme that hasn't come yet.
	hostile := underTenant(eventWith("1"), "other")
	hostile.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(otherSecret, []byte(`{"__id":"1","passId":"p-1"}`)))
	requireStatus(t, 204, send(h, hostile), "it is a good delivery of its own tenant")
	requireStatus(t, 204, send(h, eventWith("1")), "acme's event")
	assert.Equal(t, []string{"other", "acme"}, handled, "one tenant can't claim another's ids")

	requireStatus(t, 401, send(h, underTenant(eventWith("1"), "other")), "acme's captured delivery isn't signed with the other's secret")
	requireStatus(t, 401, send(h, underTenant(eventWith("1"), "ACME")), "no such tenant")
	requireStatus(t, 204, send(h, eventWith("1")), "a duplicate")
	assert.Len(t, handled, 2, "a captured delivery can't pass as new")
}

func TestWithAnyOtherSourceTheSecretThatFittedIsTheScope(t *testing.T) {
	t.Parallel()
	source := wrapped{verifier.Static(otherSecret, knownSecret)}
	a := keyOf(t, source, underTenant(eventWith("1"), "acme"))
	b := keyOf(t, source, underTenant(eventWith("1"), "other"))
	assert.Equal(t, a, b, "a captured delivery can't pass as new under another tenant")
	r := eventWith("1")
	r.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(otherSecret, []byte(`{"__id":"1","passId":"p-1"}`)))
	assert.NotEqual(t, a, keyOf(t, source, r), "who has one secret can't claim the ids of another's")
	assert.Equal(t, a, keyOf(t, wrapped{verifier.Static(knownSecret)}, eventWith("1")), "replicas agree, whatever the order of the secrets")
	for _, s := range []walletcrew.Secret{knownSecret, otherSecret} {
		assert.NotContains(t, a, string(s), "the key goes to a database: it tells nothing of the secret")
		assert.NotContains(t, a, string(s[:8]))
	}
}

func TestKeysAreShortPrintableAndDifferent(t *testing.T) {
	t.Parallel()
	anyTenant := verifier.Tenants(func(_ context.Context, claimed string) (verifier.Tenant, error) {
		return verifier.Tenant{ID: cmp.Or(claimed, "none"), Source: verifier.Static(knownSecret)}, nil
	})
	sources := map[string]verifier.SecretSource{
		"static": verifier.Static(knownSecret), "tenants": anyTenant, "other": wrapped{verifier.Static(knownSecret)},
	}
	ids := []string{
		"1", "01", "1 ", " 1", "-", "/", "//", "a/b", "a%2Fb", "a%2fb", "%", "t/acme/1", "acme/1", "-/1", "h/", "A", "a", "é", "e\u0301",
		"\x00", "\n", "\u2028", "🎫", "*", ":", "a:b", "{a}", "a b", "'", "\"", "\\", "�",
		strings.Repeat("x", 400), strings.Repeat("x", 600), strings.Repeat("x", 601), strings.Repeat("x", 600) + "y",
		strings.Repeat("é", 300), strings.Repeat("x", 500_000), strings.Repeat("x", 500_000) + "1",
		"0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10",
	}
	tenants := []string{"acme", "", "acme/1", "acme%2F1", "ac", "/", "é", "-", strings.Repeat("t", 256)}
	seen := map[string]string{}
	for kind, source := range sources {
		scopes := tenants
		if kind != "tenants" {
			scopes = tenants[:1]
		}
		for _, tenant := range scopes {
			for _, id := range ids {
				key := keyOf(t, source, underTenant(eventWithJSON(t, id), tenant))
				what := fmt.Sprintf("%s %.20q %.20q (%d bytes)", kind, tenant, id, len(id))
				require.NotEmpty(t, key, "%s: an event with an id has a key", what)
				assert.LessOrEqual(t, len(key), 512, "%s: a database's column has an end", what)
				for _, c := range []byte(key) {
					if c <= ' ' || c > '~' {
						assert.Fail(t, "a key is printable ASCII", "%s: %q", what, key)
						break
					}
				}
				if other, ok := seen[key]; ok {
					assert.Fail(t, "two events share a key: one would be lost", "%s and %s: %s", what, other, key)
				}
				seen[key] = what
			}
		}
	}
}

// The keys are in databases that outlive a release: another key for the same event would have it handled again.
func TestKeysStayWhatTheyAre(t *testing.T) {
	t.Parallel()
	perTenant := verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
		return []walletcrew.Secret{knownSecret, otherSecret}, nil
	})
	tenants := verifier.Tenants(func(_ context.Context, claimed string) (verifier.Tenant, error) {
		return verifier.Tenant{ID: claimed, Source: verifier.Static(knownSecret)}, nil
	})
	long := strings.Repeat("x", 510)
	for name, c := range map[string]struct {
		source         verifier.SecretSource
		tenant, id, is string
	}{
		"Static":                      {verifier.Static(knownSecret), "globex", "0b9d-1", "-/0b9d-1"},
		"SecretFunc":                  {perTenant, "globex/1", "a b", "s/a01cd9f1bc74363e0fdd568f7c219fe4/a%20b"},
		"Tenants":                     {tenants, "globex/1", "a b", "t/globex%2F1/a%20b"},
		"FromAPI":                     {verifier.FromAPI(clientOf(t, "acme")), "globex", "0b9d-1", "t/acme/0b9d-1"},
		"another":                     {wrapped{verifier.Static(knownSecret)}, "globex", "0b9d-1", "s/a01cd9f1bc74363e0fdd568f7c219fe4/0b9d-1"},
		"one that is just short":      {verifier.Static(knownSecret), "", long, "-/" + long},
		"one that is just too long":   {verifier.Static(knownSecret), "", long + "x", "h/e04905137147c1ff8b41fd6e56adfd0e677dbb83f71ed29ae7bd27d96d769b5d"},
		"one of a scope with a slash": {tenants, "-/", "1", "t/-%2F/1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.is, keyOf(t, c.source, underTenant(eventWithJSON(t, c.id), c.tenant)))
		})
	}
}

func eventWithJSON(t testing.TB, id string) *http.Request {
	t.Helper()
	return posted(fmt.Appendf(nil, `{"__id":%s}`, mustJSON(t, id)))
}

func TestANumberAndItsTextAreOneID(t *testing.T) {
	t.Parallel()
	static := verifier.Static(knownSecret)
	assert.Equal(t, keyOf(t, static, posted([]byte(`{"__id":17}`))), keyOf(t, static, posted([]byte(`{"__id":"17"}`))))
	assert.NotEqual(t, keyOf(t, static, posted([]byte(`{"__id":9007199254740993}`))),
		keyOf(t, static, posted([]byte(`{"__id":9007199254740992}`))), "no digit of a number is lost")
}

func TestACapturedDeliveryUnderAnotherEventsNameIsADuplicate(t *testing.T) {
	t.Parallel()
	calls := 0
	h := handlerOf(t, func(context.Context, *walletcrew.Event) error { calls++; return nil },
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))
	requireStatus(t, 204, send(h, eventWith("1")), "the event")
	r := eventWith("1")
	r.Header.Set(walletcrew.HeaderEventName, "Pass:Uninstalled")
	requireStatus(t, 204, send(h, r), "nothing in the body contradicts the name")
	assert.Equal(t, 1, calls, "what was handled isn't handled again under another name")
}

// --- many at once ---

func TestAHundredConcurrentDeliveriesOfOneEventRunItOnce(t *testing.T) {
	t.Parallel()
	for name, handlers := range map[string]int{"one process": 1, "three replicas": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			shared := receiver.NewMemoryDeduper(0, 0)
			var hs []http.Handler
			for range handlers {
				hs = append(hs, handlerOf(t, func(context.Context, *walletcrew.Event) error {
					calls.Add(1)
					time.Sleep(5 * time.Millisecond)
					return nil
				}, receiver.WithDeduper(shared)))
			}
			var wg sync.WaitGroup
			start := make(chan struct{})
			var answers [600]atomic.Int32
			for i := range 100 {
				r := eventWith("1")
				wg.Go(func() {
					<-start
					answers[send(hs[i%handlers], r).StatusCode].Add(1)
				})
			}
			close(start)
			wg.Wait()
			assert.EqualValues(t, 1, calls.Load(), "the function runs once")
			assert.EqualValues(t, 100, answers[204].Load()+answers[503].Load(), "no answer is other than 2xx or 503")
			assert.Positive(t, answers[204].Load())
			if handlers == 1 {
				assert.GreaterOrEqual(t, answers[204].Load(), int32(1+4), "in one process, some wait and are told that it is done")
			}
		})
	}
}

func TestEachOf10000EventsIsCompletedExactlyOnce(t *testing.T) {
	t.Parallel()
	const events, workers = 10_000, 16
	var completed [events]atomic.Int32
	var running [events]atomic.Int32
	var failures, duplicates, atOnce, lost atomic.Int32
	fails := func() bool { return rand.IntN(10) < 3 }
	h := handlerOf(t, func(_ context.Context, e *walletcrew.Event) error {
		var i int
		if _, err := fmt.Sscan(e.ID, &i); err != nil {
			return err
		}
		if running[i].Add(1) != 1 {
			atOnce.Add(1)
		}
		defer running[i].Add(-1)
		if fails() {
			failures.Add(1)
			if fails() {
				panic("boom")
			}
			return errors.New("disk full")
		}
		completed[i].Add(1)
		return nil
	}, receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)), receiver.WithObserver(func(_ context.Context, out receiver.Outcome) {
		if out.Result == receiver.Duplicate {
			duplicates.Add(1)
		}
	}))

	// What is still to be delivered, in disorder; an event goes back as long as it isn't acknowledged, and some of those that
	// were come again all the same.
	var mu sync.Mutex
	pending := rand.Perm(events)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(pending) == 0 {
			return 0, false
		}
		at, last := rand.IntN(len(pending)), len(pending)-1
		i := pending[at]
		pending[at] = pending[last]
		pending = pending[:last]
		return i, true
	}
	again := func(i int) {
		mu.Lock()
		defer mu.Unlock()
		pending = append(pending, i)
	}
	for i := range events / 5 {
		pending = append(pending, i) // duplicates from the start
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i, ok := take()
				if !ok {
					return
				}
				switch status := send(h, eventWith(fmt.Sprint(i))).StatusCode; status {
				case 204:
					if rand.IntN(5) == 0 {
						again(i)
					}
				case 500, 503:
					again(i)
				default:
					if lost.Add(1) <= 5 { // the first say enough
						assert.Fail(t, "an answer that loses the event", "%d", status)
					}
				}
			}
		})
	}
	wg.Wait()
	assert.Zero(t, atOnce.Load(), "an event was handled by two at once: so often")
	onceEach(t, events, func(i int) int { return int(completed[i].Load()) })
	assert.Greater(t, failures.Load(), int32(3000), "the test must make it hard")
	assert.Greater(t, duplicates.Load(), int32(3000), "the test must make it hard")
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return text
}

// A contextKeeper looks at the context that it is given to complete, and keeps it.
type contextKeeper struct {
	receiver.Deduper
	mu     sync.Mutex
	kept   context.Context
	ending error
}

func (k *contextKeeper) keep(ctx context.Context, ending error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept, k.ending = ctx, ending
	return ending
}

func (k *contextKeeper) Complete(ctx context.Context, key, token string) error {
	if _, ok := ctx.Deadline(); !ok || ctx.Err() != nil {
		return errors.New("it has no deadline, or has ended")
	}
	<-ctx.Done()
	return k.keep(ctx, ctx.Err())
}

func TestCompletingThatHangsEndsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for took, all := range map[time.Duration]time.Duration{0: 25 * time.Second, 21 * time.Second: 25 * time.Second, 24 * time.Second: 27 * time.Second} {
			keeper := &contextKeeper{Deduper: receiver.NewMemoryDeduper(0, 0)}
			h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), func(context.Context, *walletcrew.Event) error { time.Sleep(took); return nil },
				receiver.WithDeduper(keeper), receiver.WithLogger(silentLog()))
			began := time.Now()
			requireStatus(t, http.StatusNoContent, send(h, posted([]byte(knownBody))), "the function succeeded")
			assert.Equal(t, all, time.Since(began), "25 s and 3 s are under the platform's 30 s")
			keeper.mu.Lock()
			require.ErrorIs(t, keeper.ending, context.DeadlineExceeded)
			require.ErrorIs(t, keeper.kept.Err(), context.DeadlineExceeded)
			keeper.mu.Unlock()
			time.Sleep(leasesEnd)
		}
		h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), succeed, receiver.WithTimeout(time.Hour), receiver.WithLogger(silentLog()),
			receiver.WithDeduper(&contextKeeper{Deduper: receiver.NewMemoryDeduper(0, 0)}))
		began := time.Now()
		requireStatus(t, http.StatusNoContent, send(h, posted([]byte(knownBody))), "the function succeeded")
		assert.Equal(t, 25*time.Second, time.Since(began), "a dead connection doesn't hold the answer for an hour: another try goes through")
		time.Sleep(2 * time.Hour)
	})
}

// A slowToComplete takes its time to complete, as a database does whose connections many wait for.
type slowToComplete struct {
	receiver.Deduper
	takes time.Duration
}

func (d slowToComplete) Complete(ctx context.Context, key, token string) error {
	select {
	case <-time.After(d.takes):
		return d.Deduper.Complete(ctx, key, token)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// It was given 3 s, and again and again 3 s: an event that it would have completed in 5 s was handled again when its lease had run out.
func TestADeduperThatIsSlowToCompleteRemembersAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), func(context.Context, *walletcrew.Event) error { calls++; return nil },
			receiver.WithDeduper(slowToComplete{receiver.NewMemoryDeduper(0, 0), 20 * time.Second}), receiver.WithLogger(silentLog()))
		for range 3 {
			requireStatus(t, http.StatusNoContent, send(h, posted([]byte(knownBody))), "handled, then duplicates")
			time.Sleep(leasesEnd)
		}
		assert.Equal(t, 1, calls)
	})
}

// Only the body is signed: under a header that only looks like the event's name, a captured delivery was acknowledged as an unknown event,
// and the real one was its duplicate.
func TestANameThatOnlyLooksLikeTheEventsUsesNothingUp(t *testing.T) {
	t.Parallel()
	var names []walletcrew.EventName
	h := handlerOf(t, func(_ context.Context, e *walletcrew.Event) error { names = append(names, e.Name); return nil },
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))
	body := []byte(`{"__id":"1","__eventName":"Pass:Installed","passId":"p-1"}`)
	under := func(name string) *http.Request {
		r := posted(body)
		r.Header.Set(walletcrew.HeaderEventName, name)
		return r
	}
	for _, name := range []string{"Paſs:Installed", "Pass:Insta\u0307lled", "Pass：Installed", "Pass:Installed2", "Order:Shipped"} {
		requireStatus(t, 400, send(h, under(name)), name)
	}
	requireStatus(t, 204, send(h, under("pass.installed")), "the real delivery, in another spelling")
	assert.Equal(t, []walletcrew.EventName{walletcrew.EventPassInstalled}, names)
}
