package walletcrew_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/endpoint"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// Platforms that are allowed by what is documented, and not as this SDK expects: what Rotate and Ensure do then.

// oneForAnEndpoint answers a create with the webhook that same finds. Take says which members of the request that one takes over;
// "answer" is for a platform that only says in its answer that the webhook is disabled.
func oneForAnEndpoint(t *testing.T, s *walletcrewtest.Server, same func(asked, there string) bool, take []string) http.RoundTripper {
	t.Helper()
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodPost {
			return http.DefaultTransport.RoundTrip(r)
		}
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		r.Body = io.NopCloser(bytes.NewReader(body))
		var asked map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &asked))
		var url string
		require.NoError(t, json.Unmarshal(asked["endpoint"], &url))
		all := s.Webhooks()
		i := slices.IndexFunc(all, func(w walletcrew.Webhook) bool { return same(url, w.Endpoint) })
		if i < 0 {
			return http.DefaultTransport.RoundTrip(r)
		}
		if slices.Equal(take, []string{"answer"}) {
			all[i].Enabled = false
			return respond(r, 200, webhookJSON(t, all[i])), nil
		}
		patch := map[string]json.RawMessage{}
		for _, name := range take {
			patch[name] = asked[name]
		}
		require.NoError(t, s.Client().Do(t.Context(), http.MethodPatch, "webhooks/"+all[i].ID, patch, nil))
		return respond(r, 200, webhookJSON(t, s.Webhooks()[i])), nil
	})
}

func through(s *walletcrewtest.Server, transport http.RoundTripper) *walletcrew.Client {
	return s.Client(walletcrew.WithHTTPClient(&http.Client{Transport: transport}))
}

func TestRotateOnAPlatformWithOneWebhookForAnEndpointChangesNothing(t *testing.T) {
	t.Parallel()
	for name, take := range map[string][]string{
		"create answers with it as it is":             nil,
		"create answers with it, and says disabled":   {"answer"},
		"create switches it off":                      {"enabled"},
		"create takes everything over":                {"endpoint", "events", "description", "enabled"},
		"create takes everything over but the events": {"description", "enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := platform(t)
			spec := hookSpec()
			spec.Description = "of the shop"
			w := mustCreate(t, s, spec)
			before := s.Webhooks()
			client := through(s, oneForAnEndpoint(t, s, endpoint.Same, take))
			r, err := client.Webhooks.Rotate(t.Context(), w.ID)
			require.ErrorContains(t, err, "the platform created nothing: it answered with the webhook "+w.ID)
			assert.Nil(t, r)
			assert.Equal(t, 1, strings.Count(err.Error(), "walletcrew:"), err)
			assert.Equal(t, before, s.Webhooks(), "the only webhook is as it was")
		})
		t.Run(name+": another one", func(t *testing.T) {
			t.Parallel()
			s := platform(t)
			other := mustCreate(t, s, walletcrew.WebhookSpec{Endpoint: hookURL, Events: []walletcrew.EventName{"*"}, Description: "other"})
			w := mustCreate(t, s, hookSpec())
			before := s.Webhooks()
			client := through(s, oneForAnEndpoint(t, s, endpoint.Same, take))
			_, err := client.Webhooks.Rotate(t.Context(), w.ID)
			require.ErrorContains(t, err, "it answered with the webhook "+other.ID)
			assert.Equal(t, before, s.Webhooks())
		})
	}
}

func TestRotateWhoseAnswerIsLostPutsBackWhatTheCreateChanged(t *testing.T) {
	t.Parallel()
	s := platform(t)
	w := mustCreate(t, s, hookSpec())
	before := s.Webhooks()
	next := oneForAnEndpoint(t, s, endpoint.Same, []string{"enabled"})
	client := through(s, roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if r.Method == http.MethodPost {
			_ = resp.Body.Close()
			return nil, io.ErrUnexpectedEOF
		}
		return resp, err
	}))
	_, err := client.Webhooks.Rotate(t.Context(), w.ID)
	require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
	assert.Equal(t, before, s.Webhooks(), "the only webhook isn't left switched off")
}

// switchesOff is a platform that lets one webhook of an endpoint be enabled.
func switchesOff(t *testing.T, s *walletcrewtest.Server, id string) http.RoundTripper {
	t.Helper()
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPost {
			_, err := s.Client().Webhooks.Patch(t.Context(), id, walletcrew.WebhookPatch{Enabled: new(false)})
			require.NoError(t, err)
		}
		return http.DefaultTransport.RoundTrip(r)
	})
}

