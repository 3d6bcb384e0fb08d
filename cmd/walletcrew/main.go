// Walletcrew is the command for The Wallet Crew's webhooks. It needs no account: the platform is in it.
//
//	walletcrew dev --forward-to http://localhost:8080/webhooks   # the platform in memory, and its deliveries in the browser
//	walletcrew trigger Pass:Installed                            # an event, signed and sent
//	walletcrew check http://localhost:8080/webhooks              # is this a good receiver?
//
// All of it is in docs/cli.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
