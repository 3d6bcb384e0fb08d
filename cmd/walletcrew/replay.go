package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"
)

func (c *cli) replayCommand() *cobra.Command {
	var to, inspectorURL string
	cmd := &cobra.Command{
		Use:   "replay FILE|ID",
		Short: "Deliver a recorded delivery again: its bytes unchanged, signed anew",
		Long: `Deliver a recorded delivery again: its bytes unchanged, signed anew. An ID is that of a "walletcrew dev" or "walletcrew listen" that runs,
which delivers it with its own secret. A FILE is what --record wrote: all of it is delivered, one after the other, to --to with
WALLETCREW_SECRET or --secret-file, or else by the session that runs.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if info, err := os.Stat(args[0]); err == nil && !info.IsDir() {
				return c.replayFile(cmd.Context(), args[0], to, inspectorURL)
			}
			return c.replayID(cmd.Context(), args[0], to, inspectorURL)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "another `URL` than the session's")
	cmd.Flags().StringVar(&inspectorURL, "inspector", "", "the `URL` of the inspector whose session it is, if several run")
	c.addSecretFlag(cmd)
	return cmd
}

func (c *cli) replayID(ctx context.Context, id, to, inspectorURL string) error {
	if to != "" {
		if err := checkTarget("--to", to); err != nil {
			return err
		}
	}
	r, err := findSession(ctx, inspectorURL)
	if errors.Is(err, errNoSession) {
		return fmt.Errorf("%s is no file, and no `walletcrew dev` or `walletcrew listen` of yours runs here that could have a delivery of this id", visible(id))
	}
	if err != nil {
		return err
	}
	var res result
	if err := r.call(ctx, http.MethodPost, "deliveries/"+pathElement(id)+"/replay", map[string]string{"to": to}, &res); err != nil {
		return err
	}
	return c.printResult(res)
}

// printResult prints one result; one that wasn't accepted is a no.
func (c *cli) printResult(r result) error {
	if err := c.line(r, c.resultText(r)); err != nil || r.accepted() {
		return err
	}
	return errNo
}

// replayFile delivers the events of a file, to the end, whatever they are answered.
func (c *cli) replayFile(ctx context.Context, name, to, inspectorURL string) error {
	t, err := c.target(ctx, to, inspectorURL)
	if err != nil {
		return err
	}
	f, err := os.Open(name) //nolint:gosec // the user names it
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var in io.Reader = f
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		in = io.LimitReader(f, info.Size()) // what is there now: the session may record what this sends into the same file, without end
	}
	refused := false
	for d, err := range readRecorded(in) {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r := t.send(ctx, d)
		refused = refused || !r.accepted()
		if err := c.line(r, c.resultText(r)); err != nil {
			return err
		}
	}
	if refused {
		return errNo
	}
	return nil
}

// readRecorded reads the lines that --record wrote.
func readRecorded(r io.Reader) func(yield func(draft, error) bool) {
	return func(yield func(draft, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 6*maxBody) // a byte may be six in JSON
		n := 0
		for lines.Scan() {
			n++
			if len(lines.Bytes()) == 0 {
				continue
			}
			var e recorded
			if json.Unmarshal(lines.Bytes(), &e) != nil || e.Body == nil || e.Name == "" { // its error could show the body
				yield(draft{}, fmt.Errorf(`line %d isn't the JSON of an event: {"name","tenantId","receivedAt","body"}`, n))
				return
			}
			if !yield(draft{Event: e.Name, Tenant: e.TenantID, Body: []byte(*e.Body)}, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(draft{}, fmt.Errorf("line %d: %w", n+1, err))
		}
	}
}
