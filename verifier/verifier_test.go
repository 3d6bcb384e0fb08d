package verifier_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// --- New ---

func TestNewRefusesWhatCouldNeverVerifyAnything(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		source verifier.SecretSource
		opts   []verifier.Option
		says   string
		is     error
	}{
		"no source":                      {source: nil, says: "the source is nil"},
		"a nil SecretFunc":               {source: verifier.SecretFunc(nil), says: "SecretFunc is nil"},
		"Static without secrets":         {source: verifier.Static(), says: "Static", is: walletcrew.ErrNoSecret},
		"Static with an unset variable":  {source: verifier.Static(""), says: "Static", is: walletcrew.ErrNoSecret},
		"Static with one of two not set": {source: verifier.Static(knownSecret, ""), says: "Static", is: walletcrew.ErrNoSecret},
		"FromAPI without a client":       {source: verifier.FromAPI(nil), says: "the client is nil"},
		"FromAPI for no endpoint":        {source: verifier.FromAPI(new(fakeAPI).client(t), verifier.ForEndpoint("")), says: "the endpoint is empty"},
		"Static with a log's word":       {source: verifier.Static("[redacted]"), says: "is lost", is: walletcrew.ErrNoSecret},
		"a limit of 0":                   {source: verifier.Static(knownSecret), opts: []verifier.Option{verifier.WithMaxBodyBytes(0)}, says: "at least 1"},
		"a negative limit":               {source: verifier.Static(knownSecret), opts: []verifier.Option{verifier.WithMaxBodyBytes(-1)}, says: "at least 1"},
		"a good limit, then a bad one": {
			source: verifier.Static(knownSecret),
			opts:   []verifier.Option{verifier.WithMaxBodyBytes(10), verifier.WithMaxBodyBytes(math.MinInt64)}, says: "at least 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := verifier.New(tt.source, tt.opts...)
			require.Error(t, err, "a misconfiguration must show at start, not as 401s in production")
			assert.Nil(t, v, "no Verifier may come with an error: a program that ignores it must not go on")
			assert.ErrorContains(t, err, tt.says)
			assert.Equal(t, 1, strings.Count(err.Error(), "verifier: "), "the error names its package once: %q", err)
			if tt.is != nil {
				assert.ErrorIs(t, err, tt.is)
			}
			assert.NotContains(t, err.Error(), string(knownSecret))
		})
	}
}

func TestASecretThatWasCopiedWithTooMuchIsTakenButPointedOut(t *testing.T) {
	t.Parallel()
	for secret, odd := range map[walletcrew.Secret]bool{
		knownSecret: false, "a b": false, knownSecret + "\n": true, " " + knownSecret: true, `"` + knownSecret + `"`: true, "\uFEFF" + knownSecret: true,
	} {
		body := []byte(knownBody)
		v := verifierOf(t, verifier.Static(otherSecret, secret))
		require.NoError(t, v.Verify(t.Context(), "", body, walletcrew.Sign(secret, body)), "which characters the platform uses isn't documented: %q", string(secret))
		err := v.Verify(t.Context(), "", body, nowhere)
		require.ErrorIs(t, err, walletcrew.ErrSignatureMismatch)
		assert.Equal(t, 401, verifier.StatusCode(err))
		if odd {
			require.ErrorContains(t, err, "line break or a quote")
			require.Len(t, v.Doubts(), 1, "it is seen at start, too")
			assert.Contains(t, v.Doubts()[0], "line break or a quote")
			noSecretIn(t, err.Error()+v.Doubts()[0], "what is said of it")
		} else {
			assert.Equal(t, walletcrew.ErrSignatureMismatch, err)
			assert.Empty(t, v.Doubts())
		}
	}
}

func TestAMismatchSaysThatTheBodyIsNotWhatCame(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	for name, test := range map[string]struct {
		announced int64
		left      string
		says      string // besides
	}{
		"read before":            {int64(len(knownBody)), "", "Content-Length says 136 bytes, and 0 were left to read"},
		"changed":                {int64(len(knownBody)), "{}", "and 2 were left to read"},
		"made up":                {0, "{}", "Content-Length says 0 bytes, and 2 were left to read"},
		"another of this length": {2, "{}", ""},
		"chunked":                {-1, "{}", ""},
	} {
		r := posted([]byte(knownBody))
		r.ContentLength, r.Body = test.announced, io.NopCloser(strings.NewReader(test.left))
		_, err := v.Event(r)
		require.ErrorIs(t, err, walletcrew.ErrSignatureMismatch, name)
		if test.says == "" {
			assert.Equal(t, walletcrew.ErrSignatureMismatch, err, name)
		} else {
			assert.ErrorContains(t, err, test.says, name)
		}
	}
}

func TestStaticIsNotChangedByWhoPassedTheSecrets(t *testing.T) {
	t.Parallel()
	secrets := []walletcrew.Secret{knownSecret, otherSecret}
	source := verifier.Static(secrets...)
	secrets[0], secrets[1] = "", "overwritten"
	v := verifierOf(t, source)
	assert.NoError(t, v.Verify(t.Context(), "", []byte(knownBody), knownHex), "Static keeps a copy of the secrets")
	assert.Error(t, v.Verify(t.Context(), "", []byte(knownBody), walletcrew.Sign("overwritten", []byte(knownBody))))
}

// --- the vector, and a delivery made by hand ---

func TestTheKnownDeliveryIsAcceptedInEverySpellingOfItsSignature(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(otherSecret, knownSecret))
	for name, signature := range map[string]string{
		"lower-case hexadecimal":    knownHex,
		"upper-case hexadecimal":    strings.ToUpper(knownHex),
		"base64":                    knownBase64,
		"base64 without padding":    strings.TrimRight(knownBase64, "="),
		"base64, the URL's letters": strings.NewReplacer("+", "-", "/", "_").Replace(knownBase64),
		"after sha256=":             "sha256=" + knownHex,
		"with spaces around":        "  " + knownHex + "\t",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, v.Verify(t.Context(), "acme", []byte(knownBody), signature), "Verify must accept the known delivery")

			r := posted([]byte(knownBody))
			r.Header.Set(walletcrew.HeaderSignature, signature)
			e, err := v.Event(r)
			require.NoError(t, err, "Event must accept the known delivery")
			assert.Equal(t, "0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10", e.ID)
			assert.Equal(t, walletcrew.EventPassInstalled, e.Name)
			assert.Equal(t, "acme", e.TenantID)
			d, ok := e.Data.(*walletcrew.PassInstalled)
			require.True(t, ok, "the payload is a *PassInstalled, not %T (%v)", e.Data, e.DataErr)
			assert.Equal(t, "p-1001", d.PassID)
			assert.Equal(t, "apple", d.Device.Platform)
			assert.Equal(t, walletcrew.Values{"customerId": "C-42"}, d.Identifiers)

			header := signedHeaders([]byte(knownBody))
			header[walletcrew.HeaderSignature] = signature
			_, err = v.EventFrom(t.Context(), header.get, []byte(knownBody))
			assert.NoError(t, err, "EventFrom must accept the known delivery")
		})
	}
}

