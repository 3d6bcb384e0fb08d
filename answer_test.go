package walletcrew_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

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
