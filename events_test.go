package walletcrew_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

// Bodies as the platform most likely sends them.
const (
	passMembers   = `"passId":"p-1001","passType":"user","passKind":"customerCard","identifiers":{"customerId":"C-42","email":"ada@shop.example"},"metadata":{"tier":"gold"}`
	deviceMembers = `"device":"apple","additionalInformation":{"registrationInformation":{"activeRegistrationCount":1,"totalRegistrationCount":2},` +
		`"registrationSource":{"tags":["summer","till-7"],"medium":"qrcode","origin":"https://shop.example","userAgent":"Mozilla/5.0"}}`
	metaMembers    = `"__id":"0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10","__tenantId":"acme"`
	createdBody    = `{` + metaMembers + `,` + passMembers + `}`
	installedBody  = `{` + metaMembers + `,` + passMembers + `,` + deviceMembers + `}`
	customerBody   = `{` + metaMembers + `,"customerId":"C-42","points":12345678901234567890.10,"address":{"city":"Lyon"}}`
	redirectBody   = `{` + metaMembers + `,"url":"https://shop.example/?a=1","clicks":3}`
	vectorEventID  = "0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10"
	privateInBody  = "ada@shop.example"
	privateInBody2 = "4111-1111"
)

func thePass() walletcrew.Pass {
	return walletcrew.Pass{
		PassID: "p-1001", PassType: "user", PassKind: "customerCard",
		Identifiers: walletcrew.Values{"customerId": "C-42", "email": "ada@shop.example"},
		Metadata:    walletcrew.Values{"tier": "gold"},
	}
}

func theInstallation() walletcrew.PassInstalled {
	return walletcrew.PassInstalled{
		Pass:   thePass(),
		Device: walletcrew.Device{Platform: "apple", Raw: json.RawMessage(`"apple"`)},
		AdditionalInformation: &walletcrew.AdditionalInformation{
			RegistrationInformation: walletcrew.RegistrationInformation{ActiveRegistrationCount: 1, TotalRegistrationCount: 2},
			RegistrationSource: walletcrew.RegistrationSource{
				Tags: []string{"summer", "till-7"}, Medium: "qrcode", Origin: "https://shop.example", UserAgent: "Mozilla/5.0",
			},
		},
	}
}

var knownEvents = []walletcrew.EventName{
	walletcrew.EventPassCreated, walletcrew.EventPassInstalled, walletcrew.EventPassUninstalled, walletcrew.EventPassUpdated,
	walletcrew.EventPassUpdateSent, walletcrew.EventCustomerUpserted, walletcrew.EventRedirectRedirected,
}

func mustParse(t testing.TB, name walletcrew.EventName, body string) *walletcrew.Event {
	t.Helper()
	e, err := walletcrew.ParseEvent(name, []byte(body))
	require.NoError(t, err)
	return e
}

func membersOf(t *testing.T, body string) map[string]json.RawMessage {
	t.Helper()
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(body), &members))
	return members
}

func TestEachKnownEventIsDecodedIntoItsType(t *testing.T) {
	t.Parallel()
	installed := theInstallation()
	table := map[walletcrew.EventName]struct {
		body string
		want any
	}{
		walletcrew.EventPassCreated:     {createdBody, &walletcrew.PassCreated{Pass: thePass()}},
		walletcrew.EventPassUpdated:     {createdBody, &walletcrew.PassUpdated{Pass: thePass()}},
		walletcrew.EventPassUpdateSent:  {createdBody, &walletcrew.PassUpdateSent{Pass: thePass()}},
		walletcrew.EventPassInstalled:   {installedBody, &installed},
		walletcrew.EventPassUninstalled: {installedBody, new(walletcrew.PassUninstalled(installed))},
		walletcrew.EventCustomerUpserted: {
			customerBody, &walletcrew.CustomerUpserted{Members: membersOf(t, customerBody)},
		},
		walletcrew.EventRedirectRedirected: {
			redirectBody, &walletcrew.RedirectRedirected{Members: membersOf(t, redirectBody)},
		},
	}
	assert.ElementsMatch(t, knownEvents, slices.Collect(maps.Keys(table)), "each has an example here")
	for name, c := range table {
		plain := string(name)
		for _, spelled := range []string{
			plain, strings.ToLower(plain), strings.ToUpper(plain), strings.Replace(plain, ":", ".", 1), strings.ToLower(strings.Replace(plain, ":", ".", 1)),
		} {
			t.Run(spelled, func(t *testing.T) {
				t.Parallel()
				e := mustParse(t, walletcrew.EventName(spelled), c.body)
				assert.Equal(t, c.want, e.Data)
				require.NoError(t, e.DataErr)
				assert.Equal(t, vectorEventID, e.ID)
				assert.Equal(t, name, e.Name, "a known event is spelled as it is documented, so that == serves")
				assert.True(t, walletcrew.EventName(spelled).Known())
				assert.Empty(t, e.TenantID, "the tenant comes from a header")
				assert.Equal(t, name, walletcrew.NameOf(e.Data))
			})
		}
	}
}

func TestAnEventThatIsNotKnownIsDelivered(t *testing.T) {
	t.Parallel()
	for _, name := range []walletcrew.EventName{
		"Order:Shipped", "Pass:Deleted", "Pass", "", "*", "Pass:*", "pass.*", "Pass:Created:Again", "PassCreated", "Pass Created", "Pass::Created", "Pass/Created", "\xff",
		"Ｐass:Created",
	} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			e := mustParse(t, name, createdBody)
			assert.Equal(t, &walletcrew.UnknownEvent{Members: membersOf(t, createdBody)}, e.Data)
			require.NoError(t, e.DataErr, "an unknown name is no error")
			assert.Equal(t, name, e.Name)
			assert.Equal(t, vectorEventID, e.ID)
			assert.Empty(t, walletcrew.NameOf(e.Data))
		})
	}
}

