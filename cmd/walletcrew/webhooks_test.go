package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

const shop = "https://shop.example/hook"

func TestWebhooksAreMadeChangedAndDeleted(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t, walletcrewtest.WithPageSize(1))
	var w webhookView
	u.answer(&w, 0, "webhook", "webhooks", "create", shop, "--event", "Pass:*,Customer:*", "--description", "the shop", "--enabled=false")
	assert.Equal(t, []string{"Pass:*", "Customer:*"}, w.Events)
	assert.False(t, w.Enabled)
	var e ensured
	u.answer(&e, 0, "ensure", "webhooks", "ensure", shop)
	assert.Equal(t, "updated", e.Action)
	assert.False(t, e.Webhook.Enabled, "ensure switches nothing on that somebody switched off")
	u.answer(&e, 0, "ensure", "webhooks", "ensure", shop)
	assert.Equal(t, "unchanged", e.Action)
	u.answer(&e, 0, "ensure", "webhooks", "ensure", "https://shop.example/second", "--event", "Pass:Installed")
	assert.Equal(t, "created", e.Action)

	u.answer(&w, 0, "webhook", "webhooks", "update", w.ID, "--enabled", "--description", "")
	assert.True(t, w.Enabled)
	assert.Empty(t, w.Description)
	u.answer(&w, 0, "webhook", "webhooks", "get", w.ID)
	var list []webhookView
	u.answer(&list, 0, "webhooks", "webhooks", "list")
	assert.Len(t, list, 2, "of all pages")

	secret := string(api.Webhooks()[0].SignatureSecret)
	assert.Equal(t, secret+"\n", u.ok("webhooks", "secret", w.ID))
	for _, format := range []string{"table", "json", "yaml"} {
		for _, args := range [][]string{{"list"}, {"get", w.ID}} {
			assert.NotContains(t, u.ok(append([]string{"webhooks", "-o", format}, args...)...), secret)
		}
	}

	var gone []deleted
	u.answer(&gone, 1, "deleted", "webhooks", "delete", w.ID, "nosuch")
	assert.Equal(t, []string{"deleted", "not found"}, []string{gone[0].Result, gone[1].Result})
	assert.Len(t, api.Webhooks(), 1)
	for _, args := range [][]string{{"get", "nosuch"}, {"secret", "nosuch"}, {"update", "nosuch", "--enabled"}, {"rotate", "nosuch"}, {"finish", "a", "b"}} {
		assert.Equal(t, 1, u.run(append([]string{"webhooks"}, args...)...).code, args)
	}
	for _, args := range [][]string{{"nonsense"}, {"get"}, {"create"}, {"create", "no url"}, {"update", w.ID}, {"delete"}, {"finish", "a"}} {
		assert.Equal(t, 2, u.run(append([]string{"webhooks"}, args...)...).code, args)
	}
}

func TestARotationSaysWhatToDoNextAndFindsOneThatIsHalfDone(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	u.ok("webhooks", "ensure", shop)
	old := api.Webhooks()[0].ID
	var r rotation
	u.answer(&r, 0, "rotation", "webhooks", "rotate", old)
	assert.Equal(t, "begun", r.Action)
	require.Len(t, api.Webhooks(), 2)
	successor := r.New
	u.answer(&r, 0, "rotation", "webhooks", "rotate", old)
	assert.Equal(t, "found", r.Action)
	assert.Equal(t, successor, r.New)
	assert.Len(t, api.Webhooks(), 2, "there is no third")
	text := u.ok("webhooks", "rotate", old)
	assert.Contains(t, text, "walletcrew webhooks secret "+successor)
	assert.Contains(t, text, "walletcrew webhooks finish "+old+" "+successor)
	u.answer(&r, 0, "rotation", "webhooks", "finish", old, successor)
	require.Len(t, api.Webhooks(), 1)
	assert.True(t, api.Webhooks()[0].Enabled)
	u.answer(&r, 0, "rotation", "webhooks", "rotate", successor)
	u.answer(&r, 0, "rotation", "webhooks", "rotate", successor, "--anew")
	assert.Equal(t, "begun", r.Action)
}

