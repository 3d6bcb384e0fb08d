package walletcrewtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func newServer(t *testing.T, opts ...walletcrewtest.Option) *walletcrewtest.Server {
	t.Helper()
	s := walletcrewtest.NewServer(opts...)
	t.Cleanup(s.Close)
	return s
}

// A response is an answer as it came over the wire.
type response struct {
	status int
	header http.Header
	body   string
}

func (r response) members(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.body), &m), r.body)
	return m
}

// call speaks HTTP with the server, without the SDK's client. Path is what follows /api/{tenantId}, or all of it after "!".
func call(t *testing.T, s *walletcrewtest.Server, method, path, body string, header ...string) response {
	t.Helper()
	target, ok := strings.CutPrefix(path, "!")
	if !ok {
		target = "/api/" + s.TenantID + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+target, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("X-API-KEY", s.APIKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return response{resp.StatusCode, resp.Header, string(text)}
}

const minimal = `{"endpoint":"https://shop.example/hook","events":["Pass:*"]}`

func create(t *testing.T, s *walletcrewtest.Server, body string) string {
	t.Helper()
	r := call(t, s, http.MethodPost, "/webhooks", body)
	require.Equal(t, http.StatusOK, r.status, r.body)
	return r.members(t)["id"].(string)
}

func TestServerIsUsedWithTheClient(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	client, ctx := s.Client(), t.Context()

	created, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{"Pass:*", "customer.*"}, Description: "the shop's",
	})
	require.NoError(t, err)
	assert.Regexp(t, `^[A-Za-z0-9]{5}$`, created.ID)
	assert.Regexp(t, `^[A-Za-z0-9]{64}$`, string(created.SignatureSecret))
	assert.True(t, created.Enabled)
	assert.Equal(t, []walletcrew.Webhook{*created}, s.Webhooks(), "Webhooks shows what was created")

	got, err := client.Webhooks.Get(ctx, created.ID)
	require.NoError(t, err)
	assert.Equal(t, created, got)

	second, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: "http://127.0.0.1:1/", Events: []walletcrew.EventName{"*"}, Enabled: new(false)})
	require.NoError(t, err)
	assert.False(t, second.Enabled)
	assert.NotEqual(t, created.ID, second.ID)
	assert.NotEqual(t, string(created.SignatureSecret), string(second.SignatureSecret))

	list, err := client.Webhooks.List(ctx, nil)
	require.NoError(t, err)
	assert.Equal(t, []walletcrew.Webhook{*created, *second}, list.Webhooks, "in order of creation")
	assert.Empty(t, list.ContinuationToken)

	patched, err := client.Webhooks.Patch(ctx, created.ID, walletcrew.WebhookPatch{Description: new(""), Enabled: new(false)})
	require.NoError(t, err)
	want := *created
	want.Description, want.Enabled = "", false
	assert.Equal(t, &want, patched, "only what was set changes; id and secret stay")

	require.NoError(t, client.Webhooks.Delete(ctx, created.ID))
	require.ErrorIs(t, client.Webhooks.Delete(ctx, created.ID), walletcrew.ErrNotFound)
	assert.Equal(t, []walletcrew.Webhook{*second}, s.Webhooks())
}

func TestClientPanicsForAnOptionThatIsRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	assert.Panics(t, func() { s.Client(walletcrew.WithAPIKey("")) })
}

func TestANilOptionOfAServerIsIgnored(t *testing.T) {
	t.Parallel()
	walletcrewtest.NewServer(nil).Close()
}

