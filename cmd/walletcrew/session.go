package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/cmd/walletcrew/internal/inspector"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// A session is a dev or a listen that runs: what comes in is verified, shown and forwarded.
type session struct {
	cli      *cli
	id       string
	store    *inspector.Store
	verifier *verifier.Verifier
	source   verifier.SecretSource
	sender   *http.Client
	// signer returns the secret to sign with for an endpoint; "" is the session's own.
	signer func(ctx context.Context, endpoint string) (walletcrew.Secret, error)
	// emit lets the platform deliver, if it is in this process: nil in listen.
	emit    func(ctx context.Context, event string, body []byte) (sent, error)
	tenant  string
	forward *forwarder // nil: deliveries are only shown
	record  *recorder  // of --record: nil without
	forged  bool       // what isn't authentic is forwarded, too
	secrets secretList // that were seen: the inspector shows none of them

	seen seen
	// diagnoses limits how often the reason is looked for why a stranger's delivery is forged: that hashes its body some hundred times.
	diagnoses *rate.Limiter
	bodyTime  time.Duration       // for a body to come in
	underWay  *semaphore.Weighted // bytes of bodies that are being read or handled
	out       sync.Mutex          // one line at a time
}

// maxUnderWay bounds the memory that strangers can take, who may send many large bodies at once through a listen's tunnel.
const maxUnderWay = 128 << 20

var errTooMuch = errors.New("too much comes at once: try again")

// A metered reader takes what it reads from what may be under way.
type metered struct {
	io.Reader
	free  *semaphore.Weighted
	taken int64
}

// Read is [io.Reader]'s.
func (m *metered) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if !m.free.TryAcquire(int64(n)) {
		return 0, errTooMuch
	}
	m.taken += int64(n)
	return n, err
}

// secretList remembers secrets, so that they can be kept out of what is shown.
type secretList struct {
	mu   sync.Mutex
	list []walletcrew.Secret
}

func (l *secretList) add(secrets ...walletcrew.Secret) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range secrets {
		if s != "" && !slices.Contains(l.list, s) {
			l.list = append(l.list, s)
		}
	}
}

func (l *secretList) all() []walletcrew.Secret {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// newSession returns a session whose deliveries are signed with the source's secrets.
func (c *cli) newSession(source verifier.SecretSource) (*session, error) {
	v, err := verifier.New(source, verifier.WithMaxBodyBytes(maxBody))
	if err != nil {
		return nil, err
	}
	signal.Ignore(syscall.SIGPIPE) // whoever read stdout, such as head, may have ended: a listen must still take its webhook away
	return &session{cli: c, id: newID(), store: inspector.NewStore(10_000, 256<<20), verifier: v, source: source, sender: newSender(),
		diagnoses: rate.NewLimiter(5, 20), bodyTime: answerTime, underWay: semaphore.NewWeighted(maxUnderWay)}, nil
}

// newID returns an id that is short enough to be typed.
func newID() string { return strings.ToLower(rand.Text()[:10]) }

// An incoming is a delivery that came, or that the user made.
type incoming struct {
	message
	own bool // made by the user, so that it is forwarded whatever its verdict
}

// ServeHTTP takes a delivery, and answers what your service answers.
func (s *session) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(s.bodyTime))
	in := &metered{Reader: http.MaxBytesReader(w, r.Body, maxBody), free: s.underWay}
	defer func() { s.underWay.Release(in.taken) }()
	body, err := io.ReadAll(in)
	if err == nil { // else net/http would wait for the rest, without end
		_ = control.SetReadDeadline(time.Time{})
	}
	if err != nil {
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		if errors.Is(err, errTooMuch) {
			status = http.StatusServiceUnavailable
		}
		s.refuse(r, status, plainError(err))
		http.Error(w, plainError(err).Error(), status)
		return
	}
	// The service gets all of it, also if the sender hangs up.
	_, a := s.receive(context.WithoutCancel(r.Context()), incoming{message: message{Method: r.Method, Header: r.Header, Body: body}})
	maps.Copy(w.Header(), a.Header)
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body)
}

