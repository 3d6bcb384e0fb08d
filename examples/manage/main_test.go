package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func TestTheTourGoesThroughEveryFlag(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), nil, &out))
	for _, want := range []string{": created", ": unchanged", "has taken the place of", ": deleted", "[redacted]"} {
		assert.Contains(t, out.String(), want)
	}
}

func TestFlagsActOnThePlatformOfTheEnvironment(t *testing.T) {
	platform := walletcrewtest.NewServer()
	defer platform.Close()
	t.Setenv("WALLETCREW_TENANT_ID", platform.TenantID)
	t.Setenv("WALLETCREW_API_KEY", platform.APIKey)
	t.Setenv("WALLETCREW_BASE_URL", platform.URL)
	do := func(args ...string) string {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), args, &out))
		return out.String()
	}

	do("-ensure", "https://shop.example/hook", "-events", "Pass:*, Customer:*", "-description", "shop")
	require.Len(t, platform.Webhooks(), 1)
	first := platform.Webhooks()[0]
	assert.Equal(t, "shop", first.Description)
	assert.Len(t, first.Events, 2)

	do("-patch", first.ID, "-enabled", "false")
	assert.False(t, platform.Webhooks()[0].Enabled)
	do("-patch", first.ID, "-enabled", "true")

	do("-rotate", first.ID)
	require.Len(t, platform.Webhooks(), 2)
	second := platform.Webhooks()[1]
	assert.Equal(t, string(second.SignatureSecret)+"\n", do("-secret", second.ID))
	do("-finish", first.ID+","+second.ID)
	require.Len(t, platform.Webhooks(), 1)
	assert.True(t, platform.Webhooks()[0].Enabled)

	list := do("-list")
	assert.Contains(t, list, second.ID)
	assert.NotContains(t, list, string(platform.Webhooks()[0].SignatureSecret))
	do("-delete", second.ID)
	assert.Empty(t, platform.Webhooks())
	assert.Contains(t, do("-delete", second.ID), "there is none")

	require.ErrorContains(t, run(t.Context(), []string{"list"}, &bytes.Buffer{}), `what is "list"`, "a flag without its dash does nothing, and says so")
	require.Error(t, run(t.Context(), []string{"-patch", "x"}, &bytes.Buffer{}), "a patch that changes nothing is refused")
	require.Error(t, run(t.Context(), []string{"-finish", "x"}, &bytes.Buffer{}))
}
