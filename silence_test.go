package walletcrew_test

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

// A muteProxy forwards TCP connections, until they are muted: then nothing comes through and nobody hangs up. New ones work.
type muteProxy struct {
	net.Listener
	target string
	mu     sync.Mutex
	muted  *atomic.Bool // of the connections made since the last mute
	conns  int
}

func newMuteProxy(t *testing.T, target string) *muteProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &muteProxy{Listener: listener, target: target, muted: new(atomic.Bool)}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns++
			muted := p.muted
			p.mu.Unlock()
			go forward(conn, target, muted)
		}
	}()
	return p
}

func forward(conn net.Conn, target string, muted *atomic.Bool) {
	defer func() { _ = conn.Close() }()
	other, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = other.Close() }()
	pass := func(to io.Writer, from io.Reader) {
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			if muted.Load() {
				continue
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	go pass(conn, other)
	pass(other, conn)
}

func (p *muteProxy) mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted.Store(true)
	p.muted = new(atomic.Bool)
}

func (p *muteProxy) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

// silentServer speaks HTTP/2 behind a muteProxy.
func silentServer(t *testing.T) (*httptest.Server, *muteProxy) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		assert.Equal(t, 2, req.ProtoMajor)
		_, _ = io.WriteString(w, hookJSON)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, newMuteProxy(t, server.Listener.Addr().String())
}

// The test starts itself again, since a process reads SSL_CERT_FILE once: what is tried is a client without any option but those it needs.
func TestADeadConnectionIsNoticedWithoutAnyOption(t *testing.T) {
	t.Parallel()
	const isChild = "WALLETCREW_TEST_SILENCE"
	server, proxy := silentServer(t)
	if os.Getenv(isChild) == "" {
		if runtime.GOOS != "linux" {
			t.Skip("Go reads SSL_CERT_FILE on some systems only")
		}
		roots := filepath.Join(t.TempDir(), "roots.pem")
		require.NoError(t, os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=1m")
		child.Env = append(os.Environ(), isChild+"=1", "SSL_CERT_FILE="+roots)
		out, err := child.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	client, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey(mockedKey), walletcrew.WithBaseURL("https://"+proxy.Addr().String()))
	require.NoError(t, err)
	_, err = client.Webhooks.Get(context.Background(), "Ab3xY")
	require.NoError(t, err)
	_, err = client.Webhooks.Get(context.Background(), "Ab3xY")
	require.NoError(t, err)
	require.Equal(t, 1, proxy.connections(), "HTTP/2 uses one connection")

	proxy.mute()
	began := time.Now()
	_, err = client.Webhooks.Get(context.Background(), "Ab3xY")
	require.NoError(t, err, "the retry makes a new connection")
	assert.Less(t, time.Since(began), 20*time.Second, "it takes 3 s and the wait before a retry")
	assert.Equal(t, 2, proxy.connections())
}

// below is a transport on top of another, as golang.org/x/oauth2 has it.
type below struct{ Base http.RoundTripper }

func (b *below) RoundTrip(req *http.Request) (*http.Response, error) { return b.Base.RoundTrip(req) }

func TestAfterATimeOutTheUsersTransportDialsAgain(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
		"itself":         func(rt http.RoundTripper) http.RoundTripper { return rt },
		"below another":  func(rt http.RoundTripper) http.RoundTripper { return &below{rt} },
		"below a second": func(rt http.RoundTripper) http.RoundTripper { return &below{&below{rt}} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, proxy := silentServer(t)
			hc := &http.Client{Transport: wrap(server.Client().Transport), Timeout: 500 * time.Millisecond}
			client, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey(mockedKey), walletcrew.WithHTTPClient(hc),
				walletcrew.WithBaseURL("https://"+proxy.Addr().String()), walletcrew.WithRetries(5, 20*time.Millisecond, 20*time.Millisecond))
			require.NoError(t, err)
			_, err = client.Webhooks.Get(context.Background(), "Ab3xY")
			require.NoError(t, err)
			proxy.mute()
			_, err = client.Webhooks.Get(context.Background(), "Ab3xY")
			require.NoError(t, err, "the connection that timed out isn't used for ever")
			assert.Greater(t, proxy.connections(), 1)
		})
	}
	t.Run("also in the next call, where the caller's own time was up", func(t *testing.T) {
		t.Parallel()
		server, proxy := silentServer(t)
		client := clientOn(t, server.Client().Transport, walletcrew.WithBaseURL("https://"+proxy.Addr().String()))
		_, err := client.Webhooks.Get(context.Background(), "Ab3xY")
		require.NoError(t, err)
		proxy.mute()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_, err = client.Webhooks.Get(ctx, "Ab3xY")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Eventually(t, func() bool { // net/http ends a request that timed out on another goroutine
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			_, err := client.Webhooks.Get(ctx, "Ab3xY")
			return err == nil
		}, time.Minute, time.Millisecond)
	})
}