func TestOneChangedBitIsRefused(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	body := []byte(knownBody)
	for i := range body {
		for bit := range 8 {
			body[i] ^= 1 << bit
			if err := v.Verify(t.Context(), "", body, knownHex); !errors.Is(err, walletcrew.ErrSignatureMismatch) {
				assert.Fail(t, "a changed body was accepted", "bit %d of byte %d: %v", bit, i, err)
			}
			body[i] ^= 1 << bit
		}
	}
	for i := range knownHex {
		forged := []byte(knownHex)
		forged[i] = "0123456789abcdef"[(strings.IndexByte("0123456789abcdef", forged[i])+1)%16]
		require.ErrorIs(t, v.Verify(t.Context(), "", body, string(forged)), walletcrew.ErrSignatureMismatch, "character %d of the signature was changed", i)
	}
	require.ErrorIs(t, v.Verify(t.Context(), "", body[:len(body)-1], knownHex), walletcrew.ErrSignatureMismatch, "the body was cut")
	assert.ErrorIs(t, v.Verify(t.Context(), "", append(body, '\n'), knownHex), walletcrew.ErrSignatureMismatch, "a line break was added")
}

// What a user types who tries his receiver by hand, and what the documentation shows.
func TestADeliverySignedWithOpenSSLAndSentWithCurlIsAccepted(t *testing.T) {
	t.Parallel()
	tools := map[string]string{}
	for _, tool := range []string{"openssl", "curl"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Skipf("%s is not in PATH", tool)
		}
		tools[tool] = path
	}
	file := filepath.Join(t.TempDir(), "body.json")
	require.NoError(t, os.WriteFile(file, []byte(knownBody), 0o600))

	out, err := exec.CommandContext(t.Context(), tools["openssl"], "dgst", "-sha256", "-hmac", string(knownSecret), "-r", file).Output()
	require.NoError(t, err)
	signature, _, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	require.Equal(t, knownHex, signature, "openssl dgst -sha256 -hmac computes the known signature")

	handled := make(chan *walletcrew.Event, 2)
	server := httptest.NewServer(receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)),
		func(_ context.Context, e *walletcrew.Event) error { handled <- e; return nil }, receiver.WithLogger(silentLog())))
	defer server.Close()
	post := func(data, signature string) string {
		out, err := exec.CommandContext(t.Context(), tools["curl"], "--silent", "--noproxy", "*", "--output", os.DevNull, "--write-out", "%{http_code}",
			"-H", "Content-Type: application/json", "-H", "x-neostore-signature: "+signature, "-H", "x-neostore-eventname: Pass:Installed",
			"-H", "x-neostore-tenantid: acme", "--data-binary", data, server.URL).Output()
		require.NoError(t, err)
		return string(out)
	}
	assert.Equal(t, "204", post("@"+file, signature), "a delivery made by hand is accepted")
	require.Len(t, handled, 1, "the function ran once")
	assert.Equal(t, knownBody, string((<-handled).Raw))
	assert.Equal(t, "401", post(knownBody+" ", signature), "another body under the same signature is refused")
	assert.Equal(t, "401", post("@"+file, nowhere), "a signature of nothing is refused")
	assert.Empty(t, handled, "the function doesn't run for what is refused")
}

// --- the order of the checks ---

func TestWhatTheHeaderShowsIsRefusedBeforeTheBodyIsRead(t *testing.T) {
	t.Parallel()
	type change = func(*http.Request)
	set := func(name, value string) change { return func(r *http.Request) { r.Header.Set(name, value) } }
	method := func(m string) change { return func(r *http.Request) { r.Method = m } }
	length := func(n int64) change { return func(r *http.Request) { r.ContentLength = n } }
	noSignature := func(r *http.Request) { r.Header.Del(walletcrew.HeaderSignature) }
	for name, tt := range map[string]struct {
		changes []change
		is      error
		status  int
	}{
		"GET":                    {[]change{method("GET")}, verifier.ErrMethodNotAllowed, 405},
		"HEAD":                   {[]change{method("HEAD")}, verifier.ErrMethodNotAllowed, 405},
		"PUT":                    {[]change{method("PUT")}, verifier.ErrMethodNotAllowed, 405},
		"OPTIONS":                {[]change{method("OPTIONS")}, verifier.ErrMethodNotAllowed, 405},
		"post in lower case":     {[]change{method("post")}, verifier.ErrMethodNotAllowed, 405},
		"no method":              {[]change{method("")}, verifier.ErrMethodNotAllowed, 405},
		"one byte too many":      {[]change{length(1<<20 + 1)}, verifier.ErrBodyTooLarge, 413},
		"the longest there is":   {[]change{length(math.MaxInt64)}, verifier.ErrBodyTooLarge, 413},
		"gzip":                   {[]change{set("Content-Encoding", "gzip")}, verifier.ErrEncodingNotSupported, 415},
		"no signature":           {[]change{noSignature}, walletcrew.ErrMissingSignature, 401},
		"a signature of spaces":  {[]change{set(walletcrew.HeaderSignature, "  ")}, walletcrew.ErrMissingSignature, 401},
		"only the prefix":        {[]change{set(walletcrew.HeaderSignature, "sha256=")}, walletcrew.ErrMissingSignature, 401},
		"a signature too short":  {[]change{set(walletcrew.HeaderSignature, knownHex[:63])}, walletcrew.ErrMalformedSignature, 401},
		"a signature too long":   {[]change{set(walletcrew.HeaderSignature, knownHex+"0")}, walletcrew.ErrMalformedSignature, 401},
		"a signature of 1 MiB":   {[]change{set(walletcrew.HeaderSignature, strings.Repeat("a", 1<<20))}, walletcrew.ErrMalformedSignature, 401},
		"a SHA-512":              {[]change{set(walletcrew.HeaderSignature, strings.Repeat("ab", 64))}, walletcrew.ErrMalformedSignature, 401},
		"two signatures in one":  {[]change{set(walletcrew.HeaderSignature, knownHex+", "+knownHex)}, walletcrew.ErrMalformedSignature, 401},
		"another scheme":         {[]change{set(walletcrew.HeaderSignature, "sha1="+knownHex)}, walletcrew.ErrMalformedSignature, 401},
		"mixed-case hexadecimal": {[]change{set(walletcrew.HeaderSignature, "C"+strings.Repeat("a", 63))}, walletcrew.ErrMalformedSignature, 401},

		"all wrong: first the method":             {[]change{method("GET"), length(1 << 40), set("Content-Encoding", "gzip"), noSignature}, verifier.ErrMethodNotAllowed, 405},
		"all but the method: then the length":     {[]change{length(1 << 40), set("Content-Encoding", "gzip"), noSignature}, verifier.ErrBodyTooLarge, 413},
		"encoding and signature: first the first": {[]change{set("Content-Encoding", "gzip"), noSignature}, verifier.ErrEncodingNotSupported, 415},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := verifierOf(t, unasked(t))
			request := func() *http.Request {
				r := posted([]byte(knownBody))
				r.Body = untouchable{t}
				for _, change := range tt.changes {
					change(r)
				}
				return r
			}
			_, err := v.Event(request())
			require.ErrorIs(t, err, tt.is)
			assert.Equal(t, tt.status, verifier.StatusCode(err))

			w := httptest.NewRecorder()
			v.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				assert.Fail(t, "next was called for a refused request")
			})).ServeHTTP(w, request())
			assert.Equal(t, tt.status, w.Code, "the middleware's answer")

			w = httptest.NewRecorder()
			receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error {
				assert.Fail(t, "the function was called for a refused request")
				return nil
			}, receiver.WithLogger(silentLog())).ServeHTTP(w, request())
			assert.Equal(t, tt.status, w.Code, "the handler's answer")
		})
	}
}

