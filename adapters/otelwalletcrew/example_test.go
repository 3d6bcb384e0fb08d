package otelwalletcrew_test

import (
	"context"
	"log"
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/otelwalletcrew"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// Traces and metrics of a receiver that hands its events over, and of the worker that runs them.
func Example() {
	var (
		v     *verifier.Verifier
		inbox interface {
			Handle(context.Context, *walletcrew.Event) error
		} // such as *riverinbox.Inbox
		mux    = receiver.NewMux()
		worker func(receiver.HandlerFunc)
	)
	tel, err := otelwalletcrew.New() // OpenTelemetry's global providers
	if err != nil {
		log.Fatal(err)
	}
	h := receiver.NewHandler(v, tel.Publish("orders", inbox.Handle), receiver.WithObserver(tel.Observe)) // without an inbox: mux.Handle
	http.Handle("POST /webhooks/walletcrew", otelhttp.NewHandler(tel.Handler(h), "walletcrew", otelhttp.WithPublicEndpointFn(otelwalletcrew.PublicEndpoint)))

	worker(tel.Process("orders", mux.Handle))
}

// Each call of the client is a span, and each of its attempts is one within it.
func ExampleTelemetry_Client() {
	tel, err := otelwalletcrew.New()
	if err != nil {
		log.Fatal(err)
	}
	client, err := walletcrew.NewClientFromEnv(tel.Client())
	if err != nil {
		log.Fatal(err)
	}
	_ = client.Webhooks
}
