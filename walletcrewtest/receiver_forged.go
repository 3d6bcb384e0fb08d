package walletcrewtest

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // one that a receiver must not accept
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strings"
	"sync"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// forged: nothing but the right signature is accepted.
func (r *ruleRun) forged() error {
	for _, forge := range r.forgeries() {
		p := r.genuine()
		what := forge(&p)
		if walletcrew.VerifySignature(p.body, p.signature, r.secret) == nil && !p.unsigned {
			continue // a signature that ends in a zero is right with a zero at its end
		}
		p.forged = true
		if err := r.refuse(p, what); err != nil {
			return err
		}
	}
	return nil
}

// A forgery changes a genuine parcel, and says how.
type forgery func(*parcel) string

func (r *ruleRun) forgeries() []forgery {
	all := []forgery{func(p *parcel) string {
		p.unsigned = true
		return "a delivery without the signature header"
	}}
	for what, text := range inOrder(unsignedTexts) {
		all = append(all, func(p *parcel) string {
			p.signature = text
			return "a delivery whose signature is " + what
		})
	}
	other := walletcrew.Secret(fmt.Sprintf("%064x", r.rand.Uint64()))
	half := 1 + r.rand.IntN(max(1, len(r.secret)-1))
	for what, secret := range inOrder(map[string]walletcrew.Secret{
		"with another secret":                      other,
		"with an empty secret":                     "",
		"with the beginning of the secret":         r.secret[:min(half, len(r.secret)-1)],
		"with all but the secret's last character": r.secret[:len(r.secret)-1],
		"with more than the secret":                r.secret + "x",
		"with the secret in other case":            otherCase(r.secret),
		`with the secret "null"`:                   "null",
		`with the secret "undefined"`:              "undefined",
		`with the secret "[redacted]"`:             "[redacted]",
		"with the tenant's name":                   walletcrew.Secret(r.tenant),
	}) {
		if secret == r.secret {
			continue
		}
		all = append(all, func(p *parcel) string {
			p.signature = walletcrew.Sign(secret, p.body)
			return "a delivery signed " + what
		}, func(p *parcel) string {
			p.signature = inBase64(walletcrew.Sign(secret, p.body))
			return "a delivery signed " + what + ", in base64"
		})
	}
	all = append(all, r.otherHashes()...)
	all = append(all, r.almostRight()...)
	return append(all, elsewhere(other)...)
}

var unsignedTexts = map[string]string{
	"empty":                   "",
	"a space":                 " ",
	`"sha256="`:               "sha256=",
	`"null"`:                  "null",
	"64 zeros":                strings.Repeat("0", 64),
	"one character":           "a",
	"no hexadecimal":          strings.Repeat("z", 64),
	"4,000 characters":        strings.Repeat("a1", 2000),
	"32 zero bytes in base64": base64.StdEncoding.EncodeToString(make([]byte, 32)),
}

// otherHashes are made with less than HMAC-SHA256, or of less than the secret and the body.
func (r *ruleRun) otherHashes() []forgery {
	mac := func(h func() hash.Hash, body []byte) string {
		m := hmac.New(h, []byte(r.secret))
		m.Write(body)
		return hex.EncodeToString(m.Sum(nil))
	}
	sum := func(b []byte) string {
		s := sha256.Sum256(b)
		return hex.EncodeToString(s[:])
	}
	return []forgery{
		func(p *parcel) string {
			p.signature = sum(p.body)
			return "a delivery with the body's SHA-256, without a secret,"
		},
		func(p *parcel) string { p.signature = sum(nil); return "a delivery with the SHA-256 of nothing" },
		func(p *parcel) string { p.signature = mac(sha1.New, p.body); return "a delivery with an HMAC-SHA1" },
		func(p *parcel) string { p.signature = mac(sha512.New, p.body); return "a delivery with an HMAC-SHA512" },
		func(p *parcel) string {
			p.signature = mac(sha256.New, nil)
			return "a delivery with the signature of an empty body"
		},
	}
}

