// Package suite is what must hold on every NATS server: the tests of the adapter, run against the server that is installed, and
// against the embedded one.
package suite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/internal/dedupekey"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// Run runs all of it. Connect returns a connection that the test may close.
func Run(t *testing.T, connect func(t *testing.T) *nats.Conn) {
	for name, test := range map[string]func(*testing.T, *nats.Conn){
		"EveryEventComesOutAsItWentIn":                  everyEvent,
		"OddNamesAndTenantsComeOutAsTheyWentIn":         oddNames,
		"ADuplicateIsDropped":                           duplicates,
		"ACapturedBodyIsOneEventUnderWhateverTenant":    replays,
		"TheKeyIsTheSameInTheWorker":                    keys,
		"HeadersTravelWithTheEvent":                     headers,
		"AnEventWithoutAKeyIsNoDuplicate":               withoutKey,
		"AKeyThatCantBeOneIsRefused":                    wrongKeys,
		"AnAcknowledgedEventIsInTheStream":              stored,
		"AnEventThatIsTooLargeIsAnError":                tooLarge,
		"AFailureComesAgainAfterTheBackOff":             backOff,
		"AnOutageLeavesNoDeadLetters":                   outage,
		"AnOutageEndsInAnotherFailure":                  outageThenFailure,
		"TheEndGivesBackWhatWaitsForAnOutage":           endInOutage,
		"TheEndOfAnOutageIsNoticedWithinSeconds":        outageBackOff,
		"AnEventThatIsAlwaysHeldMakesRoomForOthers":     heldForEver,
		"ADiscardDoesNotComeAgain":                      discard,
		"TheLastTryGoesToTheDeadLettersWithItsReason":   deadLetter,
		"ADeadLetterIsPutBack":                          redrive,
		"ARedriveInALogIsForAllItsConsumers":            redriveInALog,
		"ADeadLetterHasAnID":                            deadLetterID,
		"WhatSomebodyHasDeletedIsNotPutBack":            redriveDeleted,
		"OneOfManyCallsPutsADeadLetterBack":             redriveAtOnce,
		"AFullDeadLettersStreamCanBeEmptied":            emptyFull,
		"AnEventThatWasPutBackKeepsItsAge":              redriveAge,
		"StatsOfAStreamAndOfAProcess":                   stats,
		"AnIgnoredEventIsAcknowledgedAndSeldomLogged":   ignored,
		"ManyBackendsAwayLeaveTheOthersTheirWorkers":    manyAway,
		"AnOutageOutlastsManyRestarts":                  restartsInOutage,
		"TheEndGivesBackWhatWasSetAside":                endGivesBack,
		"TheLargestEventCanBeADeadLetter":               largestDeadLetter,
		"APanicIsAFailure":                              panics,
		"APanicOfObserverOrBackoffEndsNothing":          panicsBesides,
		"WhatCannotBeParsedIsADeadLetter":               unparsable,
		"NothingIsLostWhileDeadLettersCannotBeStored":   deadLettersFull,
		"TheLimitsHoldForTheDeadLettersToo":             deadLettersLimited,
		"AFunctionLongerThanAckWaitRunsOnce":            longFunction,
		"APatternTakesWhatItMatches":                    patterns,
		"SeveralPatterns":                               severalPatterns,
		"TwoConsumersOfAWorkQueueMayNotOverlap":         overlap,
		"OtherPatternsAreAnErrorAtStart":                otherPatterns,
		"InALogAConsumerThatWasDeletedBeginsAnew":       otherPatternsOfALog,
		"WhoComesBackDoesNotPutItsPatternsBack":         comesBack,
		"TheLastToStartSaysAckWait":                     ackWait,
		"AHeaderThatBeliesTheSubjectIsADeadLetter":      beliedSubject,
		"WhatTheStreamWouldDropIsADeadLetter":           expiring,
		"AnOutageLongerThanKeepForLeavesDeadLetters":    expiringOutage,
		"AnOutageLongerThanKeepForLosesNothing":         expiringBacklog,
		"WhatTheStreamWouldDropIsBuriedAtASecondTry":    expiringUnburied,
		"EnsureStreamRaisesLimits":                      raise,
		"ALogGivesEachConsumerEachEvent":                fanOut,
		"TheEndWaitsForFunctions":                       gracefulEnd,
		"TheEndDoesNotWaitForever":                      impatientEnd,
		"AFullStreamRefuses":                            full,
		"AStreamThatCouldLoseEventsIsRefused":           checks,
		"AStreamThatIsNotThereIsAnError":                missing,
		"WhatNoWaitingMendsIsSaidAtStart":               wrongConfig,
		"ManyPublishersOnAConnectionAreOneGoroutine":    manyPublishers,
		"AConsumerWithAnotherMaxWaitingGoesOn":          otherMaxWaiting,
		"WhatAWorkerHeldComesAgainWhenItIsCutOff":       cutOff,
		"WorkersShareTheEvents":                         share,
		"ADeliveryOverHTTPIsAnsweredByWhatTheStreamDid": overHTTP,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := connect(t)
			t.Cleanup(nc.Close)
			test(t, nc)
		})
	}
}

// Patience is for what comes in the end, but late on a machine that is busy: it only ends a hang.
const Patience = time.Minute

// steadyWait is an AckWait that doesn't run out when the machine stands still for a moment: what is in progress is reported three
// times in it.
const steadyWait = 4 * time.Second

// Quiet is a logger for those whose failures are on purpose.
var Quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// Config returns a stream's configuration that no other test has, and removes the stream at the test's end.
func Config(t *testing.T, nc *nats.Conn) jetstream.StreamConfig {
	name := "WCTEST_" + rand.Text()[:12]
	t.Cleanup(func() {
		js, err := natsjs.New(nc)
		if err != nil || nc.IsClosed() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		_ = js.DeleteStream(ctx, name)
		_ = js.DeleteStream(ctx, name+"_DEAD")
	})
	return jetstream.StreamConfig{Name: name, Prefix: strings.ToLower(name)}
}

// Event is one as the verifier makes it.
func Event(t testing.TB, tenant string, name walletcrew.EventName, body string) *walletcrew.Event {
	e, err := walletcrew.ParseEvent(name, []byte(body))
	require.NoError(t, err)
	e.TenantID = tenant
	return e
}

// Keyed is the context that a handler with a secret for each tenant would call its function with.
func Keyed(ctx context.Context, e *walletcrew.Event) context.Context {
	return receiver.WithKey(ctx, dedupekey.Of("t/"+url.PathEscape(e.TenantID), e.ID))
}

// fixture is a stream with its publisher, and the outcomes of the consumers that are run on it.
type fixture struct {
	t         *testing.T
	nc        *nats.Conn
	js        natsjs.JetStream
	cfg       jetstream.StreamConfig
	stream    *jetstream.Stream
	publisher *jetstream.Publisher
	outcomes  chan jetstream.Outcome
}

func setUp(t *testing.T, nc *nats.Conn, change ...func(*jetstream.StreamConfig)) *fixture {
	f := &fixture{t: t, nc: nc, cfg: Config(t, nc), outcomes: make(chan jetstream.Outcome, 10_000)}
	for _, c := range change {
		c(&f.cfg)
	}
	var err error
	f.js, err = natsjs.New(nc)
	require.NoError(t, err)
	f.stream, err = jetstream.EnsureStream(t.Context(), nc, f.cfg)
	require.NoError(t, err)
	f.publisher, err = jetstream.NewPublisher(t.Context(), f.stream)
	require.NoError(t, err)
	return f
}

func (f *fixture) publish(tenant string, name walletcrew.EventName, body string) {
	f.t.Helper()
	e := Event(f.t, tenant, name, body)
	require.NoError(f.t, f.publisher.Handle(Keyed(f.t.Context(), e), e))
}

// run starts a consumer; end ends it, and returns what Run did.
func (f *fixture) run(fn receiver.HandlerFunc, cfg jetstream.ConsumerConfig) (end func() error) {
	f.t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = Quiet
	}
	observe := cfg.Observer
	cfg.Observer = func(ctx context.Context, o jetstream.Outcome) {
		f.outcomes <- o
		if observe != nil {
			observe(ctx, o)
		}
	}
	if cfg.Backoff == nil {
		cfg.Backoff = func(int) time.Duration { return 10 * time.Millisecond }
	}
	c, err := jetstream.NewConsumer(f.t.Context(), f.stream, fn, cfg)
	require.NoError(f.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- c.Run(ctx) }()
	end = sync.OnceValue(func() error { cancel(); return <-result })
	f.t.Cleanup(func() { _ = end() })
	return end
}

func (f *fixture) outcome() jetstream.Outcome {
	f.t.Helper()
	select {
	case o := <-f.outcomes:
		return o
	case <-time.After(Patience):
		require.FailNow(f.t, "no event was delivered")
		panic("not reached")
	}
}

