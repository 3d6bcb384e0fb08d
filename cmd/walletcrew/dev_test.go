package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

var quiet = slog.New(slog.DiscardHandler)

func requirePrivate(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(file)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "%s can be read by others", file)
	}
}

func TestDevDeliversToTheServiceAndShowsIt(t *testing.T) {
	t.Parallel()
	u, s := newUser(t), newService(t)
	d := u.dev("--forward-to", s.URL+"/hook", "-o", "json")

	var r result
	u.answer(&r, 0, "trigger", "trigger", "Pass:Installed")
	assert.Equal(t, http.StatusNoContent, r.Status)
	came := s.got()
	require.Len(t, came, 1)
	assert.NoError(t, walletcrew.VerifySignature(came[0].Body, came[0].Header.Get(walletcrew.HeaderSignature), walletcrew.Secret(d.Secret)))
	assert.Equal(t, "Pass:Installed", came[0].Header.Get(walletcrew.HeaderEventName))
	assert.Equal(t, d.Tenant, came[0].Header.Get(walletcrew.HeaderTenantID))

	line := d.deliveries(t, 1)[0]
	assert.Equal(t, "verified", line.Verdict)
	assert.Equal(t, r.ID, line.EventID)
	assert.Equal(t, http.StatusNoContent, line.Status)
	assert.Zero(t, d.interrupt(), "Ctrl-C is how a dev ends")
}

func TestDevWithoutAServiceShowsWhatComes(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	d := u.dev("-o", "json")
	var r result
	u.answer(&r, 0, "trigger", "trigger", "Customer:Upserted")
	assert.Equal(t, http.StatusNoContent, r.Status)
	u.answer(&r, 1, "trigger", "trigger", "Customer:Upserted", "--wrong-secret")
	assert.Equal(t, http.StatusUnauthorized, r.Status)
	u.answer(&r, 1, "trigger", "trigger", "Customer:Upserted", "--no-signature")
	u.answer(&r, 1, "trigger", "trigger", "Customer:Upserted", "--tamper")
	lines := d.deliveries(t, 4)
	assert.Equal(t, []string{"verified", "forged", "unsigned", "forged"}, []string{lines[0].Verdict, lines[1].Verdict, lines[2].Verdict, lines[3].Verdict})
	assert.NotEmpty(t, lines[1].Findings)
	assert.Empty(t, lines[0].Findings)
	assert.Zero(t, lines[0].Status, "nothing was forwarded")
}

// stripe-cli 760: CI has no way to tell when it may begin.
func TestDevSaysWhenItIsReady(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	file := filepath.Join(u.dir, "ready.json")
	require.NoError(t, os.WriteFile(file, []byte("of an earlier run, and readable by all"), 0o644))
	d := u.start("dev", "--ready-file", file)
	var r ready
	d.err.until(t, func(string) bool {
		text, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(text, &r) == nil
	}, "that it is ready")
	requirePrivate(t, file)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	requireSchema(t, "ready", string(text))

	// At once, without a wait or a second try.
	for url, status := range map[string]int{r.Inspector: 200, r.Platform + "/_control/health": 200, r.Platform + "/api/" + r.Tenant + "/webhooks": 401, r.Receiver: 405} {
		resp, err := http.Get(url)
		require.NoError(t, err)
		_ = resp.Body.Close()
		assert.Equal(t, status, resp.StatusCode, url)
	}
	client, err := walletcrew.NewClient(r.Tenant, walletcrew.WithAPIKey(r.APIKey), walletcrew.WithBaseURL(r.Platform))
	require.NoError(t, err)
	page, err := client.Webhooks.List(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, page.Webhooks, 1)
	assert.Equal(t, r.Receiver, page.Webhooks[0].Endpoint)
	assert.Equal(t, r.Secret, string(page.Webhooks[0].SignatureSecret))
}

