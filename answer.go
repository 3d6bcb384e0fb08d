package walletcrew

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A Response is an answer with a status of 2xx, for [Client.Do]: for one that isn't JSON, or whose header counts, such as the
// X-continuationToken with which the platform pages some resources.
type Response struct {
	Header http.Header
	Body   []byte // all of it; 10 MiB at most

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
		text := a.client.key.hide(string(body))
		if len(body) == limit { // half a key may be left at the end
			text = text[:max(0, len(text)-a.client.key.span())]
		}
		text = text[:min(len(text), maxErrorBodyBytes)]
		e := newAPIError(resp, []byte(text))
		e.Method, e.URL, e.path, e.Attempts, e.redirected = a.method, a.url, a.path, a.attempts, answer.redirected
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

// notJSON names what came instead of the API's JSON, and from where: a login page, say. "" where it says that it is JSON.
func (a *call) notJSON() string {
	kind := a.answer.Header.Get("Content-Type")
	if kind == "" || strings.Contains(strings.ToLower(kind), "json") {
		return ""
	}
	return fmt.Sprintf(" (it is %s: is %s the API?)", oneLine(kind, 100), hostOf(a.url))
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
