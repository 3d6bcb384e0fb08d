package embedded_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/internal/suite"
	"github.com/thewalletcrew/walletcrew-go/internal/freeport"
)

const helperOptions = "WALLETCREW_TEST_EMBEDDED"

// TestMain: the test's own program is the server that is killed.
func TestMain(m *testing.M) {
	if options := os.Getenv(helperOptions); options != "" {
		serve(options)
		return
	}
	os.Exit(m.Run())
}

func serve(options string) {
	var o embedded.Options
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		panic(err)
	}
	o.Logger = suite.Quiet
	server, err := embedded.Start(context.Background(), o)
	if err != nil {
		panic(err)
	}
	fmt.Println(server.URL())
	go func() { // the test's end is this process' end, however it comes
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	<-terminated
	server.Close()
}

// process is an embedded server in a process of its own.
type process struct {
	url string
	cmd *exec.Cmd
}

func startProcess(t *testing.T, o embedded.Options) *process {
	t.Helper()
	options, err := json.Marshal(map[string]any{"Dir": o.Dir, "SyncInterval": o.SyncInterval, "Listen": o.Listen, "Cluster": o.Cluster})
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperOptions+"="+string(options))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd: cmd}
	t.Cleanup(func() { p.stop(syscall.SIGKILL) })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "the server must start")
	p.url = strings.TrimSpace(line)
	return p
}

// stop ends the process and waits for it.
func (p *process) stop(signal os.Signal) {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Signal(signal)
		_ = p.cmd.Wait()
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address()
	require.NoError(t, err)
	return address
}

func start(t testing.TB, o embedded.Options) *embedded.Server {
	t.Helper()
	if o.Logger == nil {
		o.Logger = suite.Quiet
	}
	ctx, cancel := context.WithTimeout(t.Context(), suite.Patience)
	defer cancel()
	server, err := embedded.Start(ctx, o)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server
}
