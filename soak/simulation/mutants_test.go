package simulation

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A mutant is a bug that is planted, to see whether the simulation finds it. None is in our code: it stands between our code and what it
// talks to, or changes the text of a script or a statement on its way to the server.
type mutant struct {
	name        string
	kinds       []kind // of worlds in which it can show; nil: all
	deduper     func(*process, receiver.Deduper) receiver.Deduper
	function    func(*sim, *process, receiver.HandlerFunc) receiver.HandlerFunc
	once        func(*sim, *sql.DB, *sqldedupe.Deduper, sqldedupe.TxFunc) receiver.HandlerFunc
	lua, sql    func(string) string
	clientClock bool // the server goes by the clock of who asks
	options     []receiver.HandlerOption
	worker      func(receiver.HandlerFunc) receiver.HandlerFunc
	wire        func(*frame) (answer string, done bool) // of NATS: it may change the frame, or answer it itself
	consumer    func(*consumerConfig)
}

// A bent deduper does something else than the one that it wraps.
type bent struct {
	receiver.Deduper
	claim    func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error)
	complete func(ctx context.Context, key, token string) error
	release  func(ctx context.Context, key, token string) error
}

func (d *bent) Unwrap() receiver.Deduper { return d.Deduper }

func (d *bent) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	if d.claim != nil {
		return d.claim(ctx, key, lease)
	}
	return d.Deduper.Claim(ctx, key, lease)
}

func (d *bent) Complete(ctx context.Context, key, token string) error {
	if d.complete != nil {
		return d.complete(ctx, key, token)
	}
	return d.Deduper.Complete(ctx, key, token)
}

func (d *bent) Release(ctx context.Context, key, token string) error {
	if d.release != nil {
		return d.release(ctx, key, token)
	}
	return d.Deduper.Release(ctx, key, token)
}

// replacing changes a text.
func replacing(from, to string) func(string) string {
	return func(text string) string { return strings.Replace(text, from, to, 1) }
}

var withDeduper = []kind{memory, redisK, leases}

