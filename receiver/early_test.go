package receiver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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

// --- the answer of a delivery whose time is up while its function runs ---

// A stubborn function goes on until it is let go, whatever its context says.
type stubborn struct {
	runs  atomic.Int32
	letGo chan struct{}
	ended chan struct{}
}

func newStubborn() *stubborn {
	return &stubborn{letGo: make(chan struct{}), ended: make(chan struct{}, 100)}
}

func (s *stubborn) handle(context.Context, *walletcrew.Event) error {
	s.runs.Add(1)
	<-s.letGo
	s.ended <- struct{}{}
	return nil
}

func TestOverHTTP1TheEarlyAnswerIsWholeWhileTheFunctionRuns(t *testing.T) {
	t.Parallel()
	fn := newStubborn()
	server := httptest.NewServer(handlerOf(t, fn.handle, receiver.WithTimeout(50*time.Millisecond)))
	defer server.Close()
	defer close(fn.letGo)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()

	require.NoError(t, eventWith("1").Write(conn))
	// Not http.ReadResponse: what is on the wire counts, to the byte.
	text := bufio.NewReader(conn)
	var head []string
	for {
		line, err := text.ReadString('\n')
		require.NoError(t, err)
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			break
		}
		head = append(head, line)
	}
	assert.Equal(t, "HTTP/1.1 503 Service Unavailable", head[0])
	assert.Contains(t, head, "Content-Length: 0", "without a length the answer would be chunked, and end when the function does")
	assert.Contains(t, head, "Connection: close", "nothing more can be answered on this connection before the function returns")
	assert.Contains(t, head, "Retry-After: 10")
	assert.EqualValues(t, 1, fn.runs.Load())
	assert.Empty(t, fn.ended, "the function still runs")
}

// besideSlow serves fn, whose time is soon up, at /slow, and what succeeds in its time elsewhere.
func besideSlow(t *testing.T, fn *stubborn) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/slow", handlerOf(t, fn.handle, receiver.WithTimeout(20*time.Millisecond)))
	mux.Handle("/", handlerOf(t, succeed))
	return mux
}

func TestOverHTTP1AClientThatKeepsConnectionsGoesOnOnAnother(t *testing.T) {
	t.Parallel()
	fn := newStubborn()
	server := httptest.NewServer(besideSlow(t, fn))
	defer server.Close()
	defer close(fn.letGo)
	for i, path := range []string{"/", "/slow", "/", "/slow", "/"} {
		r := eventWith(fmt.Sprint(i))
		r.URL.Path = path
		want := 204
		if path == "/slow" {
			want = 503
		}
		assert.Equal(t, want, postTo(t, server, r), path)
	}
	assert.EqualValues(t, 2, fn.runs.Load())
}

// http2Server serves h over HTTP/2.
func http2Server(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// deliveryTo is eventWith for a client.
func deliveryTo(ctx context.Context, server *httptest.Server, id string) *http.Request {
	r := eventWith(id).WithContext(ctx)
	r.RequestURI = ""
	r.URL.Scheme, r.URL.Host = "https", server.Listener.Addr().String()
	return r
}

func TestOverHTTP2TheEarlyAnswerLeavesTheConnectionAlone(t *testing.T) {
	t.Parallel()
	fn := newStubborn()
	server := http2Server(t, besideSlow(t, fn))
	conns := &countingDialer{}
	transport := server.Client().Transport.(*http.Transport).Clone()
	transport.DialTLSContext = conns.dial(transport.TLSClientConfig)
	client := &http.Client{Transport: transport}

	toSlow := deliveryTo(t.Context(), server, "slow")
	toSlow.URL.Path = "/slow"
	slow, err := client.Do(toSlow)
	require.NoError(t, err)
	assert.Equal(t, "HTTP/2.0", slow.Proto)
	assert.Equal(t, 503, slow.StatusCode, "the status comes at once")
	assert.Empty(t, slow.Header.Get("Connection"), "it would end the streams of all other deliveries")
	for range 3 {
		other, err := client.Do(deliveryTo(t.Context(), server, "1"))
		require.NoError(t, err)
		assert.Equal(t, 204, other.StatusCode, "other deliveries go on")
		_ = other.Body.Close()
	}
	assert.EqualValues(t, 1, conns.count.Load(), "all on one connection")
	close(fn.letGo)
	rest, err := io.ReadAll(slow.Body)
	require.NoError(t, err, "the stream ends when the function does")
	assert.Empty(t, rest)
	_ = slow.Body.Close()
}

type countingDialer struct{ count atomic.Int32 }

func (d *countingDialer) dial(config *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		d.count.Add(1)
		config := config.Clone()
		config.NextProtos = []string{"h2"}
		return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
	}
}

func TestARecorderGetsTheEarlyAnswerToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fn := newStubborn()
		h := handlerOf(t, fn.handle)
		w := httptest.NewRecorder()
		returned := make(chan struct{})
		go func() {
			defer close(returned)
			h.ServeHTTP(w, eventWith("1"))
		}()
		time.Sleep(25 * time.Second)
		synctest.Wait()
		assert.Equal(t, 503, w.Code)
		assert.True(t, w.Flushed)
		assert.Equal(t, "0", w.Result().Header.Get("Content-Length"))
		select {
		case <-returned:
			assert.Fail(t, "ServeHTTP returns when the function does")
		default:
		}
		close(fn.letGo)
		<-returned
	})
}

// A plainWriter can't be flushed.
type plainWriter struct {
	header http.Header
	status atomic.Int32
	writes atomic.Int32
}

func (w *plainWriter) Header() http.Header         { return w.header }
func (w *plainWriter) Write(p []byte) (int, error) { w.writes.Add(1); return len(p), nil }
func (w *plainWriter) WriteHeader(status int)      { w.writes.Add(1); w.status.Store(int32(status)) }

// An unwrapping writer can be flushed if what it wraps can.
type unwrapping struct {
	http.ResponseWriter
	wraps http.ResponseWriter
}

func (w unwrapping) Unwrap() http.ResponseWriter { return w.wraps }

func TestAWriterThatCannotBeFlushedIsAnsweredWhenTheFunctionReturns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fn, seen := newStubborn(), new(outcomes)
		h := handlerOf(t, fn.handle, receiver.WithObserver(seen.observe))
		w := &plainWriter{header: http.Header{}}
		returned := make(chan struct{})
		go func() {
			defer close(returned)
			h.ServeHTTP(unwrapping{w, w}, eventWith("1"))
		}()
		time.Sleep(25 * time.Second)
		synctest.Wait()
		assert.Zero(t, w.writes.Load(), "what can't be flushed mustn't be touched")
		assert.Equal(t, receiver.TimedOut, seen.only(t).Result, "the outcome is known all the same")
		close(fn.letGo)
		<-returned
		assert.EqualValues(t, 503, w.status.Load())
		assert.EqualValues(t, 1, w.writes.Load())
		assert.Equal(t, "0", w.header.Get("Content-Length"))
		assert.Equal(t, receiver.TimedOut, seen.only(t).Result, "and there is one only")
	})
}

func TestAnUnwrappedWriterIsFlushed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fn := newStubborn()
		defer close(fn.letGo)
		inner := httptest.NewRecorder()
		h := handlerOf(t, fn.handle)
		go h.ServeHTTP(unwrapping{struct{ http.ResponseWriter }{inner}, inner}, eventWith("1"))
		time.Sleep(25 * time.Second)
		synctest.Wait()
		assert.True(t, inner.Flushed)
		assert.Equal(t, 503, inner.Code)
	})
}

// A breakingWriter panics, as echo's Flush does on a writer that can't be flushed.
type breakingWriter struct {
	plainWriter
	onHeader bool
}

func (w *breakingWriter) WriteHeader(status int) {
	if w.onHeader {
		panic("no header")
	}
	w.plainWriter.WriteHeader(status)
}
func (w *breakingWriter) Flush() { panic("no flush") }

