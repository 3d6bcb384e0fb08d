package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v88/github"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"
	svix "github.com/svix/svix-webhooks/go"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// What docs/compare.md says of the peers, in the versions of go.mod. A failure after an update means that a
// peer has changed: change the table.

func githubRequest(body []byte, signature string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if signature != "" {
		r.Header.Set(github.SHA256SignatureHeader, signature)
	}
	return r
}

func githubSignature(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func stripeSigned(key, body string, at time.Time) string {
	return webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: key, Timestamp: at}).Header
}

// standardHeaders are those of standard-webhooks and svix, signed with each of the keys.
func standardHeaders(t *testing.T, body []byte, at time.Time, keys ...string) http.Header {
	t.Helper()
	var signatures []string
	for _, key := range keys {
		wh, err := standardwebhooks.NewWebhookRaw([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		signature, err := wh.Sign("msg_1", at, body)
		if err != nil {
			t.Fatal(err)
		}
		signatures = append(signatures, signature)
	}
	h := http.Header{}
	h.Set("webhook-id", "msg_1")
	h.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Set("webhook-signature", strings.Join(signatures, " "))
	return h
}

// standard verifies with both libraries, which must agree.
func standard(t *testing.T, key string, body []byte, h http.Header) error {
	t.Helper()
	encoded := "whsec_" + base64.StdEncoding.EncodeToString([]byte(key))
	one, err := standardwebhooks.NewWebhook(encoded)
	if err != nil {
		return err
	}
	other, err := svix.NewWebhook(encoded)
	if err != nil {
		return err
	}
	first, second := one.Verify(body, h), other.Verify(body, h)
	if (first == nil) != (second == nil) {
		t.Fatalf("standard-webhooks says %v, svix %v", first, second)
	}
	return first
}

func readme(t *testing.T, ok bool, what string) {
	t.Helper()
	if !ok {
		t.Errorf("docs/compare.md says: %s", what)
	}
}

func TestComparedAnEmptySecret(t *testing.T) {
	body, now := []byte(`{"object":"event"}`), time.Now()
	_, err := github.ValidatePayload(githubRequest(body, ""), nil)
	readme(t, err == nil, "go-github: an empty secret switches the check off")
	readme(t, webhook.ValidatePayload(body, stripeSigned("", string(body), now), "") == nil, "stripe-go accepts an empty secret's signature")
	readme(t, standard(t, "", body, standardHeaders(t, body, now, "")) == nil, "standard-webhooks and svix accept an empty secret's signature")
	_, err = verifier.New(verifier.Static(""))
	readme(t, errors.Is(err, walletcrew.ErrNoSecret), "walletcrew-go refuses it at start")
}

func TestComparedALargeBody(t *testing.T) {
	endless := httptest.NewRequest(http.MethodPost, "/", io.LimitReader(zeros{}, 25<<20+1))
	endless.Header.Set("Content-Type", "application/json")
	_, err := github.ValidatePayload(endless, []byte("secret"))
	readme(t, err != nil && strings.Contains(err.Error(), "maximum allowed size"), "go-github: 25 MiB, before hashing")
	v, err := verifier.New(verifier.Static("secret"))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", io.LimitReader(zeros{}, 1<<20+1))
	r.Header.Set(walletcrew.HeaderSignature, strings.Repeat("0", 64))
	_, err = v.Event(r)
	readme(t, errors.Is(err, verifier.ErrBodyTooLarge), "walletcrew-go: 1 MiB, before hashing")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestComparedTheTime(t *testing.T) {
	body, now := []byte(`{"object":"event"}`), time.Now()
	for _, at := range []time.Time{now.Add(-time.Hour), now.Add(time.Hour)} {
		readme(t, standard(t, "k", body, standardHeaders(t, body, at, "k")) != nil, "standard-webhooks and svix: 5 minutes in both directions")
	}
	readme(t, errors.Is(webhook.ValidatePayload(body, stripeSigned("k", string(body), now.Add(-time.Hour)), "k"), webhook.ErrTooOld), "stripe-go: 5 minutes")
	readme(t, webhook.ValidatePayload(body, stripeSigned("k", string(body), now.Add(time.Hour)), "k") == nil, "stripe-go: in one direction")
}

func TestComparedSeveralSecrets(t *testing.T) {
	body, now := []byte(`{"object":"event"}`), time.Now()
	readme(t, standard(t, "new", body, standardHeaders(t, body, now, "old", "new")) == nil, "standard-webhooks and svix: several signatures in the header")
	header := stripeSigned("old", string(body), now)
	_, second, _ := strings.Cut(stripeSigned("new", string(body), now), ",")
	readme(t, webhook.ValidatePayload(body, header+","+second, "new") == nil, "stripe-go: several signatures in the header")
	readme(t, walletcrew.VerifySignature(body, walletcrew.Sign("new", body), "old", "new") == nil, "walletcrew-go: several secrets")
}

func TestComparedDuplicateNames(t *testing.T) {
	twice := `{"object":"event","type":"a","type":"b","zen":"a","zen":"b"}`
	ping, err := github.ParseWebHook("ping", []byte(twice))
	readme(t, err == nil && ping.(*github.PingEvent).GetZen() == "b", "go-github: the last of two members counts")
	event, err := webhook.ConstructEventWithOptions([]byte(twice), stripeSigned("k", twice, time.Now()), "k",
		webhook.ConstructEventOptions{IgnoreAPIVersionMismatch: true})
	readme(t, err == nil && event.Type == "b", "stripe-go: the last of two members counts")
	_, err = walletcrew.ParseEvent("Pass:Created", []byte(`{"passId":"a","passId":"b"}`))
	readme(t, errors.Is(err, walletcrew.ErrInvalidPayload), "walletcrew-go refuses them")
}

func TestComparedUnknownEvents(t *testing.T) {
	_, err := github.ParseWebHook("not_known_yet", []byte(`{}`))
	readme(t, err != nil, "go-github: an event that it doesn't know is an error")
	body := `{"object":"event","type":"not.known.yet","data":{"object":{"a":1}}}`
	event, err := webhook.ConstructEventWithOptions([]byte(body), stripeSigned("k", body, time.Now()), "k",
		webhook.ConstructEventOptions{IgnoreAPIVersionMismatch: true})
	readme(t, err == nil && event.Type == stripe.EventType("not.known.yet") && string(event.Data.Raw) == `{"a":1}`, "stripe-go keeps it")
	_, err = webhook.ConstructEvent([]byte(body), stripeSigned("k", body, time.Now()), "k")
	readme(t, err != nil, "stripe-go: another API version is an error, unless an option says otherwise")
	ours, err := walletcrew.ParseEvent("Store:Opened", []byte(`{"a":1}`))
	_, unknown := ours.Data.(*walletcrew.UnknownEvent)
	readme(t, err == nil && unknown, "walletcrew-go keeps it, with every member")
}

func TestComparedAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("allocations say nothing while the race detector is on")
	}
	body, now := bytes.Repeat([]byte("0123456789abcdef"), 32), time.Now()
	v, err := verifier.New(verifier.Static("k"))
	if err != nil {
		t.Fatal(err)
	}
	ours, ctx := walletcrew.Sign("k", body), context.Background()
	readme(t, testing.AllocsPerRun(100, func() { err = v.Verify(ctx, "shop", body, ours) }) == 0 && err == nil, "walletcrew-go: none to verify")
	theirs := githubSignature("k", body)
	readme(t, testing.AllocsPerRun(100, func() { err = github.ValidateSignature(theirs, body, []byte("k")) }) > 0 && err == nil, "go-github: some")
	header := stripeSigned("k", string(body), now)
	readme(t, testing.AllocsPerRun(100, func() { err = webhook.ValidatePayload(body, header, "k") }) > 0 && err == nil, "stripe-go: some")
	headers := standardHeaders(t, body, now, "k")
	readme(t, testing.AllocsPerRun(100, func() { err = standard(t, "k", body, headers) }) > 0 && err == nil, "standard-webhooks and svix: some")
}