func TestASignatureThatCantBeOneIsRefusedBeforeTheSourceIsAsked(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, unasked(t))
	for signature, want := range map[string]error{
		"": walletcrew.ErrMissingSignature, "\t": walletcrew.ErrMissingSignature, "sha256=": walletcrew.ErrMissingSignature,
		"x": walletcrew.ErrMalformedSignature, knownHex[1:]: walletcrew.ErrMalformedSignature, knownHex + knownHex: walletcrew.ErrMalformedSignature,
		strings.Repeat("z", 64): walletcrew.ErrMalformedSignature, strings.Repeat("é", 32): walletcrew.ErrMalformedSignature,
		strings.Repeat("\x00", 44): walletcrew.ErrMalformedSignature,
	} {
		assert.ErrorIs(t, v.Verify(t.Context(), "acme", []byte(knownBody), signature), want, "Verify, signature %q", signature)
		header := signedHeaders([]byte(knownBody))
		header[walletcrew.HeaderSignature] = signature
		_, err := v.EventFrom(t.Context(), header.get, []byte(knownBody))
		assert.ErrorIs(t, err, want, "EventFrom, signature %q", signature)
	}
}

func TestABodyOverTheLimitIsRefusedBeforeTheSourceIsAsked(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, unasked(t), verifier.WithMaxBodyBytes(100))
	_, err := v.EventFrom(t.Context(), signedHeaders([]byte(knownBody)).get, []byte(knownBody))
	assert.ErrorIs(t, err, verifier.ErrBodyTooLarge)
	_, err = v.Event(posted([]byte(knownBody)))
	assert.ErrorIs(t, err, verifier.ErrBodyTooLarge)
}

func TestNothingIsDecodedBeforeTheSignatureHolds(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	for name, body := range map[string]string{
		"not JSON":                 "not JSON at all",
		"empty":                    "",
		"an array":                 "[]",
		"a member twice":           `{"__id":"1","__id":"2"}`,
		"bad UTF-8":                "{\"a\":\"\xff\"}",
		"another name in the body": `{"__eventName":"Customer:Upserted"}`,
		"a depth bomb":             strings.Repeat(`{"a":`, 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := posted([]byte(body))
			r.Header.Set(walletcrew.HeaderSignature, nowhere)
			_, err := v.Event(r)
			assert.ErrorIs(t, err, walletcrew.ErrSignatureMismatch, "the signature is the first thing that a sender hears of")
			assert.NotErrorIs(t, err, walletcrew.ErrInvalidPayload)
			assert.NotErrorIs(t, err, verifier.ErrEventNameMismatch)

			_, err = v.Event(posted([]byte(body)))
			assert.Equal(t, 400, verifier.StatusCode(err), "signed rightly, the same body is a bad request: %v", err)
			if name != "another name in the body" {
				assert.ErrorIs(t, err, walletcrew.ErrInvalidPayload)
			}
		})
	}
}

// --- headers ---

func TestHeadersAreFoundInTheCanonicalAndInTheLowerCaseSpelling(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.SecretFunc(func(_ context.Context, tenantID string) ([]walletcrew.Secret, error) {
		if tenantID != "acme" {
			return nil, nil
		}
		return []walletcrew.Secret{knownSecret}, nil
	}))
	canonical := signedHeaders([]byte(knownBody))
	lower, mixed := namedHeaders{}, namedHeaders{}
	for name, value := range canonical {
		lower[strings.ToLower(name)] = value
		mixed[name] = value
	}
	delete(mixed, walletcrew.HeaderTenantID)
	mixed["x-neostore-tenantid"] = "acme"
	for name, header := range map[string]namedHeaders{"canonical": canonical, "lower case": lower, "some of each": mixed} {
		e, err := v.EventFrom(t.Context(), header.get, []byte(knownBody))
		if assert.NoError(t, err, name) {
			assert.Equal(t, walletcrew.EventPassInstalled, e.Name, name)
			assert.Equal(t, "acme", e.TenantID, name)
		}
	}

	both := namedHeaders{}
	for name, value := range canonical {
		both[name], both[strings.ToLower(name)] = value, "something else"
	}
	_, err := v.EventFrom(t.Context(), both.get, []byte(knownBody))
	assert.NoError(t, err, "the canonical name is asked first")

	shouting := namedHeaders{}
	for name, value := range canonical {
		shouting[strings.ToUpper(name)] = value
	}
	_, err = v.EventFrom(t.Context(), shouting.get, []byte(knownBody))
	assert.ErrorIs(t, err, walletcrew.ErrMissingSignature, "only the two documented spellings are asked for")

	lower["content-encoding"] = "gzip"
	_, err = v.EventFrom(t.Context(), lower.get, []byte(knownBody))
	assert.ErrorIs(t, err, verifier.ErrEncodingNotSupported, "an encoding is noticed in lower case too")
}

