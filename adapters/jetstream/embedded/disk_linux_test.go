package embedded_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
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
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
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
	for name, o := range map[string]embedded.Options{
		"synced always":       {},
		"synced now and then": {SyncInterval: time.Minute, MaxStore: 1 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := smallDisk(t, "48m")
			o.Dir, o.Listen = dir, "127.0.0.1:0"
			s := start(t, o)
			nc, err := s.Connect()
			if o.SyncInterval > 0 { // and from elsewhere
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
				}, suite.Patience, 50*time.Millisecond, "while the disk is full, a delivery must be refused at once")
				stopped := time.Now()
				for range 3 {
					assert.Equal(t, http.StatusServiceUnavailable, l.deliver("probe"))
				}
				time.Sleep(100 * time.Millisecond)
				l.nothingSince(stopped, "nothing may be acknowledged while the disk is full")
				require.NoError(t, os.Remove(ballast), "somebody makes room")
				recovered := l.until(100)
				assert.Less(t, recovered, 15*time.Second)
				t.Logf("recovered %s after there was room", recovered.Round(time.Millisecond))
			}
			l.end()
		})
	}
}

// A while is how long a publish may take that is expected to fail, and a chance how long one may that must not.
const while, chance = time.Second, 5 * time.Second

// large returns what puts events of half a MiB into a server's stream, over one connection.
func large(t *testing.T, s *embedded.Server) (publish func(within time.Duration) error) {
	t.Helper()
	nc, err := s.Connect()
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	stream, err := jetstream.EnsureStream(t.Context(), nc, jetstream.StreamConfig{})
	require.NoError(t, err)
	p, err := jetstream.NewPublisher(t.Context(), stream)
	require.NoError(t, err)
	n := 0
	return func(within time.Duration) error {
		n++
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return p.Handle(ctx, suite.Event(t, "acme", "Pass:Created", fmt.Sprintf(`{"__id":"%d","x":"%s"}`, n, strings.Repeat("x", 1<<19))))
	}
}

// The limit that NATS takes by itself is of what is free at the time: next to nothing, after a full disk.
func TestTheDefaultLimitIsTheSameAfterAFullDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "128m")
	s := start(t, embedded.Options{Dir: dir})
	publish := large(t, s)
	for range 140 { // a backlog of 70 MiB
		require.NoError(t, publish(chance))
	}
	small := filepath.Join(dir, "small")
	require.NoError(t, os.WriteFile(small, make([]byte, 18<<20), 0o600))
	fill(t, dir)
	require.Eventually(t, func() bool { return publish(while) != nil }, suite.Patience, 50*time.Millisecond)
	require.NoError(t, os.Remove(small), "somebody makes just enough room")
	require.Eventually(t, func() bool { return publish(while) == nil }, suite.Patience, 50*time.Millisecond)
}

func TestAServerThatStartsOnANearlyFullDiskUsesWhatIsFreedLater(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "128m")
	ballast := filepath.Join(dir, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 126<<20), 0o600))
	publish := large(t, start(t, embedded.Options{Dir: dir}))
	require.NoError(t, publish(chance))
	require.NoError(t, os.Remove(ballast))
	for range 100 {
		require.NoError(t, publish(chance))
	}
}

// Not parallel: the limit is the whole process'.
func TestTheServerGoesOnWhenTheDiskCanBeWrittenToAgain(t *testing.T) {
	var log suite.LockedBuffer
	s := start(t, embedded.Options{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	publish := large(t, s)
	require.NoError(t, publish(chance))
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	restore := func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)) }
	t.Cleanup(restore)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: limit.Max})) // no file can be opened
	acked := 1
	for began := time.Now(); !strings.Contains(log.String(), "too many open files"); {
		if publish(while) == nil {
			acked++
		}
		require.Less(t, time.Since(began), suite.Patience, "the cause must be said")
	}
	restore()
	require.Eventually(t, func() bool { return publish(while) == nil }, suite.Patience, 50*time.Millisecond, "the server must go on by itself")
	assert.NotContains(t, log.String(), "disk is full")
	assert.Less(t, strings.Count(log.String(), "can't be started again"), 10)

	nc, err := s.Connect()
	require.NoError(t, err)
	defer nc.Close()
	assert.GreaterOrEqual(t, len(drain(t, nc, acked+1)), acked+1, "what was acknowledged is there")
}

// nats-server leaves out what it can't read, and would then make the stream, or the consumer, anew: without what it knew.
func TestTheServerGoesOnOnlyWithAllThatItHad(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"", "obs/worker"} {
		t.Run("stream "+part, func(t *testing.T) {
			t.Parallel()
			dir := smallDisk(t, "64m")
			var log suite.LockedBuffer
			s := start(t, embedded.Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
			publish := large(t, s)
			require.NoError(t, publish(chance))
			nc, err := s.Connect()
			require.NoError(t, err)
			defer nc.Close()
			require.Len(t, drain(t, nc, 1), 1) // with a consumer
			ballast := fill(t, dir)
			require.Eventually(t, func() bool { _ = publish(while); return strings.Contains(log.String(), "disk is full") }, suite.Patience, 10*time.Millisecond)
			require.Eventually(t, func() bool { return !nc.IsConnected() }, suite.Patience, 10*time.Millisecond)
			meta := filepath.Join(dir, "jetstream", "$G", "streams", "WALLETCREW", part, "meta.inf")
			require.NoError(t, os.Rename(meta, meta+"~"))
			require.NoError(t, os.Remove(ballast))
			require.Eventually(t, func() bool { return strings.Contains(log.String(), "could not be read") }, suite.Patience, 10*time.Millisecond)
			assert.Error(t, publish(while))
			require.NoError(t, os.Rename(meta+"~", meta))
			require.Eventually(t, func() bool { return publish(while) == nil }, suite.Patience, 50*time.Millisecond)
		})
	}
}

func TestTheServerGoesOnWithoutWhatSomebodyRemoved(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "64m")
	s := start(t, embedded.Options{Dir: dir})
	publish := large(t, s)
	require.NoError(t, publish(chance))
	nc, err := s.Connect()
	require.NoError(t, err)
	defer nc.Close()
	js, err := nc.JetStream()
	require.NoError(t, err)
	_, err = js.AddStream(&nats.StreamConfig{Name: "OTHER", Subjects: []string{"other"}})
	require.NoError(t, err)
	ballast := fill(t, dir)
	require.Eventually(t, func() bool { _ = publish(while); return !nc.IsConnected() }, suite.Patience, 10*time.Millisecond)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "jetstream", "$G", "streams", "OTHER"))) // to make room
	require.NoError(t, os.Remove(ballast))
	require.Eventually(t, func() bool { return publish(while) == nil }, suite.Patience, 50*time.Millisecond)
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
