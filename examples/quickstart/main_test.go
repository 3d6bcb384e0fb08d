package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func TestTheEmbeddedRunShowsTheWholeWay(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, embedded(t.Context(), &out))

	lines := map[string]string{}
	for line := range strings.Lines(out.String()) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		lines[name] = strings.TrimSpace(rest)
	}
	for _, sample := range samples {
		assert.Contains(t, lines[string(sample.name)], "-> 204", "%s was handled", sample.name)
	}
	assert.Contains(t, lines["Pass:Installed"], "pass p-1001 on an apple device, came by email")
	assert.Contains(t, lines["authentic"], "-> 204")
	assert.Contains(t, lines["once"], "-> 204")
	for _, attack := range []string{"tampered", "forged", "unsigned"} {
		assert.Contains(t, lines[attack], "-> 401", "%s was refused", attack)
	}
	assert.Contains(t, lines["webhook"], "secret [redacted]")
	assert.Contains(t, lines["patched"], "0 deliveries")
	assert.Contains(t, lines["deleted"], "0 webhooks are left")
}

func TestTheRealRunLeavesNothingBehindAndShowsNoSecret(t *testing.T) {
	platform := walletcrewtest.NewServer()
	defer platform.Close()
	t.Setenv("WALLETCREW_TENANT_ID", platform.TenantID)
	t.Setenv("WALLETCREW_API_KEY", platform.APIKey)

	var out bytes.Buffer
	require.NoError(t, real(t.Context(), &out, platform.URL, "https://shop.example/webhooks"))
	assert.Contains(t, out.String(), "[redacted]")
	assert.NotContains(t, out.String(), platform.APIKey)
	assert.Empty(t, platform.Webhooks())
}
