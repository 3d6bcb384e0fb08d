package walletcrew_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

// A transport of the user's: one function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// respond makes an answer, with headers as name, value, name, value.
func respond(req *http.Request, status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
}

// always answers the same.
func always(status int, body string, headers ...string) roundTrip {
	return func(req *http.Request) (*http.Response, error) { return respond(req, status, body, headers...), nil }
}

// inTurn answers the first request with the first function and so on; the last one serves all that follow.
func inTurn(answers ...roundTrip) (transport roundTrip, attempts *atomic.Int32) {
	attempts = new(atomic.Int32)
	return func(req *http.Request) (*http.Response, error) {
		n := int(attempts.Add(1))
		return answers[min(n, len(answers))-1](req)
	}, attempts
}

func failing(err error) roundTrip {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

var (
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errReset   = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
)

// clientOn returns a client on the transport, with the key mockedKey, three retries and no waits.
func clientOn(t testing.TB, transport http.RoundTripper, opts ...walletcrew.Option) *walletcrew.Client {
	t.Helper()
	opts = append([]walletcrew.Option{
		walletcrew.WithAPIKey(mockedKey), walletcrew.WithHTTPClient(&http.Client{Transport: transport}), walletcrew.WithRetries(3, 0, 0),
	}, opts...)
	client, err := walletcrew.NewClient("acme", opts...)
	require.NoError(t, err)
	return client
}

func TestWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	const (
		never = 0
		safe  = 1 << iota // GET, HEAD, PATCH, DELETE
		unsafe
		all = safe | unsafe
	)
	type failure struct {
		answer  roundTrip
		retried int
		unknown bool // a write that failed like this may have been carried out
	}
	failures := map[string]failure{
		"429":                              {always(429, ""), all, false},
		"connection refused":               {failing(errRefused), all, false},
		"unknown host":                     {failing(&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}), all, false},
		"the SOCKS proxy refused":          {failing(&net.OpError{Op: "socks connect", Err: errRefused}), all, false},
		"the proxy refused the connection": {failing(&net.OpError{Op: "proxyconnect", Err: errRefused}), all, false},
		"reset after the write":            {failing(errReset), safe, true},
		"a wrapped reset":                  {failing(fmt.Errorf("otel: %w", errReset)), safe, true},
		"the connection ended":             {failing(io.ErrUnexpectedEOF), safe, true},
		"the body broke off":               {brokenBody(200), safe, true},
		"another error of the transport":   {failing(errors.New("the token could not be fetched")), safe, true},
		"a wrong certificate":              {failing(&tls.CertificateVerificationError{Err: errors.New("unknown authority")}), never, false},
		"a body that can't be decoded":     {always(200, "<html>"), never, true},
	}
	for status := 300; status < 600; status++ {
		f := failure{answer: always(status, ""), retried: never, unknown: status >= 500 || status == 303}
		switch {
		case status == 429:
			continue
		case status == 500, status >= 502 && status <= 504, status >= 520 && status <= 524:
			f.retried = safe
		}
		failures[strconv.Itoa(status)] = f
	}
	methods := map[string]int{"GET": safe, "HEAD": safe, "PATCH": safe, "DELETE": safe, "POST": unsafe, "PUT": unsafe, "QUERY": unsafe}
	for name, f := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for method, kind := range methods {
				if name == "404" && method == "DELETE" {
					continue // has its own test
				}
				transport, attempts := inTurn(f.answer)
				var out struct{}
				err := clientOn(t, transport).Do(context.Background(), method, "things", nil, &out)
				require.Error(t, err, method)
				want := 1
				if kind&f.retried != 0 {
					want = 4
				}
				assert.EqualValues(t, want, attempts.Load(), "attempts of %s", method)
				assert.Equal(t, f.unknown && method != "GET" && method != "HEAD", errors.Is(err, walletcrew.ErrOutcomeUnknown),
					"may a %s have been carried out? %v", method, err)
				assert.Equal(t, want, attemptsOf(t, err), "the error says how often it was tried")
				if want > 1 {
					assert.ErrorContains(t, err, "after 4 attempts")
				} else {
					assert.NotContains(t, err.Error(), "attempts")
				}
			}
		})
	}
}

// attemptsOf returns what an APIError or a RequestError says.
func attemptsOf(t *testing.T, err error) int {
	t.Helper()
	if api, ok := errors.AsType[*walletcrew.APIError](err); ok {
		return api.Attempts
	}
	var failed *walletcrew.RequestError
	require.ErrorAs(t, err, &failed)
	return failed.Attempts
}

