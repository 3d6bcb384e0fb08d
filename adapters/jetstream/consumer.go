package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/ignoredlog"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"golang.org/x/time/rate"
)

// A Consumer takes events out of a stream and calls a function for each. Any number of processes may run one under the same name:
// they share the events. Make it with [NewConsumer].
type Consumer struct {
	stream *Stream
	fn     receiver.HandlerFunc
	cfg    ConsumerConfig // with its defaults
	want   jetstream.ConsumerConfig

	filters []string // the subjects of cfg.Patterns

	attaching chan struct{} // has room for one; who is in it may use the next three
	consumer  jetstream.Consumer
	attached  time.Time // when that was tried last,
	trouble   error     // and failed

	mu   sync.Mutex
	told time.Time // when trouble was logged last

	ignored ignoredlog.Log
	ledger  *ledger
	times   times
	running atomic.Int64   // functions
	slots   chan struct{}  // has room for Concurrency functions
	tending sync.WaitGroup // of pauses
	probes  *rate.Limiter
	backlog chan struct{} // wakes skim
}

// ConsumerConfig is how a [Consumer] works. Each field has a default: the zero value handles all events of the stream.
type ConsumerConfig struct {
	// Name is the consumer's name on the server, which remembers under it what was handled. It
	// consists of letters, digits, '-' and '_'. Default "worker".
	Name string
	// Patterns are the events that the consumer takes. Nil is all. The server filters, so a pattern
	// is one of "*", a category ("Pass:*") or a name ("Pass:Installed"); any other is an error.
	// Several patterns need NATS 2.10. Spell a category or name that this version doesn't know as
	// the platform does, because to the server "pass" isn't "Pass"; see Subject.
	//
	// On a work queue, an event that no consumer takes stays, and fills the stream. Take all,
	// unless other consumers take the rest.
	//
	// As long as the consumer exists, it keeps its patterns: others are ErrOtherPatterns. To
	// change them, see Stream.DeleteConsumer.
	Patterns []walletcrew.EventName
	// Concurrency is how many functions run at once in this process. Default 16. An event is only
	// fetched when one of them is free.
	Concurrency int
	// MaxTries is how often an event is tried before it becomes a dead letter. Default 20: with the
	// default Backoff, more than an hour. A try counts even if the worker crashed during it. One
	// that ended in a receiver.Temporary error doesn't, see Consumer.Run. In a log
	// (StreamConfig.KeepFor), a try is also the last one if the stream would drop the event
	// before the next, by this machine's clock.
	//
	// JetStream counts deliveries, not tries. Each process knows which of its own deliveries were
	// no tries, but those by other processes count as tries. Three rules make up for that:
	//
	//   - An event that is older than 10 minutes isn't given up before it has failed three times in
	//     this process, or MaxTries times if that is less.
	//   - After 3 times MaxTries, it is given up in any case.
	//   - An event is given up untried if it was delivered more than twice MaxTries times (at least
	//     20), plus once for each five minutes of its age, and was never settled: the workers die
	//     of it.
	MaxTries int
	// Backoff returns how long to wait after a try; the first try is 1. Default: 1 s, doubled with
	// each try up to 5 minutes, plus up to a fifth at random. After a receiver.Temporary error,
	// try is the number of those in a row, up to MaxTries, and the wait is at least 250 ms and at
	// most 5 s.
	Backoff func(try int) time.Duration
	// AckWait is how long the server waits to hear of a worker before it gives the event to another
	// one, because the first has crashed or is cut off. Default 30 s. A function may take longer:
	// the consumer reports it as being in progress three times within AckWait. All consumers with
	// one name share one AckWait: the one that started last sets it. During a rolling deployment,
	// don't reduce it to less than half.
	AckWait time.Duration
	// Timeout ends the function's context. Default 5 minutes. A function that goes on after that
	// keeps its event, and its place among the Concurrency.
	Timeout time.Duration
	// DrainTimeout is how long Run waits for functions after its context has ended. Default 20 s.
	// After that, their contexts end, too.
	DrainTimeout time.Duration
	// MaxPending limits how many events of all workers together may be in progress or waiting for
	// their next try. At the limit, the server delivers no further events, so the events of a
	// backend that is away can hold up all others. Default 0: no limit. The server needs some 150
	// bytes of memory for each event.
	MaxPending int
	// Logger is where failures (warn), dead letters and panics (error) are logged, never with a body. Nil: slog.Default().
	Logger *slog.Logger
	// Observer is for metrics and traces. It is called once for each delivery to the consumer, when
	// that is settled. Before that, it is called with Retried for each call that ended with a
	// receiver.Temporary error. It isn't called for an event that is set aside untried. It may be
	// nil. If it panics, or Backoff does, that is logged.
	Observer func(context.Context, Outcome)
}

