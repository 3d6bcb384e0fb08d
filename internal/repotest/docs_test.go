package repotest_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryTestThatADocumentNamesExists(t *testing.T) {
	t.Parallel()
	var code strings.Builder
	require.NoError(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err == nil && (strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "suite.go") {
			var text []byte
			text, err = os.ReadFile(path)
			code.Write(text)
		}
		return err
	}))
	documents, err := filepath.Glob(root + "/docs/*.md")
	require.NoError(t, err)
	named := 0
	for _, document := range append(documents, root+"/README.md", root+"/CONTRIBUTING.md", root+"/SECURITY.md") {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9_]*)(?:/([A-Za-z0-9_]+))?`").FindAllStringSubmatch(string(text), -1) {
			named++
			has := func(what string) { // Contains would print all of the code
				if !strings.Contains(code.String(), what) {
					t.Errorf("%s names %s, which isn't there", strings.TrimPrefix(document, root+"/"), match[0])
				}
			}
			has("func " + match[1] + "(")
			if match[2] != "" {
				has(`"` + match[2] + `": `)
			}
		}
	}
	assert.NotZero(t, named)
}

// What others call through an interface (fmt, errors, encoding/json, slog) needs no example of its own.
var calledByOthers = []string{"Error", "Format", "GobEncode", "Is", "LogValue", "MarshalJSON", "MarshalText", "ServeHTTP", "String", "UnmarshalJSON", "UnmarshalText", "Unwrap"}

func TestEveryExportedFunctionHasAnExample(t *testing.T) {
	t.Parallel()
	for _, dir := range packages {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			requireExamples(t, dir)
		})
	}
}

func requireExamples(t *testing.T, dir string) {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for _, path := range sources(t, dir) {
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, file)
	}
	pkg, err := doc.NewFromFiles(fset, files, modulePath+"/"+dir)
	require.NoError(t, err)

	functions := pkg.Funcs
	for _, typ := range pkg.Types {
		assert.NotEmpty(t, typ.Doc, "%s.%s has no comment", pkg.Name, typ.Name)
		functions = append(functions, typ.Funcs...)
		if len(typ.Examples) == 0 { // one of the type serves for its methods
			functions = append(functions, typ.Methods...)
		}
	}
	for _, f := range functions {
		assert.NotEmpty(t, f.Doc, "%s: %s%s has no comment", pkg.Name, f.Recv, f.Name)
		if f.Recv == "" || !slices.Contains(calledByOthers, f.Name) {
			assert.NotEmpty(t, f.Examples, "%s: %s %s has no example", pkg.Name, f.Recv, f.Name)
		}
	}
}
