package walletcrew

import (
	"errors"
	"html"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// An apiKey gives the key, or is nil without one. It is a closure, so that printing the client can't print the key.
type apiKey func() string

func (k apiKey) authorize(h http.Header) {
	if k != nil {
		h.Set("X-API-KEY", k())
	}
}

const (
	minHiddenBytes = 8       // see WithAPIKey
	maxKeyBytes    = 8 << 10 // more than servers take in a header

	keyHidden = "[redacted: the API key was in this text]"
)

// span is how many bytes of a text the key takes at most, in the spellings that are common.
func (k apiKey) span() int {
	if k == nil {
		return 0
	}
	const longestSpelling = 20 // of one byte, such as &amp;#x0000002B;
	return longestSpelling * len(k())
}

// hide takes the key out of a text. As it is, it goes by itself. In any other spelling, since a server repeats it in JSON, in HTML, in a URL or
// in one of them within another, it goes with the whole text.
func (k apiKey) hide(text string) string {
	if k == nil || len(k()) < minHiddenBytes {
		return text
	}
	text = strings.ReplaceAll(text, k(), redacted)
	if k.isIn(text) {
		return keyHidden
	}
	return text
}

// isIn reports whether the text holds the key, or may hold it: in upper or lower case, and however often it is escaped.
func (k apiKey) isIn(text string) bool {
	key := asciiLower(k())
	for range maxEscapes {
		if strings.Contains(asciiLower(text), key) {
			return true
		}
		plain := unescape(text)
		if plain == text {
			// A key that itself holds what looks like an escape may have lost it on the way.
			plainKey := asciiLower(unescape(k()))
			return len(plainKey) >= minHiddenBytes && strings.Contains(asciiLower(text), plainKey)
		}
		text = plain
	}
	return true
}

// unescape takes one layer of escapes off: those of URLs, of strings in JSON and in most languages, and of HTML.
func unescape(text string) string {
	text = percentEscape.ReplaceAllStringFunc(text, func(escape string) string { return codePoint(escape[1:]) })
	text = backslashEscape.ReplaceAllStringFunc(text, func(escape string) string {
		if c := escape[1]; len(escape) == 2 {
			return string(c)
		} else if '0' <= c && c <= '7' {
			n, _ := strconv.ParseUint(escape[1:], 8, 16) // three octal digits always fit
			return string(rune(n))
		}
		return codePoint(escape[1:])
	})
	return html.UnescapeString(text)
}

// codePoint returns the character that the hexadecimal digits in an escape name. Only ASCII matters: a key is nothing else.
func codePoint(escape string) string {
	n, _ := strconv.ParseUint(strings.Trim(escape, "uUxX{}"), 16, 64)
	return string(rune(min(n, 0xFFFD)))
}

var (
	percentEscape   = regexp.MustCompile(`%(?:[uU][0-9A-Fa-f]{4}|[0-9A-Fa-f]{2})`)
	backslashEscape = regexp.MustCompile(`\\(?:U[0-9A-Fa-f]{8}|[uU][0-9A-Fa-f]{4}|[xX][0-9A-Fa-f]{2}|[uUxX]\{[0-9A-Fa-f]{1,8}\}|[0-7]{3}|[!-/:-@\[-` + "`" + `{-~])`)
)

// A hiddenError is an error whose text, or that of a cause, held the key: errors.Is still finds the cause, but nothing leads to its text.
type hiddenError struct {
	text string
	is   func(target error) bool
}

func (e *hiddenError) Error() string        { return e.text }
func (e *hiddenError) Is(target error) bool { return e.is(target) }

// hideError returns err, or a hiddenError if err holds the key.
func (k apiKey) hideError(err error) error {
	for cause := range causes(err) {
		if text := cause.Error(); k.hide(text) != text {
			return &hiddenError{k.hide(err.Error()), func(target error) bool { return errors.Is(err, target) }}
		}
	}
	return err
}
