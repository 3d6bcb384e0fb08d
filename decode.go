package walletcrew

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// read decodes the body in one scan: what the SDK itself needs, and the payload.
func (e *Event) read(data payload) error {
	err := readBody(e.Raw, func(r *bodyReader) error { return r.event(e, data) })
	if _, ok := err.(*misfit); ok || err == nil { //nolint:errorlint // nothing wraps it
		return err
	}
	return invalidPayload(e.Raw, err)
}

// A bodyReader decodes a body token by token. What it yields are parts of the body, and of one copy of it for the strings, so
// that a member costs no allocation of its own.
type bodyReader struct {
	dec  *jsontext.Decoder // refuses duplicate names and invalid UTF-8
	buf  bytes.Buffer
	body []byte
	text string // body
	top  string // the member of the body that is being read

	start, end int  // of the value that was read last
	again      bool // it is read once more
}

var bodyReaders = sync.Pool{New: func() any {
	r := new(bodyReader)
	r.dec = jsontext.NewDecoder(&r.buf)
	return r
}}

// readBody lets read take one JSON value, which must be all there is.
func readBody(body []byte, read func(*bodyReader) error) error {
	r := bodyReaders.Get().(*bodyReader)
	r.body, r.text, r.buf = body, string(body), *bytes.NewBuffer(body)
	r.dec.Reset(&r.buf)
	defer func() {
		r.body, r.text, r.top, r.buf, r.again = nil, "", "", bytes.Buffer{}, false
		r.dec.Reset(&r.buf) // the pool must not keep the body
		bodyReaders.Put(r)
	}()
	if err := read(r); err != nil {
		return err
	}
	switch _, err := r.dec.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return errNotAlone
}

var (
	errNotObject = errors.New("not an object")
	errNotAlone  = errors.New("more than one value")
)

// A misfit is a value of another JSON type than a payload's field takes.
type misfit struct {
	member string // of the body
	is     jsontext.Kind
	want   string
}

func (m *misfit) Error() string {
	if m.member == "" {
		return fmt.Sprintf("walletcrew: a JSON %s is not %s", kindName(m.is), m.want)
	}
	return fmt.Sprintf("walletcrew: member %q is a JSON %s, or has one in it, where %s is expected", m.member, kindName(m.is), m.want)
}

// of says for which event it is, and nothing of what is in the body but the name of a member that is known.
func (m *misfit) of(name EventName) error {
	return fmt.Errorf("walletcrew: the payload does not fit %s: %s", name, strings.TrimPrefix(m.Error(), "walletcrew: "))
}

func (r *bodyReader) misfit(is jsontext.Kind, want string) error {
	return &misfit{member: r.top, is: is, want: want}
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case '0':
		return "number"
	}
	return k.String() // null, true, false
}

// next reads the next value, whatever it is, and returns where it is in the body.
func (r *bodyReader) next() (start, end int, err error) {
	if r.again {
		r.again = false
		return r.start, r.end, nil
	}
	raw, err := r.dec.ReadValue()
	r.end = int(r.dec.InputOffset())
	r.start = r.end - len(raw)
	return r.start, r.end, err
}

// value is the next value as a part of the text.
func (r *bodyReader) value() (jsontext.Kind, string, error) {
	start, end, err := r.next()
	if err != nil {
		return 0, "", err
	}
	return jsontext.Value(r.body[start:end]).Kind(), r.text[start:end], nil
}

// raw is the next value as a part of the body.
func (r *bodyReader) raw() (json.RawMessage, error) {
	start, end, err := r.next()
	if err != nil {
		return nil, err
	}
	return r.body[start:end:end], nil
}

func (r *bodyReader) skip() error {
	if r.again {
		r.again = false
		return nil
	}
	return r.dec.SkipValue()
}

// unquote returns the text of a JSON string that is known to be valid.
func unquote(quoted string) (string, error) {
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	text, err := jsontext.AppendUnquote(nil, quoted)
	return string(text), err
}

// members reads an object and hands each member to take, which reads its value. It reports whether there was an object: null
// is none.
func (r *bodyReader) members(take func(name string) error) (bool, error) {
	switch kind := r.dec.PeekKind(); kind {
	case '{':
	case 'n':
		return false, r.skip()
	case '"', '0', 't', 'f', '[':
		return false, r.misfit(kind, "an object")
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return false, err
	}
	for r.dec.PeekKind() != '}' {
		_, quoted, err := r.value()
		if err != nil {
			return false, err
		}
		name, err := unquote(quoted)
		if err != nil {
			return false, err
		}
		if err := take(name); err != nil {
			return false, err
		}
	}
	_, err := r.dec.ReadToken()
	return true, err
}

