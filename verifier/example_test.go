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

// A receiver in one piece: verified, decoded, each event once.
func Example() {
	v, err := verifier.New(verifier.Static(exampleSecret)) // of the environment, in a real one
	if err != nil {
		log.Fatal(err)
	}
	mux := verifier.NewMux()
	verifier.On(mux, func(_ context.Context, _ *walletcrew.Event, d *walletcrew.PassInstalled) error {
		fmt.Println("installed:", d.PassID, "on", d.Device.Platform)
		return nil
	})
	h := verifier.NewHandler(v, mux.Handle, verifier.WithDeduper(verifier.NewMemoryDeduper(0, 0)))

	body := `{"__id":"e-1","passId":"p-1001","device":"apple"}`
	deliver(h, walletcrew.EventPassInstalled, body)
	deliver(h, walletcrew.EventPassInstalled, body) // the same once more: acknowledged, but not handled again
	// Output:
	// installed: p-1001 on apple
	// 204 No Content
	// 204 No Content
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
	h := verifier.NewHandler(v, func(context.Context, *walletcrew.Event) error { return nil },
		verifier.WithLogger(slog.New(slog.DiscardHandler)))
	deliver(h, walletcrew.EventPassUpdated, `{"__id":"e-1","passId":"`+strings.Repeat("p", 64<<10)+`"}`)
	// Output: 413 Request Entity Too Large
}

func ExampleNewHandler() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := verifier.NewHandler(v, func(_ context.Context, e *walletcrew.Event) error {
		switch d := e.Data.(type) {
		case *walletcrew.PassInstalled:
			fmt.Println("installed:", d.PassID)
		case *walletcrew.PassUninstalled:
			return errors.New("the database is down") // 500: the platform shall deliver it again
		default:
			fmt.Println("not for us:", e.Name)
		}
		return nil
	}, verifier.WithTimeout(20*time.Second), verifier.WithLogger(slog.New(slog.DiscardHandler)))

	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1","passId":"p-1001"}`)
	deliver(h, walletcrew.EventPassUninstalled, `{"__id":"e-2","passId":"p-1001"}`)
	deliver(h, "Wallet:Renamed", `{"__id":"e-3"}`)
	// Output:
	// installed: p-1001
	// 204 No Content
	// 500 Internal Server Error
	// not for us: Wallet:Renamed
	// 204 No Content
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

// Its Handle is what NewHandler takes.
func ExampleNewMux() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	mux := verifier.NewMux()
	mux.HandleFunc(walletcrew.AllPassEvents, func(_ context.Context, e *walletcrew.Event) error {
		fmt.Println(e.Name)
		return nil
	})
	h := verifier.NewHandler(v, mux.Handle)
	deliver(h, walletcrew.EventPassUpdated, `{"__id":"e-1"}`)
	deliver(h, walletcrew.EventCustomerUpserted, `{"__id":"e-2"}`) // nobody's: acknowledged
	// Output:
	// Pass:Updated
	// 204 No Content
	// 204 No Content
}

func ExampleMux() {
	mux := verifier.NewMux()
	mux.HandleFunc("Pass:Installed", func(context.Context, *walletcrew.Event) error {
		fmt.Println("installed")
		return nil
	})
	mux.HandleFunc(walletcrew.AllPassEvents, func(_ context.Context, e *walletcrew.Event) error {
		fmt.Println("some other pass event:", e.Name)
		return nil
	})
	for _, name := range []walletcrew.EventName{"Pass:Installed", "pass.installed", "Pass:Updated", "Customer:Upserted"} {
		err := mux.Handle(context.Background(), &walletcrew.Event{Name: name})
		if err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// installed
	// installed
	// some other pass event: Pass:Updated
}

// An event that doesn't fit the type goes to the next pattern.
func ExampleOn() {
	mux := verifier.NewMux()
	verifier.On(mux, func(_ context.Context, _ *walletcrew.Event, d *walletcrew.PassInstalled) error {
		fmt.Println("installed:", d.PassID)
		return nil
	})
	mux.HandleFunc(walletcrew.AllEvents, func(_ context.Context, e *walletcrew.Event) error {
		fmt.Println("kept for later:", e.Name, string(e.Raw))
		return nil
	})
	for _, body := range []string{`{"passId":"p-1001"}`, `{"passId":[1,2]}`} {
		e, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, []byte(body))
		if err != nil {
			log.Fatal(err)
		}
		_ = mux.Handle(context.Background(), e)
	}
	// Output:
	// installed: p-1001
	// kept for later: Pass:Installed {"passId":[1,2]}
}

