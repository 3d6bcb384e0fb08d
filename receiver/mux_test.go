package receiver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// parsed is an event as the handler gives it to a function.
func parsed(t testing.TB, name walletcrew.EventName, body string) *walletcrew.Event {
	t.Helper()
	e, err := walletcrew.ParseEvent(name, []byte(body))
	require.NoError(t, err)
	return e
}

// noting notes that it was called.
func noting(calls *[]string, what string) receiver.HandlerFunc {
	return func(context.Context, *walletcrew.Event) error {
		*calls = append(*calls, what)
		return nil
	}
}

func TestMuxRunsTheMostSpecificPattern(t *testing.T) {
	t.Parallel()
	all := []walletcrew.EventName{
		"*", "Pass:*", "Pass:Inst*", "*:Installed", "Pass:Installed", "store.*.updated", "Customer:*", "Customer:Upserted", "*ed", "a:b:*",
	}
	tests := []struct {
		patterns []walletcrew.EventName
		name     walletcrew.EventName
		want     string
	}{
		{all, "Pass:Installed", "Pass:Installed"},
		{[]walletcrew.EventName{"Pass:Installed*", "Pass:Installed"}, "Pass:Installed", "Pass:Installed"},
		{[]walletcrew.EventName{"a*b*c*", "abcd*", "*"}, "abcdc", "abcd*"}, // a '*' is no character
		{all, "pass.installed", "Pass:Installed"},
		{all, "PASS:INSTALLED", "Pass:Installed"},
		{all, "Pass:Installs", "Pass:Inst*"},
		{all, "pass.instal", "Pass:Inst*"},
		{all, "Pass:Created", "Pass:*"},
		{all, "Pass:", "Pass:*"},
		{all, "Pass:Created:Twice", "Pass:*"},
		{all, "Wallet:Installed", "*:Installed"},
		{all, "Pass:x:Installed", "*:Installed"}, // ten characters before five
		{all, "store.paris.updated", "store.*.updated"},
		{all, "Store:Paris:Updated", "store.*.updated"},
		{all, "Store:Updated", "*ed"},
		{all, "Customer:Upserted", "Customer:Upserted"},
		{all, "Customer:Deleted", "Customer:*"},
		{all, "a:b:c", "a:b:*"},
		{all, "A.B.C", "a:b:*"},
		{all, "a:c", "*"},
		{all, "Passed:Over", "*"},
		{all, "Pass", "*"},
		{all, "", "*"},
		{all, "*", "*"},
		{all, "Pass:*", "Pass:*"}, // a name that looks like a pattern, from a header
		{[]walletcrew.EventName{"*", "Pass:*"}, "Pass:Installed", "Pass:*"},
		{[]walletcrew.EventName{"Pass:*", "*"}, "Pass:Installed", "Pass:*"},
		{[]walletcrew.EventName{"*"}, "Pass:Installed", "*"},
		{[]walletcrew.EventName{"Pass:I*d", "Pass:Ins*", "*:Installed", "Pass:*"}, "Pass:Installed", "*:Installed"},
		{[]walletcrew.EventName{"Pass:Inst*", "Pass:*alled"}, "Pass:Installed", "Pass:*alled"},
		{[]walletcrew.EventName{"*alled", "Pass:*"}, "Pass:Installed", "Pass:*"}, // as many characters: the category first
		{[]walletcrew.EventName{"pass.installed"}, "Pass:Installed", "pass.installed"},
		{[]walletcrew.EventName{"CUSTOMER.*"}, "Customer:Upserted", "CUSTOMER.*"},
		{[]walletcrew.EventName{"Événement:*", "*"}, "ÉVéNEMENT.Créé", "Événement:*"},
		{[]walletcrew.EventName{"Pass:Créé", "*"}, "pass:CRéé", "Pass:Créé"},
		{[]walletcrew.EventName{"Pass:Inst**ed", "Pass:*"}, "Pass:Installed", "Pass:Inst**ed"},
		{all[1:], "a:c", ""},
		{nil, "Pass:Installed", ""},
		{[]walletcrew.EventName{"Pass:Installed"}, "Pass:Installed2", ""},
		{[]walletcrew.EventName{"Pass:*"}, "Passes:Installed", ""},
	}
	for _, test := range tests {
		var calls, want []string
		mux := receiver.NewMux()
		for _, pattern := range test.patterns {
			mux.HandleFunc(pattern, noting(&calls, string(pattern)))
		}
		if test.want != "" {
			want = []string{test.want}
		}
		err := mux.Handle(t.Context(), parsed(t, test.name, `{}`))
		if test.want == "" {
			require.ErrorIs(t, err, receiver.ErrIgnored, "an event that nobody wants is ignored: %s", test.name)
		} else {
			require.NoError(t, err, test.name)
		}
		assert.Equal(t, want, calls, "%s with %q: one function runs, that of the most specific pattern", test.name, test.patterns)
	}
}

