package main

import (
	"net"
	"os"
	"strings"
	"testing"
)

// What is measured panics where it doesn't work.
func TestEverySubjectWorks(t *testing.T) {
	for _, g := range groups() {
		t.Run(g.title, func(t *testing.T) { works(t, g) })
	}
}

func TestEveryHandOverWorks(t *testing.T) {
	conn, err := net.Dial("tcp", postgres())
	if err != nil {
		if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
			t.Fatalf("PostgreSQL is needed: %v", err)
		}
		t.Skipf("no PostgreSQL: %v", err)
	}
	_ = conn.Close()
	defer end()
	for _, g := range serverGroups() {
		t.Run(g.title, func(t *testing.T) { works(t, g) })
	}
}

func works(t *testing.T, g group) {
	t.Helper()
	if rows := g.measure(1, 1, ""); strings.Count(rows, "\n") < 2 {
		t.Errorf("a comparison has at least two rows; got:\n%s", rows)
	}
}
