package jetstream_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/internal/suite"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// Else such an event would get 503 each time it comes, and nobody would know before.
func TestAServerOrStreamThatIsTooSmallForTheLargestEventIsFoundAtStart(t *testing.T) {
	t.Parallel()
	nc, err := jetstream.Connect(testServer(t), nats.Timeout(suite.Patience))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := natsjs.New(nc)
	require.NoError(t, err)
	name := fmt.Sprintf("size_%d_%d", os.Getpid(), time.Now().UnixNano())
	t.Cleanup(func() {
		_, _ = js.DeleteStream(context.Background(), name), js.DeleteStream(context.Background(), name+"_DEAD")
	})
	var log bytes.Buffer
	config := func(body int64) jetstream.StreamConfig {
		log.Reset()
		return jetstream.StreamConfig{Name: name, Prefix: name, MaxBodyBytes: body, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	}
	const room = 4096
	largest := nc.MaxPayload() - room

	_, err = jetstream.EnsureStream(t.Context(), nc, config(largest+1))
	require.ErrorIs(t, err, jetstream.ErrTooSmall)
	require.ErrorContains(t, err, fmt.Sprintf("max_payload is %d bytes, and a body may have %d", nc.MaxPayload(), largest+1))
	_, err = js.Stream(t.Context(), name)
	require.ErrorIs(t, err, natsjs.ErrStreamNotFound, "nothing is made")
	stream, err := jetstream.EnsureStream(t.Context(), nc, config(largest))
	require.NoError(t, err)
	publisher, err := jetstream.NewPublisher(t.Context(), stream)
	require.NoError(t, err)
	assert.Empty(t, log.String())
	body := `{"__id":"1","x":"` + strings.Repeat("x", int(largest)-len(`{"__id":"1","x":""}`)) + `"}`
	e, err := walletcrew.ParseEvent(walletcrew.EventPassCreated, []byte(body))
	require.NoError(t, err)
	ctx := receiver.WithHeaders(receiver.WithKey(t.Context(), strings.Repeat("k", 512)), map[string]string{"traceparent": strings.Repeat("t", 1000)})
	require.NoError(t, publisher.Handle(ctx, e), "the headers have room")

	made, err := js.Stream(t.Context(), name)
	require.NoError(t, err)
	small := made.CachedInfo().Config
	small.MaxMsgSize = 100_000
	_, err = js.UpdateStream(t.Context(), small)
	require.NoError(t, err)
	for _, open := range []func() error{
		func() error { _, err := jetstream.EnsureStream(t.Context(), nc, config(100_000)); return err },
		func() error { _, err := jetstream.OpenStream(t.Context(), nc, config(100_000)); return err },
	} {
		err := open()
		require.ErrorIs(t, err, jetstream.ErrTooSmall)
		require.ErrorContains(t, err, "max_msg_size of stream "+name+" is 100000 bytes, and a body may have 100000")
	}
	_, err = jetstream.OpenStream(t.Context(), nc, config(100_000-room))
	require.NoError(t, err)

	stream, err = jetstream.OpenStream(t.Context(), nc, config(0))
	require.NoError(t, err, "nobody has said how large a body is")
	_, err = jetstream.NewPublisher(t.Context(), stream)
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
	assert.Contains(t, log.String(), "a body may have 1048576")

	_, err = jetstream.OpenStream(t.Context(), nc, config(-1))
	require.ErrorContains(t, err, "negative")
}
