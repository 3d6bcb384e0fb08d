// Package inspector shows deliveries in the browser: a page, and the small API behind it. All of it is in the binary, and the page asks
// nobody else.
//
// Whatever stands in a delivery was chosen by its sender, and may be hostile: the page shows it as text and never as markup.
package inspector

import (
	"context"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// Actions are what the page's buttons do; the command implements them. An error's text is shown to the user. Each is safe for
// concurrent use, and may be called while the last call is still running.
type Actions interface {
	// Replay sends the delivery once more: its bytes unchanged, signed anew. Like the other four it returns the ID of the new record.
	Replay(ctx context.Context, id string) (newID string, err error)
	// Send sends a body that the user wrote.
	Send(ctx context.Context, event, tenant string, body []byte, o SendOptions) (newID string, err error)
	// Duplicate sends the delivery once more as it came, with its headers and signature.
	Duplicate(ctx context.Context, id string) (newID string, err error)
	// Tamper sends the delivery with its signature, but with one byte of the body changed: your service has to refuse it.
	Tamper(ctx context.Context, id string) (newID string, err error)

	// Webhooks returns what is registered.
	Webhooks(ctx context.Context) ([]Webhook, error)
	// SetEnabled switches a webhook on or off. It is called only if Options.Mode is Dev.
	SetEnabled(ctx context.Context, id string, on bool) error
}

// SendOptions say how a body is sent.
type SendOptions struct {
	FromID string // the record that the user edited; "" if the body was written from scratch
	Sign   Sign
}

// A Sign says how a delivery is signed.
type Sign string

// How a delivery is signed.
const (
	SignRight  Sign = ""       // with the secret
	SignWrong  Sign = "wrong"  // with another secret: your service has to refuse it
	SignAbsent Sign = "absent" // not at all: likewise
)

// A Webhook is what the page shows of one. It has no secret.
type Webhook struct {
	ID          string   `json:"id"`
	Endpoint    string   `json:"endpoint"`
	Description string   `json:"description"`
	Events      []string `json:"events"`
	Enabled     bool     `json:"enabled"`
}

// The modes of the command.
const (
	Dev    = "dev"    // the platform is in this process
	Listen = "listen" // deliveries come from the real platform
)

// Options say what the page tells its user. The zero value is good for a test.
type Options struct {
	Title     string // of the page; "": "walletcrew"
	Mode      string // Dev or Listen; "": Dev
	Tenant    string // what the form for a new delivery begins with
	Endpoint  string // where deliveries come in: what the user registers, or what `trigger --to` sends to
	ForwardTo string // your service; "": deliveries are only shown
	Version   string // of the command

	// Events are the names that the form for a new delivery offers; nil: walletcrew.Events().
	Events []string
	// Sample returns a body for a new delivery of this event. nil: {"__id": …} and nothing else.
	Sample func(event string) []byte
	// Secrets are never shown: wherever one of them stands in what the page would show, such as an answer of your service that repeats
	// it, "[redacted]" stands instead. It is called for every answer, and must be fast. nil: there are none.
	Secrets func() []walletcrew.Secret
}
