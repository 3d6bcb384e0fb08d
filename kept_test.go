package walletcrew_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

func TestAnEventIsReadBackAsItWas(t *testing.T) {
	t.Parallel()
	for what, body := range map[string]string{
		"created": createdBody, "installed": installedBody, "customer": customerBody, "white space": " \r\n" + installedBody + "\n\t",
		"a byte order mark": "\ufeff" + createdBody, "escapes": `{"__id":"a\"\\\/\u00e9","b":"\u2028"}`, "half a pair": `{"a":"\ud83d","b":"\udfff"}`,
		"characters": "{\"a\":\"é😀\u2028\u2029\ufffd<>&\x7f\"}", "numbers": `{"n":12345678901234567890.10,"m":1.0}`, "a misfit": `{"passId":7,"passKind":{}}`,
		"a passId that doesn't fit": `{"passId":[]}`, "the name in it": `{"__eventName":"Pass:Installed","__id":1}`,
	} {
		for _, name := range append(knownEvents, "Order:Shipped", "", "pass.created", `a "name" & <more>`) {
			e := mustParse(t, name, body)
			e.TenantID, e.ReceivedAt = "ac\"me<é", time.Date(2026, 11, 28, 5, 0, 0, 123456789, time.UTC)
			for how, written := range map[string][]byte{"pointer": marshal(t, e), "value": marshal(t, *e)} {
				var read walletcrew.Event
				require.NoError(t, json.Unmarshal(written, &read), "%s, %s", what, name)
				assert.Equal(t, body, string(read.Raw), "%s: the body, to the byte", what)
				if e.DataErr != nil {
					assert.EqualError(t, read.DataErr, e.DataErr.Error())
					read.DataErr = e.DataErr
				}
				assert.True(t, reflect.DeepEqual(e, &read), "%s, %s, from a %s: %v is no %v", what, name, how, read, e)
				assert.Equal(t, e.SignedName(), read.SignedName())
			}
		}
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	written, err := json.Marshal(v)
	require.NoError(t, err)
	return written
}

func TestAnEventsJSONIsWhatIsDocumented(t *testing.T) {
	t.Parallel()
	e := mustParse(t, walletcrew.EventPassCreated, `{"__id":"1"}`)
	e.TenantID, e.ReceivedAt = "acme", time.Date(2026, 11, 28, 5, 0, 0, 0, time.UTC)
	const want = `{"name":"Pass:Created","tenantId":"acme","receivedAt":"2026-11-28T05:00:00Z","body":"{\"__id\":\"1\"}"}`
	assert.Equal(t, want, string(marshal(t, e)))
	written, err := jsonv2.Marshal(e)
	require.NoError(t, err)
	assert.Equal(t, want, string(written), "JSON v2 asks MarshalJSON, too")
	e.ReceivedAt = time.Time{}
	assert.Equal(t, `{"name":"Pass:Created","tenantId":"acme","body":"{\"__id\":\"1\"}"}`, string(marshal(t, e)))

	var inner struct{ Event *walletcrew.Event }
	require.NoError(t, json.Unmarshal([]byte(`{"Event":`+want+`}`), &inner))
	assert.Equal(t, "1", inner.Event.ID)
	require.NoError(t, json.Unmarshal([]byte(`{"Event":null}`), &inner))
	assert.Nil(t, inner.Event)
	before := *e
	require.NoError(t, e.UnmarshalJSON([]byte(" null ")))
	assert.True(t, reflect.DeepEqual(before, *e), "null changes nothing")

	require.NoError(t, json.Unmarshal([]byte(`{"name":"Pass:Created","receivedAt":"2026-11-28T06:00:00+01:00","body":"{}","more":1}`), e))
	assert.Equal(t, time.Date(2026, 11, 28, 5, 0, 0, 0, time.UTC), e.ReceivedAt)
}

func TestWhatCannotBeKeptIsAnErrorAndNotAnotherEvent(t *testing.T) {
	t.Parallel()
	for what, e := range map[string]walletcrew.Event{"no body": {ID: "1"}, "invalid UTF-8": {Raw: []byte("{\"card\":\"4111\xff\"}")}} {
		_, err := json.Marshal(e)
		require.Error(t, err, what)
		assert.NotContains(t, err.Error(), "4111", what)
	}
	e := mustParse(t, "Card:\xff", "{}")
	var read walletcrew.Event
	require.NoError(t, json.Unmarshal(marshal(t, e), &read), "an event whose unsigned name isn't UTF-8 isn't lost")
	assert.Equal(t, walletcrew.EventName("Card:\ufffd"), read.Name)

	for data, is := range map[string]error{
		`{"body":""}`: walletcrew.ErrInvalidPayload, `{"body":"[]"}`: walletcrew.ErrInvalidPayload, `{"body":"{\"4111\":1,\"4111\":2}"}`: walletcrew.ErrInvalidPayload,
		`{"name":"Pass:Created"}`: nil, `{}`: nil, `[]`: nil, `"4111"`: nil, `{"body":{"4111":1}}`: nil, `{"body":null}`: nil, `{"body":"{}","receivedAt":"4111"}`: nil, `{"name":4111,"body":"{}"}`: nil,
	} {
		read := walletcrew.Event{ID: "before"}
		err := read.UnmarshalJSON([]byte(data))
		require.Error(t, err, data)
		if is != nil {
			require.ErrorIs(t, err, is, data)
		}
		assert.True(t, strings.HasPrefix(err.Error(), "walletcrew: "), err)
		assert.NotContains(t, err.Error(), "4111", "nothing of what it holds")
		assert.Equal(t, "before", read.ID, "with an error the event is left as it was")
	}
}

func TestPrintingAnEventNeverPrintsItsBody(t *testing.T) {
	t.Parallel()
	body := `{"__id":"e-1","card":"4111111111111111"}`
	e := mustParse(t, walletcrew.EventCustomerUpserted, body)
	e.TenantID = "acme"
	numbers := fmt.Sprintf("%d", []byte(body[:8])) // as fmt prints bytes
	values := map[string]any{
		"a pointer": e, "a value": *e, "a slice": []*walletcrew.Event{e}, "a map": map[string]walletcrew.Event{"a": *e}, "a field": struct{ E *walletcrew.Event }{e},
		"a field by value": struct{ E walletcrew.Event }{*e}, "a pointer to it": &struct{ E walletcrew.Event }{*e}, "an unexported pointer": struct{ e *walletcrew.Event }{e},
	}
	for what, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t", "%10.3s"} {
			if what == "an unexported pointer" && !strings.HasSuffix(verb, "v") {
				continue // Go can't hide it, as Format's comment says
			}
			text := fmt.Sprintf(verb, value)
			for _, part := range []string{"4111", fmt.Sprintf("%x", "4111"), fmt.Sprintf("%X", "4111"), strings.Trim(numbers, "[]")} {
				assert.NotContains(t, text, part, "%s of %s", verb, what)
			}
		}
	}
	assert.Equal(t, `walletcrew.Event(name "Customer:Upserted", id "e-1", tenant "acme", 40 bytes)`, fmt.Sprint(e))
	assert.Equal(t, fmt.Sprint(e), fmt.Sprintf("%#v", *e))
	assert.Equal(t, "<nil>", fmt.Sprintf("%v", (*walletcrew.Event)(nil)))

	for what, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) }, "JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var buf bytes.Buffer
		logger := slog.New(handler(&buf))
		logger.Info("event", "event", e)
		logger.Info("event", "event", *e)
		assert.NotContains(t, buf.String(), "4111", what)
		assert.Equal(t, 2, strings.Count(buf.String(), "e-1"), what)
		assert.Equal(t, 2, strings.Count(buf.String(), "Customer:Upserted"), what)
	}
	var buf bytes.Buffer
	slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "event", e)
	assert.Contains(t, buf.String(), `event.name=Customer:Upserted event.id=e-1 event.tenant=acme event.size=40`)
}

