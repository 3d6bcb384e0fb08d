package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func statuses(d diagnosis, status string) map[string]string {
	found := map[string]string{}
	for _, f := range d.Checks {
		if f.Status == status {
			found[f.Name] = f.Detail
		}
	}
	return found
}

func TestTheDoctorReportsWhatWorksAndWhatDoesnt(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t, walletcrewtest.WithPatchAnswer(walletcrewtest.AnswerEmpty))
	s := newService(t)
	client := api.Client()
	create := func(endpoint string, on bool, events ...walletcrew.EventName) {
		_, err := client.Webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: endpoint, Events: events, Enabled: &on})
		require.NoError(t, err)
	}
	create(s.URL+"/hook?token=credential", true, "Pass:*")
	create(s.URL+"/hook?token=credential", false, "*")
	create(s.URL+"/typo", true, "Pass:Instaled")
	var d diagnosis
	u.answer(&d, 0, "doctor", "doctor", "--write")
	assert.True(t, d.Passed)
	fine, warned := statuses(d, ok), statuses(d, warning)
	for _, name := range []string{"key", "tenant", "scope Webhook.Read", "scope Webhook.Write", "fact: the list is a JSON array", "fact: PATCH takes what changes", "the webhook of its own"} {
		assert.Contains(t, fine, name)
	}
	assert.Equal(t, "has no body", fine["fact: the answer to PATCH"])
	assert.Contains(t, warned["endpoint "+s.URL+"/hook"], "has 2 webhooks")
	assert.Contains(t, warned["webhook "+api.Webhooks()[1].ID], "is switched off")
	assert.Contains(t, warned["webhook "+api.Webhooks()[2].ID], "Pass:Instaled")
	assert.Len(t, api.Webhooks(), 3, "its own is gone")

	for _, format := range []string{"table", "json", "yaml"} {
		text := u.ok("doctor", "-o", format)
		assert.NotContains(t, text, "credential")
		assert.NotContains(t, text, api.APIKey)
		for _, w := range api.Webhooks() {
			assert.NotContains(t, text, string(w.SignatureSecret))
		}
	}
	for _, r := range api.Requests()[len(api.Requests())-6:] {
		assert.Equal(t, http.MethodGet, r.Method, "without --write it only reads")
	}
}

func TestTheDoctorNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		user    func(t *testing.T) *user
		failing string
	}{
		"a wrong key":    {func(t *testing.T) *user { u, _ := apiUser(t); return u.with("WALLETCREW_API_KEY=wrong") }, "key"},
		"a wrong tenant": {func(t *testing.T) *user { u, _ := apiUser(t); return u.with("WALLETCREW_TENANT_ID=nosuch") }, "tenant"},
		"no scope":       {func(t *testing.T) *user { u, _ := apiUser(t, walletcrewtest.WithScopes()); return u }, "scope Webhook.Read"},
		"read only":      {func(t *testing.T) *user { u, _ := apiUser(t, walletcrewtest.WithScopes("Webhook.Read")); return u }, "scope Webhook.Write"},
		"a dead server": {func(t *testing.T) *user {
			return newUser(t, "WALLETCREW_BASE_URL=http://127.0.0.1:1", "WALLETCREW_API_KEY=some-api-key", "WALLETCREW_TENANT_ID=x")
		}, "platform"},
		"a dead endpoint": {func(t *testing.T) *user {
			u, api := apiUser(t)
			_, err := api.Client().Webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: "http://127.0.0.1:1/hook", Events: []walletcrew.EventName{"*"}})
			require.NoError(t, err)
			return u
		}, "endpoint http://127.0.0.1:1/hook"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d diagnosis
			c.user(t).answer(&d, 1, "doctor", "doctor", "--write")
			assert.False(t, d.Passed)
			assert.Contains(t, statuses(d, failed), c.failing)
		})
	}
	assert.Equal(t, 2, newUser(t).run("doctor").code, "without a key")
}

func TestTheDoctorDeletesItsOwnWebhookAlsoAfterAFailure(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	api.Fail(walletcrewtest.Fault{Method: http.MethodPatch, StatusCode: http.StatusBadRequest})
	var d diagnosis
	u.answer(&d, 0, "doctor", "doctor", "--write")
	assert.Contains(t, statuses(d, warning), "fact: PATCH takes what changes")
	assert.Empty(t, api.Webhooks())
	api.Fail(walletcrewtest.Fault{Method: http.MethodDelete, StatusCode: http.StatusForbidden})
	u.answer(&d, 1, "doctor", "doctor", "--write")
	assert.Contains(t, statuses(d, failed), "the webhook of its own")
}
