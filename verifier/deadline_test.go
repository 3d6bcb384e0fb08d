package verifier_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// What a function may expect of its context is what package context promises of one with a deadline.

// inFunction runs what it is given as the handler's function, for one delivery within ctx, and returns the function's context.
func inFunction(t *testing.T, ctx context.Context, fn func(ctx context.Context), opts ...verifier.HandlerOption) (kept context.Context, status int) { //nolint:revive // t is first
	t.Helper()
	h := handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error {
		kept = ctx
		fn(ctx)
		return nil
	}, opts...)
	status = send(h, eventWith("1").WithContext(ctx)).StatusCode
	return kept, status
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
			deadline, _ := ctx.Deadline()
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
		const number = 60
		var mu sync.Mutex
		took, answers := map[time.Duration]int{}, map[int]int{}
		h := handlerOf(t, func(_ context.Context, e *walletcrew.Event) error {
			switch len(e.ID) % 3 {
			case 0:
				time.Sleep(time.Second) // in time
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
			id := "id"[:i%3] + "000"
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
		assert.Equal(t, map[time.Duration]int{time.Second: number / 3, 25 * time.Second: 2 * number / 3}, took)
		assert.Equal(t, number, answers[204]+answers[503])
		assert.GreaterOrEqual(t, answers[503], number/3)
		time.Sleep(2 * time.Hour)
		began := time.Now()
		requireStatus(t, 503, send(h, eventWith("00000")), "after a rest too")
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
		}, verifier.WithLogger(book.logger()))
		requireStatus(t, 503, send(h, eventWith("1")), "its time was up")
		time.Sleep(time.Minute)
		assert.Contains(t, book.String(), "level=WARN msg=\"verifier: the event was not handled\"")
		assert.NotContains(t, book.String(), "after its delivery was answered", "it did what it should, and the outcome said so")
	})
}