func TestAnEventPrintsLittleOfALongID(t *testing.T) {
	t.Parallel()
	e := mustParse(t, "Card:\nNew", `{"__id":"`+strings.Repeat("é", 1000)+`"}`)
	assert.Less(t, len(fmt.Sprint(e)), 400)
	assert.NotContains(t, fmt.Sprint(e), "\n", "a line of the log can't be forged")
	assert.Less(t, len(fmt.Sprint(e.LogValue())), 400)
}

func TestThePassOfAnyPassEvent(t *testing.T) {
	t.Parallel()
	for _, name := range knownEvents {
		p := mustParse(t, name, `{"passId":"p-1","identifiers":{"customerId":"C-42"}}`).Pass()
		if name.Category() != "Pass" {
			assert.Nil(t, p, name)
			continue
		}
		require.NotNil(t, p, name)
		assert.Equal(t, walletcrew.Pass{PassID: "p-1", Identifiers: walletcrew.Values{"customerId": "C-42"}}, *p, name)
	}
	assert.Nil(t, mustParse(t, walletcrew.EventPassCreated, `{"passId":[]}`).Pass(), "its passId doesn't fit")
	assert.Nil(t, mustParse(t, "Pass:Shredded", `{"passId":"p"}`).Pass())
	assert.Nil(t, new(walletcrew.Event).Pass())
	e := mustParse(t, walletcrew.EventPassInstalled, `{"passId":"p-1"}`)
	assert.Same(t, &e.Data.(*walletcrew.PassInstalled).Pass, e.Pass(), "a part of Data, no copy")
	assert.Equal(t, "p", (&walletcrew.Event{Data: &walletcrew.Pass{PassID: "p"}}).Pass().PassID)
}
