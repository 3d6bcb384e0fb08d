package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// curves are the pictures of growth/.
func curves() []growth {
	return []growth{
		bodyCurve(),
		tenantsCurve(),
		patternsCurve(),
		atOnceCurve(),
		rememberedCurve(),
		backlogCurve(),
		deadLettersCurve(),
	}
}

const perDelivery = "CPU time of one, µs"

// bodyCurve: a body grows in the number of its members.
func bodyCurve() growth {
	const time, rate = "Time", "Time of a KiB"
	const x = "body"
	return growth{
		name: "body", title: "A larger body",
		panels: []panel{
			{title: time, x: x, y: perDelivery, kibibytes: true},
			{title: rate, x: x, y: "CPU time, µs a KiB", kibibytes: true, linear: true},
		},
		measure: func(quick bool, add func(point)) error {
			for size := 1 << 10; size <= 1<<20; size *= 2 {
				body := membersOf(size)
				for _, s := range []struct {
					name  string
					run   func(int)
					timed func(bool, func(int)) float64
				}{
					{"Verify", each(verify(verifier.Static(secret), body)), timed},
					{"EventFrom", each(eventFrom(body)), timed},
					{"EventFrom, garbage not collected", each(eventFrom(body)), timedUncollected},
					{"ServeHTTP", serve(body), timed},
				} {
					us := s.timed(quick, s.run) / 1e3
					add(point{time, s.name, float64(len(body)), us})
					add(point{rate, s.name, float64(len(body)), us * 1024 / float64(len(body))})
				}
			}
			return nil
		},
	}
}

// serve has the handler receive the same body again and again.
func serve(body []byte) func(n int) {
	h := receiver.NewHandler(newVerifier(verifier.Static(secret)), nothing)
	ctx := context.WithValue(context.Background(), http.ServerContextKey, &http.Server{ReadHeaderTimeout: time.Minute})
	it := &delivery{body: body}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/webhooks", it)
	must(err)
	r.ContentLength, r.Header = int64(len(body)), headerOf(body)
	it.request = r
	return (&deliveries{all: []*delivery{it}}).again(h)
}

// again sends the first delivery n times.
func (d *deliveries) again(h http.Handler) func(n int) {
	one := d.to(h)
	return func(n int) {
		for range n {
			one(1)
		}
	}
}

// tenantsCurve: deliveries of tenants in turn, each of whom has its own secret, found in the three ways that there are.
func tenantsCurve() growth {
	const title = "EventFrom, 600 bytes"
	return growth{
		name: "tenants", title: "More tenants",
		panels: []panel{{title: title, x: "tenants", y: perDelivery, linear: true}},
		measure: func(quick bool, add func(point)) error {
			for _, number := range []int{1, 10, 100, 1000, 10_000} {
				for _, s := range tenantSources() {
					t := tenants(number)
					us := timed(quick, each(t.deliverBy(s.of(t)))) / 1e3
					add(point{title, s.name, float64(number), us})
				}
			}
			return nil
		},
	}
}

type tenantSource struct {
	name string
	of   func(*tenancy) verifier.SecretSource
}

func tenantSources() []tenantSource {
	bySecretFunc := func(t *tenancy) verifier.SecretSource {
		return verifier.SecretFunc(func(_ context.Context, id string) ([]walletcrew.Secret, error) { return t.secrets[id], nil })
	}
	return []tenantSource{
		{"SecretFunc, a map", bySecretFunc},
		{"Tenants, a Static each", func(t *tenancy) verifier.SecretSource {
			sources := make(map[string]verifier.SecretSource, len(t.secrets))
			for id, secrets := range t.secrets {
				sources[id] = verifier.Static(secrets...)
			}
			return verifier.Tenants(func(_ context.Context, claimed string) (verifier.Tenant, error) {
				return verifier.Tenant{ID: claimed, Source: sources[claimed]}, nil
			})
		}},
		{"Cached, a map", func(t *tenancy) verifier.SecretSource { return verifier.Cached(bySecretFunc(t), time.Hour, 20_000) }},
	}
}

// deliverBy is one delivery of the next tenant.
func (t *tenancy) deliverBy(source verifier.SecretSource) func() {
	v := newVerifier(source)
	return func() {
		it := t.next()
		_, err := v.EventFrom(context.Background(), it.header, installed)
		must(err)
	}
}

