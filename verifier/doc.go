// Package verifier decides whether a delivery is The Wallet Crew's, and what it says. The package receiver does something with it:
// most services use both.
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
// All of them first refuse what the headers alone show to be wrong. Then they check the size, the signature over the bytes as they
// came, the JSON, and the name. Nothing is decoded before the signature holds. [StatusCode] says what to answer.
//
// # Secrets
//
// [Static] holds fixed secrets, [SecretFunc] looks them up by tenant, [FromAPI] reads them from the management API. [Tenants] is for a
// service with many tenants, each with a source of its own, and [Cached] saves it look-ups. The comment on [Verifier] says what each of
// them vouches for.
//
// # The signature doesn't match
//
// [Diagnose] says why, or what is left if nothing explains it. Most often something before the handler has read and encoded the body again.
package verifier
