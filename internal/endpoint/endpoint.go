// Package endpoint compares the URLs of webhooks.
package endpoint

import (
	"cmp"
	"net/url"
	"strings"
)

// Same reports whether two endpoints are one. It compares URLs, not texts: the platform may give an endpoint back in its normal form.
func Same(a, b string) bool { return a == b || normal(a) == normal(b) }

func normal(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	port := u.Port()
	if u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		port = ""
	}
	path := u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port + cmp.Or(u.EscapedPath(), "/")
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	return path
}