func TestOnlyIdentityAndACharsetAreNoContentEncoding(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	for encoding, ok := range map[string]bool{
		"identity": true, "Identity ": true, "IDENTITY": true, "\tidentity": true,
		"gzip": false, "GZIP": false, "deflate": false, "br": false, "zstd": false, "x-gzip": false, "compress": false, "aws-chunked": false,
		"identity, gzip": false, "gzip, identity": false, "identity;q=1": false, "*": false, ",": false, "none": false, "": true,
		"utf-8": true, "UTF-8": true, "utf8": true, " Utf-8 ": true, "iso-8859-1": true, "ISO-8859-15": true, "iso-8859-17": false, "iso-8859-": false, "us-ascii": true,
		"windows-1252": true, "latin1": true, "charset=utf-8": true, `charset="UTF-8"`: true, "utf-8, identity": true, "utf-8, gzip": false, "utf-8,": false,
		"utf-8; gzip": false, "utf-16": false, "charset=gzip": false, "utf-8x": false, "gzip\n": false,
	} {
		t.Run(fmt.Sprintf("%q", encoding), func(t *testing.T) {
			t.Parallel()
			r := posted([]byte(knownBody))
			r.Header.Set("Content-Encoding", encoding)
			_, err := v.Event(r)
			header := signedHeaders([]byte(knownBody))
			header["Content-Encoding"] = encoding
			_, fromErr := v.EventFrom(t.Context(), header.get, []byte(knownBody))
			if ok {
				assert.NoError(t, err)
				assert.NoError(t, fromErr)
				return
			}
			assert.ErrorIs(t, err, verifier.ErrEncodingNotSupported)
			assert.Equal(t, 415, verifier.StatusCode(err))
			assert.ErrorContains(t, err, fmt.Sprintf("Content-Encoding says %q", encoding), "the log says what was in the header")
			assert.ErrorContains(t, fromErr, fmt.Sprintf("Content-Encoding says %q", encoding))
			assert.ErrorIs(t, fromErr, verifier.ErrEncodingNotSupported)
		})
	}
}

func TestTheErrorForAnEncodingIsShortAndNamesEachLine(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	r := posted([]byte(knownBody))
	r.Header["Content-Encoding"] = []string{"utf-8", "gzip"}
	_, err := v.Event(r)
	require.ErrorContains(t, err, `says "utf-8, gzip"`)
	r.Header.Set("Content-Encoding", strings.Repeat("x", 10_000))
	_, err = v.Event(r)
	require.ErrorIs(t, err, verifier.ErrEncodingNotSupported)
	assert.Less(t, len(err.Error()), 250)
}

func TestAMismatchSaysWhatIsPlainToSee(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	for body, says := range map[string]string{
		"": "the body is empty", zipped(t, knownBody): "compressed with gzip", base64.StdEncoding.EncodeToString([]byte(knownBody)): "the body is base64",
	} {
		header := signedHeaders([]byte(knownBody))
		_, err := v.EventFrom(t.Context(), header.get, []byte(body))
		require.ErrorIs(t, err, walletcrew.ErrSignatureMismatch)
		require.ErrorContains(t, err, says)
		r := posted([]byte(body))
		r.Header.Set(walletcrew.HeaderSignature, knownHex)
		_, err = v.Event(r)
		require.ErrorContains(t, err, says)
		assert.Equal(t, 401, verifier.StatusCode(err))
	}
	for signature, says := range map[string]string{
		strings.Repeat("ab", 20): "the length of SHA-1", strings.Repeat("ab", 64): "the length of SHA-512", strings.ToUpper(knownHex[:32]) + knownHex[32:]: "upper and lower case mixed",
		"v1=" + knownHex: "67 came", strings.Repeat("a", 10_000): "it has 10000 characters",
	} {
		header := signedHeaders([]byte(knownBody))
		header[walletcrew.HeaderSignature] = signature
		_, err := v.EventFrom(t.Context(), header.get, []byte(knownBody))
		require.ErrorIs(t, err, walletcrew.ErrMalformedSignature)
		require.ErrorContains(t, err, says)
		assert.NotContains(t, err.Error(), knownHex[32:], "no signature in a log")
	}
}

func TestPrintingADeliveryNeverPrintsItsBody(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	d, err := v.Delivery(posted([]byte(knownBody)))
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		for _, value := range []any{d, *d, []*verifier.Delivery{d}} {
			assert.NotContains(t, fmt.Sprintf(verb, value), "C-42", verb)
			assert.NotContains(t, fmt.Sprintf(verb, value), "123 34", verb)
		}
	}
	var buf bytes.Buffer
	slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "delivery", d)
	assert.Contains(t, buf.String(), `"delivery":{"claimed_name":"Pass:Installed","claimed_tenant":"acme","authentic":true,"size":136}`)
}

// slowly is a body of which each read takes a second.
type slowly struct{ io.Reader }

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return s.Reader.Read(p)
}

func (slowly) Close() error { return nil }

func TestADeliverySaysHowLongEachStepTookAndWhatItClaims(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := verifierOf(t, verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
			time.Sleep(5 * time.Second)
			return []walletcrew.Secret{knownSecret}, nil
		}))
		request := func(signature string) *http.Request {
			r := posted([]byte(knownBody))
			r.Body = slowly{strings.NewReader(knownBody)}
			r.Header.Set(walletcrew.HeaderSignature, signature)
			return r
		}
		check := func(d *verifier.Delivery, authentic bool, read time.Duration) {
			t.Helper()
			require.NotNil(t, d)
			assert.Equal(t, read, d.Read)
			assert.Equal(t, 5*time.Second, d.Verify, "with the look-up of secrets")
			assert.Zero(t, d.Decode, "which takes no time in a bubble")
			assert.Equal(t, walletcrew.EventPassInstalled, d.ClaimedName)
			assert.Equal(t, "acme", d.ClaimedTenant)
			assert.Equal(t, authentic, d.Authentic)
			assert.Equal(t, knownBody, string(d.Body))
		}
		d, err := v.Delivery(request(knownHex))
		require.NoError(t, err)
		check(d, true, 2*time.Second)
		d, err = v.Delivery(request(nowhere))
		require.Error(t, err)
		check(d, false, 2*time.Second)
		assert.Nil(t, d.Event)
		d, err = v.DeliveryFrom(t.Context(), signedHeaders([]byte(knownBody)).get, []byte(knownBody))
		require.NoError(t, err)
		check(d, true, 0)
		called := false
		v.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			called = true
			d, _ := verifier.DeliveryFromContext(r.Context())
			check(d, true, 2*time.Second)
		})).ServeHTTP(httptest.NewRecorder(), request(knownHex))
		assert.True(t, called)
	})
	d, err := verifierOf(t, verifier.Static(knownSecret)).Delivery(posted([]byte(knownBody)))
	require.NoError(t, err)
	assert.Positive(t, d.Decode)
}

func TestAnEventSaysWhenItCameIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := verifierOf(t, verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
			time.Sleep(time.Second) // the source's
			return []walletcrew.Secret{knownSecret}, nil
		}))
		began := time.Now().Round(0).UTC()
		d, err := v.Delivery(posted([]byte(knownBody)))
		require.NoError(t, err)
		assert.Equal(t, began, d.Event.ReceivedAt, "when it came in, and not when it was accepted; in UTC")
		began = time.Now().Round(0).UTC()
		e, err := v.EventFrom(t.Context(), signedHeaders([]byte(knownBody)).get, []byte(knownBody))
		require.NoError(t, err)
		assert.Equal(t, began, e.ReceivedAt)

		written, err := json.Marshal(e)
		require.NoError(t, err)
		var read walletcrew.Event
		require.NoError(t, json.Unmarshal(written, &read))
		assert.True(t, reflect.DeepEqual(*e, read), "a verified event is read back as it was")
	})
}