func (f *fixture) noOutcome(within time.Duration) {
	f.t.Helper()
	select {
	case o := <-f.outcomes:
		assert.Fail(f.t, "an event was delivered that should not be", "%+v", o)
	case <-time.After(within):
	}
}

// left says how many messages a stream holds.
func (f *fixture) left(name string) int {
	f.t.Helper()
	s, err := f.js.Stream(f.t.Context(), name)
	require.NoError(f.t, err)
	return int(s.CachedInfo().State.Msgs) //nolint:gosec // far from the limits
}

func (f *fixture) emptiesItself() {
	f.t.Helper()
	assert.Eventually(f.t, func() bool { return f.left(f.cfg.Name) == 0 }, Patience, 5*time.Millisecond,
		"what was handled must leave the work queue")
}

func (f *fixture) deadLetters() []*jetstream.DeadLetter {
	f.t.Helper()
	var all []*jetstream.DeadLetter
	for d, err := range f.stream.DeadLetters(f.t.Context()) {
		require.NoError(f.t, err)
		all = append(all, d)
	}
	return all
}

func ok(context.Context, *walletcrew.Event) error { return nil }

func everyEvent(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	var sent []*walletcrew.Event
	for i, e := range []struct{ name, body string }{
		{"Pass:Created", `{"__id":"%d","passId":"p-1","passType":"user","passKind":"giftCard","identifiers":{"customerId":"C-1","n":1.50}}`},
		{"Pass:Installed", `{"__id":"%d", "device":"apple","additionalInformation":{"registrationInformation":{"activeRegistrationCount":2}}}`},
		{"Pass:Uninstalled", "{\n\t\"__id\":\"%d\",\"device\":{\"os\":\"x\"}}\r\n"},
		{"Pass:Updated", `{"__id":"%d","metadata":{"é":"\u00e9 😀"}}`},
		{"Pass:UpdateSent", `{"__id":%d}`},
		{"Customer:Upserted", `{"__id":"%d","email":"a@b.example","big":12345678901234567890123}`},
		{"Redirect:Redirected", `{"__id":"%d","url":"https://x.example/?a=b"}`},
		{"Wallet:New", `{"__id":"%d","x":[1,2,{"y":null}]}`},
		{"Pass:Created", `{"__id":"%d","passId":17}`}, // doesn't fit its type
		{"Pass:Created", `{}`},
	} {
		body := e.body
		if strings.Contains(body, "%d") {
			body = fmt.Sprintf(body, i)
		}
		event := Event(t, "acme", walletcrew.EventName(e.name), body)
		sent = append(sent, event)
		require.NoError(t, f.publisher.Handle(t.Context(), event))
	}
	f.run(ok, jetstream.ConsumerConfig{Concurrency: 1})
	for _, want := range sent {
		got := f.outcome()
		require.NotNil(t, got.Event)
		assert.Equal(t, want, got.Event)
		assert.Equal(t, string(want.Raw), string(got.Event.Raw), "the body must come out byte for byte")
		assert.Equal(t, jetstream.Handled, got.Result)
		assert.Equal(t, 1, got.Try)
	}
	f.emptiesItself()
}

func oddNames(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	odd := []string{"", " ", ".", "..", ":", "*", ">", "~", "%", "%41", "a.b", "a b", "a>b", "a*b", "\x00", "\r\nX: y", " lead", "trail ", "é", "日本", "\xff",
		"$JS", "Pass:", ":Pass", "Pass:a:b", "pass.created", "PASS:INSTALLED", "Pass.Created", "Loyalty:Tier.Changed", "~.~", strings.Repeat("x", 5000), strings.Repeat(".", 300)}
	type pair struct{ tenant, name string }
	want := map[pair]int{}
	n := 0
	for i, text := range odd {
		for _, p := range []pair{{text, odd[(i*7+3)%len(odd)]}, {"acme", text}} {
			n++
			e := Event(t, p.tenant, walletcrew.EventName(p.name), fmt.Sprintf(`{"__id":"%d"}`, n))
			want[pair{p.tenant, string(e.Name)}]++ // a known one is spelled as it is documented
			require.NoError(t, f.publisher.Handle(t.Context(), e), "%q", p)
		}
	}
	f.run(ok, jetstream.ConsumerConfig{})
	for range n {
		o := f.outcome()
		require.NotNil(t, o.Event, "%v", o.Err)
		p := pair{o.Event.TenantID, string(o.Event.Name)}
		assert.Positive(t, want[p], "%q came out, but never went in", p)
		want[p]--
	}
	f.emptiesItself()
}

func duplicates(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	longID := strings.Repeat("z", 3000)
	for range 3 {
		f.publish("acme", "Pass:Created", `{"__id":"1","passId":"a"}`)
		f.publish("acme", "Pass:Created", `{"__id":"a.b c*>\r\n"}`)
		f.publish("acme", "Pass:Created", `{"__id":"`+longID+`"}`)
		f.publish("other", "Pass:Created", `{"__id":"1","passId":"a"}`) // another tenant's 1
		f.publish("", "Pass:Created", `{"__id":"acme.1"}`)
		f.publish("acme.1", "Pass:Created", `{"__id":""}`) // no id: never a duplicate
	}
	assert.Equal(t, 5+3, f.left(f.cfg.Name))
	f.run(ok, jetstream.ConsumerConfig{})
	f.emptiesItself()
	f.publish("acme", "Pass:Created", `{"__id":"1","passId":"a"}`)
	assert.Zero(t, f.left(f.cfg.Name), "an event that was handled already is a duplicate within the window")
}

// handler is a receiver whose publisher is wrapped. Deliver sends a body that is signed, and returns the status.
func (f *fixture) handler(wrap func(receiver.HandlerFunc) receiver.HandlerFunc) (deliver func(tenant, body string) int) {
	f.t.Helper()
	const secret = walletcrew.Secret("a-secret")
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(f.t, err)
	h := receiver.NewHandler(v, wrap(f.publisher.Handle), receiver.WithLogger(Quiet))
	return func(tenant, body string) int {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(secret, []byte(body)))
		r.Header.Set(walletcrew.HeaderEventName, "Pass:Installed")
		r.Header.Set(walletcrew.HeaderTenantID, tenant)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
}

// With verifier.Static nothing vouches for the tenant. A sender who has captured one delivery could fill the stream with it.
func replays(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	deliver := f.handler(func(publish receiver.HandlerFunc) receiver.HandlerFunc { return publish })
	body := `{"__id":"0b9d3a52","passId":"p-1","x":"` + strings.Repeat("x", 200<<10) + `"}`
	for i := range 50 {
		assert.Equal(t, http.StatusNoContent, deliver(fmt.Sprint("t", i), body))
	}
	assert.Equal(t, 1, f.left(f.cfg.Name), "50 deliveries of one body are one message")
	var runs atomic.Int32
	f.run(func(context.Context, *walletcrew.Event) error { runs.Add(1); return nil }, jetstream.ConsumerConfig{})
	assert.Equal(t, "t0", f.outcome().Event.TenantID)
	f.emptiesItself()
	for i := range 50 {
		assert.Equal(t, http.StatusNoContent, deliver(fmt.Sprint("t", i), body))
	}
	assert.Zero(t, f.left(f.cfg.Name), "also after it was handled")
	assert.EqualValues(t, 1, runs.Load())
}

// From the function that publishes to the worker's, and to the worker's again when its dead letter was put back.
// What belongs to a trace comes to the worker, also after a dead letter was put back.
func headers(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	want := map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
	deliver := f.handler(func(publish receiver.HandlerFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			return publish(receiver.WithHeaders(ctx, want), e)
		}
	})
	require.Equal(t, http.StatusNoContent, deliver("acme", `{"__id":"1"}`))
	type seen struct {
		headers  map[string]string
		received time.Time
	}
	runs, observed := make(chan seen, 2), make(chan map[string]string, 2)
	var works atomic.Bool
	f.run(func(ctx context.Context, e *walletcrew.Event) error {
		runs <- seen{receiver.Headers(ctx), e.ReceivedAt}
		if works.Load() {
			return nil
		}
		return errBug
	}, jetstream.ConsumerConfig{MaxTries: 1, Observer: func(ctx context.Context, _ jetstream.Outcome) { observed <- receiver.Headers(ctx) }})
	first := <-runs
	assert.Equal(t, want, first.headers)
	assert.WithinDuration(t, time.Now(), first.received, time.Minute)
	assert.Equal(t, jetstream.DeadLettered, f.outcome().Result)
	assert.Equal(t, want, <-observed)
	works.Store(true)
	dead := f.deadLetters()
	require.Len(t, dead, 1)
	require.NoError(t, dead[0].Redrive(t.Context()))
	assert.Equal(t, first, <-runs, "after it was put back")
}

