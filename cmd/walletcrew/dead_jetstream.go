package main

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/adapters/riverinbox"
)

// jetStream is the dead letters of a stream.
type jetStream struct {
	conn   *nats.Conn
	stream *jetstream.Stream
}

func openJetStream(ctx context.Context, f deadFlags) (deadLetters, error) {
	opts := []nats.Option{nats.Name("walletcrew dead")}
	if f.creds != "" {
		opts = append(opts, nats.UserCredentials(f.creds))
	}
	conn, err := jetstream.Connect(f.nats, opts...)
	if err != nil {
		return nil, errors.New("the NATS server doesn't answer: " + withoutCredentials(err, f.nats))
	}
	stream, err := jetstream.OpenStream(ctx, conn, jetstream.StreamConfig{Name: f.stream, Prefix: f.prefix})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &jetStream{conn, stream}, nil
}

// withoutCredentials is the error's text; a URL may have a password in it.
func withoutCredentials(err error, url string) string {
	return strings.ReplaceAll(err.Error(), url, "")
}

func (j *jetStream) Close() { j.conn.Close() }

func (j *jetStream) All(ctx context.Context) iter.Seq2[deadLetter, error] {
	return func(yield func(deadLetter, error) bool) {
		for d, err := range j.stream.DeadLetters(ctx) {
			if err != nil {
				yield(deadLetter{}, err)
				return
			}
			if !yield(fromJetStream(d), nil) {
				return
			}
		}
	}
}

func fromJetStream(d *jetstream.DeadLetter) deadLetter {
	letter := deadLetter{ID: d.ID, Reason: d.Reason, Consumer: d.Consumer, Tries: d.Tries, Time: d.Time, DiedAt: d.DiedAt, Bytes: len(d.Body), body: d.Body}
	if d.Event != nil {
		letter.Event, letter.Tenant, letter.EventID = string(d.Event.Name), d.Event.TenantID, d.Event.ID
	}
	return letter
}

func (j *jetStream) get(ctx context.Context, id string) (*jetstream.DeadLetter, error) {
	d, err := j.stream.DeadLetter(ctx, id)
	return d, plainDead(err)
}

// plainDead is the error in the command's words.
func plainDead(err error) error {
	if errors.Is(err, jetstream.ErrNoDeadLetter) || errors.Is(err, riverinbox.ErrNoDeadLetter) {
		return errNoDeadLetter
	}
	return err
}

func (j *jetStream) Get(ctx context.Context, id string) (deadLetter, error) {
	d, err := j.get(ctx, id)
	if err != nil {
		return deadLetter{}, err
	}
	return fromJetStream(d), nil
}

func (j *jetStream) Redrive(ctx context.Context, id string) error {
	d, err := j.get(ctx, id)
	if err != nil {
		return err
	}
	return plainDead(d.Redrive(ctx))
}

func (j *jetStream) Delete(ctx context.Context, id string) error {
	d, err := j.get(ctx, id)
	if err != nil {
		return err
	}
	return plainDead(d.Delete(ctx))
}
