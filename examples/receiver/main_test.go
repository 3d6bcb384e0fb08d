package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// The environment is the process's, so that no test here is parallel.
func setenv(t *testing.T, pairs ...string) {
	t.Helper()
	for _, name := range []string{"WALLETCREW_SECRET", "WALLETCREW_TENANT_ID", "WALLETCREW_API_KEY", "WALLETCREW_BASE_URL", "WALLETCREW_ENDPOINT"} {
		t.Setenv(name, "")
	}
	t.Setenv("LISTEN", "127.0.0.1:0")
	for i := 0; i < len(pairs); i += 2 {
		t.Setenv(pairs[i], pairs[i+1])
	}
}

// A service is a receiver that runs.
type service struct {
	url  string
	stop func() error // ends it and waits for its end
	log  *journal
	open func() // the gate
}

func start(t *testing.T) *service {
	t.Helper()
	s := startHeld(t)
	s.open()
	return s
}

// startHeld is start with a gate that isn't open.
func startHeld(t *testing.T) *service {
	t.Helper()
	open := make(chan struct{})
	log := &journal{more: make(chan struct{}, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, slog.New(gate{slog.NewJSONHandler(log, nil), open})) }()
	s := &service{log: log, open: sync.OnceFunc(func() { close(open) }), stop: sync.OnceValue(func() error { cancel(); return <-ended })}
	t.Cleanup(func() { s.open(); _ = s.stop() })
	s.url = "http://" + log.wait(t, "listening")["address"].(string)
	return s
}

// A journal is a log that can be waited for.
type journal struct {
	more chan struct{} // a line came
	mu   sync.Mutex
	all  bytes.Buffer
}

// A gate lets no function past that has logged "installed", until it is opened.
type gate struct {
	slog.Handler
	open chan struct{}
}

func (g gate) Handle(ctx context.Context, r slog.Record) error {
	err := g.Handler.Handle(ctx, r)
	if r.Message == "installed" {
		<-g.open
	}
	return err
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	j.all.Write(line)
	j.mu.Unlock()
	j.more <- struct{}{}
	return len(line), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.String()
}

// wait returns the first line with this message, which may have come before.
func (j *journal) wait(t *testing.T, message string) map[string]any {
	t.Helper()
	for {
		for line := range strings.Lines(j.String()) {
			var members map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &members))
			if members["msg"] == message {
				return members
			}
		}
		select {
		case <-j.more:
		case <-time.After(30 * time.Second):
			require.Fail(t, "the log doesn't say "+message, j.String())
		}
	}
}

