package verifier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A Verifier decides whether a delivery is the platform's. Make it with [New]; it is safe for concurrent use.
//
// Only the body is signed. The event name and the tenant in the headers aren't, so an attacker who has captured one delivery can
// send its body again under other headers:
//
//   - Another event name: refused with [ErrEventNameMismatch] where the body names the event itself ("__eventName", which isn't
//     documented). Where it doesn't, the name in the header is all there is, and a captured Pass:Installed could come as a
//     Pass:Uninstalled. Its "__id" is still the same: with a [Deduper], an event that was handled isn't handled again under
//     another name. (And one that wasn't handled yet is used up by a delivery under a name that your function acknowledges.)
//   - Another tenant: with [SecretFunc] the secret must be one of that tenant's, so it is refused unless tenants share a secret
//     (don't). With [Static] and [FromAPI] nothing vouches for the tenant's name: Event.TenantID is what the sender wrote; don't
//     choose a customer's data by it. Deduplication doesn't rely on it.
//   - The same once more, at any time: nothing in a delivery that is documented says when it was signed. Deduplicate.
//
// He can't change one bit of the body, and can't make a delivery of his own.
type Verifier struct {
	source       SecretSource
	static       func(body []byte, sig walletcrew.Signature) bool // of a static source; a closure, so that fmt can't print the keys
	odd          bool                                             // a static secret looks as if it had been copied with too much
	maxBodyBytes int64
}

// What can be wrong with a delivery, besides the signature's errors ([walletcrew.ErrMissingSignature],
// [walletcrew.ErrMalformedSignature], [walletcrew.ErrSignatureMismatch]) and [walletcrew.ErrInvalidPayload]. Use [errors.Is];
// [StatusCode] says what to answer.
var (
	// ErrBodyTooLarge: the body is over the limit, see WithMaxBodyBytes.
	ErrBodyTooLarge = errors.New("verifier: the body is too large")
	// ErrMethodNotAllowed: a delivery is a POST.
	ErrMethodNotAllowed = errors.New("verifier: the method is not POST")
	// ErrEncodingNotSupported: the request has a Content-Encoding. The signature is over the raw
	// bytes, and nothing is decompressed that isn't verified.
	ErrEncodingNotSupported = errors.New("verifier: the body has a content encoding: nothing between the platform and here may compress it")
	// ErrUnknownTenant: the source has no secrets for the tenant in the header.
	ErrUnknownTenant = errors.New("verifier: there are no secrets for the tenant")
	// ErrEventNameMismatch: the header names another event than the signed body does.
	ErrEventNameMismatch = errors.New("verifier: the event name in the header is not the one in the signed body")
	// ErrSecretsUnavailable: the source failed, so that nothing can be said about the signature. It
	// wraps the source's error.
	ErrSecretsUnavailable = errors.New("verifier: the secrets can't be had")
	// ErrBodyUnreadable: the body broke off, or didn't come in time. It wraps the cause.
	ErrBodyUnreadable = errors.New("verifier: the body can't be read")
)

// An Option is passed to [New].
type Option func(*Verifier) error

const defaultMaxBodyBytes = 1 << 20

// WithMaxBodyBytes sets how large a body may be, in bytes; default 1 MiB. Exactly n passes. A number under 1 is an error.
func WithMaxBodyBytes(n int64) Option {
	return func(v *Verifier) error {
		if n < 1 {
			return fmt.Errorf("verifier: WithMaxBodyBytes(%d): the limit must be at least 1", n)
		}
		v.maxBodyBytes = n
		return nil
	}
}

