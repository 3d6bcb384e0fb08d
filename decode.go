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
	text    string      // body
	misfits []string    // the members that didn't fit their field
	named   [][2]string // names and values of an object, for values
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
		*s = scanner{dec: s.dec, named: s.named} // the pool must not keep the body
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

// object reads an object into a struct: a member into the field that has its name as tag, and any other with other. A field that the value
// doesn't fit stays empty.
func (s *scanner) object(into reflect.Value, fields fields, other func(name string) error) error {
	return s.each(func() error {
		name, err := s.value()
		if err != nil {
			return err
		}
		name = textOf(name)
		f, ok := fields[name]
		if !ok {
			return other(name)
		}
		field := into.FieldByIndex(f.index)
		fits, err := f.read(s, field)
		if err == nil && !fits {
			field.SetZero()
			s.misfits = append(s.misfits, strings.ReplaceAll(string(s.dec.StackPointer()[1:]), "/", "."))
		}
		return err
	})
}

// A reader reads the next value into a field, for what it says, and reports whether it fits.
type reader func(s *scanner, field reflect.Value) (fits bool, err error)

// readerOf chooses the reader for fields of a type.
func readerOf(t reflect.Type) reader {
	switch t {
	case reflect.TypeFor[Values]():
		return readValues
	case reflect.TypeFor[[]string]():
		return readStrings
	case reflect.TypeFor[Device]():
		return readDevice
	}
	switch t.Kind() {
	case reflect.String:
		return readString
	case reflect.Int:
		return readInt
	case reflect.Struct:
		if !reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
			return structReader(fieldsOf(t))
		}
	case reflect.Pointer:
		if inner := t.Elem(); inner.Kind() == reflect.Struct {
			return pointerReader(readerOf(inner))
		}
	}
	return readOther
}

func readString(s *scanner, field reflect.Value) (bool, error) {
	value, err := s.value()
	if err != nil {
		return false, err
	}
	text, fits := stringOf(value)
	field.SetString(text)
	return fits, nil
}

func readInt(s *scanner, field reflect.Value) (bool, error) {
	value, err := s.value()
	if err != nil {
		return false, err
	}
	n, fits := intOf(value)
	field.SetInt(int64(n))
	return fits, nil
}

func readDevice(s *scanner, field reflect.Value) (bool, error) {
	value, err := s.value()
	if err != nil {
		return false, err
	}
	field.Addr().Interface().(*Device).set(value, s.raw(value))
	return true, nil
}

func readValues(s *scanner, field reflect.Value) (bool, error) {
	if s.dec.PeekKind() != '{' {
		return readOther(s, field)
	}
	return true, s.values(field.Addr().Interface().(*Values))
}

func readStrings(s *scanner, field reflect.Value) (bool, error) {
	if s.dec.PeekKind() != '[' {
		return readOther(s, field)
	}
	list, all := make([]string, 0, 4), true
	err := s.each(func() error {
		value, err := s.value()
		if err == nil {
			text, fits := stringOf(value)
			list, all = append(list, text), all && fits
		}
		return err
	})
	*field.Addr().Interface().(*[]string) = list
	return all, err
}

func structReader(fields fields) reader {
	return func(s *scanner, field reflect.Value) (bool, error) {
		if s.dec.PeekKind() != '{' {
			return readOther(s, field)
		}
		return true, s.object(field, fields, func(string) error { return s.dec.SkipValue() })
	}
}

func pointerReader(read reader) reader {
	return func(s *scanner, field reflect.Value) (bool, error) {
		if s.dec.PeekKind() != '{' {
			return readOther(s, field)
		}
		field.Set(reflect.New(field.Type().Elem()))
		return read(s, field.Elem())
	}
}

// readOther reads what the JSON library takes, and an empty array for an empty object, as PHP writes it.
func readOther(s *scanner, field reflect.Value) (bool, error) {
	value, err := s.value()
	if err != nil {
		return false, err
	}
	into := field.Addr().Interface()
	if value[0] == '[' && strings.TrimSpace(value[1:len(value)-1]) == "" && jsonv2.Unmarshal([]byte("{}"), into) == nil {
		return true, nil
	}
	return jsonv2.Unmarshal([]byte(value), into, jsontext.AllowInvalidUTF8(true)) == nil, nil
}

// values makes the map when it knows how many there are: one that grows copies what it holds again and again.
func (s *scanner) values(v *Values) error {
	err := s.each(func() error {
		name, err := s.value()
		if err != nil {
			return err
		}
		value, err := s.value()
		if err == nil {
			s.named = append(s.named, [2]string{name, value})
		}
		return err
	})
	*v = make(Values, len(s.named))
	for _, m := range s.named {
		(*v)[textOf(m[0])] = textOf(m[1])
	}
	clear(s.named) // the pool must not keep the body, nor much memory
	if s.named = s.named[:0]; cap(s.named) > 1024 {
		s.named = nil
	}
	return err
}

// stringOf returns what a value says in a string field, and whether it fits one.
func stringOf(value string) (text string, fits bool) {
	switch value[0] {
	case '{', '[':
		return "", false
	case 'n':
		return "", true
	}
	return textOf(value), true
}

// intOf returns what a value says in an integer field, and whether it fits one.
func intOf(value string) (n int, fits bool) {
	switch kind := jsontext.Value(value[:1]).Kind(); kind {
	case 'n':
		return 0, true
	case '0', '"':
		text := textOf(value)
		if kind == '"' && !jsontext.Value(text).IsValid() { // "+3", or "3."
			return 0, false
		}
		whole, fraction, _ := strings.Cut(text, ".")
		n, err := strconv.Atoi(whole)
		return n, err == nil && strings.Trim(fraction, "0") == ""
	}
	return 0, false
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

// fields say where each member of an object goes in a struct, and how it is read: by its name, which is the field's tag.
type fields map[string]struct {
	index []int // more than one for a field of a struct that is embedded
	read  reader
}

func fieldsOf(t reflect.Type) fields {
	all := fields{}
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			field := all[name]
			field.index, field.read = f.Index, readerOf(f.Type)
			all[name] = field
		}
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
