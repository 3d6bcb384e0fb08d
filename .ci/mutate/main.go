// Mutate changes the code in one place at a time and reports the changes that no test notices.
//
//	go -C .ci/mutate run . signature.go
//	go -C .ci/mutate run . client.go:run,finished,transient     # these functions only
//	go -C .ci/mutate run . verifier/*.go                        # test files are left out
//
// All changes go into one build, behind an environment variable: a mutant costs a run of the tests that reach it, no build. The
// tree isn't touched. It exits with 1 if a mutant survives that the file -known doesn't explain.
//
// The changes: each condition, and each operand of && and ||, forced true and forced false (which is more than to negate it or to
// swap && and ||); < and <=, > and >=; + and -, * and /, & and |, << and >>; a statement left out; an early return of zero values; an error
// returned where there was none, and none where there was one; numbers one more and one less, durations twice and half; a new
// variable or a field left zero.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	root := flag.String("root", "../..", "the module's folder")
	tests := flag.String("tests", ".", "run tests that match only")
	only := flag.String("only", "", "only these mutants, as id,id")
	every := flag.Int("every", 1, "only each nth mutant")
	known := flag.String("known", "../../docs/mutation.md", "survivors that are explained: the file holds what is printed of them between backquotes")
	verbose := flag.Bool("v", false, "print the killed ones too, with the test")
	flag.Parse()
	failed, err := run(*root, *tests, *only, *every, *known, *verbose, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

func run(root, tests, only string, every int, known string, verbose bool, args []string) (failed bool, err error) {
	root, err = filepath.Abs(root)
	if err != nil {
		return false, err
	}
	explained, err := os.ReadFile(known) //nolint:gosec // the user names it
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	wanted := map[string][]string{} // functions by file; none: all
	for _, arg := range args {
		name, funcs, _ := strings.Cut(arg, ":")
		files, err := filepath.Glob(filepath.Join(root, name))
		if err != nil || len(files) == 0 {
			return false, fmt.Errorf("no file %s", name)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				wanted[file] = strings.FieldsFunc(funcs, func(r rune) bool { return r == ',' })
			}
		}
	}
	byDir := map[string][]string{}
	for file := range wanted {
		byDir[filepath.Dir(file)] = append(byDir[filepath.Dir(file)], file)
	}
	if len(byDir) != 1 {
		return false, errors.New("name the files of one package")
	}
	for dir, files := range byDir {
		slices.Sort(files)
		work, err := os.MkdirTemp("", "mutate")
		if err != nil {
			return false, err
		}
		defer func() { _ = os.RemoveAll(work) }()
		p := &pkg{root: root, dir: dir, work: work, fset: token.NewFileSet()}
		if err := p.load(files, wanted); err != nil {
			return false, err
		}
		if err := p.build(); err != nil {
			return false, err
		}
		if err := p.record(tests); err != nil {
			return false, err
		}
		return p.judge(only, every, string(explained), verbose), nil
	}
	return false, nil
}

// A mutant is one change.
type mutant struct {
	id      int
	pos     token.Position
	where   string // file and function
	change  string
	dropped bool // it doesn't compile
	tests   []int
}

// An edit puts text before and after a range of the source. Those of a range within stand within.
type edit struct {
	from, to      int
	before, after string
	order         int
	ids           []int
}

// An operator is replaced as a whole.
type swap struct {
	from, to int
	text     string
}

type source struct {
	path  string
	text  []byte
	ast   *ast.File
	edits []edit
	swaps []swap
}

type test struct {
	name string
	took time.Duration
}

type pkg struct {
	root, dir, work string
	fset            *token.FileSet
	info            *types.Info
	own             *types.Package
	sources         []*source
	mutants         []*mutant
	tests           []test
	now             *source
	nowIn           string // the function
}

