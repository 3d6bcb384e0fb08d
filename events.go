package walletcrew

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An Event is one delivery's content. Make it with [ParseEvent], or let the package verifier make it from a request.
// Reading it from several goroutines is safe.
//
// Its strings, ID and those of Data, are parts of one copy of the body: keep strings.Clone of one that outlives the event, or all of
// the body stays in memory.
//
// To hand it over to a queue or a table of your own, keep Name, TenantID and Raw, from which ParseEvent makes it again: encoding/json
// writes an Event, but can't read one.
type Event struct {
	// ID is the member "__id", the idempotency key: deliveries of one event carry the same. Its
	// type isn't documented: a string is taken as it is, a number as its JSON text. "" where there
	// is none, or where it is anything else.
	ID string
	// Name is what the event is called, as ParseEvent was told; in the package verifier, what the
	// header says.
	Name EventName
	// TenantID is what the delivery's tenant header says; "" from ParseEvent. The header isn't
	// signed.
	TenantID string
	// Data is the payload: a pointer to one of this package's payload types, such as
	// *PassInstalled; *UnknownEvent where the name isn't known to this version, or where the
	// payload doesn't fit the name's type.
	Data any
	// DataErr says why a known event became an *UnknownEvent, and in a function of a receiver.Mux
	// also why a more specific function couldn't take the event; nil otherwise.
	DataErr error
	// Raw is the body, byte for byte. It shares memory with what was passed in: who owns that must
	// not change it while the event is in use.
	Raw []byte

	signedName EventName
}

// ErrInvalidPayload means that the body isn't one JSON object in valid UTF-8 whose member names are unique and whose strings are
// Unicode: an escape of half a surrogate pair, such as \ud83d alone, isn't. (Readers disagree about which of two names counts, and
// about what half a pair is.) Use errors.Is.
var ErrInvalidPayload = errors.New("walletcrew: the body is not a valid JSON object")

// ParseEvent decodes a delivery's body; it verifies nothing. Name stays as given, and decides which type Data gets: names are
// compared with case ignored and '.' taken for ':'. A name or a payload that this version doesn't know makes an *[UnknownEvent],
// never an error. The one error is [ErrInvalidPayload].
//
// No member but "__id" is documented by the platform; the payload types hold what its other integrations carry.
func ParseEvent(name EventName, body []byte) (*Event, error) {
	e := &Event{Name: name, Raw: body}
	if data := payloadOf(name); data != nil {
		err := e.read(data)
		if err == nil {
			return e, nil
		}
		m, ok := err.(*misfit) //nolint:errorlint // nothing wraps it
		if !ok {
			return nil, err
		}
		e.DataErr = m.of(name)
	}
	// For a misfit once more, since it ended the reading before all of the body was seen.
	if err := e.read(&UnknownEvent{rawMembers{}}); err != nil {
		return nil, err
	}
	return e, nil
}

// Decode decodes the body into your own type, as [encoding/json.Unmarshal] does, which takes member names in any case; Data is made
// of names as they are documented. It decodes anew at each call. The error's text holds nothing of the body; errors.As finds
// encoding/json's own, which may.
func (e *Event) Decode(v any) error {
	if err := json.Unmarshal(e.Raw, v); err != nil {
		return &decodingError{e.Name, err}
	}
	return nil
}

type decodingError struct {
	name EventName
	err  error
}

func (d *decodingError) Error() string {
	return fmt.Sprintf("walletcrew: decode %s: %v", d.name, jsonError(d.err))
}

func (d *decodingError) Unwrap() error { return d.err }

// Members returns every member of the body as it came. The map is made anew at each call and is yours, its values are parts of
// Raw. It is nil where Raw isn't a JSON object, which an event from [ParseEvent] can't be.
func (e *Event) Members() map[string]json.RawMessage {
	all := Event{Raw: e.Raw}
	if all.read(&UnknownEvent{rawMembers{}}) != nil {
		return nil
	}
	return all.Data.(*UnknownEvent).Members
}

// Metadata returns the members whose name begins with "__", as [Event.Members] does. Which there are besides "__id" isn't
// documented.
func (e *Event) Metadata() map[string]json.RawMessage {
	members := e.Members()
	for name := range members {
		if !strings.HasPrefix(name, "__") {
			delete(members, name)
		}
	}
	return members
}

