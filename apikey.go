package walletcrew

import (
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

// span is how many bytes of a text the key takes at most.
func (k apiKey) span() int {
	if k == nil {
		return 0
	}
	return longestSpelling * len(k())
}

// hide takes the key out of a text, as it is and as a server writes it that repeats it in JSON, in HTML or in a URL.
func (k apiKey) hide(text string) string {
	if k == nil {
		return text
	}
	key := k()
	text = strings.ReplaceAll(text, key, redacted)
	// The text without escapes, and where each of its bytes began in text.
	var plain []byte
	var starts []int
	at := 0
	for _, escape := range escapes.FindAllStringIndex(text, -1) {
		for ; at < escape[0]; at++ {
			plain, starts = append(plain, text[at]), append(starts, at)
		}
		for _, c := range []byte(unescape(text[at:escape[1]])) {
			plain, starts = append(plain, c), append(starts, at)
		}
		at = escape[1]
	}
	if at == 0 {
		return text
	}
	for ; at < len(text); at++ {
		plain, starts = append(plain, text[at]), append(starts, at)
	}
	starts = append(starts, at)

	var b strings.Builder
	done, unescaped := 0, string(plain)
	for from := 0; ; {
		i := strings.Index(unescaped[from:], key)
		if i < 0 {
			b.WriteString(text[done:])
			return b.String()
		}
		i += from
		from = i + len(key)
		b.WriteString(text[done:starts[i]] + redacted)
		done = starts[from]
	}
}

// escapes are those of JSON, URLs and HTML.
var escapes = regexp.MustCompile(`(?i)\\u[0-9a-f]{4}|\\["\\/]|%[0-9a-f]{2}|&#x[0-9a-f]{1,6};|&#[0-9]{1,7};|&[a-z]{2,5};`)

// maxKeyBytes is more than servers take in a header.
const maxKeyBytes = 8 << 10

// longestSpelling is how many bytes one byte of the key may take: &#x00002B;
const longestSpelling = 10

func unescape(escape string) string {
	switch escape[0] {
	case '&':
		return html.UnescapeString(escape)
	case '%':
		c, _ := strconv.ParseUint(escape[1:], 16, 8) // two digits always fit
		return string([]byte{byte(c)})
	}
	if len(escape) == 2 {
		return escape[1:]
	}
	r, _ := strconv.ParseUint(escape[2:], 16, 16) // four digits always fit
	return string(rune(r))
}

// A hiddenError is an error whose text held the key: errors.Is still finds the cause, but nothing leads to its text.
type hiddenError struct {
	text string
	is   func(target error) bool
}

func (e *hiddenError) Error() string        { return e.text }
func (e *hiddenError) Is(target error) bool { return e.is(target) }