// load parses and checks the whole package, and finds the mutants of the files that are wanted.
func (p *pkg) load(files []string, wanted map[string][]string) error {
	list := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}\t{{.Dir}}\t{{join .GoFiles \",\"}}", ".")
	list.Dir, list.Stderr = p.dir, os.Stderr
	out, err := list.Output()
	if err != nil {
		return err
	}
	exports := map[string]string{}
	var all []*ast.File
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) < 4 {
			continue
		}
		exports[f[0]] = f[1]
		if f[2] != p.dir {
			continue
		}
		for name := range strings.SplitSeq(f[3], ",") {
			path := filepath.Join(p.dir, name)
			text, err := os.ReadFile(path) //nolint:gosec // a file of the module
			if err != nil {
				return err
			}
			file, err := parser.ParseFile(p.fset, path, text, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			all = append(all, file)
			if slices.Contains(files, path) {
				p.sources = append(p.sources, &source{path: path, text: text, ast: file})
			}
		}
	}
	if len(p.sources) != len(files) {
		return errors.New("a file doesn't belong to the package on this platform")
	}
	p.info = &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	p.own, err = config.Check("p", p.fset, all, p.info)
	if err != nil {
		return err
	}
	for _, s := range p.sources {
		p.now = s
		for _, decl := range s.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				p.nowIn = d.Name.Name
				if funcs := wanted[s.path]; d.Body != nil && (len(funcs) == 0 || slices.Contains(funcs, d.Name.Name)) {
					p.function(d.Type, d.Body)
				}
			case *ast.GenDecl:
				p.nowIn = "var"
				if d.Tok == token.VAR && len(wanted[s.path]) == 0 {
					p.walk(d, nil)
				}
			}
		}
	}
	return nil
}

func (p *pkg) add(at token.Pos, change string) int {
	id := len(p.mutants) + 1
	p.mutants = append(p.mutants, &mutant{id: id, pos: p.fset.Position(at), where: filepath.Base(p.now.path) + " " + p.nowIn, change: change})
	return id
}

func (p *pkg) offset(at token.Pos) int { return p.fset.Position(at).Offset }

func (p *pkg) textOf(n ast.Node) string {
	text := strings.Join(strings.Fields(string(p.now.text[p.offset(n.Pos()):p.offset(n.End())])), " ")
	if len(text) > 100 {
		text = text[:97] + "..."
	}
	return text
}

func (p *pkg) wrap(n ast.Node, before, after string, ids ...int) {
	p.now.edits = append(p.now.edits, edit{p.offset(n.Pos()), p.offset(n.End()), before, after, len(p.now.edits), ids})
}

func (p *pkg) function(t *ast.FuncType, body *ast.BlockStmt) { p.walk(body, t) }

// walk visits what is in n; f is the function that it is in.
func (p *pkg) walk(n ast.Node, f *ast.FuncType) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			p.walk(n.Body, n.Type)
			return false
		case *ast.GenDecl:
			return n.Tok == token.VAR
		case *ast.ArrayType, *ast.StructType, *ast.InterfaceType, *ast.FuncType:
			return false
		case *ast.BlockStmt:
			p.statements(n.List, f)
		case *ast.CaseClause:
			p.statements(n.Body, f)
			for _, e := range n.List {
				if t := p.info.Types[e]; t.IsValue() && isBool(t.Type) {
					p.atoms(e)
				}
			}
		case *ast.CommClause:
			p.statements(n.Body, f)
		case *ast.IfStmt:
			p.atoms(n.Cond)
		case *ast.ForStmt:
			p.atoms(n.Cond)
		case *ast.ReturnStmt:
			for _, e := range n.Results {
				if isBool(p.info.Types[e].Type) {
					p.atoms(e)
				}
			}
		case *ast.AssignStmt:
			for _, e := range n.Rhs {
				t := p.info.Types[e]
				switch {
				case isBool(t.Type):
					p.atoms(e)
				case n.Tok == token.DEFINE && len(n.Rhs) == len(n.Lhs) && t.Value == nil && !t.IsNil() && t.IsValue():
					id := p.add(e.Pos(), fmt.Sprintf("%s stays zero, not %s", p.textOf(n.Lhs[slices.Index(n.Rhs, e)]), p.textOf(e)))
					p.wrap(e, fmt.Sprintf("mutantZero(%d, ", id), ")", id)
				}
			}
		case *ast.CallExpr:
			if t := p.info.Types[n.Fun]; t.IsType() && p.info.Types[ast.Expr(n)].Value == nil {
				break
			}
			for _, e := range n.Args {
				if t := p.info.Types[e]; t.IsValue() && isBool(t.Type) {
					p.atoms(e)
				}
			}
		case *ast.KeyValueExpr:
			key, ok := n.Key.(*ast.Ident)
			if t := p.info.Types[n.Value]; ok && p.info.Uses[key] != nil && isField(p.info.Uses[key]) && t.IsValue() && t.Value == nil && !t.IsNil() && !isBool(t.Type) {
				id := p.add(n.Pos(), fmt.Sprintf("the field is left zero: %s", p.textOf(n)))
				p.wrap(n.Value, fmt.Sprintf("mutantZero(%d, ", id), ")", id)
			}
			if ok {
				p.walkExpr(n.Value, f)
				return false
			}
		}
		if e, ok := n.(ast.Expr); ok {
			return p.expression(e)
		}
		return true
	})
}

