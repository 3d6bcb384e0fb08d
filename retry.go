package walletcrew

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// transient reports whether the failure is of a kind that passes.
func (a *call) transient(resp *http.Response) bool {
	if api, ok := errors.AsType[*APIError](a.err); ok {
		switch api.StatusCode {
		case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return api.StatusCode >= 520 && api.StatusCode <= 524 // Cloudflare's
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

// bearable reports whether the server asks for no longer wait than the client may wait.
func (a *call) bearable() bool {
	api, ok := errors.AsType[*APIError](a.err)
	return !ok || api.RetryAfter <= a.client.maxWait
}

func readOnly(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// idempotent: to send it twice does what sending it once does. PATCH here sets members to values.
func idempotent(method string) bool {
	return readOnly(method) || method == http.MethodPatch || method == http.MethodDelete
}

// certainlyNotDone reports whether the server certainly didn't act on the request: it refused it, or never got it.
func certainlyNotDone(resp *http.Response, err error) bool {
	if resp != nil { // "303 See Other" is what follows an act
		return resp.StatusCode >= 300 && resp.StatusCode < 500 && resp.StatusCode != http.StatusSeeOther
	}
	// Only what is known from the error itself: a transport of the user's may not tell httptrace anything.
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "dial" || op.Op == "proxyconnect" || op.Op == "socks connect")
}

// wait is the time before the next attempt: full jitter, so that replicas that failed together don't come back together.
func (a *call) wait(minWait, maxWait time.Duration, retry int, _ *http.Response) time.Duration {
	ceiling := minWait << min(retry, 30)
	if ceiling > maxWait || ceiling < minWait {
		ceiling = maxWait
	}
	wait := randomBelow(ceiling)
	if api, ok := errors.AsType[*APIError](a.err); ok && api.RetryAfter > 0 {
		wait = api.RetryAfter + randomBelow(min(minWait, maxWait-api.RetryAfter))
	}
	a.client.log.LogAttrs(a.ctx, slog.LevelDebug, "walletcrew: waiting before a retry",
		slog.String("method", a.method), slog.String("path", a.client.key.hide(a.path)), slog.Int("attempt", a.attempts), slog.Duration("wait", wait))
	return wait
}

func randomBelow(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) //nolint:gosec // jitter, not a secret
}
