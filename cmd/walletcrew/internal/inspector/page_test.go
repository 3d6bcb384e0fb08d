package inspector

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests of this file see the page as a user does, in Chromium. They run one after the other: the browser is one.

const visibleRows = `[...document.querySelectorAll("#rows [role=row]:not([hidden])")].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)`

// shown are the cells of a column, from the top.
func (b *tab) shown(column string) []string {
	b.t.Helper()
	return eval[[]string](b, visibleRows+`.map((row) => row.querySelector(".c-`+column+`").innerText.trim())`)
}

func (b *tab) key(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		for _, r := range k {
			b.press(kb.Keys[r])
		}
	}
}

// press is a key as a keyboard has it: unlike chromedp's, no character follows where the page has taken the key for a command.
func (b *tab) press(k *kb.Key) {
	b.t.Helper()
	params := input.DispatchKeyEventParams{
		Type: input.DispatchKeyEventTypeKeyDown, Key: k.Key, Code: k.Code, Text: k.Text, UnmodifiedText: k.Unmodified,
		WindowsVirtualKeyCode: k.Windows, NativeVirtualKeyCode: k.Native,
	}
	_, err := chromedp.Call(b.ctx, input.DispatchKeyEvent, params)
	require.NoError(b.t, err)
	params.Type, params.Text, params.UnmodifiedText = input.DispatchKeyEventTypeKeyUp, "", ""
	_, err = chromedp.Call(b.ctx, input.DispatchKeyEvent, params)
	require.NoError(b.t, err)
}

func (b *tab) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

func (b *tab) untilText(selector, text string) {
	b.t.Helper()
	encoded, err := json.Marshal(text)
	require.NoError(b.t, err)
	b.until(`document.querySelector(`+quote(selector)+`)?.innerText.replace(/\s+/g, " ").includes(`+string(encoded)+`)`, selector+" shows "+text)
}

func (b *tab) untilRows(n int) {
	b.t.Helper()
	b.until(visibleRows+`.length === `+strconv.Itoa(n), fmt.Sprint(n, " rows are shown"))
}

func untilCalled(t *testing.T, f *fake, call string) {
	t.Helper()
	require.Eventually(t, func() bool { return slices.Contains(f.called(), call) }, patience, 5*time.Millisecond, "%s; there was %v", call, f.called())
}

func TestPageADeliveryAppearsWithinASecond(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	b.open(o.url)
	b.untilText("#empty", "Waiting for the first delivery")
	var took []time.Duration
	for n := range 7 {
		start := time.Now()
		o.store.Add(delivery("Pass:Installed", passBody("", n)))
		b.untilRows(n + 1)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("a delivery appears after %v (median of %d)", took[len(took)/2], len(took))
	assert.Less(t, took[len(took)/2], time.Second)
	assert.Equal(t, "0 px", eval[string](b, `document.querySelector("#empty").offsetHeight + " px"`), "the empty state is gone")
}

func TestPageARowSaysWhatBecameOfTheDelivery(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	r := delivery("Pass:Installed", passBody("the-id", 1))
	r.Status, r.Duration = 0, 0
	o.store.Add(r)
	b.open(o.url)
	b.untilRows(1)
	assert.Equal(t, []string{"…"}, b.shown("status"), "it was passed on, and there is no answer yet")
	b.click("#rows [role=row]")
	b.untilText("#d-service", "Waiting for its answer")
	b.click("#a-tamper")
	o.store.Update(r.ID, func(r *Record) { r.Status, r.Duration, r.Answer = 503, 1500*time.Millisecond, `{"error":"later"}` })
	b.untilText("#d-service", "Answered 503 in 1.50 s")
	b.untilText("#d-service", `{"error":"later"}`)
	assert.Contains(t, b.shown("status"), "503")
	assert.Contains(t, b.shown("duration"), "1.50 s")
	assert.Contains(t, b.shown("id"), "the-id")
	assert.Contains(t, b.shown("tenant"), "acme")
	assert.Contains(t, b.shown("verdict"), "verified")
	assert.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3}$`, b.shown("time")[0])
	assert.Equal(t, "a-tamper", eval[string](b, `document.activeElement.id`), "an update takes the focus from nobody")

	failed := delivery("Pass:Installed", passBody("x", 2))
	failed.Status, failed.Error = 0, "connection refused"
	o.store.Add(failed)
	plain := delivery("Pass:Installed", passBody("y", 3))
	plain.Status, plain.ForwardURL = 0, ""
	o.store.Add(plain)
	b.until(visibleRows+`[0].querySelector(".c-status").innerText === "–"`, "one that isn't passed on says so")
	assert.Equal(t, "failed", b.shown("status")[1])
}

func TestPageFilters(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	for n := range 12 {
		r := delivery([]string{"Pass:Installed", "Pass:Updated", "Customer:Upserted"}[n%3], passBody(fmt.Sprintf("id-%02d", n), n))
		if n%4 == 0 {
			r.Verdict = Forged
		}
		o.store.Add(r)
	}
	b.open(o.url)
	b.untilRows(12)

	b.key("/")
	assert.Equal(t, "search", eval[string](b, `document.activeElement.id`))
	b.key("upserted")
	b.untilRows(4)
	assert.Equal(t, "4 of 12", b.text("#count"))
	b.untilText("#announce", "4 of 12 deliveries shown")
	b.key(kb.Escape)
	b.untilRows(12)
	b.key("id-07")
	b.untilRows(1)
	b.key(kb.Escape)
	b.key(`"email":"ada11@`)
	b.untilRows(1)
	assert.Equal(t, []string{"id-11"}, b.shown("id"), "the text of the bodies is searched too")
	b.key(kb.Escape)
	b.untilRows(12)

	b.do(chromedp.SetValue(chromedp.CSS("#event"), "Pass:Updated"), chromedp.Evaluate[chromedp.Void](`void document.querySelector("#event").dispatchEvent(new Event("change"))`))
	b.untilRows(4)
	b.click(`.chip[data-verdict="forged"]`)
	b.untilRows(1)
	assert.Equal(t, []string{"forged"}, b.shown("verdict"))
	b.click(`.chip[data-verdict="verified"]`)
	b.untilRows(4)
	b.click(`.chip[data-verdict="verified"]`)
	b.untilRows(1)

	o.store.Add(delivery("Pass:Updated", passBody("other", 50)))
	forged := delivery("Pass:Updated", passBody("late", 51))
	forged.Verdict = Forged
	o.store.Add(forged)
	b.untilRows(2)
	assert.Equal(t, "late", b.shown("id")[0], "what is new is filtered too")
	b.key("/", "nothing has this")
	b.untilText("#empty", "No delivery matches")
	b.click("#empty button")
	b.untilRows(14)
}

