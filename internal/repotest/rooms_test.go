package repotest_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheDiagramOfTheRoomsShowsEachFile(t *testing.T) {
	t.Parallel()
	drawn, there := filesDrawn(t), filesThere(t)
	for dir, files := range there {
		missing := slices.DeleteFunc(slices.Clone(files), func(file string) bool { return slices.Contains(drawn[dir], file) })
		if len(missing) > 0 {
			assert.Fail(t, "docs/architecture.md, Each file: "+path.Join(dir, missing[0])+" isn't in the diagram",
				"Write there:\n\n%s", linesFor(dir, missing, files, drawn[dir] != nil))
		}
	}
	for dir, files := range drawn {
		for _, file := range files {
			if !slices.Contains(there[dir], file) {
				assert.Fail(t, "docs/architecture.md, Each file: the diagram shows "+path.Join(dir, file)+", which isn't there", "Take it out")
			}
		}
	}
}

// filesDrawn reads the diagram: a line that begins with "name/" opens a folder within those that are indented less, and each word that ends in
// .go or .md is a file of the folder. The first line is the root.
func filesDrawn(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{} // by folder
	text, err := os.ReadFile(root + "/docs/architecture.md")
	require.NoError(t, err)
	_, diagram, _ := strings.Cut(string(text), "\n## Each file\n")
	_, diagram, _ = strings.Cut(diagram, "```\nwalletcrew-go/")
	diagram, _, found := strings.Cut(diagram, "\n```")
	require.True(t, found, `docs/architecture.md has no diagram below "Each file" that begins with "walletcrew-go/"`)

	type folder struct {
		path   string
		indent int
	}
	open := []folder{{".", 0}}
	for line := range strings.Lines(diagram) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		indent := len(line) - len(strings.TrimLeft(line, " "))
		for len(open) > 1 && indent <= open[len(open)-1].indent {
			open = open[:len(open)-1]
		}
		if name, ok := strings.CutSuffix(words[0], "/"); ok {
			open = append(open, folder{path.Join(open[len(open)-1].path, name), indent})
		}
		for _, word := range words {
			if isShown(word) {
				dir := open[len(open)-1].path
				files[dir] = append(files[dir], word)
			}
		}
	}
	return files
}

func isShown(name string) bool {
	return path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go") || path.Ext(name) == ".md"
}

// filesThere are the Go files on disk that are no tests, and the guides in docs.
func filesThere(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	require.NoError(t, fs.WalkDir(os.DirFS(root), ".", func(file string, entry fs.DirEntry, err error) error {
		switch dir, name := path.Dir(file), path.Base(file); {
		case err != nil:
			return err
		case entry.IsDir() && file != "." && (name == "testdata" || strings.HasPrefix(name, ".")):
			return fs.SkipDir
		case !entry.IsDir() && isShown(name) && (path.Ext(name) == ".go" || dir == "docs"):
			files[dir] = append(files[dir], name)
		}
		return nil
	}))
	return files
}

// linesFor is what to write: a line for each missing file in the rooms that have one for each, else one with all files of the folder.
func linesFor(dir string, missing, all []string, drawn bool) string {
	var b strings.Builder
	line := func(depth int, name, says string) {
		fmt.Fprintf(&b, "%-23s %s\n", strings.Repeat("  ", depth)+name, says)
	}
	depth := 1
	if !drawn {
		line(1, dir+"/", "...what it is for...")
		depth = 2
	} else if dir != "." {
		depth = 2 + strings.Count(dir, "/")
	}
	room, _, _ := strings.Cut(dir, "/")
	if !slices.Contains(packages, room) && room != "internal" && room != "docs" {
		line(0, "", strings.Join(all, " "))
		return b.String()
	}
	for _, file := range missing {
		line(depth, file, "...what it holds...")
	}
	return b.String()
}
