package cloudevents_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/cloudevents"
	"github.com/thewalletcrew/walletcrew-go/receiver"

	"net/http"
	"net/http/httptest"
)

func parsed(t testing.TB, name walletcrew.EventName, tenant, body string) *walletcrew.Event {
	t.Helper()
	e, err := walletcrew.ParseEvent(name, []byte(body))
	require.NoError(t, err)
	e.TenantID, e.ReceivedAt = tenant, time.Date(2026, 11, 28, 9, 30, 0, 123456789, time.UTC)
	return e
}

func TestTheAttributesAreThoseOfTheEvent(t *testing.T) {
	t.Parallel()
	ce, err := cloudevents.To(receiver.WithKey(context.Background(), "t/shop/e-1"), parsed(t, walletcrew.EventPassInstalled, "shop", `{"__id":"e-1"}`))
	require.NoError(t, err)
	assert.Equal(t, "1.0", ce.SpecVersion())
	assert.Equal(t, "e-1", ce.ID())
	assert.Equal(t, "/walletcrew/tenants/shop", ce.Source())
	assert.Equal(t, "io.thewalletcrew.pass.installed", ce.Type())
	assert.Equal(t, "application/json", ce.DataContentType())
	assert.Equal(t, time.Date(2026, 11, 28, 9, 30, 0, 123456789, time.UTC), ce.Time())
	assert.Equal(t, map[string]any{"walletcrewkey": "t/shop/e-1"}, ce.Extensions())
	text, err := json.Marshal(ce)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"data":{"__id":"e-1"}`, "in structured mode the data is JSON that a filter can read")
}

var bodies = []string{
	`{"__id":"e-1"}`, `{}`, "{ \"__id\" :\t\"e-1\",\r\n \"n\": 1.50e+2, \"big\":123456789012345678901234567890 }",
	`{"__id":"a\u00e9\/\u002B","lone":"\ud800"}`, " {\"__id\":\"e-1\"}\n", "\ufeff{\"__id\":\"e-1\"}", `{"<>":"<&>"}`, `{"deep":[[[{"a":null}]]]}`,
	`{"__id":"line\nbreak"}`, `{"__id":"\u007f"}`, `{"__id":42}`,
}

var names = []walletcrew.EventName{
	walletcrew.EventPassInstalled, walletcrew.EventPassUpdateSent, walletcrew.EventCustomerUpserted, "Pass:Expired", "store.Opened", "Büro:Öffnet", "",
	"pass:Installed ", "a/b%c",
}

// Each way that an event can travel.
var ways = map[string]func(*testing.T, event.Event) event.Event{
	"as it is": func(_ *testing.T, ce event.Event) event.Event { return ce },
	"JSON": func(t *testing.T, ce event.Event) event.Event {
		text, err := json.Marshal(ce)
		require.NoError(t, err)
		var back event.Event
		require.NoError(t, json.Unmarshal(text, &back))
		return back
	},
	"HTTP, binary":     overHTTP(binding.WithForceBinary),
	"HTTP, structured": overHTTP(binding.WithForceStructured),
}

func overHTTP(mode func(context.Context) context.Context) func(*testing.T, event.Event) event.Event {
	return func(t *testing.T, ce event.Event) event.Event {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		require.NoError(t, cehttp.WriteRequest(mode(t.Context()), binding.ToMessage(&ce), r))
		back, err := binding.ToEvent(t.Context(), cehttp.NewMessageFromHttpRequest(r))
		require.NoError(t, err)
		return *back
	}
}

func TestAnEventComesBackToTheByte(t *testing.T) {
	t.Parallel()
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := receiver.WithHeaders(receiver.WithKey(context.Background(), "t/shop/e%201"), map[string]string{"traceparent": trace, "other": "x"})
	for way, travel := range ways {
		for _, body := range bodies {
			for _, name := range names {
				for _, tenant := range []string{"shop", "", "a/b c%", "Büro"} {
					e := parsed(t, name, tenant, body)
					ce, err := cloudevents.To(ctx, e)
					require.NoError(t, err, "%s %q %q", way, name, body)
					require.NoError(t, ce.Validate())
					got, back, err := cloudevents.From(context.Background(), travel(t, ce))
					require.NoError(t, err, "%s %q %q", way, name, body)
					require.Equal(t, e, back, "%s", way)
					require.Equal(t, "t/shop/e%201", receiver.Key(got))
					require.Equal(t, map[string]string{"traceparent": trace}, receiver.Headers(got))
				}
			}
		}
	}
}

func TestAnEventWithoutAnIDIsNeverADuplicate(t *testing.T) {
	t.Parallel()
	e := parsed(t, walletcrew.EventPassCreated, "shop", `{}`)
	one, err := cloudevents.To(context.Background(), e)
	require.NoError(t, err)
	two, err := cloudevents.To(context.Background(), e)
	require.NoError(t, err)
	assert.NotEmpty(t, one.ID())
	assert.NotEqual(t, one.ID(), two.ID())
	assert.NotContains(t, one.Extensions(), cloudevents.ExtensionKey)
	ctx, _, err := cloudevents.From(receiver.WithKey(context.Background(), "another event's"), one)
	require.NoError(t, err)
	assert.Empty(t, receiver.Key(ctx))
}

func TestWhatIsNotOursIsAnError(t *testing.T) {
	t.Parallel()
	_, err := cloudevents.To(context.Background(), nil)
	require.ErrorContains(t, err, "no body")
	_, err = cloudevents.To(context.Background(), new(walletcrew.Event))
	require.ErrorContains(t, err, "no body")

	ours, err := cloudevents.To(context.Background(), parsed(t, walletcrew.EventPassCreated, "shop", `{"__id":"e-1"}`))
	require.NoError(t, err)
	for why, change := range map[string]func(*event.Event){
		"type":           func(ce *event.Event) { ce.SetType("com.github.push") },
		"source":         func(ce *event.Event) { ce.SetSource("https://example.com/") },
		"other path":     func(ce *event.Event) { ce.SetSource("/other/tenants/shop") },
		"name's form":    func(ce *event.Event) { ce.SetExtension(cloudevents.ExtensionName, "%zz") },
		"nothing at all": func(ce *event.Event) { *ce = event.New() },
	} {
		ce := ours.Clone()
		change(&ce)
		_, _, err = cloudevents.From(context.Background(), ce)
		require.ErrorIs(t, err, cloudevents.ErrNotOurs, why)
	}
	broken := ours.Clone()
	broken.DataEncoded = []byte("[]")
	_, _, err = cloudevents.From(context.Background(), broken)
	require.ErrorIs(t, err, walletcrew.ErrInvalidPayload)
}

func FuzzTheWayBack(f *testing.F) {
	for _, body := range bodies {
		for _, name := range names {
			f.Add(string(name), "shop", body)
		}
	}
	f.Fuzz(func(t *testing.T, name, tenant, body string) {
		e, err := walletcrew.ParseEvent(walletcrew.EventName(strings.ToValidUTF8(name, "")), []byte(body))
		if err != nil {
			t.Skip()
		}
		e.TenantID = strings.ToValidUTF8(tenant, "")
		ce, err := cloudevents.To(t.Context(), e)
		require.NoError(t, err)
		_, back, err := cloudevents.From(t.Context(), ways["JSON"](t, ce))
		require.NoError(t, err)
		require.Equal(t, e, back)
	})
}
