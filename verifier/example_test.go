package verifier_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

const exampleSecret = walletcrew.Secret("k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E")

// deliver sends h what the platform would send, and prints the answer.
func deliver(h http.Handler, name walletcrew.EventName, body string) {
	r := walletcrewtest.NewRequest("/webhooks/walletcrew", exampleSecret, "shop", name, []byte(body))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, http.StatusText(w.Code))
}

// A source that can't ever verify anything is an error at start, not at the first forgery.
func ExampleNew() {
	_, err := verifier.New(verifier.Static(walletcrew.Secret(os.Getenv("A_VARIABLE_THAT_IS_NOT_SET"))))
	fmt.Println(errors.Is(err, walletcrew.ErrNoSecret))
	// Output: true
}

func ExampleWithMaxBodyBytes() {
	v, err := verifier.New(verifier.Static(exampleSecret), verifier.WithMaxBodyBytes(64<<10)) // 64 KiB
	if err != nil {
		log.Fatal(err)
	}
	h := receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error { return nil },
		receiver.WithLogger(slog.New(slog.DiscardHandler)))
	deliver(h, walletcrew.EventPassUpdated, `{"__id":"e-1","passId":"`+strings.Repeat("p", 64<<10)+`"}`)
	// Output: 413 Request Entity Too Large
}

// The signature alone, for those who have the body and the header already.
func ExampleVerifier_Verify() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	body := []byte(`{"__id":"e-1"}`)
	signature := walletcrew.Sign(exampleSecret, body) // of the header walletcrew.HeaderSignature
	fmt.Println(v.Verify(context.Background(), "shop", body, signature))
	fmt.Println(v.Verify(context.Background(), "shop", []byte(`{"__id":"e-2"}`), signature))
	// Output:
	// <nil>
	// walletcrew: the signature does not match the body
}

// While a secret is rotated, deliveries signed with either are accepted.
func ExampleStatic() {
	const oldSecret, newSecret = walletcrew.Secret("the old webhook's secret"), walletcrew.Secret("the new webhook's secret")
	v, err := verifier.New(verifier.Static(oldSecret, newSecret))
	if err != nil {
		log.Fatal(err)
	}
	body := []byte(`{"__id":"e-1"}`)
	for _, secret := range []walletcrew.Secret{oldSecret, newSecret, "another's secret"} {
		fmt.Println(v.Verify(context.Background(), "shop", body, walletcrew.Sign(secret, body)))
	}
	// Output:
	// <nil>
	// <nil>
	// walletcrew: the signature does not match the body
}

// A service with many tenants looks the secret up by the tenant, which makes Event.TenantID true.
func ExampleSecretFunc() {
	secrets := map[string]walletcrew.Secret{"shop": exampleSecret, "museum": "the museum's secret"} // a database, say
	source := verifier.SecretFunc(func(_ context.Context, tenantID string) ([]walletcrew.Secret, error) {
		secret, ok := secrets[tenantID]
		if !ok {
			return nil, nil // not known: 401. An error would be 503.
		}
		return []walletcrew.Secret{secret}, nil
	})
	v, err := verifier.New(source)
	if err != nil {
		log.Fatal(err)
	}
	body := []byte(`{"__id":"e-1"}`)
	for _, tenant := range []string{"shop", "museum", "cinema"} {
		fmt.Println(tenant, v.Verify(context.Background(), tenant, body, walletcrew.Sign(exampleSecret, body)))
	}
	// Output:
	// shop <nil>
	// museum walletcrew: the signature does not match the body
	// cinema verifier: there are no secrets for the tenant
}

// The secrets come from the management API, so that no secret needs to be configured besides the API key.
func ExampleFromAPI() {
	platform := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("the SDK asks:", r.Method, r.URL.Path)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `[{"id":"a1B2c","endpoint":"https://shop.example/webhooks","events":["*"],"enabled":true,"signatureSecret":%q}]`, string(exampleSecret))
	}))
	defer platform.Close()

	client, err := walletcrew.NewClient("shop", walletcrew.WithAPIKey("key"), walletcrew.WithBaseURL(platform.URL))
	if err != nil {
		log.Fatal(err)
	}
	v, err := verifier.New(verifier.FromAPI(client))
	if err != nil {
		log.Fatal(err)
	}
	body := []byte(`{"__id":"e-1"}`)
	fmt.Println(v.Verify(context.Background(), "shop", body, walletcrew.Sign(exampleSecret, body)))
	fmt.Println(v.Verify(context.Background(), "shop", body, walletcrew.Sign(exampleSecret, body)))
	// Output:
	// the SDK asks: GET /api/shop/webhooks
	// <nil>
	// <nil>
}

