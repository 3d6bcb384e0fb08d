package riverinbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// Args are the arguments of a job: they carry the event. Name and tenant are escaped as in a URL's path, because PostgreSQL's jsonb doesn't
// take every character. The body is base64 in JSON, because jsonb doesn't keep bytes as they are.
type Args struct {
	Name     string            `json:"name"`
	Tenant   string            `json:"tenant,omitempty"` // see verifier.Verifier for when it is vouched for
	Key      string            `json:"key,omitempty"`    // the deduplication key, see receiver.Key
	Received time.Time         `json:"received"`
	Headers  map[string]string `json:"headers,omitempty"` // see receiver.Headers
	Body     []byte            `json:"body"`

	unread error // why the JSON isn't that of an event; Body is the JSON then
}

// UnmarshalJSON never fails, because River would try a job that it can't read a thousand times, and tell nobody. The worker makes a dead
// letter of such a job.
func (a *Args) UnmarshalJSON(data []byte) error {
	type plain Args
	*a = Args{}
	if err := json.Unmarshal(data, (*plain)(a)); err != nil {
		*a = Args{Name: noName, Body: bytes.Clone(data), unread: fmt.Errorf("riverinbox: the job's arguments aren't an event's: %w", err)}
	}
	return nil
}

// noName can't be unescaped: a dead letter with it never becomes an event, if it is redriven.
const noName = "%"

// Kind is the kind of all jobs of this package: "walletcrew_event".
func (Args) Kind() string { return "walletcrew_event" }

func argsOf(ctx context.Context, e *walletcrew.Event) Args {
	return Args{
		Name: url.PathEscape(string(e.Name)), Tenant: url.PathEscape(e.TenantID), Key: receiver.Key(ctx), Received: e.ReceivedAt,
		Headers: receiver.Headers(ctx), Body: e.Raw,
	}
}

// event is the way back, with the context for the function.
func (a Args) event(ctx context.Context) (context.Context, *walletcrew.Event, error) {
	if a.unread != nil {
		return ctx, nil, a.unread
	}
	name, err := url.PathUnescape(a.Name)
	if err != nil {
		return ctx, nil, fmt.Errorf("riverinbox: the job's name isn't escaped as it must be")
	}
	tenant, err := url.PathUnescape(a.Tenant)
	if err != nil {
		return ctx, nil, fmt.Errorf("riverinbox: the job's tenant isn't escaped as it must be")
	}
	e, err := walletcrew.ParseEvent(walletcrew.EventName(name), a.Body)
	if err != nil {
		return ctx, nil, err
	}
	e.TenantID, e.ReceivedAt = tenant, a.Received
	return receiver.WithHeaders(receiver.WithKey(ctx, a.Key), a.Headers), e, nil
}
