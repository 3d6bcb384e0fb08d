package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// scrape returns what /metrics says after a delivery that was handled, one that failed, a forged one, and a call of the client.
func scrape(t *testing.T) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	tel, err := instrument(registry)
	require.NoError(t, err)
	_, err = tel.DeadLetters("orders", func(context.Context) (int64, error) { return 1, nil })
	require.NoError(t, err)
	h, err := newHandler(tel, verifier.Static(secret), func(_ context.Context, e *walletcrew.Event) error {
		if e.Name == walletcrew.EventPassUpdated {
			return errors.New("a bug")
		}
		return nil
	})
	require.NoError(t, err)
	for name, key := range map[walletcrew.EventName]walletcrew.Secret{
		walletcrew.EventPassInstalled: secret, walletcrew.EventPassUpdated: secret, walletcrew.EventPassCreated: "another",
	} {
		tel.Handler(h).ServeHTTP(httptest.NewRecorder(), walletcrewtest.NewRequest("/", key, "shop", name, walletcrewtest.Sample(name)))
	}
	platform := walletcrewtest.NewServer()
	t.Cleanup(platform.Close)
	_, err = platform.Client(tel.Client()).Webhooks.List(t.Context(), nil)
	require.NoError(t, err)

	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, w.Code)
	return w.Body.String()
}

// seriesIn returns the labels of each series, by its name.
func seriesIn(text string) map[string][]string {
	series := make(map[string][]string)
	for _, line := range regexp.MustCompile(`(?m)^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? `).FindAllStringSubmatch(text, -1) {
		for _, label := range regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="`).FindAllStringSubmatch(line[2], -1) {
			series[line[1]] = append(series[line[1]], label[1])
		}
	}
	return series
}

func TestPrometheusScrapesTheSeriesThatTheDocumentsName(t *testing.T) {
	t.Parallel()
	text := scrape(t)
	has := func(name string, labels ...string) {
		t.Helper()
		for line := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(line, name+"{"); ok && !slices.ContainsFunc(labels, func(label string) bool { return !strings.Contains(rest, label) }) {
				return
			}
		}
		assert.Fail(t, "no series", "%s with %q in\n%s", name, labels, text)
	}
	has("walletcrew_deliveries_total", `walletcrew_event="Pass:Installed"`, `walletcrew_result="handled"`, `walletcrew_reason=""`, "} 1")
	has("walletcrew_deliveries_total", `walletcrew_event="Pass:Updated"`, `walletcrew_reason="failed"`, "} 1")
	has("walletcrew_deliveries_total", `walletcrew_event="Pass:Created"`, `walletcrew_reason="signature_mismatch"`, "} 1")
	has("walletcrew_runs_total", `walletcrew_event="Pass:Installed"`, `walletcrew_result="handled"`, "} 1")
	has("messaging_process_duration_seconds_bucket", `messaging_operation_name="receive"`, `messaging_destination_name="Pass:Installed"`, `le="25"`)
	has("messaging_process_duration_seconds_count", `messaging_operation_name="process"`, `messaging_destination_name="orders"`, `error_type="failed"`)
	has("http_client_request_duration_seconds_count", `http_request_method="GET"`, `http_response_status_code="200"`)

	documents, err := os.ReadFile("../../docs/production.md")
	require.NoError(t, err)
	for name := range seriesIn(text) {
		if strings.HasPrefix(name, "walletcrew_") {
			assert.Contains(t, string(documents), "`"+name+"`")
		}
	}
}

type dashboard struct {
	Title         string `json:"title"`
	UID           string `json:"uid"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct{ Name, Type string } `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID         int    `json:"id"`
	Type       string `json:"type"`
	Title      string `json:"title"`
	Datasource struct {
		Type, UID string
	} `json:"datasource"`
	GridPos struct{ H, W, X, Y int } `json:"gridPos"`
	Targets []struct {
		RefID string `json:"refId"`
		Expr  string `json:"expr"`
	} `json:"targets"`
}

// promQL are the words of the dashboard's expressions that are neither series nor labels.
var promQL = []string{"sum", "rate", "by", "le", "histogram_quantile", "or", "vector", "on", "clamp_min", "max", "increase"}

var (
	quoted = regexp.MustCompile(`"[^"]*"`)
	word   = regexp.MustCompile(`\$?[a-zA-Z_:][a-zA-Z0-9_:]*`)
)

// Grafana isn't at hand here: the test looks for what it needs to show a dashboard, and that each name is one that is really scraped.
func TestTheGrafanaDashboardShowsWhatIsScraped(t *testing.T) {
	t.Parallel()
	series := seriesIn(scrape(t))
	text, err := os.ReadFile("../../docs/grafana/walletcrew.json")
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(text, &d))
	assert.NotEmpty(t, d.Title)
	assert.NotEmpty(t, d.UID)
	assert.GreaterOrEqual(t, d.SchemaVersion, 39, "Grafana 11 and later")
	require.Len(t, d.Templating.List, 1)
	assert.Equal(t, "datasource", d.Templating.List[0].Type)
	require.NotEmpty(t, d.Panels)

	ids, taken, shown := map[int]bool{}, map[[2]int]string{}, map[string]bool{}
	for _, p := range d.Panels {
		assert.False(t, ids[p.ID] || p.ID == 0, "%s: its id", p.Title)
		ids[p.ID] = true
		assert.Contains(t, []string{"timeseries", "stat"}, p.Type, p.Title)
		assert.Equal(t, "${datasource}", p.Datasource.UID, p.Title)
		assert.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				assert.Empty(t, taken[[2]int{x, y}], "%s stands on another", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			requireSeries(t, target.Expr, series, shown)
		}
	}
	for name := range series {
		if strings.HasPrefix(name, "walletcrew_") {
			assert.True(t, shown[name], "the dashboard leaves out %s", name)
		}
	}
}

// requireSeries looks at each name in the expression: it is a word of PromQL, a series, or a label of that series.
func requireSeries(t *testing.T, expr string, series map[string][]string, shown map[string]bool) {
	t.Helper()
	var labels []string
	found := false
	names := word.FindAllString(regexp.MustCompile(`\[[^\]]*\]`).ReplaceAllString(quoted.ReplaceAllString(expr, ""), ""), -1)
	for _, name := range names {
		if of, ok := series[name]; ok {
			found, shown[name], labels = true, true, append(labels, of...)
		}
	}
	assert.True(t, found, "no series in %s", expr)
	for _, name := range names {
		if _, ok := series[name]; !ok && !slices.Contains(promQL, name) {
			assert.Contains(t, labels, name, "%s: there are %q", expr, slices.Sorted(maps.Keys(series)))
		}
	}
}

func TestTheAlertsAskForWhatIsScraped(t *testing.T) {
	t.Parallel()
	series := seriesIn(scrape(t))
	text, err := os.ReadFile("../../docs/operating.md")
	require.NoError(t, err)
	alerts := regexp.MustCompile(`(?m)^ +expr: (.*)$`).FindAllStringSubmatch(string(text), -1)
	require.Len(t, alerts, 6)
	for _, alert := range alerts {
		requireSeries(t, alert[1], series, map[string]bool{})
	}
}

func TestTheProgramEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, "127.0.0.1:0") }()
	stop()
	require.NoError(t, <-ended)
}
