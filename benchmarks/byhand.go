package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// byHand is the handler that a team writes without the SDK. It does what comes to mind first, and no more.
type byHand struct {
	secret []byte
	handle func(ctx context.Context, p *plainInstalled) error
	mu     sync.Mutex
	seen   map[string]bool
}

// newByHand returns one that has seen as many events as the SDK's memory deduper holds by then.
func newByHand(handle func(context.Context, *plainInstalled) error, events int) *byHand {
	h := &byHand{secret: []byte(secret), handle: handle, seen: make(map[string]bool)}
	for i := range events {
		h.seen["before-"+strconv.Itoa(i)] = true
	}
	return h
}

func (h *byHand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil {
			slog.Error("webhook: panic", "value", v)
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
	}()
	if r.Method != http.MethodPost {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, "can't read the body", status)
		return
	}
	mac := hmac.New(sha256.New, h.secret)
	mac.Write(body)
	signature, err := hex.DecodeString(r.Header.Get(walletcrew.HeaderSignature))
	if err != nil || !hmac.Equal(mac.Sum(nil), signature) {
		http.Error(w, "wrong signature", http.StatusUnauthorized)
		return
	}
	var p plainInstalled
	if err := json.Unmarshal(body, &p); err != nil {
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	if h.saw(p.ID) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 25*time.Second)
	defer cancel()
	if err := h.handle(ctx, &p); err != nil {
		slog.Error("webhook: failed", "id", p.ID, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h.done(p.ID)
	w.WriteHeader(http.StatusNoContent)
}

func (h *byHand) saw(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen[id]
}

func (h *byHand) done(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[id] = true
}
