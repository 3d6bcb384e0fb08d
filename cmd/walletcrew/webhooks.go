package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
)

// A webhookView is a webhook as it is shown: without its secret.
type webhookView struct {
	ID          string   `json:"id"`
	Endpoint    string   `json:"endpoint"`
	Events      []string `json:"events"`
	Enabled     bool     `json:"enabled"`
	Description string   `json:"description"`
}

func view(w *walletcrew.Webhook) webhookView {
	return webhookView{ID: w.ID, Endpoint: w.Endpoint, Events: texts(w.Events), Enabled: w.Enabled, Description: w.Description}
}

func webhookTable(w *tabwriter.Writer, list ...webhookView) {
	row(w, "ID", "ENABLED", "ENDPOINT", "EVENTS", "DESCRIPTION")
	for _, v := range list {
		row(w, v.ID, v.Enabled, v.Endpoint, strings.Join(v.Events, ","), v.Description)
	}
}

func (c *cli) webhooksCommand() *cobra.Command {
	cmd := group("webhooks", "The tenant's webhooks: list, ensure, rotate the secret, and so on",
		c.webhooksList(), c.webhooksGet(), c.webhooksCreate(), c.webhooksUpdate(), c.webhooksDelete(), c.webhooksEnsure(),
		c.webhooksRotate(), c.webhooksFinish(), c.webhooksSecret())
	c.addAccountFlags(cmd)
	return cmd
}

// withWebhooks makes a command's function that calls the API.
func (c *cli) withWebhooks(do func(ctx context.Context, webhooks *walletcrew.WebhooksService, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		client, err := c.client()
		if err != nil {
			return err
		}
		return do(cmd.Context(), client.Webhooks, args)
	}
}

func (c *cli) webhooksList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "All webhooks of the tenant", Args: cobra.NoArgs,
		RunE: c.withWebhooks(func(ctx context.Context, webhooks *walletcrew.WebhooksService, _ []string) error {
			list := []webhookView{}
			for w, err := range webhooks.All(ctx, nil) {
				if err != nil {
					return err
				}
				list = append(list, view(w))
			}
			return c.print(list, func(w *tabwriter.Writer) { webhookTable(w, list...) })
		}),
	}
}

func (c *cli) printWebhook(w *walletcrew.Webhook) error {
	v := view(w)
	return c.print(v, func(w *tabwriter.Writer) { webhookTable(w, v) })
}

func (c *cli) webhooksGet() *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "One webhook", Args: cobra.ExactArgs(1),
		RunE: c.withWebhooks(func(ctx context.Context, webhooks *walletcrew.WebhooksService, args []string) error {
			w, err := webhooks.Get(ctx, args[0])
			if err != nil {
				return err
			}
			return c.printWebhook(w)
		}),
	}
}

// specFlags are what a webhook shall look like.
type specFlags struct {
	events      []string
	description string
	enabled     bool
	endpoint    string
}

func (f *specFlags) add(cmd *cobra.Command, events string) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.events, "event", nil, "an event's `name` or a pattern, such as \"Pass:*\"; several: with commas, or the flag again"+events)
	flags.StringVar(&f.description, "description", "", "what it is for")
	flags.BoolVar(&f.enabled, "enabled", true, "switch it on or off")
}

func (f *specFlags) spec(cmd *cobra.Command, url string) walletcrew.WebhookSpec {
	spec := walletcrew.WebhookSpec{Endpoint: url, Events: names(f.events), Description: f.description}
	if len(spec.Events) == 0 {
		spec.Events = []walletcrew.EventName{walletcrew.AllEvents}
	}
	if cmd.Flags().Changed("enabled") {
		spec.Enabled = &f.enabled
	}
	return spec
}

func names(list []string) []walletcrew.EventName {
	var events []walletcrew.EventName
	for _, name := range list {
		if name = strings.TrimSpace(name); name != "" {
			events = append(events, walletcrew.EventName(name))
		}
	}
	return events
}

func (c *cli) webhooksCreate() *cobra.Command {
	var f specFlags
	cmd := &cobra.Command{
		Use: "create ENDPOINT", Short: "A new webhook, even if there is one for the endpoint: most want ensure", Args: cobra.ExactArgs(1),
	}
	cmd.RunE = c.withWebhooks(func(ctx context.Context, webhooks *walletcrew.WebhooksService, args []string) error {
		w, err := webhooks.Create(ctx, f.spec(cmd, args[0]))
		if err != nil {
			return err
		}
		return c.printWebhook(w)
	})
	f.add(cmd, " (default: all)")
	return cmd
}