// No member of a customer event is documented; your own type holds those that your tenant's events carry.
func ExampleOnName() {
	type customer struct {
		ID    string `json:"customerId"`
		Email string `json:"email"`
	}
	mux := verifier.NewMux()
	verifier.OnName(mux, walletcrew.EventCustomerUpserted, func(_ context.Context, e *walletcrew.Event, c *customer) error {
		fmt.Println(e.Name, c.ID, c.Email)
		return nil
	})
	e, err := walletcrew.ParseEvent("Customer:Upserted", []byte(`{"__id":"e-1","customerId":"C-42","email":"ada@shop.example"}`))
	if err != nil {
		log.Fatal(err)
	}
	if err := mux.Handle(context.Background(), e); err != nil {
		fmt.Println(err)
	}
	// Output: Customer:Upserted C-42 ada@shop.example
}

// What can never be handled is discarded, so that it doesn't come again and again.
func ExampleDiscard() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := verifier.NewHandler(v, func(_ context.Context, e *walletcrew.Event) error {
		return verifier.Discard(fmt.Errorf("no customer for %s", e.ID))
	}, verifier.WithLogger(slog.New(slog.DiscardHandler))) // which would say what was discarded
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	// Output: 204 No Content
}

// For those who call a HandlerFunc themselves, such as a worker behind a queue.
func ExampleIsDiscard() {
	handle := func(_ context.Context, e *walletcrew.Event) error {
		return verifier.Discard(fmt.Errorf("no customer for %s", e.ID))
	}
	err := handle(context.Background(), &walletcrew.Event{ID: "e-1"})
	fmt.Println(verifier.IsDiscard(err), err)
	// Output: true discarded: no customer for e-1
}

func ExampleIsTemporary() {
	handle := func(context.Context, *walletcrew.Event) error {
		return verifier.Temporary(errors.New("the database can't be reached"))
	}
	err := handle(context.Background(), &walletcrew.Event{ID: "e-1"})
	fmt.Println(verifier.IsTemporary(err), err)
	// Output: true the database can't be reached
}

// What passes by itself is asked for again, as is every error; but the answer says that it isn't a fault of the function.
func ExampleTemporary() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := verifier.NewHandler(v, func(context.Context, *walletcrew.Event) error {
		return verifier.Temporary(errors.New("the database can't be reached"))
	}, verifier.WithLogger(slog.New(slog.DiscardHandler)))
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	// Output: 503 Service Unavailable
}

// The same event twice: the function runs once, and both are acknowledged.
func ExampleWithDeduper() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := verifier.NewHandler(v, func(_ context.Context, e *walletcrew.Event) error {
		fmt.Println("handled", e.ID)
		return nil
	}, verifier.WithDeduper(verifier.NewMemoryDeduper(0, 0))) // for replicas: adapters/redisdedupe, adapters/sqldedupe
	for range 2 {
		deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	}
	// Output:
	// handled e-1
	// 204 No Content
	// 204 No Content
}

// brokenDeduper is one whose server is away.
type brokenDeduper struct{ verifier.Deduper }

func (brokenDeduper) Claim(context.Context, string, time.Duration) (verifier.Claim, error) {
	return verifier.Claim{}, errors.New("the server is away")
}

