package verifier_test

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

func sumOf(algorithm func() hash.Hash, secret walletcrew.Secret, body []byte) []byte {
	h := hmac.New(algorithm, []byte(secret))
	h.Write(body)
	return h.Sum(nil)
}

func jsonOf(t testing.TB, indent func(*bytes.Buffer, []byte) error, body string) string {
	t.Helper()
	var buf bytes.Buffer
	require.NoError(t, indent(&buf, []byte(body)))
	return buf.String()
}

func indentedBy(indent string) func(*bytes.Buffer, []byte) error {
	return func(buf *bytes.Buffer, body []byte) error { return json.Indent(buf, body, "", indent) }
}

func TestDiagnoseFindsWhatWasDone(t *testing.T) {
	t.Parallel()
	const (
		hexSecret = walletcrew.Secret("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff")
		b64Secret = walletcrew.Secret("c2VjcmV0IG9mIGEgd2ViaG9vaywgaW4gYmFzZTY0IQ==")
		spaced    = "{ \"__id\": \"1\", \"list\": [ 1, 2 ],\n  \"text\": \"a b\" }"
		escaped   = `{"__id":"1","text":"\u003cb\u003e \u0026"}`
		unescaped = `{"__id":"1","text":"<b> &"}`
	)
	decodedHex, err := hex.DecodeString(string(hexSecret))
	require.NoError(t, err)
	decodedB64, err := base64.StdEncoding.DecodeString(string(b64Secret))
	require.NoError(t, err)
	sign := func(body string) string { return walletcrew.Sign(knownSecret, []byte(body)) }
	b64 := func(sum []byte) string { return base64.StdEncoding.EncodeToString(sum) }
	compact := jsonOf(t, json.Compact, spaced)
	rich := `{"s":"it's <b> + \"q\" / é😀&"}`
	stj := `{"s":"it\u0027s \u003Cb\u003E \u002B \u0022q\u0022 / \u00E9\uD83D\uDE00\u0026"}`
	php := `{"s":"it's <b> + \"q\" \/ \u00e9\ud83d\ude00&"}`
	phpUnicode := `{"s":"it's <b> + \"q\" \/ é😀&"}`
	gson := `{"s":"it\u0027s \u003cb\u003e + \"q\" / é😀\u0026"}`
	python := `{"s": "it's <b> + \"q\" / \u00e9\ud83d\ude00&"}`
	two, four, tab := jsonOf(t, indentedBy("  "), knownBody), jsonOf(t, indentedBy("    "), knownBody), jsonOf(t, indentedBy("\t"), knownBody)

	for name, tt := range map[string]struct {
		body, signature string
		secret          walletcrew.Secret // "": knownSecret
		says            []string          // in one finding each; none: nil is expected
	}{
		// The body.
		"it matches":                            {body: knownBody, signature: knownHex},
		"with SHA256=":                          {body: knownBody, signature: "SHA256=" + knownHex},
		"it matches with dashes":                {body: knownBody, signature: "5C-97-9B-2F-30-9A-60-23-A4-0F-B8-D8-4B-F7-70-92-86-B1-4F-10-86-B5-92-35-87-13-33-B6-10-1B-93-60"},
		"in base64 of the hexadecimal text":     {body: knownBody, signature: b64([]byte(knownHex))},
		"it matches in base64":                  {body: knownBody, signature: " sha256=" + knownBase64},
		"a middleware read the body":            {body: "", signature: knownHex, says: []string{"the body is empty"}},
		"the sender sent none":                  {body: knownBody, signature: sign(""), says: []string{"of an empty body"}},
		"compacted on the way":                  {body: compact, signature: sign(two), secret: "", says: nil}, // of another body: nothing is proved
		"indented on the way":                   {body: two, signature: knownHex, says: []string{"encoded again", "compact JSON"}},
		"indented by four":                      {body: four, signature: knownHex, says: []string{"encoded again", "compact JSON"}},
		"indented by tabs, with a newline":      {body: tab + "\n", signature: knownHex, says: []string{"encoded again", "compact JSON"}},
		"compacted, signed indented by two":     {body: knownBody, signature: sign(two), says: []string{"encoded again", "indented JSON"}},
		"compacted, signed indented by four":    {body: knownBody, signature: sign(four), says: []string{"encoded again", "indented JSON"}},
		"compacted, signed with tabs":           {body: knownBody, signature: sign(tab), says: []string{"encoded again", "indented JSON"}},
		"spaces put in":                         {body: spaced, signature: sign(compact), says: []string{"encoded again", "compact JSON"}},
		"spaces put in, newline lost":           {body: spaced, signature: sign(compact + "\n"), says: []string{"encoded again", "line break"}},
		"escaped for HTML":                      {body: escaped, signature: sign(unescaped), says: []string{"encoded again", "without <, > and & escaped"}},
		"no longer escaped for HTML":            {body: unescaped, signature: sign(escaped), says: []string{"encoded again", "with <, > and & escaped"}},
		"a newline added":                       {body: knownBody + "\n", signature: knownHex, says: []string{"ends in a line break that wasn't signed"}},
		"a CR LF added":                         {body: knownBody + "\r\n", signature: knownHex, says: []string{"ends in a line break that wasn't signed"}},
		"spaces around":                         {body: " \t" + knownBody + " ", signature: knownHex, says: []string{"white space around it that wasn't signed"}},
		"the newline lost":                      {body: knownBody, signature: sign(knownBody + "\n"), says: []string{"lacks the line break"}},
		"the CR LF lost":                        {body: knownBody, signature: sign(knownBody + "\r\n"), says: []string{"lacks the line break (CR LF)"}},
		"a BOM added":                           {body: "\uFEFF" + knownBody, signature: knownHex, says: []string{"byte order mark that wasn't signed"}},
		"the BOM lost":                          {body: knownBody, signature: sign("\uFEFF" + knownBody), says: []string{"lacks the byte order mark"}},
		"LF made CR LF":                         {body: strings.ReplaceAll(two, "\n", "\r\n"), signature: sign(two), says: []string{"from LF to CR LF"}},
		"CR LF made LF":                         {body: two, signature: sign(strings.ReplaceAll(two, "\n", "\r\n")), says: []string{"from CR LF to LF"}},
		"API Gateway's base64":                  {body: b64([]byte(knownBody)), signature: knownHex, says: []string{"still base64"}},
		"compacted, signed with a newline":      {body: knownBody, signature: sign(two + "\n"), says: []string{"encoded again", "indented JSON and a line break"}},
		"escaped on the way":                    {body: `{"a":"\u00e9\/"}`, signature: sign(`{"a":"é/"}`), says: []string{"encoded again", "without escapes"}},
		"signed with Python's spaces":           {body: compact, signature: sign(`{"__id": "1", "list": [1, 2], "text": "a b"}`), says: []string{"encoded again", "a space after each"}},
		"Python's spaces and escapes":           {body: `{"a":"\u00e9","b":1}`, signature: sign(`{"a": "\u00e9", "b": 1}`), says: []string{"encoded again", "a space after each"}},
		"ASCII on the wire, lower case":         {body: `{"a":"é😀"}`, signature: sign(`{"a":"\u00e9\ud83d\ude00"}`), says: []string{"encoded again", "all but ASCII escaped"}},
		"ASCII on the wire, upper case":         {body: `{"a":"é😀"}`, signature: sign(`{"a":"\u00E9\uD83D\uDE00"}`), says: []string{"encoded again", "all but ASCII escaped"}},
		"one byte, and the sender sent nothing": {body: "x", signature: sign(""), says: []string{"of an empty body"}},
		"no JSON, and the sender sent nothing":  {body: "not JSON", signature: sign(""), says: []string{"of an empty body"}},
		"a body that isn't JSON, newline added": {body: "not JSON\n", signature: sign("not JSON"), says: []string{"ends in a line break"}},
		"System.Text.Json's escapes lost":       {body: rich, signature: sign(stj), says: []string{"encoded again", "compact JSON", "System.Text.Json"}},
		"System.Text.Json, indented":            {body: rich, signature: sign(jsonOf(t, indentedBy("  "), stj)), says: []string{"encoded again", "indented JSON", "System.Text.Json"}},
		"System.Text.Json, indented on Windows": {body: rich, signature: sign(strings.ReplaceAll(jsonOf(t, indentedBy("  "), stj), "\n", "\r\n")), says: []string{"indented JSON", "System.Text.Json", "CR LF"}},
		"escaped by System.Text.Json":           {body: stj, signature: sign(rich), says: []string{"encoded again", "without escapes"}},
		"PHP's escapes lost":                    {body: rich, signature: sign(php), says: []string{"encoded again", "PHP"}},
		"PHP's, with its slashes only":          {body: rich, signature: sign(phpUnicode), says: []string{"encoded again", "PHP"}},
		"PHP's for .NET's":                      {body: stj, signature: sign(php), says: []string{"encoded again", "PHP"}},
		"escaped by PHP":                        {body: php, signature: sign(rich), says: []string{"encoded again", "without escapes"}},
		"Gson's escapes lost":                   {body: rich, signature: sign(gson), says: []string{"encoded again", "Gson"}},
		"Python's spaces and escapes lost":      {body: rich, signature: sign(python), says: []string{"encoded again", "a space after each", "all but ASCII escaped"}},
		"compacted by a helper, of Python's":    {body: jsonOf(t, json.Compact, python), signature: sign(python), says: []string{"encoded again", "a space after each"}},
		"compacted by a helper, indented on Windows": {body: compact, signature: sign(strings.ReplaceAll(jsonOf(t, indentedBy("  "), compact), "\n", "\r\n")),
			says: []string{"encoded again", "indented JSON", "CR LF"}},
		"of a map, as Go writes it":    {body: knownBody, signature: sign(asMap(t, knownBody)), says: []string{"encoded again", "alphabetical order, as Go writes a map"}},
		"gunzipped on the way":         {body: knownBody, signature: sign(zipped(t, knownBody)), says: []string{"compressed with gzip", "decompressed it before the check"}},
		"still compressed":             {body: zipped(t, knownBody), signature: knownHex, says: []string{"still compressed with gzip"}},
		"half a surrogate pair":        {body: `{"a":"\ud83d\/"}`, signature: sign(`{"a":"\ud83d/"}`), says: []string{"encoded again", "without escapes"}},
		"quotes and escapes at an end": {body: `{"a":"\\","b":"\""}`, signature: sign(`{"a": "\\", "b": "\""}`), says: []string{"encoded again", "a space after each"}},

		// The secret.
		"no secret":                       {body: knownBody, signature: knownHex, secret: " ", says: nil},
		"a space after the secret":        {body: knownBody, signature: knownHex, secret: knownSecret + " ", says: []string{"the secret has white space around it"}},
		"a newline after the secret":      {body: knownBody, signature: knownHex, secret: knownSecret + "\n", says: []string{"the secret has white space around it"}},
		"the secret in double quotes":     {body: knownBody, signature: knownHex, secret: `"` + knownSecret + `"`, says: []string{"the secret has quotes around it"}},
		"the secret in single quotes":     {body: knownBody, signature: knownHex, secret: `'` + knownSecret + `'`, says: []string{"the secret has quotes around it"}},
		"quotes and a newline":            {body: knownBody, signature: knownHex, secret: ` "` + knownSecret + "\"\n", says: []string{"the secret has quotes around it"}},
		"a BOM before the secret":         {body: knownBody, signature: knownHex, secret: "\uFEFF" + knownSecret, says: []string{"the secret begins with a byte order mark"}},
		"the sender's ends in a newline":  {body: knownBody, signature: walletcrew.Sign(knownSecret+"\n", []byte(knownBody)), says: []string{"sender's secret ends in a line break"}},
		"the sender decoded hexadecimal":  {body: knownBody, signature: walletcrew.Sign(walletcrew.Secret(decodedHex), []byte(knownBody)), secret: hexSecret, says: []string{"decoded from hexadecimal as the key"}},
		"the sender decoded base64":       {body: knownBody, signature: walletcrew.Sign(walletcrew.Secret(decodedB64), []byte(knownBody)), secret: b64Secret, says: []string{"decoded from base64 as the key"}},
		"the receiver decoded hex":        {body: knownBody, signature: walletcrew.Sign(hexSecret, []byte(knownBody)), secret: walletcrew.Secret(decodedHex), says: []string{"was decoded from hexadecimal"}},
		"the receiver decoded base64":     {body: knownBody, signature: walletcrew.Sign(b64Secret, []byte(knownBody)), secret: walletcrew.Secret(decodedB64), says: []string{"was decoded from base64"}},
		"decoded, unpadded base64":        {body: knownBody, signature: walletcrew.Sign("c2VjcmV0cw", []byte(knownBody)), secret: "secrets", says: []string{"was decoded from base64"}},
		"a secret of one character":       {body: knownBody, signature: walletcrew.Sign("k", []byte(knownBody)), secret: "k"},
		"one character, an added line":    {body: knownBody + "\n", signature: walletcrew.Sign("k", []byte(knownBody)), secret: "k", says: []string{"line break that wasn't signed"}},
		"no hexadecimal, cut and decoded": {body: knownBody, signature: walletcrew.Sign("\xab", []byte(knownBody)), secret: "abzz"},
		"a quoted secret, an added line":  {body: knownBody + "\n", signature: knownHex, secret: `"` + knownSecret + `"`, says: []string{"quotes around it", "line break that wasn't signed"}},
		"a log's word for a secret":       {body: knownBody, signature: knownHex, secret: "[redacted]", says: []string{"read from a log"}},
		"the decoded secret, reserialise": {body: two, signature: walletcrew.Sign(walletcrew.Secret(decodedHex), []byte(knownBody)), secret: hexSecret, says: []string{"decoded from hexadecimal", "encoded again"}},

		// The signature.
		"no signature":                   {body: knownBody, signature: "", says: []string{"the signature is missing"}},
		"a signature of spaces":          {body: knownBody, signature: "  ", says: []string{"the signature is missing"}},
		"nothing after the prefix":       {body: knownBody, signature: "sha256= ", says: []string{"the signature is missing"}},
		"cut":                            {body: knownBody, signature: knownHex[:40], says: []string{"cut off: 40 characters of 64"}},
		"cut to one less":                {body: knownBody, signature: knownHex[:63], says: []string{"cut off: 63 characters of 64"}},
		"cut, upper case":                {body: knownBody, signature: strings.ToUpper(knownHex)[:40], says: []string{"cut off: 40 characters of 64"}},
		"base64 cut":                     {body: knownBody, signature: knownBase64[:30], says: []string{"cut off: 30 characters of 44"}},
		"cut to the length of base64":    {body: cutToBase64, signature: walletcrew.Sign(knownSecret, []byte(cutToBase64))[:43], says: []string{"cut off: 43 characters of 64"}},
		"something else around it":       {body: knownBody, signature: "v1=" + knownHex + ",v0=0", says: []string{"something else around it"}},
		"in quotes":                      {body: knownBody, signature: `"` + knownBase64 + `"`, says: []string{"something else around it"}},
		"mixed case":                     {body: knownBody, signature: strings.ToUpper(knownHex[:32]) + knownHex[32:], says: []string{"letters' case of the signature"}},
		"mixed case, a short secret":     {body: knownBody, signature: strings.ToUpper(walletcrew.Sign("k", []byte(knownBody))[:32]) + walletcrew.Sign("k", []byte(knownBody))[32:], secret: "k", says: []string{"letters' case of the signature"}},
		"mixed case of another":          {body: knownBody, signature: "A" + strings.Repeat("b", 63), says: []string{"upper and lower case mixed"}},
		"base64 in lower case":           {body: knownBody, signature: strings.ToLower(knownBase64), says: []string{"letters' case of the signature"}},
		"base64 in upper case, unpadded": {body: knownBody, signature: strings.ToUpper(strings.TrimRight(knownBase64, "=")), says: []string{"letters' case of the signature"}},
		"the URL's base64 in lower case": {body: urlSigned, signature: strings.ToLower(urlBase64), says: []string{"letters' case of the signature"}},
		"and unpadded":                   {body: urlSigned, signature: strings.ToLower(strings.TrimRight(urlBase64, "=")), says: []string{"letters' case of the signature"}},
		"cut to eight characters":        {body: knownBody, signature: knownHex[:8], says: []string{"cut off: 8 characters of 64"}},
		"cut to seven":                   {body: knownBody, signature: knownHex[:7], says: []string{"isn't one", "7 came"}}, // which may be chance
		"HMAC-SHA-512, unpadded":         {body: knownBody, signature: strings.TrimRight(b64(sumOf(sha512.New, knownSecret, []byte(knownBody))), "="), says: []string{"made with HMAC-SHA-512"}},
		"HMAC-SHA-512, the URL's":        {body: knownBody, signature: base64.URLEncoding.EncodeToString(sumOf(sha512.New, knownSecret, []byte(knownBody))), says: []string{"made with HMAC-SHA-512"}},
		"and unpadded too":               {body: knownBody, signature: base64.RawURLEncoding.EncodeToString(sumOf(sha512.New, knownSecret, []byte(knownBody))), says: []string{"made with HMAC-SHA-512"}},
		"128 characters of something":    {body: knownBody, signature: strings.Repeat("!", 128), says: []string{"isn't one", "128 came"}},
		"base64 and something":           {body: knownBody, signature: b64(make([]byte, 48)) + "!", says: []string{"isn't one", "65 came"}},
		"HMAC-SHA-1":                     {body: knownBody, signature: hex.EncodeToString(sumOf(sha1.New, knownSecret, []byte(knownBody))), says: []string{"made with HMAC-SHA-1"}},
		"HMAC-SHA-1 in base64":           {body: knownBody, signature: b64(sumOf(sha1.New, knownSecret, []byte(knownBody))), says: []string{"made with HMAC-SHA-1"}},
		"HMAC-SHA-512":                   {body: knownBody, signature: hex.EncodeToString(sumOf(sha512.New, knownSecret, []byte(knownBody))), says: []string{"made with HMAC-SHA-512"}},
		"HMAC-SHA-384":                   {body: knownBody, signature: b64(sumOf(sha512.New384, knownSecret, []byte(knownBody))), says: []string{"made with HMAC-SHA-384"}},
		"HMAC-MD5":                       {body: knownBody, signature: hex.EncodeToString(sumOf(md5.New, knownSecret, []byte(knownBody))), says: []string{"made with HMAC-MD5"}},
		"SHA-1's length":                 {body: knownBody, signature: strings.Repeat("ab", 20), says: []string{"the length of SHA-1"}},
		"SHA-512's length":               {body: knownBody, signature: b64(make([]byte, 64)), says: []string{"the length of SHA-512"}},
		"a plain SHA-256":                {body: knownBody, signature: plainSHA256(knownBody), says: []string{"plain SHA-256"}},
		"no signature at all":            {body: knownBody, signature: "Bearer abc", says: []string{"isn't one", "10 came"}},
		"64 characters of something":     {body: knownBody, signature: strings.Repeat("!", 64), says: []string{"isn't one", "64 came"}},
		"one character":                  {body: knownBody, signature: knownHex[:1], says: []string{"isn't one", "1 came"}},

		// What nothing explains.
		"another secret":       {body: knownBody, signature: knownHex, secret: otherSecret},
		"another body":         {body: knownBody, signature: sign(`{"__id":"2"}`)},
		"a random signature":   {body: knownBody, signature: nowhere},
		"a truncated body":     {body: knownBody[:100], signature: knownHex},
		"a member was renamed": {body: strings.Replace(knownBody, "passId", "pass_id", 1), signature: knownHex},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := tt.secret
			if secret == "" {
				secret = knownSecret
			}
			findings := verifier.Diagnose([]byte(tt.body), tt.signature, secret)
			if len(tt.says) == 0 {
				if walletcrew.VerifySignature([]byte(tt.body), tt.signature, secret) == nil {
					assert.Equal(t, []string{"it matches"}, findings)
					return
				}
				require.NotEmpty(t, findings, "Diagnose never returns nothing")
				assert.Contains(t, findings[0], "nothing that Diagnose knows explains it")
				nothingOf(t, findings, tt.body, tt.signature, secret)
				return
			}
			require.NotEmpty(t, findings, "Diagnose must find it")
			all := strings.Join(findings, " | ")
			for _, words := range tt.says {
				assert.Contains(t, all, words)
			}
			assert.Len(t, findings, 1, "one cause, one finding")
			nothingOf(t, findings, tt.body, tt.signature, secret)
		})
	}
}

