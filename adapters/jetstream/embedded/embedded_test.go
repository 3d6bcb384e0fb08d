package embedded_test

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/internal/suite"
)

func TestOnTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Options{Dir: t.TempDir()})
	keeper, err := s.Connect()
	require.NoError(t, err)
	t.Cleanup(keeper.Close)
	// nats-server 2.15 removes its directory with the last stream, also while another one is being made.
	_, err = jetstream.EnsureStream(t.Context(), keeper, jetstream.StreamConfig{})
	require.NoError(t, err)
	suite.Run(t, func(t *testing.T) *nats.Conn {
		nc, err := s.Connect(nats.Timeout(suite.Patience))
		require.NoError(t, err)
		return nc
	})
}

func TestTheServerIsClosedToTheNetworkUnlessAsked(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Options{Dir: t.TempDir()})
	assert.Empty(t, s.URL())
	for _, address := range []string{"0.0.0.0:4222", ":4222", "192.0.2.1:4222", "example.com:4222", "127.0.0.1"} {
		_, err := embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir(), Listen: address})
		assert.Error(t, err, address)
	}
	open := start(t, embedded.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	nc, err := jetstream.Connect(open.URL())
	require.NoError(t, err)
	nc.Close()
}

func TestOneProcessUsesADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, embedded.Options{Dir: dir})
	_, err := embedded.Start(t.Context(), embedded.Options{Dir: dir})
	require.ErrorIs(t, err, embedded.ErrInUse)
	s.Close()
	s.Close()
	start(t, embedded.Options{Dir: dir})
}

func TestWhatKeepsTheServerFromStartingIsAnError(t *testing.T) {
	t.Parallel()
	_, err := embedded.Start(t.Context(), embedded.Options{})
	require.ErrorContains(t, err, "Dir")

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), suite.Patience)
	defer cancel()
	_, err = embedded.Start(ctx, embedded.Options{Dir: t.TempDir(), Listen: listener.Addr().String(), Logger: suite.Quiet})
	require.ErrorContains(t, err, "can't start")

	file := t.TempDir() + "/file"
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = embedded.Start(t.Context(), embedded.Options{Dir: file})
	require.Error(t, err)

	_, err = embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir(), Logger: suite.Quiet, Configure: func(o *server.Options) { o.JetStream = false }})
	require.ErrorContains(t, err, "JetStream")
}

func TestTheStreamOutlivesTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := jetstream.StreamConfig{KeepFor: time.Hour}
	publish := func(ids ...string) *jetstream.Stream {
		s := start(t, embedded.Options{Dir: dir})
		defer s.Close()
		nc, err := s.Connect()
		require.NoError(t, err)
		defer nc.Close()
		stream, err := jetstream.EnsureStream(t.Context(), nc, cfg)
		require.NoError(t, err)
		p, err := jetstream.NewPublisher(t.Context(), stream)
		require.NoError(t, err)
		for _, id := range ids {
			e := suite.Event(t, "acme", "Pass:Created", `{"__id":"`+id+`"}`)
			require.NoError(t, p.Handle(suite.Keyed(t.Context(), e), e))
		}
		return stream
	}
	publish("1", "2")
	publish("1", "2", "3") // 1 and 2 are recognized across the restart

	s := start(t, embedded.Options{Dir: dir})
	nc, err := s.Connect()
	require.NoError(t, err)
	defer nc.Close()
	js, err := nc.JetStream()
	require.NoError(t, err)
	info, err := js.StreamInfo("WALLETCREW")
	require.NoError(t, err)
	assert.EqualValues(t, 3, info.State.Msgs)
}

