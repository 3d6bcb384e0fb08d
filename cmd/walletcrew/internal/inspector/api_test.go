package inspector

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// firstMessage reads what a stream says first, until the event that has an id.
func firstMessage(t testing.TB, o *opened, after string) (items []item, text string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next := o.stream(t, ctx, after)
	for {
		id, m, raw := next()
		items, text = append(items, m.Items...), text+raw
		if id != "" {
			return items, text
		}
	}
}

// stream opens one; each call of what it returns waits for a message. After the last one the text is "".
func (o *opened) stream(t testing.TB, ctx context.Context, after string) func() (id string, m message, raw string) { //nolint:revive // t first, as everywhere
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url+"/api/stream", nil)
	require.NoError(t, err)
	if after != "" {
		r.Header.Set("Last-Event-ID", after)
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	lines := bufio.NewReader(response.Body)
	return func() (id string, m message, raw string) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return "", message{}, ""
			}
			raw += line
			line = strings.TrimSuffix(line, "\n")
			if value, found := strings.CutPrefix(line, "id: "); found {
				id = value
			}
			if value, found := strings.CutPrefix(line, "data: "); found {
				require.NoError(t, json.Unmarshal([]byte(value), &m))
				return id, m, raw
			}
		}
	}
}

func TestTheStreamSendsWhatIsNewOrChanged(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	o.store.Add(Record{ID: "a", Verdict: Verified})
	next := o.stream(t, t.Context(), "")
	id, m, _ := next()
	require.Len(t, m.Items, 1)
	assert.Equal(t, o.instance, m.Instance)
	o.store.Update("a", func(r *Record) { r.Status, r.Duration = 204, 1500*time.Microsecond })
	_, m, _ = next()
	require.Len(t, m.Items, 1)
	assert.Equal(t, 204, m.Items[0].Status)
	assert.InDelta(t, 1.5, m.Items[0].DurationMs, 0.001)

	items, _ := firstMessage(t, o, id)
	assert.Len(t, items, 1, "after the first message, one has changed")
	last, _, _ := o.stream(t, t.Context(), "")()
	items, _ = firstMessage(t, o, last)
	assert.Empty(t, items, "a page that knows all gets nothing again")
	items, _ = firstMessage(t, o, "another-999")
	assert.Len(t, items, 1, "what another process said counts for nothing")
}

func TestAFullStoreComesInSeveralMessages(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	for n := range 10_000 {
		o.store.Add(Record{ID: fmt.Sprint(n), Verdict: Verified})
	}
	items, _ := firstMessage(t, o, "")
	require.Len(t, items, 10_000)
	for n, item := range items {
		require.Equal(t, uint64(n+1), item.Seq)
	}
}

// A header may have a megabyte, and the page holds 10,000 rows.
func TestARowIsShortHoweverLongASendersTextIs(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	long := strings.Repeat("é", 1<<19)
	o.store.Add(Record{ID: "a", Verdict: Forged, Event: long, Tenant: long, EventID: long})
	items, _ := firstMessage(t, o, "")
	for _, text := range []string{items[0].Event, items[0].Tenant, items[0].EventID} {
		assert.Less(t, len(text), 300)
		assert.True(t, utf8.ValidString(text))
	}
	var d detail
	require.NoError(t, json.NewDecoder(o.request(t, http.MethodGet, "/api/records/a", "", nil).Body).Decode(&d))
	assert.Equal(t, long, d.Event, "the delivery itself has all of it")
}

func TestCloseEndsTheStreams(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	next := o.stream(t, t.Context(), "")
	next()
	o.Close()
	_, _, raw := next()
	assert.Empty(t, strings.TrimSpace(strings.ReplaceAll(raw, ":", "")), "the stream is over")
	o.Close()
	assert.Equal(t, http.StatusOK, o.request(t, http.MethodGet, "/", "", nil).StatusCode, "all else goes on")
}