func (p *pkg) walkExpr(e ast.Expr, f *ast.FuncType) { p.walk(&ast.ParenExpr{X: e}, f) }

func isField(o types.Object) bool {
	v, ok := o.(*types.Var)
	return ok && v.IsField()
}

func isBool(t types.Type) bool {
	b, ok := t.(*types.Basic)
	return ok && b.Info()&types.IsBoolean != 0
}

// atoms forces each part of a condition.
func (p *pkg) atoms(e ast.Expr) {
	switch x := e.(type) {
	case nil:
		return
	case *ast.ParenExpr:
		p.atoms(x.X)
		return
	case *ast.UnaryExpr:
		if x.Op == token.NOT {
			p.atoms(x.X)
			return
		}
	case *ast.BinaryExpr:
		if x.Op == token.LAND || x.Op == token.LOR {
			p.atoms(x.X)
			p.atoms(x.Y)
			return
		}
	}
	yes, no := -1, -1
	text := p.textOf(e)
	if text != "true" {
		yes = p.add(e.Pos(), fmt.Sprintf("true for %s", text))
	}
	if text != "false" {
		no = p.add(e.Pos(), fmt.Sprintf("false for %s", text))
	}
	p.wrap(e, fmt.Sprintf("mutantForce(%d, %d, ", yes, no), ")", yes, no)
}

var swapped = map[token.Token]token.Token{
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL, token.REM: token.MUL,
	token.AND: token.OR, token.OR: token.AND, token.XOR: token.AND, token.SHL: token.SHR, token.SHR: token.SHL, token.AND_NOT: token.AND,
}

var functions = map[token.Token]string{
	token.LSS: "Lss", token.LEQ: "Leq", token.GTR: "Gtr", token.GEQ: "Geq",
	token.ADD: "Add", token.SUB: "Sub", token.MUL: "Mul", token.QUO: "Quo", token.REM: "Rem",
	token.AND: "And", token.OR: "Or", token.XOR: "Xor", token.AND_NOT: "AndNot", token.SHL: "Shl", token.SHR: "Shr",
}

