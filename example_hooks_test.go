package walletcrew_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// One line for each call, however many attempts it took.
func ExampleWithCallHook() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	client := server.Client(walletcrew.WithCallHook(func(ctx context.Context, method, path string) (context.Context, func(error)) {
		began := time.Now()
		return ctx, func(err error) {
			fmt.Println(method, path, time.Since(began) > 0, err)
		}
	}))
	if _, err := client.Webhooks.List(context.Background(), nil); err != nil {
		log.Fatal(err)
	}
	// Output: GET /api/test-tenant/webhooks true <nil>
}

type logging struct{ base http.RoundTripper }

func (l logging) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.base.RoundTrip(r)
	if err == nil {
		fmt.Println(r.Method, resp.StatusCode)
	}
	return resp, err
}

// Each attempt goes through your RoundTripper, and from there through the client's own.
func ExampleWithTransport() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	client := server.Client(walletcrew.WithTransport(func(base http.RoundTripper) http.RoundTripper { return logging{base} }))
	if _, err := client.Webhooks.List(context.Background(), nil); err != nil {
		log.Fatal(err)
	}
	// Output: GET 200
}
