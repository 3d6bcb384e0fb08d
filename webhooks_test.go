package walletcrew_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

const (
	hooksURL   = walletcrew.ProductionURL + "/api/acme/webhooks"
	oneHookURL = hooksURL + "/Ab3xY"
	mockedKey  = "key-4f9c2d71e8"
	hookJSON   = `{"id":"Ab3xY","description":"the shop","endpoint":"https://shop.example/hook","events":["Pass:*","Customer:Upserted"],"enabled":true,"signatureSecret":"s-123"}`
)

// theHook is what hookJSON says.
func theHook() *walletcrew.Webhook {
	return &walletcrew.Webhook{
		ID: "Ab3xY", Description: "the shop", Endpoint: "https://shop.example/hook",
		Events:  []walletcrew.EventName{walletcrew.AllPassEvents, walletcrew.EventCustomerUpserted},
		Enabled: true, SignatureSecret: "s-123",
	}
}

// A sentRequest is a request as it left the client.
type sentRequest struct {
	Method, URL, Body string
	Header            http.Header
}

// A mockedPlatform answers the client's requests and remembers them.
type mockedPlatform struct {
	*httpmock.MockTransport
	Sent []sentRequest
}

// newMockedPlatform answers nothing until something is registered, and returns a client that doesn't retry.
func newMockedPlatform(t *testing.T, opts ...walletcrew.Option) (*mockedPlatform, *walletcrew.Client) {
	t.Helper()
	p := &mockedPlatform{MockTransport: httpmock.NewMockTransport()}
	opts = append([]walletcrew.Option{
		walletcrew.WithAPIKey(mockedKey),
		walletcrew.WithHTTPClient(&http.Client{Transport: p}),
		walletcrew.WithRetries(0, 0, 0),
	}, opts...)
	client, err := walletcrew.NewClient("acme", opts...)
	require.NoError(t, err)
	return p, client
}

func (p *mockedPlatform) RoundTrip(req *http.Request) (*http.Response, error) {
	sent := sentRequest{Method: req.Method, URL: req.URL.String(), Header: req.Header.Clone()}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		_ = req.Body.Close()
		req.Body = io.NopCloser(strings.NewReader(string(body)))
		sent.Body = string(body)
	}
	p.Sent = append(p.Sent, sent)
	return p.MockTransport.RoundTrip(req)
}

// answer registers one answer, with headers as name, value, name, value.
func (p *mockedPlatform) answer(method, url string, status int, body string, headers ...string) {
	p.RegisterResponder(method, url, answerWith(status, body, headers...))
}

func answerWith(status int, body string, headers ...string) httpmock.Responder {
	responder := httpmock.NewStringResponder(status, body)
	if len(headers) > 0 {
		h := http.Header{}
		for i := 0; i < len(headers); i += 2 {
			h.Add(headers[i], headers[i+1])
		}
		responder = responder.HeaderSet(h)
	}
	return responder
}