// SignedName returns how the body itself, which is signed, names the event: the member "__eventName" where it is a string of
// the form Category:Name (or Category.Name), else "". That member isn't documented; the event name header isn't signed.
func (e *Event) SignedName() EventName { return e.signedName }

// An EventName names an event, such as "Pass:Installed", or several with '*', such as "Pass:*" (see [EventName.Matches]).
// The platform's list grows: a name that isn't among the constants is no error anywhere in this module.
type EventName string

// The events the platform documents (webhook guide), and the patterns for a subscription.
const (
	EventPassCreated        EventName = "Pass:Created"
	EventPassInstalled      EventName = "Pass:Installed"
	EventPassUninstalled    EventName = "Pass:Uninstalled"
	EventPassUpdated        EventName = "Pass:Updated"
	EventPassUpdateSent     EventName = "Pass:UpdateSent"
	EventCustomerUpserted   EventName = "Customer:Upserted"
	EventRedirectRedirected EventName = "Redirect:Redirected"

	AllEvents         EventName = "*"
	AllPassEvents     EventName = "Pass:*"
	AllCustomerEvents EventName = "Customer:*"
	AllRedirectEvents EventName = "Redirect:*"
)

// payloads says what each known event is decoded into. To add an event: a constant above, its type with a method read below, a
// row here.
var payloads = map[EventName]func() payload{
	EventPassCreated:        func() payload { return new(PassCreated) },
	EventPassInstalled:      func() payload { return new(PassInstalled) },
	EventPassUninstalled:    func() payload { return new(PassUninstalled) },
	EventPassUpdated:        func() payload { return new(PassUpdated) },
	EventPassUpdateSent:     func() payload { return new(PassUpdateSent) },
	EventCustomerUpserted:   func() payload { return &CustomerUpserted{rawMembers{}} },
	EventRedirectRedirected: func() payload { return &RedirectRedirected{rawMembers{}} },
}

type rawMembers = map[string]json.RawMessage

// A payload takes in the value of one member of the body, which is next in r: all of it, or a misfit.
type payload interface {
	read(r *bodyReader, member string) error
}

// Pass is what every pass event carries, as far as known: the names come from the platform's other integrations. A field is
// empty where the body has no such member, or null.
type Pass struct {
	PassID      string `json:"passId,omitzero"`
	PassType    string `json:"passType,omitzero"`    // the template
	PassKind    string `json:"passKind,omitzero"`    // "customerCard", "eventTicket", "giftCard", "offer", "generic"
	Identifiers Values `json:"identifiers,omitzero"` // "customerId", "email" and the like
	Metadata    Values `json:"metadata,omitzero"`
}

func (p *Pass) read(r *bodyReader, member string) error {
	switch member {
	case "passId":
		return r.string(&p.PassID)
	case "passType":
		return r.string(&p.PassType)
	case "passKind":
		return r.string(&p.PassKind)
	case "identifiers":
		return r.values(&p.Identifiers)
	case "metadata":
		return r.values(&p.Metadata)
	}
	return r.skip()
}

// PassCreated is the payload of "Pass:Created".
type PassCreated struct{ Pass }

// PassUpdated is the payload of "Pass:Updated".
type PassUpdated struct{ Pass }

// PassUpdateSent is the payload of "Pass:UpdateSent".
type PassUpdateSent struct{ Pass }

// PassInstalled is the payload of "Pass:Installed". It can come several times for one pass: installed again, or on several
// devices.
type PassInstalled struct {
	Pass
	Device                Device                 `json:"device,omitzero"`
	AdditionalInformation *AdditionalInformation `json:"additionalInformation,omitzero"`
}

func (p *PassInstalled) read(r *bodyReader, member string) error {
	switch member {
	case "device":
		return r.device(&p.Device)
	case "additionalInformation":
		return readNew(r, &p.AdditionalInformation)
	}
	return p.Pass.read(r, member)
}

