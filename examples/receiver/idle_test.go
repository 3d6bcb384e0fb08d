package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// pipes is a listener whose connections are in memory, so that time can be the bubble's.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A spy finds the server in the context of what a function logs.
type spy struct {
	slog.Handler
	server chan *http.Server
}

func (s spy) Handle(ctx context.Context, r slog.Record) error {
	if server, ok := ctx.Value(http.ServerContextKey).(*http.Server); ok {
		s.server <- server
	}
	return s.Handler.Handle(ctx, r)
}

// What a connection says, and then nothing more: the server ends it.
func TestNoConnectionIsHeldForEver(t *testing.T) {
	const secret = walletcrew.Secret("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	setenv(t, "WALLETCREW_SECRET", string(secret))
	log := &journal{more: make(chan struct{}, 1000)}
	found := make(chan *http.Server, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, slog.New(spy{slog.NewJSONHandler(log, nil), found})) }()
	url := "http://" + log.wait(t, "listening")["address"].(string) + "/webhooks/walletcrew"
	r := walletcrewtest.NewRequest(url, secret, "acme", walletcrew.EventPassInstalled, []byte(`{"__id":"1"}`))
	r.RequestURI = ""
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	_ = resp.Body.Close()
	limits := <-found
	cancel()
	require.NoError(t, <-ended)

	for name, says := range map[string]string{
		"nothing":           "",
		"half a header":     "POST / HTTP/1.1\r\nHost: h\r\nX-",
		"half a body":       "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{",
		"a whole request":   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
		"two, then nothing": strings.Repeat("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", 2),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &http.Server{
					ReadHeaderTimeout: limits.ReadHeaderTimeout, ReadTimeout: limits.ReadTimeout, WriteTimeout: limits.WriteTimeout, IdleTimeout: limits.IdleTimeout,
					Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						w.WriteHeader(http.StatusNoContent)
					}),
				}
				listener := make(pipes)
				go func() { _ = server.Serve(listener) }()
				mine, its := net.Pipe()
				listener <- its
				go func() { _, _ = io.WriteString(mine, says) }()
				began := time.Now()
				_, _ = io.Copy(io.Discard, mine) // until the server ends it
				if held := time.Since(began); held > 2*time.Minute+time.Second {
					t.Errorf("the connection was held for %v", held)
				}
				close(listener)
				_ = server.Close()
				_ = mine.Close()
			})
		})
	}
}
