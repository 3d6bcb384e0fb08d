package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// Stream, receiver and worker in one process. Events that were handed over are on disk, and wait there for the worker.
func ExampleStart() {
	if err := handOneOver(); err != nil {
		fmt.Println(err)
	}
	// Output: worker: Pass:Installed of acme, key -/1: {"__id":"1","passId":"p-1001"}
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
	v, err := verifier.New(verifier.Static("the webhook's signatureSecret"))
	if err != nil {
		return err
	}
	handler := receiver.NewHandler(v, publisher.Handle)
	for range 2 { // the platform delivers at least once: the stream keeps one
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, walletcrewtest.NewRequest("/webhooks/walletcrew", "the webhook's signatureSecret", "acme",
			walletcrew.EventPassInstalled, []byte(`{"__id":"1","passId":"p-1001"}`)))
		if w.Code != http.StatusNoContent {
			return errors.New(w.Body.String())
		}
	}

	consumer, err := jetstream.NewConsumer(ctx, stream, func(ctx context.Context, e *walletcrew.Event) error {
		fmt.Printf("worker: %s of %s, key %s: %s\n", e.Name, e.TenantID, receiver.Key(ctx), e.Raw)
		cancel() // one is enough here
		return nil
	}, jetstream.ConsumerConfig{})
	if err != nil {
		return err
	}
	return consumer.Run(ctx)
}
