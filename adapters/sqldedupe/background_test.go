package sqldedupe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
)

// expired puts 10 to the power of digits rows into the table that expired an hour ago.
func (d *database) expired(t testing.TB, digits int) (rows int) {
	t.Helper()
	key, then := "'expired-' || %s", "now() - interval '1 hour'"
	switch d.dialect {
	case sqldedupe.MySQL:
		key, then = "concat('expired-', %s)", "UTC_TIMESTAMP(3) - INTERVAL 1 HOUR"
	case sqldedupe.SQLite:
		then = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - 3600000"
	}
	var number, from []string
	rows = 1
	for i := range digits {
		number = append(number, fmt.Sprintf("%d*t%d.n", rows, i))
		from = append(from, fmt.Sprintf("(SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4"+
			" UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9) t%d", i))
		rows *= 10
	}
	d.exec(t, "INSERT INTO "+d.table+" SELECT "+fmt.Sprintf(key, "("+strings.Join(number, "+")+")")+", 1, true, "+then+" FROM "+strings.Join(from, ", "))
	return rows
}

// A gate lets no purge through until it is opened.
type gate struct {
	*database
	open    chan struct{}
	waiting chan struct{} // closed by the first
	once    sync.Once
}

func (g *gate) Driver() driver.Driver { return g.db.Driver() }

func (g *gate) Connect(context.Context) (driver.Conn, error) {
	conn, err := g.Driver().Open(g.source)
	return &gatedConn{conn, g}, err
}

type gatedConn struct {
	driver.Conn
	gate *gate
}

func (c *gatedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

func (c *gatedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if strings.HasPrefix(query, "DELETE") && strings.Contains(query, "LIMIT") {
		c.gate.once.Do(func() { close(c.gate.waiting) })
		<-c.gate.open // whatever the context says
	}
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

// SQLite has one writer at a time, so there all wait for a slice.
func TestNoDeliveryWaitsForAPurge(t *testing.T) {
	t.Parallel()
	for _, e := range engines[:3] {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			d := e.open(t)
			d.ready(t)
			rows := d.expired(t, 2)
			gate := &gate{database: d, open: make(chan struct{}), waiting: make(chan struct{})}
			db := sql.OpenDB(gate)
			t.Cleanup(func() { _ = db.Close() })
			deduper := d.deduper(t, db)
			handle := deduper.Once(func(context.Context, *sql.Tx, *walletcrew.Event) error { return nil })
			deliver := func(key string) {
				if claim, err := deduper.Claim(t.Context(), key, time.Minute); assert.NoError(t, err) {
					assert.NoError(t, deduper.Complete(t.Context(), key, claim.Token))
				}
			}

			deliver("first")
			select {
			case <-gate.waiting:
			case <-time.After(patience):
				assert.Fail(t, "no purge was begun")
			}
			delivered := make(chan struct{})
			go func() {
				defer close(delivered)
				var wg sync.WaitGroup
				for i := range 8 {
					wg.Go(func() {
						for j := range 10 {
							deliver(fmt.Sprintf("new-%d-%d", i, j))
							assert.NoError(t, call(t.Context(), handle, fmt.Sprintf("new-%d-%d", i, j)))
						}
					})
				}
				wg.Wait()
			}()
			select {
			case <-delivered:
			case <-time.After(4 * patience):
				assert.Fail(t, "deliveries wait for the purge")
			}
			close(gate.open)
			<-delivered
			for i := 0; d.count(t, "SELECT COUNT(*) FROM "+d.table+" WHERE event_key LIKE 'expired-%'") == rows; i++ {
				deliver(fmt.Sprint("after-", i))
			}
		})
	}
}

// Also with one connection, which a purge must not want while something that it waits for has it.
func TestTheTableShrinksFasterThanItGrows(t *testing.T) {
	for _, connections := range []int{1, 4} {
		t.Run(fmt.Sprint(connections, " connections"), func(t *testing.T) {
			onEachEngine(t, func(t *testing.T, d *database) {
				deduper := d.ready(t)
				rows := d.expired(t, 4)
				d.db.SetMaxOpenConns(connections)
				handle := deduper.Once(func(context.Context, *sql.Tx, *walletcrew.Event) error { return nil })
				events := 0
				for d.count(t, "SELECT COUNT(*) FROM "+d.table+" WHERE event_key LIKE 'expired-%'") > 0 {
					require.Less(t, events, rows/3, "events that came while the table had rows to be removed")
					var wg sync.WaitGroup
					for i := range 4 {
						wg.Go(func() {
							for j := range 10 {
								key := fmt.Sprintf("new-%d-%d-%d", events, i, j)
								if claim, err := deduper.Claim(t.Context(), key, time.Minute); assert.NoError(t, err) {
									assert.NoError(t, deduper.Complete(t.Context(), key, claim.Token))
								}
								assert.NoError(t, call(t.Context(), handle, key))
							}
						})
					}
					wg.Wait()
					events += 80
				}
			})
		})
	}
}

func TestAfterTheDatabaseIsClosedNoGoroutineIsLeft(t *testing.T) {
	onEachEngine(t, func(t *testing.T, d *database) {
		d.ready(t)
		d.expired(t, 4)
		db := d.connect(t)
		deduper := d.deduper(t, db)
		require.NoError(t, deduper.Complete(t.Context(), "key", claimed(t, deduper, "key", time.Minute).Token))
		require.NoError(t, db.Close())
		deduper.StopPurging() // waits for the statement that runs
	})
}