// almostRight are the right signature, cut or changed at one place: at the ends, in the middle, and anywhere.
func (r *ruleRun) almostRight() []forgery {
	var all []forgery
	for _, n := range []int{1, 2, 8, 16, 32, 63, 1 + r.rand.IntN(62)} {
		all = append(all, func(p *parcel) string {
			p.signature = p.signature[:n]
			return fmt.Sprintf("a delivery with the first %d of the signature's 64 characters", n)
		}, func(p *parcel) string {
			p.signature = p.signature[:n] + strings.Repeat("0", 64-n)
			return fmt.Sprintf("a delivery with the first %d of the signature's 64 characters, and zeros", n)
		})
	}
	for _, n := range []int{0, 1, 8, 31, 32, 48, 62, 63, r.rand.IntN(64), r.rand.IntN(64), r.rand.IntN(64), r.rand.IntN(64)} {
		bit := byte(1) << r.rand.IntN(4)
		all = append(all, func(p *parcel) string {
			p.signature = flipped(p.signature, n, bit)
			return fmt.Sprintf("a delivery with one bit of the signature changed, in its character %d,", n+1)
		})
	}
	return append(all, func(p *parcel) string {
		p.signature += "00"
		return "a delivery with the signature and two zeros"
	}, func(p *parcel) string {
		p.signature = p.signature[32:]
		return "a delivery with the signature's second half"
	})
}

// elsewhere are forged deliveries that a receiver may look at in another way.
func elsewhere(other walletcrew.Secret) []forgery {
	sign := func(p *parcel) { p.signature = walletcrew.Sign(other, p.body) }
	return []forgery{
		func(p *parcel) string {
			sign(p)
			p.event = "Wallet:Tested"
			return "a forged delivery of an event that isn't known"
		},
		func(p *parcel) string { sign(p); p.event = ""; return "a forged delivery without an event name" },
		func(p *parcel) string { sign(p); p.tenant = ""; return "a forged delivery without a tenant" },
		func(p *parcel) string {
			sign(p)
			p.tenant = "walletcrewtest-other"
			return "a forged delivery of another tenant"
		},
		func(p *parcel) string { sign(p); p.chunked = true; return "a forged delivery without a length" },
	}
}

// flipped changes a bit of the digit at n, whatever the case.
func flipped(signature string, n int, bit byte) string {
	const digits = "0123456789abcdef"
	d := strings.IndexByte(digits, signature[n])
	return signature[:n] + string(digits[byte(d)^bit]) + signature[n+1:] //nolint:gosec // one of 16
}

func otherCase(s walletcrew.Secret) walletcrew.Secret {
	if upper := walletcrew.Secret(strings.ToUpper(string(s))); upper != s {
		return upper
	}
	return walletcrew.Secret(strings.ToLower(string(s)))
}

func inBase64(hexadecimal string) string {
	b, _ := hex.DecodeString(hexadecimal) // our own
	return base64.StdEncoding.EncodeToString(b)
}

// tampered: the signature is over all bytes, as they came.
func (r *ruleRun) tampered() error {
	for what, change := range inOrder(map[string]func(body, id string) string{
		"one of its characters changed":      func(b, _ string) string { return r.changeOne(b) },
		"another id":                         func(b, id string) string { return strings.Replace(b, id, r.newEventID(), 1) },
		"a space at its end":                 func(b, _ string) string { return b + " " },
		"a line's end at its end":            func(b, _ string) string { return b + "\n" },
		"a carriage return and a line's end": func(b, _ string) string { return b + "\r\n" },
		"a zero byte at its end":             func(b, _ string) string { return b + "\x00" },
		"a space at its beginning":           func(b, _ string) string { return " " + b },
		"a byte order mark":                  func(b, _ string) string { return "\uFEFF" + b },
		"a space in it":                      func(b, _ string) string { return strings.Replace(b, `":`, `": `, 1) },
		"a space between its members":        func(b, _ string) string { return strings.Replace(b, `,"`, `, "`, 1) },
		"another spelling of a letter":       func(b, _ string) string { return strings.Replace(b, `"__id"`, `"\u005f_id"`, 1) },
		"a further member":                   func(b, _ string) string { return b[:len(b)-1] + `,"amount":1000}` },
		"a member twice":                     func(b, _ string) string { return b[:len(b)-1] + `,"passId":"p-evil"}` },
		"its members in another order":       func(b, id string) string { return `{"zz":0,` + strings.Replace(b[1:], `"zz":0,`, "", 1) },
		"a letter in other case":             func(b, _ string) string { return strings.Replace(b, `"__id"`, `"__ID"`, 1) },
		"its last byte cut off":              func(b, _ string) string { return b[:len(b)-1] },
		"another event after it":             func(b, id string) string { return b + strings.Replace(b, id, r.newEventID(), 1) },
		"another event before it":            func(b, id string) string { return strings.Replace(b, id, r.newEventID(), 1) + b },
		"nothing left":                       func(string, string) string { return "" },
	}) {
		p := r.genuine()
		body := []byte(change(string(p.body), p.id))
		if bytes.Equal(body, p.body) {
			continue
		}
		p.body, p.forged = body, true
		if err := r.refuse(p, "a delivery whose body has "+what); err != nil {
			return err
		}
	}
	return nil
}

