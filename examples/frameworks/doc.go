// Package frameworks shows a receiver under chi, gin, echo, fiber and AWS Lambda: one file each, to copy from.
//
// Where the framework is on net/http, [receiver.NewHandler] or [verifier.Verifier.Middleware] is mounted as it is. Where it
// isn't, [verifier.Verifier.DeliveryFrom] takes the body and a function that looks a header up.
//
// Where you mount a [receiver.Handler], call its Shutdown after the server's, as [Service.Serve] does.
package frameworks