func TestTheZeroMuxIsEmpty(t *testing.T) {
	t.Parallel()
	mux, calls := new(receiver.Mux), []string(nil)
	assert.Empty(t, mux.Patterns())
	require.ErrorIs(t, mux.Handle(t.Context(), parsed(t, "Pass:Installed", `{}`)), receiver.ErrIgnored)
	mux.HandleFunc("Pass:*", noting(&calls, "it"))
	require.NoError(t, mux.Handle(t.Context(), parsed(t, "Pass:Installed", `{}`)))
	assert.Equal(t, []string{"it"}, calls)
}

func TestMuxPanicsForAPatternThatIsRegisteredAlready(t *testing.T) {
	t.Parallel()
	fn := func(context.Context, *walletcrew.Event) error { return nil }
	type T = walletcrew.PassInstalled
	typed := func(context.Context, *walletcrew.Event, *T) error { return nil }
	for first, spellings := range map[walletcrew.EventName][]walletcrew.EventName{
		"Pass:Installed":  {"Pass:Installed", "pass:installed", "PASS.INSTALLED", "Pass.Installed"},
		"Pass:*":          {"Pass:*", "pass.*", "PASS:**", "pass.***"},
		"*":               {"*", "**"},
		"store.*.updated": {"Store:*:Updated", "store.**.UPDATED"},
		"Événement:*":     {"Événement.*", "ÉVéNEMENT:**"},
		"Pass:Créé":       {"pass.CRéé"},
	} {
		for _, again := range spellings {
			mux := receiver.NewMux()
			mux.HandleFunc(first, fn)
			assert.PanicsWithValue(t, fmt.Sprintf("receiver: Mux: %q is registered already", string(again)), func() { mux.HandleFunc(again, fn) })
			assert.Panics(t, func() { receiver.OnName(mux, again, typed) }, "%s after %s", again, first)
		}
	}
	mux := receiver.NewMux()
	receiver.On(mux, typed)
	assert.Panics(t, func() { receiver.On(mux, typed) }, "On twice")
	assert.Panics(t, func() { mux.HandleFunc("pass.installed", fn) }, "On, and then by name")
	assert.NotPanics(t, func() { mux.HandleFunc("Pass:Install*", fn); mux.HandleFunc("Pass:*", fn) }, "others are others")
}

func TestMuxPanicsForNothing(t *testing.T) {
	t.Parallel()
	fn := func(context.Context, *walletcrew.Event) error { return nil }
	mux := receiver.NewMux()
	for _, pattern := range []walletcrew.EventName{"", " ", "\t\n"} {
		assert.PanicsWithValue(t, "receiver: Mux: the pattern is empty", func() { mux.HandleFunc(pattern, fn) })
	}
	assert.PanicsWithValue(t, `receiver: Mux: the function for "Pass:*" is nil`, func() { mux.HandleFunc("Pass:*", nil) })
	assert.PanicsWithValue(t, `receiver: On: the function for "Pass:Installed" is nil`, func() { receiver.On[walletcrew.PassInstalled](mux, nil) })
	assert.PanicsWithValue(t, `receiver: OnName: the function for "Pass:*" is nil`, func() { receiver.OnName[struct{}](mux, "Pass:*", nil) })
	assert.NotPanics(t, func() { mux.HandleFunc("Pass:*", fn) }, "what panicked isn't registered")
}