// patternsCurve: one pattern that matches, behind others of its kind. A Mux keeps what it found for 256 names; of more names than that,
// as of a sender who makes them up, each is looked for anew.
func patternsCurve() growth {
	const title = "Mux.Handle"
	return growth{
		name: "patterns", title: "More patterns of a Mux",
		panels: []panel{{title: title, x: "patterns", y: "CPU time of one, ns"}},
		measure: func(quick bool, add func(point)) error {
			event, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, installed)
			must(err)
			for _, number := range []int{1, 3, 10, 30, 100, 300, 1000} {
				for _, kind := range []struct {
					name, others string
					matching     walletcrew.EventName
				}{
					{"names (Pass:Installed)", "Pass:Other%d", "Pass:Installed"},
					{"categories (Pass:*)", "Other%d:*", "Pass:*"},
					{"globs (*Installed)", "*SomethingElse%d", "*Installed"},
				} {
					m := receiver.NewMux()
					for i := range number - 1 {
						m.HandleFunc(walletcrew.EventName(fmt.Sprintf(kind.others, i)), nothing)
					}
					m.HandleFunc(kind.matching, nothing)
					ns := timed(quick, each(func() { must(m.Handle(context.Background(), event)) }))
					add(point{title, kind.name, float64(number), ns})
					if kind.matching == "*Installed" {
						ns = timed(quick, each(handleMany(m)))
						add(point{title, "globs, and 1,000 names in turn", float64(number), ns})
					}
				}
			}
			return nil
		},
	}
}

// handleMany handles 1,000 names in turn that end in "Installed".
func handleMany(m *receiver.Mux) func() {
	all := make([]*walletcrew.Event, 1000)
	for i := range all {
		var err error
		all[i], err = walletcrew.ParseEvent(walletcrew.EventName(fmt.Sprintf("Pass:%dInstalled", i)), installed)
		must(err)
	}
	at := 0
	return func() {
		at = (at + 1) % len(all)
		must(m.Handle(context.Background(), all[at]))
	}
}

// atOnceCurve: so many connections, each of which sends its next delivery when the last was answered. The load generator runs in
// this process, too.
func atOnceCurve() growth {
	const x = "deliveries at once"
	const rate, late, cpu = "Rate, over loopback", "Until the answer, 99 % are faster", "CPU of a delivery, that of its sender included"
	return growth{
		name: "at-once", title: "More deliveries at once",
		panels: []panel{{title: rate, x: x, y: "deliveries a second", linear: true}, {title: late, x: x, y: "milliseconds"}, {title: cpu, x: x, y: "µs", linear: true}},
		measure: func(quick bool, add func(point)) error {
			total := 20_000
			if quick {
				total = 2000
			}
			for _, number := range []int{1, 3, 10, 30, 100, 300, 1000} {
				for _, s := range []struct {
					name    string
					handler http.Handler
				}{
					{"a handler that only reads the body", readOnly()},
					{"NewHandler", receiver.NewHandler(newVerifier(verifier.Static(secret)), nothing)},
					{"NewHandler, memory deduper", handlerAfter(1 << 16)},
				} {
					perSecond, p99, used := atOnce(s.handler, number, total)
					add(point{rate, s.name, float64(number), perSecond})
					add(point{late, s.name, float64(number), p99.Seconds() * 1e3})
					add(point{cpu, s.name, float64(number), used.Seconds() * 1e6})
				}
			}
			return nil
		},
	}
}

func atOnce(h http.Handler, number, total int) (perSecond float64, p99, cpu time.Duration) {
	address, stop := listen(h)
	defer stop()
	ready := make([]bytes.Buffer, total)
	for i := range ready {
		newEvent().write(&ready[i])
	}
	conns := make([]net.Conn, number)
	for i := range conns {
		var err error
		conns[i], err = net.Dial("tcp", address)
		must(err)
		defer func() { _ = conns[i].Close() }()
	}
	runtime.GC()
	times := make([]time.Duration, total)
	began, used := time.Now(), cpuTime()
	var all sync.WaitGroup
	for i, conn := range conns {
		all.Go(func() {
			answers := bufio.NewReader(conn)
			for at := i; at < total; at += number {
				sent := time.Now()
				exchange(conn, answers, ready[at].Bytes())
				times[at] = time.Since(sent)
			}
		})
	}
	all.Wait()
	took, used := time.Since(began), cpuTime()-used
	slices.Sort(times)
	return float64(total) / took.Seconds(), quantile(times, 0.99), used / time.Duration(total)
}
