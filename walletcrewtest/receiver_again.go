package walletcrewtest

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// answeredEarly: whatever is answered with 2xx doesn't come again.
func (r *ruleRun) answeredEarly() error {
	for range 8 {
		p := r.genuine()
		const what = "a genuine delivery"
		if err := r.accept(p, what); err != nil {
			return err
		}
		if n := r.count(p.id); n == 0 {
			return fmt.Errorf("%s was answered with 2xx: expected one effect by then, got none", what)
		}
	}
	return nil
}

// duplicates: an event is known by its id, however often it comes.
func (r *ruleRun) duplicates() error {
	for range 3 {
		p := r.genuine()
		for i := range 2 + r.rand.IntN(4) {
			if err := r.take(p, fmt.Sprintf("delivery %d of one event", i+1)); err != nil {
				return err
			}
		}
		again := r.signedBody(p.id, append(p.body[:len(p.body)-1:len(p.body)-1], ` , "__walletcrewtest": 2}`...))
		if err := r.take(again, "another delivery of one event, with the same id and a further member"); err != nil {
			return err
		}
	}
	return nil
}

// A crowd is how many deliveries of one event come at once: all on the instant, or each up to 4 ms after.
type crowd struct {
	size  int
	apart bool
}

func (c crowd) String() string { return fmt.Sprintf("%d deliveries of one event at once", c.size) }

// crowds are first of 20, then many of 3: where a race is over in a microsecond, it shows itself in few of them.
func (r *ruleRun) crowds() iter.Seq[crowd] {
	return func(yield func(crowd) bool) {
		began := time.Now()
		for i := 0; i < r.rounds[0] || i < r.rounds[1] && time.Since(began) < 3*time.Second; i++ {
			c := crowd{size: 20, apart: i%2 == 1}
			if i >= 10 {
				c = crowd{size: 3}
			}
			if !yield(c) {
				return
			}
		}
	}
}

// atOnce: of many deliveries one takes effect, and none is acknowledged before.
func (r *ruleRun) atOnce() error {
	for crowd := range r.crowds() {
		p, what := r.genuine(), crowd.String()
		answers, acknowledged, err := r.crowded(p, crowd)
		switch {
		case err != nil:
			return err
		case acknowledged > 0:
			return fmt.Errorf("%s: %d were answered with 2xx before the event took effect: if it fails then, it is lost", what, acknowledged)
		}
		for _, a := range answers {
			if a.err != nil {
				return fmt.Errorf("%s: expected an answer to each, got %s", what, a)
			}
		}
		if err := r.effectAtMostOnce(p.id, what); err != nil {
			return err
		}
		a := r.until(p, reply.accepted)
		if !a.accepted() {
			return fmt.Errorf("another delivery after %s: expected 2xx, got %s", what, a)
		}
		if err := r.effect(p.id, 1, what+", and another after them"); err != nil {
			return err
		}
	}
	return nil
}

func (r *ruleRun) effectAtMostOnce(id, what string) error {
	if r.count == nil {
		return nil
	}
	if n := r.count(id); n > 1 {
		return fmt.Errorf("%s: expected one effect, got %s", what, effects(n))
	}
	return nil
}

// crowded sends one delivery on many connections: all but its last byte, and then that, on all of them at once, or some a moment later. It
// returns how many were answered with 2xx although the event had not taken effect.
func (r *ruleRun) crowded(p parcel, c crowd) (answers []reply, early int, err error) {
	wires, err := r.dialCrowd(p, c.size)
	defer func() {
		for _, w := range wires {
			w.reset()
		}
	}()
	if err != nil {
		return nil, 0, err
	}
	for _, w := range wires {
		w.write(append(w.head(), p.body[:len(p.body)-1]...))
	}
	answers = make([]reply, c.size)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i, w := range wires {
		moment := time.Duration(r.rand.IntN(4000)) * time.Microsecond
		wg.Go(func() {
			if c.apart {
				r.pause(moment)
				w.write(p.body[len(p.body)-1:])
			}
			answers[i] = w.answer(r.answerLimit)
			if answers[i].accepted() && r.count != nil && r.count(p.id) == 0 {
				mu.Lock()
				early++
				mu.Unlock()
			}
		})
	}
	if !c.apart { // from one goroutine, which is quicker than to wake many
		for _, w := range wires {
			w.write(p.body[len(p.body)-1:])
		}
	}
	wg.Wait()
	return answers, early, nil
}