func TestAnswersOnTheWire(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := call(t, s, http.MethodGet, "/webhooks", "")
	assert.Equal(t, http.StatusOK, r.status)
	assert.Equal(t, "[]", r.body, "no webhooks are an empty array, not null")

	r = call(t, s, http.MethodPost, "/webhooks", minimal)
	assert.Equal(t, http.StatusOK, r.status, "create answers 200, not 201")
	assert.Contains(t, r.header.Get("Content-Type"), "application/json")
	m := r.members(t)
	assert.Len(t, m, 6)
	assert.Nil(t, m["description"])
	assert.Contains(t, m, "description", "a missing description is null")
	assert.Equal(t, "https://shop.example/hook", m["endpoint"])
	assert.Equal(t, []any{"Pass:*"}, m["events"])
	assert.Equal(t, true, m["enabled"])
	assert.Equal(t, string(s.Webhooks()[0].SignatureSecret), m["signatureSecret"])

	id := m["id"].(string)
	r = call(t, s, http.MethodPatch, "/webhooks/"+id, `{"description":"d","id":"other","signatureSecret":"mine","color":"red"}`)
	assert.Equal(t, http.StatusOK, r.status)
	assert.Equal(t, "d", s.Webhooks()[0].Description)
	assert.Equal(t, id, s.Webhooks()[0].ID, "id can't be set")
	assert.Equal(t, m["signatureSecret"], string(s.Webhooks()[0].SignatureSecret), "nor can the secret")

	r = call(t, s, http.MethodPatch, "/webhooks/"+id, `{"description":null}`)
	assert.Equal(t, http.StatusOK, r.status)
	assert.Nil(t, r.members(t)["description"])
	assert.Equal(t, []walletcrew.EventName{"Pass:*"}, s.Webhooks()[0].Events, "what isn't sent stays")

	r = call(t, s, http.MethodDelete, "/webhooks/"+id, "")
	assert.Equal(t, http.StatusNoContent, r.status)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	item := "/webhooks/" + create(t, s, minimal)
	tests := map[string]struct {
		method, path, body string
		header             []string
		status             int
		detail             string
		allow              string
	}{
		"no key":                 {method: "GET", path: "/webhooks", header: []string{"X-API-KEY", ""}, status: 401, detail: "missing"},
		"wrong key":              {method: "GET", path: "/webhooks", header: []string{"X-API-KEY", "wrong"}, status: 401, detail: "invalid"},
		"a token that isn't one": {method: "GET", path: "/webhooks", header: []string{"X-API-KEY", "", "Authorization", "Bearer x"}, status: 401},
		"another tenant":         {method: "GET", path: "!/api/other/webhooks", status: 404, detail: "tenant"},
		"another resource":       {method: "GET", path: "/passes", status: 404, detail: "resource"},
		"below a webhook":        {method: "GET", path: item + "/secret", status: 404, detail: "resource"},
		"a slash at the end":     {method: "GET", path: "/webhooks/", status: 404},
		"the root":               {method: "GET", path: "!/", status: 404},
		"unknown id":             {method: "GET", path: "/webhooks/none", status: 404, detail: "webhook"},
		"unknown id, patch":      {method: "PATCH", path: "/webhooks/none", body: "{}", status: 404, detail: "webhook"},
		"unknown id, delete":     {method: "DELETE", path: "/webhooks/none", status: 404, detail: "webhook"},
		"an id is one element":   {method: "GET", path: "/webhooks/..%2Fwebhooks", status: 404, detail: "webhook"},
		"put":                    {method: "PUT", path: item, body: minimal, status: 405, allow: "GET, PATCH, DELETE"},
		"delete the list":        {method: "DELETE", path: "/webhooks", status: 405, allow: "GET, POST"},
		"text":                   {method: "POST", path: "/webhooks", body: minimal, header: []string{"Content-Type", "text/plain"}, status: 400, detail: "application/json"},
		"over 1 MiB":             {method: "POST", path: "/webhooks", body: strings.Repeat(" ", 1<<20) + minimal, status: 400, detail: "1 MiB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := call(t, s, test.method, test.path, test.body, test.header...)
			assert.Equal(t, test.status, r.status, r.body)
			assert.Equal(t, "application/problem+json", r.header.Get("Content-Type"))
			assert.Equal(t, test.allow, r.header.Get("Allow"))
			m := r.members(t)
			assert.InDelta(t, test.status, m["status"], 0)
			assert.Equal(t, http.StatusText(test.status), m["title"])
			assert.Contains(t, m["detail"], test.detail)
			assert.NotEmpty(t, m["type"])
			assert.NotEmpty(t, m["instance"])
			assert.NotContains(t, r.body, s.APIKey)
		})
	}
}

