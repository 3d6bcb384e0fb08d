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
// Its strings, ID and those of Data, are parts of one copy of the body: keep strings.Clone of one that outlives the event, or all of
// the body stays in memory.
//
// It can be kept, in a queue or a table of your own: encoding/json writes it as {"name","tenantId","receivedAt","body"}, and reading that
// gives the same event, Raw to the byte. It prints without its body, through fmt (every verb) and log/slog: its name, id, tenant and size.
type Event struct {
	// ID is the member "__id", the idempotency key: deliveries of one event carry the same. Its
	// type isn't documented: a string is taken as it is, a number as its JSON text. "" where there
	// is none, or where it is anything else.
	ID string
	// Name is what the event is called, as ParseEvent was told; in the package verifier, what the
	// header says. A known event has its documented spelling, so that == tells the constants apart.
	Name EventName
	// TenantID is what the delivery's tenant header says, which isn't signed, or with
	// verifier.Tenants the tenant's ID in your own spelling; "" from ParseEvent.
	TenantID string
	// ReceivedAt is when the delivery came in, in UTC: set by package verifier, zero from
	// ParseEvent. An event that was kept has that of its delivery.
	ReceivedAt time.Time
	// Data is the payload: a pointer to one of this package's payload types, such as
	// *PassInstalled; *UnknownEvent where the name isn't known to this version, or where the
	// member "passId" is an object or an array.
	Data any
	// DataErr says why a known event became an *UnknownEvent, and in a function of a receiver.Mux
	// also why a more specific function couldn't take the event; nil otherwise.
	DataErr error
	// Misfits are the members of Data whose value didn't fit their field, which stayed empty, in the
	// body's order: "passKind", or "additionalInformation.registrationSource.tags" for one in an
	// object. An array fits as a whole or not at all. Nil where everything fitted.
	Misfits []string
	// Raw is the body, byte for byte. It shares memory with what was passed in: who owns that must
	// not change it while the event is in use.
	Raw []byte

	signedName EventName
}

// ErrInvalidPayload means that the body isn't one JSON object in valid UTF-8 whose member names are unique, at any depth. (Readers
// disagree about which of two equal names counts.) Use errors.Is.
var ErrInvalidPayload = errors.New("walletcrew: the body is not a valid JSON object")

// ParseEvent decodes a delivery's body; it verifies nothing. Name decides which type Data gets: see [EventName.Known] for
// the spellings of one name. A name that this version doesn't know stays as given, and makes an *[UnknownEvent], never an error. The one
// error is [ErrInvalidPayload].
//
// No member but "__id" is documented by the platform; the payload types hold what its other integrations carry. So values are read
// for what they say: in a string field a number or a boolean is its text, in an integer field "3" and 3.0 are 3, null is empty, and
// [] is an empty object, as PHP writes it. Any other value leaves its field empty and stands in [Event.Misfits]; [Event.Members] has
// it.
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

// Decode decodes the body into your own type, as [encoding/json.Unmarshal] does, which takes member names in any case; Data is made
// of names as they are documented. It decodes anew at each call. The error's text holds nothing of the body; errors.As finds
// encoding/json's own, which may.
//
// A type of this package, such as a [Pass] of any pass event, is read as Data is: leniently, and what doesn't fit stays empty.
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

// Members returns every member of the body as it came. The map is made anew at each call and is yours, its values are parts of
// Raw. It is nil where Raw isn't a JSON object, which an event from [ParseEvent] can't be.
func (e *Event) Members() map[string]json.RawMessage {
	all := Event{Raw: e.Raw}
	if all.decode(unknownEvent) != nil {
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

// SignedName returns how the body itself, which is signed, names the event: the member "__eventName" if it is a known
// event, in its documented spelling, else "". That member isn't documented, so anything else in it is ignored; the event name header
// isn't signed.
func (e *Event) SignedName() EventName { return e.signedName }

// Pass returns what every pass event carries, a part of Data; nil if Data is that of another event or an *UnknownEvent.
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

// Pass is what every pass event carries, as far as known: the names come from the platform's other integrations. A field is
// empty where the body has no such member, null, or a value that doesn't fit ([Event.Misfits]).
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

// CustomerUpserted is the payload of "Customer:Upserted". No member of it is documented: Members holds all that came, those
// whose name begins with "__" too. [Event.Decode] turns it into your own type.
type CustomerUpserted struct {
	Members map[string]json.RawMessage
}

// RedirectRedirected is the payload of "Redirect:Redirected" (a QR code or link was followed). No member of it is documented:
// Members holds all that came, those whose name begins with "__" too. [Event.Decode] turns it into your own type.
type RedirectRedirected struct {
	Members map[string]json.RawMessage
}

// UnknownEvent is the payload of an event whose name this version doesn't know, or whose passId doesn't fit ([Event.DataErr] says
// so). Members holds all that came.
type UnknownEvent struct {
	Members map[string]json.RawMessage
}

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

// NameOf returns the name of the event whose payload type v is or points to, "" if it is none. NameOf(PassInstalled{}) is
// "Pass:Installed".
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

// Category returns what stands before the first ':' or '.': "Pass" of "Pass:Installed". "" where there is no separator.
func (n EventName) Category() string {
	if i := strings.IndexAny(string(n), ":."); i >= 0 {
		return string(n[:i])
	}
	return ""
}

// Known reports whether this version knows the event: whether it is one of [Events], in whatever spelling. Two names are one event if
// they differ only in the case of ASCII letters, and in '.' for ':'.
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
