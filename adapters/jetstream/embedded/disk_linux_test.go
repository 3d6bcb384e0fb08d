package embedded_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/internal/suite"
)

func TestAFullDiskIsAnErrorAndNeverAnAcknowledgement(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("no right to mount a small file system: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	run := func(f func(nc *nats.Conn, p *jetstream.Publisher)) {
		s := start(t, embedded.Options{Dir: dir, MaxStore: 1 << 30})
		defer s.Close()
		nc, err := s.Connect()
		require.NoError(t, err)
		defer nc.Close()
		stream, err := jetstream.EnsureStream(t.Context(), nc, jetstream.StreamConfig{})
		require.NoError(t, err)
		p, err := jetstream.NewPublisher(t.Context(), stream)
		require.NoError(t, err)
		f(nc, p)
	}
	acked := map[string]bool{}
	run(func(_ *nats.Conn, p *jetstream.Publisher) {
		refused := 0
		for i := range 2000 {
			id := fmt.Sprint(i)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := p.Handle(ctx, suite.Event(t, "acme", "Pass:Created", `{"__id":"`+id+`","x":"`+strings.Repeat("x", 4000)+`"}`))
			cancel()
			if err == nil {
				acked[id] = true
				continue
			}
			if refused++; refused == 1 {
				t.Log("first refusal after", len(acked), "events:", err)
			}
			if refused > 5 {
				break
			}
		}
		assert.Positive(t, refused, "a full disk must be an error")
		assert.NotEmpty(t, acked)
	})
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"), "somebody makes room")
	run(func(nc *nats.Conn, _ *jetstream.Publisher) {
		got := drain(t, nc, len(acked))
		for id := range acked {
			assert.True(t, got[id], "event %s was acknowledged, and is lost", id)
		}
	})
}
