// Package jetstream hands events over to workers through NATS JetStream, durably. The receiver puts each verified event into a stream, and
// answers 2xx once the stream has it. Any number of workers take the events from there, at their own speed.
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
// The functions are those of the package receiver: a function that handled deliveries over HTTP handles them here without a change. The
// package embedded, a module of its own, runs the NATS server in your process. For a server or a cluster, only the connection changes.
//
// # What is promised
//
// An event that was answered with 2xx is in the stream's file on the server, or with replicas, on a majority of the servers. It stays there
// until a worker's function returns nil or a [receiver.Discard] for it, or until it is stored among the dead letters. A full stream refuses
// new events; it drops none.
//
// Each event is handled at least once, in any order. It comes again if a worker crashes, or if the connection breaks before the
// acknowledgement is through.
//
// If the platform delivers an event twice within StreamConfig.DuplicateWindow, JetStream drops the second one, by [receiver.Key]. After
// that time it stores the event again. A work queue also does so after a restart of the server, which forgets the events that were handled.
// For an effect that must happen once, use adapters/sqldedupe in the function: the key is the same there.
//
// A stored event survives a crash of the server. It survives the loss of power only if the server synchronizes before it acknowledges
// (sync_interval: always; embedded does so by default), or if another replica has it.
//
// # Subjects
//
// An event's subject is
//
//	<prefix>.<tenant>.<Category>.<Name>    walletcrew.acme.Pass.Installed
//
// [Subject] says how other names are written. The message's headers hold the event's name, tenant, "__id" and deduplication key, see
// [HeaderEvent]. The worker takes name, tenant and key from the headers, exactly as the publisher had them.
//
// The tenant in subject and header comes from the delivery's unsigned header. You can trust it only if each tenant has its own secret. With
// verifier.Static and verifier.FromAPI, somebody who has captured a delivery can send it again under any tenant's name. So don't decide by
// the subject whose event it is.
//
// A program that may publish to the stream can write any event and any header into it. Nothing is verified again in the worker.
package jetstream