func keys(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	inReceiver := make(chan string, 1)
	deliver := f.handler(func(publish receiver.HandlerFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			inReceiver <- receiver.Key(ctx)
			return publish(ctx, e)
		}
	})
	inWorker := make(chan string, 1)
	var works atomic.Bool
	observed := make(chan string, 10)
	f.run(func(ctx context.Context, _ *walletcrew.Event) error {
		inWorker <- receiver.Key(ctx)
		if works.Load() {
			return nil
		}
		return errors.New("a bug")
	}, jetstream.ConsumerConfig{MaxTries: 1, Observer: func(ctx context.Context, _ jetstream.Outcome) { observed <- receiver.Key(ctx) }})
	for _, id := range []string{"0b9d3a52", "a.b c/d%", "é*>", strings.Repeat("z", 3000)} {
		works.Store(false)
		require.Equal(t, http.StatusNoContent, deliver("acme", `{"__id":"`+id+`"}`))
		want := <-inReceiver
		require.NotEmpty(t, want)
		assert.Equal(t, want, <-inWorker)
		assert.Equal(t, jetstream.DeadLettered, f.outcome().Result)
		assert.Equal(t, want, <-observed, "the observer's context has it, too")
		dead := f.deadLetters()
		require.Len(t, dead, 1)
		assert.Equal(t, want, dead[0].Key)
		works.Store(true)
		require.NoError(t, dead[0].Redrive(t.Context()))
		assert.Equal(t, want, <-inWorker, "after the dead letter was put back")
		assert.Equal(t, jetstream.Handled, f.outcome().Result)
		<-observed
	}
	f.emptiesItself()
}

func withoutKey(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	deliver := f.handler(func(publish receiver.HandlerFunc) receiver.HandlerFunc { return publish })
	for range 2 {
		assert.Equal(t, http.StatusNoContent, deliver("acme", `{"passId":"p-1"}`), "without an __id")
		require.NoError(t, f.publisher.Handle(t.Context(), Event(t, "acme", "Pass:Installed", `{"__id":"1"}`)), "outside of a handler")
	}
	require.Equal(t, 4, f.left(f.cfg.Name))
	s, err := f.js.Stream(t.Context(), f.cfg.Name)
	require.NoError(t, err)
	m, err := s.GetLastMsgForSubject(t.Context(), f.cfg.Prefix+".acme.Pass.Installed")
	require.NoError(t, err)
	assert.Empty(t, m.Header.Get("Nats-Msg-Id"))
	assert.NotContains(t, m.Header, jetstream.HeaderKey)

	seen := make(chan string, 4)
	c, err := jetstream.NewConsumer(t.Context(), f.stream, func(ctx context.Context, _ *walletcrew.Event) error {
		seen <- receiver.Key(ctx)
		return nil
	}, jetstream.ConsumerConfig{Logger: Quiet})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(receiver.WithKey(context.Background(), "-/of-another-event"))
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	for range 4 {
		assert.Empty(t, <-seen, "what Run's own context holds is no key of this event")
	}
	cancel()
	assert.NoError(t, <-ended)
}

func wrongKeys(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	e := Event(t, "acme", "Pass:Created", `{"__id":"1"}`)
	wrong := []string{"a b", "é", "x\r\nNats-Rollup: all", "\x00", "\x7f", "\xff", strings.Repeat("k", 513)}
	for _, key := range wrong {
		err := f.publisher.Handle(receiver.WithKey(t.Context(), key), e)
		require.ErrorContains(t, err, "deduplication key", "%q", key)
		assert.False(t, receiver.IsTemporary(err), "to try again doesn't help")
	}
	require.Zero(t, f.left(f.cfg.Name))
	longest := strings.Repeat("~", 512)
	require.NoError(t, f.publisher.Handle(receiver.WithKey(t.Context(), longest), e))

	// A program that publishes by hand can write anything.
	for _, key := range []string{"", "a b", "é", strings.Repeat("k", 513)} {
		m := nats.NewMsg(f.cfg.Prefix + ".acme.Pass.Created")
		m.Header[jetstream.HeaderKey] = []string{key}
		m.Data = []byte(`{"__id":"1"}`)
		_, err := f.js.PublishMsg(t.Context(), m)
		require.NoError(t, err)
	}
	called := make(chan string, 10)
	f.run(func(ctx context.Context, _ *walletcrew.Event) error {
		called <- receiver.Key(ctx)
		return nil
	}, jetstream.ConsumerConfig{Concurrency: 1})
	assert.Equal(t, jetstream.Handled, f.outcome().Result)
	for range 4 {
		o := f.outcome()
		assert.Equal(t, jetstream.DeadLettered, o.Result)
		assert.ErrorContains(t, o.Err, jetstream.HeaderKey)
	}
	assert.Equal(t, longest, <-called)
	assert.Empty(t, called)
	f.emptiesItself()
}

func stored(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	s, err := f.js.Stream(t.Context(), f.cfg.Name)
	require.NoError(t, err)
	for i := range 50 {
		body := fmt.Sprintf(`{"__id":"e-%d"}`, i)
		f.publish("acme", "Pass:Installed", body)
		m, err := s.GetLastMsgForSubject(t.Context(), f.cfg.Prefix+".acme.Pass.Installed")
		require.NoError(t, err, "once Handle has returned, the event is in the stream")
		assert.Equal(t, body, string(m.Data))
		assert.Equal(t, "Pass:Installed", m.Header.Get(jetstream.HeaderEvent))
		assert.Equal(t, "acme", m.Header.Get(jetstream.HeaderTenant))
		assert.Equal(t, fmt.Sprintf("e-%d", i), m.Header.Get(jetstream.HeaderID))
		assert.Equal(t, fmt.Sprintf("t/acme/e-%d", i), m.Header.Get(jetstream.HeaderKey))
		assert.Equal(t, fmt.Sprintf("t/acme/e-%d", i), m.Header.Get("Nats-Msg-Id"))
	}
	assert.Error(t, f.publisher.Handle(t.Context(), &walletcrew.Event{Name: "Pass:Created"}), "an event without a body is a mistake")
	assert.Error(t, f.publisher.Handle(t.Context(), nil))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, f.publisher.Handle(ctx, Event(t, "acme", "Pass:Created", `{"__id":"x"}`)), context.Canceled)
}

func tooLarge(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	body := `{"__id":"` + strings.Repeat("x", int(nc.MaxPayload())) + `"}`
	assert.ErrorIs(t, f.publisher.Handle(t.Context(), Event(t, "acme", "Pass:Created", body)), nats.ErrMaxPayload)
	assert.Zero(t, f.left(f.cfg.Name))
	f.publish("acme", "Pass:Created", `{"__id":"1"}`) // and the connection still works
}

func backOff(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	delays := []time.Duration{100 * time.Millisecond, 400 * time.Millisecond}
	var mu sync.Mutex
	var at []time.Time
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	f.run(func(context.Context, *walletcrew.Event) error {
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Now())
		if len(at) <= len(delays) {
			return errors.New("the database is away")
		}
		return nil
	}, jetstream.ConsumerConfig{Backoff: func(try int) time.Duration { return delays[try-1] }})
	for try := range delays {
		o := f.outcome()
		assert.Equal(t, jetstream.Retried, o.Result)
		assert.Equal(t, try+1, o.Try)
		assert.EqualError(t, o.Err, "the database is away")
	}
	assert.Equal(t, jetstream.Handled, f.outcome().Result)
	f.emptiesItself()
	mu.Lock()
	defer mu.Unlock()
	for i, d := range delays {
		assert.GreaterOrEqual(t, at[i+1].Sub(at[i]), d-20*time.Millisecond, "try %d came too early", i+2)
	}
}

var errAway = fmt.Errorf("save: %w", receiver.Temporary(errors.New("the database is away")))