// NewConsumer makes the consumer on the server. If there is one of that name, it gets this AckWait and MaxPending. NewConsumer
// also checks that there is a stream for dead letters. Nothing is handled before [Consumer.Run].
//
// The errors are those of [OpenStream], and
//
//   - [ErrServerTooOld] for several patterns on an old server
//   - [ErrOtherPatterns]
//   - one that names a pattern by which the server can't filter
//   - on a work queue, one if another consumer takes some of the events
func NewConsumer(ctx context.Context, stream *Stream, fn receiver.HandlerFunc, cfg ConsumerConfig) (*Consumer, error) {
	switch {
	case stream == nil:
		return nil, errors.New("jetstream: the stream is nil")
	case fn == nil:
		return nil, errors.New("jetstream: the function is nil")
	case cfg.Concurrency < 0 || cfg.MaxTries < 0 || cfg.AckWait < 0 || cfg.Timeout < 0 || cfg.DrainTimeout < 0 || cfg.MaxPending < 0:
		return nil, errors.New("jetstream: a number in ConsumerConfig is negative")
	case slices.Contains(cfg.Patterns, ""):
		return nil, errors.New("jetstream: ConsumerConfig.Patterns: a pattern is empty")
	}
	for field, d := range map[string]time.Duration{"AckWait": cfg.AckWait, "Timeout": cfg.Timeout, "DrainTimeout": cfg.DrainTimeout} {
		if tooShort(d, time.Millisecond) {
			return nil, fmt.Errorf("jetstream: ConsumerConfig.%s is %v: did you mean %d*time.Second?", field, d, d)
		}
	}
	setDefault(&cfg.Name, "worker")
	setDefault(&cfg.Concurrency, 16)
	setDefault(&cfg.MaxTries, 20)
	setDefault(&cfg.AckWait, 30*time.Second)
	setDefault(&cfg.Timeout, 5*time.Minute)
	setDefault(&cfg.DrainTimeout, 20*time.Second)
	if cfg.MaxPending == 0 {
		cfg.MaxPending = -1
	}
	if len(cfg.Patterns) == 0 {
		cfg.Patterns = []walletcrew.EventName{walletcrew.AllEvents}
	}
	if cfg.Backoff == nil {
		cfg.Backoff = defaultBackoff
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if !isWord(cfg.Name) {
		return nil, fmt.Errorf("jetstream: ConsumerConfig.Name %q: only letters, digits, '-' and '_' can be used", cfg.Name)
	}
	c := &Consumer{stream: stream, fn: fn, cfg: cfg, ledger: newLedger(), times: defaultTimes, slots: make(chan struct{}, cfg.Concurrency),
		attaching: make(chan struct{}, 1), probes: rate.NewLimiter(probesPerSecond, 1), backlog: make(chan struct{}, 1)}
	c.want = jetstream.ConsumerConfig{
		Durable:       cfg.Name,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       cfg.AckWait,
		MaxDeliver:    -1, // the server would drop the event in silence
		MaxAckPending: cfg.MaxPending,
		MaxWaiting:    4096, // each of Concurrency waits on its own, in all the processes
	}
	var err error
	if c.filters, err = filters(stream.cfg.Prefix, cfg.Patterns); err != nil {
		return nil, err
	}
	if len(c.filters) == 1 {
		c.want.FilterSubject = c.filters[0]
	} else {
		if err := stream.needVersion(2, 10, "a consumer with several patterns"); err != nil {
			return nil, err
		}
		c.want.FilterSubjects = c.filters
	}
	if _, err := stream.check(ctx, stream.deadLetters()); err != nil {
		return nil, err
	}
	if c.trouble = c.create(ctx, true); c.trouble != nil {
		return nil, c.trouble
	}
	return c, nil
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

func defaultBackoff(try int) time.Duration {
	d := 5 * time.Minute
	if try < 9 {
		d = min(d, time.Second<<max(try-1, 0))
	}
	return d + rand.N(d/5) //nolint:gosec // jitter, not a secret
}
