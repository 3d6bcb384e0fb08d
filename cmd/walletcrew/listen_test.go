package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A tunnel is the user's: a public URL that leads to the listener.
type tunnel struct {
	*httptest.Server
	mu   sync.Mutex
	to   *url.URL
	down bool
}

func newTunnel(t *testing.T) *tunnel {
	t.Helper()
	tun := &tunnel{}
	tun.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tun.mu.Lock()
		to, down := tun.to, tun.down
		tun.mu.Unlock()
		if down || to == nil {
			http.Error(w, "the tunnel is down", http.StatusBadGateway)
			return
		}
		httputil.NewSingleHostReverseProxy(to).ServeHTTP(w, r)
	}))
	t.Cleanup(tun.Close)
	return tun
}

func (tun *tunnel) set(down bool) {
	tun.mu.Lock()
	defer tun.mu.Unlock()
	tun.down = down
}

// listen starts one behind the tunnel, and waits until it is registered.
func (u *user) listen(tun *tunnel, args ...string) *process {
	u.t.Helper()
	p := u.start(append([]string{"listen", "--endpoint", tun.URL + "/hook", "--listen", "127.0.0.1:0", "--probe", "20ms"}, args...)...)
	text := p.err.until(u.t, func(text string) bool { return strings.Contains(text, "forwards ") }, "that it is registered")
	match := regexp.MustCompile(`point your tunnel to (\S+)`).FindStringSubmatch(text)
	require.NotNil(u.t, match, text)
	to, err := url.Parse(match[1])
	require.NoError(u.t, err)
	tun.mu.Lock()
	tun.to = to
	tun.mu.Unlock()
	return p
}

func TestListenRegistersVerifiesForwardsAndTakesAwayWhatItMade(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	_, err := api.Client().Webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: "https://shop.example/other", Events: []walletcrew.EventName{"*"}, Enabled: new(false)})
	require.NoError(t, err)
	before := api.Webhooks()
	tun, s := newTunnel(t), newService(t)
	file := filepath.Join(u.dir, "recorded.jsonl")
	p := u.listen(tun, "--forward-to", s.URL, "--event", "Pass:*", "--record", file, "-o", "json")
	require.Len(t, api.Webhooks(), 2)
	w := api.Webhooks()[1]
	assert.Equal(t, []walletcrew.EventName{"Pass:*"}, w.Events)

	deliveries, err := api.Emit(t.Context(), "Pass:Installed", map[string]any{"passId": "p-1"})
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, deliveries[0].StatusCode, deliveries[0])
	require.Len(t, s.got(), 1)
	assert.Equal(t, deliveries[0].Body, s.got()[0].Body)
	line := p.deliveries(t, 1)[0]
	assert.Equal(t, "verified", line.Verdict)

	// What isn't authentic doesn't come through.
	resp, err := walletcrewtest.Send(t.Context(), tun.URL+"/hook", "not the secret", api.TenantID, "Pass:Installed", []byte(`{"__id":"x"}`))
	require.NoError(t, err)
	_ = resp.Body.Close()
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	assert.Len(t, s.got(), 1)
	assert.Equal(t, "forged", p.deliveries(t, 2)[1].Verdict)

	// Trigger and replay go through it, with the platform's secret.
	u.ok("trigger", "Pass:Created")
	u.ok("replay", line.ID)
	assert.Len(t, s.got(), 3)
	assert.NoError(t, walletcrew.VerifySignature(s.got()[2].Body, s.got()[2].Header.Get(walletcrew.HeaderSignature), w.SignatureSecret))

	assert.Zero(t, p.interrupt())
	assert.Equal(t, before, api.Webhooks(), "what it created is gone, and nothing else")
	assert.NotContains(t, p.out.String()+p.err.String(), string(w.SignatureSecret))
	o := u.run("replay", file, "--to", s.URL, "--secret-file", secretFile(t, "any"), "-o", "json")
	assert.Len(t, results(t, o.out), 3)
}

