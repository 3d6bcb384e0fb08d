// Package redisdedupe is a [receiver.Deduper] on Redis or Valkey, for receivers that run as several replicas.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis:6379", ContextTimeoutEnabled: true})
//	deduper, err := redisdedupe.New(client, "orders") // the name of what your function does with the events
//	if err != nil {
//		return err
//	}
//	if err := deduper.Check(ctx); err != nil {
//		return err // the server is unreachable, refuses us, is too old, read-only, or may evict what is remembered
//	}
//	http.Handle("/webhooks/walletcrew", receiver.NewHandler(v, mux.Handle, receiver.WithDeduper(deduper)))
//
// # The name
//
// Redis only knows that an event was handled, not by which receiver. All replicas of one receiver use the same name, so that they know each
// other's events. Two receivers with one name would take each other's events for duplicates: if both get an event, as from two webhooks,
// one handles it, and the other never does. So the name has no default.
//
// # What it guarantees
//
// As long as the server loses nothing, your function runs for one delivery of an event within the retention. If it fails or crashes, it
// runs for the next delivery.
//
// Each step is one script on one key, so it is atomic and takes one round trip. A delivery that is handled takes two, a duplicate one. All
// times are the server's; the replicas' clocks don't matter.
//
// # What it doesn't
//
// Your function's effect isn't in Redis. So after a crash between the effect and Complete, the function runs again for the event. For
// exactly once, see InTx of adapters/sqldedupe.
//
// Redis can lose writes that it has acknowledged. Then an event may be handled again, or by two replicas at once. That can happen
//
//   - after a restart without an append-only file ([Deduper.Check] warns)
//   - after a failover, because replication is asynchronous
//   - if keys are evicted ([ErrEviction])
//
// If the server's clock is set forward, leases end early. If the server is out of memory under noeviction, Claim fails (503), and events
// that are being handled can't be marked as done.
//
// # Outage
//
// While the server can't be reached, Claim returns the client's error, and the handler answers 503. You need do nothing when the server is
// back.
//
// Your client decides how long a delivery waits before that. By default, go-redis ignores the context's deadline, tries each command four
// times, waits 3 s for each answer, and dials five times for each. To bound the wait, set ContextTimeoutEnabled, DialTimeout and
// ReadTimeout (1 s is plenty), MaxRetries and DialerRetries (1).
//
// # Memory
//
// An event that is done takes one key for the retention. For the name "orders" and a typical key of the handler ("t/shop/" and a UUID) that
// is 200 bytes in Redis 7.0, all of the server's tables included, and 184 with a prefix of two characters: 1,000,000 events a day are 200
// MB at a retention of 24 h. Redis removes expired keys by itself. Up to about a tenth of all keys may be expired ones
// (active-expire-effort in redis.conf).
package redisdedupe

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A Deduper remembers events in Redis. Make it with [New]. It is safe for concurrent use, by any number of processes that use
// the same server, prefix and name. It has no goroutine and nothing to close; the client is yours.
type Deduper struct {
	client    redis.UniversalClient
	prefix    string // of all names
	begins    string // what the keys begin with: prefix, name, ':'
	retention time.Duration
	logger    *slog.Logger // nil: slog.Default()
}

var _ receiver.Deduper = (*Deduper)(nil)

// An Option is passed to [New].
type Option func(*Deduper) error

const (
	defaultPrefix    = "walletcrew:dedupe:"
	defaultRetention = 24 * time.Hour
)

// Two Dedupers have a key in common only if both prefix and name are the same: a name holds no ':', a prefix ends with one and holds
// no '/', and each key of [receiver.Key] has a '/' before its first ':'.
var (
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	prefixForm = regexp.MustCompile(`^[A-Za-z0-9._:-]{0,199}:$`)
)

// WithPrefix sets the prefix of all keys; default "walletcrew:dedupe:". A key is the prefix, the name, ':' and [receiver.Key]:
// "walletcrew:dedupe:orders:t/shop/0b9d3a52". If programs share a server, choose a prefix that no other program uses. A prefix has up to
// 200 ASCII letters, digits, '-', '_', '.' and ':', and ends with ':'. Anything else is an error: braces, for example, are a hash tag in a
// Redis Cluster, and would put every event on one node.
func WithPrefix(prefix string) Option {
	return func(d *Deduper) error {
		if !prefixForm.MatchString(prefix) {
			return fmt.Errorf("redisdedupe: WithPrefix(%q): a prefix has up to 200 ASCII letters, digits, '-', '_', '.' and ':', and ends with ':'", prefix)
		}
		d.prefix = prefix
		return nil
	}
}

