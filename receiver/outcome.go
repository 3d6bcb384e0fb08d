package receiver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/answer"
	"github.com/thewalletcrew/walletcrew-go/internal/guard"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// An Outcome is the result of one delivery, for an observer, see [WithObserver].
type Outcome struct {
	Event  *walletcrew.Event // nil if refused
	Result Result
	Reason Reason // why; "" for Handled, Duplicate and Ignored
	Status int    // that was answered
	Bytes  int    // of the body, as far as it was read
	// Label is the event's name in its documented spelling if it is a known one, else "other". So
	// it can be a metric's label. For a refused delivery it goes by ClaimedName.
	Label walletcrew.EventName
	// ClaimedName and ClaimedTenant are from the headers, RemoteAddr from the http.Request:
	// behind a proxy it is the proxy's. A refused delivery has them, too. Nothing vouches for them,
	// and they may hold anything, so don't use them as a metric's label.
	ClaimedName   walletcrew.EventName
	ClaimedTenant string
	RemoteAddr    string
	// Read, Verify, Decode, Dedupe and Function are the times that the steps took; 0 for a step
	// that wasn't reached. Verify includes the look-up of secrets. Dedupe is the time for claiming
	// the event, which includes the wait for another delivery of it, and for telling the deduper
	// how it ended.
	Read, Verify, Decode, Dedupe, Function time.Duration
	// Total is the time from the delivery's arrival in the handler until the answer was decided.
	Total time.Duration
	Err   error // nil for Handled, Duplicate and Ignored
}

// A Result says how a delivery ended. It is one of the constants, so it can be a metric's label.
type Result string

// The results, with the status that is answered.
const (
	Handled     Result = "handled"     // 204: the function returned nil
	Duplicate   Result = "duplicate"   // 204: it was handled before; the function wasn't called
	Discarded   Result = "discarded"   // 204: the function returned a Discard
	Ignored     Result = "ignored"     // 204: the Mux has no function for it; it isn't remembered as handled
	InFlight    Result = "in_flight"   // 503: another delivery of the event is being handled, and this one can't wait for it
	Failed      Result = "failed"      // 500: the function returned an error; 503 for a Temporary one
	Panicked    Result = "panicked"    // 500: the function panicked, or the source of secrets did
	TimedOut    Result = "timed_out"   // 503: the function took too long, or the sender hung up
	Unavailable Result = "unavailable" // 503: the secrets or the deduper can't be had, or the handler is shutting down
	Refused     Result = "refused"     // 4xx, see verifier.StatusCode
)

// A Reason says why a delivery wasn't handled. It is one of the constants, so it can be a metric's label. It is "" for Handled, Duplicate
// and Ignored.
type Reason string

// The reasons. Those from ReasonMethodNotAllowed to ReasonSecretsUnavailable stand for errors of the packages verifier and walletcrew.
const (
	ReasonMethodNotAllowed     Reason = "method_not_allowed"
	ReasonEncodingNotSupported Reason = "encoding_not_supported"
	ReasonTooLarge             Reason = "too_large"
	ReasonBodyUnreadable       Reason = "body_unreadable"
	ReasonMissingSignature     Reason = "missing_signature"
	ReasonMalformedSignature   Reason = "malformed_signature"
	ReasonSignatureMismatch    Reason = "signature_mismatch"
	ReasonUnknownTenant        Reason = "unknown_tenant"
	ReasonEventNameMismatch    Reason = "event_name_mismatch"
	ReasonInvalidPayload       Reason = "invalid_payload"
	ReasonSecretsUnavailable   Reason = "secrets_unavailable"
	ReasonDeduperUnavailable   Reason = "deduper_unavailable"
	ReasonInFlight             Reason = "in_flight"        // another delivery of the event is being handled
	ReasonTooManyWaiting       Reason = "too_many_waiting" // several others of the event wait for that already
	ReasonShuttingDown         Reason = "shutting_down"
	ReasonDiscarded            Reason = "discarded"
	ReasonTemporary            Reason = "temporary" // the function returned a Temporary error
	ReasonFailed               Reason = "failed"    // the function returned another error
	ReasonPanicked             Reason = "panicked"
	ReasonTimedOut             Reason = "timed_out"
	ReasonHungUp               Reason = "hung_up" // the sender went away before the function returned
)

// refusals are the verifier's errors, the first that fits.
var refusals = []struct {
	err    error
	reason Reason
}{
	{verifier.ErrSecretsUnavailable, ReasonSecretsUnavailable},
	{walletcrew.ErrNoSecret, ReasonSecretsUnavailable},
	{walletcrew.ErrMissingSignature, ReasonMissingSignature},
	{walletcrew.ErrMalformedSignature, ReasonMalformedSignature},
	{walletcrew.ErrSignatureMismatch, ReasonSignatureMismatch},
	{verifier.ErrUnknownTenant, ReasonUnknownTenant},
	{verifier.ErrMethodNotAllowed, ReasonMethodNotAllowed},
	{verifier.ErrEncodingNotSupported, ReasonEncodingNotSupported},
	{verifier.ErrBodyTooLarge, ReasonTooLarge},
	{verifier.ErrBodyUnreadable, ReasonBodyUnreadable},
	{walletcrew.ErrInvalidPayload, ReasonInvalidPayload},
	{verifier.ErrEventNameMismatch, ReasonEventNameMismatch},
}

