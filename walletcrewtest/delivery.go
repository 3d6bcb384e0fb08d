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

// A Delivery is one event sent to one webhook's endpoint, and what came of it.
type Delivery struct {
	WebhookID string
	// EventID is the body's "__id"; "" where it has none.
	EventID string
	Name    walletcrew.EventName
	// Body is what was sent: give it to Server.Deliver for a duplicate.
	Body []byte
	// StatusCode is what the receiver answered; 0 where it didn't. The platform takes 2xx for a
	// success.
	StatusCode int
	// Err is why there was no answer: the connection was refused or broke, it took more than 30
	// seconds, or the context ended. It is nil where there was one, whatever its status.
	Err error
}

// String says what was sent and what came of it, for the message of a test that failed. Of a long body it has the beginning.
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

// Emit lets an event happen: it delivers it to each enabled webhook that subscribes to its name, and returns what each receiver
// answered. Data are the event's members, as for [Payload].
//
// All deliveries have the same body, and so the same "__id": whether the platform does it so, or gives each delivery its own, is
// not documented. Nothing is delivered a second time without [WithRedelivery]; [Server.Deliver] does that.
//
// For the error see Deliver; data that Payload panics for is an error here.
func (s *Server) Emit(ctx context.Context, name walletcrew.EventName, data any) ([]Delivery, error) {
	body, err := payload(data)
	if err != nil {
		return nil, err
	}
	return s.Deliver(ctx, name, body)
}

// Deliver sends exactly these bytes to each enabled webhook that subscribes to name, signed with that webhook's secret: one after
// the other in the order of the webhooks' creation, each with 30 seconds to answer, and without following redirects. Calling it
// again with the same body is a redelivery, calling it with an older one is an event out of order, and both are what a receiver
// must expect of the platform. The body need not be JSON.
//
// The deliveries come in the same order. One that fails is a [Delivery] with Err. The error is that of ctx if it ended, or
// says that name is empty or the server closed.
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

// NewRequest returns a delivery as a handler gets it, signed with secret, to be passed to ServeHTTP: [httptest.NewRequest] with
// the platform's headers. Target is a path or an absolute URL; it panics for one that is neither. For a forged delivery use
// another secret, for a tampered one change the request's Body or a header.
//
// It is a server's request: to send one with an http.Client, use [Server.Deliver].
func NewRequest(target string, secret walletcrew.Secret, tenantID string, name walletcrew.EventName, body []byte) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, bytes.NewReader(body))
	setHeaders(r.Header, walletcrew.Sign(secret, body), tenantID, name)
	return r
}

// Payload returns the body of an event: data's members, and a fresh "__id" if there is none among them. No other member is
// added, since none is documented; so the name, which stands in a header, changes nothing.
//
// What is written here has a space that no encoder would write: a service in which something decodes the body and encodes it again
// before the check refuses it, as it would refuse the platform's.
//
// Data is anything that encoding/json writes as an object, such as a map or a [walletcrew.PassInstalled]; JSON itself as a
// []byte or a [json.RawMessage], whose bytes are kept as they are; or nil for no members. It panics for anything else, as
// [httptest.NewRequest] does, since that is a mistake in the test.
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
