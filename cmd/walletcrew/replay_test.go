package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// stripe-cli 1206: a resent event never reaches the listener.
func TestADeliveryThatIsSentAgainReachesTheService(t *testing.T) {
	t.Parallel()
	u, s, other := newUser(t), newService(t), newService(t)
	d := u.dev("--forward-to", s.URL, "-o", "json")
	u.ok("trigger", "Pass:Installed")
	id := d.deliveries(t, 1)[0].ID
	first := s.got()[0]

	var r result
	u.answer(&r, 0, "trigger", "replay", id)
	assert.Equal(t, http.StatusNoContent, r.Status)
	require.Len(t, s.got(), 2)
	assert.Equal(t, first.Body, s.got()[1].Body)
	lines := d.deliveries(t, 2)
	assert.True(t, lines[1].Duplicate)
	assert.NotEqual(t, id, lines[1].ID)

	u.answer(&r, 0, "trigger", "resend", id, "--to", other.URL+"/elsewhere")
	require.Len(t, other.got(), 1)
	assert.Equal(t, first.Body, other.got()[0].Body)
	for name, values := range first.Header { // all that it came with, the signature too
		assert.Equal(t, values, other.got()[0].Header[name], name)
	}
	u.answer(&r, 0, "trigger", "replay", id, "--to", other.URL)
	assert.Equal(t, first.Body, other.got()[1].Body)
	assert.Len(t, s.got(), 2)
}

// Resend keeps the signature, whatever it is; replay makes a right one.
func TestResendKeepsAForgedSignatureAndReplaySignsAnew(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	d := u.dev("-o", "json")
	svc := newReceiver(t, walletcrew.Secret(d.Secret), nothing)
	u.run("trigger", "Pass:Installed", "--wrong-secret")
	id := d.deliveries(t, 1)[0].ID
	var r result
	u.answer(&r, 1, "trigger", "resend", id, "--to", svc.URL)
	assert.Equal(t, http.StatusUnauthorized, r.Status)
	u.answer(&r, 0, "trigger", "replay", id, "--to", svc.URL)
}

func TestWhatDevRecordsIsReplayed(t *testing.T) {
	t.Parallel()
	u, s := newUser(t), newService(t)
	file := filepath.Join(u.dir, "recorded.jsonl")
	d := u.dev("--forward-to", s.URL, "--record", file)
	u.ok("trigger", "Pass:Installed", "Customer:Upserted", "--set", `name="é\n<>&\u2028😀"`)
	u.run("trigger", "Pass:Created", "--tamper") // isn't authentic, and so isn't recorded
	require.Zero(t, d.interrupt())
	requirePrivate(t, file)

	secret := secretFile(t, d.Secret)
	again := newCounter()
	svc := newReceiver(t, walletcrew.Secret(d.Secret), again.count)
	o := u.run("replay", file, "--to", svc.URL, "--secret-file", secret, "-o", "json")
	require.Zero(t, o.code, o.err)
	assert.Len(t, results(t, o.out), 2)
	assert.Equal(t, 2, again.sum())
	for _, m := range s.got()[:2] {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		e, err := walletcrew.ParseEvent("x", m.Body)
		require.NoError(t, err)
		assert.Contains(t, string(text), e.ID)
	}
	// The same bytes, and the test double's own Replay reads the file.
	plain := newService(t)
	require.NoError(t, walletcrewtest.Replay(t.Context(), file, plain.URL, "another secret"))
	assert.Equal(t, s.got()[0].Body, plain.got()[0].Body)
	assert.Equal(t, s.got()[1].Body, plain.got()[1].Body)
	u.ok("replay", file, "--to", plain.URL, "--secret-file", secret)
	assert.Equal(t, s.got()[1].Body, plain.got()[3].Body)

	// All of the file is sent, also if one is refused.
	plain.answers(http.StatusInternalServerError)
	assert.Equal(t, 1, u.run("replay", file, "--to", plain.URL, "--secret-file", secret).code)
	assert.Len(t, plain.got(), 6)
}

// What the session sends is recorded, too: into the file that is being read.
func TestAReplayOfTheFileThatDevRecordsIntoEnds(t *testing.T) {
	t.Parallel()
	u, s := newUser(t), newService(t)
	file := filepath.Join(u.dir, "recorded.jsonl")
	u.dev("--forward-to", s.URL, "--record", file)
	u.ok("trigger", "Pass:Installed", "Customer:Upserted")
	o := u.run("replay", file, "-o", "json")
	require.Zero(t, o.code, o.err)
	assert.Len(t, results(t, o.out), 2)
	assert.Len(t, s.got(), 4)
}

func TestReplayAndResendSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	u, s := newUser(t, "WALLETCREW_SECRET=x"), newService(t)
	for code, list := range map[int][][]string{
		1: {{"replay", "nosuchfile"}, {"resend", "abc", "--to", s.URL}},
		2: {{"replay"}, {"resend", "abc"}, {"resend", "abc", "--to", "nowhere"}, {"replay", "abc", "--to", "nowhere"}},
	} {
		for _, args := range list {
			o := u.run(args...)
			assert.Equal(t, code, o.code, args)
			assert.Equal(t, 1, strings.Count(o.err, "\n"), o.err)
		}
	}
	d := u.dev()
	o := u.run("replay", "abc")
	assert.Equal(t, 1, o.code)
	assert.Contains(t, o.err, "there is no delivery abc")
	_ = d

	file := filepath.Join(u.dir, "bad")
	require.NoError(t, os.WriteFile(file, []byte("\n{\"name\":\"Pass:Installed\",\"body\":17,\"x\":\"a secret of a customer\"}\n"), 0o600))
	o = u.run("replay", file, "--to", s.URL)
	assert.Equal(t, 1, o.code)
	assert.Contains(t, o.err, "line 2 isn't the JSON of an event")
	assert.NotContains(t, o.err, "customer")
}
