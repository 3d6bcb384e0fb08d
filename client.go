package walletcrew

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/hashicorp/go-retryablehttp"
)

// The platform's servers (API reference).
const (
	ProductionURL = "https://app.neostore.cloud"
	StagingURL    = "https://app-qa.neostore.cloud"
)

const (
	headerAPIKey      = "X-API-KEY"
	defaultTimeout    = 30 * time.Second // of one attempt
	maxAnswerBytes    = 10 << 20
	maxErrorBodyBytes = 64 << 10
	maxKeyBytes       = 8 << 10 // servers take no longer headers
)

// A Client calls the management API of one tenant. Make it with [NewClient]; it is safe for concurrent use, and one is enough
// for a process.
//
// Calls that fail for a reason that passes are tried again (see [WithRetries]): GET, PATCH and DELETE after a connection error,
// 429, 500, 502, 503, 504 and 520 to 524, POST only where the request was certainly not carried out (429, or no connection was
// made). The API key is sent to the base URL's host only: a redirect elsewhere isn't followed.
type Client struct {
	Webhooks *WebhooksService

	tenantID   string
	base       *url.URL
	http       *http.Client
	authorize  func(http.Header)   // a closure, so that printing the client can't print the key
	hide       func(string) string // takes the key out of a text
	keySpan    int                 // bytes of a text that the key takes at most; 0 without a key
	userAgent  string
	maxRetries int
	minWait    time.Duration
	maxWait    time.Duration
	log        *slog.Logger
}

// An Option is passed to [NewClient].
type Option func(*Client) error

// WithAPIKey authenticates with the header X-API-KEY. A key belongs to one tenant; reading webhooks takes the scope
// Webhook.Read, changing them Webhook.Write. An empty key is an error, so that a variable that isn't set is noticed at start.
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
		c.authorize = func(h http.Header) { h.Set(headerAPIKey, key) }
		c.hide = hider(key)
		c.keySpan = longestSpelling * len(key)
		return nil
	}
}

// hider returns what takes the key out of a text, as it is and as a server writes it that repeats it in JSON, in HTML or in a
// URL.
func hider(key string) func(string) string {
	return func(text string) string {
		text = strings.ReplaceAll(text, key, redacted)
		// The text without escapes, and where each of its bytes began in text.
		var plain []byte
		var starts []int
		at := 0
		for _, escape := range escapes.FindAllStringIndex(text, -1) {
			for ; at < escape[0]; at++ {
				plain, starts = append(plain, text[at]), append(starts, at)
			}
			for _, c := range []byte(unescape(text[at:escape[1]])) {
				plain, starts = append(plain, c), append(starts, at)
			}
			at = escape[1]
		}
		if at == 0 {
			return text
		}
		for ; at < len(text); at++ {
			plain, starts = append(plain, text[at]), append(starts, at)
		}
		starts = append(starts, at)

		var b strings.Builder
		done, unescaped := 0, string(plain)
		for from := 0; ; {
			i := strings.Index(unescaped[from:], key)
			if i < 0 {
				b.WriteString(text[done:])
				return b.String()
			}
			i += from
			from = i + len(key)
			b.WriteString(text[done:starts[i]] + redacted)
			done = starts[from]
		}
	}
}

// escapes are those of JSON, URLs and HTML.
var escapes = regexp.MustCompile(`(?i)\\u[0-9a-f]{4}|\\["\\/]|%[0-9a-f]{2}|&#x[0-9a-f]{1,6};|&#[0-9]{1,7};|&[a-z]{2,5};`)

// longestSpelling is how many bytes one byte of the key may take: &#x00002B;
const longestSpelling = 10

func unescape(escape string) string {
	switch escape[0] {
	case '&':
		return html.UnescapeString(escape)
	case '%':
		c, _ := strconv.ParseUint(escape[1:], 16, 8) // two digits always fit
		return string([]byte{byte(c)})
	}
	if len(escape) == 2 {
		return escape[1:]
	}
	r, _ := strconv.ParseUint(escape[2:], 16, 16) // four digits always fit
	return string(rune(r))
}

