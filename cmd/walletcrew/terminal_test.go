package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func never(any) bool  { return false }
func always(any) bool { return true }

// onATerminal is a command with a person in front of it.
func onATerminal(typed string) (c *cli, out, said *output) {
	out, said = newOutput(), newOutput()
	return &cli{in: strings.NewReader(typed), out: out, err: said, output: "table", terminal: always}, out, said
}

func TestOnATerminalDeleteAsksBefore(t *testing.T) {
	t.Parallel()
	api := walletcrewtest.NewServer()
	defer api.Close()
	webhooks := api.Client().Webhooks
	w, err := webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: shop, Events: []walletcrew.EventName{"Pass:*"}})
	require.NoError(t, err)
	for typed, want := range map[string]bool{"y\n": true, "YES\n": true, "n\n": false, "\n": false, "": false} {
		c, _, said := onATerminal(typed)
		got, err := c.confirmed(t.Context(), webhooks, w.ID, false)
		require.NoError(t, err)
		assert.Equal(t, want, got, "%q", typed)
		assert.Contains(t, said.String(), "Delete "+w.ID+", which delivers Pass:* to "+shop+"? [y/N]")
	}
	c, _, said := onATerminal("")
	got, err := c.confirmed(t.Context(), webhooks, w.ID, true)
	require.NoError(t, err)
	assert.True(t, got, "--yes")
	assert.Empty(t, said.String())
}

func TestCtrlCEndsAQuestion(t *testing.T) {
	t.Parallel()
	api := walletcrewtest.NewServer()
	defer api.Close()
	w, err := api.Client().Webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: shop, Events: []walletcrew.EventName{"Pass:*"}})
	require.NoError(t, err)
	c, _, said := onATerminal("")
	read, write := io.Pipe() // nobody types
	defer func() { _ = write.Close() }()
	c.in = read
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := c.confirmed(ctx, api.Client().Webhooks, w.ID, false)
		ended <- err
	}()
	said.wait(t, "[y/N]", 1)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestOnATerminalThereIsColourUnlessNoColorIsSet(t *testing.T) {
	c, _, _ := onATerminal("")
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	assert.Equal(t, "\x1b[32mfine\x1b[0m", string(c.paint(green, "fine")))
	assert.NotContains(t, string(c.paint(green, "\x1b[2J")), "\x1b[2J", "what is painted may be a sender's")
	t.Setenv("NO_COLOR", "1")
	assert.Equal(t, "fine", string(c.paint(green, "fine")))
	t.Setenv("NO_COLOR", "")
	c.terminal = never
	assert.Equal(t, "fine", string(c.paint(green, "fine")))
}

func TestOnATerminalALoadShowsItsProgress(t *testing.T) {
	t.Parallel()
	c, out, said := onATerminal("")
	next := func(int) (draft, error) { return draft{Event: "Pass:Installed"}, nil }
	n := 0
	err := c.shoot(t.Context(), load{count: 100, concurrency: 1}, 100, next, func(context.Context, draft) []result {
		n++
		return []result{{Status: http.StatusNoContent, DurationMs: 1}}
	})
	require.NoError(t, err)
	assert.Equal(t, 100, n)
	assert.Contains(t, said.String(), "/100", "the bar")
	assert.Contains(t, out.String(), "100  204")

	c, _, said = onATerminal("")
	c.terminal = never
	require.NoError(t, c.shoot(t.Context(), load{count: 100, concurrency: 4}, 100, next, func(context.Context, draft) []result {
		return []result{{Status: http.StatusNoContent}}
	}))
	assert.Empty(t, said.String(), "nobody looks on")
}

func TestOnATerminalARedriveShowsItsProgress(t *testing.T) {
	t.Parallel()
	ids := strings.Fields(strings.Repeat("id ", fewResults+1))
	nothing := func(context.Context, string) error { return nil }
	c, _, said := onATerminal("")
	assert.Equal(t, len(ids), c.settle(t.Context(), ids, nothing).Done)
	assert.Contains(t, said.String(), "/21", "the bar")
	c, _, said = onATerminal("")
	c.settle(t.Context(), ids[1:], nothing)
	assert.Empty(t, said.String(), "a few are done at once")
	c, _, said = onATerminal("")
	c.terminal = never
	c.settle(t.Context(), ids, nothing)
	assert.Empty(t, said.String(), "nobody looks on")
}

func TestOnATerminalDeadDeleteAsksOnceForAll(t *testing.T) {
	t.Parallel()
	several := make([]deadLetter, fewResults+2)
	for i := range several {
		several[i] = deadLetter{ID: fmt.Sprint("id-", i), Event: "Pass:Installed", Reason: "boom"}
	}
	for typed, want := range map[string]bool{"y\n": true, "yes\n": true, "n\n": false, "": false} {
		c, _, said := onATerminal(typed)
		got, err := c.confirmedDead(t.Context(), several)
		require.NoError(t, err)
		assert.Equal(t, want, got, "%q", typed)
		assert.Contains(t, said.String(), "Delete these 22 dead letters for good? [y/N]")
		assert.Contains(t, said.String(), "id-19 ", "which")
		assert.Contains(t, said.String(), "and 2 more")
	}
	c, _, said := onATerminal("n\n")
	_, err := c.confirmedDead(t.Context(), several[:1])
	require.NoError(t, err)
	assert.Contains(t, said.String(), "Delete this dead letter for good? [y/N]")
}

// A service that never answers doesn't keep a dev from ending.
func TestCtrlCEndsADevWhoseServiceHangs(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	came := make(chan struct{}, 10)
	release := make(chan struct{})
	s := newServer(t, func(http.ResponseWriter, *http.Request) {
		came <- struct{}{}
		<-release
	})
	t.Cleanup(func() { close(release) })
	d := u.dev("--forward-to", s.URL, "--redeliver")
	trigger := u.start("trigger", "Pass:Installed")
	<-came
	assert.Zero(t, d.interrupt())
	assert.Equal(t, 1, trigger.end())
}

func TestCtrlCIsSaidInAWord(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out, said := newOutput(), newOutput()
	code := run(ctx, []string{"webhooks", "list", "--base-url", "http://127.0.0.1:1", "--tenant", "x", "--api-key-file", secretFile(t, "some-api-key")}, strings.NewReader(""), out, said)
	assert.Equal(t, 1, code)
	assert.Equal(t, "walletcrew: interrupted\n", said.String())
}
