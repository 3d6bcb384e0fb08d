// Package riverinbox is a durable hand-over in PostgreSQL, on River (github.com/riverqueue/river): a verified event, the record that it
// came, and the River job for it are committed in one transaction, and then the delivery is answered with 2xx. A worker runs the same
// [receiver.HandlerFunc] as behind a handler.
//
//	inbox, err := riverinbox.New(pool, "orders") // the name of what the worker does with the events
//	if err != nil {
//		return err
//	}
//	if err := inbox.EnsureSchema(ctx); err != nil {
//		return err
//	}
//	http.Handle("POST /webhooks/walletcrew", receiver.NewHandler(v, inbox.Handle))
//
// And in the worker, which may be the same process:
//
//	config := &river.Config{Workers: river.NewWorkers()}
//	if err := inbox.AddWorker(config, mux.Handle); err != nil {
//		return err
//	}
//	client, err := river.NewClient(riverpgxv5.New(pool), config)
//	if err != nil {
//		return err
//	}
//	err = client.Start(ctx)
//
// # What it guarantees
//
// An event that was answered with 2xx has a job, and an event has one job for as long as the inbox remembers it ([WithRetention], 24 h by
// default), also when River has cleaned the job up. The function runs at least once: River runs a job again after a crash, and rescues one
// that seems stuck though it still runs. Let the function be pgxdedupe's or sqldedupe's Once: then its effect in the database is made
// exactly once.
//
// # What fails
//
// A [receiver.Discard] cancels the job. A [receiver.Temporary] error snoozes it, which uses up no try. Any other error, and a panic,
// is tried again with River's waits; after [WithTries] the event becomes a dead letter, in a table of its own that River doesn't clean
// up: see [Inbox.DeadLetters].
package riverinbox
