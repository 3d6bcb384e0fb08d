// Package idletest tests that a server holds no connection for ever.
package idletest

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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

// NoConnectionIsHeld fails the test if a server with these time limits holds a connection that says nothing more for over two minutes.
// Only the limits are taken from the server.
func NoConnectionIsHeld(t *testing.T, limits *http.Server) {
	t.Helper()
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
