package main

import (
	"encoding/json"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// What is YAML reads as what is JSON: texts that look like numbers stay texts, and the order of the members stays.
func TestYAMLSaysWhatJSONSays(t *testing.T) {
	t.Parallel()
	values := []any{
		deadLetter{ID: "17", Event: "yes", Tenant: "null", EventID: "1e3", Reason: "a: b\n# c", Time: time.Unix(1, 0).UTC()},
		[]webhookView{{ID: "0x1", Events: []string{"*", "Pass:*"}, Enabled: true}}, []webhookView{},
		result{ID: "~", Status: 204, DurationMs: 1.25},
	}
	for _, v := range values {
		asJSON, asYAML := newOutput(), newOutput()
		require.NoError(t, writeJSON(asJSON, v))
		require.NoError(t, writeYAML(asYAML, v))
		var fromYAML any
		require.NoError(t, yaml.Unmarshal([]byte(asYAML.String()), &fromYAML))
		again, err := json.Marshal(fromYAML)
		require.NoError(t, err)
		assert.JSONEq(t, asJSON.String(), string(again), asYAML.String())
	}
	out := newOutput()
	require.NoError(t, writeYAML(out, result{ID: "1", Event: "Pass:Installed", Status: 204}))
	assert.Equal(t, "id: \"1\"\nevent: Pass:Installed\nstatus: 204\ndurationMs: 0\nerror: \"\"\n", out.String())
}

func TestAnErrorIsOneLine(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "a b; c", oneLine(errorText("walletcrew: a\tb\nc")))
}

type errorText string

func (e errorText) Error() string { return string(e) }

// hostile is what a terminal obeys: escapes, C1 controls, and what turns the direction of a text.
const hostile = "a\x1b[2J\x07\u009b31m\u202egpj.exe\u2066\u00ad\U000e0001b\tc\x7f"

func TestNothingThatATerminalObeysIsPrinted(t *testing.T) {
	t.Parallel()
	harmless := func(format, text string) {
		t.Helper()
		assert.False(t, strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }), "%s: %q", format, text)
	}
	r := result{ID: hostile, Event: hostile, Error: hostile}
	for _, format := range []string{"table", "json", "yaml"} {
		out, said := newOutput(), newOutput()
		c := &cli{out: out, err: said, output: format, terminal: never}
		require.NoError(t, c.line(r, c.resultText(r)))
		if format == "table" {
			require.NoError(t, c.print(r, func(w *tabwriter.Writer) { row(w, r.ID, r.Error) }))
		}
		harmless(format, out.String())
		c.say("%s", hostile)
		harmless("stderr", said.String())
		var again struct{ ID, Event, Error string }
		switch format {
		case "json":
			require.NoError(t, json.NewDecoder(strings.NewReader(out.String())).Decode(&again))
		case "yaml":
			require.NoError(t, yaml.NewDecoder(strings.NewReader(out.String())).Decode(&again))
		default:
			continue
		}
		assert.Equal(t, []string{hostile, hostile, hostile}, []string{again.ID, again.Event, again.Error}, "it means the same")
	}
	said := newOutput()
	assert.Equal(t, exitUsage, run(t.Context(), []string{"trigger", "x", "--to", hostile}, strings.NewReader(""), newOutput(), said))
	harmless("an error", said.String())
	assert.LessOrEqual(t, len([]rune(clipped(strings.Repeat("é", 1<<20)))), 101, "a header may have a megabyte")
	assert.Equal(t, "Pass:Installed", clipped("Pass:Installed"))
}