// event reads the whole body: its metadata into e, and all members into data.
func (r *bodyReader) event(e *Event, data payload) error {
	e.ID, e.signedName, e.Data = "", "", data
	switch r.dec.PeekKind() {
	case 'n', '"', '0', 't', 'f', '[':
		if err := r.skip(); err != nil {
			return err
		}
		return errNotObject
	}
	_, err := r.members(func(name string) error {
		r.top = name
		switch name {
		case "__id", "__eventName":
			if err := r.metadata(e, name); err != nil {
				return err
			}
		}
		return data.read(r, name)
	})
	return err
}

// metadata takes what the SDK itself needs, and leaves the value to be read again by the payload.
func (r *bodyReader) metadata(e *Event, name string) error {
	kind, text, err := r.value()
	if err != nil {
		return err
	}
	r.again = true
	switch kind {
	case '"':
		if text, err = unquote(text); err != nil {
			return err
		}
	case '0':
	default:
		return nil
	}
	if name == "__id" {
		e.ID = text
	} else if signed := EventName(text); signed.isEvent() {
		e.signedName = signed
	}
	return nil
}

func (r *bodyReader) object(p payload) error {
	_, err := r.members(func(name string) error { return p.read(r, name) })
	return err
}

// readNew reads an object into a new T; null leaves nil.
func readNew[T any, P interface {
	*T
	payload
}](r *bodyReader, p *P) error {
	fresh := P(new(T))
	found, err := r.members(func(name string) error { return fresh.read(r, name) })
	if found {
		*p = fresh
	}
	return err
}

func (r *bodyReader) string(s *string) error {
	kind, text, err := r.value()
	switch {
	case err != nil || kind == 'n':
		return err
	case kind != '"':
		return r.misfit(kind, "a string")
	}
	*s, err = unquote(text)
	return err
}

func (r *bodyReader) int(n *int) error {
	kind, text, err := r.value()
	if err != nil || kind == 'n' {
		return err
	}
	number, err := strconv.Atoi(text)
	if kind != '0' || err != nil {
		return r.misfit(kind, "an integer")
	}
	*n = number
	return nil
}

func (r *bodyReader) strings(list *[]string) error {
	switch kind := r.dec.PeekKind(); kind {
	case '[':
	case 'n':
		return r.skip()
	case '"', '0', 't', 'f', '{':
		return r.misfit(kind, "an array of strings")
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	*list = make([]string, 0, 4)
	for r.dec.PeekKind() != ']' {
		var s string
		if err := r.string(&s); err != nil {
			return err
		}
		*list = append(*list, s)
	}
	_, err := r.dec.ReadToken()
	return err
}

func (r *bodyReader) values(v *Values) error {
	values := make(Values)
	found, err := r.members(func(name string) error {
		kind, text, err := r.value()
		if err == nil && kind == '"' {
			text, err = unquote(text)
		}
		values[name] = text
		return err
	})
	*v = nil
	if found {
		*v = values
	}
	return err
}

func (r *bodyReader) device(d *Device) error {
	raw, err := r.raw()
	if err != nil {
		return err
	}
	*d = Device{}
	switch jsontext.Value(raw).Kind() {
	case 'n':
		return nil
	case '"':
		d.Platform, err = unquote(r.text[r.start:r.end])
	}
	d.Raw = raw
	return err
}

func (r *bodyReader) member(members rawMembers, name string) error {
	raw, err := r.raw()
	members[name] = raw
	return err
}

// invalidPayload says what is wrong with the body and where, but nothing of what is in it.
func invalidPayload(body []byte, err error) error {
	reason := "it is not JSON"
	syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case len(body) == 0:
		return fmt.Errorf("%w: it is empty; was it read before?", ErrInvalidPayload)
	case errors.Is(err, errNotObject):
		return fmt.Errorf("%w: it is JSON, but not an object", ErrInvalidPayload)
	case errors.Is(err, errNotAlone):
		reason = "something follows the object"
	case errors.Is(err, jsontext.ErrDuplicateName):
		reason = "a member name is there twice"
	case !utf8.Valid(body):
		reason = "it is not valid UTF-8"
	case json.Valid(body):
		reason = "a string has an escape of half a surrogate pair, which is no character"
	}
	if !ok {
		return fmt.Errorf("%w: %s", ErrInvalidPayload, reason)
	}
	return fmt.Errorf("%w: %s (near byte %d)", ErrInvalidPayload, reason, syntactic.ByteOffset)
}
