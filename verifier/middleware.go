package verifier

import (
	"bytes"
	"context"
	"io"
	"net/http"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/answer"
	"github.com/thewalletcrew/walletcrew-go/internal/dedupekey"
)

type deliveryKey struct{}

// Middleware verifies each request before it calls next. If the request isn't a valid delivery, Middleware answers it, with [StatusCode],
// and next isn't called. Next finds the body unread, the event with [EventFromContext], and the delivery with [DeliveryFromContext]. The
// platform gets next's answer: 2xx acknowledges the event.
//
// Middleware logs nothing, so put your own logging around it. receiver.NewHandler does more: it logs, deduplicates, limits the time and
// catches panics. To deduplicate behind Middleware, claim the receiver.Key of the request's context.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, err := v.Delivery(r)
		if err != nil {
			answer.Write(w, StatusCode(err))
			return
		}
		r = r.WithContext(dedupekey.With(context.WithValue(r.Context(), deliveryKey{}, d), d.Key()))
		r.Body = io.NopCloser(bytes.NewReader(d.Body))
		r.ContentLength = int64(len(d.Body))
		r.TransferEncoding = nil
		next.ServeHTTP(w, r)
	})
}

// DeliveryFromContext returns the delivery that [Verifier.Middleware] verified.
func DeliveryFromContext(ctx context.Context) (*Delivery, bool) {
	d, ok := ctx.Value(deliveryKey{}).(*Delivery)
	return d, ok
}

// EventFromContext returns the event of the delivery that [Verifier.Middleware] verified.
func EventFromContext(ctx context.Context) (*walletcrew.Event, bool) {
	d, ok := DeliveryFromContext(ctx)
	if !ok {
		return nil, false
	}
	return d.Event, true
}
