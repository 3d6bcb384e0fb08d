package walletcrewtest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A receiver keeps what was delivered to it.
type fakeReceiver struct {
	*httptest.Server
	mu  sync.Mutex
	got []received
}

type received struct {
	method, path, body string
	header             http.Header
}

func newReceiver(t *testing.T, start func(http.Handler) *httptest.Server, status int) *fakeReceiver {
	t.Helper()
	r := &fakeReceiver{}
	r.Server = start(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		assert.NoError(t, err)
		r.mu.Lock()
		r.got = append(r.got, received{req.Method, req.URL.Path, string(body), req.Header})
		r.mu.Unlock()
		if status/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *fakeReceiver) received() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got
}

func subscribe(t *testing.T, s *walletcrewtest.Server, endpoint string, events ...walletcrew.EventName) *walletcrew.Webhook {
	t.Helper()
	w, err := s.Client().Webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: endpoint, Events: events})
	require.NoError(t, err)
	return w
}

func TestEmitDeliversToEachWebhookThatSubscribes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := newReceiver(t, httptest.NewServer, http.StatusAccepted)
	one := subscribe(t, s, r.URL+"/one", "Pass:Installed", "Pass:*")
	subscribe(t, s, r.URL+"/other", "Customer:*", "Pass:Updated")
	off := subscribe(t, s, r.URL+"/off", "*")
	_, err := s.Client().Webhooks.Patch(t.Context(), off.ID, walletcrew.WebhookPatch{Enabled: new(false)})
	require.NoError(t, err)
	two := subscribe(t, s, r.URL+"/one", "pass.*")

	deliveries, err := s.Emit(t.Context(), walletcrew.EventPassInstalled, walletcrew.PassInstalled{
		Pass:   walletcrew.Pass{PassID: "p-1", Identifiers: walletcrew.Values{"customerId": "C-42"}},
		Device: walletcrew.Device{Platform: "apple"},
	})
	require.NoError(t, err)
	got := r.received()
	require.Len(t, got, 2, "one for each enabled webhook with a pattern that fits, once though two patterns do")
	for i, w := range []*walletcrew.Webhook{one, two} {
		assert.Equal(t, http.MethodPost, got[i].method)
		assert.Equal(t, "/one", got[i].path)
		assert.Equal(t, "application/json", got[i].header.Get("Content-Type"))
		assert.Equal(t, "Pass:Installed", got[i].header.Get("x-neostore-eventname"))
		assert.Equal(t, s.TenantID, got[i].header.Get("x-neostore-tenantid"))
		signature := got[i].header.Get("x-neostore-signature")
		require.NoError(t, walletcrew.VerifySignature([]byte(got[i].body), signature, w.SignatureSecret))
		assert.Equal(t, walletcrewtest.Delivery{WebhookID: w.ID, EventID: deliveries[0].EventID, Name: "Pass:Installed", Body: deliveries[0].Body, StatusCode: 202}, deliveries[i])
	}
	assert.Len(t, deliveries, 2)
	assert.Equal(t, got[0].body, got[1].body, "one event has one body")
	assert.NotEqual(t, got[0].header.Get("x-neostore-signature"), got[1].header.Get("x-neostore-signature"), "each has its own secret")

	e, err := walletcrew.ParseEvent("Pass:Installed", []byte(got[0].body))
	require.NoError(t, err)
	assert.Equal(t, deliveries[0].EventID, e.ID)
	data, ok := e.Data.(*walletcrew.PassInstalled)
	require.True(t, ok)
	assert.Equal(t, "p-1", data.PassID)
	assert.Equal(t, "apple", data.Device.Platform)
	assert.Len(t, e.Metadata(), 1, "no metadata member is made up")
}

func TestDeliverSendsExactlyTheseBytes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := newReceiver(t, httptest.NewServer, http.StatusNoContent)
	w := subscribe(t, s, r.URL, "*")
	bodies := map[string]string{ // to the event's id
		" {\"__id\" : \"e-1\"}\n":       "e-1",
		`{"__id":12345678901234567890}`: "12345678901234567890",
		`{"passId":"p"}`:                "",
		`not JSON`:                      "",
		"":                              "",
	}
	for body, id := range bodies {
		for range 2 { // again, as the platform may
			deliveries, err := s.Deliver(t.Context(), "New:Event", []byte(body))
			require.NoError(t, err)
			assert.Equal(t, []walletcrewtest.Delivery{{WebhookID: w.ID, EventID: id, Name: "New:Event", Body: []byte(body), StatusCode: 204}}, deliveries)
			got := r.received()
			last := got[len(got)-1]
			assert.Equal(t, body, last.body)
			require.NoError(t, walletcrew.VerifySignature([]byte(body), last.header.Get("X-Neostore-Signature"), w.SignatureSecret))
		}
	}
	assert.Len(t, r.received(), 2*len(bodies))
}

