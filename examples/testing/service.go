// Package shop is a small service with a webhook endpoint among its routes. Its tests show how a team tests its own handlers
// with walletcrewtest.
package shop

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// WebhookPath is where deliveries come in.
const WebhookPath = "/webhooks/walletcrew"

// A Store keeps what the platform tells us. Both calls may come twice for one event, and must do no harm then.
type Store interface {
	SetInstalled(ctx context.Context, passID string, installed bool) error
	SaveCustomer(ctx context.Context, c Customer) error
}

// Customer is what we read of a Customer:Upserted, none of whose members is documented.
type Customer struct {
	ID    string `json:"customerId"`
	Email string `json:"email"`
}

// A Service is the whole service: serve it with an http.Server. At the end call that server's Shutdown, then Service.Shutdown.
type Service struct {
	http.Handler
	webhooks *receiver.Handler
}

// Shutdown waits for the functions that still run.
func (s *Service) Shutdown(ctx context.Context) error { return s.webhooks.Shutdown(ctx) }

// Routes makes the service. Production passes verifier.FromAPI(client); most tests verifier.Static("secret").
func Routes(source verifier.SecretSource, store Store, logger *slog.Logger) (*Service, error) {
	v, err := verifier.New(source)
	if err != nil {
		return nil, err
	}
	webhooks := receiver.NewHandler(v, handlers(store).Handle, receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)), receiver.WithLogger(logger))
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.RequestSize(256<<10)) // a limit is fine; what reads the body isn't
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	r.Method(http.MethodPost, WebhookPath, webhooks)
	return &Service{r, webhooks}, nil
}

func handlers(store Store) *receiver.Mux {
	mux := receiver.NewMux()
	receiver.On(mux, func(ctx context.Context, _ *walletcrew.Event, p *walletcrew.PassInstalled) error {
		return setInstalled(ctx, store, p.PassID, true)
	})
	receiver.On(mux, func(ctx context.Context, _ *walletcrew.Event, p *walletcrew.PassUninstalled) error {
		return setInstalled(ctx, store, p.PassID, false)
	})
	receiver.OnName(mux, walletcrew.EventCustomerUpserted, func(ctx context.Context, _ *walletcrew.Event, c *Customer) error {
		if c.ID == "" {
			return receiver.Discard(errors.New("the customer has no id"))
		}
		return store.SaveCustomer(ctx, *c)
	})
	return mux
}

func setInstalled(ctx context.Context, store Store, passID string, installed bool) error {
	if passID == "" { // a member that is missing is no error of the SDK's; to come again won't help
		return receiver.Discard(errors.New("the pass has no id"))
	}
	return store.SetInstalled(ctx, passID, installed)
}

// Subscribe keeps our webhook in order; it is called at each start. It subscribes to what there are functions for, and to nothing else.
func Subscribe(ctx context.Context, client *walletcrew.Client, publicURL string) (*walletcrew.EnsureResult, error) {
	return client.Webhooks.Ensure(ctx, walletcrew.WebhookSpec{
		Endpoint: publicURL + WebhookPath,
		Events:   handlers(nil).Patterns(),
	})
}