func TestAWriterThatPanicsEndsNeitherTheProcessNorTheFunction(t *testing.T) {
	t.Parallel()
	for name, onHeader := range map[string]bool{"in Flush": false, "in WriteHeader": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				fn, seen, book := newStubborn(), new(outcomes), new(logbook)
				h := handlerOf(t, fn.handle, receiver.WithObserver(seen.observe), receiver.WithLogger(book.logger()))
				w := &breakingWriter{plainWriter: plainWriter{header: http.Header{}}, onHeader: onHeader}
				returned := make(chan any, 1)
				go func() {
					defer func() { returned <- recover() }() // as net/http, which ends the connection then
					h.ServeHTTP(w, eventWith("1"))
				}()
				time.Sleep(25 * time.Second)
				synctest.Wait()
				assert.Contains(t, book.String(), "level=ERROR msg=\"receiver: the delivery can't be answered before the function returns\"")
				assert.Contains(t, book.String(), "stack=")
				assert.Equal(t, receiver.TimedOut, seen.only(t).Result)
				close(fn.letGo)
				panicked := <-returned
				assert.Equal(t, onHeader, panicked != nil, "without a status, net/http would send 200")
				assert.Len(t, fn.ended, 1)
			})
		})
	}
}

// A slowWriter takes its time.
type slowWriter struct {
	plainWriter
	flushed chan struct{}
}

func (w *slowWriter) Flush() { <-w.flushed }

func TestServeHTTPDoesNotReturnWhileTheEarlyAnswerIsWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{plainWriter{header: http.Header{}}, make(chan struct{})}
		returned := make(chan struct{})
		h := handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error { <-ctx.Done(); return ctx.Err() })
		go func() {
			defer close(returned)
			h.ServeHTTP(w, eventWith("1"))
		}()
		time.Sleep(time.Minute)
		select {
		case <-returned:
			assert.Fail(t, "net/http takes the writer back when ServeHTTP returns, and it is still in use")
		default:
		}
		close(w.flushed)
		<-returned
	})
}

func TestAnObserverHearsOfAFunctionThatIsStuckWhenItsTimeIsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fn, seen := newStubborn(), new(outcomes)
		defer close(fn.letGo)
		h := handlerOf(t, fn.handle, receiver.WithObserver(seen.observe))
		go h.ServeHTTP(httptest.NewRecorder(), eventWith("1"))
		time.Sleep(25 * time.Second)
		synctest.Wait()
		out := seen.only(t)
		assert.Equal(t, receiver.TimedOut, out.Result)
		assert.Equal(t, 503, out.Status)
		assert.Equal(t, 25*time.Second, out.Function)
		assert.ErrorIs(t, out.Err, context.DeadlineExceeded)
	})
}

// --- a function that ends its goroutine ---

// Net/http sends nothing of what it holds back when the goroutine of a request ends.
func TestAGoexitIsAnsweredOverTheWire(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]*receiver.Handler{
		"of the function": handlerOf(t, func(context.Context, *walletcrew.Event) error { runtime.Goexit(); return nil }),
		"of the source": receiver.NewHandler(verifierOf(t, verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
			runtime.Goexit()
			return nil, nil
		})), succeed, receiver.WithLogger(silentLog())),
		"of the deduper": handlerOf(t, succeed, receiver.WithDeduper(goexiting{})),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain := httptest.NewServer(h)
			defer plain.Close()
			conn, err := net.Dial("tcp", plain.Listener.Addr().String())
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			require.NoError(t, eventWith("1").Write(conn))
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			requireStatus(t, 500, answer, "the sender hears of it")
			assert.Zero(t, answer.ContentLength)

			server := http2Server(t, h)
			over2, err := server.Client().Do(deliveryTo(t.Context(), server, "2"))
			require.NoError(t, err)
			_ = over2.Body.Close()
			assert.Equal(t, 500, over2.StatusCode)
			require.NoError(t, h.Shutdown(t.Context()), "nothing is left that runs")
		})
	}
}

type goexiting struct{ receiver.Deduper }

func (goexiting) Claim(context.Context, string, time.Duration) (receiver.Claim, error) {
	runtime.Goexit()
	return receiver.Claim{}, nil
}

// --- Shutdown ---

