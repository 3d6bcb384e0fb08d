// Package answer is what the packages verifier and receiver share about answering a delivery.
package answer

import (
	"errors"
	"net/http"
	"slices"
)

// RetryAfter is what a 503 asks for, in seconds. When the platform delivers again isn't documented.
const RetryAfter = "10"

// Write says no more than the status's own words: what was wrong is for the receiver's log, not for the sender.
func Write(w http.ResponseWriter, status int) {
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	SetHeader(w.Header(), status)
	http.Error(w, http.StatusText(status), status)
}

// SetHeader sets what belongs to the status.
func SetHeader(h http.Header, status int) {
	switch status {
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", RetryAfter)
	}
}

// ErrIgnored says that no function takes the event. It is receiver.ErrIgnored.
var ErrIgnored = errors.New("receiver: the Mux has no function for the event")

// IsIgnored reports whether err is or wraps ErrIgnored and nothing that failed: an error that wraps several, as errors.Join's does, is
// one only if each of them is. Otherwise the failure would be acknowledged, and the event lost.
func IsIgnored(err error) bool {
	if !errors.Is(err, ErrIgnored) {
		return false
	}
	for {
		switch wrapper := err.(type) { //nolint:errorlint // it is unwrapped here
		case interface{ Unwrap() []error }:
			return !slices.ContainsFunc(wrapper.Unwrap(), func(err error) bool { return err != nil && !IsIgnored(err) })
		case interface{ Unwrap() error }:
			err = wrapper.Unwrap()
		default:
			return true
		}
	}
}

// Discarded is an error that is final: the event needn't come again. receiver.Discard makes it.
type Discarded struct{ Err error }

func (d *Discarded) Error() string { return "discarded: " + d.Err.Error() }

// Unwrap returns the function's error.
func (d *Discarded) Unwrap() error { return d.Err }

// IsDiscarded reports whether err is or wraps a Discarded.
func IsDiscarded(err error) bool {
	_, ok := errors.AsType[*Discarded](err)
	return ok
}

// Temporary is an error that passes by itself. receiver.Temporary makes it.
type Temporary struct{ Err error }

func (t *Temporary) Error() string { return t.Err.Error() }

// Unwrap returns the function's error.
func (t *Temporary) Unwrap() error { return t.Err }

// IsTemporary reports whether err is or wraps a Temporary.
func IsTemporary(err error) bool {
	_, ok := errors.AsType[*Temporary](err)
	return ok
}
