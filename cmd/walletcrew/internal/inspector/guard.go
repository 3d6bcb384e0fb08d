package inspector

import (
	"crypto/subtle"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// tokenHeader carries the token that stands in the page. A page of another site can't read it, and couldn't set the header.
const tokenHeader = "X-Walletcrew-Token" //nolint:gosec // a header's name

// policy lets the page load its own files and talk to its own server, and nothing else. Trusted types make the browser refuse every
// way from text to markup, so that a slip in the script is an error and not a hole.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// guard refuses what doesn't come from this machine's own page.
func (i *Inspector) guard(next http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-store")

		if !ownHost(r) {
			fail(w, http.StatusForbidden, "this is not the inspector's own address: open it as http://127.0.0.1 with its port")
			return
		}
		if strings.HasPrefix(r.URL.Path, "/api/") && !ownPage(r) {
			fail(w, http.StatusForbidden, "the request comes from a page of another site")
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if err := crossOrigin.Check(r); err != nil {
				fail(w, http.StatusForbidden, "the request comes from a page of another site")
				return
			}
			if subtle.ConstantTimeCompare([]byte(r.Header.Get(tokenHeader)), []byte(i.token)) != 1 {
				fail(w, http.StatusForbidden, "the token is missing or of another run: load the page anew")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// ownHost reports whether the request was sent to this server by a name of this machine that no DNS server has a say in. A name of a
// site that points to 127.0.0.1 (DNS rebinding) would make that site's pages this page's equals.
func ownHost(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !local.IP.IsLoopback() {
		return false
	}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil { // no port: that is 80
		host, port = strings.Trim(r.Host, "[]"), "80"
	}
	if port != strconv.Itoa(local.Port) {
		return false
	}
	return host == "127.0.0.1" || host == "::1" || strings.EqualFold(host, "localhost")
}

// ownPage reports whether a browser sent the request for this page, or no browser did. Another port of this machine is another site.
func ownPage(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return true
	}
	return false
}

// hider returns a function that replaces the secrets of this moment in a text.
func (i *Inspector) hider() func(string) string {
	var pairs []string
	if i.options.Secrets != nil {
		for _, secret := range i.options.Secrets() {
			if secret != "" {
				pairs = append(pairs, string(secret), secret.String())
			}
		}
	}
	if len(pairs) == 0 {
		return func(text string) string { return text }
	}
	return strings.NewReplacer(pairs...).Replace
}

func (i *Inspector) hide(text string) string { return i.hider()(text) }

// hidden are headers that carry credentials. The platform sends none of them; a tunnel or a proxy of the user's may.
var hidden = map[string]bool{
	"Authorization": true, "Proxy-Authorization": true, "Cookie": true, "Set-Cookie": true, "X-Api-Key": true,
}