// brokenBody answers with the beginning of a body.
func brokenBody(status int) roundTrip {
	return func(req *http.Request) (*http.Response, error) {
		resp := respond(req, status, "")
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"id":`), errorReader{io.ErrUnexpectedEOF}))
		return resp, nil
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestARetrySendsTheSameRequest(t *testing.T) {
	t.Parallel()
	for method, failure := range map[string]roundTrip{"POST": always(429, ""), "PATCH": failing(errReset), "PUT": failing(errRefused)} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			var bodies, keys []string
			transport, _ := inTurn(failure, failure, always(200, `{"ok":true}`))
			client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
				body, err := io.ReadAll(req.Body)
				require.NoError(t, err)
				bodies, keys = append(bodies, string(body)), append(keys, req.Header.Get("X-API-KEY"))
				return transport(req)
			}))
			var out struct{ OK bool }
			require.NoError(t, client.Do(context.Background(), method, "things", map[string]int{"a": 1}, &out))
			assert.True(t, out.OK)
			assert.Equal(t, []string{`{"a":1}`, `{"a":1}`, `{"a":1}`}, bodies)
			assert.Equal(t, []string{mockedKey, mockedKey, mockedKey}, keys)
		})
	}
}

func TestNoRetriesWhereTheyAreOff(t *testing.T) {
	t.Parallel()
	transport, attempts := inTurn(always(503, ""))
	client := clientOn(t, transport, walletcrew.WithRetries(0, time.Hour, time.Hour))
	_, err := client.Webhooks.Get(context.Background(), "Ab3xY")
	require.ErrorIs(t, err, walletcrew.ErrServer)
	assert.EqualValues(t, 1, attempts.Load())
}

func TestAWriteThatMayHaveHappenedStaysSoWhateverComesLater(t *testing.T) {
	t.Parallel()
	transport, _ := inTurn(always(500, ""), always(400, ""))
	err := clientOn(t, transport).Do(context.Background(), "PATCH", "things", nil, nil)
	require.ErrorIs(t, err, walletcrew.ErrBadRequest)
	require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "the first attempt may have been carried out")
}

func TestADeleteAnswered404(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]roundTrip{"a lost answer": failing(errReset), "a 502": always(502, "")} {
		t.Run("on a retry after "+name+" is a success", func(t *testing.T) {
			t.Parallel()
			transport, attempts := inTurn(first, always(404, ""))
			require.NoError(t, clientOn(t, transport).Webhooks.Delete(context.Background(), "Ab3xY"))
			assert.EqualValues(t, 2, attempts.Load())
		})
	}
	t.Run("at once is an error", func(t *testing.T) {
		t.Parallel()
		transport, attempts := inTurn(always(404, ""))
		require.ErrorIs(t, clientOn(t, transport).Webhooks.Delete(context.Background(), "Ab3xY"), walletcrew.ErrNotFound)
		assert.EqualValues(t, 1, attempts.Load())
	})
	t.Run("isn't confused with a GET's", func(t *testing.T) {
		t.Parallel()
		transport, _ := inTurn(always(502, ""), always(404, ""))
		_, err := clientOn(t, transport).Webhooks.Get(context.Background(), "Ab3xY")
		require.ErrorIs(t, err, walletcrew.ErrNotFound)
	})
}

// timed notes when each request was made.
func timed(next roundTrip) (transport roundTrip, times *[]time.Time) {
	times = new([]time.Time)
	return func(req *http.Request) (*http.Response, error) {
		*times = append(*times, time.Now())
		return next(req)
	}, times
}

func TestTheWaitsAreRandomBelowADoublingCeiling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const (
			rounds  = 200
			retries = 6
			minWait = 100 * time.Millisecond
			maxWait = time.Second
		)
		var below, above [retries]int
		for range rounds {
			transport, times := timed(always(503, ""))
			_, err := clientOn(t, transport, walletcrew.WithRetries(retries, minWait, maxWait)).Webhooks.Get(context.Background(), "Ab3xY")
			require.Error(t, err)
			require.Len(t, *times, retries+1)
			for n := range retries {
				wait, ceiling := (*times)[n+1].Sub((*times)[n]), min(maxWait, minWait<<n)
				require.Lessf(t, wait, ceiling, "the wait before retry %d", n+1)
				if wait < ceiling/2 {
					below[n]++
				} else {
					above[n]++
				}
			}
		}
		for n := range retries {
			assert.Greater(t, below[n], rounds/4, "full jitter: about half of the waits %d are in the lower half", n+1)
			assert.Greater(t, above[n], rounds/4, "full jitter: about half of the waits %d are in the upper half", n+1)
		}
	})
}

func TestManyRetriesDoNotOverflowTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, wait := range []time.Duration{time.Nanosecond, time.Second, 1000 * time.Hour} {
			transport, times := timed(always(503, ""))
			_, err := clientOn(t, transport, walletcrew.WithRetries(80, wait, 2000*time.Hour)).Webhooks.Get(context.Background(), "Ab3xY")
			require.Error(t, err)
			for n := range 80 {
				waited := (*times)[n+1].Sub((*times)[n])
				require.LessOrEqual(t, waited, 2000*time.Hour)
				if wait == 1000*time.Hour {
					require.Positivef(t, waited, "the wait before retry %d: a ceiling that runs over is no reason not to wait", n+1)
				}
			}
		}
	})
}

func TestRetryAfterIsKeptTo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header string
		date   time.Duration // instead: a date in so much time
		want   time.Duration
	}{
		"seconds":               {header: "7", want: 7 * time.Second},
		"seconds with spaces":   {header: " 7 ", want: 7 * time.Second},
		"a date":                {date: 7 * time.Second, want: 7 * time.Second},
		"zero":                  {header: "0"},
		"a date that has gone":  {date: -time.Hour},
		"a word":                {header: "soon"},
		"a negative number":     {header: "-5"},
		"a fraction":            {header: "1.5"},
		"nothing":               {header: ""},
		"as much as is allowed": {header: "30", want: 30 * time.Second},
	} {
		for _, status := range []int{429, 503} {
			t.Run(fmt.Sprintf("%s, %d", name, status), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					const minWait, maxWait = 10 * time.Millisecond, 30 * time.Second
					transport, times := timed(func(req *http.Request) (*http.Response, error) {
						header := c.header
						if c.date != 0 {
							header = time.Now().Add(c.date).UTC().Format(http.TimeFormat)
						}
						return respond(req, status, "", "Retry-After", header), nil
					})
					client := clientOn(t, transport, walletcrew.WithRetries(1, minWait, maxWait))
					_, err := client.Webhooks.Get(context.Background(), "Ab3xY")
					var api *walletcrew.APIError
					require.ErrorAs(t, err, &api)
					require.Len(t, *times, 2)
					waited := (*times)[1].Sub((*times)[0])
					assert.GreaterOrEqual(t, waited, c.want)
					assert.LessOrEqual(t, waited, min(c.want+minWait, maxWait), "and not much longer")
					assert.InDelta(t, c.want, api.RetryAfter, float64(time.Second-1), "a date has whole seconds")
				})
			})
		}
	}
}

func TestReplicasThatAreToldTheSameDoNotComeBackTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seen := map[time.Duration]bool{}
		for range 20 {
			transport, times := timed(always(429, "", "Retry-After", "7"))
			_, err := clientOn(t, transport, walletcrew.WithRetries(1, time.Second, time.Minute)).Webhooks.Get(context.Background(), "Ab3xY")
			require.ErrorIs(t, err, walletcrew.ErrRateLimited)
			seen[(*times)[1].Sub((*times)[0])] = true
		}
		assert.Greater(t, len(seen), 10, "the wait has jitter on top of what the server asks for")
	})
}

func TestARetryAfterThatIsTooLongEndsTheCallAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for header, want := range map[string]time.Duration{
			"31": 31 * time.Second, "86400": 24 * time.Hour,
			time.Now().Add(time.Hour).UTC().Format(http.TimeFormat): time.Hour,
			"9223372036854775807":  9223372036 * time.Second, // more than a Duration holds
			"99999999999999999999": 9223372036 * time.Second, // more than an int64 holds
		} {
			start := time.Now()
			transport, attempts := inTurn(always(429, "", "Retry-After", header))
			client := clientOn(t, transport, walletcrew.WithRetries(3, 500*time.Millisecond, 30*time.Second))
			_, err := client.Webhooks.Create(context.Background(), walletcrew.WebhookSpec{Endpoint: "https://shop.example", Events: []walletcrew.EventName{"*"}})
			require.ErrorIs(t, err, walletcrew.ErrRateLimited)
			var api *walletcrew.APIError
			require.ErrorAs(t, err, &api)
			assert.Equal(t, want, api.RetryAfter, "the error says how long to wait")
			require.ErrorContains(t, err, "retry after "+want.String())
			assert.EqualValues(t, 1, attempts.Load())
			assert.Zero(t, time.Since(start), "the call ends at once")
		}
	})
}

func TestACancelledContextEndsTheCallAtOnce(t *testing.T) {
	t.Parallel()
	t.Run("before the first attempt", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		transport, attempts := inTurn(always(200, hookJSON))
		err := clientOn(t, transport).Do(ctx, "POST", "things", nil, nil)
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "nothing was sent")
		assert.Zero(t, attempts.Load())
		assert.Zero(t, attemptsOf(t, err))
	})
	t.Run("during an attempt", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			start := time.Now()
			transport, attempts := inTurn(func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				return nil, req.Context().Err()
			})
			err := clientOn(t, transport).Do(ctx, "POST", "things", nil, nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "it was under way")
			assert.EqualValues(t, 1, attempts.Load())
			assert.Equal(t, time.Second, time.Since(start))
			assert.Equal(t, 1, strings.Count(err.Error(), "deadline"), "the cause is said once: %s", err)
		})
	})
	for name, failure := range map[string]roundTrip{"an answer": always(503, `{"title":"Down"}`, "Retry-After", "10"), "no answer": failing(errReset)} {
		t.Run("during the wait after "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				transport, attempts := inTurn(func(req *http.Request) (*http.Response, error) {
					time.AfterFunc(time.Millisecond, cancel)
					return failure(req)
				})
				start := time.Now()
				client := clientOn(t, transport, walletcrew.WithRetries(3, 1000*time.Hour, 1000*time.Hour))
				_, err := client.Webhooks.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Enabled: new(true)})
				require.ErrorIs(t, err, context.Canceled)
				assert.Equal(t, time.Millisecond, time.Since(start))
				assert.EqualValues(t, 1, attempts.Load())
				require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
				var failed *walletcrew.RequestError
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, 1, failed.Attempts)
				if api, ok := errors.AsType[*walletcrew.APIError](err); ok {
					assert.Equal(t, "Down", api.Title, "the last answer is in the error")
					require.ErrorIs(t, err, walletcrew.ErrServer)
				} else {
					require.ErrorIs(t, err, syscall.ECONNRESET, "what went wrong before is in the error")
				}
				assert.Equal(t, 1, strings.Count(err.Error(), "walletcrew:"), "the package is named once: %s", err)
			})
		})
	}
	t.Run("just when a failure is answered", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(context.Background())
		transport, attempts := inTurn(func(req *http.Request) (*http.Response, error) {
			cancel()
			return respond(req, 503, `{"title":"Down"}`), nil
		})
		var out bytes.Buffer
		client := clientOn(t, transport, walletcrew.WithLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		_, err := client.Webhooks.Get(ctx, "Ab3xY")
		require.ErrorIs(t, err, context.Canceled, "the caller sees that it was ended")
		require.ErrorIs(t, err, walletcrew.ErrServer, "and what came before")
		assert.EqualValues(t, 1, attempts.Load())
		assert.NotContains(t, out.String(), "waiting", "nobody waits for a retry that won't be")
	})
	t.Run("while the answer's body is read", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(context.Background())
		transport, attempts := inTurn(func(req *http.Request) (*http.Response, error) {
			resp := respond(req, 200, "")
			resp.Body = io.NopCloser(readFunc(func([]byte) (int, error) { cancel(); return 0, ctx.Err() }))
			return resp, nil
		})
		_, err := clientOn(t, transport).Webhooks.Get(ctx, "Ab3xY")
		require.ErrorIs(t, err, context.Canceled)
		assert.EqualValues(t, 1, attempts.Load())
	})
	t.Run("but an answer that came counts", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(context.Background())
		client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
			cancel()
			return respond(req, 200, hookJSON), nil
		}))
		got, err := client.Webhooks.Get(ctx, "Ab3xY")
		require.NoError(t, err)
		assert.Equal(t, theHook(), got)
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// ownTransport fails the test if someone closes its idle connections.
type ownTransport struct {
	t *testing.T
	roundTrip
}

func (o ownTransport) CloseIdleConnections() {
	o.t.Error("the user's idle connections must not be closed")
}

func TestTheUsersIdleConnectionsStayOpen(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]roundTrip{
		"success": always(200, hookJSON), "retries used up": always(503, ""), "refused": always(404, ""), "no connection": failing(errRefused),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _ = clientOn(t, ownTransport{t, answer}).Webhooks.Get(context.Background(), "Ab3xY")
		})
	}
	t.Run("cancelled in a wait", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(context.Background())
		transport := ownTransport{t, func(req *http.Request) (*http.Response, error) {
			time.AfterFunc(time.Millisecond, cancel)
			return respond(req, 503, ""), nil
		}}
		_, err := clientOn(t, transport, walletcrew.WithRetries(1, 1000*time.Hour, 1000*time.Hour)).Webhooks.Get(ctx, "Ab3xY")
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestTheUsersHTTPClientStaysAsItIs(t *testing.T) {
	t.Parallel()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := &http.Transport{}
	user := &http.Client{Transport: transport, Jar: jar, Timeout: time.Minute}
	_, err = walletcrew.NewClient("acme", walletcrew.WithHTTPClient(user), walletcrew.WithAPIKey(mockedKey))
	require.NoError(t, err)
	assert.Same(t, transport, user.Transport)
	assert.Nil(t, user.CheckRedirect)
	assert.Equal(t, time.Minute, user.Timeout)
	assert.Same(t, jar, user.Jar)

	empty := &http.Client{}
	_, err = walletcrew.NewClient("acme", walletcrew.WithHTTPClient(empty))
	require.NoError(t, err)
	assert.Equal(t, http.Client{}, *empty)
	_, err = walletcrew.NewClient("acme", walletcrew.WithHTTPClient(http.DefaultClient))
	require.NoError(t, err)
	assert.Equal(t, http.Client{}, *http.DefaultClient)
}

func TestTheUsersCookieJarAndTransportAreUsed(t *testing.T) {
	t.Parallel()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	var cookies []string
	user := &http.Client{Jar: jar, Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		cookies = append(cookies, req.Header.Get("Cookie"))
		return respond(req, 200, hookJSON, "Set-Cookie", "affinity=7; Path=/"), nil
	})}
	client, err := walletcrew.NewClient("acme", walletcrew.WithHTTPClient(user))
	require.NoError(t, err)
	for range 2 {
		_, err = client.Webhooks.Get(context.Background(), "Ab3xY")
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"", "affinity=7"}, cookies)
}

func TestATransportThatAuthenticatesNeedsNoKey(t *testing.T) {
	t.Parallel()
	client, err := walletcrew.NewClient("acme", walletcrew.WithHTTPClient(&http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		assert.NotContains(t, req.Header, http.CanonicalHeaderKey("X-API-KEY"), "without WithAPIKey no key is sent")
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", "Bearer token")
		return respond(req, 200, hookJSON), nil
	})}))
	require.NoError(t, err)
	_, err = client.Webhooks.Get(context.Background(), "Ab3xY")
	require.NoError(t, err)
}

func TestTheUsersTimeoutHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		user := &http.Client{Timeout: 2 * time.Second, Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})}
		client, err := walletcrew.NewClient("acme", walletcrew.WithHTTPClient(user), walletcrew.WithRetries(1, 0, 0))
		require.NoError(t, err)
		start := time.Now()
		_, err = client.Webhooks.Get(context.Background(), "Ab3xY")
		require.Error(t, err)
		assert.Equal(t, 4*time.Second, time.Since(start), "two attempts of two seconds")
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())
	})
}

func TestWithoutAnHTTPClientAnAttemptHas30Seconds(t *testing.T) { //nolint:paralleltest // it replaces http.DefaultTransport
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	synctest.Test(t, func(t *testing.T) {
		http.DefaultTransport = roundTrip(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		client, err := walletcrew.NewClient("acme", walletcrew.WithRetries(0, 0, 0))
		require.NoError(t, err)
		start := time.Now()
		_, err = client.Webhooks.Get(context.Background(), "Ab3xY")
		require.Error(t, err)
		assert.Equal(t, 30*time.Second, time.Since(start))
	})
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	var connections, requests atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n := requests.Add(1); n % 5 {
		case 0:
			w.WriteHeader(http.StatusNoContent)
		case 1:
			_, _ = io.WriteString(w, hookJSON)
		case 2:
			http.Error(w, strings.Repeat("x", 100_000), http.StatusNotFound)
		case 3:
			http.Error(w, `{"title":"Down"}`, http.StatusServiceUnavailable)
		case 4:
			_, _ = io.WriteString(w, "<html>")
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	client := clientOn(t, &http.Transport{}, walletcrew.WithBaseURL(server.URL))
	for range 20 {
		var out map[string]any
		_ = client.Do(context.Background(), "GET", "things", nil, &out)
	}
	assert.GreaterOrEqual(t, requests.Load(), int32(20))
	// A call whose answer ends its connection would come four times. Net/http by itself gives one up when the goroutine that wrote the
	// request stands still for 50 ms.
	assert.Less(t, connections.Load(), int32(4), "one connection serves all calls, failed ones included")
}

func TestAnAnswerThatSwitchesProtocolsDoesNotHang(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, out, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = out.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
		_ = out.Flush()
		<-done // the server says nothing more, and doesn't hang up
	}))
	defer server.Close()
	defer close(done)
	_, err := clientOn(t, server.Client().Transport, walletcrew.WithBaseURL(server.URL)).Webhooks.Get(context.Background(), "Ab3xY")
	require.ErrorContains(t, err, "101 Switching Protocols")
}

func TestWhatFollowsSwitchedProtocolsIsNotRead(t *testing.T) {
	t.Parallel()
	client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		resp := respond(req, http.StatusSwitchingProtocols, "")
		resp.Body = io.NopCloser(readFunc(func([]byte) (int, error) {
			t.Error("no timeout and no context would end this")
			return 0, io.EOF
		}))
		return resp, nil
	}))
	_, err := client.Webhooks.Get(context.Background(), "Ab3xY")
	require.ErrorContains(t, err, "101 Switching Protocols")
}

// closeCounter is a body that counts how often it was closed.
type closeCounter struct {
	io.Reader
	closed *atomic.Int32
}

func (c closeCounter) Close() error { c.closed.Add(1); return nil }

func TestEveryAnswersBodyIsClosed(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]roundTrip{
		"success":             always(200, hookJSON),
		"nothing":             always(204, ""),
		"no JSON":             always(200, "<html>"),
		"a refusal":           always(401, ""),
		"a failure, retried":  always(503, ""),
		"a long error":        always(500, strings.Repeat("x", 1<<20)),
		"too large":           always(200, strings.Repeat(" ", 10<<20+1)),
		"broken":              brokenBody(200),
		"switching protocols": always(101, ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var bodies []*atomic.Int32
			client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
				resp, err := answer(req)
				bodies = append(bodies, new(atomic.Int32))
				resp.Body = closeCounter{resp.Body, bodies[len(bodies)-1]}
				return resp, err
			}))
			_, _ = client.Webhooks.Get(context.Background(), "Ab3xY")
			for i, closed := range bodies {
				assert.Positive(t, closed.Load(), "the body of answer %d is open, and holds its connection for ever", i+1)
			}
		})
	}
}

func TestAnAnswerThatIsTooLargeIsAskedForOnce(t *testing.T) {
	t.Parallel()
	transport, attempts := inTurn(always(200, strings.Repeat(" ", 10<<20+1)))
	_, err := clientOn(t, transport).Webhooks.Get(context.Background(), "Ab3xY")
	require.ErrorContains(t, err, "over 10 MiB")
	assert.EqualValues(t, 1, attempts.Load(), "it would be as large again")
	_, err = clientOn(t, always(200, hookJSON+strings.Repeat(" ", 10<<20-len(hookJSON)))).Webhooks.Get(context.Background(), "Ab3xY")
	require.NoError(t, err, "10 MiB are read")
}

func TestEveryStatusThatBeginsWithTwoIsASuccess(t *testing.T) {
	t.Parallel()
	for status, success := range map[int]bool{199: false, 200: true, 204: true, 226: true, 299: true, 300: false} {
		err := clientOn(t, always(status, "")).Webhooks.Delete(context.Background(), "Ab3xY")
		if success {
			require.NoError(t, err, "status %d", status)
			continue
		}
		var api *walletcrew.APIError
		require.ErrorAs(t, err, &api, "status %d", status)
	}
}

func TestAnAnswersErrorIsAnAPIErrorAndNoRequestError(t *testing.T) {
	t.Parallel()
	err := clientOn(t, always(403, `{"title":"No"}`)).Webhooks.Delete(context.Background(), "Ab3xY")
	var api *walletcrew.APIError
	require.ErrorAs(t, err, &api)
	var failed *walletcrew.RequestError
	require.NotErrorAs(t, err, &failed, "a RequestError is a call without a usable answer")
	assert.Equal(t, 1, strings.Count(err.Error(), "DELETE /api/acme/webhooks/Ab3xY"), "the request is named once: %s", err)
}

// elsewhere is a server that the key must not reach.
func elsewhere(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		t.Errorf("a redirect to another place was followed, with the key %q", req.Header.Get("X-API-KEY"))
	}))
	t.Cleanup(server.Close)
	return server
}

func TestARedirectElsewhereIsNotFollowed(t *testing.T) {
	t.Parallel()
	other := elsewhere(t)
	otherURL, err := url.Parse(other.URL)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		tls      bool
		location func(self string) string
		methods  []string
	}{
		"another port":            {location: func(string) string { return other.URL + "/x" }, methods: []string{"GET", "POST", "PATCH", "DELETE"}},
		"another name":            {location: func(string) string { return "http://localhost:" + otherURL.Port() + "/x" }, methods: []string{"GET"}},
		"without a scheme":        {location: func(string) string { return "//" + otherURL.Host + "/x" }, methods: []string{"GET"}},
		"http instead of https":   {tls: true, location: func(self string) string { return "http" + strings.TrimPrefix(self, "https") }, methods: []string{"GET", "POST"}},
		"http at another port":    {tls: true, location: func(string) string { return other.URL }, methods: []string{"GET"}},
		"with a user in the host": {location: func(self string) string { return self + "@" + otherURL.Host }, methods: []string{"GET"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, status := range []int{301, 302, 303, 307, 308} {
				var requests atomic.Int32
				var server *httptest.Server
				handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					requests.Add(1)
					w.Header().Set("Location", c.location(server.URL))
					w.WriteHeader(status)
				})
				if c.tls {
					server = httptest.NewTLSServer(handler)
				} else {
					server = httptest.NewServer(handler)
				}
				client := clientOn(t, server.Client().Transport, walletcrew.WithBaseURL(server.URL))
				for i, method := range c.methods {
					err := client.Do(context.Background(), method, "things", map[string]int{}, nil)
					var api *walletcrew.APIError
					require.ErrorAs(t, err, &api)
					assert.Equal(t, status, api.StatusCode)
					require.ErrorContains(t, err, "not followed")
					assert.EqualValues(t, i+1, requests.Load(), "it isn't tried again")
				}
				server.Close()
			}
		})
	}
}

func TestARedirectThatChangesTheMethodIsNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303} {
		for _, method := range []string{"POST", "PATCH", "DELETE", "PUT"} {
			transport, attempts := inTurn(always(status, "", "Location", "/login"))
			err := clientOn(t, transport).Do(context.Background(), method, "things", map[string]int{}, nil)
			var api *walletcrew.APIError
			require.ErrorAs(t, err, &api, "%s %d", method, status)
			assert.Equal(t, status, api.StatusCode)
			assert.EqualValues(t, 1, attempts.Load())
		}
	}
}

func TestARedirectOnTheSameHostIsFollowedWithTheKey(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, method := range []string{"GET", "POST", "PATCH"} {
			if method != "GET" && status < 307 {
				continue
			}
			t.Run(fmt.Sprintf("%s %d", method, status), func(t *testing.T) {
				t.Parallel()
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					assert.Equal(t, mockedKey, req.Header.Get("X-API-KEY"))
					if !strings.HasPrefix(req.URL.Path, "/v2") {
						http.Redirect(w, req, "/v2"+req.URL.Path, status)
						return
					}
					assert.Equal(t, method, req.Method)
					_, _ = io.Copy(w, req.Body)
				}))
				defer server.Close()
				client := clientOn(t, server.Client().Transport, walletcrew.WithBaseURL(server.URL))
				var in, out any
				if method != "GET" {
					in = map[string]any{"a": "b"}
				}
				require.NoError(t, client.Do(context.Background(), method, "things", in, &out))
				assert.Equal(t, in, out, "the body went along")
			})
		}
	}
}

func TestARedirectInACircleEnds(t *testing.T) {
	t.Parallel()
	transport, attempts := inTurn(always(307, "", "Location", "/round"))
	err := clientOn(t, transport).Do(context.Background(), "GET", "things", nil, nil)
	require.ErrorContains(t, err, "stopped after 10 redirects")
	assert.EqualValues(t, 10, attempts.Load(), "it isn't tried again")
}

func TestTheUsersRedirectPolicyHolds(t *testing.T) {
	t.Parallel()
	errPolicy := errors.New("no redirects here")
	asked := 0
	policy := func(*http.Request, []*http.Request) error { asked++; return errPolicy }
	transport, attempts := inTurn(always(307, "", "Location", "/v2"))
	client := clientOn(t, nil, walletcrew.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: policy}))
	err := client.Do(context.Background(), "POST", "things", nil, nil)
	require.ErrorIs(t, err, errPolicy)
	require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "a redirect is no success")
	assert.EqualValues(t, 1, attempts.Load(), "a policy's no is not a failure that passes")
	assert.Equal(t, 1, asked)

	asked = 0
	client = clientOn(t, nil, walletcrew.WithHTTPClient(&http.Client{
		Transport: always(307, "", "Location", "https://other.example/"), CheckRedirect: func(*http.Request, []*http.Request) error { asked++; return nil },
	}))
	require.ErrorContains(t, client.Do(context.Background(), "GET", "things", nil, nil), "not followed")
	assert.Zero(t, asked, "a policy that allows everything isn't asked about another host")
}

func TestBaseURLs(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"https://app.neostore.cloud":        "https://app.neostore.cloud/api/acme/webhooks",
		"https://app.neostore.cloud/":       "https://app.neostore.cloud/api/acme/webhooks",
		walletcrew.StagingURL:               "https://app-qa.neostore.cloud/api/acme/webhooks",
		"HTTPS://app.neostore.cloud":        "https://app.neostore.cloud/api/acme/webhooks",
		"https://gateway.example/wallet":    "https://gateway.example/wallet/api/acme/webhooks",
		"https://gateway.example/a%2Fb/":    "https://gateway.example/a%2Fb/api/acme/webhooks",
		"https://gateway.example:8443":      "https://gateway.example:8443/api/acme/webhooks",
		"http://127.0.0.1:8080":             "http://127.0.0.1:8080/api/acme/webhooks",
		"http://localhost:8080":             "http://localhost:8080/api/acme/webhooks",
		"http://[::1]:8080":                 "http://[::1]:8080/api/acme/webhooks",
		"":                                  "",
		"app.neostore.cloud":                "",
		"app.neostore.cloud:443":            "",
		"/api":                              "",
		"https://":                          "",
		"https://:443":                      "",
		"https:app.neostore.cloud":          "",
		"http://app.neostore.cloud":         "",
		"http://localhost.attacker.example": "",
		"http://127.0.0.1.attacker.example": "",
		"http://10.0.0.1":                   "",
		"ftp://app.neostore.cloud":          "",
		"ftp://localhost":                   "",
		"https://u:passw0rd@app.example":    "",
		"http://u:passw0rd@app.example":     "",
		"u:passw0rd@app.example":            "",
		"https://passw0rd@app.example":      "",
		"https://app.example?key=passw0rd":  "",
		"https://app.example?":              "",
		"https://app.example#":              "",
		"https://app.example#passw0rd":      "",
		"http://app.example/?k=passw0rd":    "",
		"https://app.example/%zz":           "",
		"https://app .example":              "",
		"https://app.example\n":             "",
		"https://[::1":                      "",
	} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			var sent string
			client, err := walletcrew.NewClient("acme", walletcrew.WithBaseURL(base), walletcrew.WithHTTPClient(&http.Client{
				Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
					sent = req.URL.String()
					return respond(req, 200, "[]"), nil
				}),
			}))
			if want == "" {
				require.Error(t, err)
				assert.Nil(t, client)
				assert.True(t, strings.HasPrefix(err.Error(), "walletcrew: the base URL"), err)
				assert.NotContains(t, err.Error(), "passw0rd", "what may be a password isn't printed")
				return
			}
			require.NoError(t, err)
			_, err = client.Webhooks.List(context.Background(), nil)
			require.NoError(t, err)
			assert.Equal(t, want, sent)
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]walletcrew.Option{
		"an empty key":            walletcrew.WithAPIKey(""),
		"a key with a line break": walletcrew.WithAPIKey("secret-key\n"),
		"a key with a space":      walletcrew.WithAPIKey(" secret-key"),
		"a key outside of ASCII":  walletcrew.WithAPIKey("secret-key-é"),
		"a key of many megabytes": walletcrew.WithAPIKey(strings.Repeat("secret-key+", 1<<20)),

		"a nil http.Client":          walletcrew.WithHTTPClient(nil),
		"negative retries":           walletcrew.WithRetries(-1, 0, 0),
		"a negative wait":            walletcrew.WithRetries(1, -1, 1),
		"the least wait above":       walletcrew.WithRetries(1, 2, 1),
		"a user agent with a break":  walletcrew.WithUserAgent("shop\r\nX-Evil: 1"),
		"a user agent outside ASCII": walletcrew.WithUserAgent("Büro"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := walletcrew.NewClient("acme", option)
			require.Error(t, err)
			assert.Nil(t, client)
			assert.True(t, strings.HasPrefix(err.Error(), "walletcrew: "), err)
			assert.NotContains(t, err.Error(), "secret-key")
		})
	}
	_, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey(strings.Repeat("+", 8<<10)))
	require.NoError(t, err, "a long key is none of the client's business")
	_, err = walletcrew.NewClient("acme", walletcrew.WithLogger(nil))
	require.NoError(t, err, "a nil logger logs nothing")
}

func TestTheUserAgentNamesTheProductFirst(t *testing.T) {
	t.Parallel()
	p, client := newMockedPlatform(t, walletcrew.WithUserAgent("shop/1.4 (+https://shop.example)"))
	p.answer("GET", hooksURL, 200, "[]")
	_, err := client.Webhooks.List(context.Background(), nil)
	require.NoError(t, err)
	assert.Regexp(t, `^shop/1\.4 \(\+https://shop\.example\) walletcrew-go/\S+ \(`, p.Sent[0].Header.Get("User-Agent"))
}

func TestNewClientFromEnv(t *testing.T) { //nolint:paralleltest // it sets the environment
	t.Setenv("WALLETCREW_TENANT_ID", "")
	t.Setenv("WALLETCREW_API_KEY", "")
	t.Setenv("WALLETCREW_BASE_URL", "")
	_, err := walletcrew.NewClientFromEnv()
	require.ErrorContains(t, err, "WALLETCREW_TENANT_ID")
	t.Setenv("WALLETCREW_TENANT_ID", "from-env")
	_, err = walletcrew.NewClientFromEnv()
	require.ErrorContains(t, err, "WALLETCREW_API_KEY")
	t.Setenv("WALLETCREW_API_KEY", "env-key")

	var sent *http.Request
	transport := walletcrew.WithHTTPClient(&http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		sent = req
		return respond(req, 200, "[]"), nil
	})})
	client, err := walletcrew.NewClientFromEnv(transport)
	require.NoError(t, err)
	assert.Equal(t, "from-env", client.TenantID())
	_, err = client.Webhooks.List(context.Background(), nil)
	require.NoError(t, err)
	assert.Equal(t, walletcrew.ProductionURL+"/api/from-env/webhooks", sent.URL.String())
	assert.Equal(t, "env-key", sent.Header.Get("X-API-KEY"))

	t.Setenv("WALLETCREW_BASE_URL", walletcrew.StagingURL)
	client, err = walletcrew.NewClientFromEnv(transport, walletcrew.WithAPIKey("other-key"))
	require.NoError(t, err)
	_, err = client.Webhooks.List(context.Background(), nil)
	require.NoError(t, err)
	assert.Equal(t, walletcrew.StagingURL+"/api/from-env/webhooks", sent.URL.String())
	assert.Equal(t, "other-key", sent.Header.Get("X-API-KEY"), "an option comes after the environment")

	t.Setenv("WALLETCREW_BASE_URL", "http://app.neostore.cloud")
	_, err = walletcrew.NewClientFromEnv()
	require.ErrorContains(t, err, "isn't https")
	t.Setenv("WALLETCREW_TENANT_ID", "..")
	_, err = walletcrew.NewClientFromEnv()
	var invalid *walletcrew.ValidationError
	require.ErrorAs(t, err, &invalid)
}

