package receiver_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// --- what these tests share ---

// eventWith is a good delivery of an event with this id, "" for one without.
func eventWith(id string) *http.Request {
	body := `{"passId":"p-1"}`
	if id != "" {
		body = fmt.Sprintf(`{"__id":%q,"passId":"p-1"}`, id)
	}
	return posted([]byte(body))
}

// send hands a request to the handler, and returns the answer when a sender has it: when the handler has flushed it, or has returned.
func send(h http.Handler, r *http.Request) *http.Response {
	w := &sender{httptest.NewRecorder(), make(chan struct{}, 2)}
	go func() {
		defer func() { w.got <- struct{}{} }()
		h.ServeHTTP(w, r)
	}()
	<-w.got
	return w.Result()
}

// A sender is told of an answer.
type sender struct {
	*httptest.ResponseRecorder
	got chan struct{}
}

func (s *sender) Flush() {
	s.ResponseRecorder.Flush()
	s.got <- struct{}{}
}

func succeed(context.Context, *walletcrew.Event) error { return nil }

// A logbook keeps what is logged.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Outcomes keep what the observer was told.
type outcomes struct {
	mu   sync.Mutex
	list []receiver.Outcome
}

func (o *outcomes) observe(_ context.Context, out receiver.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, out)
}

func (o *outcomes) all() []receiver.Outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]receiver.Outcome(nil), o.list...)
}

// only returns the outcome, of which there must be one.
func (o *outcomes) only(t testing.TB) receiver.Outcome {
	t.Helper()
	all := o.all()
	require.Len(t, all, 1, "one delivery has exactly one outcome")
	return all[0]
}

func handlerOf(t testing.TB, fn receiver.HandlerFunc, opts ...receiver.HandlerOption) *receiver.Handler {
	t.Helper()
	return receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), fn,
		append([]receiver.HandlerOption{receiver.WithLogger(silentLog())}, opts...)...)
}

func requireStatus(t testing.TB, want int, got *http.Response, why string) {
	t.Helper()
	require.Equal(t, want, got.StatusCode, why)
}

// --- answers ---

func TestHandlerAnswersWithNothingButTheStatusWords(t *testing.T) {
	t.Parallel()
	good := func() *http.Request { return eventWith("1") }
	changed := func(change func(*http.Request)) func() *http.Request {
		return func() *http.Request {
			r := good()
			change(r)
			return r
		}
	}
	static := verifier.Static(knownSecret)
	fails := func(err error) receiver.HandlerFunc {
		return func(context.Context, *walletcrew.Event) error { return err }
	}
	tests := []struct {
		name    string
		source  verifier.SecretSource
		fn      receiver.HandlerFunc
		request func() *http.Request
		status  int
		early   bool
	}{
		{"handled", static, succeed, good, 204, false},
		{"discarded", static, fails(receiver.Discard(errors.New("no such pass"))), good, 204, false},
		{"failed", static, fails(errors.New("secret detail")), good, 500, false},
		{"panicked", static, func(context.Context, *walletcrew.Event) error { panic("secret detail") }, good, 500, false},
		{"the function's context ended", static, func(ctx context.Context, _ *walletcrew.Event) error {
			<-ctx.Done()
			return ctx.Err()
		}, good, 503, true},
		{"the source is down", verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
			return nil, errors.New("secret detail")
		}), succeed, good, 503, false},
		{"unknown tenant", verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { return nil, nil }), succeed, good, 401, false},
		{"no signature", static, succeed, changed(func(r *http.Request) { r.Header.Del(walletcrew.HeaderSignature) }), 401, false},
		{"no signature at all in it", static, succeed, changed(func(r *http.Request) { r.Header.Set(walletcrew.HeaderSignature, "x") }), 401, false},
		{"another's signature", static, succeed, changed(func(r *http.Request) { r.Header.Set(walletcrew.HeaderSignature, nowhere) }), 401, false},
		{"not JSON", static, succeed, func() *http.Request { return posted([]byte("secret detail")) }, 400, false},
		{"empty", static, succeed, func() *http.Request { return posted(nil) }, 400, false},
		{"another event in the body", static, succeed, func() *http.Request {
			return posted([]byte(`{"__id":"1","__eventName":"Pass:Uninstalled"}`))
		}, 400, false},
		{"broken off", static, succeed, changed(func(r *http.Request) {
			r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
		}), 400, false},
		{"GET", static, succeed, changed(func(r *http.Request) { r.Method = http.MethodGet }), 405, false},
		{"PUT", static, succeed, changed(func(r *http.Request) { r.Method = http.MethodPut }), 405, false},
		{"no method", static, succeed, changed(func(r *http.Request) { r.Method = "" }), 405, false},
		{"too slow", static, succeed, changed(func(r *http.Request) {
			r.Body = io.NopCloser(iotest.ErrReader(fmt.Errorf("read tcp: %w", os.ErrDeadlineExceeded)))
		}), 408, false},
		{"too large", static, succeed, func() *http.Request { return posted(paddedBody(1<<20 + 1)) }, 413, false},
		{"too large, and the length unknown", static, succeed, func() *http.Request {
			r := posted(paddedBody(1<<20 + 1))
			r.ContentLength = -1
			return r
		}, 413, false},
		{"exactly the limit", static, succeed, func() *http.Request { return posted(paddedBody(1 << 20)) }, 204, false},
		{"gzip", static, succeed, changed(func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }), 415, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := receiver.NewHandler(verifierOf(t, test.source), test.fn, receiver.WithLogger(silentLog()))
				got := send(h, test.request())
				assert.Equal(t, test.status, got.StatusCode, "the platform needs the right status")

				header, text := http.Header{}, ""
				if test.status != http.StatusNoContent {
					text = http.StatusText(test.status) + "\n"
					header = http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}}
				}
				switch test.status {
				case http.StatusMethodNotAllowed:
					header.Set("Allow", "POST")
				case http.StatusServiceUnavailable:
					header.Set("Retry-After", "10")
				}
				if test.early { // the answer must be whole before the function returns
					text, header = "", http.Header{"Retry-After": {"10"}, "Content-Length": {"0"}, "Connection": {"close"}}
				}
				assert.Equal(t, header, got.Header, "an answer has no header that tells more")
				body, err := io.ReadAll(got.Body)
				require.NoError(t, err)
				assert.Equal(t, text, string(body), "an answer says nothing but the status's own words")
			})
		})
	}
}

