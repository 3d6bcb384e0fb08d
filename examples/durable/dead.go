package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
)

const usage = "usage: -role dead [list | show ID... | redrive ID... | delete ID...]; redrive and delete also take \"all\""

// dead is for an operator, after a bug was repaired: it lists the dead letters, shows them with their bodies, puts them back to be
// handled, or deletes them.
func dead(ctx context.Context, nc *nats.Conn, out io.Writer, args []string) error {
	stream, err := jetstream.OpenStream(ctx, nc, jetstream.StreamConfig{})
	if err != nil {
		return err
	}
	do, ids := "list", []string(nil)
	if len(args) > 0 {
		do, ids = args[0], args[1:]
	}
	switch {
	case do == "list" && len(ids) == 0:
		return list(ctx, stream, out)
	case len(ids) == 0, do != "show" && do != "redrive" && do != "delete", do == "show" && ids[0] == "all":
		return errors.New(usage)
	case len(ids) == 1 && ids[0] == "all":
		ids = nil
		for d, err := range stream.DeadLetters(ctx) {
			if err != nil {
				return err
			}
			ids = append(ids, d.ID)
		}
	}
	var failed []error
	for _, id := range ids {
		if err := one(ctx, stream, out, do, id); err != nil { // such as one that a colleague has just put back
			failed = append(failed, fmt.Errorf("%s %s: %w", do, id, err))
		}
	}
	return errors.Join(failed...)
}

func one(ctx context.Context, stream *jetstream.Stream, out io.Writer, do, id string) error {
	d, err := stream.DeadLetter(ctx, id)
	if err != nil {
		return err
	}
	did := "put back"
	switch do {
	case "show":
		_, err := fmt.Fprintf(out, "id:        %s\nevent:     %s\npublished: %s\ndied:      %s, after %d tries of %s\nreason:    %s\nbody:      %s\n\n", d.ID,
			event(d), d.Time.Format(time.RFC3339), d.DiedAt.Format(time.RFC3339), d.Tries, d.Consumer, d.Reason, d.Body)
		return err
	case "redrive":
		err = d.Redrive(ctx)
	case "delete":
		did, err = "deleted", d.Delete(ctx)
	}
	if err == nil {
		_, err = fmt.Fprintln(out, id, did)
	}
	return err
}

func list(ctx context.Context, stream *jetstream.Stream, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tDIED\tEVENT\tTRIES\tREASON")
	for d, err := range stream.DeadLetters(ctx) {
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%.60s\n", d.ID, d.DiedAt.Format(time.DateTime), event(d), d.Tries, d.Reason)
	}
	return table.Flush()
}

// event names the event; its tenant and its "__id" come from a sender, and so they are quoted.
func event(d *jetstream.DeadLetter) string {
	if d.Event == nil {
		return d.Subject
	}
	return fmt.Sprintf("%s of %q, id %q", cmp.Or(d.Event.Name, "(no name)"), d.Event.TenantID, d.Event.ID)
}
