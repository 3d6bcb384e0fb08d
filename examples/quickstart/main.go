// Quickstart shows the whole way in one run: it registers a webhook, receives one event of each kind, refuses what isn't
// authentic, and tidies up.
//
//	go run ./examples/quickstart
//
// That needs nothing but Go: the platform is embedded. Against the real one it manages a webhook, and receives nothing:
//
//	WALLETCREW_TENANT_ID=… WALLETCREW_API_KEY=… go run ./examples/quickstart \
//		-base-url https://app-qa.neostore.cloud -endpoint https://shop.example/webhooks/walletcrew
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func main() {
	baseURL := flag.String("base-url", "", "the real platform's server (default: WALLETCREW_BASE_URL, else "+walletcrew.StagingURL+")")
	endpoint := flag.String("endpoint", "", "where the real platform shall deliver to; without it, the platform is embedded")
	flag.Parse()
	if *baseURL != "" && *endpoint == "" {
		fmt.Fprintln(os.Stderr, "quickstart: -base-url goes with -endpoint")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	run := embedded
	if *endpoint != "" {
		run = func(ctx context.Context, out io.Writer) error {
			return real(ctx, out, cmp.Or(*baseURL, os.Getenv("WALLETCREW_BASE_URL"), walletcrew.StagingURL), *endpoint)
		}
	}
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// embedded goes the whole way on a platform in memory.
func embedded(ctx context.Context, out io.Writer) (err error) {
	platform := walletcrewtest.NewServer()
	defer platform.Close()
	client := platform.Client()

	// The receiver is what your service has: a handler in a server. It learns the secret from the API.
	var got string
	mux := receiverMux(func(format string, args ...any) { got = fmt.Sprintf(format, args...) })
	v, err := verifier.New(verifier.FromAPI(client))
	if err != nil {
		return err
	}
	handler := receiver.NewHandler(v, mux.Handle,
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)),
		receiver.WithLogger(slog.New(slog.DiscardHandler))) // what is refused is shown below
	server := httptest.NewServer(handler)
	defer func() { // first the server, then the handler, which knows of functions that the server doesn't wait for
		server.Close()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, handler.Shutdown(grace))
	}()

	title(out, "The Wallet Crew's webhooks, end to end (embedded: nothing leaves this machine)")
	row(out, "platform", "%s, tenant %s", platform.URL, platform.TenantID)
	row(out, "receiver", "%s", server.URL)

	result, err := client.Webhooks.Ensure(ctx, walletcrew.WebhookSpec{
		Endpoint:    server.URL,
		Events:      []walletcrew.EventName{walletcrew.AllEvents},
		Description: "quickstart",
	})
	if err != nil {
		return err
	}
	webhook := result.Webhook
	row(out, "webhook", "%s %s, events %s, secret %v", webhook.ID, result.Action, events(webhook), webhook.SignatureSecret)

	title(out, "One event of each kind, signed and delivered over HTTP: what the receiver got")
	for _, sample := range samples {
		got = "(nothing)"
		deliveries, err := platform.Emit(ctx, sample.name, sample.data)
		if err != nil {
			return err
		}
		for _, d := range deliveries {
			if d.Err != nil {
				return d.Err
			}
			row(out, string(sample.name), "%-62s -> %d", got, d.StatusCode)
		}
	}

	title(out, "What isn't authentic is refused, and what comes twice is handled once")
	if err := attacks(ctx, out, platform, server.URL, webhook.SignatureSecret); err != nil {
		return err
	}

	title(out, "Change it, and take it away")
	webhook, err = client.Webhooks.Patch(ctx, webhook.ID, walletcrew.WebhookPatch{Events: []walletcrew.EventName{walletcrew.AllPassEvents}})
	if err != nil {
		return err
	}
	deliveries, err := platform.Emit(ctx, walletcrew.EventCustomerUpserted, nil)
	if err != nil {
		return err
	}
	row(out, "patched", "events %s; a %s now makes %d deliveries", events(webhook), walletcrew.EventCustomerUpserted, len(deliveries))
	if err := client.Webhooks.Delete(ctx, webhook.ID); err != nil {
		return err
	}
	row(out, "deleted", "%d webhooks are left", len(platform.Webhooks()))
	return nil
}

// receiverMux is where your own code goes: a typed function for each event you care about, and one for the rest.
func receiverMux(say func(format string, args ...any)) *receiver.Mux {
	mux := receiver.NewMux()
	receiver.On(mux, func(_ context.Context, _ *walletcrew.Event, p *walletcrew.PassCreated) error {
		say("pass %s of template %s for customer %s", p.PassID, p.PassType, p.Identifiers["customerId"])
		return nil
	})
	receiver.On(mux, func(_ context.Context, _ *walletcrew.Event, p *walletcrew.PassInstalled) error {
		medium := "unknown"
		if info := p.AdditionalInformation; info != nil { // no member but "__id" is certain
			medium = info.RegistrationSource.Medium
		}
		say("pass %s on an %s device, came by %s", p.PassID, p.Device.Platform, medium)
		return nil
	})
	receiver.On(mux, func(_ context.Context, _ *walletcrew.Event, p *walletcrew.PassUninstalled) error {
		say("pass %s off an %s device", p.PassID, p.Device.Platform)
		return nil
	})
	receiver.On(mux, func(_ context.Context, _ *walletcrew.Event, p *walletcrew.PassUpdated) error {
		say("pass %s, points %s", p.PassID, p.Metadata["points"])
		return nil
	})
	receiver.On(mux, func(_ context.Context, _ *walletcrew.Event, p *walletcrew.PassUpdateSent) error {
		say("pass %s", p.PassID)
		return nil
	})
	// No member of these is documented: the body goes into a type of your own.
	type customer struct{ Email string }
	receiver.OnName(mux, walletcrew.EventCustomerUpserted, func(_ context.Context, _ *walletcrew.Event, c *customer) error {
		say("customer %s (your own type)", c.Email)
		return nil
	})
	mux.HandleFunc(walletcrew.AllEvents, func(_ context.Context, e *walletcrew.Event) error {
		say("%d members in a %T", len(e.Members()), e.Data)
		return e.DataErr // of one that a function above couldn't take: it isn't acknowledged unseen
	})
	return mux
}