// WithHTTPClient sends through hc: its transport (proxies, OAuth 2, tracing), timeout, cookie jar and redirect policy are kept,
// and hc itself isn't changed. For OAuth 2, pass what golang.org/x/oauth2 makes and leave out WithAPIKey. A nil hc is an error.
// Without this option the client uses http.DefaultTransport and gives each attempt 30 seconds.
func WithHTTPClient(hc *http.Client) Option {
	return func(c *Client) error {
		if hc == nil {
			return errors.New("walletcrew: the http.Client is nil")
		}
		c.http = hc
		return nil
	}
}

// WithBaseURL calls another server than [ProductionURL], such as [StagingURL]. It must be https; http is taken for loopback
// hosts only.
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
		c.base = u
		return nil
	}
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

// WithRetries sets how often a failed request is sent again at most (default 3; 0 turns retries off) and the bounds of the wait
// before each: a random time below minWait, doubled for each attempt, never more than maxWait (default 500 ms and 30 s). What
// the server asks for with Retry-After is kept to; if that is more than maxWait, the call ends at once with an [APIError] whose
// RetryAfter says how long. A negative number, or minWait over maxWait, is an error.
func WithRetries(max int, minWait, maxWait time.Duration) Option {
	return func(c *Client) error {
		if max < 0 || minWait < 0 || maxWait < minWait {
			return fmt.Errorf("walletcrew: WithRetries(%d, %v, %v): none may be negative, nor the least wait over the most", max, minWait, maxWait)
		}
		c.maxRetries, c.minWait, c.maxWait = max, minWait, maxWait
		return nil
	}
}

// WithLogger logs each attempt and each wait, at debug level: never the key, a secret or a body. Nil logs nothing, as does
// leaving the option out.
func WithLogger(l *slog.Logger) Option {
	return func(c *Client) error {
		if l != nil {
			c.log = l
		}
		return nil
	}
}

// NewClient returns a client for one tenant of the platform. It sends nothing: a wrong key, or none, shows at the first call. The tenant's
// id is spelled as in the API's path. It is a [ValidationError] if it is empty, "." or "..", or has white space around it.
func NewClient(tenantID string, opts ...Option) (*Client, error) {
	if err := checkPathElement("tenantId", tenantID); err != nil {
		return nil, err
	}
	base, err := url.Parse(ProductionURL)
	if err != nil {
		return nil, err
	}
	c := &Client{
		tenantID:   tenantID,
		base:       base,
		http:       &http.Client{Timeout: defaultTimeout},
		authorize:  func(http.Header) {},
		hide:       func(s string) string { return s },
		userAgent:  userAgent(),
		maxRetries: 3,
		minWait:    500 * time.Millisecond,
		maxWait:    30 * time.Second,
		log:        slog.New(slog.DiscardHandler),
	}
	for _, opt := range opts {
		if err := opt(c); err != nil {
			return nil, err
		}
	}
	c.http = guarded(c.http)
	c.Webhooks = &WebhooksService{client: c}
	return c, nil
}

// NewClientFromEnv returns a client for the tenant WALLETCREW_TENANT_ID with the key WALLETCREW_API_KEY, both required, on the
// server WALLETCREW_BASE_URL (optional). The options are applied after these.
func NewClientFromEnv(opts ...Option) (*Client, error) {
	fromEnv := []Option{}
	for _, name := range []string{"WALLETCREW_TENANT_ID", "WALLETCREW_API_KEY"} {
		if os.Getenv(name) == "" {
			return nil, fmt.Errorf("walletcrew: the environment variable %s is not set", name)
		}
	}
	fromEnv = append(fromEnv, WithAPIKey(os.Getenv("WALLETCREW_API_KEY")))
	if base := os.Getenv("WALLETCREW_BASE_URL"); base != "" {
		fromEnv = append(fromEnv, WithBaseURL(base))
	}
	return NewClient(os.Getenv("WALLETCREW_TENANT_ID"), append(fromEnv, opts...)...)
}

