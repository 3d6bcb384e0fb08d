// Package riverinbox hands events over to workers through PostgreSQL, durably, with River (github.com/riverqueue/river). It commits a
// verified event as a River job, together with the record that the event came, in one transaction. Then the delivery is answered with 2xx.
// A worker runs the same [receiver.HandlerFunc] as a handler does.
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
// An event that was answered with 2xx has a job. It gets no second job for as long as the inbox remembers it ([WithRetention], 24 h by
// default), even if River has removed the first one. The function runs at least once. It may run again after a crash, or if River takes a
// job that still runs for stuck. To make its effect in the database exactly once, use Once of pgxdedupe or sqldedupe as the function.
//
// # What fails
//
//   - A [receiver.Discard] cancels the job.
//   - A [receiver.Temporary] error snoozes the job, which uses up no try.
//   - After any other error, or a panic, the job is tried again with River's waits. After the tries of [WithTries], the event becomes a
//     dead letter, in a table of its own from which River removes nothing: see [Inbox.DeadLetters].
package riverinbox