func TestADeviceMayHaveAnyShape(t *testing.T) {
	t.Parallel()
	for member, want := range map[string]walletcrew.Device{
		`"apple"`:                           {Platform: "apple", Raw: json.RawMessage(`"apple"`)},
		`"gOOgle\u0021"`:                    {Platform: "gOOgle!", Raw: json.RawMessage(`"gOOgle\u0021"`)},
		`""`:                                {Raw: json.RawMessage(`""`)},
		`{"platform":"apple", "os":[18,1]}`: {Raw: json.RawMessage(`{"platform":"apple", "os":[18,1]}`)},
		`["apple"]`:                         {Raw: json.RawMessage(`["apple"]`)},
		`12345678901234567890.10`:           {Raw: json.RawMessage(`12345678901234567890.10`)},
		`true`:                              {Raw: json.RawMessage(`true`)},
		`null`:                              {},
	} {
		t.Run(member, func(t *testing.T) {
			t.Parallel()
			body := `{"passId":"p","device": ` + member + ` }`
			installed := mustParse(t, walletcrew.EventPassInstalled, body)
			require.NoError(t, installed.DataErr)
			assert.Equal(t, &walletcrew.PassInstalled{Pass: walletcrew.Pass{PassID: "p"}, Device: want}, installed.Data)
			uninstalled := mustParse(t, walletcrew.EventPassUninstalled, body)
			assert.Equal(t, &walletcrew.PassUninstalled{Pass: walletcrew.Pass{PassID: "p"}, Device: want}, uninstalled.Data)
		})
	}
	e := mustParse(t, walletcrew.EventPassInstalled, `{}`)
	assert.Equal(t, &walletcrew.PassInstalled{}, e.Data, "no member is required")
}

func TestIdentifiersOfAnyTypeLoseNothing(t *testing.T) {
	t.Parallel()
	e := mustParse(t, walletcrew.EventPassUpdated, `{"identifiers":{
		"text":"C-42","escaped":"\u00e9\n\"","empty":"","number":12345678901234567890.10,"exponent":1E+5,"negative":-0,
		"yes":true,"null":null,"object":{"a": [1, "x"]},"array":[ 1,2 ],"":"no name"},"metadata":null}`)
	require.NoError(t, e.DataErr)
	updated, ok := e.Data.(*walletcrew.PassUpdated)
	require.True(t, ok)
	assert.Equal(t, walletcrew.Values{
		"text": "C-42", "escaped": "é\n\"", "empty": "", "number": "12345678901234567890.10", "exponent": "1E+5", "negative": "-0",
		"yes": "true", "null": "null", "object": `{"a": [1, "x"]}`, "array": "[ 1,2 ]", "": "no name",
	}, updated.Identifiers)
	assert.Nil(t, updated.Metadata, "null is none")
	e = mustParse(t, walletcrew.EventPassUpdated, `{"identifiers":{}}`)
	assert.Equal(t, walletcrew.Values{}, e.Data.(*walletcrew.PassUpdated).Identifiers)
}

func TestNullMembersLeaveFieldsEmpty(t *testing.T) {
	t.Parallel()
	e := mustParse(t, walletcrew.EventPassInstalled, `{"__id":null,"passId":null,"passType":null,"passKind":null,"identifiers":null,"metadata":null,`+
		`"device":null,"additionalInformation":{"registrationInformation":null,"registrationSource":{"tags":null,"medium":null}}}`)
	require.NoError(t, e.DataErr)
	assert.Equal(t, &walletcrew.PassInstalled{AdditionalInformation: &walletcrew.AdditionalInformation{}}, e.Data)
	assert.Empty(t, e.ID)
	assert.Nil(t, e.Misfits)
	e = mustParse(t, walletcrew.EventPassInstalled, `{"additionalInformation":null}`)
	assert.Equal(t, &walletcrew.PassInstalled{}, e.Data)
	assert.Nil(t, e.Misfits)
}

// A value that doesn't quite fit its field is read for what it says.
func TestALenientlyReadValueLosesNothing(t *testing.T) {
	t.Parallel()
	registration := func(members string) string {
		return `"additionalInformation":{"registrationInformation":{` + members + `}}`
	}
	source := func(members string) string {
		return `"additionalInformation":{"registrationSource":{` + members + `}}`
	}
	counted := func(active int) walletcrew.PassInstalled {
		return walletcrew.PassInstalled{AdditionalInformation: &walletcrew.AdditionalInformation{
			RegistrationInformation: walletcrew.RegistrationInformation{ActiveRegistrationCount: active},
		}}
	}
	from := func(source walletcrew.RegistrationSource) walletcrew.PassInstalled {
		return walletcrew.PassInstalled{AdditionalInformation: &walletcrew.AdditionalInformation{RegistrationSource: source}}
	}
	pass := func(pass walletcrew.Pass) walletcrew.PassInstalled { return walletcrew.PassInstalled{Pass: pass} }
	for member, want := range map[string]walletcrew.PassInstalled{
		`"passId":12345678901234567890.10`: pass(walletcrew.Pass{PassID: "12345678901234567890.10"}),
		`"passId":true`:                    pass(walletcrew.Pass{PassID: "true"}),
		`"passKind":2`:                     pass(walletcrew.Pass{PassKind: "2"}),
		`"passKind":-1E+5`:                 pass(walletcrew.Pass{PassKind: "-1E+5"}),
		`"passType":false`:                 pass(walletcrew.Pass{PassType: "false"}),
		`"identifiers":[],"metadata":[ ]`:  pass(walletcrew.Pass{Identifiers: walletcrew.Values{}, Metadata: walletcrew.Values{}}),
		`"additionalInformation":[]`:       counted(0),
		`"additionalInformation":{"registrationInformation":[]}`:            counted(0),
		registration(`"activeRegistrationCount":"3"`):                       counted(3),
		registration(`"activeRegistrationCount":3.0`):                       counted(3),
		registration(`"activeRegistrationCount":"-3.00"`):                   counted(-3),
		registration(`"activeRegistrationCount":null`):                      counted(0),
		registration(`"activeRegistrationCount":-0`):                        counted(0),
		source(`"tags":["a",7,1.50,true,null]`):                             from(walletcrew.RegistrationSource{Tags: []string{"a", "7", "1.50", "true", ""}}),
		source(`"tags":[],"medium":7`):                                      from(walletcrew.RegistrationSource{Tags: []string{}, Medium: "7"}),
		`"passId":"\ud83d","passType":"a\udc00b","passKind":"\ud83d\ude00"`: pass(walletcrew.Pass{PassID: "\ufffd", PassType: "a\ufffdb", PassKind: "😀"}),
		`"metadata":{"a\ud83d":"\ud83d\ud83d"}`:                             pass(walletcrew.Pass{Metadata: walletcrew.Values{"a\ufffd": "\ufffd\ufffd"}}),
		`"device":"\ud83d"`:                                                 {Device: walletcrew.Device{Platform: "\ufffd", Raw: json.RawMessage(`"\ud83d"`)}},
	} {
		t.Run(member, func(t *testing.T) {
			t.Parallel()
			e := mustParse(t, walletcrew.EventPassInstalled, `{"__id":"e-1",`+member+`}`)
			assert.Equal(t, &want, e.Data)
			assert.Equal(t, "e-1", e.ID)
			assert.NoError(t, e.DataErr)
			assert.Nil(t, e.Misfits)
		})
	}
}

