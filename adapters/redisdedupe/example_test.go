package redisdedupe_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/redisdedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// A receiver that runs as several replicas: an event runs on one of them.
func Example() {
	client := redis.NewClient(&redis.Options{
		Addr:                  os.Getenv("REDIS_ADDR"),
		ContextTimeoutEnabled: true, // a delivery waits no longer than it may
		DialTimeout:           time.Second,
		ReadTimeout:           time.Second,
		MaxRetries:            1,
		DialerRetries:         1,
	})
	deduper, err := redisdedupe.New(client, "orders", redisdedupe.WithRetention(72*time.Hour))
	if err != nil {
		slog.Error("deduper", "error", err)
		return
	}
	if err := deduper.Check(context.Background()); errors.Is(err, redisdedupe.ErrEviction) {
		slog.Warn("duplicates may get through", "error", err)
	} else if err != nil {
		slog.Error("deduper", "error", err)
		return
	}
	v, err := verifier.New(verifier.Static(walletcrew.Secret(os.Getenv("WALLETCREW_SECRET"))))
	if err != nil {
		slog.Error("verifier", "error", err)
		return
	}
	mux := receiver.NewMux()
	http.Handle("/webhooks/walletcrew", receiver.NewHandler(v, mux.Handle, receiver.WithDeduper(deduper)))
}

// The steps that receiver.NewHandler takes, for a program that has its own.
func ExampleDeduper() {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: redisAddress()})
	defer func() { _ = client.Close() }()
	deduper, err := redisdedupe.New(client, "orders", redisdedupe.WithPrefix("walletcrew-test:example:"))
	if err != nil {
		fmt.Println(err)
		return
	}

	claim, err := deduper.Claim(ctx, "event-1", 35*time.Second)
	if err != nil {
		return // nothing is known about the event: answer 503
	}
	switch claim.State {
	case receiver.Done: // answer 204
	case receiver.Held: // answer 503
	case receiver.Claimed:
		// Handle the event, and then:
		if err := deduper.Complete(ctx, "event-1", claim.Token); err != nil {
			slog.Error("handled, but not marked as done", "error", err)
		}
	}
}

// Two receivers that do different things need two names. New asks nothing of the server; Check says at start what would go wrong later.
func ExampleNew() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1}) // where nobody listens
	defer func() { _ = client.Close() }()
	orders, err := redisdedupe.New(client, "orders")
	fmt.Println(err)
	fmt.Println(orders.Check(context.Background()) != nil)
	_, err = redisdedupe.New(client, "two words")
	fmt.Println(err)
	// Output:
	// <nil>
	// true
	// redisdedupe: the name "two words": a name has 1 to 64 ASCII letters, digits, '-', '_' and '.'
}

// Another prefix than that of a program on the same server.
func ExampleWithPrefix() {
	client := redis.NewClient(&redis.Options{Addr: redisAddress()})
	defer func() { _ = client.Close() }()
	_, err := redisdedupe.New(client, "orders", redisdedupe.WithPrefix("wc:shop:"))
	fmt.Println(err)
	// Output: <nil>
}

// A week, since the platform doesn't say for how long it may deliver an event again.
func ExampleWithRetention() {
	client := redis.NewClient(&redis.Options{Addr: redisAddress()})
	defer func() { _ = client.Close() }()
	_, err := redisdedupe.New(client, "orders", redisdedupe.WithRetention(7*24*time.Hour))
	fmt.Println(err)
	// Output: <nil>
}

// Check warns there of a server that forgets at its restart.
func ExampleWithLogger() {
	client := redis.NewClient(&redis.Options{Addr: redisAddress()})
	defer func() { _ = client.Close() }()
	_, err := redisdedupe.New(client, "orders", redisdedupe.WithLogger(slog.New(slog.DiscardHandler)))
	fmt.Println(err)
	// Output: <nil>
}