func TestPageSaysWhatToDoNext(t *testing.T) {
	b, o := browse(t), open(t, Options{Endpoint: "http://127.0.0.1:4041/webhooks", Sample: func(event string) []byte { return []byte(`{"__id":"s","of":"` + event + `"}`) }})
	b.open(o.url)
	b.untilText("#empty", "walletcrew trigger Pass:Installed")
	b.untilText("#empty", "http://127.0.0.1:4041/webhooks")
	b.untilText("#empty", "walletcrew dev --forward-to")
	assert.True(t, eval[bool](b, `document.querySelector("#plots").hidden`), "there is nothing to plot")
	b.click("#empty button.primary")
	untilCalled(t, o.fake, "send Pass:Installed acme from= sign=")
	assert.Equal(t, []string{`{"__id":"s","of":"Pass:Installed"}`}, o.fake.sent)
	b.untilText("#d-title", "Pass:Installed")
	b.untilRows(1)

	listen := open(t, Options{Mode: Listen, Endpoint: "https://example.com/hooks"})
	b.open(listen.url)
	b.untilText("#empty", "installing a pass")
	b.untilText("#empty", "--to https://example.com/hooks")
}

func TestPagePlots(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	for n, verdict := range []string{Verified, Verified, Forged, Unsigned, Malformed, Refused} {
		r := delivery("Pass:Installed", passBody(fmt.Sprint(n), n))
		r.Verdict, r.Time, r.Duration = verdict, time.Now().Add(-time.Duration(n)*40*time.Second), time.Duration(1+n)*100*time.Millisecond
		o.store.Add(r)
	}
	b.open(o.url)
	b.untilText("#plot-summary", "6 deliveries in the last 5 minutes, 1 forged, 1 unsigned, 1 malformed, 1 refused; your service: median 400 ms, slowest 600 ms")
	bars := func(verdict string) int {
		return eval[int](b, `document.querySelectorAll("#plot-count .f-`+verdict+`").length`)
	}
	for verdict, n := range map[string]int{Verified: 2, Forged: 1, Unsigned: 1, Malformed: 1, Refused: 1} {
		assert.Equal(t, n, bars(verdict), verdict)
	}
	assert.Equal(t, 6, eval[int](b, `document.querySelectorAll("#plot-latency .median").length`))
	assert.Contains(t, eval[string](b, `document.querySelector("#plot-latency").getAttribute("aria-label")`), "median 400 ms", "in words too")
	b.do(chromedp.SetValue(chromedp.CSS("#range"), "60"), chromedp.Evaluate[chromedp.Void](`void document.querySelector("#range").dispatchEvent(new Event("change"))`))
	b.untilText("#plot-summary", "in the last minute")
	assert.Zero(t, bars(Refused), "it is older")
	b.do(chromedp.SetValue(chromedp.CSS("#range"), "0"), chromedp.Evaluate[chromedp.Void](`void document.querySelector("#range").dispatchEvent(new Event("change"))`))
	b.untilText("#plot-summary", "6 deliveries in the time since the first")
	at := eval[[]float64](b, `(() => { const r = document.querySelector("#plot-count .f-refused").getBoundingClientRect(); return [r.x + r.width / 2, r.y + 1]; })()`)
	b.do(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, at[0], at[1]))
	b.untilText("#count-readout", "1 refused")
	b.untilText("#latency-readout", "median 600 ms")
}