func TestValidation(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	item := "/webhooks/" + create(t, s, minimal)
	before := s.Webhooks()
	tests := map[string]struct {
		body   string
		member string // "" where it is accepted
		post   bool   // only asked of create
	}{
		"no endpoint":          {body: `{"events":["*"]}`, member: "endpoint", post: true},
		"wrong case":           {body: `{"Endpoint":"https://a.example","events":["*"]}`, member: "endpoint", post: true},
		"no events":            {body: `{"endpoint":"https://a.example"}`, member: "events", post: true},
		"endpoint null":        {body: `{"endpoint":null,"events":["*"]}`, member: "endpoint"},
		"endpoint a number":    {body: `{"endpoint":1,"events":["*"]}`, member: "endpoint"},
		"endpoint relative":    {body: `{"endpoint":"/hook","events":["*"]}`, member: "endpoint"},
		"endpoint empty":       {body: `{"endpoint":"","events":["*"]}`, member: "endpoint"},
		"endpoint http":        {body: `{"endpoint":"http://a.example/","events":["*"]}`, member: "endpoint"},
		"endpoint ftp":         {body: `{"endpoint":"ftp://a.example/","events":["*"]}`, member: "endpoint"},
		"endpoint no host":     {body: `{"endpoint":"https:///hook","events":["*"]}`, member: "endpoint"},
		"endpoint not a URI":   {body: `{"endpoint":"https://a b/","events":["*"]}`, member: "endpoint"},
		"events null":          {body: `{"endpoint":"https://a.example","events":null}`, member: "events"},
		"events empty":         {body: `{"endpoint":"https://a.example","events":[]}`, member: "events"},
		"an empty event":       {body: `{"endpoint":"https://a.example","events":["*",""]}`, member: "events"},
		"an event null":        {body: `{"endpoint":"https://a.example","events":[null]}`, member: "events"},
		"events a string":      {body: `{"endpoint":"https://a.example","events":"*"}`, member: "events"},
		"description a number": {body: `{"endpoint":"https://a.example","events":["*"],"description":1}`, member: "description"},
		"enabled null":         {body: `{"endpoint":"https://a.example","events":["*"],"enabled":null}`, member: "enabled"},
		"enabled a string":     {body: `{"endpoint":"https://a.example","events":["*"],"enabled":"yes"}`, member: "enabled"},
		"not JSON":             {body: `{"endpoint"`, member: "$"},
		"an array":             {body: `[]`, member: "$"},
		"null":                 {body: `null`, member: "$"},
		"text after the JSON":  {body: `{"endpoint":"https://a.example","events":["*"]}x`, member: "$"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			methods := map[string]string{http.MethodPost: "/webhooks", http.MethodPatch: item}
			if test.post {
				delete(methods, http.MethodPatch)
			}
			for method, path := range methods {
				r := call(t, s, method, path, test.body)
				assert.Equal(t, http.StatusBadRequest, r.status, "%s: %s", method, r.body)
				assert.Equal(t, "application/problem+json", r.header.Get("Content-Type"))
				messages, _ := r.members(t)["errors"].(map[string]any)
				assert.Len(t, messages, 1, method)
				assert.NotEmpty(t, messages[test.member], "%s: %s", method, r.body)
			}
		})
	}
	t.Cleanup(func() { assert.Equal(t, before, s.Webhooks(), "what is refused changes nothing") })

	accepted := newServer(t)
	for _, body := range []string{
		minimal,
		`{"endpoint":"http://localhost:8080/","events":["store.*.updated"],"description":null,"enabled":false}`,
		`{"endpoint":"http://[::1]:8080/","events":["New:Event"],"description":""}`,
	} {
		create(t, accepted, body)
	}
	assert.Len(t, accepted.Webhooks(), 3)
}

