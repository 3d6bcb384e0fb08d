// Adoption does the four jobs that people have with these events: it marks passes as installed in a CRM's table, starts a welcome journey
// for each new customer, logs events as a warehouse would have them, and counts QR redirects by store. A page shows the installs by
// campaign and day. Each event takes effect once, in whatever order events come.
//
//	go -C examples/adoption run . -demo
//
// Its environment is that of examples/receiver:
//
//	WALLETCREW_SECRET     the webhook's secret; several, separated by commas, while one is rotated. Or, to read them from the API:
//	WALLETCREW_TENANT_ID  with WALLETCREW_API_KEY and, for another server than production, WALLETCREW_BASE_URL
//	WALLETCREW_ENDPOINT   with the API: the public URL of this service. Its webhook is kept in order
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

type config struct {
	listen, page     string
	sqlite, postgres string
	customer, store  string
	demo             bool
}

func main() {
	var c config
	flag.StringVar(&c.listen, "listen", "127.0.0.1:8080", "the webhook's `address`, for a proxy that terminates TLS")
	flag.StringVar(&c.page, "page", "127.0.0.1:8081", "the page's `address`; it has no login")
	flag.StringVar(&c.sqlite, "sqlite", "adoption.db", "the SQLite database's `file`")
	flag.StringVar(&c.postgres, "postgres", "", "a PostgreSQL database's `URL` instead; its password is in PGPASSWORD or ~/.pgpass")
	flag.StringVar(&c.customer, "customer", "", "the `member` of Customer:Upserted that names the customer, such as customerId")
	flag.StringVar(&c.store, "store", "", "the `member` of Redirect:Redirected that names the store, such as qr.store")
	flag.BoolVar(&c.demo, "demo", false, "events from a platform in memory, and a database that is removed at the end")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	run := c.run
	if c.demo {
		run = c.runDemo
	}
	if err := run(ctx, logger); err != nil {
		logger.Error("adoption", "error", err)
		os.Exit(1)
	}
}

func (c config) run(ctx context.Context, logger *slog.Logger) error {
	s, err := c.open(ctx, logger)
	if err != nil {
		return err
	}
	defer func() { _ = s.db.Close() }()
	return s.serve(ctx, fromEnvironment)
}

// A source tells where the secrets come from, for the webhook whose deliveries arrive at url.
type source func(ctx context.Context, s *service, url string) (verifier.SecretSource, error)

// serve receives deliveries and shows the page until ctx ends, or one of them fails. When it returns, nothing uses the database any more.
func (s *service) serve(ctx context.Context, from source) error {
	webhooks, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	defer func() { _ = webhooks.Close() }()
	page, err := net.Listen("tcp", s.page)
	if err != nil {
		return err
	}
	defer func() { _ = page.Close() }()

	url := "http://" + webhooks.Addr().String() + "/webhooks/walletcrew"
	secrets, err := from(ctx, s, url) // it listens already: the first delivery finds somebody
	if err != nil {
		return err
	}
	v, err := verifier.New(secrets)
	if err != nil {
		return err
	}
	routes, handler := http.NewServeMux(), receiver.NewHandler(v, s.mux().Handle, receiver.WithLogger(s.logger))
	routes.Handle("/webhooks/walletcrew", handler)
	routes.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	s.logger.Info("ready", "webhooks", url, "page", "http://"+page.Addr().String())

	servers, ctx := errgroup.WithContext(ctx)
	servers.Go(func() error { return serve(ctx, webhooks, routes) })
	servers.Go(func() error { return serve(ctx, page, s.pages()) })
	err = servers.Wait()
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer stop()
	return errors.Join(err, handler.Shutdown(grace))
}

// serve ends with ctx, after it has answered what is under way.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute,
		WriteTimeout: 40 * time.Second, MaxHeaderBytes: 32 << 10}
	ended := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		grace, stop := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer stop()
		ended <- server.Shutdown(grace)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

// fromEnvironment takes the secrets from the environment, or from the API; then it keeps the webhook in order, too.
func fromEnvironment(ctx context.Context, s *service, _ string) (verifier.SecretSource, error) {
	list, endpoint := os.Getenv("WALLETCREW_SECRET"), os.Getenv("WALLETCREW_ENDPOINT")
	if list != "" && endpoint == "" {
		var static []walletcrew.Secret
		for secret := range strings.SplitSeq(list, ",") {
			static = append(static, walletcrew.Secret(strings.TrimSpace(secret)))
		}
		return verifier.Static(static...), nil
	}
	client, err := walletcrew.NewClientFromEnv(walletcrew.WithLogger(s.logger))
	if err != nil {
		return nil, errors.Join(errors.New("set WALLETCREW_SECRET without WALLETCREW_ENDPOINT, or what the API needs; or try -demo"), err)
	}
	if endpoint == "" {
		return verifier.FromAPI(client), nil
	}
	go client.Webhooks.Maintain(ctx, walletcrew.WebhookSpec{Endpoint: endpoint, Events: s.mux().Patterns()}, nil)
	return verifier.FromAPI(client, verifier.ForEndpoint(endpoint)), nil
}
