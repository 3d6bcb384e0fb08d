package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// platformProcess is a platform that answers.
func (u *user) platform(args ...string) (*process, ready) {
	u.t.Helper()
	file := filepath.Join(u.t.TempDir(), "ready.json")
	p := u.start(append([]string{"platform", "--listen", "127.0.0.1:0", "--ready-file", file}, args...)...)
	var r ready
	p.err.until(u.t, func(string) bool {
		text, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(text, &r) == nil
	}, "that it is ready")
	requirePrivate(u.t, file)
	return p, r
}

// ask calls the control API as curl does.
func ask(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

func TestThePlatformServesTestsInAnyLanguage(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	p, r := u.platform()
	calls := newCounter()
	svc := newReceiver(t, walletcrew.Secret(r.Secret), func(ctx context.Context, e *walletcrew.Event) error {
		if e.Name == "Pass:Updated" {
			return receiver.Temporary(errors.New("away"))
		}
		return calls.count(ctx, e)
	})
	api := u.with("WALLETCREW_BASE_URL="+r.Platform, "WALLETCREW_TENANT_ID="+r.Tenant, "WALLETCREW_API_KEY="+r.APIKey)
	api.ok("webhooks", "ensure", svc.URL)

	type answered struct{ Deliveries []emitted }
	emit := func(body string) answered {
		status, text := ask(t, http.MethodPost, r.Platform+"/_control/emit", body)
		require.Equal(t, 200, status, text)
		requireSchema(t, "emit", text)
		var a answered
		require.NoError(t, json.Unmarshal([]byte(text), &a))
		return a
	}
	assert.Equal(t, 204, emit(`{"event":"Pass:Installed"}`).Deliveries[0].Status)
	assert.Len(t, emit(`{"event":"Pass:Created","data":{"passId":"p-7"},"count":3}`).Deliveries, 3)
	assert.Equal(t, 4, calls.sum())
	assert.Equal(t, "mine", emit(`{"event":"Pass:Created","body":"{\"__id\": \"mine\"}"}`).Deliveries[0].EventID)
	assert.Equal(t, 503, emit(`{"event":"Pass:Updated"}`).Deliveries[0].Status)

	for _, body := range []string{`{}`, `{"event":"x","nonsense":1}`, `no JSON`, `{"event":"x","data":[1]}`} {
		status, _ := ask(t, http.MethodPost, r.Platform+"/_control/emit", body)
		assert.Equal(t, 400, status, body)
	}

	status, text := ask(t, http.MethodPost, r.Platform+"/_control/faults", `[{"method":"GET","statusCode":400,"body":"{\"title\":\"ordered\"}"},{"method":"POST","drop":true,"times":1}]`)
	require.Equal(t, 200, status, text)
	assert.JSONEq(t, `{"queued":2}`, text)
	o := api.run("webhooks", "list")
	assert.Equal(t, 1, o.code)
	assert.Contains(t, o.err, "ordered")
	o = api.run("webhooks", "create", "https://shop.example/hook")
	assert.Equal(t, 1, o.code, "the connection was dropped")
	status, _ = ask(t, http.MethodPost, r.Platform+"/_control/faults", `[{"statusCode":99}]`)
	assert.Equal(t, 400, status)

	status, text = ask(t, http.MethodGet, r.Platform+"/_control/state", "")
	require.Equal(t, 200, status)
	requireSchema(t, "state", text)
	assert.NotContains(t, text, r.Secret)
	assert.NotContains(t, text, r.APIKey)
	assert.Zero(t, p.interrupt())
}

func TestNoPageOfABrowserMayUseTheControlAPI(t *testing.T) {
	t.Parallel()
	_, r := newUser(t).platform()
	req, err := http.NewRequest(http.MethodPost, r.Platform+"/_control/emit", bytes.NewReader([]byte(`{"event":"Pass:Installed"}`)))
	require.NoError(t, err)
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	_ = resp.Body.Close()
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)

	// Nor one whose own name was made to lead here (DNS rebinding).
	for _, path := range []string{"/_control/state", "/api/" + r.Tenant + "/webhooks"} {
		req, err := http.NewRequest(http.MethodGet, r.Platform+path, nil)
		require.NoError(t, err)
		req.Host = "evil.example"
		req.Header.Set("X-Api-Key", r.APIKey)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		_ = resp.Body.Close()
		assert.Equal(t, http.StatusForbidden, resp.StatusCode, path)
	}
}

// In a network of containers it has another name.
func TestAPlatformOnAllInterfacesAnswersToAnyName(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ready.json")
	p := newUser(t).start("platform", "--listen", ":0", "--ready-file", file)
	var r ready
	p.err.until(t, func(string) bool {
		text, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(text, &r) == nil
	}, "that it is ready")
	req, err := http.NewRequest(http.MethodGet, r.Platform+"/_control/state", nil)
	require.NoError(t, err)
	req.Host = "platform:4041"
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	_ = resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
}

func TestTheHealthcheckSaysWhetherThePlatformAnswers(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	p, r := u.platform()
	var h struct{ Healthy bool }
	u.answer(&h, 0, "healthcheck", "platform", "healthcheck", "--url", r.Platform)
	assert.True(t, h.Healthy)
	u.with("WALLETCREW_BASE_URL="+r.Platform).ok("platform", "healthcheck")
	s := newService(t)
	u.answer(&h, 1, "healthcheck", "platform", "healthcheck", "--url", s.URL)
	require.Zero(t, p.interrupt())
	u.answer(&h, 1, "healthcheck", "platform", "healthcheck", "--url", r.Platform)
	assert.Equal(t, 2, u.run("platform", "healthcheck", "--url", "nonsense").code)
}

func TestThePlatformTakesWhatTheEnvironmentSays(t *testing.T) {
	t.Parallel()
	u := newUser(t, "WALLETCREW_API_KEY=one-of-my-own", "WALLETCREW_SECRET=a secret of my own")
	p, r := u.platform("--tenant", "acme")
	assert.Equal(t, "acme", r.Tenant)
	assert.Equal(t, "one-of-my-own", r.APIKey)
	assert.Equal(t, "a secret of my own", r.Secret)
	assert.NotContains(t, p.err.String()+p.out.String(), "of my own")
	assert.NotContains(t, p.err.String()+p.out.String(), "one-of-my-own")

	busy := newService(t)
	o := newUser(t).run("platform", "--listen", busy.Listener.Addr().String())
	assert.Equal(t, 1, o.code, "an address that was asked for is that one or none")
	assert.Equal(t, 2, newUser(t).run("platform", "--listen", "nonsense").code)
	assert.Equal(t, 1, newUser(t).run("platform", "--listen", "127.0.0.1:0", "--ready-file", filepath.Join(t.TempDir(), "no", "such", "folder")).code)
}
