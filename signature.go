package walletcrew

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// The headers of a delivery (platform documentation, webhook guide). Header names ignore case; these are the canonical forms of net/http.
// The signature covers only the body, not the event name and the tenant in the other two headers.
const (
	HeaderSignature = "X-Neostore-Signature"
	HeaderEventName = "X-Neostore-Eventname"
	HeaderTenantID  = "X-Neostore-Tenantid"
)

// What can be wrong with a signature. Use errors.Is.
var (
	// ErrMissingSignature: the signature is empty, or holds nothing but spaces.
	ErrMissingSignature = errors.New("walletcrew: the delivery has no signature")
	// ErrMalformedSignature: the signature isn't 32 bytes in hexadecimal or base64.
	ErrMalformedSignature = errors.New("walletcrew: the signature is not 32 bytes in hexadecimal or base64")
	// ErrSignatureMismatch: no secret made this signature for exactly these bytes.
	ErrSignatureMismatch = errors.New("walletcrew: the signature does not match the body")
	// ErrNoSecret: there is no secret to check with, or one of them is empty or reads "[redacted]". It
	// is a fault of the receiver, not of the delivery.
	ErrNoSecret = errors.New("walletcrew: no secret, or an empty one: signatures cannot be checked")
)

const redacted = "[redacted]"

// errRedacted: everybody knows this secret.
var errRedacted = fmt.Errorf(`%w: what reads "[redacted]" was written by something that hides secrets, and is lost`, ErrNoSecret)

// A Secret is a webhook's signatureSecret. It prints as "[redacted]" through fmt (every verb), log/slog and JSON, alone or inside other
// values; string(s) is the value. The text "[redacted]" itself is refused as a secret. So a secret that was read back from a log or a dump
// never verifies anything.
//
// Go can't hide a Secret where it calls none of its methods. Don't put one there:
//
//   - Package fmt prints unexported fields of a struct as they are.
//   - If a pointer within another value points to a struct of yours, fmt prints that as it is, too, if the verb isn't one for pointers,
//     such as %s.
//   - The verbs %p and %w print a Secret. They aren't for such values, and go vet reports both.
//   - encoding/json writes the keys of a map as they are.
//   - The builtins print and println write it, though panic doesn't.
//   - Libraries that look at values by reflection write it: the diffs of testify's assert.Equal, spew, go-cmp.
//   - database/sql sends it to the database, which is what you want there.
//
// encoding/gob refuses to write one.
type Secret string

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// Format writes "[redacted]" whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is slog's [slog.LogValuer]: "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText writes "[redacted]"; encoding/json and most other encoders use it.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// GobEncode always returns an error, since gob would write the secret itself, or lose it.
func (Secret) GobEncode() ([]byte, error) { return nil, errGob }

var errGob = errors.New("walletcrew: a Secret can't be written by encoding/gob: keep it where secrets are kept, and write string(secret) there")

// UnmarshalText reads a secret. "[redacted]" is refused.
func (s *Secret) UnmarshalText(text []byte) error {
	if string(text) == redacted {
		return errRedacted
	}
	*s = Secret(text)
	return nil
}

// check refuses what anybody could sign with.
func (s Secret) check() error {
	switch s {
	case "":
		return ErrNoSecret
	case redacted:
		return errRedacted
	}
	return nil
}

