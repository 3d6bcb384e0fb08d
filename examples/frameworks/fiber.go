package frameworks

import (
	"bytes"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v3"

	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// Fiber isn't on net/http, and uses its buffers again when the handler has returned: the event keeps the body and the headers'
// values, so both are copied. BodyRaw, since Body unpacks what has a Content-Encoding.
func Fiber(v *verifier.Verifier, handle receiver.HandlerFunc) *fiber.App {
	app := fiber.New()
	app.Post("/webhooks/walletcrew", func(c fiber.Ctx) error {
		header := func(name string) string { return strings.Clone(c.Get(name)) }
		delivery, err := v.DeliveryFrom(c.Context(), header, bytes.Clone(c.BodyRaw()))
		if err != nil {
			return c.SendStatus(verifier.StatusCode(err))
		}
		ctx, event := c.Context(), delivery.Event
		if event.ID != "" { // what the adapters know an event by; receiver.NewHandler sets it by itself
			ctx = receiver.WithKey(ctx, delivery.Scope+"/"+url.PathEscape(event.ID))
		}
		if err := handle(ctx, event); err != nil && !receiver.IsDiscard(err) {
			return c.SendStatus(fiber.StatusInternalServerError) // asks for the event again
		}
		return c.SendStatus(fiber.StatusNoContent)
	})
	return app
}
