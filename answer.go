package walletcrew

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A Response is an answer with a status of 2xx. Pass a *Response to [Client.Do] if the answer isn't JSON, or if you need its header, such
// as the X-continuationToken with which the platform pages some resources.
type Response struct {
	Header http.Header
	Body   []byte // all of it; 10 MiB at most, also where it was compressed

	status, attempts int
	redirected       bool // it came from another place than was asked
}

const (
	maxAnswerBytes    = 10 << 20
	maxErrorBodyBytes = 64 << 10
)

var errAnswerTooLarge = fmt.Errorf("the answer's body is over %d MiB", maxAnswerBytes>>20)

// read reads and closes the body: all of a 2xx, the beginning of anything else, which becomes an *APIError.
func (a *call) read(resp *http.Response) (Response, error) {
	answer := Response{Header: resp.Header, status: resp.StatusCode, attempts: a.attempts, redirected: redirected(resp)}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusSwitchingProtocols { // no timeout and no context ends the reading of what follows
		_ = resp.Body.Close()
		resp.Body = http.NoBody
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		limit := maxErrorBodyBytes + a.client.key.span()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, int64(limit))) // what came serves
		_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBodyBytes)      // so that the connection can be used again
		e := newAPIError(resp, body)
		e.Body = hideBody(body, a.client.key, len(body) == limit)
		e.Method, e.URL, e.path, e.Attempts = a.method, a.url, a.path, a.attempts
		e.keyless, e.redirected = a.client.key == nil, answer.redirected
		e.redact(a.client.key.hide)
		return answer, e
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return answer, fmt.Errorf("the answer was a success, but its body can't be read: %w", err)
	}
	if len(body) > maxAnswerBytes {
		return answer, errAnswerTooLarge
	}
	answer.Body = body
	return answer, nil
}

// hideBody returns what an error keeps of a body, whose end is missing if it is cut.
func hideBody(body []byte, key apiKey, cut bool) []byte {
	text := key.hide(string(body))
	if cut && text != keyHidden { // half a key may be left at the end
		text = text[:max(0, len(text)-key.span())]
	}
	return []byte(text[:min(len(text), maxErrorBodyBytes)])
}

// notJSON names what came instead of the API's JSON, and from where: a login page, say. "" where it says that it is JSON.
func (a *call) notJSON() string {
	kind := a.answer.Header.Get("Content-Type")
	if kind == "" || strings.Contains(strings.ToLower(kind), "json") {
		return ""
	}
	return fmt.Sprintf(" (it is %s: is %s the API?)", oneLine(kind, 100), hostOf(a.url))
}

// The length of an answer is a poor bound of what it becomes: {}, is 3 bytes, and a Webhook about 100. These are far beyond what a tenant has.
const (
	maxListed = 100_000   // webhooks in one answer
	maxNamed  = 100_000   // values in one webhook
	maxValues = 1_000_000 // values that Do decodes
)

// holdsMore reports whether JSON can hold more than n values, without decoding it: each but the first follows a comma, or is the first
// of an object or array. Commas in texts count too.
func holdsMore(body []byte, n int) bool {
	return bytes.Count(body, []byte(","))+bytes.Count(body, []byte("["))+bytes.Count(body, []byte("{")) > n
}

// decodeAnswer decodes a webhook as indulgently as encoding/json does, and in half the time.
func decodeAnswer(body []byte, v any) error {
	if holdsMore(body, maxNamed) {
		return fmt.Errorf("a webhook has more than %d values", maxNamed)
	}
	return jsonv2.Unmarshal(body, v, indulgent)
}

// decodeList takes the documented "all webhooks" as an array. That it is one, and not an object around one, is our inference:
// an object with one array in it serves too.
func decodeList(ctx context.Context, body []byte, webhooks *[]Webhook) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(body), indulgent)
	switch d.PeekKind() {
	case '[':
		if err := decodeWebhooks(ctx, d, webhooks); err != nil {
			return err
		}
	case '{':
		if err := decodeWebhooksWithin(ctx, d, webhooks); err != nil {
			return err
		}
	default:
		if err := decodeAnswer(body, webhooks); err != nil {
			return err
		}
		return errNoArray // null
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("it is not JSON (at byte %d)", d.InputOffset())
	}
	return nil
}

var errNoArray = errors.New("it is no array, and has none in it")

func decodeWebhooksWithin(ctx context.Context, d *jsontext.Decoder, webhooks *[]Webhook) error {
	if _, err := d.ReadToken(); err != nil { // {
		return err
	}
	found := false
	for d.PeekKind() != '}' {
		if _, err := d.ReadToken(); err != nil { // the member's name
			return err
		}
		if d.PeekKind() != '[' {
			if err := d.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if found {
			return errors.New("it is an object with several arrays, not an array")
		}
		found = true
		if err := decodeWebhooks(ctx, d, webhooks); err != nil {
			return err
		}
	}
	if !found {
		return errNoArray
	}
	_, err := d.ReadToken()
	return err
}

func decodeWebhooks(ctx context.Context, d *jsontext.Decoder, webhooks *[]Webhook) error {
	if _, err := d.ReadToken(); err != nil { // [
		return err
	}
	*webhooks = []Webhook{}
	for d.PeekKind() != ']' {
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		n := len(*webhooks)
		if n == maxListed {
			return fmt.Errorf("the list holds more than %d webhooks", maxListed)
		}
		if n%256 == 255 && ctx.Err() != nil { // a short list that came counts
			return ctx.Err()
		}
		*webhooks = append(*webhooks, Webhook{})
		if err := decodeAnswer(value, &(*webhooks)[n]); err != nil {
			return err
		}
		if (*webhooks)[n].ID == "" { // a gateway's [{"error":"..."}], say, which would be a list without the webhooks that there are
			return errors.New(`a webhook in it has no member "id"`)
		}
	}
	_, err := d.ReadToken()
	return err
}

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
