package frameworks

import (
	"github.com/gin-gonic/gin"

	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// Gin mounts the handler with gin.WrapH. Don't call ShouldBind or GetRawData before it: they read the body.
func Gin(v *verifier.Verifier, handle receiver.HandlerFunc) *Service {
	webhooks := receiver.NewHandler(v, handle, receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))
	r := gin.New()
	r.POST("/webhooks/walletcrew", gin.WrapH(webhooks))
	return &Service{r, webhooks}
}
