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

	mu       sync.Mutex
	consumer jetstream.Consumer
	attached time.Time // when that was tried last,
	trouble  error     // and failed
	told     time.Time // when trouble was logged last

	ignored ignoredLog
	ledger  *ledger
	times   times
	running atomic.Int64   // functions
	slots   chan struct{}  // has room for Concurrency functions
	tending sync.WaitGroup // of pauses
	probes  *rate.Limiter
	backlog chan struct{} // wakes skim
}

// ConsumerConfig is how a [Consumer] works. The zero value is a good one.
type ConsumerConfig struct {
	// Name is the consumer's name on the server, where it remembers what was handled: letters, digits, '-' and '_'. Default
	// "worker".
	Name string
	// Patterns are what the consumer takes; nil is all. The server sorts them out, and can do so for "*", a category ("Pass:*") and a
	// name ("Pass:Installed"): any other pattern is an error. Several need NATS 2.10. Categories and names that this version doesn't
	// know must be spelled as the platform does, since to the server "pass" isn't "Pass"; see [Subject].
	//
	// On a work queue, an event that no consumer takes stays, and fills the stream: take all, unless other consumers take the rest.
	//
	// A consumer keeps its patterns: while it exists, others are [ErrOtherPatterns]. To change them, see [Stream.DeleteConsumer].
	Patterns []walletcrew.EventName
	// Concurrency is how many functions run at once in this process. Default 16. No event is fetched before one is free.
	Concurrency int
	// MaxTries is how often an event is tried until it goes to the dead letters. Default 20: with the default Backoff, more than an
	// hour. A try that ended with the worker's crash counts as well; a [receiver.Temporary] error doesn't, see [Consumer.Run]. In a
	// log ([StreamConfig].KeepFor), a try is the last as well if the stream would drop the event before the next, by this machine's
	// clock.
	//
	// JetStream counts deliveries, and each process knows which of its own were no tries. Deliveries by other processes count as
	// tries; but an event that is older than 10 minutes must have failed three times here (or MaxTries, if that is less) before it
	// is given up, and is given up in any case after 3 MaxTries. An event that was delivered more than twice MaxTries (20 at least)
	// times, and once more for each five minutes of its age, without being settled goes to the dead letters untried: the workers
	// die of it.
	MaxTries int
	// Backoff says how long to wait after the try of this number, the first of which is 1. Default: 1 s, doubled with each try up to 5
	// minutes, and up to a fifth more at random. After a [receiver.Temporary] error it counts those in a row, up to MaxTries, and at
	// least 250 ms and at most 5 s are waited.
	Backoff func(try int) time.Duration
	// AckWait is after how long the server gives an event to another worker if it doesn't hear of this one, because it crashed or
	// is cut off. Default 30 s. A function may take longer: it is reported as being in progress three times in this while. All
	// consumers with one name share one AckWait: the one that started last sets it. During a rolling deployment, don't reduce it to
	// less than half.
	AckWait time.Duration
	// Timeout ends the function's context. Default 5 minutes. A function that goes on after that keeps its event, and its place.
	Timeout time.Duration
	// DrainTimeout is how long Run waits for functions when its context has ended. Default 20 s. Then their contexts are ended, too.
	DrainTimeout time.Duration
	// MaxPending is how many events of all the workers may be in progress or waiting for their next try. While so many do, the server
	// delivers no further ones: with a limit, the events of a backend that is away can hold up all others. 0, the default, is no
	// limit. The server needs some 150 bytes of memory for each.
	MaxPending int
	// Logger is where failures (warn), dead letters and panics (error) are logged, never with a body. Nil: slog.Default().
	Logger *slog.Logger
	// Observer is called once for each delivery to the consumer, when it was settled, and before that for each call that ended with
	// a [receiver.Temporary] error, as Retried: for metrics and traces. It isn't called for an event that is set aside untried. It
	// may be nil. If it or Backoff panics, that is logged.
	Observer func(context.Context, Outcome)
}

// NewConsumer makes the consumer on the server, or gives the one of that name this AckWait and MaxPending, and checks that there is a
// stream for dead letters. Nothing is handled before [Consumer.Run].
//
// Errors: those of [OpenStream]; [ErrServerTooOld] for several patterns; [ErrOtherPatterns]; an error that names the pattern which
// the server can't sort out; on a work queue, an error if another consumer takes some of the events.
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
		probes: rate.NewLimiter(probesPerSecond, 1), backlog: make(chan struct{}, 1)}
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
