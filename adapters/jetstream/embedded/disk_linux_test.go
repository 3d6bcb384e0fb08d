package embedded_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
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

// smallDisk is a directory with a file system of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("no right to mount a small file system: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestAFullDiskIsAnErrorAndNeverAnAcknowledgement(t *testing.T) {
	dir := smallDisk(t, "4m")
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

func TestTheServerGoesOnWhenThereIsRoomAgain(t *testing.T) {
	t.Parallel()
	for name, sync := range map[string]time.Duration{"synced always": 0, "synced now and then": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := smallDisk(t, "48m")
			s := start(t, embedded.Options{Dir: dir, MaxStore: 1 << 30, SyncInterval: sync, Listen: "127.0.0.1:0"})
			nc, err := s.Connect()
			if sync > 0 { // and from elsewhere
				nc, err = jetstream.Connect(s.URL())
			}
			require.NoError(t, err)
			defer nc.Close()
			l := startLoad(t, nc, jetstream.StreamConfig{})
			for range 3 {
				l.until(300)
				ballast := fill(t, dir)
				require.Eventually(t, func() bool {
					began := time.Now()
					return l.deliver("probe") == http.StatusServiceUnavailable && time.Since(began) < 500*time.Millisecond
				}, 20*time.Second, 50*time.Millisecond, "while the disk is full, a delivery must be refused at once")
				acked := l.count()
				for range 3 {
					assert.Equal(t, http.StatusServiceUnavailable, l.deliver("probe"))
				}
				assert.Equal(t, acked, l.count(), "nothing may be acknowledged while the disk is full")
				require.NoError(t, os.Remove(ballast), "somebody makes room")
				recovered := l.until(100)
				assert.Less(t, recovered, 5*time.Second)
				t.Logf("recovered %s after there was room", recovered.Round(time.Millisecond))
			}
			l.end()
		})
	}
}

// fill leaves no room in the directory.
func fill(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "ballast-*")
	require.NoError(t, err)
	defer f.Close()
	for size := 1 << 20; size >= 512; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
	return f.Name()
}
