package verifier_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// Whatever comes: no panic, a status from the list, and the function runs for nothing but a POST whose signature is right by an
// HMAC that is computed here, without the module's help.
func FuzzHandler(f *testing.F) {
	const limit = 4 << 10
	add := func(method, signature, name, encoding string, length int64, body string) {
		f.Add(method, signature, name, "acme", encoding, length, []byte(body), false)
		f.Add(method, signature, name, "", encoding, length, []byte(body), true)
	}
	add("POST", knownHex, "Pass:Installed", "", 136, knownBody)
	add("POST", knownBase64, "pass.installed", "identity", -1, knownBody)
	add("POST", "sha256="+strings.ToUpper(knownHex), "", "Identity ", 0, knownBody)
	add("POST", knownHex[:63], "Customer:Upserted", "gzip", 1<<40, knownBody)
	add("GET", "", "*", "", 0, "")
	add("post", " ", "\x00", ",", -9, "{")
	add("POST", nowhere, "Pass:Uninstalled", "", 1, `{"__eventName":"Pass:Installed","__id":7}`)
	add("POST", nowhere, "Pass:Installed", "", 1, `{"__id":"1","__id":"2"}`)
	add("POST", nowhere, "Pass:Installed", "", 1, `{"__id":"1","passId":[],"device":{"a":1},"identifiers":{"n":1e999}}`)
	add("POST", nowhere, "Redirect:Redirected", "", 1, strings.Repeat(`{"a":`, 1000))
	add("POST", nowhere, "Pass:Created", "", 1, "\uFEFF{}")
	add("POST", nowhere, "Pass:UpdateSent", "", 1, "{\"a\":\"\xff\"}")
	add("POST", nowhere, "Pass:Updated", "", -1, string(paddedBody(limit)))
	add("POST", nowhere, "Pass:Updated", "", -1, string(paddedBody(limit+1)))
	add("POST", "no signature", "Pass:Updated", "", -1, string(paddedBody(limit+1)))
	add("POST", "", "Pass:Updated", "", 1, string(paddedBody(limit+1)))
	allowed := []int{204, 400, 401, 405, 413, 415}

	v, err := verifier.New(verifier.Static(knownSecret), verifier.WithMaxBodyBytes(limit))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, signature, name, tenant, encoding string, length int64, body []byte, sign bool) {
		right := hmac.New(sha256.New, []byte(knownSecret))
		right.Write(body)
		sum := right.Sum(nil)
		before := bytes.Clone(body)
		defer func() {
			if !bytes.Equal(before, body) {
				t.Errorf("the body was changed: %q, now %q", before, body)
			}
		}()
		if sign {
			signature = hex.EncodeToString(sum)
		}
		r := &http.Request{
			Method: method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: length, Body: io.NopCloser(bytes.NewReader(body)),
			Header: http.Header{
				walletcrew.HeaderSignature: {signature}, walletcrew.HeaderEventName: {name}, walletcrew.HeaderTenantID: {tenant}, "Content-Encoding": {encoding},
			},
		}
		ran := 0
		var event *walletcrew.Event
		var out receiver.Outcome
		w := httptest.NewRecorder()
		receiver.NewHandler(v, func(_ context.Context, e *walletcrew.Event) error { ran++; event = e; return nil },
			receiver.WithLogger(silentLog()), receiver.WithDeduper(receiver.NewMemoryDeduper(4, 0)),
			receiver.WithObserver(func(_ context.Context, o receiver.Outcome) { out = o })).ServeHTTP(w, r)

		if !slices.Contains(allowed, w.Code) {
			t.Fatalf("answered with %d, which isn't among %v", w.Code, allowed)
		}
		if out.Status != w.Code {
			t.Fatalf("the observer was told %d, the sender %d", out.Status, w.Code)
		}
		if (ran == 1) != (w.Code == 204) {
			t.Fatalf("the function ran %d times for a %d", ran, w.Code)
		}
		if ran > 0 {
			given := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(signature), "sha256="))
			spelled := []string{
				hex.EncodeToString(sum), strings.ToUpper(hex.EncodeToString(sum)),
				base64.StdEncoding.EncodeToString(sum), base64.RawStdEncoding.EncodeToString(sum),
				base64.URLEncoding.EncodeToString(sum), base64.RawURLEncoding.EncodeToString(sum),
			}
			switch {
			case !slices.Contains(spelled, given):
				t.Fatalf("the function ran for the signature %q of %q", signature, body)
			case method != http.MethodPost:
				t.Fatalf("the function ran for the method %q", method)
			case len(body) > limit:
				t.Fatalf("the function ran for %d bytes", len(body))
			case !bytes.Equal(event.Raw, body):
				t.Fatalf("the event's bytes %q are not the body %q", event.Raw, body)
			case event.Data == nil:
				t.Fatal("the event has no data")
			}
		}

		// A right signature is never refused as one, nor a body that is small enough as one that isn't.
		plain := encoding == "" || strings.EqualFold(strings.TrimSpace(encoding), "identity")
		if sign && method == http.MethodPost && plain && length <= limit && len(body) <= limit && w.Code != 204 && w.Code != 400 {
			t.Fatalf("a delivery that is signed right was answered with %d", w.Code)
		}

		// EventFrom agrees with the handler on what is accepted.
		if method == http.MethodPost && length <= limit {
			_, err := v.EventFrom(context.Background(), r.Header.Get, body)
			if got := verifier.StatusCode(err); got != w.Code {
				t.Fatalf("EventFrom says %d (%v), the handler %d", got, err, w.Code)
			}
		}
	})
}
