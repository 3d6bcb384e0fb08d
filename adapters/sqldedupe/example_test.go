package sqldedupe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// keyed is the context that a handler calls its function with. Yours comes from receiver.NewHandler.
func keyed(id string) context.Context { return receiver.WithKey(context.Background(), "t/shop/"+id) }

// openExample returns a database in a folder of its own. Yours is one that is there: sql.Open("pgx", "postgres://...").
func openExample() (db *sql.DB, remove func(), err error) {
	folder, err := os.MkdirTemp("", "sqldedupe")
	if err != nil {
		return nil, nil, err
	}
	db, err = sql.Open("sqlite", "file:"+filepath.Join(folder, "events.db")+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	return db, func() { _ = db.Close(); _ = os.RemoveAll(folder) }, err
}

// The event comes three times; its effect is made once.
func ExampleDeduper_Once() {
	ctx := context.Background()
	db, remove, err := openExample()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer remove()
	if _, err := db.ExecContext(ctx, "CREATE TABLE installs (pass TEXT PRIMARY KEY, n INTEGER)"); err != nil {
		fmt.Println(err)
		return
	}
	dedupe, err := sqldedupe.New(db, sqldedupe.SQLite, "orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := dedupe.EnsureSchema(ctx); err != nil {
		fmt.Println(err)
		return
	}

	handle := dedupe.Once(func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
		d, ok := e.Data.(*walletcrew.PassInstalled)
		if !ok {
			return nil
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO installs VALUES (?, 1) ON CONFLICT (pass) DO UPDATE SET n = n + 1", d.PassID)
		return err
	})
	// Yours: http.Handle("/webhooks/walletcrew", receiver.NewHandler(v, handle))

	event, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, []byte(`{"__id":"e-1","passId":"p-1001"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		if err := handle(keyed(event.ID), event); err != nil {
			fmt.Println(err)
		}
	}
	var n int
	err = db.QueryRowContext(ctx, "SELECT n FROM installs WHERE pass = 'p-1001'").Scan(&n)
	fmt.Println(n, err)
	// Output: 1 <nil>
}

// Functions with a type, each with the transaction: a Mux for each event. To make one takes microseconds, where a transaction takes a
// hundred at least.
func ExampleDeduper_Once_mux() {
	ctx := context.Background()
	db, remove, err := openExample()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer remove()
	if _, err := db.ExecContext(ctx, "CREATE TABLE passes (id TEXT PRIMARY KEY, installed BOOLEAN)"); err != nil {
		fmt.Println(err)
		return
	}
	dedupe, err := sqldedupe.New(db, sqldedupe.SQLite, "orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := dedupe.EnsureSchema(ctx); err != nil {
		fmt.Println(err)
		return
	}

	routes := func(tx *sql.Tx) *receiver.Mux {
		mux := receiver.NewMux()
		receiver.On(mux, func(ctx context.Context, _ *walletcrew.Event, d *walletcrew.PassCreated) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO passes VALUES (?, FALSE)", d.PassID)
			return err
		})
		receiver.On(mux, func(ctx context.Context, _ *walletcrew.Event, d *walletcrew.PassInstalled) error {
			_, err := tx.ExecContext(ctx, "UPDATE passes SET installed = TRUE WHERE id = ?", d.PassID)
			return err
		})
		return mux
	}
	handle := dedupe.Once(func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
		return routes(tx).Handle(ctx, e)
	})

	for _, delivery := range []struct {
		name walletcrew.EventName
		body string
	}{
		{walletcrew.EventPassCreated, `{"__id":"e-1","passId":"p-1001"}`},
		{walletcrew.EventPassCreated, `{"__id":"e-1","passId":"p-1001"}`}, // again
		{walletcrew.EventPassInstalled, `{"__id":"e-2","passId":"p-1001"}`},
	} {
		event, err := walletcrew.ParseEvent(delivery.name, []byte(delivery.body))
		if err == nil {
			err = handle(keyed(event.ID), event)
		}
		if err != nil {
			fmt.Println(err)
		}
	}
	var passes, installed int
	err = db.QueryRowContext(ctx, "SELECT count(*), sum(installed) FROM passes").Scan(&passes, &installed)
	fmt.Println(passes, installed, err)
	// Output: 1 1 <nil>
}

// In a transaction that you begin and commit yourself.
func ExampleDeduper_InTx() {
	ctx := context.Background()
	db, remove, err := openExample()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer remove()
	dedupe, err := sqldedupe.New(db, sqldedupe.SQLite, "orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := dedupe.EnsureSchema(ctx); err != nil {
		fmt.Println(err)
		return
	}

	handle := func(ctx context.Context, e *walletcrew.Event) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		first, err := dedupe.InTx(ctx, tx)
		if err != nil || !first {
			return err
		}
		fmt.Println("the effect of", e.ID)
		return tx.Commit()
	}
	for range 2 {
		if err := handle(keyed("e-1"), &walletcrew.Event{ID: "e-1", TenantID: "shop"}); err != nil {
			fmt.Println(err)
		}
	}
	// Output: the effect of e-1
}

// An event with two effects that are made in two transactions, each once.
func ExampleDeduper_InTxKey() {
	ctx := context.Background()
	db, remove, err := openExample()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer remove()
	dedupe, err := sqldedupe.New(db, sqldedupe.SQLite, "orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := dedupe.EnsureSchema(ctx); err != nil {
		fmt.Println(err)
		return
	}

	once := func(ctx context.Context, effect string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		first, err := dedupe.InTxKey(ctx, tx, receiver.Key(ctx)+"/"+effect)
		if err != nil || !first {
			return err
		}
		fmt.Println(effect)
		return tx.Commit()
	}
	for range 2 {
		for _, effect := range []string{"invoice", "points"} {
			if err := once(keyed("e-1"), effect); err != nil {
				fmt.Println(err)
			}
		}
	}
	// Output:
	// invoice
	// points
}

// The effect is elsewhere, say a mail: replicas share the table, and one of them runs the function.
func ExampleNew() {
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		slog.Error("database", "error", err)
		return
	}
	dedupe, err := sqldedupe.New(db, sqldedupe.Postgres, "orders", sqldedupe.WithRetention(7*24*time.Hour))
	if err != nil {
		slog.Error("deduper", "error", err)
		return
	}
	if err := dedupe.EnsureSchema(context.Background()); err != nil {
		slog.Error("deduper", "error", err) // says what is wrong, and what to do
		return
	}
	v, err := verifier.New(verifier.Static(walletcrew.Secret(os.Getenv("WALLETCREW_SECRET"))))
	if err != nil {
		slog.Error("verifier", "error", err)
		return
	}
	mux := receiver.NewMux()
	http.Handle("/webhooks/walletcrew", receiver.NewHandler(v, mux.Handle, receiver.WithDeduper(dedupe)))
}

// MySQL and MariaDB.
func ExampleNew_mySQL() {
	db, err := sql.Open("mysql", "user:password@tcp(host)/database?interpolateParams=true")
	if err != nil {
		slog.Error("database", "error", err)
		return
	}
	dedupe, err := sqldedupe.New(db, sqldedupe.MySQL, "orders")
	if err != nil {
		slog.Error("deduper", "error", err)
		return
	}
	if err := dedupe.EnsureSchema(context.Background()); err != nil {
		slog.Error("deduper", "error", err)
		return
	}
	v, err := verifier.New(verifier.Static(walletcrew.Secret(os.Getenv("WALLETCREW_SECRET"))))
	if err != nil {
		slog.Error("verifier", "error", err)
		return
	}
	http.Handle("/webhooks/walletcrew", receiver.NewHandler(v, dedupe.Once(func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO installs (tenant, event) VALUES (?, ?)", e.TenantID, e.ID)
		return err
	})))
}

// For programs that may not create tables: the statements are the files in schema, and Check says whether the table is right.
func ExampleDeduper_Check() {
	ctx := context.Background()
	db, remove, err := openExample()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer remove()
	dedupe, err := sqldedupe.New(db, sqldedupe.SQLite, "orders", sqldedupe.WithTable("shop_events"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(errors.Is(dedupe.Check(ctx), sqldedupe.ErrSchema))
	fmt.Println(dedupe.EnsureSchema(ctx), dedupe.Check(ctx))
	// Output:
	// true
	// <nil> <nil>
}

// If you use InTx alone, and neither Once nor a handler with the deduper, remove expired rows once in a while.
func ExampleDeduper_Purge() {
	ctx := context.Background()
	db, remove, err := openExample()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer remove()
	dedupe, err := sqldedupe.New(db, sqldedupe.SQLite, "orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := dedupe.EnsureSchema(ctx); err != nil {
		fmt.Println(err)
		return
	}
	n, err := dedupe.Purge(ctx, 1000)
	fmt.Println(n, err)
	// Output: 0 <nil>
}
