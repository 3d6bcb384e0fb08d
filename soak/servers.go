package main

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/thewalletcrew/walletcrew-go/internal/freeport"
)

// A server is one of the round's own, that may fail.
type server struct {
	*process
	address string
	ready   func(ctx context.Context) error // nil when it does its work
	orderly syscall.Signal                  // ends it in order
}

// startServer starts a server and waits until it is ready. The error is a skipped if that can't be done on this machine.
func (r *round) startServer(ctx context.Context, name string) (*server, error) {
	address, err := freeport.Address()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(r.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	s := &server{address: address, orderly: syscall.SIGTERM}
	var command func() *exec.Cmd
	switch name {
	case "redis":
		command, err = s.redis(dir, port)
	case "nats":
		command, err = s.nats(dir, port)
	case "postgres":
		command, err = s.postgres(ctx, dir, port)
	case "embedded":
		s.ready = s.hasStream
		command, err = roleCommand(role{Name: "stream", Listen: address, Dir: dir})
	}
	if err != nil {
		return nil, err
	}
	if s.process, err = r.spawn(name, command); err != nil {
		return nil, err
	}
	return s, until(ctx, time.Minute, s.ready)
}

// redis writes each command to the disk before it answers, so that a kill loses nothing.
func (s *server) redis(dir, port string) (func() *exec.Cmd, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, skipped{"redis-server isn't in PATH"}
	}
	client := newRedis(s.address, time.Second)
	s.ready = func(ctx context.Context) error { return client.Ping(ctx).Err() }
	return func() *exec.Cmd {
		return exec.Command(program, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always") //nolint:gosec // from PATH
	}, nil
}

func (s *server) nats(dir, port string) (func() *exec.Cmd, error) {
	program, err := exec.LookPath("nats-server")
	if err != nil {
		return nil, skipped{"nats-server isn't in PATH"}
	}
	config := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("listen: %q\njetstream { store_dir: %q }\n", s.address, dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s.ready = s.hasStream
	return func() *exec.Cmd { return exec.Command(program, "-c", config) }, nil //nolint:gosec // from PATH
}

func (s *server) hasStream(ctx context.Context) error {
	log, err := openLog(ctx, role{NATS: "nats://" + s.address, Stream: "SOAK"})
	if err == nil {
		log.close(false)
	}
	return err
}

// postgres makes a cluster of databases. PostgreSQL refuses to run as root, so root runs it as the user postgres or nobody.
func (s *server) postgres(ctx context.Context, dir, port string) (func() *exec.Cmd, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	var attributes syscall.SysProcAttr
	if os.Getuid() == 0 {
		if attributes.Credential, err = unprivileged(); err != nil {
			return nil, err
		}
		if err := os.Chown(dir, int(attributes.Credential.Uid), int(attributes.Credential.Gid)); err != nil {
			return nil, skipped{err.Error()}
		}
	}
	run := func(cmd *exec.Cmd) *exec.Cmd {
		own := attributes
		cmd.SysProcAttr, cmd.Dir = &own, dir
		return cmd
	}
	data := filepath.Join(dir, "data")
	initdb := run(exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")) //nolint:gosec // PostgreSQL's own
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, skipped{fmt.Sprintf("initdb can't be used: %v: %s", err, strings.TrimSpace(string(out)))}
	}
	db, err := sql.Open("pgx", s.url())
	if err != nil {
		return nil, err
	}
	s.ready = db.PingContext
	s.orderly = syscall.SIGINT // "fast": connections are ended
	return func() *exec.Cmd {
		return run(exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")) //nolint:gosec // PostgreSQL's own
	}, nil
}

func (s *server) url() string {
	return "postgres://postgres@" + s.address + "/postgres?sslmode=disable&connect_timeout=2"
}

// postgresBin finds the newest PostgreSQL, which distributions keep out of PATH.
func postgresBin() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			found = append(found, path)
		}
	}
	for _, initdb := range slices.Backward(found) {
		bin := filepath.Dir(initdb)
		if _, err := exec.LookPath(filepath.Join(bin, "postgres")); err == nil {
			return bin, nil
		}
	}
	return "", skipped{"initdb and postgres are neither in PATH nor in /usr/lib/postgresql"}
}

func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, skipped{"PostgreSQL doesn't run as root, and there is no user postgres or nobody"}
}

// interrupt takes the server away in one of the ways, and returns when it is.
func (s *server) interrupt(ctx context.Context, way string) error {
	switch way {
	case "stopped":
		s.stop(s.orderly)
	case "killed":
		s.kill()
	case "hung":
		s.signal(syscall.SIGSTOP, false)
		return until(ctx, patience, func(context.Context) error {
			if !s.isStopped() {
				return fmt.Errorf("%s: SIGSTOP has no effect", s.name)
			}
			return nil
		})
	}
	return nil
}

// bring brings the server back.
func (s *server) bring(way string) error {
	if way == "hung" {
		s.signal(syscall.SIGCONT, false)
		return nil
	}
	return s.start()
}
