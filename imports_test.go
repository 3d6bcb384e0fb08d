package walletcrew_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const modulePath = "github.com/thewalletcrew/walletcrew-go"

// Imports run one way: examples and adapters -> walletcrewtest -> receiver -> verifier -> the root. A service that only manages webhooks
// links nothing of the receiving side, and neither links the test double. What is internal imports nothing of the module.
func TestImportsRunOneWay(t *testing.T) {
	t.Parallel()
	rules := []struct {
		dir     string
		allowed []string // of this module; nil: nothing
	}{
		{".", []string{modulePath + "/internal/endpoint"}},
		{"verifier", []string{modulePath, modulePath + "/internal/answer", modulePath + "/internal/dedupekey", modulePath + "/internal/endpoint", modulePath + "/internal/guard"}},
		{"receiver", []string{modulePath, modulePath + "/verifier", modulePath + "/internal/answer", modulePath + "/internal/dedupekey", modulePath + "/internal/guard"}},
		{"walletcrewtest", []string{modulePath, modulePath + "/verifier", modulePath + "/receiver"}},
	}
	for _, rule := range rules {
		t.Run(rule.dir, func(t *testing.T) {
			t.Parallel()
			files, err := filepath.Glob(filepath.Join(rule.dir, "*.go"))
			require.NoError(t, err)
			checked := 0
			for _, file := range files {
				if strings.HasSuffix(file, "_test.go") {
					continue
				}
				parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
				require.NoError(t, err)
				checked++
				for _, spec := range parsed.Imports {
					path, err := strconv.Unquote(spec.Path.Value)
					require.NoError(t, err)
					if path == modulePath || strings.HasPrefix(path, modulePath+"/") {
						assert.Contains(t, rule.allowed, path, "%s must not import %s: imports run one way, towards the root", file, path)
					}
				}
			}
			assert.Positive(t, checked, "no files were checked in %s", rule.dir)
		})
	}
}
