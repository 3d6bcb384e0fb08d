package walletcrew

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// An Event is one delivery's content. Make it with [ParseEvent], or let the package verifier make it from a request.
// Reading it from several goroutines is safe.
//
// ID and the strings of Data are parts of one copy of the body. If you keep such a string longer than the event, keep a strings.Clone of
// it. Otherwise the whole body stays in memory.
//
// You can store an event in a queue or a table: encoding/json writes it as {"name","tenantId","receivedAt","body"}. Reading that gives the
// same event, with Raw the same to the byte.
//
// Package fmt (every verb) and log/slog print an event's name, id, tenant and size, never its body.
type Event struct {
	// ID is the member "__id", the idempotency key: all deliveries of one event have the same. Its
	// type isn't documented. A string is taken as it is, a number as its JSON text. ID is "" if
	// there is no such member, or if it is anything else.
	ID string
	// Name is the name that ParseEvent was given. The package verifier takes it from the header. A
	// known event has its documented spelling, so you can compare Name with the constants by ==.
	Name EventName
	// TenantID is the tenant in the delivery's header, which isn't signed. With verifier.Tenants it
	// is your own ID of the tenant. ParseEvent leaves it "".
	TenantID string
	// ReceivedAt is the time at which the delivery came in, in UTC. The package verifier sets it;
	// ParseEvent leaves it zero. An event that was stored as JSON and read back keeps it.
	ReceivedAt time.Time
	// Data is the payload: a pointer to one of this package's payload types, such as
	// *PassInstalled. It is an *UnknownEvent if this version doesn't know the name, or if the
	// member "passId" is an object or an array.
	Data any
	// DataErr says why a known event became an *UnknownEvent. In a function of a receiver.Mux it
	// can also say why a more specific function couldn't take the event. Nil otherwise.
	DataErr error
	// Misfits are the members whose value didn't fit their field in Data, in the body's order:
	// "passKind", or "additionalInformation.registrationSource.tags" for one in an object. The
	// field stayed empty. An array fits as a whole or not at all. Nil if everything fitted.
	Misfits []string
	// Raw is the body, byte for byte. It is the slice that was passed to ParseEvent, not a copy:
	// don't change it while the event is in use.
	Raw []byte

	signedName EventName
}

// ErrInvalidPayload means that the body isn't one JSON object in valid UTF-8 whose member names are unique, at any depth. (Readers
// disagree about which of two equal names counts.) Use errors.Is.
var ErrInvalidPayload = errors.New("walletcrew: the body is not a valid JSON object")

// ParseEvent decodes a delivery's body; it verifies nothing. Name decides the type of Data; [EventName.Known] lists the spellings of one
// name. With a name that this version doesn't know, Name stays as given and Data is an [*UnknownEvent]; that is no error. The only error is
// [ErrInvalidPayload].
//
// The platform documents no member but "__id". The fields of the payload types come from its other integrations, so values are read
// leniently:
//
//   - In a string field, a number or a boolean is its text.
//   - In an integer field, "3" and 3.0 are 3.
//   - null is empty.
//   - [] for an object is an empty object, as PHP writes it.
//
// Any other value leaves its field empty and is named in Event.Misfits. [Event.Members] has the value.
//
// Half a surrogate pair, such as the escape \ud83d alone, becomes U+FFFD. A byte order mark before the object is skipped.
func ParseEvent(name EventName, body []byte) (*Event, error) {
	payload := name.payload()
	e := &Event{Name: cmp.Or(payload.name, name), Raw: body}
	if err := e.decode(payload); err != nil {
		return nil, invalidPayload(e, err)
	}
	return e, nil
}

