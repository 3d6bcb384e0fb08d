package main

import (
	"bytes"
	"embed"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

//go:embed page.html page.css page.js
var files embed.FS

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{"number": number}).ParseFS(files, "page.html"))

// pages shows the report, drawn here: the script only fetches it again.
func (s *service) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /page.css", http.FileServerFS(files))
	mux.Handle("GET /page.js", http.FileServerFS(files))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		report, err := s.report(r.Context(), time.Now())
		var page bytes.Buffer
		if err == nil {
			err = pageTemplate.Execute(&page, report)
		}
		if err != nil {
			s.logger.ErrorContext(r.Context(), "page", "error", err)
			http.Error(w, "The database can't be read now. The log says why.", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = page.WriteTo(w)
	})
	return guard(mux)
}

// policy lets the page load its own two files, and ask for itself again.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if !ownHost(r) {
			http.Error(w, "Open this page as http://127.0.0.1 with its port.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownHost keeps other sites from reading a page on this machine under a name of theirs that points to it (DNS rebinding). On another
// address, the operator has put a proxy before it that knows the page's name.
func ownHost(r *http.Request) bool {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && !local.IP.IsLoopback() {
		return true
	}
	host := (&url.URL{Host: r.Host}).Hostname()
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// number writes 1234567 as 1,234,567.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