func TestHandlerGivesTheFunctionTheVerifiedEvent(t *testing.T) {
	t.Parallel()
	var got *walletcrew.Event
	h := handlerOf(t, func(_ context.Context, e *walletcrew.Event) error {
		got = e
		return nil
	})
	requireStatus(t, 204, send(h, posted([]byte(knownBody))), "a good delivery is acknowledged")
	require.NotNil(t, got, "the function must be called")
	assert.Equal(t, "0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10", got.ID)
	assert.Equal(t, walletcrew.EventPassInstalled, got.Name)
	assert.Equal(t, "acme", got.TenantID)
	require.IsType(t, &walletcrew.PassInstalled{}, got.Data)
	assert.Equal(t, "p-1001", got.Data.(*walletcrew.PassInstalled).PassID)
	assert.Equal(t, knownBody, string(got.Raw), "the body is there byte for byte")
}

func TestHandlerDoesNotCallTheFunctionForWhatIsRefused(t *testing.T) {
	t.Parallel()
	h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
		assert.Fail(t, "the function was called for a forged delivery")
		return nil
	}, receiver.WithDeduper(untouchableDeduper{t}))
	r := eventWith("1")
	r.Header.Set(walletcrew.HeaderSignature, nowhere)
	requireStatus(t, 401, send(h, r), "a forged delivery is refused")
}

// untouchableDeduper may not be asked.
type untouchableDeduper struct{ t testing.TB }

func (u untouchableDeduper) Claim(context.Context, string, time.Duration) (receiver.Claim, error) {
	assert.Fail(u.t, "the deduper was asked about a delivery that is refused, or has no id")
	return receiver.Claim{}, errors.New("untouchable")
}
func (u untouchableDeduper) Complete(context.Context, string, string) error { return nil }
func (u untouchableDeduper) Release(context.Context, string, string) error  { return nil }

func TestNewHandlerPanicsForWhatCanNeverWork(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	assert.PanicsWithValue(t, "receiver: NewHandler: the Verifier is nil", func() { receiver.NewHandler(nil, succeed) })
	assert.PanicsWithValue(t, "receiver: NewHandler: the function is nil", func() { receiver.NewHandler(v, nil) })
	for _, d := range []time.Duration{0, -1, -time.Hour, 25 * time.Hour, math.MaxInt64} {
		assert.PanicsWithValue(t, "receiver: NewHandler: the timeout isn't between 1 ms and 24 h", func() {
			receiver.NewHandler(v, succeed, receiver.WithTimeout(d))
		}, "timeout %v", d)
	}
	assert.NotPanics(t, func() {
		receiver.NewHandler(v, succeed, receiver.WithDeduper(nil), receiver.WithLogger(nil), receiver.WithObserver(nil))
	}, "nil is as without the option")
	assert.NotPanics(t, func() { receiver.NewHandler(v, succeed, receiver.WithTimeout(24*time.Hour)) }, "24 h are allowed")
	assert.Panics(t, func() { receiver.NewHandler(v, succeed, receiver.WithTimeout(24*time.Hour+1)) })
}

func TestHandlerWithNilOptionsStillWorks(t *testing.T) { //nolint:paralleltest // sets slog's default
	book := new(logbook)
	before := slog.Default()
	slog.SetDefault(book.logger())
	defer slog.SetDefault(before)
	h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), func(context.Context, *walletcrew.Event) error {
		return errors.New("disk full")
	}, receiver.WithDeduper(nil), receiver.WithLogger(nil), receiver.WithObserver(nil))
	requireStatus(t, 500, send(h, eventWith("1")), "a failure is a 500")
	assert.Contains(t, book.String(), "disk full", "without a logger, slog.Default() gets it")
}

// --- the function's context and its time ---

func TestTheFunctionsContextEndsAtTheTimeout(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		opts []receiver.HandlerOption
		want time.Duration
	}{
		"25 s by default": {nil, 25 * time.Second},
		"WithTimeout":     {[]receiver.HandlerOption{receiver.WithTimeout(3 * time.Second)}, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				seen := new(outcomes)
				h := handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error {
					deadline, ok := ctx.Deadline()
					assert.True(t, ok, "the function must be able to see how much time it has")
					assert.Equal(t, test.want, deadline.Sub(began), "the deadline")
					<-ctx.Done()
					assert.Equal(t, test.want, time.Since(began), "the context ends at the deadline")
					return fmt.Errorf("query: %w", ctx.Err())
				}, append(test.opts, receiver.WithObserver(seen.observe))...)
				requireStatus(t, 503, send(h, eventWith("1")), "a function that ran out of time asks for the event again")
				out := seen.only(t)
				assert.Equal(t, receiver.TimedOut, out.Result)
				require.ErrorIs(t, out.Err, context.DeadlineExceeded)
				synctest.Wait()
			})
		})
	}
}

func TestSecretsAndFunctionShareTheTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		v := verifierOf(t, verifier.SecretFunc(func(ctx context.Context, _ string) ([]walletcrew.Secret, error) {
			time.Sleep(20 * time.Second)
			return []walletcrew.Secret{knownSecret}, ctx.Err()
		}))
		h := receiver.NewHandler(v, func(ctx context.Context, _ *walletcrew.Event) error {
			<-ctx.Done()
			return ctx.Err()
		}, receiver.WithLogger(silentLog()))
		requireStatus(t, 503, send(h, eventWith("1")), "out of time")
		assert.Equal(t, 25*time.Second, time.Since(began), "the platform waits 30 s for the whole, not for each part")
		synctest.Wait()
	})
}