// TenantID returns the tenant that the client was made for.
func (c *Client) TenantID() string { return c.tenantID }

// Do calls what the SDK doesn't wrap. Path is relative to /api/{tenantId}/, already escaped, and may carry a query; one that
// could leave the tenant is a [ValidationError]. In, where it isn't nil, is sent as JSON; the answer is decoded into out, where
// that isn't nil and the answer has a body. Both are coded as encoding/json does. Where out is a *[Response], it gets the answer as
// it came, with its header.
//
// Errors, retries and the key are as for the other calls. POST and methods not named in [Client] are retried only where the
// request was certainly not carried out.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	if err := checkPath(path); err != nil {
		return err
	}
	return c.send(ctx, method, path, in, func(body []byte, header http.Header) error {
		if r, ok := out.(*Response); ok && r != nil {
			*r = Response{Header: header, Body: body}
			return nil
		}
		if out == nil || len(bytes.TrimSpace(body)) == 0 {
			return nil
		}
		if err := json.Unmarshal(body, out); err != nil {
			return jsonError(err)
		}
		return nil
	})
}

// A Response is an answer with a status of 2xx, for [Client.Do]: for one that isn't JSON, or whose header counts, such as the
// X-continuationToken with which the platform pages some resources.
type Response struct {
	Header http.Header
	Body   []byte // all of it; 10 MiB at most
}

// send is the one way out. Path is relative to the tenant and escaped. Take gets the body of a 2xx, all of it, and may be nil.
func (c *Client) send(ctx context.Context, method, path string, in any, take func(body []byte, header http.Header) error) error {
	var body any
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return &ValidationError{Field: "in", Reason: "can't be encoded as JSON: " + err.Error()}
		}
		body = encoded
	}
	a := c.newCall(ctx, method, path)
	req, err := retryablehttp.NewRequestWithContext(ctx, method, a.url, body)
	if err != nil {
		return &ValidationError{Field: "method or path", Reason: "can't be sent: " + withoutURL(err).Error()}
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	c.authorize(req.Header)

	if err := a.run(req); err != nil {
		return a.failed(err)
	}
	if take == nil {
		return nil
	}
	if err := take(a.body, a.header); err != nil {
		a.maybe = a.maybe || !readOnly(method)
		return a.failed(fmt.Errorf("the answer was a success, but its body can't be decoded: %w%s", decodeError(err), a.notJSON()))
	}
	return nil
}

// decodeAnswer decodes what the platform says, as indulgently as encoding/json does and in half the time.
func decodeAnswer(body []byte, v any) error { return jsonv2.Unmarshal(body, v, indulgent) }

var indulgent = jsonv2.JoinOptions(jsonv2.MatchCaseInsensitiveNames(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// decodeError keeps the kind and the place of an error of decodeAnswer, and drops what it may quote of the body.
func decodeError(err error) error {
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("it is not JSON (at byte %d)", e.ByteOffset)
	}
	if e, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		if e.Err != nil && e.JSONKind == '"' { // a type's own, such as Secret's
			return e.Err
		}
		return fmt.Errorf("member %q doesn't fit the type %v", strings.TrimPrefix(string(e.JSONPointer), "/"), e.GoType)
	}
	return err
}

// jsonError is decodeError for one of encoding/json, which decodes into types of the caller.
func jsonError(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("a value doesn't fit the type %v (at byte %d)", e.Type, e.Offset) // its Field may be a name from the body
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("it is not JSON (at byte %d)", e.Offset)
	}
	if e, ok := errors.AsType[*json.InvalidUnmarshalError](err); ok { // the caller's mistake, and no value
		return e
	}
	return errors.New("a value doesn't fit a type that decodes itself") // as time.Time does, whose error quotes it
}

