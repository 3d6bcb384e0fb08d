package verifier

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/dedupekey"
)

// A Delivery is a request to the endpoint and the result of checking it. Reading it from several
// goroutines is safe.
type Delivery struct {
	// Event is nil unless everything held.
	Event *walletcrew.Event
	// Body is the body, as far as it was read.
	Body []byte
	// ClaimedName and ClaimedTenant are from the headers, which aren't signed: an attacker may have
	// written them.
	ClaimedName   walletcrew.EventName
	ClaimedTenant string
	// Authentic is true if the signature held.
	Authentic bool
	// Scope is for deduplication: the event's "__id" is unique within it. The source chooses it,
	// never the sender. "" unless Authentic. Delivery.Key is made of Scope and "__id".
	Scope string
	// Read, Verify and Decode are the times that the steps took; 0 for a step that wasn't reached.
	// Verify includes the look-up of secrets.
	Read, Verify, Decode time.Duration
}

// Format writes the name and tenant in the headers, whether the signature held, and the body's size. It never writes the body, whatever the
// verb.
func (d Delivery) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "verifier.Delivery(claimed name %.200q, claimed tenant %.200q, authentic %t, %d bytes)", string(d.ClaimedName), d.ClaimedTenant, d.Authentic, len(d.Body))
}

// LogValue is slog's [slog.LogValuer]: a group of claimed_name, claimed_tenant, authentic and size (in bytes).
func (d Delivery) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("claimed_name", fmt.Sprintf("%.200s", string(d.ClaimedName))), slog.String("claimed_tenant", fmt.Sprintf("%.200s", d.ClaimedTenant)),
		slog.Bool("authentic", d.Authentic), slog.Int("size", len(d.Body)),
	)
}

// Key returns the event's deduplication key: its "__id" within the scope. It is "" if there is no event, or if the event has no "__id".
// Behind [Verifier.Middleware] and in a handler's function, receiver.Key returns the same. Elsewhere, pass it on with receiver.WithKey.
func (d *Delivery) Key() string {
	if d.Event == nil {
		return ""
	}
	return dedupekey.Of(d.Scope, d.Event.ID)
}

// Delivery reads, verifies and decodes a delivery from a net/http request. The body is read to its end and not put back;
// [Verifier.Middleware] does that. The Delivery is never nil: with an error, it holds the results so far.
//
// The errors are those of [Verifier.DeliveryFrom], [ErrMethodNotAllowed] and [ErrBodyUnreadable]. Answer with [StatusCode].
func (v *Verifier) Delivery(r *http.Request) (*Delivery, error) {
	began := time.Now()
	header := requestHeader(r.Header)
	d := claimed(header)
	sig, err := v.checkRequest(r, header)
	if err != nil {
		return d, err
	}
	d.Body, err = readBody(r.Body, r.ContentLength, v.maxBodyBytes)
	d.Read = time.Since(began)
	if err != nil {
		return d, err
	}
	if err := v.accept(r.Context(), d, sig, began); err != nil {
		return d, explainBody(err, r.ContentLength, d.Body)
	}
	return d, nil
}

// DeliveryFrom verifies and decodes a delivery; it serves any framework. Header returns the value of a header, or "" if there is none. It
// is called with the canonical name first (X-Neostore-Signature), then with the lower-case one. Body is the body as it came over the wire.
// The Delivery is never nil: with an error, it holds the results so far.
//
// Delivery.Body and Event.Raw are body itself, not a copy. The names and tenants are the strings that header returned. If your framework
// reuses its buffers, as fiber does, pass copies.
//
// The event's name is that in the header, or without a header, that in the signed body. An event without any name is no error.
//
// The errors are those of [Verifier.Verify], [ErrBodyTooLarge], [ErrEncodingNotSupported], [ErrEventNameMismatch] and
// [walletcrew.ErrInvalidPayload]. Answer with [StatusCode].
func (v *Verifier) DeliveryFrom(ctx context.Context, header func(name string) string, body []byte) (*Delivery, error) {
	h := headerFunc(header)
	d := claimed(h)
	d.Body = body
	sig, err := checkHeader(h)
	switch {
	case err != nil:
		return d, err
	case int64(len(body)) > v.maxBodyBytes:
		return d, tooLarge(v.maxBodyBytes)
	}
	return d, explainBody(v.accept(ctx, d, sig, time.Now()), -1, body)
}

// Event is [Verifier.Delivery] for callers who only need the event.
func (v *Verifier) Event(r *http.Request) (*walletcrew.Event, error) {
	d, err := v.Delivery(r)
	return d.Event, err
}

// EventFrom is [Verifier.DeliveryFrom] for callers who only need the event.
func (v *Verifier) EventFrom(ctx context.Context, header func(name string) string, body []byte) (*walletcrew.Event, error) {
	d, err := v.DeliveryFrom(ctx, header, body)
	return d.Event, err
}