func (c *cli) webhooksUpdate() *cobra.Command {
	var f specFlags
	cmd := &cobra.Command{Use: "update ID", Short: "Change what the flags say; the rest stays as it is", Args: cobra.ExactArgs(1)}
	cmd.RunE = c.withWebhooks(func(ctx context.Context, webhooks *walletcrew.WebhooksService, args []string) error {
		patch := walletcrew.WebhookPatch{Events: names(f.events)}
		changed := cmd.Flags().Changed
		if changed("endpoint") {
			patch.Endpoint = &f.endpoint
		}
		if changed("description") {
			patch.Description = &f.description
		}
		if changed("enabled") {
			patch.Enabled = &f.enabled
		}
		if patch.Events == nil && patch.Endpoint == nil && patch.Description == nil && patch.Enabled == nil {
			return usagef("what shall change? --endpoint, --event, --description, --enabled=false")
		}
		w, err := webhooks.Patch(ctx, args[0], patch)
		if err != nil {
			return err
		}
		return c.printWebhook(w)
	})
	f.add(cmd, "; they replace those that it has")
	cmd.Flags().StringVar(&f.endpoint, "endpoint", "", "another `URL`")
	return cmd
}

// A deleted says what became of one id.
type deleted struct {
	ID     string `json:"id"`
	Result string `json:"result"` // "deleted", "not found", "kept" or "failed"
	Error  string `json:"error"`
}

func (c *cli) webhooksDelete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete ID...", Short: "Delete webhooks; on a terminal it asks before", Args: cobra.MinimumNArgs(1),
		RunE: c.withWebhooks(func(ctx context.Context, webhooks *walletcrew.WebhooksService, args []string) error {
			list, failed := []deleted{}, false
			for _, id := range args {
				d := deleted{ID: id, Result: "deleted"}
				switch ok, err := c.confirmed(ctx, webhooks, id, yes); {
				case ctx.Err() != nil:
					return ctx.Err()
				case err != nil:
					d.Result, d.Error = "failed", oneLine(err)
				case !ok:
					d.Result = "kept"
				default:
					err = webhooks.Delete(ctx, id)
					if err != nil {
						d.Result, d.Error = "failed", oneLine(err)
					}
					if errors.Is(err, walletcrew.ErrNotFound) {
						d.Result = "not found"
					}
				}
				failed = failed || d.Result != "deleted"
				list = append(list, d)
			}
			err := c.print(list, func(w *tabwriter.Writer) {
				for _, d := range list {
					row(w, d.ID, d.Result, d.Error)
				}
			})
			if err == nil && failed {
				return errNo
			}
			return err
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	return cmd
}

// confirmed asks, if a person is there to answer.
func (c *cli) confirmed(ctx context.Context, webhooks *walletcrew.WebhooksService, id string, yes bool) (bool, error) {
	if yes || !c.terminal(c.in) {
		return true, nil
	}
	w, err := webhooks.Get(ctx, id)
	if errors.Is(err, walletcrew.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return c.ask(ctx, fmt.Sprintf("Delete %s, which delivers %s to %s?", w.ID, strings.Join(texts(w.Events), ","), w.Endpoint))
}

// ask puts a question to the person at the terminal; anything but yes is no.
func (c *cli) ask(ctx context.Context, question string) (bool, error) {
	_, _ = fmt.Fprint(c.err, visible(question), " [y/N] ")
	typed := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(c.in).ReadString('\n')
		typed <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case answer := <-typed:
		return answer == "y" || answer == "yes", nil
	case <-ctx.Done(): // Ctrl-C
		_, _ = fmt.Fprintln(c.err)
		return false, ctx.Err()
	}
}

// An ensured is what ensure found or made.
type ensured struct {
	Action     string      `json:"action"` // "created", "updated" or "unchanged"
	Webhook    webhookView `json:"webhook"`
	Duplicates []string    `json:"duplicates"`
	Warnings   []string    `json:"warnings"`
}

func (c *cli) webhooksEnsure() *cobra.Command {
	var f specFlags
	cmd := &cobra.Command{
		Use: "ensure ENDPOINT", Short: "One webhook for the endpoint, however often it is called: what a deployment calls", Args: cobra.ExactArgs(1),
	}
	cmd.RunE = c.withWebhooks(func(ctx context.Context, webhooks *walletcrew.WebhooksService, args []string) error {
		r, err := webhooks.Ensure(ctx, f.spec(cmd, args[0]))
		if err != nil {
			return err
		}
		e := ensured{Action: string(r.Action), Webhook: view(r.Webhook), Duplicates: append([]string{}, r.Duplicates...), Warnings: append([]string{}, r.Warnings...)}
		return c.print(e, func(w *tabwriter.Writer) {
			row(w, e.Action)
			webhookTable(w, e.Webhook)
			for _, id := range e.Duplicates {
				row(w, "further webhook on the same endpoint, so that each event comes twice: "+id)
			}
			for _, warning := range e.Warnings {
				row(w, "warning: "+warning)
			}
		})
	})
	f.add(cmd, " (default: all)")
	return cmd
}

func (c *cli) webhooksSecret() *cobra.Command {
	return &cobra.Command{
		Use: "secret ID", Short: "Print a webhook's secret alone: for a pipe into your secret store, not for a log", Args: cobra.ExactArgs(1),
		RunE: c.withWebhooks(func(ctx context.Context, webhooks *walletcrew.WebhooksService, args []string) error {
			w, err := webhooks.Get(ctx, args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.out, string(w.SignatureSecret))
			return err
		}),
	}
}

// sameEndpoint reports whether two webhooks deliver to one place.
func sameEndpoint(a, b string) bool { return endpoint.Same(a, b) }
