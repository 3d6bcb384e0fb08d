package jetstream_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

func ExampleSubject() {
	fmt.Println(jetstream.Subject("acme", "Pass:Installed"))
	fmt.Println(jetstream.Subject("acme shop", "Pass:v2.Scanned"))
	fmt.Println(jetstream.Subject("", "Ping"))
	// Output:
	// acme.Pass.Installed
	// acme%20shop.Pass.v2%2EScanned
	// ~.~.Ping
}

func ExampleParseSubject() {
	tenant, name, ok := jetstream.ParseSubject("acme%20shop.Pass.v2%2EScanned")
	fmt.Println(tenant, name, ok)
	// Output: acme shop Pass:v2.Scanned true
}

// A stream on a cluster of three servers, in which an event is on at least two before it is acknowledged.
func ExampleEnsureStream() {
	ctx := context.Background()
	nc, err := jetstream.Connect("nats://n1:4222,nats://n2:4222,nats://n3:4222")
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	stream, err := jetstream.EnsureStream(ctx, nc, jetstream.StreamConfig{Replicas: 3, MaxBytes: 10 << 30})
	if err != nil {
		log.Fatal(err)
	}
	_ = stream
}

// The receiver: what it answers with 2xx is in the stream.
func ExamplePublisher_Handle() {
	ctx := context.Background()
	nc, err := jetstream.Connect("nats://127.0.0.1:4222")
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	stream, err := jetstream.OpenStream(ctx, nc, jetstream.StreamConfig{})
	if err != nil {
		log.Fatal(err)
	}
	publisher, err := jetstream.NewPublisher(ctx, stream)
	if err != nil {
		log.Fatal(err)
	}
	v, err := verifier.New(verifier.Static(walletcrew.Secret(os.Getenv("WALLETCREW_SECRET"))))
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/webhooks/walletcrew", receiver.NewHandler(v, publisher.Handle))
	log.Fatal(http.ListenAndServe(":8080", nil))
}

// The worker: it ends with SIGTERM, once the functions that run have ended.
func ExampleConsumer_Run() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	nc, err := jetstream.Connect("nats://127.0.0.1:4222")
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	stream, err := jetstream.OpenStream(ctx, nc, jetstream.StreamConfig{})
	if err != nil {
		log.Fatal(err)
	}
	mux := receiver.NewMux()
	receiver.On(mux, func(_ context.Context, _ *walletcrew.Event, d *walletcrew.PassInstalled) error {
		log.Println("installed:", d.PassID)
		return nil
	})
	mux.HandleFunc(walletcrew.AllEvents, func(_ context.Context, e *walletcrew.Event) error {
		return e.DataErr // nil for an event that no other function is for: acknowledged
	})
	consumer, err := jetstream.NewConsumer(ctx, stream, mux.Handle, jetstream.ConsumerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	if err := consumer.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

// After the bug is repaired, the events it killed are put back.
func ExampleStream_DeadLetters() {
	ctx := context.Background()
	nc, err := jetstream.Connect("nats://127.0.0.1:4222")
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	stream, err := jetstream.OpenStream(ctx, nc, jetstream.StreamConfig{})
	if err != nil {
		log.Fatal(err)
	}
	for dead, err := range stream.DeadLetters(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(dead.Subject, dead.Tries, dead.Reason)
		if err := dead.Redrive(ctx); err != nil {
			log.Fatal(err)
		}
	}
}
