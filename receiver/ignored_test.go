package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// named is a good delivery of an event with this id, which the header calls so; "" for no header.
func named(name walletcrew.EventName, id string) *http.Request {
	r := eventWith(id)
	r.Header.Del(walletcrew.HeaderEventName)
	if name != "" {
		r.Header.Set(walletcrew.HeaderEventName, string(name))
	}
	return r
}

func TestAnEventThatTheMuxHasNoFunctionForIsIgnored(t *testing.T) {
	t.Parallel()
	mux := receiver.NewMux()
	mux.HandleFunc("Pass:Installed", succeed)
	wrapping := func(wrap func(error) error) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			if err := mux.Handle(ctx, e); err != nil {
				return wrap(err)
			}
			return nil
		}
	}
	within := receiver.NewMux()
	within.HandleFunc("*", mux.Handle)
	for name, fn := range map[string]receiver.HandlerFunc{
		"by the Mux":               mux.Handle,
		"by a Mux in a Mux":        within.Handle,
		"wrapped":                  wrapping(func(err error) error { return fmt.Errorf("traced: %w", err) }),
		"wrapped twice":            wrapping(func(err error) error { return fmt.Errorf("a: %w", fmt.Errorf("b: %w", err)) }),
		"joined with another such": wrapping(func(err error) error { return errors.Join(err, err) }),
		"taken for temporary":      wrapping(receiver.Temporary),
		"discarded":                wrapping(receiver.Discard),
		"without a Mux":            func(context.Context, *walletcrew.Event) error { return receiver.ErrIgnored },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen, d := new(outcomes), new(fakeDeduper)
			h := handlerOf(t, fn, receiver.WithObserver(seen.observe), receiver.WithDeduper(d))
			requireStatus(t, 204, send(h, named("Pass:Created", "1")), "the platform has nothing to deliver again")
			out := seen.only(t)
			assert.Equal(t, receiver.Ignored, out.Result)
			assert.Equal(t, receiver.Result("ignored"), out.Result)
			assert.Empty(t, out.Reason)
			require.NoError(t, out.Err)
			assert.Equal(t, []string{"claim", "release"}, d.did(), "it isn't remembered")
			err := fn(t.Context(), parsed(t, "Pass:Created", `{}`))
			assert.True(t, receiver.IsIgnored(err))
			assert.Equal(t, 204, verifier.StatusCode(err), "behind verifier.Middleware, too")
		})
	}
}

// Two Muxes in a row: one has no function, the other's has failed.
func TestAFailureBesideAnIgnoredEventIsAFailure(t *testing.T) {
	t.Parallel()
	down := errors.New("the database is down")
	for name, err := range map[string]error{
		"joined before":  errors.Join(receiver.ErrIgnored, down),
		"joined after":   errors.Join(down, receiver.ErrIgnored),
		"deep inside":    fmt.Errorf("a: %w", errors.Join(fmt.Errorf("b: %w", receiver.ErrIgnored), down)),
		"in one Errorf":  fmt.Errorf("%w, %w", receiver.ErrIgnored, down),
		"another's text": errors.New(receiver.ErrIgnored.Error()),
	} {
		seen, d := new(outcomes), new(fakeDeduper)
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { return err }, receiver.WithObserver(seen.observe), receiver.WithDeduper(d))
		requireStatus(t, 500, send(h, eventWith("1")), name+": the event must come again")
		assert.Equal(t, receiver.Failed, seen.only(t).Result, name)
		assert.Equal(t, []string{"claim", "release"}, d.did())
		assert.False(t, receiver.IsIgnored(err), name)
		assert.Equal(t, 500, verifier.StatusCode(err), name)
	}
	assert.False(t, receiver.IsIgnored(nil))
	seen := new(outcomes)
	send(handlerOf(t, func(context.Context, *walletcrew.Event) error { panic(receiver.ErrIgnored) }, receiver.WithObserver(seen.observe)), eventWith("1"))
	assert.Equal(t, receiver.Panicked, seen.only(t).Result)
}