// New returns a Verifier that takes its secrets from source. A source that can't ever verify anything (nil, [Static] without
// secrets or with an empty one, [FromAPI] without a client) is an error here, at start.
func New(source SecretSource, opts ...Option) (*Verifier, error) {
	v := &Verifier{source: source, maxBodyBytes: defaultMaxBodyBytes}
	switch s := source.(type) {
	case nil:
		return nil, errors.New("verifier: the source is nil")
	case SecretFunc:
		if s == nil {
			return nil, errors.New("verifier: the SecretFunc is nil")
		}
	case *staticSource:
		var err error
		if v.static, err = matcher(s.secrets()); err != nil {
			return nil, fmt.Errorf("verifier: Static: %w", err)
		}
		v.odd = slices.ContainsFunc(s.secrets(), isOdd)
	case *apiSource:
		switch {
		case s.list == nil:
			return nil, errors.New("verifier: FromAPI: the client is nil")
		case s.endpoint != nil && *s.endpoint == "":
			return nil, errors.New("verifier: FromAPI: the endpoint is empty")
		}
	}
	for _, opt := range opts {
		if err := opt(v); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Verify checks that one of the tenant's secrets signed exactly these bytes. TenantID is what the delivery's header says; it
// only chooses among secrets. The errors are those of [walletcrew.VerifySignature], [ErrUnknownTenant] and
// [ErrSecretsUnavailable].
func (v *Verifier) Verify(ctx context.Context, tenantID string, body []byte, signature string) error {
	sig, err := walletcrew.ParseSignature(signature)
	if err != nil {
		return err // before the source is bothered
	}
	_, err = v.verify(ctx, tenantID, body, sig)
	return err
}

// verify returns the secret that fitted, "" for a static source.
func (v *Verifier) verify(ctx context.Context, tenantID string, body []byte, sig walletcrew.Signature) (walletcrew.Secret, error) {
	if v.static != nil {
		switch {
		case v.static(body, sig):
			return "", nil
		case v.odd:
			return "", fmt.Errorf("%w: %s", walletcrew.ErrSignatureMismatch, oddSecret)
		}
		return "", walletcrew.ErrSignatureMismatch
	}

	secrets, err := v.source.Secrets(ctx, tenantID)
	if err != nil {
		return "", unavailable(err)
	}
	secret, err := match(body, sig, secrets)
	refresher, ok := v.source.(Refresher)
	if err == nil || !ok || errors.Is(err, ErrSecretsUnavailable) {
		return secret, err
	}
	api, _ := refresher.(*apiSource)
	for range 2 {
		asked := time.Now()
		fresh, failure := refresher.Refresh(ctx, tenantID)
		if failure != nil {
			return "", unavailable(failure)
		}
		if api != nil && sameList(fresh, secrets) {
			break // it may not look now: a forgery costs one hash a secret, and not two
		}
		secrets = fresh
		secret, err = match(body, sig, secrets)
		if err == nil || api == nil || !api.lastLook().Before(asked.Add(-together)) {
			break
		} // else that look had begun before, and may lack a webhook that was made since
	}
	switch {
	case api == nil:
	case errors.Is(err, ErrUnknownTenant):
		err = fmt.Errorf("%w: the client's own has no webhook, or none yet", err) // whatever tenant the header names
		if api.endpoint != nil {
			err = fmt.Errorf("%w, with the endpoint of ForEndpoint", err)
		}
	case errors.Is(err, walletcrew.ErrSignatureMismatch):
		if doubt := api.doubt(); doubt != "" {
			err = fmt.Errorf("%w, %s", err, doubt)
		}
	}
	return secret, err
}

// isOdd reports whether a secret begins or ends in what files and shells put there. It may be right all the same: which characters
// the platform uses isn't documented.
func isOdd(secret walletcrew.Secret) bool {
	const odd = " \t\r\n\"'`\uFEFF"
	return strings.Trim(string(secret), odd) != string(secret)
}

const oddSecret = "a secret begins or ends in white space, a line break or a quote: is that part of it?"

// sameList reports whether the two are one list, and not only equal: apiSource makes a new one at each look, and never changes one.
func sameList(a, b []walletcrew.Secret) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

// matcher returns what reports whether one of the secrets signed the body.
func matcher(secrets []walletcrew.Secret) (func([]byte, walletcrew.Signature) bool, error) {
	if len(secrets) == 0 {
		return nil, walletcrew.ErrNoSecret
	}
	keys := make([]*walletcrew.Key, len(secrets))
	for i, secret := range secrets {
		var err error
		if keys[i], err = walletcrew.NewKey(secret); err != nil {
			return nil, err
		}
	}
	return func(body []byte, sig walletcrew.Signature) bool {
		for _, key := range keys {
			if key.Matches(body, sig) {
				return true
			}
		}
		return false
	}, nil
}

func match(body []byte, sig walletcrew.Signature, secrets []walletcrew.Secret) (walletcrew.Secret, error) {
	if len(secrets) == 0 {
		return "", ErrUnknownTenant
	}
	for _, secret := range secrets {
		switch err := sig.Verify(body, secret); {
		case err == nil:
			return secret, nil
		case errors.Is(err, walletcrew.ErrNoSecret):
			return "", unavailable(err) // the source's fault, not the sender's
		}
	}
	return "", walletcrew.ErrSignatureMismatch
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrSecretsUnavailable, err) }

// EventFrom verifies and decodes a delivery; it serves any framework. Header is asked for the canonical name first
// (X-Neostore-Signature), then for the lower-case one; it returns "" for what isn't there. Body is what came over the wire.
//
// Event.Raw is body itself, not a copy, and Event.Name and Event.TenantID are what header returned: where the framework uses its
// buffers again (fiber does), pass copies of all three. The event's name is the header's, or the signed body's where there is no
// header; an event without any name is delivered too.
//
// The errors are those of [Verifier.Verify], [ErrBodyTooLarge], [ErrEncodingNotSupported], [ErrEventNameMismatch] and
// [walletcrew.ErrInvalidPayload]. Answer with [StatusCode].
func (v *Verifier) EventFrom(ctx context.Context, header func(name string) string, body []byte) (*walletcrew.Event, error) {
	d := delivery{header: headerFunc(header), body: body}
	if err := v.checkHeader(&d); err != nil {
		return nil, err
	}
	if int64(len(body)) > v.maxBodyBytes {
		return nil, tooLarge(v.maxBodyBytes)
	}
	if err := v.accept(ctx, &d); err != nil {
		return nil, err
	}
	return d.event, nil
}

// Event reads, verifies and decodes a delivery from a net/http request. The body is read to its end and not put back;
// [Verifier.Middleware] does that. Errors besides those of [Verifier.EventFrom]: [ErrMethodNotAllowed], [ErrBodyUnreadable].
func (v *Verifier) Event(r *http.Request) (*walletcrew.Event, error) {
	var d delivery
	if err := v.receive(r.Context(), r, &d); err != nil {
		return nil, err
	}
	return d.event, nil
}

// StatusCode says what to answer for an error of this package: 204 for nil and for a [Discard]; 400 for a body or a name that can't be right; 401
// without a valid signature; 405, 408, 413 and 415 for their kinds; 503 where the receiver can't tell, or for a
// [Temporary] error, so that the platform delivers again; 500 for any other error, such as your function's.
func StatusCode(err error) int {
	is := func(targets ...error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return http.StatusNoContent
	case is(ErrSecretsUnavailable, walletcrew.ErrNoSecret):
		return http.StatusServiceUnavailable
	case is(walletcrew.ErrMissingSignature, walletcrew.ErrMalformedSignature, walletcrew.ErrSignatureMismatch, ErrUnknownTenant):
		return http.StatusUnauthorized
	case is(ErrMethodNotAllowed):
		return http.StatusMethodNotAllowed
	case is(ErrEncodingNotSupported):
		return http.StatusUnsupportedMediaType
	case is(ErrBodyTooLarge):
		return http.StatusRequestEntityTooLarge
	case is(ErrBodyUnreadable):
		if is(os.ErrDeadlineExceeded) {
			return http.StatusRequestTimeout
		}
		return http.StatusBadRequest
	case is(walletcrew.ErrInvalidPayload, ErrEventNameMismatch):
		return http.StatusBadRequest
	case IsDiscard(err): // of your function's: what comes before is never acknowledged, whatever it wraps
		return http.StatusNoContent
	case is(context.DeadlineExceeded, context.Canceled, errTemporary):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// errTemporary is what a [Temporary] error is.
var errTemporary = errors.New("verifier: not now")

// A delivery is one request on its way: what came, and then what it was found to be.
type delivery struct {
	header    header
	signature walletcrew.Signature
	body      []byte

	authentic bool // the signature held

	event  *walletcrew.Event
	tenant string
	secret walletcrew.Secret // that fitted; "" for a static source

	timed                  bool // whether somebody wants to know how long it took
	verifyTook, decodeTook time.Duration
}

// now is the zero time where nobody wants to know it: looking at the clock is as dear as a small allocation.
func (d *delivery) now() time.Time {
	if !d.timed {
		return time.Time{}
	}
	return time.Now()
}

// The headers that are looked at, in both spellings that a framework may know them by.
var (
	headerSignature = newHeaderName(walletcrew.HeaderSignature)
	headerEventName = newHeaderName(walletcrew.HeaderEventName)
	headerTenantID  = newHeaderName(walletcrew.HeaderTenantID)
	headerEncoding  = newHeaderName("Content-Encoding")
)

type headerName struct{ canonical, lower string }

func newHeaderName(canonical string) headerName {
	return headerName{canonical, strings.ToLower(canonical)}
}

// A header is where a framework keeps it.
type header interface{ get(name headerName) string }

type headerFunc func(name string) string

func (f headerFunc) get(name headerName) string {
	if value := f(name.canonical); value != "" {
		return value
	}
	return f(name.lower)
}

// A requestHeader is net/http's. Its Get would look for the canonical form of what is in it already.
type requestHeader http.Header

func (h requestHeader) get(name headerName) string {
	for _, spelling := range [...]string{name.canonical, name.lower} {
		if values := h[spelling]; len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

// checkHeader refuses what needs no look at the body.
func (v *Verifier) checkHeader(d *delivery) error {
	if !isIdentity(d.header.get(headerEncoding)) {
		return ErrEncodingNotSupported
	}
	var err error
	d.signature, err = walletcrew.ParseSignature(d.header.get(headerSignature))
	return err
}

func tooLarge(limit int64) error {
	return fmt.Errorf("%w: the limit is %d bytes, see WithMaxBodyBytes", ErrBodyTooLarge, limit)
}

func isIdentity(encoding string) bool {
	return encoding == "" || strings.EqualFold(strings.TrimSpace(encoding), "identity")
}

// receive takes a delivery from a request.
func (v *Verifier) receive(ctx context.Context, r *http.Request, d *delivery) error {
	if err := v.checkRequest(r, d); err != nil {
		return err
	}
	if err := v.readBody(r, d); err != nil {
		return err
	}
	return explain(v.accept(ctx, d), r, d)
}

// explain says where a signature can't match because the body isn't what was sent.
func explain(err error, r *http.Request, d *delivery) error {
	if r.ContentLength < 0 || r.ContentLength == int64(len(d.body)) || !errors.Is(err, walletcrew.ErrSignatureMismatch) {
		return err
	}
	return fmt.Errorf("%w: Content-Length says %d bytes, and %d were left to read: something before has read or changed the body",
		err, r.ContentLength, len(d.body))
}

// checkRequest refuses what needs no look at the body.
func (v *Verifier) checkRequest(r *http.Request, d *delivery) error {
	d.header = requestHeader(r.Header)
	switch {
	case r.Method != http.MethodPost:
		return ErrMethodNotAllowed
	case r.ContentLength > v.maxBodyBytes:
		return tooLarge(v.maxBodyBytes)
	case slices.ContainsFunc(r.Header[headerEncoding.canonical], func(line string) bool { return !isIdentity(line) }):
		return ErrEncodingNotSupported
	}
	return v.checkHeader(d)
}

func (v *Verifier) readBody(r *http.Request, d *delivery) (err error) {
	d.body, err = readBody(r.Body, r.ContentLength, v.maxBodyBytes)
	return err
}

// accept settles what the delivery is: authentic, then named, then decoded.
func (v *Verifier) accept(ctx context.Context, d *delivery) error {
	began := d.now()
	d.tenant = d.header.get(headerTenantID)
	var err error
	d.secret, err = v.verify(ctx, d.tenant, d.body, d.signature)
	verified := d.now()
	d.verifyTook = verified.Sub(began)
	if err != nil {
		return err
	}
	d.authentic = true
	d.event, err = decode(walletcrew.EventName(d.header.get(headerEventName)), d.tenant, d.body)
	d.decodeTook = d.now().Sub(verified)
	return err
}

func decode(name walletcrew.EventName, tenant string, body []byte) (*walletcrew.Event, error) {
	e, err := walletcrew.ParseEvent(name, body)
	if err != nil {
		return nil, err
	}
	switch signed := e.SignedName(); {
	case signed == "":
	case name == "":
		if e, err = walletcrew.ParseEvent(signed, body); err != nil {
			return nil, err
		}
	case !name.Matches(signed):
		return nil, ErrEventNameMismatch
	}
	e.TenantID = tenant
	return e, nil
}

// firstRead bounds what is allocated for a body before any of it came: a header costs a flooder nothing.
const firstRead = 64 << 10

// growth bounds what is allocated for what a header promises, as a multiple of what has come.
const growth = 16

// readBody reads a body whole, up to limit. Length is what the header says, -1 where it doesn't. With an error it returns what
// it has read so far.
func readBody(r io.Reader, length, limit int64) ([]byte, error) {
	if r == nil {
		return nil, nil
	}
	size := int64(4 << 10)
	if length >= 0 {
		size = min(length, firstRead)
	}
	buf := make([]byte, 0, size+1) // one more, to find the end without growing
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > limit:
			return buf, tooLarge(limit)
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				return buf, fmt.Errorf("%w: %w", ErrBodyTooLarge, err)
			}
			return buf, fmt.Errorf("%w: %w", ErrBodyUnreadable, err)
		}
		if len(buf) == cap(buf) {
			size := 2 * int64(cap(buf))
			if length > size {
				size = min(length, growth*int64(cap(buf)))
			}
			grown := make([]byte, len(buf), min(size, limit)+1)
			copy(grown, buf)
			buf = grown
		}
	}
}
