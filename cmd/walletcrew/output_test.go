package main

import (
	"encoding/json"
	"testing"
	"time"

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
