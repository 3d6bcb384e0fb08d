package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
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

// A receiver in one piece: verified, decoded, each event once.
func Example() {
	v, err := verifier.New(verifier.Static(exampleSecret)) // of the environment, in a real one
	if err != nil {
		log.Fatal(err)
	}
	mux := receiver.NewMux()
	receiver.On(mux, func(_ context.Context, _ *walletcrew.Event, d *walletcrew.PassInstalled) error {
		fmt.Println("installed:", d.PassID, "on", d.Device.Platform)
		return nil
	})
	h := receiver.NewHandler(v, mux.Handle, receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)))

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
	h := receiver.NewHandler(v, func(_ context.Context, e *walletcrew.Event) error {
		switch d := e.Data.(type) {
		case *walletcrew.PassInstalled:
			fmt.Println("installed:", d.PassID)
		case *walletcrew.PassUninstalled:
			return errors.New("the database is down") // 500: the platform shall deliver it again
		default:
			fmt.Println("not for us:", e.Name)
		}
		return nil
	}, receiver.WithTimeout(20*time.Second), receiver.WithLogger(slog.New(slog.DiscardHandler)))

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

// Its Handle is what NewHandler takes.
func ExampleNewMux() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	mux := receiver.NewMux()
	mux.HandleFunc(walletcrew.AllPassEvents, func(_ context.Context, e *walletcrew.Event) error {
		fmt.Println(e.Name)
		return nil
	})
	h := receiver.NewHandler(v, mux.Handle, receiver.WithLogger(slog.New(slog.DiscardHandler)))
	deliver(h, walletcrew.EventPassUpdated, `{"__id":"e-1"}`)
	deliver(h, walletcrew.EventCustomerUpserted, `{"__id":"e-2"}`) // nobody's: acknowledged, and logged
	// Output:
	// Pass:Updated
	// 204 No Content
	// 204 No Content
}

func ExampleMux() {
	mux := receiver.NewMux()
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
			fmt.Println(err) // ErrIgnored: NewHandler answers 204
		}
	}
	// Output:
	// installed
	// installed
	// some other pass event: Pass:Updated
	// receiver: the Mux has no function for the event
}

// The code says what it handles, and the webhook subscribes to that.
func ExampleMux_Patterns() {
	handle := func(context.Context, *walletcrew.Event) error { return nil }
	mux := receiver.NewMux()
	mux.HandleFunc(walletcrew.AllCustomerEvents, handle)
	mux.HandleNames(handle, walletcrew.EventPassInstalled, walletcrew.EventPassUninstalled)
	spec := walletcrew.WebhookSpec{Endpoint: "https://shop.example/webhooks/walletcrew", Events: mux.Patterns()}
	fmt.Println(spec.Events)
	// Output: [Customer:* Pass:Installed Pass:Uninstalled]
}

// One function for several events.
func ExampleMux_HandleNames() {
	mux := receiver.NewMux()
	mux.HandleNames(func(_ context.Context, e *walletcrew.Event) error {
		fmt.Println("count devices again:", e.Name)
		return nil
	}, walletcrew.EventPassInstalled, walletcrew.EventPassUninstalled)
	_ = mux.Handle(context.Background(), &walletcrew.Event{Name: walletcrew.EventPassUninstalled})
	// Output: count devices again: Pass:Uninstalled
}

// What all functions have in common.
func ExampleMux_Use() {
	mux := receiver.NewMux()
	mux.Use(func(next receiver.HandlerFunc) receiver.HandlerFunc {
		return func(ctx context.Context, e *walletcrew.Event) error {
			err := next(ctx, e)
			if err != nil && !receiver.IsIgnored(err) {
				err = fmt.Errorf("%s: %w", e.Name, err)
			}
			fmt.Println("ended:", err)
			return err
		}
	})
	mux.HandleFunc(walletcrew.AllPassEvents, func(context.Context, *walletcrew.Event) error { return errors.New("disk full") })
	_ = mux.Handle(context.Background(), &walletcrew.Event{Name: walletcrew.EventPassUpdated})
	// Output: ended: Pass:Updated: disk full
}

func ExampleIsIgnored() {
	err := receiver.NewMux().Handle(context.Background(), &walletcrew.Event{Name: walletcrew.EventPassUpdated})
	fmt.Println(receiver.IsIgnored(err), receiver.IsIgnored(errors.Join(err, errors.New("disk full"))))
	// Output: true false
}