// asMap is what Go makes of a body that it decoded into a map.
func asMap(t *testing.T, body string) string {
	t.Helper()
	var members map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &members))
	encoded, err := json.Marshal(members)
	require.NoError(t, err)
	require.NotEqual(t, body, string(encoded))
	return string(encoded)
}

func zipped(t *testing.T, body string) string {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write([]byte(body))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.String()
}

func TestDiagnoseSaysThatGosMapIsLikely(t *testing.T) {
	t.Parallel()
	reordered := asMap(t, knownBody)
	findings := verifier.Diagnose([]byte(reordered), knownHex, knownSecret)
	require.Len(t, findings, 2, "the order that was signed can't be had back, so nothing is proved")
	assert.Contains(t, findings[0], "nothing that Diagnose knows explains it")
	assert.Regexp(t, "^likely, .* alphabetical order, as Go's encoding/json writes a map", findings[1])
	nothingOf(t, findings, reordered, knownHex, knownSecret)

	findings = verifier.Diagnose([]byte(knownBody), nowhere, knownSecret)
	require.Len(t, findings, 1, "whose members are in another order")
}

func TestDiagnoseSaysWhatIsLeftOfACompressedBody(t *testing.T) {
	t.Parallel()
	findings := verifier.Diagnose([]byte(zipped(t, knownBody)), nowhere, knownSecret)
	require.Len(t, findings, 2)
	assert.Contains(t, findings[1], "compressed with gzip")
	bomb := zipped(t, strings.Repeat("0", 64<<20))
	findings = verifier.Diagnose([]byte(bomb), nowhere, knownSecret)
	assert.Contains(t, findings[0], "nothing that Diagnose knows", "what is in it isn't unpacked without a limit")
}

