package verifier

import (
	"bytes"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // to recognise what others use
	"crypto/sha1" //nolint:gosec // to recognise what others use
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// Diagnose answers the question of everyone who receives webhooks: why doesn't my signature match? It tries what usually goes
// wrong: a body that a middleware read or encoded again, a secret with quotes or a line break around it or used decoded, a
// signature that was cut or made by another algorithm. It returns only what it has proved by computing, as sentences for a
// person; nil where the signature matches, or where nothing of this explains it: then it's another secret, or another body. (Once the
// members' order is lost, as when Go encodes a map, nobody can tell any more which body it was.)
//
// It is for a log on a developer's machine. Don't put the findings into a response: they would tell an attacker how close he
// is, and they cost some hundred hashes of the body. No finding holds the secret, the signature or the body.
func Diagnose(body []byte, signature string, secrets ...walletcrew.Secret) (findings []string) {
	fips140.WithoutEnforcement(func() { findings = diagnose(body, signature, secrets[0]) }) // it recognises MD5 and SHA-1, and protects nothing by them
	return findings
}

func diagnose(body []byte, signature string, secret walletcrew.Secret) []string {
	if walletcrew.VerifySignature(body, signature, secret) == nil {
		return nil
	}
	var findings []string
	say := func(format string, args ...any) { findings = append(findings, fmt.Sprintf(format, args...)) }

	switch secret {
	case "":
		say("the secret is empty: is the variable set that it comes from?")
	case "[redacted]":
		say(`the secret is the text "[redacted]": it was read from a log or a dump, which doesn't hold it; string(secret) is the value`)
	}
	if len(body) == 0 {
		say("the body is empty: did something read it before, such as a middleware? Read it once and pass the bytes on")
	}
	given := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(signature), "sha256="))
	if given == "" {
		say("the signature is missing: the header " + walletcrew.HeaderSignature + " is empty, or a proxy dropped it")
		return findings
	}
	if finding := matchedBy(body, given, secret); finding != "" {
		return append(findings, finding)
	}
	if finding := otherLength(body, given, secret); finding != "" {
		return append(findings, finding)
	}
	return findings
}

// A variant is a body or a secret as it may have been, and what was done to it.
type variant struct {
	value []byte
	what  string
}

// matchedBy looks for a secret and a body that the signature is of.
func matchedBy(body []byte, signature string, secret walletcrew.Secret) string {
	bodies := bodyVariants(body)
	for _, s := range secretVariants(string(secret)) {
		for _, b := range bodies {
			if len(s.value) == 0 || walletcrew.VerifySignature(b.value, signature, walletcrew.Secret(s.value)) != nil {
				continue
			}
			switch {
			case s.what == "":
				return b.what
			case b.what == "":
				return s.what
			}
			return s.what + "; and " + b.what
		}
		if mangled(body, signature, s.value) {
			return strings.TrimPrefix(s.what+"; and the letters' case of the signature was changed on the way", "; and ")
		}
	}
	sum := sha256.Sum256(body)
	if equalText(signature, sum[:]) {
		return "the signature is the plain SHA-256 of the body: whoever sent it used no secret"
	}
	return ""
}

// mangled reports whether the signature is right but for upper and lower case.
func mangled(body []byte, signature string, secret []byte) bool {
	h := hmac.New(sha256.New, secret)
	h.Write(body)
	sum := h.Sum(nil)
	return len(secret) > 0 && (strings.EqualFold(signature, hex.EncodeToString(sum)) ||
		strings.EqualFold(signature, base64.StdEncoding.EncodeToString(sum)) ||
		strings.EqualFold(signature, base64.RawStdEncoding.EncodeToString(sum)) ||
		strings.EqualFold(signature, base64.URLEncoding.EncodeToString(sum)) ||
		strings.EqualFold(signature, base64.RawURLEncoding.EncodeToString(sum)))
}

