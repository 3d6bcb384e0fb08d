package inspector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

const (
	testSecret = walletcrew.Secret("k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E")
	serviceURL = "http://localhost:8080/webhooks"
)

// fake does what the command does, without sending anything.
type fake struct {
	store *Store

	mu       sync.Mutex
	calls    []string
	sent     []string // bodies
	webhooks []Webhook
	err      error
}

func (f *fake) call(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fake) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func (f *fake) again(id string, change func(*Record)) string {
	r, _ := f.store.Get(id)
	r.ID, r.Time = newID()[:8], time.Now()
	r.Duplicate = true
	change(&r)
	f.store.Add(r)
	return r.ID
}

func (f *fake) Replay(_ context.Context, id string) (string, error) {
	if err := f.call("replay %s", id); err != nil {
		return "", err
	}
	return f.again(id, func(*Record) {}), nil
}

func (f *fake) Duplicate(_ context.Context, id string) (string, error) {
	if err := f.call("duplicate %s", id); err != nil {
		return "", err
	}
	return f.again(id, func(*Record) {}), nil
}

func (f *fake) Tamper(_ context.Context, id string) (string, error) {
	if err := f.call("tamper %s", id); err != nil {
		return "", err
	}
	return f.again(id, func(r *Record) { r.Verdict, r.Status = Forged, 401 }), nil
}

func (f *fake) Send(_ context.Context, event, tenant string, body []byte, o SendOptions) (string, error) {
	if err := f.call("send %s %s from=%s sign=%s", event, tenant, o.FromID, o.Sign); err != nil {
		return "", err
	}
	f.mu.Lock()
	f.sent = append(f.sent, string(body))
	f.mu.Unlock()
	r := delivery(event, string(body))
	r.Tenant = tenant
	if o.Sign != SignRight {
		r.Verdict, r.Status = Forged, 401
	}
	f.store.Add(r)
	return r.ID, nil
}

func (f *fake) Webhooks(context.Context) ([]Webhook, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Webhook(nil), f.webhooks...), f.err
}

func (f *fake) SetEnabled(_ context.Context, id string, on bool) error {
	if err := f.call("enabled %s %t", id, on); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.webhooks {
		if f.webhooks[i].ID == id {
			f.webhooks[i].Enabled = on
			return nil
		}
	}
	return errors.New("there is no such webhook")
}

// delivery is a record of one that was verified and answered.
func delivery(event, body string) Record {
	var metadata struct {
		ID string `json:"__id"`
	}
	_ = json.Unmarshal([]byte(body), &metadata)
	return Record{
		ID: newID()[:8], Time: time.Now(), Event: event, Tenant: "acme", EventID: metadata.ID, Body: []byte(body),
		Header: http.Header{
			"Content-Type": {"application/json"}, "User-Agent": {"Go-http-client/1.1"}, "Accept-Encoding": {"gzip"},
			"Content-Length": {fmt.Sprint(len(body))}, walletcrew.HeaderSignature: {walletcrew.Sign(testSecret, []byte(body))},
			walletcrew.HeaderEventName: {event}, walletcrew.HeaderTenantID: {"acme"},
		},
		Verdict: Verified, ForwardURL: serviceURL, Status: 204, Duration: 8 * time.Millisecond,
	}
}

func passBody(id string, n int) string {
	return fmt.Sprintf(`{"__id":%q,"passId":"p-%d","passType":"user","passKind":"customerCard","identifiers":{"customerId":"C-%d","email":"ada%d@example.com"},`+
		`"metadata":{"level":"gold","points":%d,"newsletter":true},"device":"apple"}`, id, 1000+n, 40+n%9, n, 120+n*7)
}

// An open inspector, on a real server.
type opened struct {
	*Inspector
	store *Store
	fake  *fake
	url   string
}

func open(t testing.TB, o Options) *opened {
	t.Helper()
	store := NewStore(0, 0)
	f := &fake{store: store}
	if o.Tenant == "" {
		o.Tenant = "acme"
	}
	if o.Secrets == nil {
		o.Secrets = func() []walletcrew.Secret { return []walletcrew.Secret{testSecret} }
	}
	i := New(store, f, o)
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	t.Cleanup(i.Close) // first
	return &opened{Inspector: i, store: store, fake: f, url: server.URL}
}

// request sends one with the token and without a browser's headers; change may make it worse.
func (o *opened) request(t testing.TB, method, path, body string, change func(*http.Request)) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, o.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(tokenHeader, o.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if change != nil {
		change(r)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}
