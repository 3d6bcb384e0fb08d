package verifier

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A Deduper remembers which events were handled, and which are being handled now: claim, run, then complete or release. It must
// be safe for concurrent use. Replicas of one receiver share one (adapters/redisdedupe, adapters/sqldedupe); functions that do
// different things with an event must not, see [WithDeduper].
//
// Key is the event's "__id" within a scope that the sender can't choose: for [Static] one scope, for [SecretFunc] the tenant,
// for [FromAPI] the client's tenant, for any other source the secret that fitted. It is printable ASCII without spaces, of at most
// 512 bytes. A lease is a millisecond at least. walletcrewtest.TestDeduper checks a Deduper of your own.
//
// All three must return when ctx ends: until then the delivery isn't answered.
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
var ErrLeaseLost = errors.New("verifier: the lease is lost: another delivery has taken the event over, or it was forgotten")

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

const maxKeyBytes = 512

// dedupeKey is what a delivery is remembered by; "" where it can't be. The first letter names the kind of scope, so that no two
// kinds can make one key.
func (v *Verifier) dedupeKey(d *delivery) string {
	if d.event.ID == "" {
		return ""
	}
	var scope string
	switch s := v.source.(type) {
	case *staticSource:
		scope = "-"
	case SecretFunc:
		scope = "t/" + url.PathEscape(d.tenant)
	case *apiSource:
		scope = "t/" + url.PathEscape(s.tenant)
	default:
		scope = "s/" + fingerprint(d.secret)
	}
	key := scope + "/" + url.PathEscape(d.event.ID)
	if len(key) > maxKeyBytes {
		sum := sha256.Sum256([]byte(key))
		key = "h/" + hex.EncodeToString(sum[:])
	}
	return key
}

// fingerprint names a secret without telling anything of it.
func fingerprint(secret walletcrew.Secret) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte("walletcrew deduplication scope"))
	return hex.EncodeToString(h.Sum(nil)[:16])
}