// walletcrew listen | head ends head only: the webhook has still to be taken away.
func TestAListenWhoseOutputNobodyReadsGoesOn(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	tun, s := newTunnel(t), newService(t)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, read.Close())
	u.stdout = write
	p := u.listen(tun, "--forward-to", s.URL)
	require.NoError(t, write.Close())
	for range 3 {
		deliveries, err := api.Emit(t.Context(), "Pass:Installed", nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusNoContent, deliveries[0].StatusCode)
	}
	assert.Zero(t, p.interrupt())
	assert.Empty(t, api.Webhooks())
}

func TestListenSaysInAFileThatItIsReady(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	tun := newTunnel(t)
	file := filepath.Join(u.dir, "ready.json")
	p := u.listen(tun, "--ready-file", file)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	requireSchema(t, "listenready", string(text))
	requirePrivate(t, file)
	var r listenReady
	require.NoError(t, json.Unmarshal(text, &r))
	w := api.Webhooks()[0]
	assert.Equal(t, []string{tun.URL + "/hook", w.ID, api.TenantID}, []string{r.Endpoint, r.Webhook, r.Tenant})
	assert.Equal(t, tun.to.String(), r.Receiver)
	assert.NoError(t, answers(t.Context(), r.Inspector))
	assert.NotContains(t, string(text), string(w.SignatureSecret))
	assert.NotContains(t, string(text), api.APIKey)
	assert.Zero(t, p.interrupt())

	o := u.run("listen", "--endpoint", tun.URL+"/hook", "--listen", "127.0.0.1:0", "--ready-file", filepath.Join(u.dir, "no", "such", "directory"))
	assert.Equal(t, 1, o.code)
	assert.Contains(t, o.err, "can't write")
	assert.Empty(t, api.Webhooks(), "it takes away what it has created")
}

func TestListenUsesAWebhookThatIsThereAndLeavesIt(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	tun := newTunnel(t)
	_, err := api.Client().Webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: tun.URL + "/hook", Events: []walletcrew.EventName{"Customer:*"}, Enabled: new(false)})
	require.NoError(t, err)
	before := api.Webhooks()
	p := u.listen(tun)
	assert.Contains(t, p.err.String(), "is switched off, so nothing will come")
	assert.Zero(t, p.interrupt())
	assert.Equal(t, before, api.Webhooks())
}

func TestListenCanSwitchItsWebhookOffAtTheEndAndTakesItAgain(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	tun := newTunnel(t)
	assert.Zero(t, u.listen(tun, "--at-end", "disable").interrupt())
	require.Len(t, api.Webhooks(), 1)
	assert.False(t, api.Webhooks()[0].Enabled)
	p := u.listen(tun)
	require.Len(t, api.Webhooks(), 1)
	assert.True(t, api.Webhooks()[0].Enabled)
	assert.Zero(t, p.interrupt())
	assert.Empty(t, api.Webhooks())
}

// After a crash, --clean deletes what was left, and nothing of a listen that runs, of another machine, or of another server.
func TestAfterACrashCleanFindsWhatWasLeft(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	crashed, runs, elsewhere := newTunnel(t), newTunnel(t), newTunnel(t)
	p := u.listen(crashed)
	u.listen(runs)
	other, otherAPI := apiUser(t)
	_ = otherAPI
	far := other.with("WALLETCREW_BASE_URL="+api.URL, "WALLETCREW_API_KEY="+api.APIKey)
	far.listen(elsewhere)
	p.kill()
	require.Len(t, api.Webhooks(), 3)

	var list []cleaned
	wrongServer := u.with("WALLETCREW_BASE_URL="+otherAPI.URL, "WALLETCREW_API_KEY="+otherAPI.APIKey)
	wrongServer.answer(&list, 0, "clean", "listen", "--clean")
	assert.Empty(t, list)
	u.answer(&list, 0, "clean", "listen", "--clean")
	found := map[string]string{}
	for _, one := range list {
		found[one.Endpoint] = one.Result
	}
	assert.Equal(t, map[string]string{crashed.URL + "/hook": "deleted", runs.URL + "/hook": "runs", elsewhere.URL + "/hook": "of another machine"}, found)
	require.Len(t, api.Webhooks(), 2)
	u.answer(&list, 0, "clean", "listen", "--clean")
	assert.Len(t, list, 2)
}

