package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// listenFlags are those of listen.
type listenFlags struct {
	endpoint  string
	addr      string
	forwardTo string
	record    string
	events    []string
	keep      bool
	unsigned  bool
	atEnd     string
	clean     bool
	probe     time.Duration
	readyFile string
}

// A listenReady is what --ready-file of listen writes. No secret and no key is in it: those are the real platform's.
type listenReady struct {
	Inspector string `json:"inspector"`
	Receiver  string `json:"receiver"` // what the tunnel leads to
	Endpoint  string `json:"endpoint"`
	Tenant    string `json:"tenant"`
	Webhook   string `json:"webhook"`
}

func (c *cli) listenCommand() *cobra.Command {
	var f listenFlags
	cmd := &cobra.Command{
		Use:   "listen --endpoint URL",
		Short: "The real platform's deliveries in the browser, and your service behind it",
		Long: `Registers the public URL of your tunnel or server with the platform, verifies what comes with the secret that the API tells, shows it
in the inspector, and forwards it to your service byte for byte. Point the tunnel to --listen.

At the end it deletes the webhook that it has created, and nothing else. If there was a webhook for the endpoint, that one is used as it
is, and stays. After a crash, "walletcrew listen --clean" finds what was left.

Nothing that isn't authentic is forwarded; --forward-forged changes that. With --keep the platform is told that a delivery was taken
while your service is away: it is in this process's memory alone until your service is back.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.clean {
				return c.listenClean(cmd.Context())
			}
			return c.listen(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.endpoint, "endpoint", "", "the public `URL` that the platform shall deliver to")
	flags.StringVar(&f.addr, "listen", receiverAddr, "the `address` that the tunnel leads to")
	flags.StringVar(&f.forwardTo, "forward-to", "", "your service's `URL`; without it, deliveries are only shown")
	flags.StringVar(&f.record, "record", "", "append the authentic deliveries to this `file`, for replay")
	flags.StringSliceVar(&f.events, "event", []string{"*"}, "the events of a new webhook: `names` or patterns")
	flags.BoolVar(&f.keep, "keep", false, "keep what comes while your service is away, and forward it when it is back")
	flags.BoolVar(&f.unsigned, "forward-forged", false, "forward what isn't authentic, too")
	flags.StringVar(&f.atEnd, "at-end", "delete", "`what` becomes of a webhook that this created: delete, or disable")
	flags.StringVar(&f.readyFile, "ready-file", "", "write URLs, tenant and webhook to this `file` as JSON, mode 0600, when the webhook is registered")
	flags.BoolVar(&f.clean, "clean", false, "delete what listens that crashed have left, and end")
	flags.DurationVar(&f.probe, "probe", 30*time.Second, "how often to see whether the endpoint still leads here, and the webhook is still there; 0: never")
	c.addAccountFlags(cmd)
	return cmd
}

// A listener is a listen that runs.
type listener struct {
	cli     *cli
	flags   listenFlags
	client  *walletcrew.Client
	session *session
	url     string // what the tunnel leads to
	nonce   string // a probe that comes with it has come from here

	mu      sync.Mutex
	webhook *walletcrew.Webhook
	own     bool   // this created it
	unsure  bool   // the last try to create it failed in a way that may have created it
	dead    string // why nothing can come; "" if all is well
	apiAway bool   // the last question to the API failed
}

func (f listenFlags) check() error {
	switch {
	case f.endpoint == "":
		return usagef("which URL does the platform deliver to? --endpoint is that of your tunnel or server")
	case f.atEnd != "delete" && f.atEnd != "disable":
		return usagef("--at-end %s: delete or disable", f.atEnd)
	case f.probe < 0:
		return usagef("--probe %v: 0 or more", f.probe)
	}
	return checkTarget("--endpoint", f.endpoint)
}

func (c *cli) listen(ctx context.Context, f listenFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	account, err := c.account.credentials()
	if err != nil {
		return err
	}
	client, err := c.newClient(account)
	if err != nil {
		return err
	}
	l := &listener{cli: c, flags: f, client: client, nonce: rand.Text()}
	if l.session, err = c.newSession(&apiSecrets{verifier.FromAPI(client, verifier.ForEndpoint(f.endpoint)), l}); err != nil {
		return err
	}
	s := l.session
	s.tenant, s.signer, s.forged = client.TenantID(), l.signer, f.unsigned
	if err := s.options(f.forwardTo, f.keep, f.record); err != nil {
		return err
	}
	defer s.close()
	receiver, err := serve(ctx, f.addr, false, l)
	if err != nil {
		return err
	}
	defer receiver.close()
	l.url = receiver.URL
	page, err := s.serve(ctx, running{Mode: "listen", Tenant: client.TenantID(), BaseURL: account.BaseURL, Endpoint: f.endpoint}, client.Webhooks, f.endpoint)
	if err != nil {
		return err
	}
	err = l.register(ctx)
	if err == nil {
		err = l.announce(page.URL, receiver.URL)
	}
	if err == nil {
		l.run(ctx)
	}
	if leftErr := l.unregister(context.WithoutCancel(ctx)); leftErr != nil {
		page.server.close() // its file stays: listen --clean finds the webhook
		return errors.Join(err, fmt.Errorf("the webhook may be left, walletcrew listen --clean deletes it: %w", leftErr))
	}
	page.close()
	return err
}

// run works until ctx ends.
func (l *listener) run(ctx context.Context) {
	var background sync.WaitGroup
	if forward := l.session.forward; forward != nil {
		background.Go(func() { forward.run(ctx) })
	}
	background.Go(func() { l.watch(ctx) })
	<-ctx.Done()
	background.Wait()
}

// description marks a webhook as made by a session: listen --clean goes by it.
func description(session string) string { return "walletcrew listen " + session }

// register takes the webhook of the endpoint if there is one, and else creates it.
func (l *listener) register(ctx context.Context) error {
	err := l.tryRegister(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, invalid := errors.AsType[*walletcrew.ValidationError](err)
	l.unsure = err != nil && !invalid && !errors.Is(err, walletcrew.ErrUnauthorized) && !errors.Is(err, walletcrew.ErrForbidden)
	return err
}

func (l *listener) tryRegister(ctx context.Context) error {
	for w, err := range l.client.Webhooks.All(ctx, nil) {
		if err != nil {
			return err
		}
		if sameEndpoint(w.Endpoint, l.flags.endpoint) {
			if session, ok := strings.CutPrefix(w.Description, description("")); ok && (!w.Enabled || crashed(ctx, session)) {
				return l.takeOver(ctx, w) // an earlier listen made it, and ended with --at-end disable, or crashed
			}
			l.set(w, false)
			if !w.Enabled {
				l.cli.say("webhook %s of this endpoint is switched off, so nothing will come: walletcrew webhooks update %s --enabled", w.ID, w.ID)
			}
			return nil
		}
	}
	r, err := l.client.Webhooks.Ensure(ctx, walletcrew.WebhookSpec{
		Endpoint: l.flags.endpoint, Events: names(l.flags.events), Description: description(l.session.id),
	})
	if err != nil {
		return err
	}
	l.set(r.Webhook, r.Action == walletcrew.EnsureCreated)
	return nil
}

// crashed reports whether a session of this machine has ended without taking its webhook away.
func crashed(ctx context.Context, session string) bool {
	list, _ := sessions()
	i := slices.IndexFunc(list, func(r running) bool { return r.Session == session })
	return i >= 0 && !list[i].alive(ctx)
}

func (l *listener) takeOver(ctx context.Context, w *walletcrew.Webhook) error {
	on, marked := true, description(l.session.id)
	w, err := l.client.Webhooks.Patch(ctx, w.ID, walletcrew.WebhookPatch{Enabled: &on, Description: &marked})
	if err == nil {
		l.set(w, true)
	}
	return err
}

func (l *listener) set(w *walletcrew.Webhook, own bool) {
	l.session.secrets.add(w.SignatureSecret)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.webhook, l.own = w, own
}

func (l *listener) registered() (w *walletcrew.Webhook, own bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.webhook, l.own
}

// announce says that deliveries can come.
func (l *listener) announce(inspectorURL, receiverURL string) error {
	c := l.cli
	w, own := l.registered()
	r := listenReady{Inspector: inspectorURL, Receiver: receiverURL, Endpoint: l.flags.endpoint, Tenant: l.session.tenant, Webhook: w.ID}
	if err := writeReady(l.flags.readyFile, r); err != nil {
		return err
	}
	c.say("inspector  %s", inspectorURL)
	c.say("endpoint   %s: point your tunnel to %s", l.flags.endpoint, receiverURL)
	if own {
		c.say("webhook    %s, created; Ctrl-C ends this, and will %s it", w.ID, l.flags.atEnd)
	} else {
		c.say("webhook    %s, which was there before, and stays", w.ID)
	}
	if l.session.forward != nil {
		c.say("forwards   to %s", l.session.forward.url)
	} else {
		c.say("forwards   nothing: --forward-to names your service")
	}
	return nil
}

// unregister takes away what this has created.
func (l *listener) unregister(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	l.mu.Lock()
	w, own, unsure := l.webhook, l.own, l.unsure
	l.mu.Unlock()
	if unsure {
		return l.deleteMarked(ctx)
	}
	if !own {
		return nil
	}
	if l.flags.atEnd == "disable" {
		_, err := l.client.Webhooks.Patch(ctx, w.ID, walletcrew.WebhookPatch{Enabled: new(bool)})
		if err == nil {
			l.cli.say("webhook %s is switched off", w.ID)
		}
		return err
	}
	err := l.client.Webhooks.Delete(ctx, w.ID)
	if errors.Is(err, walletcrew.ErrNotFound) {
		return nil
	}
	if err == nil {
		l.cli.say("webhook %s is deleted", w.ID)
	}
	return err
}

// deleteMarked deletes what has this session's mark.
func (l *listener) deleteMarked(ctx context.Context) error {
	for w, err := range l.client.Webhooks.All(ctx, nil) {
		if err != nil {
			return err
		}
		if w.Description == description(l.session.id) {
			if err := l.client.Webhooks.Delete(ctx, w.ID); err != nil && !errors.Is(err, walletcrew.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

func (l *listener) signer(context.Context, string) (walletcrew.Secret, error) {
	w, _ := l.registered()
	return w.SignatureSecret, nil
}

// apiSecrets are the platform's, seen by the inspector so that it shows none of them.
type apiSecrets struct {
	verifier.SecretSource
	l *listener
}

// Unwrap is what package verifier asks of a source around another.
func (a *apiSecrets) Unwrap() verifier.SecretSource { return a.SecretSource }

func (a *apiSecrets) Secrets(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	secrets, err := a.SecretSource.Secrets(ctx, tenantID)
	if a.l.session != nil {
		a.l.session.secrets.add(secrets...)
	}
	return secrets, err
}

const probeHeader = "X-Walletcrew-Probe"

// ServeHTTP is what the tunnel leads to.
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.Header.Get(probeHeader) != "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, l.proof(r.Header.Get(probeHeader))) //nolint:gosec // hexadecimal digits
		return
	}
	l.session.ServeHTTP(w, r)
}

// proof is what only this process can answer to a probe.
func (l *listener) proof(probe string) string {
	return "walletcrew " + walletcrew.Sign(walletcrew.Secret(l.nonce), []byte(probe))
}

// watch sees whether deliveries can still come, says when they can't any more, and mends what it can.
func (l *listener) watch(ctx context.Context) {
	if l.flags.probe == 0 {
		return
	}
	for wait := min(time.Second, l.flags.probe); sleep(ctx, wait); wait = l.flags.probe {
		reason := l.trouble(ctx)
		if ctx.Err() != nil {
			return
		}
		was := l.dead
		l.dead = reason
		switch {
		case reason != "" && reason != was:
			l.cli.say("nothing can come: %s", reason)
		case reason == "" && was != "":
			l.cli.say("deliveries can come again")
		}
	}
}

// trouble says why nothing can come; "" if all is well.
func (l *listener) trouble(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := l.reach(ctx); err != nil {
		return fmt.Sprintf("%s doesn't lead here (%v): is the tunnel up, and does it lead to %s?", l.flags.endpoint, err, l.url)
	}
	w, own := l.registered()
	current, err := l.client.Webhooks.Get(ctx, w.ID)
	away := err != nil && !errors.Is(err, walletcrew.ErrNotFound)
	if away && !l.apiAway {
		l.cli.say("the platform's API can't be asked, though deliveries may come: %s", oneLine(err))
	}
	l.apiAway = away
	switch {
	case errors.Is(err, walletcrew.ErrNotFound):
		if err := l.register(ctx); err != nil {
			return "the webhook is gone, and can't be registered again: " + oneLine(err)
		}
		again, _ := l.registered()
		l.cli.say("somebody has deleted webhook %s: the endpoint is registered again, as %s", w.ID, again.ID)
	case away:
	case !current.Enabled:
		return fmt.Sprintf("webhook %s is switched off: walletcrew webhooks update %s --enabled", w.ID, w.ID)
	default:
		l.set(current, own)
	}
	return ""
}

// reach asks the public URL, and reports whether this process answers.
func (l *listener) reach(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.flags.endpoint, nil)
	if err != nil {
		return err
	}
	probe := rand.Text()
	req.Header.Set(probeHeader, probe)
	resp, err := l.session.sender.Do(req)
	if err != nil {
		return plainError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if string(text) != l.proof(probe) {
		return fmt.Errorf("something else answers, with %d", resp.StatusCode)
	}
	return nil
}
