package main

import (
	"context"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func (c *cli) resendCommand() *cobra.Command {
	var to, inspectorURL string
	cmd := &cobra.Command{
		Use:   "resend ID --to URL",
		Short: "Send a delivery again exactly as it came, with its headers and its signature",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return usagef("where to? --to takes your service's URL")
			}
			if err := checkTarget("--to", to); err != nil {
				return err
			}
			return c.resend(cmd.Context(), args[0], to, inspectorURL)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "your service's `URL`")
	cmd.Flags().StringVar(&inspectorURL, "inspector", "", "the `URL` of the inspector whose session it is, if several run")
	return cmd
}

func (c *cli) resend(ctx context.Context, id, to, inspectorURL string) error {
	r, err := findSession(ctx, inspectorURL)
	if err != nil {
		return err
	}
	var d localDelivery
	if err := r.call(ctx, http.MethodGet, "deliveries/"+pathElement(id), nil, &d); err != nil {
		return err
	}
	a, err := post(ctx, newSender(), to, message{Header: d.Header, Body: d.Body})
	return c.printResult(newResult(d.Event, d.Body, a, err))
}

func pathElement(text string) string { return url.PathEscape(text) }
