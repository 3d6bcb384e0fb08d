package sqldedupe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A counter is a driver.Connector that counts the statements of its connections.
type counter struct {
	driver     driver.Driver
	source     string
	statements atomic.Int64
}

func (c *counter) Driver() driver.Driver { return c.driver }

func (c *counter) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.source)
	return &countedConn{conn, c}, err
}

type countedConn struct {
	driver.Conn
	*counter
}

func (c *countedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

func (c *countedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
	c.count(err)
	return result, err
}

func (c *countedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
	c.count(err)
	return rows, err
}

// PrepareContext is called where the driver can't do it in one step (MySQL without interpolateParams).
func (c *countedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.count(nil)
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *countedConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *countedConn) count(err error) {
	if err != driver.ErrSkip { //nolint:errorlint // it is then prepared
		c.statements.Add(1)
	}
}

func TestADeliveryTakesTwoOrThreeStatements(t *testing.T) {
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			d := e.open(t)
			d.ready(t)
			counter := &counter{driver: d.db.Driver(), source: d.source}
			db := sql.OpenDB(counter)
			t.Cleanup(func() { _ = db.Close() })
			deduper := d.deduper(t, db)
			deduper.StopPurging()

			claim, err := deduper.Claim(t.Context(), "key", time.Minute)
			require.NoError(t, err)
			require.NoError(t, deduper.Complete(t.Context(), "key", claim.Token))
			want := int64(2)
			if e.dialect == sqldedupe.MySQL {
				want = 3
			}
			assert.Equal(t, want, counter.statements.Swap(0), "a delivery that is handled")

			claim, err = deduper.Claim(t.Context(), "key", time.Minute)
			require.NoError(t, err)
			require.Equal(t, receiver.Done, claim.State)
			assert.EqualValues(t, 2, counter.statements.Load(), "a duplicate")
		})
	}
}
