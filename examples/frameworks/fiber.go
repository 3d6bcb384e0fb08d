package frameworks

import (
	"bytes"
	"strings"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/recover"

	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// Fiber isn't on net/http, and uses its buffers again when the handler has returned: the event keeps the body and the headers'
// values, so both are copied. BodyRaw, since Body unpacks what has a Content-Encoding.
func Fiber(v *verifier.Verifier, handle receiver.HandlerFunc) *fiber.App {
	app := fiber.New()
	app.Use(recover.New()) // unlike net/http, fiber ends the process if a handler panics
	app.Post("/webhooks/walletcrew", func(c fiber.Ctx) error {
		header := func(name string) string { return strings.Clone(c.Get(name)) }
		delivery, err := v.DeliveryFrom(c.Context(), header, bytes.Clone(c.BodyRaw()))
		if err != nil {
			return c.SendStatus(verifier.StatusCode(err))
		}
		ctx := receiver.WithKey(c.Context(), delivery.Key()) // what the adapters know an event by; receiver.NewHandler sets it by itself
		return c.SendStatus(verifier.StatusCode(handle(ctx, delivery.Event)))
	})
	return app
}
