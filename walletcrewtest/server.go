// Package walletcrewtest is the platform in memory, for tests: the management API on a loopback port, and deliveries that are
// signed as the platform's.
//
// # A whole flow
//
//	server := walletcrewtest.NewServer()
//	defer server.Close()
//
//	client := server.Client()
//	_, err := client.Webhooks.Create(ctx, walletcrew.WebhookSpec{
//		Endpoint: receiver.URL, // of an httptest.Server around your handler
//		Events:   []walletcrew.EventName{walletcrew.AllPassEvents},
//	})
//	...
//	deliveries, err := server.Emit(ctx, walletcrew.EventPassInstalled, map[string]any{"passId": "p-1001"})
//
// The server can do more:
//
//   - [Server.Fail] makes calls to the API fail.
//   - [Server.Deliver] sends a duplicate or an older event.
//   - [Server.Requests] and [Server.Webhooks] return the requests and the webhooks that the server has.
//
// # A handler alone
//
// Test it as with net/http/httptest: [NewRequest] makes a signed delivery, and [Sample] or [Payload] its body.
//
// # A receiver that runs
//
// [TestReceiver] tests whether a receiver keeps the rules of receiving, whatever it is written with. [Send] delivers one event to it, and
// [Replay] the events of a file.
//
// # What isn't documented
//
// The platform's documentation leaves some things open, such as the answer to PATCH and the spelling of a signature. The server does them
// in one way, and an [Option] changes that. So your tests can show that your code doesn't depend on it.
package walletcrewtest

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A Server is the platform with one tenant, listening on a port of the loopback interface. Make it with [NewServer], and Close it
// at the end. All its methods are safe for concurrent use; its fields must not be changed.
type Server struct {
	URL      string // base URL of the form http://ipaddr:port, without a slash at its end
	TenantID string // the one tenant
	APIKey   string // of the tenant, made at random for each server

	listener *httptest.Server
	client   http.Client // what Client's clients send through
	receiver http.Client // what Deliver sends through

	scopes       []string
	bearerToken  string
	pageSize     int
	patchAnswer  Answer
	deleteAnswer Answer
	sign         func(secret walletcrew.Secret, body []byte) string
	addr         string
	plainHTTP    bool
	redelivery   *Redelivery

	closeOnce  sync.Once
	closed     chan struct{}
	ctx        context.Context // ends with Close
	cancel     context.CancelFunc
	background sync.WaitGroup // redeliveries

	mu       sync.Mutex
	secrets  []walletcrew.Secret // of the webhooks that are created next
	webhooks []webhook           // in order of creation
	created  int                 // number of the last one
	delivery uint64              // number of the last one
	faults   []Fault
	requests []Request
}

// deliveryTimeout is what the platform gives a receiver (webhook guide).
const deliveryTimeout = 30 * time.Second

// NewServer starts a server without webhooks. It panics if it can't listen, as [httptest.NewServer] does.
func NewServer(opts ...Option) *Server {
	s := newServer(opts)
	s.listener = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	if s.addr != "" {
		listener, err := new(net.ListenConfig).Listen(s.ctx, "tcp", s.addr)
		if err != nil {
			panic("walletcrewtest: " + err.Error())
		}
		_ = s.listener.Listener.Close()
		s.listener.Listener = listener
	}
	s.listener.Start()
	s.URL = s.listener.URL
	if addr, ok := s.listener.Listener.Addr().(*net.TCPAddr); ok && addr.IP.IsUnspecified() { // such as [::], which not everybody can call
		s.URL = "http://127.0.0.1:" + strconv.Itoa(addr.Port)
	}
	return s
}

func newServer(opts []Option) *Server {
	s := &Server{
		TenantID:     "test-tenant",
		APIKey:       randomText(40),
		client:       http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 30 * time.Second},
		receiver:     http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		scopes:       []string{scopeRead, scopeWrite},
		patchAnswer:  AnswerWebhook,
		deleteAnswer: AnswerNoContent,
		sign:         walletcrew.Sign,
		closed:       make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, opt := range opts {
		if opt != nil {
			opt(s)
		}
	}
	s.receiver.CheckRedirect = answerIsFinal
	return s
}

// Close stops the server. It ends the delays of faults and the deliveries under way, and waits for the requests under way. The webhooks are
// gone then, and nothing is delivered any more. You may call it more than once.
func (s *Server) Close() {
	s.closeOnce.Do(func() {
		s.stop()
		s.client.CloseIdleConnections()
		s.receiver.CloseIdleConnections()
		s.listener.Close()
	})
}

// stop ends what the server does by itself.
func (s *Server) stop() {
	s.mu.Lock() // so that no redelivery begins meanwhile
	close(s.closed)
	s.mu.Unlock()
	s.cancel()
	s.background.Wait()
}

