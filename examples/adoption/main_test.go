package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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
	for i := 0; i < len(pairs); i += 2 {
		t.Setenv(pairs[i], pairs[i+1])
	}
}

// start runs what an operator would, and returns its log and a function that ends it.
func start(t *testing.T, run func(context.Context, *slog.Logger) error) (*log, func() error) {
	t.Helper()
	l, ended := new(log), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() { ended <- run(ctx, slog.New(slog.NewTextHandler(l, nil))) }()
	return l, func() error { cancel(); return <-ended }
}

func read(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(text)
}

func TestTheDemoShowsLiveEventsAndLeavesNothingBehind(t *testing.T) {
	setenv(t)
	t.Setenv("TMPDIR", t.TempDir())
	l, stop := start(t, config{listen: "127.0.0.1:0", page: "127.0.0.1:0"}.runDemo)
	url := l.after(t, "page")
	events := func() string { return regexp.MustCompile(`Events</dt><dd>[0-9,]+`).FindString(read(t, url)) }
	first := events()
	require.NotEmpty(t, first)
	require.Eventually(t, func() bool { return events() != first }, time.Minute, 50*time.Millisecond, "no event comes in")
	require.NoError(t, stop())
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	assert.Empty(t, left)
	assert.NotContains(t, l.text.String(), "ERROR")
	assert.NotContains(t, l.text.String(), "WARN")
}

// A body is asked for once the handler has begun to read it, and comes when it is let go.
type body struct {
	text  io.Reader
	asked chan<- struct{}
	let   <-chan struct{}
}

func (b *body) Read(p []byte) (int, error) {
	if b.asked != nil {
		close(b.asked)
		b.asked = nil
		<-b.let
	}
	return b.text.Read(p)
}

func TestTheShutdownFinishesWhatIsInFlight(t *testing.T) {
	setenv(t, "WALLETCREW_SECRET", "old, "+string(secret))
	c := onSQLite(t)
	l, stop := start(t, c.run)
	url := l.after(t, "webhooks")
	asked, let := make(chan struct{}), make(chan struct{})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, &body{strings.NewReader(aLife[2].body), asked, let})
	require.NoError(t, err)
	r.Header = walletcrewtest.NewRequest("/", secret, "acme", installed, []byte(aLife[2].body)).Header
	r.Header.Set("Expect", "100-continue")
	r.ContentLength = int64(len(aLife[2].body))
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	status := make(chan string, 1)
	go func() {
		resp, err := client.Do(r)
		if err != nil {
			status <- err.Error()
			return
		}
		_ = resp.Body.Close()
		status <- resp.Status
	}()
	<-asked
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	require.Eventually(t, func() bool {
		resp, err := http.Get(strings.TrimSuffix(url, "/webhooks/walletcrew") + "/healthz")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err != nil
	}, time.Minute, 10*time.Millisecond, "it takes no other any more")
	close(let)
	assert.Equal(t, "204 No Content", <-status)
	assert.NoError(t, <-stopped)
	assert.Equal(t, 1, one[int](t, open(t, c), "SELECT COUNT(*) FROM events"))
}

func TestItKeepsItsWebhookInOrder(t *testing.T) {
	platform := walletcrewtest.NewServer()
	defer platform.Close()
	setenv(t, "WALLETCREW_TENANT_ID", platform.TenantID, "WALLETCREW_API_KEY", platform.APIKey, "WALLETCREW_BASE_URL", platform.URL,
		"WALLETCREW_ENDPOINT", "https://shop.example/webhooks/walletcrew")
	l, stop := start(t, onSQLite(t).run)
	url := l.after(t, "webhooks")
	require.Eventually(t, func() bool { return len(platform.Webhooks()) == 1 }, time.Minute, 10*time.Millisecond)
	webhook := platform.Webhooks()[0]
	assert.ElementsMatch(t, []walletcrew.EventName{upserted, walletcrew.AllPassEvents, redirected}, webhook.Events)
	resp, err := walletcrewtest.Send(t.Context(), url, webhook.SignatureSecret, platform.TenantID, installed, []byte(aLife[2].body))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, 204, resp.StatusCode)
	assert.NoError(t, stop())
}

func TestItDoesNotStartHalf(t *testing.T) {
	setenv(t)
	assert.ErrorContains(t, onSQLite(t).run(t.Context(), quiet), "WALLETCREW_SECRET", "without secrets")
	setenv(t, "WALLETCREW_SECRET", "one,,two")
	assert.ErrorIs(t, onSQLite(t).run(t.Context(), quiet), walletcrew.ErrNoSecret)
	setenv(t, "WALLETCREW_SECRET", "one")
	c := onSQLite(t)
	c.page = "nowhere:-1"
	assert.ErrorContains(t, c.run(t.Context(), quiet), "listen")
	c.sqlite = filepath.Join(t.TempDir(), "missing", "a.db")
	assert.Error(t, c.run(t.Context(), quiet), "without a database")
	c.postgres = "postgres://db.example/crm"
	assert.ErrorContains(t, c.runDemo(t.Context(), quiet), "-demo", "a demo's events don't belong in your database")
}