var samples = []struct {
	name walletcrew.EventName
	data any
}{
	{walletcrew.EventPassCreated, walletcrew.PassCreated{Pass: pass}},
	{walletcrew.EventPassInstalled, walletcrew.PassInstalled{Pass: pass, Device: walletcrew.Device{Platform: "apple"},
		AdditionalInformation: &walletcrew.AdditionalInformation{RegistrationSource: walletcrew.RegistrationSource{Medium: "email"}}}},
	{walletcrew.EventPassUninstalled, walletcrew.PassUninstalled{Pass: pass, Device: walletcrew.Device{Platform: "apple"}}},
	{walletcrew.EventPassUpdated, walletcrew.PassUpdated{Pass: pass}},
	{walletcrew.EventPassUpdateSent, walletcrew.PassUpdateSent{Pass: pass}},
	{walletcrew.EventCustomerUpserted, map[string]any{"email": "ada@shop.example"}},
	{walletcrew.EventRedirectRedirected, map[string]any{"path": "/spring"}},
	{"Store:Opened", map[string]any{"store": 7}}, // not on the platform's list today
}

var pass = walletcrew.Pass{
	PassID:      "p-1001",
	PassType:    "loyalty",
	Identifiers: walletcrew.Values{"customerId": "C-42"},
	Metadata:    walletcrew.Values{"points": "120"},
}

// attacks sends what an attacker could.
func attacks(ctx context.Context, out io.Writer, platform *walletcrewtest.Server, endpoint string, secret walletcrew.Secret) error {
	name := walletcrew.EventPassInstalled
	body := walletcrewtest.Payload(name, samples[1].data)
	tampered := []byte(strings.Replace(string(body), "p-1001", "p-1002", 1))
	signature := walletcrew.Sign(secret, body)
	for _, attempt := range []struct {
		what, signature string
		body            []byte
	}{
		{"authentic", signature, body},
		{"once more", signature, body},
		{"tampered", signature, tampered},
		{"forged", walletcrew.Sign("not the secret", body), body},
		{"unsigned", "", body},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(string(attempt.body)))
		if err != nil {
			return err
		}
		req.Header.Set(walletcrew.HeaderSignature, attempt.signature)
		req.Header.Set(walletcrew.HeaderEventName, string(name))
		req.Header.Set(walletcrew.HeaderTenantID, platform.TenantID)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		row(out, attempt.what, "%-62s -> %d", explained[attempt.what], resp.StatusCode)
	}
	return nil
}

var explained = map[string]string{
	"authentic": "the function is called",
	"once more": "acknowledged, and the function isn't called again",
	"tampered":  "one digit of the body changed",
	"forged":    "signed with another secret",
	"unsigned":  "no signature",
}

// real manages a webhook on the real platform, and leaves none behind.
func real(ctx context.Context, out io.Writer, baseURL, endpoint string) (err error) {
	client, err := walletcrew.NewClientFromEnv(walletcrew.WithBaseURL(baseURL), walletcrew.WithUserAgent("walletcrew-quickstart"))
	if err != nil {
		return err
	}
	title(out, "The Wallet Crew's webhooks on the real platform")
	row(out, "platform", "%s, tenant %s", baseURL, client.TenantID())
	webhook, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint:    endpoint,
		Events:      []walletcrew.EventName{walletcrew.AllPassEvents},
		Description: "walletcrew-go quickstart",
		Enabled:     new(false), // so that nothing is delivered meanwhile
	})
	if err != nil {
		return err
	}
	defer func() {
		if deleteErr := client.Webhooks.Delete(context.WithoutCancel(ctx), webhook.ID); deleteErr != nil && err == nil {
			err = deleteErr
			return
		}
		row(out, "deleted", "%s", webhook.ID)
	}()
	row(out, "created", "%s, disabled, events %s, secret signatureSecret of %s = %v", webhook.ID, events(webhook), webhook.ID, webhook.SignatureSecret)
	patched, err := client.Webhooks.Patch(ctx, webhook.ID, walletcrew.WebhookPatch{Events: []walletcrew.EventName{walletcrew.EventPassInstalled}})
	if err != nil {
		return err
	}
	row(out, "patched", "events %s", events(patched))
	total := 0
	for _, err := range client.Webhooks.All(ctx, nil) {
		if err != nil {
			return err
		}
		total++
	}
	row(out, "listed", "%d webhooks of the tenant", total)
	return nil
}

func events(w *walletcrew.Webhook) string {
	names := make([]string, len(w.Events))
	for i, name := range w.Events {
		names[i] = string(name)
	}
	return strings.Join(names, ", ")
}

func title(out io.Writer, text string) { _, _ = fmt.Fprintf(out, "\n%s\n", text) }

func row(out io.Writer, name, format string, args ...any) {
	_, _ = fmt.Fprintf(out, "  %-20s %s\n", name, fmt.Sprintf(format, args...))
}
