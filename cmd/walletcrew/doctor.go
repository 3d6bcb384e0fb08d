package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
)

// A diagnosis is the report of doctor. No secret and no key is in it.
type diagnosis struct {
	Passed  bool      `json:"passed"`
	Version build     `json:"version"`
	Server  string    `json:"server"`
	Tenant  string    `json:"tenant"`
	Checks  []finding `json:"checks"`
}

// A finding is one line of the report.
type finding struct {
	Name   string `json:"name"`
	Status string `json:"status"` // "ok", "warning", "failed" or "skipped"
	Detail string `json:"detail"`
}

const (
	ok      = "ok"
	warning = "warning"
	failed  = "failed"
	skipped = "skipped"
)

func (c *cli) doctorCommand() *cobra.Command {
	var write bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "What works with your key, what doesn't, and which undocumented facts hold: a report for an issue",
		Long: `With your key: does it work, which scopes has it, which webhooks are there, do their endpoints answer, and which facts that the platform
doesn't document hold? No secret is in the report, so it can be pasted into an issue.

It only reads, unless --write lets it make a webhook of its own, switched off, which it changes and deletes again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			account, err := c.account.credentials()
			if err != nil {
				return err
			}
			client, err := c.newClient(account)
			if err != nil {
				return err
			}
			d := &doctor{client: client, sender: newSender(), report: diagnosis{Passed: true, Version: version(), Server: account.BaseURL, Tenant: account.Tenant, Checks: []finding{}}}
			d.run(cmd.Context(), write)
			if err := c.print(d.report, func(w *tabwriter.Writer) { c.doctorTable(w, d.report) }); err != nil || d.report.Passed {
				return err
			}
			return errNo
		},
	}
	cmd.Flags().BoolVar(&write, "write", false, "also try what changes something, on a webhook of its own")
	c.addAccountFlags(cmd)
	return cmd
}

func (c *cli) doctorTable(w *tabwriter.Writer, d diagnosis) {
	signs := map[string]painted{ok: c.paint(green, "✓"), warning: c.paint(yellow, "!"), failed: c.paint(red, "✗"), skipped: c.paint(faint, "-")}
	row(w, "", "command", fmt.Sprintf("%s (%s %s/%s)", d.Version.Version, d.Version.Go, d.Version.OS, d.Version.Arch))
	row(w, "", "server", d.Server)
	row(w, "", "tenant", d.Tenant)
	for _, f := range d.Checks {
		row(w, signs[f.Status], f.Name, f.Detail)
	}
}

// A doctor makes a report.
type doctor struct {
	client *walletcrew.Client
	sender *http.Client
	report diagnosis
}

func (d *doctor) say(name, status, format string, args ...any) {
	d.report.Checks = append(d.report.Checks, finding{name, status, fmt.Sprintf(format, args...)})
	d.report.Passed = d.report.Passed && status != failed
}

func (d *doctor) run(ctx context.Context, write bool) {
	if !d.read(ctx) {
		return
	}
	d.webhooks(ctx)
	if !write {
		d.say("scope Webhook.Write", skipped, "not tried: --write does")
		return
	}
	d.write(ctx)
}

// read asks for the list, which says most. It reports whether there is one.
func (d *doctor) read(ctx context.Context) bool {
	var answer walletcrew.Response
	err := d.client.Do(ctx, http.MethodGet, "webhooks", nil, &answer)
	switch {
	case errors.Is(err, walletcrew.ErrUnauthorized):
		d.say("key", failed, "the platform doesn't know it (401): is it of this server, and not revoked?")
	case errors.Is(err, walletcrew.ErrForbidden):
		d.say("key", ok, "the platform knows it")
		d.say("scope Webhook.Read", failed, "missing, or a firewall refuses the call (403)")
	case errors.Is(err, walletcrew.ErrNotFound):
		d.say("tenant", failed, "there is none of this id for this key (404): it is spelled as in the API's path")
	case err != nil:
		d.say("platform", failed, "%s", oneLine(err))
	default:
		d.say("key", ok, "the platform knows it")
		d.say("scope Webhook.Read", ok, "granted")
		d.say("tenant", ok, "is there")
		d.listShape(answer)
		return true
	}
	return false
}

func (d *doctor) listShape(a walletcrew.Response) {
	shape := "something else"
	switch body := bytes.TrimSpace(a.Body); {
	case bytes.HasPrefix(body, []byte("[")):
		d.say("fact: the list is a JSON array", ok, "it is")
		shape = ""
	case bytes.HasPrefix(body, []byte("{")):
		var members map[string]json.RawMessage
		_ = json.Unmarshal(body, &members)
		shape = "an object"
		for name := range members {
			shape += " " + name
		}
	}
	if shape != "" {
		d.say("fact: the list is a JSON array", warning, "it is %s", shape)
	}
	if a.Header.Get("X-Continuationtoken") != "" {
		d.say("fact: the list isn't paged", warning, "it is: the answer has the header X-continuationToken")
	} else {
		d.say("fact: the list isn't paged", ok, "there is no header X-continuationToken")
	}
}

// webhooks looks at what is registered.
func (d *doctor) webhooks(ctx context.Context) {
	var list []*walletcrew.Webhook
	for w, err := range d.client.Webhooks.All(ctx, nil) {
		if errors.Is(err, walletcrew.ErrListIncomplete) {
			d.say("webhooks", warning, "the list may be incomplete: %s", oneLine(err))
			break
		}
		if err != nil {
			d.say("webhooks", failed, "%s", oneLine(err))
			return
		}
		list = append(list, w)
	}
	if len(list) == 0 {
		d.say("webhooks", warning, "there are none: walletcrew webhooks ensure https://…")
		return
	}
	d.say("webhooks", ok, "%d", len(list))
	byEndpoint, order := map[string][]*walletcrew.Webhook{}, []string{}
	for _, w := range list {
		d.webhook(w)
		normal := endpoint.Normal(w.Endpoint)
		if byEndpoint[normal] == nil {
			order = append(order, normal)
		}
		byEndpoint[normal] = append(byEndpoint[normal], w)
	}
	for _, normal := range order {
		d.endpoint(ctx, byEndpoint[normal])
	}
}

func (d *doctor) webhook(w *walletcrew.Webhook) {
	name := "webhook " + w.ID
	switch {
	case !w.Enabled:
		d.say(name, warning, "is switched off: nothing is delivered for it")
	case len(w.Events) == 0:
		d.say(name, warning, "has no events")
	default:
		d.say(name, ok, "%s to %s", strings.Join(texts(w.Events), ","), withoutQuery(w.Endpoint))
	}
	for _, event := range w.Events {
		if !event.Known() && !slices.ContainsFunc(walletcrew.Events(), func(known walletcrew.EventName) bool { return known.Matches(event) }) {
			d.say(name, warning, "%s is no event that this version knows, and fits none: is it spelled right?", event)
		}
	}
	if w.SignatureSecret == "" {
		d.say(name, warning, "the platform gave no secret for it")
	}
}

func (d *doctor) endpoint(ctx context.Context, webhooks []*walletcrew.Webhook) {
	target := webhooks[0].Endpoint
	name := "endpoint " + withoutQuery(target)
	if len(webhooks) > 1 {
		var ids []string
		for _, w := range webhooks {
			ids = append(ids, w.ID)
		}
		d.say(name, warning, "has %d webhooks, each of which delivers: %s", len(webhooks), strings.Join(ids, ", "))
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	a, err := post(ctx, d.sender, target, message{Method: http.MethodGet, Header: http.Header{}})
	switch {
	case err != nil:
		d.say(name, failed, "doesn't answer from here: %v", err)
	case a.Status >= 500:
		d.say(name, warning, "answers a GET with %d", a.Status)
	case a.Status/100 == 3:
		d.say(name, warning, "answers a GET with a redirect (%d), which is no success for the platform", a.Status)
	default:
		d.say(name, ok, "answers (a GET with %d, in %.0f ms)", a.Status, milliseconds(a.Duration))
	}
}

// withoutQuery leaves out what may be a credential.
func withoutQuery(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(not a URL)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// write tries what changes something, on a webhook of its own that is switched off.
func (d *doctor) write(ctx context.Context) {
	w, err := d.client.Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint: "https://walletcrew-doctor.invalid/webhooks", Events: []walletcrew.EventName{walletcrew.EventPassCreated},
		Description: "walletcrew doctor: may be deleted", Enabled: new(bool),
	})
	switch {
	case errors.Is(err, walletcrew.ErrForbidden):
		d.say("scope Webhook.Write", failed, "missing, or a firewall refuses the call (403)")
		return
	case err != nil:
		d.say("scope Webhook.Write", failed, "%s", oneLine(err))
		return
	}
	d.say("scope Webhook.Write", ok, "granted")
	defer d.delete(context.WithoutCancel(ctx), w.ID)
	if w.Enabled {
		d.say("fact: a webhook can be created switched off", warning, "the platform switched it on")
	} else {
		d.say("fact: a webhook can be created switched off", ok, "it can")
	}
	if len(w.SignatureSecret) == 64 {
		d.say("fact: a secret has 64 characters", ok, "it has")
	} else {
		d.say("fact: a secret has 64 characters", warning, "it has %d", len(w.SignatureSecret))
	}
	var a walletcrew.Response
	err = d.client.Do(ctx, http.MethodPatch, "webhooks/"+url.PathEscape(w.ID), map[string]any{"description": "walletcrew doctor: changed, may be deleted"}, &a)
	if err != nil {
		d.say("fact: PATCH takes what changes", warning, "%s", oneLine(err))
		return
	}
	d.say("fact: the answer to PATCH", ok, "%s", d.answerKind(a))
	now, err := d.client.Webhooks.Get(ctx, w.ID)
	switch {
	case err != nil:
		d.say("fact: PATCH takes what changes", warning, "%s", oneLine(err))
	case now.Description != "walletcrew doctor: changed, may be deleted" || len(now.Events) != 1 || now.Endpoint != w.Endpoint || now.Enabled != w.Enabled:
		d.say("fact: PATCH takes what changes", warning, "it changed something else, or nothing")
	default:
		d.say("fact: PATCH takes what changes", ok, "it does, and leaves the rest")
	}
}

func (d *doctor) answerKind(a walletcrew.Response) string {
	var w struct {
		ID string `json:"id"`
	}
	switch {
	case len(bytes.TrimSpace(a.Body)) == 0:
		return "has no body"
	case json.Unmarshal(a.Body, &w) == nil && w.ID != "":
		return "is the webhook"
	}
	return "is something else (" + a.Header.Get("Content-Type") + ")"
}

func (d *doctor) delete(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := d.client.Webhooks.Delete(ctx, id); err != nil {
		d.say("the webhook of its own", failed, "%s is left: walletcrew webhooks delete %s (%s)", id, id, oneLine(err))
		return
	}
	d.say("the webhook of its own", ok, "is deleted again")
}