// The middleware verifies, and the rest is your own handler. It works under every router that takes net/http's types.
func ExampleVerifier_Middleware() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, _ := verifier.EventFromContext(r.Context())
		body, _ := io.ReadAll(r.Body) // still there
		fmt.Printf("%s of %d bytes\n", e.Name, len(body))
		w.WriteHeader(http.StatusAccepted)
	}))

	deliver(h, walletcrew.EventPassCreated, `{"__id":"e-1"}`)

	forged := walletcrewtest.NewRequest("/webhooks/walletcrew", "another's secret", "shop", walletcrew.EventPassCreated, []byte(`{"__id":"e-2"}`))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, forged)
	fmt.Println(w.Code, http.StatusText(w.Code))
	// Output:
	// Pass:Created of 14 bytes
	// 202 Accepted
	// 401 Unauthorized
}

// Your own handler: read, verified and decoded in one call.
func ExampleVerifier_Event() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event, err := v.Event(r)
		if err != nil {
			http.Error(w, http.StatusText(verifier.StatusCode(err)), verifier.StatusCode(err)) // err itself is for your log
			return
		}
		switch d := event.Data.(type) {
		case *walletcrew.PassCreated:
			fmt.Println("created", d.PassID, "of customer", d.Identifiers["customerId"])
		default:
			fmt.Println("not for us:", event.Name)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	deliver(h, walletcrew.EventPassCreated, `{"__id":"e-1","passId":"p-1001","identifiers":{"customerId":"C-42"}}`)
	deliver(h, walletcrew.EventCustomerUpserted, `{"__id":"e-2"}`)
	// Output:
	// created p-1001 of customer C-42
	// 204 No Content
	// not for us: Customer:Upserted
	// 204 No Content
}

// Behind Verifier.Middleware the event is in the request's context.
func ExampleEventFromContext() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event, ok := verifier.EventFromContext(r.Context())
		fmt.Println(event.Name, ok)
		w.WriteHeader(http.StatusNoContent)
	}))
	deliver(h, walletcrew.EventPassCreated, `{"__id":"e-1"}`)

	_, ok := verifier.EventFromContext(context.Background()) // without it
	fmt.Println(ok)
	// Output:
	// Pass:Created true
	// 204 No Content
	// false
}

// EventFrom serves what isn't net/http: give it a way to read a header, and the body as it came.
func ExampleVerifier_EventFrom() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	body := []byte(`{"__id":"e-1","passId":"p-1001"}`)
	headers := map[string]string{ // of API Gateway, say
		"x-neostore-signature": walletcrew.Sign(exampleSecret, body),
		"x-neostore-eventname": "Pass:Installed",
		"x-neostore-tenantid":  "shop",
	}
	e, err := v.EventFrom(context.Background(), func(name string) string { return headers[name] }, body)
	if err != nil {
		fmt.Println("answer", verifier.StatusCode(err))
		return
	}
	fmt.Println(e.ID, e.Name, e.TenantID, e.Data.(*walletcrew.PassInstalled).PassID)
	// Output: e-1 Pass:Installed shop p-1001
}

// In a framework, StatusCode says what to answer; the error's text is for your log only.
func ExampleStatusCode() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	none := func(string) string { return "" }
	_, err = v.EventFrom(context.Background(), none, []byte(`{"__id":"e-1"}`))
	fmt.Println(verifier.StatusCode(err), err)
	fmt.Println(verifier.StatusCode(fmt.Errorf("read secrets: %w", verifier.ErrSecretsUnavailable)))
	fmt.Println(verifier.StatusCode(errors.New("your function's")))
	fmt.Println(verifier.StatusCode(nil))
	// Output:
	// 401 walletcrew: the delivery has no signature
	// 503
	// 500
	// 204
}

// Why doesn't the signature match? For a log on a developer's machine, not for a response.
func ExampleDiagnose() {
	signature := walletcrew.Sign(exampleSecret, []byte(`{"__id":"e-1"}`))
	say := func(body string, secrets ...walletcrew.Secret) {
		for _, finding := range verifier.Diagnose([]byte(body), signature, secrets...) {
			fmt.Println("-", finding)
		}
	}
	say(`{"__id":"e-1"}`, exampleSecret)
	say(`{"__id":"e-1"}`, "the old secret", exampleSecret) // while a secret is rotated
	say(`{ "__id": "e-1" }`, exampleSecret)                // out of a framework that had decoded and encoded it
	say(`{"__id":"e-1"}`, exampleSecret+"\n")
	say(`{"__id":"e-1"}`, "another webhook's secret")
	// Output:
	// - it matches
	// - it matches secret 2 of 2
	// - the body was encoded again by something before the check (the signature is of the compact JSON): verify the bytes as they came
	// - the secret has white space around it: trim it
	// - nothing that Diagnose knows explains it. Then it is another secret: is it the signatureSecret of the webhook that sent this, as the API returns it today? Or the body isn't what was signed, changed in a way that can't be undone: verify the bytes as they came
}

