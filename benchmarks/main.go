// Benchmarks measures the SDK side by side with bare cryptography and JSON and with other webhook libraries, and prints one
// Markdown table. README.md says how to read it.
package main

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 61, "how often each subject is measured; the table shows medians")
	slice := flag.Duration("slice", 20*time.Millisecond, "how long each subject runs in a round")
	only := flag.String("only", "", "run only the groups whose title contains `text`")
	row := flag.String("row", "", "of these, run only the rows whose name contains `text`, as for a profile: there is nothing to compare with then")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this `file`")
	quick := flag.Bool("quick", false, "a few seconds for all: says that it works, not how fast")
	servers := flag.Bool("servers", false, "measure the durable hand-overs too: needs PostgreSQL at WALLETCREW_TEST_POSTGRES, default 127.0.0.1:5432")
	growing := flag.Bool("growth", false, "measure how the cost grows instead, and draw it")
	out := flag.String("out", "", "the `folder` for -growth's pictures and points; default growth, or with -quick a temporary one")
	redraw := flag.Bool("redraw", false, "with -growth: draw the points that are in the folder, and measure nothing")
	flag.Parse()
	if *growing {
		if err := grow(cmp.Or(*out, defaultOut(*quick)), *only, *quick, *redraw); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if *quick {
		*rounds, *slice = 3, time.Millisecond
	}

	if *profile != "" {
		f, err := os.Create(*profile)
		must(err)
		must(pprof.StartCPUProfile(f))
		defer func() { pprof.StopCPUProfile(); must(f.Close()) }()
	}
	fmt.Printf("%s\n\n%s", machine(), tableHead)
	defer end()
	all := groups()
	if *servers {
		all = append(all, serverGroups()...)
	}
	for _, g := range all {
		if strings.Contains(g.title, *only) {
			fmt.Print(g.measure(*rounds, *slice, *row))
		}
	}
}

// groups are in the order of the goals. Each sets itself up when it is its turn.
func groups() []group {
	return []group{
		{"Loopback, 600 B", loopbackSubjects, fiveSlices},
		{"Verify, 512 B", verifySubjects(512, 1.30, 0.60), oneSlice},
		{"Event, 600 B", eventSubjects, oneSlice},
		{"ServeHTTP, 600 B", dedupeSubjects, oneSlice},
		{"Verify, 2 KiB", verifySubjects(2<<10, none, 0.75), oneSlice},
		{"Verify, 64 KiB", verifySubjects(64<<10, 1.03, none), oneSlice},
		{"Two goroutines, 2 KiB", scalingSubjects, oneSlice},
		{"Growth: body, Verify", verifyGrowth, oneSlice},
		{"Growth: body, EventFrom", eventGrowth, oneSlice},
		{"Growth: events seen", seenGrowth, oneSlice},
		{"Growth: Mux patterns", muxGrowth, oneSlice},
		{"Growth: tenants", tenantGrowth, oneSlice},
	}
}

func defaultOut(quick bool) string {
	if quick {
		return filepath.Join(os.TempDir(), "walletcrew-growth")
	}
	return "growth"
}

func machine() string {
	return fmt.Sprintf("%s, %d cores, %s %s/%s", cpu(), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// cpu names the processor where Linux tells.
func cpu() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}