// PassUninstalled is the payload of "Pass:Uninstalled".
type PassUninstalled struct {
	Pass
	Device                Device                 `json:"device,omitzero"`
	AdditionalInformation *AdditionalInformation `json:"additionalInformation,omitzero"`
}

func (p *PassUninstalled) read(r *bodyReader, member string) error {
	switch member {
	case "device":
		return r.device(&p.Device)
	case "additionalInformation":
		return readNew(r, &p.AdditionalInformation)
	}
	return p.Pass.read(r, member)
}

// CustomerUpserted is the payload of "Customer:Upserted". No member of it is documented: Members holds all that came, those
// whose name begins with "__" too. [Event.Decode] turns it into your own type.
type CustomerUpserted struct {
	Members map[string]json.RawMessage
}

func (c *CustomerUpserted) read(r *bodyReader, member string) error {
	return r.member(c.Members, member)
}

// RedirectRedirected is the payload of "Redirect:Redirected" (a QR code or link was followed). No member of it is documented:
// Members holds all that came, those whose name begins with "__" too. [Event.Decode] turns it into your own type.
type RedirectRedirected struct {
	Members map[string]json.RawMessage
}

func (d *RedirectRedirected) read(r *bodyReader, member string) error {
	return r.member(d.Members, member)
}

// UnknownEvent is the payload of an event whose name this version doesn't know, or whose body doesn't fit its name's type
// ([Event.DataErr] says why). Members holds all that came.
type UnknownEvent struct {
	Members map[string]json.RawMessage
}

func (u *UnknownEvent) read(r *bodyReader, member string) error { return r.member(u.Members, member) }

// Device is where a pass was installed. Its shape isn't documented.
type Device struct {
	// Platform is "apple" or "google", or whatever string came; "" where the member isn't a string.
	Platform string
	// Raw is the member as it came, which may be an object; nil where there was none. It is a part
	// of Event.Raw.
	Raw json.RawMessage
}

// AdditionalInformation says how a pass came to be installed. Names from the platform's other integrations.
type AdditionalInformation struct {
	RegistrationInformation RegistrationInformation `json:"registrationInformation,omitzero"`
	RegistrationSource      RegistrationSource      `json:"registrationSource,omitzero"`
}

func (a *AdditionalInformation) read(r *bodyReader, member string) error {
	switch member {
	case "registrationInformation":
		return r.object(&a.RegistrationInformation)
	case "registrationSource":
		return r.object(&a.RegistrationSource)
	}
	return r.skip()
}

// RegistrationInformation counts a pass's devices.
type RegistrationInformation struct {
	ActiveRegistrationCount int `json:"activeRegistrationCount"`
	TotalRegistrationCount  int `json:"totalRegistrationCount"`
}

func (i *RegistrationInformation) read(r *bodyReader, member string) error {
	switch member {
	case "activeRegistrationCount":
		return r.int(&i.ActiveRegistrationCount)
	case "totalRegistrationCount":
		return r.int(&i.TotalRegistrationCount)
	}
	return r.skip()
}

// RegistrationSource says where the installation came from.
type RegistrationSource struct {
	Tags      []string `json:"tags,omitzero"`
	Medium    string   `json:"medium,omitzero"`
	Origin    string   `json:"origin,omitzero"`
	UserAgent string   `json:"userAgent,omitzero"`
}

func (s *RegistrationSource) read(r *bodyReader, member string) error {
	switch member {
	case "tags":
		return r.strings(&s.Tags)
	case "medium":
		return r.string(&s.Medium)
	case "origin":
		return r.string(&s.Origin)
	case "userAgent":
		return r.string(&s.UserAgent)
	}
	return r.skip()
}

// Values are named values of any JSON type: a string stands as itself, any other value as its JSON text, so that no digit of a
// number is lost (null is "null").
type Values map[string]string

// NameOf returns the name of the event whose payload type v is or points to, "" if it is none. NameOf(PassInstalled{}) is
// "Pass:Installed".
func NameOf(v any) EventName {
	t := reflect.TypeOf(v)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return payloadNames[t]
}

var payloadNames = func() map[reflect.Type]EventName {
	names := make(map[reflect.Type]EventName, len(payloads))
	for name, newPayload := range payloads {
		names[reflect.TypeOf(newPayload()).Elem()] = name
	}
	return names
}()

