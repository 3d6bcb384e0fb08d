// Package verifier decides whether a delivery comes from The Wallet Crew, and decodes its event. The package receiver handles the event.
// Most services use both.
//
//	v, err := verifier.New(verifier.Static(walletcrew.Secret(os.Getenv("WALLETCREW_SECRET"))))
//	if err != nil {
//		return err
//	}
//
// [New] refuses a missing secret at start. What comes next depends on the service:
//
//   - receiver.NewHandler is an http.Handler that deduplicates, limits the time, answers, and calls your function.
//   - [Verifier.Middleware] verifies in front of a handler of yours.
//   - [Verifier.Event] verifies within a handler of yours. [Verifier.Delivery] does the same, and says more.
//   - [Verifier.EventFrom] and [Verifier.DeliveryFrom] serve what isn't net/http: fiber, a Lambda function.
//
// All of them first look at the headers, and refuse a delivery that can't be right. Then they check the size, the signature over the bytes
// as they came, the JSON, and the name. Nothing is decoded before the signature holds. [StatusCode] turns an error into the
// status to answer with.
//
// # Secrets
//
// [Static] holds fixed secrets, [SecretFunc] looks them up by tenant, [FromAPI] reads them from the management API. [Tenants] is for a
// service with many tenants, each with a source of its own. [Cached] saves look-ups. The comment on [Verifier] says how far you can trust
// the tenant with each of them.
//
// # The signature doesn't match
//
// Most often, something in front of the handler has decoded the body and encoded it again. [Diagnose] finds the reason, or says what
// remains to be checked.
package verifier