func outage(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	const events = 20
	for i := range events {
		f.publish("acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d"}`, i))
	}
	var back atomic.Bool
	f.run(func(context.Context, *walletcrew.Event) error {
		if back.Load() {
			return nil
		}
		return errAway
	}, jetstream.ConsumerConfig{MaxTries: 2, Concurrency: 4, AckWait: steadyWait})
	calls := 0
	for began := time.Now(); time.Since(began) < steadyWait+500*time.Millisecond; calls++ { // more than AckWait, and than MaxTries
		o := f.outcome()
		assert.Equal(t, jetstream.Retried, o.Result)
		assert.Equal(t, 1, o.Try, "what was set aside is no try")
		assert.Positive(t, o.Age)
		require.True(t, receiver.IsTemporary(o.Err), "%v", o.Err)
	}
	assert.Greater(t, calls, 4+4, "the function must be tried again and again")
	assert.LessOrEqual(t, calls, 4+6*4, "four probes a second, after one call for each of the Concurrency")
	back.Store(true)
	for handled := 0; handled < events; {
		o := f.outcome()
		assert.Equal(t, 1, o.Try)
		if o.Result == jetstream.Handled {
			handled++
		}
	}
	f.emptiesItself()
	assert.Empty(t, f.deadLetters(), "an outage is no event's fault")
}

func outageThenFailure(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	calls := 0
	f.run(func(context.Context, *walletcrew.Event) error {
		if calls++; calls%2 == 1 {
			return errAway
		}
		return errors.New("a bug")
	}, jetstream.ConsumerConfig{MaxTries: 2, Concurrency: 1})
	for _, want := range []struct {
		result jetstream.Result
		try    int
	}{{jetstream.Retried, 1}, {jetstream.Retried, 1}, {jetstream.Retried, 2}, {jetstream.DeadLettered, 2}} {
		o := f.outcome()
		assert.Equal(t, want.result, o.Result)
		assert.Equal(t, want.try, o.Try)
	}
	f.emptiesItself()
	dead := f.deadLetters()
	require.Len(t, dead, 1)
	assert.Equal(t, "a bug", dead[0].Reason)
	assert.Equal(t, 2, dead[0].Tries)
}

func endInOutage(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	end := f.run(func(context.Context, *walletcrew.Event) error { return errAway }, jetstream.ConsumerConfig{
		MaxTries: 1,
		Backoff:  func(int) time.Duration { return time.Hour },
	})
	assert.Equal(t, jetstream.Retried, f.outcome().Result)
	began := time.Now()
	require.NoError(t, end())
	f.run(ok, jetstream.ConsumerConfig{MaxTries: 1})
	o := f.outcome()
	assert.Equal(t, jetstream.Handled, o.Result, "the event is given back, not given up")
	assert.LessOrEqual(t, o.Try, 2, "it counts as one delivery at most") // NATS 2.9 doesn't count it
	assert.Less(t, time.Since(began), 20*time.Second, "it is given back at once, not after the 30 s of AckWait")
	f.emptiesItself()
}

func outageBackOff(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	calls := 0
	f.run(func(context.Context, *walletcrew.Event) error {
		if calls++; calls == 1 {
			return errAway
		}
		return nil
	}, jetstream.ConsumerConfig{Backoff: func(int) time.Duration { return time.Hour }})
	assert.Equal(t, jetstream.Retried, f.outcome().Result)
	assert.Equal(t, jetstream.Handled, f.outcome().Result, "nobody waits an hour when the database is back")
}

// What isn't an outage, but says so.
func heldForEver(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	f.publish("acme", "Pass:Created", `{"__id":"bad"}`)
	f.run(func(_ context.Context, e *walletcrew.Event) error {
		if e.ID == "bad" {
			return errAway
		}
		return nil
	}, jetstream.ConsumerConfig{MaxTries: 1, Concurrency: 1, AckWait: steadyWait})
	assert.Equal(t, "bad", f.outcome().Event.ID)
	const good = 100
	for i := range good {
		f.publish("acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d"}`, i))
	}
	for handled := 0; handled < good; {
		if o := f.outcome(); o.Result == jetstream.Handled {
			handled++
		} else {
			assert.Equal(t, "bad", o.Event.ID)
			assert.Equal(t, jetstream.Retried, o.Result)
		}
	}
	assert.Eventually(t, func() bool { return f.left(f.cfg.Name) == 1 }, Patience, 5*time.Millisecond, "the bad one is kept")
	assert.Empty(t, f.deadLetters())
}

func discard(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	f.run(func(context.Context, *walletcrew.Event) error {
		return fmt.Errorf("wrapped: %w", receiver.Discard(errors.New("no such customer")))
	}, jetstream.ConsumerConfig{})
	o := f.outcome()
	assert.Equal(t, jetstream.Discarded, o.Result)
	assert.ErrorContains(t, o.Err, "no such customer")
	f.emptiesItself()
	f.noOutcome(200 * time.Millisecond) // more than the back-off
	assert.Empty(t, f.deadLetters())
}

func deadLetter(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	const body = `{"__id":"bad","passId":"p-1"}`
	f.publish("acme.x", "Pass:Created", body)
	f.publish("acme.x", "Pass:Created", `{"__id":"good"}`)
	f.run(func(_ context.Context, e *walletcrew.Event) error {
		if e.ID == "bad" {
			return errors.New("the card number\r\nis not a number: é\x00" + strings.Repeat("!", 2000))
		}
		return nil
	}, jetstream.ConsumerConfig{Name: "crm", MaxTries: 3})
	var results []jetstream.Result
	for range 4 {
		results = append(results, f.outcome().Result)
	}
	slices.Sort(results)
	assert.Equal(t, []jetstream.Result{jetstream.DeadLettered, jetstream.Handled, jetstream.Retried, jetstream.Retried}, results)
	f.emptiesItself()

	dead := f.deadLetters()
	require.Len(t, dead, 1)
	d := dead[0]
	assert.Equal(t, body, string(d.Body))
	assert.Equal(t, Event(t, "acme.x", "Pass:Created", body), d.Event)
	assert.True(t, strings.HasPrefix(d.Reason, "the card number  is not a number: é !!!"), d.Reason)
	assert.LessOrEqual(t, len(d.Reason), 1024)
	assert.Equal(t, f.cfg.Prefix+".acme%2Ex.Pass.Created", d.Subject)
	assert.Equal(t, "crm", d.Consumer)
	assert.Equal(t, 3, d.Tries)
	assert.WithinDuration(t, time.Now(), d.Time, time.Minute)

	s, err := f.js.Stream(t.Context(), f.cfg.Name+"_DEAD")
	require.NoError(t, err)
	m, err := s.GetLastMsgForSubject(t.Context(), f.cfg.Prefix+"-dead.acme%2Ex.Pass.Created")
	require.NoError(t, err)
	assert.Equal(t, "3", m.Header.Get(jetstream.HeaderTries))
	assert.Equal(t, "Pass:Created", m.Header.Get(jetstream.HeaderEvent))
}

func redrive(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	for i := range 5 {
		f.publish("acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d"}`, i))
	}
	end := f.run(func(context.Context, *walletcrew.Event) error { return errors.New("a bug") }, jetstream.ConsumerConfig{MaxTries: 1})
	for range 5 {
		assert.Equal(t, jetstream.DeadLettered, f.outcome().Result)
	}
	require.NoError(t, end())
	for d, err := range f.stream.DeadLetters(t.Context()) {
		require.NoError(t, err)
		if d.Event.ID == "3" {
			require.NoError(t, d.Delete(t.Context()))
			continue
		}
		require.NoError(t, d.Redrive(t.Context()))
	}
	assert.Zero(t, f.left(f.cfg.Name+"_DEAD"))
	f.run(ok, jetstream.ConsumerConfig{})
	var ids []string
	for range 4 {
		o := f.outcome()
		ids = append(ids, o.Event.ID)
		assert.Equal(t, jetstream.Handled, o.Result)
		assert.Equal(t, 1, o.Try)
		assert.Equal(t, "acme", o.Event.TenantID)
	}
	slices.Sort(ids)
	assert.Equal(t, []string{"0", "1", "2", "4"}, ids)
	f.emptiesItself()
}

func redriveInALog(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc, func(c *jetstream.StreamConfig) { c.KeepFor = time.Hour })
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	f.run(func(context.Context, *walletcrew.Event) error { return errors.New("a bug") }, jetstream.ConsumerConfig{Name: "bad", MaxTries: 1})
	f.run(ok, jetstream.ConsumerConfig{Name: "good"})
	both := []jetstream.Result{jetstream.DeadLettered, jetstream.Handled}
	assert.ElementsMatch(t, both, []jetstream.Result{f.outcome().Result, f.outcome().Result})
	dead := f.deadLetters()
	require.Len(t, dead, 1)
	assert.Equal(t, "bad", dead[0].Consumer)
	require.NoError(t, dead[0].Redrive(t.Context()))
	assert.ElementsMatch(t, both, []jetstream.Result{f.outcome().Result, f.outcome().Result}, "as Redrive says")
}

// A dead letter has more headers than its event.
func largestDeadLetter(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	body := func(size int) string { return `{"x":"` + strings.Repeat("x", size) + `"}` }
	f.publish("acme", "Pass:Created", body(0))
	events, err := f.js.Stream(t.Context(), f.cfg.Name)
	require.NoError(t, err)
	m, err := events.GetLastMsgForSubject(t.Context(), f.cfg.Prefix+".acme.Pass.Created")
	require.NoError(t, err)
	require.NoError(t, events.DeleteMsg(t.Context(), m.Sequence))
	size := int(nc.MaxPayload()) - len(body(0)) - len("NATS/1.0\r\n\r\n")
	for name, values := range m.Header {
		size -= len(name + ": " + values[0] + "\r\n")
	}
	require.ErrorIs(t, f.publisher.Handle(t.Context(), Event(t, "acme", "Pass:Created", body(size+1))), nats.ErrMaxPayload)
	f.publish("acme", "Pass:Created", body(size))
	var works atomic.Bool
	f.run(func(context.Context, *walletcrew.Event) error {
		if works.Load() {
			return nil
		}
		return errors.New("no passId" + strings.Repeat("!", 3000))
	}, jetstream.ConsumerConfig{MaxTries: 1})
	require.Equal(t, jetstream.DeadLettered, f.outcome().Result)
	dead := f.deadLetters()
	require.Len(t, dead, 1)
	assert.Equal(t, body(size), string(dead[0].Body))
	assert.Equal(t, f.cfg.Prefix+".acme.Pass.Created", dead[0].Subject)
	works.Store(true)
	require.NoError(t, dead[0].Redrive(t.Context()))
	assert.Equal(t, jetstream.Handled, f.outcome().Result)

	works.Store(false)
	f.publish("acme", "Pass:Created", body(size-500))
	require.Equal(t, jetstream.DeadLettered, f.outcome().Result)
	d := f.deadLetters()[0]
	assert.True(t, strings.HasPrefix(d.Reason, "no passId"), "the reason is shortened before it is left out")
	assert.Equal(t, "worker", d.Consumer)
}

func panics(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	n := 0
	f.run(func(context.Context, *walletcrew.Event) error {
		switch n++; n {
		case 1:
			panic("out of range")
		case 2:
			runtime.Goexit()
		}
		return nil
	}, jetstream.ConsumerConfig{Concurrency: 1})
	for range 2 {
		o := f.outcome()
		assert.Equal(t, jetstream.Retried, o.Result)
		assert.ErrorIs(t, o.Err, jetstream.ErrPanicked)
	}
	assert.Equal(t, jetstream.Handled, f.outcome().Result)
	f.emptiesItself()
}

func panicsBesides(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	var log LockedBuffer
	for i := range 2 {
		f.publish("acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d"}`, i))
	}
	results := []error{errAway, errors.New("a bug"), nil, nil}
	n := 0
	end := f.run(func(context.Context, *walletcrew.Event) error {
		n++
		return results[n-1]
	}, jetstream.ConsumerConfig{
		Concurrency: 1,
		Logger:      slog.New(slog.NewTextHandler(&log, nil)),
		Observer:    func(context.Context, jetstream.Outcome) { panic("no such metric") },
		Backoff:     func(int) time.Duration { panic("no such try") },
	})
	var got []jetstream.Result
	for range results {
		got = append(got, f.outcome().Result)
	}
	assert.Equal(t, []jetstream.Result{jetstream.Retried, jetstream.Retried, jetstream.Handled, jetstream.Handled}, got)
	f.emptiesItself()
	require.NoError(t, end())
	assert.Contains(t, log.String(), "no such metric")
	assert.Contains(t, log.String(), "no such try")
}