// Category returns what stands before the first ':' or '.': "Pass" of "Pass:Installed". "" where there is no separator.
func (n EventName) Category() string {
	if i := strings.IndexAny(string(n), ":."); i >= 0 {
		return string(n[:i])
	}
	return ""
}

// Matches reports whether the name fits the pattern: '*' stands for any run of characters, the empty one too; ':' and '.' are
// one separator; case is ignored. The platform's documentation writes patterns in both ways ("Customer:*", "customer.*").
func (n EventName) Matches(pattern EventName) bool {
	// Where a mismatch comes after a '*', that '*' takes one character more; an earlier '*' never needs to be tried again.
	star, retry := -1, 0
	i, j := 0, 0
	for i < len(n) {
		if j < len(pattern) && pattern[j] == '*' {
			star, retry = j, i
			j++
			continue
		}
		if j < len(pattern) {
			r, size := utf8.DecodeRuneInString(string(n[i:]))
			q, width := utf8.DecodeRuneInString(string(pattern[j:]))
			if foldRune(r) == foldRune(q) && (r != utf8.RuneError || n[i:i+size] == pattern[j:j+width]) {
				i, j = i+size, j+width
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, size := utf8.DecodeRuneInString(string(n[retry:]))
		retry += size
		i, j = retry, star+1
	}
	for j < len(pattern) && pattern[j] == '*' {
		j++
	}
	return j == len(pattern)
}

func foldRune(r rune) rune {
	switch {
	case r == '.':
		return ':'
	case r < utf8.RuneSelf:
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	default:
		return unicode.ToLower(unicode.ToUpper(r))
	}
}

// isEvent reports whether n has the form Category:Name: two words with one separator between them.
func (n EventName) isEvent() bool {
	category, name, ok := strings.Cut(strings.ReplaceAll(string(n), ".", ":"), ":")
	return ok && isWord(category) && isWord(name)
}

func isWord(s string) bool {
	for i, r := range s {
		if !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r) && r != '_' && r != '-') {
			return false
		}
	}
	return s != ""
}

// payloadOf returns a new payload for the name, nil where the name isn't known.
func payloadOf(name EventName) payload {
	if newPayload, ok := payloads[name]; ok {
		return newPayload()
	}
	for known, newPayload := range payloads { // the names hold no '*', so that this compares spellings
		if len(known) == len(name) && known.Matches(name) && !strings.Contains(string(name), "*") {
			return newPayload()
		}
	}
	return nil
}

// UnmarshalJSON reads a JSON object, or null for nil.
func (v *Values) UnmarshalJSON(data []byte) error {
	return readBody(data, func(r *bodyReader) error { return r.values(v) })
}

// UnmarshalJSON takes any JSON value.
func (d *Device) UnmarshalJSON(data []byte) error {
	return readBody(bytes.Clone(data), func(r *bodyReader) error { return r.device(d) }) // data is only lent
}

// MarshalJSON writes Raw, or Platform where Raw is empty.
func (d Device) MarshalJSON() ([]byte, error) {
	switch {
	case len(d.Raw) > 0:
		return d.Raw, nil
	case d.Platform != "":
		return json.Marshal(d.Platform)
	}
	return []byte("null"), nil
}

// marshalMembers writes an object also where there is no member: null would be no event.
func marshalMembers(members map[string]json.RawMessage) ([]byte, error) {
	if members == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(members)
}

// MarshalJSON writes the members.
func (c CustomerUpserted) MarshalJSON() ([]byte, error) { return marshalMembers(c.Members) }

// UnmarshalJSON reads the members.
func (c *CustomerUpserted) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &c.Members) }

// MarshalJSON writes the members.
func (d RedirectRedirected) MarshalJSON() ([]byte, error) { return marshalMembers(d.Members) }

// UnmarshalJSON reads the members.
func (d *RedirectRedirected) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &d.Members)
}

// MarshalJSON writes the members.
func (u UnknownEvent) MarshalJSON() ([]byte, error) { return marshalMembers(u.Members) }

// UnmarshalJSON reads the members.
func (u *UnknownEvent) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &u.Members) }
