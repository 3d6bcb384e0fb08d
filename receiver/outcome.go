package receiver

import (
	"context"
	"errors"
	"net/http"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/answer"
	"github.com/thewalletcrew/walletcrew-go/internal/guard"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// An Outcome says what became of one delivery.
type Outcome struct {
	Event  *walletcrew.Event // nil if refused
	Result Result
	Status int // that was answered
	Bytes  int // of the body, as far as it was read
	// Verify, Decode and Function say how long each took; 0 for what wasn't reached. Verify
	// includes the look-up of secrets.
	Verify, Decode, Function time.Duration
	Err                      error // nil for Handled and Duplicate
}

// A Result is what became of a delivery, in a word that serves as a metric's label.
type Result string

// The results, with the status that is answered.
const (
	Handled     Result = "handled"     // 204: the function returned nil
	Duplicate   Result = "duplicate"   // 204: it was handled before; the function wasn't called
	Discarded   Result = "discarded"   // 204: the function returned a Discard
	InFlight    Result = "in_flight"   // 503: another process is handling it, or this one was still at it when the time was up
	Failed      Result = "failed"      // 500: the function returned an error; 503 for a Temporary one
	Panicked    Result = "panicked"    // 500: the function panicked, or the source of secrets did
	TimedOut    Result = "timed_out"   // 503: the function took too long, or the sender hung up
	Unavailable Result = "unavailable" // 503: the secrets or the deduper can't be had, or the handler is shutting down
	Refused     Result = "refused"     // 4xx, see verifier.StatusCode
)

// refuse says what the verifier's error comes to.
func (o *Outcome) refuse(err error) {
	o.Result, o.Status, o.Err = Refused, verifier.StatusCode(err), err
	if guard.Of(err) != nil {
		o.Result, o.Status = Panicked, http.StatusInternalServerError
	} else if o.Status >= 500 {
		o.Result = Unavailable
	}
}

func (o *Outcome) unavailable(result Result, err error) {
	o.Result, o.Status, o.Err = result, http.StatusServiceUnavailable, err
}

// decide says what the function's result comes to.
func (o *Outcome) decide(ctx context.Context, err error) {
	o.Err = err
	switch {
	case err == nil:
		o.Result, o.Status = Handled, http.StatusNoContent
	case guard.Of(err) != nil:
		o.Result, o.Status = Panicked, http.StatusInternalServerError
	case IsDiscard(err):
		o.Result, o.Status = Discarded, http.StatusNoContent
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		o.unavailable(TimedOut, err)
	case IsTemporary(err):
		o.unavailable(Failed, err)
	default:
		o.Result, o.Status = Failed, http.StatusInternalServerError
	}
}

// isDone reports whether the event needn't come again.
func isDone(result error) bool { return result == nil || guard.Of(result) == nil && IsDiscard(result) }

// Discard marks an error as final: the event is logged and acknowledged (2xx), counts as done, and isn't delivered again. Return
// it for an event that can never be handled. Discard(nil) is nil.
//
// An error that wraps it is one too, also one that wraps others besides, as those of errors.Join do: if one of several failures must
// be tried again, don't join a Discard to it.
func Discard(err error) error {
	if err == nil {
		return nil
	}
	return &answer.Discarded{Err: err}
}

// IsDiscard reports whether err is or wraps what [Discard] returned: for those who call a HandlerFunc themselves.
func IsDiscard(err error) bool { return answer.IsDiscarded(err) }

// Temporary marks an error as one that passes by itself, such as that of a database or a broker that can't be reached: it is
// answered with 503 and Retry-After instead of 500. The event is asked for again in both cases. Temporary(nil) is nil.
func Temporary(err error) error {
	if err == nil {
		return nil
	}
	return &answer.Temporary{Err: err}
}

// IsTemporary reports whether err is or wraps what [Temporary] returned: for those who call a HandlerFunc themselves.
func IsTemporary(err error) bool { return answer.IsTemporary(err) }
