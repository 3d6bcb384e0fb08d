package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A growth measures how a cost grows, and becomes one picture: curves lists them all.
type growth struct {
	name   string // of the picture's file, in lower case; -only looks here
	title  string
	panels []panel // each a diagram of the picture
	// measure adds the points, in any order. With quick it does so little that it takes some seconds: it says that it works. What can't
	// be measured here, such as a server that isn't there, is an error that wraps errNotHere.
	measure func(quick bool, add func(point)) error
}

// A panel is one diagram. Its axes are logarithmic unless it says otherwise.
type panel struct {
	title  string
	x, y   string // with the unit: "body, bytes"
	linear bool   // the y axis begins at 0

	kibibytes bool // the x axis counts bytes in powers of two
}

// A point is one measured value.
type point struct {
	panel  string // its title
	series string // its line
	x, y   float64
}

var errNotHere = errors.New("not measured here")

// grow measures those whose name contains only, and writes a picture and the points, as CSV, for each into the folder. With redraw it
// measures nothing, and makes the pictures of the points that are there.
func grow(folder, only string, quick, redraw bool) error {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	for _, g := range curves() {
		if !strings.Contains(g.name, only) {
			continue
		}
		file := filepath.Join(folder, g.name)
		record := &record{machine: machine()}
		if redraw {
			var err error
			if record, err = readRecord(file + ".csv"); errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return err
			}
		} else {
			began := time.Now()
			err := g.measure(quick, func(p point) {
				record.points = append(record.points, p)
				must(record.write(file + ".csv")) // what there is stays, if the rest takes too long
			})
			if errors.Is(err, errNotHere) {
				fmt.Printf("%s: %v\n", g.name, err)
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
			fmt.Printf("%s, in %s\n", g.name, time.Since(began).Round(time.Second))
		}
		fmt.Print(g.table(record.points))
		if err := g.draw(record, file+".svg"); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	return nil
}

// A record is what was measured, and on which machine.
type record struct {
	machine string
	points  []point
}

func (r *record) write(file string) error {
	f, err := os.Create(filepath.Clean(file))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	rows := [][]string{{r.machine, "", "", ""}, {"panel", "series", "x", "y"}}
	for _, p := range r.points {
		rows = append(rows, []string{p.panel, p.series, strconv.FormatFloat(p.x, 'g', 6, 64), strconv.FormatFloat(p.y, 'g', 4, 64)})
	}
	if err := csv.NewWriter(f).WriteAll(rows); err != nil {
		return err
	}
	return f.Close()
}

func readRecord(file string) (*record, error) {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) < 2 || len(rows[0]) != 4 {
		return nil, fmt.Errorf("%s has no points", file)
	}
	r := &record{machine: rows[0][0]}
	for _, row := range rows[2:] {
		x, badX := strconv.ParseFloat(row[2], 64)
		y, badY := strconv.ParseFloat(row[3], 64)
		if err := errors.Join(badX, badY); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		r.points = append(r.points, point{row[0], row[1], x, y})
	}
	return r, nil
}

// lines are the points of a panel by their series, in the order of x; the series in the order in which they came.
func lines(points []point, panel string) (names []string, of map[string][]point) {
	of = make(map[string][]point)
	for _, p := range points {
		if p.panel != panel {
			continue
		}
		if _, known := of[p.series]; !known {
			names = append(names, p.series)
		}
		of[p.series] = append(of[p.series], p)
	}
	for _, line := range of {
		slices.SortStableFunc(line, func(a, b point) int {
			switch {
			case a.x < b.x:
				return -1
			case a.x > b.x:
				return 1
			}
			return 0
		})
	}
	return names, of
}

// table shows each line's ends and how it grows: 0 is flat, 1 is linear. The steepest is that of the two neighbours that are worst.
func (g growth) table(points []point) string {
	var text strings.Builder
	rows := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, p := range g.panels {
		fmt.Fprintf(rows, "  %s\tfrom\tto\tgrowth\tsteepest\n", p.title)
		names, of := lines(points, p.title)
		for _, name := range names {
			line := of[name]
			first, last := line[0], line[len(line)-1]
			steepest := math.Inf(-1)
			for i := range line[1:] {
				steepest = max(steepest, exponent(line[i], line[i+1]))
			}
			fmt.Fprintf(rows, "    %s\t%s: %s\t%s: %s\t%s\t%s\n", name, short(first.x), short(first.y), short(last.x), short(last.y),
				power(exponent(first, last)), power(steepest))
		}
	}
	_ = rows.Flush() // into memory
	return text.String()
}

// exponent is that of x in y.
func exponent(from, to point) float64 {
	return math.Log(to.y/from.y) / math.Log(to.x/from.x)
}

func power(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "-"
	}
	return fmt.Sprintf("%.2f", f)
}

// short writes 12,345.678 as "12,346", and keeps three digits of what is less than 100.
func short(f float64) string {
	if math.Abs(f) >= 100 {
		return thousands(f)
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

// timed returns the CPU time of an operation, in nanoseconds, the collection of its garbage included: in the best of the rounds, since what
// else the machine does only adds. Do is called with how often.
func timed(quick bool, do func(n int)) float64 {
	rounds, slice := 15, 40*time.Millisecond
	if quick {
		rounds, slice = 3, time.Millisecond
	}
	n := calibrate(subject{run: do}, slice)
	best := math.Inf(1)
	for range rounds {
		runtime.GC() // of what the others left
		before := cpuTime()
		do(n)
		best = min(best, float64(cpuTime()-before)/float64(n))
	}
	return best
}

// timedUncollected is timed without the collection of what is made meanwhile.
func timedUncollected(quick bool, do func(n int)) float64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	return timed(quick, do)
}

// quantile of sorted values: 0.99 is that which 1 % are over.
func quantile[T any](sorted []T, q float64) T {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