func unparsable(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	called := make(chan string, 10)
	f.run(func(_ context.Context, e *walletcrew.Event) error { called <- e.ID; return nil }, jetstream.ConsumerConfig{Concurrency: 1})
	for _, m := range []*nats.Msg{
		{Subject: f.cfg.Prefix + ".acme.Pass.Created", Data: []byte("not JSON")},
		{Subject: f.cfg.Prefix + ".acme.Pass.Created", Data: []byte("{}"), Header: nats.Header{jetstream.HeaderEvent: {"100%"}}},
		{Subject: f.cfg.Prefix + ".a%20b.Pass.Created", Data: []byte(`{"__id":"by hand"}`)},
	} {
		_, err := f.js.PublishMsg(t.Context(), m)
		require.NoError(t, err)
	}
	assert.ErrorIs(t, f.outcome().Err, walletcrew.ErrInvalidPayload)
	assert.Equal(t, jetstream.DeadLettered, f.outcome().Result)
	byHand := f.outcome()
	assert.Equal(t, jetstream.Handled, byHand.Result)
	assert.Equal(t, "a b", byHand.Event.TenantID)
	assert.Equal(t, walletcrew.EventPassCreated, byHand.Event.Name)
	f.emptiesItself()
	assert.Equal(t, "by hand", <-called)
	assert.Empty(t, called)
	dead := f.deadLetters()
	require.Len(t, dead, 2)
	assert.Nil(t, dead[0].Event)
	assert.Equal(t, "not JSON", string(dead[0].Body))
	assert.Contains(t, dead[0].Reason, "not a valid JSON object")
}

func deadLettersFull(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	name := f.cfg.Name + "_DEAD"
	limit := func(n int64) {
		s, err := f.js.Stream(t.Context(), name)
		require.NoError(t, err)
		cfg := s.CachedInfo().Config
		cfg.MaxBytes = n
		_, err = f.js.UpdateStream(t.Context(), cfg)
		require.NoError(t, err)
	}
	limit(10)
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	f.run(func(context.Context, *walletcrew.Event) error { return errors.New("a bug") }, jetstream.ConsumerConfig{MaxTries: 1})
	for range 3 {
		o := f.outcome()
		assert.Equal(t, jetstream.Retried, o.Result)
		assert.ErrorIs(t, o.Err, jetstream.ErrStreamFull)
	}
	assert.Equal(t, 1, f.left(f.cfg.Name), "the event stays in the stream while its dead letter can't be stored")
	limit(-1)
	f.emptiesItself()
	assert.Len(t, f.deadLetters(), 1)
}

func deadLettersLimited(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc, func(c *jetstream.StreamConfig) { c.MaxMsgs, c.MaxBytes = 2, 1<<20 })
	s, err := f.js.Stream(t.Context(), f.cfg.Name+"_DEAD")
	require.NoError(t, err)
	assert.EqualValues(t, 2, s.CachedInfo().Config.MaxMsgs)
	assert.EqualValues(t, 1<<20, s.CachedInfo().Config.MaxBytes)
	assert.Equal(t, time.Hour, s.CachedInfo().Config.Duplicates, "longer than a back-off: what comes again is still the same dead letter")

	var log LockedBuffer
	f.run(func(context.Context, *walletcrew.Event) error { return errors.New("a bug") }, jetstream.ConsumerConfig{
		MaxTries: 1,
		Logger:   slog.New(slog.NewTextHandler(&log, nil)),
	})
	for i := range 2 {
		f.publish("acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d"}`, i))
		assert.Equal(t, jetstream.DeadLettered, f.outcome().Result)
	}
	f.publish("acme", "Pass:Created", `{"__id":"2"}`)
	for range 3 {
		o := f.outcome()
		assert.Equal(t, jetstream.Retried, o.Result)
		assert.ErrorIs(t, o.Err, jetstream.ErrStreamFull)
	}
	assert.Equal(t, 1, f.left(f.cfg.Name), "the event stays in the stream while its dead letter can't be stored")
	assert.Contains(t, log.String(), "level=ERROR msg=\"jetstream: the event is a dead letter, but can't be stored as one")
	assert.Contains(t, log.String(), "dead_letters="+f.cfg.Name+"_DEAD")
	require.NoError(t, f.deadLetters()[0].Delete(t.Context()), "somebody makes room")
	f.emptiesItself()
	var ids []string
	for _, d := range f.deadLetters() {
		ids = append(ids, d.Event.ID)
	}
	assert.Equal(t, []string{"1", "2"}, ids)
}

// A LockedBuffer is a log that is read while it is written.
type LockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *LockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *LockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func longFunction(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	for i := range 4 {
		f.publish("acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d"}`, i))
	}
	// Two consumers, so that whoever is free would get what the other seems to have let go.
	var calls atomic.Int32
	for range 2 {
		f.run(func(context.Context, *walletcrew.Event) error {
			calls.Add(1)
			time.Sleep(steadyWait + time.Second)
			return nil
		}, jetstream.ConsumerConfig{Concurrency: 4, AckWait: steadyWait})
	}
	for range 4 {
		o := f.outcome()
		assert.Equal(t, jetstream.Handled, o.Result)
		assert.Equal(t, 1, o.Try)
	}
	f.emptiesItself()
	assert.EqualValues(t, 4, calls.Load(), "AckWait was over a second ago: nobody else was given an event in that time")
}

func patterns(t *testing.T, nc *nats.Conn) {
	names := []walletcrew.EventName{"Pass:Created", "pass.created", "Pass:Installed", "Pass:Scanned", "PASS.UpdateSent", "Customer:Upserted", "Passport:Created", "Ping", ":x"}
	for _, pattern := range []walletcrew.EventName{"*", "Pass:*", "pass.*", "Pass:Created", "pass.created", "Passport:*", "Ping"} {
		f := setUp(t, nc)
		var want []string
		for _, name := range names {
			f.publish("acme", name, `{}`)
			if name.Matches(pattern) {
				want = append(want, string(Event(t, "acme", name, `{}`).Name)) // a known one is spelled as it is documented
			}
		}
		end := f.run(ok, jetstream.ConsumerConfig{Patterns: []walletcrew.EventName{pattern}})
		var got []string
		for len(got) < len(want) {
			o := f.outcome()
			assert.Equal(t, jetstream.Handled, o.Result)
			got = append(got, string(o.Event.Name))
		}
		require.NoError(t, end())
		assert.ElementsMatch(t, want, got, "pattern %s", pattern)
		assert.Eventually(t, func() bool { return f.left(f.cfg.Name) == len(names)-len(want) }, Patience, 5*time.Millisecond, "what no consumer takes stays")
	}
	f := setUp(t, nc)
	_, err := jetstream.NewConsumer(t.Context(), f.stream, ok, jetstream.ConsumerConfig{Patterns: []walletcrew.EventName{"Pass:Up*"}})
	assert.ErrorContains(t, err, `"Pass:Up*"`)
}