// A service with a webhook for each of its customers: each has an API key of its own.
func ExampleTenants() {
	shop := walletcrewtest.NewServer(walletcrewtest.WithTenantID("shop"))
	defer shop.Close()
	museum := walletcrewtest.NewServer(walletcrewtest.WithTenantID("museum"))
	defer museum.Close()
	ctx := context.Background()
	secrets := map[string]walletcrew.Secret{}

	// At start, or when a customer connects his account. Here from a map; your database has the keys.
	sources := map[string]verifier.SecretSource{} // one FromAPI for each customer, kept: it remembers what it has listed
	for id, server := range map[string]*walletcrewtest.Server{"customer-1": shop, "customer-2": museum} {
		client := server.Client()
		w, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: "https://saas.example/hook", Events: []walletcrew.EventName{walletcrew.AllEvents}})
		if err != nil {
			log.Fatal(err)
		}
		secrets[id] = w.SignatureSecret
		sources[id] = verifier.FromAPI(client, verifier.ForEndpoint("https://saas.example/hook"))
	}
	customers := map[string]string{"shop": "customer-1", "museum": "customer-2"} // by the tenant's name at the platform

	v, err := verifier.New(verifier.Tenants(func(_ context.Context, claimed string) (verifier.Tenant, error) {
		id, ok := customers[strings.ToLower(claimed)] // a database may ignore case, too
		if !ok {
			return verifier.Tenant{}, verifier.ErrUnknownTenant // 401; any other error is 503
		}
		return verifier.Tenant{ID: id, Source: sources[id]}, nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	body := []byte(`{"__id":"e-1"}`)
	for _, claimed := range []string{"shop", "SHOP", "museum", "cinema"} {
		header := map[string]string{walletcrew.HeaderTenantID: claimed, walletcrew.HeaderSignature: walletcrew.Sign(secrets["customer-1"], body)}
		d, err := v.DeliveryFrom(ctx, func(name string) string { return header[name] }, body)
		if err != nil {
			fmt.Println(claimed, verifier.StatusCode(err))
			continue
		}
		fmt.Println(claimed, "is", d.Event.TenantID, "- key", d.Key())
	}
	// Output:
	// shop is customer-1 - key t/customer-1/e-1
	// SHOP is customer-1 - key t/customer-1/e-1
	// museum 401
	// cinema 401
}

// One query for each tenant in five minutes, however many deliveries come; a new secret is found at once.
func ExampleCached() {
	queries := 0
	query := func(_ context.Context, claimed string) (verifier.Tenant, error) { // of your database
		queries++
		if claimed != "shop" {
			return verifier.Tenant{}, verifier.ErrUnknownTenant
		}
		return verifier.Tenant{ID: "customer-1", Source: verifier.Static(exampleSecret)}, nil
	}
	v, err := verifier.New(verifier.Cached(verifier.Tenants(query), 5*time.Minute, 10_000)) // tenants at most
	if err != nil {
		log.Fatal(err)
	}
	body := []byte(`{"__id":"e-1"}`)
	for range 1000 {
		if err := v.Verify(context.Background(), "shop", body, walletcrew.Sign(exampleSecret, body)); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(queries)
	// Output: 1
}

// Only the secrets of this endpoint's webhooks: who has that of another can't sign for this one.
func ExampleForEndpoint() {
	platform := walletcrewtest.NewServer()
	defer platform.Close()
	client := platform.Client()
	ctx := context.Background()
	secrets := map[string]walletcrew.Secret{}
	for _, endpoint := range []string{"https://shop.example/hook", "https://mail.example/in"} {
		w, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: endpoint, Events: []walletcrew.EventName{walletcrew.AllEvents}})
		if err != nil {
			log.Fatal(err)
		}
		secrets[endpoint] = w.SignatureSecret
	}
	v, err := verifier.New(verifier.FromAPI(client, verifier.ForEndpoint("https://shop.example/hook")))
	if err != nil {
		log.Fatal(err)
	}
	body := []byte(`{"__id":"1"}`)
	fmt.Println("signed for this endpoint:", v.Verify(ctx, "", body, walletcrew.Sign(secrets["https://shop.example/hook"], body)))
	fmt.Println("signed for another:", v.Verify(ctx, "", body, walletcrew.Sign(secrets["https://mail.example/in"], body)))
	// Output:
	// signed for this endpoint: <nil>
	// signed for another: walletcrew: the signature does not match the body
}

// All that is known of a delivery, also of one that is refused.
func ExampleVerifier_Delivery() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, err := v.Delivery(r)
		if err != nil {
			fmt.Println("refused:", err, "- it claims to be", d.ClaimedName, "of", d.ClaimedTenant)
		} else {
			fmt.Println("accepted:", d.Event.Name, "-", len(d.Body), "bytes")
		}
		w.WriteHeader(verifier.StatusCode(err))
	})
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1","passId":"p-1001"}`)
	r := walletcrewtest.NewRequest("/webhooks/walletcrew", "a secret that isn't ours", "shop", walletcrew.EventPassInstalled, []byte(`{}`))
	h.ServeHTTP(httptest.NewRecorder(), r)
	// Output:
	// accepted: Pass:Installed - 32 bytes
	// 204 No Content
	// refused: walletcrew: the signature does not match the body - it claims to be Pass:Installed of shop
}

