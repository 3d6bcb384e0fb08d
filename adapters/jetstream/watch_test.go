package jetstream

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// A connection may close between NewPublisher's look at the server and its watch.
func TestAConnectionThatWasClosedBeforeIsNotWatchedForEver(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect("nats://192.0.2.1:4222", nats.RetryOnFailedConnect(true), nats.Timeout(time.Millisecond), nats.SetCustomDialer(noDialer{}))
	require.NoError(t, err)
	nc.Close()
	watchOf(nc)
	require.Eventually(t, func() bool { _, found := watches.Load(nc); return !found }, time.Minute, time.Millisecond)
}

type noDialer struct{}

func (noDialer) Dial(string, string) (net.Conn, error) { return nil, context.Canceled }