func TestAMisfitLeavesItsFieldEmptyAndNoOther(t *testing.T) {
	t.Parallel()
	const (
		information = "additionalInformation.registrationInformation"
		source      = "additionalInformation.registrationSource"
	)
	registration := func(members string) string {
		return `"additionalInformation":{"registrationInformation":{"totalRegistrationCount":2,` + members + `},"registrationSource":{"medium":"qrcode"}}`
	}
	tagged := func(tags string) string {
		return `"additionalInformation":{"registrationInformation":{"totalRegistrationCount":2},"registrationSource":{"tags":` + tags + `,"medium":"qrcode"}}`
	}
	for member, want := range map[string][]string{
		`"passType":["4111-1111"]`:                                           {"passType"},
		`"passKind":{"private":"4111-1111"}`:                                 {"passKind"},
		`"identifiers":"4111-1111"`:                                          {"identifiers"},
		`"identifiers":["4111-1111"]`:                                        {"identifiers"},
		`"metadata":7,"passType":{},"passKind":[]`:                           {"metadata", "passType", "passKind"},
		`"additionalInformation":"4111-1111"`:                                {"additionalInformation"},
		`"additionalInformation":[4111]`:                                     {"additionalInformation"},
		`"additionalInformation":{"registrationInformation":true}`:           {information},
		`"additionalInformation":{"registrationSource":1}`:                   {source},
		registration(`"activeRegistrationCount":"4111-1111"`):                {information + ".activeRegistrationCount"},
		registration(`"activeRegistrationCount":1.5`):                        {information + ".activeRegistrationCount"},
		registration(`"activeRegistrationCount":1e99`):                       {information + ".activeRegistrationCount"},
		registration(`"activeRegistrationCount":1e999999999`):                {information + ".activeRegistrationCount"},
		registration(`"activeRegistrationCount":99999999999999999999`):       {information + ".activeRegistrationCount"},
		registration(`"activeRegistrationCount":""`):                         {information + ".activeRegistrationCount"},
		registration(`"activeRegistrationCount":"null"`):                     {information + ".activeRegistrationCount"},
		registration(`"activeRegistrationCount":" 3"`):                       {information + ".activeRegistrationCount"},
		registration(`"activeRegistrationCount":true`):                       {information + ".activeRegistrationCount"},
		registration(`"activeRegistrationCount":[1]`):                        {information + ".activeRegistrationCount"},
		tagged(`[{},"a"]`):                                                   {source + ".tags"},
		tagged(`"4111-1111"`):                                                {source + ".tags"},
		tagged(`["a",{"private":"4111-1111"},[],{}]`):                        {source + ".tags"},
		tagged(`[` + strings.Repeat(`{},`, 1000) + `[]],"origin":{},"x":{}`): {source + ".tags", source + ".origin"},
	} {
		for _, body := range []string{
			`{"__id":"e-1","passId":"p-1",` + member + `,"device":"apple","email":"ada@shop.example"}`,
			`{"email":"ada@shop.example","device":"apple",` + member + `,"passId":"p-1","__id":"e-1"}`,
		} {
			t.Run(body[:min(len(body), 200)], func(t *testing.T) {
				t.Parallel()
				e := mustParse(t, walletcrew.EventPassInstalled, body)
				assert.Equal(t, want, e.Misfits)
				require.NoError(t, e.DataErr)
				assert.Equal(t, "e-1", e.ID)
				data, ok := e.Data.(*walletcrew.PassInstalled)
				require.True(t, ok, "a %T", e.Data)
				pass := walletcrew.Pass{PassID: "p-1"}
				assert.Equal(t, pass, data.Pass, "a field stays empty, and the others are read")
				assert.Equal(t, "apple", data.Device.Platform)
				switch more := data.AdditionalInformation; {
				case strings.HasPrefix(want[0], information+".") || strings.HasPrefix(want[0], source+"."):
					assert.Equal(t, &walletcrew.AdditionalInformation{
						RegistrationInformation: walletcrew.RegistrationInformation{TotalRegistrationCount: 2},
						RegistrationSource:      walletcrew.RegistrationSource{Medium: "qrcode"},
					}, more, "and so are those beside it")
				case want[0] == information || want[0] == source:
					assert.Equal(t, &walletcrew.AdditionalInformation{}, more)
				default:
					assert.Nil(t, more)
				}
				assert.Equal(t, membersOf(t, body), e.Members(), "every member is there")
			})
		}
	}
}

func TestAPassIDThatDoesNotFitMakesAnUnknownEvent(t *testing.T) {
	t.Parallel()
	for _, member := range []string{`"passId":{"private":"4111-1111"}`, `"passId":["4111-1111"]`, `"passId":[]`, `"passType":{},"passId":{}`} {
		for _, body := range []string{
			`{"__id":"e-1",` + member + `,"email":"ada@shop.example"}`,
			`{` + member + `,"__id":"e-1","later":{"a":1}}`,
		} {
			t.Run(body, func(t *testing.T) {
				t.Parallel()
				e := mustParse(t, walletcrew.EventPassInstalled, body)
				assert.Equal(t, &walletcrew.UnknownEvent{Members: membersOf(t, body)}, e.Data, "every member is there")
				require.EqualError(t, e.DataErr, `walletcrew: the payload does not fit Pass:Installed: member "passId" is an object or an array`)
				assert.Nil(t, e.Misfits, "an UnknownEvent has no fields")
				assert.Equal(t, "e-1", e.ID, "the id isn't lost")
				assert.Equal(t, walletcrew.EventPassInstalled, e.Name)
			})
		}
	}
}

func TestAByteOrderMarkIsSkipped(t *testing.T) {
	t.Parallel()
	for _, name := range append(knownEvents, "Order:Shipped") {
		body := "\ufeff" + installedBody
		e := mustParse(t, name, body)
		assert.Equal(t, body, string(e.Raw), "Raw keeps all bytes")
		assert.Equal(t, vectorEventID, e.ID)
		assert.Equal(t, mustParse(t, name, installedBody).Data, e.Data)
		assert.Equal(t, membersOf(t, installedBody), e.Members())
		assert.Len(t, e.Metadata(), 2)
		var own struct{ PassID string }
		require.NoError(t, e.Decode(&own))
		assert.Equal(t, "p-1001", own.PassID)
	}
	_, err := walletcrew.ParseEvent("", []byte("\ufeff{\"a\":}"))
	assert.ErrorContains(t, err, "(near byte 8)", "of the body, with its mark")
}

