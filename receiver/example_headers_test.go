package receiver_test

import (
	"context"
	"fmt"

	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A publisher of your own sends the headers along, and your worker puts them back.
func ExampleWithHeaders() {
	// Where the event is handed over:
	ctx := receiver.WithHeaders(context.Background(), map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
	message := map[string]string{}
	for name, value := range receiver.Headers(ctx) {
		message[name] = value
	}

	// In the worker:
	ctx = receiver.WithHeaders(context.Background(), message)
	fmt.Println(receiver.Headers(ctx)["traceparent"])
	// Output: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
}
