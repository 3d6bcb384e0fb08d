package walletcrew_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A service that keeps its subscription in order: it may call this at each start.
func Example() {
	server := walletcrewtest.NewServer() // the platform in memory; yours is NewClientFromEnv
	defer server.Close()
	client := server.Client()

	result, err := client.Webhooks.Ensure(context.Background(), walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/webhooks/walletcrew",
		Events:   []walletcrew.EventName{walletcrew.AllPassEvents, walletcrew.EventCustomerUpserted},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Action, result.Webhook.Events, result.Webhook.SignatureSecret)
	// Output: created [Pass:* Customer:Upserted] [redacted]
}

// NewClient sends nothing: a wrong key shows at the first call.
func ExampleNewClient() {
	client, err := walletcrew.NewClient("acme",
		walletcrew.WithAPIKey("the-key-from-your-secret-store"), // an empty one is an error
		walletcrew.WithBaseURL(walletcrew.StagingURL),
		walletcrew.WithUserAgent("shop/1.4"),
		walletcrew.WithRetries(5, time.Second, 20*time.Second),
	)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.TenantID())
	// Output: acme
}

// A service that takes its settings from WALLETCREW_TENANT_ID, WALLETCREW_API_KEY and, optionally, WALLETCREW_BASE_URL.
func ExampleNewClientFromEnv() {
	_ = os.Setenv("WALLETCREW_TENANT_ID", "acme") // what your deployment does
	_ = os.Setenv("WALLETCREW_API_KEY", "the-key-from-your-secret-store")

	client, err := walletcrew.NewClientFromEnv()
	if err != nil {
		log.Fatal(err) // names a variable that isn't set
	}
	fmt.Println(client.TenantID())
	// Output: acme
}

func ExampleClient_TenantID() {
	client, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey("key"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.TenantID())
	// Output: acme
}

// An empty key is an error, so that a variable that isn't set is noticed at start.
func ExampleWithAPIKey() {
	_, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey(""))
	fmt.Println(err)
	// Output: walletcrew: the API key is empty
}

func ExampleWithBaseURL() {
	_, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey("key"), walletcrew.WithBaseURL(walletcrew.StagingURL))
	fmt.Println(err)
	_, err = walletcrew.NewClient("acme", walletcrew.WithAPIKey("key"), walletcrew.WithBaseURL("http://platform.example"))
	fmt.Println(err != nil) // the key must not travel in the clear
	// Output:
	// <nil>
	// true
}

// A client of your own: here with a shorter limit for each attempt. For OAuth 2, pass what golang.org/x/oauth2 makes, and no key.
func ExampleWithHTTPClient() {
	client, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey("key"),
		walletcrew.WithHTTPClient(&http.Client{Timeout: 5 * time.Second}))
	fmt.Println(client.TenantID(), err)
	// Output: acme <nil>
}

// The server fails twice; two retries are enough.
func ExampleWithRetries() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	server.Fail(slices.Repeat([]walletcrewtest.Fault{{StatusCode: http.StatusServiceUnavailable}}, 2)...)

	client := server.Client(walletcrew.WithRetries(2, time.Millisecond, 10*time.Millisecond))
	_, err := client.Webhooks.List(context.Background(), nil)
	fmt.Println(err, len(server.Requests()), "requests")
	// Output: <nil> 3 requests
}

func ExampleWithUserAgent() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	client := server.Client(walletcrew.WithUserAgent("shop/1.4"))
	if _, err := client.Webhooks.List(context.Background(), nil); err != nil {
		log.Fatal(err)
	}
	product, sdk, _ := strings.Cut(server.Requests()[0].Header.Get("User-Agent"), " ")
	fmt.Println(product, strings.HasPrefix(sdk, "walletcrew-go/"))
	// Output: shop/1.4 true
}

// Each attempt and each wait is logged at debug level; no key, secret or body is.
func ExampleWithLogger() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { // what is the same in each run
			if a.Key == slog.MessageKey || a.Key == "method" || a.Key == "status" {
				return a
			}
			return slog.Attr{}
		},
	}))
	if _, err := server.Client(walletcrew.WithLogger(logger)).Webhooks.List(context.Background(), nil); err != nil {
		log.Fatal(err)
	}
	// Output: msg="walletcrew: request" method=GET status=200
}