func TestDiagnoseWithSeveralSecrets(t *testing.T) {
	t.Parallel()
	body := []byte(knownBody)
	assert.Equal(t, []string{"it matches secret 2 of 3"}, verifier.Diagnose(body, knownHex, otherSecret, knownSecret, "a third"))
	findings := verifier.Diagnose(body, knownHex, otherSecret, knownSecret+"\n")
	assert.Equal(t, []string{"secret 2 of 2: the secret has white space around it: trim it"}, findings)
	findings = verifier.Diagnose(body, knownHex[:40], otherSecret, knownSecret)
	require.Len(t, findings, 1)
	assert.Contains(t, findings[0], "secret 2 of 2: the signature is right, but cut off")
	unexplained(t, verifier.Diagnose(body, nowhere, otherSecret, knownSecret), "neither")

	findings = verifier.Diagnose(body, knownHex, "", knownSecret)
	require.Len(t, findings, 2, "the verifier refuses an empty secret beside a good one")
	assert.Equal(t, "it matches secret 2 of 2", findings[0])
	assert.Contains(t, findings[1], "secret 1 of 2: the secret is empty")
	findings = verifier.Diagnose(body, nowhere, "", knownSecret)
	require.Len(t, findings, 2)
	assert.Contains(t, findings[1], "nothing that Diagnose knows explains it")

	findings = verifier.Diagnose(body, knownHex)
	require.Len(t, findings, 1)
	assert.Contains(t, findings[0], "no secret was passed")
}