// expression changes numbers and operators; it reports whether to look within.
func (p *pkg) expression(e ast.Expr) bool {
	t := p.info.Types[e]
	if t.Value != nil { // the whole of a constant, not its parts
		b, ok := t.Type.Underlying().(*types.Basic)
		if !ok || b.Info()&types.IsInteger == 0 {
			return false
		}
		switch x := e.(type) {
		case *ast.SelectorExpr:
			return false // another package's
		case *ast.CallExpr:
			if fun, ok := x.Fun.(*ast.Ident); ok && (fun.Name == "len" || fun.Name == "cap") {
				return false
			}
		}
		name := types.TypeString(types.Default(t.Type), func(o *types.Package) string {
			if o == p.own {
				return ""
			}
			return o.Name()
		})
		kind, more, less := "mutantInt", "+1", "-1"
		if name == "time.Duration" {
			kind, more, less = "mutantDuration", "*2", "/2"
			if t.Value.ExactString() == "0" {
				return false
			}
		}
		up := p.add(e.Pos(), fmt.Sprintf("%s %s", p.textOf(e), more))
		down := p.add(e.Pos(), fmt.Sprintf("%s %s", p.textOf(e), less))
		p.wrap(e, fmt.Sprintf("%s[%s](%d, %d, ", kind, name, up, down), ")", up, down)
		return false
	}
	x, ok := e.(*ast.BinaryExpr)
	if !ok || functions[x.Op] == "" {
		return true
	}
	if b, ok := p.info.Types[x.X].Type.Underlying().(*types.Basic); !ok || b.Info()&types.IsNumeric == 0 {
		return true
	}
	id := p.add(x.OpPos, fmt.Sprintf("%s with %s for %s", p.textOf(x), swapped[x.Op], x.Op))
	p.wrap(x, fmt.Sprintf("mutant%s(%d, ", functions[x.Op], id), ")", id)
	at := p.offset(x.OpPos)
	p.now.swaps = append(p.now.swaps, swap{at, at + len(x.Op.String()), ","})
	return true
}

// statements leaves out what can be left out, and returns early.
func (p *pkg) statements(list []ast.Stmt, f *ast.FuncType) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE {
				continue
			}
			if blank := slices.ContainsFunc(s.Lhs, func(e ast.Expr) bool { return p.textOf(e) != "_" }); !blank {
				if _, ok := s.Rhs[0].(*ast.CallExpr); !ok {
					continue
				}
			}
			p.leaveOut(s)
		case *ast.ExprStmt, *ast.IncDecStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt, *ast.BranchStmt:
			if b, ok := s.(*ast.BranchStmt); ok && b.Tok == token.FALLTHROUGH {
				continue
			}
			p.leaveOut(s)
		case *ast.ReturnStmt:
			p.returns(s, f)
		}
	}
}

func (p *pkg) leaveOut(s ast.Stmt) {
	id := p.add(s.Pos(), "left out: "+p.textOf(s))
	p.wrap(s, fmt.Sprintf("if mutantKeeps(%d) { ", id), " }", id)
}

func (p *pkg) returns(s *ast.ReturnStmt, f *ast.FuncType) {
	if f == nil || f.Results == nil || len(s.Results) == 0 {
		return
	}
	var kinds []string
	for _, field := range f.Results.List {
		for range max(1, len(field.Names)) {
			kinds = append(kinds, string(p.now.text[p.offset(field.Type.Pos()):p.offset(field.Type.End())]))
		}
	}
	zeros := make([]string, len(kinds))
	for i, kind := range kinds {
		zeros[i] = "*new(" + kind + ")"
	}
	given := make([]string, len(s.Results))
	zero := true
	for i, e := range s.Results {
		given[i] = string(p.now.text[p.offset(e.Pos()):p.offset(e.End())])
		zero = zero && (slices.Contains([]string{"nil", `""`, "0", "false"}, given[i]) || i < len(kinds) && given[i] == kinds[i]+"{}")
	}
	if len(kinds) == 1 && kinds[0] == "bool" {
		return // forced
	}
	variants := [][2]string{}
	if !zero {
		variants = append(variants, [2]string{"zero values", strings.Join(zeros, ", ")})
	}
	if last := len(kinds) - 1; kinds[last] == "error" && len(given) == len(kinds) {
		changed := slices.Clone(given)
		switch {
		case given[last] == "nil":
			changed[last] = "mutantError"
			variants = append(variants, [2]string{"an error", strings.Join(changed, ", ")})
		case last > 0:
			changed[last] = "nil"
			variants = append(variants, [2]string{"no error", strings.Join(changed, ", ")})
		}
	}
	for _, v := range variants {
		id := p.add(s.Pos(), fmt.Sprintf("%s for %s", v[0], p.textOf(s)))
		p.wrap(s, fmt.Sprintf("if mutantIs(%d) { return %s }; ", id, v[1]), "", id)
	}
}

