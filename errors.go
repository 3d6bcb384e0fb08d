package walletcrew

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"iter"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// An APIError is an answer that wasn't 2xx. Use errors.As to get it, and errors.Is with the sentinels ([ErrNotFound] and so on) to tell the
// kinds apart. No field holds the API key: if the server's answer repeats the key, escaped or not, it is replaced (but see [WithAPIKey]
// about short keys).
type APIError struct {
	StatusCode int
	// Type, Title, Detail and Instance are the answer's problem details (RFC 9457); "" where it had
	// none. Title is an HTML answer's <title>.
	Type, Title, Detail, Instance string
	// Errors are the validation messages of each member of the request; nil where there were none.
	Errors map[string][]string
	// Method and URL are those of the request.
	Method, URL string
	Header      http.Header
	// Body is the answer's body, at most its first 64 KiB.
	Body []byte
	// RetryAfter is the wait that the server asked for; 0 if it asked for none.
	RetryAfter time.Duration
	// Attempts counts the requests that this call made, 1 or more.
	Attempts int

	path           string
	outcomeUnknown bool
	keyless        bool // the client has no key
	redirected     bool
	unconfirmed    bool   // a 404 that doesn't prove that there is no such thing
	note           string // what the status doesn't say
}

// What an [APIError] or a [RequestError] can be. Use errors.Is.
var (
	ErrBadRequest   = errors.New("walletcrew: bad request")       // 400, 422
	ErrUnauthorized = errors.New("walletcrew: unauthorized")      // 401: the key (or token) is missing, invalid or revoked
	ErrForbidden    = errors.New("walletcrew: forbidden")         // 403: the key lacks the scope, or a firewall refused the request
	ErrNotFound     = errors.New("walletcrew: not found")         // 404; of a webhook: only if the API says so, or its list does
	ErrConflict     = errors.New("walletcrew: conflict")          // 409
	ErrRateLimited  = errors.New("walletcrew: too many requests") // 429
	ErrServer       = errors.New("walletcrew: server error")      // 5xx

	// ErrOutcomeUnknown: the call failed, but the platform may have carried it out: the answer was
	// lost, couldn't be read, or doesn't say that the request was refused (a 5xx, 302, 303 or 408).
	// Look before you create again; WebhooksService.Ensure does.
	ErrOutcomeUnknown = errors.New("walletcrew: the call may have been carried out")

	// ErrListIncomplete: a list could be read, but not to its end, since the platform doesn't page as
	// this SDK expects. See WebhooksService.All.
	ErrListIncomplete = errors.New("walletcrew: the list may be incomplete")
)

// Is makes errors.Is(err, ErrNotFound) and the like work.
func (e *APIError) Is(target error) bool {
	switch target {
	case ErrBadRequest:
		return e.StatusCode == http.StatusBadRequest || e.StatusCode == http.StatusUnprocessableEntity
	case ErrUnauthorized:
		return e.StatusCode == http.StatusUnauthorized
	case ErrForbidden:
		return e.StatusCode == http.StatusForbidden
	case ErrNotFound:
		return e.StatusCode == http.StatusNotFound && !e.unconfirmed
	case ErrConflict:
		return e.StatusCode == http.StatusConflict
	case ErrRateLimited:
		return e.StatusCode == http.StatusTooManyRequests
	case ErrServer:
		return e.StatusCode >= 500
	case ErrOutcomeUnknown:
		return e.outcomeUnknown
	}
	return false
}

// Error returns one line: method, path, status and the server's message, and the remedy if there is one.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "walletcrew: %s %s: %s", e.Method, e.path, statusText(e.StatusCode))
	said := []string{}
	for _, s := range []string{e.Title, e.Detail} {
		if s != "" && !strings.EqualFold(s, http.StatusText(e.StatusCode)) && !slices.Contains(said, s) {
			said = append(said, s)
		}
	}
	for _, member := range slices.Sorted(maps.Keys(e.Errors)) {
		said = append(said, member+": "+strings.Join(e.Errors[member], " "))
	}
	if len(said) > 0 {
		b.WriteString(": " + oneLine(strings.Join(said, "; "), 1000))
	}
	switch {
	case e.StatusCode == http.StatusUnauthorized && e.keyless:
		b.WriteString(" (no API key is set: use WithAPIKey, or an http.Client whose token is valid)")
	case e.note != "":
		b.WriteString(" (" + e.note + ")")
	case e.StatusCode == http.StatusUnauthorized && e.Detail == "":
		fmt.Fprintf(&b, " (check the API key: it is invalid, revoked, or not one of %s)", hostOf(e.URL))
	case e.StatusCode == http.StatusProxyAuthRequired:
		b.WriteString(" (this is a proxy's answer: check the user and the password in its URL)")
	case e.StatusCode == http.StatusNotFound && len(said) == 0:
		fmt.Fprintf(&b, " (if nothing is ever found, check the tenant's id and the base URL: this was %s)", hostOf(e.URL))
	case e.StatusCode == http.StatusForbidden && !strings.Contains(e.Header.Get("Content-Type"), "html"):
		b.WriteString(" (check the key's scopes: Webhook.Read to read, Webhook.Write to change)")
	case e.StatusCode/100 == 3:
		b.WriteString(" (not followed: it leads to another host, to http or to another method; check the base URL)")
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, ", retry after %v", e.RetryAfter)
	}
	b.WriteString(attemptsText(e.Attempts, e.outcomeUnknown))
	return b.String()
}

