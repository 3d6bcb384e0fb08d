package embedded_test

import (
	"context"
	"fmt"
	"os"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
)

// Stream, receiver and worker in one process. Events that were handed over are on disk, and wait there for the worker.
func ExampleStart() {
	if err := handOneOver(); err != nil {
		fmt.Println(err)
	}
	// Output: worker: Pass:Installed of acme: {"__id":"1","passId":"p-1001"}
}

func handOneOver() error {
	dir, err := os.MkdirTemp("", "walletcrew")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	server, err := embedded.Start(ctx, embedded.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer server.Close()
	nc, err := server.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	stream, err := jetstream.EnsureStream(ctx, nc, jetstream.StreamConfig{})
	if err != nil {
		return err
	}

	publisher, err := jetstream.NewPublisher(ctx, stream)
	if err != nil {
		return err
	}
	e, err := walletcrew.ParseEvent("Pass:Installed", []byte(`{"__id":"1","passId":"p-1001"}`)) // the verifier does this
	if err != nil {
		return err
	}
	e.TenantID = "acme"
	if err := publisher.Handle(ctx, e); err != nil { // as a receiver.HandlerFunc
		return err
	}

	consumer, err := jetstream.NewConsumer(ctx, stream, func(_ context.Context, e *walletcrew.Event) error {
		fmt.Printf("worker: %s of %s: %s\n", e.Name, e.TenantID, e.Raw)
		cancel() // one is enough here
		return nil
	}, jetstream.ConsumerConfig{})
	if err != nil {
		return err
	}
	return consumer.Run(ctx)
}