func TestScopes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		scopes      []string
		read, write int
	}{
		"read":  {[]string{"Webhook.Read"}, 200, 403},
		"write": {[]string{"Webhook.Write"}, 403, 200},
		"both":  {[]string{"Webhook.Read", "Webhook.Write"}, 200, 200},
		"none":  {nil, 403, 403},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, walletcrewtest.WithScopes(test.scopes...))
			assert.Equal(t, test.read, call(t, s, "GET", "/webhooks", "").status)
			r := call(t, s, "POST", "/webhooks", minimal)
			assert.Equal(t, test.write, r.status)
			if test.write == 403 {
				assert.Contains(t, r.members(t)["detail"], "Webhook.Write")
			}
		})
	}
}

func TestBearerTokenInsteadOfTheKey(t *testing.T) {
	t.Parallel()
	s := newServer(t, walletcrewtest.WithBearerToken("tok-1"), walletcrewtest.WithTenantID("shop ä 1"))
	assert.Equal(t, 200, call(t, s, "GET", "!/api/shop%20%C3%A4%201/webhooks", "", "X-API-KEY", "", "Authorization", "Bearer tok-1").status)
	assert.Equal(t, 401, call(t, s, "GET", "!/api/shop%20%C3%A4%201/webhooks", "", "X-API-KEY", "", "Authorization", "Bearer tok-2").status)
	_, err := s.Client().Webhooks.List(t.Context(), nil)
	require.NoError(t, err, "the tenant's id is escaped")
}

func TestAnswersOfPatchAndDelete(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answer walletcrewtest.Answer
		status int
		body   bool
	}{
		"webhook":    {walletcrewtest.AnswerWebhook, 200, true},
		"empty":      {walletcrewtest.AnswerEmpty, 200, false},
		"no content": {walletcrewtest.AnswerNoContent, 204, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, walletcrewtest.WithPatchAnswer(test.answer), walletcrewtest.WithDeleteAnswer(test.answer))
			item := "/webhooks/" + create(t, s, minimal)
			for _, method := range []string{"PATCH", "DELETE"} {
				r := call(t, s, method, item, `{"enabled":false}`)
				assert.Equal(t, test.status, r.status)
				if test.body {
					assert.Equal(t, false, r.members(t)["enabled"])
				} else {
					assert.Empty(t, r.body)
				}
			}

			// The client copes with all of them.
			client := s.Client()
			w, err := client.Webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: "https://a.example", Events: []walletcrew.EventName{"*"}})
			require.NoError(t, err)
			w, err = client.Webhooks.Patch(t.Context(), w.ID, walletcrew.WebhookPatch{Description: new("new")})
			require.NoError(t, err)
			assert.Equal(t, []walletcrew.Webhook{*w}, s.Webhooks())
			assert.Equal(t, "new", w.Description)
			require.NoError(t, client.Webhooks.Delete(t.Context(), w.ID))
			assert.Empty(t, s.Webhooks())
		})
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	s := newServer(t, walletcrewtest.WithPageSize(2))
	var ids []string
	for range 5 {
		ids = append(ids, create(t, s, minimal))
	}
	client := s.Client()
	var got []string
	for w, err := range client.Webhooks.All(t.Context(), nil) {
		require.NoError(t, err)
		got = append(got, w.ID)
	}
	assert.Equal(t, ids, got)
	assert.Len(t, s.Requests(), 5+3, "5 webhooks by 2 are three pages")

	page, err := client.Webhooks.List(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, page.Webhooks, 2)
	require.NoError(t, client.Webhooks.Delete(t.Context(), ids[1]))
	page, err = client.Webhooks.List(t.Context(), &walletcrew.ListOptions{ContinuationToken: page.ContinuationToken})
	require.NoError(t, err)
	assert.Equal(t, ids[2], page.Webhooks[0].ID, "one that is deleted between two pages doesn't hide another")

	r := call(t, s, "GET", "/webhooks?continuationToken=nonsense", "")
	assert.Equal(t, 400, r.status)
	assert.Contains(t, r.members(t)["errors"], "continuationToken")
}