func TestEachCallSendsWhatTheAPISays(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	spec := walletcrew.WebhookSpec{Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{walletcrew.AllPassEvents}}
	for name, c := range map[string]struct {
		call              func(s *walletcrew.WebhooksService) error
		method, url, body string
		answer            string
	}{
		"Create": {
			call:   func(s *walletcrew.WebhooksService) error { _, err := s.Create(ctx, spec); return err },
			method: "POST", url: hooksURL, answer: hookJSON,
			body: `{"endpoint":"https://shop.example/hook","events":["Pass:*"],"enabled":true}`,
		},
		"Create with everything": {
			call: func(s *walletcrew.WebhooksService) error {
				full := spec
				full.Description, full.Enabled = `the "shop" <1>`, new(false)
				full.Events = []walletcrew.EventName{"b.c", "Pass:Created", "b.c", "store.*.updated"}
				_, err := s.Create(ctx, full)
				return err
			},
			method: "POST", url: hooksURL, answer: hookJSON,
			body: `{"endpoint":"https://shop.example/hook","events":["b.c","Pass:Created","store.*.updated"],"description":"the \"shop\" <1>","enabled":false}`,
		},
		"Get": {
			call:   func(s *walletcrew.WebhooksService) error { _, err := s.Get(ctx, "Ab3xY"); return err },
			method: "GET", url: oneHookURL, answer: hookJSON,
		},
		"List": {
			call:   func(s *walletcrew.WebhooksService) error { _, err := s.List(ctx, nil); return err },
			method: "GET", url: hooksURL, answer: "[]",
		},
		"List with empty options": {
			call: func(s *walletcrew.WebhooksService) error {
				_, err := s.List(ctx, &walletcrew.ListOptions{})
				return err
			},
			method: "GET", url: hooksURL, answer: "[]",
		},
		"List with options": {
			call: func(s *walletcrew.WebhooksService) error {
				_, err := s.List(ctx, &walletcrew.ListOptions{PageIndex: 2, PageSize: 50, ContinuationToken: "a b&c=d/é"})
				return err
			},
			method: "GET", url: hooksURL + "?continuationToken=a+b%26c%3Dd%2F%C3%A9&pageIndex=2&pageSize=50", answer: "[]",
		},
		"Patch of one member": {
			call: func(s *walletcrew.WebhooksService) error {
				_, err := s.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Enabled: new(false)})
				return err
			},
			method: "PATCH", url: oneHookURL, answer: hookJSON,
			body: `{"enabled":false}`,
		},
		"Patch of everything": {
			call: func(s *walletcrew.WebhooksService) error {
				_, err := s.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{
					Endpoint: new("https://other.example"), Events: []walletcrew.EventName{"*", "*"}, Description: new("other"), Enabled: new(true),
				})
				return err
			},
			method: "PATCH", url: oneHookURL, answer: hookJSON,
			body: `{"endpoint":"https://other.example","events":["*"],"description":"other","enabled":true}`,
		},
		"Patch that clears the description": {
			call: func(s *walletcrew.WebhooksService) error {
				_, err := s.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Description: new("")})
				return err
			},
			method: "PATCH", url: oneHookURL, answer: hookJSON,
			body: `{"description":null}`,
		},
		"Delete": {
			call:   func(s *walletcrew.WebhooksService) error { return s.Delete(ctx, "Ab3xY") },
			method: "DELETE", url: oneHookURL,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			p.RegisterNoResponder(answerWith(200, c.answer))
			require.NoError(t, c.call(client.Webhooks))
			require.Len(t, p.Sent, 1, "one call is one request")
			sent := p.Sent[0]
			assert.Equal(t, c.method, sent.Method)
			assert.Equal(t, c.url, sent.URL)
			assert.Equal(t, mockedKey, sent.Header.Get("X-API-KEY"))
			assert.Equal(t, "application/json", sent.Header.Get("Accept"))
			assert.Regexp(t, `^walletcrew-go/\S+ \(go1\.\S+; \w+/\w+\)$`, sent.Header.Get("User-Agent"))
			assert.NotContains(t, sent.Header, "Authorization")
			if c.body == "" {
				assert.Empty(t, sent.Body, "a %s has no body", c.method)
				assert.NotContains(t, sent.Header, "Content-Type", "without a body there is no Content-Type")
			} else {
				assert.JSONEq(t, c.body, sent.Body, "exactly the API's members are sent")
				assert.Equal(t, "application/json", sent.Header.Get("Content-Type"))
			}
		})
	}
}

func TestAWebhookIsReadFromTheAnswer(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p, client := newMockedPlatform(t)
	p.answer("POST", hooksURL, 200, hookJSON)
	p.answer("GET", oneHookURL, 200, " "+hookJSON+"\r\n")
	p.answer("PATCH", oneHookURL, 200, hookJSON)
	p.answer("DELETE", oneHookURL, 204, "")
	p.answer("GET", hooksURL, 200, "["+hookJSON+"]")

	created, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{"*"}})
	require.NoError(t, err)
	assert.Equal(t, theHook(), created)
	got, err := client.Webhooks.Get(ctx, "Ab3xY")
	require.NoError(t, err)
	assert.Equal(t, theHook(), got)
	patched, err := client.Webhooks.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Enabled: new(true)})
	require.NoError(t, err)
	assert.Equal(t, theHook(), patched)
	list, err := client.Webhooks.List(ctx, nil)
	require.NoError(t, err)
	assert.Equal(t, []walletcrew.Webhook{*theHook()}, list.Webhooks)
	assert.Empty(t, list.ContinuationToken)
	require.NoError(t, client.Webhooks.Delete(ctx, "Ab3xY"))
}

