package repotest_test

import (
	"cmp"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	root       = "../.." // of the repository
	modulePath = "github.com/thewalletcrew/walletcrew-go"
)

// packages are the root module's public ones. Imports run one way: each may import those before it and what is internal.
var packages = []string{".", "verifier", "receiver", "walletcrewtest"}

// A service that only manages webhooks links nothing of the receiving side, one that only verifies links no handlers, and none of them
// links the test double.
func TestImportsRunOneWay(t *testing.T) {
	t.Parallel()
	for i, dir := range packages {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			requireImports(t, sources(t, dir), packages[:i])
		})
	}
	t.Run("internal", func(t *testing.T) {
		t.Parallel()
		files := slices.DeleteFunc(sources(t, "internal/*"), func(file string) bool { return strings.HasPrefix(file, filepath.Join(root, testsOnly)) })
		requireImports(t, files, nil)
	})
}

// testsOnly imports every package, and is imported by tests alone.
const testsOnly = "internal/seedtest"

// requireImports fails for a file, tests left out, that imports a package of this module which is neither internal nor allowed.
func requireImports(t *testing.T, files, allowed []string) {
	t.Helper()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			dir, ok := strings.CutPrefix(path+"/", modulePath+"/")
			dir = cmp.Or(strings.TrimSuffix(dir, "/"), ".")
			if ok && (!strings.HasPrefix(dir, "internal/") || dir == testsOnly) && !slices.Contains(allowed, dir) {
				assert.Fail(t, "imports run one way, towards the root", "%s must not import %s", strings.TrimPrefix(file, root+"/"), path)
			}
		}
	}
}

// sources returns the Go files of a folder.
func sources(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "there are no Go files in %s", dir)
	return files
}
