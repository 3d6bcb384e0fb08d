package receiver_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// A hostile is what is written to the connection, and the statuses that come back, in order. Where it is net/http that answers,
// before the handler is called, by says so: these are here because what a receiver answers is what it answers.
type hostile struct {
	name  string
	send  string
	want  []int
	shut  bool // the sender closes its side after the last byte
	later string
	// later is sent when the first answer (100 Continue) has come.
}

// rawRequest writes a request line, the headers in order (a header without a name is left out) and the body.
func rawRequest(line, body string, headers ...string) string {
	return line + "\r\nHost: receiver.example\r\n" + strings.Join(append(headers, "", ""), "\r\n") + body
}

// length is the header of a body that is sent whole.
func length(body string) string { return fmt.Sprintf("Content-Length: %d", len(body)) }

func signatureOf(body string) string {
	return "X-Neostore-Signature: " + walletcrew.Sign(knownSecret, []byte(body))
}

func chunks(body string, size int, extension string) string {
	var b strings.Builder
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x%s\r\n%s\r\n", n, extension, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

func hostileRequests() []hostile {
	const (
		post    = "POST /webhooks HTTP/1.1"
		chunked = "Transfer-Encoding: chunked"
		name    = "X-Neostore-Eventname: Pass:Installed"
		tenant  = "X-Neostore-Tenantid: acme"
		body    = knownBody
	)
	good := "X-Neostore-Signature: " + knownHex
	bad := "X-Neostore-Signature: " + nowhere
	whole := length(body)
	// delivered sends this body signed rightly.
	delivered := func(body string, headers ...string) string {
		return rawRequest(post, body, append([]string{length(body), signatureOf(body), name, tenant}, headers...)...)
	}
	one := func(name, send string, status ...int) hostile { return hostile{name: name, send: send, want: status} }
	cut := func(name, send string, status ...int) hostile {
		return hostile{name: name, send: send, want: status, shut: true}
	}
	mib, over := string(paddedBody(1<<20)), string(paddedBody(1<<20+1))
	manyHeaders := make([]string, 0, 400) // net/http takes as many as fit its bytes; 1.27 has a limit of its own
	for i := range 400 {
		manyHeaders = append(manyHeaders, fmt.Sprintf("X-Filler-%d: %d", i, i))
	}
	nested := func(depth int) string {
		return `{"__id":"1","a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`
	}

	return []hostile{
		// Methods and targets.
		one("a good delivery", delivered(body), 204),
		one("GET", rawRequest("GET /webhooks HTTP/1.1", "", good), 405),
		one("GET with a signed body", rawRequest("GET /webhooks HTTP/1.1", body, whole, good), 405),
		cut("HEAD", rawRequest("HEAD /webhooks HTTP/1.1", "", good), 405),
		one("OPTIONS", rawRequest("OPTIONS /webhooks HTTP/1.1", ""), 405),
		one("OPTIONS *", rawRequest("OPTIONS * HTTP/1.1", ""), 200), // net/http's own
		one("PUT", rawRequest("PUT /webhooks HTTP/1.1", body, whole, good), 405),
		one("PATCH", rawRequest("PATCH /webhooks HTTP/1.1", body, whole, good), 405),
		one("DELETE", rawRequest("DELETE /webhooks HTTP/1.1", body, whole, good), 405),
		one("TRACE", rawRequest("TRACE /webhooks HTTP/1.1", "", good), 405),
		one("CONNECT", rawRequest("CONNECT receiver.example:443 HTTP/1.1", "", good), 405),
		one("post in lower case", rawRequest("post /webhooks HTTP/1.1", body, whole, good), 405),
		one("a method of its own", rawRequest("DELIVER /webhooks HTTP/1.1", body, whole, good), 405),
		one("a method override", rawRequest("GET /webhooks?_method=POST HTTP/1.1", body, whole, good, "X-HTTP-Method-Override: POST"), 405),
		one("a method that can't be one", rawRequest("PO(ST /webhooks HTTP/1.1", body, whole, good), 400),
		one("an absolute target", rawRequest("POST http://elsewhere.example/webhooks HTTP/1.1", body, whole, good), 204),
		one("a target out of the tree", rawRequest("POST /../../etc/passwd?x=%00 HTTP/1.1", body, whole, good), 204),
		one("a target with a bad escape", rawRequest("POST /%zz HTTP/1.1", body, whole, good), 400),
		one("an empty line first", "\r\n"+delivered(body), 400),
		one("not HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
		one("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405), // net/http hands it to the handler, which it isn't for

		// Versions, Host.
		one("HTTP/1.0", "POST / HTTP/1.0\r\n"+whole+"\r\n"+good+"\r\n\r\n"+body, 204),
		cut("HTTP/1.0 without a length: no body", "POST / HTTP/1.0\r\n"+good+"\r\n\r\n"+body, 401),
		one("HTTP/1.0 and chunked: not chunked there", "POST / HTTP/1.0\r\n"+chunked+"\r\n"+good+"\r\n\r\n"+chunks(body, 10, ""), 401),
		one("HTTP/1.2", rawRequest("POST / HTTP/1.2", body, whole, good), 204),
		one("HTTP/3.0", rawRequest("POST / HTTP/3.0", body, whole, good), 505),
		one("HTTP/9.9", rawRequest("POST / HTTP/9.9", body, whole, good), 505),
		one("HTTP 1", rawRequest("POST / HTTP/1", body, whole, good), 400),
		one("no Host", "POST / HTTP/1.1\r\n"+whole+"\r\n"+good+"\r\n\r\n"+body, 400),
		one("two Hosts", rawRequest(post, body, "Host: other.example", whole, good), 400),
		one("a bad Host", "POST / HTTP/1.1\r\nHost: a b\r\n"+whole+"\r\n"+good+"\r\n\r\n"+body, 400),

		// Headers.
		one("lower-case headers", rawRequest(post, body, strings.ToLower(whole), strings.ToLower(good), "x-neostore-eventname: Pass:Installed"), 204),
		one("upper-case headers", rawRequest(post, body, strings.ToUpper(whole), "X-NEOSTORE-SIGNATURE: "+strings.ToUpper(knownHex)), 204),
		one("headers in any case", rawRequest(post, body, whole, "x-NeoStore-sIGNATURE: "+knownBase64), 204),
		one("spaces around the signature", rawRequest(post, body, whole, "X-Neostore-Signature: \t "+knownHex+" \t"), 204),
		one("no space after the colon", rawRequest(post, body, whole, "X-Neostore-Signature:"+knownHex), 204),
		one("a space before the colon", rawRequest(post, body, whole, "X-Neostore-Signature : "+knownHex), 400),
		one("a space before the name", rawRequest(post, body, whole, " "+good), 400),
		one("a folded signature", rawRequest(post, body, whole, "X-Neostore-Signature: "+knownHex[:32]+"\r\n "+knownHex[32:]), 401),
		one("a folded other header", rawRequest(post, body, whole, good, "X-Other: a\r\n\tb"), 204),
		one("no colon", rawRequest(post, body, whole, good, "X-Other"), 400),
		one("an empty header name", rawRequest(post, body, whole, good, ": x"), 400),
		one("a NUL in a header", rawRequest(post, body, whole, "X-Neostore-Signature: "+knownHex+"\x00"), 400),
		one("a NUL in a header's name", rawRequest(post, body, whole, good, "X-\x00: 1"), 400),
		one("a NUL in the event's name", rawRequest(post, body, whole, good, "X-Neostore-Eventname: Pass\x00:Installed"), 400),
		one("a lone CR in a header", rawRequest(post, body, whole, good, "X-Other: a\rX-Neostore-Tenantid: x"), 400),
		one("lines that end in LF only", strings.ReplaceAll(rawRequest(post, "", whole, good), "\r\n", "\n")+body, 204),
		one("UTF-8 in the event's name", rawRequest(post, body, whole, good, "X-Neostore-Eventname: Café:Ouvert"), 204),
		one("no event name", rawRequest(post, body, whole, good), 204),
		one("an event name of 100 KB", rawRequest(post, body, whole, good, "X-Neostore-Eventname: "+strings.Repeat("a:*", 33_000)), 204),
		one("400 headers", rawRequest(post, body, append(manyHeaders, whole, good)...), 204),
		one("2 MiB of headers", rawRequest(post, body, whole, good, "X-Other: "+strings.Repeat("a", 2<<20)), 431),

		// Signatures.
		one("no signature", rawRequest(post, body, whole), 401),
		one("an empty signature", rawRequest(post, body, whole, "X-Neostore-Signature:"), 401),
		one("a wrong signature", rawRequest(post, body, whole, bad), 401),
		one("the signature of another body", rawRequest(post, body, whole, signatureOf("{}")), 401),
		one("the signature of an empty body", rawRequest(post, body, whole, signatureOf("")), 401),
		one("another's secret", rawRequest(post, body, whole, "X-Neostore-Signature: "+walletcrew.Sign(otherSecret, []byte(body))), 401),
		one("an empty secret", rawRequest(post, body, whole, "X-Neostore-Signature: "+walletcrew.Sign("", []byte(body))), 401),
		one("cut by one", rawRequest(post, body, whole, "X-Neostore-Signature: "+knownHex[:63]), 401),
		one("the right one and more", rawRequest(post, body, whole, "X-Neostore-Signature: "+knownHex+","+knownHex), 401),
		one("another scheme", rawRequest(post, body, whole, "X-Neostore-Signature: sha512="+knownHex), 401),
		one("the right signature twice", rawRequest(post, body, whole, good, good), 204),
		one("a wrong one before the right one", rawRequest(post, body, whole, bad, good), 401),
		one("an empty one before the right one", rawRequest(post, body, whole, "X-Neostore-Signature:", good), 401),
		one("in the URL", rawRequest("POST /?x-neostore-signature="+knownHex+" HTTP/1.1", body, whole), 401),
		one("in a header of another name", rawRequest(post, body, whole, "X-Hub-Signature-256: sha256="+knownHex, "X_Neostore_Signature: "+knownHex), 401),
		one("in a trailer", rawRequest(post, strings.TrimSuffix(chunks(body, 50, ""), "\r\n")+good+"\r\n\r\n", chunked, "Trailer: X-Neostore-Signature"), 401),
		one("a wrong one, the right one in a trailer", rawRequest(post, strings.TrimSuffix(chunks(body, 50, ""), "\r\n")+good+"\r\n\r\n", chunked, bad, "Trailer: X-Neostore-Signature"), 401),

		// Encodings.
		one("gzip", rawRequest(post, body, whole, good, "Content-Encoding: gzip"), 415),
		one("deflate", rawRequest(post, body, whole, good, "content-encoding: deflate"), 415),
		one("Identity", rawRequest(post, body, whole, good, "Content-Encoding: Identity "), 204),
		one("identity, then gzip in a line of its own", rawRequest(post, body, whole, good, "Content-Encoding: identity", "Content-Encoding: gzip"), 415),
		one("identity, gzip", rawRequest(post, body, whole, good, "Content-Encoding: identity, gzip"), 415),
		one("gzip without a signature", rawRequest(post, body, whole, "Content-Encoding: gzip"), 415),
		one("Transfer-Encoding: gzip, chunked", rawRequest(post, chunks(body, 50, ""), "Transfer-Encoding: gzip, chunked", good), 501),
		one("Transfer-Encoding: identity", rawRequest(post, body, "Transfer-Encoding: identity", whole, good), 501),
		one("Transfer-Encoding: chunked, chunked", rawRequest(post, chunks(body, 50, ""), "Transfer-Encoding: chunked, chunked", good), 501),
		one("two Transfer-Encodings", rawRequest(post, chunks(body, 50, ""), chunked, "Transfer-Encoding: identity", good), 501),
		one("xchunked", rawRequest(post, chunks(body, 50, ""), "Transfer-Encoding: xchunked", good), 501),
		one("Transfer-Encoding: Chunked", rawRequest(post, chunks(body, 50, ""), "Transfer-Encoding: Chunked", good), 204),
		one("any Content-Type", delivered(body, "Content-Type: multipart/form-data"), 204),
		one("a form's Content-Type", delivered(body, "Content-Type: application/x-www-form-urlencoded"), 204),

		// Chunks.
		one("chunks of one byte", rawRequest(post, chunks(body, 1, ""), chunked, good), 204),
		one("chunk extensions", rawRequest(post, chunks(body, 40, `;a=1;b="c"`), chunked, good), 204),
		one("trailers", rawRequest(post, strings.TrimSuffix(chunks(body, 40, ""), "\r\n")+"X-Done: yes\r\n\r\n", chunked, good), 204),
		one("a wrong body in chunks", rawRequest(post, chunks(body+" ", 40, ""), chunked, good), 401),
		one("a chunk size that isn't one", rawRequest(post, "zz\r\n"+body+"\r\n0\r\n\r\n", chunked, good), 400),
		one("a negative chunk size", rawRequest(post, "-1\r\n"+body+"\r\n0\r\n\r\n", chunked, good), 400),
		one("a chunk size with 0x", rawRequest(post, "0x88\r\n"+body+"\r\n0\r\n\r\n", chunked, good), 400),
		one("a chunk size over 64 bits", rawRequest(post, "fffffffffffffffff\r\n"+body+"\r\n0\r\n\r\n", chunked, good), 400),
		cut("a chunk size near 64 bits", rawRequest(post, "7fffffffffffffff\r\n"+body, chunked, good), 400),
		one("a chunk longer than its size", rawRequest(post, "10\r\n"+body+"\r\n0\r\n\r\n", chunked, good), 400),
		cut("no last chunk", rawRequest(post, strings.TrimSuffix(chunks(body, 50, ""), "0\r\n\r\n"), chunked, good), 400),
		cut("cut within a chunk", rawRequest(post, chunks(body, 500, "")[:60], chunked, good), 400),
		cut("a chunk extension of 1 MB", rawRequest(post, chunks(body, 500, ";a="+strings.Repeat("b", 1_000_000)), chunked, good), 400),
		one("only the last chunk", rawRequest(post, "0\r\n\r\n", chunked, signatureOf("")), 400),

		// Lengths.
		one("both lengths: the chunks count", rawRequest(post, chunks(body, 50, ""), "Content-Length: 5", chunked, good), 204),
		one("no length: no body", rawRequest(post, "", good), 401),
		one("a length of 0", rawRequest(post, "", "Content-Length: 0", signatureOf("")), 400),
		one("a negative length", rawRequest(post, body, "Content-Length: -1", good), 400),
		one("a length with a plus", rawRequest(post, body, "Content-Length: +136", good), 400),
		one("a length in hexadecimal", rawRequest(post, body, "Content-Length: 0x88", good), 400),
		one("a length with a comma", rawRequest(post, body, "Content-Length: 136,136", good), 400),
		one("the length twice", rawRequest(post, body, whole, whole, good), 204),
		one("two lengths", rawRequest(post, body, whole, "Content-Length: 137", good), 400),
		one("a length over 64 bits", rawRequest(post, body, "Content-Length: 99999999999999999999", good), 400),
		one("a length of 63 bits", rawRequest(post, body, "Content-Length: 9223372036854775807", good), 413),
		one("a length one byte over the limit", rawRequest(post, body, "Content-Length: 1048577", good), 413),
		one("a length over the limit, without a signature", rawRequest(post, body, "Content-Length: 1048577"), 413),
		cut("a length too small", rawRequest(post, body, "Content-Length: 100", good), 401, 400),
		cut("a length too large", rawRequest(post, body, "Content-Length: 137", good), 400),
		cut("truncated after one byte", rawRequest(post, body[:1], whole, good), 400),
		cut("truncated before the body", rawRequest(post, "", whole, good), 400),
		cut("truncated at 1 MiB less one", rawRequest(post, mib[:1<<20-1], length(mib), signatureOf(mib)), 400),
		one("exactly 1 MiB", delivered(mib), 204),
		one("1 MiB and a byte", delivered(over), 413),
		one("exactly 1 MiB in chunks", rawRequest(post, chunks(mib, 70_000, ""), chunked, signatureOf(mib)), 204),
		one("1 MiB and a byte in chunks", rawRequest(post, chunks(over, 70_000, ""), chunked, signatureOf(over)), 413),
		one("1 MiB and a wrong signature", rawRequest(post, mib, length(mib), bad), 401),
		one("1 MiB without a signature", rawRequest(post, mib, length(mib)), 401),

		// Expect.
		{name: "Expect, and good", send: rawRequest(post, "", whole, good, "Expect: 100-continue"), want: []int{100, 204}, later: body},
		{name: "Expect in chunks", send: rawRequest(post, "", chunked, good, "Expect: 100-Continue"), want: []int{100, 204}, later: chunks(body, 50, "")},
		{name: "Expect, and a wrong signature", send: rawRequest(post, "", whole, bad, "Expect: 100-continue"), want: []int{100, 401}, later: body},
		one("Expect, refused before the body: no signature", rawRequest(post, "", whole, "Expect: 100-continue"), 401),
		one("Expect, refused before the body: too large", rawRequest(post, "", "Content-Length: 2000000", good, "Expect: 100-continue"), 413),
		one("Expect, refused before the body: gzip", rawRequest(post, "", whole, good, "Content-Encoding: gzip", "Expect: 100-continue"), 415),
		one("Expect, refused before the body: PUT", rawRequest("PUT / HTTP/1.1", "", whole, good, "Expect: 100-continue"), 405),
		one("Expect of something else", rawRequest(post, body, whole, good, "Expect: 200-ok"), 417),

		// Pipelines, and what smuggles.
		one("three in a row", delivered(body)+delivered(body)+delivered(body), 204, 204, 204),
		one("good, forged, good", delivered(body)+rawRequest(post, body, whole, bad)+delivered(body), 204, 401, 204),
		one("good, GET, good", delivered(body)+rawRequest("GET / HTTP/1.1", "")+delivered(body), 204, 405, 204),
		one("refused with its body unread, then good", rawRequest(post, body, whole)+delivered(body), 401, 204),
		one("a delivery within a forged body", rawRequest(post, delivered(body), length(delivered(body)), bad), 401),
		one("good, then nonsense", delivered(body)+"NONSENSE\r\n\r\n", 204, 400),
		one("Connection: close", delivered(body, "Connection: close")+delivered(body), 204),
		one("an upgrade", delivered(body, "Connection: Upgrade", "Upgrade: websocket"), 204),
		one("HTTP/2 in the clear", delivered(body, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), 204),

		// Bodies, all signed rightly.
		one("not JSON", delivered("not JSON"), 400),
		one("an array", delivered("[]"), 400),
		one("null", delivered("null"), 400),
		one("a text", delivered(`"{}"`), 400),
		one("an empty object", delivered("{}"), 204),
		one("two objects", delivered("{}{}"), 400),
		one("a cut object", delivered(`{"__id":"1"`), 400),
		one("white space around", delivered(" \r\n"+body+"\t\n"), 204),
		one("a BOM", delivered("\uFEFF"+body), 204),
		one("UTF-16", delivered("{\x00}\x00"), 400),
		one("invalid UTF-8", delivered("{\"__id\":\"\xff\xfe\"}"), 400),
		one("half a surrogate pair", delivered(`{"__id":"\ud800"}`), 204),
		one("a NUL in a text", delivered("{\"__id\":\"\x00\"}"), 400),
		one("an escaped NUL", delivered(`{"__id":"\u0000"}`), 204),
		one("a comment", delivered(`{"__id":"1"/* */}`), 400),
		one("a comma too many", delivered(`{"__id":"1",}`), 400),
		one("NaN", delivered(`{"a":NaN}`), 400),
		one("a member twice", delivered(`{"__id":"1","__id":"2"}`), 400),
		one("a member twice, escaped", delivered(`{"__id":"1","\u005f_id":"2"}`), 400),
		one("a member twice, deep inside", delivered(`{"a":{"b":[{"c":1,"c":2}]}}`), 400),
		one("100 nested arrays", delivered(nested(100)), 204),
		one("a depth bomb", delivered(nested(100_000)), 400),
		one("a depth bomb of objects", delivered(strings.Repeat(`{"a":`, 150_000)), 400),
		one("a number of 500,000 digits", delivered(`{"__id":`+strings.Repeat("9", 500_000)+`}`), 204),
		one("100,000 members", delivered(members(60_000)), 204),
		one("an __id of 500,000 characters", delivered(`{"__id":"`+strings.Repeat("x", 500_000)+`"}`), 204),
		one("an __id of another type", delivered(`{"__id":{"a":[1]},"passId":7}`), 204),
		one("a payload that fits no type", delivered(`{"__id":"1","passId":[],"identifiers":"x","device":7}`), 204),
		one("another name in the body", delivered(`{"__id":"1","__eventName":"Customer:Upserted"}`), 400),
		one("the same name in the body", delivered(`{"__id":"1","__eventName":"pass.installed"}`), 204),
	}
}

func members(n int) string {
	var b strings.Builder
	b.WriteString("{")
	for i := range n {
		fmt.Fprintf(&b, `"m%d":%d,`, i, i)
	}
	return b.String() + `"z":0}`
}

// A receiver that is attacked answers each request as it deserves, runs its function for the good ones only, and goes on.
func TestAHostileSenderGetsTheRightAnswerAndTheReceiverGoesOn(t *testing.T) {
	t.Parallel()
	var ran, good atomic.Int64
	server := httptest.NewUnstartedServer(receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)),
		func(_ context.Context, e *walletcrew.Event) error {
			ran.Add(1)
			if e == nil || e.Raw == nil || e.Data == nil {
				return errors.New("an event without its content")
			}
			return nil
		}, receiver.WithLogger(silentLog())))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	defer server.Close()
	address := server.Listener.Addr().String()

	requests := hostileRequests()
	require.GreaterOrEqual(t, len(requests), 60, "the list is at least 60 requests long")
	seen := map[string]bool{}
	for _, h := range requests {
		require.False(t, seen[h.name], "the name %q is there twice", h.name)
		seen[h.name] = true
		t.Run(h.name, func(t *testing.T) { // one after the other, so that the counts are those of this request
			before, acknowledged := ran.Load(), int64(0)
			got := talk(t, address, h)
			assert.Equal(t, h.want, got, "the statuses of the answers")
			for _, status := range got {
				if status == http.StatusNoContent {
					acknowledged++
				}
			}
			assert.Equal(t, acknowledged, ran.Load()-before, "the function runs exactly as often as 204 is answered")

			after := talk(t, address, hostile{send: requests[0].send, want: []int{204}})
			assert.Equal(t, []int{204}, after, "afterwards, a good delivery is served as ever")
			good.Add(acknowledged + 1)
		})
	}
	assert.Equal(t, good.Load(), ran.Load(), "over all, the function ran as often as 204 was answered")
}

