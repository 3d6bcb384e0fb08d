package walletcrew_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
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

// create is a call that mustn't happen twice.
func create(client *walletcrew.Client) error {
	_, err := client.Webhooks.Create(context.Background(), walletcrew.WebhookSpec{Endpoint: "https://shop.example", Events: []walletcrew.EventName{"*"}})
	return err
}

func TestAProxyThatRefusesToConnectIsNamed(t *testing.T) {
	t.Parallel()
	for status, attempts := range map[int]int{407: 1, 403: 1, 405: 1, 429: 4, 500: 4, 502: 4, 503: 4, 504: 4} {
		for name, transport := range map[string]func(proxy *url.URL) http.RoundTripper{
			"our transport": func(proxy *url.URL) http.RoundTripper {
				return walletcrew.OwnTransport(&http.Transport{Proxy: http.ProxyURL(proxy)})
			},
			"the user's": func(proxy *url.URL) http.RoundTripper { return &http.Transport{Proxy: http.ProxyURL(proxy)} },
			"the user's, below another": func(proxy *url.URL) http.RoundTripper {
				return &below{&http.Transport{Proxy: http.ProxyURL(proxy)}}
			},
		} {
			t.Run(fmt.Sprintf("%d, %s", status, name), func(t *testing.T) {
				t.Parallel()
				var asked atomic.Int32
				proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					assert.Equal(t, "CONNECT app.neostore.cloud:443", req.Method+" "+req.Host)
					asked.Add(1)
					http.Error(w, "<title>Squid</title>", status)
				}))
				defer proxy.Close()
				proxyURL, err := url.Parse(strings.Replace(proxy.URL, "//", "//user:passw0rd@", 1))
				require.NoError(t, err)
				err = create(clientOn(t, transport(proxyURL)))
				require.Error(t, err)
				require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "nothing was sent")
				assert.EqualValues(t, attempts, asked.Load())
				assert.Equal(t, attempts, attemptsOf(t, err))
				require.ErrorContains(t, err, "proxy")
				require.ErrorContains(t, err, "refused to connect to app.neostore.cloud")
				require.ErrorContains(t, err, fmt.Sprintf(": %d %s", status, http.StatusText(status)))
				assert.NotContains(t, err.Error(), "passw0rd")
				if name == "our transport" {
					require.ErrorContains(t, err, "the proxy "+proxyURL.Host+" refused")
				}
				var api *walletcrew.APIError
				require.NotErrorAs(t, err, &api, "it isn't the API's answer")
			})
		}
	}
}

func TestTheProgramsOwnViewOfAProxysAnswerIsKept(t *testing.T) {
	t.Parallel()
	own := walletcrew.OwnTransport(&http.Transport{})
	assert.NotNil(t, own.OnProxyConnectResponse)
	errTheirs := errors.New("theirs")
	theirs := walletcrew.OwnTransport(&http.Transport{OnProxyConnectResponse: func(context.Context, *url.URL, *http.Request, *http.Response) error { return errTheirs }})
	require.ErrorIs(t, theirs.OnProxyConnectResponse(context.Background(), nil, nil, nil), errTheirs)
}

// A RetrieveError is like that of golang.org/x/oauth2, which the module doesn't depend on.
type RetrieveError struct {
	Response                              *http.Response
	Body                                  []byte
	ErrorCode, ErrorDescription, ErrorURI string
	unexported                            string
}

func (e *RetrieveError) Error() string {
	return "oauth2: cannot fetch token: " + e.Response.Status + "\nResponse: " + string(e.Body) + e.unexported
}

