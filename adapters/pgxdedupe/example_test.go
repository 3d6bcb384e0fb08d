package pgxdedupe_test

import (
	"context"
	"log"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/pgxdedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// The effect and the record that it was made are committed together.
func ExampleDeduper_Once() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://user:password@host/database")
	if err != nil {
		log.Fatal(err)
	}
	dedupe, err := pgxdedupe.New(pool, "orders")
	if err != nil {
		log.Fatal(err)
	}
	if err := dedupe.EnsureSchema(ctx); err != nil {
		log.Fatal(err)
	}
	handle := dedupe.Once(func(ctx context.Context, tx pgx.Tx, e *walletcrew.Event) error {
		_, err := tx.Exec(ctx, "INSERT INTO installs (tenant, event) VALUES ($1, $2)", e.TenantID, e.ID)
		return err
	})
	v, err := verifier.New(verifier.Static("the webhook's signatureSecret"))
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("POST /webhooks/walletcrew", receiver.NewHandler(v, handle))
}
