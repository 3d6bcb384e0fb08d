package cloudevents_test

import (
	"context"
	"fmt"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/cloudevents"
)

func Example() {
	e, _ := walletcrew.ParseEvent(walletcrew.EventPassInstalled, []byte(`{"__id":"e-1","passId":"p-1"}`))
	e.TenantID = "shop"

	ce, err := cloudevents.To(context.Background(), e)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ce.Type(), ce.Source(), ce.ID())

	_, back, err := cloudevents.From(context.Background(), ce)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(back.Name, back.TenantID, back.ID)
	// Output:
	// io.thewalletcrew.pass.installed /walletcrew/tenants/shop e-1
	// Pass:Installed shop e-1
}