// onGets checks that On calls the function of T with the event's data.
func onGets[T any](t *testing.T, name walletcrew.EventName, body string) {
	t.Helper()
	t.Run(string(name), func(t *testing.T) {
		t.Parallel()
		mux, want := receiver.NewMux(), errors.New("its own error")
		e := parsed(t, name, body)
		calls := 0
		receiver.On(mux, func(_ context.Context, got *walletcrew.Event, data *T) error {
			calls++
			assert.Same(t, e, got, "the event itself")
			assert.Same(t, e.Data, data, "its data, not decoded again")
			return want
		})
		assert.Equal(t, want, mux.Handle(t.Context(), e), "the function's error is passed on as it is")
		assert.Equal(t, 1, calls)
		require.ErrorIs(t, mux.Handle(t.Context(), parsed(t, "Other:Event", body)), receiver.ErrIgnored, "not its event")
		assert.Equal(t, 1, calls)
	})
}

func TestOnCallsTheFunctionOfEachPayloadType(t *testing.T) {
	t.Parallel()
	onGets[walletcrew.PassCreated](t, "Pass:Created", `{"passId":"p-1"}`)
	onGets[walletcrew.PassInstalled](t, "Pass:Installed", `{"passId":"p-1","device":"apple"}`)
	onGets[walletcrew.PassUninstalled](t, "Pass:Uninstalled", `{"passId":"p-1"}`)
	onGets[walletcrew.PassUpdated](t, "Pass:Updated", `{"passId":"p-1"}`)
	onGets[walletcrew.PassUpdateSent](t, "Pass:UpdateSent", `{"passId":"p-1"}`)
	onGets[walletcrew.CustomerUpserted](t, "Customer:Upserted", `{"name":"Ada"}`)
	onGets[walletcrew.RedirectRedirected](t, "Redirect:Redirected", `{"to":"x"}`)
}

func onPanics[T any](t *testing.T, text string) {
	t.Helper()
	mux := receiver.NewMux()
	assert.PanicsWithValue(t, "receiver: On: "+text+" is not the payload type of an event; OnName takes any type", func() {
		receiver.On(mux, func(context.Context, *walletcrew.Event, *T) error { return nil })
	})
}

func TestOnPanicsForATypeThatIsNoPayload(t *testing.T) {
	t.Parallel()
	onPanics[walletcrew.UnknownEvent](t, "walletcrew.UnknownEvent")
	onPanics[walletcrew.Pass](t, "walletcrew.Pass")
	onPanics[walletcrew.Event](t, "walletcrew.Event")
	onPanics[int](t, "int")
	onPanics[any](t, "interface {}")
	onPanics[error](t, "error")
	onPanics[*walletcrew.PassInstalled](t, "*walletcrew.PassInstalled")
	onPanics[*int](t, "*int")
	onPanics[[]walletcrew.PassInstalled](t, "[]walletcrew.PassInstalled")
	type PassInstalled struct{}
	onPanics[PassInstalled](t, "receiver_test.PassInstalled")
}

type upserted struct {
	ID   string `json:"__id"`
	Name string `json:"name"`
	Age  int    `json:"age"`
}

func TestOnNameDecodesIntoYourOwnType(t *testing.T) {
	t.Parallel()
	mux := receiver.NewMux()
	var got []upserted
	receiver.OnName(mux, "customer.*", func(_ context.Context, e *walletcrew.Event, data *upserted) error {
		got = append(got, *data)
		return nil
	})
	var asMap map[string]any
	receiver.OnName(mux, "Wallet:New", func(_ context.Context, _ *walletcrew.Event, data *map[string]any) error {
		asMap = *data
		return nil
	})
	var known *walletcrew.PassInstalled
	receiver.OnName(mux, "Pass:Installed", func(_ context.Context, _ *walletcrew.Event, data *walletcrew.PassInstalled) error {
		known = data
		return nil
	})
	require.NoError(t, mux.Handle(t.Context(), parsed(t, "Customer:Upserted", `{"__id":"1","name":"Ada","age":36}`)))
	require.NoError(t, mux.Handle(t.Context(), parsed(t, "Customer:Deleted", `{"__id":"2"}`)))
	assert.Equal(t, []upserted{{"1", "Ada", 36}, {ID: "2"}}, got, "each event is decoded anew, into a value of its own")
	require.NoError(t, mux.Handle(t.Context(), parsed(t, "Wallet:New", `{"a":1}`)))
	assert.Equal(t, map[string]any{"a": 1.0}, asMap)
	e := parsed(t, "Pass:Installed", `{"passId":"p-1"}`)
	require.NoError(t, mux.Handle(t.Context(), e))
	assert.Same(t, e.Data, known, "what is decoded already isn't decoded again")
}

