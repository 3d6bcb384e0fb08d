package walletcrewtest

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// Redelivery says what a server delivers again; see [WithRedelivery].
type Redelivery struct {
	// Seed decides which accepted deliveries are delivered again. For the same sequence of
	// deliveries, the same seed chooses the same ones.
	Seed uint64
	// Delay is the wait before the first redelivery. It doubles each time. 0 means 1 s.
	Delay time.Duration
	// MaxTries is how often a delivery is tried, the first time included. 0 means until a 2xx. A
	// duplicate is a delivery of its own.
	MaxTries int
	// Duplicates is the share of accepted deliveries that are delivered again, once: 0 for none, 1
	// for all.
	Duplicates float64
}

// WithRedelivery repeats deliveries that weren't answered with 2xx, and some that were, like any sender that delivers at least once. It
// isn't documented when and how often the platform does so. It applies to [Server.Deliver] and [Server.Emit], which return the answers to
// the first deliveries. The redeliveries come in the background until [Server.Close], or until the webhook is deleted or disabled. They go
// to the endpoint that the webhook has then. NewServer panics for a negative number, or Duplicates over 1.
func WithRedelivery(policy Redelivery) Option {
	if policy.Delay < 0 || policy.MaxTries < 0 || !(policy.Duplicates >= 0 && policy.Duplicates <= 1) { // NaN, too
		panic("walletcrewtest: Redelivery: a number is negative, or Duplicates is over 1")
	}
	policy.Delay = cmp.Or(policy.Delay, time.Second)
	return func(s *Server) { s.redelivery = &policy }
}

// nextDelivery numbers the deliveries in the order in which they begin.
func (s *Server) nextDelivery() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delivery++
	return s.delivery
}

// delivered decides what follows a first delivery: by the seed and its number alone, so that the time it took changes nothing.
func (s *Server) delivered(d Delivery, number uint64) {
	if s.redelivery == nil {
		return
	}
	r := redelivered{Delivery: d, server: s}
	r.duplicate = rand.New(rand.NewPCG(s.redelivery.Seed, number)).Float64() < s.redelivery.Duplicates //nolint:gosec // not a secret
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
	default:
		s.background.Go(r.run)
	}
}

// A redelivered is what is left to do for a delivery.
type redelivered struct {
	Delivery
	server    *Server
	duplicate bool // it is delivered once more after a 2xx
}

func (r *redelivered) run() {
	policy := r.server.redelivery
	delay, tries := policy.Delay, 1
	for {
		switch {
		case r.accepted() && !r.duplicate, !r.accepted() && tries == policy.MaxTries:
			return
		case r.accepted():
			r.duplicate, delay, tries = false, policy.Delay, 0
		}
		if !r.server.wait(r.server.ctx, delay) || !r.again() {
			return
		}
		tries++
		if delay <= math.MaxInt64/2 {
			delay *= 2
		}
	}
}

// A delivery that got no answer has the status 0.
func (r *redelivered) accepted() bool { return r.StatusCode/100 == 2 }

// again delivers once more, and reports whether the webhook is still there.
func (r *redelivered) again() bool {
	webhooks := r.server.Webhooks()
	i := slices.IndexFunc(webhooks, func(w walletcrew.Webhook) bool { return w.ID == r.WebhookID && w.Enabled })
	if i < 0 {
		return false
	}
	r.StatusCode, r.Err = r.server.post(r.server.ctx, &webhooks[i], r.Name, r.Body)
	return true
}
