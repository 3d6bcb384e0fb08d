package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

const secret walletcrew.Secret = "the secret of the soak, which signs what nobody else sees"

const (
	tenant = "soak"
	path   = "/webhooks/walletcrew"
)

// A platform delivers events, each until it is accepted.
type platform struct {
	client *http.Client
	urls   []string      // of the receivers; each attempt goes to one of them
	wait   time.Duration // before the next attempt, and up to as much again
	slots  chan struct{} // attempts under way at once

	mu       sync.Mutex
	attempts []attempt
}

// An attempt is one request. Status 0: there was no answer.
type attempt struct {
	began, ended time.Time
	status       int
	again        bool // the delivery had been tried before
}

func newPlatform(wait time.Duration, atOnce int, addresses ...string) *platform {
	p := &platform{wait: wait, slots: make(chan struct{}, atOnce)}
	p.client = &http.Client{Timeout: 35 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}}
	for _, address := range addresses {
		p.urls = append(p.urls, "http://"+address+path)
	}
	return p
}

func eventID(n int) string { return "e-" + strconv.Itoa(n) }

func body(id string) []byte {
	return fmt.Appendf(nil, `{"__id":%q,"passId":"p-%s","passType":"user","identifiers":{"customerId":"C-%s"},"device":"apple"}`, id, id, id)
}

// deliver delivers an event until it is accepted, or ctx ends.
func (p *platform) deliver(ctx context.Context, id string) error {
	for again := false; ; again = true {
		status := p.try(ctx, p.urls[rand.IntN(len(p.urls))], id, again) //nolint:gosec // any
		if status/100 == 2 {
			return nil
		}
		if status/100 == 4 {
			return fmt.Errorf("event %s was refused with %d", id, status)
		}
		if err := sleep(ctx, p.wait+rand.N(p.wait)); err != nil { //nolint:gosec // any
			return fmt.Errorf("event %s was never accepted: %w", id, err)
		}
	}
}

// try delivers an event once, and returns the answer's status.
func (p *platform) try(ctx context.Context, url, id string, again bool) int {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	b := body(id)
	a := attempt{began: time.Now(), again: again}
	a.status = p.post(ctx, url, b)
	a.ended = time.Now()
	<-p.slots
	p.mu.Lock()
	p.attempts = append(p.attempts, a)
	p.mu.Unlock()
	return a.status
}

func (p *platform) post(ctx context.Context, url string, body []byte) int {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	r.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(secret, body))
	r.Header.Set(walletcrew.HeaderEventName, string(walletcrew.EventPassInstalled))
	r.Header.Set(walletcrew.HeaderTenantID, tenant)
	answer, err := p.client.Do(r)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer.StatusCode
}

// all delivers what is planned, as many at once as there are slots.
func (p *platform) all(ctx context.Context, plan []int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var senders sync.WaitGroup
	for range cap(p.slots) {
		senders.Go(func() {
			for n := range next {
				if err := p.deliver(ctx, eventID(n)); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, n := range plan {
		select {
		case next <- n:
		case <-ctx.Done():
		}
	}
	close(next)
	senders.Wait()
	return context.Cause(ctx)
}

// ready waits for the receivers to answer.
func (p *platform) ready(ctx context.Context) error {
	for _, url := range p.urls {
		err := until(ctx, time.Minute, func(ctx context.Context) error {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			answer, err := p.client.Do(r)
			if err == nil {
				_ = answer.Body.Close()
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("a receiver doesn't come up: %w", err)
		}
	}
	return nil
}

// taken returns the attempts so far.
func (p *platform) taken() []attempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.attempts)
}

// calm waits until nothing was refused for a while, or until the deadline.
func (p *platform) calm(ctx context.Context, while time.Duration, deadline time.Time) error {
	for since := time.Now(); time.Since(since) < while && time.Now().Before(deadline); {
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
		attempts := p.taken()
		for i := len(attempts) - 1; i >= 0 && attempts[i].ended.After(since); i-- {
			if attempts[i].status/100 != 2 {
				since = attempts[i].ended
				break
			}
		}
	}
	return nil
}

// plan returns the numbers of all events, in disorder, and of some of them again: half of these at the same moment, half at any.
func plan(random *rand.Rand, events, duplicates int) []int {
	type due struct {
		at    float64
		event int
	}
	dues := make([]due, events, events+duplicates)
	for n := range dues {
		dues[n] = due{random.Float64(), n}
	}
	for i := range duplicates {
		again := dues[i%events]
		if i >= events || random.IntN(2) == 0 {
			again.at = random.Float64()
		}
		dues = append(dues, again)
	}
	slices.SortStableFunc(dues, func(a, b due) int { return cmp.Compare(a.at, b.at) })
	numbers := make([]int, len(dues))
	for i, d := range dues {
		numbers[i] = d.event
	}
	return numbers
}

// statuses counts attempts by their answer.
type statuses map[int]int

func count(attempts []attempt) statuses {
	s := statuses{}
	for _, a := range attempts {
		s[a.status]++
	}
	return s
}

func (s statuses) String() string {
	if len(s) == 0 {
		return "none"
	}
	var text []byte
	keys := make([]int, 0, len(s))
	for k := range s {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		if i > 0 {
			text = append(text, ", "...)
		}
		name := strconv.Itoa(k)
		if k == 0 {
			name = "no answer"
		}
		text = fmt.Appendf(text, "%s × %d", name, s[k])
	}
	return string(text)
}