// dialCrowd connects side by side: none of the connections should wait long for its delivery.
func (r *ruleRun) dialCrowd(p parcel, size int) (wires []*wire, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range size {
		wg.Go(func() {
			w, e := r.dial(p)
			mu.Lock()
			defer mu.Unlock()
			if e != nil {
				err = e
				return
			}
			wires = append(wires, w)
		})
	}
	wg.Wait()
	return wires, err
}

// replayed: only the body is signed, so that another name or spelling in the headers doesn't make a captured delivery a new event. The
// tenant stays: to a receiver whose tenants have secrets of their own, another tenant's event may have the same id.
func (r *ruleRun) replayed() error {
	for what, change := range inOrder(map[string]func(*parcel){
		"its name in capitals":      func(p *parcel) { p.event = walletcrew.EventName(strings.ToUpper(string(p.event))) },
		"its name in small letters": func(p *parcel) { p.event = walletcrew.EventName(strings.ToLower(string(p.event))) },
		"its signature in capitals": func(p *parcel) { p.signature = strings.ToUpper(p.signature) },
		"its signature in base64":   func(p *parcel) { p.signature = inBase64(p.signature) },
	}) {
		p := r.genuine()
		if err := r.take(p, "a genuine delivery"); err != nil {
			return err
		}
		again := p
		change(&again)
		_ = r.send(again) // accepted or refused: both are right
		if err := r.effect(p.id, 1, "a delivery that comes again with "+what); err != nil {
			return err
		}
	}
	return nil
}

// similar: two events are two, however alike.
func (r *ruleRun) similar() error {
	p := r.genuine()
	if err := r.take(p, "a genuine delivery"); err != nil {
		return err
	}
	for what, id := range inOrder(map[string]string{
		"its last character":  p.id[:len(p.id)-1] + nextDigit(p.id[len(p.id)-1]),
		"its first character": nextDigit(p.id[0]) + p.id[1:],
		"a middle character":  p.id[:16] + nextDigit(p.id[16]) + p.id[17:],
	}) {
		other := r.signedBody(id, replaceID(p.body, p.id, id))
		if r.event.Matches(walletcrew.EventPassCreated) { // a pass is created once
			other = r.signed(id, r.members(nil))
		}
		if err := r.take(other, "a genuine delivery of an event whose id differs in "+what+" from that of one before"); err != nil {
			return err
		}
	}
	return nil
}

// outOfOrder: an event is remembered while others come.
func (r *ruleRun) outOfOrder() error {
	var all []parcel
	for range 5 {
		all = append(all, r.genuine())
	}
	came := map[string]bool{}
	for _, i := range append(r.rand.Perm(15), r.rand.Perm(15)...) {
		p := all[i%len(all)]
		what := "a genuine delivery"
		if came[p.id] {
			what = "a delivery that comes again after others"
		}
		came[p.id] = true
		if err := r.take(p, what); err != nil {
			return err
		}
	}
	return nil
}

// lostAnswer: the receiver has done its work, and the sender doesn't know.
func (r *ruleRun) lostAnswer() error {
	for range 4 {
		p := r.genuine()
		w, err := r.open(p)
		if err != nil {
			return err
		}
		w.write(p.body)
		w.wait(r.answerLimit) // it comes, and gets no further
		w.reset()
		if err := r.settle(r.patience, p, "a delivery that comes again after its answer was lost"); err != nil {
			return err
		}
	}
	return nil
}

// settle delivers until that is accepted, and expects one effect.
func (r *ruleRun) settle(patience time.Duration, p parcel, what string) error {
	if a := r.within(patience, p, reply.accepted); !a.accepted() {
		return fmt.Errorf("%s: expected 2xx within %v, got %s", what, patience, a)
	}
	return r.effect(p.id, 1, what)
}

// hangUp: the sender goes before the answer, at any time.
func (r *ruleRun) hangUp() error {
	for i := range 12 {
		p := r.genuine()
		for range 1 + r.rand.IntN(2) {
			w, err := r.open(p)
			if err != nil {
				return err
			}
			w.write(p.body)
			if i > 2 {
				r.pause(time.Duration(r.rand.IntN(5000)) * time.Microsecond)
			}
			if r.rand.IntN(2) == 0 {
				w.reset()
			} else {
				w.close()
			}
		}
		if err := r.settle(r.lease, p, "a delivery that comes again after the sender hung up"); err != nil {
			return err
		}
	}
	return nil
}

