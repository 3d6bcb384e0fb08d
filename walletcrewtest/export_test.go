package walletcrewtest

import (
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// NewQuietServer is a server that listens nowhere: in a testing/synctest bubble, a listener would hold up the time. Stop it with Stop.
func NewQuietServer(opts ...Option) *Server { return newServer(opts) }

// Stop is Close for it.
func (s *Server) Stop() { s.closeOnce.Do(s.stop) }

// Add adds an enabled webhook for all events.
func (s *Server) Add(endpoint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created++
	s.webhooks = append(s.webhooks, webhook{
		ID: randomText(5), Endpoint: endpoint, Events: []walletcrew.EventName{"*"}, Enabled: true, SignatureSecret: randomText(64), number: s.created,
	})
}

// Clear removes all webhooks.
func (s *Server) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.webhooks = nil
}

// WithLimits makes the test of a receiver less patient, and smaller.
func WithLimits(answer, slow, patience time.Duration) ReceiverOption {
	return func(t *receiverTest) {
		t.answerLimit, t.slowLimit, t.patience, t.lease, t.hugeSize = answer, slow, patience, 2*patience, 4<<20
		t.rounds = [2]int{3, 4}
	}
}

// WithNonce makes the ids of two runs the same, and their rounds as many.
func WithNonce(nonce string) ReceiverOption {
	return func(t *receiverTest) { t.nonce, t.rounds = nonce, [2]int{3, 3} }
}
