package walletcrew

import (
	"net/url"
	"regexp"
	"strings"
)

// checkPathElement refuses what can't be one element of a path however it is escaped.
func checkPathElement(field, value string) error {
	switch {
	case strings.TrimSpace(value) == "":
		return &ValidationError{Field: field, Reason: "is empty"}
	case value == "." || value == "..":
		return &ValidationError{Field: field, Reason: `is "." or "..", which would lead to another resource`}
	case strings.TrimSpace(value) != value:
		return &ValidationError{Field: field, Reason: "begins or ends with white space"}
	}
	return nil
}

// checkPath refuses a path that leaves the tenant, also for a server that unescapes more than once.
func checkPath(path string) error {
	refuse := func(reason string) error { return &ValidationError{Field: "path", Reason: reason} }
	if strings.HasPrefix(path, "/") {
		return refuse(`begins with "/": it is relative to /api/{tenantId}/`)
	}
	u, err := url.Parse("/" + path) // the first element may hold a colon
	switch {
	case err != nil:
		return refuse("can't be parsed")
	case wholeURL.MatchString(path):
		return refuse("is a whole URL: it is relative to /api/{tenantId}/")
	case strings.Contains(path, "#"):
		return refuse("has a fragment")
	case u.Path == "/":
		return refuse("is empty")
	}
	plain := u.EscapedPath()[1:]
	for {
		for element := range strings.FieldsFuncSeq(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
			element, _, _ = strings.Cut(element, ";") // some servers drop such parameters
			if element == "." || element == ".." {
				return refuse(`has an element "." or ".."`)
			}
		}
		next := unescapePath(plain)
		if next == plain {
			return nil
		}
		plain = next
	}
}

// unescapePath is url.PathUnescape, but leaves what isn't an escape as it is instead of giving up: the rest must be looked at, too.
func unescapePath(path string) string { return escapedByte.ReplaceAllStringFunc(path, unescape) }

var wholeURL = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:/`)

var escapedByte = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
