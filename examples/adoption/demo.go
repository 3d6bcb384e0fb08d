package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// runDemo is run with a month that has passed already, and then with a platform in memory.
func (c config) runDemo(ctx context.Context, logger *slog.Logger) error {
	if c.postgres != "" {
		return errors.New("-demo has a database of its own: leave -postgres out")
	}
	dir, err := os.MkdirTemp("", "walletcrew-adoption")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	c.sqlite, c.customer, c.store = filepath.Join(dir, "demo.db"), "customerId", "store" // the demo's own: the platform documents none
	s, err := c.open(ctx, logger)
	if err != nil {
		return err
	}
	defer func() { _ = s.db.Close() }()

	logger.Info("a month of events comes in")
	shop := &shop{Rand: rand.New(rand.NewPCG(1, 2))} //nolint:gosec // a shop's luck
	if err := shop.month(ctx, s.mux().Handle, time.Now()); err != nil {
		return err
	}
	platform := walletcrewtest.NewServer(walletcrewtest.WithRedelivery(walletcrewtest.Redelivery{Duplicates: 0.2}))
	defer platform.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	return s.serve(ctx, func(ctx context.Context, s *service, url string) (verifier.SecretSource, error) {
		webhook, err := platform.Client().Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: url, Events: s.mux().Patterns()})
		if err != nil {
			return nil, err
		}
		go shop.live(ctx, platform)
		return verifier.Static(webhook.SignatureSecret), nil
	})
}

// campaigns bring so many passes a day, some days ago.
var campaigns = []struct {
	name   string
	passes func(ago int, weekend bool) float64
}{
	{"checkout", func(int, bool) float64 { return 26 }},
	{"in store", func(_ int, weekend bool) float64 { return map[bool]float64{false: 16, true: 34}[weekend] }},
	{"loyalty launch", func(ago int, _ bool) float64 { return max(0, 2.4*float64(17-ago)) }},
	{"autumn newsletter", func(ago int, _ bool) float64 { return mailed(24-ago) + mailed(10-ago) }},
	{"influencer", func(int, bool) float64 { return 5 }},
	{"", func(int, bool) float64 { return 5 }},
}

// mailed is how many follow a newsletter's link, days after it was sent.
func mailed(days int) float64 {
	if days < 0 {
		return 0
	}
	return 70 * math.Pow(0.45, float64(days))
}

// A shop is where the demo's events happen.
type shop struct {
	*rand.Rand
	passes int
}

// A happening is an event's name and its members.
type happening struct {
	name walletcrew.EventName
	data any
	days float64 // after the others of a visit
}

// visit is the way of a pass: to a customer, most often onto the phone, sometimes off it again.
func (s *shop) visit(campaign string) []happening {
	s.passes++
	customer := fmt.Sprintf("C-%d", 1000+s.passes/2) // each comes twice
	pass := walletcrew.Pass{PassID: fmt.Sprintf("p-%d", s.passes), PassType: "loyalty", PassKind: "customerCard",
		Identifiers: walletcrew.Values{"customerId": customer}}
	way := []happening{
		{walletcrew.EventCustomerUpserted, map[string]any{"customerId": customer}, 0},
		{walletcrew.EventPassCreated, walletcrew.PassCreated{Pass: pass}, 0},
	}
	info := func(active int) *walletcrew.AdditionalInformation {
		return &walletcrew.AdditionalInformation{
			RegistrationInformation: walletcrew.RegistrationInformation{ActiveRegistrationCount: active, TotalRegistrationCount: 1},
			RegistrationSource:      walletcrew.RegistrationSource{Tags: []string{campaign}[:min(1, len(campaign))], Medium: "link"},
		}
	}
	device := walletcrew.Device{Platform: []string{"apple", "google"}[s.IntN(2)]}
	if s.Float64() < 0.65 {
		way = append(way, happening{walletcrew.EventPassInstalled,
			walletcrew.PassInstalled{Pass: pass, Device: device, AdditionalInformation: info(1)}, 0})
		if s.Float64() < 0.15 {
			way = append(way, happening{walletcrew.EventPassUninstalled,
				walletcrew.PassUninstalled{Pass: pass, Device: device, AdditionalInformation: info(0)}, 10 * s.Float64()})
		}
	}
	return way
}

func (s *shop) redirect() happening {
	stores := []string{"Paris Opéra", "Lyon Part-Dieu", "Bordeaux", "Lille Flandres", "Nantes"}
	return happening{walletcrew.EventRedirectRedirected, map[string]any{"store": stores[min(s.IntN(5), s.IntN(5))]}, 0}
}

// month handles a month's events as they would come from a queue that has kept them: with the time at which each came, but in any order,
// and some of them twice.
func (s *shop) month(ctx context.Context, handle receiver.HandlerFunc, now time.Time) error {
	var kept []*walletcrew.Event
	for ago := days - 1; ago > 0; ago-- {
		date, all := now.AddDate(0, 0, -ago), []happening(nil)
		for _, c := range campaigns {
			mean := c.passes(ago, date.Weekday() == time.Saturday || date.Weekday() == time.Sunday)
			for range int(mean + math.Sqrt(mean)*s.NormFloat64() + 0.5) {
				all = append(all, s.visit(c.name)...)
			}
		}
		for range 30 + s.IntN(20) {
			all = append(all, s.redirect())
		}
		for _, h := range all {
			e, err := walletcrew.ParseEvent(h.name, walletcrewtest.Payload(h.name, h.data))
			if err != nil {
				return err
			}
			if e.ReceivedAt = date.Add(time.Duration(h.days * float64(24*time.Hour))); e.ReceivedAt.Before(now) {
				kept = append(kept, e)
			}
		}
	}
	kept = append(kept, kept[:len(kept)/50]...)
	s.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
	for _, e := range kept {
		if err := handle(receiver.WithKey(ctx, "month/"+e.ID), e); err != nil {
			return err
		}
	}
	return nil
}

// live lets the platform deliver what happens now: some of it in the wrong order, and some of it twice.
func (s *shop) live(ctx context.Context, platform *walletcrewtest.Server) {
	for ctx.Err() == nil {
		campaign := campaigns[min(s.IntN(len(campaigns)), s.IntN(len(campaigns)))]
		way := append(s.visit(campaign.name), s.redirect())
		s.Shuffle(len(way), func(i, j int) { way[i], way[j] = way[j], way[i] })
		for _, h := range way {
			_, _ = platform.Emit(context.WithoutCancel(ctx), h.name, h.data) // if it isn't answered with 2xx, it comes again
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(s.ExpFloat64() * float64(time.Second))):
		}
	}
}