func ExampleWebhooksService_Create() {
	server := walletcrewtest.NewServer() // the platform in memory
	defer server.Close()
	client := server.Client()

	webhook, err := client.Webhooks.Create(context.Background(), walletcrew.WebhookSpec{
		Endpoint:    "https://shop.example/webhooks/walletcrew",
		Events:      []walletcrew.EventName{walletcrew.AllPassEvents, walletcrew.EventCustomerUpserted},
		Description: "the shop",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(webhook.Endpoint, webhook.Events, webhook.Enabled)
	fmt.Println(webhook.SignatureSecret, len(string(webhook.SignatureSecret)), "characters")
	// Output:
	// https://shop.example/webhooks/walletcrew [Pass:* Customer:Upserted] true
	// [redacted] 64 characters
}

func ExampleWebhooksService_All() {
	server := walletcrewtest.NewServer(walletcrewtest.WithPageSize(1)) // All follows the pages, if there are any
	defer server.Close()
	client, ctx := server.Client(), context.Background()
	for _, shop := range []string{"paris", "lyon", "nice"} {
		_, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{
			Endpoint: "https://" + shop + ".shop.example/hook", Events: []walletcrew.EventName{walletcrew.AllEvents},
		})
		if err != nil {
			log.Fatal(err)
		}
	}

	for webhook, err := range client.Webhooks.All(ctx, nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(webhook.Endpoint)
	}
	// Output:
	// https://paris.shop.example/hook
	// https://lyon.shop.example/hook
	// https://nice.shop.example/hook
}

func ExampleWebhooksService_List() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	client := server.Client()

	list, err := client.Webhooks.List(context.Background(), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(list.Webhooks), "webhooks")
	// Output: 0 webhooks
}

// What the patch leaves out stays as it is.
func ExampleWebhooksService_Patch() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	client, ctx := server.Client(), context.Background()
	webhook, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{walletcrew.AllPassEvents}, Description: "the shop",
	})
	if err != nil {
		log.Fatal(err)
	}

	webhook, err = client.Webhooks.Patch(ctx, webhook.ID, walletcrew.WebhookPatch{
		Events:      []walletcrew.EventName{walletcrew.AllEvents},
		Description: new(""), // cleared
		Enabled:     new(false),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %v %q %t\n", webhook.Endpoint, webhook.Events, webhook.Description, webhook.Enabled)
	// Output: https://shop.example/hook [*] "" false
}

// One that doesn't exist is ErrNotFound.
func ExampleWebhooksService_Get() {
	server := walletcrewtest.NewServer()
	defer server.Close()

	_, err := server.Client().Webhooks.Get(context.Background(), "Ab3xY")
	fmt.Println(errors.Is(err, walletcrew.ErrNotFound))
	// Output: true
}

func ExampleWebhooksService_Delete() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	client, ctx := server.Client(), context.Background()
	webhook, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{walletcrew.AllEvents},
	})
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println(client.Webhooks.Delete(ctx, webhook.ID))
	fmt.Println(errors.Is(client.Webhooks.Delete(ctx, webhook.ID), walletcrew.ErrNotFound))
	// Output:
	// <nil>
	// true
}

// What a service calls when it starts: the second time there is nothing to do.
func ExampleWebhooksService_Ensure() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	client := server.Client()

	spec := walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/webhooks/walletcrew",
		Events:   []walletcrew.EventName{walletcrew.AllPassEvents},
	}
	for range 2 {
		result, err := client.Webhooks.Ensure(context.Background(), spec)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(result.Action, result.Webhook.Endpoint, len(result.Duplicates), "duplicates")
	}
	// Output:
	// created https://shop.example/webhooks/walletcrew 0 duplicates
	// unchanged https://shop.example/webhooks/walletcrew 0 duplicates
}

// A service calls it on a goroutine of its own, as soon as it listens. Here, the API is away at the start.
func ExampleWebhooksService_Maintain() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	server.Fail(walletcrewtest.Fault{Method: http.MethodGet, StatusCode: http.StatusNotImplemented})
	client := server.Client()

	ctx, stop := context.WithCancel(context.Background()) // yours ends with the service
	defer stop()
	spec := walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/webhooks/walletcrew",
		Events:   []walletcrew.EventName{walletcrew.AllPassEvents}, // or Patterns of your receiver.Mux
	}
	client.Webhooks.Maintain(ctx, spec, func(result *walletcrew.EnsureResult, err error) {
		if err != nil {
			fmt.Println("not now:", err)
			return
		}
		fmt.Println(result.Action, result.Webhook.Events, result.Warnings)
		stop()
	})
	// Output:
	// not now: walletcrew: GET /api/test-tenant/webhooks: 501 Not Implemented
	// created [Pass:*] []
}

