package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A ready tells a service or a script how to connect. It is what --ready-file writes.
type ready struct {
	Inspector string `json:"inspector"`
	Platform  string `json:"platform"`
	Receiver  string `json:"receiver"`
	Tenant    string `json:"tenant"`
	APIKey    string `json:"apiKey"`
	Secret    string `json:"secret"`
}

// writeReady writes how to connect, if there is a file for it.
func writeReady(file string, ready any) error {
	if file == "" {
		return nil
	}
	text, err := json.Marshal(ready)
	if err != nil {
		return err
	}
	return writePrivate(file, append(text, '\n'))
}

// inspectorAddr is where the inspector is, or at the next free port.
const inspectorAddr = "127.0.0.1:4040"

// receiverAddr is where deliveries come in.
const receiverAddr = "127.0.0.1:4042"

// receiverPath is an endpoint as a service would have it.
const receiverPath = "/webhooks"

// devFlags are those of dev.
type devFlags struct {
	forwardTo   string
	readyFile   string
	writeSecret string
	printSecret bool
	auto        time.Duration
	redeliver   bool
	keep        bool
	record      string
}

func (c *cli) devCommand() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "The platform in memory, its deliveries in the browser, and your service behind it",
		Long: `The platform in memory, with a fixed secret, tenant and key. It shows its deliveries in the inspector, a page in your browser, and
forwards them to your service byte for byte. Send some with "walletcrew trigger", from the inspector, or with --auto.

Nothing leaves this machine. Your service needs the secret that it has in its configuration anyway:

  WALLETCREW_SECRET=$(walletcrew dev --print-secret) your-service

Or let your service register its own webhook: WALLETCREW_BASE_URL is the platform's URL that dev prints, WALLETCREW_TENANT_ID
"` + devTenant + `" and WALLETCREW_API_KEY "` + devAPIKey + `".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.dev(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.forwardTo, "forward-to", "", "your service's `URL`; without it, deliveries are only shown")
	flags.StringVar(&f.readyFile, "ready-file", "", "write URLs, tenant, key and secret to this `file` as JSON, mode 0600, when all of it answers")
	flags.StringVar(&f.writeSecret, "write-secret", "", "write the secret to this `file`, mode 0600")
	flags.BoolVar(&f.printSecret, "print-secret", false, "print the secret alone, and end")
	flags.DurationVar(&f.auto, "auto", 0, "send a sample by itself, at this `interval`, such as 2s")
	flags.BoolVar(&f.redeliver, "redeliver", false, "deliver again what isn't answered with 2xx: after 1 s, 2 s, 4 s and so on")
	flags.BoolVar(&f.keep, "keep", false, "keep what comes while your service is away, and forward it when it is back")
	flags.StringVar(&f.record, "record", "", "append the deliveries to this `file`, for replay")
	c.addSecretFlag(cmd)
	return cmd
}

func (c *cli) dev(ctx context.Context, f devFlags) error {
	secret, err := c.secretOr(devSecret)
	if err != nil {
		return err
	}
	if f.printSecret {
		_, err := fmt.Fprintln(c.out, string(secret))
		return err
	}
	if f.auto < 0 {
		return usagef("--auto %v: it is an interval, such as 2s", f.auto)
	}
	d := &dev{cli: c, flags: f, secret: secret}
	defer d.close()
	if err := d.start(ctx); err != nil {
		return err
	}
	var background sync.WaitGroup
	if d.session.forward != nil {
		background.Go(func() { d.session.forward.run(ctx) })
	}
	if f.auto > 0 {
		background.Go(func() { d.auto(ctx) })
	}
	<-ctx.Done()
	background.Wait()
	return nil
}

// A dev is the platform, the session and the servers around them.
type dev struct {
	cli      *cli
	flags    devFlags
	secret   walletcrew.Secret
	platform *platform
	session  *session
	receiver *server
	page     *page
}

func (d *dev) start(ctx context.Context) error {
	tap := &tap{}
	opts := []walletcrewtest.Option{walletcrewtest.WithTenantID(devTenant), walletcrewtest.WithAPIKey(devAPIKey), walletcrewtest.WithSecrets(d.secret),
		walletcrewtest.WithPlainHTTP(), walletcrewtest.WithHTTPClient(&http.Client{Transport: tap})}
	if d.flags.redeliver {
		opts = append(opts, walletcrewtest.WithRedelivery(walletcrewtest.Redelivery{}))
	}
	var err error
	if d.platform, err = newPlatform(ctx, platformAddr, true, opts...); err != nil {
		return err
	}
	source := verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { return d.secrets(), nil })
	if d.session, err = d.cli.newSession(source); err != nil {
		return err
	}
	s := d.session
	s.tenant, s.forged, s.signer, s.emit = devTenant, true, d.signer, d.emit
	s.secrets.add(d.secret)
	if err := s.options(d.flags.forwardTo, d.flags.keep, d.flags.record); err != nil {
		return err
	}
	if d.receiver, err = serve(ctx, receiverAddr, true, onlyHere(http.NewCrossOriginProtection().Handler(s))); err != nil {
		return err
	}
	endpoint := d.receiver.URL + receiverPath
	tap.session, tap.own = s, endpoint
	client := d.platform.Client()
	if _, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: endpoint, Events: []walletcrew.EventName{walletcrew.AllEvents}, Description: "walletcrew dev"}); err != nil {
		return err
	}
	if d.page, err = s.serve(ctx, running{Mode: "dev", Tenant: devTenant}, client.Webhooks, endpoint); err != nil {
		return err
	}
	return d.announce(ctx, endpoint)
}

// announce says that all of it answers.
func (d *dev) announce(ctx context.Context, endpoint string) error {
	if d.flags.writeSecret != "" {
		if err := writePrivate(d.flags.writeSecret, []byte(string(d.secret)+"\n")); err != nil {
			return err
		}
	}
	if err := errors.Join(answers(ctx, d.page.URL), healthy(ctx, d.platform.url())); err != nil {
		return err
	}
	r := ready{Inspector: d.page.URL, Platform: d.platform.url(), Receiver: endpoint, Tenant: devTenant, APIKey: devAPIKey, Secret: string(d.secret)}
	if err := writeReady(d.flags.readyFile, r); err != nil {
		return err
	}
	c := d.cli
	c.say("inspector  %s", d.page.URL)
	c.say("platform   %s  (tenant %s, key %s)", d.platform.url(), devTenant, devAPIKey)
	c.say("receiver   %s", endpoint)
	if s := d.session; s.forward != nil {
		c.say("forwards   to %s", s.forward.url)
	} else {
		c.say("forwards   nothing: --forward-to names your service")
	}
	c.say("Send one: walletcrew trigger Pass:Installed. Ctrl-C ends it.")
	return nil
}

func (d *dev) close() {
	if d.page != nil {
		d.page.close()
	}
	if d.platform != nil {
		d.platform.close()
	}
	if d.receiver != nil {
		d.receiver.close()
	}
	if d.session != nil {
		d.session.close()
	}
}

// secrets are those of all webhooks: the service may have registered some of its own.
func (d *dev) secrets() []walletcrew.Secret {
	webhooks := d.platform.Webhooks()
	list := make([]walletcrew.Secret, len(webhooks))
	for i, w := range webhooks {
		list[i] = w.SignatureSecret
	}
	d.session.secrets.add(list...)
	return list
}

func (d *dev) signer(_ context.Context, endpoint string) (walletcrew.Secret, error) {
	if endpoint == "" {
		return d.secret, nil
	}
	webhooks := d.platform.Webhooks()
	i := slices.IndexFunc(webhooks, func(w walletcrew.Webhook) bool { return w.Endpoint == endpoint })
	if i < 0 {
		return "", fmt.Errorf("the webhook for %s isn't registered any more", endpoint)
	}
	return webhooks[i].SignatureSecret, nil
}

// emit lets the platform deliver an event to all its webhooks. It returns the delivery to your service, where there is one.
func (d *dev) emit(ctx context.Context, event string, body []byte) (sent, error) {
	var taken collector
	if _, err := d.platform.Deliver(context.WithValue(ctx, collectorKey{}, &taken), walletcrew.EventName(event), body); err != nil {
		return sent{}, err
	}
	got, ok := taken.best(d.session)
	if !ok {
		return sent{}, fmt.Errorf("no webhook that is switched on takes %s", visible(event))
	}
	return got, nil
}

// auto sends the samples one after the other.
func (d *dev) auto(ctx context.Context) {
	events := walletcrew.Events()
	for i := 0; sleep(ctx, d.flags.auto); i++ {
		name := events[i%len(events)]
		_, _ = d.platform.Deliver(ctx, name, walletcrewtest.Sample(name)) // what becomes of it is shown
	}
}

// A tap is what the platform delivers through: it shows each delivery.
type tap struct {
	session *session
	own     string // the session's endpoint
}

type collectorKey struct{}

// A collector takes what one event's deliveries became.
type collector struct {
	mu   sync.Mutex
	list []sent
}

func (c *collector) add(s sent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, s)
}

// best returns the delivery that went to a service, else the first.
func (c *collector) best(s *session) (sent, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, got := range c.list {
		if r, _ := s.store.Get(got.ID); r.ForwardURL != "" {
			return got, true
		}
	}
	if len(c.list) == 0 {
		return sent{}, false
	}
	return c.list[0], true
}

// RoundTrip is [http.RoundTripper]'s.
func (t *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil {
		return nil, err
	}
	endpoint := r.URL.String()
	if endpoint == t.own {
		endpoint = ""
	}
	got := t.session.deliver(r.Context(), endpoint, message{Header: r.Header.Clone(), Body: body})
	if taken, ok := r.Context().Value(collectorKey{}).(*collector); ok {
		taken.add(got)
	}
	if got.Err != nil && got.Status == 0 {
		return nil, got.Err
	}
	return got.response(r), nil
}