func TestShutdownWaitsForEveryFunction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fn := newStubborn()
		h := handlerOf(t, fn.handle)
		requireStatus(t, 503, send(h, eventWith("late")), "its time is up, but it still runs")
		go send(h, eventWith("in time"))
		synctest.Wait()
		require.EqualValues(t, 2, fn.runs.Load())

		ended := make(chan error, 2)
		for range 2 {
			go func() { ended <- h.Shutdown(t.Context()) }()
		}
		synctest.Wait()
		requireStatus(t, 503, send(h, eventWith("new")), "no delivery is taken any more")
		assert.EqualValues(t, 2, fn.runs.Load())
		assert.Empty(t, ended, "two functions run")

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := h.Shutdown(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "receiver: Shutdown: deliveries are still being handled, 2 of them")
		close(fn.letGo)
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
		require.NoError(t, h.Shutdown(t.Context()), "once more does no harm")
	})
}

func TestADeliveryDuringShutdownIsAskedForAgain(t *testing.T) {
	t.Parallel()
	seen, book := new(outcomes), new(logbook)
	h := handlerOf(t, succeed, receiver.WithObserver(seen.observe), receiver.WithLogger(book.logger()))
	require.NoError(t, h.Shutdown(t.Context()))
	got := send(h, eventWith("1"))
	requireStatus(t, 503, got, "another replica takes it")
	assert.Equal(t, "10", got.Header.Get("Retry-After"))
	assert.Equal(t, receiver.Unavailable, seen.only(t).Result)
	assert.ErrorContains(t, seen.only(t).Err, "shutting down")
	assert.Contains(t, book.String(), "shutting down")
}

// What net/http doesn't: a stream that the client resets frees the server, though the function runs.
func TestShutdownWaitsOverHTTP2ForAFunctionWhoseSenderHungUp(t *testing.T) {
	t.Parallel()
	fn := newStubborn()
	h := handlerOf(t, fn.handle)
	server := http2Server(t, h)
	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if resp, err := server.Client().Do(deliveryTo(ctx, server, "1")); err == nil {
			_ = resp.Body.Close()
		}
	}()
	require.Eventually(t, func() bool { return fn.runs.Load() == 1 }, time.Minute, time.Millisecond)
	hangUp()
	<-gone
	atMost, cancel := context.WithTimeout(t.Context(), time.Minute) // only ends a hang
	defer cancel()
	require.NoError(t, server.Config.Shutdown(atMost), "the server doesn't know of the function any more")
	brief, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, h.Shutdown(brief), context.DeadlineExceeded, "the function still runs")
	close(fn.letGo)
	require.NoError(t, h.Shutdown(t.Context()))
	assert.Len(t, fn.ended, 1)
}

func TestShutdownWithoutAnythingToWaitForReturnsAtOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, handlerOf(t, succeed, receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0))).Shutdown(ctx))
}

// --- a deduper that wraps one in memory ---

type counting struct {
	receiver.Deduper
	claims atomic.Int32
}

func (c *counting) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	c.claims.Add(1)
	return c.Deduper.Claim(ctx, key, lease)
}
func (c *counting) Unwrap() receiver.Deduper { return c.Deduper }

func TestAWrappedMemoryDeduperStillWaitsForAnotherHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := receiver.NewMemoryDeduper(0, 0)
		wrapped := &counting{Deduper: memory}
		slow := handlerOf(t, func(context.Context, *walletcrew.Event) error {
			time.Sleep(5 * time.Second)
			return errors.New("disk full")
		}, receiver.WithDeduper(memory))
		runs := 0
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { runs++; return nil }, receiver.WithDeduper(wrapped))
		go send(slow, eventWith("1"))
		synctest.Wait()
		began := time.Now()
		requireStatus(t, 204, send(h, eventWith("1")), "it waits, and then runs what failed")
		assert.Equal(t, 5*time.Second, time.Since(began))
		assert.Equal(t, 1, runs)
		assert.EqualValues(t, 2, wrapped.claims.Load(), "the wrapper is asked, not what it wraps")
	})
}

// A prefixing wrapper changes the keys, so that the wait for the inner one's ends at once.
type prefixing struct {
	counting
	prefix string
}

func (p *prefixing) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	return p.counting.Claim(ctx, p.prefix+key, lease)
}

func (p *prefixing) Complete(ctx context.Context, key, token string) error {
	return p.Deduper.Complete(ctx, p.prefix+key, token)
}

