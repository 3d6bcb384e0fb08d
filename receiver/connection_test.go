package receiver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
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

// Net/http reads a connection on as soon as a body is in. A read deadline that fires then cancels the contexts of all requests that
// come on that connection, which stays open.

func TestTheTimeOfOneDeliveryDoesNotEndItsConnection(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"no body": "", "a middleware read the body": knownBody} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const limit = 10 * time.Second
				var hang atomic.Bool
				source := verifier.SecretFunc(func(ctx context.Context, _ string) ([]walletcrew.Secret, error) {
					if hang.Load() {
						<-ctx.Done()
						time.Sleep(time.Millisecond) // a read deadline that was left behind comes first
						return nil, ctx.Err()
					}
					return []walletcrew.Secret{knownSecret}, nil
				})
				h := receiver.NewHandler(verifierOf(t, source), func(ctx context.Context, _ *walletcrew.Event) error {
					return context.Cause(ctx)
				}, receiver.WithTimeout(limit), receiver.WithLogger(silentLog()))
				var outer http.Handler = h
				if body != "" {
					outer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						body, err := io.ReadAll(r.Body)
						if err != nil {
							t.Error(err)
						}
						r.Body = io.NopCloser(bytes.NewReader(body))
						h.ServeHTTP(w, r)
					})
				}
				mux := http.NewServeMux()
				mux.Handle("/webhooks", outer)
				mux.HandleFunc("/other", func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, context.Cause(r.Context())) })
				conn := pipeServer(t, &http.Server{Handler: mux})
				ask := func(path string, r *http.Request, body string) (int, string) {
					r.URL.Path = path
					conn.head(r, len(body))
					conn.write(body)
					answer := conn.answer()
					text, err := io.ReadAll(answer.Body)
					require.NoError(t, err)
					return answer.StatusCode, string(text)
				}
				hang.Store(true)
				status, _ := ask("/webhooks", posted([]byte(body)), body)
				require.Equal(t, 503, status, "the secrets can't be had in time")
				hang.Store(false)
				time.Sleep(limit)
				status, _ = ask("/webhooks", posted([]byte(knownBody)), knownBody)
				assert.Equal(t, 204, status, "the next delivery on the connection")
				_, cause := ask("/other", posted(nil), "")
				assert.Equal(t, "<nil>", cause, "the context of another handler's request")
			})
		})
	}
}

// Whoever is first, the sender or the deadline: either the connection ends, or the next request on it is as good as any.
func TestABodyThatIsInWhenItsTimeIsUpLeavesNoBrokenConnection(t *testing.T) {
	t.Parallel()
	const limit = 10 * time.Second
	answers := map[string]int{}
	for i := range 200 {
		synctest.Test(t, func(t *testing.T) {
			h := handlerOf(t, func(ctx context.Context, _ *walletcrew.Event) error { return context.Cause(ctx) }, receiver.WithTimeout(limit))
			mux := http.NewServeMux()
			mux.Handle("/webhooks", h)
			mux.HandleFunc("/other", func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(2 * limit) // whatever was left behind comes first
				_, _ = fmt.Fprint(w, context.Cause(r.Context()))
			})
			conn := pipeServer(t, &http.Server{Handler: mux})
			r := posted([]byte(knownBody))
			r.URL.Path = "/webhooks"
			conn.head(r, len(knownBody))
			conn.write(knownBody[:100])
			time.Sleep(limit + time.Duration(i%5-2)) // just before, just then, and just after
			go func() { _, _ = io.WriteString(conn, knownBody[100:]) }()
			answer := conn.answer()
			answers[fmt.Sprint(answer.StatusCode, answer.Close)]++
			if answer.Close {
				_, err := conn.r.ReadByte()
				require.ErrorIs(t, err, io.EOF, "it says that it ends, and ends")
				return
			}
			r = posted(nil)
			r.URL.Path = "/other"
			conn.head(r, 0)
			text, err := io.ReadAll(conn.answer().Body)
			require.NoError(t, err)
			assert.Equal(t, "<nil>", string(text), "the context of the next request")
		})
	}
	t.Log(answers)
	assert.Positive(t, answers["408 true"], "the time was up first")
	assert.Positive(t, answers["204 false"], "the body was in first")
}

