package walletcrewtest

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// inOrder goes through a map in the order of its keys, so that the seed repeats what is chosen for each.
func inOrder[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}

// genuineOnes: without this, nothing can be said about a receiver.
func (r *ruleRun) genuineOnes() error {
	for range 3 {
		const what = "a genuine delivery"
		p := r.genuine()
		a := r.until(p, func(a reply) bool { return !a.postponed() })
		switch {
		case a.accepted():
		case a.refused() && !a.postponed():
			return fmt.Errorf("%s: expected 2xx, got %s: is the secret the receiver's, and does it know the tenant %q (see WithDeliveries)?", what, a, p.tenant)
		default:
			return fmt.Errorf("%s: expected 2xx, got %s", what, a)
		}
		if err := r.effect(p.id, 1, what); err != nil {
			return fmt.Errorf("%w: does it do something for the event %q (see WithDeliveries)?", err, p.event)
		}
	}
	return nil
}

// huge: a body has a limit, whether its length is known before or not.
func (r *ruleRun) huge() error {
	p := r.genuine()
	tail := []byte(`,"__walletcrewtest":""}`)
	body := make([]byte, 0, r.hugeSize)
	body = append(append(body, p.body[:len(p.body)-1]...), tail[:len(tail)-2]...)
	body = append(body, bytes.Repeat([]byte("x"), r.hugeSize-len(body)-2)...)
	p = r.signedBody(p.id, append(body, `"}`...))
	for _, p.chunked = range []bool{false, true} {
		what := "a delivery of 32 MiB"
		if p.chunked {
			what += ", whose length isn't known before,"
		}
		if a := r.send(p); a.accepted() || a.late { // a connection that ends serves, too
			return fmt.Errorf("%s: expected a refusal, got %s", what, a)
		}
		if err := r.effect(p.id, 0, what); err != nil {
			return err
		}
	}
	return r.take(r.genuine(), "a genuine delivery after one of 32 MiB")
}

// slow: a body that stops coming is answered or cut off.
func (r *ruleRun) slow() error {
	p := r.genuine()
	half := 1 + r.rand.IntN(len(p.body)-1)
	results := make(chan error, 2)
	for what, n := range map[string]int{"before its first byte": 0, "in its middle": half} {
		go func() { results <- r.stall(p, n, "a delivery whose body stops coming "+what) }()
	}
	first := <-results
	if second := <-results; first == nil {
		first = second
	}
	if first != nil {
		return first
	}
	return r.effect(p.id, 0, "a delivery whose body stops coming")
}

func (r *ruleRun) stall(p parcel, n int, what string) error {
	w, err := r.open(p)
	if err != nil {
		return err
	}
	defer w.close()
	w.write(p.body[:n])
	switch a := w.answer(r.slowLimit); {
	case a.accepted():
		return fmt.Errorf("%s: expected to be refused or cut off, got %s", what, a)
	case a.late:
		return fmt.Errorf("%s: expected an answer or the connection's end within %v, got neither", what, r.slowLimit)
	}
	return nil
}

