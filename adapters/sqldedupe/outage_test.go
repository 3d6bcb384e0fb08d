package sqldedupe_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/internal/freeport"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

func TestAnOutageIsAnsweredWith503AndEndsByItself(t *testing.T) {
	t.Parallel()
	for _, e := range engines[:2] {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			d, deduper, proxy := behindProxy(t, e)
			counter := d.counter(t)
			claims := newHandler(t, func(context.Context, *walletcrew.Event) error { return nil }, receiver.WithDeduper(deduper))
			once := newHandler(t, deduper.Once(add(counter)))
			require.Equal(t, http.StatusNoContent, deliver(claims, "before"))
			require.Equal(t, http.StatusNoContent, deliver(once, "before"))

			proxy.stop()
			for i := range 10 {
				began := time.Now()
				assert.Equal(t, http.StatusServiceUnavailable, deliver(claims, fmt.Sprint("during-", i)), "while the database is away")
				assert.Equal(t, http.StatusServiceUnavailable, deliver(once, fmt.Sprint("during-", i)), "while the database is away")
				assert.Less(t, time.Since(began), 15*time.Second, "an outage must not hold deliveries for the 25 s that the function has")
			}
			require.ErrorContains(t, deduper.Check(t.Context()), "can't be reached")

			proxy.start(t)
			for _, id := range []string{"before", "during-0", "during-0"} {
				assert.Equal(t, http.StatusNoContent, deliver(claims, id), "it recovers by itself")
				assert.Equal(t, http.StatusNoContent, deliver(once, id), "it recovers by itself")
			}
			assert.Equal(t, 2, d.count(t, "SELECT n FROM "+counter))
		})
	}
}

func TestALeaseWhoseAnswerWasLostIsGivenBack(t *testing.T) {
	t.Parallel()
	for _, e := range engines[:2] {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			_, deduper, proxy := behindProxy(t, e)
			var runs sync.Map
			run := func(_ context.Context, e *walletcrew.Event) error { runs.Store(e.ID, true); return nil }
			hasty := newHandler(t, run, receiver.WithDeduper(longLease{deduper}), receiver.WithTimeout(time.Second))
			patient := newHandler(t, run, receiver.WithDeduper(deduper))
			require.Equal(t, http.StatusNoContent, deliver(patient, "before"))

			proxy.mute.Store(true)
			require.Equal(t, http.StatusServiceUnavailable, deliver(hasty, "during"))
			_, ran := runs.Load("during")
			require.False(t, ran)
			proxy.stop()
			proxy.mute.Store(false)
			proxy.start(t)
			require.Eventually(t, func() bool { // new events each: a second may be too little for one, whose lease is then held
				return deliver(hasty, rand.Text()) == http.StatusNoContent
			}, patience, 50*time.Millisecond, "it recovers by itself")
			assert.Eventually(t, func() bool { return deliver(patient, "during") == http.StatusNoContent }, patience, 50*time.Millisecond,
				"the database took a lease for a claim that had been given up: it must not hold the event for the hour of the lease")
			_, ran = runs.Load("during")
			assert.True(t, ran)
		})
	}
}

// A longLease lets a lease last for longer than the test, whatever the handler asks for.
type longLease struct{ receiver.Deduper }

func (l longLease) Claim(ctx context.Context, key string, _ time.Duration) (receiver.Claim, error) {
	return l.Deduper.Claim(ctx, key, time.Hour)
}

// Galera and Group Replication answer so to any statement that meets a transaction of another node, also to one that only reads: here
// to the second of a Claim, whose first has taken the lease.
func TestAClaimThatIsTriedAgainKnowsItsOwnLease(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.MySQL)
	d.ready(t)
	db, left := d.aborting(t, "FOR UPDATE", 1, &mysql.MySQLError{Number: 1213, Message: "Deadlock found when trying to get lock; try restarting transaction"})
	deduper := d.deduper(t, db)
	claim := claimed(t, deduper, "key", time.Minute)
	assert.Negative(t, left.Load(), "a statement was meant to be aborted, and tried again")
	require.NoError(t, deduper.Complete(t.Context(), "key", claim.Token))
}

// aborting opens the database once more, so that a statement with this text is an error so many times.
func (d *database) aborting(t *testing.T, text string, times int64, err error) (db *sql.DB, left *atomic.Int64) {
	t.Helper()
	c := &abortingConnector{database: d, text: text, err: err}
	c.left.Store(times)
	db = sql.OpenDB(c)
	t.Cleanup(func() { _ = db.Close() })
	return db, &c.left
}

type abortingConnector struct {
	database *database
	text     string
	err      error
	left     atomic.Int64
}

func (c *abortingConnector) Driver() driver.Driver { return c.database.db.Driver() }

func (c *abortingConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.Driver().Open(c.database.source)
	return &abortingConn{conn, c}, err
}

type abortingConn struct {
	driver.Conn
	connector *abortingConnector
}

func (c *abortingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if strings.Contains(query, c.connector.text) && c.connector.left.Add(-1) >= 0 {
		return nil, c.connector.err
	}
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func behindProxy(t *testing.T, e engine) (*database, *sqldedupe.Deduper, *proxy) {
	t.Helper()
	d := e.open(t)
	address := postgresAddress()
	if d.dialect == sqldedupe.MySQL {
		address = mysqlAddress()
	}
	proxy := newProxy(t, address)
	deduper := d.deduper(t, connect(t, d.driver, strings.Replace(d.source, address, proxy.address, 1)))
	require.NoError(t, deduper.EnsureSchema(t.Context()))
	return d, deduper, proxy
}

// A proxy stands for a server that goes away, with all its connections, and comes back; or whose answers are lost.
type proxy struct {
	target, address string
	mute            atomic.Bool

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	address, err := freeport.Address()
	require.NoError(t, err)
	p := &proxy{target: target, address: address}
	p.start(t)
	t.Cleanup(p.stop)
	return p
}

func (p *proxy) start(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", p.address)
	require.NoError(t, err)
	p.listener = listener
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", p.target)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			go func() {
				_, _ = io.Copy(server, client)
				_ = server.Close()
			}()
			go func() {
				_, _ = io.Copy(&answers{client, p}, server)
				_ = client.Close()
			}()
		}
	}()
}

type answers struct {
	client net.Conn
	proxy  *proxy
}

func (a *answers) Write(b []byte) (int, error) {
	if a.proxy.mute.Load() {
		return len(b), nil
	}
	return a.client.Write(b)
}

func (p *proxy) stop() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.conns = nil
}
