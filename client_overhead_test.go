package walletcrew_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// What the client costs over bare net/http and encoding/json, for the same call on loopback: at most 5 % is the goal. Run
//
//	go test -run '^$' -bench Get -benchtime 10000x -count 10 .
//
// BenchmarkGetInTurns alternates the two call by call, so that whatever else the machine does falls on both alike: its
// "client/bare" is the ratio of the medians. The other two are for profiles.

func BenchmarkGetInTurns(b *testing.B) {
	client, bare := getters(b)
	var times [2][]time.Duration
	for i := 0; b.Loop(); i++ {
		for j := range times {
			which := (i + j) % 2 // each is the first as often
			began := time.Now()
			if which == 0 {
				client(b)
			} else {
				bare(b)
			}
			times[which] = append(times[which], time.Since(began))
		}
	}
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2])
	}
	b.ReportMetric(0, "ns/op") // of both, which says nothing
	b.ReportMetric(median(times[0]), "client-ns")
	b.ReportMetric(median(times[1]), "bare-ns")
	b.ReportMetric(median(times[0])/median(times[1]), "client/bare")
}

func BenchmarkClientGet(b *testing.B) {
	client, _ := getters(b)
	b.ReportAllocs()
	for b.Loop() {
		client(b)
	}
}

func BenchmarkBareGet(b *testing.B) {
	_, bare := getters(b)
	b.ReportAllocs()
	for b.Loop() {
		bare(b)
	}
}

// getters return the two ways to make the same call, over the same connection.
func getters(b *testing.B) (client, bare func(*testing.B)) {
	b.Helper()
	server, hc := webhookServer(b)
	c, err := walletcrew.NewClient("shop", walletcrew.WithBaseURL(server.URL), walletcrew.WithAPIKey("key"), walletcrew.WithHTTPClient(hc))
	require.NoError(b, err)
	client = func(b *testing.B) {
		if w, err := c.Webhooks.Get(b.Context(), "a1B2c"); err != nil || w.ID != "a1B2c" {
			b.Fatal(w, err)
		}
	}
	bare = func(b *testing.B) {
		if w, err := bareGet(b.Context(), hc, server.URL, "shop", "a1B2c"); err != nil || w.ID != "a1B2c" {
			b.Fatal(w, err)
		}
	}
	return client, bare
}

// bareGet is what one writes without the SDK.
func bareGet(ctx context.Context, hc *http.Client, baseURL, tenantID, id string) (*bareWebhook, error) {
	target := baseURL + "/api/" + url.PathEscape(tenantID) + "/webhooks/" + url.PathEscape(id)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-API-KEY", "key")
	req.Header.Set("Accept", "application/json")
	resp, err := hc.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	w := &bareWebhook{}
	return w, json.Unmarshal(body, w)
}

type bareWebhook struct {
	ID              string   `json:"id"`
	Description     string   `json:"description"`
	Endpoint        string   `json:"endpoint"`
	Events          []string `json:"events"`
	Enabled         bool     `json:"enabled"`
	SignatureSecret string   `json:"signatureSecret"`
}

// webhookServer answers every request with the same webhook, as fast as it can, so that the server hides nothing.
func webhookServer(b *testing.B) (*httptest.Server, *http.Client) {
	b.Helper()
	body := []byte(`{"id":"a1B2c","description":null,"endpoint":"https://shop.example/webhooks/walletcrew","events":["Pass:*","Customer:Upserted"],` +
		`"enabled":true,"signatureSecret":"k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E"}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	b.Cleanup(server.Close)
	return server, server.Client()
}