func TestALookUpOfSecretsThatHangsIs503InTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		v := verifierOf(t, verifier.SecretFunc(func(ctx context.Context, _ string) ([]walletcrew.Secret, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		seen := new(outcomes)
		h := receiver.NewHandler(v, succeed, receiver.WithLogger(silentLog()), receiver.WithObserver(seen.observe))
		requireStatus(t, 503, send(h, eventWith("1")), "nothing can be said about the signature")
		assert.Equal(t, 25*time.Second, time.Since(began), "the answer must come before the platform gives up")
		assert.Equal(t, receiver.Unavailable, seen.only(t).Result)
	})
}

func TestTheFunctionsContextEndsWithTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		ctx, hangUp := context.WithCancel(context.WithValue(t.Context(), key{}, "trace"))
		seen := new(outcomes)
		h := handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error {
			assert.Equal(t, "trace", ctx.Value(key{}), "the request's values reach the function")
			hangUp()
			<-ctx.Done()
			return ctx.Err()
		}, receiver.WithObserver(seen.observe))
		requireStatus(t, 503, send(h, eventWith("1").WithContext(ctx)), "the sender hung up")
		out := seen.only(t)
		assert.Equal(t, receiver.TimedOut, out.Result)
		require.ErrorIs(t, out.Err, context.Canceled)
		synctest.Wait()
	})
}

func TestAFunctionThatIgnoresItsContextDoesNotHoldTheAnswer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		end      func() error
		log      []string
		nextRuns bool
	}{
		{"and succeeds late", func() error { return nil },
			[]string{"level=WARN", "succeeded after its delivery was answered with 503", "took=40s"}, false},
		{"and discards late", func() error { return receiver.Discard(errors.New("no such pass")) },
			[]string{"level=WARN", "discarded the event after its delivery was answered with 503", "no such pass"}, false},
		{"and fails late", func() error { return errors.New("disk full") },
			[]string{"level=WARN", "failed after its delivery was answered with 503", "disk full", "took=40s"}, true},
		{"and panics late", func() error { panic("boom") },
			[]string{"level=ERROR", "panicked after its delivery was answered with 503", "boom", "stack=", "handler_test.go"}, true},
		{"and exits its goroutine late", func() error { runtime.Goexit(); return nil },
			[]string{"level=ERROR", "panicked after its delivery was answered with 503", "Goexit", "stack="}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// The lease (35 s) has run out when the function ends, but nobody took it over.
				began, book, seen := time.Now(), new(logbook), new(outcomes)
				var calls atomic.Int32
				h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
					if calls.Add(1) > 1 {
						return nil
					}
					time.Sleep(40 * time.Second)
					return test.end()
				}, receiver.WithLogger(book.logger()), receiver.WithObserver(seen.observe), receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))

				got := send(h, eventWith("1"))
				requireStatus(t, 503, got, "the answer must come before the platform gives up")
				assert.Equal(t, "10", got.Header.Get("Retry-After"))
				assert.Equal(t, 25*time.Second, time.Since(began), "the answer comes at the timeout")
				assert.Equal(t, receiver.TimedOut, seen.only(t).Result)

				time.Sleep(16 * time.Second)
				synctest.Wait()
				for _, part := range test.log {
					assert.Contains(t, book.String(), part, "the late result must be in the log")
				}
				assert.Len(t, seen.all(), 1, "the late end is no second delivery")
				requireStatus(t, 204, send(h, eventWith("1")), "the next delivery")
				want := receiver.Duplicate
				if test.nextRuns {
					want = receiver.Handled
				}
				assert.Equal(t, want, seen.all()[1].Result, "the late result counts: done, or free to be delivered again")
			})
		})
	}
}

func TestAResultAtTheVeryMomentOfTheTimeoutCountsOnce(t *testing.T) {
	t.Parallel()
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			seen, d := new(outcomes), &fakeDeduper{}
			h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
				time.Sleep(25 * time.Second)
				return nil
			}, receiver.WithObserver(seen.observe), receiver.WithDeduper(d))
			got := send(h, eventWith("1"))
			synctest.Wait()
			switch out := seen.only(t); out.Result {
			case receiver.Handled:
				assert.Equal(t, 204, got.StatusCode)
			case receiver.TimedOut:
				assert.Equal(t, 503, got.StatusCode)
			default:
				assert.Fail(t, "either the function or the timeout came first", "the outcome is %q", out.Result)
			}
			assert.Equal(t, []string{"claim", "complete"}, d.did(), "whoever came first, the event was handled, and is done")
		})
	}
}

func TestAStuckFunctionLeavesNothingBehindWhenItEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		open := make(chan struct{})
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { <-open; return nil })
		for range 10 {
			requireStatus(t, 503, send(h, eventWith("1")), "a stuck function doesn't hold the answer")
		}
		close(open)
	})
}

// --- panics ---

func TestAPanicIs500WithItsStackInTheLogAndTheEventIsFree(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	var nilError *fs.PathError
	for name, test := range map[string]struct {
		fn    func() error
		text  string
		cause error
	}{
		"with an error":                    {func() error { panic(boom) }, "boom", boom},
		"with a string":                    {func() error { panic("out of cheese") }, "out of cheese", nil},
		"with nil":                         {func() error { panic(nil) }, "panic called with nil", nil},
		"of the runtime":                   {nilMap, "nil map", nil},
		"with http.ErrAbortHandler":        {func() error { panic(http.ErrAbortHandler) }, "abort", http.ErrAbortHandler},
		"with a Discard, which isn't one":  {func() error { panic(receiver.Discard(boom)) }, "boom", boom},
		"with an error that itself panics": {func() error { panic(nilError) }, "panicked", nil},
		"runtime.Goexit":                   {func() error { runtime.Goexit(); return nil }, "runtime.Goexit", nil},
		"a nil pointer returned as error":  {func() error { return nilError }, "nil pointer", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book, seen := new(logbook), new(outcomes)
			d := &fakeDeduper{}
			h := handlerOf(t, func(context.Context, *walletcrew.Event) error { return test.fn() },
				receiver.WithLogger(book.logger()), receiver.WithObserver(seen.observe), receiver.WithDeduper(d))
			requireStatus(t, 500, send(h, eventWith("1")), "a panic is a 500")
			out := seen.only(t)
			assert.Equal(t, receiver.Panicked, out.Result)
			assert.Contains(t, out.Err.Error(), test.text, "the outcome says what it panicked with")
			if test.cause != nil {
				require.ErrorIs(t, out.Err, test.cause)
			}
			log := book.String()
			assert.Contains(t, log, "level=ERROR", "a panic is an error in the log")
			assert.Contains(t, log, test.text, "the log says what it panicked with")
			assert.Contains(t, log, "stack=", "the log has the stack")
			if name != "a nil pointer returned as error" {
				assert.Contains(t, log, "handler_test.go", "the stack leads to the function")
			}
			assert.Equal(t, []string{"claim", "release"}, d.did(), "the event must be free to be delivered again")
		})
	}
}