func TestAMisfitGoesToTheNextPatternThatMatches(t *testing.T) {
	t.Parallel()
	misfit := parsed(t, "Pass:Installed", `{"__id":"1","passId":{"not":"for a log"}}`)
	require.Error(t, misfit.DataErr)
	typed := func(t *testing.T, mux *receiver.Mux) {
		t.Helper()
		receiver.On(mux, func(context.Context, *walletcrew.Event, *walletcrew.PassInstalled) error {
			assert.Fail(t, "the payload doesn't fit this function")
			return nil
		})
	}
	for _, test := range []struct {
		patterns []walletcrew.EventName
		want     string
	}{
		{[]walletcrew.EventName{"*", "Pass:*"}, "Pass:*"},
		{[]walletcrew.EventName{"*"}, "*"},
		{[]walletcrew.EventName{"*", "Pass:*", "Pass:Inst*", "*:Installed"}, "*:Installed"},
	} {
		var calls []string
		mux := receiver.NewMux()
		typed(t, mux)
		for _, pattern := range test.patterns {
			mux.HandleFunc(pattern, func(_ context.Context, e *walletcrew.Event) error {
				assert.Same(t, misfit, e, "with the data as it came, and the reason in DataErr")
				calls = append(calls, string(pattern))
				return nil
			})
		}
		require.NoError(t, mux.Handle(t.Context(), misfit))
		assert.Equal(t, []string{test.want}, calls, "with %q", test.patterns)
	}

	mux := receiver.NewMux()
	typed(t, mux)
	mux.HandleFunc("Customer:*", func(context.Context, *walletcrew.Event) error { return nil })
	err := mux.Handle(t.Context(), misfit)
	require.Error(t, err, "only a typed function would have had it: it isn't lost in silence")
	require.ErrorIs(t, err, misfit.DataErr, "the error says why")
	assert.Contains(t, err.Error(), "passId", "the error names the member")
	assert.NotContains(t, err.Error(), "for a log", "no error holds the body")
}

func TestWhatOnNameCannotDecodeIsNotLostInSilence(t *testing.T) {
	t.Parallel()
	mux := receiver.NewMux()
	receiver.OnName(mux, "Order:*", func(context.Context, *walletcrew.Event, *upserted) error {
		assert.Fail(t, "the payload doesn't fit this function")
		return nil
	})
	err := mux.Handle(t.Context(), parsed(t, "Order:Shipped", `{"age":"old"}`))
	require.Error(t, err, "the event comes again, to a version that understands it")
	var mismatch *json.UnmarshalTypeError
	require.ErrorAs(t, err, &mismatch, "the error says why")

	var given *walletcrew.Event
	mux.HandleFunc("*", func(_ context.Context, e *walletcrew.Event) error { given = e; return nil })
	e := parsed(t, "Order:Shipped", `{"age":"old"}`)
	require.NoError(t, mux.Handle(t.Context(), e))
	require.ErrorAs(t, given.DataErr, &mismatch, "who gets it instead sees why")
	assert.Equal(t, e.Data, given.Data)
	assert.NoError(t, e.DataErr, "the caller's event isn't changed")
}

func TestWhatDoesNotFitIsNotInTheErrorsText(t *testing.T) {
	t.Parallel()
	type mine struct {
		Born time.Time `json:"born"`
		Card int32     `json:"card"`
	}
	book, mux := new(logbook), receiver.NewMux()
	receiver.OnName(mux, "Customer:*", func(context.Context, *walletcrew.Event, *mine) error { return nil })
	h := handlerOf(t, mux.Handle, receiver.WithLogger(book.logger()))
	for _, body := range []string{`{"__id":"1","born":"jane@example.com"}`, `{"__id":"2","card":4111111111111111}`} {
		r := posted([]byte(body))
		r.Header.Set(walletcrew.HeaderEventName, string(walletcrew.EventCustomerUpserted))
		requireStatus(t, 500, send(h, r), "")
	}
	assert.Contains(t, book.String(), `a value doesn't fit the type int32`)
	assert.NotContains(t, book.String(), "jane")
	assert.NotContains(t, book.String(), "4111")
}

