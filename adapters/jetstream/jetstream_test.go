package jetstream_test

import (
	"bufio"
	"io"
	"net"
	"net/url"
	"os"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/internal/suite"
)

// TestOnTheInstalledServer needs a NATS server with JetStream: WALLETCREW_TEST_NATS.
func TestOnTheInstalledServer(t *testing.T) {
	address := testServer(t)
	suite.Run(t, func(t *testing.T) *nats.Conn {
		nc, err := jetstream.Connect(address, nats.Timeout(suite.Patience))
		require.NoError(t, err)
		return nc
	})
}

// A backend that is away holds up only its own events, however many wait for it.
func TestABacklogOf100000HoldsUpOnlyItself(t *testing.T) {
	address := testServer(t)
	nc, err := jetstream.Connect(address, nats.Timeout(suite.Patience))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	n := 100_000
	if raceDetector {
		n = 10_000
	}
	suite.Backlog(t, nc, n)
}

func testServer(t *testing.T) string {
	address := os.Getenv("WALLETCREW_TEST_NATS")
	if address == "" {
		address = nats.DefaultURL
	}
	u, err := url.Parse(address)
	require.NoError(t, err)
	conn, err := net.DialTimeout("tcp", u.Host, suite.Patience)
	if err != nil {
		if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
			require.NoError(t, err, "WALLETCREW_TEST_SERVERS=required: the NATS server must be there")
		}
		t.Skip("no NATS server: set WALLETCREW_TEST_NATS")
	}
	_ = conn.Close()
	return address
}

func TestAnOldServerIsRefused(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, `INFO {"server_id":"x","version":"2.8.4","proto":1,"headers":true,"jetstream":true,"max_payload":1048576}`+"\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if lines.Text() == "PING" {
				_, _ = io.WriteString(conn, "PONG\r\n")
			}
		}
	}()
	nc, err := jetstream.Connect("nats://" + listener.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	_, err = jetstream.EnsureStream(t.Context(), nc, jetstream.StreamConfig{})
	require.ErrorIs(t, err, jetstream.ErrServerTooOld)
	require.ErrorContains(t, err, "2.8.4")
}

func TestConnectSaysThatThereIsNoServer(t *testing.T) {
	t.Parallel()
	_, err := jetstream.Connect("nats://127.0.0.1:1")
	require.ErrorIs(t, err, jetstream.ErrUnavailable)
}

func TestConnectKeepsThePasswordToItself(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"nats://user:S3C/RET@127.0.0.1", "nats://127.0.0.1:4222,nats://user:S3C#RET@127.0.0.1:4222", "user:S3C%RET@127.0.0.1", "nats://user:S3CRET@127.0.0.1:1"} {
		_, err := jetstream.Connect(address)
		require.Error(t, err, address)
		require.NotContains(t, err.Error(), "S3C")
		require.NotContains(t, err.Error(), "RET")
	}
	_, err := jetstream.Connect("nats://user:S3C/RET@127.0.0.1")
	require.ErrorContains(t, err, "percent-encoded")
}