func nilMap() error {
	m := map[bool]map[string]int{}
	m[true]["x"] = 1
	return nil
}

func TestAnObserverThatPanicsDoesNotTakeTheAnswerWithIt(t *testing.T) {
	t.Parallel()
	book := new(logbook)
	server := httptest.NewServer(handlerOf(t, succeed, receiver.WithLogger(book.logger()),
		receiver.WithObserver(func(context.Context, receiver.Outcome) { panic("no such metric") })))
	defer server.Close()
	status := postTo(t, server, eventWith("1"))
	assert.Equal(t, 204, status, "the event was handled; without an answer the platform would deliver it again")
	assert.Contains(t, book.String(), "no such metric", "a panic must be in the log")
}

func TestNothingIsLoggedOfADeliveryThatIsHandled(t *testing.T) {
	t.Parallel()
	book, seen := new(logbook), new(outcomes)
	h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), succeed, receiver.WithLogger(book.logger()),
		receiver.WithObserver(seen.observe), receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))
	for range 2 {
		requireStatus(t, 204, send(h, eventWith("1")), "handled, and then a duplicate")
	}
	assert.Len(t, seen.all(), 2)
	assert.Empty(t, book.String(), "what is as it should be is in the metrics, not in the log")
}

func TestAFunctionThatEndsLateAsItsContextAskedIsNotWarnedAbout(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(error) error
		want string // besides what is logged of the delivery
	}{
		"with the context's error": {func(err error) error { return err }, ""},
		"wrapped":                  {func(err error) error { return fmt.Errorf("query: %w", err) }, ""},
		"with another":             {func(error) error { return errors.New("no stock") }, "the function failed after its delivery was answered"},
		"with a panic of it":       {func(err error) error { panic(err) }, "the function panicked after its delivery was answered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				book := new(logbook)
				h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), func(ctx context.Context, _ *walletcrew.Event) error {
					<-ctx.Done()
					time.Sleep(time.Second)
					return test.end(ctx.Err())
				}, receiver.WithLogger(book.logger()), receiver.WithTimeout(time.Second))
				requireStatus(t, 503, send(h, eventWith("1")), "it took too long")
				synctest.Wait() // the delivery is logged after its answer
				told := book.String()
				time.Sleep(2 * time.Second)
				if later := strings.TrimPrefix(book.String(), told); test.want == "" {
					assert.Empty(t, later, "it did what it should, and the outcome has said so")
				} else {
					assert.Contains(t, later, test.want)
				}
			})
		})
	}
}

func TestTheLogSaysWhichDeliveryAndWhatWasAnswered(t *testing.T) {
	t.Parallel()
	book := new(logbook)
	h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), func(context.Context, *walletcrew.Event) error { return errors.New("no stock") },
		receiver.WithLogger(book.logger()))
	requireStatus(t, 500, send(h, eventWith("41")), "the function failed")
	for _, part := range []string{"level=WARN", "the event was not handled", "status=500", "result=failed", "event=Pass:Installed", "id=41", "tenant=acme", `error="no stock"`} {
		assert.Contains(t, book.String(), part)
	}
	told := book.String()
	r := eventWith("42")
	r.Header.Set(walletcrew.HeaderSignature, nowhere)
	requireStatus(t, 401, send(h, r), "forged")
	refused := strings.TrimPrefix(book.String(), told)
	for _, part := range []string{"level=INFO", "a delivery was refused", "status=401", "bytes=28", "does not match"} {
		assert.Contains(t, refused, part)
	}
	assert.NotContains(t, refused, " tenant=", "nothing of a forged delivery can be believed: what it claims is called so")
	assert.NotContains(t, refused, " event=")
	assert.NotContains(t, refused, "pattern", "there is none without a ServeMux")
}

// A logger finds in the context what a middleware has put there: the id of a trace, say.
func TestTheLoggerGetsTheContextOfTheRequest(t *testing.T) {
	t.Parallel()
	type key struct{}
	for name, fn := range map[string]receiver.HandlerFunc{
		"failed":    func(context.Context, *walletcrew.Event) error { return errors.New("no stock") },
		"discarded": func(context.Context, *walletcrew.Event) error { return receiver.Discard(errors.New("no stock")) },
		"panicked":  func(context.Context, *walletcrew.Event) error { panic("no stock") },
	} {
		log := &contextLog{key: key{}}
		h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), fn, receiver.WithLogger(slog.New(log)))
		r := eventWith("1")
		send(h, r.WithContext(context.WithValue(r.Context(), key{}, name)))
		assert.Equal(t, []any{name}, log.values())
	}
}

// A contextLog keeps a value of each record's context.
type contextLog struct {
	slog.Handler
	key any

	mu   sync.Mutex
	seen []any
}

func (l *contextLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *contextLog) Handle(ctx context.Context, _ slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, ctx.Value(l.key))
	return nil
}

func (l *contextLog) values() []any {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.seen)
}

