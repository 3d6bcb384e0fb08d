package frameworks

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A Service is a router of any framework on net/http, and the handler of the webhooks in it.
type Service struct {
	http.Handler
	Webhooks *receiver.Handler
}

// Serve answers until ctx ends; then it lets finish what is in flight. First the server, so that no delivery comes in; then the handler,
// which knows of functions that the server doesn't wait for (on HTTP/2, those whose sender has hung up).
func (s *Service) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      40 * time.Second, // over the handler's 25 s
		IdleTimeout:       2 * time.Minute,
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	err := server.Serve(listener)
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(grace), s.Webhooks.Shutdown(grace))
}
