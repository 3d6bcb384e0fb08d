package walletcrew_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// pagings are platforms that page in another way than this SDK guesses. Each answers with a page of webhooks and a token.
var pagings = map[string]struct {
	page func(token string, asked int, all []string) (page []string, next string)
	all  bool // each webhook can be read
}{
	"the last page repeats its token": {func(token string, _ int, all []string) ([]string, string) {
		if token == "" {
			return all[:1], "2"
		}
		return all[1:], "2"
	}, true},
	"the last page is empty and repeats its token": {func(token string, _ int, all []string) ([]string, string) {
		if token == "" {
			return all, "end"
		}
		return nil, "end"
	}, true},
	"one token, and each request goes on": {func(_ string, asked int, all []string) ([]string, string) {
		return all[min(asked, len(all)):min(asked+1, len(all))], "cursor"
	}, true},
	"the token is ignored": {func(_ string, _ int, all []string) ([]string, string) {
		return all[:1], "2"
	}, false},
	"the token is ignored, and is another each time": {func(_ string, asked int, all []string) ([]string, string) {
		return all[:1], fmt.Sprint(asked)
	}, false},
	"the last page leads to the first": {func(token string, _ int, all []string) ([]string, string) {
		if token == "2" {
			return all[1:], "1"
		}
		return all[:1], "2"
	}, true},
	"empty pages without an end": {func(token string, asked int, all []string) ([]string, string) {
		if token == "" {
			return all[:1], "0"
		}
		return nil, fmt.Sprint(asked)
	}, false},
	"the token is refused": {func(token string, _ int, all []string) ([]string, string) {
		if token == "" {
			return all[:1], "2"
		}
		return nil, "400"
	}, false},
}

// pagedIn answers the list as one of pagings does, of what the server has; all else is the server's.
func pagedIn(t *testing.T, s *walletcrewtest.Server, paging string) http.RoundTripper {
	t.Helper()
	asked := 0
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/webhooks") {
			return http.DefaultTransport.RoundTrip(r)
		}
		var all []string
		for _, w := range s.Webhooks() {
			all = append(all, webhookJSON(t, w))
		}
		token := r.URL.Query().Get("continuationToken")
		if token == "" {
			asked = 0
		}
		if len(all) == 0 {
			return respond(r, 200, "[]"), nil
		}
		page, next := pagings[paging].page(token, asked, all)
		asked++
		if next == "400" {
			return respond(r, 400, `{"title":"unknown parameter"}`, "Content-Type", "application/problem+json"), nil
		}
		return respond(r, 200, "["+strings.Join(page, ",")+"]", "Content-Type", "application/json", "X-continuationToken", next), nil
	})
}

func webhookJSON(t *testing.T, w walletcrew.Webhook) string {
	t.Helper()
	encoded, err := json.Marshal(map[string]any{
		"id": w.ID, "description": w.Description, "endpoint": w.Endpoint, "events": w.Events, "enabled": w.Enabled, "signatureSecret": string(w.SignatureSecret),
	})
	require.NoError(t, err)
	return string(encoded)
}

func TestWhateverThePagingWhatWasReadCounts(t *testing.T) {
	t.Parallel()
	for name, paging := range pagings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := platform(t)
			var log bytes.Buffer
			client := s.Client(walletcrew.WithHTTPClient(&http.Client{Transport: pagedIn(t, s, name)}), walletcrew.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			other := walletcrew.WebhookSpec{Endpoint: "https://shop.example/other", Events: []walletcrew.EventName{"*"}}

			first, second := mustCreate(t, s, hookSpec()), mustCreate(t, s, other)
			var found []string
			log.Reset()
			for w, err := range client.Webhooks.All(t.Context(), nil) {
				if err != nil {
					assert.False(t, paging.all && name != "the last page leads to the first", "all of it could be read: %v", err)
					require.ErrorIs(t, err, walletcrew.ErrListIncomplete)
					assert.Equal(t, 1, strings.Count(err.Error(), "walletcrew:"), err)
					continue
				}
				found = append(found, w.ID)
			}
			if paging.all {
				assert.Equal(t, []string{first.ID, second.ID}, found)
			} else {
				assert.Equal(t, []string{first.ID}, found)
			}
			assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
		})
	}
}

func TestAPageThatFailsIsNoOtherPaging(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 403, 429, 500, 503} {
		transport, _ := inTurn(always(200, "["+hookJSON+"]", "X-continuationToken", "2"), always(status, "{}"))
		found, errs := allIDs(t, clientOn(t, transport, walletcrew.WithRetries(0, 0, 0)), nil)
		assert.Len(t, found, 1)
		require.Len(t, errs, 1)
		require.NotErrorIs(t, errs[0], walletcrew.ErrListIncomplete, "%d passes, or is a reason of its own", status)
	}
	for _, status := range []int{400, 404} {
		_, errs := allIDs(t, clientOn(t, always(status, "{}", "Content-Type", "application/json")), &walletcrew.ListOptions{ContinuationToken: "mine"})
		require.Len(t, errs, 1)
		require.NotErrorIs(t, errs[0], walletcrew.ErrListIncomplete, "the first page is the caller's")
	}
}

// A list that is one page and has very many webhooks of one endpoint.
func manyOnOneEndpoint(n int) string {
	var list strings.Builder
	for i := range n {
		fmt.Fprintf(&list, `,{"id":"%06d","endpoint":"https://s.example/h"}`, i)
	}
	return "[" + list.String()[1:] + "]"
}

func TestTheContextEndsTheWalkOverAList(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client := clientOn(t, always(200, manyOnOneEndpoint(1000)))
	seen := 0
	for w, err := range client.Webhooks.All(ctx, nil) {
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			assert.Nil(t, w)
			break
		}
		if seen++; seen == 10 {
			cancel()
		}
	}
	assert.Equal(t, 10, seen)
}
