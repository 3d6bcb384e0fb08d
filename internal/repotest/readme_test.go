package repotest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/freeport"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// snippetImports are what a snippet may use without saying so.
var snippetImports = map[string]string{
	"bytes": "bytes", "context": "context", "errors": "errors", "fmt": "fmt", "io": "io", "json": "encoding/json", "http": "net/http", "httptest": "net/http/httptest", "log": "log",
	"os": "os", "signal": "os/signal", "slog": "log/slog", "sql": "database/sql", "strings": "strings", "sync": "sync", "synctest": "testing/synctest",
	"testing": "testing", "time": "time", "walletcrew": modulePath,
	"receiver":       modulePath + "/receiver",
	"verifier":       modulePath + "/verifier",
	"walletcrewtest": modulePath + "/walletcrewtest",
}

// An adapter's snippet is compiled in the adapter's own module, which has what else it imports. It writes down what it imports.
var adapterImport = regexp.MustCompile(`"` + modulePath + `/(adapters/[a-z/]+)"`)

// given is what stands around a snippet in the reader's own program.
const given = `
var (
	ctx    context.Context
	client *walletcrew.Client
	mux    *receiver.Mux
	body   []byte
	secret walletcrew.Secret
	r      *http.Request
	v      *verifier.Verifier
	handler *receiver.Handler
)

func save(context.Context, string) error                     { return nil }
func giveReceivers([]walletcrew.Secret) {}
func count(...string) {}
func observe(string, time.Duration) {}
func handle(context.Context, *walletcrew.Event) error        { return nil }
`

func TestEveryGoSnippetOfTheDocumentsCompiles(t *testing.T) {
	t.Parallel()
	overlays, programs := map[string]map[string]string{}, map[string][]string{} // by module
	var tested []string                                                         // in the root module
	top, err := filepath.Abs(root)
	require.NoError(t, err)
	documents, err := filepath.Glob(root + "/docs/*.md")
	require.NoError(t, err)
	for _, document := range append(documents, root+"/README.md") {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		text = quotedSnippet.ReplaceAll(text, nil) // compiled where it comes from
		for i, match := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			dir := "."
			for _, adapter := range adapterImport.FindAllStringSubmatch(match[1], -1) {
				if len(adapter[1]) > len(dir) { // embedded's module has jetstream, too
					dir = adapter[1]
				}
			}
			module, err := filepath.Abs(filepath.Join(root, dir))
			require.NoError(t, err)
			name, source := fmt.Sprintf("zz_%s_%d", strings.ToLower(strings.TrimSuffix(filepath.Base(document), ".md")), i), "main.go"
			if strings.HasPrefix(match[1], "package main\n") { // the files of one program
				name, source = name[:strings.LastIndexByte(name, '_')], fmt.Sprintf("file%d.go", i)
				if strings.Contains(match[1], "\nfunc Test") {
					source = fmt.Sprintf("file%d_test.go", i)
					tested = append(tested, "./"+name)
				}
			}
			file := filepath.Join(t.TempDir(), source)
			require.NoError(t, os.WriteFile(file, []byte(program(t, match[1])), 0o600))
			if overlays[module] == nil {
				overlays[module] = map[string]string{}
			}
			overlays[module][filepath.Join(module, name, source)] = file
			programs[module] = append(programs[module], "./"+name)
		}
	}
	require.NotEmpty(t, programs)
	for module, overlay := range overlays {
		replace, err := json.Marshal(map[string]any{"Replace": overlay})
		require.NoError(t, err)
		overlayFile := filepath.Join(t.TempDir(), "overlay.json")
		require.NoError(t, os.WriteFile(overlayFile, replace, 0o600))
		goTool := func(args ...string) {
			command := exec.CommandContext(t.Context(), "go", args...)
			command.Dir = module
			if module != top {
				command.Env = append(os.Environ(), "GOARCH=")
				if os.Getenv("WALLETCREW_TEST_SERVERS") != "required" {
					command.Env = append(command.Env, "GOPROXY=off") // go test ./... downloads nothing for the adapters
				}
			}
			out, err := command.CombinedOutput()
			if err != nil && bytes.Contains(out, []byte("GOPROXY=off")) {
				t.Logf("%s: its dependencies aren't on this machine, so its snippets weren't compiled", module)
				return
			}
			assert.NoError(t, err, "a document's Go code doesn't compile:\n%s", out)
		}
		goTool(append([]string{"build", "-o", os.DevNull, "-overlay", overlayFile}, programs[module]...)...)
		if module != top {
			continue
		}
		for _, program := range tested {
			binary := filepath.Join(t.TempDir(), "program.test.exe")
			goTool("test", "-c", "-vet=off", "-overlay", overlayFile, "-o", binary, program)
			out, err := exec.CommandContext(t.Context(), binary).CombinedOutput()
			assert.NoError(t, err, "a document's test fails:\n%s", out)
		}
	}
}

