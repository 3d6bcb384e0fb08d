package walletcrew

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// An Event is one delivery's content. Make it with [ParseEvent], or let the package verifier make it from a request.
// Reading it from several goroutines is safe.
type Event struct {
	// ID is the member "__id", the idempotency key: deliveries of one event carry the same. Its type isn't documented: a string
	// is taken as it is, a number as its JSON text. "" where there is none, or where it is anything else.
	ID string
	// Name is what the event is called, as ParseEvent was told; in the package verifier, what the header says.
	Name EventName
	// TenantID is what the delivery's tenant header says; "" from ParseEvent. The header isn't signed.
	TenantID string
	// Data is the payload: a pointer to one of this package's payload types, such as *PassInstalled; *UnknownEvent where the name
	// isn't known to this version, or where the payload doesn't fit the name's type.
	Data any
	// DataErr says why a known event became an *UnknownEvent; nil otherwise.
	DataErr error
	// Raw is the body, byte for byte. It shares memory with what was passed in: who owns that must not change it while the
	// event is in use.
	Raw []byte

	signedName EventName
}

// ErrInvalidPayload means that the body isn't one JSON object in valid UTF-8 whose member names are unique. (Duplicate names are refused
// because readers disagree about which one counts.) Use errors.Is.
var ErrInvalidPayload = errors.New("walletcrew: the body is not a valid JSON object")

// ParseEvent decodes a delivery's body; it verifies nothing. Name stays as given, and decides which type Data gets: names are
// compared with case ignored and '.' taken for ':'. A name or a payload that this version doesn't know makes an *[UnknownEvent],
// never an error. The one error is [ErrInvalidPayload].
//
// No member but "__id" is documented by the platform; the payload types hold what its other integrations carry.
func ParseEvent(name EventName, body []byte) (*Event, error) {
	e := &Event{Name: name, Raw: body}
	if decode := payloadOf(name); decode != nil {
		meta, data, err := decode(body)
		if err == nil {
			e.ID, e.signedName, e.Data = string(meta.ID), meta.signedName(), data
			return e, nil
		}
		if e.DataErr = misfit(name, err); e.DataErr == nil {
			return nil, invalidPayload(body, err)
		}
	}
	// Only now, since a misfit ends the typed decoding before all of the body was seen.
	members, err := decodeMembers(body)
	if err != nil {
		return nil, invalidPayload(body, err)
	}
	meta := metadataOf(members)
	e.ID, e.signedName, e.Data = string(meta.ID), meta.signedName(), &UnknownEvent{Members: members}
	return e, nil
}

// Decode decodes the body into your own type, as [encoding/json.Unmarshal] does. It decodes anew at each call.
func (e *Event) Decode(v any) error {
	if err := json.Unmarshal(e.Raw, v); err != nil {
		return fmt.Errorf("walletcrew: decode %s: %w", e.Name, err)
	}
	return nil
}

