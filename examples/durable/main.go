// Command durable receives webhooks without losing any: the receiver puts each event on disk and answers, and a worker handles it
// from there. Receiver, stream and worker are one process, or three: see the README.
//
//	go run .
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

type config struct {
	role, nats, listen, data string
	secret                   walletcrew.Secret
	args                     []string // of -role dead
}

func main() {
	log.SetFlags(0)
	c := config{secret: walletcrew.Secret(os.Getenv("WALLETCREW_SECRET"))}
	flag.StringVar(&c.role, "role", "all", "receiver, stream, worker, or all of them; or dead, see the README")
	flag.StringVar(&c.nats, "nats", "", "the stream's `URL`; with -role all: in this process if empty; with -role stream: where to listen")
	flag.StringVar(&c.listen, "listen", "127.0.0.1:8080", "the receiver's `address`")
	flag.StringVar(&c.data, "data", "data", "the stream's `directory`")
	isDemo := flag.Bool("demo", c.secret == "", "with -role all: deliver a few events from a platform in memory, and end; default without WALLETCREW_SECRET")
	flag.Parse()
	c.args = flag.Args()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := c.run
	if *isDemo && c.role == "all" {
		run = demo
	}
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

const defaultURL = "nats://127.0.0.1:4222"

func (c config) run(ctx context.Context) error {
	if c.secret == "" && (c.role == "receiver" || c.role == "all") {
		return errors.New("the receiver needs WALLETCREW_SECRET, the webhook's signatureSecret")
	}
	switch c.role {
	case "stream":
		return c.stream(ctx)
	case "all":
		if c.nats != "" {
			break
		}
		server, err := embedded.Start(ctx, embedded.Options{Dir: c.data})
		if err != nil {
			return err
		}
		defer server.Close()
		nc, err := server.Connect()
		if err != nil {
			return err
		}
		defer nc.Close()
		return c.work(ctx, nc)
	case "receiver", "worker", "dead":
	default:
		return fmt.Errorf("-role %s: it is receiver, stream, worker, all or dead", c.role)
	}
	if c.nats == "" {
		c.nats = defaultURL
	}
	nc, err := jetstream.Connect(c.nats)
	if err != nil {
		return err
	}
	defer nc.Close()
	if c.role == "dead" {
		return dead(ctx, nc, os.Stdout, c.args)
	}
	return c.work(ctx, nc)
}

// stream runs the server for receivers and workers in other processes.
func (c config) stream(ctx context.Context) error {
	if c.nats == "" {
		c.nats = defaultURL
	}
	address, err := url.Parse(c.nats)
	if err != nil || *address != (url.URL{Scheme: "nats", Host: address.Host}) || address.Hostname() == "" || address.Port() == "" {
		return errors.New("-role stream: -nats is where to listen, nats://host:port on the loopback interface; there are no users")
	}
	server, err := embedded.Start(ctx, embedded.Options{Dir: c.data, Listen: address.Host})
	if err != nil {
		return err
	}
	defer server.Close()
	log.Println("stream: at", server.URL(), "in", c.data)
	<-ctx.Done()
	return nil
}

// work runs the receiver, the worker, or both, until ctx ends or one of them fails.
func (c config) work(ctx context.Context, nc *nats.Conn) error {
	// Some 70,000 events, and as many dead letters: the server reserves the room at once.
	stream, err := jetstream.EnsureStream(ctx, nc, jetstream.StreamConfig{MaxBytes: 64 << 20})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts sync.WaitGroup
	var failed [2]error
	if c.role != "worker" {
		listener, err := net.Listen("tcp", c.listen)
		if err != nil {
			return err
		}
		parts.Go(func() {
			defer cancel()
			failed[0] = receive(ctx, stream, verifier.Static(c.secret), listener)
		})
	}
	if c.role != "receiver" {
		parts.Go(func() {
			defer cancel()
			failed[1] = worker(ctx, stream, nil)
		})
	}
	parts.Wait()
	return errors.Join(failed[:]...)
}

// receive verifies what comes, and answers 2xx once it is in the stream.
func receive(ctx context.Context, stream *jetstream.Stream, source verifier.SecretSource, listener net.Listener) error {
	publisher, err := jetstream.NewPublisher(ctx, stream)
	if err != nil {
		return err
	}
	v, err := verifier.New(source)
	if err != nil {
		return err
	}
	handler := receiver.NewHandler(v, publisher.Handle)
	mux := http.NewServeMux()
	mux.Handle("/webhooks/walletcrew", handler)
	server := newServer(mux)
	ended := make(chan error, 1)
	defer context.AfterFunc(ctx, func() {
		wait, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		ended <- errors.Join(server.Shutdown(wait), handler.Shutdown(wait))
	})()
	log.Printf("receiver: at http://%s/webhooks/walletcrew", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended // what was under way has been published and answered
}

// newServer returns a server that no connection holds for ever.
func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      40 * time.Second, // over the handler's 25 s
		IdleTimeout:       2 * time.Minute,
	}
}

// worker handles what is in the stream. This is where your code goes. An event may come to it more than once: for an effect that must
// happen once, put the function into sqldedupe's Once, which finds the event's key in its context.
func worker(ctx context.Context, stream *jetstream.Stream, observe func(context.Context, jetstream.Outcome)) error {
	mux := receiver.NewMux()
	receiver.On(mux, func(_ context.Context, e *walletcrew.Event, d *walletcrew.PassInstalled) error {
		if d.PassID == "" {
			return receiver.Discard(errors.New("there is no passId, and never will be"))
		}
		log.Printf("worker:   %s (%s): pass %s on %s", e.Name, e.ID, d.PassID, d.Device.Platform)
		return nil
	})
	mux.HandleFunc(walletcrew.AllEvents, func(_ context.Context, e *walletcrew.Event) error {
		log.Printf("worker:   %s (%s): %d members", e.Name, e.ID, len(e.Members()))
		return e.DataErr // of one that the function above couldn't take: it ends among the dead letters, not unseen
	})
	consumer, err := jetstream.NewConsumer(ctx, stream, mux.Handle, jetstream.ConsumerConfig{
		Name:     "example",
		Logger:   slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime})),
		Observer: observe,
	})
	if err != nil {
		return err
	}
	return consumer.Run(ctx)
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