var mutants = []*mutant{
	{name: "complete before the effect", kinds: withDeduper, deduper: func(_ *process, d receiver.Deduper) receiver.Deduper {
		return &bent{Deduper: d, claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			c, err := d.Claim(ctx, key, lease)
			if err == nil && c.State == receiver.Claimed {
				err = d.Complete(ctx, key, c.Token)
			}
			return c, err
		}}
	}},
	{name: "a failed event is remembered as done", kinds: withDeduper, deduper: func(_ *process, d receiver.Deduper) receiver.Deduper {
		return &bent{Deduper: d, release: d.Complete}
	}},
	{name: "a failed event isn't given back", kinds: withDeduper, deduper: func(_ *process, d receiver.Deduper) receiver.Deduper {
		return &bent{Deduper: d, release: func(context.Context, string, string) error { return nil }}
	}},
	{name: "an event that is done isn't remembered", kinds: withDeduper, deduper: func(_ *process, d receiver.Deduper) receiver.Deduper {
		return &bent{Deduper: d, complete: d.Release}
	}},
	{name: "completing isn't tried again", kinds: []kind{redisK, leases}, deduper: func(_ *process, d receiver.Deduper) receiver.Deduper {
		return &bent{Deduper: d, complete: func(ctx context.Context, key, token string) error {
			_ = d.Complete(ctx, key, token)
			return nil
		}}
	}},
	{name: "a claim in doubt isn't given back", kinds: []kind{redisK, leases}, deduper: func(_ *process, d receiver.Deduper) receiver.Deduper {
		return &bent{Deduper: d, claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			c, err := d.Claim(ctx, key, lease)
			if err != nil {
				c.Token = ""
			}
			return c, err
		}}
	}},
	{name: "an event in flight is taken for done", kinds: withDeduper, deduper: func(_ *process, d receiver.Deduper) receiver.Deduper {
		return &bent{Deduper: d, claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			c, err := d.Claim(ctx, key, lease)
			if c.State == receiver.Held {
				c.State = receiver.Done
			}
			return c, err
		}}
	}},
	{name: "a lease that is shorter than the time limit", kinds: withDeduper, deduper: func(_ *process, d receiver.Deduper) receiver.Deduper {
		return &bent{Deduper: d, claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			return d.Claim(ctx, key, (lease-leaseMargin)/2)
		}}
	}},
	{name: "a lease without a margin", kinds: withDeduper, deduper: func(_ *process, d receiver.Deduper) receiver.Deduper {
		return &bent{Deduper: d, claim: func(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
			return d.Claim(ctx, key, lease-leaseMargin)
		}}
	}},
	{name: "it runs without the deduper", kinds: []kind{redisK, leases}, options: []receiver.HandlerOption{receiver.ContinueWithoutDeduper()}},
	{name: "the answer comes before the effect", function: func(s *sim, _ *process, fn receiver.HandlerFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			go func() {
				defer func() { _ = recover() }()
				_ = fn(context.WithoutCancel(ctx), e)
			}()
			return nil
		}
	}},
	{name: "an error is swallowed", function: func(_ *sim, _ *process, fn receiver.HandlerFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			_ = fn(ctx, e)
			return nil
		}
	}},
	{name: "a panic is a success", function: func(_ *sim, _ *process, fn receiver.HandlerFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			defer func() { _ = recover() }()
			return fn(ctx, e)
		}
	}},
	{name: "Redis: a claim takes what is held", kinds: []kind{redisK}, lua: replacing("tonumber(ends) > now", "tonumber(ends) < 0")},
	{name: "Redis: complete without a fencing token", kinds: []kind{redisK}, lua: replacing("if string.match(value, '^%d+%.(%d+)$') == ARGV[1] then\n  redis.call('SET'", "if string.match(value, '^%d+%.(%d+)$') then\n  redis.call('SET'")},
	{name: "Redis: release of a foreign lease", kinds: []kind{redisK}, lua: replacing("if value and string.match(value, '^%d+%.(%d+)$') == ARGV[1] then", "if value and string.match(value, '^%d+%.(%d+)$') then")},
	{name: "Redis: a claim that is sent again is held", kinds: []kind{redisK}, lua: replacing("if token == ARGV[1] then", "if false then")},
	{name: "Redis: the clock of the client", kinds: []kind{redisK}, clientClock: true},
	{name: "Redis: done is forgotten with the lease", kinds: []kind{redisK}, lua: replacing("redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])", "redis.call('SET', KEYS[1], ARGV[1], 'PX', 15000)")},
	{name: "Redis: the lease is a key that ends, and no late completing finds it", kinds: []kind{redisK}, lua: replacing("ARGV[2] + ARGV[3]", "ARGV[2] + 0")},
	{name: "SQL: a claim takes what is held", kinds: []kind{leases}, sql: replacing("WHERE e.expires_at <= clock_timestamp()", "WHERE true")},
	{name: "SQL: a claim never takes over", kinds: []kind{leases}, sql: replacing("WHERE e.expires_at <= clock_timestamp()", "WHERE e.expires_at <= clock_timestamp() - $4::bigint * interval '1 millisecond'")},
	{name: "SQL: complete without a fencing token", kinds: []kind{leases}, sql: replacing("WHERE event_key = $2 AND token = $3", "WHERE event_key = $2")},
	{name: "SQL: release of a foreign lease", kinds: []kind{leases}, sql: replacing("WHERE event_key = $1 AND token = $2", "WHERE event_key = $1")},
	{name: "SQL: the purge removes what is held", kinds: []kind{leases}, sql: replacing("expires_at <= now() AND (done OR expires_at <= now() - $1::bigint * interval '1 millisecond')", "expires_at <= now() + $1::bigint * interval '1 millisecond'")},
	{name: "Once: the record is committed before the effect", kinds: []kind{once}, once: func(_ *sim, db *sql.DB, d *sqldedupe.Deduper, fn sqldedupe.TxFunc) receiver.HandlerFunc {
		return inTx(db, func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) (bool, error) { return d.InTx(ctx, tx) }, func(ctx context.Context, e *walletcrew.Event) error {
			return inTx(db, func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) (bool, error) { return true, fn(ctx, tx, e) }, nil)(ctx, e)
		})
	}},
	{name: "Once: the record is committed after the effect", kinds: []kind{once}, once: func(_ *sim, db *sql.DB, d *sqldedupe.Deduper, fn sqldedupe.TxFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			first := false
			if err := inTx(db, func(ctx context.Context, tx *sql.Tx, _ *walletcrew.Event) (bool, error) {
				var err error
				if first, err = d.InTx(ctx, tx); err != nil {
					return false, err
				}
				return false, errLook
			}, nil)(ctx, e); !errors.Is(err, errLook) || !first {
				return err
			}
			if err := inTx(db, func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) (bool, error) { return true, fn(ctx, tx, e) }, nil)(ctx, e); err != nil {
				return err
			}
			return inTx(db, func(ctx context.Context, tx *sql.Tx, _ *walletcrew.Event) (bool, error) { return d.InTx(ctx, tx) }, nil)(ctx, e)
		}
	}},
	{name: "Once: an error of the commit is swallowed", kinds: []kind{once}, once: func(_ *sim, _ *sql.DB, d *sqldedupe.Deduper, fn sqldedupe.TxFunc) receiver.HandlerFunc {
		handle := d.Once(fn)
		return func(ctx context.Context, e *walletcrew.Event) error {
			if err := handle(ctx, e); err != nil && !strings.Contains(err.Error(), "commit") {
				return err
			}
			return nil
		}
	}},
	{name: "Once: it is acknowledged before the commit", kinds: []kind{once}, once: func(s *sim, db *sql.DB, d *sqldedupe.Deduper, fn sqldedupe.TxFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
			if err != nil {
				return err
			}
			first, err := d.InTx(ctx, tx)
			if err == nil && first {
				err = fn(ctx, tx, e)
			}
			if err != nil || !first {
				_ = tx.Rollback()
				return err
			}
			go func() { _ = tx.Commit() }()
			return nil
		}
	}},
	{name: "Once: any waiting transaction is told that it is done", kinds: []kind{once}, once: func(_ *sim, _ *sql.DB, d *sqldedupe.Deduper, fn sqldedupe.TxFunc) receiver.HandlerFunc {
		handle := d.Once(fn)
		busy := map[string]bool{}
		return func(ctx context.Context, e *walletcrew.Event) error {
			if busy[e.ID] {
				return nil
			}
			busy[e.ID] = true
			defer delete(busy, e.ID)
			return handle(ctx, e)
		}
	}},
	{name: "JetStream: the answer comes before the publish is acknowledged", kinds: streams, function: func(_ *sim, _ *process, fn receiver.HandlerFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			go func() { _ = fn(context.WithoutCancel(ctx), e) }()
			return nil
		}
	}},
	{name: "JetStream: an error of publishing is swallowed", kinds: streams, function: func(_ *sim, _ *process, fn receiver.HandlerFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			_ = fn(ctx, e)
			return nil
		}
	}},
	{name: "JetStream: publishing without Nats-Msg-Id", kinds: streams, wire: func(f *frame) (string, bool) {
		if strings.HasPrefix(f.subject, "sim.") {
			f.header = strings.ReplaceAll(f.header, "Nats-Msg-Id:", "X-Msg-Id:")
		}
		return "", false
	}},
	{name: "JetStream: the key doesn't travel", kinds: streams, wire: func(f *frame) (string, bool) {
		f.header = strings.ReplaceAll(f.header, "Walletcrew-Key:", "X-Key:")
		return "", false
	}},
	{name: "JetStream: an event is acknowledged when it is given", kinds: streams, consumer: func(cfg *consumerConfig) { cfg.AckPolicy = "none" }},
	{name: "JetStream: an acknowledgement is for all before it", kinds: streams, consumer: func(cfg *consumerConfig) { cfg.AckPolicy = "all" }},
	{name: "JetStream: the server drops what was given thrice", kinds: streams, consumer: func(cfg *consumerConfig) { cfg.MaxDeliver = 3 }},
	{name: "JetStream: an AckWait shorter than the time between two signs of life", kinds: []kind{stream}, consumer: func(cfg *consumerConfig) { cfg.AckWait = time.Second }},
	{name: "JetStream: no sign of life", kinds: []kind{stream}, wire: func(f *frame) (string, bool) {
		return "", string(f.data) == "+WPI"
	}},
	{name: "JetStream: a failed event is terminated", kinds: streams, wire: func(f *frame) (string, bool) {
		if strings.HasPrefix(string(f.data), "-NAK") {
			f.data = []byte("+TERM")
		}
		return "", false
	}},
	{name: "JetStream: an error of the function is swallowed", kinds: streams, worker: func(fn receiver.HandlerFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			_ = fn(ctx, e)
			return nil
		}
	}},
	{name: "JetStream: a temporary error is a try", kinds: streams, worker: func(fn receiver.HandlerFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			if err := fn(ctx, e); err != nil && !receiver.IsDiscard(err) {
				return errFunction
			}
			return nil
		}
	}},
	{name: "JetStream: the event is terminated before its dead letter is stored", kinds: streams, wire: func(f *frame) (string, bool) {
		return `{"stream":"SIM_DEAD","seq":1}`, strings.HasPrefix(f.subject, "sim-dead.") && headerOf(f.header, "Nats-Msg-Id") != ""
	}},
	{name: "JetStream: a dead letter is removed before it is back", kinds: streams, wire: func(f *frame) (string, bool) {
		return `{"stream":"SIM","seq":1}`, strings.HasPrefix(headerOf(f.header, "Nats-Msg-Id"), "redrive.")
	}},
	{name: "JetStream: two put one dead letter back", kinds: streams, wire: func(f *frame) (string, bool) {
		f.header = strings.ReplaceAll(f.header, "Nats-Expected-Last-Subject-Sequence:", "X-Expected:")
		f.header = strings.ReplaceAll(f.header, "Nats-Msg-Id: redrive.", "X-Msg-Id: redrive.")
		return "", false
	}},
}

