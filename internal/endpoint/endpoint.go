// Package endpoint compares the URLs of webhooks.
package endpoint

import (
	"bytes"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Same reports whether deliveries to the two URLs arrive at the same place. It compares normal forms, not texts: the platform may give
// an endpoint back in a form of its own.
func Same(a, b string) bool { return a == b || Normal(a) == Normal(b) }

// Normal returns the form that equal endpoints share (RFC 3986, 6.2.2 and 6.2.3; RFC 9110, 4.2.3):
//
//   - scheme and host in lower case, a host name in ASCII ("xn--…"), an IP address in its shortest form, no default port;
//   - in the path, no "." and "..", and "/" for an empty one;
//   - what needs no escape isn't escaped, what needs one is, in upper case. A reserved character and its escape stay different in the
//     path ("/" and "%2F"). In the query only those do that a form gives a meaning, and "+" is a space.
//
// Credentials and a fragment are left out, since they don't lead elsewhere. What isn't a URL with a host is returned as it is.
func Normal(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return endpoint
	}
	normal := u.Scheme + "://" + host(u.Hostname()) + ":" + port(u) + withoutDots(escaped(rawPath(endpoint, u), pathLiterals))
	if u.RawQuery != "" {
		normal += "?" + strings.ReplaceAll(escaped(u.RawQuery, queryLiterals), "+", "%20")
	}
	return normal
}

// host returns a name in lower case, and one that isn't ASCII in Punycode, as Go's HTTP client writes it into a request: so
// golang.org/x/net/idna needn't be a dependency. That knows no compatibility forms (UTS 46), such as a "u" and a diaeresis for "ü".
func host(name string) string {
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.String()
	}
	name = strings.ToLower(name)
	if strings.IndexFunc(name, func(r rune) bool { return r > 0x7e }) < 0 {
		return name
	}
	name = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".").Replace(name) // a label ends with each of these, too
	var b bytes.Buffer
	if err := (&http.Request{URL: &url.URL{Path: "/"}, Host: name}).Write(&b); err != nil {
		return name
	}
	_, rest, _ := strings.Cut(b.String(), "\r\nHost: ")
	ascii, _, _ := strings.Cut(rest, "\r\n")
	return ascii
}

func port(u *url.URL) string {
	port := u.Port()
	if n, err := strconv.Atoi(port); err == nil {
		port = strconv.Itoa(n)
	}
	if u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return ""
	}
	return port
}

// rawPath is the path as it was written. EscapedPath would escape a path as a whole where one character of it needs it.
func rawPath(endpoint string, u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	_, rest, _ := strings.Cut(endpoint, "://")
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	i := strings.IndexByte(rest, '/')
	if i < 0 {
		return ""
	}
	return rest[i:]
}

// What may stand in a path or in a query as it is, besides letters, digits and "-._~" (RFC 3986, 3.3 and 3.4).
const (
	pathLiterals  = "!$&'()*+,;=:@/"
	queryLiterals = pathLiterals + "?"
)

// formDelimiters have a meaning in a query that is read as a form; the other literals are the same with and without an escape.
const formDelimiters = "&+;="

// escaped returns s with exactly the escapes that it needs, in upper case.
func escaped(s, literals string) string {
	const upper = "0123456789ABCDEF"
	isQuery := literals == queryLiterals
	b := make([]byte, 0, len(s)+8)
	for i := 0; i < len(s); i++ {
		c, wasEscaped := s[i], false
		if c == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				c, wasEscaped, i = byte(n), true, i+2
			}
		}
		literal := strings.IndexByte(literals, c) >= 0
		switch {
		case unreserved(c),
			literal && !wasEscaped,
			literal && isQuery && strings.IndexByte(formDelimiters, c) < 0:
			b = append(b, c)
		case c == '%' && !wasEscaped: // part of no escape
			b = append(b, c)
		default:
			b = append(b, '%', upper[c>>4], upper[c&15])
		}
	}
	return string(b)
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// withoutDots removes "." and ".." as RFC 3986, 5.2.4 does. Unlike path.Clean it keeps what else may count: "//" and the slash at the end.
func withoutDots(path string) string {
	if !strings.Contains(path, "/.") {
		if path == "" {
			return "/"
		}
		return path
	}
	elements := strings.Split(path[1:], "/")
	kept := make([]string, 0, len(elements))
	for i, element := range elements {
		switch element {
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		case ".":
		default:
			kept = append(kept, element)
			continue
		}
		if i == len(elements)-1 {
			kept = append(kept, "") // "/a/." is "/a/"
		}
	}
	return "/" + strings.Join(kept, "/")
}
