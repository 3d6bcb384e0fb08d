package main

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A row is an event as the warehouse has it. A field is empty where the event doesn't say.
type row struct {
	id, name                               string
	receivedAt                             time.Time
	passID, passType, passKind, customerID string
	device, campaign, medium, origin       string
	active, total                          int
	installs, uninstalls                   int // 1 for such an event
	body                                   string
}

func rowOf(e *walletcrew.Event) row {
	r := row{id: text(e.ID), name: text(string(e.Name)), receivedAt: e.ReceivedAt.UTC(), body: string(e.Raw)}
	if p := e.Pass(); p != nil {
		r.passID, r.passType, r.passKind, r.customerID = text(p.PassID), text(p.PassType), text(p.PassKind), member(e, "identifiers.customerId")
	}
	var info *walletcrew.AdditionalInformation
	switch p := e.Data.(type) {
	case *walletcrew.PassInstalled:
		r.installs, r.device, info = 1, text(p.Device.Platform), p.AdditionalInformation
	case *walletcrew.PassUninstalled:
		r.uninstalls, r.device, info = 1, text(p.Device.Platform), p.AdditionalInformation
	}
	if info != nil {
		source, counts := info.RegistrationSource, info.RegistrationInformation
		r.campaign = text(strings.Join(slices.Sorted(slices.Values(source.Tags)), " + "))
		r.medium, r.origin = text(source.Medium), text(source.Origin)
		r.active, r.total = counts.ActiveRegistrationCount, counts.TotalRegistrationCount
	}
	return r
}

// day is when the event came: no event says when it happened.
func (r row) day() string { return r.receivedAt.Format(time.DateOnly) }

func (r row) insert(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO events (event_id, name, received_at, pass_id, pass_type, pass_kind, customer_id, device, campaign, medium, origin, active, total, body)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		r.id, r.name, r.receivedAt.Format("2006-01-02T15:04:05.000000Z07:00"), r.passID, r.passType, r.passKind, r.customerID, r.device, r.campaign, r.medium,
		r.origin, r.active, r.total, r.body)
	return err
}

func (r row) countRedirect(ctx context.Context, tx *sql.Tx, store string) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO redirects (store, day, count) VALUES ($1, $2, 1)
		ON CONFLICT (store, day) DO UPDATE SET count = redirects.count + 1`, store, r.day())
	return err
}

// text is what a column takes of a member, or of the event's name, which is a header: no NUL and no bytes that aren't UTF-8, which
// PostgreSQL refuses, and nothing that is too long for an index.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s[:min(len(s), 256)], ""), "\x00", "")
}

// member returns the member at a path such as "customerId" or "qr.store", as text; "" if there is none.
func member(e *walletcrew.Event, path string) string {
	var members walletcrew.Values
	if e.Decode(&members) != nil {
		return ""
	}
	name, rest, more := strings.Cut(path, ".")
	for ; more; name, rest, more = strings.Cut(rest, ".") {
		object := []byte(members[name])
		if members = nil; members.UnmarshalJSON(object) != nil {
			return ""
		}
	}
	if members[name] == "null" {
		return ""
	}
	return text(members[name])
}
