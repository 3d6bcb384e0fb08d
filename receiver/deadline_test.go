package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// What a function may expect of its context is what package context promises of one with a deadline.

// inFunction runs what it is given as the handler's function, for one delivery within ctx, and returns the function's context.
func inFunction(t *testing.T, ctx context.Context, fn func(ctx context.Context), opts ...receiver.HandlerOption) (kept context.Context, status int) { //nolint:revive // t is first
	t.Helper()
	began := make(chan context.Context, 1)
	h := handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error {
		began <- ctx
		fn(ctx)
		return nil
	}, opts...)
	status = send(h, eventWith("1").WithContext(ctx)).StatusCode
	return <-began, status
}

func TestTheFunctionsContextHasTheDeadlineOfTheDelivery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		inFunction(t, t.Context(), func(ctx context.Context) {
			deadline, ok := ctx.Deadline()
			assert.True(t, ok)
			assert.Equal(t, 25*time.Second, deadline.Sub(began))
		})
		earlier, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		inFunction(t, earlier, func(ctx context.Context) {
			deadline, ok := ctx.Deadline()
			assert.True(t, ok)
			assert.Equal(t, 5*time.Second, deadline.Sub(began), "the request's own, where that is earlier")
		})
		later, cancelLater := context.WithTimeout(t.Context(), time.Hour)
		defer cancelLater()
		inFunction(t, later, func(ctx context.Context) {
			deadline, _ := ctx.Deadline()
			assert.Equal(t, 25*time.Second, deadline.Sub(began))
		})
	})
}

func TestAFunctionThatOnlyAsksForErrSeesTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, ended := time.Now(), make(chan time.Duration, 1)
		ctx, status := inFunction(t, t.Context(), func(ctx context.Context) {
			for ctx.Err() == nil {
				time.Sleep(700 * time.Millisecond)
			}
			assert.Equal(t, context.DeadlineExceeded, ctx.Err())
			ended <- time.Since(began)
		})
		assert.Equal(t, http.StatusServiceUnavailable, status)
		assert.Equal(t, 25200*time.Millisecond, <-ended, "at its first look after the deadline")
		assert.Equal(t, context.DeadlineExceeded, ctx.Err(), "and it stays so when the delivery is answered")
		assert.Equal(t, context.DeadlineExceeded, context.Cause(ctx))
	})
}

func TestAContextThatIsKeptIsCanceledWhenTheDeliveryIsAnswered(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(context.Context){
		"nothing was asked before": func(context.Context) {},
		"Done was asked before":    func(ctx context.Context) { ctx.Done() },
		"Err was asked before":     func(ctx context.Context) { assert.NoError(t, ctx.Err()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				later, _ := inFunction(t, t.Context(), ask)
				time.Sleep(time.Minute)
				assert.Equal(t, context.Canceled, later.Err(), "it was in time, whenever that is asked")

				ctx, status := inFunction(t, t.Context(), ask)
				require.Equal(t, http.StatusNoContent, status)
				assert.Equal(t, context.Canceled, ctx.Err())
				<-ctx.Done()
				time.Sleep(time.Minute)
				assert.Equal(t, context.Canceled, ctx.Err(), "also when its deadline has passed")
			})
		})
	}
}

func TestContextsMadeOfTheFunctionsEndWithIt(t *testing.T) {
	t.Parallel()
	cause := errors.New("the server is shut down")
	synctest.Test(t, func(t *testing.T) {
		request, hangUp := context.WithCancelCause(t.Context())
		began := time.Now()
		var child context.Context
		called := false
		ctx, _ := inFunction(t, request, func(ctx context.Context) {
			var cancel context.CancelFunc
			child, cancel = context.WithCancel(ctx)
			defer cancel()
			context.AfterFunc(ctx, func() { called = true })
			time.AfterFunc(3*time.Second, func() { hangUp(cause) })
			<-child.Done()
			assert.Equal(t, 3*time.Second, time.Since(began))
			assert.Equal(t, context.Canceled, child.Err())
			assert.Equal(t, cause, context.Cause(child), "the request's own reason")
		})
		synctest.Wait()
		assert.True(t, called)
		assert.Equal(t, cause, context.Cause(ctx))
	})
}

func TestTheFunctionsContextHasTheRequestsValues(t *testing.T) {
	t.Parallel()
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		inFunction(t, context.WithValue(t.Context(), key{}, "value"), func(ctx context.Context) {
			assert.Equal(t, "value", ctx.Value(key{}))
			ctx.Done()
			assert.Equal(t, "value", ctx.Value(key{}), "also when its end was asked for")
			assert.Nil(t, ctx.Value("another"))
		})
	})
}

func TestEachOfManyDeliveriesHasItsOwnDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const number = 80
		var mu sync.Mutex
		took, answers := map[time.Duration]int{}, map[int]int{}
		h := handlerOf(t, func(_ context.Context, e *walletcrew.Event) error {
			switch e.ID[0] - '0' {
			case 0:
				time.Sleep(time.Second) // in time
			case 3:
				time.Sleep(20 * time.Second) // in time, but others' is up meanwhile
			case 1:
				time.Sleep(25 * time.Second) // at the very moment
			default:
				time.Sleep(time.Hour) // and looks at no context
			}
			return nil
		})
		var all sync.WaitGroup
		for i := range number {
			time.Sleep(700 * time.Millisecond)
			id := fmt.Sprint(i%4, "-", i)
			all.Go(func() {
				began := time.Now()
				status := send(h, eventWith(id)).StatusCode
				mu.Lock()
				defer mu.Unlock()
				took[time.Since(began)]++
				answers[status]++
			})
		}
		all.Wait()
		assert.Equal(t, map[time.Duration]int{time.Second: number / 4, 20 * time.Second: number / 4, 25 * time.Second: number / 2}, took)
		assert.Equal(t, number, answers[204]+answers[503])
		assert.GreaterOrEqual(t, answers[503], number/4)
		time.Sleep(2 * time.Hour)
		began := time.Now()
		requireStatus(t, 503, send(h, eventWith("2-rest")), "after a rest too")
		assert.Equal(t, 25*time.Second, time.Since(began))
		time.Sleep(time.Hour)
	})
}

