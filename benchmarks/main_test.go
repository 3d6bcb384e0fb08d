package main

import (
	"strings"
	"testing"
)

// What is measured panics where it doesn't work.
func TestEverySubjectWorks(t *testing.T) {
	for _, g := range groups() {
		t.Run(g.title, func(t *testing.T) {
			if rows := g.measure(1, 1, ""); strings.Count(rows, "\n") < 2 {
				t.Errorf("a comparison has at least two rows; got:\n%s", rows)
			}
		})
	}
}
