// Calculator says how much of everything a number of deliveries a second takes, from costs that were measured:
//
//	go -C benchmarks run ./calculator -rate 1000
//
// It is arithmetic, and no promise: docs/scaling.md says where each number comes from.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

func main() {
	load := usual(0)
	flag.Float64Var(&load.rate, "rate", 1000, "deliveries a second, at the peak")
	flag.Float64Var(&load.body, "body", load.body, "bytes of a body")
	flag.Float64Var(&load.busy, "busy", load.busy, "how busy a machine may be at the peak, from 0 to 1")
	flag.Float64Var(&load.cores, "cores", load.cores, "cores of a machine")
	flag.DurationVar(&load.remember, "remember", load.remember, "how long an event is remembered, against duplicates")
	flag.DurationVar(&load.outage, "outage", load.outage, "how long the workers may be away")
	costs := flag.Bool("costs", false, "print the measured costs, and how to measure them anew")
	flag.Parse()
	if *costs {
		fmt.Print(costTable())
		return
	}
	if err := load.check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	fmt.Print(answer(load))
}

// A cost was measured on two cores (AMD EPYC) with bodies of 600 bytes.
type cost struct {
	symbol  string
	value   float64
	unit    string
	what    string
	command string
}

// The commands are run in benchmarks/ or in the module that they name. A test compares those of -growth with its points.
var (
	receive      = cost{"receive", 50, "µs of CPU", "a delivery over HTTP/1.1, with the memory deduper, its sender included", "-growth -only at-once"}
	publish      = cost{"publish", 150, "µs of CPU", "a publish to JetStream, the server's part included", "-growth -only backlog"}
	consume      = cost{"consume", 77, "µs of CPU", "an event from JetStream to a function that does nothing, the server's part included", "-growth -only backlog"}
	streamBytes  = cost{"stream bytes", 900, "bytes on disk", "an event in JetStream", "-growth -only backlog"}
	windowBytes  = cost{"window bytes", 155, "bytes of memory", "an event within JetStream's duplicate window (1 h)", "-growth -only backlog"}
	streamRate   = cost{"stream rate", 910, "events a second", "one stream, fsync before each acknowledgement, 16 publishing at once", "-growth -only backlog"}
	take         = cost{"take", 83, "µs of CPU", "riverinbox takes an event: the receiver's part", "-growth -only backlog"}
	takeServer   = cost{"take server", 340, "µs of CPU", "PostgreSQL's part", "-growth -only backlog"}
	work         = cost{"work", 140, "µs of CPU", "River works an event off: the worker's part", "-growth -only backlog"}
	workServer   = cost{"work server", 100, "µs of CPU", "PostgreSQL's part", "-growth -only backlog"}
	jobBytes     = cost{"job bytes", 1700, "bytes on disk", "an event in PostgreSQL: River's job, and the record against duplicates", "-growth -only backlog"}
	redisTrips   = cost{"redis trips", 2, "round trips", "redisdedupe: claim and complete", "go test -run RoundTrips (adapters/redisdedupe)"}
	redisBytes   = cost{"redis bytes", 200, "bytes of memory", "an event in Redis", "go test -run MuchMemory (adapters/redisdedupe)"}
	headerBytes  = cost{"header bytes", 1000, "bytes", "assumed: the headers and TLS around a body", "—"}
	redisRate    = cost{"redis rate", 100_000, "round trips a second", "assumed: one Redis, on a core of its own; measure yours with redis-benchmark", "—"}
	redisMemory  = cost{"redis memory", 32e9, "bytes", "assumed: a Redis that can still be copied to a replica in minutes", "—"}
	databaseSize = cost{"database cores", 32, "cores", "assumed: a large PostgreSQL; one has one write-ahead log", "—"}
)

var costs = []cost{
	receive, publish, consume, streamBytes, windowBytes, streamRate, take, takeServer, work, workServer, jobBytes, redisTrips, redisBytes,
	headerBytes, redisRate, redisMemory, databaseSize,
}

// A load is what is asked.
type load struct {
	rate, body, busy, cores float64
	remember, outage        time.Duration
}

func usual(rate float64) load {
	return load{rate: rate, body: 600, busy: 0.5, cores: 4, remember: 24 * time.Hour, outage: 4 * time.Hour}
}

func (l load) check() error {
	if l.rate <= 0 || l.body < 0 || l.cores <= 0 || l.busy <= 0 || l.busy > 1 || l.remember <= 0 || l.outage <= 0 {
		return fmt.Errorf("calculator: every number must be more than 0, and -busy at most 1: %+v", l)
	}
	return nil
}

const window = time.Hour // JetStream's DuplicateWindow

