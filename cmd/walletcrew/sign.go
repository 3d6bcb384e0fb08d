package main

import (
	"net/http"
	"strings"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A forgery is what is wrong with a delivery on purpose.
type forgery string

const (
	authentic   forgery = ""
	tampered    forgery = "tamper"       // one byte of the body was changed after it was signed
	wrongSecret forgery = "wrong-secret" // signed with another secret
	notSigned   forgery = "no-signature"
)

// A draft is a delivery before it is signed.
type draft struct {
	Event   string  `json:"event"`
	Tenant  string  `json:"tenant"`
	Body    []byte  `json:"body"`
	Forgery forgery `json:"forgery"`
}

// check refuses what can't be sent.
func (d draft) check() error {
	for what, text := range map[string]string{"event": d.Event, "tenant": d.Tenant} {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return usagef("the %s %s has a control character, which no header can have", what, visible(text))
		}
	}
	return nil
}

// signed makes the delivery, as the platform would but for the forgery.
func (d draft) signed(secret walletcrew.Secret) message {
	body := d.Body
	signature := walletcrew.Sign(secret, body)
	switch d.Forgery {
	case tampered:
		body = tamper(body)
	case wrongSecret:
		signature = walletcrew.Sign("not the secret: "+secret, body)
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "walletcrew-command")
	if d.Forgery != notSigned {
		h.Set(walletcrew.HeaderSignature, signature)
	}
	h.Set(walletcrew.HeaderEventName, d.Event)
	h.Set(walletcrew.HeaderTenantID, d.Tenant)
	return message{Header: h, Body: body}
}

// tamper returns the body with one byte changed: the last letter or digit, so that it most likely stays JSON.
func tamper(body []byte) []byte {
	changed := append([]byte(nil), body...)
	for i := len(changed) - 1; i >= 0; i-- {
		switch c := changed[i]; {
		case c >= '0' && c < '9', c >= 'a' && c < 'z', c >= 'A' && c < 'Z':
			changed[i]++
			return changed
		case c == '9', c == 'z', c == 'Z':
			changed[i]--
			return changed
		}
	}
	return append(changed, ' ')
}