func TestAnyContentTypeIsAccepted(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	for _, contentType := range []string{
		"", "application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "text/plain", "application/cloudevents+json",
		"application/x-www-form-urlencoded", "multipart/form-data", "application/octet-stream", "nonsense", ";;;", "text/html; charset=utf-16",
	} {
		r := posted([]byte(knownBody))
		r.Header.Del("Content-Type")
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		e, err := v.Event(r)
		if assert.NoError(t, err, "Content-Type %q", contentType) {
			assert.Equal(t, knownBody, string(e.Raw), "Content-Type %q", contentType)
		}
	}
}

// --- limits ---

func TestExactlyTheLimitPassesAndOneByteMoreDoesNot(t *testing.T) {
	t.Parallel()
	lengths := map[string]func(int) int64{
		"Content-Length":         func(n int) int64 { return int64(n) },
		"chunked":                func(int) int64 { return -1 },
		"a Content-Length of 0":  func(int) int64 { return 0 },
		"a Content-Length of 1":  func(int) int64 { return 1 },
		"half of it is promised": func(n int) int64 { return int64(n / 2) },
	}
	readers := map[string]func(io.Reader) io.Reader{
		"at once":                 func(r io.Reader) io.Reader { return r },
		"in halves":               iotest.HalfReader,
		"with the end in it":      iotest.DataErrReader,
		"with empty reads":        func(r io.Reader) io.Reader { return &stutter{r: r} },
		"in reads of 1,000 bytes": func(r io.Reader) io.Reader { return &sips{r, 1000} },
	}
	smallest := verifierOf(t, verifier.Static(knownSecret), verifier.WithMaxBodyBytes(1))
	for body, want := range map[string]error{"7": walletcrew.ErrInvalidPayload, "77": verifier.ErrBodyTooLarge} {
		_, err := smallest.Event(posted([]byte(body)))
		require.ErrorIs(t, err, want, "a limit of one byte is one")
	}
	for _, limit := range []int{32, 4 << 10, 4<<10 + 1, 64 << 10, 64<<10 + 1, 100_000, 1 << 20} {
		v := verifierOf(t, verifier.Static(knownSecret), verifier.WithMaxBodyBytes(int64(limit)))
		fits, over := paddedBody(limit), paddedBody(limit+1)
		for how, length := range lengths {
			for pace, reader := range readers {
				t.Run(fmt.Sprintf("limit %d, %s, %s", limit, how, pace), func(t *testing.T) {
					t.Parallel()
					r := posted(fits)
					r.Body, r.ContentLength = io.NopCloser(reader(bytes.NewReader(fits))), length(len(fits))
					e, err := v.Event(r)
					require.NoError(t, err, "exactly the limit passes")
					assert.True(t, bytes.Equal(fits, e.Raw), "the body is whole")

					r = posted(over)
					r.Body, r.ContentLength = io.NopCloser(reader(bytes.NewReader(over))), length(len(over))
					_, err = v.Event(r)
					assert.ErrorIs(t, err, verifier.ErrBodyTooLarge, "one byte more doesn't pass")
					assert.Equal(t, 413, verifier.StatusCode(err))
				})
			}
		}
		_, err := v.EventFrom(t.Context(), signedHeaders(fits).get, fits)
		require.NoError(t, err, "EventFrom: exactly the limit of %d passes", limit)
		_, err = v.EventFrom(t.Context(), signedHeaders(over).get, over)
		assert.ErrorIs(t, err, verifier.ErrBodyTooLarge, "EventFrom: one byte over the limit of %d", limit)
	}
}

// stutter returns nothing at every second read, which an io.Reader may.
type stutter struct {
	r    io.Reader
	turn bool
}

func (s *stutter) Read(p []byte) (int, error) {
	if s.turn = !s.turn; s.turn {
		return 0, nil
	}
	return s.r.Read(p)
}

type sips struct {
	r io.Reader
	n int
}

func (s *sips) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

func TestTheDefaultLimitIsOneMebibyte(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	_, err := v.Event(posted(paddedBody(1 << 20)))
	assert.NoError(t, err, "exactly 1 MiB passes")
	_, err = v.Event(posted(paddedBody(1<<20 + 1)))
	assert.ErrorIs(t, err, verifier.ErrBodyTooLarge)
}

func TestAnEndlessBodyIsLeftAtTheLimit(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret), verifier.WithMaxBodyBytes(100_000))
	endless := &counting{r: endlessReader{}}
	r := posted(nil)
	r.Body, r.ContentLength = io.NopCloser(endless), -1
	_, err := v.Event(r)
	assert.ErrorIs(t, err, verifier.ErrBodyTooLarge)
	assert.LessOrEqual(t, endless.n, 100_001, "no more is read than shows that the limit is passed")
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) { return len(p), nil }

type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestAnOuterLimitOnTheBodyIsTooLargeToo(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	r := posted([]byte(knownBody))
	r.Body = http.MaxBytesReader(nil, r.Body, 100)
	_, err := v.Event(r)
	require.ErrorIs(t, err, verifier.ErrBodyTooLarge)
	_, ok := errors.AsType[*http.MaxBytesError](err)
	assert.True(t, ok, "the cause is still there")
	assert.Equal(t, 413, verifier.StatusCode(err))
}

func TestABodyThatBreaksOffIsUnreadableAndKeepsItsCause(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, unasked(t))
	timeout := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	for name, tt := range map[string]struct {
		cause  error
		status int
	}{
		"the sender hung up":     {io.ErrUnexpectedEOF, 400},
		"the connection broke":   {errors.New("connection reset by peer"), 400},
		"it was read before":     {http.ErrBodyReadAfterClose, 400},
		"it took too long":       {os.ErrDeadlineExceeded, 408},
		"as net/http reports it": {timeout, 408},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, sent := range []int{0, 10, len(knownBody)} {
				r := posted([]byte(knownBody))
				r.Body = io.NopCloser(io.MultiReader(strings.NewReader(knownBody[:sent]), iotest.ErrReader(tt.cause)))
				_, err := v.Event(r)
				require.ErrorIs(t, err, verifier.ErrBodyUnreadable, "after %d bytes", sent)
				assert.ErrorIs(t, err, tt.cause)
				assert.Equal(t, tt.status, verifier.StatusCode(err))
			}
		})
	}
}

