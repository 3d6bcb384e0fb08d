package main

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

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
	cfg, err := streamConfig(ctx, conn, f)
	if err != nil {
		conn.Close()
		return nil, err
	}
	stream, err := jetstream.OpenStream(ctx, conn, cfg)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &jetStream{conn, stream}, nil
}

// streamConfig is what the program that made the stream has set, read from the stream: a difference that is only this command's
// would be told as a fault of a stream that is as it should be.
func streamConfig(ctx context.Context, conn *nats.Conn, f deadFlags) (jetstream.StreamConfig, error) {
	cfg := jetstream.StreamConfig{Name: f.stream, Prefix: f.prefix}
	js, err := natsjs.New(conn)
	if err != nil {
		return cfg, err
	}
	found, err := js.Stream(ctx, cmp.Or(f.stream, "WALLETCREW"))
	if err != nil {
		return cfg, nil //nolint:nilerr // OpenStream says it in better words
	}
	have := found.CachedInfo().Config
	if have.Retention == natsjs.LimitsPolicy {
		cfg.KeepFor = cmp.Or(have.MaxAge, 24*time.Hour)
	}
	if cfg.Prefix != "" {
		return cfg, nil
	}
	var prefixes []string
	for _, subject := range have.Subjects {
		if prefix, ok := strings.CutSuffix(subject, ".*.*.*"); ok && !strings.ContainsAny(prefix, "*>") {
			prefixes = append(prefixes, prefix)
		}
	}
	switch {
	case len(prefixes) > 1:
		return cfg, usagef("which prefix? The stream has several: --prefix %s", strings.Join(prefixes, ", or "))
	case len(prefixes) == 1:
		cfg.Prefix = prefixes[0]
	case !slices.ContainsFunc(have.Subjects, func(s string) bool { return s == ">" || s == "*.>" || strings.HasPrefix(s, "walletcrew.") }):
		return cfg, usagef("the stream's subjects are %s: add --prefix, which is the StreamConfig.Prefix of the program that made it", strings.Join(have.Subjects, ", "))
	}
	return cfg, nil
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