func TestAnAuthenticDeliveryThatIsRefusedIsAWarning(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"a name twice": `{"__id":"1","name":"a","name":"b"}`, "no object": `[]`, "another event": `{"__eventName":"Customer:Upserted"}`} {
		book := new(logbook)
		mux := http.NewServeMux()
		mux.Handle("POST /webhooks", receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), succeed, receiver.WithLogger(book.logger())))
		requireStatus(t, 400, send(mux, posted([]byte(body))), name)
		for _, part := range []string{"level=WARN", "a delivery of the platform's was refused", "status=400", " claimed_event=Pass:Installed", " claimed_tenant=acme", `pattern="POST /webhooks"`} {
			assert.Contains(t, book.String(), part, name)
		}
	}
}

func TestAFunctionIsNotCalledWhenADeduperHasTakenAllTheTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &slowDeduper{Deduper: receiver.NewMemoryDeduper(0, 0), takes: 10 * time.Minute}
		called := 0
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { called++; return nil }, receiver.WithDeduper(d))
		requireStatus(t, 503, send(h, eventWith("1")), "the time is up")
		assert.Zero(t, called)
		d.takes = 0
		requireStatus(t, 204, send(h, eventWith("1")), "the event was released")
		assert.Equal(t, 1, called)
	})
}

// A slowDeduper doesn't look at its context.
type slowDeduper struct {
	receiver.Deduper
	takes time.Duration
}

func (d *slowDeduper) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	time.Sleep(d.takes)
	return d.Deduper.Claim(ctx, key, lease+d.takes)
}

func TestALateSuccessIsLoggedWithoutAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := new(logbook)
		h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), func(context.Context, *walletcrew.Event) error {
			time.Sleep(2 * time.Second)
			return nil
		}, receiver.WithLogger(book.logger()), receiver.WithTimeout(time.Second))
		requireStatus(t, 503, send(h, eventWith("1")), "it took too long")
		told := book.String()
		time.Sleep(2 * time.Second)
		later := strings.TrimPrefix(book.String(), told)
		assert.Contains(t, later, "the function succeeded after its delivery was answered with 503")
		assert.NotContains(t, later, "error=")
	})
}

func TestASourceThatPanicsIs500(t *testing.T) {
	t.Parallel()
	book, seen := new(logbook), new(outcomes)
	v := verifierOf(t, verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { panic("no database") }))
	h := receiver.NewHandler(v, succeed, receiver.WithLogger(book.logger()), receiver.WithObserver(seen.observe))
	requireStatus(t, 500, send(h, eventWith("1")), "a panic is a 500")
	assert.Equal(t, receiver.Panicked, seen.only(t).Result)
	assert.Contains(t, book.String(), "no database")
	assert.Contains(t, book.String(), "stack=")
}

// --- discarding ---

func TestADiscardedEventIsAcknowledgedDoneAndLogged(t *testing.T) {
	t.Parallel()
	cause := errors.New("no such customer")
	for name, err := range map[string]error{
		"alone":               receiver.Discard(cause),
		"wrapped":             fmt.Errorf("upsert: %w", receiver.Discard(cause)),
		"joined":              errors.Join(errors.New("and more"), receiver.Discard(cause)),
		"discarded twice":     receiver.Discard(receiver.Discard(cause)),
		"around a time's end": receiver.Discard(errors.Join(cause, context.DeadlineExceeded)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book, seen, d := new(logbook), new(outcomes), &fakeDeduper{}
			h := handlerOf(t, func(context.Context, *walletcrew.Event) error { return err },
				receiver.WithLogger(book.logger()), receiver.WithObserver(seen.observe), receiver.WithDeduper(d))
			requireStatus(t, 204, send(h, eventWith("1")), "a discarded event isn't asked for again")
			assert.Equal(t, []string{"claim", "complete"}, d.did(), "a discarded event is done")
			out := seen.only(t)
			assert.Equal(t, receiver.Discarded, out.Result)
			require.ErrorIs(t, out.Err, cause)
			assert.Contains(t, book.String(), "no such customer", "what is thrown away must be in the log")
			assert.True(t, receiver.IsDiscard(err))
		})
	}
}

func TestDiscardOfNilIsNil(t *testing.T) {
	t.Parallel()
	require.NoError(t, receiver.Discard(nil))
	assert.False(t, receiver.IsDiscard(nil))
	assert.False(t, receiver.IsDiscard(errors.New("discarded: not really")))
}

// --- outcomes ---

