package repotest_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// CONTRIBUTING, "Add an event type": whoever forgets a step is told which.
func TestEachEventTypeIsWhereItMustBe(t *testing.T) {
	t.Parallel()
	constants, documented := declaredEvents(t)
	require.NotEmpty(t, constants)
	page, err := os.ReadFile(root + "/docs/receive.md")
	require.NoError(t, err)
	tests, err := os.ReadFile(root + "/events_test.go")
	require.NoError(t, err)
	quickstart, err := os.ReadFile(root + "/examples/quickstart/main.go")
	require.NoError(t, err)

	for constant, name := range constants {
		typ := strings.ReplaceAll(string(name), ":", "")
		assert.Equal(t, "Event"+typ, constant, "the constant of %s", name)

		e := parse(t, name, `{"passId":"p-1001"}`)
		require.NoError(t, e.DataErr, name)
		assert.Equal(t, typ, reflect.TypeOf(e.Data).Elem().Name(), "%s: its type, or its row in payloads, is missing in events.go", name)
		assert.Equal(t, name, walletcrew.NameOf(e.Data), "%s: events.go, payloads", name)
		assert.Equal(t, typ, documented[name], "%s: the type's comment says: %s is the payload of %q", name, typ, name)

		has := func(text []byte, what, where string) { // Contains would print all of the text
			if !bytes.Contains(text, []byte(what)) {
				t.Errorf("%s is missing in %s", name, where)
			}
		}
		has(tests, "walletcrew."+constant+":", "events_test.go: in TestEachKnownEventIsDecodedIntoItsType's table, or in knownEvents")
		has(page, "| `"+string(name)+"` | `*walletcrew."+typ+"` |", "docs/receive.md's table of events")

		has(quickstart, "{walletcrew."+constant+",", "examples/quickstart/main.go: the list of deliveries")
		if _, unnamed := reflect.TypeOf(e.Data).Elem().FieldByName("Members"); !unnamed {
			has(quickstart, "*walletcrew."+typ+")", "examples/quickstart/main.go: a function for it")
			sample := parse(t, name, string(walletcrewtest.Sample(name)))
			assert.Empty(t, sample.Misfits, "walletcrewtest/sample.go, samples: %s", name)
			for _, field := range emptyFields(reflect.ValueOf(sample.Data).Elem(), typ) {
				t.Errorf("%s is empty in the sample of %s: walletcrewtest/sample.go, samples", field, name)
			}
		}

		full := reflect.New(reflect.TypeOf(e.Data).Elem())
		fill(t, full.Elem())
		body, err := json.Marshal(full.Interface())
		require.NoError(t, err)
		assert.Equal(t, full.Interface(), parse(t, name, string(body)).Data, "%s: a field of %s isn't read: does it lack a json tag?", name, typ)
	}
	for name, typ := range documented {
		assert.Contains(t, constants, "Event"+typ, "%s has a type and no constant", name)
	}
}

func parse(t *testing.T, name walletcrew.EventName, body string) *walletcrew.Event {
	t.Helper()
	e, err := walletcrew.ParseEvent(name, []byte(body))
	require.NoError(t, err)
	return e
}

// emptyFields names the exported fields that have no value, in structs and pointers to structs, too.
func emptyFields(v reflect.Value, name string) []string {
	switch {
	case v.IsZero():
		return []string{name}
	case v.Kind() == reflect.Pointer:
		return emptyFields(v.Elem(), name)
	case v.Kind() != reflect.Struct:
		return nil
	}
	var empty []string
	for field, value := range v.Fields() {
		if field.IsExported() {
			empty = append(empty, emptyFields(value, name+"."+field.Name)...)
		}
	}
	return empty
}

// fill sets all fields of a payload.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch into := v.Addr().Interface().(type) {
	case *walletcrew.Device:
		*into = walletcrew.Device{Platform: "apple", Raw: json.RawMessage(`"apple"`)}
		return
	case *json.RawMessage:
		*into = json.RawMessage(`[1]`)
		return
	case *time.Time:
		*into = time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, field)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(t, value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("member"), value)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0))
		fill(t, v.Index(1))
	case reflect.String:
		v.SetString("text")
	case reflect.Int:
		v.SetInt(7)
	default:
		require.Fail(t, "a payload has a field of a kind that this test doesn't know", "%s", v.Type())
	}
}

// declaredEvents reads events.go: the constants that name one event, and the events whose payload a type's comment says it is.
func declaredEvents(t *testing.T) (constants map[string]walletcrew.EventName, documented map[walletcrew.EventName]string) {
	t.Helper()
	constants, documented = map[string]walletcrew.EventName{}, map[walletcrew.EventName]string{}
	file, err := parser.ParseFile(token.NewFileSet(), root+"/events.go", nil, parser.ParseComments)
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