// talk sends the request over a connection of its own and returns the statuses of the answers, until as many have come as are
// expected, and then any further ones until the connection is closed.
func talk(t *testing.T, address string, h hostile) []int {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(conn, h.send) // the server may hang up before it has all
		if h.shut {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	}()
	defer func() { _ = conn.Close(); <-sent }()

	method, _, _ := strings.Cut(strings.TrimLeft(h.send, "\r\n"), " ")
	in := bufio.NewReader(conn)
	var statuses []int
	for len(statuses) < len(h.want) {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			t.Logf("after %v: %v", statuses, err)
			return statuses
		}
		statuses = append(statuses, resp.StatusCode)
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Logf("the body of %d: %v", resp.StatusCode, err)
		}
		switch resp.StatusCode {
		case http.StatusContinue:
			_, err = io.WriteString(conn, h.later)
			require.NoError(t, err)
		case 204, 401, 405, 413, 415:
			want := ""
			if resp.StatusCode != 204 && method != http.MethodHead {
				want = http.StatusText(resp.StatusCode) + "\n"
			}
			assert.Equal(t, want, string(body), "the answer says no more than its status")
		}
		assert.False(t, bytes.Contains(body, []byte("__id")), "no answer repeats what was sent")
	}
	// What else is there: a second request that was smuggled in would be answered too, before the server sees the end.
	_ = conn.(*net.TCPConn).CloseWrite()
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		statuses = append(statuses, resp.StatusCode)
	}
}
