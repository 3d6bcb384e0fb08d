package walletcrew

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// decode reads the body into e: what the SDK itself needs, and Data.
func (e *Event) decode(p payload) error {
	body := e.json()
	if kind := jsontext.Value(body).Kind(); kind != '{' && kind != 0 {
		return errNotObject
	}
	data := reflect.New(p.t)
	e.Data = data.Interface()
	var all map[string]json.RawMessage // the one field of UnknownEvent and its like
	if first := data.Elem().Field(0); first.Kind() == reflect.Map {
		all = map[string]json.RawMessage{}
		first.Set(reflect.ValueOf(all))
	}
	err := scan(body, func(s *scanner) error {
		defer func() { e.Misfits = s.misfits }()
		return s.object(data.Elem(), p.fields, func(name string) error {
			value, err := s.value()
			if err != nil {
				return err
			}
			if all != nil {
				all[name] = s.raw(value)
			}
			switch name {
			case "__id":
				e.ID = scalar(value)
			case "__eventName":
				e.signedName = EventName(scalar(value)).payload().name
			}
			return nil
		})
	})
	if slices.Contains(e.Misfits, "passId") {
		e.DataErr = fmt.Errorf(`walletcrew: the payload does not fit %s: member "passId" is an object or an array`, e.Name)
		return e.decode(unknownEvent)
	}
	return err
}

// json is the body without the byte order mark that some senders put before it.
func (e *Event) json() []byte { return bytes.TrimPrefix(e.Raw, []byte("\ufeff")) }

var (
	errNotUTF8   = errors.New("walletcrew: it is not valid UTF-8")
	errNotObject = errors.New("walletcrew: it is not a JSON object")
	errNotAlone  = errors.New("walletcrew: something follows the JSON value")
)

// A scanner reads JSON. What it yields are parts of the body, and of one copy of it for strings, so that a member costs no allocation of
// its own.
type scanner struct {
	dec     *jsontext.Decoder // refuses duplicate names
	buf     bytes.Buffer      // dec's
	body    []byte
	text    string   // body
	misfits []string // the members that didn't fit their field
}

var scanners = sync.Pool{New: func() any {
	s := new(scanner)
	s.dec = jsontext.NewDecoder(&s.buf)
	return s
}}

