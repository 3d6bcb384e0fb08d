package walletcrew_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

// CONTRIBUTING, "Add an event type": whoever forgets a step is told which.
func TestEachEventTypeIsWhereItMustBe(t *testing.T) {
	t.Parallel()
	constants, documented := declaredEvents(t)
	require.NotEmpty(t, constants)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	subjects, err := os.ReadFile("adapters/jetstream/subject.go")
	require.NoError(t, err)

	for constant, name := range constants {
		typ := strings.ReplaceAll(string(name), ":", "")
		assert.Equal(t, "Event"+typ, constant, "the constant of %s", name)

		e := mustParse(t, name, installedBody)
		require.NoError(t, e.DataErr, name)
		assert.Equal(t, typ, reflect.TypeOf(e.Data).Elem().Name(), "%s: its type, or its row in payloads, is missing in events.go", name)
		assert.Equal(t, name, walletcrew.NameOf(e.Data), "%s: events.go, payloads", name)
		assert.Equal(t, typ, documented[name], "%s: the type's comment says: %s is the payload of %q", name, typ, name)

		assert.Contains(t, knownEvents, name, "%s is missing in events_test.go, knownEvents", name)
		assert.Contains(t, string(readme), "| `"+string(name)+"` | `*walletcrew."+typ+"` |", "%s is missing in README's table of events", name)
		if strings.Contains(string(subjects), "walletcrew.EventPassCreated,") { // as long as it has a list of its own
			assert.Contains(t, string(subjects), "walletcrew."+constant+",", "%s is missing in adapters/jetstream/subject.go, knownEvents", name)
		}
	}
	for name, typ := range documented {
		assert.Contains(t, constants, "Event"+typ, "%s has a type and no constant", name)
	}
}

// declaredEvents reads events.go: the constants that name one event, and the events whose payload a type's comment says it is.
func declaredEvents(t *testing.T) (constants map[string]walletcrew.EventName, documented map[walletcrew.EventName]string) {
	t.Helper()
	constants, documented = map[string]walletcrew.EventName{}, map[walletcrew.EventName]string{}
	file, err := parser.ParseFile(token.NewFileSet(), "events.go", nil, parser.ParseComments)
	require.NoError(t, err)
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range decl.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				typ, ok := spec.Type.(*ast.Ident)
				if decl.Tok == token.CONST && ok && typ.Name == "EventName" {
					value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
					require.NoError(t, err)
					if !strings.Contains(value, "*") {
						constants[spec.Names[0].Name] = walletcrew.EventName(value)
					}
				}
			case *ast.TypeSpec:
				words := strings.Fields(decl.Doc.Text())
				if len(words) > 5 && slices.Equal(words[1:5], []string{"is", "the", "payload", "of"}) && strings.HasPrefix(words[5], `"`) {
					documented[walletcrew.EventName(strings.Trim(words[5], `".`))] = spec.Name.Name
				}
			}
		}
	}
	return constants, documented
}
