// Receiver is what a team would deploy: one endpoint that verifies, deduplicates and handles the platform's webhooks, with logs, a health
// check, time limits, and a shutdown that finishes what is in flight. It goes on while the platform's API is away. Its environment:
//
//	WALLETCREW_SECRET     the webhook's secret; several, separated by commas, while one is rotated. Or, to read them from the API:
//	WALLETCREW_TENANT_ID  with WALLETCREW_API_KEY and, for another server than production, WALLETCREW_BASE_URL
//	WALLETCREW_ENDPOINT   with the API: the public URL of this receiver. Its webhook is kept in order, and only its secrets count
//	LISTEN                the address to listen on, default :8080
package main

import (
	"cmp"
	"context"
	"errors"
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
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	logger := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	if err := run(ctx, logger); err != nil {
		logger.Error("receiver", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, logger *slog.Logger) error {
	mux := receiver.NewMux() // where your own code goes. Hand over what takes longer than a few seconds: see examples/durable
	receiver.On(mux, func(ctx context.Context, e *walletcrew.Event, p *walletcrew.PassInstalled) error {
		logger.InfoContext(ctx, "installed", "pass", p.PassID, "device", p.Device.Platform, "id", e.ID)
		return nil
	})
	mux.HandleNames(func(ctx context.Context, e *walletcrew.Event) error {
		logger.InfoContext(ctx, "event", "name", e.Name, "id", e.ID)
		return e.DataErr // of a Pass:Installed that doesn't fit its type: the platform delivers it again
	}, walletcrew.AllPassEvents, walletcrew.AllCustomerEvents)
	listener, listenErr := net.Listen("tcp", cmp.Or(os.Getenv("LISTEN"), ":8080"))
	v, err := newVerifier(ctx, logger, mux.Patterns()) // it listens already: the first delivery finds somebody
	if err = errors.Join(listenErr, err); err != nil {
		return err
	}
	routes, webhooks := http.NewServeMux(), receiver.NewHandler(v, mux.Handle, receiver.WithLogger(logger),
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0))) // several replicas share one: adapters/redisdedupe, adapters/sqldedupe
	routes.Handle("/webhooks/walletcrew", webhooks)
	routes.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	server := &http.Server{Handler: routes, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute,
		WriteTimeout: 40 * time.Second, MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn)}
	context.AfterFunc(ctx, func() { _ = listener.Close() }) // which ends Serve
	logger.Info("listening", "address", listener.Addr().String())
	if err = server.Serve(listener); errors.Is(err, net.ErrClosed) {
		err = nil
	}
	logger.Info("shutting down")
	grace, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(grace), webhooks.Shutdown(grace))
}

// newVerifier takes the secrets from the environment, or from the API; then it keeps the webhook in order, too.
func newVerifier(ctx context.Context, logger *slog.Logger, events []walletcrew.EventName) (*verifier.Verifier, error) {
	list, endpoint := os.Getenv("WALLETCREW_SECRET"), os.Getenv("WALLETCREW_ENDPOINT")
	if list != "" && endpoint == "" {
		var static []walletcrew.Secret
		for secret := range strings.SplitSeq(list, ",") {
			static = append(static, walletcrew.Secret(strings.TrimSpace(secret)))
		}
		return verifier.New(verifier.Static(static...))
	}
	client, err := walletcrew.NewClientFromEnv(walletcrew.WithLogger(logger))
	if err != nil {
		return nil, errors.Join(errors.New("set WALLETCREW_SECRET without WALLETCREW_ENDPOINT, or what the API needs"), err)
	}
	if endpoint == "" {
		return verifier.New(verifier.FromAPI(client))
	}
	go client.Webhooks.Maintain(ctx, walletcrew.WebhookSpec{Endpoint: endpoint, Events: events}, nil)
	return verifier.New(verifier.FromAPI(client, verifier.ForEndpoint(endpoint)))
}