// idLast moves the id to the end.
func idLast(body, id string) string {
	rest, ok := strings.CutPrefix(body, `{"__id":"`+id+`",`)
	if !ok {
		return body
	}
	return "{" + rest[:len(rest)-1] + `,"__id":"` + id + `"}`
}

func indented(body string) string {
	var b bytes.Buffer
	_ = json.Indent(&b, []byte(body), "", "  ") // our own
	return b.String()
}

// changeOne changes a letter or a digit into another, wherever it is.
func (r *ruleRun) changeOne(body string) string {
	for {
		i := r.rand.IntN(len(body))
		switch c := body[i]; {
		case 'a' <= c && c < 'z', 'A' <= c && c < 'Z', '0' <= c && c < '9':
			return body[:i] + string(c+1) + body[i+1:]
		}
	}
}

// suppressed: a forged delivery of an event doesn't make a duplicate of the genuine one.
func (r *ruleRun) suppressed() error {
	for what, forge := range inOrder(map[string]func(*parcel){
		"one without a signature":        func(p *parcel) { p.unsigned = true },
		"one with another signature":     func(p *parcel) { p.signature = strings.Repeat("0", 64) },
		"one with another body":          func(p *parcel) { p.body = append(bytes.Clone(p.body), ' ') },
		"one with an unknown name":       func(p *parcel) { p.unsigned, p.event = true, "Wallet:Tested" },
		"one that isn't posted":          func(p *parcel) { p.method = http.MethodPut },
		"one that says it is compressed": func(p *parcel) { p.unsigned, p.encoding = true, "gzip" },
	}) {
		p := r.genuine()
		bad := p
		bad.forged = true
		forge(&bad)
		_ = r.send(bad)
		if err := r.take(p, "a genuine delivery after "+what); err != nil {
			return err
		}
	}
	return nil
}

// decodedUnverified: what a forged delivery is answered doesn't depend on its JSON.
func (r *ruleRun) decodedUnverified() error {
	p := r.genuine()
	n := len(p.body)
	fill := func(begin, end string) []byte {
		return []byte(begin + strings.Repeat(" ", max(0, n-len(begin)-len(end))) + end)
	}
	answer := func(body []byte) (reply, bool) {
		bad := p.forge(walletcrew.Sign("another secret", body))
		bad.body = body
		a := r.send(bad)
		return a, a.err == nil && !a.postponed()
	}
	first, ok1 := answer(p.body)
	second, ok2 := answer(r.genuine().body)
	if !ok1 || !ok2 || first.status != second.status {
		return nil // it goes by something else: nothing can be said
	}
	steady := bytes.Equal(first.body, second.body)
	for what, body := range inOrder(map[string][]byte{
		"is no JSON":                  fill("walletcrewtest", ""),
		"breaks off":                  append(bytes.Clone(p.body[:n-1]), ' '),
		"is an array":                 fill("[", "]"),
		"is null":                     fill("null", ""),
		"isn't UTF-8":                 fill("{\"__id\":\"\xff", "\"}"),
		"has an id that is an object": fill(`{"__id":{},"passId":[]`, "}"),
		"has no id":                   fill("{", "}"),
		"has a member twice":          fill(`{"__id":"a","__id":"b"`, "}"),
		"has nothing but brackets":    bytes.Repeat([]byte("["), n),
	}) {
		a, ok := answer(body)
		switch {
		case a.err != nil && !a.late:
			return fmt.Errorf("a forged delivery whose body %s: expected what any forged one is answered, %s, got %s", what, first, a)
		case !ok:
		case a.status != first.status, steady && !bytes.Equal(a.body, first.body):
			return fmt.Errorf("a forged delivery whose body %s: expected what any forged one is answered, %s, got another answer: %s", what, first, a)
		}
	}
	return nil
}

