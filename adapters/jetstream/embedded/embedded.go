// Package embedded runs the NATS server in your process, with its streams in a directory. It is for a single machine, and there is nothing
// to install. Your code is the same as for a cluster.
//
//	server, err := embedded.Start(ctx, embedded.Options{Dir: "/var/lib/receiver"})
//	if err != nil {
//		return err
//	}
//	defer server.Close()
//	nc, err := server.Connect()
//	if err != nil {
//		return err
//	}
//	defer nc.Close()
//	stream, err := jetstream.EnsureStream(ctx, nc, jetstream.StreamConfig{})
//
// Moving to a server or a cluster is [jetstream.Connect] with its URL in place of these two calls.
//
// It is a module of its own, because nats-server is large: a program that connects to a server
// elsewhere needn't compile one.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
)

// A Server is a NATS server with JetStream in this process. Make it with [Start], and Close it at the end.
//
// When its disk is full, the server stops, so that each publish fails at once and nothing is acknowledged. When there is room again, at
// least 16 MiB, it starts by itself within seconds, with all acknowledged events, and connections find it again. An event comes again if
// its acknowledgement by a worker couldn't be written.
//
// The server does the same if it can't write to the disk for another reason, such as no file descriptors. Then it tries to start after 1 s,
// 2 s, and so on up to 30 s. It logs all of this.
//
// A server of a [Cluster] doesn't do this: it stays without JetStream until its process is restarted, while the others go on.
type Server struct {
	options Options
	lock    *os.File
	log     *logger
	once    sync.Once
	ending  chan struct{}
	watched sync.WaitGroup

	url string

	mu     sync.Mutex
	server *server.Server // nil while the disk is full or can't be written to
}

// Options say how a server runs. Only Dir is needed.
type Options struct {
	// Dir is the directory of the streams. It is made if it doesn't exist. Only one process may use it at a time: on Unix a second one gets
	// ErrInUse, on Windows nothing stops it. It must not be on a network file system.
	Dir string
	// SyncInterval is how often the files are synchronized with the disk (fsync). 0, the default: before each acknowledgement, so that an
	// acknowledged event survives the loss of power. Otherwise it survives a crash of the process, but the events of the last SyncInterval
	// can be lost if the machine loses power or its kernel crashes.
	SyncInterval time.Duration
	// MaxStore is how many bytes all streams may take. 0: three quarters of the disk, whatever else is on it; on other systems than
	// Linux and macOS, what NATS chooses at the start.
	MaxStore int64
	// Listen opens a port for clients, such as workers in other processes and the nats command: "127.0.0.1:4222", port 0 for any. "", the
	// default: no port; only Server.Connect can connect. It must be a loopback address, because any client may read and write everything.
	// For a port that is open to others, with TLS and users, use Configure.
	Listen string
	// Cluster makes the server one of several.
	Cluster *Cluster
	// Logger takes the server's log: its notices at level debug, warnings and errors as such. Nil: slog.Default().
	Logger *slog.Logger
	// Configure may change everything else before the server is made: also when it is made anew after its disk was full.
	Configure func(*server.Options)
}

// Cluster says how a server finds the others: for tests of a cluster on one machine. A cluster in production is several machines
// with nats-server, or Configure.
type Cluster struct {
	Name       string   // of the cluster, the same for all
	ServerName string   // of this one, different for all
	Listen     string   // a loopback address for the others, "127.0.0.1:6222"
	Routes     []string // Listen of all of them
}

// ErrInUse means that another process runs a server on the directory.
var ErrInUse = errors.New("embedded: another process uses the directory")

// maxPayload takes the largest body that the verifier lets through by default (1 MiB) with room to spare.
const maxPayload = 8 << 20

// readyTimeout is for opening ports, once the streams are read.
const readyTimeout = time.Minute

// Start starts a server, and returns when it takes connections. In a cluster, it may not have found the others by then. Until it has, calls
// that need them fail, such as making a stream.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Dir == "" {
		return nil, errors.New("embedded: Options.Dir is empty")
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	if o.MaxStore == 0 { // NATS would take three quarters of what is free now, and stay with that when more is
		o.MaxStore = diskSize(o.Dir) / 4 * 3
	}
	opts, err := o.server()
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(o.Dir, "lock"))
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, lock: lock, ending: make(chan struct{})}
	s.log = &logger{slog: o.Logger, fatal: make(chan string, 1), wrong: make(chan struct{}, 1)}
	if s.log.slog == nil {
		s.log.slog = slog.Default()
	}
	ns, err := s.start(ctx, opts)
	if err != nil {
		unlock(lock)
		return nil, err
	}
	s.server = ns
	if c := ns.JetStreamConfig(); c != nil {
		s.options.MaxStore = c.MaxStore // NATS' choice, too, when it is started again
	}
	if !opts.DontListen {
		s.url = ns.ClientURL()
		if o.Listen != "" {
			s.options.Listen = ns.Addr().String() // where it was any port, this one from now on
		}
	}
	if !ns.JetStreamIsClustered() {
		s.watched.Go(s.watch)
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, opts *server.Options) (*server.Server, error) {
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	ns.SetLoggerV2(s.log, false, false, false)
	ns.Start() // reads the streams, which takes its time and can't be ended
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := s.wait(ctx, ns); err != nil {
		stop(ns)
		return nil, err
	}
	return ns, nil
}

