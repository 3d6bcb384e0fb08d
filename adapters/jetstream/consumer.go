package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
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
	toldAway time.Time // when a Temporary error was logged last

	running atomic.Int64 // functions
	asking  sync.RWMutex // held for reading while the server is asked for an event
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
	// hour. A try that ended with the worker's crash counts as well; an event that was delivered twice as often without a function
	// ever being settled goes there, too. A [receiver.Temporary] error counts late, and is never the last: see [Consumer.Run]. In a
	// log ([StreamConfig].KeepFor), a try is the last as well if the stream would drop the event before the next, by this machine's
	// clock.
	MaxTries int
	// Backoff says how long to wait after the try of this number, the first of which is 1. Default: 1 s, doubled with each try up to 5
	// minutes, and up to a fifth more at random. After a [receiver.Temporary] error it counts those in a row, up to MaxTries, and no
	// more than 5 s are waited.
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
	// MaxPending is how many events of all the workers may be in progress or waiting for their next try. Default 10,000. While so
	// many do, the server delivers no further ones.
	MaxPending int
	// Logger is where failures (warn), dead letters and panics (error) are logged, never with a body. Nil: slog.Default().
	Logger *slog.Logger
	// Observer is called once for each delivery to the consumer, when it was settled, and before that for each try that ended with
	// a [receiver.Temporary] error, as Retried: for metrics and traces. It may be nil. If it or Backoff panics, that is logged.
	Observer func(context.Context, Outcome)
}

// An Outcome says what became of one delivery to a [Consumer].
type Outcome struct {
	Event    *walletcrew.Event // nil if it can't be parsed
	Subject  string
	Result   Result
	Try      int           // 1 for the first
	Function time.Duration // 0 if it wasn't called
	Err      error         // nil for Handled
}

// A Result is what became of a delivery to a [Consumer], in a word that serves as a metric's label.
type Result string

// The results.
const (
	Handled      Result = "handled"       // the function returned nil: acknowledged
	Discarded    Result = "discarded"     // the function returned a receiver.Discard: terminated
	Retried      Result = "retried"       // the function failed or panicked: it is tried again after the back-off
	DeadLettered Result = "dead_lettered" // it failed for good, and is among the dead letters
)

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
	setDefault(&cfg.MaxPending, max(10_000, 4*cfg.Concurrency))
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
	c := &Consumer{stream: stream, fn: fn, cfg: cfg, want: jetstream.ConsumerConfig{
		Durable:       cfg.Name,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       cfg.AckWait,
		MaxDeliver:    -1, // the server would drop the event in silence
		MaxAckPending: cfg.MaxPending,
		MaxWaiting:    4096, // each of Concurrency waits on its own, in all the processes
	}}
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

// attach makes the consumer on the server. All the workers call it when a server comes back: it tries once a second.
func (c *Consumer) attach(ctx context.Context) (jetstream.Consumer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.attached) > time.Second {
		c.trouble = c.create(ctx, false)
		c.attached = time.Now()
	}
	return c.consumer, c.trouble
}

// confirm looks at once whether the consumer is still as this process wants it.
func (c *Consumer) confirm(ctx context.Context) error {
	c.mu.Lock()
	c.attached = time.Time{}
	c.mu.Unlock()
	_, err := c.attach(ctx)
	return err
}