func TestRotateSaysWhereItCannotPutBackWhatTheCreateChanged(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]fault{
		"it can't be read":       {Method: http.MethodGet, StatusCode: 403},
		"it can't be patched":    {Method: http.MethodPatch, StatusCode: 403},
		"the patch does nothing": {Method: http.MethodPatch, StatusCode: 204},
	} {
		for _, another := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/another was made %t", name, another), func(t *testing.T) {
				t.Parallel()
				s := platform(t)
				w := mustCreate(t, s, hookSpec())
				next := oneForAnEndpoint(t, s, endpoint.Same, []string{"enabled"})
				if another {
					next = switchesOff(t, s, w.ID)
				}
				client := through(s, roundTripper(func(r *http.Request) (*http.Response, error) {
					resp, err := next.RoundTrip(r)
					if r.Method == http.MethodPost {
						s.Fail(fails)
					}
					return resp, err
				}))
				_, err := client.Webhooks.Rotate(t.Context(), w.ID)
				require.ErrorContains(t, err, w.ID)
				require.ErrorContains(t, err, "look whether it is")
				require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
			})
		}
	}
}

func TestRotateSwitchesThePredecessorOnAgain(t *testing.T) {
	t.Parallel()
	s := platform(t)
	w := mustCreate(t, s, hookSpec())
	r, err := through(s, switchesOff(t, s, w.ID)).Webhooks.Rotate(t.Context(), w.ID)
	require.NoError(t, err)
	assert.True(t, s.Webhooks()[0].Enabled, "or no event would come until Finish")
	assert.False(t, s.Webhooks()[1].Enabled)
	require.NoError(t, r.Finish(t.Context()))
	assert.Equal(t, []string{r.New.ID}, ids(s))
}

// Then deliveries are signed with a secret that no receiver has, and that Rotation.Secrets would lack.
func TestRotateSaysWhereTheCreateChangedThePredecessorsSecret(t *testing.T) {
	t.Parallel()
	s := platform(t)
	w := mustCreate(t, s, hookSpec())
	created := false
	client := through(s, roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(r)
		created = created || r.Method == http.MethodPost
		if !created || err != nil || !strings.HasSuffix(r.URL.Path, w.ID) {
			return resp, err
		}
		_ = resp.Body.Close()
		now := s.Webhooks()[0]
		now.SignatureSecret = "another"
		return respond(r, 200, webhookJSON(t, now)), nil
	}))
	_, err := client.Webhooks.Rotate(t.Context(), w.ID)
	require.ErrorContains(t, err, w.ID)
	require.ErrorContains(t, err, "another secret now: give it to the receivers")
	assert.Len(t, s.Webhooks(), 2)
}

func TestRotateOnAPlatformThatReplacesTheWebhookEnablesTheNewOne(t *testing.T) {
	t.Parallel()
	s := platform(t)
	w := mustCreate(t, s, hookSpec())
	client := between(s, func(method string, _ int) {
		if method == http.MethodPost {
			mustDelete(t, s, w.ID)
		}
	})
	_, err := client.Webhooks.Rotate(t.Context(), w.ID)
	require.ErrorContains(t, err, "give the receivers the new one's secret now")
	require.Len(t, s.Webhooks(), 1)
	assert.True(t, s.Webhooks()[0].Enabled, "or no event would come any more")
}

func TestRotateTakesNothingForASuccessorThatCannotBeOne(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(made *walletcrew.Webhook, old *walletcrew.Webhook)
		want   string
	}{
		"another endpoint": {func(made, _ *walletcrew.Webhook) { made.Endpoint = "https://shop.example/other" }, `"https://shop.example/other" instead of "` + hookURL},
		"no endpoint":      {func(made, _ *walletcrew.Webhook) { made.Endpoint = "" }, `no member "endpoint"`},
		"the same secret":  {func(made, old *walletcrew.Webhook) { made.SignatureSecret = old.SignatureSecret }, "the predecessor's secret"},
		"no secret":        {func(made, _ *walletcrew.Webhook) { made.SignatureSecret = "" }, "no secret of the successor"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := platform(t)
			w := mustCreate(t, s, hookSpec())
			client := through(s, roundTripper(func(r *http.Request) (*http.Response, error) {
				resp, err := http.DefaultTransport.RoundTrip(r)
				if r.Method != http.MethodPost || err != nil {
					return resp, err
				}
				_ = resp.Body.Close()
				made := s.Webhooks()[1]
				test.change(&made, w)
				return respond(r, 200, webhookJSON(t, made)), nil
			}))
			_, err := client.Webhooks.Rotate(t.Context(), w.ID)
			require.ErrorContains(t, err, test.want)
			assert.Len(t, s.Webhooks(), 2, "it deletes nothing that may not be its own")
			assert.True(t, s.Webhooks()[0].Enabled)
		})
	}
}