func TestTheIDMayHaveAnyType(t *testing.T) {
	t.Parallel()
	for member, want := range map[string]string{
		`"__id":"e-1",`: "e-1", `"__id":"\u0065-1",`: "e-1", `"__id":"",`: "", `"__id":12345678901234567890.10,`: "12345678901234567890.10", `"__id":7,`: "7",
		`"__id":null,`: "", `"__id":{"a":1},`: "", `"__id":["e-1"],`: "", `"__id":true,`: "", ``: "", `"__ID":"e-1",`: "", `"id":"e-1",`: "",
	} {
		t.Run(member, func(t *testing.T) {
			t.Parallel()
			for _, name := range append(knownEvents, "Order:Shipped") {
				e := mustParse(t, name, `{`+member+`"passId":"p"}`)
				assert.Equal(t, want, e.ID, "of %s", name)
				require.NoError(t, e.DataErr, "the id's type doesn't lose the event")
				assert.Equal(t, name == "Order:Shipped", walletcrew.NameOf(e.Data) == "")
			}
		})
	}
}

func TestTheNameInTheBody(t *testing.T) {
	t.Parallel()
	for member, want := range map[string]walletcrew.EventName{
		`"Pass:Installed"`: "Pass:Installed", `"pass.installed"`: "Pass:Installed", `"PASS:INSTALLED"`: "Pass:Installed", `"Pass:\u0043reated"`: "Pass:Created",
		// Nobody has documented this member: what isn't a known event says nothing.
		`"Order:Shipped"`: "", `"Pass:InstalledV2"`: "", `"Neostore.PassInstalled"`: "", `"Pa\u017f\u017f:Installed"`: "", `"Paſs:Installed"`: "",
		`"Pass"`: "", `"Pass:"`: "", `":Installed"`: "", `"Pass:*"`: "", `"*"`: "", `"Pass:Installed:x"`: "", `"Pass Installed"`: "", `""`: "", `"1:2"`: "",
		`"Pass:In stalled"`: "", `" Pass:Installed"`: "", `"https://shop.example"`: "", `7`: "", `7.5`: "", `null`: "", `{"a":"Pass:Installed"}`: "", `["Pass:Installed"]`: "", `true`: "",
	} {
		t.Run(member, func(t *testing.T) {
			t.Parallel()
			for _, name := range append(knownEvents, "Order:Shipped", "") {
				e := mustParse(t, name, `{"__eventName":`+member+`}`)
				assert.Equal(t, want, e.SignedName())
				assert.Equal(t, name, e.Name, "it is the header that names the event")
			}
			misfit := mustParse(t, walletcrew.EventPassCreated, `{"passId":[],"__eventName":`+member+`}`)
			require.Error(t, misfit.DataErr)
			assert.Equal(t, want, misfit.SignedName(), "also where the payload doesn't fit")
		})
	}
	assert.Empty(t, mustParse(t, walletcrew.EventPassCreated, `{}`).SignedName())
}

func TestEventsAreTheKnownOnes(t *testing.T) {
	t.Parallel()
	assert.ElementsMatch(t, knownEvents, walletcrew.Events())
	walletcrew.Events()[0] = "changed"
	assert.ElementsMatch(t, knownEvents, walletcrew.Events(), "the slice is the caller's")
	for _, name := range walletcrew.Events() {
		assert.True(t, name.Known())
	}
	for _, name := range []walletcrew.EventName{"", "*", "Pass:*", "Pass", "Order:Shipped", "Paſs:Installed", " Pass:Installed", "Pass:Installed ", "Pass::Installed", "Pass:InstalledV2"} {
		assert.False(t, name.Known(), "%q", name)
		assert.Equal(t, name, mustParse(t, name, `{}`).Name, "an unknown name stays as given")
	}
}

func TestABodyThatIsNotAnObjectIsRefused(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty":                          "",
		"spaces":                         " \r\n\t",
		"null":                           "null",
		"a string":                       `"` + privateInBody + `"`,
		"a number":                       "4111",
		"true":                           "true",
		"an array":                       `[{"passId":"p"}]`,
		"an empty array":                 "[]",
		"a form":                         "passId=p&email=" + privateInBody,
		"HTML":                           "<html>" + privateInBody,
		"cut":                            createdBody[:len(createdBody)-1],
		"cut in a string":                createdBody[:30],
		"two byte order marks":           "\ufeff\ufeff" + createdBody,
		"a byte order mark in it":        "{\ufeff}",
		"a byte order mark after it":     createdBody + "\ufeff",
		"nothing but a byte order mark":  "\ufeff",
		"UTF-16":                         "{\x00\"\x00a\x00\"\x00:\x001\x00}\x00",
		"a second object":                createdBody + createdBody,
		"garbage after it":               createdBody + "x",
		"a comma after it":               createdBody + ",",
		"a NUL after it":                 createdBody + "\x00",
		"a comma at the end":             `{"a":1,}`,
		"single quotes":                  `{'a':1}`,
		"no quotes":                      `{a:1}`,
		"a comment":                      `{"a":1/*x*/}`,
		"NaN":                            `{"a":NaN}`,
		"a leading zero":                 `{"a":01}`,
		"a plus":                         `{"a":+1}`,
		"a line break in a string":       "{\"a\":\"x\ny\"}",
		"a wrong escape":                 `{"a":"\x41"}`,
		"invalid UTF-8":                  "{\"a\":\"" + privateInBody + "\xff\"}",
		"invalid UTF-8 in a name":        "{\"a\xff\":1}",
		"invalid UTF-8 nested":           "{\"identifiers\":{\"a\":[\"\xc3\x28\"]}}",
		"overlong UTF-8":                 "{\"a\":\"\xc0\xaf\"}",
		"a duplicate":                    `{"email":"` + privateInBody + `","email":"` + privateInBody2 + `"}`,
		"a duplicate id":                 `{"__id":"1","__id":"2"}`,
		"a duplicate passId":             `{"passId":"1","passId":"2"}`,
		"a duplicate with an escape":     `{"passId":"1","pass\u0049d":"2"}`,
		"two names that become one":      `{"\ud800":1,"\ud801":2}`,
		"two that become one, in values": `{"metadata":{"\ud800":1,"\ud801":2}}`,
		"a duplicate in tags":            `{"additionalInformation":{"registrationSource":{"tags":[{"a":1,"a":2}]}}}`,
		"a duplicate in a misfit":        `{"identifiers":[{"a":1,"a":2}]}`,
		"a duplicate in information":     `{"additionalInformation":{"registrationSource":{"medium":"a","medium":"a"}}}`,
		"a duplicate in identifiers":     `{"identifiers":{"a":1,"a":2}}`,
		"a duplicate in device":          `{"device":{"a":1,"a":2}}`,
		"a duplicate in an unknown one":  `{"new":{"x":{"a":1,"a":2}}}`,
		"a duplicate in an array":        `{"new":[0,{"a":1,"a":2}]}`,
		"a duplicate in an id":           `{"__id":{"a":1,"a":2}}`,
		"a misfit, then a syntax error":  `{"passId":[],"a":}`,
		"a misfit, then the end":         `{"passId":[]`,
		"a misfit, then a duplicate":     `{"passKind":[],"a":1,"a":2}`,
		"a misfit, then garbage":         `{"passId":[]}x`,
		"a misfit, then invalid UTF-8":   "{\"passId\":[],\"a\":\"\xff\"}",
		"a misfit in device, then a cut": `{"identifiers":7,"device":{`,
		"10,001 levels":                  strings.Repeat(`{"a":`, 10_001) + "1" + strings.Repeat("}", 10_001),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, event := range append(knownEvents, "Order:Shipped", "") {
				e, err := walletcrew.ParseEvent(event, []byte(body))
				require.ErrorIs(t, err, walletcrew.ErrInvalidPayload, "as %q", event)
				assert.Nil(t, e)
				assert.True(t, strings.HasPrefix(err.Error(), "walletcrew: the body is not a valid JSON object: "), err)
				for _, private := range []string{privateInBody, privateInBody2, "4111"} {
					assert.NotContains(t, err.Error(), private, "an error quotes nothing of the body")
				}
				requireOneLine(t, err.Error())
			}
		})
	}
}

func TestTheErrorForABodySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	const prefix = "walletcrew: the body is not a valid JSON object: "
	for body, want := range map[string]string{
		"":                     "it is empty; was it read before?",
		"[]":                   "it is JSON, but not an object",
		"null":                 "it is JSON, but not an object",
		`{"a":1,"a":2}`:        "a member name is there twice (near byte ",
		"{\"a\":\"\xff\"}":     "it is not valid UTF-8 (near byte ",
		`{"a":1`:               "it is not JSON (near byte ",
		`{} {}`:                "something follows the object (near byte 3)",
		"passId=p":             "it is not JSON (near byte ",
		`{"a":1,"b":{"c":1,}}`: "it is not JSON (near byte ",
	} {
		for _, event := range append(knownEvents, "Order:Shipped") {
			_, err := walletcrew.ParseEvent(event, []byte(body))
			require.Error(t, err)
			assert.True(t, strings.HasPrefix(err.Error(), prefix+want), "%s as %s: %v", body, event, err)
			assert.Equal(t, strings.Contains(want, "near byte"), strings.Contains(err.Error(), "near byte"), "%v", err)
		}
	}
}

func TestWhiteSpaceAroundTheObjectIsJSON(t *testing.T) {
	t.Parallel()
	for _, name := range append(knownEvents, "Order:Shipped") {
		e := mustParse(t, name, " \r\n"+createdBody+"\n\t")
		assert.Equal(t, vectorEventID, e.ID)
		assert.Len(t, e.Members(), 7)
	}
}

func TestRawIsTheBodyItself(t *testing.T) {
	t.Parallel()
	for _, name := range append(knownEvents, "Order:Shipped") {
		for _, text := range []string{installedBody, `{"passId":[]}`, " {} "} {
			body := []byte(text)
			e, err := walletcrew.ParseEvent(name, body)
			require.NoError(t, err)
			assert.Same(t, &body[0], &e.Raw[0], "Raw shares memory with the body")
			assert.Len(t, e.Raw, len(body))
			for _, value := range e.Members() {
				_ = append(value, "overwritten"...)
			}
			if u, ok := e.Data.(*walletcrew.UnknownEvent); ok {
				for _, value := range u.Members {
					_ = append(value, "overwritten"...)
				}
			}
			if i, ok := e.Data.(*walletcrew.PassInstalled); ok {
				_ = append(i.Device.Raw, "overwritten"...)
			}
			assert.Equal(t, text, string(body), "the body is unchanged")
		}
	}
}

func TestStringsDoNotChangeWithTheBody(t *testing.T) {
	t.Parallel()
	body := []byte(installedBody)
	e, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, body)
	require.NoError(t, err)
	clear(body) // as a framework does that uses its buffer again
	installed, ok := e.Data.(*walletcrew.PassInstalled)
	require.True(t, ok)
	want := theInstallation()
	assert.Equal(t, want.Pass, installed.Pass)
	assert.Equal(t, want.Device.Platform, installed.Device.Platform)
	assert.Equal(t, want.AdditionalInformation, installed.AdditionalInformation)
	assert.Equal(t, vectorEventID, e.ID)
}

func TestMembersAndMetadata(t *testing.T) {
	t.Parallel()
	e := mustParse(t, walletcrew.EventCustomerUpserted, customerBody)
	assert.Equal(t, membersOf(t, customerBody), e.Members())
	assert.Equal(t, "12345678901234567890.10", string(e.Members()["points"]), "no digit is lost")
	assert.Equal(t, map[string]json.RawMessage{"__id": json.RawMessage(`"` + vectorEventID + `"`), "__tenantId": json.RawMessage(`"acme"`)}, e.Metadata())
	e.Members()["new"] = nil
	delete(e.Metadata(), "__id")
	assert.Len(t, e.Members(), 5, "each call makes a map of its own")
	assert.Len(t, e.Metadata(), 2)
	assert.Empty(t, mustParse(t, "", `{"_id":1,"id__":2}`).Metadata(), "one underscore is no metadata")
	assert.NotNil(t, mustParse(t, "", `{}`).Members())

	broken := walletcrew.Event{Raw: []byte("[1]")}
	assert.Nil(t, broken.Members())
	assert.Nil(t, broken.Metadata())
	assert.Nil(t, new(walletcrew.Event).Members())
}

func TestDecodeIntoYourOwnType(t *testing.T) {
	t.Parallel()
	e := mustParse(t, walletcrew.EventCustomerUpserted, customerBody)
	var own struct {
		ID      string `json:"__id"`
		Address struct{ City string }
		Points  json.Number
	}
	require.NoError(t, e.Decode(&own))
	assert.Equal(t, vectorEventID, own.ID)
	assert.Equal(t, "Lyon", own.Address.City)
	assert.Equal(t, "12345678901234567890.10", own.Points.String())
	var wrong struct{ Address int }
	require.ErrorContains(t, e.Decode(&wrong), "walletcrew: decode Customer:Upserted: ")
	var typeError *json.UnmarshalTypeError
	require.ErrorAs(t, e.Decode(&wrong), &typeError)
	require.ErrorContains(t, e.Decode(nil), "Unmarshal(nil)")
	var dated struct {
		ID time.Time `json:"customerId"`
	}
	err := e.Decode(&dated)
	require.ErrorContains(t, err, "decode Customer:Upserted: a value doesn't fit")
	var parseError *time.ParseError
	require.ErrorAs(t, err, &parseError, "who wants to know the value finds it")
	assert.NotContains(t, err.Error(), parseError.Value)
	named := &walletcrew.Event{Raw: []byte(`{"jane@example.com":"x"}`)}
	assert.NotContains(t, named.Decode(&map[string]int{}).Error(), "jane")
	require.ErrorContains(t, (&walletcrew.Event{Raw: []byte("{")}).Decode(&own), "it is not JSON (at byte 1)")
}

