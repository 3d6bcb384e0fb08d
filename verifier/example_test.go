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
