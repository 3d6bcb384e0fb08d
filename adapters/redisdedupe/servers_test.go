package redisdedupe_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/redisdedupe"
	"github.com/thewalletcrew/walletcrew-go/internal/freeport"
)

func TestMain(m *testing.M) {
	logging.Disable() // of the failures that the tests bring about
	os.Exit(m.Run())
}

// missing skips a test whose server isn't there, or fails it where all servers are required.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func redisAddress() string {
	if addr := os.Getenv("WALLETCREW_TEST_REDIS"); addr != "" {
		return addr
	}
	return "127.0.0.1:6379"
}

// patience is for what comes in the end, but late on a machine that is busy: it only ends a hang.
const patience = 30 * time.Second

// What the README says that the server's user needs, and what it needs besides for a Cluster.
const (
	permissions        = "+ping +info +eval +evalsha +get +set +del +time"
	clusterPermissions = "+cluster|slots +asking +command"
)

func rules(text string) (rules []any) {
	for rule := range strings.FieldsSeq(text) {
		rules = append(rules, rule)
	}
	return rules
}

// newClient returns a client of the shared server.
func newClient(t testing.TB) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: redisAddress(), DialTimeout: patience, ReadTimeout: patience})
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Ping(t.Context()).Err(); err != nil {
		missing(t, "redisdedupe: no Redis at "+redisAddress()+" (set WALLETCREW_TEST_REDIS)")
	}
	return client
}

// newPrefix returns a prefix of the test's own. What is under it at the end is removed.
func newPrefix(t testing.TB, client redis.UniversalClient) string {
	t.Helper()
	prefix := "walletcrew-test:" + rand.Text() + ":"
	t.Cleanup(func() {
		ctx := context.Background()
		remove := func(ctx context.Context, node *redis.Client) error {
			keys := node.Scan(ctx, 0, prefix+"*", 1000).Iterator()
			for keys.Next(ctx) {
				node.Del(ctx, keys.Val())
			}
			return keys.Err()
		}
		switch client := client.(type) {
		case *redis.Client:
			_ = remove(ctx, client)
		case *redis.ClusterClient:
			_ = client.ForEachMaster(ctx, remove)
		}
	})
	return prefix
}

func newDeduper(t testing.TB, client redis.UniversalClient, opts ...redisdedupe.Option) *redisdedupe.Deduper {
	t.Helper()
	d, err := redisdedupe.New(client, "orders", append([]redisdedupe.Option{redisdedupe.WithPrefix(newPrefix(t, client))}, opts...)...)
	require.NoError(t, err)
	return d
}

// A server is a Redis or Valkey process of the test's own.
type server struct {
	path, addr string
	args       []string
	cmd        *exec.Cmd
}

// startServer starts one on a free loopback port. It writes each command to the disk before it answers, so a kill loses nothing.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	path, err := exec.LookPath(cmp.Or(os.Getenv("WALLETCREW_TEST_REDIS_SERVER"), "redis-server"))
	if err != nil {
		missing(t, "redisdedupe: no server to start (set WALLETCREW_TEST_REDIS_SERVER): "+err.Error())
	}
	s := &server{path: path, addr: freeAddress(t)}
	s.args = append([]string{"--port", strconv.Itoa(port(t, s.addr)), "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--appendonly", "yes", "--appendfsync", "always"}, args...)
	s.start(t)
	t.Cleanup(func() { s.kill(t) })
	return s
}

func freeAddress(t testing.TB) string {
	t.Helper()
	address, err := freeport.Address()
	require.NoError(t, err)
	return address
}

func (s *server) start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(s.path, s.args...)
	require.NoError(t, s.cmd.Start())
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", s.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, 2*patience, 20*time.Millisecond, "the server does not come up")
}

func (s *server) kill(testing.TB) {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *server) client(t testing.TB, change ...func(*redis.Options)) *redis.Client {
	t.Helper()
	options := &redis.Options{Addr: s.addr, ContextTimeoutEnabled: true, MaxRetries: 1, DialerRetries: 1, DialTimeout: patience, ReadTimeout: patience}
	for _, c := range change {
		c(options)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func port(t testing.TB, addr string) int {
	t.Helper()
	_, p, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	n, err := strconv.Atoi(p)
	require.NoError(t, err)
	return n
}
