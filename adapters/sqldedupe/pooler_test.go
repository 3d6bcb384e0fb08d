package sqldedupe_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/internal/freeport"
)

// pgbouncer starts a PgBouncer in transaction mode before the tests' PostgreSQL, and returns its address.
func pgbouncer(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		if _, err = os.Stat("/usr/sbin/pgbouncer"); err != nil {
			if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
				t.Fatal("PgBouncer is needed")
			}
			t.Skip("sqldedupe: no PgBouncer in the PATH")
		}
		path = "/usr/sbin/pgbouncer"
	}
	host, port, err := net.SplitHostPort(postgresAddress())
	require.NoError(t, err)
	address, err := freeport.Address()
	require.NoError(t, err)
	_, listen, err := net.SplitHostPort(address)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	config := filepath.Join(dir, "pgbouncer.ini")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `[databases]
test = host=%s port=%s dbname=test user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
ignore_startup_parameters = extra_float_digits
`, host, port, listen), 0o644))
	args := []string{config}
	if os.Getuid() == 0 {
		args = []string{"-u", "nobody", config}
		for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
			require.NoError(t, os.Chmod(up, 0o755))
		}
	}
	cmd := exec.Command(path, args...)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, patience, 20*time.Millisecond, "PgBouncer doesn't start")
	return address
}

func TestAPoolerThatBreaksPreparedStatementsIsFoundAtStart(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.Postgres)
	d.ready(t)
	address := pgbouncer(t)
	behind := strings.Replace(d.source, postgresAddress(), address, 1)
	for mode, works := range map[string]bool{
		"": false, "cache_statement": false, "exec": true, "simple_protocol": true, "cache_describe": true,
	} {
		source := behind
		if mode != "" {
			source += "&default_query_exec_mode=" + mode
		}
		deduper := d.deduper(t, connect(t, d.driver, source))
		err := deduper.EnsureSchema(t.Context())
		if !works {
			require.ErrorContains(t, err, "default_query_exec_mode=exec", mode)
			require.ErrorContains(t, err, "PgBouncer", mode)
			continue
		}
		require.NoError(t, err, mode)
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := range 20 {
					key := fmt.Sprintf("%s-%d-%d", mode, worker, i)
					claim, err := deduper.Claim(t.Context(), key, time.Minute)
					if assert.NoError(t, err, mode) {
						assert.NoError(t, deduper.Complete(t.Context(), key, claim.Token), mode)
					}
				}
			})
		}
		wg.Wait()
	}
}