// Sign returns the signature of body as the SDK writes it: HMAC-SHA256 over the raw bytes, keyed with the characters of
// secret, in lower-case hexadecimal. It serves tests and tools that send deliveries. An empty secret signs too, but
// [VerifySignature] never accepts one.
func Sign(secret Secret, body []byte) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// VerifySignature checks that one of the secrets signed exactly these bytes. Body must be what came over the wire: a body that
// was decoded and encoded again has another signature.
//
// How the platform writes the signature's 32 bytes isn't documented, so every usual way is read:
//
//   - hexadecimal, all in lower case or all in upper case, also with a dash between each two digits (as .NET's BitConverter writes it)
//   - base64 of the bytes, in the standard or the URL alphabet, padded or not
//   - base64 of the hexadecimal text, padded or not
//
// There may be "sha256=" or "SHA256=" before it, and white space around it. The comparison takes the same time wherever the
// difference is.
//
// The errors are [ErrNoSecret] (no secret at all, or one that is empty or "[redacted]"), [ErrMissingSignature],
// [ErrMalformedSignature] and [ErrSignatureMismatch].
//
// A [Key] is quicker where one secret verifies many signatures. The package verifier does the whole of receiving.
func VerifySignature(body []byte, signature string, secrets ...Secret) error {
	if err := checkSecrets(secrets); err != nil {
		return err
	}
	sig, err := ParseSignature(signature)
	if err != nil {
		return err
	}
	return sig.Verify(body, secrets...)
}

func checkSecrets(secrets []Secret) error {
	if len(secrets) == 0 {
		return ErrNoSecret
	}
	for _, secret := range secrets {
		if err := secret.check(); err != nil {
			return err
		}
	}
	return nil
}

// Verify is [VerifySignature] for a signature that was parsed before.
func (sig Signature) Verify(body []byte, secrets ...Secret) error {
	if err := checkSecrets(secrets); err != nil {
		return err
	}
	for _, secret := range secrets {
		mac, err := newMAC(secret)
		if err != nil {
			return err
		}
		if mac.matches(body, sig) {
			return nil
		}
	}
	return ErrSignatureMismatch
}

// A Signature is the value of the signature header: the 32 bytes of an HMAC-SHA256.
type Signature [sha256.Size]byte

const (
	hexLen    = 2 * sha256.Size
	dashedLen = hexLen + sha256.Size - 1
	base64Len = (8*sha256.Size + 5) / 6 // without the '=' at the end
	textLen   = (8*hexLen + 5) / 6      // of base64 of the hexadecimal text, likewise
)

// ParseSignature reads the header's value. [VerifySignature] lists the forms. The errors are [ErrMissingSignature] and
// [ErrMalformedSignature]. It allocates nothing.
func ParseSignature(header string) (Signature, error) {
	if sig, ok := parseHex(header); ok {
		return sig, nil // what comes most often has nothing to take off
	}
	s := strings.Trim(header, " \t\r\n")
	for _, prefix := range [...]string{"sha256=", "SHA256="} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			s = strings.Trim(rest, " \t\r\n")
			break
		}
	}
	if s == "" {
		return Signature{}, ErrMissingSignature
	}
	sig, ok := parseHex(s)
	if !ok {
		sig, ok = parseOther(s)
	}
	if !ok {
		return Signature{}, ErrMalformedSignature
	}
	return sig, nil
}

// parseOther reads what isn't plain hexadecimal. What it writes to is on the stack, so that nothing is allocated.
func parseOther(s string) (sig Signature, ok bool) {
	switch len(s) {
	case base64Len, base64Len + 1:
		s, whole := unpadded(s, base64Len)
		var out [sha256.Size + 1]byte
		if n := decodeBase64(out[:], s); !whole || n != sha256.Size {
			return sig, false
		}
		return Signature(out[:sha256.Size]), true
	case textLen, textLen + 1, textLen + 2:
		s, whole := unpadded(s, textLen)
		var out [hexLen + 2]byte
		if n := decodeBase64(out[:], s); !whole || n != hexLen {
			return sig, false
		}
		return parseHex(out[:hexLen])
	case dashedLen:
		var digits [hexLen]byte
		for i := range sha256.Size {
			if i > 0 && s[3*i-1] != '-' {
				return sig, false
			}
			digits[2*i], digits[2*i+1] = s[3*i], s[3*i+1]
		}
		return parseHex(digits[:])
	}
	return sig, false
}

// unpadded takes the '=' off the end of base64, all or none of them, and reports whether n characters are left.
func unpadded(s string, n int) (string, bool) {
	if len(s)%4 == 0 {
		s = strings.TrimRight(s, "=")
	}
	return s, len(s) == n
}