// empty: a body of nothing is no event.
func (r *ruleRun) empty() error {
	nothing := r.signedBody("", nil)
	for what, p := range inOrder(map[string]parcel{
		"an empty delivery without a signature":             {unsigned: true},
		"an empty delivery signed with another secret":      {signature: walletcrew.Sign("another secret", nil)},
		"an empty delivery signed with an empty secret":     {signature: walletcrew.Sign("", nil)},
		"an empty delivery with the SHA-256 of nothing":     {signature: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		"a delivery of spaces without a signature":          {unsigned: true, body: []byte("   ")},
		"a delivery of an empty object without a signature": {unsigned: true, body: []byte("{}")},
	}) {
		p.event, p.tenant, p.forged = r.event, r.tenant, true
		if a := r.send(p); !a.refused() {
			return fmt.Errorf("%s: expected 4xx, got %s", what, a)
		}
	}
	if a := r.send(nothing); a.err != nil || a.accepted() {
		return fmt.Errorf("an empty delivery with the right signature: expected a refusal, got %s", a)
	}
	return nil
}

// cutOff: a body that breaks off is no event, and the whole one still is.
func (r *ruleRun) cutOff() error {
	for i := range 6 {
		p := r.genuine()
		if i%2 == 1 { // so that what comes is whole JSON
			p = r.signedBody(p.id, append(p.body, "\n\n\n\n"...))
		}
		n := 1 + r.rand.IntN(len(p.body)-1)
		if i%2 == 1 {
			n = len(p.body) - 1 - r.rand.IntN(4)
		}
		what := fmt.Sprintf("a delivery that breaks off after %d of %d bytes", n, len(p.body))
		w, err := r.open(p)
		if err != nil {
			return err
		}
		w.p.forged = true
		w.write(p.body[:n])
		if i < 2 {
			w.reset()
		} else {
			w.halfClose()
			a := w.answer(r.slowLimit)
			w.close()
			if a.accepted() {
				return fmt.Errorf("%s: expected a refusal, got %s", what, a)
			}
		}
		if err := r.unaffected(p, what); err != nil {
			return err
		}
	}
	return nil
}

// unaffected expects that what was sent had no effect, and that the genuine delivery still has.
func (r *ruleRun) unaffected(p parcel, what string) error {
	if r.count != nil {
		if n := r.count(p.id); n != 0 {
			return fmt.Errorf("%s: expected no effect, got %s", what, effects(n))
		}
	}
	return r.take(p, "a genuine delivery after "+what)
}

// otherMethods: only a POST is a delivery. To GET, HEAD and OPTIONS a receiver may answer what it likes.
func (r *ruleRun) otherMethods() error {
	for _, method := range []string{
		http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodPatch, http.MethodDelete, "DELIVER",
	} {
		p := r.genuine()
		other := p
		other.method = method
		a := r.send(other)
		safe := method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
		what := "a delivery with the method " + method
		if a.accepted() && !safe {
			return fmt.Errorf("%s: expected a refusal, got %s", what, a)
		}
		if err := r.unaffected(p, what); err != nil {
			return err
		}
	}
	return nil
}

// unknownEvent: the platform's list of events grows, and a receiver that refuses a new one gets it again and again.
func (r *ruleRun) unknownEvent() error {
	for _, name := range []string{
		"Pass:Tested%d", "Customer:Tested%d", "Walletcrewtest%d:Tested", "Pass:Installed:Tested%d", "Tested%d",
	} {
		p := r.signed(r.newEventID(), map[string]any{"walletcrewtest": map[string]any{"tested": []int{1, 2}}})
		p.event = walletcrew.EventName(fmt.Sprintf(name, r.rand.IntN(1000)))
		if err := r.accept(p, fmt.Sprintf("a genuine delivery of the event %q, which isn't known", p.event)); err != nil {
			return err
		}
	}
	return r.take(r.signed(r.newEventID(), r.members(map[string]any{"__walletcrewtest": "new", "walletcrewtest": map[string]any{"a": 1}})),
		"a genuine delivery with further members")
}

// otherJSON: it is the bytes that are signed, in whatever way their JSON is written.
func (r *ruleRun) otherJSON() error {
	for what, write := range inOrder(map[string]func(body, id string) string{
		"spaces and line ends":      func(b, _ string) string { return indented(b) },
		"spaces around":             func(b, _ string) string { return " \t" + b + " \r\n" },
		"a line's end":              func(b, _ string) string { return b + "\n" },
		"spaces after commas":       func(b, _ string) string { return strings.ReplaceAll(strings.ReplaceAll(b, `,"`, `, "`), `":`, `": `) },
		"another order":             idLast,
		"big and odd numbers":       odd(`12345678901234567890123,1.0,1e2,-0,0.10,1E+2,9007199254740993`),
		"escapes":                   odd(`"\u0041\u00e9\/\u002B\u0027\u0022\b\f","\ud83d\ude00"`),
		"letters that aren't ASCII": odd(`"é, ß, 漢, 😀"`),
		"signs that HTML escapes":   odd(`"<b>&amp;'</b>"`),
		"separators of JavaScript":  odd("\"\u2028\u2029\u007f\""),
		"empty values":              odd(`null,{},[],"",{"":""},[[]],false`),
		"an escape in its id":       func(b, id string) string { return strings.Replace(b, id, fmt.Sprintf(`\u%04x`, id[0])+id[1:], 1) },
		"a long text":               odd(`"` + strings.Repeat("walletcrew ", 2000) + `"`),
	}) {
		p := r.genuine()
		p = r.signedBody(p.id, []byte(write(string(p.body), p.id)))
		if err := r.take(p, "a genuine delivery whose JSON has "+what); err != nil {
			return err
		}
	}
	return nil
}

// odd adds a member with values, of a kind that others of the platform's may have.
func odd(values string) func(body, id string) string {
	return func(body, _ string) string { return body[:len(body)-1] + `,"__walletcrewtest":[` + values + `]}` }
}

// malformed: what the platform never sends does no harm when it does.
func (r *ruleRun) malformed() error {
	for what, body := range inOrder(map[string]string{
		"null": "null", "an array": `[{"__id":"1"}]`, "a text": `"walletcrewtest"`, "a number": "1", "half an object": `{"__id":"`,
		"no UTF-8": "{\"__id\":\"\xff\xfe\"}", "zero bytes": "\x00\x00\x00\x00", "an id that is an object": `{"__id":{"__id":[]}}`,
		"members of other types": `{"__id":"` + r.newEventID() + `","passId":{"a":[]},"identifiers":[1],"metadata":"x","device":[[]],"additionalInformation":7}`,
		"5,000 brackets":         strings.Repeat("[", 5000), "5,000 objects": strings.Repeat(`{"a":`, 5000),
	}) {
		if a := r.send(r.signedBody("", []byte(body))); a.err != nil {
			return fmt.Errorf("a delivery of %s with the right signature: expected an answer, got %s", what, a)
		}
	}
	return r.take(r.genuine(), "a genuine delivery after malformed ones")
}