func TestDeliveriesThatFail(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const dead = "http://127.0.0.1:1" // where nobody listens; a closed server's port may be another test's by now
	broken := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what is left unread would reset the connection
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(broken.Close)
	refusing, redirecting := newReceiver(t, httptest.NewServer, 500), newReceiver(t, httptest.NewServer, http.StatusTemporaryRedirect)
	for _, endpoint := range []string{dead, refusing.URL, broken.URL, redirecting.URL} {
		subscribe(t, s, endpoint, "*")
	}
	deliveries, err := s.Emit(t.Context(), walletcrew.EventPassCreated, nil)
	require.NoError(t, err, "what a receiver does isn't an error of Emit")
	require.Len(t, deliveries, 4)
	for i, w := range s.Webhooks() {
		assert.Equal(t, w.ID, deliveries[i].WebhookID, "in order of the webhooks")
	}
	require.ErrorContains(t, deliveries[0].Err, "refused")
	assert.Zero(t, deliveries[0].StatusCode)
	require.NoError(t, deliveries[1].Err)
	assert.Equal(t, 500, deliveries[1].StatusCode)
	require.ErrorIs(t, deliveries[2].Err, io.EOF)
	require.NoError(t, deliveries[3].Err)
	assert.Equal(t, 307, deliveries[3].StatusCode)
	assert.Len(t, redirecting.received(), 1, "a redirect isn't followed")
}

func TestABodyThatIsEncodedAgainIsAnotherOne(t *testing.T) {
	t.Parallel()
	type own struct {
		ID     string `json:"__id"`
		PassID string `json:"passId"`
	}
	for name, data := range map[string]any{
		"nothing": nil, "a map": map[string]any{"passId": "p-1", "device": "apple"}, "a map with an id": map[string]string{"__id": "7", "passId": "p-1"},
		"a struct": own{"7", "p-1"}, "a payload": walletcrew.PassInstalled{Pass: walletcrew.Pass{PassID: "p-1"}}, "JSON": json.RawMessage(`{"a":1}`),
	} {
		body := walletcrewtest.Payload(walletcrew.EventPassInstalled, data)
		var members map[string]any
		require.NoError(t, json.Unmarshal(body, &members))
		again, err := json.Marshal(members)
		require.NoError(t, err)
		assert.NotEqual(t, string(body), string(again), "%s: a middleware that does this breaks every signature in production", name)
		var compact bytes.Buffer
		require.NoError(t, json.Compact(&compact, body))
		assert.NotEqual(t, string(body), compact.String(), name)
	}
}

func TestADeliverySaysWhatCameOfIt(t *testing.T) {
	t.Parallel()
	d := walletcrewtest.Delivery{WebhookID: "aB3dE", Name: "Pass:Installed", Body: []byte(`{"__id":"1"}`), StatusCode: 503}
	assert.Equal(t, `[Pass:Installed to webhook aB3dE: 503 Service Unavailable ({"__id":"1"})]`, fmt.Sprint([]walletcrewtest.Delivery{d}))
	d.StatusCode, d.Err = 0, errors.New("connection refused")
	assert.Contains(t, d.String(), ": no answer: connection refused (")
	d.Body = bytes.Repeat([]byte("é"), 1000)
	assert.Contains(t, d.String(), "(é")
	assert.Contains(t, d.String(), "é...)")
	assert.Less(t, len(d.String()), 600)
	assert.Len(t, d.Body, 2000, "it is left as it is")
}

func TestEmitErrors(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := newReceiver(t, httptest.NewServer, 204)
	subscribe(t, s, r.URL, "*")

	_, err := s.Emit(t.Context(), walletcrew.EventPassCreated, "text")
	require.ErrorContains(t, err, "not a JSON object")
	_, err = s.Emit(t.Context(), "", nil)
	require.ErrorContains(t, err, "name")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	deliveries, err := s.Emit(ctx, walletcrew.EventPassCreated, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, deliveries, 1)
	require.ErrorIs(t, deliveries[0].Err, context.Canceled)

	assert.Empty(t, r.received())
	deliveries, err = newServer(t).Emit(t.Context(), walletcrew.EventPassCreated, nil)
	require.NoError(t, err)
	assert.Empty(t, deliveries, "nobody subscribed")
}

func TestReceiverWithTLS(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, httptest.NewTLSServer, 302)
	hc := r.Client()
	s := newServer(t, walletcrewtest.WithHTTPClient(hc))
	subscribe(t, s, r.URL, "*")
	deliveries, err := s.Emit(t.Context(), walletcrew.EventPassCreated, nil)
	require.NoError(t, err)
	require.NoError(t, deliveries[0].Err)
	assert.Equal(t, 302, deliveries[0].StatusCode)
	assert.Len(t, r.received(), 1)
	assert.Nil(t, hc.CheckRedirect, "the caller's client isn't changed")
}

