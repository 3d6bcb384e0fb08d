package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	neturl "net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Stream holds the events that wait for the workers, and the dead letters: events that couldn't be handled. Get it with [EnsureStream] or
// [OpenStream]. It is safe for concurrent use, and lives as long as its connection.
type Stream struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	cfg StreamConfig // with its defaults

	maxAge     time.Duration // for how long the server keeps an event; 0 is for ever
	maxMsgSize int32         // of the stream; not positive is no limit
}

// StreamConfig has the settings of a [Stream]. The zero value is good for a single server.
//
// A stream drops an event whose [receiver.Key] it has seen. So two receivers may share a stream only if the same key means the same event
// in both, as in replicas. If each of two tenants has a receiver with a verifier.Static, give each receiver its own stream, since these
// keys don't name the tenant.
type StreamConfig struct {
	// Name is the stream's name: letters, digits, '-' and '_'. Default "WALLETCREW". The dead letters' stream is Name + "_DEAD".
	Name string
	// Prefix is what the events' subjects begin with, see Subject: one token or several. Default "walletcrew". The dead
	// letters' subjects begin with Prefix + "-dead".
	Prefix string
	// Replicas is the number of servers that store each event: 1, 3 or 5. A majority of them must have it before it is acknowledged.
	// Default 1. More than one needs a cluster.
	Replicas int
	// DuplicateWindow is how long JetStream recognizes an event that it already has. Default 1 h, or KeepFor if that is shorter. It is an
	// error if it is longer than KeepFor. The server holds the keys of this time in memory, some 140 bytes each.
	DuplicateWindow time.Duration
	// MaxBytes and MaxMsgs limit each of the two streams, so the server's disk needs room for twice MaxBytes. 0: as much as the server
	// allows. At the limit, publishing fails with ErrStreamFull, and no stored event is dropped. While the dead letters' stream is full,
	// an event that should go there stays in its stream and is tried again. EnsureStream raises the limits of streams that exist, and
	// never lowers them.
	MaxBytes, MaxMsgs int64
	// KeepFor decides whether the stream is a work queue or a log.
	//
	//   - 0, the default: a work queue. An event stays until it is handled, however long that takes, and is then removed. Each event goes
	//     to one consumer, and the patterns of two consumers may not overlap.
	//   - Otherwise: a log. An event stays for this time, handled or not, and is then removed, even if no consumer has taken it. Any number
	//     of consumers get each event. An event that a function fails at until then goes to the dead letters before it is removed, if these
	//     can be stored.
	KeepFor time.Duration
	// MaxBodyBytes is the size of the largest body, as in verifier.WithMaxBodyBytes. If the server or the stream doesn't take a message of
	// this size with 4 KiB of headers, that is ErrTooSmall at start. Otherwise such an event would get 503 each time it comes. 0: the
	// verifier's default, 1 MiB. Then, instead of the error, NewPublisher logs a warning: so large an event is rare, and the default of a
	// NATS server is a little too small for it.
	MaxBodyBytes int64
	// Logger is for that warning. Nil: slog.Default().
	Logger *slog.Logger
}

// What can be wrong with a server or a stream. Use errors.Is.
var (
	// ErrNoJetStream: the server, or the account there, has no JetStream.
	ErrNoJetStream = errors.New("jetstream: the NATS server has no JetStream (start it with -js, and enable it for the account)")
	// ErrServerTooOld: the server lacks something that is needed here.
	ErrServerTooOld = errors.New("jetstream: the NATS server is too old")
	// ErrPermission: the server doesn't allow this user what is needed. The error's text names the subject.
	ErrPermission = errors.New("jetstream: the NATS server denies it")
	// ErrStreamConfig: the stream exists, but with its settings it can't keep the promises of this package. Nothing was changed.
	ErrStreamConfig = errors.New("jetstream: the stream is not as it must be")
	// ErrOtherPatterns: the consumer exists, and takes other events; see Stream.DeleteConsumer.
	ErrOtherPatterns = errors.New("jetstream: the consumer has other patterns")
	// ErrStreamNotFound: there is no such stream; EnsureStream makes it.
	ErrStreamNotFound = errors.New("jetstream: there is no such stream")
	// ErrStreamFull: the stream has reached its MaxBytes or MaxMsgs, or the account its limit, or the server's disk is full.
	ErrStreamFull = errors.New("jetstream: there is no room (the stream's MaxBytes or MaxMsgs, which EnsureStream can raise; the account's limit; or the server's disk)")
	// ErrTooSmall: the server's max_payload, or the stream's max_msg_size, is too small for StreamConfig.MaxBodyBytes.
	ErrTooSmall = errors.New("jetstream: the largest events are refused")
	// ErrUnavailable: there is no connection, or no answer in time.
	ErrUnavailable = errors.New("jetstream: the NATS server can't be reached")
)

