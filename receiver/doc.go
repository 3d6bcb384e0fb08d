// Package receiver receives the webhooks of The Wallet Crew. It verifies each delivery with the package verifier, and calls your function
// for the event. With a [Deduper], it calls the function once for each event.
//
//	v, err := verifier.New(verifier.Static(walletcrew.Secret(os.Getenv("WALLETCREW_SECRET"))))
//	if err != nil {
//		return err
//	}
//	mux := receiver.NewMux()
//	receiver.On(mux, func(ctx context.Context, e *walletcrew.Event, d *walletcrew.PassInstalled) error {
//		return store.MarkInstalled(ctx, d.PassID, d.Device.Platform)
//	})
//	http.Handle("/webhooks/walletcrew", receiver.NewHandler(v, mux.Handle,
//		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0))))
//
// [NewHandler] verifies, decodes, leaves out duplicates ([WithDeduper]), limits the time ([WithTimeout]) and answers. [On] calls a
// function for the event of its payload type, [OnName] for any name or pattern with your own type, and [Mux.HandleFunc] with the event
// as it is.
//
// The platform waits 30 seconds for a 2xx, and delivers at least once: duplicates and any order are to be expected. A function that returns
// nil acknowledges the event. If it returns an error, the platform delivers the event again; [Discard] makes an exception.
//
// An event that the [Mux] has no function for is [Ignored]. Subscribe the webhook to [Mux.Patterns], and none will come. [Mux.Use] adds
// middleware.
//
// # At the end
//
// Call the server's Shutdown, and then [Handler.Shutdown], which waits for the functions that still run.
package receiver
