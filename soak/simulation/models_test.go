package simulation

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/thewalletcrew/walletcrew-go/adapters/redisdedupe"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A model that is kinder than the server, or harsher, would prove nothing. So the dedupers must keep the same rules on the models as on the
// real servers, where the adapters' own tests run walletcrewtest.TestDeduper.
func TestTheDedupersKeepTheirRulesOnTheModels(t *testing.T) {
	for name, make := range map[string]func(*world, *process) (receiver.Deduper, func(), error){
		"redis": func(w *world, p *process) (receiver.Deduper, func(), error) {
			s := newRedisServer(w)
			client := s.client(p)
			d, err := redisdedupe.New(client, "model")
			return d, func() { _ = client.Close(); s.lua.Close() }, err
		},
		"postgres": func(w *world, p *process) (receiver.Deduper, func(), error) {
			db := newDatabase(w).open(p)
			d, err := sqldedupe.New(db, sqldedupe.Postgres, "model")
			return d, func() { _ = db.Close() }, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(1, nil)
				w.rates = rates{}
				d, end, err := make(w, w.newProcess("test"))
				if err != nil {
					t.Fatal(err)
				}
				if err := walletcrewtest.TestDeduper(t.Context(), d); err != nil {
					t.Error(err)
				}
				close(w.over)
				end()
			})
		})
	}
}

// What transactions do to each other is the same on the model as on PostgreSQL.
func TestTransactionsDoTheSameOnTheModel(t *testing.T) {
	t.Run("model", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(1, nil)
			w.rates = rates{}
			db := newDatabase(w).open(w.newProcess("test"))
			transactions(t, db, "walletcrew_events")
			close(w.over)
			_ = db.Close()
		})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		address := os.Getenv("WALLETCREW_TEST_POSTGRES")
		if address == "" {
			address = "127.0.0.1:5432"
		}
		conn, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
				t.Fatal(err)
			}
			t.Skip("no PostgreSQL: set WALLETCREW_TEST_POSTGRES")
		}
		_ = conn.Close()
		db, err := sql.Open("pgx", "postgres://postgres@"+address+"/test?sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		table := fmt.Sprintf("simulation_%d", time.Now().UnixNano())
		d, err := sqldedupe.New(db, sqldedupe.Postgres, "x", sqldedupe.WithTable(table))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.EnsureSchema(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = db.ExecContext(context.WithoutCancel(t.Context()), "DROP TABLE "+table) }()
		transactions(t, db, table)
	})
}

// transactions is a story of transactions that want the same event.
func transactions(t *testing.T, db *sql.DB, table string) {
	ctx := t.Context()
	d, err := sqldedupe.New(db, sqldedupe.Postgres, "story", sqldedupe.WithTable(table), sqldedupe.WithRetention(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	forever, err := sqldedupe.New(db, sqldedupe.Postgres, "story", sqldedupe.WithTable(table))
	if err != nil {
		t.Fatal(err)
	}
	begin := func() *sql.Tx {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	expect := func(what string, d *sqldedupe.Deduper, tx *sql.Tx, key string, want bool) {
		t.Helper()
		if first, err := d.InTxKey(ctx, tx, key); err != nil || first != want {
			t.Errorf("%s: expected first to be %v, got %v, %v", what, want, first, err)
		}
	}
	end := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}

	one := begin()
	expect("a new event", forever, one, "a", true)
	expect("its own record, seen again", forever, one, "a", false)
	two, waited := begin(), make(chan error)
	go func() {
		first, err := forever.InTxKey(ctx, two, "a")
		if first {
			err = fmt.Errorf("it was first as well")
		}
		waited <- err
	}()
	select {
	case err := <-waited:
		t.Errorf("a transaction didn't wait for another with its key: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	end(one.Commit())
	end(<-waited)
	end(two.Rollback())

	one, two = begin(), begin()
	expect("another event", forever, one, "b", true)
	go func() {
		first, err := forever.InTxKey(ctx, two, "b")
		if !first && err == nil {
			err = fmt.Errorf("it found what was rolled back")
		}
		waited <- err
	}()
	time.Sleep(200 * time.Millisecond)
	end(one.Rollback())
	end(<-waited)
	end(two.Commit())
	three := begin()
	expect("what was committed", forever, three, "b", false)
	end(three.Rollback())

	one = begin()
	expect("an event that is remembered for 1 ms", d, one, "c", true)
	end(one.Commit())
	time.Sleep(200 * time.Millisecond)
	one = begin()
	expect("the same, when it is forgotten", d, one, "c", true)
	if n, err := d.Purge(ctx, 10); n != 0 || err != nil {
		t.Errorf("a purge doesn't pass over what another transaction has: %d, %v", n, err)
	}
	end(one.Rollback())
	if n, err := d.Purge(ctx, 10); n != 1 || err != nil {
		t.Errorf("a purge must remove 1, and removed %d, %v", n, err)
	}
}
