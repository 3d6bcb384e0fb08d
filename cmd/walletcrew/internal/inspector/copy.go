package inspector

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// serveCurl is the delivery as a command for a shell, with its recorded signature.
func (i *Inspector) serveCurl(w http.ResponseWriter, _ *http.Request, e *entry) {
	target := e.ForwardURL
	for _, other := range []string{i.options.ForwardTo, i.options.Endpoint, "http://127.0.0.1:8080/webhooks"} {
		if target == "" {
			target = other
		}
	}
	answer(w, map[string]string{"text": i.curl(e, target)})
}

// curl writes a command that means the same in every shell: whatever stands between its single quotes has no quote, backslash,
// exclamation mark or control character, which fish and csh read otherwise than sh, and a terminal may act on. A body that has one goes
// through base64, and so does a large one, since a single argument has a limit.
func (i *Inspector) curl(e *entry, target string) string {
	lines := []string{"curl -sS -i -X POST " + "--globoff '" + shellURL(i.url(target)) + "'"}
	kind := false
	for _, h := range i.headers(e) {
		name, value := h[0], h[1]
		if skipped[http.CanonicalHeaderKey(name)] || hidden[http.CanonicalHeaderKey(name)] || !harmless(name) || !harmless(value) ||
			strings.ContainsAny(name, "@: ") {
			continue
		}
		kind = kind || http.CanonicalHeaderKey(name) == "Content-Type"
		if value == "" {
			lines = append(lines, "-H '"+name+";'") // sent, and empty
			continue
		}
		lines = append(lines, "-H '"+name+": "+value+"'")
	}
	if !kind {
		lines = append(lines, "-H 'Content-Type:'") // curl would say that it is a form
	}
	const maxArgument = 64 << 10
	body := i.hide(string(e.Body))
	if harmless(body) && len(body) <= maxArgument {
		return strings.Join(append(lines, "--data-raw '"+body+"'"), " \\\n  ") + "\n"
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(body))
	return "printf %s '" + encoded + "' | base64 -d | " + strings.Join(append(lines, "--data-binary @-"), " \\\n  ") + "\n"
}

// skipped are headers of the connection, which curl makes itself.
var skipped = map[string]bool{
	"Accept-Encoding": true, "Connection": true, "Content-Length": true, "Expect": true, "Host": true, "Keep-Alive": true, "Te": true,
	"Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// harmless reports whether a text means itself between single quotes, in any shell and terminal.
func harmless(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(c rune) bool {
		return c == '\'' || c == '\\' || c == '!' || !unicode.IsPrint(c)
	})
}

// shellURL is a URL as it can stand between single quotes.
func shellURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "http://127.0.0.1:8080/webhooks"
	}
	var b strings.Builder
	for _, c := range []byte(u.String()) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("'\\!\"`$<>|;", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// serveTest is the delivery as a test in Go.
func (i *Inspector) serveTest(w http.ResponseWriter, _ *http.Request, e *entry) {
	answer(w, map[string]string{"text": i.goTest(e)})
}

const goTest = `package main // the package of your receiver

import (
	"net/http/httptest"
	"testing"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// The body is that of a recorded delivery. Its secret is not here: the test signs with one of its own.
func TestReceiver%s(t *testing.T) {
	const secret = walletcrew.Secret("a secret that only this test knows")
	body := []byte(%s)
	request := walletcrewtest.NewRequest("/webhooks", secret, %q, %q, body)
	answer := httptest.NewRecorder()

	newReceiver(secret).ServeHTTP(answer, request) // your http.Handler, with this secret

	if answer.Code < 200 || answer.Code > 299 {
		t.Fatalf("the receiver answered %%d, not 2xx", answer.Code)
	}
}
`

func (i *Inspector) goTest(e *entry) string {
	event := i.hide(e.Event)
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return -1
	}, event)
	return fmt.Sprintf(goTest, cmp.Or(name[:min(len(name), 60)], "Delivery"), goLiteral(i.hide(string(e.Body))), i.hide(e.Tenant), event)
}

// goLiteral is a raw string if that holds the text to the byte and shows all of it, else a quoted one.
func goLiteral(text string) string {
	raw := utf8.ValidString(text) && !strings.ContainsFunc(text, func(c rune) bool {
		return c == '`' || c != '\n' && c != '\t' && !unicode.IsPrint(c)
	})
	if raw {
		return "`" + text + "`"
	}
	return strconv.QuoteToASCII(text)
}

// newID is a UUID, version 4.
func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
