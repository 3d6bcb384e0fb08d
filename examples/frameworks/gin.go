package frameworks

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// Gin mounts the handler with gin.WrapH. Don't call ShouldBind or GetRawData before it: they read the body.
func Gin(v *verifier.Verifier, handle receiver.HandlerFunc) http.Handler {
	r := gin.New()
	r.POST("/webhooks/walletcrew", gin.WrapH(receiver.NewHandler(v, handle,
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))))
	return r
}
