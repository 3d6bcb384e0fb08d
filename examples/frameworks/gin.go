package frameworks

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// Gin mounts the handler with gin.WrapH. Don't call ShouldBind or GetRawData before it: they read the body.
func Gin(v *verifier.Verifier, handle verifier.HandlerFunc) http.Handler {
	r := gin.New()
	r.POST("/webhooks/walletcrew", gin.WrapH(verifier.NewHandler(v, handle,
		verifier.WithDeduper(verifier.NewMemoryDeduper(0, 0)))))
	return r
}
