package walletcrew_test

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// foreign are answers of what stands in front of the API: nothing was carried out.
func foreign(method string) map[string][]fault {
	html := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	page := fault{Method: method, StatusCode: 200, Header: html, Body: "<title>Log in</title>"}
	to := http.Header{"Location": {"/login"}}
	return map[string][]fault{
		"200 with HTML":                     {page},
		"200 with HTML and no body":         {{Method: method, StatusCode: 200, Header: html}},
		"200 with HTML called JSON":         {{Method: method, StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: "<title>Log in</title>"}},
		"200 with a text":                   {{Method: method, StatusCode: 200, Header: http.Header{"Content-Type": {"text/plain"}}, Body: "OK"}},
		"202":                               {{Method: method, StatusCode: 202}},
		"206 with JSON":                     {{Method: method, StatusCode: 206, Body: "{}"}},
		"a redirect to a login page":        {{Method: method, StatusCode: 307, Header: to}, page},
		"a redirect to 204":                 {{Method: method, StatusCode: 308, Header: to}, {Method: method, StatusCode: 204}},
		"a redirect to JSON":                {{Method: method, StatusCode: 307, Header: to}, {Method: method, StatusCode: 200, Body: "{}"}},
		"404 with HTML":                     {{Method: method, StatusCode: 404, Header: html, Body: "<title>Not here</title>"}},
		"404 with nothing":                  {{Method: method, StatusCode: 404}},
		"404 with a text":                   {{Method: method, StatusCode: 404, Header: http.Header{"Content-Type": {"text/plain"}}, Body: "default backend - 404"}},
		"404 with JSON after a redirect":    {{Method: method, StatusCode: 307, Header: to}, {Method: method, StatusCode: 404, Body: "{}"}},
		"a lost request, then 404":          {{Method: method, StatusCode: 502}, {Method: method, StatusCode: 404, Header: html}},
		"a lost request, then 404 and JSON": {{Method: method, StatusCode: 502}, {Method: method, StatusCode: 404, Body: "{}"}},
	}
}

func TestDeleteIsNoSuccessWhileTheListHasTheWebhook(t *testing.T) {
	t.Parallel()
	for name, faults := range foreign(http.MethodDelete) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := platform(t)
			w := mustCreate(t, s, hookSpec())
			s.Fail(faults...)
			err := s.Client().Webhooks.Delete(t.Context(), w.ID)
			require.Error(t, err, "the webhook is still there, and enabled")
			require.NotErrorIs(t, err, walletcrew.ErrNotFound)
			assert.Contains(t, err.Error(), "list")
			assert.Equal(t, 1, strings.Count(err.Error(), "walletcrew:"), err)
			_, isAPI := errors.AsType[*walletcrew.APIError](err)
			_, isRequest := errors.AsType[*walletcrew.RequestError](err)
			assert.True(t, isAPI || isRequest, "%T", err)

			require.NoError(t, s.Client().Webhooks.Delete(t.Context(), w.ID))
			assert.Empty(t, s.Webhooks())
		})
		t.Run(name+", but it is gone", func(t *testing.T) {
			t.Parallel()
			s := platform(t)
			mustCreate(t, s, hookSpec())
			s.Fail(faults...)
			err := s.Client().Webhooks.Delete(t.Context(), "gone1")
			if strings.HasPrefix(name, "404") {
				require.ErrorIs(t, err, walletcrew.ErrNotFound, "the list agrees")
				return
			}
			require.NoError(t, err, "the list agrees")
		})
		t.Run(name+", and the list can't be had", func(t *testing.T) {
			t.Parallel()
			for kind, list := range map[string]fault{
				"503":                   {StatusCode: 503},
				"404 with HTML":         {StatusCode: 404, Body: "<title>Not here</title>"},
				"404 with JSON":         {StatusCode: 404, Body: "{}"},
				"200 with HTML":         {StatusCode: 200, Body: "<title>Log in</title>"},
				"200 with other JSON":   {StatusCode: 200, Body: `{"status":"ok"}`},
				"200 with an empty one": {StatusCode: 200, Body: `{"errors":[]}`},
				"206":                   {StatusCode: 206, Body: "[]"},
				"an array of errors":    {StatusCode: 200, Body: `[{"error":"maintenance"}]`},
				"an array of nothing":   {StatusCode: 200, Body: `[null]`},
			} {
				s := platform(t)
				w := mustCreate(t, s, hookSpec())
				list.Method = http.MethodGet
				s.Fail(faults...)
				s.Fail(slices.Repeat([]fault{list}, 4)...)
				err := s.Client().Webhooks.Delete(t.Context(), w.ID)
				require.Error(t, err, kind)
				require.NotErrorIs(t, err, walletcrew.ErrNotFound, kind)
			}
		})
	}
}