// create makes the consumer, unless it is there. The process that starts has its own settings for it; one that comes back must not
// undo what another has set since.
func (c *Consumer) create(ctx context.Context, starting bool) error {
	s := c.stream
	if status := s.nc.Status(); status != nats.CONNECTED {
		return fmt.Errorf("%w: %s", ErrUnavailable, status)
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	seen := s.nc.LastError()
	consumer, err := s.js.Consumer(ctx, s.cfg.Name, c.cfg.Name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		consumer, err = s.js.CreateConsumer(ctx, s.cfg.Name, c.want)
		if errors.Is(err, jetstream.ErrConsumerExists) { // another process was quicker, with something else
			consumer, err = s.js.Consumer(ctx, s.cfg.Name, c.cfg.Name)
		}
	case err != nil:
	case starting && slices.Equal(filtersOf(consumer), c.filters):
		want, have := c.want, consumer.CachedInfo().Config
		// These can't be changed.
		want.DeliverPolicy, want.OptStartSeq, want.OptStartTime, want.MaxWaiting = have.DeliverPolicy, have.OptStartSeq, have.OptStartTime, have.MaxWaiting
		consumer, err = s.js.UpdateConsumer(ctx, s.cfg.Name, want)
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.ErrorCode == codeFilterTaken || api.ErrorCode == codeUnfilteredTaken) {
		return fmt.Errorf("jetstream: consumer %s: another consumer takes some of these events already, and in a work queue each "+
			"event has one: use its name, other patterns, or a stream with KeepFor: %w", c.cfg.Name, err)
	}
	if err != nil {
		return s.explain("create consumer "+c.cfg.Name, seen, err)
	}
	if have := filtersOf(consumer); !slices.Equal(have, c.filters) {
		return fmt.Errorf("%w: %s takes %s, not %s: stop its processes, delete it (Stream.DeleteConsumer), and start this one again, or use another name",
			ErrOtherPatterns, c.cfg.Name, strings.Join(have, ", "), strings.Join(c.filters, ", "))
	}
	c.consumer = consumer
	return nil
}

func filtersOf(consumer jetstream.Consumer) []string {
	cfg := consumer.CachedInfo().Config
	filters := slices.Clone(cfg.FilterSubjects)
	if cfg.FilterSubject != "" {
		filters = append(filters, cfg.FilterSubject)
	}
	slices.Sort(filters)
	return filters
}

// DeleteConsumer removes a consumer from the server, so that its name can have other patterns. First stop the processes that run it:
// one that runs makes it again as it was, its function may run once more elsewhere, and some servers (2.10.22 was seen to) let the
// new consumer pass over events when the acknowledgement comes late. Then start those with the new patterns.
//
// On a work queue nothing is lost by that: what isn't handled is in the stream; tries count from 1 again. In a log
// ([StreamConfig].KeepFor) the new consumer begins with the oldest event that is kept, also if that was handled.
//
// A consumer that isn't there is no error.
func (s *Stream) DeleteConsumer(ctx context.Context, name string) error {
	seen := s.nc.LastError()
	if err := s.js.DeleteConsumer(ctx, s.cfg.Name, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return s.explain("delete consumer "+name, seen, err)
	}
	return nil
}

// complain logs what keeps the workers from working, once in a while for all of them.
func (c *Consumer) complain(ctx context.Context, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.told) > 10*time.Second {
		c.told = time.Now()
		c.cfg.Logger.WarnContext(ctx, "jetstream: no events can be fetched; trying again", slog.Any("error", err))
	}
}

// Run calls the function for the events that come, until ctx ends. The function's context has the event's [receiver.Key], the same that
// it had in the receiver. It survives what happens to the server: it logs, and tries
// again until the server is back. Only a connection that is closed for good ends it, with [ErrUnavailable]; [Connect] makes one
// that never gives up. Call it once.
//
// When ctx ends, no further event is taken, and Run waits for the functions that run; their own context goes on until
// [ConsumerConfig].DrainTimeout. It returns nil if all have ended, or else says how many haven't; their events come again after
// AckWait.
//
// For the function's result: nil acknowledges the event; an error or a panic lets it come again after the back-off; a
// [receiver.Discard] ends it. What fails in its last try, and an event that can't be parsed, goes to the dead letters
// ([Stream.DeadLetters]), and leaves the stream only once it is stored there.
//
// A [receiver.Temporary] error is for trouble that isn't the event's own, such as a database that is away: what is away for one
// event is away for the next. The event is kept and the function called again, every 5 s at least, until the trouble is over; this
// one of the Concurrency takes no other event meanwhile. After 20 AckWait (10 minutes) the event makes room for others, and comes
// again after the back-off; when ctx ends, it is given back at once. Either is one try, and none of them is the last: only an event
// that was delivered over 2 MaxTries times goes to the dead letters, which with the defaults is after some nine hours.
func (c *Consumer) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan struct{})
	var workers sync.WaitGroup
	for range c.cfg.Concurrency {
		workers.Go(func() { c.work(ctx, work) })
	}
	go func() {
		workers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return fmt.Errorf("%w: the connection is closed", ErrUnavailable)
	case <-ctx.Done():
	}
	select {
	case <-ended:
	case <-time.After(c.cfg.DrainTimeout):
		cancel()
		select {
		case <-ended:
		case <-time.After(settleTimeout):
			return fmt.Errorf("jetstream: %d functions haven't ended in time; their events come again", c.running.Load())
		}
	}
	flush, cancelFlush := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancelFlush()
	if err := c.stream.nc.FlushWithContext(flush); err != nil { // the last acknowledgements
		return fmt.Errorf("%w: the last acknowledgements may be lost, and their events come again: %w", ErrUnavailable, err)
	}
	return nil
}

