package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func none(context.Context, *walletcrew.Event) error { return nil }

func start(t *testing.T, fn receiver.HandlerFunc) (url string, stop func() error) {
	t.Helper()
	return startWith(t, newWebhooks(t, fn))
}

func newWebhooks(t *testing.T, fn receiver.HandlerFunc) *receiver.Handler {
	t.Helper()
	v, err := verifier.New(verifier.Static("secret"))
	require.NoError(t, err)
	return webhooks(v, fn, slog.New(slog.DiscardHandler))
}

func startWith(t *testing.T, webhooks *receiver.Handler) (url string, stop func() error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, slog.New(slog.DiscardHandler), listener, webhooks, func(context.Context) error { return nil })
	}()
	return "http://" + listener.Addr().String(), func() error { cancel(); return <-ended }
}

func deliver(t *testing.T, url, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/webhooks/walletcrew", strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign("secret", []byte(body)))
	req.Header.Set(walletcrew.HeaderEventName, string(walletcrew.EventPassInstalled))
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func TestItReceivesAndIsHealthy(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	url, stop := start(t, handlers(slog.New(slog.NewTextHandler(&log, nil))))
	assert.Equal(t, http.StatusNoContent, deliver(t, url, `{"__id":"1","passId":"p-1"}`))
	assert.Equal(t, http.StatusInternalServerError, deliver(t, url, `{"__id":"2","passId":["p-1"]}`), "what doesn't fit isn't lost")
	resp, err := http.Get(url + "/healthz")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, stop())
	assert.Contains(t, log.String(), "pass=p-1")
}

func TestTheShutdownFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}), make(chan struct{})
	url, stop := start(t, func(context.Context, *walletcrew.Event) error {
		close(began)
		<-goOn
		return nil
	})
	status := make(chan int, 1)
	go func() { status <- deliver(t, url, `{"__id":"1"}`) }() //nolint:testifylint // a failure shows as a missing status
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case err := <-stopped:
		require.Fail(t, "it stopped before the delivery was answered", "%v", err)
	default:
	}
	close(goOn)
	assert.Equal(t, http.StatusNoContent, <-status)
	assert.NoError(t, <-stopped)
}

// On HTTP/2, a sender that hangs up frees the server while the function runs on.
func TestTheShutdownWaitsForAFunctionThatTheServerDoesNotKnowOf(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}), make(chan struct{})
	webhooks := newWebhooks(t, func(context.Context, *walletcrew.Event) error {
		close(began)
		<-goOn
		return nil
	})
	_, stop := startWith(t, webhooks)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		webhooks.ServeHTTP(httptest.NewRecorder(), walletcrewtest.NewRequest("/webhooks/walletcrew", "secret", "shop", walletcrew.EventPassInstalled, []byte(`{"__id":"1"}`)))
	}()
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case err := <-stopped:
		require.Fail(t, "it stopped before the function had ended", "%v", err)
	case <-time.After(50 * time.Millisecond): // a receiver that doesn't wait has stopped by then, or this test passes by luck
	}
	close(goOn)
	require.NoError(t, <-stopped)
	<-answered
}

func TestItGoesOnWhileTheAPIIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		err := keepTrying(t.Context(), slog.New(slog.DiscardHandler), func(context.Context) error {
			if tries++; tries < 5 {
				return errors.New("connection refused")
			}
			return nil
		})
		require.NoError(t, err)
		assert.Equal(t, 5, tries)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		require.NoError(t, keepTrying(ctx, slog.New(slog.DiscardHandler), func(context.Context) error { return errors.New("connection refused") }), "it ends with the service")
	})
}

func TestItKeepsItsWebhookInOrder(t *testing.T) {
	platform := walletcrewtest.NewServer()
	defer platform.Close()
	t.Setenv("WALLETCREW_TENANT_ID", platform.TenantID)
	t.Setenv("WALLETCREW_API_KEY", platform.APIKey)
	t.Setenv("WALLETCREW_BASE_URL", platform.URL)
	t.Setenv("WALLETCREW_ENDPOINT", "https://shop.example/webhooks/walletcrew")
	source, subscribe, err := secrets(slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.NoError(t, subscribe(t.Context()))
	require.Len(t, platform.Webhooks(), 1)
	found, err := source.Secrets(t.Context(), platform.TenantID)
	require.NoError(t, err)
	assert.Equal(t, []walletcrew.Secret{platform.Webhooks()[0].SignatureSecret}, found)
}

func TestItEndsWhenItCannotSubscribe(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := &walletcrew.APIError{StatusCode: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/problem+json"}}}
	err = serve(t.Context(), slog.New(slog.DiscardHandler), listener, newWebhooks(t, none), func(context.Context) error { return refused })
	require.ErrorIs(t, err, walletcrew.ErrForbidden)
}

// A firewall in front of the API refuses for a while what the API would take.
func TestAFirewallsPageIsNoMistakeOfTheConfiguration(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 403, 404} {
		page := &walletcrew.APIError{StatusCode: status, Header: http.Header{"Content-Type": {"text/html"}}}
		assert.False(t, isMistake(page), status)
		assert.True(t, isMistake(&walletcrew.APIError{StatusCode: status, Header: http.Header{"Content-Type": {"application/problem+json"}}}), status)
	}
	assert.True(t, isMistake(&walletcrew.ValidationError{Field: "endpoint"}))
	assert.False(t, isMistake(context.DeadlineExceeded))
}

func TestASubscriptionThatBeginsAtTheEndHasNotTheShutdownsTime(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // since which of the two comes first is chance
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		asked := make(chan context.Context, 1)
		_ = serve(ended, slog.New(slog.DiscardHandler), listener, newWebhooks(t, none), func(ctx context.Context) error {
			asked <- ctx
			return nil
		})
		assert.Same(t, ended, <-asked)
	}
}

func TestItDoesNotStartWithoutSecrets(t *testing.T) {
	for _, env := range []string{"WALLETCREW_SECRET", "WALLETCREW_TENANT_ID", "WALLETCREW_API_KEY"} {
		t.Setenv(env, "")
	}
	err := run(t.Context(), slog.New(slog.DiscardHandler))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "WALLETCREW_SECRET")

	t.Setenv("WALLETCREW_SECRET", "one,,two")
	err = run(t.Context(), slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, walletcrew.ErrNoSecret, strings.TrimSpace("an empty secret in the list is a mistake"))

	t.Setenv("WALLETCREW_ENDPOINT", "https://shop.example/webhooks/walletcrew")
	require.ErrorContains(t, run(t.Context(), slog.New(slog.DiscardHandler)), "both set", "no webhook would be looked after, and nobody would see it")
}
