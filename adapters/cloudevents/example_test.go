package cloudevents_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	ce "github.com/cloudevents/sdk-go/v2"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/cloudevents"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func Example() {
	e, _ := walletcrew.ParseEvent(walletcrew.EventPassInstalled, []byte(`{"__id":"e-1","passId":"p-1"}`))
	e.TenantID = "shop"

	out, err := cloudevents.To(context.Background(), e)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(out.Type(), out.Source(), out.ID())

	_, back, err := cloudevents.From(context.Background(), out)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(back.Name, back.TenantID, back.ID)
	// Output:
	// io.thewalletcrew.pass.installed /walletcrew/tenants/shop e-1
	// Pass:Installed shop e-1
}

// A receiver in front of a Knative broker: 2xx once the broker has the event, 503 otherwise. Knative sets K_SINK to the broker's URL.
func ExampleTo() {
	broker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("broker:", r.Header.Get("Ce-Type"), r.Header.Get("Ce-Source"))
		w.WriteHeader(http.StatusAccepted)
	}))
	defer broker.Close()
	client, err := ce.NewClientHTTP(ce.WithTarget(broker.URL)) // os.Getenv("K_SINK")
	if err != nil {
		fmt.Println(err)
		return
	}
	publish := func(ctx context.Context, e *walletcrew.Event) error {
		out, err := cloudevents.To(ctx, e)
		if err != nil {
			return err
		}
		if result := client.Send(ctx, out); !ce.IsACK(result) {
			return receiver.Temporary(result)
		}
		return nil
	}
	v, err := verifier.New(verifier.Static("secret"))
	if err != nil {
		fmt.Println(err)
		return
	}
	h := receiver.NewHandler(v, publish) // http.Handle("POST /webhooks/walletcrew", h)

	w := httptest.NewRecorder()
	h.ServeHTTP(w, walletcrewtest.NewRequest("/", "secret", "shop", walletcrew.EventPassInstalled, []byte(`{"__id":"e-1"}`)))
	fmt.Println(w.Code)
	// Output:
	// broker: io.thewalletcrew.pass.installed /walletcrew/tenants/shop
	// 204
}
