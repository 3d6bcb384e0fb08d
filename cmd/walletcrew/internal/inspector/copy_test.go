package inspector

import (
	"context"
	"encoding/json"
	"go/parser"
	"go/token"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// Texts that a sender may choose so that whoever pastes the command runs it.
var hostile = []string{
	`{"__id":"a"}`, `it's`, `'; touch canary; '`, `\'; touch canary; \'`, "`touch canary`", "$(touch canary)", `"; touch canary; "`, `\\`, `\`,
	"a\ntouch canary\n", "a\r\ntouch canary\r\n", "!!", "!touch", "@/etc/passwd", "", " ", "\x00\x01", "\x1b[201~touch canary\n", "-X DELETE",
	"%s%n", "é ü 漢字 😀", "\u202etxt", "\xff\xfe", "\u00a0", "#", "a\tb", "~", "{a,b}", "[1-3]", "*", "&& touch canary", "| touch canary", "> canary",
}

type received struct {
	method string
	header http.Header
	body   []byte
}

func TestTheCurlCommandSendsWhatCame(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		missing(t, "curl")
	}
	got := make(chan received, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{r.Method, r.Header, body}
	}))
	t.Cleanup(server.Close)
	o := open(t, Options{})
	directory := t.TempDir()
	bodies := append([]string(nil), hostile...)
	bodies = append(bodies, strings.Repeat("a", 300<<10), strings.Repeat("a'", 150<<10))
	random := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		var b strings.Builder
		for range random.IntN(12) {
			b.WriteString(hostile[random.IntN(len(hostile))])
		}
		bodies = append(bodies, b.String())
	}
	shells := []string{"sh"}
	for _, shell := range []string{"bash", "zsh", "dash"} {
		if _, err := exec.LookPath(shell); err == nil {
			shells = append(shells, shell)
		}
	}
	for n, body := range bodies {
		r := delivery("Pass:Created", body)
		r.ForwardURL = server.URL + "/a'b;c$(touch canary)?x=`y`&z={1,2}"
		if n%2 == 1 {
			r.Header.Set("X-Hostile", hostile[n%len(hostile)])
			r.Header.Set("X-Empty", "")
			r.Header.Set("X-Plain", "a value, with = and \"quotes\"")
			r.Header.Del("Content-Type")
		}
		o.store.Add(r)
		command := o.curl(o.store.get(r.ID), r.ForwardURL)
		assertHarmless(t, command)
		run := exec.CommandContext(t.Context(), shells[n%len(shells)], "-s")
		run.Stdin = strings.NewReader(command)
		run.Dir = directory
		out, err := run.CombinedOutput()
		require.NoError(t, err, "%.200q: %s", body, out)
		request := <-got
		assert.Equal(t, http.MethodPost, request.method)
		require.Equal(t, body, string(request.body), "the bytes are those that came")
		assert.Equal(t, r.Header.Get(walletcrew.HeaderSignature), request.header.Get(walletcrew.HeaderSignature))
		assert.Equal(t, r.Header.Get("Content-Type"), request.header.Get("Content-Type"))
		assert.Equal(t, r.Header.Get("X-Plain"), request.header.Get("X-Plain"))
		assert.NotContains(t, command, string(testSecret))
	}
	files, err := os.ReadDir(directory)
	require.NoError(t, err)
	assert.Empty(t, files, "nothing of a delivery was run")
}

// assertHarmless: outside its single quotes the command is of a few known words, and inside there is nothing that a shell or a
// terminal takes for anything else.
func assertHarmless(t *testing.T, command string) {
	t.Helper()
	for _, c := range command {
		if c != '\n' && !unicode.IsPrint(c) {
			t.Fatalf("%q stands in %q", c, command)
		}
	}
	for n, part := range strings.Split(command, "'") {
		if n%2 == 0 {
			assert.Regexp(t, `^( |\\\n|\n|\||curl|printf|%s|base64 -d|-sS|-i|-X POST|--globoff|-H|--data-raw|--data-binary @-)*$`, part)
		} else {
			assert.NotContains(t, part, `\`)
			assert.NotContains(t, part, "!")
		}
	}
}

func TestTheCurlCommandIsReadableIfItCanBe(t *testing.T) {
	t.Parallel()
	o := open(t, Options{ForwardTo: serviceURL})
	r := delivery("Pass:Created", `{"__id":"one","name":"Zoë"}`)
	r.ForwardURL = ""
	o.store.Add(r)
	var answer map[string]string
	require.NoError(t, json.Unmarshal([]byte(bodyOf(t, o.request(t, http.MethodGet, "/api/records/"+r.ID+"/curl", "", nil))), &answer))
	assert.Equal(t, `curl -sS -i -X POST --globoff 'http://localhost:8080/webhooks' \
  -H 'Content-Type: application/json' \
  -H 'User-Agent: Go-http-client/1.1' \
  -H 'X-Neostore-Eventname: Pass:Created' \
  -H 'X-Neostore-Signature: `+walletcrew.Sign(testSecret, r.Body)+`' \
  -H 'X-Neostore-Tenantid: acme' \
  --data-raw '{"__id":"one","name":"Zoë"}'
`, answer["text"])
}

func TestTheGoTestIsGo(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	for _, text := range append(hostile, "*/ import \"os/exec\" /*", "`+os.Getenv(\"A\")+`", `"+panic(1)+"`) {
		r := delivery(text, text)
		r.Tenant = text
		o.store.Add(r)
		source := o.goTest(o.store.get(r.ID))
		file, err := parser.ParseFile(token.NewFileSet(), "x_test.go", source, parser.ParseComments)
		require.NoError(t, err, source)
		assert.Len(t, file.Decls, 2, "the imports and one function, whatever the delivery says: %s", source)
		assert.Len(t, file.Imports, 4)
		assert.Len(t, file.Comments, 3)
		assert.NotContains(t, source, string(testSecret))
	}
}

const ownReceiver = `package main

import (
	"io"
	"net/http"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

func newReceiver(secret walletcrew.Secret) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if walletcrew.VerifySignature(body, r.Header.Get(walletcrew.HeaderSignature), secret) != nil || len(body) != LENGTH {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
}
`

func TestTheGoTestRuns(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("go"); err != nil {
		missing(t, "the go command")
	}
	root, err := filepath.Abs("../../../..")
	require.NoError(t, err)
	o := open(t, Options{})
	body := `{"__id":"one","a":"` + strings.Join(hostile, "") + `"}`
	r := delivery("Pass:Created", body)
	o.store.Add(r)

	directory := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600))
	}
	module, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	write("go.mod", strings.Replace(string(module), "module github.com/thewalletcrew/walletcrew-go\n",
		"module example.com/receiver\n\nreplace github.com/thewalletcrew/walletcrew-go => "+root+"\n\nrequire github.com/thewalletcrew/walletcrew-go v0.0.0\n", 1))
	write("go.sum", string(sums))
	length, err := json.Marshal(len(body))
	require.NoError(t, err)
	write("receiver.go", strings.Replace(ownReceiver, "LENGTH", string(length), 1)+"\nfunc main() {}\n")
	write("receiver_test.go", o.goTest(o.store.get(r.ID)))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, "go", "test", "-vet=all", ".")
	run.Dir = directory
	run.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	out, err := run.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
