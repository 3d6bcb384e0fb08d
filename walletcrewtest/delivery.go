package walletcrewtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A Delivery is one event sent to one webhook's endpoint, and the answer to it.
type Delivery struct {
	WebhookID string
	// EventID is the body's "__id"; "" where it has none.
	EventID string
	Name    walletcrew.EventName
	// Body is the body that was sent. Pass it to Server.Deliver for a duplicate.
	Body []byte
	// StatusCode is the receiver's answer; 0 if there was none. To the platform, 2xx is a success.
	StatusCode int
	// Err is nil if there was an answer, whatever its status. Otherwise the connection was refused
	// or broke, the answer took more than 30 seconds, or the context ended.
	Err error
}

// String describes the delivery and its answer for the message of a failed test. A long body is cut.
func (d Delivery) String() string {
	answer := "no answer: " + fmt.Sprint(d.Err)
	if d.Err == nil {
		answer = strings.TrimSpace(strconv.Itoa(d.StatusCode) + " " + http.StatusText(d.StatusCode))
	}
	body := d.Body
	if len(body) > maxPrinted {
		body = append(bytes.ToValidUTF8(body[:maxPrinted], nil), "..."...)
	}
	return fmt.Sprintf("%s to webhook %s: %s (%s)", d.Name, d.WebhookID, answer, body)
}

const maxPrinted = 500 // bytes

// Emit delivers a new event to each enabled webhook that subscribes to its name, and returns the receivers' answers. Data are the event's
// members, as for [Payload].
//
// All deliveries have the same body, and so the same "__id". It isn't documented whether the platform does so, or gives each delivery its
// own. Without [WithRedelivery], nothing is delivered a second time; use [Server.Deliver] for that.
//
// The errors are those of [Server.Deliver], and one if Payload would panic for data.
func (s *Server) Emit(ctx context.Context, name walletcrew.EventName, data any) ([]Delivery, error) {
	body, err := payload(data)
	if err != nil {
		return nil, err
	}
	return s.Deliver(ctx, name, body)
}

// Deliver sends exactly these bytes to each enabled webhook that subscribes to name, signed with that webhook's secret. It sends them one
// after the other, in the order of the webhooks' creation. Each receiver has 30 seconds to answer. Redirects aren't followed. The body need
// not be JSON.
//
// Call it again with the same body for a redelivery, or with an older one for an event out of order. A receiver must expect both of the
// platform.
//
// The deliveries are returned in the same order. A delivery without an answer has an Err. The error is that of ctx if it has ended, or says
// that name is empty or that the server is closed.
func (s *Server) Deliver(ctx context.Context, name walletcrew.EventName, body []byte) ([]Delivery, error) {
	if name == "" {
		return nil, errors.New("walletcrewtest: the event has no name")
	}
	select {
	case <-s.closed:
		return nil, errors.New("walletcrewtest: the server is closed")
	default:
	}
	id := ""
	if e, err := walletcrew.ParseEvent(name, body); err == nil {
		id = e.ID
	}
	var deliveries []Delivery
	for _, w := range s.Webhooks() {
		if !w.Enabled || !slices.ContainsFunc(w.Events, name.Matches) {
			continue
		}
		d := Delivery{WebhookID: w.ID, EventID: id, Name: name, Body: body}
		number := s.nextDelivery()
		d.StatusCode, d.Err = s.post(ctx, &w, name, body)
		s.delivered(d, number)
		deliveries = append(deliveries, d)
	}
	return deliveries, ctx.Err()
}

func (s *Server) post(ctx context.Context, w *walletcrew.Webhook, name walletcrew.EventName, body []byte) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.Endpoint, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	setHeaders(req.Header, s.sign(w.SignatureSecret, body), s.TenantID, name)
	resp, err := s.receiver.Do(req)
	if err != nil {
		return 0, err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}

func setHeaders(h http.Header, signature, tenantID string, name walletcrew.EventName) {
	h.Set("Content-Type", "application/json")
	h.Set(walletcrew.HeaderSignature, signature)
	h.Set(walletcrew.HeaderEventName, string(name))
	h.Set(walletcrew.HeaderTenantID, tenantID)
}

// NewRequest returns a delivery, signed with secret, to pass to a handler's ServeHTTP. It is [httptest.NewRequest] with the platform's
// headers. Target is a path or an absolute URL; NewRequest panics if it is neither. For a forged delivery, use another secret. For a
// tampered one, change the request's Body or a header.
//
// You can't send the request with an [http.Client]. To send a delivery, use [Server.Deliver] or
// [Send].
func NewRequest(target string, secret walletcrew.Secret, tenantID string, name walletcrew.EventName, body []byte) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, bytes.NewReader(body))
	setHeaders(r.Header, walletcrew.Sign(secret, body), tenantID, name)
	return r
}

// Payload returns the body of an event: the members of data, and a fresh "__id" if data has none. It adds no other member, since none is
// documented. The name stands in a header, so it changes nothing in the body.
//
// The body has a space that no encoder would write. If something in your service decodes the body and encodes it again before the signature
// is checked, the check fails, as it would for the platform's deliveries.
//
// Data is one of these:
//
//   - a value that encoding/json writes as an object, such as a map or a [walletcrew.PassInstalled]
//   - JSON as a []byte or a json.RawMessage, whose bytes are kept as they are
//   - nil for no members
//
// Payload panics for anything else, since that is a mistake in the test.
func Payload(name walletcrew.EventName, data any) []byte {
	body, err := payload(data)
	if err != nil {
		panic(fmt.Sprintf("%v (event %s)", err, name))
	}
	return body
}

func payload(data any) ([]byte, error) {
	object, err := encode(data)
	if err != nil {
		return nil, fmt.Errorf("walletcrewtest: the data can't be written as JSON: %w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		return nil, errors.New("walletcrewtest: the data is not a JSON object")
	}
	if _, ok := members["__id"]; ok {
		if !isJSON(data) {
			object = append([]byte("{ "), object[1:]...)
		}
		return object, nil
	}
	id := `{"__id": "` + newID() + `"`
	switch len(members) {
	case 0: // null, too, which is what a payload type without members is written as
		return []byte(id + "}"), nil
	default:
		return append([]byte(id+","), bytes.TrimLeft(object, " \t\r\n")[1:]...), nil
	}
}

// isJSON reports whether data is JSON itself, whose bytes are kept.
func isJSON(data any) bool {
	switch data.(type) {
	case json.RawMessage, []byte:
		return true
	}
	return false
}

func encode(data any) ([]byte, error) {
	var raw []byte
	switch d := data.(type) {
	case json.RawMessage:
		raw = d
	case []byte: // which json.Marshal writes in base64
		raw = d
	default:
		return json.Marshal(data)
	}
	if raw == nil {
		return []byte("null"), nil
	}
	return bytes.Clone(raw), nil
}

// newID returns a random UUID (version 4). The form of the platform's ids isn't documented.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
