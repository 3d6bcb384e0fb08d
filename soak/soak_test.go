package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

// The processes that a scenario starts are this test's program.
func TestMain(m *testing.M) {
	if text := os.Getenv(roleEnv); text != "" {
		os.Exit(play(text))
	}
	os.Exit(m.Run())
}

func small(t *testing.T, out *bytes.Buffer, scenario string) *options {
	return &options{scenarios: []string{scenario}, kill: []string{"receiver", "worker"}, ways: []string{"killed"}, servers: []string{"redis"},
		rounds: 1, events: 300, killsPerSecond: 3, rate: 100, outage: time.Second, timeout: 5 * time.Minute, seed: 1, dir: t.TempDir(), out: out,
		postgres: "postgres://postgres@" + env("WALLETCREW_TEST_POSTGRES", "127.0.0.1:5432") + "/test?sslmode=disable",
		redis:    env("WALLETCREW_TEST_REDIS", "127.0.0.1:6379")}
}

func TestASmallRoundOfEach(t *testing.T) {
	for _, scenario := range allScenarios {
		t.Run(scenario, func(t *testing.T) {
			var out bytes.Buffer
			o := small(t, &out, scenario)
			if scenario == "river" {
				o.killsPerSecond = 0.5 // a worker has to come up, and PostgreSQL before it
				o.dir = ""             // PostgreSQL's user can't get into the test's
			}
			ok := o.run(t.Context())
			t.Log(out.String())
			switch {
			case !ok:
				t.Error("something was lost, or done twice")
			case strings.Contains(out.String(), "skipped:"):
				t.Skip("its servers aren't here")
			}
		})
	}
}

// A count that can't find anything proves nothing.
func TestWhatIsDoneTwiceIsFound(t *testing.T) {
	var out bytes.Buffer
	o := small(t, &out, "replicas")
	o.broken = true
	ok := o.run(t.Context())
	t.Log(out.String())
	switch {
	case strings.Contains(out.String(), "skipped:"):
		t.Skip("there is no Redis here")
	case ok, !strings.Contains(out.String(), "several effects: 300 events"):
		t.Error("without a deduper, all 300 events must be found to have run twice")
	}
}

func TestATallyFindsWhatIsLostAndDoubled(t *testing.T) {
	got := tallyOf([]string{"e-0", "e-2", "e-2", "e-2"}, 4)
	if got.rows != 4 || strings.Join(got.lost, " ") != "e-1 e-3" || strings.Join(got.doubled, " ") != "e-2" {
		t.Errorf("%+v", got)
	}
}
