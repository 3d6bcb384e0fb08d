package verifier

import (
	"bytes"
	"cmp"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // to recognise what others use
	"crypto/sha1" //nolint:gosec // to recognise what others use
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// Diagnose explains why a signature doesn't match. It always returns at least one finding:
//
//   - "it matches", if one of the secrets signed the body; if there are several, it says which
//   - the faults that it found, as sentences for a person
//   - if it found none, that it can't explain it, and what remains to be checked
//
// It tries the usual faults:
//
//   - a body that a middleware has read or encoded again
//   - a secret with quotes or a line break around it, or that was used decoded
//   - a signature that was cut, or made by another algorithm
//
// Each finding is proved by computing, except one that begins with "likely". If the order of the members is lost, as when Go encodes a map,
// nobody can tell which body was signed.
//
// It is for a log on a developer's machine. Don't put the findings into a response: they would tell an attacker how close an attempt was,
// and they take some hundred hashes of the body. No finding holds a secret, a right signature or the body.
func Diagnose(body []byte, signature string, secrets ...walletcrew.Secret) (findings []string) {
	d := diagnosis{body: body, signature: signature, secrets: secrets}
	fips140.WithoutEnforcement(d.run) // it recognises MD5 and SHA-1, and protects nothing by them
	return d.findings
}

// A diagnosis is one call's.
type diagnosis struct {
	body      []byte
	signature string
	secrets   []walletcrew.Secret

	findings []string
	left     int  // bytes that may still be hashed
	cut      bool // they didn't suffice
}

// What is tried at most.
const (
	maxHashed   = 256 << 20 // bytes
	hashCosts   = 256       // and for each hash
	maxCombined = 64 << 10  // a body with which each kind of secret is tried for each way to encode it again
)

func (d *diagnosis) say(format string, args ...any) {
	d.findings = append(d.findings, fmt.Sprintf(format, args...))
}

// affords reports whether a hash of the value is within the limit.
func (d *diagnosis) affords(value []byte) bool {
	d.left -= len(value) + hashCosts
	d.cut = d.cut || d.left < 0
	return d.left >= 0
}

// of names a secret, if there are several.
func (d *diagnosis) of(i int) string {
	if len(d.secrets) == 1 {
		return ""
	}
	return fmt.Sprintf("secret %d of %d: ", i+1, len(d.secrets))
}

func (d *diagnosis) run() {
	d.left = maxHashed
	usable := d.checkSecrets()
	if d.matches() {
		return
	}
	if len(d.body) == 0 {
		d.say("the body is empty: did something read it before, such as a middleware? Read it once and pass the bytes on")
	}
	given := strings.TrimSpace(d.signature)
	for _, prefix := range []string{"sha256=", "SHA256="} {
		if rest, ok := strings.CutPrefix(given, prefix); ok {
			given = strings.TrimSpace(rest)
			break
		}
	}
	if given == "" {
		d.say("the signature is missing: the header " + walletcrew.HeaderSignature + " is empty, or a proxy dropped it")
		return
	}
	if finding := cmp.Or(d.matchedBy(given), d.otherwise(given), shape(given)); finding != "" {
		d.say("%s", finding)
		return
	}
	if usable && len(d.body) > 0 {
		d.unexplained()
	}
}

// checkSecrets says which can't be one, and reports whether any can.
func (d *diagnosis) checkSecrets() (usable bool) {
	for i, secret := range d.secrets {
		switch secret {
		case "":
			d.say("%sthe secret is empty: is the variable set that it comes from?", d.of(i))
		case "[redacted]":
			d.say(`%sthe secret is the text "[redacted]": it was read from a log or a dump, which doesn't hold it; string(secret) is the value`, d.of(i))
		default:
			usable = true
		}
	}
	if len(d.secrets) == 0 {
		d.say("no secret was passed: pass the webhook's signatureSecret")
	}
	return usable
}

func (d *diagnosis) matches() bool {
	for i, secret := range d.secrets {
		if walletcrew.VerifySignature(d.body, d.signature, secret) != nil {
			continue
		}
		finding := "it matches"
		if len(d.secrets) > 1 {
			finding = fmt.Sprintf("it matches secret %d of %d", i+1, len(d.secrets))
		}
		d.findings = slices.Insert(d.findings, 0, finding)
		return true
	}
	return false
}

// unexplained says what is left.
func (d *diagnosis) unexplained() {
	const left = "nothing that Diagnose knows explains it. Then it is another secret: is it the signatureSecret of the webhook that sent " +
		"this, as the API returns it today? Or the body isn't what was signed, changed in a way that can't be undone: verify the bytes as they came"
	d.say("%s", left)
	if d.cut {
		d.say("the body is large, or the secrets are many: not every way to encode it again was tried; a smaller delivery tells more")
	}
	if bytes.HasPrefix(d.body, []byte(gzipMagic)) {
		d.say("the body is compressed with gzip, and the signature isn't of what is in it")
	}
	if inOrder(d.body) {
		d.say("likely, the body was decoded and encoded again on the way: its members stand in alphabetical order, as Go's encoding/json writes " +
			"a map. The order that was signed is lost")
	}
}

// A candidate is a secret as it may have been.
type candidate struct {
	key  *walletcrew.Key
	what string
	of   string // which secret
}

// candidates are the secrets, as they are first.
func (d *diagnosis) candidates() (all []candidate) {
	var changed []candidate
	for i, secret := range d.secrets {
		for _, v := range secretVariants(string(secret)) {
			key, err := walletcrew.NewKey(walletcrew.Secret(v.value))
			switch {
			case err != nil:
			case v.what == "":
				all = append(all, candidate{key, "", d.of(i)})
			default:
				changed = append(changed, candidate{key, v.what, d.of(i)})
			}
		}
	}
	return append(all, changed...)
}

// matchedBy looks for a secret and a body that the signature is of.
func (d *diagnosis) matchedBy(signature string) string {
	if sig, err := walletcrew.ParseSignature(signature); err == nil {
		candidates := d.candidates()
		for b := range simpleVariants(d.body) {
			if finding := d.try(sig, b, candidates, true); finding != "" {
				return finding
			}
		}
		for b := range encodings(d.body) {
			if finding := d.try(sig, b, candidates, len(d.body) <= maxCombined); finding != "" {
				return finding
			}
			if d.cut {
				break
			}
		}
	}
	d.left = maxHashed
	for i, secret := range d.secrets {
		for _, s := range secretVariants(string(secret)) {
			if !d.affords(d.body) {
				break
			}
			if mangled(d.body, signature, s.value) {
				return d.of(i) + strings.TrimPrefix(s.what+"; and the letters' case of the signature was changed on the way", "; and ")
			}
		}
	}
	if sum := sha256.Sum256(d.body); equalText(signature, sum[:]) {
		return "the signature is the plain SHA-256 of the body: whoever sent it used no secret"
	}
	return ""
}

// try looks for a secret that the signature of this body was made with. All: also among secrets that were changed.
func (d *diagnosis) try(sig walletcrew.Signature, b variant, candidates []candidate, all bool) string {
	for _, c := range candidates {
		if c.what != "" && !all {
			continue
		}
		if !d.affords(b.value) {
			return ""
		}
		if !c.key.Matches(b.value, sig) {
			continue
		}
		switch {
		case c.what == "":
			return c.of + b.what
		case b.what == "":
			return c.of + c.what
		}
		return c.of + c.what + "; and " + b.what
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

// minCut is how much of a signature must be there to say that it is the right one, cut: less may fit by chance.
const minCut = 8

// otherwise says what a signature is that isn't the right one, but has to do with it.
func (d *diagnosis) otherwise(signature string) string {
	for i, secret := range d.secrets {
		if secret == "" {
			continue // anybody can make its
		}
		right := walletcrew.Sign(secret, d.body)
		sum, _ := hex.DecodeString(right)
		for _, text := range []string{right, strings.ToUpper(right), base64.StdEncoding.EncodeToString(sum), base64.URLEncoding.EncodeToString(sum)} {
			if len(signature) >= minCut && len(signature) < len(text) && strings.HasPrefix(text, signature) {
				return d.of(i) + fmt.Sprintf("the signature is right, but cut off: %d characters of %d came", len(signature), len(text))
			}
			if strings.Contains(signature, strings.TrimRight(text, "=")) {
				return d.of(i) + "the right signature is in the header, but with something else around it"
			}
		}
		for _, algorithm := range otherAlgorithms {
			if !d.affords(d.body) {
				return ""
			}
			h := hmac.New(algorithm.new, []byte(secret))
			h.Write(d.body)
			if equalText(signature, h.Sum(nil)) {
				return d.of(i) + "the signature was made with HMAC-" + algorithm.name + ": the platform's is HMAC-SHA256"
			}
		}
	}
	return ""
}

var otherAlgorithms = []struct {
	name string
	new  func() hash.Hash
}{{"MD5", md5.New}, {"SHA-1", sha1.New}, {"SHA-384", sha512.New384}, {"SHA-512", sha512.New}}

// shape says what the signature alone shows; "" if it can be one.
func shape(signature string) string {
	if _, err := walletcrew.ParseSignature(signature); err == nil {
		return ""
	}
	if len(signature) == hex.EncodedLen(sha256.Size) && isHex(signature) {
		return "the hexadecimal signature has upper and lower case mixed: something changed it on the way"
	}
	for _, algorithm := range otherAlgorithms {
		size := algorithm.new().Size()
		if len(signature) == 2*size && isHex(signature) || isBase64(signature, size) {
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
