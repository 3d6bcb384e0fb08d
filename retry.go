package walletcrew

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// transient reports whether the failure is of a kind that passes.
func (a *call) transient(resp *http.Response) bool {
	if api, ok := errors.AsType[*APIError](a.err); ok {
		return passing(api.StatusCode)
	}
	if r, ok := errors.AsType[*refusal](a.err); ok {
		return r.passes
	}
	if errors.Is(a.err, errAnswerTooLarge) {
		return false
	}
	if resp != nil {
		return true // the connection broke within the body
	}
	// Not a wrong certificate, or a scheme that isn't one: the policy looks for them in a *url.Error.
	again, _ := retryablehttp.DefaultRetryPolicy(context.Background(), nil, &url.Error{Err: a.err})
	return again
}

func passing(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return status >= 520 && status <= 524 // Cloudflare's
}

// retryAfter is how long the server asks to wait, or 0.
func (a *call) retryAfter() time.Duration {
	if api, ok := errors.AsType[*APIError](a.err); ok {
		return api.RetryAfter
	}
	if r, ok := errors.AsType[*refusal](a.err); ok {
		return r.retryAfter
	}
	return 0
}

// bearable reports whether the server asks for no longer wait than the client may wait.
func (a *call) bearable() bool { return a.retryAfter() <= a.client.maxWait }

func readOnly(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// idempotent: to send it twice does what sending it once does. PATCH here sets members to values.
func idempotent(method string) bool {
	return readOnly(method) || method == http.MethodPatch || method == http.MethodDelete
}

// certainlyNotDone reports whether the server certainly didn't act on the request: it refused it, or never got it.
func (a *call) certainlyNotDone(resp *http.Response) bool {
	if resp != nil {
		return refused(resp.StatusCode)
	}
	return a.notSent(a.err)
}

// refused reports whether the status means that the request wasn't carried out (RFC 9110 and its like). Others say nothing about that: 302
// and 303 are how a page answers after an act, 406 is about the answer, and 408 and 499 come from proxies that no longer wait for the
// server.
func refused(status int) bool {
	switch {
	case status == http.StatusTemporaryRedirect, status == http.StatusPermanentRedirect: // to be sent again, elsewhere
		return true
	case status >= 400 && status <= 405, status == 407, status >= 409 && status <= 417, status >= 421 && status <= 426:
		return true
	}
	return status == 428 || status == 429 || status == 431 || status == 451
}

// wait is the time before the next attempt: full jitter, so that replicas that failed together don't come back together.
func (a *call) wait(minWait, maxWait time.Duration, retry int, _ *http.Response) time.Duration {
	ceiling := minWait << min(retry, 30)
	if ceiling > maxWait || ceiling < minWait {
		ceiling = maxWait
	}
	wait := randomBelow(ceiling)
	if after := a.retryAfter(); after > 0 {
		wait = after + randomBelow(min(minWait, maxWait-after))
	}
	a.client.logger().LogAttrs(a.ctx, slog.LevelDebug, "walletcrew: waiting before a retry",
		slog.String("method", a.method), slog.String("path", a.client.key.hide(a.path)), slog.Int("attempt", a.attempts), slog.Duration("wait", wait))
	return wait
}

func randomBelow(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) //nolint:gosec // jitter, not a secret
}