func TestADeliveryIsShownAsItCame(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	r := delivery("Pass:Created", `{"__id":"one", "big":12345678901234567890, "a":1, "a":2}`)
	r.Findings = []string{"because"}
	o.store.Add(r)
	again := r
	again.ID, again.Duplicate = "again", true
	o.store.Add(again)
	binary := r
	binary.ID, binary.Body = "binary", []byte{0xff, 0x00}
	o.store.Add(binary)

	var d detail
	require.NoError(t, json.Unmarshal([]byte(bodyOf(t, o.request(t, http.MethodGet, "/api/records/"+r.ID, "", nil))), &d))
	assert.Equal(t, string(r.Body), d.Body)
	assert.Equal(t, []string{"because"}, d.Findings)
	assert.Len(t, d.Same, 2)
	assert.Contains(t, d.Headers, [2]string{"X-Neostore-Eventname", "Pass:Created"})

	d = detail{}
	require.NoError(t, json.Unmarshal([]byte(bodyOf(t, o.request(t, http.MethodGet, "/api/records/binary", "", nil))), &d))
	assert.Equal(t, binary.Body, d.BodyBase64)
	assert.Equal(t, string(binary.Body), bodyOf(t, o.request(t, http.MethodGet, "/api/records/binary/body", "", nil)))

	response := o.request(t, http.MethodGet, "/api/records/"+r.ID+"/event", "", nil)
	assert.Equal(t, "attachment; filename=delivery-"+r.ID+".jsonl", response.Header.Get("Content-Disposition"))
	line := bodyOf(t, response)
	assert.Equal(t, 1, strings.Count(line, "\n"))
	var event map[string]any
	require.NoError(t, json.Unmarshal([]byte(line), &event))
	assert.Equal(t, string(r.Body), event["body"])
	assert.Equal(t, "Pass:Created", event["name"])
	assert.Equal(t, "acme", event["tenantId"])
	assert.Equal(t, http.StatusConflict, o.request(t, http.MethodGet, "/api/records/binary/event", "", nil).StatusCode)
	assert.Equal(t, http.StatusNotFound, o.request(t, http.MethodGet, "/api/records/none", "", nil).StatusCode)
}

func TestADownloadIsAnEventThatCanBeReplayed(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	r := delivery("Pass:Installed", `{ "__id":"one","passId":"<p&1>","name":"Zoë" }`)
	o.store.Add(r)
	var event walletcrew.Event
	require.NoError(t, json.Unmarshal([]byte(bodyOf(t, o.request(t, http.MethodGet, "/api/records/"+r.ID+"/event", "", nil))), &event))
	assert.Equal(t, string(r.Body), string(event.Raw), "to the byte")
	assert.Equal(t, walletcrew.EventPassInstalled, event.Name)
	assert.Equal(t, "acme", event.TenantID)
	assert.True(t, r.Time.Equal(event.ReceivedAt))
}

func TestTheBodiesAreSearched(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	o.store.Add(delivery("Pass:Created", `{"customerId":"C-42"}`))
	o.store.Add(delivery("Pass:Created", `{"customerId":"C-43"}`))
	assert.JSONEq(t, `{"seqs":[1]}`, bodyOf(t, o.request(t, http.MethodGet, "/api/search?q=c-42", "", nil)))
	assert.JSONEq(t, `{"seqs":[]}`, bodyOf(t, o.request(t, http.MethodGet, "/api/search?q=", "", nil)))
}

func TestTheButtonsCallTheCommand(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	r := delivery("Pass:Created", `{"__id":"one"}`)
	o.store.Add(r)
	for _, action := range []string{"replay", "duplicate", "tamper"} {
		response := o.request(t, http.MethodPost, "/api/records/"+r.ID+"/"+action, "{}", nil)
		assert.Equal(t, http.StatusOK, response.StatusCode)
		assert.Contains(t, bodyOf(t, response), `"id":"`)
	}
	for body, status := range map[string]int{
		`{"event":"Pass:Updated","tenant":"acme","body":"{ }","fromID":"x","sign":"wrong"}`: http.StatusOK,
		`{"event":"Pass:Updated","sign":"otherwise"}`:                                       http.StatusBadRequest,
		`{"unknown":1}`: http.StatusBadRequest,
		`{`:             http.StatusBadRequest,
		`{"body":"` + strings.Repeat("a", maxSend) + `"}`: http.StatusRequestEntityTooLarge,
	} {
		assert.Equal(t, status, o.request(t, http.MethodPost, "/api/send", body, nil).StatusCode, body[:min(len(body), 50)])
	}
	assert.Equal(t, http.StatusUnsupportedMediaType, o.request(t, http.MethodPost, "/api/send", `{}`, func(r *http.Request) {
		r.Header.Set("Content-Type", "text/plain")
	}).StatusCode, "a form of another site could send that")
	assert.Equal(t, []string{"replay " + r.ID, "duplicate " + r.ID, "tamper " + r.ID, "send Pass:Updated acme from=x sign=wrong"}, o.fake.called())
	assert.Equal(t, []string{"{ }"}, o.fake.sent, "the bytes are those of the form")
}

func TestAWebhookIsSwitchedInDevOnly(t *testing.T) {
	t.Parallel()
	for mode, status := range map[string]int{Dev: http.StatusOK, Listen: http.StatusForbidden} {
		o := open(t, Options{Mode: mode})
		o.fake.webhooks = []Webhook{{ID: "a/../b", Enabled: true}}
		assert.Equal(t, status, o.request(t, http.MethodPost, "/api/webhooks", `{"id":"a/../b","enabled":false}`, nil).StatusCode, mode)
		assert.Equal(t, mode == Listen, o.fake.webhooks[0].Enabled)
	}
	o := open(t, Options{})
	assert.Equal(t, http.StatusBadRequest, o.request(t, http.MethodPost, "/api/webhooks", `{"id":"a"}`, nil).StatusCode, "on or off must be said")
}
