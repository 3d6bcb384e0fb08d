package repotest_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// People copy the examples' main. A server's own Shutdown doesn't know of all functions, see receiver.Handler.Shutdown.
func TestEachExampleShutsItsHandlerDown(t *testing.T) {
	t.Parallel()
	dirs, err := filepath.Glob(filepath.Join(root, "examples/*"))
	require.NoError(t, err)
	calls, receivers := regexp.MustCompile(`(\w+)\.Shutdown\(`), 0
	for _, dir := range dirs {
		var text strings.Builder
		for _, file := range sources(t, "examples/"+filepath.Base(dir)) {
			if !strings.HasSuffix(file, "_test.go") {
				text.WriteString(read(t, "examples/"+filepath.Base(dir)+"/"+filepath.Base(file)))
			}
		}
		if !strings.Contains(text.String(), "receiver.NewHandler(") {
			continue
		}
		receivers++
		assert.True(t, slices.ContainsFunc(calls.FindAllStringSubmatch(text.String(), -1), func(call []string) bool { return call[1] != "server" }),
			"%s makes a receiver.Handler, and doesn't call its Shutdown", dir)
	}
	assert.GreaterOrEqual(t, receivers, 6)
}

func TestTheReceiverToCopyIsShort(t *testing.T) {
	t.Parallel()
	assert.Less(t, strings.Count(read(t, "examples/receiver/main.go"), "\n"), 90)
}