func TestDeleteTakesTheAPIsOwnAnswersAtTheirWord(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault{
		"204":               {StatusCode: 204},
		"200 with nothing":  {StatusCode: 200},
		"200 with JSON":     {StatusCode: 200, Body: `{"id":"Ab3xY"}`},
		"200 with white":    {StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: " \n"},
		"200 with problems": {StatusCode: 200, Header: http.Header{"Content-Type": {"application/problem+json; charset=utf-8"}}, Body: "{}"},
	} {
		s := platform(t)
		s.Fail(f)
		require.NoError(t, s.Client().Webhooks.Delete(t.Context(), "Ab3xY"), name)
		assert.Len(t, s.Requests(), 1, "%s: a key that may only write can delete", name)
	}
	s := platform(t)
	s.Fail(fault{StatusCode: 404, Header: http.Header{"Content-Type": {"application/json"}}, Body: "{}"})
	require.ErrorIs(t, s.Client().Webhooks.Delete(t.Context(), "Ab3xY"), walletcrew.ErrNotFound)
	assert.Len(t, s.Requests(), 1)
}

func TestAProxys404IsNotErrNotFoundWhileTheListHasTheWebhook(t *testing.T) {
	t.Parallel()
	for name, faults := range foreign(http.MethodGet) {
		if !strings.HasPrefix(name, "404") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := platform(t)
			w := mustCreate(t, s, hookSpec())
			s.Fail(faults...)
			_, err := s.Client().Webhooks.Get(t.Context(), w.ID)
			require.ErrorContains(t, err, "the list has this webhook")
			require.NotErrorIs(t, err, walletcrew.ErrNotFound)
			s.Fail(faults...)
			_, err = s.Client().Webhooks.Get(t.Context(), "gone1")
			require.ErrorIs(t, err, walletcrew.ErrNotFound)

			for i := range faults {
				faults[i].Method = http.MethodPatch
			}
			s.Fail(faults...)
			_, err = s.Client().Webhooks.Patch(t.Context(), w.ID, walletcrew.WebhookPatch{Enabled: new(false)})
			require.ErrorContains(t, err, "the list has this webhook")
			require.NotErrorIs(t, err, walletcrew.ErrNotFound)
		})
	}
}

func TestGetTakesNoOtherWebhookForTheOneAskedFor(t *testing.T) {
	t.Parallel()
	_, err := clientOn(t, always(200, hookJSON)).Webhooks.Get(t.Context(), "Zz9zZ")
	require.ErrorContains(t, err, "another webhook")
	_, err = clientOn(t, always(200, hookJSON)).Webhooks.Get(t.Context(), "ab3XY")
	require.NoError(t, err, "whether the platform knows capitals isn't documented")
	_, err = clientOn(t, always(200, `{"id":"Ab3xY","status":"accepted"}`)).Webhooks.Get(t.Context(), "Ab3xY")
	require.ErrorContains(t, err, `no member "endpoint"`)
}

func TestPatchIsNoSuccessWhereNothingWasPatched(t *testing.T) {
	t.Parallel()
	for name, faults := range foreign(http.MethodPatch) {
		if strings.Contains(name, "404") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := platform(t)
			w := mustCreate(t, s, hookSpec())
			for what, patch := range map[string]walletcrew.WebhookPatch{
				"enabled": {Enabled: new(false)}, "description": {Description: new("other")},
				"events": {Events: []walletcrew.EventName{"*"}}, "endpoint": {Endpoint: new("https://shop.example/other")},
			} {
				s.Fail(faults...)
				_, err := s.Client().Webhooks.Patch(t.Context(), w.ID, patch)
				require.ErrorContains(t, err, "the webhook isn't as the patch says", what)
				require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
			}
			s.Fail(faults...)
			same, err := s.Client().Webhooks.Patch(t.Context(), w.ID, walletcrew.WebhookPatch{Endpoint: new("https://SHOP.example/webhooks/walletcrew"), Enabled: new(true)})
			require.NoError(t, err, "it is as the patch says")
			assert.Equal(t, w, same)
		})
	}
}

