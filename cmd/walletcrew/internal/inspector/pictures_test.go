package inspector

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

var pictures = flag.String("pictures", "", "the directory that TestPictures writes the documents' screenshots to")

// demo fills a store with five minutes of a service's life.
func demo(store *Store) (first, forged string) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the pictures shall look alike
	events := []string{"Pass:Installed", "Pass:Updated", "Pass:UpdateSent", "Pass:Created", "Customer:Upserted", "Redirect:Redirected", "Pass:Uninstalled"}
	at := time.Now().Add(-290 * time.Second)
	for n := 0; at.Before(time.Now().Add(-2 * time.Second)); n++ {
		id := fmt.Sprintf("%08x-6f0e-4c55-9a55-%012x", random.Uint32(), random.Uint64()>>16)
		r := delivery(events[min(random.IntN(9), random.IntN(7))], passBody(id, n))
		r.ID, r.Time = fmt.Sprintf("%06x", random.Uint32()&0xffffff), at
		r.Duration = time.Duration(4e6 * (1 + random.ExpFloat64()*3))
		switch n % 41 {
		case 11:
			r.Status, r.Duration, r.Answer = 503, 1400*time.Millisecond, `{"error":"the database is away"}`
		case 17, 18, 19:
			r.Verdict, r.Status, r.Duration = Forged, 401, time.Millisecond
			r.Findings = []string{"the body was encoded again by something before the check (the signature is of the compact JSON): verify the bytes as they came"}
			forged = r.ID
		case 23:
			r.Verdict, r.Status, r.Duration = Unsigned, 401, time.Millisecond
		case 29:
			r.Duplicate = true
		case 33:
			r.Verdict, r.Status = Malformed, 400
			r.Body = []byte(`{"__id":"` + id + `","passId":`)
		case 37:
			r.Status, r.Error = 0, "connect: connection refused. Is your service running?"
		}
		store.Add(r)
		if first == "" {
			first = r.ID
		}
		at = at.Add(time.Duration(random.ExpFloat64() * 1.6e9))
	}
	return first, forged
}

// TestPictures makes the documents' screenshots: see .ci/pictures.
func TestPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("no -pictures: nothing to write")
	}
	b := browse(t)
	full := open(t, Options{Mode: Dev, ForwardTo: serviceURL, Endpoint: "http://127.0.0.1:4041/webhooks"})
	first, forged := demo(full.store)
	_ = first
	full.fake.webhooks = []Webhook{
		{ID: "a7Kq2", Endpoint: "http://127.0.0.1:4041/webhooks", Events: []string{"*"}, Enabled: true, Description: "walletcrew dev"},
		{ID: "x92bT", Endpoint: "https://shop.example.com/hooks/wallet", Events: []string{"Pass:*", "Customer:Upserted"}, Enabled: false},
	}
	empty := open(t, Options{Mode: Dev, ForwardTo: serviceURL, Endpoint: "http://127.0.0.1:4041/webhooks"})
	last := full.store.List(3)[2].ID

	shot := func(name, theme, url string, width, height int64, steps ...chromedp.Action[chromedp.Void]) {
		b.do(chromedp.EmulateViewport(width, height))
		b.media("prefers-color-scheme", theme, "prefers-reduced-motion", "reduce")
		b.open(url)
		b.do(chromedp.Sleep(500 * time.Millisecond)) // the plots
		b.do(steps...)
		b.do(chromedp.Sleep(300 * time.Millisecond))
		png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(*pictures, name+".png"), png, 0o644)) //nolint:gosec // a picture for everybody
	}
	shot("inspector-empty", "light", empty.url, 1280, 800)
	shot("inspector-list", "light", full.url, 1280, 800)
	shot("inspector-detail", "light", full.url+"/#/delivery/"+last, 1280, 800)
	shot("inspector-dark", "dark", full.url+"/#/delivery/"+last, 1280, 800)
	shot("inspector-forged", "light", full.url+"/#/delivery/"+forged, 1280, 800)
	shot("inspector-webhooks", "light", full.url+"/#/webhooks", 1280, 800)
	shot("inspector-narrow", "light", full.url, 420, 800)
	shot("inspector-narrow-detail", "dark", full.url+"/#/delivery/"+forged, 420, 800)
	shot("inspector-editor", "light", full.url+"/#/delivery/"+last, 1280, 800, chromedp.Click("#a-edit"))
	shot("inspector-help", "dark", full.url, 1280, 800, chromedp.Click("#help"))
	shot("inspector-filtered", "dark", full.url, 1280, 800, chromedp.Click(`.chip.v-forged`))
}