func TestANullDescriptionIsEmptyAndUnknownMembersAreNoError(t *testing.T) {
	t.Parallel()
	p, client := newMockedPlatform(t)
	p.answer("GET", oneHookURL, 200, `{"id":"Ab3xY","description":null,"endpoint":"https://e.example","events":["*"],"enabled":false,"signatureSecret":"s","new":{"a":[1]}}`)
	got, err := client.Webhooks.Get(context.Background(), "Ab3xY")
	require.NoError(t, err)
	assert.Empty(t, got.Description)
	assert.False(t, got.Enabled)
}

// requireRefused asserts that err is a ValidationError about field, and that nothing was sent.
func requireRefused(t *testing.T, err error, field string, p *mockedPlatform) {
	t.Helper()
	var invalid *walletcrew.ValidationError
	require.ErrorAs(t, err, &invalid, "the argument must be refused")
	assert.Equal(t, field, invalid.Field)
	assert.NotEmpty(t, invalid.Reason)
	assert.Equal(t, "walletcrew: "+field+" "+invalid.Reason, err.Error())
	assert.Empty(t, p.Sent, "nothing may be sent")
}

func TestAnEndpointIsCheckedBeforeSending(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for endpoint, good := range map[string]bool{
		"https://shop.example":                       true,
		"https://shop.example/":                      true,
		"https://shop.example:8443/hook?a=b&c=d":     true,
		"HTTPS://shop.example/hook":                  true,
		"https://bücher.example/é":                   true,
		"https://203.0.113.9/hook":                   true,
		"https://[2001:db8::1]/hook":                 true,
		"https://shop.example/a%20b":                 true,
		"http://localhost:8080/hook":                 true,
		"http://LOCALHOST/hook":                      true,
		"http://127.0.0.1:8080":                      true,
		"http://127.8.9.10/":                         true,
		"http://[::1]:8080/hook":                     true,
		"":                                           false,
		" ":                                          false,
		"shop.example/hook":                          false,
		"/hook":                                      false,
		"//shop.example/hook":                        false,
		"hook":                                       false,
		"?a=b":                                       false,
		"ftp://shop.example/hook":                    false,
		"wss://shop.example/hook":                    false,
		"javascript:alert(1)":                        false,
		"mailto:a@shop.example":                      false,
		"https:shop.example":                         false,
		"http://shop.example/hook":                   false,
		"http://localhost.shop.example/hook":         false,
		"http://127.0.0.1.shop.example/hook":         false,
		"http://192.168.1.1/hook":                    false,
		"http://0.0.0.0/hook":                        false,
		"https://":                                   false,
		"https:///hook":                              false,
		"https://:8443/hook":                         false,
		"https://user:passw0rd@shop.example/hook":    false,
		"https://user@shop.example/hook":             false,
		"https://@shop.example/hook":                 false,
		"https://shop.example/hook#part":             false,
		"https://shop.example/hook#":                 false,
		" https://shop.example/hook":                 false,
		"https://shop.example/hook ":                 false,
		"https://shop.example/a b":                   false,
		"https://shop.example/a\nb":                  false,
		"https://shop.example/a\tb":                  false,
		"https://shop.example/a\x00b":                false,
		"https://shop.example/a\x7fb":                false,
		"https://shop .example/":                     false,
		"https://shop.example/%zz":                   false,
		"https://[::1/hook":                          false,
		"https://shop.example:port/":                 false,
		"https://user:passw0rd@shop.example/%zz":     false,
		"ftp://user:passw0rd@shop.example/":          false,
		"http://user:passw0rd@shop.example/":         false,
		"https://localhost/hook":                     true,
		"https://shop.example/hook?next=/a/../b":     true,
		"https://shop.example/hook?mail=a@b.example": true,
	} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			events := []walletcrew.EventName{"*"}
			calls := map[string]func() error{
				"Create": func() error {
					_, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: endpoint, Events: events})
					return err
				},
				"Patch": func() error {
					_, err := client.Webhooks.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Endpoint: &endpoint})
					return err
				},
				"Ensure": func() error {
					_, err := client.Webhooks.Ensure(ctx, walletcrew.WebhookSpec{Endpoint: endpoint, Events: events})
					return err
				},
			}
			if good {
				p.RegisterNoResponder(answerWith(200, hookJSON))
				delete(calls, "Ensure")
				for name, call := range calls {
					require.NoError(t, call(), name)
				}
				return
			}
			for name, call := range calls {
				err := call()
				requireRefused(t, err, "endpoint", p)
				assert.NotContains(t, err.Error(), "passw0rd", "%s must not print credentials", name)
			}
		})
	}
}