func TestRotateDeletesASuccessorThatIsEnabledAtOnce(t *testing.T) {
	t.Parallel()
	enables := func(t *testing.T) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost {
				body, err := io.ReadAll(r.Body)
				require.NoError(t, err)
				body = bytes.Replace(body, []byte(`"enabled":false`), []byte(`"enabled":true`), 1)
				r = r.Clone(r.Context())
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			}
			return http.DefaultTransport.RoundTrip(r)
		})
	}
	t.Run("and makes sure that it is gone", func(t *testing.T) {
		t.Parallel()
		s := platform(t)
		w := mustCreate(t, s, hookSpec())
		_, err := through(s, enables(t)).Webhooks.Rotate(t.Context(), w.ID)
		require.ErrorContains(t, err, "it was deleted again")
		assert.Equal(t, []string{w.ID}, ids(s))
	})
	t.Run("and says so where it isn't gone", func(t *testing.T) {
		t.Parallel()
		s := platform(t)
		w := mustCreate(t, s, hookSpec())
		s.Fail(fault{Method: http.MethodDelete, StatusCode: 204})
		_, err := through(s, enables(t)).Webhooks.Rotate(t.Context(), w.ID)
		require.ErrorContains(t, err, "can't be deleted")
		require.ErrorContains(t, err, "the list still has it")
	})
	t.Run("but not where the list couldn't be read to its end", func(t *testing.T) {
		t.Parallel()
		s := platform(t)
		w := mustCreate(t, s, hookSpec())
		more := http.Header{"X-Continuationtoken": {"2"}}
		s.Fail(fault{}, fault{Header: more}, fault{Header: more})
		_, err := through(s, enables(t)).Webhooks.Rotate(t.Context(), w.ID)
		require.ErrorContains(t, err, "delete it, unless it was there before")
		assert.Len(t, s.Webhooks(), 2)
	})
}

func TestRotateNeedsAListThatHasTheWebhook(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]fault{
		"an empty one": {StatusCode: 200, Body: "[]"}, "HTML": {StatusCode: 200, Body: "<title>Log in</title>"}, "403": {StatusCode: 403},
	} {
		s := platform(t)
		w := mustCreate(t, s, hookSpec())
		s.Fail(fault{}, list)
		_, err := s.Client().Webhooks.Rotate(t.Context(), w.ID)
		require.ErrorContains(t, err, "list", name)
		assert.Equal(t, []string{w.ID}, ids(s), "nothing is created before it is known what there is")
	}
}

func TestEnsureOnAPlatformThatAnswersACreateWithAnotherWebhookPutsItBack(t *testing.T) {
	t.Parallel()
	for name, take := range map[string][]string{
		"as it is": nil, "with everything taken over": {"endpoint", "events", "description", "enabled"}, "with the events taken over": {"events"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := platform(t)
			there := walletcrew.WebhookSpec{Endpoint: "https://shop.example/other", Events: []walletcrew.EventName{"*"}, Description: "other", Enabled: new(false)}
			mustCreate(t, s, there)
			before := s.Webhooks()
			anyEndpoint := func(string, string) bool { return true }
			client := through(s, oneForAnEndpoint(t, s, anyEndpoint, take))
			spec := hookSpec()
			spec.Description = "of the shop"
			_, err := client.Webhooks.Ensure(t.Context(), spec)
			require.ErrorContains(t, err, "the platform created nothing")
			require.ErrorContains(t, err, hookURL)
			require.ErrorContains(t, err, there.Endpoint)
			assert.Equal(t, before, s.Webhooks(), "another endpoint's webhook is as it was")
		})
	}
}

func TestEnsureDeletesNoWebhookThatMayHaveBeenThereBefore(t *testing.T) {
	t.Parallel()
	// The list can't be read to its end, and the create is answered with a webhook that stands behind another of the endpoint.
	s := platform(t)
	first := mustCreate(t, s, hookSpec())
	second := mustCreate(t, s, hookSpec())
	listed := 0
	client := through(s, roundTripper(func(r *http.Request) (*http.Response, error) {
		switch {
		case r.Method == http.MethodPost:
			return respond(r, 200, webhookJSON(t, *second)), nil
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/webhooks"):
			if listed++; listed <= 2 {
				return respond(r, 200, `[{"id":"other","endpoint":"https://shop.example/other"}]`, "X-continuationToken", "2"), nil
			}
		}
		return http.DefaultTransport.RoundTrip(r)
	}))
	_, err := client.Webhooks.Ensure(t.Context(), hookSpec())
	require.NoError(t, err)
	assert.Equal(t, []string{first.ID, second.ID}, ids(s), "neither is surely its own")
}