// In a framework that has its own request, such as fiber: copy what its buffers hold.
func ExampleVerifier_DeliveryFrom() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	body := []byte(`{"__id":"e-1","passId":"p-1001"}`)
	header := map[string]string{
		walletcrew.HeaderSignature: walletcrew.Sign(exampleSecret, body),
		walletcrew.HeaderEventName: "Pass:Installed",
		walletcrew.HeaderTenantID:  "shop",
	}
	d, err := v.DeliveryFrom(context.Background(), func(name string) string { return header[name] }, body)
	fmt.Println(verifier.StatusCode(err), d.Authentic, d.Event.ID, d.Key())
	// Output: 204 true e-1 -/e-1
}

func ExampleDeliveryFromContext() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, _ := verifier.DeliveryFromContext(r.Context())
		fmt.Println(d.Event.ID, "in the scope", d.Scope)
		record := func(string, time.Duration) {} // in your metrics
		record("read", d.Read)
		record("verify", d.Verify)
		record("decode", d.Decode)
		w.WriteHeader(http.StatusNoContent)
	}))
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1","passId":"p-1001"}`)
	// Output:
	// e-1 in the scope -
	// 204 No Content
}

// A secret from a file often ends in a line break.
func ExampleVerifier_Doubts() {
	v, err := verifier.New(verifier.Static(exampleSecret + "\n"))
	if err != nil {
		log.Fatal(err)
	}
	for _, doubt := range v.Doubts() {
		fmt.Println(doubt)
	}
	// Output: a secret begins or ends in white space, a line break or a quote: is that part of it?
}

// A Kubernetes Secret is a file, which often ends in a line break. Static takes a secret as it is: cut it where you read it.
func ExampleStatic_file() {
	file := exampleSecret + "\n" // os.ReadFile
	for _, secret := range []walletcrew.Secret{file, walletcrew.Secret(strings.TrimSpace(string(file)))} {
		v, err := verifier.New(verifier.Static(secret))
		if err != nil {
			log.Fatal(err)
		}
		h := receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error { return nil }, receiver.WithLogger(slog.New(slog.DiscardHandler)))
		deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1","passId":"p-1001"}`)
	}
	// Output:
	// 401 Unauthorized
	// 204 No Content
}

// measured counts look-ups around another source.
type measured struct {
	verifier.SecretSource
	lookUps *int
}

func (m measured) Secrets(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	*m.lookUps++
	return m.SecretSource.Secrets(ctx, tenantID)
}

// Unwrap keeps what the inner source is known for: that it can refresh, and what events are remembered by.
func (m measured) Unwrap() verifier.SecretSource { return m.SecretSource }

// A source of your own that wraps another, for metrics, says which.
func ExampleSecretSource() {
	lookUps := 0
	v, err := verifier.New(measured{verifier.Static(exampleSecret), &lookUps})
	if err != nil {
		log.Fatal(err)
	}
	body := []byte(`{"__id":"e-1"}`)
	fmt.Println(v.Verify(context.Background(), "shop", body, walletcrew.Sign(exampleSecret, body)), lookUps)
	// Output: <nil> 1
}

func ExampleDelivery_Key() {
	d := &verifier.Delivery{Scope: "t/shop", Event: &walletcrew.Event{ID: "e 1"}}
	fmt.Println(d.Key())
	// Output: t/shop/e%201
}