// stripe-cli 600, hookdeck-cli 323: the listener is up, but dead.
func TestAListenThatNothingReachesSaysSoAndComesBack(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	tun := newTunnel(t)
	p := u.listen(tun)
	tun.set(true)
	p.err.wait(t, "nothing can come: "+tun.URL+"/hook doesn't lead here", 1)
	tun.set(false)
	p.err.wait(t, "deliveries can come again", 1)

	w := api.Webhooks()[0]
	require.NoError(t, api.Client().Webhooks.Delete(t.Context(), w.ID))
	p.err.wait(t, "somebody has deleted webhook "+w.ID+": the endpoint is registered again", 1)
	require.Len(t, api.Webhooks(), 1)
	deliveries, err := api.Emit(t.Context(), "Pass:Installed", nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusNoContent, deliveries[0].StatusCode, "the new secret is known")

	_, err = api.Client().Webhooks.Patch(t.Context(), api.Webhooks()[0].ID, walletcrew.WebhookPatch{Enabled: new(false)})
	require.NoError(t, err)
	p.err.wait(t, "is switched off: walletcrew webhooks update", 1)
	assert.Zero(t, p.interrupt())
	assert.Empty(t, api.Webhooks())
}

func TestListenLeavesItsFileIfItCantTakeTheWebhookAway(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	p := u.listen(newTunnel(t), "--probe", "0")
	api.Fail(walletcrewtest.Fault{Method: http.MethodDelete, StatusCode: http.StatusForbidden})
	assert.Equal(t, 1, p.interrupt())
	assert.Contains(t, p.err.String(), "listen --clean")
	require.Len(t, api.Webhooks(), 1)
	var list []cleaned
	u.answer(&list, 0, "clean", "listen", "--clean")
	assert.Equal(t, "deleted", list[0].Result)
	assert.Empty(t, api.Webhooks())
}

// A create whose answer was lost has made a webhook: it is looked for, and deleted.
func TestListenThatCouldntRegisterLeavesNothing(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	pass, lost := walletcrewtest.Fault{Method: http.MethodGet}, walletcrewtest.Fault{Method: http.MethodGet, StatusCode: http.StatusBadRequest}
	api.Fail(pass, pass, lost, walletcrewtest.Fault{Method: http.MethodPost, CarryOut: true, Drop: true})
	o := u.run("listen", "--endpoint", shop, "--listen", "127.0.0.1:0", "--probe", "0")
	assert.Equal(t, 1, o.code, o.err)
	var methods []string
	for _, r := range api.Requests() {
		methods = append(methods, r.Method)
	}
	assert.Contains(t, methods, http.MethodPost)
	assert.Contains(t, methods, http.MethodDelete, "%v", methods)
	assert.Empty(t, api.Webhooks())
	var list []cleaned
	u.answer(&list, 0, "clean", "listen", "--clean")
	assert.Empty(t, list, "its file is gone")
}

func TestListenTakesOverWhatItsPredecessorLeftInACrash(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	tun := newTunnel(t)
	u.listen(tun).kill()
	require.Len(t, api.Webhooks(), 1)
	p := u.listen(tun)
	require.Len(t, api.Webhooks(), 1)
	assert.Zero(t, p.interrupt())
	assert.Empty(t, api.Webhooks())
	var list []cleaned
	u.answer(&list, 0, "clean", "listen", "--clean")
	require.Len(t, list, 1)
	assert.Equal(t, "nothing left", list[0].Result, "the predecessor's file goes, too")
}

func TestListenIsCalledRight(t *testing.T) {
	t.Parallel()
	u, api := apiUser(t)
	for _, args := range [][]string{{}, {"--endpoint", "nonsense"}, {"--endpoint", shop, "--at-end", "nonsense"}, {"--endpoint", shop, "--keep"}, {"--endpoint", shop, "--forward-to", "x"}} {
		assert.Equal(t, 2, u.run(append([]string{"listen", "--listen", "127.0.0.1:0"}, args...)...).code, args)
	}
	assert.Empty(t, api.Webhooks())
	busy := newService(t)
	assert.Equal(t, 1, u.run("listen", "--endpoint", shop, "--listen", busy.Listener.Addr().String()).code)
	assert.Empty(t, api.Webhooks(), "nothing is registered before it can be served")
}
