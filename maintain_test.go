package walletcrew_test

import (
	"bytes"
	"context"
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
)

// A report is one call of the function that Maintain was given.
type report struct {
	after  time.Duration // since the start
	result *walletcrew.EnsureResult
	err    error
}

// maintain runs Maintain in a bubble for that long, and returns what it reported.
func maintain(t *testing.T, p *memoryPlatform, spec walletcrew.WebhookSpec, long time.Duration, on func(report)) []report {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var reports []report
	p.client(t).Webhooks.Maintain(ctx, spec, func(result *walletcrew.EnsureResult, err error) {
		assert.NotEqual(t, result == nil, err == nil, "one of the two")
		reports = append(reports, report{time.Since(start), result, err})
		if on != nil {
			on(reports[len(reports)-1])
		}
	})
	assert.Equal(t, long, time.Since(start), "it ends with its context, and not before")
	return reports
}

// away answers every request like this until the time has come.
func away(t *testing.T, until time.Duration, status int, headers ...string) func(*http.Request) (*http.Response, error) {
	t.Helper()
	start := time.Now()
	return func(r *http.Request) (*http.Response, error) {
		if time.Since(start) < until {
			return respond(r, status, `{"status":0}`, append(headers, "Content-Type", "application/problem+json")...), nil
		}
		return nil, nil
	}
}

func TestMaintainTriesUntilItSucceedsAndThenLooksEveryHour(t *testing.T) {
	t.Parallel()
	for _, status := range []int{503, 401, 403, 404, 429} { // a key without its scope is mended while the service runs
		synctest.Test(t, func(t *testing.T) {
			p := &memoryPlatform{fail: away(t, 9*time.Hour, status)}
			reports := maintain(t, p, specOf("Pass:*"), 24*time.Hour, nil)
			wait, again := time.Duration(0), time.Second
			before, created := time.Duration(0), false
			for i, r := range reports {
				took := r.after - before
				assert.GreaterOrEqual(t, took, wait, "try %d", i)
				assert.LessOrEqual(t, took, wait+wait/2, "try %d", i)
				before = r.after
				if r.err != nil {
					require.Less(t, r.after, 9*time.Hour)
					wait, again = again, min(2*again, 5*time.Minute)
					continue
				}
				want := walletcrew.EnsureUnchanged
				if !created {
					want, created = walletcrew.EnsureCreated, true
					assert.LessOrEqual(t, r.after, 9*time.Hour+450*time.Second, "it is there within minutes of the outage's end")
				}
				assert.Equal(t, want, r.result.Action)
				wait = time.Hour
			}
			assert.True(t, created)
			assert.Greater(t, len(reports), 9*8+10, "no silence")
			assert.Less(t, len(reports), 9*12+9+15+1, "and no flood")
			assert.Len(t, p.writes(), 1)
		})
	}
}

func TestMaintainStartsWithShortWaitsAfterEachSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &memoryPlatform{fail: away(t, time.Hour, 503)}
		var failedAgain time.Duration
		reports := maintain(t, p, specOf("*"), 4*time.Hour, func(r report) {
			switch {
			case r.err == nil && failedAgain == 0:
				p.fail = away(t, 90*time.Minute, 503)
			case r.err != nil && r.after > time.Hour+8*time.Minute && failedAgain == 0:
				failedAgain = r.after
			}
		})
		require.NotZero(t, failedAgain)
		for i, r := range reports {
			if r.after == failedAgain {
				assert.LessOrEqual(t, reports[i+1].after-r.after, 1500*time.Millisecond)
			}
		}
	})
}

func TestMaintainBringsBackWhatSomebodyTookAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		enabled *bool
		change  func(hooks []map[string]any) []map[string]any
		want    walletcrew.EnsureAction
		then    bool // enabled
	}{
		"deleted":                     {nil, func([]map[string]any) []map[string]any { return nil }, walletcrew.EnsureCreated, true},
		"other events":                {nil, set("events", []string{"Customer:*"}), walletcrew.EnsureUpdated, true},
		"switched off":                {nil, set("enabled", false), walletcrew.EnsureUnchanged, false},
		"switched off, and not to be": {new(true), set("enabled", false), walletcrew.EnsureUpdated, true},
		"another description":         {nil, set("description", "mine"), walletcrew.EnsureUnchanged, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &memoryPlatform{}
				spec := specOf("Pass:*")
				spec.Enabled = c.enabled
				reports := maintain(t, p, spec, 100*time.Minute, func(r report) {
					require.NoError(t, r.err)
					if r.after == 0 {
						p.change(c.change)
					}
				})
				require.Len(t, reports, 2, "the second within 90 minutes")
				assert.Equal(t, c.want, reports[1].result.Action)
				assert.Equal(t, names("Pass:*"), reports[1].result.Webhook.Events)
				assert.Equal(t, c.then, reports[1].result.Webhook.Enabled)
			})
		})
	}
}

func set(member string, value any) func(hooks []map[string]any) []map[string]any {
	return func(hooks []map[string]any) []map[string]any {
		hooks[0][member] = value
		return hooks
	}
}

func TestMaintainKeepsToRetryAfter(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]time.Duration{"600": 10 * time.Minute, "0": time.Second, "99999999999": time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			p := &memoryPlatform{fail: away(t, time.Millisecond, 503, "Retry-After", asked)}
			reports := maintain(t, p, specOf("*"), 2*time.Hour, nil)
			require.GreaterOrEqual(t, len(reports), 2)
			assert.GreaterOrEqual(t, reports[1].after, want, asked)
			assert.LessOrEqual(t, reports[1].after, want+want/2, asked)
		})
	}
}

func TestMaintainCutsOffACallThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := true
		p := &memoryPlatform{fail: func(r *http.Request) (*http.Response, error) {
			if hang {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return nil, nil
		}}
		reports := maintain(t, p, specOf("*"), 30*time.Minute, func(report) { hang = false })
		require.Len(t, reports, 2)
		require.ErrorIs(t, reports[0].err, context.DeadlineExceeded)
		assert.Equal(t, 5*time.Minute, reports[0].after)
		assert.Equal(t, walletcrew.EnsureCreated, reports[1].result.Action)
	})
}

func TestMaintainEndsWithItsContextWhateverItIsDoing(t *testing.T) {
	t.Parallel()
	hangs := func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }
	for name, c := range map[string]struct {
		fail    func(*http.Request) (*http.Response, error)
		end     time.Duration
		reports int
	}{
		"it had ended before": {hangs, 0, 0},
		"in a call":           {hangs, time.Second, 0},
		"in the wait after a success": {
			func(*http.Request) (*http.Response, error) { return nil, nil }, time.Minute, 1},
		"in the wait after a failure": {
			func(r *http.Request) (*http.Response, error) { return respond(r, 503, ""), nil }, 500 * time.Millisecond, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				assert.Len(t, maintain(t, &memoryPlatform{fail: c.fail}, specOf("*"), c.end, nil), c.reports, "that it was ended is no failure")
			})
		})
	}
}

func TestMaintainOfASpecThatCannotBeMeantReportsOnceAndReturns(t *testing.T) {
	t.Parallel()
	p := &memoryPlatform{}
	for name, spec := range map[string]walletcrew.WebhookSpec{
		"no events": specOf(), "white space": specOf("Pass:Installed "), "no endpoint": {Events: names("*")}, "http": {Endpoint: "http://shop.example", Events: names("*")},
	} {
		reports := 0
		p.client(t).Webhooks.Maintain(t.Context(), spec, func(result *walletcrew.EnsureResult, err error) {
			reports++
			assert.Nil(t, result, name)
			invalid := &walletcrew.ValidationError{}
			assert.ErrorAs(t, err, &invalid, name)
		})
		assert.Equal(t, 1, reports, name)
	}
	var none context.Context
	p.client(t).Webhooks.Maintain(none, specOf("*"), func(_ *walletcrew.EnsureResult, err error) { assert.EqualError(t, err, "walletcrew: ctx is nil") })
	assert.Empty(t, p.writes())
}

// A service whose webhook nobody looks after must not look healthy.
func TestMaintainWithoutAFunctionLogs(t *testing.T) { //nolint:paralleltest // one case has slog's default
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	for name, isDefault := range map[string]bool{"WithLogger": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &memoryPlatform{fail: away(t, 500*time.Millisecond, 503)}
				var log bytes.Buffer
				logger := slog.New(slog.NewTextHandler(&log, nil))
				var options []walletcrew.Option
				if isDefault {
					slog.SetDefault(logger)
				} else {
					options = append(options, walletcrew.WithLogger(logger))
				}
				client := p.client(t, options...)
				ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
				defer cancel()
				client.Webhooks.Maintain(ctx, specOf("Pass:*"), nil)
				lines := strings.Split(strings.TrimSpace(log.String()), "\n")
				require.Len(t, lines, 2, "%s", &log)
				assert.Contains(t, lines[0], "level=WARN")
				assert.Contains(t, lines[0], "503")
				assert.Contains(t, lines[1], "level=INFO")
				assert.Contains(t, lines[1], "action=created")
				assert.Contains(t, lines[1], "its secret is new", "a receiver with Static must get it")
				assert.NotContains(t, lines[1], "duplicates", "there are none")
				assert.NotContains(t, log.String(), "secret-1")
				assert.NotContains(t, log.String(), mockedKey)
			})
		})
	}
}

func TestMaintainGoesByTheSpecAsItWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &memoryPlatform{}
		spec := specOf("Pass:*")
		spec.Enabled = new(true)
		maintain(t, p, spec, 5*time.Hour, func(report) { spec.Events[0], *spec.Enabled = "Customer:*", false })
		assert.Len(t, p.writes(), 1)
	})
}

// The process ends with the stack printed, as after a panic on any goroutine: nothing is hidden.
func TestMaintainLetsAPanicOfItsFunctionThrough(t *testing.T) {
	t.Parallel()
	assert.PanicsWithValue(t, "boom", func() {
		(&memoryPlatform{}).client(t).Webhooks.Maintain(t.Context(), specOf("*"), func(*walletcrew.EnsureResult, error) { panic("boom") })
	})
}

// Replicas start together, and fail together when the platform is away.
func TestMaintainsReplicasDoNotAskTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &memoryPlatform{fail: away(t, time.Minute, 503)}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
		defer cancel()
		const replicas = 50
		start, looks := time.Now(), make([][]time.Duration, replicas)
		for i := range replicas {
			client := p.client(t)
			go client.Webhooks.Maintain(ctx, specOf("*"), func(_ *walletcrew.EnsureResult, err error) {
				if err == nil {
					looks[i] = append(looks[i], time.Since(start).Truncate(time.Second))
				}
			})
		}
		<-ctx.Done()
		synctest.Wait()
		seconds := map[time.Duration]int{}
		for i := range replicas {
			require.GreaterOrEqual(t, len(looks[i]), 2)
			seconds[looks[i][1]]++
		}
		assert.Greater(t, len(seconds), replicas/2, fmt.Sprint(seconds))
		assert.Len(t, p.writes(), 1, "and they made one webhook")
	})
}