func TestDiagnoseOfManySecretsAndALargeBodyIsBounded(t *testing.T) { //nolint:paralleltest // measures
	secrets := make([]walletcrew.Secret, 500)
	for i := range secrets {
		secrets[i] = walletcrew.Secret(fmt.Sprintf("secret number %d", i))
	}
	began := time.Now()
	findings := verifier.Diagnose(paddedBody(1<<20), nowhere, secrets...)
	took := time.Since(began)
	t.Log(took)
	assert.Less(t, took, time.Minute, "a budget, however slow the machine: without one it is an hour")
	all := strings.Join(findings, "|")
	assert.Contains(t, all, "nothing that Diagnose knows explains it")
	assert.Contains(t, all, "not every way to encode it again was tried")
}

// cutToBase64 is a body the first 43 characters of whose hexadecimal signature are base64 of 32 bytes too.
var cutToBase64 = func() string {
	for i := 0; ; i++ {
		body := fmt.Sprintf(`{"n":%d}`, i)
		if _, err := walletcrew.ParseSignature(walletcrew.Sign(knownSecret, []byte(body))[:43]); err == nil {
			return body
		}
	}
}()

// urlSigned is a body whose signature is not the same in both alphabets of base64, and urlBase64 that signature.
var urlSigned, urlBase64 = func() (body, signature string) {
	for i := 0; ; i++ {
		body = fmt.Sprintf(`{"n":%d}`, i)
		signature = base64.URLEncoding.EncodeToString(sumOf(sha256.New, knownSecret, []byte(body)))
		if strings.ContainsAny(signature, "-_") {
			return body, signature
		}
	}
}()

