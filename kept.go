package walletcrew

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"
)

// keptEvent is an Event's JSON.
type keptEvent struct {
	Name       EventName `json:"name"`
	TenantID   string    `json:"tenantId"`
	ReceivedAt time.Time `json:"receivedAt,omitzero"`
	Body       *string   `json:"body"` // the bytes as they came: JSON in a JSON string
}

var (
	errNoRaw  = errors.New("walletcrew: an Event without Raw can't be kept: make it with ParseEvent")
	errNoBody = errors.New(`walletcrew: it is no Event's JSON: a string "body" is missing`)
)

// MarshalJSON writes {"name","tenantId","receivedAt","body"}. Body is a string of the bytes as they came; receivedAt is left out if it
// is zero. An Event without Raw, or whose Raw isn't valid UTF-8, is an error: ParseEvent makes neither. A byte in Name or TenantID that
// isn't valid UTF-8 becomes U+FFFD.
func (e Event) MarshalJSON() ([]byte, error) {
	switch {
	case len(e.Raw) == 0:
		return nil, errNoRaw
	case !utf8.Valid(e.Raw):
		return nil, errNotUTF8
	}
	body := string(e.Raw)
	return json.Marshal(keptEvent{e.Name, e.TenantID, e.ReceivedAt, &body})
}

// UnmarshalJSON reads what MarshalJSON wrote, and decodes the body as [ParseEvent] does. If the body can't be decoded, the error is
// [ErrInvalidPayload]. Null changes nothing.
func (e *Event) UnmarshalJSON(data []byte) error {
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return nil
	}
	var kept keptEvent
	switch err := json.Unmarshal(data, &kept); {
	case err != nil:
		return fmt.Errorf("walletcrew: it is no Event's JSON: %w", jsonError(err))
	case kept.Body == nil:
		return errNoBody
	}
	read, err := ParseEvent(kept.Name, []byte(*kept.Body))
	if err != nil {
		return err
	}
	read.TenantID = kept.TenantID
	if !kept.ReceivedAt.IsZero() {
		read.ReceivedAt = kept.ReceivedAt.UTC()
	}
	*e = *read
	return nil
}

// LogValue is slog's [slog.LogValuer]: a group of name, id, tenant and size (in bytes).
func (e Event) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("name", clip(string(e.Name))), slog.String("id", clip(e.ID)), slog.String("tenant", clip(e.TenantID)), slog.Int("size", len(e.Raw)),
	)
}

// Format writes the name, id, tenant and size, whatever the verb. Package fmt doesn't call it for an Event in an unexported field of your
// struct. There it prints the bytes. It does so for a pointer, too, if the verb isn't one for pointers, such as %s.
func (e Event) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "walletcrew.Event(name %q, id %q, tenant %q, %d bytes)", clip(string(e.Name)), clip(e.ID), clip(e.TenantID), len(e.Raw))
}

const maxPrinted = 200 // bytes of what the sender chose: an id may be as long as the body

func clip(s string) string {
	if len(s) <= maxPrinted {
		return s
	}
	return strings.ToValidUTF8(s[:maxPrinted], "") + "..."
}
