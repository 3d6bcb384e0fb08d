package walletcrew_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// fullBody is a Pass:Installed of 600 bytes with all the members that the platform's other integrations carry.
const fullBody = `{"__id":"0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10","__timestamp":"2026-11-23T10:11:12.131Z",` +
	`"passId":"p-10012","passType":"loyalty-card","passKind":"customerCard",` +
	`"identifiers":{"customerId":"C-421234","email":"ada.lovelace@shop.example","crmNumber":4711},` +
	`"metadata":{"store":"Paris 9","language":"fr","points":120},"device":"apple",` +
	`"additionalInformation":{"registrationInformation":{"activeRegistrationCount":1,"totalRegistrationCount":3},` +
	`"registrationSource":{"tags":["spring","newsletter"],"medium":"email","origin":"https://shop.example/app",` +
	`"userAgent":"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1)"}}}`

// How much is allocated for an event; how long it takes is for benchmarks/. That the signature costs nothing is in
// signature_test.go. Not parallel: AllocsPerRun counts what others allocate.
func TestParseEventAllocatesLittle(t *testing.T) {
	if raceDetector {
		t.Skip("allocations say nothing while the race detector is on")
	}
	body := []byte(fullBody)
	var e *walletcrew.Event
	var err error
	allocs := testing.AllocsPerRun(200, func() { e, err = walletcrew.ParseEvent(walletcrew.EventPassInstalled, body) })
	require.NoError(t, err)
	require.IsType(t, &walletcrew.PassInstalled{}, e.Data)
	assert.LessOrEqual(t, allocs, 15.0, "the event, its payload, and one copy of the body for all its strings: not one for each member")
	assert.Same(t, &body[0], &e.Raw[0], "the event's Raw is the body itself, not a copy")
}

func BenchmarkParseEvent(b *testing.B) {
	for name, text := range map[string]string{"plain": fullBody, "lenient": strings.Replace(fullBody, `"medium":"email"`, `"medium":7`, 1)} {
		b.Run(name, func(b *testing.B) {
			body := []byte(text)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A map that grows is copied each time.
func TestManyValuesAreOneMap(t *testing.T) {
	if raceDetector {
		t.Skip("allocations say nothing while the race detector is on")
	}
	few, many := `"n":1`, `"n":1`
	for i := range 40 {
		many += fmt.Sprintf(`,"n%d":%d`, i, i)
	}
	allocs := func(identifiers string) float64 {
		body := []byte(`{"passId":"p-1","identifiers":{` + identifiers + `}}`)
		return testing.AllocsPerRun(200, func() {
			if _, err := walletcrew.ParseEvent(walletcrew.EventPassCreated, body); err != nil {
				t.Error(err)
			}
		})
	}
	assert.LessOrEqual(t, allocs(many), allocs(few)+2, "the map of 41 values is made once: a directory and a table more than that of one")
}