func plainSHA256(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// nothingOf checks that no finding holds eight characters in a row of what must not come into a log.
func nothingOf(t *testing.T, findings []string, body, signature string, secret walletcrew.Secret) {
	t.Helper()
	all := strings.Join(findings, "\n")
	for what, text := range map[string]string{"the body": body, "the signature": signature, "the secret": string(secret)} {
		if text == "[redacted]" {
			continue
		}
		for i := 0; i+8 <= len(text); i++ {
			if part := text[i : i+8]; strings.Contains(all, part) && strings.TrimSpace(part) != "" {
				assert.Fail(t, "a finding holds "+what, "%q", part)
				return
			}
		}
	}
}

// Anyone can sign with the empty secret: that such a signature is right says nothing.
func TestDiagnoseSaysNoSignatureIsRightForTheEmptySecret(t *testing.T) {
	t.Parallel()
	right := walletcrew.Sign("", []byte(knownBody))
	for name, signature := range map[string]string{
		"whole": right, "cut": right[:40], "with something else around it": "v1=" + right, "mixed case": strings.ToUpper(right[:32]) + right[32:],
		"HMAC-SHA-1": hex.EncodeToString(sumOf(sha1.New, "", []byte(knownBody))),
	} {
		findings := strings.Join(verifier.Diagnose([]byte(knownBody), signature, ""), " | ")
		assert.Contains(t, findings, "the secret is empty", name)
		assert.NotContains(t, findings, "right", name)
		assert.NotContains(t, findings, "made with", name)
		assert.NotContains(t, findings, "letters' case", name)
	}
}

func TestDiagnoseOfNothing(t *testing.T) {
	t.Parallel()
	findings := verifier.Diagnose(nil, "", "")
	require.Len(t, findings, 3, "each of the three is missing")
	assert.Contains(t, findings[0], "secret is empty")
	assert.Contains(t, findings[1], "body is empty")
	assert.Contains(t, findings[2], "signature is missing")

	assert.Contains(t, strings.Join(verifier.Diagnose([]byte(knownBody), knownHex, ""), "|"), "secret is empty")
	signedByNothing := walletcrew.Sign("", []byte(knownBody))
	assert.Len(t, verifier.Diagnose([]byte(knownBody), signedByNothing, ""), 1, "an empty secret is never right, also where the signature is its own")
	unexplained(t, verifier.Diagnose([]byte(knownBody), signedByNothing, knownSecret), "that a sender used an empty secret isn't this one's fault")
	assert.Equal(t, []string{"it matches"}, verifier.Diagnose(nil, walletcrew.Sign(knownSecret, nil), knownSecret), "an empty body that was signed is right")
}

// What Diagnose says must be so: it may not guess. Random bodies, secrets and signatures have no cause that it could prove.
func TestDiagnoseNeverSaysWhatIsNotSo(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)) // the same in each run
	text := func(letters string, n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = letters[random.IntN(len(letters))]
		}
		return string(b)
	}
	const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	bodies := []func() string{
		func() string { return knownBody },
		func() string { return text("\x00\x01{}[]\":,\\ \n\r\txyz\xff", 1+random.IntN(60)) },
		func() string {
			return fmt.Sprintf(`{"__id":%d,"a":[%d,{"b":"%s"}]}`, random.Int(), random.Int(), text("abc<>& ", 10))
		},
		func() string { return "{\n  \"a\": \"" + text(alphanumeric, 5) + "\"\n}\n" },
		func() string { return base64.StdEncoding.EncodeToString([]byte(text("{}\"a:", 12))) },
	}
	secrets := []func() string{
		func() string { return text(alphanumeric, 64) },
		func() string { return text("0123456789abcdef", 64) },
		func() string { return " \"" + text(alphanumeric, 20) + "\"\n" },
		func() string { return base64.StdEncoding.EncodeToString([]byte(text(alphanumeric, 30))) },
	}
	signatures := []func() string{
		func() string { return text("0123456789abcdef", 64) },
		func() string { return text("0123456789ABCDEF", 64) },
		func() string { return base64.StdEncoding.EncodeToString([]byte(text(alphanumeric, 32))) },
		func() string {
			return walletcrew.Sign(walletcrew.Secret(text(alphanumeric, 64)), []byte(text(alphanumeric, 9)))
		},
	}
	rounds := 1000
	if testing.Short() || raceDetector {
		rounds = 200
	}
	for range rounds {
		body, secret, signature := bodies[random.IntN(len(bodies))](), secrets[random.IntN(len(secrets))](), signatures[random.IntN(len(signatures))]()
		unexplained(t, verifier.Diagnose([]byte(body), signature, walletcrew.Secret(secret)), "body %q, secret %q, signature %q", body, secret, signature)
		// The right secret's signature matches, whatever the body.
		require.Equal(t, []string{"it matches"}, verifier.Diagnose([]byte(body), walletcrew.Sign(walletcrew.Secret(secret), []byte(body)), walletcrew.Secret(secret)))
		// The right signature of a body, and another secret: nothing explains it.
		unexplained(t, verifier.Diagnose([]byte(body), walletcrew.Sign(walletcrew.Secret(text(alphanumeric, 64)), []byte(body)), walletcrew.Secret(secret)), "body %q", body)
	}
	// Malformed ones: only what can be seen from the signature alone.
	for range rounds {
		signature := text("!+/=-_ "+alphanumeric, 1+random.IntN(140))
		findings := verifier.Diagnose([]byte(knownBody), signature, knownSecret)
		all := strings.Join(findings, "|")
		if strings.HasPrefix(all, "nothing that Diagnose knows") {
			continue // it has the form of one
		}
		for _, claim := range []string{"right", "made with", "encoded again", "the secret", "the body"} {
			require.NotContains(t, all, claim, "signature %q", signature)
		}
		nothingOf(t, findings, knownBody, signature, knownSecret)
	}
}

