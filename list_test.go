package walletcrew_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

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

			first, err := client.Webhooks.Ensure(t.Context(), hookSpec())
			require.NoError(t, err)
			assert.Equal(t, walletcrew.EnsureCreated, first.Action)
			second := mustCreate(t, s, other)
			again, err := s.Client(walletcrew.WithHTTPClient(&http.Client{Transport: pagedIn(t, s, name)})).Webhooks.Ensure(t.Context(), hookSpec())
			require.NoError(t, err)
			assert.Equal(t, walletcrew.EnsureUnchanged, again.Action, "it stands on the first page")

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
				assert.Equal(t, []string{first.Webhook.ID, second.ID}, found)
			} else {
				assert.Equal(t, []string{first.Webhook.ID}, found)
			}
			assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())

			rotation, err := client.Webhooks.Rotate(t.Context(), first.Webhook.ID)
			require.NoError(t, err)
			require.NoError(t, rotation.Finish(t.Context()))
			assert.Equal(t, []string{second.ID, rotation.New.ID}, ids(s))
		})
	}
}

func TestEnsureThatCannotReadTheWholeListMakesOneWebhookInAProcess(t *testing.T) {
	t.Parallel()
	s := platform(t)
	mustCreate(t, s, walletcrew.WebhookSpec{Endpoint: "https://shop.example/other", Events: []walletcrew.EventName{"*"}})
	client := s.Client(walletcrew.WithHTTPClient(&http.Client{Transport: pagedIn(t, s, "the token is ignored")}))
	first, err := client.Webhooks.Ensure(t.Context(), hookSpec())
	require.NoError(t, err)
	for range 3 {
		again, err := client.Webhooks.Ensure(t.Context(), hookSpec())
		require.NoError(t, err)
		assert.Equal(t, first.Webhook, again.Webhook, "the list doesn't show it, but this client has made it")
		assert.Equal(t, walletcrew.EnsureUnchanged, again.Action)
	}
	assert.Len(t, s.Webhooks(), 2)

	mustDelete(t, s, first.Webhook.ID)
	again, err := client.Webhooks.Ensure(t.Context(), hookSpec())
	require.NoError(t, err)
	assert.Equal(t, walletcrew.EnsureCreated, again.Action, "it was deleted since")
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

func TestEnsureWithVeryManyOnOneEndpointIsQuick(t *testing.T) {
	if raceDetector {
		t.Skip("it is about time and memory, of which the race detector takes many times as much")
	}
	t.Parallel()
	const n = 100_000 // the most of one answer
	list := manyOnOneEndpoint(n)
	client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodPatch {
			return respond(req, 200, `{"id":"000000","endpoint":"https://s.example/h","events":["*"],"enabled":false,"signatureSecret":"s"}`), nil
		}
		return respond(req, 200, list), nil
	}))
	began := time.Now()
	for _, err := range client.Webhooks.All(t.Context(), nil) {
		require.NoError(t, err)
	}
	once := time.Since(began) // to read the list and do nothing with it
	began = time.Now()
	got, err := client.Webhooks.Ensure(t.Context(), walletcrew.WebhookSpec{Endpoint: "https://S.example/h", Events: []walletcrew.EventName{"*"}})
	require.NoError(t, err)
	assert.Len(t, got.Duplicates, n-1, "each is named")
	assert.Less(t, time.Since(began), 20*once, "no search of the list for each of its webhooks")
}

// Each answer is within its limits, and names a next one.
func TestAListOfManyLargePagesHasAnEnd(t *testing.T) {
	if raceDetector {
		t.Skip("it is about time and memory, of which the race detector takes many times as much")
	}
	t.Parallel()
	pages := 0
	for name, page := range map[string]func() string{
		"many webhooks": func() string {
			var list strings.Builder
			for i := range 70_000 {
				fmt.Fprintf(&list, `,{"id":"%d-%d"}`, pages, i)
			}
			return "[" + list.String()[1:] + "]"
		},
		"long ones": func() string {
			return fmt.Sprintf(`[{"id":"%d","endpoint":"https://s.example/h","description":"%s"}]`, pages, strings.Repeat("x", 9<<20))
		},
	} {
		pages = 0
		client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
			pages++
			require.Less(t, pages, 20, "%s: what is kept of a list has a limit", name)
			return respond(req, 200, page(), "Content-Type", "application/json", "X-continuationToken", fmt.Sprint(pages)), nil
		}))
		var last error
		for _, err := range client.Webhooks.All(t.Context(), nil) {
			last = err
		}
		require.ErrorIs(t, last, walletcrew.ErrListIncomplete, name)
		assert.Contains(t, last.Error(), "no end", name)
	}
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

func TestEnsureWhoseContextEndsWhileItGoesOverTheListSaysSo(t *testing.T) {
	t.Parallel()
	s := platform(t)
	mustCreate(t, s, hookSpec())
	ctx, cancel := context.WithCancel(t.Context())
	client := s.Client(walletcrew.WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err == nil {
			resp.Body = &cancelAtEnd{resp.Body, cancel}
		}
		return resp, err
	})}))
	_, err := client.Webhooks.Ensure(ctx, hookSpec())
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
}

// cancelAtEnd ends a context when the body has been closed.
type cancelAtEnd struct {
	io.ReadCloser
	cancel func()
}

func (b *cancelAtEnd) Close() error {
	err := b.ReadCloser.Close()
	b.cancel()
	return err
}
