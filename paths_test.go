package walletcrew_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

func TestNoPathLeavesTheTenant(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"", "?a=b", "#x", "x#y", "x#", "/x", "//h/x", "///", "https://h/x", "HTTPS://h/x", "http:/x", "file:///x", "%zz", "x%", "x\x00", "x\ny",
		".", "..", "./x", "../x", "../../x", "a/..", "a/.", "a/./b", "a/../x", "a/../../x", "a/b/../../../x", "..?a=b", "a/..?b",
		"%2e%2e/x", "%2E%2e/x", ".%2e/x", "%2e./x", "%2e/x", "%252e%252e/x", "%25252e%25252e/x", "%25%32%65%252e/x",
		"..%2fx", "..%2Fx", "a%2f..%2f..%2fx", "a%252f..%252fx", "a%2f%2e%2e%2fx", "%2f..%2fx", "a/%2e%2e",
		`..\x`, `a\..\x`, `a\..\..\x`, "a%5c..%5cx", "a%5C..%5C..%5Cx", "a%255c..%255cx", `\..\x`,
		"%252e%252e/%25zz", "%252e%252e/100%25", // what can't be unescaped twice doesn't hide the rest
		"..;/x", "..;a=b/x", "a/..;/..;/x", "%2e%2e;/x", "..%3b/x", "..%3Ba/x",
		// A server may drop spaces, what can't be seen, and what ends a line or a string; or normalize text.
		"..%20/x", "%20../x", ".%20./x", "..%09/x", ".%0d./x", ".%0D.", "..%00/x", "..%C2%A0/x", ".%E2%80%8B./x", "..%EF%BB%BF/x", "..%2520/x", ". ./x", ".. /x",
		"%EF%BC%8E%EF%BC%8E/x", "\uFF0E\uFF0E/x", "x\uFF0F..\uFF0Fy", "a%EF%BC%BC..%EF%BC%BCx",
		"\uFE52\uFE52/x", "\u2024\u2024/x", "\u2025/x", ".\uFF0E/x", "x\uFE68..\uFE68y", "..\uFF1B/x", "%EF%BC%852e%EF%BC%852e/x", "\uFE6A2e\uFE6A2e/x",
		"x%00", "x%0a", "x%0d%0aX-Evil:%201", "x%7f", "x%250a", "x%C2%85", // no control characters at all
		"%c0%ae%c0%ae/x", "x%ff", // what isn't UTF-8 is read in several ways
		"x%" + strings.Repeat("25", 100) + "2e",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			for _, method := range []string{"GET", "POST", "DELETE"} {
				requireRefused(t, client.Do(context.Background(), method, path, nil, nil), "path", p)
			}
		})
	}
}

// eachWithID makes each call that takes an id, and NewClient, whose tenant is part of every path.
func eachWithID(ctx context.Context, client *walletcrew.Client, id string) map[string]error {
	errs := map[string]error{}
	_, errs["Get"] = client.Webhooks.Get(ctx, id)
	_, errs["Patch"] = client.Webhooks.Patch(ctx, id, walletcrew.WebhookPatch{Enabled: new(true)})
	errs["Delete"] = client.Webhooks.Delete(ctx, id)
	_, errs["NewClient"] = walletcrew.NewClient(id, walletcrew.WithAPIKey(mockedKey))
	return errs
}

func TestNoIDAndNoTenantLeadsElsewhere(t *testing.T) {
	t.Parallel()
	for _, id := range []string{
		"x/../../../victim/webhooks/abc", "acme/../victim", "acme/", "/acme", "a/b", "../x", "/../../x?y", `a\b`, `..\x`,
		".", "..", "..;x", ".;", ". .", "\u200b..", ".\u00a0.", "\uFF0E\uFF0E", "a\uFF0Fb", "a\uFF3Cb",
		"\uFE52\uFE52", "\u2024.", "\u2105", "\u2025", "a\uFE68b", "\uFF052e\uFF052e", "\uFE6A2e\uFE6A2e", "..\uFF1Bx", "a\uFF052fb", "%EF%BC%8E%EF%BC%8E",
		"%2e%2e", "%2E.", ".%2e", "a%2fb", "a%2Fb", "a%5cb", "%252e%252e", "a%252fb", "a%25252fb", "..%3bx", "..%20",
		"a\nb", "a\rb", "a\x00b", "a\x7fb", "a\u0085b", "a%00", "a%0d%0ab", "a%250ab", "\xc0\xae\xc0\xae", "%c0%ae%c0%ae", "\xff",
		"x%" + strings.Repeat("25", 1_000_000) + "2f",
	} {
		name := id[:min(len(id), 40)]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			began := time.Now()
			for call, err := range eachWithID(context.Background(), client, id) {
				field := "id"
				if call == "NewClient" {
					field = "tenantId"
				}
				requireRefused(t, err, field, p)
				assert.NotContains(t, err.Error(), "victim", "%s: an error doesn't repeat what it was given", call)
			}
			assert.Less(t, time.Since(began), 10*time.Second, "a long id costs no more than its length")
		})
	}
}

func TestOtherIDsAndTenantsAreTakenAndEscaped(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"Ab3xY": "Ab3xY", "a b": "a%20b", "a?b#c": "a%3Fb%23c", "é": "%C3%A9", "...": "...", "..x": "..x", "x..": "x..", ".x": ".x", "a;b": "a%3Bb", "a;..": "a%3B..",
		"100%": "100%25", "a%zz": "a%25zz", "a+b": "a+b", "a%20b": "a%2520b", "shop:7": "shop:7", "a@b.example": "a@b.example",
		"\u2026": "%E2%80%A6", "50\uFF05": "50%EF%BC%85", "a\uFF0Eb": "a%EF%BC%8Eb",
	} {
		p := &mockedPlatform{MockTransport: httpmock.NewMockTransport()}
		p.RegisterNoResponder(answerWith(200, strings.Replace(hookJSON, "Ab3xY", id, 1)))
		client, err := walletcrew.NewClient(id, walletcrew.WithHTTPClient(&http.Client{Transport: p}))
		require.NoError(t, err, id)
		assert.Equal(t, id, client.TenantID())
		for call, err := range eachWithID(context.Background(), client, id) {
			require.NoError(t, err, "%s %s", call, id)
		}
		for _, sent := range p.Sent {
			assert.Equal(t, walletcrew.ProductionURL+"/api/"+want+"/webhooks/"+want, sent.URL)
		}
	}
}