func TestTheObserverHearsHowMuchOfARefusedBodyCame(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret), verifier.WithMaxBodyBytes(1000))
	for name, tt := range map[string]struct {
		body io.Reader
		want int
	}{
		"it broke off":    {io.MultiReader(strings.NewReader(knownBody[:10]), iotest.ErrReader(io.ErrUnexpectedEOF)), 10},
		"it is too large": {&sips{endlessReader{}, 100}, 1100}, // a byte too many is found within the read that brings it
		"it was forged":   {strings.NewReader("0123456789"), 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out receiver.Outcome
			r := posted([]byte(knownBody))
			r.Body, r.ContentLength = io.NopCloser(tt.body), -1
			receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error { return nil }, receiver.WithLogger(silentLog()),
				receiver.WithObserver(func(_ context.Context, o receiver.Outcome) { out = o })).ServeHTTP(httptest.NewRecorder(), r)
			assert.Equal(t, receiver.Refused, out.Result)
			assert.Equal(t, tt.want, out.Bytes, "Bytes counts what was read")
			assert.Nil(t, out.Event)
		})
	}
}

func TestARequestWithoutABodyIsAnEmptyBody(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	for name, body := range map[string]io.ReadCloser{"nil": nil, "NoBody": http.NoBody} {
		r := posted(nil)
		r.Body = body
		_, err := v.Event(r)
		assert.ErrorIs(t, err, walletcrew.ErrInvalidPayload, "%s: an empty body signed rightly is a bad request", name)
		r.Header.Set(walletcrew.HeaderSignature, nowhere)
		_, err = v.Event(r)
		assert.ErrorIs(t, err, walletcrew.ErrSignatureMismatch, "%s", name)
	}
}

// Not parallel: it counts what is allocated.
func TestAPromisedLengthAllocatesNothingUntilSomethingComes(t *testing.T) {
	v := verifierOf(t, verifier.Static(knownSecret), verifier.WithMaxBodyBytes(1<<40))
	for _, tt := range []struct {
		length     int64
		sent, most int
	}{
		{1 << 40, 0, 256 << 10},
		{1 << 40, 70 << 10, 4 << 20},
		{math.MaxInt64, 0, 1 << 10}, // over the limit
	} {
		allocated := uint64(math.MaxUint64)
		for range 5 { // what a test before leaves running may allocate, but not each time
			r := posted(nil)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(make([]byte, tt.sent))), tt.length
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := v.Event(r)
			runtime.ReadMemStats(&after)
			require.Error(t, err)
			allocated = min(allocated, after.TotalAlloc-before.TotalAlloc)
		}
		assert.LessOrEqual(t, allocated, uint64(tt.most), "a request that promises %d bytes and sends %d", tt.length, tt.sent)
	}
}

func TestTheHighestLimitDoesNotOverflow(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret), verifier.WithMaxBodyBytes(math.MaxInt64))
	body := paddedBody(200_000)
	r := posted(body)
	r.ContentLength = math.MaxInt64
	e, err := v.Event(r)
	require.NoError(t, err)
	assert.Len(t, e.Raw, len(body))
}

// --- names ---

func TestTheHeaderMayNotNameAnotherEventThanTheSignedBody(t *testing.T) {
	t.Parallel()
	const none = "" // no header
	for _, tt := range []struct {
		header string
		body   string // the value of __eventName as JSON; "" for no such member
		want   walletcrew.EventName
		err    error
	}{
		{"Pass:Installed", `"Pass:Installed"`, "Pass:Installed", nil},
		{"pass:installed", `"Pass:Installed"`, "Pass:Installed", nil},
		{"PASS:INSTALLED", `"Pass:Installed"`, "Pass:Installed", nil},
		{"pass.installed", `"Pass:Installed"`, "Pass:Installed", nil},
		{"Pass:Installed", `"pass.installed"`, "Pass:Installed", nil},
		{"Pass.Installed", `"Pass.Installed"`, "Pass:Installed", nil},
		{"Store:Opened", `"Store:Opened"`, "Store:Opened", nil},
		{none, `"Pass:Installed"`, "Pass:Installed", nil},
		{none, `"pass.uninstalled"`, "Pass:Uninstalled", nil},

		{"Pass:Uninstalled", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"Pass:Install", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"Pass:Installed2", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"Pass", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"Installed", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"Pass-Installed", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{" Pass:Installed", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"Customer:Upserted", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"*", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"Pass:*", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"*:Installed", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"**", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"\x00", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"Paſs:Installed", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"P\u0041\u017Fs:Installed", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},
		{"Store:Opened", `"Pass:Installed"`, "", verifier.ErrEventNameMismatch},

		// What isn't a known event says nothing: the member isn't documented, and must not make each delivery a 400.
		{"Pass:Installed", `"Store:Opened"`, "Pass:Installed", nil},
		{"Pass:Installed", `"Neostore.PassInstalled"`, "Pass:Installed", nil},
		{"Pass:Installed", `"Pass:InstalledV2"`, "Pass:Installed", nil},
		{"Store:Opened", `"Store:Closed"`, "Store:Opened", nil},
		{none, `"Store:Opened"`, "", nil},
		{"Pass:Installed", ``, "Pass:Installed", nil},
		{"Pass:Installed", `""`, "Pass:Installed", nil},
		{"Pass:Installed", `"Installed"`, "Pass:Installed", nil},
		{"Pass:Installed", `"*"`, "Pass:Installed", nil},
		{"Pass:Installed", `"Customer:*"`, "Pass:Installed", nil},
		{"Pass:Installed", `"Customer:Upserted:v2"`, "Pass:Installed", nil},
		{"Pass:Installed", `"customer upserted"`, "Pass:Installed", nil},
		{"Pass:Installed", `7`, "Pass:Installed", nil},
		{"Pass:Installed", `null`, "Pass:Installed", nil},
		{"Pass:Installed", `{"name":"Customer:Upserted"}`, "Pass:Installed", nil},
		{"Pass:Installed", `["Customer:Upserted"]`, "Pass:Installed", nil},
		{"Pass:*", ``, "Pass:*", nil},
		{"*", ``, "*", nil},
		{none, ``, "", nil},
		{none, `"Installed"`, "", nil},
		{none, `"*"`, "", nil},
	} {
		t.Run(fmt.Sprintf("header %q, body %s", tt.header, tt.body), func(t *testing.T) {
			t.Parallel()
			v := verifierOf(t, verifier.Static(knownSecret))
			body := `{"__id":"1","passId":"p"}`
			if tt.body != "" {
				body = `{"__id":"1","__eventName":` + tt.body + `,"passId":"p"}`
			}
			header := signedHeaders([]byte(body))
			header[walletcrew.HeaderEventName] = tt.header
			e, err := v.EventFrom(t.Context(), header.get, []byte(body))
			if tt.err != nil {
				require.ErrorIs(t, err, tt.err, "a header that contradicts the signed body is refused")
				assert.Nil(t, e)
				assert.Equal(t, 400, verifier.StatusCode(err))
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, e.Name)
			assert.Equal(t, "acme", e.TenantID)
			assert.Equal(t, "1", e.ID)
			assert.Equal(t, body, string(e.Raw))
			if tt.want.Matches("Pass:*") && walletcrew.EventPassInstalled.Matches(tt.want) && !strings.Contains(string(tt.want), "*") {
				assert.IsType(t, &walletcrew.PassInstalled{}, e.Data, "the payload is typed by the name %q", tt.want)
			}
		})
	}
}

func TestANameFromTheSignedBodyTypesThePayload(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	body := []byte(`{"passId":"p-7","__id":"1","device":"google","__eventName":"Pass:Uninstalled"}`)
	header := signedHeaders(body)
	delete(header, walletcrew.HeaderEventName)
	e, err := v.EventFrom(t.Context(), header.get, body)
	require.NoError(t, err)
	d, ok := e.Data.(*walletcrew.PassUninstalled)
	require.True(t, ok, "the payload is a *PassUninstalled, not %T", e.Data)
	assert.Equal(t, "google", d.Device.Platform)
}

func TestACapturedDeliveryCantHideItsNameInAMisfit(t *testing.T) {
	t.Parallel()
	// passId doesn't fit, so that the typed decoding ends before the name is seen.
	v := verifierOf(t, verifier.Static(knownSecret))
	body := []byte(`{"passId":{"no":"string"},"__id":"1","__eventName":"Pass:Installed"}`)
	header := signedHeaders(body)
	header[walletcrew.HeaderEventName] = "Pass:Uninstalled"
	_, err := v.EventFrom(t.Context(), header.get, body)
	assert.ErrorIs(t, err, verifier.ErrEventNameMismatch)
}

// --- tenants ---

func TestWithStaticTheTenantIsWhatTheHeaderSays(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	for _, tenant := range []string{"acme", "globex", "", "../x", "Acme"} {
		header := signedHeaders([]byte(knownBody))
		header[walletcrew.HeaderTenantID] = tenant
		e, err := v.EventFrom(t.Context(), header.get, []byte(knownBody))
		if assert.NoError(t, err, "tenant %q", tenant) {
			assert.Equal(t, tenant, e.TenantID)
		}
	}
}

func TestWithASecretFuncTheSecretVouchesForTheTenant(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.SecretFunc(func(_ context.Context, tenantID string) ([]walletcrew.Secret, error) {
		return map[string][]walletcrew.Secret{"acme": {knownSecret}, "globex": {otherSecret}}[tenantID], nil
	}))
	body := []byte(knownBody)
	for tenant, want := range map[string]error{
		"acme":    nil,
		"globex":  walletcrew.ErrSignatureMismatch, // a captured delivery under another tenant's name
		"Acme":    verifier.ErrUnknownTenant,
		"":        verifier.ErrUnknownTenant,
		"acme ":   verifier.ErrUnknownTenant,
		"initech": verifier.ErrUnknownTenant,
	} {
		header := signedHeaders(body)
		header[walletcrew.HeaderTenantID] = tenant
		e, err := v.EventFrom(t.Context(), header.get, body)
		assert.ErrorIs(t, v.Verify(t.Context(), tenant, body, knownHex), want, "Verify, tenant %q", tenant)
		if want != nil {
			assert.ErrorIs(t, err, want, "tenant %q", tenant)
			assert.Equal(t, 401, verifier.StatusCode(err), "tenant %q", tenant)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, tenant, e.TenantID)
	}
}

func TestTheSourceGetsTheRequestsContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	v := verifierOf(t, verifier.SecretFunc(func(ctx context.Context, _ string) ([]walletcrew.Secret, error) {
		assert.Equal(t, "value", ctx.Value(key{}), "a look-up needs the request's context")
		return []walletcrew.Secret{knownSecret}, nil
	}))
	ctx := context.WithValue(t.Context(), key{}, "value")
	_, err := v.Event(posted([]byte(knownBody)).WithContext(ctx))
	assert.NoError(t, err)
	_, err = v.EventFrom(ctx, signedHeaders([]byte(knownBody)).get, []byte(knownBody))
	assert.NoError(t, err)
}

// --- bytes ---

func TestRawIsTheSliceThatWasPassed(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	body := []byte(knownBody)
	e, err := v.EventFrom(t.Context(), signedHeaders(body).get, body)
	require.NoError(t, err)
	require.Len(t, e.Raw, len(body))
	assert.Same(t, &body[0], &e.Raw[0], "Raw is the body itself, not a copy")
	assert.Equal(t, knownBody, string(body), "the body isn't changed")
}

func TestEventReadsTheBodyToItsEndByteForByte(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	for _, body := range []string{
		knownBody, " " + knownBody, knownBody + "\r\n", "{ \"__id\" :\t\"1\" }\n\n", `{"a":1.0e+02,"b":"\u00e9\/","c":12345678901234567890123}`, `{}`,
	} {
		r := posted([]byte(body))
		e, err := v.Event(r)
		require.NoError(t, err, "%q", body)
		assert.Equal(t, body, string(e.Raw))
		rest, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Empty(t, rest, "the body was read to its end")
	}
}

// --- allocations ---

// Not parallel: AllocsPerRun counts what others allocate.
func TestVerifyAllocatesNothingOfItsOwn(t *testing.T) {
	if raceDetector {
		t.Skip("allocations say nothing while the race detector is on")
	}
	found := []walletcrew.Secret{otherSecret, knownSecret}
	const perSecret = 7 // crypto/hmac's, for a secret that isn't known before
	for name, c := range map[string]struct {
		source verifier.SecretSource
		limit  float64
	}{
		"Static":             {verifier.Static(knownSecret), 0},
		"Static with three":  {verifier.Static(otherSecret, "third", knownSecret), 0},
		"SecretFunc":         {verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { return found, nil }), 2 * perSecret},
		"SecretFunc of none": {verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) { return nil, nil }), 0},
	} {
		v := verifierOf(t, c.source)
		for _, size := range []int{512, 2 << 10, 64 << 10} {
			body := paddedBody(size)
			signature := walletcrew.Sign(knownSecret, body)
			for what, signature := range map[string]string{"right": signature, "wrong": nowhere, "upper-case": strings.ToUpper(signature), "malformed": "x"} {
				allocs := testing.AllocsPerRun(50, func() { _ = v.Verify(context.Background(), "acme", body, signature) })
				assert.LessOrEqual(t, allocs, c.limit, "%s, %d bytes, a %s signature: Verify allocates nothing but what HMAC needs", name, size, what)
			}
		}
	}
}

// --- what to answer ---