func TestOutcomeOfEachResult(t *testing.T) {
	t.Parallel()
	body := []byte(`{"__id":"1","passId":"p-1"}`)
	forged := posted(body)
	forged.Header.Set(walletcrew.HeaderSignature, nowhere)
	failure := errors.New("disk full")
	after := func(d time.Duration, err error) receiver.HandlerFunc {
		return func(context.Context, *walletcrew.Event) error {
			time.Sleep(d)
			return err
		}
	}
	broken := posted(body)
	broken.ContentLength = -1
	broken.Body = io.NopCloser(io.MultiReader(strings.NewReader("twelve bytes"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	tests := []struct {
		name     string
		request  *http.Request
		fn       receiver.HandlerFunc
		deduper  receiver.Deduper
		result   receiver.Result
		status   int
		bytes    int
		verify   time.Duration
		function time.Duration
		err      error
	}{
		{"handled", posted(body), after(3*time.Second, nil), nil, receiver.Handled, 204, len(body), 2 * time.Second, 3 * time.Second, nil},
		{"duplicate", posted(body), succeed, &fakeDeduper{claims: []receiver.Claim{{State: receiver.Done}}}, receiver.Duplicate, 204, len(body), 2 * time.Second, 0, nil},
		{"in flight", posted(body), succeed, &fakeDeduper{claims: []receiver.Claim{{State: receiver.Held}}}, receiver.InFlight, 503, len(body), 2 * time.Second, 0, errAny},
		{"discarded", posted(body), after(time.Second, receiver.Discard(failure)), nil, receiver.Discarded, 204, len(body), 2 * time.Second, time.Second, failure},
		{"failed", posted(body), after(time.Second, failure), nil, receiver.Failed, 500, len(body), 2 * time.Second, time.Second, failure},
		{"timed out", posted(body), after(time.Minute, nil), nil, receiver.TimedOut, 503, len(body), 2 * time.Second, 23 * time.Second, context.DeadlineExceeded},
		{"panicked", posted(body), func(context.Context, *walletcrew.Event) error { time.Sleep(time.Second); panic(failure) }, nil, receiver.Panicked, 500, len(body), 2 * time.Second, time.Second, failure},
		{"forged", forged, succeed, nil, receiver.Refused, 401, len(body), 2 * time.Second, 0, walletcrew.ErrSignatureMismatch},
		{"broken off", broken, succeed, nil, receiver.Refused, 400, 12, 0, 0, verifier.ErrBodyUnreadable},
		{"not JSON", posted([]byte("no")), succeed, nil, receiver.Refused, 400, 2, 2 * time.Second, 0, walletcrew.ErrInvalidPayload},
		{"deduper down", posted(body), succeed, &fakeDeduper{claimErr: failure}, receiver.Unavailable, 503, len(body), 2 * time.Second, 0, failure},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				seen := new(outcomes)
				v := verifierOf(t, verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
					time.Sleep(2 * time.Second)
					return []walletcrew.Secret{knownSecret}, nil
				}))
				h := receiver.NewHandler(v, test.fn, receiver.WithLogger(silentLog()), receiver.WithObserver(seen.observe), receiver.WithDeduper(test.deduper))
				requireStatus(t, test.status, send(h, test.request), "the answer")
				out := seen.only(t)
				assert.Equal(t, test.result, out.Result, "the result")
				assert.Equal(t, test.status, out.Status, "the outcome has the status that was answered")
				assert.Equal(t, test.bytes, out.Bytes, "the bytes of the body, as far as it was read")
				assert.Equal(t, test.verify, out.Verify, "the time for the secrets and the signature")
				assert.Equal(t, test.function, out.Function, "the function's time")
				switch {
				case test.err == nil:
					require.NoError(t, out.Err)
				case errors.Is(test.err, errAny):
					require.Error(t, out.Err)
				default:
					require.ErrorIs(t, out.Err, test.err)
				}
				if test.result == receiver.Refused {
					assert.Nil(t, out.Event, "nobody may take a refused delivery for an event")
				} else {
					require.NotNil(t, out.Event, "metrics want the event's name")
					assert.Equal(t, "1", out.Event.ID)
				}
				time.Sleep(time.Hour) // until a late function has ended
			})
		})
	}
}

var errAny = errors.New("any error")

func TestOutcomeMeasuresDecoding(t *testing.T) {
	t.Parallel()
	seen := new(outcomes)
	h := handlerOf(t, succeed, receiver.WithObserver(seen.observe))
	requireStatus(t, 204, send(h, posted(paddedBody(1<<20))), "handled")
	out := seen.only(t)
	assert.Positive(t, out.Verify, "a MiB is hashed in some time")
	assert.Positive(t, out.Decode, "a MiB is decoded in some time")
}

func TestTheOutcomeOfAnUnavailableSourceHasNoEvent(t *testing.T) {
	t.Parallel()
	seen, down := new(outcomes), errors.New("database down")
	v := verifierOf(t, verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { return nil, down }))
	h := receiver.NewHandler(v, succeed, receiver.WithLogger(silentLog()), receiver.WithObserver(seen.observe))
	requireStatus(t, 503, send(h, eventWith("1")), "nothing can be said")
	out := seen.only(t)
	assert.Equal(t, receiver.Unavailable, out.Result)
	assert.Nil(t, out.Event)
	require.ErrorIs(t, out.Err, down)
}

func TestWhatIsLoggedHoldsNoSecretSignatureOrBody(t *testing.T) {
	t.Parallel()
	book := new(logbook)
	h := handlerOf(t, func(_ context.Context, e *walletcrew.Event) error {
		switch e.ID {
		case "fail":
			return errors.New("disk full")
		case "panic":
			panic("boom")
		}
		return receiver.Discard(errors.New("no such pass"))
	}, receiver.WithLogger(slog.New(slog.NewTextHandler(book, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	var secrets []string
	for _, id := range []string{"fail", "panic", "discard"} {
		r := posted(fmt.Appendf(nil, `{"__id":%q,"passId":"tell-nobody"}`, id))
		secrets = append(secrets, r.Header.Get(walletcrew.HeaderSignature))
		send(h, r)
	}
	forged := posted([]byte(`{"passId":"tell-nobody"}`))
	forged.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(otherSecret, []byte("x")))
	secrets = append(secrets, forged.Header.Get(walletcrew.HeaderSignature), "tell-nobody", string(knownSecret))
	send(h, forged)
	send(h, posted([]byte(`{"passId":"tell-nobody"`)))
	log := book.String()
	require.Contains(t, log, "disk full")
	for _, s := range secrets {
		assert.NotContains(t, log, s, "a log is read by many")
	}
}

// --- over a connection ---

func postTo(t testing.TB, server *httptest.Server, r *http.Request) int {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	out, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+r.URL.Path, bytes.NewReader(body))
	require.NoError(t, err)
	out.Header = r.Header
	resp, err := server.Client().Do(out)
	require.NoError(t, err, "the sender must get an answer")
	defer resp.Body.Close()
	return resp.StatusCode
}

// A wire is a sender's end of a connection.
type wire struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func newWire(t testing.TB, conn net.Conn) *wire { return &wire{t, conn, bufio.NewReader(conn)} }

func dial(t testing.TB, server *httptest.Server) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)), "no test shall hang")
	return newWire(t, conn)
}

// head writes the request's line and headers, as they would go over the wire, with length as its Content-Length.
func (w *wire) head(r *http.Request, length int, more ...string) {
	w.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: shop.example\r\nContent-Length: %d\r\n", r.Method, r.URL.Path, length)
	_ = r.Header.Write(&b)
	for _, line := range more {
		b.WriteString(line + "\r\n")
	}
	w.write(b.String() + "\r\n")
}