// decodeBase64 returns how many bytes s has, -1 if it is no base64. S has at most textLen characters.
func decodeBase64(out []byte, s string) int {
	enc := rawStd
	if strings.ContainsAny(s, "-_") {
		enc = rawURL
	}
	var text [textLen]byte
	n, err := enc.Decode(out, text[:copy(text[:], s)])
	if err != nil {
		return -1
	}
	return n
}

// parseHex takes 64 digits, with all letters in one case: one signature has one spelling in each, and that any bit of the header
// counts makes it easier to reason about.
func parseHex[T string | []byte](s T) (sig Signature, ok bool) {
	if len(s) != hexLen {
		return sig, false
	}
	var seen byte
	for i := range sig {
		high, low := hexDigits[s[2*i]], hexDigits[s[2*i+1]]
		seen |= high | low
		sig[i] = high<<4 | low&0xf
	}
	if seen&notHex != 0 || seen&(lowerHex|upperHex) == lowerHex|upperHex {
		return Signature{}, false
	}
	return sig, true
}

// What a digit is, beside its value in the lower four bits.
const (
	lowerHex = 0x10 << iota
	upperHex
	notHex
)

var hexDigits = func() (digits [256]byte) {
	for i := range digits {
		digits[i] = notHex
	}
	for i := range byte(10) {
		digits['0'+i] = i
	}
	for i := range byte(6) {
		digits['a'+i] = lowerHex | (10 + i)
		digits['A'+i] = upperHex | (10 + i)
	}
	return digits
}()

// Strict: the two bits that 43 characters have over 32 bytes must be zero.
var (
	rawStd = base64.RawStdEncoding.Strict()
	rawURL = base64.RawURLEncoding.Strict()
)

// A Key is a [Secret] prepared to verify many signatures: the part of HMAC that depends only on the secret is computed once. It is safe for
// concurrent use. The zero value matches nothing.
type Key struct {
	pool func() *sync.Pool // of hash.Hash; a function, so that fmt can't print what is in them
}

// NewKey prepares a secret. The error is [ErrNoSecret] if the secret is empty or "[redacted]", or if it is under 14 bytes in a program that
// allows only FIPS 140-3 (GODEBUG=fips140=only).
func NewKey(secret Secret) (*Key, error) {
	if err := secret.check(); err != nil {
		return nil, err
	}
	first, err := newMAC(secret)
	if err != nil {
		return nil, err
	}
	pool := &sync.Pool{New: func() any {
		mac, _ := newMAC(secret) // as the first
		return mac
	}}
	pool.Put(first)
	return &Key{func() *sync.Pool { return pool }}, nil
}

// Matches reports whether the key's secret made this signature for exactly these bytes. It compares in constant time, and
// allocates nothing once the key has been used.
func (k *Key) Matches(body []byte, sig Signature) bool {
	if k == nil || k.pool == nil {
		return false
	}
	pool := k.pool()
	mac := pool.Get().(*mac)
	matches := mac.matches(body, sig)
	mac.hash.Reset()
	pool.Put(mac)
	return matches
}

// Format writes "[redacted]" whatever the verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// A mac computes HMAC-SHA256 with one secret, for one goroutine at a time. It must be reset before it is used again.
type mac struct {
	hash hash.Hash
	sum  Signature
}

// newMAC fails where crypto/hmac panics: for a secret under 112 bits where only FIPS 140-3 is allowed.
func newMAC(secret Secret) (m *mac, err error) {
	defer func() {
		if value := recover(); value != nil {
			m, err = nil, fmt.Errorf("%w: %v", ErrNoSecret, value)
		}
	}()
	return &mac{hash: hmac.New(sha256.New, []byte(secret))}, nil
}

func (m *mac) matches(body []byte, sig Signature) bool {
	m.hash.Write(body)
	return hmac.Equal(m.hash.Sum(m.sum[:0]), sig[:])
}