// Client returns a client for the server's tenant, with its key. It waits only a few milliseconds before retries, so that a test of a
// failure is quick. The opts are applied last, so they can change all of that. Client panics if [walletcrew.NewClient] returns an error.
func (s *Server) Client(opts ...walletcrew.Option) *walletcrew.Client {
	hc := s.client
	c, err := walletcrew.NewClient(s.TenantID, append([]walletcrew.Option{
		walletcrew.WithBaseURL(s.URL),
		walletcrew.WithAPIKey(s.APIKey),
		walletcrew.WithHTTPClient(&hc),
		walletcrew.WithRetries(3, time.Millisecond, 20*time.Millisecond),
	}, opts...)...)
	if err != nil {
		panic("walletcrewtest: " + err.Error())
	}
	return c
}

// Webhooks returns the webhooks that the server has, in order of creation, whatever a client was told.
func (s *Server) Webhooks() []walletcrew.Webhook {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]walletcrew.Webhook, len(s.webhooks))
	for i, w := range s.webhooks {
		list[i] = w.public()
	}
	return list
}

// Requests returns the last 1,000 requests that came to the API, in order of arrival. Refused and faulty ones are among them.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// A Request is a request that came to the API.
type Request struct {
	Method string
	URL    string      // path and query, as sent
	Header http.Header // without X-Api-Key and Authorization
	Body   []byte
}

const maxRequests = 1000

// An Option is passed to [NewServer].
type Option func(*Server)

// WithTenantID sets the tenant's id; the default is "test-tenant". To test a receiver for several tenants, start a server for each.
func WithTenantID(id string) Option { return func(s *Server) { s.TenantID = id } }

// WithAddr listens on a fixed address, such as "127.0.0.1:8090", or ":8090" for all interfaces, which containers can reach. NewServer
// panics if it can't. The default is a free port of the loopback interface. The server's API key is random all the same.
func WithAddr(addr string) Option { return func(s *Server) { s.addr = addr } }

// WithPlainHTTP accepts endpoints that begin with http:// on any host, such as "http://receiver:8080/webhooks" of a docker-compose file.
// Without it, only loopback hosts may have one, because the platform asks for https. Create and Ensure of the client still refuse such an
// endpoint. Create it with [walletcrew.Client.Do], or with curl.
func WithPlainHTTP() Option { return func(s *Server) { s.plainHTTP = true } }

// WithScopes restricts the key to these scopes; for webhooks they are "Webhook.Read" and "Webhook.Write". A call that needs another scope
// gets 403. Without this option the key has all scopes; with WithScopes() it has none.
func WithScopes(scopes ...string) Option {
	return func(s *Server) { s.scopes = slices.Clone(scopes) }
}

// WithBearerToken also accepts "Authorization: Bearer" with this token, as the platform does with OAuth 2. It has the same scopes as the
// key.
func WithBearerToken(token string) Option { return func(s *Server) { s.bearerToken = token } }

// WithPageSize makes a page of the list hold at most n webhooks; 0, the default, means all. If more follow, the answer has the header
// X-continuationToken, and the query parameter continuationToken asks for the next page. The documentation doesn't say whether the platform
// pages its webhooks, nor how a token is sent back.
func WithPageSize(n int) Option { return func(s *Server) { s.pageSize = n } }

// An Answer is the server's answer to a successful PATCH or DELETE. The platform's isn't documented.
type Answer int

// The answers that [WithPatchAnswer] and [WithDeleteAnswer] take.
const (
	AnswerWebhook   Answer = iota // 200 with the webhook; for DELETE, as it last was
	AnswerEmpty                   // 200 without a body
	AnswerNoContent               // 204
)

// WithPatchAnswer chooses the answer to PATCH; the default is [AnswerWebhook].
func WithPatchAnswer(a Answer) Option { return func(s *Server) { s.patchAnswer = a } }

// WithDeleteAnswer chooses the answer to DELETE; the default is [AnswerNoContent].
func WithDeleteAnswer(a Answer) Option { return func(s *Server) { s.deleteAnswer = a } }

// WithSign makes the signatures of [Server.Deliver] and [Server.Emit] with f. The default is [walletcrew.Sign]: hexadecimal in lower case.
// The platform's spelling isn't documented. F must be safe for concurrent use.
func WithSign(f func(secret walletcrew.Secret, body []byte) string) Option {
	return func(s *Server) { s.sign = f }
}

// WithHTTPClient delivers through hc. For a receiver with TLS, use that of [httptest.Server.Client]. Its redirect policy isn't used:
// redirects aren't followed.
func WithHTTPClient(hc *http.Client) Option { return func(s *Server) { s.receiver = *hc } }

// randomText returns n letters and digits.
func randomText(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	text := make([]byte, 0, n)
	random := make([]byte, n)
	for len(text) < n {
		_, _ = rand.Read(random) // never fails
		for _, b := range random {
			if int(b) < 256/len(alphabet)*len(alphabet) && len(text) < n { // so that each is as likely
				text = append(text, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(text)
}
