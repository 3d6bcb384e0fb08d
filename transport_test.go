package walletcrew_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

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
		client, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey(mockedKey), walletcrew.WithRetries(0, 0, 0))
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