// While the deduper is away, a delivery is refused, or handled, perhaps a second time.
func ExampleContinueWithoutDeduper() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	handle := func(_ context.Context, e *walletcrew.Event) error {
		fmt.Println("handled", e.ID)
		return nil
	}
	quiet := verifier.WithLogger(slog.New(slog.DiscardHandler))
	strict := verifier.NewHandler(v, handle, verifier.WithDeduper(brokenDeduper{}), quiet)
	lenient := verifier.NewHandler(v, handle, verifier.WithDeduper(brokenDeduper{}), verifier.ContinueWithoutDeduper(), quiet)
	deliver(strict, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	deliver(lenient, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	// Output:
	// 503 Service Unavailable
	// handled e-1
	// 204 No Content
}

// A function that takes too long is answered for; its context has ended.
func ExampleWithTimeout() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := verifier.NewHandler(v, func(ctx context.Context, _ *walletcrew.Event) error {
		<-ctx.Done() // as a database driver does that is given ctx
		return ctx.Err()
	}, verifier.WithTimeout(10*time.Millisecond), verifier.WithLogger(slog.New(slog.DiscardHandler)))
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	// Output: 503 Service Unavailable
}

// What is refused, fails or is discarded is logged, without body, signature or secret.
func ExampleWithLogger() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	h := verifier.NewHandler(v, func(context.Context, *walletcrew.Event) error {
		return verifier.Discard(errors.New("no customer"))
	}, verifier.WithLogger(logger))
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	// Output:
	// level=WARN msg="verifier: the function discarded the event" event=Pass:Installed id=e-1 tenant=shop error="discarded: no customer"
	// 204 No Content
}

// One Outcome for each delivery: a counter by result and event, a histogram of the function's time.
func ExampleWithObserver() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := verifier.NewHandler(v, func(context.Context, *walletcrew.Event) error { return nil },
		verifier.WithLogger(slog.New(slog.DiscardHandler)),
		verifier.WithObserver(func(_ context.Context, out verifier.Outcome) {
			name := "unknown"
			if out.Event != nil { // nil for what was refused
				name = string(out.Event.Name)
			}
			fmt.Printf("deliveries{result=%q, event=%q, status=%d} bytes=%d\n", out.Result, name, out.Status, out.Bytes)
		}))
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	deliver(h, walletcrew.EventPassInstalled, `not JSON`)
	// Output:
	// deliveries{result="handled", event="Pass:Installed", status=204} bytes=14
	// 204 No Content
	// deliveries{result="refused", event="unknown", status=400} bytes=8
	// 400 Bad Request
}

// NewHandler does this for you; it is what a Deduper of your own must do.
func ExampleNewMemoryDeduper() {
	ctx, d := context.Background(), verifier.NewMemoryDeduper(0, 0)
	first, _ := d.Claim(ctx, "e-1", time.Minute)
	second, _ := d.Claim(ctx, "e-1", time.Minute)
	fmt.Println(first.State, second.State)

	_ = d.Release(ctx, "e-1", first.Token) // handling it failed
	third, _ := d.Claim(ctx, "e-1", time.Minute)
	fmt.Println(third.State)

	fmt.Println(errors.Is(d.Complete(ctx, "e-1", first.Token), verifier.ErrLeaseLost))
	_ = d.Complete(ctx, "e-1", third.Token)
	fourth, _ := d.Claim(ctx, "e-1", time.Minute)
	fmt.Println(fourth.State)
	// Output:
	// claimed held
	// claimed
	// true
	// done
}

// Why doesn't the signature match? For a log on a developer's machine, not for a response.
func ExampleDiagnose() {
	signature := walletcrew.Sign(exampleSecret, []byte(`{"__id":"e-1"}`))
	asItCame := []byte(`{ "__id": "e-1" }`) // out of a framework that had decoded and encoded it
	for _, finding := range verifier.Diagnose(asItCame, signature, exampleSecret) {
		fmt.Println(finding)
	}
	for _, finding := range verifier.Diagnose([]byte(`{"__id":"e-1"}`), signature, exampleSecret+"\n") {
		fmt.Println(finding)
	}
	// Output:
	// the body was encoded again by something before the check (the signature is of the compact JSON): verify the bytes as they came
	// the secret has white space around it: trim it
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
