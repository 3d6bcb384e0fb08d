package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// hooks are what a service under test has besides its endpoint: how often an event took effect, an order to fail, and one to rotate.
type hooks struct {
	*counter
	mu      sync.Mutex
	fails   map[string]int
	secrets []walletcrew.Secret
}

func (h *hooks) current(context.Context, string) ([]walletcrew.Secret, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.secrets), nil
}

func (h *hooks) handle(ctx context.Context, e *walletcrew.Event) error {
	h.mu.Lock()
	fail := h.fails[e.ID] > 0
	if fail {
		h.fails[e.ID]--
	}
	h.mu.Unlock()
	if fail {
		return receiver.Temporary(errors.New("told to fail"))
	}
	return h.count(ctx, e)
}

func newHooks(t *testing.T) (*hooks, *httptest.Server) {
	t.Helper()
	h := &hooks{counter: newCounter(), fails: map[string]int{}, secrets: []walletcrew.Secret{"the secret"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /effects", func(w http.ResponseWriter, r *http.Request) {
		h.counter.mu.Lock()
		defer h.counter.mu.Unlock()
		_, _ = fmt.Fprint(w, h.n[r.FormValue("id")])
	})
	mux.HandleFunc("POST /fail", func(_ http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.fails[r.FormValue("id")], _ = strconv.Atoi(r.FormValue("times"))
	})
	mux.HandleFunc("POST /rotate", func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.secrets = append(h.secrets, walletcrew.Secret(fmt.Sprint("secret number ", len(h.secrets))))
		_, _ = fmt.Fprintln(w, string(h.secrets[len(h.secrets)-1]))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return h, server
}

func TestCheckPassesAGoodReceiver(t *testing.T) {
	t.Parallel()
	u := newUser(t, "WALLETCREW_SECRET=the secret")
	h, side := newHooks(t)
	v, err := verifier.New(verifier.SecretFunc(h.current))
	require.NoError(t, err)
	svc := httptest.NewServer(receiver.NewHandler(v, h.handle, receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)), receiver.WithLogger(quiet)))
	t.Cleanup(svc.Close)
	var c checked
	u.answer(&c, 0, "check", "check", svc.URL, "--effects-url", side.URL+"/effects", "--fail-url", side.URL+"/fail?x=1", "--rotation-url", side.URL+"/rotate",
		"--event", "Customer:Upserted", "--tenant", "acme")
	assert.True(t, c.Passed)
	passed := 0
	for _, r := range c.Rules {
		if r.Passed {
			passed++
		}
		assert.False(t, r.Skipped, "%s: %s", r.Name, r.Why)
	}
	assert.Len(t, h.secrets, 2, "it was rotated")
	assert.Greater(t, passed, 10)
	assert.NotZero(t, h.sum(), "the hooks were asked")
}

func TestCheckNamesTheRulesThatABadReceiverBreaks(t *testing.T) {
	t.Parallel()
	u, s := newUser(t, "WALLETCREW_SECRET=the secret"), newService(t) // takes all for authentic
	var c checked
	u.answer(&c, 1, "check", "check", s.URL, "--seed", "7")
	assert.False(t, c.Passed)
	assert.EqualValues(t, 7, c.Seed)
	broken := 0
	for _, r := range c.Rules {
		assert.NotContains(t, r.Why, "the option With", "a flag is named instead")
		if !r.Passed && !r.Skipped {
			broken++
			assert.NotEmpty(t, r.Why)
		}
	}
	assert.Greater(t, broken, 1)
}

func TestAReportIsATableOrJUnit(t *testing.T) {
	t.Parallel()
	r := checked{Seed: 7, Rules: []rule{{Name: "one", Passed: true}, {Name: "two <&>", Why: "it said 200"}, {Name: "three", Skipped: true, Why: "needs WithEffects"}}}
	out := newOutput()
	require.NoError(t, r.writeJUnit(out, "http://service.example"))
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Cases    []struct {
			Name    string `xml:"name,attr"`
			Failure *struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	}
	require.NoError(t, xml.Unmarshal([]byte(out.String()), &suite))
	assert.Equal(t, []int{3, 1, 1}, []int{suite.Tests, suite.Failures, suite.Skipped})
	assert.Nil(t, suite.Cases[0].Failure)
	assert.Equal(t, "two <&>", suite.Cases[1].Name)
	assert.Equal(t, "it said 200 (seed 7)", suite.Cases[1].Failure.Message)
	assert.NotNil(t, suite.Cases[2].Skipped)

	out = newOutput()
	c := &cli{out: out, output: "table", terminal: never}
	require.NoError(t, c.print(r, func(w *tabwriter.Writer) { c.checkTable(w, r) }))
	assert.Contains(t, out.String(), "✗  two <&>  it said 200")
	assert.Contains(t, out.String(), "3 rules, 1 broken, 1 skipped; seed 7")
}

func TestCheckSaysWhatItCantJudge(t *testing.T) {
	t.Parallel()
	u := newUser(t, "WALLETCREW_SECRET=the secret")
	svc := newReceiver(t, "the secret", nothing)
	s := newService(t) // answers 204, which is no number
	o := u.run("check", svc.URL, "--effects-url", s.URL)
	assert.Equal(t, 1, o.code)
	assert.Contains(t, o.err, "--effects-url: the answer is a number")
	o = u.run("check", svc.URL, "--rotation-url", s.URL)
	assert.Equal(t, 1, o.code)
	assert.Contains(t, o.err, "--rotation-url: the answer is the new secret")
	s.answers(500)
	assert.Contains(t, u.run("check", svc.URL, "--fail-url", s.URL).err, "--fail-url answers 500")

	dead := newService(t)
	dead.Close()
	assert.Equal(t, 1, u.run("check", dead.URL).code)
	for _, args := range [][]string{{}, {"nonsense"}, {svc.URL, "--effects-url", "nonsense"}, {svc.URL, "--rotation-url", "nonsense"}, {svc.URL, "--seed", "x"}} {
		assert.Equal(t, 2, u.run(append([]string{"check"}, args...)...).code, args)
	}
	assert.Equal(t, 2, newUser(t).run("check", svc.URL).code, "without a secret")
}
