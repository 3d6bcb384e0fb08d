package walletcrew_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

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
	// What is certain: the server says that it didn't do it. What follows an act (302, 303), what a proxy says that no longer waits (408,
	// 499), and what no standard knows is not.
	refusing := map[int]bool{
		307: true, 308: true, 400: true, 401: true, 402: true, 403: true, 404: true, 405: true, 407: true, 409: true, 410: true, 411: true, 412: true,
		413: true, 414: true, 415: true, 416: true, 417: true, 421: true, 422: true, 423: true, 424: true, 425: true, 426: true, 428: true, 429: true,
		431: true, 451: true,
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
		f := failure{answer: always(status, ""), retried: never, unknown: !refusing[status]}
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
			notFound := always(404, "{}", "Content-Type", "application/problem+json")
			transport, attempts := inTurn(first, notFound, always(200, "[]"))
			require.NoError(t, clientOn(t, transport).Webhooks.Delete(context.Background(), "Ab3xY"))
			assert.EqualValues(t, 3, attempts.Load(), "the list is asked, since a gateway's 404 is JSON, too")

			transport, _ = inTurn(first, notFound, always(200, "["+hookJSON+"]"))
			err := clientOn(t, transport).Webhooks.Delete(context.Background(), "Ab3xY")
			require.ErrorContains(t, err, "the list has this webhook")
			require.NotErrorIs(t, err, walletcrew.ErrNotFound)
			require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)

			transport, _ = inTurn(first, notFound)
			err = clientOn(t, transport).Do(context.Background(), "DELETE", "webhooks/Ab3xY", nil, nil)
			require.ErrorIs(t, err, walletcrew.ErrNotFound, "Do knows no list to ask")
			require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
		})
	}
	t.Run("at once is an error", func(t *testing.T) {
		t.Parallel()
		transport, attempts := inTurn(always(404, "{}", "Content-Type", "application/problem+json"))
		require.ErrorIs(t, clientOn(t, transport).Webhooks.Delete(context.Background(), "Ab3xY"), walletcrew.ErrNotFound)
		assert.EqualValues(t, 1, attempts.Load())
	})
	t.Run("after an attempt that did nothing is an error", func(t *testing.T) {
		t.Parallel()
		for _, first := range []roundTrip{failing(errRefused), always(429, "")} {
			transport, _ := inTurn(first, always(404, "{}", "Content-Type", "application/problem+json"))
			require.ErrorIs(t, clientOn(t, transport).Webhooks.Delete(context.Background(), "Ab3xY"), walletcrew.ErrNotFound)
		}
	})
	t.Run("isn't confused with a GET's", func(t *testing.T) {
		t.Parallel()
		transport, _ := inTurn(always(502, ""), always(404, "{}", "Content-Type", "application/problem+json"))
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
		for _, wait := range []time.Duration{time.Millisecond, time.Second, 1000 * time.Hour} {
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