func TestAWrapperThatChangesTheKeysIsNotAskedOverAndOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &prefixing{counting: counting{Deduper: receiver.NewMemoryDeduper(0, 0)}, prefix: "orders:"}
		first := handlerOf(t, func(context.Context, *walletcrew.Event) error { time.Sleep(5 * time.Second); return nil }, receiver.WithDeduper(d))
		second := handlerOf(t, succeed, receiver.WithDeduper(d))
		go send(first, eventWith("1"))
		synctest.Wait()
		requireStatus(t, 503, send(second, eventWith("1")), "another handler has it, and there is nothing to wait for")
		assert.LessOrEqual(t, d.claims.Load(), int32(5))
		time.Sleep(6 * time.Second)
		requireStatus(t, 204, send(second, eventWith("1")), "it is done")
	})
}

type selfish struct{ receiver.Deduper }

func (s selfish) Unwrap() receiver.Deduper { return s }

func TestADeduperThatWrapsItselfOrNothingIsLikeAnyOther(t *testing.T) {
	t.Parallel()
	for _, d := range []receiver.Deduper{selfish{receiver.NewMemoryDeduper(0, 0)}, &counting{Deduper: elsewhere{receiver.NewMemoryDeduper(0, 0)}}} {
		h := handlerOf(t, succeed, receiver.WithDeduper(d))
		requireStatus(t, 204, send(h, eventWith("1")), "handled")
		requireStatus(t, 204, send(h, eventWith("1")), "a duplicate")
	}
}

// --- what a hostile engineer found ---

// A headerless writer's first WriteHeader fails once the function runs. Net/http sends 200 for a handler that returns without a status.
type headerless struct {
	http.ResponseWriter
	running *atomic.Int32
	once    sync.Once
	fail    func()
}

func (w *headerless) WriteHeader(status int) {
	if w.running.Load() > 0 { // before that, the time was up while the body was read: such a failure is net/http's to answer
		w.once.Do(w.fail)
	}
	w.ResponseWriter.WriteHeader(status)
}
func (w *headerless) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestNoFailedEventIsAnsweredWith200WhateverTheWriterDoes(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(){"a panic": func() { panic("no header") }, "a Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fn := newStubborn()
			h := handlerOf(t, func(ctx context.Context, e *walletcrew.Event) error {
				_ = fn.handle(ctx, e)
				return errors.New("disk full")
			}, receiver.WithTimeout(20*time.Millisecond))
			returned := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(returned)
				h.ServeHTTP(&headerless{ResponseWriter: w, running: &fn.runs, fail: func() { close(fn.letGo); fail() }}, r)
			}))
			defer server.Close()
			assert.Equal(t, 503, postTo(t, server, eventWith("1")))
			<-returned
		})
	}
}

type unwrapPanics struct{ http.ResponseWriter }

func (unwrapPanics) Unwrap() http.ResponseWriter { panic("no unwrapping") }

type unwrapsItself struct{ plainWriter }

func (w *unwrapsItself) Unwrap() http.ResponseWriter { return w }

func TestAWriterWhoseUnwrapIsBrokenEndsNothing(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]http.ResponseWriter{
		"it panics":            unwrapPanics{&plainWriter{header: http.Header{}}},
		"it unwraps to itself": &unwrapsItself{plainWriter{header: http.Header{}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				seen := new(outcomes)
				h := handlerOf(t, func(context.Context, *walletcrew.Event) error { time.Sleep(time.Minute); return nil }, receiver.WithObserver(seen.observe))
				// So that the body's deadline doesn't unwrap it first.
				ctx := context.WithValue(t.Context(), http.ServerContextKey, &http.Server{ReadTimeout: time.Second, ReadHeaderTimeout: time.Second})
				h.ServeHTTP(w, eventWith("1").WithContext(ctx))
				assert.Equal(t, receiver.TimedOut, seen.only(t).Result)
			})
		})
	}
}

func TestASlowObserverDoesNotHoldTheEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := receiver.NewMemoryDeduper(0, 0)
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { time.Sleep(26 * time.Second); return nil },
			receiver.WithDeduper(d), receiver.WithObserver(func(_ context.Context, out receiver.Outcome) {
				if out.Result == receiver.TimedOut {
					time.Sleep(time.Hour)
				}
			}))
		go send(h, eventWith("1"))
		time.Sleep(27 * time.Second)
		claim, err := d.Claim(t.Context(), "-/1", time.Second)
		require.NoError(t, err)
		assert.Equal(t, receiver.Done, claim.State, "the function has ended")
		time.Sleep(2 * time.Hour)
	})
}