// refuse records a delivery that couldn't be read.
func (s *session) refuse(r *http.Request, status int, err error) {
	record := inspector.Record{ID: newID(), Time: time.Now(), Header: r.Header.Clone(), Verdict: inspector.Refused, Error: err.Error(), Status: status,
		Event: r.Header.Get(walletcrew.HeaderEventName), Tenant: r.Header.Get(walletcrew.HeaderTenantID)}
	s.store.Add(record)
	s.show(record)
}

// receive verifies a delivery, shows it and forwards it. It returns the id of its record, and what to answer.
func (s *session) receive(ctx context.Context, in incoming) (id string, a answer) {
	record, err := s.examine(ctx, in.message, in.own)
	s.store.Add(record)
	authentic := record.Verdict == inspector.Verified
	if authentic && s.record != nil {
		if err := s.record.write(record); err != nil {
			s.cli.say("--record: %v", err)
		}
	}
	switch {
	case s.forward != nil && (authentic || in.own || s.forged):
		a = s.hand(ctx, &record, in.message)
	default:
		a = answer{Status: verifier.StatusCode(err)}
	}
	s.show(record)
	return record.ID, a
}

// hand gives a delivery to your service, and says in the record what became of it.
func (s *session) hand(ctx context.Context, record *inspector.Record, m message) answer {
	id := record.ID
	settle := func(f forwarded) func(*inspector.Record) {
		return func(r *inspector.Record) {
			r.ForwardURL, r.Status, r.Duration, r.Error = s.forward.url, f.Status, f.Duration, ""
			r.Answer = shortened(f.Body)
			switch {
			case f.Kept:
				r.Error = "kept until your service is back"
			case f.Err != nil:
				r.Error = f.Err.Error()
			}
		}
	}
	what := clipped(record.Event) + " " + clipped(record.EventID)
	f := s.forward.forward(ctx, what, m, func(a answer, err error) {
		s.store.Update(id, settle(forwarded{answer: a, Kept: err != nil, Err: err}))
		if err == nil {
			if r, ok := s.store.Get(id); ok {
				s.show(r)
			}
		}
	})
	settle(f)(record)
	if !f.Kept { // what is kept may have its answer by now
		s.store.Update(id, settle(f))
	}
	switch {
	case f.Kept:
		s.store.Update(id, func(r *inspector.Record) {
			if r.Status == 0 && r.Error == "" {
				settle(f)(r)
			}
		})
		return answer{Status: http.StatusAccepted}
	case f.Err != nil:
		return answer{Status: http.StatusBadGateway, Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
			Body: []byte("walletcrew: the service behind doesn't answer: " + f.Err.Error() + "\n")}
	}
	return f.answer
}

const maxShown = 64 << 10 // of an answer, in the inspector

func shortened(body []byte) string { return string(body[:min(len(body), maxShown)]) }

// examine says what a delivery is. The error is the verifier's.
func (s *session) examine(ctx context.Context, m message, own bool) (inspector.Record, error) {
	record := inspector.Record{ID: newID(), Time: time.Now(), Header: m.Header.Clone(), Body: m.Body}
	d, err := s.verifier.DeliveryFrom(ctx, m.Header.Get, m.Body)
	if m.Method != "" && m.Method != http.MethodPost {
		err = verifier.ErrMethodNotAllowed
	}
	record.Event, record.Tenant = string(d.ClaimedName), d.ClaimedTenant
	record.Verdict = verdict(err)
	if d.Event != nil && err == nil {
		record.Event, record.EventID = string(d.Event.Name), d.Event.ID
		record.Duplicate = s.seen.before(d.Key())
	}
	if err != nil {
		record.Findings = s.findings(ctx, m, record.Tenant, err, own)
	}
	return record, err
}

func verdict(err error) string {
	switch {
	case err == nil:
		return inspector.Verified
	case errors.Is(err, walletcrew.ErrMissingSignature):
		return inspector.Unsigned
	case errors.Is(err, walletcrew.ErrSignatureMismatch):
		return inspector.Forged
	case errors.Is(err, walletcrew.ErrMalformedSignature), errors.Is(err, walletcrew.ErrInvalidPayload), errors.Is(err, verifier.ErrEventNameMismatch):
		return inspector.Malformed
	}
	return inspector.Refused
}

