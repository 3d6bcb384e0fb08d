package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// --- what an outcome and the log say of a delivery ---

func TestAnOutcomeSaysWhoseDeliveryItWas(t *testing.T) {
	t.Parallel()
	forged := func(r *http.Request) { r.Header.Set(walletcrew.HeaderSignature, nowhere) }
	nothing := func(*http.Request) {}
	panics := verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { panic("no database") })
	for name, test := range map[string]struct {
		named  walletcrew.EventName
		source verifier.SecretSource
		change func(*http.Request)
		status int
		label  walletcrew.EventName
	}{
		"handled":                         {"Pass:Installed", verifier.Static(knownSecret), nothing, 204, "Pass:Installed"},
		"handled, in another spelling":    {"pass.installed", verifier.Static(knownSecret), nothing, 204, "Pass:Installed"},
		"handled, of an unknown name":     {"Wallet:Renamed", verifier.Static(knownSecret), nothing, 204, "other"},
		"handled, without a name":         {"", verifier.Static(knownSecret), nothing, 204, "other"},
		"refused":                         {"Pass:Installed", verifier.Static(knownSecret), forged, 401, "Pass:Installed"},
		"refused, in another spelling":    {"PASS.installed", verifier.Static(knownSecret), forged, 401, "Pass:Installed"},
		"refused, of an unknown name":     {"Wallet:Renamed", verifier.Static(knownSecret), forged, 401, "other"},
		"refused, with a pattern as name": {"Pass:*", verifier.Static(knownSecret), forged, 401, "other"},
		"refused before its body":         {"Pass:Updated", verifier.Static(knownSecret), func(r *http.Request) { r.Method = "GET" }, 405, "Pass:Updated"},
		"the source panics":               {"Pass:Updated", panics, nothing, 500, "Pass:Updated"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := new(outcomes)
			h := receiver.NewHandler(verifierOf(t, test.source), succeed, receiver.WithLogger(silentLog()), receiver.WithObserver(seen.observe))
			r := named(test.named, "1")
			test.change(r)
			r.RemoteAddr = "198.51.100.7:4711"
			requireStatus(t, test.status, send(h, r), "")
			out := seen.only(t)
			assert.Equal(t, test.label, out.Label)
			assert.Equal(t, test.named, out.ClaimedName)
			assert.Equal(t, "acme", out.ClaimedTenant)
			assert.Equal(t, "198.51.100.7:4711", out.RemoteAddr)
		})
	}
	seen := new(outcomes)
	h := handlerOf(t, succeed, receiver.WithObserver(seen.observe))
	require.NoError(t, h.Shutdown(t.Context()))
	requireStatus(t, 503, send(h, eventWith("1")), "shutting down")
	assert.Equal(t, "acme", seen.only(t).ClaimedTenant)
	assert.Equal(t, walletcrew.EventPassInstalled, seen.only(t).Label)
}

// A label may take few values, whatever a sender writes.
func TestInventedNamesAreOneLabel(t *testing.T) {
	t.Parallel()
	labels := map[walletcrew.EventName]bool{}
	h := handlerOf(t, succeed, receiver.WithObserver(func(_ context.Context, out receiver.Outcome) { labels[out.Label] = true }))
	names := 10_000
	if raceDetector {
		names = 1_000
	}
	for i := range names {
		r := named(walletcrew.EventName(fmt.Sprint("Pass:", i)), "1")
		if i%2 == 0 {
			r.Header.Del(walletcrew.HeaderSignature)
		}
		h.ServeHTTP(&statusOnly{header: http.Header{}}, r)
	}
	assert.Equal(t, map[walletcrew.EventName]bool{"other": true}, labels)
}

// A slowBody takes its time.
type slowBody struct {
	*strings.Reader
	takes time.Duration
}

func (b *slowBody) Read(p []byte) (int, error) {
	time.Sleep(b.takes)
	b.takes = 0
	return b.Reader.Read(p)
}
func (*slowBody) Close() error { return nil }

// A laggard deduper takes one second for a claim, and three to be told.
type laggard struct{ receiver.Deduper }

func (l laggard) Claim(ctx context.Context, key string, lease time.Duration) (receiver.Claim, error) {
	time.Sleep(time.Second)
	return l.Deduper.Claim(ctx, key, lease)
}

func (l laggard) Complete(ctx context.Context, key, token string) error {
	time.Sleep(3 * time.Second)
	return l.Deduper.Complete(ctx, key, token)
}