func TestNoPathLeavesTheTenant(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"", "?a=b", "#x", "x#y", "x#", "/x", "//h/x", "///", "https://h/x", "HTTPS://h/x", "http:/x", "file:///x", "%zz", "x%", "x\x00", "x\ny",
		".", "..", "./x", "../x", "../../x", "a/..", "a/.", "a/./b", "a/../x", "a/../../x", "a/b/../../../x", "..?a=b", "a/..?b",
		"%2e%2e/x", "%2E%2e/x", ".%2e/x", "%2e./x", "%2e/x", "%252e%252e/x", "%25252e%25252e/x", "%25%32%65%252e/x",
		"..%2fx", "..%2Fx", "a%2f..%2f..%2fx", "a%252f..%252fx", "a%2f%2e%2e%2fx", "%2f..%2fx", "a/%2e%2e",
		`..\x`, `a\..\x`, `a\..\..\x`, "a%5c..%5cx", "a%5C..%5C..%5Cx", "a%255c..%255cx", `\..\x`,
		"%252e%252e/%25zz", "%252e%252e/100%25", // what can't be unescaped twice doesn't hide the rest
		"..;/x", "..;a=b/x", "a/..;/..;/x", "%2e%2e;/x", "..%3b/x", "..%3Ba/x",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			for _, method := range []string{"GET", "POST", "DELETE"} {
				requireRefused(t, client.Do(context.Background(), method, path, nil, nil), "path", p)
			}
		})
	}
}