func TestPageIsUsedByKeyboard(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	for n := range 60 {
		o.store.Add(delivery("Pass:Installed", passBody(fmt.Sprintf("id-%02d", n), n)))
	}
	b.open(o.url)
	b.untilText("#count", "60 deliveries")
	selected := func() string {
		return eval[string](b, `document.querySelector("#rows [aria-selected=true] .c-id")?.innerText.trim() ?? ""`)
	}
	b.key("j")
	assert.Equal(t, "id-59", selected())
	b.key("j", "j", "k")
	assert.Equal(t, "id-58", selected())
	b.key("k", "k", "k")
	assert.Equal(t, "id-59", selected(), "there is nothing above")
	b.do(chromedp.Focus(chromedp.CSS("#grid")))
	b.key(kb.End)
	assert.Equal(t, "id-00", selected())
	assert.True(t, eval[bool](b, `document.getElementById(document.querySelector("#grid").getAttribute("aria-activedescendant")).getAttribute("aria-selected") === "true"`),
		"a screen reader is told which row it is")
	b.key(kb.ArrowUp, kb.ArrowUp)
	assert.Equal(t, "id-02", selected())
	b.key(kb.Home)
	assert.Equal(t, "id-59", selected())

	b.key("j", kb.Enter)
	b.untilText("#detail", "id-58")
	assert.Equal(t, "d-title", eval[string](b, `document.activeElement.id`), "the focus goes to what was opened")
	b.key("j")
	b.untilText("#detail", "id-57")
	r := o.store.List(3)[2]
	b.key("r")
	untilCalled(t, o.fake, "replay "+r.ID)
	b.untilText("#toast", "Replayed")
	b.key(kb.Escape)
	b.until(`document.querySelector("#detail").hidden`, "Escape closes it")
	assert.Equal(t, "grid", eval[string](b, `document.activeElement.id`), "the focus goes back")
	b.key("?")
	b.until(`document.querySelector("#help-dialog").open`, "? opens the help")
	b.key("r", "j")
	b.key(kb.Escape)
	b.until(`!document.querySelector("#help-dialog").open`, "Escape closes it")
	b.key("e")
	b.until(`document.querySelector("#editor").open`, "e opens the editor")
	b.key(kb.Escape, "/", "rje?")
	assert.Equal(t, "rje?", eval[string](b, `document.querySelector("#search").value`), "what is typed into a field is text")
	assert.Len(t, o.fake.called(), 1, "and no command: %v", o.fake.called())
}

func TestPageReplays(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	r := delivery("Pass:Installed", passBody("the-id", 1))
	o.store.Add(r)
	b.open(o.url + "/#/delivery/" + r.ID)
	b.untilText("#d-title", "Pass:Installed")
	b.untilText("#d-facts", "first")
	for id, call := range map[string]string{"#a-replay": "replay ", "#a-duplicate": "duplicate ", "#a-tamper": "tamper "} {
		b.click(id)
		untilCalled(t, o.fake, call+r.ID)
	}
	b.untilRows(4)
	b.until(`!document.querySelector("#toast").hidden`, "the page says so")
	b.click("#toast-action")
	b.untilText("#d-facts", "came before")
	b.untilText("#d-same-section", "Other deliveries with this __id")
	assert.Len(t, o.fake.called(), 3)

	o.fake.mu.Lock()
	o.fake.err = fmt.Errorf("your service doesn't run: <b>start it</b>")
	o.fake.mu.Unlock()
	b.click("#a-replay")
	b.untilText("#toast", "Your service doesn't run: <b>start it</b>")
	b.forgive() // the browser reports the answer's status
}