// render writes the source with all mutants in it.
func (s *source) render(dropped func(ids []int) bool) []byte {
	type insertion struct {
		at   int
		rank [3]int
		text string
	}
	var all []insertion
	for _, e := range s.edits {
		if dropped(e.ids) {
			continue
		}
		size := e.to - e.from
		all = append(all, insertion{e.from, [3]int{1, -size, e.order}, e.before}, insertion{e.to, [3]int{0, size, -e.order}, e.after})
	}
	slices.SortStableFunc(all, func(a, b insertion) int { return cmp.Or(cmp.Compare(a.at, b.at), slices.Compare(a.rank[:], b.rank[:])) })
	swaps := slices.SortedFunc(slices.Values(s.swaps), func(a, b swap) int { return cmp.Compare(a.from, b.from) })
	var out bytes.Buffer
	done := 0
	copyTo := func(at int) {
		for len(swaps) > 0 && swaps[0].from < at {
			out.Write(s.text[done:swaps[0].from])
			out.WriteString(swaps[0].text)
			done, swaps = swaps[0].to, swaps[1:]
		}
		if at > done {
			out.Write(s.text[done:at])
			done = at
		}
	}
	for _, i := range all {
		copyTo(i.at)
		out.WriteString(i.text)
	}
	copyTo(len(s.text))
	return out.Bytes()
}

const helpers = `package %s

import (
	"cmp"
	"errors"
	"os"
	"strconv"
	"time"
)

var (
	mutantNow    = func() int { n, _ := strconv.Atoi(os.Getenv("MUTANT")); return n }()
	mutantRecord = os.Getenv("MUTANT_RECORD") != ""
	mutantSeen   [%d]bool
	mutantError  = errors.New("an error that a mutant made")
	mutantFile   = func() *os.File {
		f, _ := os.OpenFile(os.Getenv("MUTANT_RECORD"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		return f
	}()
)

func mutantIs(id int) bool {
	if mutantRecord {
		mutantSaw(id)
	}
	return id == mutantNow
}

//go:noinline
func mutantSaw(id int) {
	if id > 0 && !mutantSeen[id] {
		mutantSeen[id] = true
		_, _ = mutantFile.WriteString(strconv.Itoa(id) + "\n")
	}
}

func mutantKeeps(id int) bool { return !mutantIs(id) }

func mutantForce(yes, no int, b bool) bool { return mutantIs(yes) || b && !mutantIs(no) || b && mutantIs(0) }

func mutantZero[T any](id int, v T) T {
	if mutantIs(id) {
		v = *new(T)
	}
	return v
}

type mutantInteger interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

func mutantInt[T mutantInteger](up, down int, v T) T {
	if mutantIs(up) {
		v++
	}
	if mutantIs(down) {
		v--
	}
	return v
}

func mutantDuration[T time.Duration](up, down int, v T) T {
	if mutantIs(up) {
		v *= 2
	}
	if mutantIs(down) {
		v /= 2
	}
	return v
}

func mutantLss[T cmp.Ordered](id int, a, b T) bool { return a < b || a == b && mutantIs(id) }
func mutantLeq[T cmp.Ordered](id int, a, b T) bool { return a < b || a == b && !mutantIs(id) }
func mutantGtr[T cmp.Ordered](id int, a, b T) bool { return a > b || a == b && mutantIs(id) }
func mutantGeq[T cmp.Ordered](id int, a, b T) bool { return a > b || a == b && !mutantIs(id) }
`

// operators are the helpers that are all alike.
func operators() string {
	var b strings.Builder
	for op, name := range functions {
		other := swapped[op]
		switch op {
		case token.LSS, token.LEQ, token.GTR, token.GEQ:
			continue
		case token.SHL, token.SHR:
			fmt.Fprintf(&b, "\nfunc mutant%s[T, U mutantInteger](id int, a T, b U) T {\n\tif mutantIs(id) {\n\t\treturn a %s b\n\t}\n\treturn a %s b\n}\n", name, other, op)
		default:
			fmt.Fprintf(&b, "\nfunc mutant%s[T mutantInteger](id int, a, b T) T {\n\tif mutantIs(id) {\n\t\treturn a %s b\n\t}\n\treturn a %s b\n}\n", name, other, op)
		}
	}
	return b.String()
}

