// Receiver is what a team would deploy: one endpoint that verifies, deduplicates and handles the platform's webhooks, with
// logs, a health check, time limits, and a shutdown that finishes what is in flight. While the platform's API is away it goes on: what
// is subscribed is still delivered.
//
//	WALLETCREW_SECRET=… go run ./examples/receiver
//
// The environment configures it:
//
//	WALLETCREW_SECRET      the webhook's secret; several, separated by commas, while one is rotated. Or, to read them from the API:
//	WALLETCREW_TENANT_ID   with WALLETCREW_API_KEY and, for another server than production, WALLETCREW_BASE_URL
//	WALLETCREW_ENDPOINT    with the API: the public URL of this receiver; its webhook is kept in order at start, and only its secrets count
//	LISTEN                 the address to listen on, default :8080
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	logger := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	if err := run(ctx, logger); err != nil {
		logger.Error("receiver", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, logger *slog.Logger) error {
	source, subscribe, err := secrets(logger)
	if err != nil {
		return err
	}
	v, err := verifier.New(source)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cmp.Or(os.Getenv("LISTEN"), ":8080"))
	if err != nil {
		return err
	}
	return serve(ctx, logger, listener, webhooks(v, handlers(logger), logger), subscribe)
}

// secrets takes them from the environment, or from the API. Subscribe keeps the webhook in order, if there is an endpoint to
// subscribe.
func secrets(logger *slog.Logger) (source verifier.SecretSource, subscribe func(context.Context) error, err error) {
	subscribe = func(context.Context) error { return nil }
	endpoint := os.Getenv("WALLETCREW_ENDPOINT")
	if list := os.Getenv("WALLETCREW_SECRET"); list != "" {
		if endpoint != "" {
			return nil, nil, errors.New("WALLETCREW_SECRET and WALLETCREW_ENDPOINT are both set: without the first, the secret is read from the API")
		}
		var static []walletcrew.Secret
		for secret := range strings.SplitSeq(list, ",") {
			static = append(static, walletcrew.Secret(strings.TrimSpace(secret)))
		}
		return verifier.Static(static...), subscribe, nil
	}
	client, err := walletcrew.NewClientFromEnv(walletcrew.WithLogger(logger))
	if err != nil {
		return nil, nil, fmt.Errorf("set WALLETCREW_SECRET, or WALLETCREW_TENANT_ID and WALLETCREW_API_KEY: %w", err)
	}
	if endpoint == "" {
		return verifier.FromAPI(client), subscribe, nil
	}
	subscribe = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		result, err := client.Webhooks.Ensure(ctx, walletcrew.WebhookSpec{
			Endpoint: endpoint,
			Events:   []walletcrew.EventName{walletcrew.AllPassEvents, walletcrew.AllCustomerEvents},
		})
		if err != nil {
			return err
		}
		logger.Info("webhook", "id", result.Webhook.ID, "action", result.Action, "enabled", result.Webhook.Enabled, "duplicates", result.Duplicates)
		return nil
	}
	return verifier.FromAPI(client, verifier.ForEndpoint(endpoint)), subscribe, nil
}

// keepTrying subscribes until that succeeds. Only a mistake that waiting doesn't mend is an error.
func keepTrying(ctx context.Context, logger *slog.Logger, subscribe func(context.Context) error) error {
	for {
		err := subscribe(ctx)
		if err == nil || isMistake(err) {
			return err
		}
		logger.Warn("the webhook can't be looked after now; deliveries are received all the same", "error", err, "again_in", pause.String())
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

const pause = time.Minute

// isMistake asks whether it was the API that refused the call: a firewall's page says 403, too, and goes by.
func isMistake(err error) bool {
	if _, invalid := errors.AsType[*walletcrew.ValidationError](err); invalid {
		return true
	}
	api, ok := errors.AsType[*walletcrew.APIError](err)
	if !ok || !strings.Contains(api.Header.Get("Content-Type"), "json") {
		return false
	}
	return errors.Is(err, walletcrew.ErrUnauthorized) || errors.Is(err, walletcrew.ErrForbidden) ||
		errors.Is(err, walletcrew.ErrNotFound) || errors.Is(err, walletcrew.ErrBadRequest)
}

// handlers is where your own code goes. What takes longer than a few seconds is better handed over: see examples/durable.
func handlers(logger *slog.Logger) receiver.HandlerFunc {
	mux := receiver.NewMux()
	receiver.On(mux, func(ctx context.Context, e *walletcrew.Event, p *walletcrew.PassInstalled) error {
		logger.InfoContext(ctx, "installed", "pass", p.PassID, "device", p.Device.Platform, "id", e.ID)
		return nil
	})
	receiver.On(mux, func(ctx context.Context, e *walletcrew.Event, p *walletcrew.PassUninstalled) error {
		logger.InfoContext(ctx, "uninstalled", "pass", p.PassID, "device", p.Device.Platform, "id", e.ID)
		return nil
	})
	mux.HandleFunc(walletcrew.AllEvents, func(ctx context.Context, e *walletcrew.Event) error {
		logger.InfoContext(ctx, "event", "name", e.Name, "id", e.ID)
		return e.DataErr // of an event that one of the above should have taken, but that doesn't fit its type: it comes again
	})
	return mux.Handle
}

func webhooks(v *verifier.Verifier, fn receiver.HandlerFunc, logger *slog.Logger) *receiver.Handler {
	// One replica: memory is enough. Several share a deduper: adapters/redisdedupe, adapters/sqldedupe.
	return receiver.NewHandler(v, fn,
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)),
		receiver.WithLogger(logger),
		receiver.WithObserver(func(ctx context.Context, o receiver.Outcome) {
			// The place for metrics: o.Result is made for a label.
			logger.DebugContext(ctx, "delivery", "result", o.Result, "status", o.Status, "bytes", o.Bytes, "took", o.Verify+o.Decode+o.Function)
		}))
}

func routes(webhooks http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/webhooks/walletcrew", webhooks)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	return mux
}

// newServer returns a server that no connection holds for ever.
func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      40 * time.Second, // over the handler's 25 s
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// serve subscribes when it listens, so that the first delivery finds it, and ends when ctx does, after what is in flight.
func serve(ctx context.Context, logger *slog.Logger, listener net.Listener, webhooks *receiver.Handler, subscribe func(context.Context) error) error {
	server := newServer(routes(webhooks), logger)
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(listener) }()
	logger.Info("listening", "address", listener.Addr().String())
	go func() {
		if err := keepTrying(ctx, logger, subscribe); err != nil {
			failed <- fmt.Errorf("subscribe: %w", err)
		}
	}()

	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	logger.Info("shutting down")
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second) // not ctx: the goroutine above reads that
	defer cancel()
	// First the server, so that no delivery comes in; then the handler, which knows of functions that the server doesn't wait for.
	return errors.Join(err, server.Shutdown(grace), webhooks.Shutdown(grace))
}
