package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// What mustn't grow may be 10 % more, and what grows with the body 10 % more than in proportion: memory further away is slower.
const flat = 1.10

func verifyGrowth() []subject {
	const small, large = "64 KiB", "1 MiB"
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	return []subject{
		{name: small, run: each(verify(verifier.Static(secret), body[:64<<10]))},
		{name: large, run: each(verify(verifier.Static(secret), body)), goals: []goal{timeOf(small, 16*flat)}},
	}
}

// eventGrowth: a body grows in the number of its members.
func eventGrowth() []subject {
	const small, large = "16 KiB", "256 KiB"
	return []subject{
		{name: small, run: each(eventFrom(membersOf(16 << 10)))},
		{name: large, run: each(eventFrom(membersOf(256 << 10))), goals: []goal{timeOf(small, 16*flat)}},
	}
}

func membersOf(size int) []byte {
	body := []byte(`{"__id":"1","passId":"p-1","identifiers":{"0":"0"`)
	for i := 1; len(body)+len(`,"identifier000001":"value of the identifier"}}`) <= size; i++ {
		body = fmt.Appendf(body, `,"identifier%06d":"value of the identifier"`, i)
	}
	return fmt.Appendf(body, "}%*s", size-len(body)-1, "}")
}

// seenGrowth: the memory deduper holds 65,536 events; from then on it forgets one for each.
func seenGrowth() []subject {
	const few, many = "1,000", "200,000"
	var some deliveries
	var young http.Handler
	old := handlerAfter(200_000)
	return []subject{
		{name: few, prepare: func(n int) { some.renew(n); young = handlerAfter(1000) }, run: func(n int) { some.to(young)(n) }},
		{name: many, prepare: some.renew, run: some.to(old), goals: []goal{timeOf(few, flat)}},
	}
}

func handlerAfter(events int) http.Handler {
	ctx, d := context.Background(), receiver.NewMemoryDeduper(0, 0)
	for i := range events {
		key := "-/before-" + strconv.Itoa(i)
		claim, err := d.Claim(ctx, key, time.Minute)
		must(err)
		must(d.Complete(ctx, key, claim.Token))
	}
	return receiver.NewHandler(newVerifier(verifier.Static(secret)), nothing, receiver.WithDeduper(d))
}

// muxGrowth: one pattern that matches, alone and behind 99 others of its kind. Globs, which have a '*' elsewhere than after the
// category, are tried one by one: for them it counts what a delivery costs as a whole.
func muxGrowth() []subject {
	event, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, installed)
	must(err)
	handle := func(matching walletcrew.EventName, others string) func() {
		m := receiver.NewMux()
		called := false
		m.HandleFunc(matching, func(context.Context, *walletcrew.Event) error { called = true; return nil })
		for i := range 99 {
			if others != "" {
				m.HandleFunc(walletcrew.EventName(fmt.Sprintf(others, i)), nothing)
			}
		}
		return func() {
			called = false
			must(m.Handle(context.Background(), event))
			ensure(called, "another function was called")
		}
	}
	whole := func(handle func()) func(int) {
		receive := eventFrom(installed)
		return each(func() { receive(); handle() })
	}
	const name, category, glob, delivery = "Handle, 1 name", "Handle, 1 category", "Handle, 1 glob", "EventFrom and Handle, 1 glob"
	return []subject{
		{name: name, run: each(handle("Pass:Installed", ""))},
		{name: "Handle, 100 names", run: each(handle("Pass:Installed", "Pass:Other%d")), goals: []goal{timeOf(name, flat)}},
		{name: category, run: each(handle("Pass:*", ""))},
		{name: "Handle, 100 categories", run: each(handle("Pass:*", "Other%d:*")), goals: []goal{timeOf(category, flat)}},
		{name: glob, run: each(handle("*Installed", ""))},
		{name: "Handle, 100 globs", run: each(handle("*Installed", "*SomethingElse%d")), goals: []goal{timeOf(glob, none)}},
		{name: delivery, run: whole(handle("*Installed", ""))},
		{name: "EventFrom and Handle, 100 globs", run: whole(handle("*Installed", "*SomethingElse%d")), goals: []goal{timeOf(delivery, flat)}},
	}
}

// tenantGrowth: deliveries of tenants in turn, each of whom has its own secret. The map is the user's, and so is the time that its
// memory takes to come: the SDK is compared with itself beside a look-up of the same size.
func tenantGrowth() []subject {
	const one, beside = "EventFrom, 1", "EventFrom, 1, and a look-up among 10,000"
	single, many := tenants(1), tenants(10_000)
	return []subject{
		{name: one, run: each(single.deliver(func() {}))},
		{name: beside, run: each(single.deliver(many.lookUp)), goals: []goal{timeOf(one, none)}},
		{name: "EventFrom, 10,000", run: each(many.deliver(func() {})), goals: []goal{timeOf(beside, flat)}},
	}
}

type tenancy struct {
	secrets map[string][]walletcrew.Secret
	senders []sender // as many for one tenant as for many, so that this program's own memory costs both the same
	at      int
}

type sender struct{ tenant, signature string }

func tenants(number int) *tenancy {
	t := &tenancy{secrets: make(map[string][]walletcrew.Secret)}
	for i := range 10_000 {
		name := strconv.Itoa(i % number)
		own := walletcrew.Secret(name + secret[len(name):])
		t.secrets[name] = []walletcrew.Secret{own}
		t.senders = append(t.senders, sender{name, walletcrew.Sign(own, installed)})
	}
	return t
}

// next is each once, and seldom a neighbour.
func (t *tenancy) next() sender {
	t.at = (t.at + 7919) % len(t.senders)
	return t.senders[t.at]
}

func (t *tenancy) deliver(besides func()) func() {
	v := newVerifier(verifier.SecretFunc(func(_ context.Context, tenantID string) ([]walletcrew.Secret, error) {
		besides()
		return t.secrets[tenantID], nil
	}))
	return func() {
		it := t.next()
		_, err := v.EventFrom(context.Background(), it.header, installed)
		must(err)
	}
}

func (s sender) header(name string) string {
	switch name {
	case walletcrew.HeaderSignature:
		return s.signature
	case walletcrew.HeaderTenantID:
		return s.tenant
	case walletcrew.HeaderEventName:
		return string(walletcrew.EventPassInstalled)
	}
	return ""
}

func (t *tenancy) lookUp() {
	found := t.secrets[t.next().tenant]
	ensure(found[0][len(secret)-1] == secret[len(secret)-1], "not a secret")
}