// The program on README's first screen, as it stands there but for its port.
func TestTheProgramOfTheReadmeReceives(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(root + "/README.md")
	require.NoError(t, err)
	match := regexp.MustCompile("(?s)```go\n(package main\n.*?)```").FindSubmatch(text)
	require.NotNil(t, match, "README has no whole program")
	address, err := freeport.Address()
	require.NoError(t, err)
	source := strings.Replace(string(match[1]), `":8080"`, `"`+address+`"`, 1)
	require.Contains(t, source, address)

	module, err := filepath.Abs(root)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/main.go", []byte(source), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(module, "zz_program", "main.go"): dir + "/main.go"}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/overlay.json", overlay, 0o600))
	binary := filepath.Join(dir, "program.exe")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "-overlay", dir+"/overlay.json", "./zz_program")
	build.Dir = module
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	without := exec.CommandContext(t.Context(), binary)
	without.Env = append(os.Environ(), "WALLETCREW_SECRET=")
	require.Error(t, without.Run(), "it starts without a secret")

	var log bytes.Buffer
	run := exec.CommandContext(t.Context(), binary)
	run.Env, run.Stderr = append(os.Environ(), "WALLETCREW_SECRET=secret"), &log
	require.NoError(t, run.Start())
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if assert.NoError(c, err) {
			_ = conn.Close()
		}
	}, time.Minute, 10*time.Millisecond)
	body := walletcrewtest.Sample(walletcrew.EventPassInstalled)
	for secret, want := range map[walletcrew.Secret][]int{"secret": {204, 204}, "another": {401}} {
		for _, status := range want {
			answer, err := walletcrewtest.Send(t.Context(), "http://"+address+"/webhooks/walletcrew", secret, "tenant", walletcrew.EventPassInstalled, body)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			assert.Equal(t, status, answer.StatusCode)
		}
	}
	require.NoError(t, run.Process.Kill())
	_ = run.Wait()
	assert.Equal(t, 1, strings.Count(log.String(), "is on a phone"), "the event is handled once: %s", log.String())
}

// program makes a package of a snippet that isn't one, which is compiled and not linked: declarations as they are, statements within a function.
func program(t *testing.T, snippet string) string {
	t.Helper()
	const header = "package snippet\n"
	if strings.HasPrefix(snippet, "package main\n") {
		return snippet
	}
	own, snippet := ownImports(snippet)
	declarations := header + given + snippet
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", declarations, 0)
	if err != nil {
		declarations = header + given + "func _() {\n" + snippet + "\n}\n"
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
	b.WriteString(header)
	for name := range imports {
		fmt.Fprintf(&b, "import %s %q\n", name, snippetImports[name])
	}
	return b.String() + own + strings.TrimPrefix(declarations, header)
}

// ownImports cuts the import declarations off, with which a snippet begins.
func ownImports(snippet string) (imports, rest string) {
	for strings.HasPrefix(snippet, "import ") {
		end := "\n"
		if strings.HasPrefix(snippet, "import (") {
			end = "\n)\n"
		}
		one, after, _ := strings.Cut(snippet, end)
		imports, snippet = imports+one+end, strings.TrimLeft(after, "\n")
	}
	return imports, snippet
}
