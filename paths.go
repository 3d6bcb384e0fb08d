package walletcrew

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkPathElement refuses an id or a tenant that would lead elsewhere, however often a server or a proxy unescapes it. The platform's
// ids are 5 random characters.
func checkPathElement(field, value string) error {
	refuse := func(reason string) error { return &ValidationError{Field: field, Reason: reason} }
	switch {
	case strings.TrimSpace(value) == "":
		return refuse("is empty")
	case strings.TrimSpace(value) != value:
		return refuse("begins or ends with white space")
	}
	plain, reason := plainPath(value)
	switch {
	case reason != "":
		return refuse(reason)
	case strings.ContainsFunc(plain, isSlash):
		return refuse(`holds "/" or "\", which would lead to another resource`)
	case isDots(plain):
		return refuse(`is "." or "..", which would lead to another resource`)
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
	if reason := leaves(u.EscapedPath()); reason != "" {
		return refuse(reason)
	}
	return nil
}

// leaves says what in an escaped path may lead out of it, or "".
func leaves(path string) (reason string) {
	plain, reason := plainPath(path)
	if reason != "" {
		return reason
	}
	for element := range strings.FieldsFuncSeq(plain, isSlash) {
		if isDots(element) {
			return `has an element "." or ".."`
		}
	}
	return ""
}

// plainPath is the path without escapes, or the reason why nobody can say what a server makes of it. To unescape once more never hides an
// element: it only changes what is an escape.
func plainPath(path string) (plain, reason string) {
	plain = lookalikes.Replace(path)
	for range maxEscapes {
		next := lookalikes.Replace(unescapePath(plain))
		if next == plain {
			break
		}
		plain = next
	}
	switch {
	case unescapePath(plain) != plain:
		return "", "is escaped too many times"
	case !utf8.ValidString(plain):
		return "", "isn't UTF-8"
	case strings.ContainsFunc(plain, unicode.IsControl):
		return "", "holds a control character"
	}
	return plain, ""
}

const maxEscapes = 10

// lookalikes become what a path is made of where text is normalized (Unicode NFKC): the wide forms, the small ones, the leaders,
// and the ligatures.
var lookalikes = strings.NewReplacer(
	"\uFF0E", ".", "\uFE52", ".", "\u2024", ".", "\u2025", "..",
	"\uFF0F", "/", "\uFF3C", `\`, "\uFE68", `\`,
	"\u2100", "a/c", "\u2101", "a/s", "\u2105", "c/o", "\u2106", "c/u",
	"\uFF05", "%", "\uFE6A", "%", "\uFF1B", ";", "\uFE54", ";",
)

// isDots reports whether a server may take the element for "." or "..": some drop what follows ";", or spaces, or what can't be seen.
func isDots(element string) bool {
	element, _, _ = strings.Cut(element, ";")
	element = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, element)
	return element == "." || element == ".."
}

func isSlash(r rune) bool { return r == '/' || r == '\\' }

// unescapePath is url.PathUnescape, but leaves what isn't an escape as it is instead of giving up: the rest must be looked at, too.
func unescapePath(path string) string {
	return escapedByte.ReplaceAllStringFunc(path, func(escape string) string {
		c, _ := strconv.ParseUint(escape[1:], 16, 8) // two digits always fit
		return string([]byte{byte(c)})
	})
}

var wholeURL = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:/`)

var escapedByte = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