// Between Rotate and Finish, the receivers learn the new secret.
func ExampleWebhooksService_Rotate() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	client, ctx := server.Client(), context.Background()
	webhook, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{walletcrew.AllEvents},
	})
	if err != nil {
		log.Fatal(err)
	}

	rotation, err := client.Webhooks.Rotate(ctx, webhook.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the receivers must accept", len(rotation.Secrets()), "secrets; the successor is enabled:", rotation.New.Enabled)

	if err := rotation.Finish(ctx); err != nil { // may be called again
		log.Fatal(err)
	}
	_, err = client.Webhooks.Get(ctx, rotation.Old.ID)
	fmt.Println("the predecessor is gone:", errors.Is(err, walletcrew.ErrNotFound))
	// Output:
	// the receivers must accept 2 secrets; the successor is enabled: false
	// the predecessor is gone: true
}

// Keep the two ids between Rotate and Finish, and a process that starts anew can finish what another began.
func ExampleWebhooksService_FinishRotation() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	client, ctx := server.Client(), context.Background()
	webhook, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{walletcrew.AllEvents},
	})
	if err != nil {
		log.Fatal(err)
	}
	rotation, err := client.Webhooks.Rotate(ctx, webhook.ID)
	if err != nil {
		log.Fatal(err)
	}
	oldID, newID := rotation.Old.ID, rotation.New.ID // written down; then the process dies

	fmt.Println(client.Webhooks.FinishRotation(ctx, oldID, newID))
	fmt.Println(len(server.Webhooks()), "webhook; enabled:", server.Webhooks()[0].Enabled)
	// Output:
	// <nil>
	// 1 webhook; enabled: true
}

// Until Finish has returned, the receivers accept both; the old secret is the first.
func ExampleRotation() {
	rotation := &walletcrew.Rotation{ // what Rotate returns
		Old: &walletcrew.Webhook{SignatureSecret: "the old secret"},
		New: &walletcrew.Webhook{SignatureSecret: "the new secret"},
	}
	for _, secret := range rotation.Secrets() {
		fmt.Println(string(secret)) // into your secret store, not into a log
	}
	// Output:
	// the old secret
	// the new secret
}

// The kinds of errors, and what to do about each.
func ExampleAPIError() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	server.Fail(walletcrewtest.Fault{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"90"}}})

	_, err := server.Client().Webhooks.Get(context.Background(), "Ab3xY")

	var refused *walletcrew.ValidationError // nothing was sent
	var answer *walletcrew.APIError         // the platform said no
	switch {
	case errors.As(err, &refused):
		fmt.Println("a fault of this program:", refused.Field)
	case errors.Is(err, walletcrew.ErrNotFound):
		fmt.Println("there is none")
	case errors.Is(err, walletcrew.ErrOutcomeUnknown):
		fmt.Println("it may have happened: look before you repeat it")
	case errors.As(err, &answer) && answer.RetryAfter > 0:
		fmt.Println("come back in", answer.RetryAfter)
	case err != nil:
		fmt.Println(err)
	}
	// Output: come back in 1m30s
}

// There was no usable answer: the create may have been carried out, and nobody can know before he has looked.
func ExampleRequestError() {
	server := walletcrewtest.NewServer()
	defer server.Close()
	server.Fail(walletcrewtest.Fault{CarryOut: true, Drop: true})

	_, err := server.Client().Webhooks.Create(context.Background(), walletcrew.WebhookSpec{
		Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{walletcrew.AllEvents},
	})
	if broken, ok := errors.AsType[*walletcrew.RequestError](err); ok {
		fmt.Println(broken.Method, broken.Attempts, errors.Is(err, walletcrew.ErrOutcomeUnknown))
	}
	// Output: POST 1 true
}

func ExampleValidationError() {
	client, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey("key"))
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Webhooks.Create(context.Background(), walletcrew.WebhookSpec{
		Endpoint: "http://shop.example/hook", Events: []walletcrew.EventName{walletcrew.AllEvents},
	})
	fmt.Println(err)
	// Output: walletcrew: endpoint is not https (http is for loopback hosts only)
}

