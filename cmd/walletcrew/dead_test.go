package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A graveyard is a stream with dead letters on a real server.
type graveyard struct {
	*user
	name   string
	stream *jetstream.Stream
}

// newGraveyard buries the events, each with its reason.
func newGraveyard(t *testing.T, n int, event func(i int) (walletcrew.EventName, string)) *graveyard {
	t.Helper()
	url := os.Getenv("WALLETCREW_TEST_NATS")
	if url == "" {
		url = nats.DefaultURL
	}
	conn, err := jetstream.Connect(url, nats.Timeout(5*time.Second))
	if err != nil && os.Getenv("WALLETCREW_TEST_SERVERS") != "required" {
		t.Skip("no NATS server")
	}
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	name := "WALLETCREW_CMD_" + strings.ToUpper(newID())
	stream, err := jetstream.EnsureStream(t.Context(), conn, jetstream.StreamConfig{Name: name, Prefix: name, MaxBytes: 4 << 20})
	require.NoError(t, err)
	t.Cleanup(func() {
		js, err := natsjs.New(conn)
		require.NoError(t, err)
		ctx := context.WithoutCancel(t.Context())
		_ = js.DeleteStream(ctx, name)
		_ = js.DeleteStream(ctx, name+"_DEAD")
	})
	publisher, err := jetstream.NewPublisher(t.Context(), stream)
	require.NoError(t, err)
	reasons := map[string]string{}
	for i := range n {
		name, reason := event(i)
		e, err := walletcrew.ParseEvent(name, fmt.Appendf(nil, `{"__id": "e-%d"}`, i))
		require.NoError(t, err)
		e.TenantID = "acme"
		reasons[e.ID] = reason
		require.NoError(t, publisher.Handle(receiver.WithKey(t.Context(), e.ID), e))
	}
	ctx, cancel := context.WithCancel(t.Context())
	buried := make(chan struct{}, n)
	consumer, err := jetstream.NewConsumer(ctx, stream, func(_ context.Context, e *walletcrew.Event) error { return errors.New(reasons[e.ID]) },
		jetstream.ConsumerConfig{MaxTries: 1, Concurrency: 1, Logger: quiet, Observer: func(_ context.Context, o jetstream.Outcome) {
			if o.Result == jetstream.DeadLettered {
				buried <- struct{}{}
			}
		}})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- consumer.Run(ctx) }()
	for range n {
		select {
		case <-buried:
		case <-time.After(patience):
			require.Fail(t, "the events don't die")
		}
	}
	cancel()
	require.NoError(t, <-done)
	return &graveyard{newUser(t, "NATS_URL="+url), name, stream}
}

func (g *graveyard) args(args ...string) []string {
	return append(append([]string{"dead"}, args...), "--stream", g.name, "--prefix", g.name)
}

// convoy 260: a batch retry hits only what is in view.
func TestARedriveWithAFilterMeansAllThatFitAndNotOnlyWhatTheListShows(t *testing.T) {
	t.Parallel()
	g := newGraveyard(t, 150, func(i int) (walletcrew.EventName, string) {
		if i%5 == 0 {
			return "Customer:Upserted", "the CRM is away"
		}
		return "Pass:Installed", "no such pass: " + fmt.Sprint(i)
	})
	var list []deadLetter
	g.answer(&list, 0, "dead", g.args("list", "--limit", "10")...)
	assert.Len(t, list, 10)
	g.answer(&list, 0, "dead", g.args("list", "--event", "Customer:*", "--limit", "0")...)
	assert.Len(t, list, 30)
	g.answer(&list, 0, "dead", g.args("list", "--reason", "crm IS away", "--limit", "0")...)
	assert.Len(t, list, 30)

	var s settled
	g.answer(&s, 0, "settled", g.args("redrive", "--event", "Pass:*", "--dry-run")...)
	assert.Len(t, s.IDs, 120)
	assert.Zero(t, s.Done)
	g.answer(&list, 0, "dead", g.args("list", "--limit", "0")...)
	assert.Len(t, list, 150, "a dry run does nothing")

	g.answer(&s, 0, "settled", g.args("redrive", "--event", "Pass:*")...)
	assert.Equal(t, 120, s.Done)
	g.answer(&s, 0, "settled", g.args("delete", "--reason", "the CRM")...)
	assert.Equal(t, 30, s.Done)
	g.answer(&list, 0, "dead", g.args("list")...)
	assert.Empty(t, list)
	stats, err := g.stream.Stats(t.Context(), "worker")
	require.NoError(t, err)
	assert.EqualValues(t, 120, stats.Pending, "they are to be tried anew")
}

func TestOneDeadLetterIsShownRedrivenAndDeletedByItsID(t *testing.T) {
	t.Parallel()
	g := newGraveyard(t, 3, func(i int) (walletcrew.EventName, string) { return "Pass:Installed", "reason " + fmt.Sprint(i) })
	var list []deadLetter
	g.answer(&list, 0, "dead", g.args("list")...)
	require.Len(t, list, 3)
	var shown struct {
		deadLetter
		Body string `json:"body"`
	}
	g.answer(&shown, 0, "deadletter", g.args("show", list[1].ID)...)
	assert.Equal(t, `{"__id": "e-1"}`, shown.Body, "byte for byte")
	assert.Equal(t, "reason 1", shown.Reason)
	assert.Equal(t, "acme", shown.Tenant)
	assert.Contains(t, g.ok(g.args("show", list[1].ID)...), "reason 1")
	assert.Contains(t, g.ok(g.args("list")...), list[2].ID)

	var s settled
	g.answer(&s, 0, "settled", g.args("redrive", list[0].ID)...)
	g.answer(&s, 0, "settled", g.args("delete", list[1].ID)...)
	g.answer(&s, 1, "settled", g.args("redrive", list[1].ID, list[2].ID)...)
	assert.Equal(t, 1, s.Done, "the others go on")
	assert.Equal(t, list[1].ID, s.Failed[0].ID)
	assert.Equal(t, 1, g.run(g.args("show", "nosuch")...).code)
	g.answer(&s, 1, "settled", g.args("delete", "nosuch", "--dry-run")...)
	for _, args := range [][]string{{"redrive"}, {"redrive", "x", "--all"}, {"delete", "x", "--event", "y"}, {"show"}, {"nonsense"}} {
		assert.Equal(t, 2, g.run(g.args(args...)...).code, args)
	}
	assert.Equal(t, 1, g.run("dead", "list", "--stream", "NO_SUCH", "--prefix", "no_such").code)
}

func TestDeadSaysThatTheServerIsAway(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	o := u.run("dead", "list")
	assert.Equal(t, 2, o.code)
	assert.Contains(t, o.err, "--nats")
	o = u.run("dead", "list", "--nats", "nats://user:thepassword@127.0.0.1:1")
	assert.Equal(t, 1, o.code)
	assert.NotContains(t, o.err, "thepassword")
	assert.Equal(t, 1, strings.Count(o.err, "\n"))
}