func TestNameOf(t *testing.T) {
	t.Parallel()
	for name, values := range map[walletcrew.EventName][]any{
		walletcrew.EventPassCreated:        {walletcrew.PassCreated{}, &walletcrew.PassCreated{}, (*walletcrew.PassCreated)(nil)},
		walletcrew.EventPassInstalled:      {walletcrew.PassInstalled{}, &walletcrew.PassInstalled{}},
		walletcrew.EventPassUninstalled:    {walletcrew.PassUninstalled{}, &walletcrew.PassUninstalled{}},
		walletcrew.EventPassUpdated:        {walletcrew.PassUpdated{}, &walletcrew.PassUpdated{}},
		walletcrew.EventPassUpdateSent:     {walletcrew.PassUpdateSent{}, &walletcrew.PassUpdateSent{}},
		walletcrew.EventCustomerUpserted:   {walletcrew.CustomerUpserted{}, &walletcrew.CustomerUpserted{}},
		walletcrew.EventRedirectRedirected: {walletcrew.RedirectRedirected{}, &walletcrew.RedirectRedirected{}},
		"": {
			nil, 7, "Pass:Created", walletcrew.Pass{}, walletcrew.UnknownEvent{}, &walletcrew.UnknownEvent{}, new(new(walletcrew.PassCreated{})),
			[]walletcrew.PassCreated{}, struct{ walletcrew.Pass }{},
		},
	} {
		for _, v := range values {
			assert.Equal(t, name, walletcrew.NameOf(v), "of a %T", v)
		}
	}
}

func TestCategory(t *testing.T) {
	t.Parallel()
	for name, want := range map[walletcrew.EventName]string{
		"Pass:Installed": "Pass", "pass.installed": "pass", "Pass:*": "Pass", "store.*.updated": "store", "a.b:c": "a", ":x": "", ".": "", "*": "", "Pass": "", "": "",
	} {
		assert.Equal(t, want, name.Category(), "of %q", name)
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, pattern walletcrew.EventName
		want          bool
	}{
		{"Pass:Installed", "Pass:Installed", true},
		{"Pass:Installed", "pass.installed", true},
		{"pass.installed", "PASS:INSTALLED", true},
		{"Pass:Installed", "Pass:*", true},
		{"Pass:Installed", "pass.*", true},
		{"Pass:Installed", "*", true},
		{"Pass:Installed", "**", true},
		{"Pass:Installed", "*:Installed", true},
		{"Pass:Installed", "*Installed", true},
		{"Pass:Installed", "P*d", true},
		{"Pass:Installed", "*s*s*", true},
		{"Pass:Installed", "Pass:Installed*", true},
		{"Pass:Installed", "*Pass:Installed", true},
		{"Pass:Uninstalled", "*installed", true},
		{"Pass:Installed", "Pass:Uninstalled", false},
		{"Pass:Uninstalled", "Pass:Installed", false},
		{"Pass:Installed", "Pass", false},
		{"Pass", "Pass:*", false},
		{"Pass:", "Pass:*", true},
		{"Pass:Installed", "Customer:*", false},
		{"Pass:Installed", "Pass:Install", false},
		{"Pass:Install", "Pass:Installed", false},
		{"Pass:Installed", "", false},
		{"", "", true},
		{"", "*", true},
		{"", "**", true},
		{"", "a", false},
		{"a", "", false},
		{"store.7.updated", "store.*.updated", true},
		{"Store:7:Updated", "store.*.updated", true},
		{"store.a.b.updated", "store.*.updated", true},
		{"store.updated", "store.*.updated", false},
		{"store..updated", "store.*.updated", true},
		{"store.7.updated.x", "store.*.updated", false},
		{"PassXInstalled", "Pass.Installed", false},
		{"Pass:Installed", "Pass?Installed", false},
		{"Pass:Installed", "Pass:[I]nstalled", false},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "*a*a*a*a*a*a*a*a*a*c", false},
		{"Pass:*", "Pass:*", true},
		{"BÜRO:ÖFFNET", "bÜro.Öffnet", true},
		{"BÜRO:ÖFFNET", "büro.öffnet", false}, // only ASCII has one notion of case
		{"Paſs:Installed", "Pass:Installed", false},
		{"\u212Aey:Lost", "Key:Lost", false}, // the sign for kelvin
		{"x\xff", "x\xff", true},
		{"x\xff", "x\xfe", false},
		{"x\xff", "x\ufffd", false},
		{"x\xffy", "x*y", true},
		{"é", "*é", true},
		{"é", "*\xa9", true}, // bytes, as they come
	} {
		assert.Equal(t, c.want, c.name.Matches(c.pattern), "does %q match %q?", c.name, c.pattern)
	}
	for _, name := range knownEvents {
		assert.True(t, name.Matches(walletcrew.AllEvents))
		assert.Equal(t, name.Category() == "Pass", name.Matches(walletcrew.AllPassEvents))
		assert.Equal(t, name.Category() == "Customer", name.Matches(walletcrew.AllCustomerEvents))
		assert.Equal(t, name.Category() == "Redirect", name.Matches(walletcrew.AllRedirectEvents))
	}
}

func TestMatchesIsQuickForHostilePatterns(t *testing.T) {
	t.Parallel()
	name := walletcrew.EventName(strings.Repeat("a", 5000))
	pattern := walletcrew.EventName(strings.Repeat("*a", 2000) + "b") // a recursive matcher would never end
	assert.False(t, name.Matches(pattern))
}

// plainMatches is what Matches means, written down in the plainest way.
func plainMatches(name, pattern []string) bool {
	switch {
	case len(pattern) == 0:
		return len(name) == 0
	case pattern[0] == "*":
		return plainMatches(name, pattern[1:]) || len(name) > 0 && plainMatches(name[1:], pattern)
	case len(name) == 0:
		return false
	}
	return plainFold(name[0]) == plainFold(pattern[0]) && plainMatches(name[1:], pattern[1:])
}

func plainFold(character string) string {
	switch {
	case character == ".":
		return ":"
	case len(character) == 1 && "A" <= character && character <= "Z":
		return strings.ToLower(character)
	}
	return character
}

func characters(s string) []string {
	all := make([]string, len(s))
	for i := range all {
		all[i] = s[i : i+1]
	}
	return all
}

