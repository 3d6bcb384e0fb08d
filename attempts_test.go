package walletcrew_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

func TestACancelledContextEndsTheCallAtOnce(t *testing.T) {
	t.Parallel()
	t.Run("before the first attempt", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		transport, attempts := inTurn(always(200, hookJSON))
		err := clientOn(t, transport).Do(ctx, "POST", "things", nil, nil)
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "nothing was sent")
		assert.Zero(t, attempts.Load())
		assert.Zero(t, attemptsOf(t, err))
	})
	t.Run("during an attempt", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			start := time.Now()
			transport, attempts := inTurn(func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				return nil, req.Context().Err()
			})
			err := clientOn(t, transport).Do(ctx, "POST", "things", nil, nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "it was under way")
			assert.EqualValues(t, 1, attempts.Load())
			assert.Equal(t, time.Second, time.Since(start))
			assert.Equal(t, 1, strings.Count(err.Error(), "deadline"), "the cause is said once: %s", err)
		})
	})
	for name, failure := range map[string]roundTrip{"an answer": always(503, `{"title":"Down"}`, "Retry-After", "10"), "no answer": failing(errReset)} {
		t.Run("during the wait after "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				transport, attempts := inTurn(func(req *http.Request) (*http.Response, error) {
					time.AfterFunc(time.Millisecond, cancel)
					return failure(req)
				})
				start := time.Now()
				client := clientOn(t, transport, walletcrew.WithRetries(3, 1000*time.Hour, 1000*time.Hour))
				_, err := client.Webhooks.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Enabled: new(true)})
				require.ErrorIs(t, err, context.Canceled)
				assert.Equal(t, time.Millisecond, time.Since(start))
				assert.EqualValues(t, 1, attempts.Load())
				require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
				var failed *walletcrew.RequestError
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, 1, failed.Attempts)
				if api, ok := errors.AsType[*walletcrew.APIError](err); ok {
					assert.Equal(t, "Down", api.Title, "the last answer is in the error")
					require.ErrorIs(t, err, walletcrew.ErrServer)
				} else {
					require.ErrorIs(t, err, syscall.ECONNRESET, "what went wrong before is in the error")
				}
				assert.Equal(t, 1, strings.Count(err.Error(), "walletcrew:"), "the package is named once: %s", err)
			})
		})
	}
	t.Run("just when a failure is answered", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(context.Background())
		transport, attempts := inTurn(func(req *http.Request) (*http.Response, error) {
			cancel()
			return respond(req, 503, `{"title":"Down"}`), nil
		})
		var out bytes.Buffer
		client := clientOn(t, transport, walletcrew.WithLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		_, err := client.Webhooks.Get(ctx, "Ab3xY")
		require.ErrorIs(t, err, context.Canceled, "the caller sees that it was ended")
		require.ErrorIs(t, err, walletcrew.ErrServer, "and what came before")
		assert.EqualValues(t, 1, attempts.Load())
		assert.NotContains(t, out.String(), "waiting", "nobody waits for a retry that won't be")
	})
	t.Run("while the answer's body is read", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(context.Background())
		transport, attempts := inTurn(func(req *http.Request) (*http.Response, error) {
			resp := respond(req, 200, "")
			resp.Body = io.NopCloser(readFunc(func([]byte) (int, error) { cancel(); return 0, ctx.Err() }))
			return resp, nil
		})
		_, err := clientOn(t, transport).Webhooks.Get(ctx, "Ab3xY")
		require.ErrorIs(t, err, context.Canceled)
		assert.EqualValues(t, 1, attempts.Load())
	})
	t.Run("but an answer that came counts", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(context.Background())
		client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
			cancel()
			return respond(req, 200, hookJSON), nil
		}))
		got, err := client.Webhooks.Get(ctx, "Ab3xY")
		require.NoError(t, err)
		assert.Equal(t, theHook(), got)
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestEachAttemptAndEachWaitIsLoggedAtDebug(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func(next roundTrip) roundTrip {
			return func(req *http.Request) (*http.Response, error) {
				time.Sleep(40 * time.Millisecond)
				return next(req)
			}
		}
		transport, _ := inTurn(slow(always(503, "", "Retry-After", "2")), slow(failing(errReset)), slow(always(200, hookJSON)))
		var out bytes.Buffer
		client := clientOn(t, transport, walletcrew.WithRetries(3, 0, time.Minute),
			walletcrew.WithLogger(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		_, err := client.Webhooks.Get(context.Background(), "Ab3xY")
		require.NoError(t, err)

		type line struct {
			Level, Msg, Method, Path, Error string
			Status, Attempt                 int
			Duration, Wait                  *time.Duration
		}
		var lines []line
		for decoder := json.NewDecoder(&out); ; {
			var l line
			if err := decoder.Decode(&l); errors.Is(err, io.EOF) {
				break
			} else {
				require.NoError(t, err)
			}
			lines = append(lines, l)
		}
		const request, waiting, path = "walletcrew: request", "walletcrew: waiting before a retry", "/api/acme/webhooks/Ab3xY"
		took := new(40 * time.Millisecond)
		assert.Equal(t, []line{
			{Level: "DEBUG", Msg: request, Method: "GET", Path: path, Status: 503, Attempt: 1, Duration: took},
			{Level: "DEBUG", Msg: waiting, Method: "GET", Path: path, Attempt: 1, Wait: new(2 * time.Second)},
			{Level: "DEBUG", Msg: request, Method: "GET", Path: path, Attempt: 2, Duration: took, Error: "read tcp: connection reset by peer"},
			{Level: "DEBUG", Msg: waiting, Method: "GET", Path: path, Attempt: 2, Wait: new(time.Duration(0))},
			{Level: "DEBUG", Msg: request, Method: "GET", Path: path, Status: 200, Attempt: 3, Duration: took},
		}, lines)
	})
}

func TestNothingIsLoggedAtInfo(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]roundTrip{"success": always(200, hookJSON), "retries": always(503, ""), "failure": failing(errReset), "refusal": always(401, "")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, _ := logged(t, slog.LevelInfo, mockedKey, answer)
			assert.Empty(t, text)
		})
	}
}