func TestAFunctionThatCleansUpAfterItsDeadlineIsNoNews(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := new(logbook)
		h := handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return ctx.Err()
		}, receiver.WithLogger(book.logger()))
		requireStatus(t, 503, send(h, eventWith("1")), "its time was up")
		time.Sleep(time.Minute)
		assert.Contains(t, book.String(), "level=WARN msg=\"receiver: the event was not handled\"")
		assert.NotContains(t, book.String(), "after its delivery was answered", "it did what it should, and the outcome said so")
	})
}

func TestALookUpOfSecretsThatOnlyAsksForErrSeesTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		polls := verifier.SecretFunc(func(ctx context.Context, _ string) ([]walletcrew.Secret, error) {
			for ctx.Err() == nil {
				time.Sleep(700 * time.Millisecond)
			}
			return nil, ctx.Err()
		})
		h := receiver.NewHandler(verifierOf(t, polls), succeed, receiver.WithLogger(silentLog()))
		began := time.Now()
		requireStatus(t, 503, send(h, eventWith("1")), "its time is up")
		assert.Equal(t, 25200*time.Millisecond, time.Since(began))

		request, hangUp := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, hangUp)
		began = time.Now()
		requireStatus(t, 503, send(h, eventWith("1").WithContext(request)), "the sender has hung up")
		assert.Equal(t, 3500*time.Millisecond, time.Since(began))
	})
}

func TestTheFunctionsContextCanBePrintedWhileItIsUsed(t *testing.T) {
	t.Parallel()
	h := handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error {
		var both sync.WaitGroup
		both.Go(func() { ctx.Done() })
		both.Go(func() { assert.Contains(t, fmt.Sprintf("%v %s", ctx, ctx), ".WithDeadline(") })
		both.Wait()
		return nil
	})
	requireStatus(t, 204, send(h, eventWith("1")), "a mock prints its arguments")
}

// A handler in a package's variable is used by tests with time of their own and by others.
func TestAHandlerMayBeUsedInOneBubbleAfterTheOther(t *testing.T) {
	t.Parallel()
	slow := false
	h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
		if slow {
			time.Sleep(time.Hour)
		}
		return nil
	})
	requireStatus(t, 204, send(h, eventWith("1")), "in real time")
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			slow = false
			requireStatus(t, 204, send(h, eventWith("1")), "")
			time.Sleep(time.Minute)
			slow = true
			began := time.Now()
			requireStatus(t, 503, send(h, eventWith("1")), "its time is up")
			assert.Equal(t, 25*time.Second, time.Since(began))
			time.Sleep(2 * time.Hour)
		})
		slow = false
		requireStatus(t, 204, send(h, eventWith("1")), "in real time again")
	}
}

// Not parallel: it looks at the heap.
func TestNothingIsKeptOfWhatWasAnswered(t *testing.T) {
	stop, started := make(chan struct{}), make(chan struct{})
	h := handlerOf(t, func(_ context.Context, e *walletcrew.Event) error {
		if e.ID == "first" {
			close(started)
			<-stop
		}
		return nil
	}, receiver.WithTimeout(time.Hour))
	var first sync.WaitGroup
	first.Go(func() { send(h, eventWith("first")) })
	<-started
	before := heapBytes()
	const number, size = 200, 100_000
	for i := range number {
		requireStatus(t, 204, send(h, posted(fmt.Appendf(nil, `{"__id":"%d","x":%q}`, i, strings.Repeat("x", size)))), "")
	}
	assert.Less(t, heapBytes()-before, int64(number*size/10), "while another delivery goes on")
	close(stop)
	first.Wait()

	var kept []context.Context
	h = handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error {
		kept = append(kept, context.WithoutCancel(ctx)) // as one does for work that goes on
		return nil
	})
	before = heapBytes()
	for i := range number {
		body := fmt.Appendf(nil, `{"__id":"%d","x":%q}`, i, strings.Repeat("x", size))
		requireStatus(t, 204, send(h, posted(body).WithContext(t.Context())), "")
	}
	assert.Less(t, heapBytes()-before, int64(number*size/10), "by contexts that are kept")
	runtime.KeepAlive(kept)

	before = heapBytes()
	for range number {
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { return nil }, receiver.WithTimeout(time.Hour), receiver.WithObserver(keeping(size)))
		requireStatus(t, 204, send(h, eventWith("1")), "")
	}
	assert.Less(t, heapBytes()-before, int64(number*size/10), "handlers that are made for one delivery each")
}

func keeping(size int) func(context.Context, receiver.Outcome) {
	ballast := make([]byte, size)
	return func(context.Context, receiver.Outcome) { ballast[0]++ }
}

func heapBytes() int64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
