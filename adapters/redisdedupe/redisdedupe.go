// Package redisdedupe is a [receiver.Deduper] on Redis or Valkey, for receivers that run as several replicas.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis:6379", ContextTimeoutEnabled: true})
//	deduper, err := redisdedupe.New(client)
//	if err != nil {
//		return err
//	}
//	if err := deduper.Check(ctx); err != nil {
//		return err // the server is unreachable, refuses us, is too old, read-only, or may evict what is remembered
//	}
//	http.Handle("/webhooks/walletcrew", receiver.NewHandler(v, mux.Handle, receiver.WithDeduper(deduper)))
//
// # What it guarantees
//
// As long as the server keeps what was written, of all deliveries of an event within the retention one runs your function, and
// one that failed or crashed makes room for the next. Each step is one script on one key, so it is atomic, and takes one round
// trip: two for a delivery that is handled, one for a duplicate. All times are the server's; the replicas' clocks don't matter.
//
// # What it doesn't
//
// Your function's effect isn't in Redis, so a crash between the effect and Complete makes it run again: at least once, and once
// in all but that case. For exactly once see adapters/sqldedupe, InTx.
//
// Redis can lose what it has acknowledged, and then an event may be handled again, or by two replicas at once: after a restart
// without an append-only file, after a failover (replication is asynchronous), and where keys are evicted ([ErrEviction]). A
// clock of the server that is set forward ends leases early. When the server is out of memory under noeviction, Claim fails
// (503), and what was already running can't be marked as done.
//
// # Outage
//
// While the server can't be asked, Claim returns the client's error, and the handler answers 503. Nothing has to be done when it
// is back. How long a delivery waits before that is the client's affair: go-redis heeds the context's deadline only with
// ContextTimeoutEnabled, and by default tries each command four times, waits 3 s for each answer, and dials five times for each.
// For a bounded wait set ContextTimeoutEnabled, DialTimeout and ReadTimeout (1 s is plenty), MaxRetries and DialerRetries (1).
//
// # Memory
//
// An event that is done takes one key for the retention. For a typical key of the handler ("t/shop/" and a UUID) that is 200
// bytes in Redis 7.0, all of the server's tables included, and 170 with a prefix of two characters: 1,000,000 events a day are
// 200 MB at a retention of 24 h.
package redisdedupe

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A Deduper remembers events in Redis. Make it with [New]. It is safe for concurrent use, by any number of processes that use
// the same server and prefix. It has no goroutine and nothing to close; the client is yours.
type Deduper struct {
	client    redis.UniversalClient
	prefix    string
	retention time.Duration
}

var _ receiver.Deduper = (*Deduper)(nil)

// An Option is passed to [New].
type Option func(*Deduper) error

const (
	defaultPrefix    = "walletcrew:dedupe:"
	defaultRetention = 24 * time.Hour
)

// WithPrefix sets what all keys begin with; default "walletcrew:dedupe:". The replicas of one receiver share a prefix. A receiver
// whose function does something else with the same events needs another, or each event is handled by one of the two and taken for
// a duplicate by the other; and nothing else on the server may use it. An empty one is an error. In a Redis Cluster leave out
// braces: a hash tag ("{...}") would put every event on one node.
func WithPrefix(prefix string) Option {
	return func(d *Deduper) error {
		if prefix == "" {
			return errors.New("redisdedupe: WithPrefix: the prefix is empty")
		}
		d.prefix = prefix
		return nil
	}
}

// WithRetention sets for how long an event that is done is remembered, and for how long a lease that ran out can still be
// completed; default 24 h, at least 1 ms. For how long the platform may deliver an event again isn't documented.
func WithRetention(retention time.Duration) Option {
	return func(d *Deduper) error {
		if retention < time.Millisecond {
			return fmt.Errorf("redisdedupe: WithRetention(%s): it must be at least 1ms", retention)
		}
		d.retention = retention
		return nil
	}
}

// New returns a Deduper. It doesn't ask the server: call [Deduper.Check] when the program starts. Client is any client of
// go-redis: for one server, a Sentinel group or a Cluster. A nil client, a Ring or a wrong option is an error.
func New(client redis.UniversalClient, opts ...Option) (*Deduper, error) {
	if client == nil {
		return nil, errors.New("redisdedupe: the client is nil")
	}
	if _, ok := client.(*redis.Ring); ok {
		return nil, errors.New("redisdedupe: a Ring moves keys to other servers when one is away, and with that forgets events: use a Cluster")
	}
	d := &Deduper{client: client, prefix: defaultPrefix, retention: defaultRetention}
	for _, opt := range opts {
		if err := opt(d); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// The scripts are sent by their hash, and in full only to a server that doesn't know them yet: the first time, and after its
// restart.
var (
	//go:embed claim.lua
	claimSource string
	//go:embed complete.lua
	completeSource string
	//go:embed release.lua
	releaseSource string

	claimScript    = redis.NewScript(claimSource)
	completeScript = redis.NewScript(completeSource)
	releaseScript  = redis.NewScript(releaseSource)
)

// Claim implements [receiver.Deduper]. The lease is counted in milliseconds, from the moment the server takes it; one under 1 ms
// is an error. A Claim that the client sends again because the answer was lost gets its own lease, not Held.
//
// Every other error is the client's or the server's, wrapped: nothing is known about the event then. If an answer was lost, the
// server may have taken the lease: the Claim's Token is that of this lease, and the handler releases it when the server answers again.
func (d *Deduper) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	if lease < time.Millisecond {
		return receiver.Claim{}, fmt.Errorf("redisdedupe: Claim: a lease of %s is under 1ms", lease)
	}
	token := newToken()
	answer, err := claimScript.Run(ctx, d.client, []string{d.prefix + key}, token, lease.Milliseconds(), d.retention.Milliseconds()).Text()
	switch {
	case err != nil: // also if it is the server's: that may be the answer to a second try of the client's, and the first was lost
		return receiver.Claim{Token: token}, fmt.Errorf("redisdedupe: Claim: %w", explain(err))
	case answer == "held":
		return receiver.Claim{State: receiver.Held}, nil
	case answer == "done":
		return receiver.Claim{State: receiver.Done}, nil
	}
	return receiver.Claim{State: receiver.Claimed, Token: token}, nil
}

// Complete implements [receiver.Deduper]. A lease that ran out can be completed for the retention, if nobody took it over. Once
// more with the same token is no error, since the client may have sent it again. Errors: [receiver.ErrLeaseLost], or the
// client's, after which the event may be done or not.
func (d *Deduper) Complete(ctx context.Context, key, token string) error {
	changed, err := completeScript.Run(ctx, d.client, []string{d.prefix + key}, token, d.retention.Milliseconds()).Bool()
	return settled("Complete", changed, err)
}

// Release implements [receiver.Deduper]. Errors: [receiver.ErrLeaseLost], also when the client had to send it again and the
// first one arrived after all; or the client's, after which the key may be free or not.
func (d *Deduper) Release(ctx context.Context, key, token string) error {
	changed, err := releaseScript.Run(ctx, d.client, []string{d.prefix + key}, token).Bool()
	return settled("Release", changed, err)
}

func settled(call string, changed bool, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("redisdedupe: %s: %w", call, explain(err))
	case !changed:
		return fmt.Errorf("redisdedupe: %s: %w", call, receiver.ErrLeaseLost)
	}
	return nil
}

// newToken returns 63 random bits in decimal: a text that Redis stores as an integer, in 16 bytes.
func newToken() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return strconv.FormatUint(binary.LittleEndian.Uint64(b[:])>>1, 10)
}
