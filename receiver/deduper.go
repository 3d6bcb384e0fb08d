package receiver

import (
	"context"
	"errors"
	"time"

	"github.com/thewalletcrew/walletcrew-go/internal/dedupekey"
)

// A Deduper remembers which events were handled, and which are being handled now: the handler claims an event, calls the
// function, and then completes or releases the event. A Deduper must be safe for concurrent use. All three methods must return
// when ctx ends: until then the delivery isn't answered.
//
// The replicas of one receiver share a deduper (adapters/redisdedupe, adapters/sqldedupe). Functions that do different things
// with an event must not, see [WithDeduper].
//
// The key is that of [Key]. A lease is a millisecond at least. walletcrewtest.TestDeduper checks a Deduper of your own.
//
// If a Deduper wraps another, to count, say, and passes the keys on unchanged, give it a method Unwrap() Deduper. Handlers that
// share a [NewMemoryDeduper] need it to wait for each other: without it, the second one answers 503.
type Deduper interface {
	// Claim takes the key for the time of lease, unless it is done, or held by another whose lease
	// hasn't run out. It is atomic: of several at once, one gets it. After an error the lease may
	// have been taken all the same, where the answer was lost: then a Deduper that chooses its
	// tokens itself returns the Claim with the Token, and the handler releases it when the deduper
	// answers again. Otherwise the event is held until the lease runs out.
	Claim(ctx context.Context, key string, lease time.Duration) (Claim, error)
	// Complete marks the key as done; from then on, Claim says Done until the deduper forgets it. A
	// token that isn't that of the key's latest lease changes nothing and is ErrLeaseLost. A lease
	// that ran out, but that nobody took over, can be completed. Completing twice with one token is
	// nil or ErrLeaseLost; the event stays done.
	Complete(ctx context.Context, key, token string) error
	// Release gives the key back, so that the next delivery can claim it. A token that isn't that
	// of the key's latest lease changes nothing and is ErrLeaseLost, as is one of a key that is
	// done.
	Release(ctx context.Context, key, token string) error
}

// ErrLeaseLost means that the token is outdated: the lease ran out and another took it over, or the deduper forgot it.
var ErrLeaseLost = errors.New("receiver: the lease is lost: another delivery has taken the event over, or it was forgotten")

// A Claim is a Deduper's answer.
type Claim struct {
	State ClaimState
	Token string // of this lease; "" unless Claimed, but see Deduper.Claim for an error
}

// ClaimState says whose an event is.
type ClaimState int

// The states of a [Claim]. The zero value is none of them, and taken for a failure of the Deduper.
const (
	Claimed ClaimState = iota + 1 // yours, until the lease runs out
	Held                          // another's, whose lease hasn't run out
	Done                          // completed before
)

// String returns "claimed", "held" or "done".
func (s ClaimState) String() string {
	switch s {
	case Claimed:
		return "claimed"
	case Held:
		return "held"
	case Done:
		return "done"
	}
	return "invalid"
}

// Key returns the deduplication key of the event that the function is called for: its "__id" within a scope that the sender can't
// choose. That is one scope for verifier.Static, your ID of the tenant for verifier.Tenants, the client's tenant for verifier.FromAPI, the
// secrets that were returned together for verifier.SecretFunc, and the secret that fitted for any other source. It is "" if the event has no "__id", and in a context of another origin.
//
// [Handler] and verifier.Middleware set it, and so does each worker of the adapters. It is printable ASCII without spaces, of at most
// 512 bytes.
func Key(ctx context.Context) string { return dedupekey.From(ctx) }

// WithKey returns a context with the deduplication key: for a worker of your own, to which the key was handed over with the event,
// or for a test.
func WithKey(ctx context.Context, key string) context.Context { return dedupekey.With(ctx, key) }