func (s *Server) wait(ctx context.Context, ns *server.Server) error {
	for !ns.ReadyForConnections(10 * time.Millisecond) {
		select {
		case text := <-s.log.fatal:
			return errors.New("embedded: the server can't start: " + text)
		case <-ctx.Done():
			return fmt.Errorf("embedded: the server isn't ready: %w", ctx.Err())
		default:
		}
	}
	select {
	case text := <-s.log.fatal:
		return errors.New("embedded: the server can't start: " + text)
	default:
	}
	if !ns.JetStreamEnabled() {
		return errors.New("embedded: JetStream could not be started; see the log")
	}
	return nil
}

func stop(ns *server.Server) {
	ns.Shutdown()
	ns.WaitForShutdown()
}

func (o *Options) server() (*server.Options, error) {
	opts := &server.Options{
		JetStream:         true,
		StoreDir:          o.Dir,
		JetStreamMaxStore: o.MaxStore,
		SyncAlways:        o.SyncInterval <= 0,
		SyncInterval:      max(o.SyncInterval, 0),
		MaxPayload:        maxPayload,
		NoSigs:            true,
		DontListen:        o.Listen == "",
	}
	var err error
	if o.Listen != "" {
		if opts.Host, opts.Port, err = loopback(o.Listen); err != nil {
			return nil, err
		}
	}
	if c := o.Cluster; c != nil {
		opts.ServerName, opts.Cluster.Name = c.ServerName, c.Name
		if opts.Cluster.Host, opts.Cluster.Port, err = loopback(c.Listen); err != nil {
			return nil, err
		}
		for _, route := range c.Routes {
			opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: route})
		}
	}
	if o.Configure != nil {
		o.Configure(opts)
	}
	return opts, nil
}

func loopback(address string) (host string, port int, err error) {
	host, number, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(number)
	}
	if err != nil {
		return "", 0, fmt.Errorf("embedded: the address %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", 0, fmt.Errorf("embedded: %q isn't a loopback address: open a port to others in Options.Configure, with TLS and users", address)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// Connect returns a connection within the process, with the options of [jetstream.Connect] and then yours. Close it before the
// server.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	return jetstream.Connect("", append([]nats.Option{nats.InProcessServer(inProcess{s})}, opts...)...)
}

// inProcess makes the connections within the process: to the server that runs at the time.
type inProcess struct{ *Server }

func (s inProcess) InProcessConn() (net.Conn, error) {
	ns := s.running()
	if ns == nil {
		return nil, errStopped
	}
	return ns.InProcessConn()
}

func (s *Server) running() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

func (s *Server) set(ns *server.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = ns
}

// URL returns the address for other processes to connect to, or "" without Options.Listen.
func (s *Server) URL() string { return s.url }

// Close stops the server, and returns when everything is written. You may call it more than once.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.ending)
		s.watched.Wait()
		if ns := s.running(); ns != nil {
			stop(ns)
		}
		unlock(s.lock)
	})
}

// logger is the server's way to slog. Fatal doesn't end the process here: it is what Start returns.
type logger struct {
	slog  *slog.Logger
	fatal chan string
	wrong chan struct{} // an error was logged
}

func (l *logger) Noticef(format string, v ...any) {
	l.slog.Debug("nats-server: " + fmt.Sprintf(format, v...))
}
func (l *logger) Debugf(format string, v ...any) {
	l.slog.Debug("nats-server: " + fmt.Sprintf(format, v...))
}
func (l *logger) Tracef(format string, v ...any) {
	l.slog.Debug("nats-server: " + fmt.Sprintf(format, v...))
}
func (l *logger) Warnf(format string, v ...any) {
	l.slog.Warn("nats-server: " + fmt.Sprintf(format, v...))
}
func (l *logger) Errorf(format string, v ...any) {
	l.slog.Error("nats-server: " + fmt.Sprintf(format, v...))
	select {
	case l.wrong <- struct{}{}:
	default:
	}
}
func (l *logger) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.slog.Error("nats-server: " + text)
	select {
	case l.fatal <- text:
	default:
	}
}