// A proxy that drops the header does that to every event.
func TestADeliveryWithoutItsNameDoesNotMakeTheRealOneADuplicate(t *testing.T) {
	t.Parallel()
	mux, calls := receiver.NewMux(), []string(nil)
	mux.HandleFunc("Pass:*", noting(&calls, "handled"))
	seen := new(outcomes)
	h := handlerOf(t, mux.Handle, receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)), receiver.WithObserver(seen.observe))
	for _, r := range []*http.Request{named("", "1"), named("Pas:Installed", "1"), named("", "1"), named("Pass:Installed", "1"), named("Pass:Installed", "1")} {
		requireStatus(t, 204, send(h, r), "")
	}
	var results []receiver.Result
	for _, out := range seen.all() {
		results = append(results, out.Result)
	}
	assert.Equal(t, []receiver.Result{receiver.Ignored, receiver.Ignored, receiver.Ignored, receiver.Handled, receiver.Duplicate}, results)
	assert.Equal(t, []string{"handled"}, calls)
}

func TestWhatIsIgnoredIsLoggedOnceAMinuteForEachKnownName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := new(logbook)
		h := handlerOf(t, receiver.NewMux().Handle, receiver.WithLogger(book.logger()))
		const info, warn = "level=INFO msg=\"receiver: no function takes the event", "level=WARN msg=\"receiver: no function takes an event without a name"
		for minute := range 2 {
			for range 100 {
				send(h, named("Pass:Created", "1"))
				send(h, named("pass.created", "1"))
				send(h, named("", "1"))
			}
			lines := book.lines()
			require.Len(t, lines, 2, "one for each name")
			assert.Contains(t, lines[0], info)
			assert.Contains(t, lines[0], "event=Pass:Created id=1 tenant=acme")
			assert.Contains(t, lines[1], warn)
			assert.Contains(t, lines[1], walletcrew.HeaderEventName, "it says what to look for")
			send(h, named("Customer:Upserted", "1"))
			assert.Len(t, book.lines(), 1, "another name is another line")
			for i := range 1_000 {
				send(h, named(walletcrew.EventName(fmt.Sprintf("Invented:Name%d", i)), "1"))
			}
			lines = book.lines()
			require.Len(t, lines, 1, "the header isn't signed: names that aren't known are one")
			assert.Contains(t, lines[0], info)
			time.Sleep(59 * time.Second)
			send(h, named("Pass:Created", "1"))
			send(h, named("", "1"))
			assert.Empty(t, book.lines(), "minute %d", minute)
			time.Sleep(time.Second)
		}
	})
}

func TestAnEventThatIsIgnoredLateIsNoNews(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book, d := new(logbook), new(fakeDeduper)
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
			time.Sleep(time.Minute)
			return receiver.ErrIgnored
		}, receiver.WithLogger(book.logger()), receiver.WithDeduper(d))
		requireStatus(t, 503, send(h, eventWith("1")), "its time was up")
		require.Len(t, book.lines(), 1)
		time.Sleep(time.Minute)
		assert.Empty(t, book.lines())
		assert.Equal(t, []string{"claim", "release"}, d.did())
	})
}

// --- Patterns ---

func TestPatternsAreWhatIsRegisteredInOneOrder(t *testing.T) {
	t.Parallel()
	typed := func(context.Context, *walletcrew.Event, *walletcrew.PassInstalled) error { return nil }
	mux := receiver.NewMux()
	receiver.On(mux, typed)
	mux.HandleNames(succeed, "*", "Redirect:*", "Customer:Upserted")
	receiver.OnName(mux, "pass.*", typed)
	want := []walletcrew.EventName{"*", "Customer:Upserted", "Pass:Installed", "Redirect:*", "pass.*"}
	got := mux.Patterns()
	assert.Equal(t, want, got)
	got[0] = "mine"
	assert.Equal(t, want, mux.Patterns(), "the slice is the caller's")

	again := receiver.NewMux()
	for _, name := range []walletcrew.EventName{"pass.*", "*", "Pass:Installed", "Customer:Upserted", "Redirect:*"} {
		again.HandleFunc(name, succeed)
	}
	assert.Equal(t, want, again.Patterns(), "in whatever order they were registered, so that no replica patches another's webhook")
}

