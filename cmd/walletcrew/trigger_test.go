package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// stripe-cli 295: a trigger's payload can't be changed.
func TestATriggersPayloadCanBeChanged(t *testing.T) {
	t.Parallel()
	u, s := newUser(t, "WALLETCREW_SECRET=the secret"), newService(t)
	u.ok("trigger", "pass.installed", "--to", s.URL, "--tenant", "acme", "--set", "passId=p-7", "--set", "identifiers.customerId=C-9",
		"--set", "additionalInformation.registrationInformation.activeRegistrationCount=3", "--set", "new.member=[1,2]")
	m := s.got()[0]
	require.NoError(t, walletcrew.VerifySignature(m.Body, m.Header.Get(walletcrew.HeaderSignature), "the secret"))
	assert.Equal(t, "acme", m.Header.Get(walletcrew.HeaderTenantID))
	e, err := walletcrew.ParseEvent("Pass:Installed", m.Body)
	require.NoError(t, err)
	d := e.Data.(*walletcrew.PassInstalled)
	assert.Equal(t, "p-7", d.PassID)
	assert.Equal(t, "C-9", d.Identifiers["customerId"])
	assert.Equal(t, "ada.lovelace@shop.example", d.Identifiers["email"], "the rest of the sample stays")
	assert.Equal(t, 3, d.AdditionalInformation.RegistrationInformation.ActiveRegistrationCount)
	assert.JSONEq(t, `{"member":[1,2]}`, string(e.Members()["new"]))

	file := filepath.Join(u.dir, "body")
	body := "{ \"__id\" : \"mine\", \"n\": 1.0 }\r\n"
	require.NoError(t, os.WriteFile(file, []byte(body), 0o600))
	u.ok("trigger", "Store:Opened", "--to", s.URL, "--body", file)
	assert.Equal(t, body, string(s.got()[1].Body), "byte for byte")
	assert.Zero(t, u.runWith(body, "trigger", "Store:Opened", "--to", s.URL, "--body", "-").code)
	assert.Equal(t, body, string(s.got()[2].Body))
}

func TestTriggerSendsWhatIsWrongOnPurpose(t *testing.T) {
	t.Parallel()
	u := newUser(t, "WALLETCREW_SECRET=the secret")
	calls := newCounter()
	svc := newReceiver(t, "the secret", calls.count)
	var r result
	u.answer(&r, 0, "trigger", "trigger", "Pass:Installed", "--to", svc.URL)
	for flag, status := range map[string]int{"--tamper": 401, "--wrong-secret": 401, "--no-signature": 401} {
		u.answer(&r, 1, "trigger", "trigger", "Pass:Installed", "--to", svc.URL, flag)
		assert.Equal(t, status, r.Status, flag)
	}
	assert.Equal(t, 1, calls.sum())
	o := u.run("trigger", "Pass:Installed", "--to", svc.URL, "--duplicate", "-o", "json")
	assert.Zero(t, o.code)
	lines := results(t, o.out)
	require.Len(t, lines, 2)
	assert.Equal(t, lines[0].ID, lines[1].ID, "one event")
	assert.Equal(t, 2, calls.sum(), "handled once")
	assert.Equal(t, 2, u.run("trigger", "Pass:Installed", "--tamper", "--no-signature", "--to", svc.URL).code)
}

func results(t *testing.T, out string) []result {
	t.Helper()
	var list []result
	for line := range strings.Lines(out) {
		requireSchema(t, "trigger", line)
		var r result
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		list = append(list, r)
	}
	return list
}

func TestTriggerSaysThatTheServiceIsAway(t *testing.T) {
	t.Parallel()
	u, s := newUser(t, "WALLETCREW_SECRET=the secret"), newService(t)
	s.Close()
	var r result
	u.answer(&r, 1, "trigger", "trigger", "Pass:Installed", "--to", s.URL)
	assert.Zero(t, r.Status)
	assert.Contains(t, r.Error, "refused")
	assert.NotContains(t, r.Error, s.URL)
}

func TestTriggerIsCalledRight(t *testing.T) {
	t.Parallel()
	u, s := newUser(t), newService(t)
	for _, args := range [][]string{
		{}, {"Pass:Installed", "--to", s.URL}, // no secret
		{"Pass:Installed", "--to", "localhost:1"}, {"x", "--to", s.URL, "--set", "a"}, {"x", "--to", s.URL, "--set", "__id.a=1"},
		{"x", "--count", "0"}, {"x", "--rate", "-1"}, {"x", "--concurrency", "0"}, {"x", "--nonsense"}, {"x", "-o", "xml"},
		{"a\nb", "--to", s.URL}, {"x", "a\x1bb"}, {"x", "--tenant", "a\rb"},
	} {
		o := u.run(append([]string{"trigger"}, args...)...)
		assert.Equal(t, 2, o.code, args)
		assert.Equal(t, 1, strings.Count(o.err, "\n"), "one line: %s", o.err)
	}
	assert.Empty(t, s.got())
	assert.Contains(t, u.run("trigger").err, "; usage: walletcrew trigger EVENT...", "what to do")
	assert.Contains(t, u.run("webhooks", "nonsense").err, "; see walletcrew webhooks --help")
	o := u.run("trigger", "Pass:Installed")
	assert.Equal(t, 1, o.code, "no dev runs")
	assert.Contains(t, o.err, "start one, or name your service with --to")
}

