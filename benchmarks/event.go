package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"

	"github.com/stripe/stripe-go/v85/webhook"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// installed is a Pass:Installed of 600 bytes, with all members that the platform's other integrations carry.
var installed = []byte(`{"__id":"0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10","__timestamp":"2026-11-23T10:11:12.131Z",` +
	`"passId":"p-10012","passType":"loyalty-card","passKind":"customerCard",` +
	`"identifiers":{"customerId":"C-421234","email":"ada.lovelace@shop.example","crmNumber":4711},` +
	`"metadata":{"store":"Paris 9","language":"fr","points":120},"device":"apple",` +
	`"additionalInformation":{"registrationInformation":{"activeRegistrationCount":1,"totalRegistrationCount":3},` +
	`"registrationSource":{"tags":["spring","newsletter"],"medium":"email","origin":"https://shop.example/app",` +
	`"userAgent":"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1)"}}}`)

// plainInstalled is what one writes for it without the SDK.
type plainInstalled struct {
	ID                    string         `json:"__id"`
	PassID                string         `json:"passId"`
	PassType              string         `json:"passType"`
	PassKind              string         `json:"passKind"`
	Identifiers           map[string]any `json:"identifiers"`
	Metadata              map[string]any `json:"metadata"`
	Device                string         `json:"device"`
	AdditionalInformation struct {
		RegistrationInformation struct {
			ActiveRegistrationCount int `json:"activeRegistrationCount"`
			TotalRegistrationCount  int `json:"totalRegistrationCount"`
		} `json:"registrationInformation"`
		RegistrationSource struct {
			Tags      []string `json:"tags"`
			Medium    string   `json:"medium"`
			Origin    string   `json:"origin"`
			UserAgent string   `json:"userAgent"`
		} `json:"registrationSource"`
	} `json:"additionalInformation"`
}

const plain = "hmac.New, hex, hmac.Equal, encoding/json"

func eventSubjects() []subject {
	stripeHeader := stripeDelivery().header.Get("Stripe-Signature")
	return []subject{
		{name: plain, run: each(plainWay(installed))},
		{name: "Verifier.EventFrom", run: each(eventFrom(installed)), goals: []goal{timeOf(plain, 0.55), allocations(16)}},
		{name: "ParseEvent alone", run: each(func() {
			_, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, installed)
			must(err)
		})},
		{name: "stripe-go ConstructEvent", run: each(func() {
			_, err := webhook.ConstructEvent(stripeEvent, stripeHeader, secret)
			must(err)
		})},
	}
}

func plainWay(body []byte) func() {
	signature := walletcrew.Sign(secret, body)
	return func() {
		h := hmac.New(sha256.New, []byte(secret))
		h.Write(body)
		want, err := hex.DecodeString(signature)
		must(err)
		ensure(hmac.Equal(h.Sum(nil), want), "the signature doesn't fit")
		var p plainInstalled
		must(json.Unmarshal(body, &p))
	}
}

func eventFrom(body []byte) func() {
	v := newVerifier(verifier.Static(secret))
	ctx, header := context.Background(), headerOf(body).Get
	return func() {
		_, err := v.EventFrom(ctx, header, body)
		must(err)
	}
}

func headerOf(body []byte) http.Header {
	h := http.Header{}
	h.Set(walletcrew.HeaderSignature, walletcrew.Sign(secret, body))
	h.Set(walletcrew.HeaderEventName, string(walletcrew.EventPassInstalled))
	h.Set(walletcrew.HeaderTenantID, tenant)
	return h
}
