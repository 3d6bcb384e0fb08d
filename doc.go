// Package walletcrew manages the webhooks of a tenant of The Wallet Crew and reads what they deliver.
//
// # Manage
//
// A [Client] calls the management API. A service that keeps its own subscription in order calls [WebhooksService.Ensure] when it
// starts:
//
//	client, err := walletcrew.NewClient("your-tenant", walletcrew.WithAPIKey(os.Getenv("WALLETCREW_API_KEY")))
//	if err != nil {
//		return err
//	}
//	result, err := client.Webhooks.Ensure(ctx, walletcrew.WebhookSpec{
//		Endpoint: "https://shop.example/webhooks/walletcrew",
//		Events:   []walletcrew.EventName{walletcrew.AllPassEvents, walletcrew.EventCustomerUpserted},
//	})
//	if err != nil {
//		return err
//	}
//	log.Println(result.Action, result.Webhook.ID) // created, updated or unchanged
//
// [WebhooksService] has the other calls, and [WebhooksService.Rotate] replaces a secret without losing a delivery.
//
// # Receive
//
// The package [github.com/thewalletcrew/walletcrew-go/receiver] turns signed deliveries into calls of your functions. It takes a Verifier
// of the package [github.com/thewalletcrew/walletcrew-go/verifier], which can also be used alone. The verifier is built on
// [VerifySignature] and [ParseEvent]. An [Event] has its payload in Data:
//
//	switch d := event.Data.(type) {
//	case *walletcrew.PassInstalled:
//		log.Println(d.PassID, "is on a phone:", d.Device.Platform)
//	case *walletcrew.CustomerUpserted:
//		log.Println("customer", string(d.Members["email"])) // JSON, with its quotes
//	case *walletcrew.UnknownEvent: // a name that this version doesn't know, or a passId that doesn't fit
//		log.Println(event.Name, event.DataErr)
//	}
//
// # Test
//
// The package [github.com/thewalletcrew/walletcrew-go/walletcrewtest] is the platform in memory.
//
// # Errors
//
// Most calls can fail with one of three errors:
//
//   - [ValidationError]: an argument was refused, and nothing was sent.
//   - [APIError]: the platform answered, but the status isn't 2xx. errors.Is tells the kinds apart: [ErrNotFound], [ErrRateLimited] and so
//     on.
//   - [RequestError]: there was no usable answer.
//
// An APIError or a RequestError is also [ErrOutcomeUnknown] (errors.Is) if the platform may have carried out the call.
//
// # What is documented
//
// The platform documents the calls, the members of a webhook, the headers, HMAC-SHA256 over the raw body and the member "__id".
// It doesn't document how the signature is spelled, the other members of a delivery, paging, or redelivery. Where this package
// relies on more, the comment says so, and the code keeps working if it is otherwise.
package walletcrew
