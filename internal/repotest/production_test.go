package repotest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// quotedSnippet is one that stands in a file of another module, which compiles it.
var quotedSnippet = regexp.MustCompile("(?s)<!-- from (\\S+), at most (\\d+) lines -->\n```go\n(.*?)```")

// What a document quotes is in the file that it names, line by line, and as short as promised.
func TestQuotedSnippetsAreTheExamplesAndShort(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob(root + "/docs/*.md")
	require.NoError(t, err)
	promised := map[string]int{}
	for _, document := range documents {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, match := range quotedSnippet.FindAllStringSubmatch(string(text), -1) {
			file, snippet := match[1], match[3]
			assert.Contains(t, read(t, file), snippet, "%s quotes %s, which has changed", document, file)
			lines := 0
			for line := range strings.Lines(snippet) {
				if strings.TrimSpace(line) != "" {
					lines++
				}
			}
			limit, err := strconv.Atoi(match[2])
			require.NoError(t, err)
			assert.LessOrEqual(t, lines, limit, "%s: the snippet of %s", document, file)
			promised[file] += limit
		}
	}
	assert.LessOrEqual(t, promised["adapters/otelwalletcrew/example_test.go"], 12)
	assert.LessOrEqual(t, promised["adapters/riverinbox/example_test.go"], 25)
	assert.LessOrEqual(t, promised["adapters/watermillbridge/example_test.go"], 15)
}

// "I have X" leads to an adapter, and to an example that is there.
func TestEachRowOfTheProductionTableHasAnExample(t *testing.T) {
	t.Parallel()
	_, table, _ := strings.Cut(read(t, "docs/production.md"), "|---|---|---|\n")
	rows := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		rows++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		require.Len(t, cells, 3, line)
		links := regexp.MustCompile(`\[([^]]*)\]\((\S+?)\)`).FindAllStringSubmatch(cells[2], -1)
		require.NotEmpty(t, links, "no example: %s", line)
		for _, link := range links {
			text := read(t, filepath.Join("docs", link[2]))
			for _, example := range regexp.MustCompile(`Example[A-Z]\w*`).FindAllString(link[1], -1) {
				assert.Contains(t, text, "func "+example+"()", line)
			}
		}
	}
	assert.GreaterOrEqual(t, rows, 12)
}
