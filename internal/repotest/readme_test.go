package repotest_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// snippetImports are what a snippet may use without saying so.
var snippetImports = map[string]string{
	"bytes": "bytes", "context": "context", "errors": "errors", "io": "io", "http": "net/http", "httptest": "net/http/httptest", "log": "log", "os": "os",
	"testing": "testing", "time": "time", "walletcrew": "github.com/thewalletcrew/walletcrew-go",
	"receiver":       "github.com/thewalletcrew/walletcrew-go/receiver",
	"verifier":       "github.com/thewalletcrew/walletcrew-go/verifier",
	"walletcrewtest": "github.com/thewalletcrew/walletcrew-go/walletcrewtest",
}

// given is what stands around a snippet in the reader's own program.
const given = `
var (
	ctx    context.Context
	client *walletcrew.Client
	mux    *receiver.Mux
	body   []byte
	secret walletcrew.Secret
	r      *http.Request
)

func save(context.Context, string) error                     { return nil }
func handle(context.Context, *walletcrew.Event) error        { return nil }
`

func TestEveryGoSnippetOfTheDocumentsCompiles(t *testing.T) {
	t.Parallel()
	module, err := filepath.Abs(root)
	require.NoError(t, err)
	overlay := map[string]string{}
	var programs []string
	documents, err := filepath.Glob(root + "/docs/*.md")
	require.NoError(t, err)
	for _, document := range append(documents, root+"/README.md") {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		for i, match := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			name := fmt.Sprintf("zz_%s_%d", strings.ToLower(strings.TrimSuffix(filepath.Base(document), ".md")), i)
			file := filepath.Join(t.TempDir(), "main.go")
			require.NoError(t, os.WriteFile(file, []byte(program(t, match[1])), 0o600))
			overlay[filepath.Join(module, "examples", name, "main.go")] = file
			programs = append(programs, "./examples/"+name)
		}
	}
	require.NotEmpty(t, programs)
	replace, err := json.Marshal(map[string]any{"Replace": overlay})
	require.NoError(t, err)
	overlayFile := filepath.Join(t.TempDir(), "overlay.json")
	require.NoError(t, os.WriteFile(overlayFile, replace, 0o600))

	build := exec.CommandContext(t.Context(), "go", append([]string{"build", "-overlay", overlayFile}, programs...)...)
	build.Dir = module
	out, err := build.CombinedOutput()
	require.NoError(t, err, "a snippet doesn't compile:\n%s", out)
}

// program makes a whole program of a snippet: declarations as they are, statements within a function.
func program(t *testing.T, snippet string) string {
	t.Helper()
	declarations := "package main\n" + given + snippet + "\nfunc main() {}\n"
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", declarations, 0)
	if err != nil {
		declarations = "package main\n" + given + "func main() {\n" + snippet + "\n}\n"
		file, err = parser.ParseFile(fset, "", declarations, 0)
		require.NoError(t, err, "not Go:\n%s", snippet)
	}
	imports := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := selector.X.(*ast.Ident); ok && snippetImports[id.Name] != "" {
				imports[id.Name] = true
			}
		}
		return true
	})
	var b strings.Builder
	b.WriteString("package main\n")
	for name := range imports {
		fmt.Fprintf(&b, "import %s %q\n", name, snippetImports[name])
	}
	return b.String() + strings.TrimPrefix(declarations, "package main\n")
}