// findings says in words why a delivery isn't accepted.
func (s *session) findings(ctx context.Context, m message, tenant string, err error, own bool) []string {
	findings := []string{oneLine(err)}
	if !errors.Is(err, walletcrew.ErrSignatureMismatch) && !errors.Is(err, walletcrew.ErrMalformedSignature) {
		return findings
	}
	switch {
	case len(m.Body) > maxDiagnosed:
		return append(findings, "the body is too large to look for the reason")
	case !own && !s.diagnoses.Allow():
		return append(findings, "too many such come to look for the reason of each")
	}
	secrets, sourceErr := s.source.Secrets(ctx, tenant)
	if sourceErr != nil || len(secrets) == 0 {
		return findings
	}
	return append(findings, verifier.Diagnose(m.Body, m.Header.Get(walletcrew.HeaderSignature), secrets...)...)
}

// maxDiagnosed bounds what a stranger can make this process compute: Diagnose hashes the body some hundred times.
const maxDiagnosed = 256 << 10

// seen remembers the events that came, the last 20,000.
type seen struct {
	mu    sync.Mutex
	keys  map[string]bool
	order []string
}

// before reports whether the event came before.
func (s *seen) before(key string) bool {
	if key == "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[key] {
		return true
	}
	if s.keys == nil {
		s.keys = map[string]bool{}
	}
	s.keys[key] = true
	s.order = append(s.order, key)
	if len(s.order) > 20_000 {
		delete(s.keys, s.order[0])
		s.order = s.order[1:]
	}
	return false
}

// A shown is a delivery as dev and listen print it.
type shown struct {
	ID         string    `json:"id"` // for replay and resend
	Time       time.Time `json:"time"`
	Event      string    `json:"event"`
	Tenant     string    `json:"tenant"`
	EventID    string    `json:"eventId"`
	Verdict    string    `json:"verdict"`
	Findings   []string  `json:"findings"`
	Duplicate  bool      `json:"duplicate"`
	Status     int       `json:"status"`
	DurationMs float64   `json:"durationMs"`
	Error      string    `json:"error"`
}

// show prints a delivery.
func (s *session) show(r inspector.Record) {
	v := shown{ID: r.ID, Time: r.Time, Event: r.Event, Tenant: r.Tenant, EventID: r.EventID, Verdict: r.Verdict, Findings: r.Findings, Duplicate: r.Duplicate,
		Status: r.Status, DurationMs: milliseconds(r.Duration), Error: r.Error}
	if v.Findings == nil {
		v.Findings = []string{}
	}
	s.out.Lock()
	defer s.out.Unlock()
	_ = s.cli.line(v, s.text(r)) // a closed stdout doesn't end the session
}

func (s *session) text(r inspector.Record) string {
	c := s.cli
	verdict := c.paint(green, fmt.Sprintf("%-9s", r.Verdict))
	if r.Verdict != inspector.Verified {
		verdict = c.paint(red, fmt.Sprintf("%-9s", r.Verdict))
	}
	became := "shown"
	switch {
	case r.Status != 0 && r.Status/100 == 2:
		became = string(c.paint(green, fmt.Sprint(r.Status)))
	case r.Status != 0:
		became = string(c.paint(red, fmt.Sprint(r.Status)))
	case r.Error != "":
		became = string(c.paint(red, r.Error))
	}
	text := fmt.Sprintf("%s  %-19s  %s  %s  %-36s  %s", r.Time.Format(time.TimeOnly), visible(clipped(r.Event)), r.ID, verdict, visible(clipped(r.EventID)), became)
	if r.Status != 0 {
		text += fmt.Sprintf("  %.0f ms", milliseconds(r.Duration))
	}
	if r.Duplicate {
		text += "  " + string(c.paint(faint, "duplicate"))
	}
	lines := []string{text}
	for _, finding := range r.Findings {
		lines = append(lines, "          "+string(c.paint(yellow, finding)))
	}
	return strings.Join(lines, "\n")
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
