package walletcrew

import (
	"errors"
	"net/http"
	"strings"
)

// guarded returns a copy of the user's client that never takes the key, or a token that its transport adds, to another place.
func guarded(user *http.Client) *http.Client {
	hc := *user
	hc.Transport = hiddenTransport{user.Transport}
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
	return &hc
}

// hiddenTransport hides CloseIdleConnections of the user's transport from go-retryablehttp, which calls it after a failure.
type hiddenTransport struct{ next http.RoundTripper }

func (t hiddenTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.next == nil {
		return http.DefaultTransport.RoundTrip(req) // asked late: tests replace it
	}
	return t.next.RoundTrip(req)
}
