package inspector

import (
	"bytes"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

var pictures = flag.String("pictures", "", "the directory that TestPictures writes the documents' screenshots to")

// demo fills a store with five minutes of a service's life.
func demo(store *Store) (first, forged string) {
	random := rand.New(rand.NewPCG(1, 2))
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

	take := func(name, theme, url string, width, height int64, steps ...chromedp.Action[chromedp.Void]) {
		b.do(chromedp.EmulateViewport(width, height))
		b.media("prefers-color-scheme", theme, "prefers-reduced-motion", "reduce")
		b.open(url)
		b.do(chromedp.Sleep(500 * time.Millisecond)) // the plots
		b.do(steps...)
		b.do(chromedp.Sleep(300 * time.Millisecond))
		shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(*pictures, name+".png"), smaller(t, shot), 0o644))
	}
	take("inspector-empty", "light", empty.url, 1280, 800)
	take("inspector-list", "light", full.url, 1280, 800)
	take("inspector-detail", "light", full.url+"/#/delivery/"+last, 1280, 800)
	take("inspector-dark", "dark", full.url+"/#/delivery/"+last, 1280, 800)
	take("inspector-forged", "light", full.url+"/#/delivery/"+forged, 1280, 800)
	take("inspector-webhooks", "light", full.url+"/#/webhooks", 1280, 800)
	take("inspector-narrow", "light", full.url, 420, 800)
	take("inspector-narrow-detail", "dark", full.url+"/#/delivery/"+forged, 420, 800)
	take("inspector-editor", "light", full.url+"/#/delivery/"+last, 1280, 800, chromedp.Click("#a-edit"))
}

// distance is the largest difference of a channel, 0 to 255.
func distance(a, b color.Color) int {
	r1, g1, b1, _ := a.RGBA()
	r2, g2, b2, _ := b.RGBA()
	return max(abs(r1, r2), abs(g1, g2), abs(b1, b2))
}

func abs(a, b uint32) int { return int(max(a, b)-min(a, b)) >> 8 }

// smaller writes a picture with 256 colours; a page has few more.
func smaller(t *testing.T, shot []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(shot))
	require.NoError(t, err)
	count := map[color.Color]int{}
	bounds := full.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[full.At(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return count[b] - count[a] })
	var palette color.Palette
	for apart := 0; len(palette) == 0 || len(palette) > 256; apart += 4 { // no colour is further than that from its own
		palette = palette[:0]
		for _, c := range colors {
			if len(palette) < 64 || distance(c, palette[palette.Index(c)]) > apart {
				palette = append(palette, c)
			}
		}
	}
	nearest := map[color.Color]uint8{}
	for _, c := range colors {
		nearest[c] = uint8(palette.Index(c))
	}
	reduced := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			reduced.SetColorIndex(x, y, nearest[full.At(x, y)])
		}
	}
	var out bytes.Buffer
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, reduced))
	return out.Bytes()
}