// A call is one call of a method of the client: its attempts, and what came of the last.
type call struct {
	client *Client
	ctx    context.Context
	method string
	url    string
	path   string

	attempts int
	began    time.Time // the attempt under way
	header   http.Header
	body     []byte
	err      error // of the last attempt: *APIError, or what prevented an answer
	maybe    bool  // an attempt that failed may have been carried out
}

func (c *Client) newCall(ctx context.Context, method, path string) *call {
	// Not url.JoinPath, which would resolve what an id holds.
	path = "/api/" + url.PathEscape(c.tenantID) + "/" + path
	plain, _, _ := strings.Cut(path, "?")
	base := strings.TrimSuffix(c.base.String(), "/")
	return &call{client: c, ctx: ctx, method: method, url: base + path, path: strings.TrimSuffix(c.base.EscapedPath(), "/") + plain}
}

// run sends the request, again where that is safe, on top of go-retryablehttp: it brings the loop, we the policy. Its own would
// retry POST, wait as long as it is told and without jitter, and close idle connections that aren't ours (see hiddenTransport).
func (a *call) run(req *retryablehttp.Request) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	loop := retryablehttp.Client{
		HTTPClient:     a.client.http,
		RetryMax:       a.client.maxRetries,
		RetryWaitMin:   a.client.minWait,
		RetryWaitMax:   a.client.maxWait,
		RequestLogHook: func(retryablehttp.Logger, *http.Request, int) { a.began = time.Now() },
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

// finished is called after each attempt: it takes the answer in and says whether to try again.
func (a *call) finished(ctx context.Context, resp *http.Response, err error) (bool, error) {
	a.attempts++
	a.header, a.body, a.err = nil, nil, nil
	redirectRefused := resp != nil && err != nil // by the user's policy; the body is closed
	if err == nil {
		a.header = resp.Header
		a.body, a.err = a.read(resp)
	} else {
		a.err = withoutURL(err)
	}
	a.logAttempt(resp)
	if a.err != nil && resp != nil && resp.StatusCode == http.StatusNotFound && a.method == http.MethodDelete && a.attempts > 1 {
		a.err = nil // an attempt before deleted it, and its answer was lost
	}
	if a.err == nil {
		return false, nil
	}
	safe := certainlyNotDone(resp, a.err)
	a.maybe = a.maybe || !safe && !readOnly(a.method)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return !redirectRefused && a.transient(resp) && (safe || idempotent(a.method)) && a.bearable(), nil
}

// withoutURL takes off what net/http puts before an error, since ours says method and path itself.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

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
		slog.String("method", a.method), slog.String("path", a.client.hide(a.path)), slog.Int("attempt", a.attempts), slog.Duration("wait", wait))
	return wait
}

func randomBelow(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) //nolint:gosec // jitter, not a secret
}

func (a *call) logAttempt(resp *http.Response) {
	if !a.client.log.Enabled(a.ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", a.method), slog.String("path", a.client.hide(a.path)), slog.Int("attempt", a.attempts),
		slog.Duration("duration", time.Since(a.began)),
	}
	if resp != nil {
		attrs = append(attrs, slog.Int("status", resp.StatusCode))
	}
	if _, ok := errors.AsType[*APIError](a.err); !ok && a.err != nil {
		attrs = append(attrs, slog.String("error", a.client.hide(a.err.Error())))
	}
	a.client.log.LogAttrs(a.ctx, slog.LevelDebug, "walletcrew: request", attrs...)
}

// notJSON names what came instead of the API's JSON, and from where: a login page, say. "" where it says that it is JSON.
func (a *call) notJSON() string {
	kind := a.header.Get("Content-Type")
	if kind == "" || strings.Contains(strings.ToLower(kind), "json") {
		return ""
	}
	return fmt.Sprintf(" (it is %s: is %s the API?)", oneLine(kind, 100), hostOf(a.url))
}