func FuzzPatternMatches(f *testing.F) {
	for _, name := range knownEvents {
		f.Add(string(name), "Pass:*")
		f.Add(string(name), strings.ToLower(string(name)))
	}
	f.Add("store.7.updated", "store.*.updated")
	f.Add("aab", "*ab*b")
	f.Add("K\u212akſs", "kK*S")
	f.Add("\xff\ufffd", "*\ufffd")
	f.Add("İiıI", "i*I")
	f.Fuzz(func(t *testing.T, name, pattern string) {
		if len(name) > 30 || strings.Count(pattern, "*") > 5 || len(pattern) > 30 {
			return // the plain one takes exponential time
		}
		got := walletcrew.EventName(name).Matches(walletcrew.EventName(pattern))
		if want := plainMatches(characters(name), characters(pattern)); got != want {
			t.Errorf("does %q match %q? Matches says %v, the definition %v", name, pattern, got, want)
		}
	})
}

func TestPayloadsAreWrittenAsTheyWereRead(t *testing.T) {
	t.Parallel()
	for name, body := range map[walletcrew.EventName]string{
		walletcrew.EventPassCreated:        `{` + passMembers + `}`,
		walletcrew.EventPassUpdated:        `{` + passMembers + `}`,
		walletcrew.EventPassUpdateSent:     `{"passId":"p"}`,
		walletcrew.EventPassInstalled:      `{` + passMembers + `,` + deviceMembers + `}`,
		walletcrew.EventPassUninstalled:    `{"device":{"os":"18.1","n":12345678901234567890.10}}`,
		walletcrew.EventCustomerUpserted:   customerBody,
		walletcrew.EventRedirectRedirected: redirectBody,
		"Order:Shipped":                    `{"__id":7,"a":[1,null,{"b":"c"}]}`,
	} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			e := mustParse(t, name, body)
			for marshaller, marshal := range map[string]func(any) ([]byte, error){
				"encoding/json": json.Marshal, "go-json-experiment": func(v any) ([]byte, error) { return jsonv2.Marshal(v) },
			} {
				written, err := marshal(e.Data)
				require.NoError(t, err, marshaller)
				assert.JSONEq(t, body, string(written), marshaller)
				byValue, err := marshal(reflect.ValueOf(e.Data).Elem().Interface())
				require.NoError(t, err, marshaller)
				assert.JSONEq(t, body, string(byValue), "%s, by value", marshaller)
				again := reflect.New(reflect.TypeOf(e.Data).Elem()).Interface()
				require.NoError(t, json.Unmarshal(written, again))
				assert.Equal(t, e.Data, again, marshaller)
				again = reflect.New(reflect.TypeOf(e.Data).Elem()).Interface()
				require.NoError(t, jsonv2.Unmarshal(written, again))
				assert.Equal(t, e.Data, again, marshaller)
			}
		})
	}
}

func TestEmptyPayloadsAreWrittenAsObjects(t *testing.T) {
	t.Parallel()
	for _, data := range []any{
		walletcrew.PassCreated{}, walletcrew.PassInstalled{}, walletcrew.PassUninstalled{}, walletcrew.PassUpdated{}, walletcrew.PassUpdateSent{},
		walletcrew.CustomerUpserted{}, walletcrew.RedirectRedirected{}, walletcrew.UnknownEvent{},
	} {
		written, err := json.Marshal(data)
		require.NoError(t, err)
		assert.Equal(t, "{}", string(written), "a %T without anything is an event without members", data)
	}
}

func TestADeviceMadeByHandIsWritten(t *testing.T) {
	t.Parallel()
	for want, device := range map[string]walletcrew.Device{
		`"apple"`: {Platform: "apple"}, `{"a":1}`: {Platform: "apple", Raw: json.RawMessage(`{"a":1}`)}, `null`: {},
	} {
		written, err := json.Marshal(device)
		require.NoError(t, err)
		assert.JSONEq(t, want, string(written))
	}
	written, err := json.Marshal(walletcrew.PassInstalled{Pass: walletcrew.Pass{PassID: "p"}, Device: walletcrew.Device{Platform: "google"}})
	require.NoError(t, err)
	assert.JSONEq(t, `{"passId":"p","device":"google"}`, string(written))
	var device walletcrew.Device
	require.Error(t, json.Unmarshal([]byte(`{"a"`), &device))
	require.Error(t, device.UnmarshalJSON([]byte(`"a\x"`)))
	var values walletcrew.Values
	require.Error(t, values.UnmarshalJSON([]byte(`[1]`)))
}

