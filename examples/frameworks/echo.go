package frameworks

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// Echo puts the middleware before a handler of echo's own kind, which finds the event in the request's context and answers
// itself. The middleware doesn't deduplicate and knows no time limit; echo.WrapHandler(receiver.NewHandler(...)) does.
func Echo(v *verifier.Verifier, handle receiver.HandlerFunc) http.Handler {
	e := echo.New()
	e.POST("/webhooks/walletcrew", func(c echo.Context) error {
		ctx := c.Request().Context()
		event, ok := verifier.EventFromContext(ctx)
		if !ok {
			return echo.ErrInternalServerError // the middleware isn't there
		}
		return c.NoContent(verifier.StatusCode(handle(ctx, event)))
	}, echo.WrapMiddleware(v.Middleware))
	return e
}