// filters returns the subjects that the consumer takes.
func (f *fixture) filters(consumer string) []string {
	f.t.Helper()
	c, err := f.js.Consumer(f.t.Context(), f.cfg.Name, consumer)
	require.NoError(f.t, err)
	if cfg := c.CachedInfo().Config; cfg.FilterSubject != "" {
		return []string{cfg.FilterSubject}
	}
	return c.CachedInfo().Config.FilterSubjects
}

// A consumer that exists has passed over what it doesn't take: with other patterns, that would stay in the queue for ever.
func otherPatterns(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	f.publish("acme", "Customer:Upserted", `{"__id":"before"}`)
	end := f.run(ok, jetstream.ConsumerConfig{Patterns: []walletcrew.EventName{"Pass:*"}})
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	assert.Equal(t, "1", f.outcome().Event.ID)
	f.publish("acme", "Customer:Upserted", `{"__id":"later"}`)
	all := jetstream.ConsumerConfig{Patterns: []walletcrew.EventName{"*"}}
	_, err := jetstream.NewConsumer(t.Context(), f.stream, ok, all)
	require.ErrorIs(t, err, jetstream.ErrOtherPatterns)
	require.ErrorContains(t, err, f.cfg.Prefix+".*.Pass.*")
	require.ErrorContains(t, err, f.cfg.Prefix+".*.*.*")
	f.publish("acme", "Pass:Created", `{"__id":"2"}`)
	assert.Equal(t, "2", f.outcome().Event.ID, "the consumer works on as it was")
	require.NoError(t, end())
	_, err = jetstream.NewConsumer(t.Context(), f.stream, ok, all)
	require.ErrorIs(t, err, jetstream.ErrOtherPatterns, "nobody can know that no process will come back")

	require.NoError(t, f.stream.DeleteConsumer(t.Context(), "worker"))
	require.NoError(t, f.stream.DeleteConsumer(t.Context(), "worker"), "twice is once")
	f.run(ok, all)
	f.publish("acme", "Pass:Created", `{"__id":"3"}`)
	var got []string
	for range 3 {
		got = append(got, f.outcome().Event.ID)
	}
	assert.ElementsMatch(t, []string{"before", "later", "3"}, got)
	f.emptiesItself()
}

func otherPatternsOfALog(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc, func(c *jetstream.StreamConfig) { c.KeepFor = time.Hour })
	end := f.run(ok, jetstream.ConsumerConfig{Patterns: []walletcrew.EventName{"Pass:*"}})
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	assert.Equal(t, "1", f.outcome().Event.ID)
	require.NoError(t, end())
	_, err := jetstream.NewConsumer(t.Context(), f.stream, ok, jetstream.ConsumerConfig{})
	require.ErrorIs(t, err, jetstream.ErrOtherPatterns)
	require.NoError(t, f.stream.DeleteConsumer(t.Context(), "worker"))
	f.run(ok, jetstream.ConsumerConfig{})
	assert.Equal(t, "1", f.outcome().Event.ID)
}

// A process wasn't stopped when its consumer was made anew with other patterns. It has asked for an event, and is told that there is
// no such consumer any more; or it was busy, and gets what it didn't ask for.
func comesBack(t *testing.T, nc *nats.Conn) {
	for _, busy := range []bool{false, true} {
		f := setUp(t, nc)
		logged := new(LockedBuffer)
		started, release := make(chan struct{}), make(chan struct{})
		f.run(func(_ context.Context, e *walletcrew.Event) error {
			assert.Equal(t, "Customer", e.Name.Category())
			if busy {
				close(started)
				<-release
			}
			return nil
		}, jetstream.ConsumerConfig{Patterns: []walletcrew.EventName{"Customer:*"}, Concurrency: 1, Logger: slog.New(slog.NewTextHandler(logged, nil))})
		f.publish("acme", "Customer:Upserted", `{"__id":"c"}`)
		if busy {
			<-started
		} else {
			assert.Equal(t, jetstream.Handled, f.outcome().Result)
		}
		anew := jetstream.ConsumerConfig{Patterns: []walletcrew.EventName{"Pass:*"}, Concurrency: 1}
		require.Eventually(t, func() bool { // or else the old one is quicker
			require.NoError(t, f.stream.DeleteConsumer(t.Context(), "worker"))
			_, err := jetstream.NewConsumer(t.Context(), f.stream, ok, anew)
			return err == nil
		}, Patience, 10*time.Millisecond)
		close(release)
		if busy {
			assert.Equal(t, jetstream.Handled, f.outcome().Result)
			f.publish("acme", "Pass:Created", `{"__id":"stray"}`)
			o := f.outcome()
			assert.Equal(t, jetstream.Retried, o.Result, "nobody else runs yet")
			assert.ErrorIs(t, o.Err, jetstream.ErrOtherPatterns)
		}
		require.Eventually(t, func() bool { return strings.Contains(logged.String(), jetstream.ErrOtherPatterns.Error()) }, Patience, 10*time.Millisecond)
		assert.Equal(t, []string{f.cfg.Prefix + ".*.Pass.*"}, f.filters("worker"))
		f.run(ok, anew)
		f.publish("acme", "Pass:Created", `{"__id":"1"}`)
		assert.Equal(t, jetstream.Handled, f.outcome().Result)
		if busy {
			assert.Equal(t, jetstream.Handled, f.outcome().Result)
		} else {
			assert.Zero(t, f.left(f.cfg.Name+"_DEAD"))
		}
	}
}

func ackWait(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	for _, wait := range []time.Duration{30 * time.Second, time.Minute, 10 * time.Second} {
		_, err := jetstream.NewConsumer(t.Context(), f.stream, ok, jetstream.ConsumerConfig{AckWait: wait})
		require.NoError(t, err)
		c, err := f.js.Consumer(t.Context(), f.cfg.Name, "worker")
		require.NoError(t, err)
		assert.Equal(t, wait, c.CachedInfo().Config.AckWait)
	}
}

func beliedSubject(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	m := nats.NewMsg(f.cfg.Prefix + ".acme.Pass.Created")
	m.Header.Set(jetstream.HeaderEvent, "Customer:Upserted")
	m.Data = []byte(`{}`)
	_, err := f.js.PublishMsg(t.Context(), m)
	require.NoError(t, err)
	f.run(func(context.Context, *walletcrew.Event) error {
		assert.Fail(t, "the function didn't ask for it")
		return nil
	}, jetstream.ConsumerConfig{Patterns: []walletcrew.EventName{"Pass:*"}})
	assert.Equal(t, jetstream.DeadLettered, f.outcome().Result)
	require.Len(t, f.deadLetters(), 1)
	assert.Contains(t, f.deadLetters()[0].Reason, "Customer:Upserted fits none of the consumer's patterns")
	f.emptiesItself()
}

// The next try would be after the stream has dropped the event.
func expiring(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc, func(c *jetstream.StreamConfig) { c.KeepFor = time.Hour })
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	f.run(func(context.Context, *walletcrew.Event) error { return errors.New("not today") },
		jetstream.ConsumerConfig{Backoff: func(try int) time.Duration {
			if try < 3 {
				return 10 * time.Millisecond
			}
			return time.Hour
		}})
	for range 2 {
		assert.Equal(t, jetstream.Retried, f.outcome().Result)
	}
	assert.Equal(t, jetstream.DeadLettered, f.outcome().Result)
	require.Len(t, f.deadLetters(), 1)
	assert.Contains(t, f.deadLetters()[0].Reason, "not today (and the stream drops the event before it can be tried again)")
}

func expiringOutage(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc, func(c *jetstream.StreamConfig) { c.KeepFor = 5 * time.Second })
	f.run(func(context.Context, *walletcrew.Event) error { return receiver.Temporary(errors.New("database away")) }, jetstream.ConsumerConfig{})
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	for {
		o := f.outcome()
		if o.Result == jetstream.DeadLettered {
			break
		}
		assert.Equal(t, jetstream.Retried, o.Result)
	}
	require.Len(t, f.deadLetters(), 1)
	assert.Contains(t, f.deadLetters()[0].Reason, "database away")
}

