package verifier

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"io"
	"iter"
	"strings"
)

// A variant is a body or a secret as it may have been, and what was done to it.
type variant struct {
	value []byte
	what  string
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

// simpleVariants are the body, and what it may have been if nobody decoded it.
func simpleVariants(body []byte) iter.Seq[variant] {
	return func(yield func(variant) bool) {
		var all []variant
		add := func(value []byte, what string) { all = append(all, variant{value, what}) }
		lines := bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))
		add(body, "")
		add(bytes.TrimPrefix(body, []byte("\uFEFF")), "the body begins with a byte order mark that wasn't signed")
		add(append([]byte("\uFEFF"), body...), "the body lacks the byte order mark that was signed with it")
		add(bytes.TrimRight(body, "\r\n"), "the body ends in a line break that wasn't signed")
		add(bytes.TrimSpace(body), "the body has white space around it that wasn't signed")
		add(append(bytes.Clone(body), '\n'), "the body lacks the line break at its end that was signed with it")
		add(append(bytes.Clone(body), '\r', '\n'), "the body lacks the line break (CR LF) at its end that was signed with it")
		add(lines, "the body's line breaks were changed from LF to CR LF")
		add(bytes.ReplaceAll(lines, []byte("\n"), []byte("\r\n")), "the body's line breaks were changed from CR LF to LF")
		if decoded, err := base64.StdEncoding.DecodeString(string(body)); err == nil && len(body) > 0 {
			add(decoded, "the body is still base64 (API Gateway does that): decode it first")
		}
		if plain := gunzipped(body); plain != nil {
			add(plain, "the body is still compressed with gzip, and the signature is of what is in it: nothing between the platform and here may compress it")
		}
		if len(body) > 0 {
			add(nil, "the signature is of an empty body: of another request, or the sender's body was lost on the way")
		}
		for _, v := range all {
			if !yield(v) {
				return
			}
		}
		yield(variant{gzipped(body), "the signature is of the body compressed with gzip: something has decompressed it before the check"})
	}
}

const gzipMagic = "\x1f\x8b"

// gunzipped returns nil if the body isn't gzip, or too much of it.
func gunzipped(body []byte) []byte {
	if !bytes.HasPrefix(body, []byte(gzipMagic)) {
		return nil
	}
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxIndented))
	if err != nil || len(plain) == maxIndented {
		return nil
	}
	return plain
}

// gzipped is what one of the many encoders makes of the body.
func gzipped(body []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(body) // a bytes.Buffer has no errors
	_ = w.Close()
	return buf.Bytes()
}