func TestEventsAreCheckedBeforeSending(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, c := range map[string]struct {
		events []walletcrew.EventName
		field  string // "" where they pass
		want   string
	}{
		"none":                   {events: nil, field: "events"},
		"an empty list":          {events: []walletcrew.EventName{}, field: "events"},
		"an empty name":          {events: []walletcrew.EventName{""}, field: "events[0]"},
		"a name of spaces":       {events: []walletcrew.EventName{"*", " \t"}, field: "events[1]"},
		"an empty one at last":   {events: []walletcrew.EventName{"Pass:*", "Customer:*", ""}, field: "events[2]"},
		"known ones":             {events: []walletcrew.EventName{walletcrew.EventPassCreated, walletcrew.AllEvents}, want: `["Pass:Created","*"]`},
		"an unknown one":         {events: []walletcrew.EventName{"Order:Shipped"}, want: `["Order:Shipped"]`},
		"dotted patterns":        {events: []walletcrew.EventName{"customer.*", "pass.created", "store.*.updated"}, want: `["customer.*","pass.created","store.*.updated"]`},
		"repeated ones":          {events: []walletcrew.EventName{"a:b", "*", "a:b", "*", "a:b"}, want: `["a:b","*"]`},
		"spelled in another way": {events: []walletcrew.EventName{"a:b", "A:B", "a.b"}, want: `["a:b","A:B","a.b"]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			p.RegisterNoResponder(answerWith(200, hookJSON))
			given := append([]walletcrew.EventName{}, c.events...)
			_, createErr := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: "https://shop.example", Events: c.events})
			_, patchErr := client.Webhooks.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Events: c.events, Endpoint: new("https://shop.example")})
			if c.field != "" {
				requireRefused(t, createErr, c.field, &mockedPlatform{})
				if c.events != nil { // in a patch: unchanged
					requireRefused(t, patchErr, c.field, p)
				}
				return
			}
			require.NoError(t, createErr)
			require.NoError(t, patchErr)
			require.Len(t, p.Sent, 2)
			for _, sent := range p.Sent {
				var body struct{ Events json.RawMessage }
				require.NoError(t, json.Unmarshal([]byte(sent.Body), &body))
				assert.JSONEq(t, c.want, string(body.Events))
			}
			assert.Equal(t, given, append([]walletcrew.EventName{}, c.events...), "the caller's slice isn't changed")
		})
	}
}

func TestAnIDIsCheckedBeforeSending(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, id := range []string{"", ".", "..", " ", "\t\n", " Ab3xY", "Ab3xY\n"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			_, err := client.Webhooks.Get(ctx, id)
			requireRefused(t, err, "id", p)
			_, err = client.Webhooks.Patch(ctx, id, walletcrew.WebhookPatch{Enabled: new(true)})
			requireRefused(t, err, "id", p)
			requireRefused(t, client.Webhooks.Delete(ctx, id), "id", p)
			_, err = client.Webhooks.Rotate(ctx, id)
			requireRefused(t, err, "id", p)
			_, err = walletcrew.NewClient(id, walletcrew.WithAPIKey(mockedKey))
			requireRefused(t, err, "tenantId", p)
		})
	}
}

func TestAnEmptyPatchIsRefused(t *testing.T) {
	t.Parallel()
	p, client := newMockedPlatform(t)
	_, err := client.Webhooks.Patch(context.Background(), "Ab3xY", walletcrew.WebhookPatch{})
	requireRefused(t, err, "patch", p)
	_, err = client.Webhooks.Patch(context.Background(), "Ab3xY", walletcrew.WebhookPatch{Events: []walletcrew.EventName{}})
	requireRefused(t, err, "events", p)
}

func TestNegativePagesAreRefused(t *testing.T) {
	t.Parallel()
	for _, opts := range []walletcrew.ListOptions{{PageIndex: -1}, {PageSize: -1}} {
		p, client := newMockedPlatform(t)
		_, err := client.Webhooks.List(context.Background(), &opts)
		requireRefused(t, err, "pageIndex or pageSize", p)
	}
}

func TestPatchReturnsTheWebhookAsItNowIs(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, c := range map[string]struct {
		status   int
		body     string
		requests int
	}{
		"200 with the webhook":             {200, hookJSON, 1},
		"200 without a body":               {200, "", 2},
		"200 with white space":             {200, " \r\n", 2},
		"204":                              {204, "", 2},
		"202":                              {202, "", 2},
		"200 with an empty object":         {200, "{}", 2},
		"200 with null":                    {200, "null", 2},
		"200 with an id alone":             {200, `{"id":"Ab3xY"}`, 2},
		"200 with members but without id":  {200, `{"endpoint":"https://wrong.example","enabled":false}`, 2},
		"200 with something else entirely": {200, `{"updated":true}`, 2},
		"200 with true":                    {200, "true", 2},
		"200 with a word":                  {200, "OK", 2},
		"200 with an array":                {200, "[" + hookJSON + "]", 2},
		"200 without the secret":           {200, strings.Replace(hookJSON, "signatureSecret", "x", 1), 2},
		"200 without the events":           {200, strings.Replace(hookJSON, "events", "x", 1), 2},
		"200 without enabled":              {200, strings.Replace(hookJSON, "enabled", "x", 1), 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			p.answer("PATCH", oneHookURL, c.status, c.body)
			p.answer("GET", oneHookURL, 200, hookJSON)
			got, err := client.Webhooks.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Enabled: new(true)})
			require.NoError(t, err)
			assert.Equal(t, theHook(), got)
			assert.Len(t, p.Sent, c.requests)
		})
	}
}

func TestPatchSaysThatItWasDoneWhereItCannotBeReadBack(t *testing.T) {
	t.Parallel()
	p, client := newMockedPlatform(t)
	p.answer("PATCH", oneHookURL, 204, "")
	p.answer("GET", oneHookURL, 503, "")
	_, err := client.Webhooks.Patch(context.Background(), "Ab3xY", walletcrew.WebhookPatch{Enabled: new(true)})
	require.ErrorContains(t, err, "was patched, but can't be read back")
	require.ErrorIs(t, err, walletcrew.ErrServer)
	require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "the platform has carried the patch out")
	assert.Equal(t, 1, strings.Count(err.Error(), "walletcrew:"), "the package is named once: %s", err)
}

func TestAnAnswerThatIsNoWebhookIsAnError(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, body := range map[string]string{
		"empty": "", "null": "null", "an empty object": "{}", "an array": "[]", "HTML": "<html>ok</html>", "cut": hookJSON[:40],
		"an id that is a number": `{"id":7}`, "an empty id": `{"id":""}`, "garbage after it": hookJSON + "}",
		"a redacted secret": `{"id":"Ab3xY","signatureSecret":"[redacted]"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			p.RegisterNoResponder(answerWith(200, body))
			_, err := client.Webhooks.Get(ctx, "Ab3xY")
			require.ErrorContains(t, err, "the answer was a success, but its body can't be decoded")
			require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "a GET changes nothing")
			_, err = client.Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: "https://shop.example", Events: []walletcrew.EventName{"*"}})
			require.ErrorContains(t, err, "the answer was a success, but its body can't be decoded")
			require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "a create that was answered 200 has most likely happened")
			var failed *walletcrew.RequestError
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, "POST", failed.Method)
			assert.Equal(t, hooksURL, failed.URL)
			assert.Equal(t, 1, failed.Attempts)
			assert.Len(t, p.Sent, 2, "what can't be decoded isn't asked for again")
		})
	}
}

