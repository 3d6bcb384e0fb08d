package walletcrewtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func ExampleNewServer() {
	server := walletcrewtest.NewServer()
	defer server.Close()

	ctx := context.Background()
	client := server.Client()
	webhook, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/webhooks/walletcrew",
		Events:   []walletcrew.EventName{walletcrew.AllPassEvents},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(webhook.ID), len(webhook.SignatureSecret), webhook.Enabled)
	fmt.Println(server.Webhooks()[0].Endpoint)
	// Output:
	// 5 64 true
	// https://shop.example/webhooks/walletcrew
}

// A receiver that the platform delivers to. In your test it is your handler.
func ExampleServer_Emit() {
	server := walletcrewtest.NewServer()
	defer server.Close()

	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		secret := server.Webhooks()[0].SignatureSecret
		if walletcrew.VerifySignature(body, r.Header.Get(walletcrew.HeaderSignature), secret) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Println("received", r.Header.Get(walletcrew.HeaderEventName))
		w.WriteHeader(http.StatusNoContent)
	}))
	defer receiver.Close()

	ctx := context.Background()
	_, err := server.Client().Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint: receiver.URL,
		Events:   []walletcrew.EventName{walletcrew.AllEvents},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	deliveries, err := server.Emit(ctx, walletcrew.EventPassInstalled, map[string]any{"passId": "p-1001", "device": "apple"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range deliveries {
		fmt.Println("answered", d.StatusCode, d.Err)
	}
	// Output:
	// received Pass:Installed
	// answered 204 <nil>
}

// The platform delivers at least once: the same event can come again, and after a later one.
func ExampleServer_Deliver() {
	server := walletcrewtest.NewServer()
	defer server.Close()

	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var event struct {
			ID string `json:"__id"`
		}
		_ = json.NewDecoder(r.Body).Decode(&event)
		fmt.Println(event.ID)
	}))
	defer receiver.Close()

	ctx := context.Background()
	_, err := server.Client().Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint: receiver.URL,
		Events:   []walletcrew.EventName{walletcrew.AllEvents},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	first := walletcrewtest.Payload(walletcrew.EventPassUpdated, map[string]string{"__id": "first"})
	second := walletcrewtest.Payload(walletcrew.EventPassUpdated, map[string]string{"__id": "second"})
	for _, body := range [][]byte{second, first, second} {
		if _, err := server.Deliver(ctx, walletcrew.EventPassUpdated, body); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// second
	// first
	// second
}

// The answer to a create is lost: the webhook is there, and the client can't know.
func ExampleServer_Fail() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	server.Fail(walletcrewtest.Fault{Method: http.MethodPost, CarryOut: true, Drop: true})

	_, err := server.Client().Webhooks.Create(context.Background(), walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/webhooks/walletcrew",
		Events:   []walletcrew.EventName{walletcrew.AllPassEvents},
	})
	fmt.Println(errors.Is(err, walletcrew.ErrOutcomeUnknown), len(server.Webhooks()))
	// Output: true 1
}

func ExampleNewRequest() {
	const secret walletcrew.Secret = "a secret of the test"
	handler := func(w http.ResponseWriter, r *http.Request) { // yours
		body, _ := io.ReadAll(r.Body)
		if walletcrew.VerifySignature(body, r.Header.Get(walletcrew.HeaderSignature), secret) != nil {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}

	body := walletcrewtest.Payload(walletcrew.EventPassCreated, map[string]string{"passId": "p-1001"})
	for _, signedWith := range []walletcrew.Secret{secret, "another"} {
		w := httptest.NewRecorder()
		handler(w, walletcrewtest.NewRequest("/webhooks/walletcrew", signedWith, "shop", walletcrew.EventPassCreated, body))
		fmt.Println(w.Code)
	}
	// Output:
	// 200
	// 401
}

func ExamplePayload() {
	fmt.Printf("%s\n", walletcrewtest.Payload(walletcrew.EventPassCreated, map[string]string{"__id": "e-1", "passId": "p-1001"}))

	body := walletcrewtest.Payload(walletcrew.EventPassCreated, walletcrew.PassCreated{Pass: walletcrew.Pass{PassID: "p-1001"}})
	event, err := walletcrew.ParseEvent(walletcrew.EventPassCreated, body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(event.ID), event.Data.(*walletcrew.PassCreated).PassID)
	// Output:
	// {"__id":"e-1","passId":"p-1001"}
	// 36 p-1001
}