// scan lets read take the one value that body must be. Half a surrogate pair becomes U+FFFD. JSON v2 has one option for that and for
// invalid UTF-8, which is refused.
func scan(body []byte, read func(*scanner) error) error {
	if !utf8.Valid(body) {
		return errNotUTF8
	}
	s := scanners.Get().(*scanner)
	s.body, s.text, s.buf = body, string(body), *bytes.NewBuffer(body)
	s.dec.Reset(&s.buf, jsontext.AllowInvalidUTF8(true))
	defer func() {
		*s = scanner{dec: s.dec} // the pool must not keep the body
		s.dec.Reset(&s.buf)
		scanners.Put(s)
	}()
	if err := read(s); err != nil {
		return err
	}
	switch more, err := s.dec.ReadValue(); {
	case err == nil:
		return &jsontext.SyntacticError{ByteOffset: s.dec.InputOffset() - int64(len(more)), Err: errNotAlone}
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// value returns the next value as it is written.
func (s *scanner) value() (string, error) {
	value, err := s.dec.ReadValue()
	end := int(s.dec.InputOffset())
	return s.text[end-len(value) : end], err
}

// raw returns the value that was read last, as a part of the body.
func (s *scanner) raw(value string) json.RawMessage {
	end := int(s.dec.InputOffset())
	return s.body[end-len(value) : end : end]
}

// each lets read take what is in an object or an array, one by one.
func (s *scanner) each(read func() error) error {
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	for kind := s.dec.PeekKind(); kind != '}' && kind != ']'; kind = s.dec.PeekKind() {
		if err := read(); err != nil {
			return err
		}
	}
	_, err := s.dec.ReadToken()
	return err
}

// object reads an object into a struct: a member into the field that has its name as tag, and any other with other.
func (s *scanner) object(into reflect.Value, fields fields, other func(name string) error) error {
	return s.each(func() error {
		name, err := s.value()
		if err != nil {
			return err
		}
		name = textOf(name)
		if f, ok := fields[name]; ok {
			return s.field(into.FieldByIndex(f.index), f.fields)
		}
		return other(name)
	})
}

// field reads a value for what it says. A field that the value doesn't fit stays empty.
func (s *scanner) field(field reflect.Value, inner fields) error {
	into := field.Addr().Interface()
	switch into := into.(type) {
	case *Values:
		if s.dec.PeekKind() == '{' {
			return s.values(into)
		}
	case *[]string:
		if s.dec.PeekKind() == '[' {
			if fits, err := s.strings(into); fits || err != nil {
				return err
			}
			s.misfit(field)
			return nil
		}
	}
	if inner != nil && s.dec.PeekKind() == '{' {
		if field.Kind() == reflect.Pointer {
			field.Set(reflect.New(field.Type().Elem()))
			field = field.Elem()
		}
		return s.object(field, inner, func(string) error { return s.dec.SkipValue() })
	}
	value, err := s.value()
	if err != nil {
		return err
	}
	if device, ok := into.(*Device); ok {
		device.set(value, s.raw(value))
	} else if !set(into, value) {
		s.misfit(field)
	}
	return nil
}

// misfit is told of a field that the value that was read last doesn't fit.
func (s *scanner) misfit(field reflect.Value) {
	field.SetZero()
	s.misfits = append(s.misfits, strings.ReplaceAll(string(s.dec.StackPointer()[1:]), "/", "."))
}

func (s *scanner) values(v *Values) error {
	*v = Values{}
	return s.each(func() error {
		name, err := s.value()
		if err != nil {
			return err
		}
		value, err := s.value()
		if err == nil {
			(*v)[textOf(name)] = textOf(value)
		}
		return err
	})
}

func (s *scanner) strings(list *[]string) (fits bool, err error) {
	*list, fits = make([]string, 0, 4), true
	err = s.each(func() error {
		value, err := s.value()
		if err == nil {
			*list = append(*list, "")
			fits = set(&(*list)[len(*list)-1], value) && fits
		}
		return err
	})
	return fits, err
}

// set reports whether a value fits what into points to, for what it says.
func set(into any, value string) bool {
	kind := jsontext.Value(value[:1]).Kind()
	switch into := into.(type) {
	case *string:
		if kind != 'n' {
			*into = textOf(value)
		}
		return kind != '{' && kind != '['
	case *int:
		text := textOf(value)
		whole, fraction, _ := strings.Cut(text, ".")
		n, err := strconv.Atoi(whole)
		*into = n
		number := kind == '0' || kind == '"' && err == nil && jsontext.Value(text).IsValid() // not "+3", and not "3."
		return kind == 'n' || number && err == nil && strings.Trim(fraction, "0") == ""
	}
	if kind == '[' && strings.TrimSpace(value[1:len(value)-1]) == "" && jsonv2.Unmarshal([]byte("{}"), into) == nil {
		return true // PHP writes an empty object so
	}
	return jsonv2.Unmarshal([]byte(value), into, jsontext.AllowInvalidUTF8(true)) == nil
}

// A payload is how an event's body is read: into a struct, by the tags of its fields.
type payload struct {
	name   EventName // "" of an unknown event
	t      reflect.Type
	fields fields
}

func payloadOf[T any](name EventName) payload {
	return payload{name, reflect.TypeFor[T](), fieldsOf(reflect.TypeFor[T]())}
}

// payloadInto returns how what v points to is read, if it is a payload.
func payloadInto(v any) (payload, bool) {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer || reflect.ValueOf(v).IsNil() {
		return payload{}, false
	}
	for _, p := range append([]payload{unknownEvent, anyPass}, payloads...) {
		if p.t == t.Elem() {
			return p, true
		}
	}
	return payload{}, false
}

// fields are those of a struct and of structs embedded in it, by the name of the member that each takes.
type fields map[string]struct {
	index  []int
	fields fields // of a struct that is read field by field
}

func fieldsOf(t reflect.Type) fields {
	all := fields{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			continue
		}
		field := all[name]
		field.index = f.Index
		if f.Type.Kind() == reflect.Pointer {
			f.Type = f.Type.Elem()
		}
		if f.Type.Kind() == reflect.Struct && !reflect.PointerTo(f.Type).Implements(reflect.TypeFor[json.Unmarshaler]()) {
			field.fields = fieldsOf(f.Type)
		}
		all[name] = field
	}
	return all
}

// scalar returns what a string says, a number as it is written, and "" for any other value.
func scalar(value string) string {
	if strings.ContainsRune("{[tfn", rune(value[0])) {
		return ""
	}
	return textOf(value)
}

// textOf returns what a string says, and any other value as it is written.
func textOf(value string) string {
	if value[0] != '"' {
		return value
	}
	if strings.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1]
	}
	text, _ := jsontext.AppendUnquote(nil, value) // with U+FFFD where there is an error
	return string(text)
}

// invalidPayload says what is wrong with the body and where, but nothing of what is in it.
func invalidPayload(e *Event, err error) error {
	body := e.json()
	at := -1
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = int(syntactic.ByteOffset)
	}
	reason := "it is not JSON"
	switch {
	case len(body) == 0:
		reason, at = "it is empty; was it read before?", -1
	case !utf8.Valid(body):
		reason = "it is not valid UTF-8"
		at = bytes.IndexByte(bytes.ToValidUTF8(body, []byte{0xff}), 0xff) // a byte that valid UTF-8 doesn't have
	case errors.Is(err, jsontext.ErrDuplicateName):
		reason = "a member name is there twice"
	case json.Valid(body):
		reason = "it is JSON, but not an object"
	case json.NewDecoder(bytes.NewReader(body)).Decode(new(json.RawMessage)) == nil:
		reason = "something follows the object"
	}
	if at < 0 {
		return fmt.Errorf("%w: %s", ErrInvalidPayload, reason)
	}
	return fmt.Errorf("%w: %s (near byte %d)", ErrInvalidPayload, reason, at+len(e.Raw)-len(body))
}