func TestSignaturesInAnotherSpelling(t *testing.T) {
	t.Parallel()
	s := newServer(t, walletcrewtest.WithSign(func(secret walletcrew.Secret, body []byte) string {
		sum, err := hex.DecodeString(walletcrew.Sign(secret, body))
		require.NoError(t, err)
		return "sha256=" + base64.StdEncoding.EncodeToString(sum)
	}))
	r := newReceiver(t, httptest.NewServer, 204)
	w := subscribe(t, s, r.URL, "*")
	_, err := s.Emit(t.Context(), walletcrew.EventPassCreated, nil)
	require.NoError(t, err)
	signature := r.received()[0].header.Get("X-Neostore-Signature")
	assert.Regexp(t, `^sha256=[A-Za-z0-9+/]{43}=$`, signature)
	require.NoError(t, walletcrew.VerifySignature([]byte(r.received()[0].body), signature, w.SignatureSecret))
}

func TestNewRequest(t *testing.T) {
	t.Parallel()
	body := []byte(`{"__id":"e-1"}`)
	r := walletcrewtest.NewRequest("/hook?x=1", "s3cret", "shop", walletcrew.EventPassUpdated, body)
	assert.Equal(t, http.MethodPost, r.Method)
	assert.Equal(t, "/hook", r.URL.Path)
	assert.Equal(t, "x=1", r.URL.RawQuery)
	assert.Equal(t, int64(len(body)), r.ContentLength)
	assert.Equal(t, http.Header{
		"Content-Type":         {"application/json"},
		"X-Neostore-Signature": {walletcrew.Sign("s3cret", body)},
		"X-Neostore-Eventname": {"Pass:Updated"},
		"X-Neostore-Tenantid":  {"shop"},
	}, r.Header)
	got, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	assert.Equal(t, body, got)
	assert.Panics(t, func() { walletcrewtest.NewRequest("no target", "s", "t", "n", nil) })
}

func TestPayload(t *testing.T) {
	t.Parallel()
	type named struct {
		ID   int    `json:"__id"`
		Name string `json:"name"`
	}
	var noPass *walletcrew.PassCreated
	fresh := map[string]struct {
		data any
		rest string // without __id
	}{
		"nil":             {nil, `{}`},
		"a nil pointer":   {noPass, `{}`},
		"nil bytes":       {[]byte(nil), `{}`},
		"a nil map":       {map[string]string(nil), `{}`},
		"no members":      {walletcrew.CustomerUpserted{}, `{}`},
		"an empty object": {json.RawMessage(" { } "), `{}`},
		"a map":           {map[string]any{"passId": "p<1>", "n": 1.5}, `{"passId":"p<1>","n":1.5}`},
		"a payload type":  {&walletcrew.PassCreated{Pass: walletcrew.Pass{PassID: "p"}}, `{"passId":"p"}`},
		"members": {walletcrew.CustomerUpserted{Members: map[string]json.RawMessage{"a": json.RawMessage("[1]")}},
			`{"a":[1]}`},
		"JSON as bytes":        {[]byte("\n{\"b\": {\"__id\":1}, \"a\": 2 }"), `{"b":{"__id":1},"a":2}`},
		"JSON as a RawMessage": {json.RawMessage(`{"a":12345678901234567890}`), `{"a":12345678901234567890}`},
	}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for name, test := range fresh {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := walletcrewtest.Payload("X:Y", test.data)
			var members map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(body, &members), string(body))
			var id string
			require.NoError(t, json.Unmarshal(members["__id"], &id))
			assert.Regexp(t, uuid, id)
			delete(members, "__id")
			rest, err := json.Marshal(members)
			require.NoError(t, err)
			assert.JSONEq(t, test.rest, string(rest))
			assert.NotContains(t, string(walletcrewtest.Payload("X:Y", test.data)), id, "the next has another")
		})
	}

	for name, test := range map[string]struct {
		data any
		want string
	}{
		"of a struct": {named{7, "n"}, `{ "__id":7,"name":"n"}`},
		"of bytes":    {[]byte(" {\"a\":1, \"__id\": null}\n"), " {\"a\":1, \"__id\": null}\n"},
		"empty":       {map[string]string{"__id": ""}, `{ "__id":""}`},
	} {
		t.Run("an id is kept: "+name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, string(walletcrewtest.Payload("X:Y", test.data)))
		})
	}

	for _, data := range []any{1, "text", []int{1}, true, []byte("[]"), []byte(""), []byte("{"), json.RawMessage("1"), func() {}, make(chan int)} {
		assert.Panics(t, func() { walletcrewtest.Payload("X:Y", data) }, "%T", data)
	}
}

func TestPayloadDoesNotShareMemoryWithItsArgument(t *testing.T) {
	t.Parallel()
	data := []byte(`{"__id":"a"}`)
	body := walletcrewtest.Payload("X:Y", data)
	data[9] = 'b'
	assert.Equal(t, `{"__id":"a"}`, string(body))
}