func TestTheMostCharactersAreTheMostSpecific(t *testing.T) {
	t.Parallel()
	mux, got := receiver.NewMux(), ""
	for _, pattern := range []walletcrew.EventName{"*éé", "abc*"} { // two characters in four bytes, and three in three
		mux.HandleFunc(pattern, func(context.Context, *walletcrew.Event) error { got = string(pattern); return nil })
	}
	require.NoError(t, mux.Handle(t.Context(), &walletcrew.Event{Name: "abcéé"}))
	assert.Equal(t, "abc*", got)
}

func TestAnEventMadeByHandWithoutItsDataIsAnErrorOfOn(t *testing.T) {
	t.Parallel()
	mux := receiver.NewMux()
	receiver.On(mux, func(context.Context, *walletcrew.Event, *walletcrew.PassInstalled) error {
		assert.Fail(t, "there is no data to give")
		return nil
	})
	err := mux.Handle(t.Context(), &walletcrew.Event{Name: walletcrew.EventPassInstalled, Data: &walletcrew.PassCreated{}})
	require.ErrorContains(t, err, "its data is a *walletcrew.PassCreated")
}

func TestMuxMatchesAsEventNamesDo(t *testing.T) {
	t.Parallel()
	names := []walletcrew.EventName{
		"", "a", "b", "ab", "aa", "aba", "abab", "a:b", "a.b", "A:B", "a:b:c", "a:c", "store.7.updated", "store.7.x.updated", "store.updated",
		"Pass:Installed", "pass.installed", "Pass:", ":", "::", "É:b", "é:B", "ü:b", "é.c",
		"Z", "z", "@", "`", "[", "{", "A", "a@",
	}
	patterns := []walletcrew.EventName{
		"*", "**", "a*", "*a", "a*a", "a*b*a", "*a*", "*b*", "a*b*", "*a*b", "a:*", "*:b", "*:*", "a:*:c", "*:*:*", "store.*.updated", "store.*.x.*",
		"store*7*updated", "pass:*", "*:installed", "p*:*d", ":*", "é:*", "É*b", "a", "a:b", "store.updated",
		"É:b", "z", "Z", "@", "[", "`", "{", "a[*", "z*",
	}
	for _, pattern := range patterns {
		ran := false
		mux := receiver.NewMux()
		mux.HandleFunc(pattern, func(context.Context, *walletcrew.Event) error { ran = true; return nil })
		for _, name := range names {
			ran = false
			err := mux.Handle(t.Context(), &walletcrew.Event{Name: name})
			assert.Equal(t, name.Matches(pattern), ran, "does %q take %q?", pattern, name)
			assert.Equal(t, !ran, errors.Is(err, receiver.ErrIgnored))
		}
	}
}

func TestSeveralMisfitsEndAtTheFirstThatFits(t *testing.T) {
	t.Parallel()
	type strict struct {
		PassID int `json:"passId"`
	}
	type loose struct {
		PassID any `json:"passId"`
	}
	fail := func(context.Context, *walletcrew.Event, *strict) error {
		assert.Fail(t, "the payload doesn't fit this function")
		return nil
	}
	mux := receiver.NewMux()
	receiver.On(mux, func(context.Context, *walletcrew.Event, *walletcrew.PassInstalled) error {
		assert.Fail(t, "the payload doesn't fit this function")
		return nil
	})
	receiver.OnName(mux, "Pass:Install*", fail)
	receiver.OnName(mux, "*:Installed", fail)
	receiver.OnName(mux, "Pass:*", fail)
	misfit := parsed(t, "Pass:Installed", `{"passId":{"not":"for a log"}}`)
	err := mux.Handle(t.Context(), misfit)
	require.ErrorIs(t, err, misfit.DataErr, "the reason is that of the most specific pattern")

	want := errors.New("its own error")
	receiver.OnName(mux, "*", func(_ context.Context, _ *walletcrew.Event, data *loose) error {
		assert.NotNil(t, data.PassID)
		return want
	})
	assert.Equal(t, want, mux.Handle(t.Context(), misfit), "the last one takes it")
}