func secretVariants(secret string) []variant {
	variants := []variant{{[]byte(secret), ""}}
	add := func(value []byte, what string) {
		for _, v := range variants {
			if bytes.Equal(v.value, value) {
				return
			}
		}
		variants = append(variants, variant{value, what})
	}
	add([]byte(strings.TrimSpace(secret)), "the secret has white space around it: trim it")
	add([]byte(strings.Trim(strings.TrimSpace(secret), "\"'`")), "the secret has quotes around it: take them off")
	add([]byte(strings.TrimPrefix(secret, "\uFEFF")), "the secret begins with a byte order mark: take it off")
	add([]byte(secret+"\n"), "the sender's secret ends in a line break that this one lacks")
	if decoded, err := hex.DecodeString(secret); err == nil {
		add(decoded, "the sender used the secret decoded from hexadecimal as the key")
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if decoded, err := enc.DecodeString(secret); err == nil {
			add(decoded, "the sender used the secret decoded from base64 as the key")
		}
	}
	// The other way round: this one was decoded before it got here.
	add([]byte(hex.EncodeToString([]byte(secret))), "the secret was decoded from hexadecimal: use its characters as they are")
	add([]byte(base64.StdEncoding.EncodeToString([]byte(secret))), "the secret was decoded from base64: use its characters as they are")
	add([]byte(base64.RawStdEncoding.EncodeToString([]byte(secret))), "the secret was decoded from base64: use its characters as they are")
	return variants
}