func TestAnOutcomeSaysHowLongEachStepTook(t *testing.T) {
	t.Parallel()
	const s = time.Second
	source := verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
		time.Sleep(4 * s)
		return []walletcrew.Secret{knownSecret}, nil
	})
	slow := func(change func(*http.Request)) *http.Request {
		r := posted([]byte(`{"__id":"1"}`))
		r.Body = &slowBody{strings.NewReader(`{"__id":"1"}`), 2 * s}
		change(r)
		return r
	}
	type took struct{ Read, Verify, Dedupe, Function, Total time.Duration }
	for name, test := range map[string]struct {
		r      *http.Request
		takes  time.Duration // the function
		status int
		want   took
	}{
		"handled":                {slow(func(*http.Request) {}), 5 * s, 204, took{2 * s, 4 * s, 4 * s, 5 * s, 15 * s}},
		"timed out":              {slow(func(*http.Request) {}), time.Hour, 503, took{2 * s, 4 * s, s, 18 * s, 25 * s}},
		"without an id":          {slow(func(r *http.Request) { *r = *posted([]byte("{}")) }), 5 * s, 204, took{0, 4 * s, 0, 5 * s, 9 * s}},
		"forged":                 {slow(func(r *http.Request) { r.Header.Set(walletcrew.HeaderSignature, nowhere) }), 0, 401, took{2 * s, 4 * s, 0, 0, 6 * s}},
		"refused by its headers": {slow(func(r *http.Request) { r.Header.Del(walletcrew.HeaderSignature) }), 0, 401, took{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				seen := new(outcomes)
				h := receiver.NewHandler(verifierOf(t, source), func(context.Context, *walletcrew.Event) error { time.Sleep(test.takes); return nil },
					receiver.WithLogger(silentLog()), receiver.WithObserver(seen.observe), receiver.WithDeduper(laggard{receiver.NewMemoryDeduper(0, 0)}))
				requireStatus(t, test.status, send(h, test.r), "")
				out := seen.only(t)
				assert.Equal(t, test.want, took{out.Read, out.Verify, out.Dedupe, out.Function, out.Total})
				time.Sleep(2 * time.Hour) // until a late function has ended
			})
		})
	}
}

func TestTheTimeADuplicateWaitedIsTheDedupers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seen := new(outcomes)
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error { time.Sleep(7 * time.Second); return nil },
			receiver.WithObserver(seen.observe), receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))
		go send(h, eventWith("1"))
		synctest.Wait()
		requireStatus(t, 204, send(h, eventWith("1")), "")
		out := seen.all()[1]
		assert.Equal(t, receiver.Duplicate, out.Result)
		assert.Equal(t, 7*time.Second, out.Dedupe)
		assert.Equal(t, 7*time.Second, out.Total)
		assert.Zero(t, out.Function)
	})
}

func TestAFullLineOfTheLogSaysWhoseDeliveryItWas(t *testing.T) {
	t.Parallel()
	fails := func(err error) receiver.HandlerFunc {
		return func(context.Context, *walletcrew.Event) error { return err }
	}
	down := verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { return nil, errors.New("down") })
	static := verifier.Static(knownSecret)
	claimed := []string{" claimed_event=Pass:Installed", " claimed_tenant=acme"}
	of := []string{" event=Pass:Installed", " id=1", " tenant=acme"}
	for name, test := range map[string]struct {
		source verifier.SecretSource
		fn     receiver.HandlerFunc
		change func(*http.Request)
		want   []string
	}{
		"forged":          {static, succeed, func(r *http.Request) { r.Header.Set(walletcrew.HeaderSignature, nowhere) }, claimed},
		"unsigned":        {static, succeed, func(r *http.Request) { r.Header.Del(walletcrew.HeaderSignature) }, claimed},
		"no secrets":      {down, succeed, func(*http.Request) {}, claimed},
		"failed":          {static, fails(errors.New("x")), func(*http.Request) {}, of},
		"discarded":       {static, fails(receiver.Discard(errors.New("x"))), func(*http.Request) {}, of},
		"ignored":         {static, fails(receiver.ErrIgnored), func(*http.Request) {}, of},
		"panicked":        {static, func(context.Context, *walletcrew.Event) error { panic("x") }, func(*http.Request) {}, of},
		"other spelling":  {static, fails(errors.New("x")), func(r *http.Request) { r.Header.Set(walletcrew.HeaderEventName, "pass.installed") }, append(of, " claimed_event=pass.installed")},
		"source panicked": {verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { panic("x") }), succeed, func(*http.Request) {}, claimed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book := new(logbook)
			h := receiver.NewHandler(verifierOf(t, test.source), test.fn, receiver.WithLogger(book.logger()))
			r := eventWith("1")
			test.change(r)
			r.RemoteAddr = "198.51.100.7:4711"
			send(h, r)
			lines := book.lines()
			require.Len(t, lines, 1)
			for _, part := range append(test.want, " remote=198.51.100.7:4711") {
				assert.Contains(t, lines[0], part)
			}
		})
	}
}

