package main

import (
	"context"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A rotation says where a webhook's secret stands on its way to another.
type rotation struct {
	Action string   `json:"action"` // "begun", "found" (one that is half done) or "finished"
	Old    string   `json:"old"`
	New    string   `json:"new"`
	Next   []string `json:"next"` // what to do now
}

func (c *cli) printRotation(r rotation) error {
	return c.print(r, func(w *tabwriter.Writer) {
		switch r.Action {
		case "begun":
			row(w, fmt.Sprintf("%s has a successor with another secret, which is switched off: %s", r.Old, r.New))
		case "found":
			row(w, fmt.Sprintf("%s has a successor already, which is switched off: %s. Nothing was changed", r.Old, r.New))
		default:
			row(w, fmt.Sprintf("%s has taken the place of %s", r.New, r.Old))
		}
		for i, step := range r.Next {
			row(w, fmt.Sprintf("  %d. %s", i+1, step))
		}
	})
}

func (c *cli) webhooksRotate() *cobra.Command {
	var anew bool
	cmd := &cobra.Command{
		Use: "rotate ID", Short: "Begin to replace a webhook's secret without losing a delivery", Args: cobra.ExactArgs(1),
		Long: `Begin to replace a webhook's secret without losing a delivery. It makes a successor on the same endpoint, with another secret and
switched off, and says what to do next. If it finds a successor that an earlier call left, it makes no other.`,
		RunE: c.withWebhooks(func(ctx context.Context, webhooks *walletcrew.WebhooksService, args []string) error {
			r := rotation{Action: "found", Old: args[0]}
			var err error
			if !anew {
				if r.New, err = successor(ctx, webhooks, args[0]); err != nil {
					return err
				}
			}
			if r.New == "" {
				begun, err := webhooks.Rotate(ctx, args[0])
				if err != nil {
					return err
				}
				r = rotation{Action: "begun", Old: begun.Old.ID, New: begun.New.ID}
			}
			r.Next = []string{
				"give your receivers the new secret besides the old: walletcrew webhooks secret " + r.New,
				"when all of them have both: walletcrew webhooks finish " + r.Old + " " + r.New,
				"then take the old secret from them",
				"or give it up, before finish: walletcrew webhooks delete " + r.New,
			}
			return c.printRotation(r)
		}),
	}
	cmd.Flags().BoolVar(&anew, "anew", false, "make a successor even if there seems to be one")
	return cmd
}

// successor returns the id of a webhook that looks like what an earlier rotate left: "" without one.
func successor(ctx context.Context, webhooks *walletcrew.WebhooksService, id string) (string, error) {
	old, err := webhooks.Get(ctx, id)
	if err != nil {
		return "", err
	}
	found := ""
	for w, err := range webhooks.All(ctx, nil) {
		if err != nil {
			return "", err
		}
		if w.ID != old.ID && !w.Enabled && sameEndpoint(w.Endpoint, old.Endpoint) && w.Description == old.Description && sameEvents(w.Events, old.Events) {
			found = w.ID
		}
	}
	return found, nil
}

func sameEvents(a, b []walletcrew.EventName) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

func (c *cli) webhooksFinish() *cobra.Command {
	return &cobra.Command{
		Use: "finish OLD NEW", Short: "Finish a rotation: the new webhook takes the place of the old, which is deleted", Args: cobra.ExactArgs(2),
		RunE: c.withWebhooks(func(ctx context.Context, webhooks *walletcrew.WebhooksService, args []string) error {
			if err := webhooks.FinishRotation(ctx, args[0], args[1]); err != nil {
				return err
			}
			return c.printRotation(rotation{Action: "finished", Old: args[0], New: args[1], Next: []string{"take the old secret from your receivers"}})
		}),
	}
}
