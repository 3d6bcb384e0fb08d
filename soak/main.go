// Command soak runs the adapters for long and against all odds: processes are killed, stopped and continued, servers go away and
// come back, and at the end it is counted what was lost and what was done twice. See the README.
//
//	go run . -scenario crash -rounds 20
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	scenarios, kill, servers, ways []string
	rounds, events                 int
	killsPerSecond, rate           float64
	outage, timeout                time.Duration
	seed                           uint64
	nats, postgres, redis, dir     string
	fence, broken                  bool
	out                            io.Writer
}

var (
	allScenarios = []string{"crash", "replicas", "outage", "river"}
	allServers   = []string{"redis", "postgres", "nats", "embedded"}
	allWays      = []string{"stopped", "killed", "hung"}
	killable     = []string{"receiver", "worker", "stream"}
)

func main() {
	if text := os.Getenv(roleEnv); text != "" {
		os.Exit(play(text))
	}
	o := options{out: os.Stdout, fence: true}
	scenarios := flag.String("scenario", "all", "what to run, with commas between: crash, replicas, outage, river")
	short := flag.Bool("short", false, "one small round of each, within a minute; other flags change it")
	flag.IntVar(&o.rounds, "rounds", 1, "how often")
	flag.IntVar(&o.events, "events", 0, "events a round; 0: 20,000 for crash and river, 50,000 for replicas")
	flag.Float64Var(&o.killsPerSecond, "kills-per-second", 1, "crash, river: how often each process is killed, on average (PostgreSQL, in river: a fifth of that)")
	kill := flag.String("kill", "receiver,worker", "crash: which processes are killed; also: stream")
	flag.StringVar(&o.nats, "nats", "", "crash: the `URL` of a NATS server; empty: the embedded one, as a process of its own")
	flag.StringVar(&o.postgres, "postgres", "postgres://postgres@"+env("WALLETCREW_TEST_POSTGRES", "127.0.0.1:5432")+"/test?sslmode=disable", "crash: the database's `URL`")
	flag.StringVar(&o.redis, "redis", env("WALLETCREW_TEST_REDIS", "127.0.0.1:6379"), "replicas: the server's `address`")
	servers := flag.String("servers", "all", "outage: which servers fail: redis, postgres, nats (from PATH), embedded (the same in Go)")
	ways := flag.String("ways", "all", "outage: how: stopped (in order), killed (SIGKILL), hung (SIGSTOP)")
	flag.DurationVar(&o.outage, "outage", 10*time.Second, "outage: how long a server is away")
	flag.Float64Var(&o.rate, "rate", 300, "outage: events a second")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Minute, "of a round")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64N(1e6), "of what is random; what the processes make of it differs from run to run") //nolint:gosec // not a secret
	flag.StringVar(&o.dir, "dir", "", "`directory` for the servers' data and the processes' logs; empty: a temporary one")
	flag.BoolVar(&o.broken, "broken", false, "take away what protects (InTx in crash and river, the deduper in replicas), to see that it is noticed")
	flag.Parse()
	if *short {
		shorten()
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	for _, list := range []struct {
		name, text string
		all        []string
		into       *[]string
	}{
		{"scenario", *scenarios, allScenarios, &o.scenarios},
		{"servers", *servers, allServers, &o.servers},
		{"ways", *ways, allWays, &o.ways},
		{"kill", *kill, killable, &o.kill},
	} {
		if *list.into, err = choose(list.text, list.all); err != nil {
			fmt.Fprintf(os.Stderr, "soak: -%s: %v\n", list.name, err)
			os.Exit(2)
		}
	}
	ok := o.run(ctx)
	stop()
	if !ok {
		os.Exit(1)
	}
}

// shorten sets what isn't set to what .ci/run runs.
func shorten() {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{"events": "2000", "kills-per-second": "2", "servers": "redis,postgres,nats", "ways": "killed",
		"outage": "1500ms", "rate": "200", "timeout": "5m"} {
		if !given[name] {
			_ = flag.Set(name, value) // all of them are flags
		}
	}
}

func choose(text string, all []string) ([]string, error) {
	if text == "all" {
		return all, nil
	}
	chosen := strings.Split(text, ",")
	for _, c := range chosen {
		if !slices.Contains(all, c) {
			return nil, fmt.Errorf("%q is none of %s", c, strings.Join(all, ", "))
		}
	}
	return chosen, nil
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// A skipped says why something can't be run here. That is a failure where all servers are required.
type skipped struct{ reason string }

func (s skipped) Error() string { return "skipped: " + s.reason }

// run runs all that was asked for, and reports whether nothing was wrong.
func (o *options) run(ctx context.Context) bool {
	fmt.Fprintf(o.out, "seed %d\n", o.seed)
	ok := true
	for round := 1; round <= o.rounds; round++ {
		for _, scenario := range o.scenarios {
			if ctx.Err() != nil {
				return false
			}
			parts := []string{""}
			if scenario == "outage" {
				parts = o.servers
			}
			for _, part := range parts {
				ok = o.one(ctx, round, scenario, part) && ok
			}
		}
	}
	return ok
}

func (o *options) one(ctx context.Context, round int, scenario, part string) bool {
	r, err := o.newRound(round, strings.TrimSuffix(scenario+"-"+part, "-"))
	if err != nil {
		fmt.Fprintln(o.out, err)
		return false
	}
	limit := o.timeout
	if scenario == "outage" {
		limit += time.Duration(len(o.ways)) * o.outage
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	switch scenario {
	case "crash":
		err = r.crash(ctx)
	case "replicas":
		err = r.replicas(ctx)
	case "outage":
		err = r.outage(ctx, part)
	case "river":
		err = r.river(ctx)
	}
	return r.end(err)
}

// A round is one run of a scenario: its processes, its randomness, and what went wrong in it.
type round struct {
	*options
	number    int
	name      string
	dir       string
	began     time.Time
	random    *rand.Rand
	processes []*process
	problems  []string
}

func (o *options) newRound(number int, name string) (*round, error) {
	dir, err := os.MkdirTemp(o.dir, "soak-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // PostgreSQL's user has to get through
		return nil, err
	}
	var stream uint64 // of random numbers: each round and scenario has its own
	for _, c := range []byte(name) {
		stream = stream*31 + uint64(c)
	}
	random := rand.New(rand.NewPCG(o.seed, stream+uint64(number))) //nolint:gosec // not a secret, and -seed repeats it
	return &round{options: o, number: number, name: name, dir: dir, began: time.Now(), random: random}, nil
}

func (r *round) say(format string, args ...any) {
	fmt.Fprintf(r.out, "%s %d: %s\n", r.name, r.number, fmt.Sprintf(format, args...))
}

// wrong notes a problem.
func (r *round) wrong(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// end ends the processes, tells what was wrong, and removes what was written if nothing was.
func (r *round) end(err error) bool {
	for _, p := range slices.Backward(r.processes) {
		p.kill()
		for _, death := range p.deaths() {
			r.wrong("%s ended by itself: %s", p.name, death)
		}
	}
	if skip, ok := errors.AsType[skipped](err); ok {
		_ = os.RemoveAll(r.dir)
		r.say("%v", skip)
		return os.Getenv("WALLETCREW_TEST_SERVERS") != "required"
	}
	if err != nil {
		r.wrong("%v", err)
	}
	if len(r.problems) > 0 {
		r.say("FAILED: %s (logs in %s)", strings.Join(r.problems, "; "), r.dir)
		return false
	}
	_ = os.RemoveAll(r.dir)
	r.say("ok, %.1fs", time.Since(r.began).Seconds())
	return true
}
