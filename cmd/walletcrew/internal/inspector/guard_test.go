package inspector

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

func bodyOf(t testing.TB, response *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(text)
}

func TestAForeignHostIsRefused(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	port := o.url[strings.LastIndex(o.url, ":")+1:]
	for host, allowed := range map[string]bool{
		"127.0.0.1:" + port: true, "localhost:" + port: true, "LOCALHOST:" + port: true, "[::1]:" + port: true,
		"evil.example": false, "evil.example:" + port: false, "127.0.0.1": false, "localhost": false, "127.0.0.1:1": false,
		"127.0.0.1.evil.example:" + port: false, "localhost.evil.example:" + port: false, "0.0.0.0:" + port: false,
		"127.0.0.2:" + port: false, "[::]:" + port: false, "localhost.:" + port: false, "::1:" + port: false, ":" + port: false,
		"2130706433:" + port: false, "127.1:" + port: false, "user@localhost:" + port: false,
	} {
		for _, path := range []string{"/", "/assets/app.js", "/api/stream?after=x", "/api/records/a"} {
			if allowed && path == "/api/stream?after=x" {
				continue // it doesn't end
			}
			response := o.request(t, http.MethodGet, path, "", func(r *http.Request) { r.Host = host })
			assert.Equal(t, !allowed, response.StatusCode == http.StatusForbidden, "%s %s: %d", host, path, response.StatusCode)
		}
	}
}

func TestWhatDoesNotComeOverLoopbackIsRefused(t *testing.T) {
	t.Parallel()
	status := func(ctx context.Context) int {
		recorder := httptest.NewRecorder()
		New(NewStore(0, 0), &fake{}, Options{}).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "http://localhost/", nil).WithContext(ctx))
		return recorder.Code
	}
	at := func(ip string) context.Context {
		return context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(ip), Port: 80})
	}
	assert.Equal(t, http.StatusForbidden, status(t.Context()), "nobody knows where it came in")
	assert.Equal(t, http.StatusForbidden, status(at("10.1.2.3")), "the command listens on loopback only; if it doesn't, this still refuses")
	assert.Equal(t, http.StatusOK, status(at("127.0.0.1")))
	assert.Equal(t, http.StatusOK, status(at("::1")))
}

func TestWhatChangesSomethingNeedsTheToken(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	o.store.Add(delivery("Pass:Created", `{"__id":"a"}`))
	id := o.store.List(1)[0].ID
	paths := map[string]string{
		"/api/records/" + id + "/replay": "{}", "/api/records/" + id + "/duplicate": "{}", "/api/records/" + id + "/tamper": "{}",
		"/api/send": `{"event":"Pass:Created","body":"{}"}`, "/api/webhooks": `{"id":"a","enabled":false}`,
	}
	for path, body := range paths {
		for name, change := range map[string]func(r *http.Request){
			"no token":         func(r *http.Request) { r.Header.Del(tokenHeader) },
			"another token":    func(r *http.Request) { r.Header.Set(tokenHeader, strings.Repeat("A", len(o.token))) },
			"half the token":   func(r *http.Request) { r.Header.Set(tokenHeader, o.token[:len(o.token)/2]) },
			"another origin":   func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
			"no origin at all": func(r *http.Request) { r.Header.Set("Origin", "null") },
			"another port":     func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") },
			"another site":     func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
			"the same site":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		} {
			response := o.request(t, http.MethodPost, path, body, change)
			assert.Equal(t, http.StatusForbidden, response.StatusCode, "%s with %s", path, name)
		}
	}
	assert.Empty(t, o.fake.called(), "no action was called")
	for path, body := range paths {
		response := o.request(t, http.MethodPost, path, body, func(r *http.Request) {
			r.Header.Set("Origin", o.url)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		})
		assert.NotEqual(t, http.StatusForbidden, response.StatusCode, path)
	}
	assert.Len(t, o.fake.called(), len(paths))
}

