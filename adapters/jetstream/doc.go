// Package jetstream is the durable hand-over: the receiver puts each verified event into a NATS JetStream stream and answers 2xx
// once the stream has it; workers take the events from there, as many and as fast as they can.
//
// The receiver:
//
//	stream, err := jetstream.EnsureStream(ctx, nc, jetstream.StreamConfig{})
//	...
//	publisher, err := jetstream.NewPublisher(ctx, stream)
//	...
//	http.Handle("/webhooks/walletcrew", receiver.NewHandler(v, publisher.Handle))
//
// The worker, in the same process or in another:
//
//	consumer, err := jetstream.NewConsumer(ctx, stream, mux.Handle, jetstream.ConsumerConfig{})
//	...
//	err = consumer.Run(ctx) // until ctx ends
//
// The functions are those of the package receiver: a function that handled deliveries over HTTP handles them here without a change.
// The package embedded, in a folder and module of its own, runs the NATS server in your process; a cluster is another URL.
//
// # What is promised
//
// An event that was answered with 2xx is in the stream's file on the server, or on a majority of the servers where the stream has
// replicas, and stays there until a worker's function has returned nil or a [receiver.Discard] for it, or it is stored among the
// dead letters. A full stream refuses; it drops nothing. Each event is handled at least once: a worker that crashes, and a
// connection that breaks before the acknowledgement is through, make it come again, and the order isn't kept. Within
// [StreamConfig].DuplicateWindow JetStream drops what the platform delivers twice, by [receiver.Key]. After that time the same event is
// stored again, and on a work queue also after a restart of the server, which forgets what was handled. For an effect that must happen
// once, use adapters/sqldedupe in the function: the key is the same there.
//
// A file that was written survives the server's crash. It survives the loss of power only when the server synchronizes before it
// acknowledges (sync_interval: always; embedded does so by default) or when another replica has it.
//
// # Subjects
//
// An event's subject is
//
//	<prefix>.<tenant>.<Category>.<Name>    walletcrew.acme.Pass.Installed
//
// [Subject] says how other names are written. The headers Walletcrew-Event, Walletcrew-Tenant, Walletcrew-Id and Walletcrew-Key hold the
// event's name, tenant, "__id" and deduplication key. The worker has name, tenant and key from there, exactly as the publisher had them.
//
// The tenant in subject and header is the one that the delivery claims. Only a verifier with a secret for each tenant vouches for it: with
// verifier.Static and verifier.FromAPI, a sender who has captured a delivery can send it again under any tenant's name. Don't decide by
// the subject whose event it is.
//
// A program that may publish to the stream can write any event and any header into it. Nothing is verified again in the worker.
package jetstream
