package walletcrew

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// An Option is passed to [NewClient].
type Option func(*Client) error

// WithAPIKey authenticates with the header X-API-KEY. A key belongs to one tenant; reading webhooks takes the scope
// Webhook.Read, changing them Webhook.Write. An empty key is an error, so that a variable that isn't set is noticed at start.
//
// Errors and logs never show the key: if a server or a transport repeats it, they say "[redacted]" instead. A key under 8 characters isn't
// replaced, since that would garble every message.
func WithAPIKey(key string) Option {
	return func(c *Client) error {
		if key == "" {
			return errors.New("walletcrew: the API key is empty")
		}
		if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return errors.New("walletcrew: the API key holds a space, a line break or another character that no header can carry")
		}
		if len(key) > maxKeyBytes {
			return errors.New("walletcrew: the API key is too long for a header")
		}
		c.key = func() string { return key }
		return nil
	}
}

// WithHTTPClient sends through hc, with its transport (proxies, OAuth 2, tracing), timeout, cookie jar and redirect policy. Hc itself isn't
// changed. For OAuth 2, pass a client made by golang.org/x/oauth2 and leave out [WithAPIKey]. A nil hc is an error.
//
// Without this option, each attempt has 30 seconds. Without it, or if hc has no Transport, all clients share one transport. It is a copy of
// [http.DefaultTransport], with its settings at the first request, and notices a dead connection within 3 seconds (HTTP/2) or 15 (HTTP/1).
// If your program replaces http.DefaultTransport, the clients use the replacement.
//
// A transport of yours keeps its own limits. After an attempt that timed out, its idle connections are closed, so that the next attempt
// dials. That can't close a dead HTTP/2 connection on which other calls are waiting. So set HTTP2.SendPingTimeout and HTTP2.PingTimeout of
// your transport.
func WithHTTPClient(hc *http.Client) Option {
	return func(c *Client) error {
		if hc == nil {
			return errors.New("walletcrew: the http.Client is nil")
		}
		c.http = hc
		return nil
	}
}

// WithBaseURL calls another server than [ProductionURL], such as [StagingURL]. It must be https, or http for a loopback host. It may have a
// path, such as a gateway's, but without "/api".
func WithBaseURL(rawURL string) Option {
	return func(c *Client) error {
		u, err := url.Parse(rawURL)
		switch {
		case err != nil:
			return errors.New("walletcrew: the base URL can't be parsed")
		case u.Hostname() == "": // not quoted: "user:password@host" is read like this
			return errors.New("walletcrew: the base URL has no host: write it like " + ProductionURL)
		case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
			return fmt.Errorf("walletcrew: the base URL of the host %q isn't https, and the API key must not travel in the clear (http is for loopback hosts only)", u.Host)
		case u.User != nil || strings.ContainsAny(rawURL, "?#"):
			return fmt.Errorf("walletcrew: the base URL of the host %q has credentials, a query or a fragment", u.Host)
		}
		if reason := leaves(u.EscapedPath()); reason != "" {
			return fmt.Errorf("walletcrew: the base URL's path %s", reason)
		}
		if part := apiPart(u.Path, c.tenantID); part != "" {
			return fmt.Errorf("walletcrew: the base URL ends in %q, which the client adds itself: write it without", part)
		}
		c.base = u
		return nil
	}
}

// apiPart returns how much of the API's own path, /api/{tenantId}/webhooks, a base URL's path ends in.
func apiPart(path, tenantID string) string {
	path = strings.ToLower("/" + strings.Trim(path, "/"))
	for _, part := range []string{"/api", "/api/" + tenantID, "/api/" + tenantID + "/webhooks", "/api/{tenantid}", "/api/{tenantid}/webhooks"} {
		if strings.HasSuffix(path, strings.ToLower(part)) {
			return part
		}
	}
	return ""
}

// WithUserAgent puts product, such as "shop/1.4", before the SDK's own name in the User-Agent header.
func WithUserAgent(product string) Option {
	return func(c *Client) error {
		if strings.ContainsFunc(product, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			return errors.New("walletcrew: the user agent holds characters that no header can carry")
		}
		c.userAgent = strings.TrimSpace(product + " " + c.userAgent)
		return nil
	}
}

// WithRetries sets how often a failed request is sent again at most, and the bounds of the wait before each. The default is 3,
// with 500 ms and 30 s; 0 turns retries off. The wait is a random time below minWait, doubled for each attempt, and never more
// than maxWait.
//
// If the server asks for a wait with Retry-After, the client keeps to it. If that is more than maxWait, the call ends at once
// with an [APIError] whose RetryAfter says how long. A negative number is an error, and so is a minWait over maxWait.
func WithRetries(max int, minWait, maxWait time.Duration) Option {
	return func(c *Client) error {
		if max < 0 || minWait < 0 || maxWait < minWait {
			return fmt.Errorf("walletcrew: WithRetries(%d, %v, %v): none may be negative, nor the least wait over the most", max, minWait, maxWait)
		}
		if minWait > 0 && minWait < time.Millisecond || maxWait > 0 && maxWait < time.Millisecond {
			return fmt.Errorf("walletcrew: WithRetries(%d, %v, %v): a wait is under 1 ms: did you mean %d*time.Second?", max, minWait, maxWait, maxWait)
		}
		c.maxRetries, c.minWait, c.maxWait = max, minWait, maxWait
		return nil
	}
}

// WithLogger sets the logger. Without it, or with nil, that is [slog.Default]. The client logs each attempt and each wait at debug level. At
// warn level it logs a list that isn't paged as expected (see [WebhooksService.All]) and each of an [EnsureResult]'s Warnings.
// [WebhooksService.Maintain] without a function logs what it did, too. The client never logs the key, a secret or a body.
func WithLogger(l *slog.Logger) Option {
	return func(c *Client) error {
		c.log = l
		return nil
	}
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// userAgent names the SDK with its version, as far as the build knows it.
func userAgent() string {
	const module = "github.com/thewalletcrew/walletcrew-go"
	version := "devel"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == module && m.Version != "" && m.Version != "(devel)" {
				version = m.Version
			}
		}
	}
	return fmt.Sprintf("walletcrew-go/%s (%s; %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