func TestStatusCodeOfEveryError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 204},
		{receiver.Discard(errors.New("never")), 204},
		{walletcrew.ErrMissingSignature, 401},
		{walletcrew.ErrMalformedSignature, 401},
		{walletcrew.ErrSignatureMismatch, 401},
		{verifier.ErrUnknownTenant, 401},
		{verifier.ErrMethodNotAllowed, 405},
		{verifier.ErrBodyTooLarge, 413},
		{&http.MaxBytesError{Limit: 1}, 500}, // not ours: Event wraps it in ErrBodyTooLarge
		{verifier.ErrEncodingNotSupported, 415},
		{verifier.ErrEventNameMismatch, 400},
		{walletcrew.ErrInvalidPayload, 400},
		{verifier.ErrBodyUnreadable, 400},
		{fmt.Errorf("%w: %w", verifier.ErrBodyUnreadable, os.ErrDeadlineExceeded), 408},
		{fmt.Errorf("%w: %w", verifier.ErrBodyUnreadable, io.ErrUnexpectedEOF), 400},
		{verifier.ErrSecretsUnavailable, 503},
		{fmt.Errorf("%w: %w", verifier.ErrSecretsUnavailable, walletcrew.ErrUnauthorized), 503},
		{fmt.Errorf("%w: %w", verifier.ErrSecretsUnavailable, verifier.ErrUnknownTenant), 503}, // the receiver's fault comes first
		{walletcrew.ErrNoSecret, 503},
		{context.DeadlineExceeded, 503},
		{context.Canceled, 503},
		{errors.New("anything else"), 500},
		{io.ErrUnexpectedEOF, 500},
		{walletcrew.ErrNotFound, 500},
		{receiver.ErrLeaseLost, 500},
	} {
		t.Run(fmt.Sprint(tt.err), func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, verifier.StatusCode(tt.err))
			if tt.err == nil {
				return
			}
			assert.Equal(t, tt.want, verifier.StatusCode(fmt.Errorf("route: %w", tt.err)), "wrapped once")
			assert.Equal(t, tt.want, verifier.StatusCode(fmt.Errorf("a: %w", fmt.Errorf("b: %w", tt.err))), "wrapped twice")
			assert.Equal(t, tt.want, verifier.StatusCode(errors.Join(errors.New("another"), tt.err)), "joined with another")
		})
	}
}

// --- secrets stay inside ---

func TestNoSecretIsPrinted(t *testing.T) {
	t.Parallel()
	api := &fakeAPI{}
	api.set(knownSecret, otherSecret)
	loaded := verifier.FromAPI(api.client(t))
	fromAPI := verifierOf(t, loaded)
	require.NoError(t, fromAPI.Verify(t.Context(), "acme", []byte(knownBody), knownHex), "so that it has secrets")
	static := verifier.Static(knownSecret, otherSecret)
	v := verifierOf(t, static)

	for name, value := range map[string]any{
		"a Verifier": v, "a Verifier's value": *v, "Static": static, "FromAPI": loaded, "a Verifier from the API": fromAPI, "its value": *fromAPI,
		"a handler":            receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error { return nil }),
		"a slice of sources":   []verifier.SecretSource{static, loaded},
		"a map of sources":     map[string]verifier.SecretSource{"a": static, "b": loaded},
		"a user's struct":      struct{ Source verifier.SecretSource }{static},
		"its pointer":          &struct{ Source verifier.SecretSource }{static},
		"an unexported field":  struct{ source verifier.SecretSource }{static},
		"a Verifier in it":     struct{ v *verifier.Verifier }{v},
		"a Verifier's copy":    struct{ v verifier.Verifier }{*v},
		"a slice of Verifiers": []*verifier.Verifier{v},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t", "%10.3s"} {
			noSecretIn(t, fmt.Sprintf(verb, value), "%s with %s", name, verb)
		}
		noSecretIn(t, fmt.Sprint(value), "%s with Print", name)
	}
}

func TestNoErrorHoldsASecretASignatureOrTheBody(t *testing.T) {
	t.Parallel()
	const mark = "4111111111111111"
	v := verifierOf(t, verifier.Static(knownSecret))
	var errs []error
	collect := func(body string, change func(*http.Request)) {
		r := posted([]byte(body))
		if change != nil {
			change(r)
		}
		_, err := v.Event(r)
		require.Error(t, err)
		errs = append(errs, err)
	}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	collect(`{"card":"`+mark+`","card":"`+mark+`"}`, nil)
	collect(`{"`+mark+`":1,"`+mark+`":2}`, nil)
	collect(`{"card":"`+mark+`"`, nil)
	collect(`"`+mark+`"`, nil)
	collect(mark, nil)
	collect("{\"card\":\""+mark+"\xff\"}", nil)
	collect(`{"__eventName":"Pass:Installed","card":"`+mark+`"}`, set(walletcrew.HeaderEventName, "Card:N"+mark))
	collect(`{"card":"`+mark+`"}`, set(walletcrew.HeaderSignature, knownHex))
	collect(`{"card":"`+mark+`"}`, set(walletcrew.HeaderSignature, knownHex[:60]))
	collect(`{"card":"`+mark+`"}`, func(r *http.Request) { r.Method = mark })
	for _, err := range errs {
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
			noSecretIn(t, text, "an error")
			assert.NotContains(t, text, mark, "what is in the body or an unsigned header must not come into a log")
			assert.NotContains(t, text, knownHex[:60], "no signature in an error")
		}
	}
}

func noSecretIn(t *testing.T, text, format string, args ...any) {
	t.Helper()
	for _, secret := range []walletcrew.Secret{knownSecret, otherSecret} {
		for _, spelled := range []string{
			string(secret), fmt.Sprintf("%x", []byte(secret)), fmt.Sprintf("%X", []byte(secret)), strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]"), string(secret[:16]),
		} {
			if strings.Contains(text, spelled) {
				assert.Fail(t, "a secret was printed: "+fmt.Sprintf(format, args...))
			}
		}
	}
}

// --- concurrency ---

func TestAVerifierServesManyAtOnce(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(otherSecret, knownSecret))
	done := make(chan error)
	for g := range 16 {
		go func() {
			for i := range 100 {
				body := fmt.Appendf(nil, `{"__id":"%d-%d"}`, g, i)
				e, err := v.Event(posted(body))
				if err == nil && e.ID != fmt.Sprintf("%d-%d", g, i) {
					err = fmt.Errorf("got the event %s of another", e.ID)
				}
				if err == nil && v.Verify(context.Background(), "", body, nowhere) == nil {
					err = errors.New("a forged delivery was accepted")
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	timeout := time.After(time.Minute)
	for range 16 {
		select {
		case err := <-done:
			assert.NoError(t, err)
		case <-timeout:
			require.Fail(t, "the Verifier hung")
		}
	}
}