// failing: an event whose function fails comes again, and is not a duplicate then.
func (r *ruleRun) failing() error {
	for _, times := range []int{1, 2, 3} {
		p := r.genuine()
		r.fail(p.id, times)
		for i := range times {
			what := fmt.Sprintf("delivery %d of an event whose function fails %d times", i+1, times)
			if a := r.send(p); a.accepted() {
				return fmt.Errorf("%s: expected not to be accepted, got %s", what, a)
			}
			if err := r.effectNone(p.id, what); err != nil {
				return err
			}
		}
		what := fmt.Sprintf("a delivery after the event's function failed %d times", times)
		if err := r.settle(r.patience, p, what); err != nil {
			return err
		}
		if err := r.take(p, "a duplicate of "+what); err != nil {
			return err
		}
	}
	return nil
}

func (r *ruleRun) effectNone(id, what string) error {
	if r.count == nil {
		return nil
	}
	if n := r.count(id); n != 0 {
		return fmt.Errorf("%s: expected no effect, got %s", what, effects(n))
	}
	return nil
}

// failingAtOnce: while the function fails, no delivery of the event is accepted.
func (r *ruleRun) failingAtOnce() error {
	for crowd := range r.crowds() {
		p := r.genuine()
		r.fail(p.id, 10*crowd.size) // so that it fails for each, also where a receiver tries a few times by itself
		answers, early, err := r.crowded(p, crowd)
		if err != nil {
			return err
		}
		for _, a := range answers {
			if r.count == nil && a.accepted() {
				early++
			}
		}
		if early > 0 {
			return fmt.Errorf("%s, whose function fails: expected none to be accepted, got 2xx for %d", crowd, early)
		}
	}
	return nil
}

// rotation: old and new secrets are accepted, and an event is the same under both.
func (r *ruleRun) rotation() error {
	before := r.genuine()
	if err := r.take(before, "a genuine delivery before the rotation"); err != nil {
		return err
	}
	secret, during, err := r.rotateAmidDeliveries()
	switch {
	case err != nil:
		return fmt.Errorf("the rotation failed: %w", err)
	case secret == "":
		return errors.New("the rotation returned an empty secret")
	case during != nil:
		return during
	}
	r.mu.Lock()
	r.secrets = append(r.secrets, secret)
	r.mu.Unlock()
	renewed := func(p parcel) parcel {
		p.signature = walletcrew.Sign(secret, p.body)
		return p
	}
	for range 3 {
		if err := r.take(renewed(r.genuine()), "a genuine delivery signed with the new secret"); err != nil {
			return err
		}
		if err := r.take(r.genuine(), "a genuine delivery signed with the old secret, after the rotation"); err != nil {
			return err
		}
	}
	if err := r.take(renewed(before), "a delivery from before the rotation that comes again, signed with the new secret"); err != nil {
		return err
	}
	return r.refuse(r.genuine().forge(walletcrew.Sign("another secret", []byte("x"))), "a forged delivery after the rotation")
}

// rotateAmidDeliveries lets genuine deliveries come while the secret is rotated.
func (r *ruleRun) rotateAmidDeliveries() (secret walletcrew.Secret, during, err error) {
	done, ended := make(chan struct{}), make(chan error, 1)
	amid := *r
	amid.rand = mathrand.New(mathrand.NewPCG(r.rand.Uint64(), 0)) //nolint:gosec // not a secret. Its own: how many come isn't the seed's to say
	go func() {
		for range 1000 {
			if err := amid.take(amid.genuine(), "a genuine delivery during the rotation"); err != nil {
				ended <- err
				return
			}
			select {
			case <-done:
				ended <- nil
				return
			default:
				r.pause(5 * time.Millisecond)
			}
		}
		ended <- nil
	}()
	secret, err = r.rotate(r.ctx)
	close(done)
	return secret, <-ended, err
}

func replaceID(body []byte, id, other string) []byte {
	return bytes.Replace(body, []byte(id), []byte(other), 1)
}

// nextDigit is another hexadecimal digit.
func nextDigit(c byte) string {
	const digits = "0123456789abcdef"
	return string(digits[(strings.IndexByte(digits, c)+1)%16])
}
