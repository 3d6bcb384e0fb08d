package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// A load says how many are sent, and how fast.
type load struct {
	count       int
	rate        float64
	concurrency int
}

func (l *load) add(flags *pflag.FlagSet) {
	flags.IntVar(&l.count, "count", 1, "how many of each")
	flags.Float64Var(&l.rate, "rate", 0, "how many a second at most; 0: as fast as it goes")
	flags.IntVar(&l.concurrency, "concurrency", 10, "how many at once")
}

func (l load) check() error {
	switch {
	case l.count < 1:
		return usagef("--count %d: at least 1", l.count)
	case l.rate < 0:
		return usagef("--rate %v: 0 or more", l.rate)
	case l.concurrency < 1:
		return usagef("--concurrency %d: at least 1", l.concurrency)
	}
	return nil
}

// fewResults are printed one by one; of more, a table shows the sum only.
const fewResults = 20

// shoot sends total deliveries and prints what became of them. The order is kept where there is one at a time.
func (c *cli) shoot(ctx context.Context, l load, total int, next func(i int) (draft, error), send func(context.Context, draft) []result) error {
	sum := &tally{cli: c, single: total <= fewResults, statuses: map[string]int{}, started: time.Now()}
	if total <= fewResults {
		l.concurrency = 1
	}
	bar := c.bar(total)
	limiter := rate.NewLimiter(rate.Inf, 1)
	if l.rate > 0 {
		limiter = rate.NewLimiter(rate.Limit(l.rate), 1)
	}
	var group errgroup.Group
	group.SetLimit(l.concurrency)
	var failed error
	for i := range total {
		if failed = limiter.Wait(ctx); failed != nil {
			failed = ctx.Err()
			break
		}
		d, err := next(i)
		if err != nil {
			failed = err
			break
		}
		group.Go(func() error {
			for _, r := range send(ctx, d) {
				sum.add(r)
			}
			_ = bar.Add(1)
			return nil
		})
	}
	_ = group.Wait()
	_ = bar.Finish()
	if failed == nil {
		failed = ctx.Err()
	}
	if err := sum.print(); err != nil {
		return err
	}
	switch {
	case failed != nil && ctx.Err() != nil:
		c.say("interrupted: %d of %d were sent", sum.sent(), total)
		return errNo
	case failed != nil:
		return failed
	case sum.refused > 0:
		return errNo
	}
	return nil
}

// bar is the progress of many, if a person looks on.
func (c *cli) bar(total int) *progressbar.ProgressBar {
	out := c.err
	if total <= fewResults || !c.terminal(c.err) {
		out = io.Discard
	}
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(out), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}

// A tally sums up results. It is safe for concurrent use.
type tally struct {
	cli     *cli
	single  bool // a line for each
	started time.Time

	mu        sync.Mutex
	statuses  map[string]int
	durations []time.Duration // of those that were answered
	refused   int
	err       error // of printing
}

func (t *tally) add(r result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	status := "no answer: " + r.Error
	if r.Status != 0 {
		status = fmt.Sprint(r.Status)
		t.durations = append(t.durations, r.duration())
	}
	t.statuses[status]++
	if !r.accepted() {
		t.refused++
	}
	if t.cli.output == "table" && !t.single || t.err != nil {
		return
	}
	t.err = t.cli.line(r, t.cli.resultText(r))
}

func (c *cli) resultText(r result) string {
	text := fmt.Sprintf("%-19s  %-36s  ", visible(r.Event), visible(r.ID))
	switch {
	case r.Status == 0:
		return text + string(c.paint(red, r.Error))
	case r.accepted():
		text += string(c.paint(green, fmt.Sprint(r.Status)))
	default:
		text += string(c.paint(red, fmt.Sprint(r.Status)))
	}
	return fmt.Sprintf("%s  %.1f ms", text, r.DurationMs)
}

func (t *tally) sent() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, count := range t.statuses {
		n += count
	}
	return n
}

// print writes the sum of many.
func (t *tally) print() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil || t.single || t.cli.output != "table" {
		return t.err
	}
	took := time.Since(t.started)
	n := 0
	var b strings.Builder
	for _, status := range slices.Sorted(maps.Keys(t.statuses)) {
		n += t.statuses[status]
		fmt.Fprintf(&b, "%8d  %s\n", t.statuses[status], visible(status))
	}
	fmt.Fprintf(&b, "%8d  in %.1f s: %.0f a second\n", n, took.Seconds(), float64(n)/took.Seconds())
	if len(t.durations) > 0 {
		slices.Sort(t.durations)
		fmt.Fprintf(&b, "\nlatency  p50 %s  p90 %s  p99 %s  max %s\n", t.percentile(50), t.percentile(90), t.percentile(99), t.percentile(100))
		b.WriteString(histogram(t.durations))
	}
	_, err := io.WriteString(t.cli.out, b.String())
	return err
}

// percentile is the time within which so many in a hundred were answered. The durations are sorted.
func (t *tally) percentile(p int) string {
	i := (len(t.durations)*p + 99) / 100
	return short(t.durations[max(i-1, 0)])
}

func short(d time.Duration) string { return fmt.Sprintf("%.4g ms", milliseconds(d)) }

// histogram draws sorted durations: a bar for each range, and each range is twice as long as the one before.
func histogram(sorted []time.Duration) string {
	const width = 40
	type bucket struct {
		below time.Duration
		count int
	}
	var buckets []bucket
	below := 250 * time.Microsecond
	for _, d := range sorted {
		for d >= below {
			below *= 2
		}
		if len(buckets) == 0 || buckets[len(buckets)-1].below != below {
			for len(buckets) > 0 && buckets[len(buckets)-1].below*2 < below { // those between are empty, and show
				buckets = append(buckets, bucket{below: buckets[len(buckets)-1].below * 2})
			}
			buckets = append(buckets, bucket{below: below})
		}
		buckets[len(buckets)-1].count++
	}
	most := 0
	for _, b := range buckets {
		most = max(most, b.count)
	}
	var text strings.Builder
	for _, b := range buckets {
		bar := strings.Repeat("█", b.count*width/most)
		if bar == "" && b.count > 0 {
			bar = "▏"
		}
		fmt.Fprintf(&text, "  < %-9s %8d  %s\n", short(b.below), b.count, bar)
	}
	return text.String()
}
