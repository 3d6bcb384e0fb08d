package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// binary is the command, built: the tests run it as a user does.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "walletcrew")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		binary = filepath.Join(dir, "walletcrew")
		if runtime.GOOS == "windows" {
			binary += ".exe"
		}
		args := []string{"build", "-o", binary}
		if raceEnabled {
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "the command doesn't build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// patience is how long a test waits for what must come: long, since the machine may be busy.
const patience = 3 * time.Minute

// A user has a configuration directory and an environment of their own.
type user struct {
	t      *testing.T
	env    []string
	dir    string
	stdout *os.File // of what is started; nil: it can be waited for
}

func newUser(t *testing.T, env ...string) *user {
	t.Helper()
	u := &user{t: t, dir: t.TempDir()}
	for _, entry := range os.Environ() {
		if !slices.ContainsFunc([]string{"WALLETCREW_", "NATS_", "DATABASE_URL", "PG"}, func(own string) bool { return strings.HasPrefix(entry, own) }) {
			u.env = append(u.env, entry)
		}
	}
	u.env = append(u.env, "WALLETCREW_CONFIG_DIR="+filepath.Join(u.dir, "config"), "NO_COLOR=1")
	u.env = append(u.env, env...)
	return u
}

// with is the same user with more in the environment.
func (u *user) with(env ...string) *user {
	v := *u
	v.env = append(slices.Clone(u.env), env...)
	return &v
}

// An outcome is what a command that ended has said.
type outcome struct {
	out, err string
	code     int
}

// run runs the command to its end.
func (u *user) run(args ...string) outcome { return u.runWith("", args...) }

func (u *user) runWith(stdin string, args ...string) outcome {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = u.env
	cmd.Stdin = strings.NewReader(stdin)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	require.NoError(u.t, ctx.Err(), "walletcrew %s doesn't end:\n%s%s", strings.Join(args, " "), out.String(), stderr.String())
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(u.t, err)
	}
	return outcome{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ok runs a command that must succeed, and returns its stdout.
func (u *user) ok(args ...string) string {
	u.t.Helper()
	o := u.run(args...)
	require.Zero(u.t, o.code, "walletcrew %s: %s%s", strings.Join(args, " "), o.out, o.err)
	return o.out
}

// answer runs a command with -o json that must exit with code, checks its answer against the schema, and decodes it.
func (u *user) answer(v any, code int, schema string, args ...string) {
	u.t.Helper()
	o := u.run(append(args, "-o", "json")...)
	require.Equal(u.t, code, o.code, "walletcrew %s: %s%s", strings.Join(args, " "), o.out, o.err)
	requireSchema(u.t, schema, o.out)
	require.NoError(u.t, json.Unmarshal([]byte(o.out), v))
}

// requireSchema checks a document against schema/NAME.json.
func requireSchema(t *testing.T, name, document string) {
	t.Helper()
	compiled, err := jsonschema.NewCompiler().Compile("schema/" + name + ".json")
	require.NoError(t, err)
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	require.NoError(t, err, document)
	require.NoError(t, compiled.Validate(v), document)
}

// A process is a command that goes on running.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err *output
	ended    chan struct{}
}

// An output can be waited for.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed, and made anew, when there is more
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	text, _ := o.now()
	return text
}

func (o *output) now() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.more
}

// until waits for a text that the condition holds for.
func (o *output) until(t *testing.T, condition func(text string) bool, what string) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		text, more := o.now()
		if condition(text) {
			return text
		}
		select {
		case <-more:
		case <-timeout:
			require.Fail(t, "it never said "+what, "it said:\n%s", text)
		}
	}
}

// wait waits until the text was written, n times.
func (o *output) wait(t *testing.T, text string, n int) string {
	t.Helper()
	return o.until(t, func(all string) bool { return strings.Count(all, text) >= n }, fmt.Sprintf("%q (%d times)", text, n))
}

// start starts a command. It is killed at the end of the test, if it still runs.
func (u *user) start(args ...string) *process {
	u.t.Helper()
	p := &process{t: u.t, cmd: exec.Command(binary, args...), out: newOutput(), err: newOutput(), ended: make(chan struct{})}
	p.cmd.Env = u.env
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	if u.stdout != nil {
		p.cmd.Stdout = u.stdout
	}
	require.NoError(u.t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	u.t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// interrupt is Ctrl-C. It returns the exit code.
func (p *process) interrupt() int {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(os.Interrupt))
	return p.end()
}

func (p *process) end() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		require.Fail(p.t, "the command doesn't end", "it said:\n%s%s", p.out, p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// A devProcess is a dev that answers.
type devProcess struct {
	*process
	ready
}

// dev starts one, and waits for its ready file.
func (u *user) dev(args ...string) *devProcess {
	u.t.Helper()
	file := filepath.Join(u.t.TempDir(), "ready.json")
	d := &devProcess{process: u.start(append([]string{"dev", "--ready-file", file}, args...)...)}
	d.err.until(u.t, func(string) bool {
		text, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(text, &d.ready) == nil
	}, "that it is ready")
	return d
}

// deliveries are what dev has printed with -o json.
func (p *process) deliveries(t *testing.T, n int) []shown {
	t.Helper()
	text := p.out.wait(t, "\n", n)
	var list []shown
	for line := range strings.Lines(text) {
		if strings.HasSuffix(line, "\n") {
			requireSchema(t, "delivery", line)
			var s shown
			require.NoError(t, json.Unmarshal([]byte(line), &s))
			list = append(list, s)
		}
	}
	return list
}

// A service is what a user has: it remembers what came.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	came   []message
	status int
	header http.Header
	body   string
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{status: http.StatusNoContent}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.came = append(s.came, message{Method: r.Method, Header: r.Header.Clone(), Body: body})
	maps.Copy(w.Header(), s.header)
	w.WriteHeader(s.status)
	_, _ = io.WriteString(w, s.body)
}

func (s *service) got() []message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.came)
}

func (s *service) answers(status int) { s.says(status, nil, "") }

func (s *service) says(status int, header http.Header, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.header, s.body = status, header, body
}

// newServer is a service of another kind.
func newServer(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// newReceiver is a good receiver, made with the SDK.
func newReceiver(t *testing.T, secret walletcrew.Secret, fn receiver.HandlerFunc) *httptest.Server {
	t.Helper()
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	server := httptest.NewServer(receiver.NewHandler(v, fn, receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)), receiver.WithLogger(quiet)))
	t.Cleanup(server.Close)
	return server
}

func nothing(context.Context, *walletcrew.Event) error { return nil }

// newServiceAt is one at an address that another had.
func newServiceAt(t *testing.T, address string) *service {
	t.Helper()
	s := &service{status: http.StatusNoContent}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	require.NoError(t, err)
	s.Server = httptest.NewUnstartedServer(s)
	_ = s.Listener.Close()
	s.Listener = listener
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// secretFile is a file with a secret.
func secretFile(t *testing.T, secret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	return file
}

func (c *counter) count(_ context.Context, e *walletcrew.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[e.ID]++
	return nil
}

func (c *counter) sum() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := 0
	for _, n := range c.n {
		sum += n
	}
	return sum
}
