// Package walletcrew manages the webhooks of a The Wallet Crew tenant and reads what they deliver.
//
// # Manage
//
// A [Client] calls the management API. A service that keeps its own subscription in order calls Ensure when it starts:
//
//	client, err := walletcrew.NewClientFromEnv()
//	if err != nil {
//		return err
//	}
//	result, err := client.Webhooks.Ensure(ctx, walletcrew.WebhookSpec{
//		Endpoint: "https://shop.example/webhooks/walletcrew",
//		Events:   []walletcrew.EventName{walletcrew.AllPassEvents, walletcrew.EventCustomerUpserted},
//	})
//
// # Receive
//
// The package verifier turns signed deliveries into calls of your functions; a service that only receives imports only that.
// [VerifySignature] and [ParseEvent] are the two steps that it is made of.
//
// # Errors
//
// [ValidationError]: an argument was refused, nothing was sent. [APIError]: the platform answered, but not with a success; tell
// the kinds apart with errors.Is and [ErrNotFound], [ErrRateLimited] and so on. [RequestError]: there was no usable answer. Both
// are [ErrOutcomeUnknown] where the platform may have carried the call out all the same.
//
// # What is documented
//
// The platform documents the calls, the members of a webhook, the headers, HMAC-SHA256 over the raw body and the member "__id".
// It doesn't document how the signature is spelled, the other members of a delivery, paging, or redelivery. Where this package
// relies on more, the comment says so, and the code keeps working if it is otherwise.
package walletcrew