// A typed nil is an error that panics when it is asked what it is.
type nilError struct{ inner error }

func (e *nilError) Error() string { return e.inner.Error() }
func (e *nilError) Unwrap() error { return e.inner }

type typedNil struct {
	receiver.Deduper
	claims, releases atomic.Int32
}

func (d *typedNil) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	if d.claims.Add(1) == 1 {
		return receiver.Claim{Token: "lost"}, (*nilError)(nil)
	}
	return d.Deduper.Claim(ctx, key, lease)
}

func (d *typedNil) Release(ctx context.Context, key, token string) error {
	if d.releases.Add(1) == 1 {
		return (*nilError)(nil)
	}
	return d.Deduper.Release(ctx, key, token)
}

func TestADeduperWhoseErrorIsATypedNilIsOneThatFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &typedNil{Deduper: receiver.NewMemoryDeduper(0, 0)}
		h := handlerOf(t, succeed, receiver.WithDeduper(d))
		requireStatus(t, 503, send(h, eventWith("1")), "it failed")
		requireStatus(t, 204, send(h, eventWith("1")), "the turn was given back")
		time.Sleep(leasesEnd)
		assert.GreaterOrEqual(t, d.releases.Load(), int32(2), "what may have been taken was given back in the background")
	})
}

type exitsOnComplete struct {
	receiver.Deduper
	completes atomic.Int32
}

func (d *exitsOnComplete) Complete(ctx context.Context, key, token string) error {
	if d.completes.Add(1) == 1 {
		runtime.Goexit()
	}
	return d.Deduper.Complete(ctx, key, token)
}

func TestADeduperThatExitsWhileItIsToldIsToldAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, seen := &exitsOnComplete{Deduper: receiver.NewMemoryDeduper(0, 0)}, new(outcomes)
		h := handlerOf(t, succeed, receiver.WithDeduper(d), receiver.WithObserver(seen.observe))
		requireStatus(t, 204, send(h, eventWith("1")), "the event was handled")
		assert.Equal(t, receiver.Handled, seen.only(t).Result)
		require.NoError(t, h.Shutdown(t.Context()))
		assert.EqualValues(t, 2, d.completes.Load())
		claim, err := d.Claim(t.Context(), "-/1", time.Second)
		require.NoError(t, err)
		assert.Equal(t, receiver.Done, claim.State)
	})
}

func TestAnEventWithoutAnIDHasNoKeyWhateverTheRequestsContextHas(t *testing.T) {
	t.Parallel()
	key := "none was seen"
	h := handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error { key = receiver.Key(ctx); return nil })
	send(h, eventWith("").WithContext(receiver.WithKey(t.Context(), "-/another-event")))
	assert.Empty(t, key)
}

func TestOnNameTakesEachPassEventAsAPass(t *testing.T) {
	t.Parallel()
	mux := receiver.NewMux()
	var ids []string
	receiver.OnName(mux, "Pass:*", func(_ context.Context, _ *walletcrew.Event, p *walletcrew.Pass) error {
		ids = append(ids, p.PassID)
		return nil
	})
	h := handlerOf(t, mux.Handle)
	for _, body := range []string{`{"passId":"p-1","identifiers":[]}`, `{"passId":"p-2","passKind":3}`, `{"passId":3}`} {
		requireStatus(t, 204, send(h, posted([]byte(body))), body)
	}
	assert.Equal(t, []string{"p-1", "p-2", "3"}, ids)
}

func TestAnEventThatCouldNotBeMarkedAsDoneIsInTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := new(logbook)
		h := handlerOf(t, succeed, receiver.WithDeduper(&fakeDeduper{completeErr: errLost}), receiver.WithLogger(book.logger()))
		requireStatus(t, 204, send(h, eventWith("1")), "handled")
		time.Sleep(leasesEnd)
		assert.Contains(t, book.String(), "could not be marked as done until its lease ended; it may be handled again\" key=-/1")
	})
}