// unexplained checks that only that is said which needs no proof.
func unexplained(t *testing.T, findings []string, format string, args ...any) {
	t.Helper()
	require.NotEmpty(t, findings, format, args)
	require.Contains(t, findings[0], "nothing that Diagnose knows explains it", format, args)
	for _, more := range findings[1:] {
		require.Regexp(t, "^likely, ", more, format, args)
	}
}

func TestDiagnoseLeavesTheBodyAsItWas(t *testing.T) {
	t.Parallel()
	backing := []byte(knownBody + "behind it")
	body := backing[:len(knownBody)]
	verifier.Diagnose(body, nowhere, knownSecret)
	assert.True(t, bytes.Equal([]byte(knownBody+"behind it"), backing), "nothing is written behind the body either")
}

// Not parallel: it measures.
func TestDiagnoseOfAMebibyteTakesUnderTwoSeconds(t *testing.T) {
	// Each with 2 s, but for the race detector and for 32 bits, which take their time.
	most := 2 * time.Second
	switch {
	case raceDetector:
		most = 20 * time.Second
	case strconv.IntSize == 32: // whose SHA-256 is half as fast
		most = 5 * time.Second
	}
	list := `{"list":[` + strings.Repeat(`{"id":"a1B2c","n":1},`, (1<<20)/22) + `1]}`
	var deep strings.Builder // whose indentation would be gigabytes
	deep.WriteString(`{"a":[0`)
	for deep.Len() < 1<<20-20_000 {
		deep.WriteString("," + strings.Repeat("[", 9000) + strings.Repeat("]", 9000))
	}
	deep.WriteString("]}")
	for name, tt := range map[string]struct {
		body   string
		secret walletcrew.Secret
	}{
		"one long text":           {string(paddedBody(1 << 20)), knownSecret},
		"a list":                  {list, knownSecret},
		"nested as deep as it be": {deep.String(), knownSecret},
		"only brackets":           {strings.Repeat("[", 1<<20), knownSecret},
		"base64":                  {base64.StdEncoding.EncodeToString(make([]byte, 3<<18)), knownSecret},
		"a secret of many kinds":  {list, ` "0011223344556677"` + "\n"},
	} {
		took := cpuTime(func() { verifier.Diagnose([]byte(tt.body), nowhere, tt.secret) })
		t.Logf("%s: %v", name, took)
		assert.Less(t, took, most, "%s, %d bytes", name, len(tt.body))
	}
}