var streams = []kind{stream, streamOnce}

var errLook = errors.New("simulation: looked")

// inTx runs do in a transaction, and then, if it says so, another function.
func inTx(db *sql.DB, do func(context.Context, *sql.Tx, *walletcrew.Event) (bool, error), then receiver.HandlerFunc) receiver.HandlerFunc {
	return func(ctx context.Context, e *walletcrew.Event) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		goOn, err := do(ctx, tx, e)
		if err != nil {
			return err
		}
		if err := tx.Commit(); err != nil || !goOn || then == nil {
			return err
		}
		return then(ctx, e)
	}
}

// Each bug must be found within 1,000 seeds.
func TestEachPlantedBugIsFound(t *testing.T) {
	most := uint64(1000)
	if testing.Short() {
		most = 0
	}
	only := os.Getenv("WALLETCREW_SIMULATION_BUG")
	for _, m := range mutants {
		if only != "" && !strings.HasPrefix(m.name, only) {
			continue
		}
		found := false
		for seed := range most {
			res := simulate(t, seed, m)
			if len(res.broken) == 0 {
				continue
			}
			found = true
			first, _, _ := strings.Cut(res.broken[0], "\n")
			t.Logf("| %s | %d | %s |", m.name, seed, first)
			if only != "" {
				fmt.Println(strings.Join(res.history, "\n"))
			}
			break
		}
		if !found && most > 0 {
			t.Errorf("not found within %d seeds: %s", most, m.name)
		}
	}
}