func TestDoSendsAPathAsItIs(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"passes":                            "passes",
		"passes/p-1":                        "passes/p-1",
		"passes/p-1/":                       "passes/p-1/",
		"passes?pageIndex=1&q=a%20b":        "passes?pageIndex=1&q=a%20b",
		"passes?next=../../x":               "passes?next=../../x",
		"passes?next=https://h/%2e%2e/":     "passes?next=https://h/%2e%2e/",
		"passes/a%2Fb":                      "passes/a%2Fb",
		"passes/100%25":                     "passes/100%25",
		"passes/a%20b":                      "passes/a%20b",
		"passes/...":                        "passes/...",
		"passes/..x":                        "passes/..x",
		"passes/.well-known":                "passes/.well-known",
		"passes/a:b":                        "passes/a:b",
		"passes:batch":                      "passes:batch",
		"passes:batch?a=b":                  "passes:batch?a=b",
		":":                                 ":",
		"passes/é":                          "passes/%C3%A9",
		"passes/" + url.PathEscape("a/..b"): "passes/a%2F..b",
		"passes;v=1/x":                      "passes;v=1/x",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			p.RegisterNoResponder(answerWith(200, ""))
			require.NoError(t, client.Do(context.Background(), "GET", path, nil, nil))
			assert.Equal(t, walletcrew.ProductionURL+"/api/acme/"+want, p.Sent[0].URL)
		})
	}
}

