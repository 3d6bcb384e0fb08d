package walletcrewtest_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

var aSpec = walletcrew.WebhookSpec{Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{"*"}}

// For each fault: what a POST sees, and whether it was carried out all the same.
func TestFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault      walletcrewtest.Fault
		status     int // 0: an error, no answer
		carriedOut bool
		truncated  bool
		body       string
	}{
		"none":                                 {walletcrewtest.Fault{}, 200, true, false, ""},
		"of another method":                    {walletcrewtest.Fault{Method: "GET", Drop: true}, 200, true, false, ""},
		"of this method":                       {walletcrewtest.Fault{Method: "POST", StatusCode: 429}, 429, false, false, ""},
		"a status":                             {walletcrewtest.Fault{StatusCode: 503, Body: "<title>x</title>"}, 503, false, false, "<title>x</title>"},
		"a status though it was carried out":   {walletcrewtest.Fault{StatusCode: 502, CarryOut: true}, 502, true, false, ""},
		"a status without a body":              {walletcrewtest.Fault{StatusCode: 204, Body: "lost"}, 204, false, false, ""},
		"a delay":                              {walletcrewtest.Fault{Delay: time.Millisecond}, 200, true, false, ""},
		"a delay of the answer":                {walletcrewtest.Fault{Delay: time.Millisecond, CarryOut: true}, 200, true, false, ""},
		"a delay, then a status":               {walletcrewtest.Fault{Delay: time.Millisecond, StatusCode: 500}, 500, false, false, ""},
		"dropped before it was carried out":    {walletcrewtest.Fault{Drop: true}, 0, false, false, ""},
		"dropped after it was carried out":     {walletcrewtest.Fault{Drop: true, CarryOut: true}, 0, true, false, ""},
		"truncated":                            {walletcrewtest.Fault{Truncate: true}, 200, true, true, ""},
		"a status, truncated":                  {walletcrewtest.Fault{StatusCode: 500, Body: "12345678", Truncate: true}, 500, false, true, "1234"},
		"a status without a body, truncated":   {walletcrewtest.Fault{StatusCode: 500, Truncate: true}, 0, false, false, ""},
		"a success that can't be read":         {walletcrewtest.Fault{StatusCode: 200, Body: "<html>", CarryOut: true}, 200, true, false, "<html>"},
		"a delay longer than the client waits": {walletcrewtest.Fault{Delay: time.Hour}, 0, false, false, ""},
		"an answer that comes too late":        {walletcrewtest.Fault{Delay: time.Hour, CarryOut: true}, 0, true, false, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.Fail(test.fault)
			ctx := t.Context()
			if test.fault.Delay == time.Hour {
				var cancel context.CancelFunc
				ctx, cancel = context.WithCancel(ctx)
				go func() {
					defer cancel()
					assert.Eventually(t, func() bool {
						return len(s.Requests()) == 1 && (!test.carriedOut || len(s.Webhooks()) == 1)
					}, time.Minute, time.Millisecond)
				}()
			}
			status, body, err := post(ctx, s)
			assert.Equal(t, test.status, status)
			assert.Equal(t, test.truncated || test.status == 0, err != nil, "error: %v", err)
			if test.truncated {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			}
			if test.body != "" || test.fault.StatusCode != 0 {
				assert.Equal(t, test.body, body)
			}
			assert.Equal(t, test.carriedOut, len(s.Webhooks()) == 1, "carried out")
			assert.Len(t, s.Requests(), 1)
		})
	}
}

// post sends one POST on a fresh connection, so that nothing is sent again behind our back.
func post(ctx context.Context, s *walletcrewtest.Server) (status int, body string, err error) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/api/"+s.TenantID+"/webhooks", strings.NewReader(minimal))
	if err != nil {
		return 0, "", err
	}
	req.Header = http.Header{"X-Api-Key": {s.APIKey}, "Content-Type": {"application/json"}}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

func TestFaultsHitOneRequestEach(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.Fail(slices.Repeat([]walletcrewtest.Fault{{StatusCode: 500}}, 2)...)
	s.Fail(walletcrewtest.Fault{}, walletcrewtest.Fault{Method: "DELETE", StatusCode: 501}, walletcrewtest.Fault{StatusCode: 502})
	var got []int
	for range 5 {
		got = append(got, call(t, s, "GET", "/webhooks", "").status)
	}
	assert.Equal(t, []int{500, 500, 200, 502, 200}, got)
	assert.Equal(t, 501, call(t, s, "DELETE", "/webhooks/x", "").status, "the one for DELETE was kept for it")
}

func TestFaultsComeBeforeTheKeyIsLookedAt(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.Fail(walletcrewtest.Fault{StatusCode: 503})
	assert.Equal(t, 503, call(t, s, "GET", "/webhooks", "", "X-API-KEY", "wrong").status)
}

func TestFaultHeaders(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.Fail(
		walletcrewtest.Fault{StatusCode: 429, Header: http.Header{"Retry-After": {"3600"}}, Body: `{"title":"slow"}`},
		walletcrewtest.Fault{StatusCode: 503, Body: "<!DOCTYPE html><title>Down</title>"},
		walletcrewtest.Fault{StatusCode: 403, Header: http.Header{"content-type": {"text/html"}}, Body: "{"},
		walletcrewtest.Fault{Header: http.Header{"x-continuationtoken": {"again"}}},
	)
	_, err := s.Client().Webhooks.List(t.Context(), nil)
	require.ErrorIs(t, err, walletcrew.ErrRateLimited)
	assert.Contains(t, err.Error(), "slow")
	api := &walletcrew.APIError{}
	require.ErrorAs(t, err, &api)
	assert.Equal(t, time.Hour, api.RetryAfter)
	assert.Equal(t, "application/problem+json", api.Header.Get("Content-Type"))

	assert.Contains(t, call(t, s, "GET", "/webhooks", "").header.Get("Content-Type"), "text/html", "guessed")
	assert.Equal(t, "text/html", call(t, s, "GET", "/webhooks", "").header.Get("Content-Type"))
	r := call(t, s, "GET", "/webhooks", "")
	assert.Equal(t, "[]", r.body, "the real answer, with the header")
	assert.Equal(t, "again", r.header.Get("X-continuationToken"))
}

func TestFailRefusesAStatusThatCannotBeAnswered(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, status := range []int{-1, 1, 100, 199, 600} {
		assert.Panics(t, func() { s.Fail(walletcrewtest.Fault{StatusCode: status}) }, status)
	}
	assert.Equal(t, 200, call(t, s, "GET", "/webhooks", "").status, "none of them is in the queue")
}

func TestCloseEndsADelay(t *testing.T) {
	t.Parallel()
	s := walletcrewtest.NewServer()
	s.Fail(walletcrewtest.Fault{Delay: time.Hour})
	done := make(chan error)
	go func() {
		_, err := s.Client(walletcrew.WithRetries(0, 0, 0)).Webhooks.Create(context.Background(), aSpec)
		done <- err
	}()
	require.Eventually(t, func() bool { return len(s.Requests()) == 1 }, time.Minute, time.Millisecond)
	s.Close()
	require.ErrorIs(t, <-done, walletcrew.ErrOutcomeUnknown)
	assert.Empty(t, s.Webhooks())
}