// Members returns every member of the body as it came. The map is made anew at each call and is yours; nil where Raw isn't a
// JSON object, which an event from [ParseEvent] can't be.
func (e *Event) Members() map[string]json.RawMessage {
	members, err := decodeMembers(e.Raw)
	if err != nil {
		return nil
	}
	return members
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

// payloads says what each known event is decoded into. To add an event: a constant above, its type below, a row here.
var payloads = map[EventName]payloadFunc{
	EventPassCreated: typed(func(d *struct {
		metadata
		PassCreated
	}) (*metadata, any) {
		return &d.metadata, &d.PassCreated
	}),
	EventPassInstalled: typed(func(d *struct {
		metadata
		PassInstalled
	}) (*metadata, any) {
		return &d.metadata, &d.PassInstalled
	}),
	EventPassUninstalled: typed(func(d *struct {
		metadata
		PassUninstalled
	}) (*metadata, any) {
		return &d.metadata, &d.PassUninstalled
	}),
	EventPassUpdated: typed(func(d *struct {
		metadata
		PassUpdated
	}) (*metadata, any) {
		return &d.metadata, &d.PassUpdated
	}),
	EventPassUpdateSent: typed(func(d *struct {
		metadata
		PassUpdateSent
	}) (*metadata, any) {
		return &d.metadata, &d.PassUpdateSent
	}),
	EventCustomerUpserted:   untyped(func(m map[string]json.RawMessage) any { return &CustomerUpserted{m} }),
	EventRedirectRedirected: untyped(func(m map[string]json.RawMessage) any { return &RedirectRedirected{m} }),
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

// UnknownEvent is the payload of an event whose name this version doesn't know, or whose body doesn't fit its name's type
// ([Event.DataErr] says why). Members holds all that came.
type UnknownEvent struct {
	Members map[string]json.RawMessage
}

// Device is where a pass was installed. Its shape isn't documented.
type Device struct {
	// Platform is "apple" or "google", or whatever string came; "" where the member isn't a string.
	Platform string
	// Raw is the member as it came, which may be an object; nil where there was none.
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
	return payloadNames[t]
}

var payloadNames = func() map[reflect.Type]EventName {
	names := make(map[reflect.Type]EventName, len(payloads))
	for name, decode := range payloads {
		_, data, err := decode([]byte("{}"))
		if err != nil {
			panic(err)
		}
		names[reflect.TypeOf(data).Elem()] = name
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

type payloadFunc func(body []byte) (*metadata, any, error)

// typed decodes metadata and payload out of one scan of the body. D embeds both; pick returns them.
func typed[D any](pick func(*D) (*metadata, any)) payloadFunc {
	return func(body []byte) (*metadata, any, error) {
		d := new(D)
		if err := jsonv2.Unmarshal(body, d); err != nil {
			return nil, nil, err
		}
		if !isObject(body) { // null decodes into anything
			return nil, nil, errNotObject
		}
		meta, data := pick(d)
		return meta, data, nil
	}
}

func untyped(wrap func(map[string]json.RawMessage) any) payloadFunc {
	return func(body []byte) (*metadata, any, error) {
		members, err := decodeMembers(body)
		if err != nil {
			return nil, nil, err
		}
		return metadataOf(members), wrap(members), nil
	}
}

func payloadOf(name EventName) payloadFunc {
	if decode, ok := payloads[name]; ok {
		return decode
	}
	if strings.Contains(string(name), "*") {
		return nil
	}
	for known, decode := range payloads {
		if known.Matches(name) {
			return decode
		}
	}
	return nil
}

var errNotObject = errors.New("not an object")

func isObject(body []byte) bool { return jsontext.Value(body).Kind() == '{' }

func decodeMembers(body []byte) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := jsonv2.Unmarshal(body, &members); err != nil {
		return nil, err
	}
	if members == nil { // the body is null
		return nil, errNotObject
	}
	return members, nil
}

// metadata are the members of any event that the SDK itself reads.
type metadata struct {
	ID        metaText `json:"__id"`
	EventName metaText `json:"__eventName"`
}

func metadataOf(members map[string]json.RawMessage) *metadata {
	meta := new(metadata)
	for name, field := range map[string]*metaText{"__id": &meta.ID, "__eventName": &meta.EventName} {
		if value, ok := members[name]; ok {
			_ = field.UnmarshalJSON(value) // valid JSON, so it can't fail
		}
	}
	return meta
}

func (m *metadata) signedName() EventName {
	if name := EventName(m.EventName); name.isEvent() {
		return name
	}
	return ""
}

// metaText takes a string as it is and a number as its text; anything else leaves it empty.
type metaText string

func (t *metaText) UnmarshalJSON(value []byte) error {
	switch jsontext.Value(value).Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, value)
		*t = metaText(text)
		return err
	case '0':
		*t = metaText(value)
	default:
		*t = ""
	}
	return nil
}

// UnmarshalJSON reads a JSON object, or null for nil.
func (v *Values) UnmarshalJSON(data []byte) error {
	var members map[string]json.RawMessage
	if err := jsonv2.Unmarshal(data, &members); err != nil {
		return err
	}
	if members == nil {
		*v = nil
		return nil
	}
	*v = make(Values, len(members))
	for name, value := range members {
		text := []byte(value)
		if jsontext.Value(value).Kind() == '"' {
			var err error
			if text, err = jsontext.AppendUnquote(nil, value); err != nil {
				return err
			}
		}
		(*v)[name] = string(text)
	}
	return nil
}

// UnmarshalJSON takes any JSON value.
func (d *Device) UnmarshalJSON(data []byte) error {
	*d = Device{}
	switch jsontext.Value(data).Kind() {
	case 'n':
		return nil
	case '"':
		text, err := jsontext.AppendUnquote(nil, data)
		if err != nil {
			return err
		}
		d.Platform = string(text)
	}
	d.Raw = append(d.Raw, data...)
	return nil
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

// MarshalJSON writes the members.
func (c CustomerUpserted) MarshalJSON() ([]byte, error) { return json.Marshal(c.Members) }

// UnmarshalJSON reads the members.
func (c *CustomerUpserted) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &c.Members) }

// MarshalJSON writes the members.
func (r RedirectRedirected) MarshalJSON() ([]byte, error) { return json.Marshal(r.Members) }

// UnmarshalJSON reads the members.
func (r *RedirectRedirected) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &r.Members)
}

// MarshalJSON writes the members.
func (u UnknownEvent) MarshalJSON() ([]byte, error) { return json.Marshal(u.Members) }

// UnmarshalJSON reads the members.
func (u *UnknownEvent) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &u.Members) }

// misfit returns why the payload doesn't fit the type of its name, nil where the body isn't JSON in the first place. Nothing of
// the body goes into the text but the name of a field that is known.
func misfit(name EventName, err error) error {
	semantic, ok := errors.AsType[*jsonv2.SemanticError](err)
	if !ok || semantic.JSONPointer == "" {
		return nil
	}
	if _, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return nil
	}
	var member string
	for token := range semantic.JSONPointer.Tokens() {
		member = token
		break
	}
	return fmt.Errorf("walletcrew: the payload does not fit %s: member %s is a JSON %v, which %v can't hold",
		name, member, kindName(semantic.JSONKind), semantic.GoType)
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
	case 't', 'f':
		return "boolean"
	}
	return "value"
}

// invalidPayload says what is wrong with the body and where, but nothing of what is in it.
func invalidPayload(body []byte, err error) error {
	reason := "it is not JSON"
	offset := int64(-1)
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		offset = syntactic.ByteOffset
	}
	switch {
	case len(body) == 0:
		return fmt.Errorf("%w: it is empty; was it read before?", ErrInvalidPayload)
	case errors.Is(err, jsontext.ErrDuplicateName):
		reason = "a member name is there twice"
	case !utf8.Valid(body):
		reason = "it is not valid UTF-8"
	case offset < 0:
		return fmt.Errorf("%w: it is JSON, but not an object", ErrInvalidPayload)
	}
	if offset < 0 {
		return fmt.Errorf("%w: %s", ErrInvalidPayload, reason)
	}
	return fmt.Errorf("%w: %s (near byte %d)", ErrInvalidPayload, reason, offset)
}