func (p *pkg) build() error {
	byID := func(ids []int) bool {
		return slices.ContainsFunc(ids, func(id int) bool { return id > 0 && p.mutants[id-1].dropped })
	}
	for range 30 {
		overlay := map[string]string{}
		for i, s := range p.sources {
			to := filepath.Join(p.work, fmt.Sprintf("%d.go", i))
			if err := os.WriteFile(to, s.render(byID), 0o600); err != nil {
				return err
			}
			overlay[s.path] = to
		}
		to := filepath.Join(p.work, "helpers.go")
		text := fmt.Sprintf(helpers, p.sources[0].ast.Name.Name, len(p.mutants)+1) + operators()
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return err
		}
		overlay[filepath.Join(p.dir, "zz_mutate.go")] = to
		file, err := json.Marshal(map[string]any{"Replace": overlay})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(p.work, "overlay.json"), file, 0o600); err != nil {
			return err
		}
		cmd := exec.Command("go", "test", "-c", "-vet=off", "-gcflags=-e", "-overlay", filepath.Join(p.work, "overlay.json"), "-o", filepath.Join(p.work, "tests"), ".") //nolint:gosec // our own
		cmd.Dir = p.dir
		out, err := cmd.CombinedOutput()
		if err == nil {
			return nil
		}
		if !p.drop(string(out)) {
			return fmt.Errorf("the mutants don't compile: %w\n%s", err, out)
		}
	}
	return errors.New("the mutants don't compile")
}

var place = regexp.MustCompile(`(?m)([^\s:]+\.go):(\d+):(\d+): .*`)

// drop takes out the mutants of the lines that don't compile. No edit adds a line, so the numbers are those of the source.
func (p *pkg) drop(output string) bool {
	found := false
	for _, m := range place.FindAllStringSubmatch(output, -1) {
		line, _ := strconv.Atoi(m[2])
		for i, s := range p.sources {
			if filepath.Base(m[1]) != fmt.Sprintf("%d.go", i) && filepath.Base(m[1]) != filepath.Base(s.path) {
				continue
			}
			for _, it := range p.mutants {
				if it.pos.Filename == s.path && it.pos.Line == line && !it.dropped {
					it.dropped, found = true, true
				}
			}
			for k, w := range s.swaps { // their functions are gone
				if p.lineOf(s, w.from) == line {
					s.swaps[k].text = string(s.text[w.from:w.to])
				}
			}
			if found {
				fmt.Printf("%s:%d: left out, it doesn't compile: %s\n", filepath.Base(s.path), line, m[0])
			}
		}
	}
	return found
}

func (p *pkg) lineOf(s *source, offset int) int {
	return 1 + bytes.Count(s.text[:offset], []byte("\n"))
}