func deliver(ctx context.Context, url string, secret walletcrew.Secret, name walletcrew.EventName, body string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/webhooks/walletcrew", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(secret, []byte(body)))
	req.Header.Set(walletcrew.HeaderEventName, string(name))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func assertDelivered(t *testing.T, want int, url string, secret walletcrew.Secret, name walletcrew.EventName, body string) {
	t.Helper()
	got, err := deliver(t.Context(), url, secret, name, body)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestItReceivesAndIsHealthy(t *testing.T) {
	setenv(t, "WALLETCREW_SECRET", "old, new")
	s := start(t)
	for _, secret := range []walletcrew.Secret{"old", "new"} {
		assertDelivered(t, 204, s.url, secret, walletcrew.EventPassInstalled, `{"__id":"`+string(secret)+`","passId":"p-1"}`)
	}
	assertDelivered(t, 401, s.url, "old, new", walletcrew.EventPassInstalled, `{"__id":"3"}`)
	assertDelivered(t, 500, s.url, "new", walletcrew.EventPassInstalled, `{"__id":"4","passId":["p-1"]}`) // what doesn't fit isn't lost
	assertDelivered(t, 204, s.url, "new", "Customer:Upserted", `{"__id":"5"}`)
	assertDelivered(t, 204, s.url, "new", "Customer:Upserted", `{"__id":"5"}`)
	resp, err := http.Get(s.url + "/healthz")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, s.stop())
	assert.Equal(t, 2, strings.Count(s.log.String(), `"pass":"p-1"`))
	assert.Equal(t, 1, strings.Count(s.log.String(), `"name":"Customer:Upserted","id":"5"`), "a duplicate is handled once")
}

func TestTheShutdownFinishesWhatIsInFlight(t *testing.T) {
	setenv(t, "WALLETCREW_SECRET", "secret")
	s := startHeld(t)
	status := make(chan int, 1)
	go func() {
		got, _ := deliver(context.Background(), s.url, "secret", walletcrew.EventPassInstalled, `{"__id":"1"}`)
		status <- got
	}()
	s.log.wait(t, "installed")
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	s.log.wait(t, "shutting down")
	_, err := deliver(t.Context(), s.url, "secret", walletcrew.EventPassInstalled, `{"__id":"2"}`)
	require.Error(t, err, "no delivery comes in any more")
	select {
	case err := <-stopped:
		require.Fail(t, "it stopped before the delivery was answered", "%v", err)
	default:
	}
	s.open()
	assert.Equal(t, http.StatusNoContent, <-status)
	assert.NoError(t, <-stopped)
}

// The handler's own Shutdown comes after the server's: it says what the log has held back, and it knows of functions that the server
// doesn't wait for.
func TestTheShutdownIsTheHandlersToo(t *testing.T) {
	setenv(t, "WALLETCREW_SECRET", "secret")
	s := start(t)
	for range 30 {
		assertDelivered(t, 401, s.url, "a guess", walletcrew.EventPassInstalled, `{"__id":"1"}`)
	}
	require.NoError(t, s.stop())
	_, after, _ := strings.Cut(s.log.String(), "shutting down")
	assert.Contains(t, after, `"signature_mismatch":`, "how many refusals it hadn't logged one by one")
}

func TestItKeepsItsWebhookInOrder(t *testing.T) {
	platform := walletcrewtest.NewServer()
	defer platform.Close()
	setenv(t, "WALLETCREW_TENANT_ID", platform.TenantID, "WALLETCREW_API_KEY", platform.APIKey, "WALLETCREW_BASE_URL", platform.URL,
		"WALLETCREW_ENDPOINT", "https://shop.example/webhooks/walletcrew", "WALLETCREW_SECRET", "of no webhook: the API's count")
	platform.Fail(walletcrewtest.Fault{Method: http.MethodGet, StatusCode: http.StatusNotImplemented}) // which the client doesn't try again
	s := start(t)
	assert.Contains(t, s.log.wait(t, "walletcrew: the webhook can't be looked after now; it will be tried again"), "error")
	assert.Equal(t, "created", s.log.wait(t, "walletcrew: webhook")["action"], "the receiver goes on while the API is away")
	require.Len(t, platform.Webhooks(), 1)
	webhook := platform.Webhooks()[0]
	assert.True(t, slices.Contains(webhook.Events, walletcrew.EventPassInstalled) && slices.Contains(webhook.Events, walletcrew.AllCustomerEvents), "what the Mux has functions for")
	assertDelivered(t, 204, s.url, webhook.SignatureSecret, walletcrew.EventPassInstalled, `{"__id":"1","passId":"p-1"}`)
	require.NoError(t, s.stop())
}

func TestItTakesTheAPIsSecretsWithoutAnEndpointOfItsOwn(t *testing.T) {
	platform := walletcrewtest.NewServer()
	defer platform.Close()
	w, err := platform.Client().Webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: "https://shop.example", Events: []walletcrew.EventName{"*"}})
	require.NoError(t, err)
	setenv(t, "WALLETCREW_TENANT_ID", platform.TenantID, "WALLETCREW_API_KEY", platform.APIKey, "WALLETCREW_BASE_URL", platform.URL)
	s := start(t)
	assertDelivered(t, 204, s.url, w.SignatureSecret, walletcrew.EventPassInstalled, `{"__id":"1","passId":"p-1"}`)
	require.NoError(t, s.stop())
	assert.Equal(t, []walletcrew.Webhook{*w}, platform.Webhooks(), "it manages none")
}

func TestItDoesNotStartWithoutSecrets(t *testing.T) {
	discard := slog.New(slog.DiscardHandler)
	setenv(t)
	require.ErrorContains(t, run(t.Context(), discard), "WALLETCREW_SECRET")
	setenv(t, "WALLETCREW_SECRET", "one,,two")
	require.ErrorIs(t, run(t.Context(), discard), walletcrew.ErrNoSecret, "an empty secret in the list is a mistake")
	setenv(t, "WALLETCREW_SECRET", "one", "WALLETCREW_ENDPOINT", "https://shop.example/webhooks/walletcrew")
	require.ErrorContains(t, run(t.Context(), discard), "WALLETCREW_TENANT_ID", "no webhook would be looked after, and nobody would see it")
	setenv(t, "WALLETCREW_SECRET", "one", "LISTEN", "nowhere:-1")
	require.ErrorContains(t, run(t.Context(), discard), "listen")
}