func TestAWrongKeyIsSaidInOneLineThatDoesntShowIt(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t, walletcrewtest.WithScopes("Webhook.Read"))
	wrong := u.with("WALLETCREW_API_KEY=a-key-that-is-wrong")
	for _, args := range [][]string{{"webhooks", "list"}, {"webhooks", "list", "-v"}, {"doctor"}, {"listen", "--endpoint", shop, "--listen", "127.0.0.1:0"}, {"listen", "--clean"}} {
		o := wrong.run(args...)
		assert.Equal(t, 1, o.code, args)
		assert.Contains(t, o.err+o.out, "401", args)
		assert.NotContains(t, o.err+o.out, "that-is-wrong", args)
		if args[0] != "doctor" {
			assert.Contains(t, o.err, "walletcrew doctor says more", args)
		}
	}
	o := u.run("webhooks", "create", shop)
	assert.Equal(t, 1, o.code)
	assert.Equal(t, 1, strings.Count(o.err, "\n"), o.err)
	assert.Contains(t, o.err, "403")
	api.Fail(walletcrewtest.Fault{StatusCode: http.StatusBadRequest, Body: "{}"})
	assert.Equal(t, 1, u.run("webhooks", "list").code)
}

// stripe-cli 1261: a live key in the process list.
func TestNoFlagTakesAKeyOrASecret(t *testing.T) {
	t.Parallel()
	c := &cli{}
	seen := 0
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			seen++
			name := f.Name
			if strings.Contains(name, "key") || strings.Contains(name, "secret") || strings.Contains(name, "token") || strings.Contains(name, "password") {
				file := strings.HasSuffix(name, "-file") || name == "write-secret"
				assert.True(t, file || f.Value.Type() == "bool", "%s --%s", cmd.CommandPath(), name)
			}
		})
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	root := c.root()
	visit(root)
	assert.Greater(t, seen, 50)
	u := newUser(t)
	assert.Equal(t, 2, u.run("webhooks", "list", "--api-key", "x").code)
	assert.Equal(t, 2, u.run("trigger", "x", "--secret", "x").code)
}

func TestTheKeyComesFromAFileTheEnvironmentOrAProfile(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	bare := newUser(t)
	o := bare.run("webhooks", "list")
	assert.Equal(t, 2, o.code)
	assert.Contains(t, o.err, "WALLETCREW_API_KEY")

	profiles := filepath.Join(bare.dir, "config", "profiles")
	require.NoError(t, os.MkdirAll(profiles, 0o700))
	file := filepath.Join(profiles, "default.yaml")
	text := "tenant: " + api.TenantID + "\napiKey: " + api.APIKey + "\nbaseUrl: " + api.URL + "\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	bare.ok("webhooks", "list")
	require.NoError(t, os.Rename(file, filepath.Join(profiles, "staging.yaml")))
	assert.Equal(t, 2, bare.run("webhooks", "list").code)
	bare.ok("webhooks", "list", "--profile", "staging")
	assert.Equal(t, 2, bare.run("webhooks", "list", "--profile", "nosuch").code)
	assert.Equal(t, 2, bare.run("webhooks", "list", "--profile", "../staging").code)

	require.NoError(t, os.Chmod(filepath.Join(profiles, "staging.yaml"), 0o640))
	o = bare.run("webhooks", "list", "--profile", "staging")
	assert.Equal(t, 1, o.code, "others can read it")
	assert.Contains(t, o.err, "chmod 600")

	key := secretFile(t, api.APIKey)
	u.with("WALLETCREW_API_KEY=wrong").ok("webhooks", "list", "--api-key-file", key)
	assert.Equal(t, 1, u.run("webhooks", "list", "--api-key-file", "nosuch").code)
	assert.Equal(t, 2, u.with("WALLETCREW_TENANT_ID=").run("webhooks", "list").code)
	require.NoError(t, os.WriteFile(filepath.Join(profiles, "broken.yaml"), []byte("apiKey: [a key in here\n"), 0o600))
	o = bare.run("webhooks", "list", "--profile", "broken")
	assert.Equal(t, 1, o.code)
	assert.NotContains(t, o.err, "a key in here")
}

func TestVersionAndCompletion(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	var b build
	u.answer(&b, 0, "version", "version")
	assert.Contains(t, u.ok("version", "-o", "yaml"), "go: go1.")
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		assert.Contains(t, u.ok("completion", shell), "walletcrew")
	}
	assert.Contains(t, u.ok("--help"), "walletcrew dev --forward-to")
	assert.Contains(t, u.ok(), "Available Commands")
	assert.Equal(t, 2, u.run("nonsense").code)
	assert.Equal(t, 2, u.run("version", "nonsense").code)
	assert.Equal(t, 2, u.run("version", "-o", "junit").code, "that is check's")
	assert.Equal(t, 2, u.run("version", "-o", "").code)
}
