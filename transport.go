package walletcrew

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A guard is the transport of a client: what it sends through is the user's, or the package's own.
type guard struct {
	next     http.RoundTripper // nil: the package's own
	timedOut atomic.Bool       // an attempt, since the idle connections were last closed
}

// guarded returns a copy of the user's client that never takes the key, or a token that its transport adds, to another place.
func guarded(user *http.Client) (*http.Client, *guard) {
	hc := *user
	transport := &guard{next: user.Transport}
	hc.Transport = transport
	hc.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		first := via[0]
		if req.URL.Scheme != first.URL.Scheme || !strings.EqualFold(req.URL.Host, first.URL.Host) || req.Method != first.Method {
			return http.ErrUseLastResponse // it becomes an *APIError
		}
		if user.CheckRedirect != nil {
			return user.CheckRedirect(req, via)
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects") // as net/http
		}
		return nil
	}
	return &hc, transport
}

// RoundTrip sends a request. Guard has no CloseIdleConnections, since go-retryablehttp calls it after every failure, and the connections may
// serve others. Only a time-out says something about them: the one that was used may be dead, and net/http would use it again for ever
// (HTTP/2), or the next one that died with it (HTTP/1).
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	next := g.next
	if next == nil {
		next = defaultTransport()
	}
	if g.timedOut.Swap(false) {
		closeIdle(next)
	}
	return next.RoundTrip(req)
}

// closeIdle also finds the transport below one that has a field Base, as golang.org/x/oauth2 and others name it.
func closeIdle(transport http.RoundTripper) {
	for range 10 { // one that is its own base is a mistake, but not ours
		if c, ok := transport.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
			return
		}
		v := reflect.Indirect(reflect.ValueOf(transport))
		if v.Kind() != reflect.Struct {
			return
		}
		base, ok := field[http.RoundTripper](v, "Base")
		if !ok {
			return
		}
		if base == nil {
			base = http.DefaultTransport
		}
		transport = base
	}
}

// Limits of our own transport, beside those of one attempt. With HTTP/2, a connection that has been silent for pingAfter is asked for a sign
// of life, and given up after pingTimeout without one: a call on it fails then, and its retry makes a new connection. Shorter times would
// take two lost packets, or a machine that stands still, for a dead connection, and a create on it for an unknown outcome.
const (
	pingAfter             = time.Second
	pingTimeout           = 2 * time.Second
	idleTimeout           = 30 * time.Second // it is asked every second until then
	responseHeaderTimeout = 15 * time.Second // leaves half of an attempt for the body
)

// programs can replace http.DefaultTransport, and tests do (httpmock.Activate); this is the one that was there before.
var standardTransport, _ = http.DefaultTransport.(*http.Transport)

// defaultTransport is asked for each request. A client can't be closed, so all of them share one transport.
func defaultTransport() http.RoundTripper {
	if t, ok := http.DefaultTransport.(*http.Transport); !ok || t != standardTransport {
		return http.DefaultTransport
	}
	return ownTransport()
}

// ownTransport is made at the first request, with what the program has set in http.DefaultTransport until then (a proxy, a dialer).
var ownTransport = sync.OnceValue(func() *http.Transport { return newTransport(standardTransport, pingAfter, pingTimeout) })

func newTransport(from *http.Transport, pingAfter, pingTimeout time.Duration) *http.Transport {
	t := from.Clone()
	if t.HTTP2 == nil {
		t.HTTP2 = &http.HTTP2Config{}
	}
	if t.HTTP2.SendPingTimeout == 0 {
		t.HTTP2.SendPingTimeout, t.HTTP2.PingTimeout = pingAfter, pingTimeout
	}
	t.IdleConnTimeout = idleTimeout
	if t.OnProxyConnectResponse == nil {
		t.OnProxyConnectResponse = refusedByProxy
	}
	if t.ResponseHeaderTimeout == 0 {
		t.ResponseHeaderTimeout = responseHeaderTimeout
	}
	return t
}