// The dead letters can't be stored for a moment: the back-off would outlast the event.
func expiringUnburied(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc, func(c *jetstream.StreamConfig) { c.KeepFor = time.Minute })
	dead, err := f.js.Stream(t.Context(), f.cfg.Name+"_DEAD")
	require.NoError(t, err)
	full := dead.CachedInfo().Config
	full.MaxMsgSize = 1
	_, err = f.js.UpdateStream(t.Context(), full)
	require.NoError(t, err)
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	f.run(func(context.Context, *walletcrew.Event) error { return errors.New("not today") },
		jetstream.ConsumerConfig{Backoff: func(int) time.Duration { return time.Hour }})
	assert.Equal(t, jetstream.Retried, f.outcome().Result)
	full.MaxMsgSize = -1
	_, err = f.js.UpdateStream(t.Context(), full)
	require.NoError(t, err)
	o := f.outcome()
	for o.Result == jetstream.Retried {
		o = f.outcome()
	}
	assert.Equal(t, jetstream.DeadLettered, o.Result)
	assert.Len(t, f.deadLetters(), 1)
}

func raise(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc, func(c *jetstream.StreamConfig) { c.MaxMsgs, c.MaxBytes = 1, 10_000 })
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	second := Event(t, "acme", "Pass:Created", `{"__id":"2"}`)
	require.ErrorIs(t, f.publisher.Handle(t.Context(), second), jetstream.ErrStreamFull)
	limits := func(name string) [2]int64 {
		s, err := f.js.Stream(t.Context(), name)
		require.NoError(t, err)
		return [2]int64{s.CachedInfo().Config.MaxMsgs, s.CachedInfo().Config.MaxBytes}
	}
	for _, step := range []struct{ want, have [2]int64 }{
		{[2]int64{3, 10_000}, [2]int64{3, 10_000}},
		{[2]int64{2, 20_000}, [2]int64{3, 20_000}}, // never lowered
		{[2]int64{0, 0}, [2]int64{3, 20_000}},
	} {
		f.cfg.MaxMsgs, f.cfg.MaxBytes = step.want[0], step.want[1]
		_, err := jetstream.EnsureStream(t.Context(), nc, f.cfg)
		require.NoError(t, err)
		assert.Equal(t, step.have, limits(f.cfg.Name))
		assert.Equal(t, step.have, limits(f.cfg.Name+"_DEAD"))
	}
	require.NoError(t, f.publisher.Handle(t.Context(), second))
	unlimited := setUp(t, nc)
	unlimited.cfg.MaxMsgs = 5
	_, err := jetstream.EnsureStream(t.Context(), nc, unlimited.cfg)
	require.NoError(t, err)
	f = unlimited
	assert.Equal(t, [2]int64{-1, -1}, limits(f.cfg.Name), "no limit is higher than any")
}

func severalPatterns(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	several := []walletcrew.EventName{"Pass:Created", "Pass:Installed", "Customer:*", "Customer:Upserted", "Pass:Created"}
	if strings.HasPrefix(nc.ConnectedServerVersion(), "2.9.") {
		_, err := jetstream.NewConsumer(t.Context(), f.stream, ok, jetstream.ConsumerConfig{Patterns: several})
		assert.ErrorIs(t, err, jetstream.ErrServerTooOld)
		return
	}
	for _, name := range []walletcrew.EventName{"Pass:Updated", "Pass:Created", "Customer:New", "Pass:Installed"} {
		f.publish("acme", name, `{}`)
	}
	f.run(ok, jetstream.ConsumerConfig{Patterns: several, Concurrency: 1})
	for _, name := range []walletcrew.EventName{"Pass:Created", "Customer:New", "Pass:Installed"} {
		assert.Equal(t, name, f.outcome().Event.Name)
	}
	f.noOutcome(200 * time.Millisecond)
	assert.Equal(t, 1, f.left(f.cfg.Name), "what no pattern takes stays for another consumer")
	f.run(ok, jetstream.ConsumerConfig{Name: "updates", Patterns: []walletcrew.EventName{"Pass:Updated"}})
	assert.Equal(t, walletcrew.EventPassUpdated, f.outcome().Event.Name)
}

func overlap(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	f.run(ok, jetstream.ConsumerConfig{Name: "a"})
	_, err := jetstream.NewConsumer(t.Context(), f.stream, ok, jetstream.ConsumerConfig{Name: "b", Patterns: []walletcrew.EventName{"Pass:*"}})
	assert.ErrorContains(t, err, "another consumer takes some of these events already")
}

func fanOut(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc, func(c *jetstream.StreamConfig) { c.KeepFor = time.Hour })
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	f.run(ok, jetstream.ConsumerConfig{Name: "a"})
	f.run(ok, jetstream.ConsumerConfig{Name: "b", Patterns: []walletcrew.EventName{"Pass:*"}})
	for range 2 {
		assert.Equal(t, "1", f.outcome().Event.ID)
	}
	f.noOutcome(100 * time.Millisecond)
	assert.Equal(t, 1, f.left(f.cfg.Name))
}

func gracefulEnd(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	for i := range 40 {
		f.publish("acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d"}`, i))
	}
	started := make(chan struct{}, 40)
	release := make(chan struct{})
	end := f.run(func(ctx context.Context, _ *walletcrew.Event) error {
		started <- struct{}{}
		<-release
		return ctx.Err()
	}, jetstream.ConsumerConfig{Concurrency: 4})
	for range 4 {
		<-started
	}
	ended := make(chan error)
	go func() { ended <- end() }()
	select {
	case err := <-ended:
		require.Fail(t, "Run returned while functions ran", "%v", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(release)
	require.NoError(t, <-ended)
	assert.Len(t, f.outcomes, 4, "no further event is taken once the context has ended")
	for range 4 {
		assert.Equal(t, jetstream.Handled, f.outcome().Result)
	}
	assert.Eventually(t, func() bool { return f.left(f.cfg.Name) == 36 }, Patience, 5*time.Millisecond)
	f.run(ok, jetstream.ConsumerConfig{})
	for range 36 {
		assert.Equal(t, 1, f.outcome().Try, "an event that wasn't started isn't a try")
	}
}

func impatientEnd(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	started := make(chan struct{})
	end := f.run(func(ctx context.Context, _ *walletcrew.Event) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	}, jetstream.ConsumerConfig{DrainTimeout: 50 * time.Millisecond, MaxTries: 1})
	<-started
	require.NoError(t, end())
	o := f.outcome()
	assert.Equal(t, jetstream.Retried, o.Result, "what was broken off isn't given up, even on its last try")
	assert.ErrorIs(t, o.Err, context.Canceled)
	f.run(ok, jetstream.ConsumerConfig{})
	assert.Equal(t, jetstream.Handled, f.outcome().Result)
}

func full(t *testing.T, nc *nats.Conn) {
	for name, limit := range map[string]func(*jetstream.StreamConfig){
		"MaxMsgs":  func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 },
		"MaxBytes": func(c *jetstream.StreamConfig) { c.MaxBytes = 4000 },
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, nc, limit)
			acked := 0
			for i := range 40 {
				err := f.publisher.Handle(t.Context(), Event(t, "acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d","x":"%0200d"}`, i, i)))
				if err != nil {
					assert.ErrorIs(t, err, jetstream.ErrStreamFull)
					continue
				}
				acked++
			}
			assert.Equal(t, acked, f.left(f.cfg.Name), "what was acknowledged is in the stream, and nothing else")
			assert.Less(t, acked, 40)
			assert.Positive(t, acked)
			f.run(ok, jetstream.ConsumerConfig{})
			f.emptiesItself()
			f.publish("acme", "Pass:Created", `{"__id":"room again"}`)
		})
	}
}

func checks(t *testing.T, nc *nats.Conn) {
	js, err := natsjs.New(nc)
	require.NoError(t, err)
	for name, change := range map[string]func(*natsjs.StreamConfig){
		"storage is memory":    func(c *natsjs.StreamConfig) { c.Storage = natsjs.MemoryStorage },
		"discards old":         func(c *natsjs.StreamConfig) { c.Discard = natsjs.DiscardOld },
		"retention":            func(c *natsjs.StreamConfig) { c.Retention = natsjs.InterestPolicy },
		"StreamConfig.Prefix":  func(c *natsjs.StreamConfig) { c.Subjects = []string{c.Subjects[0] + ".x"} },
		"max age":              func(c *natsjs.StreamConfig) { c.MaxAge, c.Duplicates = time.Hour, time.Hour },
		"does not acknowledge": func(c *natsjs.StreamConfig) { c.NoAck = true },
		"duplicate window":     func(c *natsjs.StreamConfig) { c.Duplicates = time.Second },
		"last messages":        func(c *natsjs.StreamConfig) { c.MaxMsgsPerSubject = 1 },
	} {
		cfg := Config(t, nc)
		cfg.DuplicateWindow = time.Minute
		have := natsjs.StreamConfig{Name: cfg.Name, Subjects: []string{cfg.Prefix + ".*.*.*"}, Storage: natsjs.FileStorage, Discard: natsjs.DiscardNew, Retention: natsjs.WorkQueuePolicy}
		change(&have)
		_, err = js.CreateStream(t.Context(), have)
		require.NoError(t, err, name)
		_, err = jetstream.EnsureStream(t.Context(), nc, cfg)
		require.ErrorIs(t, err, jetstream.ErrStreamConfig, name)
		assert.ErrorContains(t, err, name)
		_, err = jetstream.OpenStream(t.Context(), nc, cfg)
		assert.ErrorIs(t, err, jetstream.ErrStreamConfig, name)
	}
	f := setUp(t, nc)
	_, err = jetstream.EnsureStream(t.Context(), nc, f.cfg)
	assert.NoError(t, err, "a second time finds what the first has made")
	_, err = jetstream.OpenStream(t.Context(), nc, f.cfg)
	assert.NoError(t, err)
	for _, bad := range []jetstream.StreamConfig{{Name: "a b"}, {Name: "é"}, {Prefix: "a..b"}, {Prefix: ">"}, {Prefix: "$JS"}, {Replicas: -1}, {MaxBytes: -1}, {KeepFor: time.Hour, DuplicateWindow: 24 * time.Hour}} {
		_, err = jetstream.EnsureStream(t.Context(), nc, bad)
		assert.Error(t, err, "%+v", bad)
	}
	_, err = jetstream.EnsureStream(t.Context(), nil, f.cfg)
	assert.Error(t, err)
}

