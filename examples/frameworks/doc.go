// Package frameworks shows a receiver under chi, gin, echo, fiber and AWS Lambda: one file each, to copy from.
//
// Where the framework is on net/http, [receiver.NewHandler] or [verifier.Verifier.Middleware] is mounted as it is. Where it
// isn't, [verifier.Verifier.EventFrom] takes the body and a function that looks a header up.
package frameworks
