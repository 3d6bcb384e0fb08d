package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// install lets n passes be installed by a campaign, some days ago, and the first of them be uninstalled again.
func install(t *testing.T, s *service, campaign string, n, ago int) {
	t.Helper()
	for i := range n {
		for _, name := range []walletcrew.EventName{created, installed, uninstalled} {
			if name == uninstalled && i > 0 {
				continue
			}
			body := fmt.Sprintf(`{"__id":%q,"passId":%q,"additionalInformation":{"registrationSource":{"tags":[%q]}}}`,
				fmt.Sprint(campaign, ago, i, name), fmt.Sprint(campaign, ago, i), campaign)
			e, err := walletcrew.ParseEvent(name, []byte(body))
			require.NoError(t, err)
			e.ReceivedAt = time.Now().UTC().AddDate(0, 0, -ago)
			require.NoError(t, s.mux().Handle(receiver.WithKey(t.Context(), strings.ReplaceAll(e.ID, " ", "_")), e))
		}
	}
}

func get(s *service, path, host string) *httptest.ResponseRecorder {
	answer, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = host
	s.pages().ServeHTTP(answer, r)
	return answer
}

// table returns the text of a table's cells.
func table(t *testing.T, page, id string) (rows [][]string) {
	t.Helper()
	_, body, found := strings.Cut(page, `<tbody id="`+id+`"`)
	require.True(t, found, id)
	body, _, _ = strings.Cut(body, "</tbody>")
	for _, row := range regexp.MustCompile(`(?s)<tr>(.*?)</tr>`).FindAllStringSubmatch(body, -1) {
		var cells []string
		for _, cell := range regexp.MustCompile(`(?s)<t[hd][^>]*>(.*?)</t[hd]>`).FindAllStringSubmatch(row[1], -1) {
			cells = append(cells, regexp.MustCompile(`<[^>]*>`).ReplaceAllString(cell[1], ""))
		}
		rows = append(rows, cells)
	}
	return rows
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.ReplaceAll(s, ",", ""))
	require.NoError(t, err)
	return n
}

func TestThePagesNumbersAreTheTables(t *testing.T) {
	onEach(t, func(t *testing.T, c config) {
		s := open(t, c)
		empty := get(s, "/", "localhost")
		require.Equal(t, 200, empty.Code, empty.Body)
		assert.Contains(t, empty.Body.String(), "No pass is installed yet.")

		for i, campaign := range []string{"a", "b", "c", "d", "e", "f", ""} {
			install(t, s, campaign, 8-i, 3*i)
		}
		install(t, s, "a", 2, 31) // before the plot begins
		for i := range 5 {
			require.Equal(t, 204, deliver(s, s.mux().Handle, redirected, fmt.Sprintf(`{"__id":"r%d","store":"store %d"}`, i, i%2)))
		}
		require.Equal(t, 204, deliver(s, s.mux().Handle, upserted, `{"__id":"u1","customer":{"id":"C-1"}}`))
		page := get(s, "/", "127.0.0.1:8081").Body.String()

		passes := one[int](t, s, "SELECT COUNT(*) FROM passes")
		present := one[int](t, s, "SELECT COUNT(*) FROM passes WHERE installed")
		assert.Equal(t, 37, passes)
		assert.Equal(t, 29, present)
		assert.Contains(t, page, fmt.Sprintf("%d of %d passes", present, passes))
		assert.Contains(t, page, fmt.Sprintf("<dt>Events</dt><dd>%d<", one[int](t, s, "SELECT COUNT(*) FROM events")))
		assert.Contains(t, page, "<dt>Welcome journeys</dt><dd>1<")
		assert.Contains(t, page, "<dt>QR redirects</dt><dd>5<")

		campaigns := table(t, page, "campaigns")
		require.Len(t, campaigns, 7)
		for _, row := range campaigns {
			name := strings.TrimPrefix(row[0], "no campaign")
			assert.Equal(t, one[int](t, s, "SELECT COUNT(*) FROM installs WHERE campaign = $1", name), atoi(t, row[2]), row)
			kept := one[int](t, s, "SELECT COUNT(*) FROM installs JOIN passes USING (pass_id) WHERE campaign = $1 AND installed", name)
			assert.Equal(t, fmt.Sprintf("%d%%", 100*kept/atoi(t, row[2])), row[3], row)
		}
		for _, row := range table(t, page, "stores") {
			assert.Equal(t, one[int](t, s, "SELECT SUM(count) FROM redirects WHERE store = $1", row[0]), atoi(t, row[2]), row)
		}
		all := 0
		rows := table(t, page, "days")
		require.Len(t, rows, days)
		for ago, row := range rows {
			date := time.Now().UTC().AddDate(0, 0, -ago)
			assert.Equal(t, date.Format("Mon 2 Jan"), row[0])
			total, sum := atoi(t, row[len(row)-1]), 0
			for _, cell := range row[1 : len(row)-1] {
				sum += atoi(t, cell)
			}
			assert.Equal(t, total, sum, row)
			assert.Equal(t, one[int](t, s, "SELECT COUNT(*) FROM installs WHERE day = $1", date.Format(time.DateOnly)), total, row)
			all += total
		}
		assert.Equal(t, passes-2, all)
	})
}