func TestDoCodesInAndOut(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p, client := newMockedPlatform(t)
	p.answer("POST", walletcrew.ProductionURL+"/api/acme/things", 201, `{"id":7,"ID2":"x"}`)
	p.answer("PUT", walletcrew.ProductionURL+"/api/acme/things", 204, "")
	p.answer("GET", walletcrew.ProductionURL+"/api/acme/things", 200, "not JSON")

	var out struct {
		ID int `json:"id"`
	}
	require.NoError(t, client.Do(ctx, "POST", "things", map[string]string{"name": "<x>"}, &out))
	assert.Equal(t, 7, out.ID)
	assert.JSONEq(t, `{"name":"<x>"}`, p.Sent[0].Body)
	require.NoError(t, client.Do(ctx, "POST", "things", json.RawMessage(`[1]`), nil), "an answer that isn't wanted isn't decoded")
	assert.Equal(t, `[1]`, p.Sent[1].Body)
	require.NoError(t, client.Do(ctx, "PUT", "things", nil, &out), "no body leaves out as it is")
	assert.Equal(t, 7, out.ID)
	require.NoError(t, client.Do(ctx, "GET", "things", nil, nil))
	require.ErrorContains(t, client.Do(ctx, "GET", "things", nil, &out), "it is not JSON (at byte")

	sent := len(p.Sent)
	err := client.Do(ctx, "POST", "things", make(chan int), nil)
	require.ErrorContains(t, err, "walletcrew: in can't be encoded as JSON")
	err = client.Do(ctx, "BAD METHOD", "things", nil, nil)
	require.ErrorContains(t, err, "invalid method")
	assert.Len(t, p.Sent, sent, "nothing was sent")
}

