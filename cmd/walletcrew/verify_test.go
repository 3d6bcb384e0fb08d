package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// apiUser is a user of a platform in this process: to the command, the real one.
func apiUser(t *testing.T, opts ...walletcrewtest.Option) (*user, *walletcrewtest.Server) {
	t.Helper()
	api := walletcrewtest.NewServer(opts...)
	t.Cleanup(api.Close)
	return newUser(t, "WALLETCREW_BASE_URL="+api.URL, "WALLETCREW_API_KEY="+api.APIKey, "WALLETCREW_TENANT_ID="+api.TenantID), api
}

// The vector of docs/facts, made with OpenSSL and not with this project.
const (
	vectorSecret    = "k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E"
	vectorBody      = `{"__id":"0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10","passId":"p-1001","passType":"user","identifiers":{"customerId":"C-42"},"device":"apple"}`
	vectorSignature = "5c979b2f309a6023a40fb8d84bf7709286b14f1086b59235871333b6101b9360"
)

func TestVerifySaysWhetherASignatureFitsAndWhyNot(t *testing.T) {
	t.Parallel()
	u := newUser(t, "WALLETCREW_SECRET="+vectorSecret)
	file := filepath.Join(u.dir, "body")
	require.NoError(t, os.WriteFile(file, []byte(vectorBody), 0o600))
	var v verification
	u.answer(&v, 0, "verify", "verify", "--signature", vectorSignature, "--body", file)
	assert.True(t, v.Matches)
	assert.Equal(t, []string{"it matches"}, v.Findings)

	assert.Zero(t, u.runWith(vectorBody, "verify", "--signature", vectorSignature).code, "the body comes from stdin")

	require.NoError(t, os.WriteFile(file, []byte(vectorBody+"\n"), 0o600))
	u.answer(&v, 1, "verify", "verify", "--signature", vectorSignature, "--body", file)
	assert.False(t, v.Matches)
	assert.Contains(t, strings.Join(v.Findings, " "), "line break that wasn't signed")

	u.answer(&v, 1, "verify", "verify", "--signature", strings.Repeat("0", 64), "--body", file)
	assert.NotEmpty(t, v.Findings, "it never says nothing")

	o := newUser(t).runWith(vectorBody, "verify", "--signature", vectorSignature)
	assert.Equal(t, 2, o.code)
	assert.Contains(t, o.err, "WALLETCREW_SECRET")
	assert.Equal(t, 2, u.run("verify").code)
	assert.Equal(t, 1, u.run("verify", "--signature", "x", "--body", "nosuchfile").code)
}

func TestWithAKeyVerifySaysWhoseSecretItIs(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	w, err := api.Client().Webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{"*"}})
	require.NoError(t, err)
	file := filepath.Join(u.dir, "body")
	require.NoError(t, os.WriteFile(file, []byte(vectorBody), 0o600))
	signature := walletcrew.Sign(w.SignatureSecret, []byte(vectorBody))
	var v verification
	u.answer(&v, 0, "verify", "verify", "--signature", signature, "--body", file)
	assert.Contains(t, v.Findings[0], "webhook "+w.ID)

	other := u.with("WALLETCREW_SECRET=another")
	other.answer(&v, 1, "verify", "verify", "--signature", signature, "--body", file)
	assert.Contains(t, strings.Join(v.Findings, " "), "it is the secret of webhook "+w.ID)
	u.answer(&v, 1, "verify", "verify", "--signature", vectorSignature, "--body", file)
	api.Close()
	assert.Equal(t, 1, u.with("WALLETCREW_API_KEY=wrong").run("verify", "--signature", signature, "--body", file).code)
}