// Decode decodes the body into your own type, as encoding/json.Unmarshal does. Like that, it ignores the case of member names, while Data
// takes them only as they are documented. It decodes anew at each call. The error's text holds nothing of the body. The error of
// encoding/json, which errors.As finds in it, may.
//
// A type of this package, such as a [Pass] for any pass event, is read as leniently as Data is: a field whose value doesn't fit stays
// empty.
func (e *Event) Decode(v any) error {
	if payload, ok := payloadInto(v); ok {
		read := Event{Name: e.Name, Raw: e.Raw}
		if err := read.decode(payload); err != nil {
			return invalidPayload(&read, err)
		}
		if read.DataErr != nil {
			return read.DataErr
		}
		reflect.ValueOf(v).Elem().Set(reflect.ValueOf(read.Data).Elem())
		return nil
	}
	if err := json.Unmarshal(e.json(), v); err != nil {
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

// Members returns every member of the body as it came. Each call makes a new map, which is yours. Its values are parts of Raw. It is nil if
// Raw isn't a JSON object; an event from ParseEvent always has one.
func (e *Event) Members() map[string]json.RawMessage {
	all := Event{Raw: e.Raw}
	if all.decode(unknownEvent) != nil {
		return nil
	}
	return all.Data.(*UnknownEvent).Members
}

// Metadata is [Event.Members] without the members whose name doesn't begin with "__". Only "__id" is documented.
func (e *Event) Metadata() map[string]json.RawMessage {
	members := e.Members()
	for name := range members {
		if !strings.HasPrefix(name, "__") {
			delete(members, name)
		}
	}
	return members
}

// SignedName returns the event name in the signed body, since the name in the header isn't signed. It is the member "__eventName" if that
// is a known event, in its documented spelling, else "". That member isn't documented, so any other value is ignored.
func (e *Event) SignedName() EventName { return e.signedName }

// Pass returns the fields that all pass events have in common, as a part of Data. It is nil if Data is the payload of another event or an
// *UnknownEvent.
func (e *Event) Pass() *Pass {
	if p, ok := e.Data.(interface{ pass() *Pass }); ok {
		return p.pass()
	}
	return nil
}

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

// payloads says what each known event is decoded into, in the order of the platform's documentation. To add an event: a constant above,
// its type below, a row here.
var payloads = []payload{
	payloadOf[PassCreated](EventPassCreated),
	payloadOf[PassInstalled](EventPassInstalled),
	payloadOf[PassUninstalled](EventPassUninstalled),
	payloadOf[PassUpdated](EventPassUpdated),
	payloadOf[PassUpdateSent](EventPassUpdateSent),
	payloadOf[CustomerUpserted](EventCustomerUpserted),
	payloadOf[RedirectRedirected](EventRedirectRedirected),
}

var (
	unknownEvent = payloadOf[UnknownEvent]("")
	anyPass      = payloadOf[Pass]("")
)

// Pass holds the fields that all pass events have in common, as far as known: the names come from the platform's other integrations. A
// field is empty if the body has no such member, or null, or a value that doesn't fit (Event.Misfits).
type Pass struct {
	PassID      string `json:"passId,omitzero"`
	PassType    string `json:"passType,omitzero"`    // the template
	PassKind    string `json:"passKind,omitzero"`    // "customerCard", "eventTicket", "giftCard", "offer", "generic"
	Identifiers Values `json:"identifiers,omitzero"` // "customerId", "email" and the like
	Metadata    Values `json:"metadata,omitzero"`
}

// pass is a method of each type that embeds a Pass, too.
func (p *Pass) pass() *Pass { return p }

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

// PassUninstalled is the payload of "Pass:Uninstalled".
type PassUninstalled struct {
	Pass
	Device                Device                 `json:"device,omitzero"`
	AdditionalInformation *AdditionalInformation `json:"additionalInformation,omitzero"`
}

// CustomerUpserted is the payload of "Customer:Upserted". No member of it is documented, so Members holds all of them, also those whose
// name begins with "__". [Event.Decode] decodes the event into your own type.
type CustomerUpserted struct {
	Members map[string]json.RawMessage
}

// RedirectRedirected is the payload of "Redirect:Redirected" (a QR code or link was followed). No member of it is documented, so Members
// holds all of them, also those whose name begins with "__". [Event.Decode] decodes the event into your own type.
type RedirectRedirected struct {
	Members map[string]json.RawMessage
}

// UnknownEvent is the payload of an event whose name this version doesn't know, or whose passId doesn't fit; in that case, Event.DataErr
// isn't nil. Members holds all members of the body.
type UnknownEvent struct {
	Members map[string]json.RawMessage
}

// Device is where a pass was installed. Its shape isn't documented.
type Device struct {
	// Platform is "apple" or "google", or whatever string came; "" where the member isn't a string.
	Platform string
	// Raw is the member as it came; it may be an object. Nil if there was none. It shares memory
	// with Event.Raw.
	Raw json.RawMessage
}

// AdditionalInformation says how a pass came to be installed. Its names come from the platform's other integrations, not from the
// documentation of webhooks.
type AdditionalInformation struct {
	RegistrationInformation RegistrationInformation `json:"registrationInformation,omitzero"`
	RegistrationSource      RegistrationSource      `json:"registrationSource,omitzero"`
}

// RegistrationInformation counts a pass's devices.
type RegistrationInformation struct {
	ActiveRegistrationCount int `json:"activeRegistrationCount"`
	TotalRegistrationCount  int `json:"totalRegistrationCount"`
}

// RegistrationSource says where the installation came from.
type RegistrationSource struct {
	Tags      []string `json:"tags,omitzero"`
	Medium    string   `json:"medium,omitzero"`
	Origin    string   `json:"origin,omitzero"`
	UserAgent string   `json:"userAgent,omitzero"`
}

// Values are named values of any JSON type: a string stands as itself, any other value as its JSON text, so that no digit of a
// number is lost (null is "null").
type Values map[string]string

// NameOf returns the name of the event that v, or the value that v points to, is the payload of: NameOf(PassInstalled{}) is
// "Pass:Installed". It is "" if v is no payload.
func NameOf(v any) EventName {
	t := reflect.TypeOf(v)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for _, payload := range payloads {
		if payload.t == t {
			return payload.name
		}
	}
	return ""
}

// Category returns the part before the first ':' or '.', such as "Pass" of "Pass:Installed". It is "" if there is no separator.
func (n EventName) Category() string {
	if i := strings.IndexAny(string(n), ":."); i >= 0 {
		return string(n[:i])
	}
	return ""
}

// Known reports whether this version knows the event: whether it is one of [Events], in any spelling. Two names are the same event if they
// differ only in the case of ASCII letters, or in '.' instead of ':'.
func (n EventName) Known() bool { return n.payload().name != "" }

// Events returns the known events, in the order of the platform's documentation. The slice is yours.
func Events() []EventName {
	names := make([]EventName, len(payloads))
	for i, payload := range payloads {
		names[i] = payload.name
	}
	return names
}

// payload returns how the body of an event of this name is read. Its name is the documented spelling, "" if it isn't known.
func (n EventName) payload() payload {
	for _, payload := range payloads {
		if payload.name == n {
			return payload
		}
	}
	for _, payload := range payloads {
		if len(payload.name) == len(n) && !strings.Contains(string(n), "*") && n.Matches(payload.name) {
			return payload
		}
	}
	return unknownEvent
}

// Matches reports whether the name fits the pattern: '*' stands for any run of characters, the empty one too; ':' and '.' are
// one separator; the case of ASCII letters is ignored. The platform's documentation writes patterns in both ways ("Customer:*",
// "customer.*").
func (n EventName) Matches(pattern EventName) bool {
	// Where a mismatch comes after a '*', that '*' takes one byte more; an earlier '*' never needs to be tried again.
	star, retry := -1, 0
	i, j := 0, 0
	for i < len(n) {
		switch {
		case j < len(pattern) && pattern[j] == '*':
			star, retry = j, i
			j++
		case j < len(pattern) && fold(n[i]) == fold(pattern[j]):
			i, j = i+1, j+1
		case star < 0:
			return false
		default:
			retry++
			i, j = retry, star+1
		}
	}
	return strings.Trim(string(pattern[j:]), "*") == ""
}

// fold makes one of the bytes that are one in a name.
func fold(c byte) byte {
	switch {
	case c == '.':
		return ':'
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	}
	return c
}

// UnmarshalJSON reads a JSON object, or null for nil.
func (v *Values) UnmarshalJSON(data []byte) error {
	switch jsontext.Value(data).Kind() {
	case '{':
		return scan(data, func(s *scanner) error { return s.values(v) })
	case 'n':
		*v = nil
		return nil
	}
	return errNotObject
}

// UnmarshalJSON takes any JSON value.
func (d *Device) UnmarshalJSON(data []byte) error {
	if !json.Valid(data) {
		return errors.New("walletcrew: it is not JSON")
	}
	data = bytes.Clone(bytes.TrimSpace(data)) // it is only lent
	d.set(string(data), data)
	return nil
}

func (d *Device) set(value string, raw json.RawMessage) {
	*d = Device{}
	switch value[0] {
	case 'n':
		return
	case '"':
		d.Platform = textOf(value)
	}
	d.Raw = raw
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
