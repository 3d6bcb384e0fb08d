package main

import (
	"context"
	"errors"
	"strings"
	"text/tabwriter"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A cleaned is a webhook that a listen has left.
type cleaned struct {
	Session  string `json:"session"`
	Webhook  string `json:"webhook"` // "": it had registered none
	Endpoint string `json:"endpoint"`
	Result   string `json:"result"` // "deleted", "nothing left", "runs", "of another machine" or "failed"
	Error    string `json:"error"`
}

// listenClean deletes what listens that crashed have left: webhooks whose description names a session that has a file on this machine and
// doesn't answer any more. Others it only names.
func (c *cli) listenClean(ctx context.Context) error {
	account, err := c.account.credentials()
	if err != nil {
		return err
	}
	client, err := c.newClient(account)
	if err != nil {
		return err
	}
	known, err := sessions()
	if err != nil {
		return err
	}
	left := map[string]*walletcrew.Webhook{} // by session
	for w, err := range client.Webhooks.All(ctx, nil) {
		if err != nil {
			return err
		}
		if session, ok := strings.CutPrefix(w.Description, description("")); ok {
			left[session] = w
		}
	}
	list := []cleaned{}
	for _, r := range known {
		if r.Mode != "listen" || r.Tenant != account.Tenant || r.BaseURL != account.BaseURL { // another platform would not have its webhook
			continue
		}
		list = append(list, c.cleanSession(ctx, client, r, left[r.Session]))
		delete(left, r.Session)
	}
	for session, w := range left {
		list = append(list, cleaned{Session: session, Webhook: w.ID, Endpoint: w.Endpoint, Result: "of another machine"})
	}
	if err := c.print(list, func(w *tabwriter.Writer) {
		if len(list) == 0 {
			row(w, "nothing is left")
			return
		}
		row(w, "SESSION", "WEBHOOK", "ENDPOINT", "RESULT", "")
		for _, one := range list {
			row(w, one.Session, one.Webhook, one.Endpoint, one.Result, one.Error)
		}
	}); err != nil {
		return err
	}
	for _, one := range list {
		if one.Result == "failed" {
			return errNo
		}
	}
	return nil
}

func (c *cli) cleanSession(ctx context.Context, client *walletcrew.Client, r running, w *walletcrew.Webhook) cleaned {
	one := cleaned{Session: r.Session, Endpoint: r.Endpoint, Result: "nothing left"}
	if w != nil {
		one.Webhook = w.ID
	}
	if r.alive(ctx) {
		one.Result = "runs"
		return one
	}
	if w != nil {
		one.Result = "deleted"
		if err := client.Webhooks.Delete(ctx, w.ID); err != nil && !errors.Is(err, walletcrew.ErrNotFound) {
			one.Result, one.Error = "failed", oneLine(err)
			return one
		}
	}
	if err := r.remove(); err != nil {
		one.Result, one.Error = "failed", oneLine(err)
	}
	return one
}
