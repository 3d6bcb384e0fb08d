package riverinbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/thewalletcrew/walletcrew-go/adapters/riverinbox"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// Receiver and worker in one process. The events survive it.
func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://user:password@host/database")
	if err != nil {
		log.Fatal(err)
	}

	v, err := verifier.New(verifier.Static("the webhook's signatureSecret"))
	if err != nil {
		log.Fatal(err)
	}
	inbox, err := riverinbox.New(pool, "orders")
	if err != nil {
		log.Fatal(err)
	}
	if err := inbox.EnsureSchema(ctx); err != nil { // after River's migrations
		log.Fatal(err)
	}
	mux := receiver.NewMux() // your functions
	config := &river.Config{Workers: river.NewWorkers()}
	if err := inbox.AddWorker(config, mux.Handle); err != nil {
		log.Fatal(err)
	}
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	if err != nil {
		log.Fatal(err)
	}
	if err := client.Start(ctx); err != nil {
		log.Fatal(err)
	}
	http.Handle("POST /webhooks/walletcrew", receiver.NewHandler(v, inbox.Handle))
}

// With database/sql, for a receiver that only hands over: the worker is another process.
func ExampleNewSQL() {
	db, err := sql.Open("pgx", "postgres://user:password@host/database")
	if err != nil {
		log.Fatal(err)
	}
	inbox, err := riverinbox.NewSQL(db, "orders")
	if err != nil {
		log.Fatal(err)
	}
	if err := inbox.Check(context.Background()); err != nil { // what the worker's EnsureSchema has made
		log.Fatal(err)
	}
	v, err := verifier.New(verifier.Static("the webhook's signatureSecret"))
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("POST /webhooks/walletcrew", receiver.NewHandler(v, inbox.Handle))
}

// What failed for good waits for you.
func ExampleInbox_DeadLetters() {
	var inbox *riverinbox.Inbox
	ctx := context.Background()
	for d, err := range inbox.DeadLetters(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(d.ID, d.DiedAt, d.Reason)
		if err := d.Redrive(ctx); err != nil {
			log.Fatal(err)
		}
	}
}