func TestPageEditsAndSends(t *testing.T) {
	b, o := browse(t), open(t, Options{Sample: func(event string) []byte { return []byte(`{"__id":"new","sampleOf":"` + event + `"}`) }})
	r := delivery("Pass:Installed", `{"__id":"the-id","big":12345678901234567890,"nested":{"__id":"inner"},"a":1,"a":2}`)
	o.store.Add(r)
	b.open(o.url + "/#/delivery/" + r.ID)
	b.untilText("#d-title", "Pass:Installed")
	b.click("#a-edit")
	b.until(`document.querySelector("#editor").open`, "the form opens")
	text := eval[string](b, `document.querySelector("#e-body").value`)
	assert.Contains(t, text, `"big": 12345678901234567890,`, "a large number keeps its digits")
	assert.Contains(t, text, "\"a\": 1,\n  \"a\": 2", "a member that stands twice stays so")
	assert.NotContains(t, text, "the-id", "it has a new __id, or it would be taken for a duplicate")
	assert.Contains(t, text, `"__id": "inner"`)
	b.do(chromedp.SetValue(chromedp.CSS("#e-event"), "Pass:Updated"), chromedp.SetValue(chromedp.CSS("#e-tenant"), "another"),
		chromedp.SetValue(chromedp.CSS("#e-body"), "{ \"__id\":\"mine\",\n \"é\" : 1 }"), chromedp.SetValue(chromedp.CSS("#e-sign"), "wrong"))
	b.click("#e-send")
	untilCalled(t, o.fake, "send Pass:Updated another from="+r.ID+" sign=wrong")
	assert.Equal(t, []string{"{ \"__id\":\"mine\",\n \"é\" : 1 }"}, o.fake.sent, "exactly what stood there")
	b.until(`!document.querySelector("#editor").open`, "the form closes")
	b.click("#toast-action")
	b.untilText("#d-badges", "forged")

	b.click("#new")
	b.until(`document.querySelector("#e-body").value.includes("sampleOf")`, "the form begins with a sample")
	b.do(chromedp.Focus(chromedp.CSS("#e-event")), chromedp.Evaluate[chromedp.Void](`document.querySelector("#e-event").select()`))
	b.key("Customer:Upserted", kb.Tab)
	b.until(`document.querySelector("#e-body").value.includes("Customer:Upserted")`, "another event has another sample")
	b.do(chromedp.SetValue(chromedp.CSS("#e-body"), "no json"), chromedp.Evaluate[chromedp.Void](`void document.querySelector("#e-body").dispatchEvent(new Event("input"))`))
	b.untilText("#e-note", "not JSON")
	b.click("#e-send")
	untilCalled(t, o.fake, "send Customer:Upserted acme from= sign=")
}

func TestPageShowsWhyADeliveryIsForged(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	r := delivery("Pass:Installed", passBody("the-id", 1))
	r.Verdict, r.Status, r.Findings = Forged, 401, []string{"the secret has quotes around it: take them off"}
	o.store.Add(r)
	unexplained := delivery("Pass:Installed", passBody("other", 2))
	unexplained.Verdict, unexplained.Status = Forged, 401
	o.store.Add(unexplained)
	b.open(o.url)
	b.untilRows(2)
	assert.Equal(t, []string{"forged", "forged"}, b.shown("verdict"))
	b.key("j", "j", kb.Enter)
	b.untilText("#d-verdict", "The signature does not match the body.")
	b.untilText("#d-verdict", "The secret has quotes around it: take them off.")
	b.key("k")
	b.untilText("#d-verdict", "signed with another secret")
	b.untilText("#plot-summary", "2 forged")
}

func TestPageIsDarkOrLight(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	background := func() string { return eval[string](b, `getComputedStyle(document.body).backgroundColor`) }
	b.media("prefers-color-scheme", "light")
	b.open(o.url)
	light := background()
	b.media("prefers-color-scheme", "dark")
	dark := background()
	assert.NotEqual(t, light, dark, "it follows the system")
	b.click("#theme")
	assert.Equal(t, light, background(), "the button is for the other one")
	b.open(o.url)
	assert.Equal(t, light, background(), "which is remembered")
	b.click("#theme")
	assert.Equal(t, dark, background())
	b.media("prefers-color-scheme", "light")
	assert.Equal(t, light, background(), "and back is the system's again")
}

