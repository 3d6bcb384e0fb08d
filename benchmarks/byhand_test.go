package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// The handler by hand is a fair one: it does what a receiver must.
func TestTheHandlerByHandWorks(t *testing.T) {
	calls, fail := 0, error(nil)
	h := newByHand(func(ctx context.Context, p *plainInstalled) error {
		calls++
		if _, limited := ctx.Deadline(); !limited || p.PassID != "p-10012" {
			t.Errorf("the function got %+v, and a time limit: %v", p, limited)
		}
		if fail == nil && calls > 10 {
			panic("as a function may")
		}
		return fail
	}, 1)
	send := func(method string, body []byte, signature string) int {
		r := httptest.NewRequest(method, "/", bytes.NewReader(body))
		r.Header.Set(walletcrew.HeaderSignature, signature)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	right := walletcrew.Sign(secret, installed)
	fail = errors.New("not now")
	large := bytes.Repeat([]byte(" "), 1<<20+1)
	for _, c := range []struct {
		what      string
		method    string
		body      []byte
		signature string
		status    int
	}{
		{"another method", http.MethodGet, nil, right, http.StatusMethodNotAllowed},
		{"a large body", http.MethodPost, large, walletcrew.Sign(secret, large), http.StatusRequestEntityTooLarge},
		{"a changed body", http.MethodPost, bytes.Replace(installed, []byte("apple"), []byte("maple"), 1), right, http.StatusUnauthorized},
		{"no signature", http.MethodPost, installed, "", http.StatusUnauthorized},
		{"not JSON", http.MethodPost, []byte("{"), walletcrew.Sign(secret, []byte("{")), http.StatusBadRequest},
		{"a failing function", http.MethodPost, installed, right, http.StatusInternalServerError},
	} {
		if got := send(c.method, c.body, c.signature); got != c.status {
			t.Errorf("%s: answered %d, want %d", c.what, got, c.status)
		}
	}
	fail = nil
	for range 2 {
		if got := send(http.MethodPost, installed, right); got != http.StatusNoContent {
			t.Errorf("answered %d, want 204", got)
		}
	}
	if calls != 2 {
		t.Errorf("the function was called %d times: want once for the failure, and once for the event", calls)
	}
	calls = 10
	if got := send(http.MethodPost, fresh(bytes.Clone(installed)), ""); got != http.StatusUnauthorized {
		t.Errorf("answered %d, want 401", got)
	}
	other := fresh(bytes.Clone(installed))
	if got := send(http.MethodPost, other, walletcrew.Sign(secret, other)); got != http.StatusInternalServerError {
		t.Errorf("a panic: answered %d, want 500", got)
	}
}