func TestRequestsAreRecordedWithoutTheKey(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	create(t, s, minimal)
	call(t, s, "GET", "/webhooks?pageSize=3", "", "Authorization", "Bearer secret", "X-Trace", "1")
	got := s.Requests()
	require.Len(t, got, 2)
	assert.Equal(t, "POST", got[0].Method)
	assert.Equal(t, "/api/test-tenant/webhooks", got[0].URL)
	assert.JSONEq(t, minimal, string(got[0].Body))
	assert.Equal(t, "application/json", got[0].Header.Get("Content-Type"))
	assert.Equal(t, "/api/test-tenant/webhooks?pageSize=3", got[1].URL)
	assert.Equal(t, "1", got[1].Header.Get("X-Trace"))
	for _, r := range got {
		assert.Empty(t, r.Header.Get("X-API-KEY"))
		assert.Empty(t, r.Header.Get("Authorization"))
	}

	for range 1001 {
		call(t, s, "GET", "/webhooks", "")
	}
	assert.Len(t, s.Requests(), 1000, "the last 1,000 are kept")
	assert.Equal(t, "GET", s.Requests()[0].Method)
}

func TestServersHaveTheirOwnKeys(t *testing.T) {
	t.Parallel()
	one, two := newServer(t), newServer(t)
	assert.NotEqual(t, one.APIKey, two.APIKey)
	assert.NotEqual(t, one.URL, two.URL)
	assert.Equal(t, 401, call(t, one, "GET", "/webhooks", "", "X-API-KEY", two.APIKey).status)
}

func TestCloseMayBeCalledAgain(t *testing.T) {
	t.Parallel()
	s := walletcrewtest.NewServer()
	errAnother := errors.New("the port may be another test's server's by now")
	dials := 0
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials++; dials > 1 {
			return nil, errAnother
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	client := s.Client(walletcrew.WithRetries(0, 0, 0), walletcrew.WithHTTPClient(&http.Client{Transport: transport}))
	_, err := client.Webhooks.List(t.Context(), nil)
	require.NoError(t, err)
	s.Close()
	s.Close()
	_, err = client.Webhooks.List(t.Context(), nil)
	require.Error(t, err, "nothing is served on the connection that there was")
	_, err = s.Emit(t.Context(), walletcrew.EventPassCreated, nil)
	require.ErrorContains(t, err, "closed")
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s := newServer(t, walletcrewtest.WithPageSize(3))
	client, ctx := s.Client(), t.Context()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				w, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: "http://127.0.0.1:1/", Events: []walletcrew.EventName{"Pass:*"}})
				if !assert.NoError(t, err) {
					return
				}
				for _, err := range client.Webhooks.All(ctx, nil) {
					assert.NoError(t, err)
				}
				_, err = client.Webhooks.Patch(ctx, w.ID, walletcrew.WebhookPatch{Events: []walletcrew.EventName{"Customer:*"}})
				assert.NoError(t, err)
				_, err = s.Emit(ctx, walletcrew.EventPassCreated, nil)
				assert.NoError(t, err)
				s.Fail(walletcrewtest.Fault{})
				_, _ = s.Webhooks(), s.Requests()
				assert.NoError(t, client.Webhooks.Delete(ctx, w.ID))
			}
		})
	}
	wg.Wait()
	assert.Empty(t, s.Webhooks())
}
