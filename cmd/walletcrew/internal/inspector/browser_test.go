package inspector

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
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

// A tab is one of a browser of its own.
type tab struct {
	t   testing.TB
	ctx context.Context
}

// browse starts Chromium, or skips the test. WALLETCREW_TEST_CHROMIUM says where it is, if not in PATH. A browser that is asked for
// nothing is on no machine's network: it knows no name but localhost.
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
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1440, 900),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"))
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx), "Chromium doesn't start")
	return &tab{t, ctx}
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
	_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](
		`new Promise((done) => { const look = () => { if (`+script+`) done(true); else setTimeout(look, 20); }; look(); })`, chromedp.EvalAwaitPromise))
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