// Do calls what the SDK doesn't wrap, with the same errors and retries.
func ExampleClient_Do() {
	server := walletcrewtest.NewServer()
	defer server.Close()

	var webhooks []struct{ ID string }
	err := server.Client().Do(context.Background(), http.MethodGet, "webhooks?pageSize=10", nil, &webhooks)
	fmt.Println(len(webhooks), err)

	err = server.Client().Do(context.Background(), http.MethodGet, "../another-tenant/webhooks", nil, &webhooks)
	fmt.Println(err)
	// Output:
	// 0 <nil>
	// walletcrew: path has an element "." or ".."
}

func ExampleParseEvent() {
	body := []byte(`{"__id":"e-1","passId":"p-1001","identifiers":{"customerId":42},"device":"apple"}`)

	event, err := walletcrew.ParseEvent("Pass:Installed", body) // after its signature was verified
	if err != nil {
		log.Fatal(err)
	}
	switch data := event.Data.(type) {
	case *walletcrew.PassInstalled:
		fmt.Println(data.PassID, "of customer", data.Identifiers["customerId"], "on", data.Device.Platform)
	case *walletcrew.PassUninstalled:
		fmt.Println(data.PassID, "was removed")
	case *walletcrew.UnknownEvent: // a new event, or event.DataErr says why it isn't one of the above
		fmt.Println(event.Name, event.DataErr, data.Members)
	}
	// Output: p-1001 of customer 42 on apple
}

// The members of most events aren't documented: your own type takes those that you know.
func ExampleEvent_Decode() {
	event, err := walletcrew.ParseEvent("Customer:Upserted", []byte(`{"__id":"e-2","loyalty":{"tier":"gold","points":1250}}`))
	if err != nil {
		log.Fatal(err)
	}
	var customer struct {
		Loyalty struct {
			Tier   string `json:"tier"`
			Points int    `json:"points"`
		} `json:"loyalty"`
	}
	if err := event.Decode(&customer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(event.ID, customer.Loyalty.Tier, customer.Loyalty.Points)
	// Output: e-2 gold 1250
}

// Every member is there as it came, also those that no type has.
func ExampleEvent_Members() {
	event, err := walletcrew.ParseEvent("Pass:Updated", []byte(`{"__id":"e-3","passId":"p-1001","points":1250}`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(event.Members()["points"]), len(event.Members()), "members")
	// Output: 1250 3 members
}

func ExampleEvent_Metadata() {
	event, err := walletcrew.ParseEvent("Pass:Updated", []byte(`{"__id":"e-3","passId":"p-1001"}`))
	if err != nil {
		log.Fatal(err)
	}
	for name, value := range event.Metadata() {
		fmt.Println(name, string(value))
	}
	// Output: __id "e-3"
}

// Only the body is signed: where it names the event, that counts, and the package verifier refuses a header that says otherwise.
// Any pass event, whatever its type.
func ExampleEvent_Pass() {
	for _, name := range []walletcrew.EventName{walletcrew.EventPassInstalled, walletcrew.EventPassUpdated, walletcrew.EventCustomerUpserted} {
		e, err := walletcrew.ParseEvent(name, []byte(`{"__id":"e-1","passId":"p-1001"}`))
		if err != nil {
			log.Fatal(err)
		}
		if p := e.Pass(); p != nil {
			fmt.Println(name, "of", p.PassID)
		}
	}
	// Output:
	// Pass:Installed of p-1001
	// Pass:Updated of p-1001
}

// An event that is kept in a table or a queue comes back as it was. It prints without its body.
func ExampleEvent_MarshalJSON() {
	e, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, []byte(`{"__id":"e-1", "passId":"p-1001"}`))
	if err != nil {
		log.Fatal(err)
	}
	e.TenantID = "shop"
	kept, err := json.Marshal(e)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(kept))

	var again walletcrew.Event
	if err := json.Unmarshal(kept, &again); err != nil {
		log.Fatal(err)
	}
	fmt.Println(again.Data.(*walletcrew.PassInstalled).PassID, bytes.Equal(again.Raw, e.Raw))
	fmt.Println(again)
	// Output:
	// {"name":"Pass:Installed","tenantId":"shop","body":"{\"__id\":\"e-1\", \"passId\":\"p-1001\"}"}
	// p-1001 true
	// walletcrew.Event(name "Pass:Installed", id "e-1", tenant "shop", 33 bytes)
}