func TestFinishIsNoSuccessWhileThePredecessorIsThere(t *testing.T) {
	t.Parallel()
	api404 := fault{StatusCode: 404, Body: "{}"}
	tests := map[string][]fault{
		"the predecessor is answered 404 by a gateway":  {{}, api404},
		"the DELETE is answered 404 by a gateway":       {{}, {}, {}, api404},
		"the DELETE is answered 204 by something else":  {{}, {}, {}, {StatusCode: 204}},
		"the DELETE is answered JSON by something else": {{}, {}, {}, {StatusCode: 200, Body: `{"status":"ok"}`}},
		"the list is somebody else's":                   {{}, {}, {}, {StatusCode: 204}, {StatusCode: 200, Body: "[]"}},
		"the list is something else":                    {{}, {}, {}, {StatusCode: 204}, {StatusCode: 200, Body: `{"errors":[]}`}},
		"the list can't be had":                         append([]fault{{}, {}, {}, {StatusCode: 204}}, hopeless("")...),
	}
	for kind, faults := range foreign("") {
		tests["the predecessor: "+kind] = append([]fault{{}}, faults...)
		tests["the DELETE: "+kind] = append([]fault{{}, {}, {}}, faults...)
	}
	for name, faults := range tests {
		for _, anew := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/a new process %t", name, anew), func(t *testing.T) {
				t.Parallel()
				r := newRotationTest(t, true)
				client := r.Client() // tries again
				rotation, err := client.Webhooks.Rotate(t.Context(), r.old.ID)
				require.NoError(t, err)
				r.receiver.know(rotation.Secrets()...)
				finish := func() error { return rotation.Finish(t.Context()) }
				if anew {
					finish = func() error { return client.Webhooks.FinishRotation(t.Context(), rotation.Old.ID, rotation.New.ID) }
				}
				r.Fail(faults...)
				err = finish()
				require.Contains(t, ids(r.Server), rotation.New.ID)
				if slices.Contains(ids(r.Server), r.old.ID) {
					require.Error(t, err, "the webhook with the old secret is still there")
					require.NotErrorIs(t, err, walletcrew.ErrNotFound)
					assert.Contains(t, err.Error(), "walletcrew: finish the rotation: ")
				}
				for range 3 { // faults may be left
					if err = finish(); err == nil {
						break
					}
				}
				require.NoError(t, err, "it may be called again")
				r.finished(rotation.New)
			})
		}
	}
}

func TestFinishThatConfirmsNeedsTheSuccessorInTheList(t *testing.T) {
	t.Parallel()
	s := platform(t)
	service := s.Client().Webhooks
	r, err := service.Rotate(t.Context(), mustCreate(t, s, hookSpec()).ID)
	require.NoError(t, err)
	require.NoError(t, r.Finish(t.Context()))
	s.Fail(fault{}, fault{}, fault{StatusCode: 200, Body: "[]"})
	require.ErrorContains(t, r.Finish(t.Context()), "the list of webhooks proves nothing: it lacks "+r.New.ID)
}

func TestFinishRotationRefusesOneWebhookUnderTwoSpellings(t *testing.T) {
	t.Parallel()
	client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) { // a platform whose ids ignore case
		if req.Method != http.MethodGet {
			t.Errorf("%s of the only webhook", req.Method)
		}
		return respond(req, 200, hookJSON), nil
	}))
	var invalid *walletcrew.ValidationError
	require.ErrorAs(t, client.Webhooks.FinishRotation(t.Context(), "ab3xy", "Ab3xY"), &invalid)
	assert.Equal(t, "names the same webhook as oldID", invalid.Reason)
}

func TestFinishRotationRefusesTwoWebhooksWithOneSecret(t *testing.T) {
	t.Parallel()
	client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		if req.Method != http.MethodGet {
			t.Errorf("a %s was sent", req.Method)
		}
		return respond(req, 200, strings.Replace(hookJSON, "Ab3xY", path.Base(req.URL.Path), 1)), nil
	}))
	require.ErrorContains(t, client.Webhooks.FinishRotation(t.Context(), "Ab3xY", "Zz9zZ"), "the same secret")
}