func TestARefusedDeliveryWhoseBodyDoesNotComeIsAnsweredInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := pipeServer(t, &http.Server{Handler: handlerOf(t, succeed)})
		r := posted([]byte(knownBody))
		r.Header.Del(walletcrew.HeaderSignature)
		began := time.Now()
		w.head(r, 100)
		w.write("{") // net/http reads what is left of a body before it answers
		requireStatus(t, 401, w.answer(), "the header alone shows it")
		assert.Equal(t, 25*time.Second, time.Since(began), "how long the rest of the body was waited for")
	})
}

func TestASourceThatDiscardsAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	source := verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
		return nil, receiver.Discard(errors.New("no such tenant"))
	})
	h := receiver.NewHandler(verifierOf(t, source), succeed, receiver.WithLogger(silentLog()))
	requireStatus(t, 503, send(h, eventWith("1")), "nobody has verified it")
}

// A withoutUnwrap hides what http.ResponseController needs.
type withoutUnwrap struct{ http.ResponseWriter }

func TestABodyWhoseTimeCannotBeLimitedIsWarnedAboutOnce(t *testing.T) {
	t.Parallel()
	book := new(logbook)
	h := handlerOf(t, succeed, receiver.WithLogger(book.logger()))
	wrapped := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(withoutUnwrap{w}, r) })
	serve := func(h http.Handler, readTimeout time.Duration) {
		server := httptest.NewUnstartedServer(h)
		server.Config.ReadTimeout = readTimeout
		server.Start()
		defer server.Close()
		for i := range 3 {
			require.Equal(t, 204, postTo(t, server, eventWith(fmt.Sprint(i))))
		}
	}
	serve(h, 0)
	assert.Empty(t, book.String(), "it can be limited")
	serve(wrapped, time.Minute)
	assert.Empty(t, book.String(), "the server limits it")
	requireStatus(t, 204, send(h, eventWith("recorded")), "")
	assert.Empty(t, book.String(), "a recorder has no connection")
	serve(wrapped, 0)
	assert.Equal(t, 1, strings.Count(book.String(), "WithTimeout can't limit"), "not once a delivery: %s", book)
}

func TestTheFunctionIsNotCalledWhenTheTimeIsUpBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
			time.Sleep(26 * time.Second) // whatever its context says
			return []walletcrew.Secret{knownSecret}, nil
		})
		seen := new(outcomes)
		h := receiver.NewHandler(verifierOf(t, slow), func(context.Context, *walletcrew.Event) error {
			t.Error("the platform hears of a failure whatever the function does")
			return nil
		}, receiver.WithDeduper(untouchableDeduper{t}), receiver.WithLogger(silentLog()), receiver.WithObserver(seen.observe))
		answer := send(h, eventWith("1"))
		requireStatus(t, 503, answer, "so that it comes again")
		assert.NotEmpty(t, answer.Header.Get("Retry-After"))
		out := seen.only(t)
		assert.Equal(t, receiver.TimedOut, out.Result)
		require.ErrorIs(t, out.Err, context.DeadlineExceeded)
	})
}

type panickingLog struct{}

func (panickingLog) Write([]byte) (int, error) { panic("the log's disk is gone") }

func TestALoggerThatPanicsEndsNeitherTheDeliveryNorTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
			time.Sleep(time.Minute)
			return errors.New("late")
		}, receiver.WithLogger(slog.New(slog.NewTextHandler(panickingLog{}, nil))), receiver.WithTimeout(time.Second))
		requireStatus(t, 503, send(h, eventWith("1")), "")
		time.Sleep(time.Minute) // the function ends on its own goroutine, and is logged there
	})
}

func TestWhatTheSenderChoseIsLoggedInShort(t *testing.T) {
	t.Parallel()
	book := new(logbook)
	h := handlerOf(t, func(context.Context, *walletcrew.Event) error { return errors.New("no") }, receiver.WithLogger(book.logger()))
	r := eventWith(strings.Repeat("é", 100_000))
	r.Header.Set(walletcrew.HeaderEventName, "Pass:"+strings.Repeat("x", 100_000))
	r.Header.Set(walletcrew.HeaderTenantID, strings.Repeat("t", 100_000))
	requireStatus(t, 500, send(h, r), "")
	assert.Contains(t, book.String(), "ééé...")
	assert.NotContains(t, book.String(), `\x`, "cut between characters")
	assert.Less(t, len(book.String()), 1000)

	for length, want := range map[int]string{
		200: "id=" + strings.Repeat("x", 200) + " ",
		201: "id=" + strings.Repeat("x", 200) + "... ",
	} {
		requireStatus(t, 500, send(h, eventWith(strings.Repeat("x", length))), "")
		assert.Contains(t, book.String(), want)
	}
}
