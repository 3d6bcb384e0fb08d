package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-github/v88/github"
	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"
)

// The handlers that the peers' documentation shows, each for an event of its own platform that is as large as installed.

func githubHandler(w http.ResponseWriter, r *http.Request) {
	payload, err := github.ValidatePayload(r, []byte(secret))
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	event, err := github.ParseWebHook(github.WebHookType(r), payload)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch event := event.(type) {
	case *github.StarEvent:
		ensure(event.GetRepo().GetName() == "hello", "go-github: another event")
	default:
		panic("go-github: an event of another type")
	}
	w.WriteHeader(http.StatusNoContent)
}

var githubEvent = padded(`{"action":"created","starred_at":"2026-11-23T10:11:12Z",`+
	`"repository":{"id":1296269,"node_id":"R_1","name":"hello","full_name":"octo/hello","private":false,"owner":{"login":"octo","id":1,"type":"User"},`+
	`"html_url":"https://github.com/octo/hello","stargazers_count":80,"default_branch":"main"},`+
	`"sender":{"login":"ada","id":583231,"node_id":"U_1","html_url":"https://github.com/ada","type":"User","site_admin":false}}`, `"description":"`)

func githubDelivery() message {
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set(github.EventTypeHeader, "star")
	header.Set(github.SHA256SignatureHeader, "sha256="+hex.EncodeToString(sum(secret, githubEvent)))
	return message{githubEvent, header}
}

func stripeHandler(w http.ResponseWriter, r *http.Request) {
	const maxBodyBytes = 65536
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	event, err := webhook.ConstructEvent(payload, r.Header.Get("Stripe-Signature"), secret)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch event.Type {
	case "payment_intent.succeeded":
		var intent stripe.PaymentIntent
		if err := json.Unmarshal(event.Data.Raw, &intent); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ensure(intent.Amount == 2000, "stripe-go: another event")
	default:
		panic("stripe-go: an event of another type")
	}
	w.WriteHeader(http.StatusNoContent)
}

var stripeEvent = padded(fmt.Sprintf(`{"id":"evt_1","object":"event","api_version":%q,"created":1795342272,"livemode":false,"pending_webhooks":1,`+
	`"request":{"id":"req_1","idempotency_key":"3f1c"},"type":"payment_intent.succeeded","data":{"object":{"id":"pi_1","object":"payment_intent",`+
	`"amount":2000,"amount_received":2000,"currency":"eur","created":1795342271,"customer":"cus_1","metadata":{"order":"4711"},`+
	`"payment_method":"pm_1","payment_method_types":["card"],"status":"succeeded"}}}`, stripe.APIVersion), `"description":"`)

// stripeDelivery is signed with its time, which stripe-go takes for five minutes.
func stripeDelivery() message {
	signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: stripeEvent, Secret: secret, Timestamp: time.Now()})
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set("Stripe-Signature", signed.Header)
	return message{stripeEvent, header}
}

// padded makes an object as large as installed by a first member that begins so.
func padded(object, member string) []byte {
	more := len(installed) - len(object) - len(member+`",`)
	ensure(more >= 0, "the object is too large")
	return []byte("{" + member + strings.Repeat("x", more) + `",` + object[1:])
}