// accept settles what the delivery is: authentic, then named, then decoded.
func (v *Verifier) accept(ctx context.Context, d *Delivery, sig walletcrew.Signature, received time.Time) error {
	fit, err := v.verify(ctx, d.ClaimedTenant, d.Body, sig)
	d.Verify = time.Since(received) - d.Read // which costs half of what time.Now does
	if err != nil {
		return err
	}
	d.Authentic, d.Scope = true, v.lookup.scope(fit)
	d.Event, err = decode(d.ClaimedName, cmp.Or(fit.id, d.ClaimedTenant), d.Body)
	if err == nil {
		d.Event.ReceivedAt = received.Round(0).UTC() // as JSON keeps it, without the monotonic clock
	}
	d.Decode = time.Since(received) - d.Read - d.Verify
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
	case e.Name != signed: // both are spelled as documented, if they are known
		return nil, ErrEventNameMismatch
	}
	e.TenantID = tenant
	return e, nil
}

// checkRequest refuses what needs no look at the body.
func (v *Verifier) checkRequest(r *http.Request, h requestHeader) (walletcrew.Signature, error) {
	switch {
	case r.Method != http.MethodPost:
		return walletcrew.Signature{}, ErrMethodNotAllowed
	case r.ContentLength > v.maxBodyBytes:
		return walletcrew.Signature{}, tooLarge(v.maxBodyBytes)
	case slices.ContainsFunc(h[headerEncoding.canonical], func(line string) bool { return !isIdentity(line) }):
		return walletcrew.Signature{}, encodingNotSupported(strings.Join(h[headerEncoding.canonical], ", "))
	}
	return checkHeader(h)
}

// checkHeader refuses what needs no look at the body, for any framework.
func checkHeader(h header) (walletcrew.Signature, error) {
	if encoding := h.get(headerEncoding); !isIdentity(encoding) {
		return walletcrew.Signature{}, encodingNotSupported(encoding)
	}
	signature := h.get(headerSignature)
	sig, err := walletcrew.ParseSignature(signature)
	return sig, explainSignature(err, signature)
}

// isIdentity reports whether a Content-Encoding leaves the body as it is. A charset is no encoding, and some senders and proxies write
// it there.
func isIdentity(encoding string) bool {
	if encoding == "" {
		return true
	}
	for part := range strings.SplitSeq(encoding, ",") {
		part = strings.ToLower(strings.TrimSpace(part))
		if part != "identity" && !isCharset(strings.Trim(strings.TrimPrefix(part, "charset="), `"`)) {
			return false
		}
	}
	return true
}

func isCharset(name string) bool {
	switch name {
	case "utf-8", "utf8", "utf-8-bom", "us-ascii", "ascii", "latin1", "latin-1", "iso8859-1", "windows-1252", "cp1252":
		return true
	}
	n, found := strings.CutPrefix(name, "iso-8859-")
	part, err := strconv.Atoi(n)
	return found && err == nil && part >= 1 && part <= 16
}

func claimed(h header) *Delivery {
	return &Delivery{ClaimedName: walletcrew.EventName(h.get(headerEventName)), ClaimedTenant: h.get(headerTenantID)}
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

// explainBody says what is plain to see where a signature doesn't match: the body isn't what was sent. Promised is what Content-Length
// says, -1 if it says nothing.
func explainBody(err error, promised int64, body []byte) error {
	if !errors.Is(err, walletcrew.ErrSignatureMismatch) {
		return err
	}
	switch {
	case promised >= 0 && promised != int64(len(body)):
		return fmt.Errorf("%w: Content-Length says %d bytes, and %d were left to read: something before has read or changed the body",
			err, promised, len(body))
	case len(body) == 0:
		return fmt.Errorf("%w: the body is empty: something before may have read it", err)
	case bytes.HasPrefix(body, []byte(gzipMagic)):
		return fmt.Errorf("%w: the body is compressed with gzip, and no Content-Encoding says so", err)
	case bytes.HasPrefix(body, []byte(base64Object)):
		return fmt.Errorf("%w: the body is base64, as API Gateway passes it: decode it first", err)
	}
	return err
}

const base64Object = "eyJ" // base64 of {"

// explainSignature says what is plain to see of a signature that can't be one.
func explainSignature(err error, signature string) error {
	if !errors.Is(err, walletcrew.ErrMalformedSignature) {
		return err
	}
	if len(signature) > maxExplained {
		return fmt.Errorf("%w: it has %d characters", err, len(signature))
	}
	return fmt.Errorf("%w: %s", err, shape(strings.TrimSpace(signature)))
}

const maxExplained = 256 // characters