// 200 deliveries a second, through dev, to a service.
func TestTwoHundredDeliveriesASecond(t *testing.T) {
	t.Parallel()
	u, s := newUser(t), newService(t)
	d := u.dev("--forward-to", s.URL, "-o", "json")
	const count = 600
	started := time.Now()
	o := u.with("WALLETCREW_SECRET="+d.Secret).run("trigger", "Pass:Installed", "--to", d.Receiver, "--count", fmt.Sprint(count), "--rate", "200", "--concurrency", "20")
	took := time.Since(started)
	require.Zero(t, o.code, o.out+o.err)
	assert.GreaterOrEqual(t, took, count/200*time.Second-200*time.Millisecond, "the rate is kept to")
	t.Logf("%d in %v", count, took)
	assert.Contains(t, o.out, "204")
	assert.Contains(t, o.out, "p99")
	ids := map[string]bool{}
	for _, m := range s.got() {
		e, err := walletcrew.ParseEvent("Pass:Installed", m.Body)
		require.NoError(t, err)
		ids[e.ID] = true
	}
	assert.Len(t, ids, count, "each arrived, and each is another event")
	assert.Len(t, d.deliveries(t, count), count)
}

func TestCtrlCEndsATriggerWithWhatItHasDone(t *testing.T) {
	t.Parallel()
	u := newUser(t, "WALLETCREW_SECRET=the secret")
	came := make(chan struct{}, 1000)
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		came <- struct{}{}
		w.WriteHeader(http.StatusNoContent)
	})
	p := u.start("trigger", "Pass:Installed", "--to", s.URL, "--count", "1000000", "--rate", "50")
	for range 5 {
		<-came
	}
	assert.Equal(t, 1, p.interrupt())
	assert.Contains(t, p.err.String(), "interrupted: ")
	assert.Contains(t, p.out.String(), "204")
}

// stripe-cli 806: test events also go to hosted endpoints.
func TestDevAndTriggerTouchNothingElse(t *testing.T) {
	t.Parallel()
	s := newService(t)
	spy := newService(t) // the real platform, and a proxy, and whatever the environment names
	u := newUser(t, "WALLETCREW_BASE_URL="+spy.URL, "WALLETCREW_API_KEY=a real key", "WALLETCREW_TENANT_ID=real",
		"HTTP_PROXY="+spy.URL, "HTTPS_PROXY="+spy.URL, "http_proxy="+spy.URL, "https_proxy="+spy.URL)
	d := u.dev("--forward-to", s.URL, "--auto", "5ms", "-o", "json")
	u.ok("trigger", "Pass:Installed", "--to", s.URL, "--secret-file", secretFile(t, d.Secret))
	u.ok("trigger", "Pass:Installed")
	d.deliveries(t, 5)
	assert.Zero(t, d.interrupt())
	assert.Empty(t, spy.got())
	assert.NotContains(t, d.APIKey, "real")
}

func TestTheHistogramShowsEachRange(t *testing.T) {
	t.Parallel()
	durations := []time.Duration{100 * time.Microsecond, 900 * time.Microsecond, time.Millisecond, 7 * time.Millisecond}
	text := histogram(durations)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	require.Len(t, lines, 6, text)
	var counts []string
	for _, line := range lines {
		counts = append(counts, strings.Fields(line)[3])
	}
	assert.Equal(t, []string{"1", "0", "1", "1", "0", "1"}, counts)
	sum := tally{durations: durations}
	assert.Equal(t, "0.9 ms", sum.percentile(50))
	assert.Equal(t, "7 ms", sum.percentile(99))
	assert.Equal(t, "7 ms", sum.percentile(100))
}

// A sender chooses an event's name and its "__id": a terminal must not obey them.
func TestNothingThatASenderWroteReachesTheTerminalAsAnOrder(t *testing.T) {
	t.Parallel()
	u, s := newUser(t), newService(t)
	d := u.dev("--forward-to", s.URL)
	o := u.run("trigger", "Pass:Installed", "--set", `__id="\u001b]0;owned\u0007"`)
	d.out.wait(t, "owned", 1)
	assert.NotContains(t, d.out.String()+o.out, "\x1b]")
}

// counter counts calls of a function.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func newCounter() *counter { return &counter{n: map[string]int{}} }
