package frameworks

import (
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// Chi mounts the handler as any http.Handler.
func Chi(v *verifier.Verifier, handle receiver.HandlerFunc) *Service {
	webhooks := receiver.NewHandler(v, handle, receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))
	r := chi.NewRouter()
	r.Use(middleware.RequestID) // none that reads the body, or unpacks it: the signature is over the bytes as they came
	r.Method(http.MethodPost, "/webhooks/walletcrew", webhooks)
	return &Service{r, webhooks}
}
