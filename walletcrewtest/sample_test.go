package walletcrewtest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func ExampleSample() {
	event, err := walletcrew.ParseEvent(walletcrew.EventPassInstalled, walletcrewtest.Sample(walletcrew.EventPassInstalled))
	if err != nil {
		fmt.Println(err)
		return
	}
	pass := event.Data.(*walletcrew.PassInstalled)
	fmt.Println(pass.PassID, pass.PassKind, pass.Identifiers["customerId"], pass.Device.Platform)
	// Output: p-1001 customerCard C-421234 apple
}

var passMembers = []string{"__id", "identifiers", "metadata", "passId", "passKind", "passType"}

func TestSampleHasEveryMemberThatIsKnownAndNoOther(t *testing.T) {
	t.Parallel()
	installed := slices.Sorted(slices.Values(append([]string{"additionalInformation", "device"}, passMembers...)))
	members := map[walletcrew.EventName][]string{
		walletcrew.EventPassCreated:        passMembers,
		walletcrew.EventPassInstalled:      installed,
		walletcrew.EventPassUninstalled:    installed,
		walletcrew.EventPassUpdated:        passMembers,
		walletcrew.EventPassUpdateSent:     passMembers,
		walletcrew.EventCustomerUpserted:   {"__id"},
		walletcrew.EventRedirectRedirected: {"__id"},
		"Pass:Expired":                     {"__id"},
		"":                                 {"__id"},
	}
	for _, name := range walletcrew.Events() {
		require.Contains(t, members, name)
	}
	for name, want := range members {
		e, err := walletcrew.ParseEvent(name, walletcrewtest.Sample(name))
		require.NoError(t, err, name)
		assert.Equal(t, want, slices.Sorted(maps.Keys(e.Members())), name)
		assert.NotEmpty(t, e.ID, name)
		assert.Empty(t, e.Misfits, name)
		if len(want) > 1 {
			requireFull(t, reflect.ValueOf(e.Data).Elem(), string(name))
		}
	}
}

// requireFull fails if any field is empty, at any depth.
func requireFull(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	require.False(t, v.IsZero(), path)
	switch v.Kind() {
	case reflect.Pointer:
		requireFull(t, v.Elem(), path)
	case reflect.Struct:
		for i := range v.NumField() {
			requireFull(t, v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	}
}

func TestSampleIsFreshAndKnowsANameInEverySpelling(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	for _, name := range []walletcrew.EventName{"Pass:Installed", "pass.installed", "PASS:INSTALLED"} {
		for range 10 {
			var body struct {
				ID     string          `json:"__id"`
				Device json.RawMessage `json:"device"`
			}
			require.NoError(t, json.Unmarshal(walletcrewtest.Sample(name), &body))
			assert.NotEmpty(t, body.Device, name)
			assert.False(t, ids[body.ID])
			ids[body.ID] = true
		}
	}
	first := walletcrewtest.Sample("Pass:Created")
	copy(first, strings.Repeat("x", len(first))) // it is the caller's
	assert.True(t, json.Valid(walletcrewtest.Sample("Pass:Created")))
}
