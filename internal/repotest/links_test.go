package repotest_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	code    = regexp.MustCompile("`[^`\n]*`")
)

// comes are files that other branches bring.
var comes = []string{"docs/production.md"}

func TestEveryLinkOfTheDocumentsLeadsSomewhere(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, document := range documents(t) {
		text := fence.ReplaceAllString(read(t, document), "")
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			if strings.Contains(match[1], "://") || strings.HasPrefix(match[1], "mailto:") {
				continue
			}
			checked++
			target, anchor, _ := strings.Cut(match[1], "#")
			file := path.Clean(path.Join(path.Dir(document), target))
			if target == "" {
				file = document
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				assert.Contains(t, comes, file, "%s: the link %s leads nowhere", document, match[1])
				continue
			}
			if anchor != "" {
				assert.Contains(t, anchors(t, file), anchor, "%s: %s has no such heading", document, match[1])
			}
		}
	}
	assert.NotZero(t, checked)
}

// Each guide can be found from docs/README.md.
func TestEachGuideIsLinked(t *testing.T) {
	t.Parallel()
	index := read(t, "docs/README.md")
	for _, document := range documents(t) {
		if dir, name := path.Split(document); dir == "docs/" && name != "README.md" {
			assert.Contains(t, index, "]("+name+")", "docs/README.md doesn't link to %s", name)
		}
	}
}

func TestTheReadmeIsADoor(t *testing.T) {
	t.Parallel()
	readme := read(t, "README.md")
	assert.LessOrEqual(t, len(strings.Fields(readme)), 800, "words in README.md: what goes further is a guide's, in docs/")
	before, _, _ := strings.Cut(readme, "```go\n")
	assert.LessOrEqual(t, strings.Count(before, "\n"), 10, "lines before README's first Go code")
	for _, command := range []string{"go run ./examples/quickstart", "go test ./..."} {
		assert.Contains(t, readme, command)
	}
}

// documents are the Markdown files, relative to the root.
func documents(t *testing.T) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(root, func(file string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && len(entry.Name()) > 2 || entry != nil && entry.Name() == "node_modules" {
			return filepath.SkipDir
		}
		if err == nil && filepath.Ext(file) == ".md" {
			file, err = filepath.Rel(root, file)
			found = append(found, filepath.ToSlash(file))
		}
		return err
	}))
	require.NotEmpty(t, found)
	return found
}

// anchors are a document's headings in the way in which GitHub writes them into links.
func anchors(t *testing.T, document string) []string {
	t.Helper()
	var found []string
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(read(t, document), ""), -1) {
		text := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`).ReplaceAllString(match[1], "$1")
		text = regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(text), "")
		found = append(found, strings.ReplaceAll(text, " ", "-"))
	}
	return found
}
