package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A group is what is measured in turns, so that what else the machine does falls on all alike.
type group struct {
	title    string
	subjects func() []subject
	slices   int // how many times longer its slices are; it has as many times fewer rounds
}

const (
	oneSlice   = 1
	fiveSlices = 5  // garbage is collected several times in a slice: what is allocated is paid for
	tenSlices  = 10 // each operation waits for a disk
)

const fewest = 12 // rounds, whatever their length; enough for quartiles

type subject struct {
	name    string
	prepare func(n int) // before each slice, not timed; may be nil
	run     func(n int) // n operations
	goals   []goal
}

// each makes a subject's run of one operation.
func each(op func()) func(int) {
	return func(n int) {
		for range n {
			op()
		}
	}
}

// A goal bounds the ratio to another subject of the group, or the number of allocations.
type goal struct {
	limit   float64
	against string // "": allocations
	rate    bool   // the ratio is that of operations per second, and the limit is the least
}

const none = 0 // no limit: the ratio is shown all the same

func timeOf(against string, atMost float64) goal { return goal{limit: atMost, against: against} }
func rateOf(against string, atLeast float64) goal {
	return goal{limit: atLeast, against: against, rate: true}
}
func allocations(atMost float64) goal { return goal{limit: atMost} }

const tableHead = "| | ns/op | quartiles | allocs/op | ratio | goal |\n|---|--:|--:|--:|---|---|\n"

// measure returns the group's rows, those whose name contains only.
func (g group) measure(rounds int, slice time.Duration, only string) string {
	subjects := g.subjects()
	subjects = slices.DeleteFunc(subjects, func(s subject) bool { return !strings.Contains(s.name, only) })
	rounds, slice = max(min(rounds, fewest), rounds/g.slices), slice*time.Duration(g.slices)
	operations := make([]int, len(subjects))
	for i, s := range subjects {
		operations[i] = calibrate(s, slice)
	}
	taken := make(map[string]samples)
	for round := range rounds {
		for i := range subjects {
			at := (i + round) % len(subjects) // each is the first as often
			if round%2 == 1 {
				at = len(subjects) - 1 - at // and comes after each of its neighbours
			}
			ns, mallocs := take(subjects[at], operations[at])
			mine := taken[subjects[at].name]
			taken[subjects[at].name] = samples{append(mine.ns, ns), append(mine.mallocs, mallocs)}
		}
	}

	var rows strings.Builder
	for _, s := range subjects {
		mine := taken[s.name]
		ratios, verdicts := judge(s, taken)
		low, middle, high := quartiles(mine.ns)
		fmt.Fprintf(&rows, "| %s: %s | %s | %s-%s | %.0f | %s | %s |\n", g.title, s.name, thousands(middle), thousands(low), thousands(high),
			median(mine.mallocs), strings.Join(ratios, "; "), strings.Join(verdicts, "; "))
	}
	return rows.String()
}

// samples are of one subject, per operation, by round.
type samples struct{ ns, mallocs []float64 }

// calibrate returns how many operations take as long as a slice. It warms up on the way.
func calibrate(s subject, slice time.Duration) int {
	for n := 1; ; n *= 2 {
		ns, _ := take(s, n)
		if ns*float64(n) >= float64(slice)/2 {
			return max(1, int(float64(slice)/ns))
		}
	}
}

// take runs n operations, and returns the time and the allocations of one.
func take(s subject, n int) (ns, mallocs float64) {
	if s.prepare != nil {
		s.prepare(n)
	}
	runtime.GC() // of what the others left
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	s.run(n)
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	return float64(took) / float64(n), float64(after.Mallocs-before.Mallocs) / float64(n)
}

// judge compares round by round: the median of the rounds' ratios is steadier than the ratio of the medians where the machine's
// speed changes on the way.
func judge(s subject, taken map[string]samples) (ratios, verdicts []string) {
	mine := taken[s.name]
	for _, g := range s.goals {
		if g.against == "" {
			verdicts = append(verdicts, fmt.Sprintf("≤ %.0f allocs %s", g.limit, met(math.Round(median(mine.mallocs)) <= g.limit)))
			continue
		}
		if _, measured := taken[g.against]; !measured {
			continue
		}
		byRound := slices.Clone(mine.ns)
		for round, other := range taken[g.against].ns {
			byRound[round] /= other
			if g.rate {
				byRound[round] = 1 / byRound[round]
			}
		}
		low, ratio, high := quartiles(byRound)
		of, bound, ok := "", "≤", ratio <= g.limit
		if g.rate {
			of, bound, ok = "the rate of ", "≥", ratio >= g.limit
		}
		ratios = append(ratios, fmt.Sprintf("%.2fx (%.2f-%.2f) %s%s", ratio, low, high, of, g.against))
		if g.limit != none {
			verdicts = append(verdicts, fmt.Sprintf("%s %.2f %s", bound, g.limit, met(ok)))
		}
	}
	return ratios, verdicts
}

func met(ok bool) string {
	if ok {
		return "met"
	}
	return "**not met**"
}

func median(values []float64) float64 {
	_, middle, _ := quartiles(values)
	return middle
}

// quartiles: half of the values are between the first and the last, half are under the middle one.
func quartiles(values []float64) (low, middle, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return sorted[n/4], (sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[(3*n-1)/4]
}

// thousands writes 1234567 as 1,234,567.
func thousands(f float64) string {
	digits := fmt.Sprintf("%.0f", f)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// must ends the program: what is measured has to work.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func ensure(ok bool, otherwise string) {
	if !ok {
		panic(otherwise)
	}
}
