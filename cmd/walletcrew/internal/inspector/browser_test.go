package inspector

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// missing skips the test by the name of what it needs, or fails where everything has to be there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
		t.Fatalf("%s is missing, and WALLETCREW_TEST_SERVERS=required", what)
	}
	t.Skipf("%s is missing", what)
}

// One browser serves all tests; each has a tab in a profile of its own.
var chromium struct {
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	err    error
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if chromium.cancel != nil {
		chromium.cancel()
	}
	os.Exit(code)
}

// A tab is a page in the browser.
type tab struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	requests []string // addresses
	errors   []string // of scripts, and what the page's policy refused
}

// browse opens a tab, or skips the test. WALLETCREW_TEST_CHROMIUM says where Chromium is, if not in PATH. The browser knows no name but
// localhost, and rebound.test, which is this machine's too, as after DNS rebinding.
func browse(t testing.TB) *tab {
	t.Helper()
	path := os.Getenv("WALLETCREW_TEST_CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); path == "" && err == nil {
			path = found
		}
	}
	if path == "" {
		missing(t, "Chromium")
	}
	chromium.once.Do(func() {
		options := append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1440, 900),
			chromedp.Flag("disable-dev-shm-usage", true),
			chromedp.Flag("host-resolver-rules", "MAP rebound.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"))
		allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, cancel := chromedp.NewContext(allocator)
		chromium.ctx, chromium.cancel = ctx, func() { cancel(); stop() }
		chromium.err = chromedp.Do(ctx)
	})
	require.NoError(t, chromium.err, "Chromium doesn't start")
	ctx, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, b.listen))
	b.do(chromedp.EmulateViewport(1440, 900))
	for _, enable := range []func() error{
		func() error { _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); return err },
		func() error { _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); return err },
	} {
		require.NoError(t, enable())
	}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		assert.Empty(t, b.errors, "the page reports no errors")
	})
	return b
}

func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, fmt.Sprintf("%+v", e.ExceptionDetails))
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" {
			b.errors = append(b.errors, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

// forgive forgets errors that the test has provoked.
func (b *tab) forgive() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errors = nil
}

// patience is long, since the machine may be busy; nothing waits for it to pass.
const patience = 60 * time.Second

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for _, step := range steps {
		require.NoError(b.t, chromedp.Do(ctx, step))
	}
}

// open loads the page, and waits until it is live.
func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(url))
	b.until(`document.querySelector('#live[data-state="live"]')`, "the page is live")
}

// until waits for a script's value to be true.
func (b *tab) until(script, what string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	// chromedp's own Poll makes functions from text, which the page's policy forbids.
	wait := chromedp.Evaluate[bool](`new Promise((done) => { const look = () => { if (`+script+`) done(true); else setTimeout(look, 20); }; look(); })`,
		chromedp.EvalAwaitPromise)
	_, err := chromedp.Run(ctx, wait)
	for err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "navigated") { // the page was loaded anew
		_, err = chromedp.Run(ctx, wait)
	}
	require.NoError(b.t, err, "waiting until %s", what)
}

func eval[T any](b *tab, script string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err, script)
	return value
}

func (b *tab) text(selector string) string {
	b.t.Helper()
	return eval[string](b, `document.querySelector(`+quote(selector)+`)?.innerText ?? ""`)
}

// media sets what the page's media queries see, such as "prefers-color-scheme", "dark".
func (b *tab) media(pairs ...string) {
	b.t.Helper()
	features := []*emulation.MediaFeature{}
	for i := 0; i < len(pairs); i += 2 {
		features = append(features, &emulation.MediaFeature{Name: pairs[i], Value: pairs[i+1]})
	}
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
	require.NoError(b.t, err)
}

func quote(text string) string {
	return "`" + text + "`"
}