// Connect connects to a server, or to any server of a cluster ("nats://a:4222,nats://b:4222"). The first connection must succeed. After
// that, it tries to reconnect for as long as the server is away, and is connected within half a second of the server's return. An event
// that is published meanwhile is an error, and isn't sent later. Your own options come after Connect's. If you make the connection
// yourself, set nats.MaxReconnects(-1): by default it gives up after two minutes.
func Connect(url string, opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect(url, append([]nats.Option{
		nats.Name("walletcrew-go"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(400 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.FlusherTimeout(2 * time.Second), // a server that hangs holds a write no longer; a minute by default
		nats.PingInterval(10 * time.Second),  // finds a dead connection within half a minute
	}, opts...)...)
	if _, ok := errors.AsType[*neturl.Error](err); ok { // its text holds the URL, and with it a password
		return nil, errors.New("jetstream: the server's URL can't be parsed: it is nats://host:port, or nats://user:password@host:port with both percent-encoded")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nc, nil
}

// EnsureStream returns the stream, and creates it and the stream of its dead letters if they don't exist: on disk, and refusing events when
// full. If they exist, it checks them as [OpenStream] does. It changes nothing but MaxBytes and MaxMsgs, which it raises. Call it when the
// service starts; the error says what to do. If ctx has no deadline, it waits 5 s for each answer.
func EnsureStream(ctx context.Context, nc *nats.Conn, cfg StreamConfig) (*Stream, error) {
	s, err := newStream(nc, cfg)
	if err != nil {
		return nil, err
	}
	for _, want := range []jetstream.StreamConfig{s.events(), s.deadLetters()} {
		have, err := s.check(ctx, want)
		if errors.Is(err, ErrStreamNotFound) {
			seen := s.nc.LastError()
			if _, err = s.js.CreateStream(ctx, want); err == nil {
				continue
			} else if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				have, err = s.check(ctx, want) // another process was first
			} else {
				err = s.explain("create stream "+want.Name, seen, err)
			}
		}
		if err == nil {
			err = s.raise(ctx, have, want)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// raise gives the stream the limits that are wanted, where they are higher.
func (s *Stream) raise(ctx context.Context, have, want jetstream.StreamConfig) error {
	bytes, msgs := higher(have.MaxBytes, want.MaxBytes), higher(have.MaxMsgs, want.MaxMsgs)
	if bytes == have.MaxBytes && msgs == have.MaxMsgs {
		return nil
	}
	have.MaxBytes, have.MaxMsgs = bytes, msgs
	seen := s.nc.LastError()
	if _, err := s.js.UpdateStream(ctx, have); err != nil {
		return s.explain(fmt.Sprintf("raise the limits of stream %s to %d bytes and %d messages", want.Name, bytes, msgs), seen, err)
	}
	return nil
}

// higher returns the limit that the stream gets. One that isn't positive is no limit: a stream without one stays so, and a
// StreamConfig without one leaves the stream's.
func higher(have, want int64) int64 {
	if have > 0 && want > have {
		return want
	}
	return have
}

// OpenStream returns a stream that exists, for a service that may not create one. The errors are those of the variables above.
// [ErrStreamConfig] means that the stream
//
//   - has its storage in memory
//   - drops old events when full
//   - is less than cfg says
//   - has other subjects than those of the prefix
//   - has any other setting that could lose an event
//
// [NewConsumer] checks the dead letters' stream in the same way.
func OpenStream(ctx context.Context, nc *nats.Conn, cfg StreamConfig) (*Stream, error) {
	s, err := newStream(nc, cfg)
	if err != nil {
		return nil, err
	}
	if _, err := s.check(ctx, s.events()); err != nil {
		return nil, err
	}
	return s, nil
}

func newStream(nc *nats.Conn, cfg StreamConfig) (*Stream, error) {
	if cfg.Name == "" {
		cfg.Name = "WALLETCREW"
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "walletcrew"
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	switch {
	case nc == nil:
		return nil, errors.New("jetstream: the connection is nil")
	case !isWord(cfg.Name):
		return nil, fmt.Errorf("jetstream: StreamConfig.Name %q: only letters, digits, '-' and '_' can be used", cfg.Name)
	case slices.ContainsFunc(strings.Split(cfg.Prefix, "."), func(t string) bool { return !isWord(t) }):
		return nil, fmt.Errorf("jetstream: StreamConfig.Prefix %q: only letters, digits, '-' and '_' can be used, and '.' between them", cfg.Prefix)
	case cfg.MaxBodyBytes < 0 || cfg.Replicas < 0 || cfg.DuplicateWindow < 0 || cfg.MaxBytes < 0 || cfg.MaxMsgs < 0 || cfg.KeepFor < 0:
		return nil, errors.New("jetstream: a number in StreamConfig is negative")
	case tooShort(cfg.DuplicateWindow, leastOfServer):
		return nil, fmt.Errorf("jetstream: StreamConfig.DuplicateWindow is %v, and the server takes %v at least: did you mean %d*time.Minute?", cfg.DuplicateWindow, leastOfServer, cfg.DuplicateWindow)
	case tooShort(cfg.KeepFor, leastOfServer):
		return nil, fmt.Errorf("jetstream: StreamConfig.KeepFor is %v, and the server takes %v at least: did you mean %d*time.Hour?", cfg.KeepFor, leastOfServer, cfg.KeepFor)
	case cfg.KeepFor > 0 && cfg.DuplicateWindow > cfg.KeepFor:
		return nil, fmt.Errorf("jetstream: StreamConfig.DuplicateWindow is %s, and KeepFor %s: a server knows no event for longer than it keeps it", cfg.DuplicateWindow, cfg.KeepFor)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	s := &Stream{nc: nc, js: js, cfg: cfg, maxAge: cfg.KeepFor}
	if err := s.needVersion(2, 9, "JetStream's newer API"); err != nil {
		return nil, err
	}
	if err := s.refuseSmall(cfg.Name, 0); err != nil {
		return nil, err
	}
	return s, nil
}

// leastOfServer is the shortest that the server takes for a stream's max age and duplicate window.
const leastOfServer = 100 * time.Millisecond

// tooShort reports whether a duration is less than can be meant. Without its unit it is in nanoseconds; 0 is the default.
func tooShort(d, least time.Duration) bool { return d > 0 && d < least }

func isWord(s string) bool {
	return s != "" && len(s) <= maxToken && !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 || !isPlain(byte(r)) }) //nolint:gosec // ASCII
}

// subject returns the whole subject of tokens that [Subject] made.
func (s *Stream) subject(tokens string) string { return s.cfg.Prefix + "." + tokens }

func (s *Stream) deadSubject(tokens string) string { return s.cfg.Prefix + "-dead." + tokens }

const defaultDuplicateWindow = time.Hour

func (s *Stream) events() jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name:        s.cfg.Name,
		Description: "Events of The Wallet Crew that wait for their worker",
		Subjects:    []string{s.subject("*.*.*")},
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		Retention:   jetstream.WorkQueuePolicy,
		Replicas:    s.cfg.Replicas,
		Duplicates:  s.cfg.DuplicateWindow,
		MaxBytes:    orUnlimited(s.cfg.MaxBytes),
		MaxMsgs:     orUnlimited(s.cfg.MaxMsgs),
	}
	if cfg.Duplicates == 0 {
		cfg.Duplicates = defaultDuplicateWindow
	}
	if s.cfg.KeepFor > 0 {
		cfg.Retention, cfg.MaxAge = jetstream.LimitsPolicy, s.cfg.KeepFor
		cfg.Duplicates = min(cfg.Duplicates, cfg.MaxAge) // a server wants it so
	}
	return cfg
}

func (s *Stream) deadLetters() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        s.cfg.Name + "_DEAD",
		Description: "Events of The Wallet Crew that could not be handled",
		Subjects:    []string{s.deadSubject(">")},
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		Retention:   jetstream.LimitsPolicy,
		Replicas:    s.cfg.Replicas,
		Duplicates:  cmp.Or(s.cfg.DuplicateWindow, defaultDuplicateWindow), // longer than a back-off
		MaxBytes:    orUnlimited(s.cfg.MaxBytes),
		MaxMsgs:     orUnlimited(s.cfg.MaxMsgs),
	}
}

func orUnlimited(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// check compares the stream that exists with the one that is wanted, and returns it.
func (s *Stream) check(ctx context.Context, want jetstream.StreamConfig) (have jetstream.StreamConfig, err error) {
	seen := s.nc.LastError()
	stream, err := s.js.Stream(ctx, want.Name)
	if err != nil {
		return have, s.explain("look up stream "+want.Name, seen, err)
	}
	have = stream.CachedInfo().Config
	var wrong []string
	must := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	must(have.Storage == jetstream.FileStorage, "its storage is memory, which a restart empties (want file)")
	must(have.PersistMode == jetstream.DefaultPersistMode, "its persist mode is async: it acknowledges what isn't written yet")
	must(have.Discard == jetstream.DiscardNew, "it discards old messages when it is full (want discard new)")
	must(!have.NoAck, "it does not acknowledge")
	must(have.Mirror == nil && !have.Sealed, "it is a mirror, or sealed")
	must(have.SubjectTransform == nil, "it changes the subjects")
	must(have.ConsumerLimits.InactiveThreshold == 0, "it deletes consumers that nobody runs for %s (consumer limit; want none): after a pause of the "+
		"workers, events would be handled again or not at all", have.ConsumerLimits.InactiveThreshold)
	must(have.MaxMsgsPerSubject <= 0 || have.DiscardNewPerSubject, "it keeps only the last messages of a subject")
	must(have.Retention == want.Retention, "its retention is %s (want %s)", have.Retention, want.Retention)
	if want.MaxAge == 0 {
		must(have.MaxAge == 0, "it drops messages after %s (max age; want none)", have.MaxAge)
	} else {
		must(have.MaxAge == 0 || have.MaxAge >= want.MaxAge, "it drops messages after %s (max age; want %s)", have.MaxAge, want.MaxAge)
	}
	must(have.Replicas >= want.Replicas, "it has %d replicas (want %d)", have.Replicas, want.Replicas)
	if s.cfg.DuplicateWindow > 0 && want.Name == s.cfg.Name {
		must(have.Duplicates >= want.Duplicates, "its duplicate window is %s (want %s)", have.Duplicates, want.Duplicates)
	}
	must(slices.ContainsFunc(have.Subjects, func(subject string) bool { return covers(subject, want.Subjects[0]) }),
		"its subjects are %s (want %s, or another StreamConfig.Prefix)", strings.Join(have.Subjects, ", "), want.Subjects[0])
	if len(wrong) > 0 {
		return have, fmt.Errorf("%w: %s: %s; change it (nats stream edit), or name another", ErrStreamConfig, want.Name, strings.Join(wrong, "; "))
	}
	if want.Name == s.cfg.Name {
		s.maxAge, s.maxMsgSize = have.MaxAge, have.MaxMsgSize
	}
	return have, s.refuseSmall(want.Name, have.MaxMsgSize)
}

const (
	defaultMaxBody = 1 << 20 // the verifier's
	headerRoom     = 4 << 10 // for a message's headers, and those of a dead letter
)

// refuseSmall returns what roomFor does if the program has said how large a body may be.
func (s *Stream) refuseSmall(stream string, maxMsgSize int32) error {
	if s.cfg.MaxBodyBytes == 0 {
		return nil
	}
	return s.roomFor(stream, maxMsgSize)
}

// roomFor returns [ErrTooSmall] if the server, or the stream, takes no message as large as that of the largest event.
func (s *Stream) roomFor(stream string, maxMsgSize int32) error {
	body := cmp.Or(s.cfg.MaxBodyBytes, defaultMaxBody)
	small := func(what, how string, have int64) error {
		if have <= 0 || have >= body+headerRoom { // not positive: not connected, or no limit
			return nil
		}
		return fmt.Errorf("%w: %s is %d bytes, and a body may have %d: set it to at least %d%s, or StreamConfig.MaxBodyBytes and "+
			"verifier.WithMaxBodyBytes to at most %d", ErrTooSmall, what, have, body, body+headerRoom, how, max(have-headerRoom, 0))
	}
	return cmp.Or(small("the server's max_payload", "", s.nc.MaxPayload()),
		small("the max_msg_size of stream "+stream, " (nats stream edit)", int64(maxMsgSize)))
}

// covers reports whether every subject that fits inner fits outer.
func covers(outer, inner string) bool {
	o, i := strings.Split(outer, "."), strings.Split(inner, ".")
	for n, t := range o {
		switch {
		case t == ">":
			return len(i) > n
		case n >= len(i), i[n] == ">":
			return false
		case t != "*" && t != i[n]:
			return false
		}
	}
	return len(o) == len(i)
}

func (s *Stream) needVersion(major, minor int, what string) error {
	version := s.nc.ConnectedServerVersion()
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return nil // not connected: what follows says so
	}
	haveMajor, err1 := strconv.Atoi(strings.TrimPrefix(parts[0], "v"))
	haveMinor, err2 := strconv.Atoi(parts[1])
	if err1 == nil && err2 == nil && (haveMajor < major || haveMajor == major && haveMinor < minor) {
		return fmt.Errorf("%w: it is %s; %s needs %d.%d", ErrServerTooOld, version, what, major, minor)
	}
	return nil
}

// explain turns NATS' errors into this package's. Seen is the connection's last error from before the call: the server tells of a
// missing permission there, and leaves the call itself without an answer.
func (s *Stream) explain(doing string, seen, err error) error {
	say := func(kind error) error { return fmt.Errorf("%w: %s: %w", kind, doing, err) }
	if last := s.nc.LastError(); last != nil && last != seen && errors.Is(last, nats.ErrPermissionViolation) { //nolint:errorlint // the very same
		return fmt.Errorf("%w: %s: %w (%w)", ErrPermission, doing, last, err)
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamNotFound:
			return say(ErrStreamNotFound)
		case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount:
			return say(ErrNoJetStream)
		case codeStorageExceeded, codeAccountExceeded, codeMemoryExceeded, codeInsufficient:
			return say(ErrStreamFull)
		case codeReplicas:
			return fmt.Errorf("%w: %s: StreamConfig.Replicas can't be had: %w", ErrStreamConfig, doing, err)
		case codeStreamConfig, codeStreamUpdate:
			return say(ErrStreamConfig) // no waiting mends it
		case codeConsumerCreate:
			return fmt.Errorf("jetstream: %s: the server refuses the ConsumerConfig: %w", doing, err)
		case codeStoreFailed:
			if strings.Contains(api.Description, "exceeded") || strings.Contains(api.Description, "no space") {
				return say(ErrStreamFull)
			}
		}
		if api.Code >= 500 {
			return say(ErrUnavailable)
		}
		return fmt.Errorf("jetstream: %s: %w", doing, err)
	}
	switch {
	case errors.Is(err, nats.ErrNoResponders): // of its API; publishing is ErrNoStreamResponse
		return say(ErrNoJetStream)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected),
		errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrConnectionDraining):
		return say(ErrUnavailable)
	}
	return fmt.Errorf("jetstream: %s: %w", doing, err)
}

// Codes of the server's errors that the client has no names for (its errors.json).
const (
	codeAccountExceeded jetstream.ErrorCode = 10002
	codeInsufficient    jetstream.ErrorCode = 10023
	codeMemoryExceeded  jetstream.ErrorCode = 10028
	codeStorageExceeded jetstream.ErrorCode = 10047
	codeConsumerCreate  jetstream.ErrorCode = 10012
	codeStreamConfig    jetstream.ErrorCode = 10052
	codeStreamUpdate    jetstream.ErrorCode = 10069
	codeReplicas        jetstream.ErrorCode = 10074
	codeStoreFailed     jetstream.ErrorCode = 10077
	codeNotThisStream   jetstream.ErrorCode = 10060
	codeUnfilteredTaken jetstream.ErrorCode = 10099
	codeFilterTaken     jetstream.ErrorCode = 10100
)
