package main

import (
	"context"
	"fmt"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/cmd/walletcrew/internal/inspector"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A sent delivery is one that the user made.
type sent struct {
	ID string // of its record
	answer
	Err error // why there was no answer
}

// get returns a record that can be sent again.
func (s *session) get(id string) (inspector.Record, error) {
	r, ok := s.store.Get(id)
	switch {
	case !ok:
		return r, fmt.Errorf("there is no delivery %s, or it is so old that it isn't kept any more", visible(id))
	case r.Omitted:
		return r, fmt.Errorf("delivery %s was too large to be kept", visible(id))
	}
	return r, nil
}

// deliver gives a delivery to the service behind, whatever its verdict; or to the endpoint of another webhook.
func (s *session) deliver(ctx context.Context, endpoint string, m message) sent {
	if endpoint != "" {
		return s.direct(ctx, endpoint, m)
	}
	id, a := s.receive(ctx, incoming{message: m, own: true})
	r, _ := s.store.Get(id)
	got := sent{ID: id, answer: a}
	got.Duration = r.Duration
	if r.Status == 0 && r.Error != "" {
		got.Err = fmt.Errorf("%s", r.Error)
	}
	return got
}

// direct delivers to the endpoint of another webhook of the same platform, and shows what it answers.
func (s *session) direct(ctx context.Context, endpoint string, m message) sent {
	record, _ := s.examine(ctx, m, true)
	record.ForwardURL = endpoint
	s.store.Add(record)
	a, err := post(ctx, s.sender, endpoint, m)
	record.Status, record.Duration, record.Answer = a.Status, a.Duration, shortened(a.Body)
	if err != nil {
		record.Error = err.Error()
	}
	s.store.Update(record.ID, func(r *inspector.Record) { *r = record })
	s.show(record)
	return sent{ID: record.ID, answer: a, Err: err}
}

// otherEndpoint is where a record was delivered, if that wasn't the service that all goes to.
func (s *session) otherEndpoint(r inspector.Record) string {
	if s.forward != nil && r.ForwardURL == s.forward.url {
		return ""
	}
	return r.ForwardURL
}

// send signs a draft and delivers it. A dev lets its platform deliver what is right, so that all its webhooks get it.
func (s *session) send(ctx context.Context, d draft) (sent, error) {
	if d.Tenant == "" {
		d.Tenant = s.tenant
	}
	if err := d.check(); err != nil {
		return sent{}, err
	}
	if s.emit != nil && d.Forgery == authentic && d.Tenant == s.tenant {
		return s.emit(ctx, d.Event, d.Body)
	}
	secret, err := s.signer(ctx, "")
	if err != nil {
		return sent{}, err
	}
	return s.deliver(ctx, "", d.signed(secret)), nil
}

// replay delivers a recorded delivery again: its bytes unchanged, signed anew.
func (s *session) replay(ctx context.Context, id string) (sent, error) {
	r, err := s.get(id)
	if err != nil {
		return sent{}, err
	}
	endpoint := s.otherEndpoint(r)
	secret, err := s.signer(ctx, endpoint)
	if err != nil {
		return sent{}, err
	}
	return s.deliver(ctx, endpoint, draft{Event: r.Event, Tenant: r.Tenant, Body: r.Body}.signed(secret)), nil
}

// actions are the inspector's buttons.
type actions struct {
	*session
	webhooks *walletcrew.WebhooksService
}

var _ inspector.Actions = (*actions)(nil)

// Replay is [inspector.Actions]'s.
func (a *actions) Replay(ctx context.Context, id string) (string, error) {
	got, err := a.replay(ctx, id)
	return got.ID, err
}

// Send is [inspector.Actions]'s.
func (a *actions) Send(ctx context.Context, event, tenant string, body []byte, o inspector.SendOptions) (string, error) {
	d := draft{Event: event, Tenant: tenant, Body: body}
	switch o.Sign {
	case inspector.SignWrong:
		d.Forgery = wrongSecret
	case inspector.SignAbsent:
		d.Forgery = notSigned
	}
	got, err := a.send(ctx, d)
	return got.ID, err
}

// Duplicate is [inspector.Actions]'s.
func (a *actions) Duplicate(ctx context.Context, id string) (string, error) {
	r, err := a.get(id)
	if err != nil {
		return "", err
	}
	return a.deliver(ctx, a.otherEndpoint(r), message{Header: r.Header, Body: r.Body}).ID, nil
}

// Tamper is [inspector.Actions]'s.
func (a *actions) Tamper(ctx context.Context, id string) (string, error) {
	r, err := a.get(id)
	if err != nil {
		return "", err
	}
	return a.deliver(ctx, a.otherEndpoint(r), message{Header: r.Header, Body: tamper(r.Body)}).ID, nil
}

// Webhooks is [inspector.Actions]'s.
func (a *actions) Webhooks(ctx context.Context) ([]inspector.Webhook, error) {
	list := []inspector.Webhook{}
	for w, err := range a.webhooks.All(ctx, nil) {
		if err != nil {
			return nil, err
		}
		a.secrets.add(w.SignatureSecret)
		list = append(list, inspector.Webhook{ID: w.ID, Endpoint: w.Endpoint, Description: w.Description, Events: texts(w.Events), Enabled: w.Enabled})
	}
	return list, nil
}

// SetEnabled is [inspector.Actions]'s.
func (a *actions) SetEnabled(ctx context.Context, id string, on bool) error {
	_, err := a.webhooks.Patch(ctx, id, walletcrew.WebhookPatch{Enabled: &on})
	return err
}

func texts(names []walletcrew.EventName) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = string(name)
	}
	return list
}

// inspector returns the page.
func (s *session) inspector(webhooks *walletcrew.WebhooksService, mode, endpoint string) *inspector.Inspector {
	o := inspector.Options{
		Title: "walletcrew " + mode, Mode: mode, Tenant: s.tenant, Endpoint: endpoint, Version: version().Version,
		Sample:  func(event string) []byte { return walletcrewtest.Sample(walletcrew.EventName(event)) },
		Secrets: s.secrets.all,
	}
	if s.forward != nil {
		o.ForwardTo = s.forward.url
	}
	return inspector.New(s.store, &actions{s, webhooks}, o)
}

// A result is a delivery as trigger, replay and resend report it.
type result struct {
	ID         string  `json:"id"` // the event's "__id"; "" without one
	Event      string  `json:"event"`
	Status     int     `json:"status"` // 0: there was no answer
	DurationMs float64 `json:"durationMs"`
	Error      string  `json:"error"`
}

func newResult(event string, body []byte, a answer, err error) result {
	r := result{Event: event, Status: a.Status, DurationMs: milliseconds(a.Duration)}
	if e, parseErr := walletcrew.ParseEvent(walletcrew.EventName(event), body); parseErr == nil {
		r.ID = e.ID
	}
	if err != nil {
		r.Status, r.Error = 0, oneLine(err)
	}
	return r
}

func (r result) duration() time.Duration {
	return time.Duration(r.DurationMs * float64(time.Millisecond))
}

// accepted reports whether the platform would take the answer for a success.
func (r result) accepted() bool { return r.Status/100 == 2 }