func (w *wire) write(s string) {
	w.t.Helper()
	if s == "" { // on a pipe, that too waits for a reader
		return
	}
	_, err := io.WriteString(w, s)
	require.NoError(w.t, err)
}

// answer reads one answer to its end.
func (w *wire) answer() *http.Response {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, nil)
	require.NoError(w.t, err, "there must be an answer")
	body, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

func TestABodyThatTricklesIs408(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seen := new(outcomes)
		w := pipeServer(t, &http.Server{Handler: handlerOf(t, succeed, receiver.WithObserver(seen.observe))})
		began := time.Now()
		w.head(eventWith("1"), 1000)
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					_, _ = w.Write([]byte("x"))
				case <-stop:
					return
				}
			}
		}()
		requireStatus(t, 408, w.answer(), "a sender that trickles doesn't hold the receiver")
		assert.Equal(t, 25*time.Second, time.Since(began), "nor does each byte give it more time")
		out := seen.only(t)
		assert.Equal(t, receiver.Refused, out.Result)
		assert.InDelta(t, 250, out.Bytes, 1, "what came is counted")
		require.ErrorIs(t, out.Err, verifier.ErrBodyUnreadable)
	})
}

// pipeServer serves the handler on one connection in memory, for a test in which time is synctest's.
func pipeServer(t *testing.T, server *http.Server) *wire {
	t.Helper()
	near, far := net.Pipe()
	l := &pipeListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- far
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = near.Close()
		_ = server.Close()
		<-done
		time.Sleep(time.Second) // Go 1.27's server keeps a connection half a second after an error
	})
	return newWire(t, near)
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func TestABodyHasUntilTheTimeoutOrTheServersShorterOneToComeIn(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ read, want time.Duration }{
		"without the server's":    {0, 25 * time.Second},
		"with a longer server's":  {time.Hour, 25 * time.Second},
		"with a shorter server's": {5 * time.Second, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := pipeServer(t, &http.Server{Handler: handlerOf(t, succeed), ReadTimeout: test.read})
				began := time.Now()
				w.head(eventWith("1"), 1000)
				w.write("half of")
				requireStatus(t, 408, w.answer(), "a body that never comes")
				assert.Equal(t, test.want, time.Since(began), "how long the body was waited for")
			})
		})
	}
}

// A server's own ReadTimeout, where it is shorter, is left alone: net/http gives each request its own.
func TestAShorterReadTimeoutIsNotTouched(t *testing.T) {
	t.Parallel()
	for read, want := range map[time.Duration]int{time.Second: 0, 0: 2, time.Hour: 2} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r := eventWith("1")
		r = r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, &http.Server{ReadTimeout: read}))
		handlerOf(t, succeed).ServeHTTP(w, r)
		assert.Equal(t, 204, w.Code)
		assert.Len(t, w.set, want, "read deadlines: one for the body, and its end; ReadTimeout %s", read)
	}
}

// Deadlines keeps the read deadlines that were set.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestASlowFunctionIsNotCancelledByAReadDeadline(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]*http.Server{
		"without ReadTimeout":           {},
		"with a shorter ReadTimeout":    {ReadTimeout: time.Second},
		"with a ReadTimeout just above": {ReadTimeout: 26 * time.Second},
		"with a ReadHeaderTimeout":      {ReadHeaderTimeout: time.Millisecond},
		"with an IdleTimeout":           {IdleTimeout: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				seen := new(outcomes)
				server.Handler = handlerOf(t, func(ctx context.Context, e *walletcrew.Event) error {
					select {
					case <-time.After(20 * time.Second):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}, receiver.WithObserver(seen.observe))
				w := pipeServer(t, server)
				r := eventWith("1")
				w.head(r, int(r.ContentLength))
				_, err := io.Copy(w, r.Body)
				require.NoError(t, err)
				requireStatus(t, 204, w.answer(), "the body is in; no read deadline may end the function")
				assert.Equal(t, 20*time.Second, seen.only(t).Function)
			})
		})
	}
}

func TestTheFunctionRunsOutOfTimeAndNotOfConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seen := new(outcomes)
		w := pipeServer(t, &http.Server{Handler: handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error {
			<-ctx.Done()
			return ctx.Err()
		}, receiver.WithObserver(seen.observe))})
		r := eventWith("1")
		w.head(r, int(r.ContentLength))
		_, err := io.Copy(w, r.Body)
		require.NoError(t, err)
		requireStatus(t, 503, w.answer(), "out of time")
		synctest.Wait()
		require.ErrorIs(t, seen.only(t).Err, context.DeadlineExceeded, "the time was up; the sender hadn't hung up")
	})
}

func TestASenderThatHangsUpEndsTheFunctionsContext(t *testing.T) {
	t.Parallel()
	seen, running := make(chan receiver.Outcome, 1), make(chan struct{})
	server := httptest.NewServer(handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error {
		close(running)
		<-ctx.Done()
		return ctx.Err()
	}, receiver.WithObserver(func(_ context.Context, out receiver.Outcome) { seen <- out })))
	defer server.Close()
	w := dial(t, server)
	r := eventWith("1")
	w.head(r, int(r.ContentLength))
	_, err := io.Copy(w, r.Body)
	require.NoError(t, err)
	<-running
	require.NoError(t, w.Close())
	out := <-seen
	assert.Equal(t, receiver.TimedOut, out.Result)
	require.ErrorIs(t, out.Err, context.Canceled)
}

