package frameworks

import (
	"bytes"
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
		event, err := v.EventFrom(c.Context(), header, bytes.Clone(c.BodyRaw()))
		if err != nil {
			return c.SendStatus(verifier.StatusCode(err))
		}
		if err := handle(c.Context(), event); err != nil && !receiver.IsDiscard(err) {
			return c.SendStatus(fiber.StatusInternalServerError) // asks for the event again
		}
		return c.SendStatus(fiber.StatusNoContent)
	})
	return app
}