// For any Mux and any known name: a webhook with the Mux's patterns subscribes to it if and only if the Mux handles it.
func TestWhatIsSubscribedIsWhatIsHandled(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	pieces := []string{"*", "Pass", "pass", "PASS", "Customer", "Redirect", ":", ".", "Inst", "alled", "Un", "Updated", "UpdateSent", "Created", "*ed", "Upserted", "é"}
	pattern := func() walletcrew.EventName {
		if random.IntN(3) == 0 {
			return walletcrew.Events()[random.IntN(len(walletcrew.Events()))]
		}
		var text string
		for range 1 + random.IntN(4) {
			text += pieces[random.IntN(len(pieces))]
		}
		return walletcrew.EventName(text)
	}
	register := []func(*receiver.Mux, walletcrew.EventName){
		func(m *receiver.Mux, name walletcrew.EventName) { m.HandleFunc(name, succeed) },
		func(m *receiver.Mux, name walletcrew.EventName) { m.HandleNames(succeed, name) },
		func(m *receiver.Mux, name walletcrew.EventName) {
			receiver.OnName(m, name, func(context.Context, *walletcrew.Event, *map[string]any) error { return nil })
		},
		func(m *receiver.Mux, _ walletcrew.EventName) {
			receiver.On(m, func(context.Context, *walletcrew.Event, *walletcrew.PassUpdated) error { return nil })
		},
		func(m *receiver.Mux, _ walletcrew.EventName) {
			m.Use(func(next receiver.HandlerFunc) receiver.HandlerFunc { return next })
		},
	}
	subscribed, ignored := 0, 0
	for range 1_000 {
		mux := receiver.NewMux()
		for range random.IntN(5) {
			func() {
				defer func() { _ = recover() }() // registered already
				register[random.IntN(len(register))](mux, pattern())
			}()
		}
		patterns := mux.Patterns()
		for _, name := range walletcrew.Events() {
			is := slices.ContainsFunc(patterns, name.Matches)
			err := mux.Handle(t.Context(), parsed(t, name, `{}`))
			require.Equal(t, is, err == nil, "%s with %q, seed %d", name, patterns, seed)
			require.Equal(t, !is, errors.Is(err, receiver.ErrIgnored))
			if is {
				subscribed++
			} else {
				ignored++
			}
		}
	}
	assert.Greater(t, min(subscribed, ignored), 500, "both are tried")
}

func TestAPatternThatNoSubscriptionMayHavePanics(t *testing.T) {
	t.Parallel()
	for _, pattern := range []walletcrew.EventName{" Pass:Installed", "Pass:Installed\n", "Pass: Installed", "Pass:\x00", "Pass:Installed\u00a0", "Pass\u0085:*"} {
		assert.PanicsWithValue(t, fmt.Sprintf("receiver: Mux: %q has white space or control characters: no event has such a name", string(pattern)),
			func() { receiver.NewMux().HandleFunc(pattern, succeed) })
	}
}

// --- HandleNames and Use ---

func TestHandleNamesRegistersOneFunctionForEach(t *testing.T) {
	t.Parallel()
	mux, calls := receiver.NewMux(), []string(nil)
	mux.HandleNames(noting(&calls, "it"), "Pass:Created", "Customer:*")
	for _, name := range []walletcrew.EventName{"Pass:Created", "Customer:Upserted", "customer.deleted"} {
		require.NoError(t, mux.Handle(t.Context(), parsed(t, name, `{}`)))
	}
	require.ErrorIs(t, mux.Handle(t.Context(), parsed(t, "Pass:Updated", `{}`)), receiver.ErrIgnored)
	assert.Len(t, calls, 3)
	assert.PanicsWithValue(t, "receiver: Mux: HandleNames has no names", func() { mux.HandleNames(succeed) })
	assert.PanicsWithValue(t, `receiver: Mux: the function for "Pass:Updated" is nil`, func() { mux.HandleNames(nil, "Pass:Updated") })
	assert.PanicsWithValue(t, `receiver: Mux: "pass.created" is registered already`, func() { mux.HandleNames(succeed, "pass.created") })
	assert.PanicsWithValue(t, `receiver: Mux: "pass.updated" is registered already`, func() { mux.HandleNames(succeed, "Pass:Updated", "pass.updated") })
}

