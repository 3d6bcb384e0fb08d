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
// The replicas of one receiver share a deduper (adapters/redisdedupe, adapters/sqldedupe). Functions that do different things with an event
// must not share one, see [WithDeduper].
//
// The keys are those of [Key]. A lease is at least a millisecond. If you write a Deduper, walletcrewtest.TestDeduper tests it.
//
// If a Deduper wraps another one, for example to count, and passes on the keys unchanged, give it a method Unwrap() Deduper. Handlers that
// share a [NewMemoryDeduper] need it to wait for each other. Without it, the second handler answers 503.
type Deduper interface {
	// Claim takes the key for the time of lease. It doesn't if the key is done, or if somebody else
	// has it and that lease hasn't run out. It is atomic: of several calls at once, one gets the
	// key. If the answer is lost, the lease may have been taken in spite of the error. So a Deduper
	// that chooses its tokens itself returns the Token along with the error. The handler then
	// releases the key when the deduper answers again. Without the Token, the event is held until
	// the lease runs out.
	Claim(ctx context.Context, key string, lease time.Duration) (Claim, error)
	// Complete marks the key as done: from then on, Claim returns Done until the deduper forgets
	// the key. If the token isn't that of the key's latest lease, Complete changes nothing and
	// returns ErrLeaseLost. A lease that ran out can be completed if nobody has claimed the key
	// since. A second Complete with the same token returns nil or ErrLeaseLost; the event stays
	// done.
	Complete(ctx context.Context, key, token string) error
	// Release gives the key back, so that the next delivery can claim it. If the token isn't that
	// of the key's latest lease, or if the key is done, Release changes nothing and returns
	// ErrLeaseLost.
	Release(ctx context.Context, key, token string) error
}

// ErrLeaseLost means that the token is outdated: the lease ran out and another delivery claimed the event, or the deduper forgot it.
var ErrLeaseLost = errors.New("receiver: the lease is lost: another delivery has taken the event over, or it was forgotten")

// A Claim is a Deduper's answer.
type Claim struct {
	State ClaimState
	Token string // of this lease; "" unless Claimed, but see Deduper.Claim for an error
}

// A ClaimState says whether an event is free, taken or done.
type ClaimState int

// The states of a Claim. The zero value is none of them; the handler takes it for a failure of the
// Deduper.
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

// Key returns the deduplication key of the event that your function is called for: its "__id" within a scope. The scope depends on the
// source of secrets, never on the sender:
//
//   - [verifier.Static]: one scope for all
//   - [verifier.Tenants]: your ID of the tenant
//   - [verifier.FromAPI]: the client's tenant
//   - [verifier.SecretFunc]: the secrets that were returned together
//   - [verifier.Cached], or a source of your own with Unwrap: as the source that it wraps
//   - any other source: the secret that fitted
//
// It is "" if the event has no "__id", or if ctx doesn't come from a Handler, Middleware or an adapter's worker.
//
// [Handler], [verifier.Verifier.Middleware] and the workers of the adapters set the key in the context. It is printable ASCII without
// spaces, of at most 512 bytes.
func Key(ctx context.Context) string { return dedupekey.From(ctx) }

// WithKey returns a context with the deduplication key. It is for a test, or for a worker of your own that got the key together with the
// event.
func WithKey(ctx context.Context, key string) context.Context { return dedupekey.With(ctx, key) }
