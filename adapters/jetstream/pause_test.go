package jetstream

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The simulation in soak/ found it: an event that was set aside, and was to be called back while there was no connection, was forgotten, and
// renewed all the same: it never came again, as long as its process lived.
func TestWhatCannotBeCalledBackNowIsCalledBackLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := func() (*Consumer, *pause, *entry) {
			c := &Consumer{ledger: newLedger(), stream: &Stream{nc: closedConnection(t)}, times: defaultTimes}
			e := &entry{reply: "$JS.ACK.event", due: time.Now().Add(c.times.lease)}
			c.ledger.events[7] = e
			return c, &pause{queue: []uint64{7}}, e
		}
		{ // as a probe
			c, p, e := began()
			d := new(delivery)
			assert.Same(t, d, c.another(t.Context(), p, d), "the probe stays the one that is there")
			assert.Equal(t, []uint64{7}, p.queue, "the event can be called back when there is a connection")
			assert.NotEmpty(t, e.reply)
		}
		{ // after the pause
			c, p, e := began()
			run, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			assert.False(t, c.recall(run, p), "nothing was called back, so the pause isn't over until Run ends")
			assert.Equal(t, []uint64{7}, p.queue, "the event can be called back when there is a connection")
			assert.NotEmpty(t, e.reply)
		}
	})
}

// closedConnection takes nothing.
func closedConnection(t *testing.T) *nats.Conn {
	nc, err := nats.Connect("nats://192.0.2.1:4222", nats.SetCustomDialer(pipeDialer{}))
	require.NoError(t, err)
	nc.Close()
	return nc
}

// A pipeDialer connects to a server that only says hello.
type pipeDialer struct{}

func (pipeDialer) Dial(string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		_, _ = server.Write([]byte("INFO {\"max_payload\":1024}\r\n"))
		for lines := bufio.NewScanner(server); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "PING") {
				_, _ = server.Write([]byte("PONG\r\n"))
			}
		}
	}()
	return client, nil
}