func TestAListIsReadInEveryFormThatItMayHave(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	one := []walletcrew.Webhook{*theHook()}
	for name, c := range map[string]struct {
		body string
		want []walletcrew.Webhook
		err  string
	}{
		"an array":                       {body: "[" + hookJSON + "]", want: one},
		"an empty array":                 {body: "[]", want: []walletcrew.Webhook{}},
		"null":                           {body: "null", err: "no array"}, // not "there are none": Ensure would create
		"an object around an array":      {body: `{"total":1,"items":[` + hookJSON + `],"next":null}`, want: one},
		"an object with spaces":          {body: "{\n \"items\" :\n [" + hookJSON + "]\n}", want: one},
		"an object around an empty one":  {body: `{"items":[]}`, want: []walletcrew.Webhook{}},
		"an object with several arrays":  {body: `{"items":[],"others":[]}`, err: "several arrays"},
		"an object without an array":     {body: `{"items":{}}`, err: "no array"},
		"a webhook without events":       {body: `{"id":"Ab3xY"}`, err: "no array"},
		"a string":                       {body: `"none"`, err: "doesn't fit"},
		"nothing":                        {body: "", err: "not JSON"},
		"HTML":                           {body: "<html></html>", err: "not JSON"},
		"an array of something else":     {body: "[1]", err: "doesn't fit"},
		"an object around anything else": {body: `{"items":[1]}`, err: "doesn't fit"},
		"a broken object":                {body: `{"items":[`, err: "not JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			p.answer("GET", hooksURL, 200, c.body)
			list, err := client.Webhooks.List(ctx, nil)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				assert.Nil(t, list)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, list.Webhooks)
		})
	}
}

