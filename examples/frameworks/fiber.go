package frameworks

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/recover"

	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// Fiber isn't on net/http, and uses its buffers again when the handler has returned: the event keeps the body and the headers'
// values, so both are copied. BodyRaw, since Body unpacks what has a Content-Encoding. Handle has no time limit here, and duplicates come
// to it: sqldedupe's Once finds the event's key in the context.
func Fiber(v *verifier.Verifier, handle receiver.HandlerFunc) *fiber.App {
	app := fiber.New(fiber.Config{
		ErrorHandler: statusOnly,
		ReadTimeout:  15 * time.Second, // fiber has no time limits of its own
		WriteTimeout: 15 * time.Second,
		IdleTimeout:  2 * time.Minute,
	})
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

// statusOnly answers with the status's own words. Fiber's own handler would send the error's text, and so that of a panic.
func statusOnly(c fiber.Ctx, err error) error {
	status := fiber.StatusInternalServerError
	if e, ok := errors.AsType[*fiber.Error](err); ok {
		status = e.Code
	}
	return c.SendStatus(status)
}
