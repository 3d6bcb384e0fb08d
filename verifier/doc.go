// Package verifier receives the webhooks of The Wallet Crew: it checks that a delivery is the platform's, decodes it, and
// calls your function: with a [Deduper], once for each event.
//
// # In one piece
//
//	v, err := verifier.New(verifier.Static(walletcrew.Secret(os.Getenv("WALLETCREW_SECRET"))))
//	if err != nil {
//		return err
//	}
//	mux := verifier.NewMux()
//	verifier.On(mux, func(ctx context.Context, e *walletcrew.Event, d *walletcrew.PassInstalled) error {
//		return store.MarkInstalled(ctx, d.PassID, d.Device.Platform)
//	})
//	http.Handle("/webhooks/walletcrew", verifier.NewHandler(v, mux.Handle,
//		verifier.WithDeduper(verifier.NewMemoryDeduper(0, 0))))
//
// [New] refuses a missing secret at start. [NewHandler] verifies, decodes, leaves out duplicates ([WithDeduper]), limits the time
// and answers; [On] calls a function for the event of its payload type, [OnName] for any name or pattern with your own type, and
// [Mux.HandleFunc] with the event as it is.
//
// The platform waits 30 seconds for a 2xx, and delivers at least once: duplicates and any order are to be expected. A function
// that returns nil acknowledges the event; an error asks for it again, except for a [Discard].
//
// # In parts
//
// A service with its own handlers uses [Verifier.Middleware], or [Verifier.Event] within a handler; one that isn't on net/http
// uses [Verifier.EventFrom]. All three first refuse what the headers alone show to be wrong, and then check the size, the signature
// over the bytes as they came, the JSON, and the name. Nothing is decoded before the signature holds. [StatusCode] says what to answer.
//
// # Secrets
//
// [Static] holds fixed secrets, [SecretFunc] looks them up by tenant, [FromAPI] reads them from the management API. The comment
// on [Verifier] says what each of them vouches for.
//
// # The signature doesn't match
//
// [Diagnose] says why, as far as that can be proved. Most often something before the handler has read and encoded the body again.
package verifier