func TestDoGivesTheAnswerAsItCame(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, body := range map[string]string{"JSON": ` {"items":[]}` + "\n", "a picture": "\x89PNG\r\n\x1a\n", "nothing": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got walletcrew.Response
			client := clientOn(t, always(200, body, "X-ContinuationToken", "next"))
			require.NoError(t, client.Do(ctx, "GET", "passes?pageSize=1", nil, &got))
			assert.Equal(t, body, string(got.Body))
			assert.Equal(t, "next", got.Header.Get("X-ContinuationToken"))
		})
	}
	got := walletcrew.Response{Body: []byte("before")}
	require.ErrorIs(t, clientOn(t, always(404, "{}")).Do(ctx, "GET", "passes", nil, &got), walletcrew.ErrNotFound)
	assert.Equal(t, "before", string(got.Body), "an error leaves it as it is")
	require.Error(t, clientOn(t, always(200, "{}")).Do(ctx, "GET", "passes", nil, (*walletcrew.Response)(nil)), "there is nowhere to put it")
}

// logged runs what a program may do and returns what was logged, at least at level, and every error.
func logged(t *testing.T, level slog.Level, key string, answer roundTrip) (string, []error) {
	t.Helper()
	var out bytes.Buffer
	client := clientOn(t, answer, walletcrew.WithAPIKey(key),
		walletcrew.WithLogger(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level}))), walletcrew.WithRetries(1, 0, time.Second))
	ctx := context.Background()
	var errs []error
	_, err := client.Webhooks.Get(ctx, "Ab3xY")
	errs = append(errs, err)
	_, err = client.Webhooks.List(ctx, nil)
	errs = append(errs, err)
	_, err = client.Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: "https://shop.example", Events: []walletcrew.EventName{"*"}})
	errs = append(errs, err)
	_, err = client.Webhooks.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Enabled: new(true)})
	errs = append(errs, err, client.Webhooks.Delete(ctx, "Ab3xY"))
	_, err = client.Webhooks.Get(ctx, key)
	errs = append(errs, err, client.Do(ctx, "GET", "x?key="+url.QueryEscape(key), nil, nil))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	return out.String(), append(errs, client.Do(cancelled, "GET", url.PathEscape(key), nil, nil))
}

