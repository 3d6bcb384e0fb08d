package inspector

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

//go:embed page
var embedded embed.FS

var (
	page   = template.Must(template.ParseFS(embedded, "page/index.html"))
	assets = func() fs.FS {
		sub, err := fs.Sub(embedded, "page")
		if err != nil {
			panic(err) // it is embedded
		}
		return sub
	}()
)

// An Inspector serves the page. It is an [http.Handler], safe for concurrent use.
type Inspector struct {
	store   *Store
	actions Actions
	options Options

	token    string // whoever can read the page may change things
	instance string // of this process: a page of another one loads itself anew
	routes   http.Handler
	closed   context.Context
	close    context.CancelFunc
}

// New returns the inspector of a store. It answers only what comes over a loopback address, so serve it on one.
func New(store *Store, actions Actions, o Options) *Inspector {
	if o.Title == "" {
		o.Title = "walletcrew"
	}
	if o.Mode == "" {
		o.Mode = Dev
	}
	if o.Events == nil {
		for _, name := range walletcrew.Events() {
			o.Events = append(o.Events, string(name))
		}
	}
	i := &Inspector{store: store, actions: actions, options: o, token: rand.Text(), instance: rand.Text()[:8]}
	i.closed, i.close = context.WithCancel(context.Background())
	i.routes = i.guard(i.mux())
	return i
}

// ServeHTTP is [http.Handler]'s.
func (i *Inspector) ServeHTTP(w http.ResponseWriter, r *http.Request) { i.routes.ServeHTTP(w, r) }

// Close ends the event streams of all open pages, so that the server's Shutdown doesn't wait for them:
// srv.RegisterOnShutdown(i.Close). All else goes on working. It may be called more than once.
func (i *Inspector) Close() { i.close() }

func (i *Inspector) mux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", i.servePage)
	mux.HandleFunc("GET /assets/{file}", serveAsset)

	mux.HandleFunc("GET /api/stream", i.serveStream)
	mux.HandleFunc("GET /api/search", i.serveSearch)
	mux.HandleFunc("GET /api/sample", i.serveSample)
	mux.HandleFunc("GET /api/records/{id}", i.withRecord(i.serveRecord))
	mux.HandleFunc("GET /api/records/{id}/body", i.withRecord(i.serveBody))
	mux.HandleFunc("GET /api/records/{id}/event", i.withRecord(i.serveEvent))
	mux.HandleFunc("GET /api/records/{id}/curl", i.withRecord(i.serveCurl))
	mux.HandleFunc("GET /api/records/{id}/test", i.withRecord(i.serveTest))
	mux.HandleFunc("GET /api/webhooks", i.serveWebhooks)

	mux.HandleFunc("POST /api/records/{id}/replay", i.withRecord(i.act(i.actions.Replay)))
	mux.HandleFunc("POST /api/records/{id}/duplicate", i.withRecord(i.act(i.actions.Duplicate)))
	mux.HandleFunc("POST /api/records/{id}/tamper", i.withRecord(i.act(i.actions.Tamper)))
	mux.HandleFunc("POST /api/send", i.serveSend)
	mux.HandleFunc("POST /api/webhooks", i.serveSetEnabled)
	return mux
}

// settings are what the page's script reads.
type settings struct {
	Instance  string   `json:"instance"`
	Mode      string   `json:"mode"`
	Tenant    string   `json:"tenant"`
	Endpoint  string   `json:"endpoint"`
	ForwardTo string   `json:"forwardTo"`
	Events    []string `json:"events"`
	Max       int      `json:"max"`
}

func (i *Inspector) servePage(w http.ResponseWriter, _ *http.Request) {
	o := i.options
	config, err := json.Marshal(settings{
		Instance: i.instance, Mode: o.Mode, Tenant: o.Tenant, Endpoint: i.url(o.Endpoint), ForwardTo: i.url(o.ForwardTo),
		Events: o.Events, Max: i.store.maxRecords,
	})
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	var buf bytes.Buffer
	err = page.Execute(&buf, map[string]string{
		"Title": o.Title, "Token": i.token, "Settings": i.hide(string(config)), "Mode": o.Mode, "Version": o.Version,
	})
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(buf.Bytes())
}

func serveAsset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	content, err := fs.ReadFile(assets, name)
	kind := mime.TypeByExtension(path.Ext(name))
	switch path.Ext(name) { // the machine's own table may say otherwise
	case ".js":
		kind = "text/javascript; charset=utf-8"
	case ".css":
		kind = "text/css; charset=utf-8"
	case ".svg":
		kind = "image/svg+xml"
	default:
		err = fs.ErrNotExist // the page itself is a template
	}
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(content) //nolint:gosec // an embedded file
}

// url is an address as it may be shown: without a password.
func (i *Inspector) url(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not a URL)"
	}
	return i.hide(u.Redacted())
}
