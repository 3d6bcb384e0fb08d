package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// triggerFlags are those of trigger.
type triggerFlags struct {
	to        string
	inspector string
	set       []string
	body      string
	tenant    string
	duplicate bool
	forgeries map[forgery]*bool
	load      load
}

func (c *cli) triggerCommand() *cobra.Command {
	f := triggerFlags{forgeries: map[forgery]*bool{}}
	cmd := &cobra.Command{
		Use:   "trigger EVENT...",
		Short: "Send realistic samples, signed, to your service: one, or thousands",
		Long: `Send realistic samples, signed, to your service. Without --to, the "walletcrew dev" or "walletcrew listen" that runs sends it, with its
own secret. With --to, it goes to that URL and nowhere else, signed with WALLETCREW_SECRET or --secret-file.

  walletcrew trigger Pass:Installed Pass:Uninstalled
  walletcrew trigger Pass:Installed --set passId=p-7 --set identifiers.customerId=C-9
  walletcrew trigger Pass:Updated --to http://localhost:8080/webhooks --count 10000 --rate 500 --concurrency 50

Exit code 0 if each was answered with 2xx, so a forged one that your service refuses is 1.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.trigger(cmd.Context(), args, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "your service's `URL`")
	flags.StringVar(&f.inspector, "inspector", "", "the `URL` of the inspector whose session sends it, if several run")
	flags.StringArrayVar(&f.set, "set", nil, "a member of the body, as `name=value` or name.name=value: JSON, or else a text")
	flags.StringVar(&f.body, "body", "", "the `file` with the body, sent byte for byte; \"-\" is stdin")
	flags.StringVar(&f.tenant, "tenant", "", "the tenant in the header (default: WALLETCREW_TENANT_ID, or the session's)")
	flags.BoolVar(&f.duplicate, "duplicate", false, "send each twice, with one __id")
	f.forgeries[tampered] = flags.Bool("tamper", false, "change a byte of the body after it is signed")
	f.forgeries[wrongSecret] = flags.Bool("wrong-secret", false, "sign with another secret")
	f.forgeries[notSigned] = flags.Bool("no-signature", false, "don't sign")
	cmd.MarkFlagsMutuallyExclusive("tamper", "wrong-secret", "no-signature")
	f.load.add(flags)
	c.addSecretFlag(cmd)
	return cmd
}

// A target is where deliveries go.
type target interface {
	send(ctx context.Context, d draft) result
}

// A direct target is a URL.
type direct struct {
	url    string
	secret walletcrew.Secret
	client *http.Client
}

func (t *direct) send(ctx context.Context, d draft) result {
	m := d.signed(t.secret)
	a, err := post(ctx, t.client, t.url, m)
	return newResult(d.Event, d.Body, a, err)
}

// A session that runs sends by itself: it has the secret.
func (r running) send(ctx context.Context, d draft) result {
	var res result
	if err := r.call(ctx, http.MethodPost, "send", d, &res); err != nil {
		return newResult(d.Event, d.Body, answer{}, err)
	}
	return res
}

// target returns what --to says, or the session that runs.
func (c *cli) target(ctx context.Context, to, inspectorURL string) (target, error) {
	if to == "" {
		return findSession(ctx, inspectorURL)
	}
	if err := checkTarget("--to", to); err != nil {
		return nil, err
	}
	secret, err := c.secret()
	if err != nil {
		return nil, err
	}
	return &direct{to, secret, newSender()}, nil
}

func (c *cli) trigger(ctx context.Context, events []string, f triggerFlags) error {
	if err := f.load.check(); err != nil {
		return err
	}
	next, err := c.drafts(events, f)
	if err != nil {
		return err
	}
	t, err := c.target(ctx, f.to, f.inspector)
	if err != nil {
		return err
	}
	times := 1
	if f.duplicate {
		times = 2
	}
	return c.shoot(ctx, f.load, f.load.count*len(events), next, func(ctx context.Context, d draft) []result {
		results := make([]result, times)
		for i := range results {
			results[i] = t.send(ctx, d)
		}
		return results
	})
}

// drafts returns a function that makes the deliveries, one after the other.
func (c *cli) drafts(events []string, f triggerFlags) (func(i int) (draft, error), error) {
	var fixed []byte
	if f.body != "" {
		var err error
		if fixed, err = c.readBody(f.body); err != nil {
			return nil, err
		}
	}
	d := draft{Tenant: f.tenant}
	if f.to != "" {
		d.Tenant = sampleTenant(f.tenant)
	}
	for forgery, wanted := range f.forgeries {
		if *wanted {
			d.Forgery = forgery
		}
	}
	next := func(i int) (draft, error) {
		d := d
		d.Event = events[i%len(events)]
		d.Body = fixed
		if f.body == "" {
			d.Body = walletcrewtest.Sample(walletcrew.EventName(d.Event))
		}
		err := d.check()
		if err == nil && len(f.set) > 0 {
			d.Body, err = setMembers(d.Body, f.set)
		}
		return d, err
	}
	for i := range events { // what is wrong is wrong before anything is sent
		if _, err := next(i); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// setMembers sets members of a JSON object.
func setMembers(body []byte, set []string) ([]byte, error) {
	var object map[string]any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&object); err != nil || object == nil {
		return nil, usagef("--set: the body isn't a JSON object")
	}
	for _, assignment := range set {
		path, text, ok := strings.Cut(assignment, "=")
		if !ok || path == "" {
			return nil, usagef("--set %s: it is name=value", assignment)
		}
		if err := setMember(object, strings.Split(path, "."), value(text)); err != nil {
			return nil, usagef("--set %s: %v", assignment, err)
		}
	}
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	return append([]byte("{ "), text[1:]...), nil // as no encoder writes it, so that a service that encodes before it verifies is found out
}

func setMember(object map[string]any, path []string, v any) error {
	for _, name := range path[:len(path)-1] {
		if object[name] == nil {
			object[name] = map[string]any{}
		}
		inner, ok := object[name].(map[string]any)
		if !ok {
			return fmt.Errorf("%s is no object", name)
		}
		object = inner
	}
	object[path[len(path)-1]] = v
	return nil
}

// value is the text's JSON value, or the text itself.
func value(text string) any {
	var v any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if dec.Decode(&v) != nil || dec.More() {
		return text
	}
	return v
}