func bodyVariants(body []byte) []variant {
	const reserialised = "the body was encoded again by something before the check (the signature is of %s): verify the bytes as they came"
	variants := []variant{{body, ""}}
	add := func(value []byte, what string) { variants = append(variants, variant{value, what}) }
	add(bytes.TrimPrefix(body, []byte("\uFEFF")), "the body begins with a byte order mark that wasn't signed")
	add(append([]byte("\uFEFF"), body...), "the body lacks the byte order mark that was signed with it")
	add(bytes.TrimRight(body, "\r\n"), "the body ends in a line break that wasn't signed")
	add(bytes.TrimSpace(body), "the body has white space around it that wasn't signed")
	add(append(bytes.Clone(body), '\n'), "the body lacks the line break at its end that was signed with it")
	add(append(bytes.Clone(body), '\r', '\n'), "the body lacks the line break (CR LF) at its end that was signed with it")
	add(bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")), "the body's line breaks were changed from LF to CR LF")
	add(bytes.ReplaceAll(bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n")), "the body's line breaks were changed from CR LF to LF")
	if decoded, err := base64.StdEncoding.DecodeString(string(body)); err == nil && len(body) > 0 {
		add(decoded, "the body is still base64 (API Gateway does that): decode it first")
	}
	var buf bytes.Buffer
	if json.Compact(&buf, body) == nil {
		compact := bytes.Clone(buf.Bytes())
		add(compact, fmt.Sprintf(reserialised, "the compact JSON"))
		add(append(bytes.Clone(compact), '\n'), fmt.Sprintf(reserialised, "the compact JSON and a line break"))
		for _, indent := range []string{"  ", "    ", "\t"} {
			buf.Reset()
			if indentedSize(compact, len(indent)) <= maxIndented && json.Indent(&buf, compact, "", indent) == nil {
				add(bytes.Clone(buf.Bytes()), fmt.Sprintf(reserialised, "the indented JSON"))
				add(append(bytes.Clone(buf.Bytes()), '\n'), fmt.Sprintf(reserialised, "the indented JSON and a line break"))
			}
		}
		buf.Reset()
		json.HTMLEscape(&buf, compact)
		add(bytes.Clone(buf.Bytes()), fmt.Sprintf(reserialised, "the JSON with <, > and & escaped"))
		add(unescapeHTML(compact), fmt.Sprintf(reserialised, "the JSON without <, > and & escaped"))
		if plain, err := jsontext.AppendFormat(nil, compact); err == nil {
			add(plain, fmt.Sprintf(reserialised, "the JSON without escapes"))
		}
		if spaced, err := jsontext.AppendFormat(nil, compact, jsontext.PreserveRawStrings(true), jsontext.SpaceAfterColon(true), jsontext.SpaceAfterComma(true)); err == nil {
			add(spaced, fmt.Sprintf(reserialised, "the JSON with a space after each ':' and ','"))
		}
		for _, format := range []string{`\u%04x`, `\u%04X`} {
			add(escapeNonASCII(compact, format), fmt.Sprintf(reserialised, "the JSON with all but ASCII escaped"))
		}
	}
	if len(body) > 0 {
		add(nil, "the signature is of an empty body: of another request, or the sender's body was lost on the way")
	}
	return variants
}

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

func unescapeHTML(compact []byte) []byte {
	return []byte(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(compact)))
}

func escapeNonASCII(compact []byte, format string) []byte {
	escaped := make([]byte, 0, len(compact))
	for _, r := range string(compact) {
		if r < utf8.RuneSelf {
			escaped = utf8.AppendRune(escaped, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			escaped = fmt.Appendf(escaped, format, unit)
		}
	}
	return escaped
}

// minCut is how much of a signature must be there to say that it is the right one, cut: less may fit by chance.
const minCut = 8

// otherLength says what a signature is that can't be an HMAC-SHA256, from its length alone or from the other algorithm's result.
func otherLength(body []byte, signature string, secret walletcrew.Secret) string {
	right := walletcrew.Sign(secret, body)
	sum, _ := hex.DecodeString(right)
	for _, text := range []string{right, strings.ToUpper(right), base64.StdEncoding.EncodeToString(sum), base64.URLEncoding.EncodeToString(sum)} {
		if secret != "" && len(signature) >= minCut && len(signature) < len(text) && strings.HasPrefix(text, signature) {
			return fmt.Sprintf("the signature is right, but cut off: %d characters of %d came", len(signature), len(text))
		}
		if secret != "" && strings.Contains(signature, strings.TrimRight(text, "=")) {
			return "the right signature is in the header, but with something else around it"
		}
	}
	if _, err := walletcrew.ParseSignature(signature); err == nil {
		return ""
	}
	if len(signature) == hex.EncodedLen(sha256.Size) && isHex(signature) {
		return "the hexadecimal signature has upper and lower case mixed: something changed it on the way"
	}
	for _, algorithm := range []struct {
		name string
		new  func() hash.Hash
	}{{"MD5", md5.New}, {"SHA-1", sha1.New}, {"SHA-384", sha512.New384}, {"SHA-512", sha512.New}} {
		size := algorithm.new().Size()
		h := hmac.New(algorithm.new, []byte(secret))
		h.Write(body)
		switch {
		case secret != "" && equalText(signature, h.Sum(nil)):
			return "the signature was made with HMAC-" + algorithm.name + ": the platform's is HMAC-SHA256"
		case len(signature) == 2*size && isHex(signature), isBase64(signature, size):
			return fmt.Sprintf("the signature has the length of %s: the platform's is HMAC-SHA256", algorithm.name)
		}
	}
	return fmt.Sprintf("the signature isn't one: 64 hexadecimal or 44 base64 characters are expected, %d came", len(signature))
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil
}

func isBase64(s string, size int) bool {
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if sum, err := enc.DecodeString(s); err == nil && len(sum) == size {
			return true
		}
	}
	return false
}

// equalText reports whether text is the sum in one of the usual spellings.
func equalText(text string, sum []byte) bool {
	return strings.EqualFold(text, hex.EncodeToString(sum)) ||
		text == base64.StdEncoding.EncodeToString(sum) || text == base64.RawStdEncoding.EncodeToString(sum) ||
		text == base64.URLEncoding.EncodeToString(sum) || text == base64.RawURLEncoding.EncodeToString(sum)
}
