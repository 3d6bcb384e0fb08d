// Package sample is a delivery that the module's own tests share. Its signature was computed with OpenSSL and with Python, not with this
// module.
package sample

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
)

// The vector.
const (
	Secret = "k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E" //nolint:gosec // of no webhook
	Body   = `{"__id":"0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10","passId":"p-1001","passType":"user","identifiers":{"customerId":"C-42"},"device":"apple"}`
	Hex    = "5c979b2f309a6023a40fb8d84bf7709286b14f1086b59235871333b6101b9360"
	Base64 = "XJebLzCaYCOkD7jYS/dwkoaxTxCGtZI1hxMzthAbk2A="
)

// Installed is the body of a Pass:Installed of 600 bytes, with all the members that the platform's other integrations carry.
const Installed = `{"__id":"0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10","__timestamp":"2026-11-23T10:11:12.131Z",` +
	`"passId":"p-10012","passType":"loyalty-card","passKind":"customerCard",` +
	`"identifiers":{"customerId":"C-421234","email":"ada.lovelace@shop.example","crmNumber":4711},` +
	`"metadata":{"store":"Paris 9","language":"fr","points":120},"device":"apple",` +
	`"additionalInformation":{"registrationInformation":{"activeRegistrationCount":1,"totalRegistrationCount":3},` +
	`"registrationSource":{"tags":["spring","newsletter"],"medium":"email","origin":"https://shop.example/app",` +
	`"userAgent":"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1)"}}}`

// OtherSecret is one that signed none of it.
const OtherSecret = "Zz0Yx9Wv8Ut7Sr6Qp5On4Ml3Kj2Ih1Gf0Ed9Cb8Az7Yx6Wv5Ut4Sr3Qp2On1Ml0K" //nolint:gosec // of no webhook

// Nowhere is a signature of the right form that no secret here makes.
const Nowhere = "0000000000000000000000000000000000000000000000000000000000000000"

// Posted is a delivery as net/http hands it over: signed with Secret, of tenant "acme", a Pass:Installed.
func Posted(body []byte) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/webhooks", bytes.NewReader(body))
	mac := hmac.New(sha256.New, []byte(Secret))
	mac.Write(body)
	r.Header.Set("X-Neostore-Signature", hex.EncodeToString(mac.Sum(nil)))
	r.Header.Set("X-Neostore-Eventname", "Pass:Installed")
	r.Header.Set("X-Neostore-Tenantid", "acme")
	return r
}

// PaddedBody is a JSON object of exactly n bytes, 21 at least.
func PaddedBody(n int) []byte {
	const frame = `{"__id":"1","pad":""}`
	body := make([]byte, 0, n)
	body = append(body, frame[:len(frame)-2]...)
	body = append(body, bytes.Repeat([]byte{'x'}, n-len(frame))...)
	return append(body, `"}`...)
}