// around notes when it is called, and what came back.
func around(calls *[]string, name string) func(receiver.HandlerFunc) receiver.HandlerFunc {
	return func(next receiver.HandlerFunc) receiver.HandlerFunc {
		*calls = append(*calls, "made "+name)
		return func(ctx context.Context, e *walletcrew.Event) error {
			*calls = append(*calls, name)
			err := next(ctx, e)
			*calls = append(*calls, fmt.Sprint(name, " ", err))
			return err
		}
	}
}

func TestMiddlewareIsAroundEachFunctionTheFirstOutermost(t *testing.T) {
	t.Parallel()
	mux, calls := receiver.NewMux(), []string(nil)
	mux.HandleFunc("Pass:Created", noting(&calls, "before"))
	mux.Use(around(&calls, "a"), around(&calls, "b"))
	mux.Use()
	mux.Use(around(&calls, "c"))
	mux.HandleFunc("Pass:Updated", noting(&calls, "after"))
	assert.Equal(t, []string{"made a", "made b", "made c"}, calls, "each once: it may register a metric")
	for name, want := range map[walletcrew.EventName]string{"Pass:Created": "before", "Pass:Updated": "after"} {
		calls = nil
		require.NoError(t, mux.Handle(t.Context(), parsed(t, name, `{}`)))
		assert.Equal(t, []string{"a", "b", "c", want, "c <nil>", "b <nil>", "a <nil>"}, calls)
	}
	calls = nil
	require.ErrorIs(t, mux.Handle(t.Context(), parsed(t, "Other:Event", `{}`)), receiver.ErrIgnored)
	assert.Equal(t, []string{"a", "b", "c"}, calls[:3], "it sees what is ignored, too")
	assert.Contains(t, calls[5], receiver.ErrIgnored.Error())
}

func TestMiddlewareMayAnswerForTheFunction(t *testing.T) {
	t.Parallel()
	mux, calls, want := receiver.NewMux(), []string(nil), errors.New("not now")
	mux.Use(func(receiver.HandlerFunc) receiver.HandlerFunc {
		return func(context.Context, *walletcrew.Event) error { return want }
	})
	mux.HandleFunc("*", noting(&calls, "it"))
	assert.Equal(t, want, mux.Handle(t.Context(), parsed(t, "Pass:Created", `{}`)))
	assert.Empty(t, calls)
}

func TestMiddlewareThatIsNonePanics(t *testing.T) {
	t.Parallel()
	mux := receiver.NewMux()
	assert.PanicsWithValue(t, "receiver: Mux: the middleware is nil", func() { mux.Use(nil) })
	assert.PanicsWithValue(t, "receiver: Mux: the middleware returned nil", func() {
		mux.Use(func(receiver.HandlerFunc) receiver.HandlerFunc { return nil })
	})
	calls := []string(nil)
	mux.HandleFunc("*", noting(&calls, "it"))
	require.NoError(t, mux.Handle(t.Context(), parsed(t, "Pass:Created", `{}`)))
	assert.Equal(t, []string{"it"}, calls, "what panicked isn't in the way")
}

func TestMiddlewareMayBeAddedWhileEventsCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mux := receiver.NewMux()
		mux.HandleFunc("*", succeed)
		for range 4 {
			go func() {
				for range 100 {
					mux.Use(func(next receiver.HandlerFunc) receiver.HandlerFunc {
						return func(ctx context.Context, e *walletcrew.Event) error { return next(ctx, e) }
					})
				}
			}()
			go func() {
				for range 100 {
					assert.NoError(t, mux.Handle(t.Context(), &walletcrew.Event{Name: "Pass:Created"}))
				}
			}()
		}
		synctest.Wait()
	})
}