func TestTheLogSaysHowLongEachStepTook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := new(logbook)
		h := handlerOf(t, func(context.Context, *walletcrew.Event) error {
			time.Sleep(5 * time.Second)
			return errors.New("no stock")
		},
			receiver.WithLogger(book.logger()), receiver.WithDeduper(laggard{receiver.NewMemoryDeduper(0, 0)}))
		requireStatus(t, 500, send(h, eventWith("1")), "")
		assert.Contains(t, book.String(), " dedupe=1s function=5s total=6s")
	})
}

// What a sender writes goes to an operator's terminal.
func TestWhatASenderClaimsCannotForgeALineOrReachATerminal(t *testing.T) {
	t.Parallel()
	raw := &rawLog{}
	h := handlerOf(t, succeed, receiver.WithLogger(slog.New(raw)))
	r := eventWith("1")
	r.Header[walletcrew.HeaderEventName] = []string{"Pass:\x1b[2J\nlevel=INFO msg=forged\u202e\u0085\u009b" + strings.Repeat("é", 10_000)}
	r.Header[walletcrew.HeaderTenantID] = []string{"\xff\xfe\x7f\t\r" + strings.Repeat("t", 10_000)}
	r.RemoteAddr = "\x07" + strings.Repeat("9", 10_000)
	r.Header.Del(walletcrew.HeaderSignature)
	requireStatus(t, 401, send(h, r), "")
	require.Len(t, raw.values, 3)
	for key, value := range raw.values {
		assert.LessOrEqual(t, len(value), 250, key)
		assert.True(t, strings.HasSuffix(value, "..."), key)
		for _, c := range value {
			assert.False(t, c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x202e, "%s has %U", key, c)
		}
	}
}

// A rawLog keeps what claims say, as a handler gets it.
type rawLog struct {
	slog.Handler
	values map[string]string
}

func (*rawLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *rawLog) Handle(_ context.Context, r slog.Record) error {
	l.values = map[string]string{}
	r.Attrs(func(a slog.Attr) bool {
		if strings.HasPrefix(a.Key, "claimed_") || a.Key == "remote" {
			l.values[a.Key] = a.Value.String()
		}
		return true
	})
	return nil
}

// --- a secret that is wrong ---

func TestSignaturesThatKeepFailingAreAHintOnceAMinuteUntilOneHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := new(logbook)
		h := handlerOf(t, succeed, receiver.WithLogger(book.logger()))
		fail := func(times int) (hints []string) {
			for range times {
				r := eventWith("1")
				r.Header.Set(walletcrew.HeaderSignature, nowhere)
				requireStatus(t, 401, send(h, r), "")
			}
			for _, line := range book.lines() {
				if strings.Contains(line, "signatures keep failing") {
					hints = append(hints, line)
				}
			}
			return hints
		}
		unsigned := func() {
			r := eventWith("1")
			r.Header.Del(walletcrew.HeaderSignature)
			requireStatus(t, 401, send(h, r), "")
		}
		for range 100 {
			unsigned()
		}
		assert.Empty(t, fail(1), "one may be a stranger's, and what isn't signed always is")
		hints := fail(1000)
		require.Len(t, hints, 1)
		assert.Contains(t, hints[0], "level=WARN")
		for _, part := range []string{"none has held since the start", "compare the secret", "signatureSecret", "proxy", "verifier.Diagnose"} {
			assert.Contains(t, hints[0], part)
		}
		time.Sleep(59 * time.Second)
		assert.Empty(t, fail(10))
		time.Sleep(time.Second)
		assert.Len(t, fail(10), 1, "it is still so")
		time.Sleep(time.Hour)
		requireStatus(t, 400, send(h, posted([]byte(`no`))), "the signature of this holds, whatever else is wrong with it")
		assert.Empty(t, fail(1000), "the secret is right: this is an attack")
		time.Sleep(time.Hour)
		assert.Empty(t, fail(1000))
	})
}