// closable counts how often its idle connections are closed.
type closable struct {
	roundTrip
	closed *atomic.Int32
}

func (c closable) CloseIdleConnections() { c.closed.Add(1) }

func TestIdleConnectionsAreClosedAfterATimeOutAndOnlyThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		silent := roundTrip(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		halfSilent := roundTrip(func(req *http.Request) (*http.Response, error) {
			resp := respond(req, 200, "")
			resp.Body = io.NopCloser(readFunc(func([]byte) (int, error) {
				<-req.Context().Done()
				return 0, req.Context().Err()
			}))
			return resp, nil
		})
		for name, c := range map[string]struct {
			first roundTrip
			want  int32
		}{
			"a time-out":              {silent, 1},
			"a time-out in the body":  {halfSilent, 1},
			"a time-out of the dial":  {failing(&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}), 0},
			"a reset":                 {failing(errReset), 0},
			"an answer":               {always(503, ""), 0},
			"a gateway's own timeout": {always(504, ""), 0},
		} {
			closed := new(atomic.Int32)
			transport, attempts := inTurn(c.first, always(200, hookJSON))
			client := clientOn(t, nil, walletcrew.WithHTTPClient(&http.Client{Transport: closable{transport, closed}, Timeout: time.Second}))
			for range 3 {
				_, err := client.Webhooks.Get(context.Background(), "Ab3xY")
				require.NoError(t, err, name)
			}
			assert.EqualValues(t, 4, attempts.Load(), name)
			assert.Equal(t, c.want, closed.Load(), "idle connections after %s", name)
		}
	})
}

func TestATransportWithoutABottomDoesNotHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		round := &roundabout{}
		round.Base = round
		client := clientOn(t, nil, walletcrew.WithHTTPClient(&http.Client{Transport: round, Timeout: time.Second}))
		_, err := client.Webhooks.Get(context.Background(), "Ab3xY")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

type roundabout struct{ Base http.RoundTripper }

func (*roundabout) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// The packages httpmock, gock and others replace http.DefaultTransport while the program runs.
func TestAReplacedDefaultTransportIsUsed(t *testing.T) { //nolint:paralleltest // it replaces http.DefaultTransport
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, hookJSON)
	}))
	defer server.Close()
	for name, option := range map[string]walletcrew.Option{
		"no http.Client":         walletcrew.WithRetries(0, 0, 0),
		"an http.Client without": walletcrew.WithHTTPClient(&http.Client{Timeout: time.Second}),
		"http.DefaultClient":     walletcrew.WithHTTPClient(http.DefaultClient),
	} {
		client, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey(mockedKey), walletcrew.WithBaseURL(server.URL), option)
		require.NoError(t, err)
		mocked := func() bool {
			w, err := client.Webhooks.Get(context.Background(), "Ab3xY")
			require.NoError(t, err)
			return strings.HasPrefix(w.Endpoint, "https://mock.")
		}
		require.False(t, mocked(), name)
		func() {
			httpmock.Activate()
			defer httpmock.DeactivateAndReset()
			httpmock.RegisterResponder("GET", server.URL+"/api/acme/webhooks/Ab3xY",
				httpmock.NewStringResponder(200, strings.Replace(hookJSON, "https://", "https://mock.", 1)).HeaderSet(http.Header{"Content-Type": {"application/json"}}))
			require.True(t, mocked(), "%s: the mock answers", name)
		}()
		require.False(t, mocked(), "%s: the server answers again", name)
	}
}