// stripe_event 128: the listener's secret is another than the service's.
func TestTheSecretIsTheSameWhereverItIsAskedFor(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	printed := u.ok("dev", "--print-secret")
	assert.Equal(t, printed, u.ok("dev", "--print-secret"), "it is fixed")
	assert.Equal(t, 1, strings.Count(printed, "\n"), "the secret alone")

	file := filepath.Join(u.dir, "secret")
	d := u.dev("--write-secret", file)
	requirePrivate(t, file)
	written, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, printed, string(written))
	assert.Equal(t, printed, d.Secret+"\n")

	// And it is the one that a service with this configuration accepts.
	svc := newReceiver(t, walletcrew.Secret(d.Secret), nothing)
	u.ok("trigger", "Pass:Created", "--to", svc.URL, "--secret-file", file)

	own := u.with("WALLETCREW_SECRET=one of my own")
	assert.Equal(t, "one of my own\n", own.ok("dev", "--print-secret"))
	assert.Equal(t, printed, own.ok("dev", "--print-secret", "--secret-file", file), "--secret-file always reads")
	other := own.dev()
	assert.Equal(t, "one of my own", other.Secret)
}

func TestNothingButWhatIsAskedForShowsTheSecret(t *testing.T) {
	t.Parallel()
	s := newService(t)
	u := newUser(t, "WALLETCREW_SECRET=a secret that nobody may see")
	d := u.dev("--forward-to", s.URL)
	u.ok("trigger", "Pass:Installed", "Pass:Created", "-v")
	u.run("trigger", "Pass:Installed", "--wrong-secret", "--to", s.URL)
	all := d.out.String() + d.err.String()
	for _, command := range [][]string{{"verify", "--signature", "x"}, {"trigger", "x", "--to", "http://127.0.0.1:1"}, {"check", "http://127.0.0.1:1"}} {
		o := u.run(command...)
		all += o.out + o.err
	}
	require.NoError(t, filepath.WalkDir(u.dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			text, _ := os.ReadFile(path)
			all += string(text)
		}
		return err
	}))
	for _, path := range []string{"", "/_walletcrew/session", "/api/webhooks", "/api/records"} {
		resp, err := http.Get(d.Inspector + path)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		_ = resp.Body.Close()
		all += string(body)
	}
	assert.NotContains(t, all, "nobody may see")
}

// A service that registers its own webhook gets its own deliveries, and they are shown, too.
func TestDevShowsTheDeliveriesOfAServiceThatRegistersItself(t *testing.T) {
	t.Parallel()
	u, s := newUser(t), newService(t)
	d := u.dev("-o", "json")
	api := u.with("WALLETCREW_BASE_URL="+d.Platform, "WALLETCREW_TENANT_ID="+d.Tenant, "WALLETCREW_API_KEY="+d.APIKey)
	var e ensured
	api.answer(&e, 0, "ensure", "webhooks", "ensure", s.URL+"/own", "--event", "Pass:*")

	var r result
	u.answer(&r, 0, "trigger", "trigger", "Pass:Installed")
	assert.Equal(t, http.StatusNoContent, r.Status)
	require.Len(t, s.got(), 1)
	secret := strings.TrimSpace(api.ok("webhooks", "secret", e.Webhook.ID))
	assert.NoError(t, walletcrew.VerifySignature(s.got()[0].Body, s.got()[0].Header.Get(walletcrew.HeaderSignature), walletcrew.Secret(secret)))

	lines := d.deliveries(t, 2)
	for _, line := range lines {
		assert.Equal(t, "verified", line.Verdict)
		if line.Status == http.StatusNoContent { // the service's own: replay goes there again
			u.answer(&r, 0, "trigger", "replay", line.ID)
		}
	}
	assert.Len(t, s.got(), 2)
}

func TestDevSendsSamplesByItselfAndRedelivers(t *testing.T) {
	t.Parallel()
	u, s := newUser(t), newService(t)
	s.answers(http.StatusServiceUnavailable)
	d := u.dev("--forward-to", s.URL, "--auto", "10ms", "--redeliver", "-o", "json")
	d.deliveries(t, 3)
	s.answers(http.StatusNoContent)
	d.out.wait(t, `"duplicate":true,"status":204`, 1)
}

