package main

import (
	"context"
	crand "crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
	"github.com/thewalletcrew/walletcrew-go/adapters/redisdedupe"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// roleEnv holds the role, in JSON, in which this program is started again.
const roleEnv = "WALLETCREW_SOAK_ROLE"

// A role is what a process of ours does.
type role struct {
	Name     string // receiver, worker, river, stream
	Listen   string
	Function string        // receiver: publish, inbox, once, count, append
	Timeout  time.Duration // receiver: of the function
	Until    string        // receiver: the key in Redis that ends the function count; empty: it ends at once

	NATS, Stream   string // the URL, and the name
	Postgres       string
	Schema         string
	Redis, Prefix  string
	Dir            string // stream: where its data is
	File           string // receiver: where the function append writes
	WithoutDeduper bool
}

// play runs the role until it is killed or fails, and returns the exit status.
func play(text string) int {
	var c role
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		ctx := context.Background()
		switch c.Name {
		case "receiver":
			err = c.receiver(ctx)
		case "worker":
			err = c.worker(ctx)
		case "river":
			err = c.river(ctx)
		case "stream":
			err = c.stream(ctx)
		default:
			err = fmt.Errorf("there is no role %q", c.Name)
		}
	}
	fmt.Fprintln(os.Stderr, "soak:", err)
	return 1
}

// starting is for how long a process tries to start: what it needs may just be starting itself.
const starting = time.Minute

// receiver is what a service that receives looks like.
func (c role) receiver(ctx context.Context) error {
	var fn receiver.HandlerFunc
	var opts []receiver.HandlerOption
	err := until(ctx, starting, func(ctx context.Context) (err error) {
		fn, opts, err = c.function(ctx)
		return err
	})
	if err != nil {
		return err
	}
	v, err := verifier.New(verifier.Static(secret))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(path, receiver.NewHandler(v, fn, append(opts, receiver.WithTimeout(c.Timeout))...))
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return server.Serve(listener)
}

// function returns what is called for each event.
func (c role) function(ctx context.Context) (receiver.HandlerFunc, []receiver.HandlerOption, error) {
	switch c.Function {
	case "publish":
		stream, err := c.openStream(ctx)
		if err != nil {
			return nil, nil, err
		}
		publisher, err := jetstream.NewPublisher(ctx, stream)
		if err != nil {
			return nil, nil, err
		}
		return publisher.Handle, nil, nil
	case "inbox":
		inbox, _, err := c.inbox(ctx)
		if err != nil {
			return nil, nil, err
		}
		return inbox.Handle, nil, nil
	case "once":
		fn, err := c.once(ctx)
		return fn, nil, err
	case "count", "append":
		wait := time.Second // as redisdedupe's documentation recommends
		if c.Function == "count" {
			wait = patience
		}
		client := newRedis(c.Redis, wait)
		deduper, err := redisdedupe.New(client, "soak", redisdedupe.WithPrefix(c.Prefix), redisdedupe.WithRetention(time.Hour))
		if err != nil {
			return nil, nil, err
		}
		if err := deduper.Check(ctx); err != nil {
			return nil, nil, err
		}
		opts := []receiver.HandlerOption{receiver.WithDeduper(deduper)}
		if c.WithoutDeduper {
			opts = nil
		}
		if c.Function == "count" {
			return c.count(client), opts, nil
		}
		fn, err := c.append()
		return fn, opts, err
	}
	return nil, nil, fmt.Errorf("there is no function %q", c.Function)
}

// worker takes events out of the stream, and makes their effect in PostgreSQL.
func (c role) worker(ctx context.Context) error {
	var consumer *jetstream.Consumer
	err := until(ctx, starting, func(ctx context.Context) error {
		fn, err := c.once(ctx)
		if err != nil {
			return err
		}
		stream, err := c.openStream(ctx)
		if err != nil {
			return err
		}
		consumer, err = jetstream.NewConsumer(ctx, stream, fn, jetstream.ConsumerConfig{AckWait: ackWait})
		return err
	})
	if err != nil {
		return err
	}
	return consumer.Run(ctx)
}

// ackWait is short, so that what a killed worker had comes again soon.
const ackWait = 2 * time.Second

// stream is a NATS server, until SIGTERM.
func (c role) stream(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	server, err := embedded.Start(ctx, embedded.Options{Dir: c.Dir, Listen: c.Listen})
	if err != nil {
		return err
	}
	<-ctx.Done()
	server.Close()
	return errors.New("stopped")
}

func (c role) openStream(ctx context.Context) (*jetstream.Stream, error) {
	nc, err := jetstream.Connect(c.NATS)
	if err != nil {
		return nil, err
	}
	stream, err := jetstream.EnsureStream(ctx, nc, c.streamConfig())
	if err != nil {
		nc.Close()
	}
	return stream, err
}

// streamConfig is a log's, so that at the end all can be counted.
func (c role) streamConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: c.Stream, Prefix: c.Stream, KeepFor: 24 * time.Hour}
}

// once writes one row for each time that it makes an event's effect, in the transaction that records the event.
func (c role) once(ctx context.Context) (receiver.HandlerFunc, error) {
	db, err := sql.Open("pgx", c.Postgres)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	dedupe, err := sqldedupe.New(db, sqldedupe.Postgres, "soak", sqldedupe.WithTable(c.Schema+".walletcrew_events"))
	if err == nil {
		err = dedupe.EnsureSchema(ctx)
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	insert := "INSERT INTO " + c.Schema + ".effects (event_id) VALUES ($1)" //nolint:gosec // the schema's name is ours
	if c.WithoutDeduper {
		return func(ctx context.Context, e *walletcrew.Event) error {
			_, err := db.ExecContext(ctx, insert, e.ID)
			return err
		}, nil
	}
	return dedupe.Once(func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
		_, err := tx.ExecContext(ctx, insert, e.ID)
		return err
	}), nil
}

// count notes in Redis that it was called for an event. Each call has a name, so that one whose answer was lost, and that the client
// sends again, isn't two; and it isn't broken off, or a call that was noted would fail and be made again.
func (c role) count(client *redis.Client) receiver.HandlerFunc {
	return func(ctx context.Context, e *walletcrew.Event) error {
		ctx = context.WithoutCancel(ctx)
		call := crand.Text()
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.SAdd(ctx, c.Prefix+"ran:"+e.ID, call)
			p.Expire(ctx, c.Prefix+"ran:"+e.ID, time.Hour)
			return nil
		})
		if c.Until != "" {
			_ = until(ctx, 2*time.Minute, func(ctx context.Context) error { return client.Get(ctx, c.Until).Err() })
		}
		return err
	}
}

// append writes a line for each time that it is called.
func (c role) append() (receiver.HandlerFunc, error) {
	file, err := os.OpenFile(c.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, e *walletcrew.Event) error {
		_, err := io.WriteString(file, e.ID+"\n") // one write: lines don't mix
		return err
	}, nil
}

// patience is for what comes in the end, but late on a machine that is busy: it only ends a hang.
const patience = 20 * time.Second

// newRedis is a client that waits for so long for a connection, and for an answer.
func newRedis(address string, wait time.Duration) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: address, ContextTimeoutEnabled: true, DialTimeout: wait, ReadTimeout: wait,
		MaxRetries: 1, DialerRetries: 1})
}

func init() {
	logging.Disable() // of go-redis: that a server is away is no news here
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
}