// compressed: what came is what is signed; nothing is unpacked before.
func (r *ruleRun) compressed() error {
	p := r.genuine()
	p.body, p.encoding, p.forged = zipped(p.body), "gzip", true
	if a := r.send(p); a.err != nil || a.accepted() {
		return fmt.Errorf("a compressed delivery whose signature is of the body before that: expected a refusal, got %s", a)
	}
	if err := r.effect(p.id, 0, "a compressed delivery whose signature is of the body before that"); err != nil {
		return err
	}

	bomb := r.genuine().forge(strings.Repeat("0", 64))
	bomb.body, bomb.encoding = append(manyZeros(), zipped(bomb.body)...), "gzip" // two parts of one stream
	if err := r.refuse(bomb, "a forged compressed delivery of 8 MiB"); err != nil {
		return err
	}

	q := r.genuine()
	q = r.signedBody(q.id, zipped(q.body))
	q.encoding = "gzip"
	const what = "a compressed delivery whose signature is of the compressed body"
	switch a := r.send(q); {
	case a.err != nil:
		return fmt.Errorf("%s: expected an answer, got %s", what, a)
	case a.accepted():
		return r.effect(q.id, 1, what+", accepted")
	}
	return r.effect(q.id, 0, what+", refused")
}

// manyZeros are 8 MiB of them, compressed: once, since that takes the time of a hundred deliveries.
var manyZeros = sync.OnceValue(func() []byte { return slices.Clip(zipped(make([]byte, 8<<20))) })

func zipped(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(body) // to memory
	_ = w.Close()
	return b.Bytes()
}

// leaked: no answer of the whole test has shown a secret.
func (r *ruleRun) leaked() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leak != "" {
		return fmt.Errorf("an answer shows %s", r.leak)
	}
	return nil
}

// lookForSecrets looks in an answer for what nobody may learn from it: the secret; and the right signature of what was signed otherwise.
func (r *ruleRun) lookForSecrets(p parcel, resp *http.Response, body []byte) {
	var text strings.Builder
	text.WriteString(resp.Status + "\n")
	_ = resp.Header.Write(&text)
	text.Write(body)
	shown := plain(text.String())
	what := ""
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, secret := range r.secrets {
		if p.forged && what == "" {
			what = showsSignature(shown, hmacOf(secret, p.body), p.signature)
		}
		if showsSecret(shown, string(secret)) {
			what = "the secret"
		}
	}
	if what != "" && r.leak == "" {
		r.leak = fmt.Sprintf("%s (%s, %s)", what, r.name, resp.Status)
	}
}

func showsSecret(shown, secret string) bool {
	if len(secret) < 12 { // it may be a word
		return false
	}
	for _, s := range []string{secret, hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))} {
		if strings.Contains(shown, strings.ToLower(s)) {
			return true
		}
	}
	return false
}

func hmacOf(secret walletcrew.Secret, body []byte) []byte {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write(body)
	return m.Sum(nil)
}

// showsSignature looks for the right signature in every usual spelling. A part is enough, unless the sender had one: then it may only be
// what he sent.
func showsSignature(shown string, right []byte, sent string) string {
	const part = 12 // characters: by chance one in 10^14 answers has them
	sent = strings.ToLower(sent)
	hexadecimal, in64 := hex.EncodeToString(right), strings.ToLower(base64.StdEncoding.EncodeToString(right))
	if strings.Contains(sent, hexadecimal) {
		return ""
	}
	near := false
	for _, s := range []string{hexadecimal[:part], hexadecimal[64-part:], in64[:part]} {
		near = near || strings.Contains(sent, s)
	}
	decimal := strings.Trim(fmt.Sprintf("%d", right), "[]")
	spaced := fmt.Sprintf("% x", right)
	for _, s := range []string{
		hexadecimal, in64, strings.ToLower(base64.URLEncoding.EncodeToString(right)),
		spaced, strings.ReplaceAll(spaced, " ", "-"), decimal, strings.ReplaceAll(decimal, " ", ","),
	} {
		s = strings.TrimRight(s, "=")
		begin, end := s[:2*part], s[len(s)-2*part:]
		if strings.Contains(shown, s) || !near && (strings.Contains(shown, begin) || strings.Contains(shown, end)) {
			return "the right signature of a forged delivery"
		}
	}
	return ""
}

// plain undoes what a writer of JSON, HTML or a URL does to base64, and ignores case.
func plain(text string) string {
	return strings.ToLower(unescape.Replace(text))
}

var unescape = strings.NewReplacer(`\/`, "/", `\u002b`, "+", `\u002B`, "+", `\u003d`, "=", `\u003D`, "=", "&#43;", "+", "&#61;", "=",
	"%2B", "+", "%2b", "+", "%2F", "/", "%2f", "/", "%3D", "=", "%3d", "=")