// WithRetention sets for how long an event that is done is remembered, and for how long a lease that ran out can still be completed;
// default 24 h, at least 1 ms. It isn't documented for how long the platform may deliver an event again.
func WithRetention(retention time.Duration) Option {
	return func(d *Deduper) error {
		if retention < time.Millisecond {
			return fmt.Errorf("redisdedupe: WithRetention(%s): it must be at least 1ms: did you mean %d*time.Hour?", retention, retention)
		}
		d.retention = retention
		return nil
	}
}

// WithLogger sets where [Deduper.Check] warns; default, also for nil, [slog.Default]. Nothing else is logged.
func WithLogger(logger *slog.Logger) Option {
	return func(d *Deduper) error {
		d.logger = logger
		return nil
	}
}

// New returns a Deduper. Name says which receiver it is for, such as "orders" or your service's name, and is part of every key. The
// replicas of one receiver use the same name. Two receivers whose functions do different things need two names: under one, each takes
// the other's events for duplicates. A name has 1 to 64 ASCII letters, digits, '-', '_' and '.'.
//
// Client is any client of go-redis: for one server, a Sentinel group or a Cluster. A nil client, a Ring, a wrong name or a wrong option
// is an error; a nil option is ignored. New doesn't ask the server: call [Deduper.Check] when the program starts.
func New(client redis.UniversalClient, name string, opts ...Option) (*Deduper, error) {
	if v := reflect.ValueOf(client); client == nil || v.Kind() == reflect.Pointer && v.IsNil() { // such as a variable that isn't set yet
		return nil, errors.New("redisdedupe: the client is nil")
	}
	if _, ok := client.(*redis.Ring); ok {
		return nil, errors.New("redisdedupe: a Ring moves keys to other servers when one is away, and with that forgets events: use a Cluster")
	}
	switch {
	case name == "":
		return nil, errors.New("redisdedupe: the name is empty: name what the function does, such as \"orders\"; receivers under one name take each other's events for duplicates")
	case !nameForm.MatchString(name):
		return nil, fmt.Errorf("redisdedupe: the name %q: a name has 1 to 64 ASCII letters, digits, '-', '_' and '.'", name)
	}
	d := &Deduper{client: client, prefix: defaultPrefix, retention: defaultRetention}
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(d); err != nil {
			return nil, err
		}
	}
	d.begins = d.prefix + name + ":"
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
// Any other error is the client's or the server's, wrapped. The state of the event is unknown then. If only the answer was lost, the server
// may have taken the lease. So the Claim has the lease's Token, and the handler releases it when the server answers again.
func (d *Deduper) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	if lease < time.Millisecond {
		return receiver.Claim{}, fmt.Errorf("redisdedupe: Claim: a lease of %s is under 1ms", lease)
	}
	token := newToken()
	answer, err := claimScript.Run(ctx, d.client, []string{d.begins + key}, token, lease.Milliseconds(), d.retention.Milliseconds()).Text()
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

// Complete implements [receiver.Deduper]. A lease that ran out can be completed for the retention, if nobody has claimed the key since. A
// second Complete with the same token is no error, because the client may have sent the first one again. The error is
// [receiver.ErrLeaseLost] or the client's. After an error of the client, the event may be done or not.
func (d *Deduper) Complete(ctx context.Context, key, token string) error {
	changed, err := completeScript.Run(ctx, d.client, []string{d.begins + key}, token, d.retention.Milliseconds()).Bool()
	return settled("Complete", changed, err)
}

// Release implements [receiver.Deduper]. The error is [receiver.ErrLeaseLost] or the client's. It is also ErrLeaseLost if the client had to
// send the command again although the first one had arrived. After an error of the client, the key may be free or not.
func (d *Deduper) Release(ctx context.Context, key, token string) error {
	changed, err := releaseScript.Run(ctx, d.client, []string{d.begins + key}, token).Bool()
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
