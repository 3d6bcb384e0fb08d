package walletcrew

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// A call is one call of a method of the client: its attempts, and what came of the last.
type call struct {
	client *Client
	ctx    context.Context
	method string
	url    string
	path   string

	attempts   int
	began      time.Time  // the attempt under way
	connecting connecting // likewise
	answer     Response   // to the last attempt, unless err says what is wrong
	err        error      // of the last attempt: *APIError, or what prevented an answer
	maybe      bool       // an attempt that failed may have been carried out
}

func (c *Client) newCall(ctx context.Context, method, path string) *call {
	// Not url.JoinPath, which would resolve what an id holds.
	path = "/api/" + url.PathEscape(c.tenantID) + "/" + path
	plain, _, _ := strings.Cut(path, "?")
	base := strings.TrimSuffix(c.base.String(), "/")
	return &call{client: c, ctx: ctx, method: method, url: base + path, path: strings.TrimSuffix(c.base.EscapedPath(), "/") + plain}
}

// run sends the request, again where that is safe, on top of go-retryablehttp: it brings the loop, we the policy. Its own would
// retry POST, wait as long as it is told and without jitter, and close idle connections after any failure (see guard).
func (a *call) run(req *retryablehttp.Request) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	loop := retryablehttp.Client{
		HTTPClient:     a.client.http,
		RetryMax:       a.client.maxRetries,
		RetryWaitMin:   a.client.minWait,
		RetryWaitMax:   a.client.maxWait,
		RequestLogHook: a.begins,
		CheckRetry:     a.finished,
		Backoff:        a.wait,
		ErrorHandler:   retryablehttp.PassthroughErrorHandler,
	}
	_, err := loop.Do(req) //nolint:bodyclose // finished has read and closed it
	switch ctxErr := a.ctx.Err(); {
	case ctxErr == nil || err == nil:
		return a.err
	case a.err == nil || errors.Is(a.err, ctxErr):
		return ctxErr
	default: // it ended during a wait
		return fmt.Errorf("%w; the last attempt: %w", ctxErr, a.err)
	}
}

// begins is called before each attempt.
func (a *call) begins(retryablehttp.Logger, *http.Request, int) {
	a.began = time.Now()
	a.connecting.reset()
}

// finished is called after each attempt: it takes the answer in and says whether to try again.
func (a *call) finished(ctx context.Context, resp *http.Response, err error) (bool, error) {
	a.attempts++
	redirectRefused := resp != nil && err != nil // by the user's policy; the body is closed
	if err == nil {
		a.answer, a.err = a.read(resp)
	} else {
		a.err = a.explain(withoutURL(err))
	}
	a.logAttempt(resp)
	if a.err == nil {
		return false, nil
	}
	safe := a.certainlyNotDone(resp)
	a.maybe = a.maybe || !safe && !readOnly(a.method)
	if !safe && timedOut(a.err) {
		a.client.transport.timedOut.Store(true)
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return !redirectRefused && a.transient(resp) && (safe || idempotent(a.method)) && a.bearable(), nil
}

// timedOut reports whether time ran out: of the attempt, of the call, or of one of the transport's own limits.
func timedOut(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// withoutURL takes off what net/http puts before an error, since ours says method and path itself.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func (a *call) logAttempt(resp *http.Response) {
	if !a.client.logger().Enabled(a.ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", a.method), slog.String("path", a.client.key.hide(a.path)), slog.Int("attempt", a.attempts),
		slog.Duration("duration", time.Since(a.began)),
	}
	if resp != nil {
		attrs = append(attrs, slog.Int("status", resp.StatusCode))
	}
	if _, ok := errors.AsType[*APIError](a.err); !ok && a.err != nil {
		attrs = append(attrs, slog.String("error", a.client.key.hide(a.err.Error())))
	}
	a.client.logger().LogAttrs(a.ctx, slog.LevelDebug, "walletcrew: request", attrs...)
}

// failed completes the error of the call.
func (a *call) failed(err error) error {
	if api, ok := err.(*APIError); ok { //nolint:errorlint // only where it is the error itself, not where a context's wraps it
		api.outcomeUnknown = a.maybe
		return api
	}
	hide := a.client.key.hide
	return &RequestError{Method: a.method, URL: hide(a.url), Attempts: a.attempts, Err: a.client.key.hideError(err), path: hide(a.path), outcomeUnknown: a.maybe}
}