func TestExpect100Continue(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(handlerOf(t, succeed))
	t.Cleanup(server.Close) // after the parallel subtests
	t.Run("a good head is asked for its body", func(t *testing.T) {
		t.Parallel()
		w, r := dial(t, server), eventWith("1")
		w.head(r, int(r.ContentLength), "Expect: 100-continue")
		line, err := w.r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 100 Continue\r\n", line, "the sender waits for that before it sends the body")
		_, err = w.r.ReadString('\n')
		require.NoError(t, err)
		_, err = io.Copy(w, r.Body)
		require.NoError(t, err)
		requireStatus(t, 204, w.answer(), "the delivery is good")
	})
	for name, test := range map[string]struct {
		status int
		change func(*http.Request)
	}{
		"no signature": {401, func(r *http.Request) { r.Header.Del(walletcrew.HeaderSignature) }},
		"gzip":         {415, func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }},
		"too large":    {413, func(r *http.Request) { r.ContentLength = 2 << 20 }},
		"method":       {405, func(r *http.Request) { r.Method = "PUT" }},
	} {
		t.Run("a bad head is refused before its body: "+name, func(t *testing.T) {
			t.Parallel()
			w, r := dial(t, server), eventWith("1")
			test.change(r)
			w.head(r, int(r.ContentLength), "Expect: 100-continue")
			requireStatus(t, test.status, w.answer(), "nobody asks for a body that is refused anyway")
		})
	}
}

func TestAConnectionServesOnAfterEachAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := verifierOf(t, verifier.Static(knownSecret), verifier.WithMaxBodyBytes(100))
		w := pipeServer(t, &http.Server{Handler: receiver.NewHandler(v, func(ctx context.Context, e *walletcrew.Event) error {
			switch e.ID {
			case "fail":
				return errors.New("disk full")
			case "panic":
				panic("boom")
			case "slow":
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}, receiver.WithLogger(silentLog()), receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))})
		changed := func(change func(*http.Request)) *http.Request {
			r := eventWith("1")
			change(r)
			return r
		}
		for _, test := range []struct {
			name   string
			r      *http.Request
			status int
		}{
			{"handled", eventWith("1"), 204},
			{"duplicate", eventWith("1"), 204},
			{"bad JSON", posted([]byte("no")), 400},
			{"forged", changed(func(r *http.Request) { r.Header.Set(walletcrew.HeaderSignature, nowhere) }), 401},
			{"refused before the body was read", changed(func(r *http.Request) { r.Header.Del(walletcrew.HeaderSignature) }), 401},
			{"method", changed(func(r *http.Request) { r.Method = "PUT" }), 405},
			{"too large", posted(paddedBody(101)), 413},
			{"encoded", changed(func(r *http.Request) { r.Header.Set("Content-Encoding", "br") }), 415},
			{"failed", eventWith("fail"), 500},
			{"panicked", eventWith("panic"), 500},
			{"handled again", eventWith("2"), 204},
			{"timed out", eventWith("slow"), 503},
		} {
			w.head(test.r, int(test.r.ContentLength))
			_, err := io.Copy(w, test.r.Body)
			require.NoError(t, err, test.name)
			got := w.answer()
			requireStatus(t, test.status, got, test.name)
			assert.Equal(t, test.name == "timed out", got.Close, "%s: the connection must stay open: the next delivery comes over it", test.name)
		}
	})
}

func TestATemporaryErrorIs503AndAsksForTheEventAgain(t *testing.T) {
	t.Parallel()
	var got receiver.Outcome
	down := errors.New("the broker is down")
	h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), func(context.Context, *walletcrew.Event) error {
		return fmt.Errorf("hand over: %w", receiver.Temporary(down))
	}, receiver.WithLogger(silentLog()), receiver.WithObserver(func(_ context.Context, o receiver.Outcome) { got = o }))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, posted([]byte(knownBody)))
	assert.Equal(t, http.StatusServiceUnavailable, rec.Code)
	assert.NotEmpty(t, rec.Header().Get("Retry-After"))
	assert.Equal(t, receiver.Failed, got.Result)
	require.ErrorIs(t, got.Err, down)
	assert.Equal(t, http.StatusServiceUnavailable, verifier.StatusCode(got.Err))
	require.NoError(t, receiver.Temporary(nil))
	assert.True(t, receiver.IsTemporary(got.Err), "wrapped, it is still temporary")
	assert.False(t, receiver.IsTemporary(down))
	assert.False(t, receiver.IsTemporary(context.DeadlineExceeded), "503, but nobody has said that it passes")
	assert.False(t, receiver.IsTemporary(nil))
	assert.Equal(t, down.Error(), receiver.Temporary(down).Error(), "it says what it is of")
	require.ErrorIs(t, receiver.Temporary(down), down)
	require.NotErrorIs(t, receiver.Temporary(down), io.EOF, "and is nothing else")
}

func TestWhatMayBeWrongWithTheSecretIsLoggedAtStart(t *testing.T) {
	t.Parallel()
	book := new(logbook)
	receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret+"\n")), succeed, receiver.WithLogger(book.logger()))
	assert.Contains(t, book.String(), "level=WARN")
	assert.Contains(t, book.String(), "line break or a quote")
	assert.NotContains(t, book.String(), string(knownSecret))
}

func TestTheLogSaysThatTheBodyIsNotWhatCame(t *testing.T) {
	t.Parallel()
	book := new(logbook)
	r := posted([]byte(knownBody))
	r.Body = io.NopCloser(strings.NewReader("{}"))
	requireStatus(t, 401, send(handlerOf(t, succeed, receiver.WithLogger(book.logger())), r), "something has changed the body")
	assert.Contains(t, book.String(), "Content-Length says 136 bytes, and 2 were left to read")
	assert.Contains(t, book.String(), "bytes=2")
}

// A duration without its unit is in nanoseconds.
func TestADurationWithoutItsUnitPanicsAndSaysWhatWasMeant(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	assert.PanicsWithValue(t, "receiver: NewHandler: WithTimeout(25ns) is under 1 ms: did you mean 25*time.Second?", func() {
		receiver.NewHandler(v, succeed, receiver.WithTimeout(25))
	})
	assert.PanicsWithValue(t, "receiver: NewMemoryDeduper: a ttl of 24ns is under 1 ms: did you mean 24*time.Hour?", func() {
		receiver.NewMemoryDeduper(0, 24)
	})
	assert.NotPanics(t, func() {
		receiver.NewHandler(v, succeed, receiver.WithTimeout(time.Millisecond), nil)
		receiver.NewMemoryDeduper(0, time.Millisecond)
	}, "nil options are ignored")
}