func TestPageWith10000Deliveries(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	add := func(from, to int) {
		for n := from; n < to; n++ {
			r := delivery([]string{"Pass:Installed", "Pass:Updated"}[n%2], passBody(fmt.Sprintf("id-%05d", n), n))
			r.Time = time.Now().Add(time.Duration(n-10_000) * 25 * time.Millisecond)
			o.store.Add(r)
		}
	}
	add(0, 10_000)
	start := time.Now()
	b.open(o.url)
	b.untilText("#count", "10,000 deliveries")
	t.Logf("10,000 deliveries are shown after %v", time.Since(start))
	inPage := func() int { return eval[int](b, `document.querySelectorAll("#rows [role=row]").length`) }
	assert.Less(t, inPage(), 60, "only the rows in view are in the page")
	assert.Equal(t, "10001", eval[string](b, `document.querySelector("#grid").getAttribute("aria-rowcount")`))

	const frames = 120
	before := b.cpu()
	eval[bool](b, fmt.Sprintf(`new Promise((done) => {
		const grid = document.querySelector("#grid");
		let n = 0;
		const step = () => {
			grid.scrollTop = (++n * 7919 * 34) %% (10000 * 34); // far away each time: no row can stay
			if (n < %d) requestAnimationFrame(step);
			else done(true);
		};
		requestAnimationFrame(step);
	})`, frames))
	work := (b.cpu() - before) / frames
	t.Logf("scrolling by whole pages: %v of the main thread's CPU time a frame", work)
	assert.Less(t, work, 33*time.Millisecond, "30 frames a second on a slow machine")
	assert.Less(t, inPage(), 60)

	b.do(chromedp.Focus(chromedp.CSS("#grid")))
	b.key(kb.End)
	b.until(`document.querySelector("#rows [aria-selected=true] .c-id")?.innerText.trim() === "id-00000"`, "the oldest is there")
	b.key("/", "id-04242")
	b.untilRows(1)
	b.key(kb.Escape)

	b.do(chromedp.Evaluate[chromedp.Void](`void (document.querySelector("#grid").scrollTop = 100000)`))
	middle := visibleRows + `.find((r) => r.getBoundingClientRect().top >= document.querySelector("#grid").getBoundingClientRect().top + 34)?.querySelector(".c-id").innerText.trim()`
	const at = "id-07057" // 100,000 pixels are 2,941 rows and a bit; the one below
	b.until(middle+` === "`+at+`"`, "the rows there are drawn")
	add(10_000, 12_000)
	b.until(`!document.querySelector("#fresh").hidden && document.querySelector("#fresh").innerText.includes("2,000 new")`, "the page says how many are new")
	assert.Equal(t, at, eval[string](b, middle), "a reader who has scrolled stays where he was")
	assert.Equal(t, "10001", eval[string](b, `document.querySelector("#grid").getAttribute("aria-rowcount")`), "the page forgets what the command has forgotten")
	assert.Less(t, inPage(), 60)
	b.click("#fresh")
	b.until(visibleRows+`[0].querySelector(".c-id").innerText.trim() === "id-11999"`, "one click leads to the newest")
	heap := eval[float64](b, `performance.memory.usedJSHeapSize`)
	t.Logf("the page's heap: %.1f MB", heap/1e6)
	assert.Less(t, heap, 150e6)
}

var pageLoad = flag.Duration("page-load", 2*time.Second, "for how long 200 deliveries a second come to the page")

func TestPageKeepsUpWith200DeliveriesASecond(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	b.open(o.url)
	eval[bool](b, `(() => { window.tasks = []; new PerformanceObserver((l) => tasks.push(...l.getEntries().map((e) => e.duration))).observe({ type: "longtask" }); return true; })()`)
	before, start := b.cpu(), time.Now()
	n := 0
	for ticker := time.NewTicker(5 * time.Millisecond); time.Since(start) < *pageLoad; <-ticker.C {
		for ; n < int(time.Since(start)/(5*time.Millisecond)); n++ { // a late tick makes up for those that were left out
			r := delivery("Pass:Installed", passBody(fmt.Sprintf("id-%06d", n), n))
			id := r.ID
			r.Status = 0
			o.store.Add(r)
			o.store.Update(id, func(r *Record) { r.Status = 204 })
		}
	}
	held := min(n, 10_000)
	b.untilText("#count", number(held)+" deliveries")
	took := time.Since(start)
	busy := float64(b.cpu()-before) / float64(took)
	tasks := eval[[]float64](b, `tasks.sort((x, y) => y - x)`)
	heap := eval[float64](b, `performance.memory.usedJSHeapSize`)
	t.Logf("%d deliveries in %v: %.0f %% of the main thread's time, %d tasks over 50 ms (longest %v ms), a heap of %.1f MB", n, took.Round(time.Millisecond), 100*busy, len(tasks), tasks[:min(len(tasks), 3)], heap/1e6)
	assert.Less(t, busy, 0.5, "there is time for its user")
	assert.Less(t, heap, 150e6)
	assert.Less(t, eval[int](b, `document.querySelectorAll("#rows [role=row]").length`), 60)
	// None is lost: the newest is at the top, the oldest that is held at the bottom, and each has its answer.
	assert.Equal(t, fmt.Sprintf("id-%06d", n-1), b.shown("id")[0])
	b.do(chromedp.Focus(chromedp.CSS("#grid")))
	b.key(kb.End)
	b.until(fmt.Sprintf(`document.querySelector("#rows [aria-selected=true] .c-id")?.innerText.trim() === "id-%06d"`, n-held), "the oldest is there")
	b.key("/", "204")
	b.untilText("#count", number(held)+" of "+number(held))
}