// A RequestError means that a call got no usable answer. There was no connection, or it broke, or the context was cancelled, or the body of
// a 2xx can't be read or decoded. errors.Is finds the cause in it, such as [context.Canceled]. It also finds [ErrOutcomeUnknown] if the
// platform may have carried out the call.
type RequestError struct {
	Method, URL string
	// Attempts counts the requests that this call made; 0 if the context had ended before the
	// first.
	Attempts int
	Err      error

	path           string
	outcomeUnknown bool
}

// Error returns one line: method, path, cause and attempts.
func (e *RequestError) Error() string {
	return fmt.Sprintf("walletcrew: %s %s: %s%s", e.Method, e.path, oneLine(plain(e.Err), 1000),
		attemptsText(e.Attempts, e.outcomeUnknown))
}

// Unwrap returns the cause.
func (e *RequestError) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrOutcomeUnknown) work.
func (e *RequestError) Is(target error) bool { return target == ErrOutcomeUnknown && e.outcomeUnknown }

// A stepError says at which step of a longer call err came. Unlike fmt's, it names the package once.
type stepError struct {
	step           string
	err            error
	outcomeUnknown bool
}

func (e *stepError) Error() string { return "walletcrew: " + e.step + ": " + plain(e.err) }

// plain is an error's text without the package's name, to be put into another's.
func plain(err error) string { return strings.ReplaceAll(err.Error(), "walletcrew: ", "") }

func (e *stepError) Unwrap() error { return e.err }

func (e *stepError) Is(target error) bool { return target == ErrOutcomeUnknown && e.outcomeUnknown }

// A ValidationError is an argument that was refused before anything was sent.
type ValidationError struct {
	Field  string // as the API spells it: "endpoint", "events", "id"
	Reason string
}

// Error names the field and the reason.
func (e *ValidationError) Error() string { return "walletcrew: " + e.Field + " " + e.Reason }

// causes goes through err and all that it wraps.
func causes(err error) iter.Seq[error] {
	return func(yield func(error) bool) { eachCause(err, yield) }
}

func eachCause(err error, yield func(error) bool) bool {
	if err == nil {
		return true
	}
	if !yield(err) {
		return false
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, cause := range many.Unwrap() {
			if !eachCause(cause, yield) {
				return false
			}
		}
		return true
	}
	return eachCause(errors.Unwrap(err), yield)
}

func statusText(code int) string {
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "the host"
	}
	return u.Host
}

func attemptsText(attempts int, outcomeUnknown bool) string {
	s := ""
	if attempts > 1 {
		s = fmt.Sprintf(" (after %d attempts)", attempts)
	}
	if outcomeUnknown {
		s += " (the call may have been carried out)"
	}
	return s
}

// newAPIError reads what it can from an answer; body is its beginning, and isn't kept. Members of another type than RFC 9457 says are left out.
func newAPIError(resp *http.Response, body []byte) *APIError {
	e := &APIError{StatusCode: resp.StatusCode, Header: resp.Header, RetryAfter: retryAfter(resp.Header)}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		e.Title = htmlTitle(body)
		return e
	}
	for name, field := range map[string]*string{"type": &e.Type, "title": &e.Title, "detail": &e.Detail, "instance": &e.Instance} {
		_ = json.Unmarshal(members[name], field)
	}
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(members["errors"], &fields)
	for member, value := range fields {
		var messages []string
		if json.Unmarshal(value, &messages) != nil {
			var message string
			if json.Unmarshal(value, &message) != nil {
				continue
			}
			messages = []string{message}
		}
		if e.Errors == nil {
			e.Errors = make(map[string][]string, len(fields))
		}
		e.Errors[member] = messages
	}
	return e
}

// redact takes the key out of all that the server said: a server that repeats the request must not bring it into a log.
func (e *APIError) redact(hide func(string) string) {
	for _, s := range []*string{&e.Type, &e.Title, &e.Detail, &e.Instance, &e.URL, &e.path} {
		*s = hide(*s)
	}
	fields := make(map[string][]string, len(e.Errors))
	for member, messages := range e.Errors {
		for _, m := range messages {
			fields[hide(member)] = append(fields[hide(member)], hide(m))
		}
	}
	if e.Errors != nil {
		e.Errors = fields
	}
	header := make(http.Header, len(e.Header))
	for name, values := range e.Header {
		for _, v := range values {
			header[hide(name)] = append(header[hide(name)], hide(v))
		}
	}
	e.Header = header
}

// retryAfter reads both forms of the header: seconds and a date. 0 where there is none, or none in the future.
func retryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	// Out of range is the most there is, not nothing.
	if seconds, err := strconv.ParseUint(value, 10, 63); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, math.MaxInt64/uint64(time.Second))) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(date))
	}
	return 0
}

// htmlTitle returns the title of a page, which is what a firewall's or a proxy's page says in a few words.
func htmlTitle(body []byte) string {
	page := string(body)
	lower := asciiLower(page)
	start := strings.Index(lower, "<title")
	if start < 0 {
		return ""
	}
	open := strings.IndexByte(lower[start:], '>')
	if open < 0 {
		return ""
	}
	start += open + 1
	end := strings.Index(lower[start:], "</title")
	if end < 0 {
		return ""
	}
	return oneLine(html.UnescapeString(page[start:start+end]), maxErrorBodyBytes) // Error cuts it, when the key is out of it
}

// asciiLower keeps every byte in its place, which strings.ToLower doesn't.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// oneLine makes text from outside fit for one line of a log: no control characters, single spaces, at most n bytes.
func oneLine(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