func TestTheKeyIsInNoLogLineAndInNoError(t *testing.T) {
	t.Parallel()
	for _, key := range []string{mockedKey, `aB3+/x==&'<"\>`, "Zm9v+YmFy/YmF6=="} {
		marshalled, err := json.Marshal(key)
		require.NoError(t, err)
		quoted := strings.Trim(string(marshalled), `"`)
		spellings := []string{
			key, quoted, strings.ReplaceAll(quoted, "+", `\u002B`), strings.ReplaceAll(key, "/", `\/`),
			html.EscapeString(key), strings.ReplaceAll(html.EscapeString(key), "+", "&#x2B;"), url.QueryEscape(key), url.PathEscape(key),
		}
		problem := fmt.Sprintf(`{"type":"about:%[1]s","title":"Key %[1]s","detail":"%[1]s%[1]s","instance":"/%[1]s","errors":{"a%[1]s":["%[1]s","x"],"b":"%[1]s"},"other":"%[1]s"}`, quoted)
		dotNet := strings.ReplaceAll(problem, "+", `\u002B`)
		long := strings.Repeat("x", 64<<10-len(key)/2) + key
		longTitle := "<title>" + strings.Repeat("x", 200-len(key)/2) + key + "</title>"
		longDetail := `{"detail":"` + strings.Repeat("x", 1000-len(key)/2) + quoted + `"}`
		many := strings.Repeat(key, 64<<10/len(key)+1)
		answers := map[string]roundTrip{
			"success":                               always(200, hookJSON),
			"success that repeats it":               always(200, `{"id":"`+quoted+`"`),
			"problem details":                       always(400, problem, "X-Echo", key, "Set-Cookie", "k="+key),
			"problem details, escaped":              always(400, dotNet),
			"retries":                               always(503, problem, "X-Echo", key),
			"HTML":                                  always(403, "<html><title>Key "+html.EscapeString(key)+"</title>"+key+"</html>", "Content-Type", "text/html"),
			"HTML, escaped":                         always(403, "<html><title>Key "+strings.ReplaceAll(html.EscapeString(key), "+", "&#x2B;")+"</title>", "Content-Type", "text/html"),
			"HTML cut in the title":                 always(403, longTitle, "Content-Type", "text/html"),
			"a body cut in the key":                 always(500, long),
			"a body full of it":                     always(500, many),
			"a text cut in the key":                 always(500, longDetail),
			"a redirect":                            always(302, "", "Location", "https://other.example/?key="+url.QueryEscape(key)),
			"a transport's error":                   failing(fmt.Errorf("proxy refused the header X-API-KEY: %s (%w)", key, errReset)),
			"a transport's error, not passing":      failing(&tls.CertificateVerificationError{Err: errors.New(key)}),
			"a transport that panics not but fails": failing(&url.Error{Op: "Get", URL: "https://h/?k=" + url.QueryEscape(key), Err: errors.New("x " + key)}),
		}
		for name, answer := range answers {
			t.Run(name+" "+key, func(t *testing.T) {
				t.Parallel()
				text, errs := logged(t, slog.LevelDebug, key, answer)
				assert.NotEmpty(t, text)
				hidden := func(text, where string) {
					t.Helper()
					for _, s := range spellings {
						require.NotContains(t, text, s, "the key must not be in %s", where)
					}
					// Where a text was cut, no more than a few characters of it.
					require.False(t, strings.HasSuffix(strings.TrimRight(text, "…\x00 "), key[:len(key)/2]), "the key's first half must not be in %s", where)
				}
				hidden(text, "the log")
				for _, err := range errs {
					if err == nil {
						continue
					}
					hidden(err.Error(), "an error's text")
					hidden(fmt.Sprintf("%+v", err), "%+v of an error")
					hidden(fmt.Sprintf("%#v", err), "%#v of an error")
					if failed, ok := errors.AsType[*walletcrew.RequestError](err); ok {
						hidden(failed.URL, "RequestError.URL")
						for cause := failed.Err; cause != nil; cause = errors.Unwrap(cause) {
							hidden(cause.Error(), "a cause")
						}
					}
					if api, ok := errors.AsType[*walletcrew.APIError](err); ok {
						hidden(api.Title, "APIError.Title")
						hidden(api.Detail, "APIError.Detail")
						hidden(string(api.Body), "APIError.Body")
						hidden(api.URL, "APIError.URL")
						hidden(fmt.Sprintf("%#v %v %v", *api, api.Header, api.Errors), "a field of an APIError")
						assert.LessOrEqual(t, len(api.Body), 64<<10)
					}
				}
			})
		}
	}
}

