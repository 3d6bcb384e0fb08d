package main

import (
	"context"
	"log"
	"net"
	"os"
	"sync"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// demo shows the way of a few events, with everything in this process. The worker starts late, and misses nothing.
func demo(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	dir, err := os.MkdirTemp("", "walletcrew-durable")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
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

	platform := walletcrewtest.NewServer()
	defer platform.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	webhook, err := platform.Client().Webhooks.Create(ctx, walletcrew.WebhookSpec{
		Endpoint: "http://" + listener.Addr().String() + "/webhooks/walletcrew",
		Events:   []walletcrew.EventName{walletcrew.AllEvents},
	})
	if err != nil {
		return err
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	defer end()
	failed := make(chan error, 2)
	parts.Go(func() { failed <- receive(ctx, stream, verifier.Static(webhook.SignatureSecret), listener) })

	deliver := func(name walletcrew.EventName, body string) error {
		deliveries, err := platform.Deliver(ctx, name, []byte(body))
		for _, d := range deliveries {
			log.Printf("platform: %s (%s): answered %d", name, d.EventID, d.StatusCode)
			if err == nil {
				err = d.Err
			}
		}
		return err
	}
	for _, e := range []struct {
		name walletcrew.EventName
		body string
	}{
		{walletcrew.EventPassInstalled, `{"__id":"e-1","passId":"p-1001","device":"apple"}`},
		{walletcrew.EventPassInstalled, `{"__id":"e-2","passId":"p-1002","device":"google"}`},
		{walletcrew.EventPassInstalled, `{"__id":"e-1","passId":"p-1001","device":"apple"}`}, // delivered twice: the stream keeps one
		{walletcrew.EventCustomerUpserted, `{"__id":"e-3","email":"a@b.example"}`},
		{walletcrew.EventPassInstalled, `{"__id":"e-4","device":"apple"}`}, // can't be handled
	} {
		if err := deliver(e.name, e.body); err != nil {
			return err
		}
	}

	outcomes := make(chan jetstream.Outcome, 10)
	parts.Go(func() {
		failed <- worker(ctx, stream, func(_ context.Context, o jetstream.Outcome) { outcomes <- o })
	})
	counts := map[jetstream.Result]int{}
	for range 4 {
		select {
		case o := <-outcomes:
			counts[o.Result]++
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
	log.Printf("done: %d handled, %d discarded, of 5 deliveries of 4 events", counts[jetstream.Handled], counts[jetstream.Discarded])
	return nil
}