// A need is one line of the answer. Its formula is the text of what its function computes.
type need struct {
	part, what, formula string
	amount              func(l load) string
}

// more is what a body over the measured 600 bytes adds.
func (l load) more() float64 { return l.body - 600 }

// coresFor so many microseconds for each delivery.
func (l load) coresFor(us float64) float64 { return l.rate * us / 1e6 / l.busy }

func (l load) machines(cores float64) float64 { return math.Ceil(cores / l.cores) }

func (l load) redisBytes() float64 { return l.rate * l.remember.Seconds() * redisBytes.value }

var needs = []need{
	{"any", "traffic in", "rate × (body + header bytes)", func(l load) string {
		return bytesOf(l.rate*(l.body+headerBytes.value)) + "/s"
	}},
	{"receivers", "machines", "rate × receive ÷ busy ÷ cores, at least 2", func(l load) string {
		return count(max(2, l.machines(l.coresFor(receive.value))))
	}},
	{"Redis", "round trips", "rate × redis trips", func(l load) string { return count(l.rate*redisTrips.value) + " a second" }},
	{"Redis", "memory", "rate × remember × redis bytes", func(l load) string { return bytesOf(l.redisBytes()) }},
	{"Redis", "primaries", "the larger of: rate × redis trips ÷ redis rate ÷ busy; memory ÷ redis memory", func(l load) string {
		return count(math.Ceil(max(l.rate*redisTrips.value/redisRate.value/l.busy, l.redisBytes()/redisMemory.value)))
	}},
	{"JetStream", "streams", "rate ÷ stream rate ÷ busy", func(l load) string { return count(math.Ceil(l.rate / streamRate.value / l.busy)) }},
	{"JetStream", "cores of receivers, servers and workers", "rate × (publish + consume) ÷ busy", func(l load) string {
		return count(math.Ceil(l.coresFor(publish.value + consume.value)))
	}},
	{"JetStream", "memory of each replica", "rate × 1 h × window bytes", func(l load) string { return bytesOf(l.rate * window.Seconds() * windowBytes.value) }},
	{"JetStream", "disk of each replica", "rate × outage × (stream bytes + body − 600)", func(l load) string {
		return bytesOf(l.rate * l.outage.Seconds() * (streamBytes.value + l.more()))
	}},
	{"riverinbox", "cores of receivers and workers", "rate × (receive + take + work) ÷ busy", func(l load) string {
		return count(math.Ceil(l.coresFor(receive.value + take.value + work.value)))
	}},
	{"riverinbox", "cores of PostgreSQL", "rate × (take server + work server) ÷ busy", func(l load) string {
		return count(math.Ceil(l.coresFor(takeServer.value + workServer.value)))
	}},
	{"riverinbox", "databases", "cores of PostgreSQL ÷ database cores", func(l load) string {
		return count(math.Ceil(l.coresFor(takeServer.value+workServer.value) / databaseSize.value))
	}},
	{"riverinbox", "disk", "rate × remember × (job bytes + 4/3 × (body − 600))", func(l load) string {
		return bytesOf(l.rate * l.remember.Seconds() * (jobBytes.value + l.more()*4/3))
	}},
}

// answer is a Markdown table.
func answer(l load) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s deliveries a second, bodies of %s bytes, machines of %s cores that are busy at most %.0f %%, remembered for %s, workers away for %s:\n\n",
		count(l.rate), count(l.body), count(l.cores), l.busy*100, hours(l.remember), hours(l.outage))
	b.WriteString("| | | | formula |\n|---|---|--:|---|\n")
	part := ""
	for _, n := range needs {
		shown := n.part
		if shown == part {
			shown = ""
		}
		part = n.part
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", shown, n.what, n.amount(l), n.formula)
	}
	return b.String()
}

func costTable() string {
	var b strings.Builder
	b.WriteString("| | | | measured with |\n|---|--:|---|---|\n")
	for _, c := range costs {
		command := c.command
		switch {
		case strings.HasPrefix(command, "-growth"):
			command = "`go -C benchmarks run . " + command + "`"
		case command != "—":
			command = "`" + command + "`"
		}
		fmt.Fprintf(&b, "| %s | %s %s | %s | %s |\n", c.symbol, count(c.value), c.unit, c.what, command)
	}
	return b.String()
}

// count writes 1234567 as 1,234,567.
func count(f float64) string {
	digits := fmt.Sprintf("%.0f", f)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

func bytesOf(f float64) string {
	for _, unit := range []struct {
		of   float64
		name string
	}{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}} {
		if f >= unit.of {
			return fmt.Sprintf("%.3g %s", f/unit.of, unit.name)
		}
	}
	return fmt.Sprintf("%.3g kB", f/1e3)
}

func hours(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return d.String()
}
