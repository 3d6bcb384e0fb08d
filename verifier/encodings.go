package verifier

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"iter"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// A style is how an encoder writes the strings of JSON.
type style struct {
	what  string
	write func(compact []byte) []byte
}

var styles = []style{
	{"", func(compact []byte) []byte { return compact }},
	{" without <, > and & escaped", unescapeHTML},
	{" with <, > and & escaped", escapeHTML},                    // Go
	{" without escapes", escapes{}.write},                       // JavaScript
	{" with all but ASCII escaped", escapes{ascii: true}.write}, // Python
	{" with all but ASCII escaped", escapes{ascii: true, upper: true}.write},
	{` with \/ as PHP writes it`, escapes{ascii: true, slash: true}.write},
	{` with \/ as PHP writes it`, escapes{slash: true}.write},
	{` with \u0022, \u0027 and \u002B as System.Text.Json writes it`, escapes{ascii: true, upper: true, coded: "\"'+<>&`\x7f"}.write},
	{` with \u0027 and \u003d as Gson writes it`, escapes{coded: "'<>&=\u2028\u2029"}.write},
}

// A layout is how an encoder writes what stands between them.
type layout struct {
	what  string
	write func(dst *bytes.Buffer, compact []byte) error
}

var layouts = []layout{
	{"compact JSON", func(dst *bytes.Buffer, compact []byte) error { dst.Write(compact); return nil }},
	{"JSON with a space after each ':' and ','", spaced}, // Python
	{"indented JSON", indented("  ")},
	{"indented JSON", indented("    ")},
	{"indented JSON", indented("\t")},
}

// encodings are ways to encode the body's JSON again. Each value is only lent until the next.
func encodings(body []byte) iter.Seq[variant] {
	return func(yield func(variant) bool) {
		var buf bytes.Buffer
		if json.Compact(&buf, bytes.TrimPrefix(body, []byte("\uFEFF"))) != nil {
			return
		}
		seen := seenBefore()
		compact := bytes.Clone(buf.Bytes())
		for _, s := range styles {
			if written := s.write(compact); !seen(written) && !layOut(written, layouts, s.what, yield) {
				return
			}
		}
		sorted := inAlphabeticalOrder(compact)
		for _, s := range styles[:4] {
			written := s.write(sorted)
			if !seen(written) && !layOut(written, layouts[:1], " with its members in alphabetical order, as Go writes a map", yield) {
				return
			}
		}
	}
}

// layOut yields the JSON in each of the layouts, with and without a line break at its end, and with lines of Windows.
func layOut(compact []byte, layouts []layout, style string, yield func(variant) bool) bool {
	what := func(layout, end string) string {
		return fmt.Sprintf("the body was encoded again by something before the check (the signature is of the %s%s%s): verify the bytes as they came", layout, style, end)
	}
	var buf bytes.Buffer
	for _, l := range layouts {
		buf.Reset()
		if l.write(&buf, compact) != nil {
			continue
		}
		if !yield(variant{buf.Bytes(), what(l.what, "")}) {
			return false
		}
		lines := bytes.IndexByte(buf.Bytes(), '\n') >= 0
		buf.WriteByte('\n')
		if !yield(variant{buf.Bytes(), what(l.what, " and a line break")}) {
			return false
		}
		if lines && !yield(variant{bytes.ReplaceAll(buf.Bytes()[:buf.Len()-1], []byte("\n"), []byte("\r\n")), what(l.what, " with CR LF")}) {
			return false
		}
	}
	return true
}

func seenBefore() func([]byte) bool {
	seed, sums := maphash.MakeSeed(), map[uint64]bool{}
	return func(value []byte) bool {
		sum := maphash.Bytes(seed, value)
		before := sums[sum]
		sums[sum] = true
		return before
	}
}

func spaced(dst *bytes.Buffer, compact []byte) error {
	quoted := false
	for i := 0; i < len(compact); i++ {
		c := compact[i]
		dst.WriteByte(c)
		switch {
		case quoted && c == '\\':
			i++
			dst.WriteByte(compact[i])
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ':' || c == ','):
			dst.WriteByte(' ')
		}
	}
	return nil
}

func indented(indent string) func(dst *bytes.Buffer, compact []byte) error {
	return func(dst *bytes.Buffer, compact []byte) error {
		if indentedSize(compact, len(indent)) > maxIndented {
			return errTooLong
		}
		return json.Indent(dst, compact, "", indent)
	}
}