// settleTimeout bounds what is left to do when a function has ended.
const settleTimeout = 5 * time.Second

// work is one of the Concurrency.
func (c *Consumer) work(ctx, work context.Context) {
	for failures := 0; ctx.Err() == nil && !c.stream.nc.IsClosed(); {
		consumer, err := c.attach(ctx)
		for err == nil && ctx.Err() == nil {
			failures = 0
			err = c.take(ctx, work, consumer)
		}
		if ctx.Err() != nil {
			return
		}
		if failures++; failures > 1 { // one is what the restart of a server looks like
			c.complain(ctx, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// take handles one event after the other, until ctx ends or something is wrong. An event is asked for only when the one before
// has ended: none waits here while another worker could have it, or while its AckWait runs.
func (c *Consumer) take(ctx, work context.Context, consumer jetstream.Consumer) error {
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(2*time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Drain)() // what is on its way already is still handled
	for {
		c.asking.RLock()
		if ctx.Err() != nil {
			messages.Drain() // now, so that Next asks for nothing
		}
		m, err := messages.Next()
		c.asking.RUnlock()
		if err != nil {
			return err
		}
		began := time.Now()
		if err := c.handle(ctx, work, m); err != nil {
			return err
		}
		if time.Since(began) > c.cfg.AckWait/2 {
			return nil // after a reconnection, a second event may have come meanwhile, and be too old now
		}
	}
}

// handle settles one event. Run ends with Run's context, ctx with the time for what still runs then. The error says that the
// consumer isn't this process's any more; it is nil for all that is the event's own.
func (c *Consumer) handle(run, ctx context.Context, m jetstream.Msg) (notOurs error) {
	out := Outcome{Subject: m.Subject()}
	meta, err := m.Metadata()
	if err != nil { // not a consumer's message: can't be
		c.cfg.Logger.ErrorContext(ctx, "jetstream: a message without metadata", slog.String("subject", m.Subject()), slog.Any("error", err))
		return nil
	}
	out.Try = int(min(meta.NumDelivered, 1<<30))
	stop := c.keepAlive(m)
	defer stop()

	var key string
	out.Event, key, out.Err = c.stream.event(m.Subject(), m.Headers(), m.Data())
	ctx = receiver.WithKey(ctx, key) // also without one: Run's own context may have another's
	switch {
	case out.Err != nil:
		c.bury(ctx, m, meta, &out)
	case !slices.ContainsFunc(c.cfg.Patterns, out.Event.Name.Matches):
		if notOurs = c.confirm(ctx); notOurs != nil { // the consumer was made anew while this process ran
			out.Err = notOurs
			c.giveBack(ctx, m, &out, time.Second)
			break
		}
		out.Err = fmt.Errorf("jetstream: %s fits none of the consumer's patterns, but its subject does: the header %s belies it", out.Event.Name, HeaderEvent)
		c.bury(ctx, m, meta, &out)
	case out.Try > 2*c.cfg.MaxTries:
		out.Err = fmt.Errorf("jetstream: delivered %d times and never settled: the workers crashed or were cut off, or its dead letter couldn't be stored", out.Try-1)
		c.bury(ctx, m, meta, &out)
	default:
		away := c.attempt(run, ctx, meta, &out)
		switch {
		case out.Err == nil:
			out.Result = Handled
			err = m.Ack()
		case receiver.IsDiscard(out.Err):
			out.Result = Discarded
			err = m.Term()
		default:
			c.fail(run, ctx, m, meta, &out, away)
			if away && out.Result == Retried {
				return nil // attempt has told of it
			}
		}
	}
	if err != nil {
		c.cfg.Logger.WarnContext(ctx, "jetstream: an event can't be acknowledged, and comes again", append(out.attrs(), slog.Any("error", err))...)
	}
	c.log(ctx, &out)
	c.observe(ctx, &out)
	return notOurs
}

// guard keeps a panic of what the user gave besides the function from ending the process.
func (c *Consumer) guard(ctx context.Context, who string, f func()) {
	defer func() {
		if value := recover(); value != nil {
			c.cfg.Logger.ErrorContext(ctx, fmt.Sprintf("jetstream: %s panicked: %v", who, value), slog.String("stack", string(debug.Stack())))
		}
	}()
	f()
}

func (c *Consumer) observe(ctx context.Context, out *Outcome) {
	if c.cfg.Observer != nil {
		c.guard(ctx, "the observer", func() { c.cfg.Observer(ctx, *out) })
	}
}

func (c *Consumer) backoff(ctx context.Context, try int) time.Duration {
	wait := defaultBackoff(try)
	c.guard(ctx, "Backoff", func() { wait = c.cfg.Backoff(try) })
	return max(wait, 0)
}

// maxTemporaryWait bounds the back-off in place: what was away is noticed within seconds of its return.
const maxTemporaryWait = 5 * time.Second

// maxHold is for how many AckWait an event is kept: others may be better off.
const maxHold = 20

// attempt calls the function, again and again while its error is Temporary. It reports whether it still was when it gave up, or
// when Run ended.
func (c *Consumer) attempt(run, ctx context.Context, meta *jetstream.MsgMetadata, out *Outcome) (away bool) {
	first := time.Now()
	for try := 1; ; try++ {
		began := time.Now()
		out.Err = c.call(ctx, out.Event)
		out.Function = time.Since(began)
		if !receiver.IsTemporary(out.Err) || receiver.IsDiscard(out.Err) {
			return false
		}
		out.Result = Retried
		c.logAway(ctx, out)
		c.observe(ctx, out)
		delay := max(min(c.backoff(ctx, min(try, c.cfg.MaxTries)), maxTemporaryWait), 10*time.Millisecond) // zero would spin
		if c.expires(meta, delay) {
			return true
		}
		wait := time.NewTimer(delay)
		select {
		case <-run.Done():
			wait.Stop()
			return true
		case <-wait.C:
		}
		if c.stream.nc.IsClosed() || time.Since(first) > maxHold*c.cfg.AckWait { // the first ends Run, too
			return true
		}
	}
}

// fail decides what becomes of an event that wasn't handled. Away: because of trouble that isn't its own.
func (c *Consumer) fail(run, ctx context.Context, m jetstream.Msg, meta *jetstream.MsgMetadata, out *Outcome, away bool) {
	delay := c.backoff(ctx, out.Try)
	switch {
	case c.expires(meta, delay):
		out.Err = fmt.Errorf("%w (and the stream drops the event before it can be tried again)", out.Err)
		c.bury(ctx, m, meta, out)
	case away && (run.Err() != nil || c.stream.nc.IsClosed()):
		c.asking.Lock() // or else one who has asked before Run ended gets it back, and it counts again and again
		defer c.asking.Unlock()
		c.giveBack(ctx, m, out, 0)
	case ctx.Err() != nil: // it was broken off, since Run ends
		c.giveBack(ctx, m, out, 0)
	case away, out.Try < c.cfg.MaxTries:
		c.giveBack(ctx, m, out, delay)
	default:
		c.bury(ctx, m, meta, out)
	}
}

// expires reports whether the stream may have dropped the event when it is tried again after the delay.
func (c *Consumer) expires(meta *jetstream.MsgMetadata, delay time.Duration) bool {
	age := c.stream.maxAge
	return age > 0 && time.Until(meta.Timestamp.Add(age)) < delay+min(c.cfg.AckWait, age/10)
}

// giveBack lets the event come again. Should the message be lost, it does so after AckWait.
func (c *Consumer) giveBack(ctx context.Context, m jetstream.Msg, out *Outcome, delay time.Duration) {
	out.Result = Retried
	if err := m.NakWithDelay(delay); err != nil {
		c.cfg.Logger.WarnContext(ctx, "jetstream: an event can't be given back, and comes again", append(out.attrs(), slog.Any("error", err))...)
	}
}

var errNotBuried = errors.New("it can't be put among the dead letters")

// bury puts the event among the dead letters, and only then takes it out of the stream.
func (c *Consumer) bury(ctx context.Context, m jetstream.Msg, meta *jetstream.MsgMetadata, out *Outcome) {
	if err := c.stream.publishDeadLetter(ctx, c.cfg.Name, m, meta, out.Err); err != nil {
		out.Err = fmt.Errorf("%w (and %w: %w)", out.Err, errNotBuried, err)
		delay := c.backoff(ctx, out.Try)
		if c.expires(meta, delay) {
			delay = min(delay, time.Second) // while there is time
		}
		c.giveBack(ctx, m, out, delay)
		return
	}
	out.Result = DeadLettered
	if err := m.Term(); err != nil {
		c.cfg.Logger.WarnContext(ctx, "jetstream: a dead letter can't be taken out of the stream, and comes again", append(out.attrs(), slog.Any("error", err))...)
	}
}

// keepAlive tells the server that the event is in progress, until stop is called.
func (c *Consumer) keepAlive(m jetstream.Msg) (stop func()) {
	done := make(chan struct{})
	go func() {
		ticker := time.NewTicker(c.cfg.AckWait / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_ = m.InProgress() // without a connection there is nothing to be done
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

// ErrPanicked means that the function panicked, or called runtime.Goexit. Use errors.Is on [Outcome].Err.
var ErrPanicked = errors.New("jetstream: the function panicked")

// call calls the function on a goroutine of its own, so that neither a panic nor a runtime.Goexit ends the worker.
func (c *Consumer) call(ctx context.Context, e *walletcrew.Event) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	c.running.Add(1)
	defer c.running.Add(-1)
	result := make(chan error, 1)
	go func() {
		err := fmt.Errorf("%w: runtime.Goexit was called", ErrPanicked)
		defer func() {
			if value := recover(); value != nil {
				err = fmt.Errorf("%w: %v", ErrPanicked, value)
				c.cfg.Logger.ErrorContext(ctx, err.Error(), slog.String("event", string(e.Name)), slog.String("id", e.ID), slog.String("stack", string(debug.Stack())))
			}
			result <- err
		}()
		err = c.fn(ctx, e)
	}()
	return <-result
}

func (o *Outcome) attrs() []any {
	attrs := []any{slog.String("subject", o.Subject), slog.Int("try", o.Try)}
	if o.Event != nil {
		attrs = append(attrs, slog.String("event", string(o.Event.Name)), slog.String("tenant", o.Event.TenantID), slog.String("id", o.Event.ID))
	}
	return attrs
}

func (c *Consumer) log(ctx context.Context, out *Outcome) {
	attrs := append(out.attrs(), slog.Any("error", out.Err))
	switch out.Result {
	case Discarded:
		c.cfg.Logger.WarnContext(ctx, "jetstream: the function discarded the event", attrs...)
	case Retried:
		if errors.Is(out.Err, errNotBuried) {
			c.cfg.Logger.ErrorContext(ctx, "jetstream: the event is a dead letter, but can't be stored as one: it stays in the stream and is tried again",
				append(attrs, slog.String("dead_letters", c.stream.deadLetters().Name))...)
			break
		}
		c.cfg.Logger.WarnContext(ctx, "jetstream: the event was not handled, and comes again", attrs...)
	case DeadLettered:
		c.cfg.Logger.ErrorContext(ctx, "jetstream: the event is among the dead letters now", attrs...)
	}
}

// logAway tells of a Temporary error, once in a while for all the workers: all have the same.
func (c *Consumer) logAway(ctx context.Context, out *Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.toldAway) > 30*time.Second {
		c.toldAway = time.Now()
		c.cfg.Logger.WarnContext(ctx, "jetstream: the function can't work for now; its event is kept and tried again", append(out.attrs(), slog.Any("error", out.Err))...)
	}
}