func TestAMisfitIsFailedByTheHandlerAndComesAgain(t *testing.T) {
	t.Parallel()
	mux, seen, d := receiver.NewMux(), new(outcomes), new(fakeDeduper)
	receiver.On(mux, func(context.Context, *walletcrew.Event, *walletcrew.PassInstalled) error { return nil })
	h := handlerOf(t, mux.Handle, receiver.WithObserver(seen.observe), receiver.WithDeduper(d))
	requireStatus(t, 500, send(h, posted([]byte(`{"__id":"1","passId":{}}`))), "nobody could take it")
	assert.Equal(t, receiver.Failed, seen.only(t).Result)
	assert.Equal(t, []string{"claim", "release"}, d.did(), "a version that understands it can have it")
}

func TestAFunctionsOwnErrorIsNotTakenForAMisfit(t *testing.T) {
	t.Parallel()
	misfit := parsed(t, "Pass:Installed", `{"passId":{}}`)
	inner := receiver.NewMux()
	receiver.On(inner, func(context.Context, *walletcrew.Event, *walletcrew.PassInstalled) error { return nil })
	innerErr := inner.Handle(t.Context(), misfit)
	require.Error(t, innerErr)

	for name, fn := range map[string]receiver.HandlerFunc{
		"a Mux as the function":       inner.Handle,
		"the error of a Mux":          func(context.Context, *walletcrew.Event) error { return innerErr },
		"the event's DataErr":         func(_ context.Context, e *walletcrew.Event) error { return e.DataErr },
		"a decoding error of its own": func(_ context.Context, e *walletcrew.Event) error { return e.Decode(new(walletcrew.PassInstalled)) },
	} {
		outer := receiver.NewMux()
		outer.HandleFunc("Pass:Installed", fn)
		outer.HandleFunc("*", func(context.Context, *walletcrew.Event) error {
			assert.Fail(t, "one function runs for an event", name)
			return nil
		})
		assert.Error(t, outer.Handle(t.Context(), misfit), name)
	}
	outer := receiver.NewMux()
	receiver.OnName(outer, "Pass:Installed", func(ctx context.Context, e *walletcrew.Event, _ *map[string]any) error { return inner.Handle(ctx, e) })
	outer.HandleFunc("*", func(context.Context, *walletcrew.Event) error {
		assert.Fail(t, "one function runs for an event")
		return nil
	})
	assert.Equal(t, innerErr, outer.Handle(t.Context(), misfit))
}

func TestAFunctionMayRegisterAnother(t *testing.T) {
	t.Parallel()
	mux, calls := receiver.NewMux(), []string(nil)
	mux.HandleFunc("*", func(context.Context, *walletcrew.Event) error {
		mux.HandleFunc("Pass:*", noting(&calls, "the other"))
		return nil
	})
	require.NoError(t, mux.Handle(t.Context(), parsed(t, "Pass:Created", `{}`)))
	require.NoError(t, mux.Handle(t.Context(), parsed(t, "Pass:Created", `{}`)))
	assert.Equal(t, []string{"the other"}, calls)
}

func TestMuxRegistersAndHandlesAtTheSameTime(t *testing.T) {
	t.Parallel()
	mux := receiver.NewMux()
	ctx := t.Context()
	unfit := parsed(t, "Pass:Installed", `{"passId":{}}`)
	receiver.On(mux, func(context.Context, *walletcrew.Event, *walletcrew.PassInstalled) error { return nil })
	mux.HandleFunc("*", func(context.Context, *walletcrew.Event) error { return nil })
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 200 {
				for _, pattern := range []string{"Own%d_%d:Event", "Own%d_%d:*", "Own%d_%d:Ev*"} {
					mux.HandleFunc(walletcrew.EventName(fmt.Sprintf(pattern, i, j)), func(context.Context, *walletcrew.Event) error { return nil })
				}
			}
		})
		wg.Go(func() {
			for j := range 200 {
				assert.NoError(t, mux.Handle(ctx, &walletcrew.Event{Name: walletcrew.EventName(fmt.Sprintf("Own%d_%d:Event", i, j))}))
				assert.NoError(t, mux.Handle(ctx, unfit))
			}
		})
	}
	wg.Wait()
}

