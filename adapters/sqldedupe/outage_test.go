package sqldedupe_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

func TestAnOutageIsAnsweredWith503AndEndsByItself(t *testing.T) {
	t.Parallel()
	for _, e := range engines[:2] {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			d := e.open(t)
			counter := d.counter(t)
			address := postgresAddress()
			if d.dialect == sqldedupe.MySQL {
				address = mysqlAddress()
			}
			proxy := newProxy(t, address)
			deduper := d.deduper(t, connect(t, d.driver, strings.Replace(d.source, address, proxy.address, 1)))
			require.NoError(t, deduper.EnsureSchema(t.Context()))
			claims := newHandler(t, func(context.Context, *walletcrew.Event) error { return nil }, verifier.WithDeduper(deduper))
			once := newHandler(t, deduper.Once(sqldedupe.KeyIn("shop"), add(counter)))
			require.Equal(t, http.StatusNoContent, deliver(claims, "before"))
			require.Equal(t, http.StatusNoContent, deliver(once, "before"))

			proxy.stop()
			for i := range 10 {
				began := time.Now()
				assert.Equal(t, http.StatusServiceUnavailable, deliver(claims, fmt.Sprint("during-", i)), "while the database is away")
				assert.Equal(t, http.StatusServiceUnavailable, deliver(once, fmt.Sprint("during-", i)), "while the database is away")
				assert.Less(t, time.Since(began), 5*time.Second, "an outage must not hold deliveries")
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

// A proxy stands for a server that goes away, with all its connections, and comes back.
type proxy struct {
	target, address string

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	p := &proxy{target: target, address: "127.0.0.1:0"}
	p.start(t)
	p.address = p.listener.Addr().String()
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
			for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
				go func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = pair[0].Close()
				}()
			}
		}
	}()
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
