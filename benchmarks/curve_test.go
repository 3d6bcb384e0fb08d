package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is measured panics, or returns an error, where it doesn't work; each panel gets points, and each picture can be drawn.
func TestEveryCurveCanBeMeasuredAndDrawn(t *testing.T) {
	names := make(map[string]bool)
	for _, g := range curves() {
		if names[g.name] {
			t.Errorf("two are named %q", g.name)
		}
		names[g.name] = true
		t.Run(g.name, func(t *testing.T) {
			r := &record{machine: machine()}
			err := g.measure(true, func(p point) { r.points = append(r.points, p) })
			if errors.Is(err, errNotHere) && os.Getenv("WALLETCREW_TEST_SERVERS") != "required" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			titles := make(map[string]bool)
			for _, p := range g.panels {
				if titles[p.title] = true; p.x == "" || p.y == "" {
					t.Errorf("%s: an axis has no text", p.title)
				}
				if names, _ := lines(r.points, p.title); len(names) == 0 {
					t.Errorf("%s: no point", p.title)
				}
			}
			for _, p := range r.points {
				if !titles[p.panel] || p.series == "" || p.x <= 0 || p.y <= 0 {
					t.Errorf("a point that can't be drawn: %+v", p)
				}
			}
			file := filepath.Join(t.TempDir(), "picture.svg")
			if err := g.draw(r, file); err != nil {
				t.Fatal(err)
			}
			if svg, err := os.ReadFile(file); err != nil || !strings.Contains(string(svg), machine()) {
				t.Error("the picture doesn't say on which machine it was measured", err)
			}
		})
	}
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "points.csv")
	want := &record{machine: "a machine, 2 cores", points: []point{{"a, b", "c", 1000, 0.25}, {"a, b", "d", 1e7, 12.5}}}
	if err := want.write(file); err != nil {
		t.Fatal(err)
	}
	got, err := readRecord(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.machine != want.machine || len(got.points) != 2 || got.points[0] != want.points[0] || got.points[1] != want.points[1] {
		t.Errorf("got %+v", got)
	}
}

func TestTheTableSaysHowALineGrows(t *testing.T) {
	g := growth{panels: []panel{{title: "p"}}}
	got := g.table([]point{{"p", "linear", 10, 5}, {"p", "linear", 1000, 500}, {"p", "flat", 1, 7}, {"p", "flat", 100, 7}})
	for _, want := range []string{"1,000: 500", "1.00", "0.00"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
}
