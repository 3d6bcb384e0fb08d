package jetstream

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// maxToken bounds a token of a subject, in bytes: four of them are well within what a server takes in one line (4,096).
const maxToken = 200

// Subject returns the subject of a tenant's event after the prefix: three tokens, <tenant>.<Category>.<Name>.
//
//   - ASCII letters and digits, '-' and '_' stand for themselves. Any other byte is '%' and two hexadecimal digits, as in a URL: the tenant
//     "a.b c" is "a%2Eb%20c".
//   - A tenant, a category or a name that is empty is "~".
//   - The event name is split at its first ':' or '.'. A name without one, or that begins with one, has no category: "Ping" is "~.Ping".
//   - A token that would be longer than 200 bytes is "~" and the base64url SHA-256 of the text. [ParseSubject] can't turn such a subject
//     back, but the message's headers hold the text.
//   - A known category ("Pass", "Customer", "Redirect") and a known name have the documented spelling: "pass.created" is "Pass.Created". So
//     one subject filter finds all spellings that [walletcrew.EventName.Matches] takes for the same event. Names that this version doesn't
//     know keep their spelling.
//
// Tenants and names that differ otherwise have different subjects.
func Subject(tenantID string, name walletcrew.EventName) string {
	category, rest := split(canonical(name))
	return token(tenantID) + "." + token(category) + "." + token(rest)
}

// ParseSubject turns what [Subject] returned into tenant and name again; the name has the spelling that Subject chose. It reports
// false for any other text, and if a tenant or a name was too long to be in the subject.
func ParseSubject(subject string) (tenantID string, name walletcrew.EventName, ok bool) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 3 {
		return "", "", false
	}
	var texts [3]string
	for i, t := range tokens {
		if texts[i], ok = parseToken(t); !ok {
			return "", "", false
		}
	}
	name = walletcrew.EventName(texts[2])
	if texts[1] != "" {
		name = walletcrew.EventName(texts[1] + ":" + texts[2])
	}
	return texts[0], name, Subject(texts[0], name) == subject
}

// split parts a name at its first separator. Where nothing stands before it, there is no category and all is the rest.
func split(name walletcrew.EventName) (category, rest string) {
	if category = name.Category(); category == "" {
		return "", string(name)
	}
	return category, string(name[len(category)+1:])
}

var knownEvents = walletcrew.Events()

// canonical returns the known spelling of the name, or at least of its category.
func canonical(name walletcrew.EventName) walletcrew.EventName {
	if slices.Contains(knownEvents, name) || strings.Contains(string(name), "*") {
		return name
	}
	category, rest := split(name)
	for _, known := range knownEvents {
		if known.Matches(name) {
			return known
		}
		if category != "" && walletcrew.EventName(category).Matches(walletcrew.EventName(known.Category())) {
			category = known.Category()
		}
	}
	if category == "" {
		return name
	}
	return walletcrew.EventName(category + ":" + rest)
}

func token(text string) string {
	if text == "" {
		return "~"
	}
	if t := escape(text, isPlain); len(t) <= maxToken {
		return t
	}
	hash := sha256.Sum256([]byte(text))
	return "~" + base64.RawURLEncoding.EncodeToString(hash[:])
}

func parseToken(t string) (text string, ok bool) {
	if t == "~" {
		return "", true
	}
	if t == "" || t[0] == '~' {
		return "", false
	}
	return unescape(t)
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// isHeaderSafe: what a header's value may hold, except the sign of escaping itself. A space might be trimmed on the way.
func isHeaderSafe(c byte) bool { return '!' <= c && c <= '~' && c != '%' }

const hexDigits = "0123456789ABCDEF"

func escape(text string, keep func(byte) bool) string {
	n := 0
	for i := range len(text) {
		if !keep(text[i]) {
			n++
		}
	}
	if n == 0 {
		return text
	}
	out := make([]byte, 0, len(text)+2*n)
	for i := range len(text) {
		if c := text[i]; keep(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(out)
}

func unescape(text string) (string, bool) {
	if !strings.Contains(text, "%") {
		return text, true
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			out = append(out, text[i])
			continue
		}
		if i+2 >= len(text) {
			return "", false
		}
		high, low := strings.IndexByte(hexDigits, text[i+1]), strings.IndexByte(hexDigits, text[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		out = append(out, byte(high<<4|low)) //nolint:gosec // two digits
		i += 2
	}
	return string(out), true
}

// filters returns the fewest subjects that hold what the patterns match, and nothing else.
func filters(prefix string, patterns []walletcrew.EventName) ([]string, error) {
	var categories, subjects []string
	for _, pattern := range patterns {
		if pattern == walletcrew.AllEvents {
			return []string{prefix + ".*.*.*"}, nil
		}
		category, rest := split(canonical(pattern))
		known := canonical(walletcrew.EventName(category + ":x")) // a pattern's category, in the known spelling
		switch {
		case rest == "*" && category != "" && !strings.Contains(category, "*"):
			categories = append(categories, prefix+".*."+token(known.Category())+".*")
		case strings.Contains(string(pattern), "*"):
			return nil, fmt.Errorf("jetstream: ConsumerConfig.Patterns: %q: the server can sort out \"*\", a category (\"Pass:*\") and a "+
				"name (\"Pass:Installed\") only; take one of these, and let a receiver.Mux do the rest", pattern)
		default:
			subjects = append(subjects, prefix+".*."+token(category)+"."+token(rest))
		}
	}
	for _, s := range subjects {
		if !slices.Contains(categories, s[:strings.LastIndexByte(s, '.')]+".*") {
			categories = append(categories, s)
		}
	}
	slices.Sort(categories)
	return slices.Compact(categories), nil
}
