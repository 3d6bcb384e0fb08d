package walletcrew_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

func TestBaseURLs(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"https://app.neostore.cloud":         "https://app.neostore.cloud/api/acme/webhooks",
		"https://app.neostore.cloud/":        "https://app.neostore.cloud/api/acme/webhooks",
		walletcrew.StagingURL:                "https://app-qa.neostore.cloud/api/acme/webhooks",
		"HTTPS://app.neostore.cloud":         "https://app.neostore.cloud/api/acme/webhooks",
		"https://gateway.example/wallet":     "https://gateway.example/wallet/api/acme/webhooks",
		"https://gateway.example/a%2Fb/":     "https://gateway.example/a%2Fb/api/acme/webhooks",
		"https://gateway.example:8443":       "https://gateway.example:8443/api/acme/webhooks",
		"http://127.0.0.1:8080":              "http://127.0.0.1:8080/api/acme/webhooks",
		"http://localhost:8080":              "http://localhost:8080/api/acme/webhooks",
		"http://[::1]:8080":                  "http://[::1]:8080/api/acme/webhooks",
		"https://gateway.example/api/wallet": "https://gateway.example/api/wallet/api/acme/webhooks",
		"https://gateway.example/myapi":      "https://gateway.example/myapi/api/acme/webhooks",
		"https://gateway.example/api/acme2":  "https://gateway.example/api/acme2/api/acme/webhooks",

		"https://app.neostore.cloud/api":                     "",
		"https://app.neostore.cloud/api/":                    "",
		"https://app.neostore.cloud//api//":                  "",
		"https://app.neostore.cloud/API":                     "",
		"https://app.neostore.cloud/%61pi":                   "",
		"https://app.neostore.cloud/api/acme":                "",
		"https://app.neostore.cloud/api/acme/":               "",
		"https://app.neostore.cloud/api/acme/webhooks":       "",
		"https://app.neostore.cloud/api/{tenantId}":          "",
		"https://app.neostore.cloud/api/{tenantId}/webhooks": "",
		"https://gateway.example/wallet/api":                 "",

		"":                                  "",
		"app.neostore.cloud":                "",
		"app.neostore.cloud:443":            "",
		"/api":                              "",
		"https://":                          "",
		"https://:443":                      "",
		"https:app.neostore.cloud":          "",
		"http://app.neostore.cloud":         "",
		"http://localhost.attacker.example": "",
		"http://127.0.0.1.attacker.example": "",
		"http://10.0.0.1":                   "",
		"ftp://app.neostore.cloud":          "",
		"ftp://localhost":                   "",
		"https://u:passw0rd@app.example":    "",
		"http://u:passw0rd@app.example":     "",
		"u:passw0rd@app.example":            "",
		"https://passw0rd@app.example":      "",
		"https://app.example?key=passw0rd":  "",
		"https://app.example?":              "",
		"https://app.example#":              "",
		"https://app.example#passw0rd":      "",
		"http://app.example/?k=passw0rd":    "",
		"https://app.example/%zz":           "",
		"https://app .example":              "",
		"https://app.example/..":            "",
		"https://app.example/a/%2e%2e/b":    "",
		"https://app.example/a/..%20/b":     "",
		"https://app.example\n":             "",
		"https://[::1":                      "",
	} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			var sent string
			client, err := walletcrew.NewClient("acme", walletcrew.WithBaseURL(base), walletcrew.WithHTTPClient(&http.Client{
				Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
					sent = req.URL.String()
					return respond(req, 200, "[]"), nil
				}),
			}))
			if want == "" {
				require.Error(t, err)
				assert.Nil(t, client)
				assert.True(t, strings.HasPrefix(err.Error(), "walletcrew: the base URL"), err)
				assert.NotContains(t, err.Error(), "passw0rd", "what may be a password isn't printed")
				return
			}
			require.NoError(t, err)
			_, err = client.Webhooks.List(context.Background(), nil)
			require.NoError(t, err)
			assert.Equal(t, want, sent)
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]walletcrew.Option{
		"an empty key":            walletcrew.WithAPIKey(""),
		"a key with a line break": walletcrew.WithAPIKey("secret-key\n"),
		"a key with a space":      walletcrew.WithAPIKey(" secret-key"),
		"a key outside of ASCII":  walletcrew.WithAPIKey("secret-key-é"),
		"a key of many megabytes": walletcrew.WithAPIKey(strings.Repeat("secret-key+", 1<<20)),

		"a nil http.Client":          walletcrew.WithHTTPClient(nil),
		"negative retries":           walletcrew.WithRetries(-1, 0, 0),
		"a negative wait":            walletcrew.WithRetries(1, -1, 1),
		"the least wait above":       walletcrew.WithRetries(1, 2, 1),
		"waits without their unit":   walletcrew.WithRetries(3, 1, 30),
		"a user agent with a break":  walletcrew.WithUserAgent("shop\r\nX-Evil: 1"),
		"a user agent outside ASCII": walletcrew.WithUserAgent("Büro"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey("a-key-that-is-fine"), option)
			require.Error(t, err)
			assert.Nil(t, client)
			assert.True(t, strings.HasPrefix(err.Error(), "walletcrew: "), err)
			assert.NotContains(t, err.Error(), "secret-key")
		})
	}
	_, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey(strings.Repeat("+", 8<<10)))
	require.NoError(t, err, "a long key is none of the client's business")
	_, err = walletcrew.NewClient("acme", walletcrew.WithAPIKey("key"), walletcrew.WithLogger(nil))
	require.NoError(t, err, "a nil logger is slog.Default")
}

