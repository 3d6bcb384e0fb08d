package receiver_test

import (
	"context"
	"fmt"
	"maps"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A publisher of your own sends the headers along, and your worker puts them back.
func ExampleWithHeaders() {
	// Where the event is handed over:
	ctx := receiver.WithHeaders(context.Background(), map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
	message := map[string]string{}
	maps.Copy(message, receiver.Headers(ctx))

	// In the worker:
	ctx = receiver.WithHeaders(context.Background(), message)
	fmt.Println(receiver.Headers(ctx)["traceparent"])
	// Output: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
}

// A middleware reads them in the worker, whatever carried the event.
func ExampleHeaders() {
	traced := func(next receiver.HandlerFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			fmt.Println("parent:", receiver.Headers(ctx)["traceparent"])
			return next(ctx, e)
		}
	}
	work := traced(func(context.Context, *walletcrew.Event) error { return nil })

	ctx := receiver.WithHeaders(context.Background(), map[string]string{"traceparent": "00-a-b-01"}) // the adapters' workers do
	_ = work(ctx, &walletcrew.Event{Name: walletcrew.EventPassCreated})
	// Output: parent: 00-a-b-01
}