// number is as the page writes it.
func number(n int) string {
	text := strconv.Itoa(n)
	if len(text) > 3 {
		text = text[:len(text)-3] + "," + text[len(text)-3:]
	}
	return text
}

// cpu is the time that the page's main thread has used: unlike a clock's, it is no longer on a busy machine.
func (b *tab) cpu() time.Duration {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
	require.NoError(b.t, err)
	metrics, err := chromedp.Call(b.ctx, performance.GetMetrics, cdp.Empty{})
	require.NoError(b.t, err)
	for _, metric := range metrics.Metrics {
		if metric.Name == "TaskDuration" {
			return time.Duration(metric.Value * float64(time.Second))
		}
	}
	b.t.Fatal("the browser doesn't say")
	return 0
}

// markup is what a sender may hope to be read as markup.
const markup = `<img src=x onerror="pwned=1"><script>pwned=1</script>"'></textarea>`

func TestPageTakesADeliveryForText(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	r := delivery(markup+"\u202egpj.exe", `{"__id":"`+strings.ReplaceAll(markup, `"`, `\"`)+`","rtl":"\u202eexe.txt `+"\u202egpj.exe\"}")
	r.Tenant, r.Answer, r.Error, r.Findings, r.EventID = markup, markup, markup, []string{markup, markup}, markup
	r.ForwardURL = "http://localhost/" + markup
	r.Header["X-"+markup] = []string{markup}
	r.Verdict = markup
	o.store.Add(r)
	same := r
	same.ID, same.Body = "same", []byte("\xff\x00"+markup)
	o.store.Add(same)
	deep := r
	deep.ID, deep.Body = "deep", []byte(strings.Repeat("[", 50_000)+strings.Repeat("]", 50_000))
	o.store.Add(deep)
	o.fake.webhooks = []Webhook{{ID: markup, Endpoint: "https://example.com/" + markup, Description: markup, Events: []string{markup}}}
	b.open(o.url)
	b.untilRows(3)
	assert.Contains(t, b.shown("event")[0], `\u{202e}gpj.exe`, "what can't be seen is shown")
	assert.Equal(t, "refused", b.shown("verdict")[0], "a verdict that nobody knows is shown as the worst")
	for _, id := range []string{r.ID, "same", "deep"} {
		b.do(chromedp.Evaluate[chromedp.Void](`void (location.hash = "#/delivery/` + id + `")`))
		b.until(`document.querySelector("#a-download").href.includes("`+id+`")`, "it is shown")
		b.click("#b-raw")
		b.click("#b-pretty")
		assert.Contains(t, b.text("#d-title"), "<img src=x")
	}
	b.do(chromedp.Evaluate[chromedp.Void](`void (location.hash = "#/delivery/` + r.ID + `")`))
	b.untilText("#d-body", `\u{202e}gpj.exe`)
	b.click("#a-edit")
	b.until(`document.querySelector("#editor").open`, "it is edited")
	b.key(kb.Escape)
	b.click("#to-webhooks")
	b.untilText("#w-list", markup)
	assert.True(t, eval[bool](b, `typeof pwned === "undefined" && !document.querySelector("img[src=x], main script")`))
	refused := eval[string](b, `(() => { try { document.body.innerHTML = "<b>"; return "it went through"; } catch (e) { return e.name; } })()`)
	assert.Equal(t, "TypeError", refused, "the policy refuses what makes markup of a text")
	b.forgive()
}

func TestPageShowsAndSwitchesWebhooks(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	o.fake.webhooks = []Webhook{
		{ID: "aaaaa", Endpoint: "http://127.0.0.1:4041/webhooks", Events: []string{"Pass:*"}, Enabled: true},
		{ID: "b/../b", Endpoint: "https://example.com/x", Events: []string{"*"}},
	}
	b.open(o.url)
	b.click("#to-webhooks")
	b.untilText("#w-list", "https://example.com/x")
	b.untilText("#w-list", "Pass:*")
	b.click("tbody tr:nth-child(2) [role=switch]")
	b.until(`document.querySelector("tbody tr:nth-child(2) [role=switch]").ariaChecked === "true"`, "it is on")
	b.click("tbody tr:nth-child(1) [role=switch]")
	b.until(`document.querySelector("tbody tr:nth-child(1) [role=switch]").ariaChecked === "false"`, "it is off")
	assert.Equal(t, []string{"enabled b/../b true", "enabled aaaaa false"}, o.fake.called())
	o.fake.mu.Lock()
	o.fake.webhooks = nil
	o.fake.mu.Unlock()
	b.click("#w-refresh")
	b.untilText("#w-list", "No webhooks")

	listen := open(t, Options{Mode: Listen})
	listen.fake.webhooks = []Webhook{{ID: "aaaaa", Endpoint: "https://example.com/x", Events: []string{"*"}, Enabled: true}}
	b.open(listen.url + "/#/webhooks")
	b.untilText("#w-list", "https://example.com/x")
	assert.Zero(t, eval[int](b, `document.querySelectorAll("[role=switch]").length`), "the real platform's are only shown")
}

