package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// A server is one of the command's own.
type server struct {
	URL  string
	http *http.Server
}

// serve listens on an address. If it is taken and near is true, it takes the next free port.
func serve(ctx context.Context, addr string, near bool, handler http.Handler) (*server, error) {
	listener, err := listen(ctx, addr, near)
	if err != nil {
		return nil, err
	}
	srv := &server{http: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}}
	srv.URL = "http://" + reachable(listener.Addr())
	go func() { _ = srv.http.Serve(listener) }()
	return srv, nil
}

// reachable is the address to call a listener at.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return addr.String()
}

func listen(ctx context.Context, addr string, near bool) (net.Listener, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, usagef("%s: an address is host:port, such as 127.0.0.1:4040", addr)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, usagef("%s: the port is a number", addr)
	}
	const further = 100
	for i := 0; ; i++ {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port+i)))
		switch {
		case err == nil:
			return listener, nil
		case !near || port == 0 || i == further || !taken(err):
			return nil, fmt.Errorf("can't listen: %w", err)
		}
	}
}

// taken reports whether somebody else listens there; Windows has its own number for that (WSAEADDRINUSE, or WSAEACCES).
func taken(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.Errno(10048)) || errors.Is(err, syscall.Errno(10013))
}

// close waits for what is under way, a little.
func (s *server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
}

// onlyHere refuses requests whose Host header names another machine (DNS rebinding).
func onlyHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocalHost(r.Host) {
			http.Error(w, "walletcrew: this serves its own machine only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