func TestATokenThatCannotBeHad(t *testing.T) {
	t.Parallel()
	answered := func(status int, code string) error {
		return &RetrieveError{Response: &http.Response{StatusCode: status}, Body: []byte("page"), ErrorCode: code}
	}
	for name, c := range map[string]struct {
		err      error
		attempts int
		text     string
	}{
		"401":                {answered(401, "invalid_client"), 1, "the OAuth 2 server gave no token: 401 Unauthorized (invalid_client)"},
		"400":                {answered(400, ""), 1, "the OAuth 2 server gave no token: 400 Bad Request"},
		"403":                {answered(403, ""), 1, "403 Forbidden"},
		"503":                {answered(503, ""), 4, "the OAuth 2 server gave no token: 503 Service Unavailable (after 4 attempts)"},
		"429":                {answered(429, ""), 4, "429 Too Many Requests"},
		"401, wrapped":       {fmt.Errorf("tracing: %w", &url.Error{Op: "Post", URL: "https://login.example", Err: answered(401, "")}), 1, "gave no token: 401"},
		"401, joined":        {errors.Join(errors.New("x"), answered(401, "")), 1, "gave no token: 401"},
		"an unusable answer": {errors.New("oauth2: server response missing access_token"), 1, "oauth2: server response missing access_token"},
		"no answer":          {errors.New("oauth2: cannot fetch token: unexpected EOF"), 4, "oauth2: cannot fetch token: unexpected EOF"},
		"no connection":      {&url.Error{Op: "Post", URL: "https://login.example", Err: errRefused}, 4, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, method := range []string{"POST", "GET", "DELETE"} {
				transport, attempts := inTurn(failing(c.err))
				err := clientOn(t, transport).Do(context.Background(), method, "things", nil, nil)
				require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "%s: nothing was sent", method)
				require.ErrorContains(t, err, c.text, method)
				require.ErrorIs(t, err, c.err, "%s: the cause is kept", method)
				assert.EqualValues(t, c.attempts, attempts.Load(), method)
				assert.NotContains(t, err.Error(), "page", "an error quotes no body")
			}
		})
	}
	t.Run("is asked for when its server says so", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			busy := &RetrieveError{Response: &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"7"}}}}
			transport, times := timed(failing(busy))
			_, err := clientOn(t, transport, walletcrew.WithRetries(1, 0, 10*time.Second)).Webhooks.Get(context.Background(), "Ab3xY")
			require.ErrorIs(t, err, busy)
			require.Len(t, *times, 2)
			assert.Equal(t, 7*time.Second, (*times)[1].Sub((*times)[0]))
			_, err = clientOn(t, transport, walletcrew.WithRetries(1, 0, time.Second)).Webhooks.Get(context.Background(), "Ab3xY")
			require.ErrorIs(t, err, busy)
			assert.Len(t, *times, 3, "a wait that is too long ends the call")
		})
	})
	t.Run("is no longer the matter once the API has answered", func(t *testing.T) {
		t.Parallel()
		transport, _ := inTurn(always(500, ""), failing(answered(401, "")))
		err := clientOn(t, transport).Do(context.Background(), "DELETE", "things", nil, nil)
		require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "the first attempt may have been carried out")
	})
}

// A tokenFirst gets a token before it sends a request, as golang.org/x/oauth2 does.
type tokenFirst struct {
	url  string
	next http.RoundTripper
}

func (f *tokenFirst) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := (&http.Client{Timeout: 50 * time.Millisecond, Transport: &http.Transport{}}).Post(f.url, "", nil)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	return f.next.RoundTrip(req)
}

func TestATokenServerThatHangsUpOrHangsIsNoUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"hangs":    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		server := httptest.NewServer(answer)
		err := create(clientOn(t, &tokenFirst{server.URL + "/token?client_secret=S3CRET", failing(errReset)}, walletcrew.WithRetries(1, 0, 0)))
		require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "%s: nothing was sent to the API", name)
		require.ErrorContains(t, err, "the transport asked "+strings.TrimPrefix(server.URL, "http://")+" first", name)
		assert.NotContains(t, err.Error(), "S3CRET", name)
		assert.Equal(t, 2, attemptsOf(t, err), "%s: it passes", name)
		server.Close()
	}
	// What was sent through net/http, or to the API's own host, may have arrived.
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer api.Close()
	for name, transport := range map[string]roundTrip{
		"a gateway's client": func(req *http.Request) (*http.Response, error) {
			req = req.Clone(req.Context())
			req.URL.Scheme, req.URL.Host, req.Host, req.RequestURI = "http", strings.TrimPrefix(api.URL, "http://"), "", ""
			return (&http.Client{Transport: &http.Transport{}}).Do(req)
		},
		"the API's host": func(req *http.Request) (*http.Response, error) {
			return nil, &url.Error{Op: "Post", URL: req.URL.String(), Err: errReset}
		},
	} {
		require.ErrorIs(t, create(clientOn(t, transport)), walletcrew.ErrOutcomeUnknown, name)
	}
}

func TestAnErrorThatOnlyLooksLikeARefusedTokenIsNone(t *testing.T) {
	t.Parallel()
	type RetrieveError struct{ error }
	for name, err := range map[string]error{
		"another type of the name":    &RetrieveError{errReset},
		"without an answer":           RetrieveError{errReset},
		"a status without connection": errors.New("Bad Gateway"), // of a transport of which nothing is known
		"a reset that names a token":  fmt.Errorf("the oauth2: token: %w", errReset),
	} {
		require.ErrorIs(t, create(clientOn(t, failing(err))), walletcrew.ErrOutcomeUnknown, name)
	}
}

func TestAServerThatSpeaksNoTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for name, transport := range map[string]http.RoundTripper{
		"a transport of net/http": &http.Transport{}, "one below another": &below{&http.Transport{}}, "our transport": walletcrew.OwnTransport(&http.Transport{}),
		"one that wraps errors": roundTrip(func(req *http.Request) (*http.Response, error) {
			resp, err := (&http.Transport{}).RoundTrip(req)
			return resp, fmt.Errorf("tracing: %w", err)
		}),
	} {
		err := create(clientOn(t, transport, walletcrew.WithBaseURL("https"+strings.TrimPrefix(server.URL, "http"))))
		require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "%s: nothing was sent", name)
		require.ErrorContains(t, err, "check the scheme and the port", name)
		assert.Equal(t, 1, attemptsOf(t, err), "%s: it won't speak TLS a moment later", name)
	}
	proxy, err := url.Parse("https" + strings.TrimPrefix(server.URL, "http"))
	require.NoError(t, err)
	err = create(clientOn(t, &http.Transport{Proxy: http.ProxyURL(proxy)}))
	require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
	require.ErrorContains(t, err, "the proxy's URL")
	assert.Equal(t, 1, attemptsOf(t, err))
}

func TestWhatFailsBeforeThereIsAConnectionIsTriedAgain(t *testing.T) {
	t.Parallel()
	hangUp := func(t *testing.T, after func(net.Conn)) (address string, connections *atomic.Int32) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = listener.Close() })
		connections = new(atomic.Int32)
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				connections.Add(1)
				go func() {
					after(conn)
					_ = conn.Close()
				}()
			}
		}()
		return listener.Addr().String(), connections
	}
	t.Run("the server hangs up in the handshake", func(t *testing.T) {
		t.Parallel()
		address, connections := hangUp(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 10)) })
		err := create(clientOn(t, &http.Transport{}, walletcrew.WithBaseURL("https://"+address)))
		require.Error(t, err)
		require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
		assert.EqualValues(t, 4, connections.Load())
	})
	t.Run("the proxy hangs up instead of connecting", func(t *testing.T) {
		t.Parallel()
		address, connections := hangUp(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 10)) })
		err := create(clientOn(t, &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: address})}))
		require.Error(t, err)
		require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
		assert.EqualValues(t, 4, connections.Load())
	})
	t.Run("time is up in the handshake", func(t *testing.T) {
		t.Parallel()
		address, _ := hangUp(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		err := clientOn(t, &http.Transport{}, walletcrew.WithBaseURL("https://"+address)).Do(ctx, "POST", "things", nil, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
	})
	t.Run("but not what fails on one", func(t *testing.T) {
		t.Parallel()
		for name, http2 := range map[string]bool{"HTTP/1": false, "HTTP/2": true} {
			var requests atomic.Int32
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				requests.Add(1)
				panic(http.ErrAbortHandler)
			}))
			server.EnableHTTP2 = http2
			server.StartTLS()
			defer server.Close()
			err := create(clientOn(t, server.Client().Transport, walletcrew.WithBaseURL(server.URL)))
			require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown, name)
			assert.EqualValues(t, 1, requests.Load(), name)
		}
	})
	t.Run("and not what fails on a connection before another can't be made", func(t *testing.T) {
		t.Parallel()
		// A transport that sends again by itself: what the first sending did isn't known.
		twice := roundTrip(func(req *http.Request) (*http.Response, error) {
			trace := httptrace.ContextClientTrace(req.Context())
			trace.GetConn("h:443")
			trace.GotConn(httptrace.GotConnInfo{})
			trace.GetConn("h:443")
			return nil, errors.New("tls: handshake failure")
		})
		require.ErrorIs(t, create(clientOn(t, twice)), walletcrew.ErrOutcomeUnknown)
	})
}

func TestTheCallersTraceIsKept(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	var got atomic.Int32
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { got.Add(1) }})
	_, err := clientOn(t, &http.Transport{}, walletcrew.WithBaseURL(server.URL)).Webhooks.Get(ctx, "Ab3xY")
	require.ErrorIs(t, err, walletcrew.ErrNotFound)
	assert.EqualValues(t, 1, got.Load())
}

func TestWithoutAContextNothingIsSent(t *testing.T) {
	t.Parallel()
	p, client := newMockedPlatform(t)
	var none context.Context
	requireRefused(t, client.Do(none, "GET", "things", nil, nil), "ctx", p)
}

func TestATLSErrorOnAConnectionIsNoProofThatNothingWasSent(t *testing.T) {
	t.Parallel()
	err := create(clientOn(t, failing(tls.RecordHeaderError{Msg: "unexpected message"})))
	require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "without a Conn the handshake was over")
}