func TestPageCopies(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	r := delivery("Pass:Installed", passBody("the-id", 1))
	o.store.Add(r)
	b.open(o.url + "/#/delivery/" + r.ID)
	b.untilText("#d-title", "Pass:Installed")
	b.do(chromedp.Evaluate[chromedp.Void](`void (navigator.clipboard.write = async ([item]) => { window.copied = await (await item.getType("text/plain")).text(); })`))
	b.click("#a-curl")
	b.untilText("#toast", "Copied as curl")
	assert.Equal(t, o.curl(o.store.get(r.ID), serviceURL), eval[string](b, `copied`))
	b.click("#a-test")
	b.untilText("#toast", "Copied as a Go test")
	assert.Equal(t, o.goTest(o.store.get(r.ID)), eval[string](b, `copied`))
	b.do(chromedp.Evaluate[chromedp.Void](`void (navigator.clipboard.write = async () => { throw new Error("no"); })`))
	b.click("#a-curl")
	b.until(`document.querySelector("#text-dialog").open && document.querySelector("#text-body").value.startsWith("curl ")`, "where copying is forbidden, the text is shown")
	assert.True(t, strings.HasSuffix(eval[string](b, `document.querySelector("#a-download").href`), "/api/records/"+r.ID+"/event"))
}

func TestPageAsksNobodyElse(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	demo(o.store)
	o.fake.webhooks = []Webhook{{ID: "aaaaa", Endpoint: "https://example.com/x", Events: []string{"*"}, Enabled: true}}
	b.open(o.url)
	b.untilText("#plot-summary", "deliveries in the last 5 minutes")
	b.key("j", kb.Enter, "r")
	b.untilText("#toast", "Replayed")
	b.click("#to-webhooks")
	b.untilText("#w-list", "example.com")
	b.click("#to-deliveries")
	b.click("#new")
	b.until(`document.querySelector("#editor").open`, "the form opens")
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Greater(t, len(b.requests), 10)
	for _, address := range b.requests {
		assert.True(t, strings.HasPrefix(address, o.url+"/") || address == "about:blank", address)
	}
	for _, part := range []string{"/assets/style.css", "/api/stream", "/api/records/", "/api/webhooks", "/api/sample"} {
		assert.True(t, slices.ContainsFunc(b.requests, func(address string) bool { return strings.Contains(address, part) }), "the test would see it: %s", part)
	}
}

func TestPageOfARebindingSiteGetsNothing(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	b.do(chromedp.Navigate(strings.Replace(o.url, "127.0.0.1", "rebound.test", 1)))
	text := b.text("body")
	assert.Contains(t, text, "this is not the inspector's own address")
	assert.NotContains(t, text, o.token)
	b.forgive()
}

