package walletcrew

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// The platform's servers (API reference).
const (
	ProductionURL = "https://app.neostore.cloud"
	StagingURL    = "https://app-qa.neostore.cloud"
)

const defaultTimeout = 30 * time.Second // of one attempt

// A Client calls the management API of one tenant. Make it with [NewClient]. It is safe for concurrent use, and one is enough for
// a process.
//
// A call that failed for a reason that passes is tried again, see [WithRetries]:
//
//   - GET, PATCH and DELETE after a connection error, 429, 500, 502, 503, 504 and 520 to 524
//   - POST only if the request was certainly not carried out: after 429, or if nothing was sent, because no connection could be
//     made, a proxy refused to connect, or an OAuth 2 server gave no token
//
// The API key is sent only to the host of the base URL. A redirect to another host isn't followed.
type Client struct {
	Webhooks *WebhooksService

	tenantID   string
	base       *url.URL
	http       *http.Client
	transport  *guard
	key        apiKey
	userAgent  string
	maxRetries int
	minWait    time.Duration
	maxWait    time.Duration
	log        *slog.Logger // nil: slog.Default, as it is then
	hooks      []callHook
	wrap       []func(base http.RoundTripper) http.RoundTripper
}

// NewClient returns a client for one tenant of the platform. It needs [WithAPIKey], or [WithHTTPClient] with an http.Client that
// authenticates. It sends nothing: a wrong key shows at the first call. A nil option is ignored.
//
// Spell the tenant's id as in the API's path. It is a [ValidationError] if it is empty, has white space around it, or would lead
// to another resource: "..", or an id with a slash, even an escaped one.
func NewClient(tenantID string, opts ...Option) (*Client, error) {
	if err := checkPathElement("tenantId", tenantID); err != nil {
		return nil, err
	}
	c := &Client{
		tenantID:   tenantID,
		userAgent:  userAgent(),
		maxRetries: 3,
		minWait:    500 * time.Millisecond,
		maxWait:    30 * time.Second,
	}
	for _, opt := range append([]Option{WithBaseURL(ProductionURL)}, opts...) {
		if opt == nil {
			continue
		}
		if err := opt(c); err != nil {
			return nil, err
		}
	}
	if c.http == nil {
		if c.key == nil {
			return nil, errors.New("walletcrew: no API key is set: use WithAPIKey, or WithHTTPClient with an http.Client that authenticates (OAuth 2)")
		}
		c.http = &http.Client{Timeout: defaultTimeout}
	}
	c.http, c.transport = guarded(c.http)
	for _, wrap := range c.wrap {
		if c.http.Transport = wrap(c.http.Transport); c.http.Transport == nil {
			return nil, errors.New("walletcrew: WithTransport: the function returned nil")
		}
	}
	c.Webhooks = &WebhooksService{client: c, made: new(madeWebhooks)}
	return c, nil
}

// NewClientFromEnv returns a client for the tenant WALLETCREW_TENANT_ID with the key WALLETCREW_API_KEY, both required, on the
// server WALLETCREW_BASE_URL (optional). The options are applied after these.
func NewClientFromEnv(opts ...Option) (*Client, error) {
	for _, name := range []string{"WALLETCREW_TENANT_ID", "WALLETCREW_API_KEY"} {
		if os.Getenv(name) == "" {
			return nil, fmt.Errorf("walletcrew: the environment variable %s is not set", name)
		}
	}
	fromEnv := []Option{WithAPIKey(os.Getenv("WALLETCREW_API_KEY"))}
	if base := os.Getenv("WALLETCREW_BASE_URL"); base != "" {
		fromEnv = append(fromEnv, WithBaseURL(base))
	}
	return NewClient(os.Getenv("WALLETCREW_TENANT_ID"), append(fromEnv, opts...)...)
}

// TenantID returns the tenant that the client was made for.
func (c *Client) TenantID() string { return c.tenantID }

// Do calls a part of the API for which the SDK has no method.
//
//   - Path is relative to /api/{tenantId}/, already escaped, and may have a query. A path that could leave the tenant is a
//     [ValidationError].
//   - In is sent as JSON, unless it is nil.
//   - The answer is decoded into out, unless out is nil or the answer has no body. If out is a [*Response], it gets the answer as it came,
//     with its header.
//
// JSON is read and written as by encoding/json. An answer over 10 MiB is an error. So is one with over a million JSON values, if it must be
// decoded.
//
// Errors, retries and the key are as for the other calls. POST and methods not named in [Client] are retried only if the request was
// certainly not carried out. If the answer to a DELETE was lost and the next attempt gets 404, the error is [ErrNotFound] and
// [ErrOutcomeUnknown]: most likely, the first attempt deleted it.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	if err := checkPath(path); err != nil {
		return err
	}
	return c.send(ctx, method, path, in, func(answer Response) error {
		if r, ok := out.(*Response); ok && r != nil {
			*r = Response{Header: answer.Header, Body: answer.Body}
			return nil
		}
		if out == nil || len(bytes.TrimSpace(answer.Body)) == 0 {
			return nil
		}
		if holdsMore(answer.Body, maxValues) {
			return fmt.Errorf("it holds more than %d values (take it as a *Response)", maxValues)
		}
		if err := json.Unmarshal(answer.Body, out); err != nil {
			return jsonError(err)
		}
		return nil
	})
}

// send is the one way out. Path is relative to the tenant and escaped. Take gets the answer of a 2xx, and may be nil.
func (c *Client) send(ctx context.Context, method, path string, in any, take func(answer Response) error) (err error) {
	if ctx == nil {
		return &ValidationError{Field: "ctx", Reason: "is nil"}
	}
	if len(c.hooks) > 0 {
		var end func(error)
		ctx, end = c.begin(ctx, method, c.newCall(ctx, method, path).path)
		defer func() { end(err) }()
	}
	var body any
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return &ValidationError{Field: "in", Reason: "can't be encoded as JSON: " + err.Error()}
		}
		body = encoded
	}
	a := c.newCall(ctx, method, path)
	req, err := retryablehttp.NewRequestWithContext(a.connecting.trace(ctx), method, a.url, body)
	if err != nil {
		return &ValidationError{Field: "method or path", Reason: "can't be sent: " + withoutURL(err).Error()}
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	c.key.authorize(req.Header)

	if err := a.run(req); err != nil {
		return a.failed(err)
	}
	if take == nil {
		return nil
	}
	if err := take(a.answer); err != nil {
		a.maybe = a.maybe || !readOnly(method)
		return a.failed(fmt.Errorf("the answer was a success, but its body can't be decoded: %w%s", decodeError(err), a.notJSON()))
	}
	return nil
}

func (c *Client) logger() *slog.Logger {
	if c.log == nil {
		return slog.Default()
	}
	return c.log
}