func TestDiagnoseFindsAnIndentedBodyWhateverItsStringsHold(t *testing.T) {
	t.Parallel()
	brackets := strings.Repeat("[{", 5000) // structure, they would be far too much to indent
	for name, body := range map[string]string{
		"brackets":               `{"s":"` + brackets + `"}`,
		"a quote before them":    `{"s":"\"` + brackets + `"}`,
		"a backslash before":     `{"r":"\\","s":"` + brackets + `"}`,
		"a long list":            `[1` + strings.Repeat(",[2]", 20_000) + `]`,
		"lists in lists":         `{"a":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + "}",
		"brackets open and shut": `["` + brackets + strings.Repeat("}]", 5000) + `"]`,
	} {
		signature := walletcrew.Sign(knownSecret, []byte(jsonOf(t, indentedBy("  "), body)))
		findings := verifier.Diagnose([]byte(body), signature, knownSecret)
		require.Len(t, findings, 1, name)
		assert.Contains(t, findings[0], "indented JSON", name)
	}
}

// A body of 20 KB that is nested deep would be 100 MB if it were indented.
func TestDiagnoseWritesNoHugeBody(t *testing.T) { //nolint:paralleltest // measures the heap
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	for name, text := range map[string]string{
		"brackets":                      "[1," + deep + "]",
		"a quote in a string":           `["\"",` + deep + "]",
		"a backslash at a string's end": `["\\",` + deep + "]",
		"brackets in a string":          `["` + strings.Repeat("]", 9000) + `",` + deep + "]",
		"objects":                       strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000),
		"a list deep within":            strings.Repeat(`{"a":`, 4000) + "[1" + strings.Repeat(",1", 4000) + "]" + strings.Repeat("}", 4000),
	} {
		body := []byte(text)
		require.True(t, json.Valid(body))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		unexplained(t, verifier.Diagnose(body, nowhere, knownSecret), "%s", name)
		runtime.ReadMemStats(&after)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20), "%s: all that was allocated", name)
	}
}
