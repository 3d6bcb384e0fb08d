package watermillbridge_test

import (
	"log"
	"net/http"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/thewalletcrew/walletcrew-go/adapters/watermillbridge"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// RabbitMQ. ConfirmDelivery and SubscribeInitialize make a 2xx true: without them the broker may not have the event, or may drop it.
func ExamplePublish() {
	config := amqp.NewDurableQueueConfig("amqp://user:password@host/")
	config.Publish.ConfirmDelivery = true
	publisher, err := amqp.NewPublisher(config, watermill.NewSlogLogger(nil))
	if err != nil {
		log.Fatal(err)
	}
	subscriber, err := amqp.NewSubscriber(config, watermill.NewSlogLogger(nil))
	if err != nil {
		log.Fatal(err)
	}
	if err := subscriber.SubscribeInitialize("walletcrew.events"); err != nil { // makes the queue
		log.Fatal(err)
	}
	publish, err := watermillbridge.Publish(publisher, "walletcrew.events")
	if err != nil {
		log.Fatal(err)
	}
	v, err := verifier.New(verifier.Static("the webhook's signatureSecret"))
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("POST /webhooks/walletcrew", receiver.NewHandler(v, publish))
}

func ExampleWorker() {
	var (
		router     *message.Router
		subscriber message.Subscriber
	)
	mux := receiver.NewMux() // the functions, as behind a handler
	router.AddConsumerHandler("installs", "walletcrew.events", subscriber, watermillbridge.Worker(mux.Handle))
}