func TestTwoDevsRunBesideEachOther(t *testing.T) {
	t.Parallel()
	u, s := newUser(t), newService(t)
	first := u.dev("--forward-to", s.URL)
	second := u.dev()
	assert.NotEqual(t, first.Inspector, second.Inspector, "the second takes the next free port")
	u.ok("trigger", "Pass:Installed", "--inspector", first.Inspector)
	assert.Len(t, s.got(), 1)
	u.ok("trigger", "Pass:Installed")
	assert.Len(t, s.got(), 1, "without --inspector, the newest sends")

	second.kill() // a crash leaves its file
	u.ok("trigger", "Pass:Installed")
	assert.Len(t, s.got(), 2, "a dead one is passed over")
	assert.Zero(t, first.interrupt())
	assert.Equal(t, 1, u.run("trigger", "Pass:Installed").code)
}

// Whoever can reach the port must also be able to read the user's files.
func TestTheLocalAPITakesATokenAndItsOwnHost(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	d := u.dev()
	ask := func(path, host, token string) int {
		req, err := http.NewRequest(http.MethodPost, d.Inspector+path, strings.NewReader(`{"event":"Pass:Installed","body":"e30="}`))
		require.NoError(t, err)
		if host != "" {
			req.Host = host
		}
		req.Header.Set(localHeader, token)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	files, err := filepath.Glob(filepath.Join(u.dir, "config", "running", "*.json"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	requirePrivate(t, files[0])
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	var r running
	require.NoError(t, json.Unmarshal(text, &r))
	assert.Equal(t, http.StatusOK, ask("/_walletcrew/send", "", r.Token))
	assert.Equal(t, http.StatusForbidden, ask("/_walletcrew/send", "", ""))
	assert.Equal(t, http.StatusForbidden, ask("/_walletcrew/send", "", "x"+r.Token[1:]))
	assert.Equal(t, http.StatusForbidden, ask("/_walletcrew/send", "evil.example", r.Token))
	receiverRequest, err := http.NewRequest(http.MethodPost, d.Receiver, strings.NewReader("{}"))
	require.NoError(t, err)
	receiverRequest.Host = "evil.example"
	resp, err := http.DefaultClient.Do(receiverRequest)
	require.NoError(t, err)
	_ = resp.Body.Close()
	assert.Equal(t, http.StatusForbidden, resp.StatusCode, "a page can't send deliveries to the service behind")
}

// Root would replace the machine's /dev/null by a file with a secret in it.
func TestASecretIsWrittenIntoAFileOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(os.DevNull, link))
	for _, name := range []string{link, dir} {
		require.ErrorIs(t, writePrivate(name, []byte("secret")), errUsage)
	}
	to, err := os.Readlink(link)
	require.NoError(t, err)
	assert.Equal(t, os.DevNull, to, "it stays as it was")
	err = writePrivate(filepath.Join(dir, "no", "such", "file"), nil)
	require.Error(t, err)
	assert.Contains(t, err.Error(), filepath.Join("no", "such", "file")+": ", "the name that the user gave")

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("for all"), 0o644))
	require.NoError(t, writePrivate(file, []byte("secret")))
	requirePrivate(t, file)
}

func TestAPageOfABrowserCantSendDeliveries(t *testing.T) {
	t.Parallel()
	u, s := newUser(t), newService(t)
	d := u.dev("--forward-to", s.URL)
	for site, want := range map[string]int{"cross-site": http.StatusForbidden, "same-site": http.StatusForbidden, "": http.StatusNoContent} {
		req, err := http.NewRequest(http.MethodPost, d.Receiver, strings.NewReader("{}"))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "text/plain") // for which a browser asks nobody before
		if site != "" {
			req.Header.Set("Sec-Fetch-Site", site)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		_ = resp.Body.Close()
		assert.Equal(t, want, resp.StatusCode, site)
	}
	assert.Len(t, s.got(), 1)
}

// Another process may have the port of a session that has crashed.
func TestTheTokenOfTheLocalAPIFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	other := newService(t)
	squatter := newService(t)
	squatter.says(http.StatusTemporaryRedirect, http.Header{"Location": {other.URL}}, "")
	r := running{Session: "x", Inspector: squatter.URL, Token: "the token"}
	assert.False(t, r.alive(t.Context()))
	assert.Len(t, squatter.got(), 1)
	assert.Empty(t, other.got())
}
