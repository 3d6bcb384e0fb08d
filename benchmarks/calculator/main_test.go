package main

import (
	"encoding/csv"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
)

// What the page says is what the program prints: run it, and put its output there.
func TestTheGuideSaysWhatTheProgramPrints(t *testing.T) {
	page, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	for what, printed := range map[string]string{
		"-costs":       costTable(),
		"-rate 1000":   answer(usual(1000)),
		"-rate 100000": answer(usual(100_000)),
	} {
		if !strings.Contains(string(page), printed) {
			t.Errorf("docs/scaling.md doesn't have what %s prints:\n%s", what, printed)
		}
	}
}

// A cost with -growth is a point of its picture, rounded to two digits.
func TestTheCostsAreThoseOfThePictures(t *testing.T) {
	for _, c := range []struct {
		cost
		file, panel, series string
		x, factor           float64
	}{
		{receive, "at-once", "CPU of a delivery, that of its sender included", "NewHandler, memory deduper", 100, 1},
		{publish, "backlog", "CPU", "JetStream, taken", 1e5, 1},
		{consume, "backlog", "CPU", "JetStream, worked off", 1e5, 1},
		{streamBytes, "backlog", "Stored", "JetStream", 1e6, 1.048576},
		{windowBytes, "backlog", "Memory of the Go process", "JetStream", 1e6, 1.048576},
		{streamRate, "backlog", "Taken, 16 at once", "JetStream", 1e5, 1},
		{take, "backlog", "CPU", "River, taken", 1e6, 1},
		{takeServer, "backlog", "CPU", "River, taken, PostgreSQL", 1e6, 1},
		{work, "backlog", "CPU", "River, worked off", 1e6, 1},
		{workServer, "backlog", "CPU", "River, worked off, PostgreSQL", 1e6, 1},
		{jobBytes, "backlog", "Stored", "River", 1e6, 1.048576},
	} {
		measured := pointOf(t, c.file, c.panel, c.series, c.x) * c.factor
		if math.Abs(c.value-measured) > 0.05*measured {
			t.Errorf("%s is %g %s in the program, and %.4g in growth/%s.csv", c.symbol, c.value, c.unit, measured, c.file)
		}
	}
}

func pointOf(t *testing.T, file, panel, series string, x float64) float64 {
	t.Helper()
	f, err := os.Open("../growth/" + file + ".csv")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if at, _ := strconv.ParseFloat(row[2], 64); row[0] == panel && row[1] == series && at == x {
			y, err := strconv.ParseFloat(row[3], 64)
			if err != nil {
				t.Fatal(err)
			}
			return y
		}
	}
	t.Fatalf("growth/%s.csv has no point %q, %q at %g", file, panel, series, x)
	return 0
}

func TestANumberThatMakesNoSenseIsRefused(t *testing.T) {
	for _, l := range []load{{}, usual(-1), usual(0)} {
		if l.check() == nil {
			t.Errorf("%+v", l)
		}
	}
	if err := usual(1000).check(); err != nil {
		t.Error(err)
	}
}
