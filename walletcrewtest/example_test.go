package walletcrewtest_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
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

func ExampleServer_Client() {
	server := walletcrewtest.NewServer()
	defer server.Close()

	client := server.Client(walletcrew.WithRetries(0, 0, 0)) // any of the client's options
	list, err := client.Webhooks.List(context.Background(), nil)
	fmt.Println(client.TenantID(), len(list.Webhooks), err)
	// Output: test-tenant 0 <nil>
}

// What the client sent, such as how often.
func ExampleServer_Requests() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	server.Fail(walletcrewtest.Fault{StatusCode: http.StatusServiceUnavailable})

	_, err := server.Client().Webhooks.List(context.Background(), nil)
	fmt.Println(err)
	for _, r := range server.Requests() {
		fmt.Println(r.Method, r.URL)
	}
	// Output:
	// <nil>
	// GET /api/test-tenant/webhooks
	// GET /api/test-tenant/webhooks
}

// What the platform has, whatever the client was told.
func ExampleServer_Webhooks() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	_, err := server.Client().Webhooks.Ensure(context.Background(), walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/webhooks/walletcrew",
		Events:   []walletcrew.EventName{walletcrew.AllPassEvents},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, webhook := range server.Webhooks() {
		fmt.Println(webhook.Endpoint, webhook.Events, webhook.Enabled)
	}
	// Output: https://shop.example/webhooks/walletcrew [Pass:*] true
}

// Close gives up the port; deferred, or with t.Cleanup.
func ExampleServer_Close() {
	server := walletcrewtest.NewServer()
	server.Close()
	_, err := server.Emit(context.Background(), walletcrew.EventPassCreated, nil)
	fmt.Println(err != nil)
	// Output: true
}

// OAuth 2 instead of a key.
func ExampleWithBearerToken() {
	server := walletcrewtest.NewServer(walletcrewtest.WithBearerToken("a token of the test"))
	defer server.Close()
	client, err := walletcrew.NewClient(server.TenantID, walletcrew.WithBaseURL(server.URL),
		walletcrew.WithHTTPClient(&http.Client{Transport: bearer("a token of the test")})) // yours: oauth2.NewClient
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.Webhooks.List(context.Background(), nil)
	fmt.Println(err)
	// Output: <nil>
}

type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// A key that may only read, such as that of a receiver.
func ExampleWithScopes() {
	server := walletcrewtest.NewServer(walletcrewtest.WithScopes("Webhook.Read"))
	defer server.Close()
	client, ctx := server.Client(), context.Background()

	_, err := client.Webhooks.List(ctx, nil)
	fmt.Println(err)
	fmt.Println(errors.Is(client.Webhooks.Delete(ctx, "Ab3xY"), walletcrew.ErrForbidden))
	// Output:
	// <nil>
	// true
}

// Does your code go on to the second page?
func ExampleWithPageSize() {
	server := walletcrewtest.NewServer(walletcrewtest.WithPageSize(1))
	defer server.Close()
	client, ctx := server.Client(), context.Background()
	for _, endpoint := range []string{"https://a.example/hook", "https://b.example/hook"} {
		spec := walletcrew.WebhookSpec{Endpoint: endpoint, Events: []walletcrew.EventName{walletcrew.AllEvents}}
		if _, err := client.Webhooks.Create(ctx, spec); err != nil {
			fmt.Println(err)
			return
		}
	}
	list, err := client.Webhooks.List(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(list.Webhooks), "webhook on the first page; more:", list.ContinuationToken != "")
	// Output: 1 webhook on the first page; more: true
}

// What the platform answers to PATCH isn't documented: this shows that your code doesn't depend on it.
func ExampleWithPatchAnswer() {
	for _, answer := range []walletcrewtest.Answer{walletcrewtest.AnswerWebhook, walletcrewtest.AnswerEmpty, walletcrewtest.AnswerNoContent} {
		webhook, err := patchAndDelete(walletcrewtest.WithPatchAnswer(answer))
		fmt.Println(webhook.Enabled, err)
	}
	// Output:
	// false <nil>
	// false <nil>
	// false <nil>
}

func ExampleWithDeleteAnswer() {
	_, err := patchAndDelete(walletcrewtest.WithDeleteAnswer(walletcrewtest.AnswerEmpty))
	fmt.Println(err)
	// Output: <nil>
}

// patchAndDelete stands for the code that is tested.
func patchAndDelete(opts ...walletcrewtest.Option) (*walletcrew.Webhook, error) {
	server := walletcrewtest.NewServer(opts...)
	defer server.Close()
	client, ctx := server.Client(), context.Background()
	webhook, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{walletcrew.AllEvents},
	})
	if err != nil {
		return nil, err
	}
	webhook, err = client.Webhooks.Patch(ctx, webhook.ID, walletcrew.WebhookPatch{Enabled: new(false)})
	if err != nil {
		return nil, err
	}
	return webhook, client.Webhooks.Delete(ctx, webhook.ID)
}

// How the platform spells a signature isn't documented: a receiver must take base64, too.
func ExampleWithSign() {
	server := walletcrewtest.NewServer(walletcrewtest.WithSign(func(secret walletcrew.Secret, body []byte) string {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		return base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}))
	defer server.Close()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // around your handler
		body, _ := io.ReadAll(r.Body)
		secret := server.Webhooks()[0].SignatureSecret
		fmt.Println(walletcrew.VerifySignature(body, r.Header.Get(walletcrew.HeaderSignature), secret))
	}))
	defer receiver.Close()
	subscribeAndEmit(server, receiver.URL)
	// Output:
	// <nil>
	// answered 200
}

// A receiver with TLS: its own client knows its certificate.
func ExampleWithHTTPClient() {
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))
	defer receiver.Close()
	server := walletcrewtest.NewServer(walletcrewtest.WithHTTPClient(receiver.Client()))
	defer server.Close()
	subscribeAndEmit(server, receiver.URL)
	// Output: answered 204
}

func subscribeAndEmit(server *walletcrewtest.Server, endpoint string) {
	ctx := context.Background()
	_, err := server.Client().Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint: endpoint,
		Events:   []walletcrew.EventName{walletcrew.AllEvents},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	deliveries, err := server.Emit(ctx, walletcrew.EventPassCreated, nil)
	if err != nil {
		fmt.Println(err)
	}
	for _, d := range deliveries {
		fmt.Println("answered", d.StatusCode)
	}
}

// Two tenants for a receiver of several.
func ExampleWithTenantID() {
	server := walletcrewtest.NewServer(walletcrewtest.WithTenantID("museum"))
	defer server.Close()
	fmt.Println(server.TenantID, server.Client().TenantID())
	// Output: museum museum
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
	// { "__id":"e-1","passId":"p-1001"}
	// 36 p-1001
}