func ExampleEvent_SignedName() {
	event, err := walletcrew.ParseEvent("Pass:Uninstalled", []byte(`{"__id":"e-3","__eventName":"Pass:Installed"}`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(event.Name, event.SignedName())
	// Output: Pass:Uninstalled Pass:Installed
}

func ExampleEventName_Category() {
	fmt.Println(walletcrew.EventPassInstalled.Category(), walletcrew.EventName("customer.upserted").Category())
	// Output: Pass customer
}

func ExampleEventName_Matches() {
	name := walletcrew.EventName("Pass:Installed")
	for _, pattern := range []walletcrew.EventName{walletcrew.AllPassEvents, "pass.installed", "*", "Customer:*"} {
		fmt.Println(pattern, name.Matches(pattern))
	}
	// Output:
	// Pass:* true
	// pass.installed true
	// * true
	// Customer:* false
}

func ExampleVerifySignature() {
	body := []byte(`{"__id":"e-1","passId":"p-1001"}`) // the bytes as they came, not decoded and encoded again
	secret := walletcrew.Secret("the webhook's signatureSecret")
	signature := walletcrew.Sign(secret, body) // in a receiver: r.Header.Get(walletcrew.HeaderSignature)

	fmt.Println(walletcrew.VerifySignature(body, signature, secret))
	fmt.Println(walletcrew.VerifySignature(body, signature, "the next secret", secret)) // while it is rotated
	fmt.Println(walletcrew.VerifySignature([]byte(`{"passId":"p-1002"}`), signature, secret))
	// Output:
	// <nil>
	// <nil>
	// walletcrew: the signature does not match the body
}

// For those who look for the secret that fits, one after the other: the header is read once.
func ExampleParseSignature() {
	body := []byte(`{"__id":"e-1"}`)
	header := "sha256=" + strings.ToUpper(walletcrew.Sign("secret", body)) // one of the spellings that are read
	signature, err := walletcrew.ParseSignature(header)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(signature.Verify(body, "another", "secret"))
	_, err = walletcrew.ParseSignature("not a signature")
	fmt.Println(err)
	// Output:
	// <nil>
	// walletcrew: the signature is not 32 bytes in hexadecimal or base64
}

func ExampleSignature_Verify() {
	body := []byte(`{"__id":"e-1"}`)
	signature, err := walletcrew.ParseSignature(walletcrew.Sign("secret", body))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(signature.Verify(body, "secret"), errors.Is(signature.Verify(body, "another"), walletcrew.ErrSignatureMismatch))
	// Output: <nil> true
}

// A secret that verifies many deliveries is prepared once.
func ExampleNewKey() {
	key, err := walletcrew.NewKey("secret")
	if err != nil {
		log.Fatal(err) // an empty secret is ErrNoSecret
	}
	body := []byte(`{"__id":"e-1"}`)
	signature, err := walletcrew.ParseSignature(walletcrew.Sign("secret", body))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.Matches(body, signature), key.Matches([]byte("{}"), signature), key)
	// Output: true false [redacted]
}

func ExampleKey_Matches() {
	key, err := walletcrew.NewKey("secret")
	if err != nil {
		log.Fatal(err)
	}
	signature, err := walletcrew.ParseSignature(walletcrew.Sign("secret", []byte("{}")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.Matches([]byte("{}"), signature))
	// Output: true
}

// Sign makes a delivery's signature: for tests, and for tools that send deliveries.
func ExampleSign() {
	fmt.Println(walletcrew.Sign("secret", []byte("{}")))
	// Output: 77325902caca812dc259733aacd046b73817372c777b8d95b402647474516e13
}

func ExampleSecret() {
	secret := walletcrew.Secret("k7Qx2mVb9LpZr4Tn")
	fmt.Printf("%v %q %+v\n", secret, secret, walletcrew.Webhook{ID: "Ab3xY", SignatureSecret: secret})
	fmt.Println(string(secret)[:4] + "…")
	// Output:
	// [redacted] [redacted] {ID:Ab3xY Description: Endpoint: Events:[] Enabled:false SignatureSecret:[redacted]}
	// k7Qx…
}

func ExampleNameOf() {
	fmt.Println(walletcrew.NameOf(walletcrew.PassUpdateSent{}))
	// Output: Pass:UpdateSent
}

func ExampleEventName_Known() {
	fmt.Println(walletcrew.EventName("pass.installed").Known(), walletcrew.EventName("Pass:Instaled").Known())
	// Output: true false
}

func ExampleEvents() {
	for _, name := range walletcrew.Events() {
		if name.Category() == "Pass" {
			fmt.Println(name)
		}
	}
	// Output:
	// Pass:Created
	// Pass:Installed
	// Pass:Uninstalled
	// Pass:Updated
	// Pass:UpdateSent
}
