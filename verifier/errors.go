package verifier

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/answer"
	"github.com/thewalletcrew/walletcrew-go/internal/guard"
)

// What can be wrong with a delivery, besides the signature's errors ([walletcrew.ErrMissingSignature],
// [walletcrew.ErrMalformedSignature], [walletcrew.ErrSignatureMismatch]) and [walletcrew.ErrInvalidPayload]. Use [errors.Is];
// [StatusCode] says what to answer.
var (
	// ErrBodyTooLarge: the body is over the limit, see WithMaxBodyBytes.
	ErrBodyTooLarge = errors.New("verifier: the body is too large")
	// ErrMethodNotAllowed: a delivery is a POST.
	ErrMethodNotAllowed = errors.New("verifier: the method is not POST")
	// ErrEncodingNotSupported: the request has a Content-Encoding, which the error's text names.
	// The signature is over the raw bytes, and a body is never decompressed before it is verified.
	// "identity" is allowed, and so is a charset, such as "utf-8", that stands there by mistake.
	ErrEncodingNotSupported = errors.New("verifier: the body has a content encoding: nothing between the platform and here may compress it")
	// ErrUnknownTenant: the source has no secrets for the tenant in the header. A source may return
	// it, too.
	ErrUnknownTenant = errors.New("verifier: there are no secrets for the tenant")
	// ErrEventNameMismatch: the header names another event than the signed body does.
	ErrEventNameMismatch = errors.New("verifier: the event name in the header is not the one in the signed body")
	// ErrSecretsUnavailable: the source failed, so the signature can't be checked. It wraps the
	// source's error.
	ErrSecretsUnavailable = errors.New("verifier: the secrets can't be had")
	// ErrBodyUnreadable: the body broke off, or didn't come in time. It wraps the cause.
	ErrBodyUnreadable = errors.New("verifier: the body can't be read")
)

func tooLarge(limit int64) error {
	return fmt.Errorf("%w: the limit is %d bytes, see WithMaxBodyBytes", ErrBodyTooLarge, limit)
}

func encodingNotSupported(encoding string) error {
	return fmt.Errorf("%w: Content-Encoding says %.64q", ErrEncodingNotSupported, encoding)
}

// unavailable is the error of a source that failed.
func unavailable(err error) error {
	if guard.Of(err) != nil || errors.Is(err, ErrUnknownTenant) {
		return err // it panicked, or it didn't fail: it knows that there is none
	}
	return fmt.Errorf("%w: %w", ErrSecretsUnavailable, err)
}

// StatusCode returns the HTTP status for an error of this package, or of your function:
//
//   - 204 for nil, for a receiver.Discard, and for receiver.ErrIgnored
//   - 400 for a body or a name that can't be right
//   - 401 without a valid signature
//   - 405, 408, 413 and 415 for their kinds
//   - 503 if the receiver can't tell, and for a receiver.Temporary, so that the platform delivers the event again
//   - 500 for any other error
func StatusCode(err error) int {
	is := func(targets ...error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return http.StatusNoContent
	case guard.Of(err) != nil:
		return http.StatusInternalServerError // whatever the value
	case is(ErrSecretsUnavailable, walletcrew.ErrNoSecret):
		return http.StatusServiceUnavailable
	case is(walletcrew.ErrMissingSignature, walletcrew.ErrMalformedSignature, walletcrew.ErrSignatureMismatch, ErrUnknownTenant):
		return http.StatusUnauthorized
	case is(ErrMethodNotAllowed):
		return http.StatusMethodNotAllowed
	case is(ErrEncodingNotSupported):
		return http.StatusUnsupportedMediaType
	case is(ErrBodyTooLarge):
		return http.StatusRequestEntityTooLarge
	case is(ErrBodyUnreadable) && is(os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout
	case is(ErrBodyUnreadable, walletcrew.ErrInvalidPayload, ErrEventNameMismatch):
		return http.StatusBadRequest
	case answer.IsDiscarded(err) || answer.IsIgnored(err): // of your function's: what comes before is never acknowledged, whatever it wraps
		return http.StatusNoContent
	case is(context.DeadlineExceeded, context.Canceled) || answer.IsTemporary(err):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