// paged answers the list in pages: page n names the token of page n+1 as tokens says.
func paged(p *mockedPlatform, tokens map[string]string) {
	p.RegisterResponder("GET", hooksURL, func(req *http.Request) (*http.Response, error) {
		if len(p.Sent) > 20 {
			return nil, errors.New("the client doesn't stop asking")
		}
		token := req.URL.Query().Get("continuationToken")
		resp := httpmock.NewStringResponse(200, `[{"id":"1-`+token+`","endpoint":"e"},{"id":"2-`+token+`","endpoint":"e"}]`)
		if next := tokens[token]; next != "" {
			resp.Header.Set("X-continuationToken", next)
		}
		return resp, nil
	})
}

func TestListReturnsTheContinuationToken(t *testing.T) {
	t.Parallel()
	p, client := newMockedPlatform(t)
	paged(p, map[string]string{"": "t/1=", "t/1=": ""})
	list, err := client.Webhooks.List(context.Background(), &walletcrew.ListOptions{PageSize: 2})
	require.NoError(t, err)
	assert.Equal(t, "t/1=", list.ContinuationToken)
	list, err = client.Webhooks.List(context.Background(), &walletcrew.ListOptions{PageSize: 2, ContinuationToken: list.ContinuationToken})
	require.NoError(t, err)
	assert.Empty(t, list.ContinuationToken)
}

// allIDs goes through All and returns what it yields.
func allIDs(t *testing.T, client *walletcrew.Client, opts *walletcrew.ListOptions) (found []string, errs []error) {
	t.Helper()
	for w, err := range client.Webhooks.All(context.Background(), opts) {
		if err != nil {
			assert.Nil(t, w, "an error comes without a webhook")
			errs = append(errs, err)
			continue
		}
		found = append(found, w.ID)
	}
	return found, errs
}

func TestAllFollowsTheTokensUntilTheEnd(t *testing.T) {
	t.Parallel()
	p, client := newMockedPlatform(t)
	paged(p, map[string]string{"": "b", "b": "c", "c": ""})
	found, errs := allIDs(t, client, nil)
	assert.Empty(t, errs)
	assert.Equal(t, []string{"1-", "2-", "1-b", "2-b", "1-c", "2-c"}, found)
	assert.Len(t, p.Sent, 3)
}

func TestAllLeavesTheCallersOptionsAlone(t *testing.T) {
	t.Parallel()
	p, client := newMockedPlatform(t)
	paged(p, map[string]string{"start": "b", "b": ""})
	opts := &walletcrew.ListOptions{PageIndex: 3, PageSize: 2, ContinuationToken: "start"}
	found, errs := allIDs(t, client, opts)
	assert.Empty(t, errs)
	assert.Equal(t, []string{"1-start", "2-start", "1-b", "2-b"}, found)
	assert.Equal(t, &walletcrew.ListOptions{PageIndex: 3, PageSize: 2, ContinuationToken: "start"}, opts)
	assert.Equal(t, hooksURL+"?continuationToken=start&pageIndex=3&pageSize=2", p.Sent[0].URL)
	assert.Equal(t, hooksURL+"?continuationToken=b&pageSize=2", p.Sent[1].URL, "the token says where to go on")
}

func TestAllCanBeRangedOverTwice(t *testing.T) {
	t.Parallel()
	p, client := newMockedPlatform(t)
	paged(p, map[string]string{"": "b"})
	all := client.Webhooks.All(context.Background(), nil)
	assert.Empty(t, p.Sent, "nothing is asked before the loop begins")
	for range 2 {
		n := 0
		for _, err := range all {
			require.NoError(t, err)
			n++
		}
		assert.Equal(t, 4, n)
	}
}

