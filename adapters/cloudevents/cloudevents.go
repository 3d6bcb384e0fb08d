// Package cloudevents turns webhook events into CloudEvents and back, for buses that use CloudEvents, such as Knative, Azure Event Grid and
// Dapr. The body stays the same, byte for byte.
//
//	handle := func(ctx context.Context, e *walletcrew.Event) error {
//		ce, err := cloudevents.To(ctx, e)
//		if err != nil {
//			return err
//		}
//		if result := client.Send(ctx, ce); !ce.IsACK(result) { // of cloudevents/sdk-go
//			return receiver.Temporary(result)
//		}
//		return nil
//	}
//
// And where it comes in:
//
//	ctx, e, err := cloudevents.From(ctx, ce)
package cloudevents

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// ErrNotOurs means that a CloudEvent isn't one that [To] made. Use errors.Is.
var ErrNotOurs = errors.New("cloudevents: the event wasn't made by To")

// The attributes that [To] sets besides CloudEvents' own. The trace's, "traceparent" and "tracestate", are those of CloudEvents'
// extension for distributed tracing.
const (
	ExtensionKey  = "walletcrewkey"  // the deduplication key, see receiver.Key; not there without one
	ExtensionName = "walletcrewname" // the event's name, escaped as in a URL, where the type doesn't give it back
)

const (
	typePrefix   = "io.thewalletcrew."
	sourcePrefix = "/walletcrew/tenants/"
	contentType  = "application/json"
)

// To returns the event as a CloudEvent 1.0:
//
//   - id: the event's "__id". An event without one gets a random id, so that nobody takes it for a duplicate.
//   - source: "/walletcrew/tenants/" and the tenant, escaped as in a URL
//   - type: "io.thewalletcrew.pass.installed" for Pass:Installed, and so on
//   - time: when the delivery was received
//   - data: the body. In structured mode it is "data", or "data_base64" where JSON around it wouldn't keep it to the byte.
//
// The context's deduplication key and trace ([receiver.Key], [receiver.Headers]) become extensions, so pass the context that your function
// was called with. If a consumer deduplicates by source and id, it trusts the tenant, and that is only as good as the verifier's source of
// secrets. The key is always good.
//
// The only error is for an event that can't be a CloudEvent: nil, or one without a body.
func To(ctx context.Context, e *walletcrew.Event) (event.Event, error) {
	if e == nil || len(e.Raw) == 0 {
		return event.Event{}, errors.New("cloudevents: the event has no body")
	}
	ce := event.New(event.CloudEventsVersionV1)
	ce.SetID(e.ID)
	if !isAttribute(e.ID) {
		ce.SetID(rand.Text())
	}
	ce.SetSource(sourcePrefix + url.PathEscape(e.TenantID))
	ce.SetType(typeOf(e.Name))
	if name, ok := nameOf(ce.Type()); !ok || name != e.Name {
		ce.SetExtension(ExtensionName, url.PathEscape(string(e.Name)))
	}
	if !e.ReceivedAt.IsZero() {
		ce.SetTime(e.ReceivedAt)
	}
	if key := receiver.Key(ctx); key != "" {
		ce.SetExtension(ExtensionKey, key)
	}
	for _, name := range []string{"traceparent", "tracestate"} {
		if value := receiver.Headers(ctx)[name]; value != "" {
			ce.SetExtension(name, value)
		}
	}
	ce.SetDataContentType(contentType)
	ce.DataEncoded, ce.DataBase64 = e.Raw, !survives(e.Raw)
	if err := ce.Validate(); err != nil {
		return event.Event{}, fmt.Errorf("cloudevents: %w", err)
	}
	return ce, nil
}

// From returns the event that was passed to [To], and a context for your function. The context has the deduplication key and the trace's
// headers, so that Once of sqldedupe, for example, knows the event. The errors are [ErrNotOurs] and [walletcrew.ErrInvalidPayload].
//
// From verifies nothing: any program that can write to the bus can write any event.
func From(ctx context.Context, ce event.Event) (context.Context, *walletcrew.Event, error) {
	name, ok := nameOf(ce.Type())
	if escaped, there := ce.Extensions()[ExtensionName].(string); there {
		text, err := url.PathUnescape(escaped)
		name, ok = walletcrew.EventName(text), err == nil
	}
	escaped, isTenant := strings.CutPrefix(ce.Source(), sourcePrefix)
	tenant, err := url.PathUnescape(escaped)
	if !ok || !isTenant || err != nil {
		return ctx, nil, fmt.Errorf("%w: its type is %q and its source %q", ErrNotOurs, ce.Type(), ce.Source())
	}
	e, err := walletcrew.ParseEvent(name, ce.Data())
	if err != nil {
		return ctx, nil, fmt.Errorf("cloudevents: %w", err)
	}
	e.TenantID, e.ReceivedAt = tenant, ce.Time()
	key, _ := ce.Extensions()[ExtensionKey].(string)
	headers := make(map[string]string)
	for _, name := range []string{"traceparent", "tracestate"} {
		if value, _ := ce.Extensions()[name].(string); value != "" {
			headers[name] = value
		}
	}
	return receiver.WithHeaders(receiver.WithKey(ctx, key), headers), e, nil
}

// typeOf returns the type of an event: what isn't a letter, a digit, '-' or '_' becomes a dot.
func typeOf(name walletcrew.EventName) string {
	return typePrefix + strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '.'
	}, string(name))
}

// nameOf returns the known event of a type, or what else the type says.
func nameOf(text string) (walletcrew.EventName, bool) {
	rest, ok := strings.CutPrefix(text, typePrefix)
	for _, known := range walletcrew.Events() {
		if typeOf(known) == text {
			return known, ok
		}
	}
	return walletcrew.EventName(rest), ok
}

// isAttribute reports whether a text is fit for an attribute: CloudEvents allows no control characters, and no empty id.
func isAttribute(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f && r <= 0x9f || r == 0xfffd })
}

// survives reports whether the body is kept to the byte within another JSON text: encoding/json compacts what is in it, and escapes
// "<", ">" and "&".
func survives(body []byte) bool {
	var compact, escaped bytes.Buffer
	if json.Compact(&compact, body) != nil {
		return false
	}
	json.HTMLEscape(&escaped, compact.Bytes())
	return bytes.Equal(escaped.Bytes(), body)
}