func TestMuxAllocatesNothingHoweverManyPatternsThereAre(t *testing.T) { //nolint:paralleltest // counts allocations
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	mux := receiver.NewMux()
	fn := func(context.Context, *walletcrew.Event) error { return nil }
	for i := range 50 {
		mux.HandleFunc(walletcrew.EventName(fmt.Sprintf("Kind%d:Event", i)), fn)
		mux.HandleFunc(walletcrew.EventName(fmt.Sprintf("Kind%d:*", i)), fn)
	}
	receiver.On(mux, func(context.Context, *walletcrew.Event, *walletcrew.PassInstalled) error { return nil })
	mux.HandleFunc("*", fn)
	for _, name := range []walletcrew.EventName{"Kind7:Event", "kind7.event", "Kind7:Other", "Pass:Installed", "Nobody:Knows"} {
		e, ctx := parsed(t, name, `{"passId":"p-1"}`), t.Context()
		n := testing.AllocsPerRun(100, func() { _ = mux.Handle(ctx, e) })
		assert.Zero(t, n, "%s with a hundred patterns", name)
	}
}

func BenchmarkMux(b *testing.B) {
	fn := func(context.Context, *walletcrew.Event) error { return nil }
	for _, patterns := range []int{2, 100, 10_000} {
		mux := receiver.NewMux()
		for i := range patterns / 2 {
			mux.HandleFunc(walletcrew.EventName(fmt.Sprintf("Kind%d:Event", i)), fn)
			mux.HandleFunc(walletcrew.EventName(fmt.Sprintf("Kind%d:*", i)), fn)
		}
		for what, name := range map[string]walletcrew.EventName{"exact": "Kind0:Event", "category": "Kind0:Other"} {
			e := parsed(b, name, `{}`)
			b.Run(fmt.Sprintf("%s/%d", what, patterns), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_ = mux.Handle(context.Background(), e)
				}
			})
		}
	}
}

// The header that names an event isn't signed: who has one delivery can send its body under any number of names.
func TestAMuxKeepsLittleOfTheNamesThatCome(t *testing.T) {
	mux := receiver.NewMux()
	called := 0
	mux.HandleFunc("*", func(context.Context, *walletcrew.Event) error { called++; return nil })
	before := heapBytes()
	const short, long = 50_000, 600
	for i := range long + short {
		name := fmt.Sprintf("Pass:%d", i)
		if i < long/2 || i >= short+long/2 {
			name += strings.Repeat("x", 1<<17)
		}
		require.NoError(t, mux.Handle(t.Context(), &walletcrew.Event{Name: walletcrew.EventName(name)}))
	}
	assert.Equal(t, short+long, called)
	assert.Less(t, heapBytes()-before, int64(1<<20))
	runtime.KeepAlive(mux)
}

func TestNamesThatAreNotUTF8AreThemselves(t *testing.T) {
	t.Parallel()
	mux := receiver.NewMux()
	var calls []string
	mux.HandleFunc("x\xfe", noting(&calls, "fe"))
	assert.NotPanics(t, func() { mux.HandleFunc("x\xff", noting(&calls, "ff")) }, "another name")
	assert.Panics(t, func() { mux.HandleFunc("X\xff", noting(&calls, "again")) })
	for _, name := range []walletcrew.EventName{"x\xff", "X\xfe", "x\xfd", "x\ufffd"} {
		_ = mux.Handle(t.Context(), &walletcrew.Event{Name: name})
	}
	assert.Equal(t, []string{"ff", "fe"}, calls)
}

func TestALongNameHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	mux := receiver.NewMux()
	for i := range 10 {
		mux.HandleFunc(walletcrew.EventName(fmt.Sprintf("*x%dx*y*", i)), func(context.Context, *walletcrew.Event) error { return nil })
	}
	long := &walletcrew.Event{Name: walletcrew.EventName(strings.Repeat("x", 900_000))}
	took := func(e *walletcrew.Event) time.Duration {
		began := time.Now()
		require.ErrorIs(t, mux.Handle(t.Context(), e), receiver.ErrIgnored)
		return time.Since(began)
	}
	alone := took(long)
	var all sync.WaitGroup
	defer all.Wait()
	stop := make(chan struct{})
	defer close(stop)
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = mux.Handle(context.Background(), long)
			}
		}
	})
	var waits []time.Duration
	for range 50 {
		waits = append(waits, took(&walletcrew.Event{Name: "Pass:Installed"}))
	}
	slices.Sort(waits)
	assert.Less(t, waits[len(waits)/2], alone/4, "most don't wait for it")
}