// changesEndpoints is a platform that keeps endpoints in a form of its own.
func changesEndpoints(t *testing.T, form func(string) string) http.RoundTripper {
	t.Helper()
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPost {
			var body map[string]any
			require.NoError(t, json.NewDecoder(r.Body).Decode(&body))
			body["endpoint"] = form(body["endpoint"].(string))
			encoded, err := json.Marshal(body)
			require.NoError(t, err)
			r = r.Clone(r.Context())
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(encoded)), int64(len(encoded))
		}
		return http.DefaultTransport.RoundTrip(r)
	})
}

func TestEnsureKnowsItsWebhookInTheFormThatThePlatformGivesTheEndpoint(t *testing.T) {
	t.Parallel()
	for asked, form := range map[string]string{
		"https://shop.example/a%7eb":            "https://shop.example/a~b",
		"https://shop.example/a%c3%a9":          "https://shop.example/a%C3%A9",
		"https://shop.example/é":                "https://shop.example/%C3%A9",
		"https://shop.example/a/../b/./c":       "https://shop.example/b/c",
		"https://bücher.example/hook":           "https://xn--bcher-kva.example/hook",
		"https://xn--bcher-kva.example/hook":    "https://bücher.example/hook",
		"https://SHOP.example:443":              "https://shop.example/",
		"https://shop.example/hook?a=b%20c%2fd": "https://shop.example/hook?a=b+c%2Fd",
		"https://[2001:DB8:0::1]/hook":          "https://[2001:db8::1]/hook",
	} {
		t.Run(asked, func(t *testing.T) {
			t.Parallel()
			s := platform(t)
			transport := changesEndpoints(t, func(string) string { return form })
			spec := walletcrew.WebhookSpec{Endpoint: asked, Events: []walletcrew.EventName{"*"}}
			first, err := through(s, transport).Webhooks.Ensure(t.Context(), spec)
			require.NoError(t, err)
			again, err := through(s, transport).Webhooks.Ensure(t.Context(), spec)
			require.NoError(t, err)
			assert.Equal(t, walletcrew.EnsureUnchanged, again.Action, "no other webhook at the next start")
			assert.Equal(t, []string{first.Webhook.ID}, ids(s))

			v, err := verifier.New(verifier.FromAPI(through(s, transport), verifier.ForEndpoint(asked)))
			require.NoError(t, err)
			body := walletcrewtest.Payload(walletcrew.EventPassInstalled, nil)
			_, err = v.Delivery(walletcrewtest.NewRequest("/", first.Webhook.SignatureSecret, s.TenantID, walletcrew.EventPassInstalled, body))
			require.NoError(t, err, "ForEndpoint knows it, too")
		})
	}
}

func TestEnsureNamesBothEndpointsWhereThePlatformMadeAnother(t *testing.T) {
	t.Parallel()
	s := platform(t)
	lower := func(endpoint string) string {
		u, err := url.Parse(endpoint)
		require.NoError(t, err)
		u.Path = strings.ToLower(u.Path)
		return u.String()
	}
	const asked, made = "https://shop.example/Hooks/Walletcrew", "https://shop.example/hooks/walletcrew"
	client := through(s, changesEndpoints(t, lower))
	spec := walletcrew.WebhookSpec{Endpoint: asked, Events: []walletcrew.EventName{"*"}}
	_, err := client.Webhooks.Ensure(t.Context(), spec)
	require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "there is a webhook now")
	for range 3 {
		require.ErrorContains(t, err, `"`+asked+`"`)
		require.ErrorContains(t, err, `"`+made+`"`)
		require.ErrorContains(t, err, ids(s)[0])
		assert.Equal(t, 1, strings.Count(err.Error(), "walletcrew:"), err)
		_, err = client.Webhooks.Ensure(t.Context(), spec)
		require.Error(t, err)
		require.Len(t, s.Webhooks(), 1, "no other webhook from this client")
	}
	require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "this call created nothing")

	spec.Endpoint = made
	got, err := client.Webhooks.Ensure(t.Context(), spec)
	require.NoError(t, err, "the platform's spelling is understood")
	assert.Equal(t, walletcrew.EnsureUnchanged, got.Action)

	// Somebody gives that webhook another endpoint: then it is no longer the one.
	_, err = s.Client().Webhooks.Patch(t.Context(), got.Webhook.ID, walletcrew.WebhookPatch{Endpoint: new("https://shop.example/elsewhere")})
	require.NoError(t, err)
	spec.Endpoint = asked
	_, err = client.Webhooks.Ensure(t.Context(), spec)
	require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "this call has made another")
	assert.Len(t, s.Webhooks(), 2)
}
