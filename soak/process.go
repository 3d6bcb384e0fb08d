package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is one of ours, or a server, that can be killed and started again. It dies with this one.
type process struct {
	name    string
	logPath string
	command func() *exec.Cmd

	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan struct{}
	wanted bool // to end
	died   []string
}

// spawn starts a process that end will kill.
func (r *round) spawn(name string, command func() *exec.Cmd) (*process, error) {
	p := &process{name: name, logPath: filepath.Join(r.dir, name+".log"), command: command}
	r.processes = append(r.processes, p)
	return p, p.start()
}

// spawnRole starts this program again, in a role.
func (r *round) spawnRole(name string, c role) (*process, error) {
	command, err := roleCommand(c)
	if err != nil {
		return nil, err
	}
	return r.spawn(name, command)
}

func roleCommand(c role) (func() *exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return func() *exec.Cmd {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), roleEnv+"="+string(text))
		return cmd
	}, nil
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := p.command()
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.cmd, p.ended, p.wanted = cmd, ended, false
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.wanted {
			p.died = append(p.died, fmt.Sprint(err))
		}
		close(ended)
	}()
	return nil
}

// signal sends sig, which is meant to end the process or not, to it and to its children.
func (p *process) signal(sig syscall.Signal, ends bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	select {
	case <-p.ended:
		return
	default:
	}
	p.wanted = p.wanted || ends
	pids := []int{p.cmd.Process.Pid}
	if sig == syscall.SIGKILL { // PostgreSQL mustn't make another child between the look and the kill
		_ = syscall.Kill(pids[0], syscall.SIGSTOP)
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if state, _ := stat(pids[0]); state == "T" || state == "Z" || state == "" {
				break
			}
		}
	}
	if sig == syscall.SIGKILL || sig == syscall.SIGSTOP || sig == syscall.SIGCONT {
		pids = append(pids, children(pids[0])...) // PostgreSQL's
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig)
	}
}

// kill is SIGKILL. It returns when the process is gone.
func (p *process) kill() { p.stop(syscall.SIGKILL) }

// killAll is kill for a process with children, and returns when these are gone as well: they hold what the next one needs.
func (p *process) killAll() {
	p.signal(syscall.SIGSTOP, false)
	_ = until(context.Background(), patience, func(context.Context) error {
		if !p.isStopped() {
			return fmt.Errorf("%s doesn't stop", p.name)
		}
		return nil
	})
	p.mu.Lock()
	pids := children(p.cmd.Process.Pid)
	p.mu.Unlock()
	p.kill()
	_ = until(context.Background(), patience, func(context.Context) error {
		for _, pid := range pids {
			if state, _ := stat(pid); state != "" && state != "Z" {
				return fmt.Errorf("%d is still there", pid)
			}
		}
		return nil
	})
}

// stop sends sig and waits for the end.
func (p *process) stop(sig syscall.Signal) {
	p.signal(sig, true)
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended == nil {
		return
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		p.signal(syscall.SIGKILL, true)
		<-ended
	}
}

// deaths says how the process ended when nobody had asked it to.
func (p *process) deaths() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.died)
}

// logged counts the lines of the log that hold text.
func (p *process) logged(text string) int {
	log, err := os.ReadFile(p.logPath)
	if err != nil {
		return 0
	}
	n := 0
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, []byte(text)) {
			n++
		}
	}
	return n
}

// memory returns the bytes that the process holds of the machine's memory.
func (p *process) memory() int64 {
	p.mu.Lock()
	pid := p.cmd.Process.Pid
	p.mu.Unlock()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// isStopped reports whether SIGSTOP has reached the process.
func (p *process) isStopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	state, _ := stat(p.cmd.Process.Pid)
	return state == "T"
}

func children(parent int) (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if _, ppid := stat(pid); ppid == parent {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// stat returns a process's state and its parent.
func stat(pid int) (state string, parent int) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // the name before may hold anything
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

// killAtRandom kills the process and starts it again until ctx ends, and returns how often.
func (p *process) killAtRandom(ctx context.Context, perSecond float64, random *rand.Rand, kill func(*process)) (kills int, err error) {
	for {
		wait := time.Duration(random.ExpFloat64() / perSecond * float64(time.Second))
		if sleep(ctx, wait) != nil {
			return kills, nil
		}
		kill(p)
		kills++
		_ = sleep(ctx, time.Duration(random.Int64N(int64(100*time.Millisecond))))
		if err := p.start(); err != nil {
			return kills, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// until asks again and again, and returns the last error if ok hasn't been nil within the time.
func until(ctx context.Context, within time.Duration, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		if sleep(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("not within %s: %w", within, err)
		}
	}
}