var errTooLong = strconv.ErrRange

// maxIndented is the most that is written to try a body indented. JSON that is deeply nested grows with the square of its depth.
const maxIndented = 8 << 20

// indentedSize is how long compact JSON gets when it is indented, or a little more.
func indentedSize(compact []byte, width int) int {
	size, depth, quoted := len(compact), 0, false
	for i := 0; i < len(compact); i++ {
		switch c := compact[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ':':
			size++
		case c == '{', c == '[':
			depth++
			size += 1 + depth*width
		case c == '}', c == ']':
			depth--
			size += 1 + depth*width
		case c == ',':
			size += 1 + depth*width
		}
	}
	return size
}

func escapeHTML(compact []byte) []byte {
	var buf bytes.Buffer
	json.HTMLEscape(&buf, compact)
	return buf.Bytes()
}

func unescapeHTML(compact []byte) []byte {
	return []byte(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(compact)))
}

// escapes says what an encoder escapes besides what it must.
type escapes struct {
	ascii bool   // all but ASCII
	upper bool   // with the digits A to F
	slash bool   // '/' as \/
	coded string // these as \u and their number
}

// write writes the strings of compact JSON anew.
func (e escapes) write(compact []byte) []byte {
	out := make([]byte, 0, len(compact)+len(compact)/8)
	quoted := false
	for i := 0; i < len(compact); {
		switch c := compact[i]; {
		case c == '"':
			quoted = !quoted
			out = append(out, c)
			i++
		case !quoted:
			out = append(out, c)
			i++
		case c == '\\':
			r, size := unescape(compact[i:])
			if r < 0 { // half a surrogate pair
				out = append(out, compact[i:i+size]...)
			} else {
				out = e.append(out, r)
			}
			i += size
		default:
			r, size := utf8.DecodeRune(compact[i:])
			if r == utf8.RuneError && size == 1 {
				out = append(out, c)
			} else {
				out = e.append(out, r)
			}
			i += size
		}
	}
	return out
}

const short = "\b\f\n\r\t\"\\/" // what has an escape of its own,

const shorts = `bfnrt"\/` // and which

func (e escapes) append(out []byte, r rune) []byte {
	if ' ' <= r && r < utf8.RuneSelf && r != '"' && r != '\\' && r != '/' && strings.IndexByte(e.coded, byte(r)) < 0 {
		return append(out, byte(r)) // most are so
	}
	i := strings.IndexRune(short, r)
	switch {
	case strings.ContainsRune(e.coded, r):
		return e.code(out, r)
	case i >= 0 && (r != '/' || e.slash):
		return append(out, '\\', shorts[i])
	case r < ' ', e.ascii && r >= utf8.RuneSelf:
		return e.code(out, r)
	}
	return utf8.AppendRune(out, r)
}

func (e escapes) code(out []byte, r rune) []byte {
	digits := "0123456789abcdef"
	if e.upper {
		digits = "0123456789ABCDEF"
	}
	for _, unit := range utf16.AppendRune(nil, r) {
		out = append(out, '\\', 'u', digits[unit>>12], digits[unit>>8&0xf], digits[unit>>4&0xf], digits[unit&0xf])
	}
	return out
}

// unescape returns the character that an escape in valid JSON stands for, -1 for half a surrogate pair.
func unescape(s []byte) (r rune, size int) {
	if s[1] != 'u' {
		return rune(short[strings.IndexByte(shorts, s[1])]), 2
	}
	unit := func(s []byte) rune {
		n, _ := strconv.ParseUint(string(s), 16, 16)
		return rune(n)
	}
	r = unit(s[2:6])
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
		if pair := utf16.DecodeRune(r, unit(s[8:12])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return -1, 6
}

func inAlphabeticalOrder(compact []byte) []byte {
	sorted, err := jsontext.AppendFormat(nil, compact, jsontext.ReorderRawObjects(true), jsontext.PreserveRawStrings(true))
	if err != nil {
		return compact
	}
	return sorted
}

// enoughMembers is how many have an order.
const enoughMembers = 2

// inOrder reports whether the body is compact JSON whose members are in alphabetical order at each depth.
func inOrder(body []byte) bool {
	var members map[string]json.RawMessage
	return json.Unmarshal(body, &members) == nil && len(members) >= enoughMembers && bytes.Equal(inAlphabeticalOrder(body), body)
}
