package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// lines returns what was logged since the last call.
func (l *logbook) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.TrimSpace(l.text.String())
	l.text.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// Anybody can send forgeries, as many as he likes: a line for each would fill the disk.
func TestAFloodOfForgeriesIsTwoLinesInTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := new(logbook)
		h := handlerOf(t, succeed, receiver.WithLogger(book.logger()))
		forge := func() {
			r := eventWith("1")
			r.Header.Set(walletcrew.HeaderSignature, nowhere)
			requireStatus(t, 401, send(h, r), "forged")
		}
		requireStatus(t, 204, send(h, eventWith("1")), "the secret is right")
		for range 1000 {
			forge()
		}
		lines := book.lines()
		require.Len(t, lines, 1, "the first of its reason is logged in full")
		assert.Contains(t, lines[0], "level=INFO msg=\"receiver: a delivery was refused\" status=401 reason=signature_mismatch bytes=27")
		r := eventWith("1")
		r.Header.Del(walletcrew.HeaderSignature)
		requireStatus(t, 401, send(h, r), "not signed")
		lines = book.lines()
		require.Len(t, lines, 1, "another reason is a first of its own")
		assert.Contains(t, lines[0], "reason=missing_signature")
		time.Sleep(9900 * time.Millisecond)
		assert.Empty(t, book.lines())
		time.Sleep(200 * time.Millisecond)
		lines = book.lines()
		require.Len(t, lines, 1, "the others are counted")
		assert.Contains(t, lines[0], "level=INFO msg=\"receiver: more deliveries were not handled, for reasons that were logged before\" signature_mismatch=999")
		assert.NotContains(t, lines[0], "missing_signature", "there was no more than one")
		time.Sleep(time.Minute)
		assert.Empty(t, book.lines(), "nothing is written while nothing comes")
		forge()
		assert.Len(t, book.lines(), 1, "the first of a new time is in full again")
		time.Sleep(time.Minute)
		assert.Empty(t, book.lines(), "and alone")
	})
}

// The sender of a captured delivery can cause these as often as he likes, too.
func TestWhatAnybodyCanCauseIsCounted(t *testing.T) {
	t.Parallel()
	for reason, test := range map[receiver.Reason]struct {
		level string
		opts  []receiver.HandlerOption
		body  string
		down  bool
	}{
		receiver.ReasonInFlight:           {"WARN", []receiver.HandlerOption{receiver.WithDeduper(held{})}, `{"__id":"1"}`, false},
		receiver.ReasonDeduperUnavailable: {"WARN", []receiver.HandlerOption{receiver.WithDeduper(brokenDeduper{})}, `{"__id":"1"}`, false},
		receiver.ReasonInvalidPayload:     {"WARN", nil, `no`, false},
		receiver.ReasonEventNameMismatch:  {"WARN", nil, `{"__eventName":"Pass:Created"}`, false},
		receiver.ReasonSecretsUnavailable: {"WARN", nil, `{}`, true},
	} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				book := new(logbook)
				source := verifier.Static(knownSecret)
				if test.down {
					source = verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { return nil, errors.New("down") })
				}
				h := receiver.NewHandler(verifierOf(t, source), succeed, append(test.opts, receiver.WithLogger(book.logger()))...)
				for range 100 {
					send(h, posted([]byte(test.body)))
				}
				lines := book.lines()
				require.Len(t, lines, 1)
				assert.Contains(t, lines[0], "level="+test.level)
				assert.Contains(t, lines[0], "reason="+string(reason))
				require.NoError(t, h.Shutdown(t.Context()))
				lines = book.lines()
				require.Len(t, lines, 1, "Shutdown writes what was counted")
				assert.Contains(t, lines[0], fmt.Sprintf("level=%s msg=\"receiver: more deliveries were not handled, for reasons that were logged before\" %s=99", test.level, reason))
			})
		})
	}
}

// A held deduper's keys are all another's.
type held struct{ receiver.Deduper }

func (held) Claim(context.Context, string, time.Duration) (receiver.Claim, error) {
	return receiver.Claim{State: receiver.Held}, nil
}

func TestEachFailureOfTheFunctionIsLogged(t *testing.T) {
	t.Parallel()
	book := new(logbook)
	h := handlerOf(t, func(context.Context, *walletcrew.Event) error { return errors.New("no stock") }, receiver.WithLogger(book.logger()))
	for i := range 10 {
		requireStatus(t, 500, send(h, eventWith(fmt.Sprint(i))), "it failed")
	}
	assert.Len(t, book.lines(), 10, "these are the operator's own")
}

func TestTheReasonOfEachOutcome(t *testing.T) {
	t.Parallel()
	static := verifier.Static(knownSecret)
	unknown := verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { return nil, nil })
	fails := func(err error) receiver.HandlerFunc {
		return func(context.Context, *walletcrew.Event) error { return err }
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	nothing := func(*http.Request) {}
	for want, test := range map[receiver.Reason]struct {
		source verifier.SecretSource
		fn     receiver.HandlerFunc
		change func(*http.Request)
	}{
		"":                                  {static, succeed, nothing},
		receiver.ReasonMethodNotAllowed:     {static, succeed, func(r *http.Request) { r.Method = http.MethodGet }},
		receiver.ReasonEncodingNotSupported: {static, succeed, header("Content-Encoding", "gzip")},
		receiver.ReasonTooLarge:             {static, succeed, func(r *http.Request) { r.ContentLength = 1 << 30 }},
		receiver.ReasonBodyUnreadable:       {static, succeed, func(r *http.Request) { r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)) }},
		receiver.ReasonMissingSignature:     {static, succeed, func(r *http.Request) { r.Header.Del(walletcrew.HeaderSignature) }},
		receiver.ReasonMalformedSignature:   {static, succeed, header(walletcrew.HeaderSignature, "x")},
		receiver.ReasonSignatureMismatch:    {static, succeed, header(walletcrew.HeaderSignature, nowhere)},
		receiver.ReasonUnknownTenant:        {unknown, succeed, nothing},
		receiver.ReasonDiscarded:            {static, fails(receiver.Discard(errors.New("x"))), nothing},
		receiver.ReasonTemporary:            {static, fails(receiver.Temporary(errors.New("x"))), nothing},
		receiver.ReasonFailed:               {static, fails(errors.New("x")), nothing},
		receiver.ReasonPanicked:             {static, func(context.Context, *walletcrew.Event) error { panic("x") }, nothing},
		receiver.ReasonTimedOut:             {static, func(ctx context.Context, _ *walletcrew.Event) error { <-ctx.Done(); return nil }, nothing},
		receiver.ReasonHungUp: {static, succeed, func(r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			*r = *r.WithContext(ctx)
		}},
	} {
		t.Run(string(want), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				seen := new(outcomes)
				h := receiver.NewHandler(verifierOf(t, test.source), test.fn, receiver.WithLogger(silentLog()), receiver.WithObserver(seen.observe))
				r := eventWith("1")
				test.change(r)
				send(h, r)
				synctest.Wait()
				assert.Equal(t, want, seen.only(t).Reason)
			})
		})
	}
}
