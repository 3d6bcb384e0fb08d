package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A checked is the report of check.
type checked struct {
	Passed bool   `json:"passed"`
	Seed   uint64 `json:"seed"`
	Rules  []rule `json:"rules"`
}

type rule struct {
	Name    string `json:"name"`
	Passed  bool   `json:"passed"`
	Skipped bool   `json:"skipped"`
	Why     string `json:"why"`
}

func (c *cli) checkCommand() *cobra.Command {
	var event, tenant, effects, fail, rotation string
	var seed uint64
	cmd := &cobra.Command{
		Use:   "check URL",
		Short: "Is this endpoint, in whatever language, a good receiver?",
		Long: `Is this endpoint, in whatever language, a good receiver? It sends deliveries as the platform does, and as an attacker does, signed with
WALLETCREW_SECRET or --secret-file, and judges the answers. Don't point it at production.

With --effects-url it also judges what your service did: GET URL?id=ID answers with a number, how often the event of that "__id" took
effect. With --fail-url it makes your service fail: POST URL?id=ID&times=N, after which the next N calls for that event fail. With
--rotation-url it replaces the secret: POST URL answers with the new one, and your service accepts both from then on.

-o junit is a report for CI.`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{formats: "junit"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkTarget("check", args[0]); err != nil {
				return err
			}
			secret, err := c.secret()
			if err != nil {
				return err
			}
			opts := []walletcrewtest.ReceiverOption{walletcrewtest.WithDeliveries(sampleTenant(tenant), walletcrew.EventName(event))}
			if cmd.Flags().Changed("seed") {
				opts = append(opts, walletcrewtest.WithSeed(seed))
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			hooks := &checkHooks{ctx: ctx, cancel: cancel, client: newSender(), effectsURL: effects, failURL: fail, rotationURL: rotation}
			hooked, err := hooks.options()
			if err != nil {
				return err
			}
			return c.check(ctx, args[0], secret, hooks, append(opts, hooked...))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&event, "event", string(walletcrew.EventPassInstalled), "the `name` of an event that your service handles")
	flags.StringVar(&tenant, "tenant", "", "the tenant in the header (default: WALLETCREW_TENANT_ID, or "+devTenant+")")
	flags.StringVar(&effects, "effects-url", "", "the `URL` that tells how often an event took effect")
	flags.StringVar(&fail, "fail-url", "", "the `URL` that makes your service fail for an event")
	flags.StringVar(&rotation, "rotation-url", "", "the `URL` that gives your service another secret, besides the old, and answers with it")
	flags.Uint64Var(&seed, "seed", 0, "the `number` of an earlier report, to send the same again")
	c.addSecretFlag(cmd)
	return cmd
}

func (c *cli) check(ctx context.Context, target string, secret walletcrew.Secret, hooks *checkHooks, opts []walletcrewtest.ReceiverOption) error {
	report, err := walletcrewtest.CheckReceiver(ctx, target, secret, opts...)
	if err := hooks.trouble(); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	r := checked{Passed: true, Seed: report.Seed, Rules: []rule{}}
	for _, one := range report.Rules {
		if one.Skipped {
			one.Why = asFlags.Replace(one.Why)
		}
		r.Rules = append(r.Rules, rule{one.Name, one.Passed, one.Skipped, one.Why})
		r.Passed = r.Passed && (one.Passed || one.Skipped)
	}
	if c.output == "junit" {
		err = r.writeJUnit(c.out, target)
	} else {
		err = c.print(r, func(w *tabwriter.Writer) { c.checkTable(w, r) })
	}
	if err == nil && !r.Passed {
		return errNo
	}
	return err
}

// asFlags says which flag a rule takes, instead of which option of walletcrewtest.
var asFlags = strings.NewReplacer("the option ", "", "the options ", "", "WithEffects", "--effects-url", "WithFailures", "--fail-url", "WithRotation", "--rotation-url")

func (c *cli) checkTable(w *tabwriter.Writer, r checked) {
	broken, skipped := 0, 0
	for _, one := range r.Rules {
		sign := c.mark(one.Passed)
		switch {
		case one.Skipped:
			sign = c.paint(yellow, "-")
			skipped++
		case !one.Passed:
			broken++
		}
		row(w, sign, one.Name, one.Why)
	}
	row(w, "")
	row(w, "", fmt.Sprintf("%d rules, %d broken, %d skipped; seed %d", len(r.Rules), broken, skipped, r.Seed))
}

// writeJUnit writes the report as CI systems read it.
func (r checked) writeJUnit(w io.Writer, target string) error {
	type message struct {
		Message string `xml:"message,attr"`
	}
	type testCase struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Failure *message `xml:"failure"`
		Skipped *message `xml:"skipped"`
	}
	suite := struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Cases    []testCase `xml:"testcase"`
	}{Name: "walletcrew check " + target, Tests: len(r.Rules)}
	for _, one := range r.Rules {
		t := testCase{Name: one.Name, Class: "walletcrew.check"}
		switch {
		case one.Skipped:
			suite.Skipped++
			t.Skipped = &message{one.Why}
		case !one.Passed:
			suite.Failures++
			t.Failure = &message{fmt.Sprintf("%s (seed %d)", one.Why, r.Seed)}
		}
		suite.Cases = append(suite.Cases, t)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// checkHooks ask the service itself. The first error of one ends the check: what is judged without an answer would be wrong.
type checkHooks struct {
	ctx         context.Context
	cancel      context.CancelFunc
	client      *http.Client
	effectsURL  string
	failURL     string
	rotationURL string

	mu  sync.Mutex
	err error
}

func (h *checkHooks) options() ([]walletcrewtest.ReceiverOption, error) {
	var opts []walletcrewtest.ReceiverOption
	if h.effectsURL != "" {
		if err := checkTarget("--effects-url", h.effectsURL); err != nil {
			return nil, err
		}
		opts = append(opts, walletcrewtest.WithEffects(h.effects))
	}
	if h.failURL != "" {
		if err := checkTarget("--fail-url", h.failURL); err != nil {
			return nil, err
		}
		opts = append(opts, walletcrewtest.WithFailures(h.fail))
	}
	if h.rotationURL != "" {
		if err := checkTarget("--rotation-url", h.rotationURL); err != nil {
			return nil, err
		}
		opts = append(opts, walletcrewtest.WithRotation(h.rotate))
	}
	return opts, nil
}

func (h *checkHooks) effects(eventID string) int {
	body := h.ask(http.MethodGet, "--effects-url", h.effectsURL, url.Values{"id": {eventID}})
	n, err := strconv.Atoi(strings.TrimSpace(string(body)))
	if err != nil {
		var object struct {
			Count *int `json:"count"`
		}
		if json.Unmarshal(body, &object) != nil || object.Count == nil {
			h.failed(fmt.Errorf(`--effects-url: the answer is a number, or {"count": number}`))
			return 0
		}
		n = *object.Count
	}
	return n
}

func (h *checkHooks) fail(eventID string, times int) {
	h.ask(http.MethodPost, "--fail-url", h.failURL, url.Values{"id": {eventID}, "times": {strconv.Itoa(times)}})
}

func (h *checkHooks) rotate(context.Context) (walletcrew.Secret, error) {
	body := h.ask(http.MethodPost, "--rotation-url", h.rotationURL, nil)
	secret := strings.TrimSpace(string(body))
	var object struct{ Secret string }
	if json.Unmarshal(body, &object) == nil {
		secret = object.Secret
	}
	if secret == "" {
		h.failed(errors.New(`--rotation-url: the answer is the new secret, or {"secret": "…"}`))
		return "", h.trouble()
	}
	return walletcrew.Secret(secret), nil
}

func (h *checkHooks) ask(method, flag, target string, query url.Values) []byte {
	ctx, cancel := context.WithTimeout(h.ctx, 10*time.Second)
	defer cancel()
	u, err := url.Parse(target)
	if err != nil {
		h.failed(err)
		return nil
	}
	all := u.Query()
	maps.Copy(all, query)
	u.RawQuery = all.Encode()
	a, err := post(ctx, h.client, u.String(), message{Method: method, Header: http.Header{}})
	switch {
	case err != nil:
		h.failed(fmt.Errorf("%s: %w", flag, err))
	case a.Status/100 != 2:
		h.failed(fmt.Errorf("%s answers %d", flag, a.Status))
	}
	return a.Body
}

func (h *checkHooks) failed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil && h.ctx.Err() == nil {
		h.err = err
	}
	h.cancel()
}

func (h *checkHooks) trouble() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}