func TestAClientThatCanNeverWorkIsAnErrorAtStart(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]walletcrew.Option{
		"no option": nil, "a nil option": {nil}, "other options": {walletcrew.WithBaseURL(walletcrew.StagingURL), walletcrew.WithRetries(1, 0, 0)},
	} {
		client, err := walletcrew.NewClient("acme", opts...)
		require.EqualError(t, err, "walletcrew: no API key is set: use WithAPIKey, or WithHTTPClient with an http.Client that authenticates (OAuth 2)", name)
		assert.Nil(t, client)
	}
	for name, opts := range map[string][]walletcrew.Option{
		"a key": {walletcrew.WithAPIKey("key")}, "an http.Client": {walletcrew.WithHTTPClient(&http.Client{})},
		"nil options beside a key": {nil, walletcrew.WithAPIKey("key"), nil},
	} {
		_, err := walletcrew.NewClient("acme", opts...)
		require.NoError(t, err, name)
	}
}

func TestTheBaseURLsErrorSaysWhatTheClientAdds(t *testing.T) {
	t.Parallel()
	for base, part := range map[string]string{
		"https://app.neostore.cloud/api/": `"/api"`, "https://app.neostore.cloud/api/acme": `"/api/acme"`,
	} {
		_, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey("key"), walletcrew.WithBaseURL(base))
		require.EqualError(t, err, "walletcrew: the base URL ends in "+part+", which the client adds itself: write it without")
	}
}

func TestTheUserAgentNamesTheProductFirst(t *testing.T) {
	t.Parallel()
	p, client := newMockedPlatform(t, walletcrew.WithUserAgent("shop/1.4 (+https://shop.example)"))
	p.answer("GET", hooksURL, 200, "[]")
	_, err := client.Webhooks.List(context.Background(), nil)
	require.NoError(t, err)
	assert.Regexp(t, `^shop/1\.4 \(\+https://shop\.example\) walletcrew-go/\S+ \(`, p.Sent[0].Header.Get("User-Agent"))
}

func TestNewClientFromEnv(t *testing.T) { //nolint:paralleltest // it sets the environment
	t.Setenv("WALLETCREW_TENANT_ID", "")
	t.Setenv("WALLETCREW_API_KEY", "")
	t.Setenv("WALLETCREW_BASE_URL", "")
	_, err := walletcrew.NewClientFromEnv()
	require.ErrorContains(t, err, "WALLETCREW_TENANT_ID")
	t.Setenv("WALLETCREW_TENANT_ID", "from-env")
	_, err = walletcrew.NewClientFromEnv()
	require.ErrorContains(t, err, "WALLETCREW_API_KEY")
	t.Setenv("WALLETCREW_API_KEY", "env-key")

	var sent *http.Request
	transport := walletcrew.WithHTTPClient(&http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		sent = req
		return respond(req, 200, "[]"), nil
	})})
	client, err := walletcrew.NewClientFromEnv(transport)
	require.NoError(t, err)
	assert.Equal(t, "from-env", client.TenantID())
	_, err = client.Webhooks.List(context.Background(), nil)
	require.NoError(t, err)
	assert.Equal(t, walletcrew.ProductionURL+"/api/from-env/webhooks", sent.URL.String())
	assert.Equal(t, "env-key", sent.Header.Get("X-API-KEY"))

	t.Setenv("WALLETCREW_BASE_URL", walletcrew.StagingURL)
	client, err = walletcrew.NewClientFromEnv(transport, walletcrew.WithAPIKey("other-key"))
	require.NoError(t, err)
	_, err = client.Webhooks.List(context.Background(), nil)
	require.NoError(t, err)
	assert.Equal(t, walletcrew.StagingURL+"/api/from-env/webhooks", sent.URL.String())
	assert.Equal(t, "other-key", sent.Header.Get("X-API-KEY"), "an option comes after the environment")

	t.Setenv("WALLETCREW_BASE_URL", "http://app.neostore.cloud")
	_, err = walletcrew.NewClientFromEnv()
	require.ErrorContains(t, err, "isn't https")
	t.Setenv("WALLETCREW_TENANT_ID", "..")
	_, err = walletcrew.NewClientFromEnv()
	var invalid *walletcrew.ValidationError
	require.ErrorAs(t, err, &invalid)
}