func TestOtherSitesCannotReadTheAPI(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	for _, site := range []string{"cross-site", "same-site"} {
		response := o.request(t, http.MethodGet, "/api/webhooks", "", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", site) })
		assert.Equal(t, http.StatusForbidden, response.StatusCode, site)
	}
}

func TestThePageAnswersAPlainGet(t *testing.T) {
	t.Parallel()
	o := open(t, Options{Title: `<b>"title"`, Endpoint: "http://user:password@127.0.0.1:1/"})
	response := o.request(t, http.MethodGet, "/", "", func(r *http.Request) { r.Header.Del(tokenHeader) })
	assert.Equal(t, http.StatusOK, response.StatusCode)
	text := bodyOf(t, response)
	assert.Contains(t, text, o.token)
	assert.NotContains(t, text, "<b>")
	assert.NotContains(t, text, "password")
}

func TestEachAnswerHasTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	o := open(t, Options{})
	for _, path := range []string{"/", "/assets/app.js", "/assets/index.html", "/assets/..%2fhandler.go", "/nothing", "/api/webhooks", "/api/records/none"} {
		response := o.request(t, http.MethodGet, path, "", nil)
		h := response.Header
		assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), path)
		assert.Equal(t, "no-store", h.Get("Cache-Control"), path)
		assert.Equal(t, "no-referrer", h.Get("Referrer-Policy"), path)
		assert.Equal(t, "same-origin", h.Get("Cross-Origin-Resource-Policy"), path)
		assert.Empty(t, h.Get("Access-Control-Allow-Origin"), path)
		csp := h.Get("Content-Security-Policy")
		assert.NotContains(t, csp, "unsafe", path)
		assert.Contains(t, csp, "default-src 'none'", path)
		assert.Contains(t, csp, "frame-ancestors 'none'", path)
		if strings.HasPrefix(path, "/assets/i") || strings.HasPrefix(path, "/assets/.") {
			assert.Equal(t, http.StatusNotFound, response.StatusCode, path)
		}
	}
}

func TestTheInspectorNeverShowsASecret(t *testing.T) {
	t.Parallel()
	const secret = string(testSecret)
	o := open(t, Options{
		ForwardTo: "http://localhost:8080/" + secret, Endpoint: "http://a:" + secret + "@localhost/", Tenant: secret,
		Sample: func(string) []byte { return []byte(`{"a":"` + secret + `"}`) },
	})
	r := delivery("Pass:Created", `{"__id":"`+secret+`","a":"`+secret+`"}`)
	r.Event, r.Tenant, r.Answer, r.Error, r.Findings = secret, secret, secret, secret, []string{secret}
	r.Header.Set("Authorization", "Bearer an-api-key")
	r.Header["x-api-key"] = []string{"an-api-key"}
	r.Header.Set("X-Anything", secret)
	o.store.Add(r)
	binary := r
	binary.ID, binary.Body = "binary", []byte("\xff"+secret)
	o.store.Add(binary)
	o.fake.webhooks = []Webhook{{ID: "a", Endpoint: "https://a:" + secret + "@example.com", Description: secret}}
	check := func(path string) {
		response := o.request(t, http.MethodGet, path, "", nil)
		text := bodyOf(t, response)
		assert.Equal(t, http.StatusOK, response.StatusCode, path)
		assert.NotContains(t, text, secret, path)
		assert.NotContains(t, text, "an-api-key", path)
	}
	for _, path := range []string{"/", "/api/sample?event=a", "/api/webhooks"} {
		check(path)
	}
	for _, id := range []string{r.ID, "binary"} {
		for _, path := range []string{"", "/body", "/curl", "/test"} {
			check("/api/records/" + id + path)
		}
	}
	check("/api/records/" + r.ID + "/event")
	_, text := firstMessage(t, o, "")
	assert.NotContains(t, text, secret)
	assert.Contains(t, text, "[redacted]")

	o.fake.err = walletcrew.ErrNoSecret
	response := o.request(t, http.MethodPost, "/api/send", `{"event":"a","body":"{}"}`, nil)
	assert.Equal(t, http.StatusUnprocessableEntity, response.StatusCode)
	assert.Contains(t, bodyOf(t, response), "no secret", "an error's text is shown")
}

// The page's own files ask nobody, make no markup of texts, and are small.
func TestThePageIsSmallAndKeepsToItself(t *testing.T) {
	t.Parallel()
	total := 0
	for _, file := range mustGlob(t, "*") {
		content, err := fs.ReadFile(assets, file)
		require.NoError(t, err)
		total += len(content)
		text := string(content)
		for _, address := range regexp.MustCompile(`(https?:)?//[a-z0-9.-]+`).FindAllString(text, -1) {
			if strings.HasPrefix(address, "//") {
				continue // a comment
			}
			assert.Contains(t, []string{"http://www.w3.org", "http://localhost"}, address, file)
		}
		if strings.HasSuffix(file, ".js") {
			assert.NotRegexp(t, `innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc|createContextualFragment|\.cssText`, text, file)
		}
		assert.NotRegexp(t, `\son[a-z]+="|<style|style="`, text, file)
	}
	assert.Less(t, total, 200_000)
}

func mustGlob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := fs.Glob(assets, pattern)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}
