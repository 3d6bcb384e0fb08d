// Package pgbouncer starts the pooler for tests, in transaction mode, in which it breaks what drivers keep on a connection.
package pgbouncer

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/thewalletcrew/walletcrew-go/internal/freeport"
)

// Start starts a PgBouncer before the database "test" of the PostgreSQL at this address, and returns its own. It skips the test where there is none,
// unless servers are required.
func Start(t *testing.T, postgres string) (address string) {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		path = "/usr/sbin/pgbouncer" // which isn't in everybody's PATH
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
			t.Fatal("PgBouncer is needed")
		}
		t.Skip("there is no PgBouncer in the PATH")
	}
	host, port, err := net.SplitHostPort(postgres)
	must(t, err)
	address, err = freeport.Address()
	must(t, err)
	_, listen, err := net.SplitHostPort(address)
	must(t, err)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777)) //nolint:gosec // for PgBouncer's own user
	config := filepath.Join(dir, "pgbouncer.ini")
	content := fmt.Appendf(nil, `[databases]
test = host=%s port=%s dbname=test user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
ignore_startup_parameters = extra_float_digits
`, host, port, listen)
	must(t, os.WriteFile(config, content, 0o644)) //nolint:gosec // likewise
	args := []string{config}
	if os.Getuid() == 0 {
		args = []string{"-u", "nobody", config}
		for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
			must(t, os.Chmod(up, 0o755)) //nolint:gosec // likewise
		}
	}
	cmd := exec.Command(path, args...) //nolint:gosec // found above
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal("PgBouncer doesn't start: ", err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