func TestABodyThatIsCutHoldsNoBeginningOfTheKey(t *testing.T) {
	t.Parallel()
	for pad := range len(mockedKey) { // wherever the cut comes
		body := strings.Repeat("x", pad) + strings.Repeat(mockedKey, 20_000)
		e := apiErrorOf(t, always(500, body))
		assert.NotEmpty(t, e.Body)
		assert.NotContains(t, string(e.Body), mockedKey[:2], "cut after %d and whole keys", pad)
	}
}

func TestABodyOfNothingButLongKeysIsHidden(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("k", 8<<10)
	err := clientOn(t, always(500, strings.Repeat(key, 30)), walletcrew.WithAPIKey(key), walletcrew.WithRetries(0, 0, 0)).
		Webhooks.Delete(context.Background(), "Ab3xY")
	var api *walletcrew.APIError
	require.ErrorAs(t, err, &api)
	assert.NotContains(t, string(api.Body), "kk")
}

func TestAHiddenErrorKeepsItsCause(t *testing.T) {
	t.Parallel()
	client := clientOn(t, failing(fmt.Errorf("header %s: %w", mockedKey, errRefused)))
	_, err := client.Webhooks.Get(context.Background(), "Ab3xY")
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "errors.Is works where the text had to be changed")
	require.NotErrorIs(t, err, io.EOF, "and finds nothing that isn't there")
	require.ErrorContains(t, err, "header [redacted]: dial tcp: connection refused")
}

func TestPrintingAClientShowsNoKey(t *testing.T) {
	t.Parallel()
	client := clientOn(t, always(200, "[]"))
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		for _, v := range []any{client, *client, client.Webhooks, *client.Webhooks, struct{ C *walletcrew.Client }{client}} {
			text := fmt.Sprintf(format, v)
			assert.NotContains(t, text, mockedKey)
			assert.NotContains(t, text, fmt.Sprintf("%x", mockedKey))
		}
	}
}

func TestEachAttemptAndEachWaitIsLoggedAtDebug(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func(next roundTrip) roundTrip {
			return func(req *http.Request) (*http.Response, error) {
				time.Sleep(40 * time.Millisecond)
				return next(req)
			}
		}
		transport, _ := inTurn(slow(always(503, "", "Retry-After", "2")), slow(failing(errReset)), slow(always(200, hookJSON)))
		var out bytes.Buffer
		client := clientOn(t, transport, walletcrew.WithRetries(3, 0, time.Minute),
			walletcrew.WithLogger(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		_, err := client.Webhooks.Get(context.Background(), "Ab3xY")
		require.NoError(t, err)

		type line struct {
			Level, Msg, Method, Path, Error string
			Status, Attempt                 int
			Duration, Wait                  *time.Duration
		}
		var lines []line
		for decoder := json.NewDecoder(&out); ; {
			var l line
			if err := decoder.Decode(&l); errors.Is(err, io.EOF) {
				break
			} else {
				require.NoError(t, err)
			}
			lines = append(lines, l)
		}
		const request, waiting, path = "walletcrew: request", "walletcrew: waiting before a retry", "/api/acme/webhooks/Ab3xY"
		took := new(40 * time.Millisecond)
		assert.Equal(t, []line{
			{Level: "DEBUG", Msg: request, Method: "GET", Path: path, Status: 503, Attempt: 1, Duration: took},
			{Level: "DEBUG", Msg: waiting, Method: "GET", Path: path, Attempt: 1, Wait: new(2 * time.Second)},
			{Level: "DEBUG", Msg: request, Method: "GET", Path: path, Attempt: 2, Duration: took, Error: "read tcp: connection reset by peer"},
			{Level: "DEBUG", Msg: waiting, Method: "GET", Path: path, Attempt: 2, Wait: new(time.Duration(0))},
			{Level: "DEBUG", Msg: request, Method: "GET", Path: path, Status: 200, Attempt: 3, Duration: took},
		}, lines)
	})
}

func TestNothingIsLoggedAtInfo(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]roundTrip{"success": always(200, hookJSON), "retries": always(503, ""), "failure": failing(errReset), "refusal": always(401, "")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, _ := logged(t, slog.LevelInfo, mockedKey, answer)
			assert.Empty(t, text)
		})
	}
}

func TestTheSecretIsInNoLogLine(t *testing.T) {
	t.Parallel()
	text, errs := logged(t, slog.LevelDebug, mockedKey, always(200, strings.Replace(hookJSON, `"id"`, `"id":"Ab3xY","broken`, 1)))
	for _, err := range errs {
		if err != nil {
			text += err.Error()
		}
	}
	assert.NotContains(t, text, "s-123")
}

func TestAClientServesManyGoroutines(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		if n.Add(1)%3 == 0 {
			return respond(req, 503, ""), nil
		}
		return respond(req, 200, hookJSON), nil
	}))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				_, _ = client.Webhooks.Get(context.Background(), "Ab3xY")
				_, _ = client.Webhooks.Patch(context.Background(), "Ab3xY", walletcrew.WebhookPatch{Enabled: new(true)})
			}
		})
	}
	wg.Wait()
}