func TestPageConnectsAgain(t *testing.T) {
	b := browse(t)
	var current atomic.Pointer[Inspector]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { current.Load().ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	store := NewStore(0, 0)
	first := New(store, &fake{store: store}, Options{})
	t.Cleanup(first.Close)
	current.Store(first)
	b.open(server.URL)
	store.Add(delivery("Pass:Installed", passBody("one", 1)))
	b.untilRows(1)
	b.do(chromedp.Evaluate[chromedp.Void](`void (window.same = true)`))
	server.CloseClientConnections()
	store.Add(delivery("Pass:Installed", passBody("two", 2)))
	b.untilRows(2)
	assert.True(t, eval[bool](b, `window.same === true`), "the page is still the same")

	other := NewStore(0, 0)
	other.Add(delivery("Pass:Installed", passBody("of another run", 3)))
	f := &fake{store: other}
	second := New(other, f, Options{})
	t.Cleanup(second.Close)
	current.Store(second)
	first.Close()
	server.CloseClientConnections()
	b.until(`document.querySelector("#rows .c-id")?.innerText.includes("of another run")`, "the page of another run loads itself anew")
	b.untilRows(1)
	b.key("j", "r")
	require.Eventually(t, func() bool { return len(f.called()) == 1 }, patience, 5*time.Millisecond, "and has its token")
	b.forgive()
}

func TestPageFitsANarrowWindow(t *testing.T) {
	b, o := browse(t), open(t, Options{ForwardTo: serviceURL})
	_, forged := demo(o.store)
	for _, width := range []int64{1440, 1024, 860, 700, 420, 320} {
		b.do(chromedp.EmulateViewport(width, 800))
		for _, hash := range []string{"#/", "#/delivery/" + forged, "#/webhooks"} {
			b.open(o.url + "/" + hash)
			b.until(`document.querySelector("#count").innerText !== ""`, "it is loaded")
			assert.LessOrEqual(t, eval[int64](b, `document.documentElement.scrollWidth`), width, "%s at %d", hash, width)
			for _, id := range []string{"help", "theme", "to-webhooks"} {
				assert.True(t, eval[bool](b, fmt.Sprintf(`(() => { const r = document.getElementById(%q).getBoundingClientRect(); return r.left >= 0 && r.right <= innerWidth; })()`, id)), "%s at %d", id, width)
			}
		}
	}
	b.do(chromedp.EmulateViewport(1280, 800))
	b.open(o.url + "/#/")
	b.until(`document.querySelector("#count").innerText !== ""`, "it is loaded")
	assert.True(t, eval[bool](b, `Math.abs(document.querySelector("#new").getBoundingClientRect().top - document.querySelector("#search").getBoundingClientRect().top) < 8`), "the toolbar is one line")
	b.open(o.url + "/#/delivery/" + forged)
	b.untilText("#d-title", ":")
	b.until(`document.querySelector("#plots").offsetHeight > 100`, "the plots are there")
	b.until(`(() => { const row = document.querySelector("#rows [aria-selected=true]"), grid = document.querySelector("#grid").getBoundingClientRect();
		return row && row.getBoundingClientRect().bottom <= grid.bottom + 1 && row.getBoundingClientRect().top >= grid.top; })()`, "the row of what is open is in view")
	b.click("#d-close")
	b.until(`document.querySelector("#detail").hidden`, "it is closed")
}

func TestPageTellsAScreenReader(t *testing.T) {
	b, o := browse(t), open(t, Options{})
	b.open(o.url)
	r := delivery("Pass:Installed", passBody("one", 1))
	r.Verdict = Forged
	o.store.Add(r)
	b.untilText("#announce", "New delivery, forged")
	for n := range 5 {
		o.store.Add(delivery("Pass:Installed", passBody("more", n)))
	}
	b.untilText("#announce", "5 new deliveries")
	assert.Equal(t, "polite", eval[string](b, `document.querySelector("#announce").ariaLive`))
}

func TestPageIsAccessible(t *testing.T) {
	path := os.Getenv("WALLETCREW_TEST_AXE")
	if path == "" {
		missing(t, "axe-core (WALLETCREW_TEST_AXE=$(.ci/axe))")
	}
	axe, err := os.ReadFile(path)
	require.NoError(t, err)
	b, o := browse(t), open(t, Options{ForwardTo: serviceURL, Endpoint: "http://127.0.0.1:4041/webhooks"})
	empty := open(t, Options{ForwardTo: serviceURL})
	_, forged := demo(o.store)
	o.fake.webhooks = []Webhook{{ID: "aaaaa", Endpoint: "https://example.com/x", Events: []string{"*"}, Enabled: true, Description: "of a shop"}}
	type finding struct{ ID, Impact, Help, Targets string }
	check := func(name, theme, url string, keys ...string) {
		b.media("prefers-color-scheme", theme, "prefers-reduced-motion", "reduce")
		b.open(url)
		b.until(`document.querySelector("#count").innerText !== ""`, "it is loaded")
		b.key(keys...)
		_, err := chromedp.Run(b.ctx, chromedp.Evaluate[chromedp.Void](string(axe)+"\n;void 0"))
		require.NoError(t, err)
		findings := eval[[]finding](b, `axe.run(document, { resultTypes: ["violations"] }).then((r) => r.violations.map((v) => ({
			ID: v.id, Impact: v.impact, Help: v.help, Targets: v.nodes.map((n) => n.target.join(" ") + ": " + n.failureSummary).join("\n") })))`)
		for _, f := range findings {
			if f.Impact == "serious" || f.Impact == "critical" {
				t.Errorf("%s: %s (%s): %s\n%s", name, f.ID, f.Impact, f.Help, f.Targets)
			} else {
				t.Logf("%s: %s (%s): %s\n%s", name, f.ID, f.Impact, f.Help, f.Targets)
			}
		}
	}
	for _, theme := range []string{"light", "dark"} {
		check("the list, "+theme, theme, o.url)
		check("a delivery, "+theme, theme, o.url+"/#/delivery/"+forged)
		check("the editor, "+theme, theme, o.url, "j", "e")
		check("the help, "+theme, theme, o.url, "?")
		check("the webhooks, "+theme, theme, o.url+"/#/webhooks")
		check("nothing yet, "+theme, theme, empty.url)
	}
	b.do(chromedp.EmulateViewport(420, 800))
	check("a narrow list", "light", o.url)
	check("a narrow delivery", "light", o.url+"/#/delivery/"+forged)
	b.forgive() // axe tries things that the policy refuses
}
