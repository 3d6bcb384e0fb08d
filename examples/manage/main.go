// Manage lists, ensures, patches, rotates and deletes webhooks, by flags.
//
//	export WALLETCREW_TENANT_ID=… WALLETCREW_API_KEY=… WALLETCREW_BASE_URL=https://app-qa.neostore.cloud
//	go run ./examples/manage -list
//	go run ./examples/manage -ensure https://shop.example/webhooks/walletcrew -events 'Pass:*,Customer:*'
//	go run ./examples/manage -patch ID -enabled=false
//	go run ./examples/manage -rotate ID          # prints the two ids; give the receivers both secrets, then
//	go run ./examples/manage -secret NEW         # the value, for your secret store
//	go run ./examples/manage -finish OLD,NEW
//	go run ./examples/manage -delete ID
//
// Several flags are done in this order. Without any, it makes a tour of them on the embedded platform, which needs no account.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"text/tabwriter"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "manage:", err)
		os.Exit(1)
	}
}

// tour is what a run without flags does.
func tour(ctx context.Context, out io.Writer) error {
	platform := walletcrewtest.NewServer()
	defer platform.Close()
	client := platform.Client()
	m := &manager{client.Webhooks, out}

	const endpoint = "https://shop.example/webhooks/walletcrew"
	steps := []struct {
		flags string
		do    func() error
	}{
		{"-ensure " + endpoint, func() error {
			return m.ensure(ctx, walletcrew.WebhookSpec{Endpoint: endpoint, Events: splitEvents("Pass:*")})
		}},
		{"-ensure " + endpoint + " (again)", func() error {
			return m.ensure(ctx, walletcrew.WebhookSpec{Endpoint: endpoint, Events: splitEvents("Pass:*")})
		}},
		{"-patch ID -description shop", func() error {
			return m.patch(ctx, platform.Webhooks()[0].ID, walletcrew.WebhookPatch{Description: new("shop")})
		}},
		{"-rotate ID", func() error { return m.rotate(ctx, platform.Webhooks()[0].ID) }},
		{"-list", func() error { return m.list(ctx) }},
		{"-finish OLD,NEW", func() error {
			return m.finish(ctx, platform.Webhooks()[0].ID, platform.Webhooks()[1].ID)
		}},
		{"-list", func() error { return m.list(ctx) }},
		{"-delete ID", func() error { return m.delete(ctx, platform.Webhooks()[0].ID) }},
	}
	for _, step := range steps {
		_, _ = fmt.Fprintf(out, "\n$ manage %s\n", step.flags)
		if err := step.do(); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("manage", flag.ContinueOnError)
	list := flags.Bool("list", false, "list all webhooks")
	ensure := flags.String("ensure", "", "make sure that there is a webhook for this `endpoint`")
	patch := flags.String("patch", "", "change the webhook with this `id`: -endpoint, -events, -description, -enabled")
	rotate := flags.String("rotate", "", "begin to replace the secret of the webhook with this `id`")
	finish := flags.String("finish", "", "finish a rotation: `old,new` ids")
	secret := flags.String("secret", "", "print the secret of the webhook with this `id`: for a pipe into your secret store, not for a log")
	remove := flags.String("delete", "", "delete the webhook with this `id`")
	events := flags.String("events", "", "names or patterns, separated by commas (default for -ensure: *)")
	verbose := flags.Bool("v", false, "log each request")
	var description, endpoint *string
	var enabled *bool
	flags.Func("description", "what the webhook is for", func(s string) error { description = &s; return nil })
	flags.Func("endpoint", "with -patch: another `URL`", func(s string) error { endpoint = &s; return nil })
	flags.Func("enabled", "`true` or false", func(s string) error {
		b, err := strconv.ParseBool(s)
		enabled = &b
		return err
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if len(args) == 0 {
		return tour(ctx, out)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("what is %q? Flags begin with -, as -list", flags.Arg(0))
	}

	opts := []walletcrew.Option{walletcrew.WithUserAgent("walletcrew-manage")}
	if *verbose {
		opts = append(opts, walletcrew.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	}
	client, err := walletcrew.NewClientFromEnv(opts...)
	if err != nil {
		return err
	}
	m := &manager{client.Webhooks, out}
	if *ensure != "" {
		spec := walletcrew.WebhookSpec{Endpoint: *ensure, Events: splitEvents(*events), Enabled: enabled}
		if spec.Events == nil {
			spec.Events = []walletcrew.EventName{walletcrew.AllEvents}
		}
		if description != nil {
			spec.Description = *description
		}
		err = errors.Join(err, m.ensure(ctx, spec))
	}
	if *patch != "" {
		err = errors.Join(err, m.patch(ctx, *patch, walletcrew.WebhookPatch{
			Endpoint: endpoint, Events: splitEvents(*events), Description: description, Enabled: enabled,
		}))
	}
	if *rotate != "" {
		err = errors.Join(err, m.rotate(ctx, *rotate))
	}
	if *finish != "" {
		oldID, newID, ok := strings.Cut(*finish, ",")
		if !ok {
			return errors.New("-finish takes two ids: old,new")
		}
		err = errors.Join(err, m.finish(ctx, oldID, newID))
	}
	if *secret != "" {
		err = errors.Join(err, m.secret(ctx, *secret))
	}
	if *remove != "" {
		err = errors.Join(err, m.delete(ctx, *remove))
	}
	if *list {
		err = errors.Join(err, m.list(ctx))
	}
	return err
}

type manager struct {
	webhooks *walletcrew.WebhooksService
	out      io.Writer
}

func (m *manager) say(format string, args ...any) { _, _ = fmt.Fprintf(m.out, format+"\n", args...) }

func (m *manager) ensure(ctx context.Context, spec walletcrew.WebhookSpec) error {
	result, err := m.webhooks.Ensure(ctx, spec)
	if err != nil {
		return err
	}
	m.say("%s: %s", result.Webhook.ID, result.Action)
	if len(result.Duplicates) > 0 {
		m.say("further webhooks on the same endpoint: %s", strings.Join(result.Duplicates, ", "))
	}
	for _, warning := range result.Warnings {
		m.say("warning: %s", warning)
	}
	return nil
}

func (m *manager) patch(ctx context.Context, id string, patch walletcrew.WebhookPatch) error {
	w, err := m.webhooks.Patch(ctx, id, patch)
	if err != nil {
		return err
	}
	return m.print(w)
}

func (m *manager) rotate(ctx context.Context, id string) error {
	r, err := m.webhooks.Rotate(ctx, id)
	if err != nil {
		return err
	}
	m.say("give the receivers the secret of %s besides that of %s, then: -finish %s,%s", r.New.ID, r.Old.ID, r.Old.ID, r.New.ID)
	return nil
}

func (m *manager) finish(ctx context.Context, oldID, newID string) error {
	if err := m.webhooks.FinishRotation(ctx, oldID, newID); err != nil {
		return err
	}
	m.say("%s has taken the place of %s", newID, oldID)
	return nil
}

func (m *manager) secret(ctx context.Context, id string) error {
	w, err := m.webhooks.Get(ctx, id)
	if err != nil {
		return err
	}
	m.say("%s", string(w.SignatureSecret))
	return nil
}

func (m *manager) delete(ctx context.Context, id string) error {
	err := m.webhooks.Delete(ctx, id)
	if errors.Is(err, walletcrew.ErrNotFound) {
		m.say("%s: there is none", id)
		return nil
	}
	if err == nil {
		m.say("%s: deleted", id)
	}
	return err
}

func (m *manager) list(ctx context.Context) error {
	var all []*walletcrew.Webhook
	for w, err := range m.webhooks.All(ctx, nil) {
		if err != nil {
			return err
		}
		all = append(all, w)
	}
	return m.print(all...)
}

func (m *manager) print(webhooks ...*walletcrew.Webhook) error {
	table := tabwriter.NewWriter(m.out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ID\tENABLED\tENDPOINT\tEVENTS\tSECRET\tDESCRIPTION")
	for _, w := range webhooks {
		_, _ = fmt.Fprintf(table, "%s\t%t\t%s\t%s\t%v\t%s\n", w.ID, w.Enabled, w.Endpoint, joinEvents(w.Events), w.SignatureSecret, w.Description)
	}
	return table.Flush()
}

func splitEvents(list string) []walletcrew.EventName {
	var names []walletcrew.EventName
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, walletcrew.EventName(name))
		}
	}
	return names
}

func joinEvents(names []walletcrew.EventName) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = string(name)
	}
	return strings.Join(list, ",")
}