func TestAllStopsAskingWhenTheLoopBreaks(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 4; n++ {
		p, client := newMockedPlatform(t)
		paged(p, map[string]string{"": "b", "b": "c", "c": "d"})
		seen := 0
		for _, err := range client.Webhooks.All(context.Background(), nil) {
			require.NoError(t, err)
			if seen++; seen == n {
				break
			}
		}
		assert.Len(t, p.Sent, (n+1)/2, "after %d webhooks of two per page", n)
	}
}

func TestAllYieldsAnErrorOnceAndEnds(t *testing.T) {
	t.Parallel()
	p, client := newMockedPlatform(t)
	p.RegisterResponder("GET", hooksURL, answerWith(200, "["+hookJSON+"]", "X-continuationToken", "b").
		Then(answerWith(403, "")).Then(answerWith(200, "[]")))
	found, errs := allIDs(t, client, nil)
	assert.Equal(t, []string{"Ab3xY"}, found, "what came before the error counts")
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], walletcrew.ErrForbidden)
	assert.Len(t, p.Sent, 2)
}

func TestAllEndsWithAWarningWhenATokenRepeats(t *testing.T) {
	t.Parallel()
	for name, tokens := range map[string]map[string]string{
		"on the last page": {"": "b", "b": "b"},
		"in a circle":      {"": "b", "b": "c", "c": "d", "d": "b"},
		"to the beginning": {"start": "b", "b": "start"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			p, client := newMockedPlatform(t, walletcrew.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			paged(p, tokens)
			opts := &walletcrew.ListOptions{}
			if _, ok := tokens["start"]; ok {
				opts.ContinuationToken = "start"
			}
			found, errs := allIDs(t, client, opts)
			assert.Empty(t, errs, "what there is has been read")
			assert.Len(t, found, 2*len(tokens), "each webhook comes once")
			assert.Len(t, p.Sent, len(tokens)+1, "one page is asked for again, to see that nothing new comes")
			assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
			assert.Contains(t, log.String(), "goes in a circle")
		})
	}
}

func TestAllEndsWithAnErrorWhenTheListHasNoEnd(t *testing.T) {
	t.Parallel()
	asked := 0
	client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		asked++
		return respond(req, 200, fmt.Sprintf(`[{"id":"id%d"}]`, asked), "X-continuationToken", strconv.Itoa(asked)), nil
	}))
	found, errs := allIDs(t, client, nil)
	require.Len(t, errs, 1)
	require.ErrorContains(t, errs[0], "the list has no end: 10000 pages")
	require.ErrorIs(t, errs[0], walletcrew.ErrListIncomplete)
	assert.Len(t, found, 10_000, "what came before counts")
	assert.Equal(t, 10_000, asked)
}

func TestAllEndsWithAnErrorWhenPagesBringNothingNewForEver(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"the same page": "[" + hookJSON + "]", "empty pages": "[]"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
				asked++ // the token is another each time, and our parameter is ignored
				return respond(req, 200, body, "X-continuationToken", strconv.Itoa(asked)), nil
			}))
			_, errs := allIDs(t, client, nil)
			require.Len(t, errs, 1)
			require.ErrorContains(t, errs[0], "goes in a circle")
			require.ErrorIs(t, errs[0], walletcrew.ErrListIncomplete)
			assert.LessOrEqual(t, asked, 102)
		})
	}
}

func TestAllGoesOnAfterEmptyPages(t *testing.T) {
	t.Parallel()
	asked := 0
	client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		if asked++; asked < 50 {
			return respond(req, 200, "[]", "X-continuationToken", strconv.Itoa(asked)), nil
		}
		return respond(req, 200, "["+hookJSON+"]"), nil
	}))
	ids, errs := allIDs(t, client, nil)
	assert.Empty(t, errs)
	assert.Equal(t, []string{"Ab3xY"}, ids)
}

func TestListErrorsArePassedOn(t *testing.T) {
	t.Parallel()
	p, client := newMockedPlatform(t)
	p.answer("GET", hooksURL, 401, "")
	_, err := client.Webhooks.List(context.Background(), nil)
	require.ErrorIs(t, err, walletcrew.ErrUnauthorized)
	_, err = client.Webhooks.Ensure(context.Background(), walletcrew.WebhookSpec{Endpoint: "https://shop.example", Events: []walletcrew.EventName{"*"}})
	require.ErrorIs(t, err, walletcrew.ErrUnauthorized, "Ensure doesn't create where it can't look")
	for _, sent := range p.Sent {
		assert.Equal(t, "GET", sent.Method)
	}
}
