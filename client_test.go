package walletcrew_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

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