// FuzzParseEvent: what ParseEvent accepts, encoding/json accepts, and nothing of it is lost.
func FuzzParseEvent(f *testing.F) {
	for _, body := range []string{
		createdBody, installedBody, customerBody, redirectBody, vectorBody, `{}`, `[]`, `null`, ``, `{"passId":7}`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}",
		`{"identifiers":{"n":12345678901234567890.10,"x":null,"y":{"z":[]}},"device":{"a":1}}`, `{"__id":7,"__eventName":"Pass:Created"}`,
		`{"a":"\ud83d\ude00"}`, `{"a":"\ud83d"}`, "\ufeff{}", `{"passId":[],"__id":1}`, `{"passKind":{},"identifiers":[],"additionalInformation":[]}`,
		`{"additionalInformation":{"registrationInformation":{"activeRegistrationCount":"3.0"},"registrationSource":{"tags":[1,true,{}],"medium":[]}}}`,
		`{"\ud800":1,"\ud801":2}`, `{"metadata":{"\ud800":"\udfff"}}`, `{"a":1e999}`, `{"additionalInformation":{"registrationSource":{"tags":["a"]}}}`, `{"device":"\u0000"}`,
	} {
		for i := range knownEvents {
			f.Add(i, []byte(body))
		}
		f.Add(7, []byte(body))
	}
	f.Fuzz(func(t *testing.T, which int, body []byte) {
		names := append(slices.Clone(knownEvents), "Order:Shipped", "pass.created")
		name := names[int(uint(which)%uint(len(names)))]
		before := bytes.Clone(body)
		defer func() { // after all that is done with the event
			if !bytes.Equal(before, body) {
				t.Errorf("the body was changed: %q, now %q", before, body)
			}
		}()
		e, err := walletcrew.ParseEvent(name, body)
		if err != nil {
			if e != nil {
				t.Fatal("an event and an error")
			}
			requireOneLine(t, err.Error())
			require.ErrorIs(t, err, walletcrew.ErrInvalidPayload)
			object := jsontext.Value(bytes.TrimPrefix(body, []byte("\ufeff")))
			if utf8.Valid(body) && object.Kind() == '{' && object.IsValid(jsontext.AllowInvalidUTF8(true)) {
				t.Fatalf("an object with unique names was refused: %v", err)
			}
			return
		}
		spelled := e.Name == name || e.Name.Known() && len(name) == len(e.Name) && name.Matches(e.Name)
		if !bytes.Equal(e.Raw, body) || !spelled || e.Data == nil {
			t.Fatalf("the event isn't what came: %+v", e)
		}
		var own map[string]json.RawMessage
		if err := e.Decode(&own); err != nil {
			t.Fatalf("encoding/json refuses what ParseEvent accepts: %v", err)
		}
		decoded := reflect.New(reflect.TypeOf(e.Data).Elem()).Interface()
		if err := e.Decode(decoded); err != nil || !reflect.DeepEqual(decoded, e.Data) {
			t.Fatalf("Decode makes %+v of what is %+v in Data: %v", decoded, e.Data, err)
		}
		// What fits the event's type in encoding/json is the same in ParseEvent, which reads more. Encoding/json takes names in any case,
		// and ParseEvent as they are written.
		if e.DataErr == nil && !hasNameInAnotherCase(body) {
			data := reflect.New(reflect.TypeOf(e.Data).Elem()).Interface()
			err := json.Unmarshal(bytes.TrimPrefix(body, []byte("\ufeff")), data)
			if err == nil && (e.Misfits != nil || !reflect.DeepEqual(data, e.Data)) {
				t.Fatalf("encoding/json makes %+v of what is %+v in Data, with misfits %q", data, e.Data, e.Misfits)
			}
		}
		for _, path := range e.Misfits {
			requireMember(t, e.Members(), path)
		}
		members := e.Members()
		if !maps.EqualFunc(own, members, func(a, b json.RawMessage) bool { return bytes.Equal(bytes.TrimSpace(a), bytes.TrimSpace(b)) }) {
			t.Fatalf("Members differ: %q, %q", own, members)
		}
		for member, value := range e.Metadata() {
			if !strings.HasPrefix(member, "__") || !bytes.Equal(value, members[member]) {
				t.Fatalf("Metadata differs in %q", member)
			}
		}
		if signed := e.SignedName(); signed != "" && signed.Category() == "" {
			t.Fatalf("SignedName is no name: %q", signed)
		}
		unknown, isUnknown := e.Data.(*walletcrew.UnknownEvent)
		if isUnknown && !maps.EqualFunc(unknown.Members, members, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Fatal("an unknown event has all members")
		}
		if e.DataErr != nil {
			if kind := jsontext.Value(members["passId"]).Kind(); kind != '{' && kind != '[' || e.Misfits != nil {
				t.Fatalf("an event whose passId fits is lost: %v, %q", e.DataErr, e.Misfits)
			}
			requireOneLine(t, e.DataErr.Error())
			if !isUnknown {
				t.Fatalf("an event with a DataErr is unknown, not a %T", e.Data)
			}
		} else if want := walletcrew.NameOf(e.Data); want != "" && !name.Matches(want) || want == "" && name != "Order:Shipped" {
			t.Fatalf("%s became a %T", name, e.Data)
		}
		written, err := json.Marshal(e.Data)
		if err != nil {
			t.Fatalf("what was read can't be written: %v", err)
		}
		again, err := walletcrew.ParseEvent(name, written)
		if err != nil {
			t.Fatalf("what was written can't be read: %v: %s", err, written)
		}
		if reflect.TypeOf(again.Data) != reflect.TypeOf(e.Data) {
			t.Fatalf("a %T became a %T", e.Data, again.Data)
		}
		if rewritten, err := json.Marshal(again.Data); err != nil || !bytes.Equal(rewritten, written) {
			t.Fatalf("written again it differs: %s, %s (%v)", written, rewritten, err)
		}
		_ = fmt.Sprintf("%+v", e)
		if !bytes.Equal(e.Raw, before) {
			t.Fatalf("Raw was changed: %q, now %q", before, e.Raw)
		}
	})
}

// requireMember fails unless the members hold one at the path, such as "a.b".
func requireMember(t *testing.T, members map[string]json.RawMessage, path string) {
	t.Helper()
	name, rest, nested := strings.Cut(path, ".")
	value, ok := members[name]
	require.True(t, ok, "a misfit that isn't there: %s", path)
	if nested {
		var inner map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(value, &inner))
		requireMember(t, inner, rest)
	}
}

// hasNameInAnotherCase reports whether a string of the body is the name of a member but for its case.
func hasNameInAnotherCase(body []byte) bool {
	names := []string{
		"passId", "passType", "passKind", "identifiers", "metadata", "device", "additionalInformation", "registrationInformation",
		"activeRegistrationCount", "totalRegistrationCount", "registrationSource", "tags", "medium", "origin", "userAgent",
	}
	for dec := jsontext.NewDecoder(bytes.NewReader(body)); ; {
		token, err := dec.ReadToken()
		if err != nil {
			return false
		}
		if token.Kind() != '"' {
			continue
		}
		if text := token.String(); slices.ContainsFunc(names, func(name string) bool { return name != text && strings.EqualFold(name, text) }) {
			return true
		}
	}
}

func TestDecodeReadsTheSDKsOwnTypesLeniently(t *testing.T) {
	t.Parallel()
	e := mustParse(t, walletcrew.EventPassUpdated, `{"__id":"1","passId":7,"passKind":[],"identifiers":[]}`)
	var pass walletcrew.Pass
	require.NoError(t, e.Decode(&pass))
	assert.Equal(t, walletcrew.Pass{PassID: "7", Identifiers: walletcrew.Values{}}, pass, "as Data is read")
	var installed walletcrew.PassInstalled
	require.NoError(t, e.Decode(&installed), "one function may take several events in one type")
	assert.Equal(t, "7", installed.PassID)
	var unknown walletcrew.UnknownEvent
	require.NoError(t, e.Decode(&unknown))
	assert.Len(t, unknown.Members, 4)
	misfit := mustParse(t, walletcrew.EventPassUpdated, `{"passId":{"n":"4111"}}`)
	err := misfit.Decode(&pass)
	require.ErrorContains(t, err, "passId")
	assert.NotContains(t, err.Error(), "4111")
	assert.Equal(t, "7", pass.PassID, "after an error it is as it was")
	require.Error(t, e.Decode((*walletcrew.Pass)(nil)))
	require.Error(t, e.Decode(walletcrew.Pass{}))
	require.Error(t, e.Decode(nil))
}

func TestValuesRefuseInvalidUTF8(t *testing.T) {
	t.Parallel()
	var v walletcrew.Values
	require.Error(t, v.UnmarshalJSON([]byte("{\"a\":\"\xff\"}")))
}
