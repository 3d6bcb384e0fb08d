package main

import (
	"context"
	"database/sql"
)

// Events come in any order, and none says when it happened. So what is written here is a sum, the greatest or the least: no order
// changes these.

const upsert = `
INSERT INTO passes (pass_id, customer_id, pass_type, installs, uninstalls) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (pass_id) DO UPDATE SET
	customer_id = CASE WHEN excluded.customer_id > passes.customer_id THEN excluded.customer_id ELSE passes.customer_id END,
	pass_type   = CASE WHEN excluded.pass_type > passes.pass_type THEN excluded.pass_type ELSE passes.pass_type END,
	installs    = passes.installs + excluded.installs,
	uninstalls  = passes.uninstalls + excluded.uninstalls`

// The platform's own counts also know of installations from before this service. That an installation raises the total, and an
// uninstallation lowers the active at the same total, tells which counts are the newest. It is our reading of their names; the platform
// doesn't document it.
const updateCounts = `
UPDATE passes SET total = $2, active = $3
WHERE pass_id = $1 AND ($2 > total OR ($2 = total AND $3 < active))`

// The first installation is the one with the lowest total; its campaign is the one that won the customer.
const upsertInstall = `
INSERT INTO installs (pass_id, total, day, campaign) VALUES ($1, $2, $3, $4)
ON CONFLICT (pass_id) DO UPDATE SET total = excluded.total, day = excluded.day, campaign = excluded.campaign
WHERE (excluded.total, excluded.day, excluded.campaign) < (installs.total, installs.day, installs.campaign)`

// updatePass marks a pass as installed, or no longer so, and attributes its first installation to a campaign.
func (r row) updatePass(ctx context.Context, tx *sql.Tx) error {
	if r.passID == "" {
		return errNobody
	}
	if _, err := tx.ExecContext(ctx, upsert, r.passID, r.customerID, r.passType, r.installs, r.uninstalls); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, updateCounts, r.passID, r.total, r.active); err != nil || r.installs == 0 {
		return err
	}
	_, err := tx.ExecContext(ctx, upsertInstall, r.passID, r.total, r.day(), r.campaign)
	return err
}

// startJourney leaves it to the outbox's mailer to write to the customer: a mail can't be rolled back. A customer's second upsert finds the
// row, and so does one that comes after the mail was sent.
func startJourney(ctx context.Context, tx *sql.Tx, customerID string) error {
	if customerID == "" {
		return errNobody
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO outbox (customer_id, journey) VALUES ($1, 'welcome') ON CONFLICT DO NOTHING`, customerID)
	return err
}
