package walletcrewtest

import (
	"encoding/json"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// Sample returns a realistic body of a known event, whatever the spelling of its name, with all members that are known and a fresh "__id".
// No members of Customer:Upserted and Redirect:Redirected are documented, so their samples have only "__id". It is the same for an event
// that isn't known.
//
// Only "__id" is certain. The other members come from the platform's other integrations; see [walletcrew.Pass]. For members of your own,
// use [Payload].
func Sample(name walletcrew.EventName) []byte {
	e, err := walletcrew.ParseEvent(name, []byte("{}")) // which knows the spellings of a name
	if err != nil {
		panic(err) // not for an empty object
	}
	return Payload(e.Name, samples[e.Name])
}

const samplePass = `{"passId":"p-1001","passType":"loyalty-card","passKind":"customerCard",` +
	`"identifiers":{"customerId":"C-421234","email":"ada.lovelace@shop.example"},"metadata":{"store":"Paris 9","language":"fr"}`

const sampleDevice = `,"device":"apple","additionalInformation":{` +
	`"registrationInformation":{"activeRegistrationCount":1,"totalRegistrationCount":3},` +
	`"registrationSource":{"tags":["spring","newsletter"],"medium":"email","origin":"https://shop.example/app",` +
	`"userAgent":"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X)"}}`

var samples = map[walletcrew.EventName]json.RawMessage{
	walletcrew.EventPassCreated:     json.RawMessage(samplePass + "}"),
	walletcrew.EventPassInstalled:   json.RawMessage(samplePass + sampleDevice + "}"),
	walletcrew.EventPassUninstalled: json.RawMessage(samplePass + sampleDevice + "}"),
	walletcrew.EventPassUpdated:     json.RawMessage(samplePass + "}"),
	walletcrew.EventPassUpdateSent:  json.RawMessage(samplePass + "}"),
}
