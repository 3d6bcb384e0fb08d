package walletcrew_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

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
		err := clientOn(t, always(status, "")).Do(context.Background(), "DELETE", "webhooks/Ab3xY", nil, nil)
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

// zipped is a server that answers with first, n times again, and last; compressed.
func zipped(t *testing.T, first, again string, n int, last string) *walletcrew.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		zip := gzip.NewWriter(w)
		_, _ = io.WriteString(zip, first+strings.Repeat(again, n)+last)
		_ = zip.Close()
	}))
	t.Cleanup(server.Close)
	return clientOn(t, &http.Transport{}, walletcrew.WithBaseURL(server.URL), walletcrew.WithRetries(0, 0, 0))
}

func TestAnAnswerDoesNotBecomeMoreThanItsLimits(t *testing.T) { //nolint:paralleltest // it counts what is allocated
	if raceDetector {
		t.Skip("it decodes 100 MiB on one goroutine")
	}
	ctx := context.Background()
	list := func(c *walletcrew.Client) error { _, err := c.Webhooks.List(ctx, nil); return err }
	get := func(c *walletcrew.Client) error { _, err := c.Webhooks.Get(ctx, "Ab3xY"); return err }
	all := func(c *walletcrew.Client) error {
		for _, err := range c.Webhooks.All(ctx, nil) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	ensure := func(c *walletcrew.Client) error {
		_, err := c.Webhooks.Ensure(ctx, walletcrew.WebhookSpec{Endpoint: "https://shop.example", Events: []walletcrew.EventName{"*"}})
		return err
	}
	do := func(c *walletcrew.Client) error { var out any; return c.Do(ctx, "GET", "things", nil, &out) }
	const most = 10 << 20
	for name, c := range map[string]struct {
		call               func(*walletcrew.Client) error
		first, again, last string
		want               string
	}{
		"a list of ids":               {list, "[", `{"id":"1"},`, `{"id":"1"}]`, "more than 100000 webhooks"},
		"a list of nulls":             {list, "[", "null,", "null]", "no member"},
		"a list within an object":     {list, `{"items":[`, `{"id":"1"},`, `{"id":"1"}]}`, "more than 100000 webhooks"},
		"an object of many members":   {list, "{", `"a":1,`, `"items":[]}`, ""},
		"a list in All":               {all, "[", `{"id":"1"},`, `{"id":"1"}]`, "more than 100000 webhooks"},
		"a list in Ensure":            {ensure, "[", `{"id":"1"},`, `{"id":"1"}]`, "more than 100000 webhooks"},
		"a webhook's events":          {get, `{"id":"Ab3xY","events":[`, `"",`, `""]}`, "more than 100000 values"},
		"a listed webhook's events":   {list, `[{"id":"Ab3xY","events":[`, `"",`, `""]}]`, "more than 100000 values"},
		"a listed webhook's brackets": {list, `[{"id":"Ab3xY","x":[[`, `],[`, `]]}]`, "more than 100000 values"},
		"objects for Do":              {do, "[", "{},", "{}]", "more than 1000000 values"},
		"empty arrays for Do":         {do, "[", "[],", "[]]", "more than 1000000 values"},
	} {
		client := zipped(t, c.first, c.again, (most-100)/len(c.again), c.last)
		before := allocatedBytes()
		err := c.call(client)
		if c.want == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, c.want, name)
		}
		assert.Less(t, allocatedBytes()-before, uint64(250<<20), "bytes allocated in all for %s", name) // 10 MiB, read into a buffer that grows, is 60
	}
	client := zipped(t, "[", " ", 2*most, "]")
	require.ErrorContains(t, list(client), "over 10 MiB", "the limit is of what comes out of the compression")
}

func TestALongListIsRead(t *testing.T) {
	t.Parallel()
	one := `{"id":"%05d","endpoint":"https://shop.example/hook","events":["Pass:*"],"enabled":true,"signatureSecret":"s"},`
	var body strings.Builder
	body.WriteString("[")
	for i := range 50_000 {
		fmt.Fprintf(&body, one, i)
	}
	list, err := clientOn(t, always(200, strings.TrimSuffix(body.String(), ",")+"]")).Webhooks.List(context.Background(), nil)
	require.NoError(t, err)
	require.Len(t, list.Webhooks, 50_000)
	assert.Equal(t, "49999", list.Webhooks[49_999].ID)
}

func TestALongListIsNotDecodedWhenTimeIsUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		cancel() // as soon as the answer is there
		return respond(req, 200, "["+strings.Repeat(hookJSON+",", 1000)+hookJSON+"]"), nil
	}))
	_, err := client.Webhooks.List(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestWhatFollowsAListIsAnError(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"[" + hookJSON + "]]", "[] x", "[][]", `{"items":[]},`, "[" + hookJSON, `{"items":[]`, `[{"id":"1"}`, `[{"id":"1"},]`} {
		_, err := clientOn(t, always(200, body)).Webhooks.List(context.Background(), nil)
		require.ErrorContains(t, err, "it is not JSON", "%s", body)
	}
}