// A server whose user may do little.
func TestPermissionDeniedIsSaidAtStart(t *testing.T) {
	t.Parallel()
	js := []string{"$JS.API.>", "$JS.ACK.>", "_INBOX.>"}
	user := func(name string, publish ...string) *server.User {
		return &server.User{Username: name, Password: "p", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: publish},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}}
	}
	s := start(t, embedded.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Configure: func(o *server.Options) {
		o.Users = []*server.User{
			user("nothing", "x"),
			user("reader", js...),
			user("receiver", "walletcrew.>", "$JS.API.STREAM.INFO.WALLETCREW"),
			user("remover", "$JS.API.STREAM.INFO.WALLETCREW", "$JS.API.CONSUMER.DELETE.WALLETCREW.*"),
			user("owner", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*"),
			user("one-tenant", "walletcrew.acme.>", "walletcrew.~.>", "$JS.API.STREAM.INFO.WALLETCREW"),
			user("worker", "$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.INFO.WALLETCREW.*", "$JS.API.CONSUMER.CREATE.WALLETCREW.>", "$JS.API.CONSUMER.MSG.NEXT.WALLETCREW.>", "$JS.ACK.>", "walletcrew-dead.>"),
		}
	}})
	connect := func(user string, opts ...nats.Option) *nats.Conn {
		opts = append(opts, nats.UserInfo(user, "p"), nats.Timeout(suite.Patience))
		nc, err := jetstream.Connect(s.URL(), opts...)
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	// What isn't permitted is never answered: a context that ends once the server has said so.
	denied := func() (context.Context, nats.Option) {
		ctx, cancel := context.WithTimeout(t.Context(), suite.Patience)
		t.Cleanup(cancel)
		return ctx, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			assert.ErrorIs(t, err, nats.ErrPermissionViolation)
			cancel()
		})
	}
	ctx, handler := denied()
	_, err := jetstream.EnsureStream(ctx, connect("nothing", handler), jetstream.StreamConfig{})
	require.ErrorIs(t, err, jetstream.ErrPermission)
	require.ErrorContains(t, err, "$JS.API.STREAM.INFO.WALLETCREW")

	for _, limit := range []int64{1 << 20, 2 << 20} {
		_, err = jetstream.EnsureStream(t.Context(), connect("owner"), jetstream.StreamConfig{MaxBytes: limit})
		require.NoError(t, err)
	}

	ctx, handler = denied()
	stream, err := jetstream.OpenStream(t.Context(), connect("reader", handler), jetstream.StreamConfig{})
	require.NoError(t, err)
	_, err = jetstream.NewPublisher(ctx, stream)
	require.ErrorIs(t, err, jetstream.ErrPermission)

	// The least that the README says is enough.
	stream, err = jetstream.OpenStream(t.Context(), connect("receiver"), jetstream.StreamConfig{})
	require.NoError(t, err)
	p, err := jetstream.NewPublisher(t.Context(), stream)
	require.NoError(t, err)
	require.NoError(t, p.Handle(t.Context(), suite.Event(t, "acme", "Pass:Created", `{"__id":"1"}`)))

	ctx, handler = denied()
	stream, err = jetstream.OpenStream(t.Context(), connect("one-tenant", handler), jetstream.StreamConfig{})
	require.NoError(t, err)
	p, err = jetstream.NewPublisher(t.Context(), stream)
	require.NoError(t, err)
	require.ErrorIs(t, p.Handle(ctx, suite.Event(t, "other", "Pass:Created", `{"__id":"1"}`)), jetstream.ErrPermission)

	stream, err = jetstream.OpenStream(t.Context(), connect("worker"), jetstream.StreamConfig{})
	require.NoError(t, err)
	handled := make(chan string, 1)
	c, err := jetstream.NewConsumer(t.Context(), stream, func(_ context.Context, e *walletcrew.Event) error { handled <- e.ID; return nil }, jetstream.ConsumerConfig{})
	require.NoError(t, err)
	running, end := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- c.Run(running) }()
	assert.Equal(t, "1", <-handled)
	end()
	require.NoError(t, <-result)

	stream, err = jetstream.OpenStream(t.Context(), connect("remover"), jetstream.StreamConfig{})
	require.NoError(t, err)
	require.NoError(t, stream.DeleteConsumer(t.Context(), "worker"))
}

func TestAServerWithoutJetStreamIsAnError(t *testing.T) {
	t.Parallel()
	s, err := server.NewServer(&server.Options{DontListen: true, NoLog: true, NoSigs: true})
	require.NoError(t, err)
	s.Start()
	defer s.Shutdown()
	require.True(t, s.ReadyForConnections(suite.Patience))
	nc, err := jetstream.Connect("", nats.InProcessServer(s))
	require.NoError(t, err)
	defer nc.Close()
	_, err = jetstream.EnsureStream(t.Context(), nc, jetstream.StreamConfig{})
	assert.ErrorIs(t, err, jetstream.ErrNoJetStream)
}