// failed completes the error of the call.
func (a *call) failed(err error) error {
	if api, ok := err.(*APIError); ok { //nolint:errorlint // only where it is the error itself, not where a context's wraps it
		api.outcomeUnknown = a.maybe
		return api
	}
	hide := a.client.hide
	if cause, text := err, err.Error(); hide(text) != text {
		err = &hiddenError{hide(text), func(target error) bool { return errors.Is(cause, target) }}
	}
	return &RequestError{Method: a.method, URL: hide(a.url), Attempts: a.attempts, Err: err, path: hide(a.path), outcomeUnknown: a.maybe}
}

// A hiddenError is an error whose text held the key: errors.Is still finds the cause, but nothing leads to its text.
type hiddenError struct {
	text string
	is   func(target error) bool
}

func (e *hiddenError) Error() string        { return e.text }
func (e *hiddenError) Is(target error) bool { return e.is(target) }

var errAnswerTooLarge = fmt.Errorf("the answer's body is over %d MiB", maxAnswerBytes>>20)

// read reads and closes the body: all of a 2xx, the beginning of anything else, which becomes an *APIError.
func (a *call) read(resp *http.Response) ([]byte, error) {
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusSwitchingProtocols { // no timeout and no context ends the reading of what follows
		_ = resp.Body.Close()
		resp.Body = http.NoBody
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		limit := maxErrorBodyBytes + a.client.keySpan
		body, _ := io.ReadAll(io.LimitReader(resp.Body, int64(limit))) // what came serves
		_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBodyBytes)      // so that the connection can be used again
		text := a.client.hide(string(body))
		if len(body) == limit { // half a key may be left at the end
			text = text[:max(0, len(text)-a.client.keySpan)]
		}
		text = text[:min(len(text), maxErrorBodyBytes)]
		e := newAPIError(resp, []byte(text))
		e.Method, e.URL, e.path, e.Attempts = a.method, a.url, a.path, a.attempts
		e.redact(a.client.hide)
		return nil, e
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, fmt.Errorf("the answer was a success, but its body can't be read: %w", err)
	}
	if len(body) > maxAnswerBytes {
		return nil, errAnswerTooLarge
	}
	return body, nil
}

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

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// checkPathElement refuses what can't be one element of a path however it is escaped.
func checkPathElement(field, value string) error {
	switch {
	case strings.TrimSpace(value) == "":
		return &ValidationError{Field: field, Reason: "is empty"}
	case value == "." || value == "..":
		return &ValidationError{Field: field, Reason: `is "." or "..", which would lead to another resource`}
	case strings.TrimSpace(value) != value:
		return &ValidationError{Field: field, Reason: "begins or ends with white space"}
	}
	return nil
}

// checkPath refuses a path that leaves the tenant, also for a server that unescapes more than once.
func checkPath(path string) error {
	refuse := func(reason string) error { return &ValidationError{Field: "path", Reason: reason} }
	if strings.HasPrefix(path, "/") {
		return refuse(`begins with "/": it is relative to /api/{tenantId}/`)
	}
	u, err := url.Parse("/" + path) // the first element may hold a colon
	switch {
	case err != nil:
		return refuse("can't be parsed")
	case wholeURL.MatchString(path):
		return refuse("is a whole URL: it is relative to /api/{tenantId}/")
	case strings.Contains(path, "#"):
		return refuse("has a fragment")
	case u.Path == "/":
		return refuse("is empty")
	}
	plain := u.EscapedPath()[1:]
	for {
		for element := range strings.FieldsFuncSeq(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
			element, _, _ = strings.Cut(element, ";") // some servers drop such parameters
			if element == "." || element == ".." {
				return refuse(`has an element "." or ".."`)
			}
		}
		next := unescapePath(plain)
		if next == plain {
			return nil
		}
		plain = next
	}
}

// unescapePath is url.PathUnescape, but leaves what isn't an escape as it is instead of giving up: the rest must be looked at, too.
func unescapePath(path string) string { return escapedByte.ReplaceAllStringFunc(path, unescape) }

var wholeURL = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:/`)

var escapedByte = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

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
