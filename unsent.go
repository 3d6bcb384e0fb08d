package walletcrew

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// A refusal is what ended an attempt before anything was sent to the API: a proxy didn't connect, an OAuth 2 server gave no token, or the
// server doesn't speak TLS. Its text says so, where net/http's may be no more than "Bad Gateway".
type refusal struct {
	text       string
	passes     bool          // is it of a kind that passes?
	retryAfter time.Duration // as in APIError
	cause      error
}

func (e *refusal) Error() string { return e.text }
func (e *refusal) Unwrap() error { return e.cause }

// explain returns a refusal for what it knows to be one, and err for the rest.
func (a *call) explain(err error) error {
	if _, ok := errors.AsType[*refusal](err); ok { // our own transport's
		return err
	}
	if r := noToken(err); r != nil {
		return r
	}
	if r := a.otherRequest(err); r != nil {
		return r
	}
	if noTLS(err) {
		return &refusal{text: err.Error() + " (check the scheme and the port of the base URL, or of the proxy's URL)", cause: err}
	}
	// All that net/http tells about a proxy's answer to CONNECT is its reason phrase.
	if status := statusNamed(err.Error()); status != 0 && a.connecting.failed() {
		return &refusal{text: "a proxy refused to connect to " + hostOf(a.url) + ": " + statusText(status), passes: passing(status), cause: err}
	}
	return err
}

// notSent reports whether the error says that the API got nothing. What it can't know is false: a transport of the user's may send a
// request without a trace, and return any error.
func (a *call) notSent(err error) bool {
	if _, ok := errors.AsType[*refusal](err); ok {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "dial" || op.Op == "proxyconnect" || op.Op == "socks connect") {
		return true
	}
	return a.connecting.failed()
}

// connecting is what net/http tells about an attempt while it is made. Nothing is sent before it has got a connection.
type connecting struct{ wanted, got atomic.Bool }

func (c *connecting) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { c.wanted.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { c.got.Store(true) },
	})
}

func (c *connecting) reset() {
	c.wanted.Store(false)
	c.got.Store(false)
}

// failed is false where there was no trace.
func (c *connecting) failed() bool { return c.wanted.Load() && !c.got.Load() }

// refusedByProxy is for http.Transport's OnProxyConnectResponse.
func refusedByProxy(_ context.Context, proxy *url.URL, connect *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	text := "the proxy " + proxy.Host + " refused to connect to " + connect.Host + ": " + statusText(answer.StatusCode)
	if answer.StatusCode == http.StatusProxyAuthRequired {
		text += " (check the user and the password in the proxy's URL)"
	}
	return &refusal{text: text, passes: passing(answer.StatusCode), retryAfter: retryAfter(answer.Header)}
}

// noToken recognises the errors of golang.org/x/oauth2, whose transport gets a token before it sends anything. It goes by the names, since
// the module isn't worth a dependency.
func noToken(err error) error {
	for cause := range causes(err) {
		v := reflect.Indirect(reflect.ValueOf(cause))
		if v.Kind() != reflect.Struct || v.Type().Name() != "RetrieveError" {
			continue
		}
		answer, _ := field[*http.Response](v, "Response") //nolint:bodyclose // the error has read it
		if answer == nil {
			continue
		}
		text := "the OAuth 2 server gave no token: " + statusText(answer.StatusCode)
		if code, _ := field[string](v, "ErrorCode"); code != "" {
			text += " (" + oneLine(code, 100) + ")"
		}
		return &refusal{text: text, passes: passing(answer.StatusCode), retryAfter: retryAfter(answer.Header), cause: err}
	}
	if text := err.Error(); strings.HasPrefix(text, "oauth2: ") {
		return &refusal{text: text, passes: strings.HasPrefix(text, "oauth2: cannot fetch token: "), cause: err}
	}
	return nil
}

// otherRequest recognises the failure of a request to another host that a transport makes first, as to an OAuth 2 server that hangs up: it
// is net/http's error with that URL, and no connection was asked for in the name of the call's own request.
func (a *call) otherRequest(err error) error {
	other, ok := errors.AsType[*url.Error](err)
	if !ok || a.connecting.wanted.Load() || hostOf(other.URL) == hostOf(a.url) {
		return nil
	}
	passes, _ := retryablehttp.DefaultRetryPolicy(context.Background(), nil, &url.Error{Err: other.Err})
	text := "the transport asked " + hostOf(other.URL) + " first, and that failed: " + other.Err.Error() // without the URL's path and query
	return &refusal{text: text, passes: passes, cause: err}
}

// noTLS reports whether the server, or an https proxy, answered the first TLS message with something else.
func noTLS(err error) bool {
	mismatch, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok && mismatch.Conn != nil || errors.Is(err, http.ErrSchemeMismatch)
}

// statusNamed returns the status of 400 or more with this reason phrase, or 0.
func statusNamed(phrase string) int {
	for status := 400; status < 600 && phrase != ""; status++ {
		if http.StatusText(status) == phrase {
			return status
		}
	}
	return 0
}

// field returns the value of a struct's exported field with this name and type.
func field[T any](v reflect.Value, name string) (value T, ok bool) {
	f, ok := v.Type().FieldByName(name)
	if !ok || len(f.Index) > 1 || f.Type != reflect.TypeFor[T]() {
		return value, false
	}
	value, _ = reflect.TypeAssert[T](v.FieldByIndex(f.Index)) // a nil interface is no T
	return value, true
}