// test runs tests with a mutant; it reports whether all passed.
func (p *pkg) test(pattern, id, record string, atMost time.Duration) (string, error) {
	// A mutant may allocate without end: the limit is on its address space.
	cmd := exec.Command("sh", "-c", `ulimit -v 6000000; exec "$0" "$@"`, filepath.Join(p.work, "tests"), //nolint:gosec // our own
		"-test.run", pattern, "-test.failfast", "-test.timeout", atMost.String())
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "MUTANT="+id, "MUTANT_RECORD="+record, "GOMAXPROCS=1")
	cmd.WaitDelay = time.Second
	timer := time.AfterFunc(atMost+5*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// record runs each test alone, to see which mutants it reaches and how long it takes.
func (p *pkg) record(pattern string) error {
	cmd := exec.Command(filepath.Join(p.work, "tests"), "-test.list", pattern) //nolint:gosec // our own
	cmd.Dir = p.dir
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	names := strings.Fields(string(out))
	fmt.Fprintf(os.Stderr, "%d mutants; each of %d tests runs alone first\n", len(p.mutants), len(names))
	for _, name := range names {
		if strings.HasPrefix(name, "Benchmark") {
			continue
		}
		file := filepath.Join(p.work, "record")
		_ = os.Remove(file)
		began := time.Now()
		if out, err := p.test("^"+name+"$", "0", file, 2*time.Minute); err != nil {
			fmt.Printf("%s fails without a mutant and isn't used: %.200s\n", name, out)
			continue
		}
		index := len(p.tests)
		p.tests = append(p.tests, test{name, time.Since(began)})
		f, err := os.Open(file) //nolint:gosec // our own
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if id, _ := strconv.Atoi(lines.Text()); id > 0 && id <= len(p.mutants) {
				p.mutants[id-1].tests = append(p.mutants[id-1].tests, index)
			}
		}
		_ = f.Close()
	}
	return nil
}

// quick is how long a test takes at most that runs before the others; a few of the quickest run before these.
const (
	quick = 300 * time.Millisecond
	few   = 8
)

// kill returns the test that noticed the mutant, "" if none did.
func (p *pkg) kill(m *mutant) string {
	inOrder := slices.SortedFunc(slices.Values(m.tests), func(a, b int) int { return cmp.Compare(p.tests[a].took, p.tests[b].took) })
	var groups [3][]int
	for n, i := range inOrder {
		switch {
		case p.tests[i].took > quick:
			groups[2] = append(groups[2], i)
		case n >= few:
			groups[1] = append(groups[1], i)
		default:
			groups[0] = append(groups[0], i)
		}
	}
	for _, group := range groups {
		if len(group) == 0 {
			continue
		}
		names := make([]string, len(group))
		took := 10 * time.Second
		for i, t := range group {
			names[i] = p.tests[t].name
			took += 3 * p.tests[t].took
		}
		out, err := p.test("^("+strings.Join(names, "|")+")$", strconv.Itoa(m.id), "", min(took, time.Minute))
		if err != nil {
			if found := failing.FindStringSubmatch(out); found != nil {
				return found[1]
			}
			if strings.Contains(out, "test timed out") || !strings.Contains(out, "panic") && !strings.Contains(out, "fatal error") {
				return "the time limit"
			}
			return "a panic"
		}
	}
	return ""
}

var failing = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

func (p *pkg) judge(only string, every int, explained string, verbose bool) (failed bool) {
	ids := strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	began := time.Now()
	var killed, survived, known, tried int
	said := began
	for i, m := range p.mutants {
		if time.Since(said) > 30*time.Second {
			said = time.Now()
			fmt.Fprintf(os.Stderr, "at mutant %d of %d: %d killed, %d survived\n", i, len(p.mutants), killed, survived)
		}
		if m.dropped || m.id%every != 0 || len(ids) > 0 && !slices.Contains(ids, strconv.Itoa(m.id)) {
			continue
		}
		tried++
		file, _ := filepath.Rel(p.root, m.pos.Filename)
		by := p.kill(m)
		key := "`" + strings.ReplaceAll(m.where+": "+m.change, "|", `\|`) + "`"
		text := fmt.Sprintf("%s:%d %s [%d]", file, m.pos.Line, key, m.id)
		switch {
		case by != "":
			killed++
			if verbose {
				fmt.Printf("killed %s by %s\n", text, by)
			}
			continue
		case strings.Contains(explained, key):
			known++
			if verbose {
				fmt.Printf("known %s\n", text)
			}
		case len(m.tests) == 0:
			survived++
			fmt.Printf("NOT REACHED %s\n", text)
		default:
			survived++
			fmt.Printf("SURVIVED %s\n", text)
		}
	}
	fmt.Printf("%d mutants: %d killed, %d explained, %d survived; %d tests, %v\n", tried, killed, known, survived, len(p.tests), time.Since(began).Round(time.Second))
	return survived > 0
}