// The plot's bars are as tall as the scale says, and stand on one another.
func TestTheBarsAreToScale(t *testing.T) {
	t.Parallel()
	s := open(t, onSQLite(t))
	install(t, s, "a", 7, 0)
	install(t, s, "b", 4, 0)
	install(t, s, "a", 3, 1)
	r, err := s.report(t.Context(), time.Now())
	require.NoError(t, err)
	perPass := (r.Ticks[0].Y - r.Ticks[1].Y) / float64(r.Ticks[1].N-r.Ticks[0].N)
	assert.InDelta(t, tall, r.Ticks[0].Y, 0, "nothing is at the bottom")
	assert.GreaterOrEqual(t, r.Ticks[len(r.Ticks)-1].N, 11, "the scale reaches the tallest column")
	for _, d := range r.Days {
		bottom := float64(tall)
		for _, b := range d.Bars {
			assert.InDelta(t, bottom, b.Y+b.Height, 0.001)
			assert.InDelta(t, perPass*float64(b.N), b.Height, 0.001)
			bottom = b.Y
		}
		assert.InDelta(t, perPass*float64(d.Total), tall-bottom, 0.001)
		assert.GreaterOrEqual(t, bottom, 0.0)
	}
}

func TestThePolicyLetsNothingElseIn(t *testing.T) {
	t.Parallel()
	s := open(t, onSQLite(t))
	const hostile = `"><script>alert(1)</script><b style='color:red' onclick='x'>`
	install(t, s, hostile, 1, 0)
	require.Equal(t, 204, deliver(s, s.mux().Handle, redirected, `{"__id":"r1","store":"</title></svg><script>alert(2)</script>"}`))
	for path, kind := range map[string]string{"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript", "/main.go": "text/plain", "/schema.sql": "text/plain"} {
		answer := get(s, path, "127.0.0.1:8081")
		assert.Contains(t, answer.Header().Get("Content-Type"), kind, path)
		assert.Equal(t, kind == "text/plain", answer.Code == 404, path)
		policy := answer.Header().Get("Content-Security-Policy")
		assert.True(t, strings.HasPrefix(policy, "default-src 'none'; ") && strings.Contains(policy, "frame-ancestors 'none'") && !strings.Contains(policy, "unsafe"), policy)
		assert.Equal(t, "nosniff", answer.Header().Get("X-Content-Type-Options"))
		assert.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
	}
	page := get(s, "/", "127.0.0.1:8081").Body.String()
	assert.Equal(t, []string{`<script src="/page.js" defer></script>`}, regexp.MustCompile(`(?s)<script.*?</script>`).FindAllString(page, -1))
	assert.NotRegexp(t, `<[^>]* (style|on[a-z]+)=|<style|https?://`, page)
}

// A site whose name points to this machine would be the page's equal in a browser.
func TestThePageIsReadUnderItsOwnNameOnly(t *testing.T) {
	t.Parallel()
	s := open(t, onSQLite(t))
	for host, want := range map[string]int{"127.0.0.1:8081": 200, "localhost": 200, "[::1]:8081": 200, "evil.example:8081": 403, "127.0.0.1.evil.example": 403, "": 403} {
		assert.Equal(t, want, get(s, "/", host).Code, host)
	}
}

// chromium opens a page, and returns it as it is three seconds later, with what the browser has complained about.
func chromium(t *testing.T, url string) (page, complaints string) {
	t.Helper()
	path := os.Getenv("WALLETCREW_TEST_CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); path == "" && err == nil {
			path = found
		}
	}
	if path == "" {
		missing(t, "Chromium", exec.ErrNotFound)
	}
	command := exec.CommandContext(t.Context(), path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=5000", "--dump-dom", url)
	var says bytes.Buffer
	command.Stderr = &says
	dom, err := command.Output()
	require.NoError(t, err, says.String())
	for line := range strings.Lines(says.String()) {
		if strings.Contains(line, ":CONSOLE") {
			complaints += line
		}
	}
	return string(dom), complaints
}

func TestThePageRefreshesItself(t *testing.T) {
	t.Parallel()
	s := open(t, onSQLite(t))
	install(t, s, "spring", 3, 1)
	var loads atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && loads.Add(1) == 2 { // the script asks
			install(t, s, "autumn", 4, 0)
		}
		s.pages().ServeHTTP(w, r)
	}))
	defer server.Close()
	page, complaints := chromium(t, server.URL)
	assert.Empty(t, complaints)
	assert.Contains(t, page, "5 of 7 passes")
	assert.Equal(t, "autumn", table(t, page, "campaigns")[0][0])
	assert.Contains(t, page, ">Refreshes itself</p>")
}

func TestThePageSaysWhenItIsOld(t *testing.T) {
	t.Parallel()
	s := open(t, onSQLite(t))
	var loads atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && loads.Add(1) > 1 {
			assert.NoError(t, s.db.Close())
		}
		s.pages().ServeHTTP(w, r)
	}))
	defer server.Close()
	page, _ := chromium(t, server.URL)
	assert.Regexp(t, `class="old">The service doesn't answer: these numbers are old</p>`, page)
}
