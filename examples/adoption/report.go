package main

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"time"
)

const (
	days = 30 // in the plot
	tall = 240
	top  = 4  // campaigns with a colour of their own
	most = 10 // rows of a table
)

// A report is what the page shows: the tables as they were at one moment.
type report struct {
	Passes, Installed, Journeys, Events, Redirects int
	Campaigns, Stores                              []count
	Series                                         []string // the largest campaigns, and the others together if there are any
	Days                                           []day
	Ticks                                          []bar
}

// A count is a row of a table: N, of which Kept are still installed.
type count struct {
	Name    string
	N, Kept int
	Series  int
	Length  int // of its bar, in percent of the longest
}

// KeptShare is in percent.
func (c count) KeptShare() int { return 100 * c.Kept / c.N }

// A day is a column of the plot.
type day struct {
	Date   time.Time
	X      float64 // percent of the plot's width
	Total  int
	Counts []int // one for each of the report's Series
	Bars   []bar
}

// A bar is a part of a column, or a line of the scale, with pixels from the plot's top.
type bar struct {
	Series, N int
	Y, Height float64
}

// Share is how many of the passes are installed, in percent.
func (r *report) Share() int { return 100 * r.Installed / max(r.Passes, 1) }

// Latest are the days, today's first.
func (r *report) Latest() []day {
	latest := slices.Clone(r.Days)
	slices.Reverse(latest)
	return latest
}

func (s *service) report(ctx context.Context, now time.Time) (*report, error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	r := new(report)
	if err := tx.QueryRowContext(ctx, `SELECT
		(SELECT COUNT(*) FROM passes), (SELECT COUNT(*) FROM passes WHERE installed),
		(SELECT COUNT(*) FROM outbox), (SELECT COUNT(*) FROM events), (SELECT COALESCE(SUM(count), 0) FROM redirects)`).Scan(&r.Passes, &r.Installed, &r.Journeys, &r.Events, &r.Redirects); err != nil {
		return nil, err
	}
	r.Campaigns, err = counts(ctx, tx, `SELECT campaign, COUNT(*), SUM(CASE WHEN installed THEN 1 ELSE 0 END)
		FROM installs JOIN passes USING (pass_id) GROUP BY campaign ORDER BY 2 DESC, 1 LIMIT $1`)
	if err != nil {
		return nil, err
	}
	r.Stores, err = counts(ctx, tx, `SELECT store, SUM(count), 0 FROM redirects GROUP BY store ORDER BY 2 DESC, 1 LIMIT $1`)
	if err != nil {
		return nil, err
	}
	if err := r.countDays(ctx, tx, now.UTC()); err != nil {
		return nil, err
	}
	r.draw()
	return r, nil
}

// counts returns rows whose largest is the first.
func counts(ctx context.Context, tx *sql.Tx, query string) (all []count, err error) {
	rows, err := tx.QueryContext(ctx, query, most)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c count
		if err := rows.Scan(&c.Name, &c.N, &c.Kept); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	for i := range all {
		all[i].Series, all[i].Length = min(i, top), 100*all[i].N/all[0].N
	}
	return all, rows.Err()
}

// countDays fills Series and Days: the first installations of the last days, by campaign.
func (r *report) countDays(ctx context.Context, tx *sql.Tx, now time.Time) error {
	largest := r.Campaigns[:min(top, len(r.Campaigns))]
	for _, c := range largest {
		r.Series = append(r.Series, cmp.Or(c.Name, "no campaign"))
	}
	if len(r.Campaigns) > top {
		r.Series = append(r.Series, "other campaigns")
	}
	byDate := map[string]*day{}
	for i := range days {
		date := now.AddDate(0, 0, i+1-days)
		r.Days = append(r.Days, day{Date: date, X: 100 * float64(i) / days, Counts: make([]int, len(r.Series))})
	}
	for i := range r.Days {
		byDate[r.Days[i].Date.Format(time.DateOnly)] = &r.Days[i]
	}
	rows, err := tx.QueryContext(ctx, `SELECT day, campaign, COUNT(*) FROM installs WHERE day >= $1 GROUP BY day, campaign`,
		r.Days[0].Date.Format(time.DateOnly))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var date, campaign string
		var n int
		if err := rows.Scan(&date, &campaign, &n); err != nil {
			return err
		}
		series := slices.IndexFunc(largest, func(c count) bool { return c.Name == campaign })
		if series < 0 {
			series = top
		}
		if d := byDate[date]; d != nil { // unless it has just become tomorrow
			d.Counts[series] += n
			d.Total += n
		}
	}
	return rows.Err()
}

// draw says where the bars stand: each day's on one another, below a scale of round numbers.
func (r *report) draw() {
	highest := slices.MaxFunc(r.Days, func(a, b day) int { return a.Total - b.Total }).Total
	step := 1
	for i := 0; step*5 < highest; i++ { // 1, 2, 5, 10, ...
		step = []int{1, 2, 5}[i%3] * int(math.Pow10(i/3))
	}
	scale := float64(tall) / float64(step*max(1, (highest+step-1)/step))
	for n := 0; float64(n)*scale <= tall; n += step {
		r.Ticks = append(r.Ticks, bar{N: n, Y: tall - float64(n)*scale})
	}
	for i := range r.Days {
		d, y := &r.Days[i], float64(tall)
		for series, n := range d.Counts {
			if n > 0 {
				y -= float64(n) * scale
				d.Bars = append(d.Bars, bar{Series: series, N: n, Y: y, Height: float64(n) * scale})
			}
		}
	}
}
