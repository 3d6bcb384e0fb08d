package verifier

import (
	"bytes"
	"context"
	"io"
	"net/http"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

type eventKey struct{}

// Middleware verifies each request before next sees it, and answers what isn't a valid delivery itself. Next finds the body
// unread, and the event with [EventFromContext]. Next's own answer is the platform's answer: 2xx acknowledges the event.
// [NewHandler] does more: it deduplicates, limits the time and catches panics.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var d delivery
		if err := v.receive(r.Context(), r, &d); err != nil {
			answer(w, StatusCode(err))
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), eventKey{}, d.event))
		r.Body = io.NopCloser(bytes.NewReader(d.body))
		r.ContentLength = int64(len(d.body))
		r.TransferEncoding = nil
		next.ServeHTTP(w, r)
	})
}

// EventFromContext returns the event that [Verifier.Middleware] verified.
func EventFromContext(ctx context.Context) (*walletcrew.Event, bool) {
	e, ok := ctx.Value(eventKey{}).(*walletcrew.Event)
	return e, ok
}

// retryAfter is what a 503 asks for, in seconds. When the platform delivers again isn't documented.
const retryAfter = "10"

// answer says no more than the status's own words: what was wrong is for the receiver's log, not for whoever sent it.
func answer(w http.ResponseWriter, status int) {
	switch status {
	case http.StatusNoContent:
		w.WriteHeader(status)
		return
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
	}
	http.Error(w, http.StatusText(status), status)
}