// An event that doesn't fit the type goes to the next pattern.
func ExampleOn() {
	mux := receiver.NewMux()
	receiver.On(mux, func(_ context.Context, _ *walletcrew.Event, d *walletcrew.PassInstalled) error {
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
	mux := receiver.NewMux()
	receiver.OnName(mux, walletcrew.EventCustomerUpserted, func(_ context.Context, e *walletcrew.Event, c *customer) error {
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
	h := receiver.NewHandler(v, func(_ context.Context, e *walletcrew.Event) error {
		return receiver.Discard(fmt.Errorf("no customer for %s", e.ID))
	}, receiver.WithLogger(slog.New(slog.DiscardHandler))) // which would say what was discarded
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	// Output: 204 No Content
}

// For those who call a HandlerFunc themselves, such as a worker behind a queue.
func ExampleIsDiscard() {
	handle := func(_ context.Context, e *walletcrew.Event) error {
		return receiver.Discard(fmt.Errorf("no customer for %s", e.ID))
	}
	err := handle(context.Background(), &walletcrew.Event{ID: "e-1"})
	fmt.Println(receiver.IsDiscard(err), err)
	// Output: true discarded: no customer for e-1
}

func ExampleIsTemporary() {
	handle := func(context.Context, *walletcrew.Event) error {
		return receiver.Temporary(errors.New("the database can't be reached"))
	}
	err := handle(context.Background(), &walletcrew.Event{ID: "e-1"})
	fmt.Println(receiver.IsTemporary(err), err)
	// Output: true the database can't be reached
}

// What passes by itself is asked for again, as is every error; but the answer says that it isn't a fault of the function.
func ExampleTemporary() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error {
		return receiver.Temporary(errors.New("the database can't be reached"))
	}, receiver.WithLogger(slog.New(slog.DiscardHandler)))
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	// Output: 503 Service Unavailable
}

// The same event twice: the function runs once, and both are acknowledged.
func ExampleWithDeduper() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := receiver.NewHandler(v, func(_ context.Context, e *walletcrew.Event) error {
		fmt.Println("handled", e.ID)
		return nil
	}, receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0))) // for replicas: adapters/redisdedupe, adapters/sqldedupe
	for range 2 {
		deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	}
	// Output:
	// handled e-1
	// 204 No Content
	// 204 No Content
}

// brokenDeduper is one whose server is away.
type brokenDeduper struct{ receiver.Deduper }

func (brokenDeduper) Claim(context.Context, string, time.Duration) (receiver.Claim, error) {
	return receiver.Claim{}, errors.New("the server is away")
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
	quiet := receiver.WithLogger(slog.New(slog.DiscardHandler))
	strict := receiver.NewHandler(v, handle, receiver.WithDeduper(brokenDeduper{}), quiet)
	lenient := receiver.NewHandler(v, handle, receiver.WithDeduper(brokenDeduper{}), receiver.ContinueWithoutDeduper(), quiet)
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
	h := receiver.NewHandler(v, func(ctx context.Context, _ *walletcrew.Event) error {
		<-ctx.Done() // as a database driver does that is given ctx
		return ctx.Err()
	}, receiver.WithTimeout(10*time.Millisecond), receiver.WithLogger(slog.New(slog.DiscardHandler)))
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
	h := receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error {
		return receiver.Discard(errors.New("no customer"))
	}, receiver.WithLogger(logger))
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	// Output:
	// level=WARN msg="receiver: the function discarded the event" remote=192.0.2.1:1234 event=Pass:Installed id=e-1 tenant=shop error="discarded: no customer"
	// 204 No Content
}

// One Outcome for each delivery: a counter by reason and event, a histogram of the function's time.
func ExampleWithObserver() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error { return nil },
		receiver.WithLogger(slog.New(slog.DiscardHandler)),
		receiver.WithObserver(func(_ context.Context, out receiver.Outcome) {
			fmt.Printf("deliveries{result=%q, reason=%q, event=%q} bytes=%d\n", out.Result, out.Reason, out.Label, out.Bytes)
		}))
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1"}`)
	deliver(h, "Wallet:Renamed", `not JSON`)
	// Output:
	// deliveries{result="handled", reason="", event="Pass:Installed"} bytes=14
	// 204 No Content
	// deliveries{result="refused", reason="invalid_payload", event="other"} bytes=8
	// 400 Bad Request
}

// NewHandler does this for you; it is what a Deduper of your own must do.
func ExampleNewMemoryDeduper() {
	ctx, d := context.Background(), receiver.NewMemoryDeduper(0, 0)
	first, _ := d.Claim(ctx, "e-1", time.Minute)
	second, _ := d.Claim(ctx, "e-1", time.Minute)
	fmt.Println(first.State, second.State)

	_ = d.Release(ctx, "e-1", first.Token) // handling it failed
	third, _ := d.Claim(ctx, "e-1", time.Minute)
	fmt.Println(third.State)

	fmt.Println(errors.Is(d.Complete(ctx, "e-1", first.Token), receiver.ErrLeaseLost))
	_ = d.Complete(ctx, "e-1", third.Token)
	fourth, _ := d.Claim(ctx, "e-1", time.Minute)
	fmt.Println(fourth.State)
	// Output:
	// claimed held
	// claimed
	// true
	// done
}

// At the end of a program: first the server, which takes no new deliveries, then the handler, which waits for what still runs.
func ExampleHandler_Shutdown() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error { return nil }, receiver.WithLogger(slog.New(slog.DiscardHandler)))
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		log.Print(err)
	}
	if err := h.Shutdown(ctx); err != nil {
		log.Print(err)
	}
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1","passId":"p-1001"}`) // too late: it is delivered again
	// Output: 503 Service Unavailable
}

// The key that an event is deduplicated by, for a table or a queue of your own.
func ExampleKey() {
	v, err := verifier.New(verifier.Static(exampleSecret))
	if err != nil {
		log.Fatal(err)
	}
	h := receiver.NewHandler(v, func(ctx context.Context, _ *walletcrew.Event) error {
		fmt.Println(receiver.Key(ctx))
		return nil
	})
	deliver(h, walletcrew.EventPassInstalled, `{"__id":"e-1","passId":"p-1001"}`)
	// Output:
	// -/e-1
	// 204 No Content
}

// A worker of your own passes the key on that came with the event.
func ExampleWithKey() {
	ctx := receiver.WithKey(context.Background(), "-/e-1")
	fmt.Println(receiver.Key(ctx))
	// Output: -/e-1
}