func missing(t *testing.T, nc *nats.Conn) {
	cfg := Config(t, nc)
	_, err := jetstream.OpenStream(t.Context(), nc, cfg)
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)

	f := setUp(t, nc)
	require.NoError(t, f.js.DeleteStream(t.Context(), f.cfg.Name+"_DEAD"))
	_, err = jetstream.NewConsumer(t.Context(), f.stream, ok, jetstream.ConsumerConfig{})
	assert.ErrorIs(t, err, jetstream.ErrStreamNotFound, "a consumer needs somewhere to put dead letters")
	require.NoError(t, f.js.DeleteStream(t.Context(), f.cfg.Name))
	err = f.publisher.Handle(t.Context(), Event(t, "acme", "Pass:Created", `{"__id":"1"}`))
	assert.ErrorIs(t, err, jetstream.ErrUnavailable)
	_, err = jetstream.NewPublisher(t.Context(), f.stream)
	assert.ErrorIs(t, err, jetstream.ErrUnavailable)
}

func cutOff(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	f.publish("acme", "Pass:Created", `{"__id":"1"}`)
	own, err := nc.Opts.Connect() // another one, to the same server
	require.NoError(t, err)
	stream, err := jetstream.OpenStream(t.Context(), own, f.cfg)
	require.NoError(t, err)
	started, release := make(chan struct{}), make(chan struct{})
	c, err := jetstream.NewConsumer(t.Context(), stream, func(context.Context, *walletcrew.Event) error {
		close(started)
		<-release
		return nil
	}, jetstream.ConsumerConfig{Concurrency: 1, AckWait: 500 * time.Millisecond, Logger: Quiet}) // 1: no other of its own gets it
	require.NoError(t, err)
	result := make(chan error, 1)
	go func() { result <- c.Run(context.Background()) }()
	<-started
	own.Close()
	f.run(ok, jetstream.ConsumerConfig{AckWait: 500 * time.Millisecond})
	o := f.outcome()
	assert.Equal(t, jetstream.Handled, o.Result)
	assert.Equal(t, 2, o.Try)
	close(release)
	assert.ErrorIs(t, <-result, jetstream.ErrUnavailable, "a connection that is closed for good ends Run")
}

func share(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	const n = 300
	var publishers sync.WaitGroup
	for p := range 10 {
		publishers.Go(func() {
			for i := range n / 10 {
				assert.NoError(t, f.publisher.Handle(t.Context(), Event(t, "acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d-%d"}`, p, i))))
			}
		})
	}
	for range 3 {
		f.run(ok, jetstream.ConsumerConfig{Concurrency: 8})
	}
	publishers.Wait()
	seen := map[string]bool{}
	for range n {
		o := f.outcome()
		assert.False(t, seen[o.Event.ID], "%s was handled twice", o.Event.ID)
		seen[o.Event.ID] = true
	}
	f.emptiesItself()
}

func overHTTP(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc, func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 })
	const secret = walletcrew.Secret("a-secret")
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	h := receiver.NewHandler(v, f.publisher.Handle, receiver.WithLogger(Quiet))
	deliver := func(body string, key walletcrew.Secret) int {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(key, []byte(body)))
		r.Header.Set(walletcrew.HeaderEventName, "Pass:Created")
		r.Header.Set(walletcrew.HeaderTenantID, "acme")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	assert.Equal(t, http.StatusUnauthorized, deliver(`{"__id":"1"}`, "another"))
	assert.Zero(t, f.left(f.cfg.Name))
	assert.Equal(t, http.StatusNoContent, deliver(`{"__id":"1"}`, secret))
	assert.Equal(t, http.StatusNoContent, deliver(`{"__id":"1"}`, secret), "a duplicate is in the stream already")
	assert.Equal(t, 503, deliver(`{"__id":"2"}`, secret), "the stream is full")
	assert.Equal(t, 1, f.left(f.cfg.Name))
}

// A service that waits for ErrUnavailable to end would wait for ever.
func wrongConfig(t *testing.T, nc *nats.Conn) {
	base := Config(t, nc)
	for says, change := range map[string]func(*jetstream.StreamConfig){
		"did you mean 30*time.Minute?":   func(c *jetstream.StreamConfig) { c.DuplicateWindow = 30 },
		"DuplicateWindow is 1ms":         func(c *jetstream.StreamConfig) { c.DuplicateWindow = time.Millisecond },
		"did you mean 24*time.Hour?":     func(c *jetstream.StreamConfig) { c.KeepFor = 24 },
		"KeepFor is 99ms":                func(c *jetstream.StreamConfig) { c.KeepFor = 99 * time.Millisecond },
		"StreamConfig.Replicas can't be": func(c *jetstream.StreamConfig) { c.Replicas = 3 },
	} {
		cfg := base
		change(&cfg)
		_, err := jetstream.EnsureStream(t.Context(), nc, cfg)
		require.ErrorContains(t, err, says)
		require.NotErrorIs(t, err, jetstream.ErrUnavailable)
	}
	f := setUp(t, nc)
	for says, cfg := range map[string]jetstream.ConsumerConfig{
		"ConsumerConfig.AckWait is 30ns: did you mean 30*time.Second?": {AckWait: 30},
		"ConsumerConfig.Timeout is 5ns: did you mean 5*time.Second?":   {Timeout: 5},
		"ConsumerConfig.DrainTimeout is 1ns":                           {DrainTimeout: 1},
	} {
		_, err := jetstream.NewConsumer(t.Context(), f.stream, ok, cfg)
		require.ErrorContains(t, err, says)
	}
	js, err := natsjs.New(nc)
	require.NoError(t, err)
	stream, err := js.Stream(t.Context(), f.cfg.Name)
	require.NoError(t, err)
	limited := stream.CachedInfo().Config
	limited.ConsumerLimits.InactiveThreshold = time.Hour
	updated, err := js.UpdateStream(t.Context(), limited)
	require.NoError(t, err)
	if updated.CachedInfo().Config.ConsumerLimits.InactiveThreshold == 0 {
		return // NATS before 2.10 has no such limit
	}
	_, err = jetstream.OpenStream(t.Context(), nc, f.cfg)
	require.ErrorIs(t, err, jetstream.ErrStreamConfig)
	require.ErrorContains(t, err, "it deletes consumers that nobody runs for 1h0m0s")
}

func manyPublishers(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	_, err := jetstream.NewPublisher(t.Context(), f.stream)
	require.NoError(t, err)
	count := func() int {
		stacks := make([]byte, 8<<20)
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "jetstream.watchOf")
	}
	before := count()
	for range 50 {
		_, err := jetstream.NewPublisher(t.Context(), f.stream)
		require.NoError(t, err)
	}
	// Other tests, on connections of their own, come and go meanwhile.
	assert.Less(t, count()-before, 50, "publishers on one connection share what watches it")
}

func otherMaxWaiting(t *testing.T, nc *nats.Conn) {
	f := setUp(t, nc)
	_, err := jetstream.NewConsumer(t.Context(), f.stream, ok, jetstream.ConsumerConfig{})
	require.NoError(t, err)
	js, err := natsjs.New(nc)
	require.NoError(t, err)
	consumer, err := js.Consumer(t.Context(), f.cfg.Name, "worker")
	require.NoError(t, err)
	made := consumer.CachedInfo().Config
	require.NoError(t, js.DeleteConsumer(t.Context(), f.cfg.Name, "worker"))
	made.MaxWaiting = 512 // as somebody has made it by hand
	_, err = js.CreateConsumer(t.Context(), f.cfg.Name, made)
	require.NoError(t, err)
	_, err = jetstream.NewConsumer(t.Context(), f.stream, ok, jetstream.ConsumerConfig{AckWait: time.Minute})
	require.NoError(t, err, "it can't be changed, and needn't be")
}