var known = walletcrew.Events()

// other is the label of an event that isn't known.
const other walletcrew.EventName = "other"

// label says what the event is called in a metric. The name of an event that was accepted has its documented spelling already.
func (o *Outcome) label() {
	o.Label = other
	if o.Event != nil {
		if o.Event.Name.Known() {
			o.Label = o.Event.Name
		}
		return
	}
	if !o.ClaimedName.Known() {
		return
	}
	for _, name := range known {
		if len(name) == len(o.ClaimedName) && o.ClaimedName.Matches(name) {
			o.Label = name
		}
	}
}

// refuse says what the verifier's error comes to.
func (o *Outcome) refuse(err error) {
	o.Result, o.Reason, o.Status, o.Err = Refused, ReasonFailed, verifier.StatusCode(err), err
	for _, refusal := range refusals {
		if errors.Is(err, refusal.err) {
			o.Reason = refusal.reason
			break
		}
	}
	if guard.Of(err) != nil {
		o.Result, o.Reason, o.Status = Panicked, ReasonPanicked, http.StatusInternalServerError
	} else if o.Status >= 500 {
		o.Result = Unavailable
	}
}

func (o *Outcome) unavailable(result Result, reason Reason, err error) {
	o.Result, o.Reason, o.Status, o.Err = result, reason, http.StatusServiceUnavailable, err
}

// late says that the time was up, or that the sender has gone. Ended is the context's error.
func (o *Outcome) late(what string, ended error) {
	reason := ReasonTimedOut
	if errors.Is(ended, context.Canceled) {
		reason = ReasonHungUp
	}
	o.unavailable(TimedOut, reason, fmt.Errorf("receiver: %s: %w", what, ended))
}

// decide says what the function's result comes to.
func (o *Outcome) decide(ctx context.Context, err error) {
	o.Err = err
	switch {
	case err == nil:
		o.Result, o.Status = Handled, http.StatusNoContent
	case guard.Of(err) != nil:
		o.Result, o.Reason, o.Status = Panicked, ReasonPanicked, http.StatusInternalServerError
	case IsIgnored(err):
		o.Result, o.Status, o.Err = Ignored, http.StatusNoContent, nil
	case IsDiscard(err):
		o.Result, o.Reason, o.Status = Discarded, ReasonDiscarded, http.StatusNoContent
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		o.late("the function did not return in time", ctx.Err())
		o.Err = err
	case IsTemporary(err):
		o.unavailable(Failed, ReasonTemporary, err)
	default:
		o.Result, o.Reason, o.Status = Failed, ReasonFailed, http.StatusInternalServerError
	}
}

// isDone reports whether the event is to be remembered, so that it isn't handled again.
func isDone(result error) bool {
	return result == nil || guard.Of(result) == nil && IsDiscard(result) && !IsIgnored(result)
}

// Discard marks an error as final: the event is logged, acknowledged (2xx), and counts as done, so that it isn't delivered again.
// Return it for an event that can never be handled. Discard(nil) is nil.
//
// An error that wraps a Discard is one, too, even if it wraps other errors besides, as those of errors.Join do. So if one of
// several failures must be tried again, don't join a Discard to it.
func Discard(err error) error {
	if err == nil {
		return nil
	}
	return &answer.Discarded{Err: err}
}

// ErrIgnored is what [Mux.Handle] returns for an event that it has no function for (errors.Is). Your own HandlerFunc may return
// it, too. The delivery is acknowledged ([Ignored]), but the deduper doesn't remember the event: if it comes again, and a
// function has been registered meanwhile, that function handles it.
var ErrIgnored = answer.ErrIgnored

// IsIgnored reports whether err is or wraps [ErrIgnored], and no failure besides. If err wraps several errors, as those of errors.Join do,
// each of them must be ErrIgnored. Use it in code that calls a [HandlerFunc] itself.
func IsIgnored(err error) bool { return answer.IsIgnored(err) }

// IsDiscard reports whether err is or wraps what [Discard] returned. Use it in code that calls a [HandlerFunc] itself.
func IsDiscard(err error) bool { return answer.IsDiscarded(err) }

// Temporary marks an error that passes by itself, such as a database or a broker that can't be reached: the answer is 503 with
// Retry-After instead of 500. The platform delivers the event again in both cases. Temporary(nil) is nil.
func Temporary(err error) error {
	if err == nil {
		return nil
	}
	return &answer.Temporary{Err: err}
}

// IsTemporary reports whether err is or wraps what [Temporary] returned. Use it in code that calls a [HandlerFunc] itself.
func IsTemporary(err error) bool { return answer.IsTemporary(err) }
