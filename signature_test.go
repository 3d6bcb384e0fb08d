package walletcrew_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/bits"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

// The test vector: computed with OpenSSL and with Python, not with this module.
const (
	vectorSecret = walletcrew.Secret("k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E")
	vectorBody   = `{"__id":"0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10","passId":"p-1001","passType":"user","identifiers":{"customerId":"C-42"},"device":"apple"}`
	vectorHex    = "5c979b2f309a6023a40fb8d84bf7709286b14f1086b59235871333b6101b9360"
	vectorBase64 = "XJebLzCaYCOkD7jYS/dwkoaxTxCGtZI1hxMzthAbk2A="
)

func TestSignWritesTheVectorInLowerCaseHexadecimal(t *testing.T) {
	t.Parallel()
	require.Len(t, vectorBody, 136, "the vector's body has 136 bytes")
	assert.Equal(t, vectorHex, walletcrew.Sign(vectorSecret, []byte(vectorBody)))
}

func TestVerifySignatureReadsEverySpellingOfTheSameBytes(t *testing.T) {
	t.Parallel()
	urlAlphabet := strings.NewReplacer("+", "-", "/", "_").Replace(vectorBase64)
	for name, signature := range map[string]string{
		"hexadecimal, lower case":              vectorHex,
		"hexadecimal, upper case":              strings.ToUpper(vectorHex),
		"base64":                               vectorBase64,
		"base64 without padding":               strings.TrimSuffix(vectorBase64, "="),
		"base64, URL alphabet":                 urlAlphabet,
		"base64, URL alphabet without padding": strings.TrimSuffix(urlAlphabet, "="),
		".NET's BitConverter":                  dashed(strings.ToUpper(vectorHex)),
		"dashes, lower case":                   dashed(vectorHex),
		"base64 of the hexadecimal text":       base64.StdEncoding.EncodeToString([]byte(vectorHex)),
		"of the upper-case text, unpadded":     base64.RawStdEncoding.EncodeToString([]byte(strings.ToUpper(vectorHex))),
	} {
		for place, spelled := range map[string]string{
			"after SHA256=":             "SHA256=" + signature,
			"bare":                      signature,
			"after sha256=":             "sha256=" + signature,
			"after sha256= and a space": "sha256= " + signature,
			"with spaces around":        " \t" + signature + " \r\n",
			"with both":                 "  sha256=" + signature + "\t",
		} {
			t.Run(name+", "+place, func(t *testing.T) {
				t.Parallel()
				assert.NoError(t, walletcrew.VerifySignature([]byte(vectorBody), spelled, vectorSecret))
			})
		}
	}
}

func TestVerifySignatureReadsBothBase64Alphabets(t *testing.T) {
	t.Parallel()
	// A body whose signature holds both characters in which the alphabets differ.
	for i := range 10_000 {
		body := fmt.Appendf(nil, `{"n":%d}`, i)
		mac := sum(vectorSecret, body)
		standard := base64.StdEncoding.EncodeToString(mac)
		if !strings.Contains(standard, "+") || !strings.Contains(standard, "/") {
			continue
		}
		assert.NoError(t, walletcrew.VerifySignature(body, standard, vectorSecret))
		assert.NoError(t, walletcrew.VerifySignature(body, base64.URLEncoding.EncodeToString(mac), vectorSecret))
		mixed := strings.Replace(standard, "+", "-", 1)
		require.ErrorIs(t, walletcrew.VerifySignature(body, mixed, vectorSecret), walletcrew.ErrMalformedSignature, "one signature has one alphabet")
		return
	}
	t.Fatal("no signature with both characters was found")
}

func TestVerifySignatureRefusesEverySingleBitChange(t *testing.T) {
	t.Parallel()
	refused := func(t *testing.T, body []byte, signature, what string) {
		t.Helper()
		err := walletcrew.VerifySignature(body, signature, vectorSecret)
		require.Errorf(t, err, "a change of %s must be refused", what)
	}
	t.Run("of the body", func(t *testing.T) {
		t.Parallel()
		body := []byte(vectorBody)
		for i := range len(body) * 8 {
			body[i/8] ^= 1 << (i % 8)
			require.ErrorIs(t, walletcrew.VerifySignature(body, vectorHex, vectorSecret), walletcrew.ErrSignatureMismatch, "bit %d of the body", i)
			body[i/8] ^= 1 << (i % 8)
		}
		require.NoError(t, walletcrew.VerifySignature(body, vectorHex, vectorSecret))
	})
	t.Run("of the body's length", func(t *testing.T) {
		t.Parallel()
		refused(t, []byte(vectorBody+"\n"), vectorHex, "the end")
		refused(t, []byte(vectorBody[:len(vectorBody)-1]), vectorHex, "the end")
		refused(t, nil, vectorHex, "everything")
	})
	t.Run("of the 32 bytes", func(t *testing.T) {
		t.Parallel()
		mac, err := hex.DecodeString(vectorHex)
		require.NoError(t, err)
		for i := range len(mac) * 8 {
			mac[i/8] ^= 1 << (i % 8)
			for _, signature := range []string{hex.EncodeToString(mac), base64.StdEncoding.EncodeToString(mac), base64.RawURLEncoding.EncodeToString(mac)} {
				require.ErrorIs(t, walletcrew.VerifySignature([]byte(vectorBody), signature, vectorSecret), walletcrew.ErrSignatureMismatch, "bit %d of the signature", i)
			}
			mac[i/8] ^= 1 << (i % 8)
		}
	})
	for name, header := range map[string]string{
		"hexadecimal":           vectorHex,
		"upper-case":            strings.ToUpper(vectorHex),
		"base64":                vectorBase64,
		"unpadded base64":       strings.TrimSuffix(vectorBase64, "="),
		"hexadecimal, prefixed": "sha256=" + vectorHex,
		"base64, prefixed":      "sha256=" + vectorBase64,
		"base64 of the text":    "SHA256=" + base64.StdEncoding.EncodeToString([]byte(vectorHex)),
		"dashes":                dashed(strings.ToUpper(vectorHex)),
	} {
		t.Run("of the header's text, "+name, func(t *testing.T) {
			t.Parallel()
			text := []byte(header)
			for i := range len(text) * 8 {
				text[i/8] ^= 1 << (i % 8)
				refused(t, []byte(vectorBody), string(text), fmt.Sprintf("bit %d of the header %q", i, text))
				text[i/8] ^= 1 << (i % 8)
			}
		})
	}
	t.Run("of the secret", func(t *testing.T) {
		t.Parallel()
		secret := []byte(vectorSecret)
		for i := range len(secret) * 8 {
			secret[i/8] ^= 1 << (i % 8)
			require.ErrorIs(t, walletcrew.VerifySignature([]byte(vectorBody), vectorHex, walletcrew.Secret(secret)), walletcrew.ErrSignatureMismatch)
			secret[i/8] ^= 1 << (i % 8)
		}
	})
}

func TestVerifySignatureRefusesWhatIsNotASignature(t *testing.T) {
	t.Parallel()
	// Its last character carries two bits that must be zero.
	looseEnd := strings.TrimSuffix(vectorBase64, "A=") + "B="
	for name, c := range map[string]struct {
		signature string
		want      error
	}{
		"nothing":                             {"", walletcrew.ErrMissingSignature},
		"spaces":                              {" \t\r\n ", walletcrew.ErrMissingSignature},
		"a prefix alone":                      {"sha256=", walletcrew.ErrMissingSignature},
		"a prefix and spaces":                 {" sha256= ", walletcrew.ErrMissingSignature},
		"one character":                       {"5", walletcrew.ErrMalformedSignature},
		"63 hexadecimal digits":               {vectorHex[:63], walletcrew.ErrMalformedSignature},
		"65 hexadecimal digits":               {vectorHex + "0", walletcrew.ErrMalformedSignature},
		"31 bytes":                            {vectorHex[:62], walletcrew.ErrMalformedSignature},
		"the beginning":                       {vectorHex[:8], walletcrew.ErrMalformedSignature},
		"twice":                               {vectorHex + vectorHex, walletcrew.ErrMalformedSignature},
		"two, with a comma":                   {vectorHex + "," + vectorHex, walletcrew.ErrMalformedSignature},
		"hexadecimal in mixed case":           {strings.ToUpper(vectorHex[:32]) + vectorHex[32:], walletcrew.ErrMalformedSignature},
		"a letter that is no digit":           {"g" + vectorHex[1:], walletcrew.ErrMalformedSignature},
		"a space within":                      {vectorHex[:32] + " " + vectorHex[33:], walletcrew.ErrMalformedSignature},
		"a line break within":                 {vectorBase64[:20] + "\n" + vectorBase64[21:], walletcrew.ErrMalformedSignature},
		"an additional line break":            {strings.TrimSuffix(vectorBase64[:20]+"\n"+vectorBase64[20:], "="), walletcrew.ErrMalformedSignature},
		"one in the URL alphabet":             {strings.TrimSuffix(strings.ReplaceAll(vectorBase64[:25]+"\n"+vectorBase64[25:], "/", "_"), "="), walletcrew.ErrMalformedSignature},
		"0x before it":                        {"0x" + vectorHex, walletcrew.ErrMalformedSignature},
		"another prefix":                      {"sha1=" + vectorHex, walletcrew.ErrMalformedSignature},
		"the prefix twice":                    {"sha256=sha256=" + vectorHex, walletcrew.ErrMalformedSignature},
		"42 characters of base64":             {vectorBase64[:42], walletcrew.ErrMalformedSignature},
		"44 characters without padding":       {strings.TrimSuffix(vectorBase64, "=") + "A", walletcrew.ErrMalformedSignature},
		"45 characters":                       {vectorBase64 + "=", walletcrew.ErrMalformedSignature},
		"padding within":                      {vectorBase64[:20] + "=" + vectorBase64[21:], walletcrew.ErrMalformedSignature},
		"no character of base64":              {"!" + vectorBase64[1:], walletcrew.ErrMalformedSignature},
		"another case of the prefix":          {"Sha256=" + vectorHex, walletcrew.ErrMalformedSignature},
		"both prefixes":                       {"SHA256=sha256=" + vectorHex, walletcrew.ErrMalformedSignature},
		"dashes in mixed case":                {dashed(strings.ToUpper(vectorHex[:32]) + vectorHex[32:]), walletcrew.ErrMalformedSignature},
		"dashes between other digits":         {strings.Replace(dashed(vectorHex), "5c-9", "5c9-", 1), walletcrew.ErrMalformedSignature},
		"a dash at the end":                   {dashed(vectorHex) + "-", walletcrew.ErrMalformedSignature},
		"colons instead of dashes":            {strings.ReplaceAll(dashed(vectorHex), "-", ":"), walletcrew.ErrMalformedSignature},
		"one dash missing":                    {strings.Replace(dashed(vectorHex), "-", "", 1), walletcrew.ErrMalformedSignature},
		"base64 of mixed case":                {base64.StdEncoding.EncodeToString([]byte(strings.ToUpper(vectorHex[:32]) + vectorHex[32:])), walletcrew.ErrMalformedSignature},
		"base64 of the text, half padded":     {base64.RawStdEncoding.EncodeToString([]byte(vectorHex)) + "=", walletcrew.ErrMalformedSignature},
		"base64 of another text":              {base64.StdEncoding.EncodeToString([]byte(strings.Repeat("z", 64))), walletcrew.ErrMalformedSignature},
		"base64 of base64":                    {base64.StdEncoding.EncodeToString([]byte(vectorBase64)), walletcrew.ErrMalformedSignature},
		"bits over the end":                   {looseEnd, walletcrew.ErrMalformedSignature},
		"bits over the end, unpadded":         {strings.TrimSuffix(looseEnd, "="), walletcrew.ErrMalformedSignature},
		"100 KB":                              {strings.Repeat("a", 100_000), walletcrew.ErrMalformedSignature},
		"64 bytes that are not ASCII":         {strings.Repeat("é", 32), walletcrew.ErrMalformedSignature},
		"32 zero bytes":                       {strings.Repeat("0", 64), walletcrew.ErrSignatureMismatch},
		"another secret's":                    {walletcrew.Sign("another", []byte(vectorBody)), walletcrew.ErrSignatureMismatch},
		"another body's":                      {walletcrew.Sign(vectorSecret, []byte("{}")), walletcrew.ErrSignatureMismatch},
		"SHA-256 without a key":               {hashOf(vectorBody), walletcrew.ErrSignatureMismatch},
		"SHA-256 of secret and body together": {hashOf(string(vectorSecret) + vectorBody), walletcrew.ErrSignatureMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := walletcrew.VerifySignature([]byte(vectorBody), c.signature, vectorSecret)
			require.ErrorIs(t, err, c.want)
			assert.NotContains(t, err.Error(), string(vectorSecret))
		})
	}
}

func TestVerifySignatureNeverAcceptsAnEmptySecret(t *testing.T) {
	t.Parallel()
	body := []byte(vectorBody)
	forged := walletcrew.Sign("", body) // anyone can make it
	for name, secrets := range map[string][]walletcrew.Secret{
		"none":                     nil,
		"an empty one":             {""},
		"two empty ones":           {"", ""},
		"an empty one after good":  {vectorSecret, ""},
		"an empty one before good": {"", vectorSecret},
		"what a log says instead":  {"[redacted]"},
		"that beside a good one":   {vectorSecret, "[redacted]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, signature := range []string{forged, walletcrew.Sign("[redacted]", body), vectorHex, "", "nonsense"} {
				require.ErrorIs(t, walletcrew.VerifySignature(body, signature, secrets...), walletcrew.ErrNoSecret)
			}
		})
	}
	for _, secret := range []walletcrew.Secret{"", "[redacted]"} {
		_, err := walletcrew.NewKey(secret)
		require.ErrorIs(t, err, walletcrew.ErrNoSecret)
	}
}

func TestAParsedSignatureNeverAcceptsAnEmptySecret(t *testing.T) {
	t.Parallel()
	body := []byte(vectorBody)
	for _, header := range []string{walletcrew.Sign("", body), vectorHex} {
		signature, err := walletcrew.ParseSignature(header)
		require.NoError(t, err)
		require.ErrorIs(t, signature.Verify(body), walletcrew.ErrNoSecret, "without a secret")
		require.ErrorIs(t, signature.Verify(body, ""), walletcrew.ErrNoSecret, "with an empty one")
		require.ErrorIs(t, signature.Verify(body, "[redacted]"), walletcrew.ErrNoSecret, "with what a log says instead of one")
		require.ErrorIs(t, signature.Verify(body, vectorSecret, ""), walletcrew.ErrNoSecret, "with an empty one beside a good one")
	}
}

func TestNoCharacterButADigitStandsForOne(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		isDigit := strings.ContainsRune("0123456789abcdef", rune(c)) || strings.ContainsRune("ABCDEF", rune(c))
		for at, spelled := range []string{string([]byte{'0', byte(c)}) + strings.Repeat("1", 62), strings.Repeat("1", 62) + string([]byte{byte(c), '0'})} {
			_, err := walletcrew.ParseSignature(spelled)
			if isDigit {
				require.NoError(t, err, "%q", spelled)
				continue
			}
			require.ErrorIs(t, err, walletcrew.ErrMalformedSignature, "character %#x in place %d of a hexadecimal signature", c, at)
		}
	}
}

func TestVerifySignatureAcceptsAnyOfSeveralSecrets(t *testing.T) {
	t.Parallel()
	body := []byte(vectorBody)
	require.NoError(t, walletcrew.VerifySignature(body, vectorHex, vectorSecret, "new"))
	require.NoError(t, walletcrew.VerifySignature(body, vectorHex, "new", vectorSecret))
	require.NoError(t, walletcrew.VerifySignature(body, vectorHex, vectorSecret, vectorSecret))
	require.ErrorIs(t, walletcrew.VerifySignature(body, vectorHex, "new", "newer"), walletcrew.ErrSignatureMismatch)
}

func TestVerifySignatureTakesTheSecretsCharactersAsTheyAre(t *testing.T) {
	t.Parallel()
	// What looks like hexadecimal or base64 isn't decoded, and spaces are not trimmed.
	for _, secret := range []walletcrew.Secret{vectorHex, vectorBase64, " spaced ", "é", "\xff"} {
		body := []byte(vectorBody)
		require.NoError(t, walletcrew.VerifySignature(body, hex.EncodeToString(sum(secret, body)), secret))
	}
	trimmed := walletcrew.Sign("spaced", []byte(vectorBody))
	require.ErrorIs(t, walletcrew.VerifySignature([]byte(vectorBody), trimmed, " spaced "), walletcrew.ErrSignatureMismatch)
}

func TestTheEmptyBodyCanBeSigned(t *testing.T) {
	t.Parallel()
	require.NoError(t, walletcrew.VerifySignature(nil, walletcrew.Sign(vectorSecret, nil), vectorSecret))
	require.NoError(t, walletcrew.VerifySignature([]byte{}, walletcrew.Sign(vectorSecret, nil), vectorSecret))
}

func TestKeyServesManyGoroutines(t *testing.T) {
	t.Parallel()
	key, err := walletcrew.NewKey(vectorSecret)
	require.NoError(t, err)
	signature, err := walletcrew.ParseSignature(vectorHex)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				assert.True(t, key.Matches([]byte(vectorBody), signature))
				assert.False(t, key.Matches(fmt.Appendf(nil, "%d", i), signature))
			}
		})
	}
	wg.Wait()
}

func TestKeyWithoutASecretMatchesNothing(t *testing.T) {
	t.Parallel()
	signature := walletcrew.Signature(sum("", []byte(vectorBody)))
	assert.False(t, new(walletcrew.Key).Matches([]byte(vectorBody), signature), "the zero Key matches nothing")
	assert.False(t, (*walletcrew.Key)(nil).Matches([]byte(vectorBody), signature), "a nil Key matches nothing")
}

func TestVerifyingAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes sync.Pool forget")
	}
	key, err := walletcrew.NewKey(vectorSecret)
	require.NoError(t, err)
	body := []byte(vectorBody)
	for _, header := range []string{vectorHex, strings.ToUpper(vectorHex), "sha256=" + vectorBase64, strings.TrimSuffix(vectorBase64, "="),
		"SHA256=" + dashed(vectorHex), base64.StdEncoding.EncodeToString([]byte(vectorHex))} {
		assert.Zero(t, testing.AllocsPerRun(200, func() {
			signature, err := walletcrew.ParseSignature(header)
			if err != nil || !key.Matches(body, signature) {
				panic("the vector must match")
			}
		}), "to parse %q and to check it allocates nothing", header)
	}
	for _, header := range []string{"", "nonsense", strings.Repeat("g", 64), strings.Repeat("!", 43), strings.Repeat("a", 1000),
		strings.Repeat("!", 88), strings.Repeat("z", 86), strings.Repeat("-", 95)} {
		assert.Zero(t, testing.AllocsPerRun(200, func() { _, _ = walletcrew.ParseSignature(header) }), "to refuse a signature allocates nothing")
	}
}

func TestHeadersAreInTheCanonicalForm(t *testing.T) {
	t.Parallel()
	for _, name := range []string{walletcrew.HeaderSignature, walletcrew.HeaderEventName, walletcrew.HeaderTenantID} {
		assert.Equal(t, http.CanonicalHeaderKey(name), name)
	}
	assert.Equal(t, "x-neostore-signature", strings.ToLower(walletcrew.HeaderSignature))
	assert.Equal(t, "x-neostore-eventname", strings.ToLower(walletcrew.HeaderEventName))
	assert.Equal(t, "x-neostore-tenantid", strings.ToLower(walletcrew.HeaderTenantID))
}

// withSecret is a user's own struct.
type withSecret struct {
	Name    string
	Secret  walletcrew.Secret
	Pointer *walletcrew.Secret
	List    []walletcrew.Secret
	ByName  map[string]walletcrew.Secret
	Any     any
	Inner   struct{ Secret walletcrew.Secret }
}

// secretive holds the secret in all the places where a user may have it.
func secretive() map[string]any {
	secret := vectorSecret
	webhook := walletcrew.Webhook{
		ID: "Ab3xY", Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{walletcrew.AllEvents},
		Enabled: true, SignatureSecret: secret,
	}
	own := withSecret{
		Name: "own", Secret: secret, Pointer: &secret, List: []walletcrew.Secret{secret},
		ByName: map[string]walletcrew.Secret{"a": secret}, Any: secret,
	}
	own.Inner.Secret = secret
	return map[string]any{
		"a secret":                      secret,
		"a pointer to a secret":         &secret,
		"a slice":                       []walletcrew.Secret{secret, secret},
		"an array":                      [1]walletcrew.Secret{secret},
		"a map's values":                map[string]walletcrew.Secret{"a": secret},
		"a slice of any":                []any{secret, &secret},
		"a slice of slices":             [][]walletcrew.Secret{{secret}},
		"a struct":                      own,
		"a slice of structs":            []withSecret{own},
		"a webhook":                     webhook,
		"a pointer to a webhook":        &webhook,
		"a slice of webhooks":           []walletcrew.Webhook{webhook},
		"a slice of pointers":           []*walletcrew.Webhook{&webhook},
		"a map of webhooks":             map[string]walletcrew.Webhook{"a": webhook},
		"a struct with a webhook":       struct{ Hook walletcrew.Webhook }{webhook},
		"a list":                        walletcrew.WebhookList{Webhooks: []walletcrew.Webhook{webhook}},
		"a pointer to a list":           &walletcrew.WebhookList{Webhooks: []walletcrew.Webhook{webhook}},
		"an EnsureResult":               walletcrew.EnsureResult{Webhook: &webhook},
		"a pointer to an EnsureResult":  &walletcrew.EnsureResult{Webhook: &webhook},
		"a Rotation":                    walletcrew.Rotation{Old: &webhook, New: &webhook},
		"a pointer to a Rotation":       &walletcrew.Rotation{Old: &webhook, New: &webhook},
		"a struct with a Rotation":      struct{ Rotation *walletcrew.Rotation }{&walletcrew.Rotation{Old: &webhook}},
		"a slice of pointers to a list": []*walletcrew.WebhookList{{Webhooks: []walletcrew.Webhook{webhook}}},
	}
}

// assertHidden looks for the secret in plain text and in what fmt makes of strings with %x and %q.
func assertHidden(t *testing.T, text, how string) {
	t.Helper()
	for _, form := range []string{
		string(vectorSecret), string(vectorSecret[:16]), hex.EncodeToString([]byte(vectorSecret[:8])),
		strings.ToUpper(hex.EncodeToString([]byte(vectorSecret[:8]))), fmt.Sprintf("% x", []byte(vectorSecret[:8])),
		fmt.Sprintf("%d", []byte(vectorSecret[:8]))[1:20], base64.StdEncoding.EncodeToString([]byte(vectorSecret[:9])),
	} {
		require.NotContains(t, text, form, "a secret must not be seen through %s", how)
	}
}

func TestFmtNeverPrintsASecret(t *testing.T) {
	t.Parallel()
	for name, value := range secretive() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for verb := 'A'; verb <= 'z'; verb++ {
				if verb > 'Z' && verb < 'a' || verb == 'p' || verb == 'w' { // these two call no methods; go vet reports them
					continue
				}
				for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "#-", "# ", "12", ".3", "-80.2", "[1]", "+#- 0"} {
					format := "%" + flags + string(verb)
					assertHidden(t, fmt.Sprintf(format, value), format)
				}
			}
			for _, format := range []string{"no verb", "%", "%!", "%é", "%[2]d", "%.*d", "%v %v"} {
				assertHidden(t, fmt.Sprintf(format, value), format)
			}
			assertHidden(t, fmt.Errorf("it failed: %v %w", value, io.EOF).Error(), "Errorf")
			assertHidden(t, fmt.Sprint(value), "Sprint")
			assertHidden(t, fmt.Sprintln("x", value), "Sprintln")
			var out bytes.Buffer
			log.New(&out, "", 0).Print(value)
			assertHidden(t, out.String(), "package log")
		})
	}
}

func TestASecretPrintsAsRedacted(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		assert.Equal(t, "[redacted]", fmt.Sprintf(format, vectorSecret))
	}
	assert.Equal(t, "[redacted]", vectorSecret.String())
	assert.Contains(t, fmt.Sprintf("%+v", secretive()["a webhook"]), "SignatureSecret:[redacted]")
	assert.Contains(t, fmt.Sprintf("%+v", secretive()["a webhook"]), "Endpoint:https://shop.example/hook", "the other fields are printed")
	assert.Contains(t, fmt.Sprintf("%d", secretive()["a webhook"]), "Endpoint:https://shop.example/hook")
}

func TestStringOfASecretIsItsValue(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E", string(vectorSecret))
}

func TestSlogNeverPrintsASecret(t *testing.T) {
	t.Parallel()
	for name, value := range secretive() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for handler, newHandler := range map[string]func(io.Writer) slog.Handler{
				"slog.TextHandler": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
				"slog.JSONHandler": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
			} {
				var out bytes.Buffer
				l := slog.New(newHandler(&out))
				l.Info("hello", "value", value, slog.Group("group", "value", value))
				l.With("value", value).WithGroup("g").LogAttrs(context.Background(), slog.LevelError, "hello", slog.Any("value", value))
				assertHidden(t, out.String(), handler)
			}
		})
	}
	assert.Equal(t, slog.StringValue("[redacted]"), vectorSecret.LogValue())
}

func TestJSONNeverHoldsASecret(t *testing.T) {
	t.Parallel()
	for name, value := range secretive() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v1, err := json.Marshal(value)
			require.NoError(t, err)
			assertHidden(t, string(v1), "encoding/json")
			assert.Contains(t, string(v1), "[redacted]")
			v2, err := jsonv2.Marshal(value)
			require.NoError(t, err)
			assertHidden(t, string(v2), "go-json-experiment")
			assert.Contains(t, string(v2), "[redacted]")
		})
	}
}

// The places that the comment on Secret names. Where one of these fails, Go or a library has changed: then the comment must.
func TestTheSecretShowsWhereItsCommentSaysSo(t *testing.T) {
	t.Parallel()
	type hidden struct{ secret walletcrew.Secret }
	type held struct{ Secret walletcrew.Secret }
	mapped, err := json.Marshal(map[walletcrew.Secret]int{vectorSecret: 1})
	require.NoError(t, err)
	recorder := new(failures)
	assert.Equal(recorder, held{vectorSecret}, held{"another"})
	shown := map[string]string{
		"an unexported field":                 fmt.Sprintf("%v", hidden{vectorSecret}),
		"a pointer within, and a wrong verb":  fmt.Sprintf("%s", []any{&held{vectorSecret}}), //nolint:gosimple // it is this verb
		"%p":                                  fmt.Sprintf("%"+"p", any(vectorSecret)),
		"a map's key, in encoding/json":       string(mapped),
		"a diff of testify's":                 recorder.text,
		"a conversion, which you write there": string(vectorSecret),
	}
	if info, ok := debug.ReadBuildInfo(); ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool {
		return s.Key == "GOEXPERIMENT" && strings.Contains(s.Value, "jsonv2")
	}) {
		delete(shown, "a map's key, in encoding/json") // of which version 2 asks
	}
	for place, text := range shown {
		assert.Contains(t, text, string(vectorSecret), place)
	}
	assert.NotContains(t, fmt.Sprint(held{vectorSecret}), string(vectorSecret), "an exported field is safe")
}

// failures is a test that keeps what it is told.
type failures struct{ text string }

func (f *failures) Errorf(format string, args ...any) { f.text += fmt.Sprintf(format, args...) }

func TestGobRefusesASecret(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{"alone": vectorSecret, "a webhook": walletcrew.Webhook{SignatureSecret: vectorSecret}, "its pointer": &walletcrew.Webhook{SignatureSecret: vectorSecret}} {
		var out bytes.Buffer
		err := gob.NewEncoder(&out).Encode(value)
		require.ErrorContains(t, err, "a Secret can't be written by encoding/gob", name)
		assertHidden(t, out.String()+err.Error(), "gob: "+name)
	}
}

// The one way to end a program that prints a value of any type.
func TestAPanicWithASecretShowsNone(t *testing.T) {
	t.Parallel()
	defer func() { assertHidden(t, fmt.Sprint(recover()), "recover") }()
	panic(vectorSecret)
}

func TestASecretIsReadFromJSON(t *testing.T) {
	t.Parallel()
	var w walletcrew.Webhook
	require.NoError(t, json.Unmarshal([]byte(`{"signatureSecret":"`+vectorSecret+`"}`), &w))
	assert.Equal(t, string(vectorSecret), string(w.SignatureSecret))
	require.NoError(t, jsonv2.Unmarshal([]byte(`{"signatureSecret":"other"}`), &w))
	assert.Equal(t, "other", string(w.SignatureSecret))
}

func TestRedactedIsNotReadBackAsASecret(t *testing.T) {
	t.Parallel()
	written, err := json.Marshal(walletcrew.Webhook{ID: "Ab3xY", SignatureSecret: vectorSecret})
	require.NoError(t, err)
	require.ErrorContains(t, json.Unmarshal(written, new(walletcrew.Webhook)), "is lost", "a dump is not a source of secrets")
	require.Error(t, jsonv2.Unmarshal(written, new(walletcrew.Webhook)))
	require.Error(t, json.Unmarshal([]byte(`["[redacted]"]`), new([]walletcrew.Secret)))
	require.Error(t, json.Unmarshal([]byte(`{"a":"[redacted]"}`), new(map[string]walletcrew.Secret)))
	var secret walletcrew.Secret
	require.Error(t, secret.UnmarshalText([]byte("[redacted]")))
	assert.Empty(t, string(secret))
}

func TestPrintingAKeyOrASignatureShowsNoKeyMaterial(t *testing.T) {
	t.Parallel()
	key, err := walletcrew.NewKey(vectorSecret)
	require.NoError(t, err)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		assertHidden(t, fmt.Sprintf(format, key), format)
		assertHidden(t, fmt.Sprintf(format, *key), format)
		assert.Equal(t, "[redacted]", fmt.Sprintf(format, key), "a reader of %s sees that something is hidden", format)
		assertHidden(t, fmt.Sprintf(format, struct{ K *walletcrew.Key }{key}), format)
	}
}

// FuzzVerifySignature: a signature is accepted if and only if an independent computation accepts it.
func FuzzVerifySignature(f *testing.F) {
	f.Add([]byte(vectorBody), vectorHex, string(vectorSecret))
	f.Add([]byte(vectorBody), strings.ToUpper(vectorHex), string(vectorSecret))
	f.Add([]byte(vectorBody), vectorBase64, string(vectorSecret))
	f.Add([]byte(vectorBody), " sha256="+strings.TrimSuffix(vectorBase64, "=")+"\t", string(vectorSecret))
	f.Add([]byte(vectorBody), "sha256= "+vectorHex, string(vectorSecret))
	f.Add([]byte(vectorBody), vectorHex[:63]+"A", string(vectorSecret))
	f.Add([]byte("{}"), strings.Repeat("0", 64), "")
	f.Add([]byte(nil), walletcrew.Sign("", nil), "")
	f.Add([]byte("x"), walletcrew.Sign("s", []byte("x")), "s")
	f.Add([]byte("x"), base64.URLEncoding.EncodeToString(sum("s", []byte("x"))), "s")
	for _, length := range []int{63, 64, 65, 200} { // around SHA-256's block: a longer key is hashed first
		secret := walletcrew.Secret(strings.Repeat("k", length))
		f.Add([]byte(vectorBody), hex.EncodeToString(sum(secret, []byte(vectorBody))), string(secret))
	}
	f.Add([]byte(vectorBody), strings.Repeat(" ", 20)+vectorBase64, string(vectorSecret)) // 64 characters with the spaces
	f.Add([]byte(vectorBody), strings.ToUpper(vectorHex[:32])+vectorHex[32:], string(vectorSecret))
	f.Add([]byte(vectorBody), "sha256=sha256="+vectorHex, string(vectorSecret))
	f.Add([]byte(vectorBody), vectorBase64[:42]+"B=", string(vectorSecret)) // bits over the end
	f.Add([]byte(vectorBody), vectorHex, "[redacted]")
	f.Add([]byte(vectorBody), "SHA256="+dashed(strings.ToUpper(vectorHex)), string(vectorSecret))
	f.Add([]byte(vectorBody), base64.StdEncoding.EncodeToString([]byte(vectorHex)), string(vectorSecret))
	f.Add([]byte(vectorBody), base64.RawStdEncoding.EncodeToString([]byte(strings.ToUpper(vectorHex))), string(vectorSecret))
	f.Fuzz(func(t *testing.T, body []byte, header, secret string) {
		before := bytes.Clone(body)
		defer func() {
			if !bytes.Equal(before, body) {
				t.Errorf("the body was changed: %q, now %q", before, body)
			}
		}()
		isSecret := secret != "" && secret != "[redacted]"
		check := func(header string) {
			err := walletcrew.VerifySignature(body, header, walletcrew.Secret(secret))
			want := isSecret && hmac.Equal(decodeByLength(header), sum(walletcrew.Secret(secret), body))
			if (err == nil) != want {
				t.Errorf("VerifySignature says %v for the signature %q, an independent computation %v", err, header, want)
			}
			// Another secret beside it changes nothing.
			if err == nil && walletcrew.VerifySignature(body, header, "another", walletcrew.Secret(secret)) != nil {
				t.Errorf("a second secret made a good signature bad: %q", header)
			}
			// A prepared key says the same.
			if key, keyErr := walletcrew.NewKey(walletcrew.Secret(secret)); keyErr == nil {
				parsed, parseErr := walletcrew.ParseSignature(header)
				if parseErr == nil && key.Matches(body, parsed) != want {
					t.Errorf("the key says %v for the signature %q, an independent computation %v", !want, header, want)
				}
			} else if isSecret {
				t.Errorf("no key can be made of the secret %q: %v", secret, keyErr)
			}
		}
		check(header)
		if isSecret {
			mac := sum(walletcrew.Secret(secret), body)
			for _, good := range []string{hex.EncodeToString(mac), base64.StdEncoding.EncodeToString(mac), base64.RawURLEncoding.EncodeToString(mac)} {
				check(good)
				if err := walletcrew.VerifySignature(body, good, walletcrew.Secret(secret)); err != nil {
					t.Errorf("the signature %q of the body is refused: %v", good, err)
				}
			}
		}
	})
}

// decodeByLength reads a signature header without the package under test, digit by digit: 64 digits are hexadecimal, 95 with dashes, 43
// or 44 base64, 86 or 88 that of hexadecimal. Nil where it is none of them.
func decodeByLength(header string) []byte {
	const space = " \t\r\n"
	s := strings.Trim(header, space)
	switch {
	case strings.HasPrefix(s, "sha256="), strings.HasPrefix(s, "SHA256="):
		s = strings.Trim(s[7:], space)
	}
	if len(s) == 88 && s[86:] == "==" {
		s = s[:86]
	}
	if len(s) == 86 {
		if s = string(decodeDigits(s, 64)); s == "" {
			return nil
		}
		if len(s) != 64 {
			return nil
		}
	}
	if len(s) == 95 {
		pairs := strings.Split(s, "-")
		for _, pair := range pairs {
			if len(pair) != 2 {
				return nil
			}
		}
		s = strings.Join(pairs, "")
		if len(s) != 64 {
			return nil
		}
	}
	return decodeDigits(s, 32)
}

// decodeDigits reads n bytes of hexadecimal or base64.
func decodeDigits(s string, n int) []byte {
	var digits string
	switch {
	case len(s) == 64 && s == strings.ToLower(s):
		digits = "0123456789abcdef"
	case len(s) == 64:
		digits = "0123456789ABCDEF"
	case len(s) == 44 && s[43] == '=':
		s = s[:43]
		fallthrough
	case len(s) == 43, len(s) == 86:
		digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
		if strings.ContainsAny(s, "-_") {
			digits += "-_"
		} else {
			digits += "+/"
		}
	default:
		return nil
	}
	width := bits.Len(uint(len(digits) - 1)) // bits of a digit
	var out []byte
	var buffer, held int
	for i := range len(s) {
		d := strings.IndexByte(digits, s[i])
		if d < 0 {
			return nil
		}
		buffer, held = buffer<<width|d, held+width
		if held >= 8 {
			held -= 8
			out = append(out, byte(buffer>>held))
			buffer &= 1<<held - 1
		}
	}
	if buffer != 0 || len(out) != n {
		return nil
	}
	return out
}

// dashed writes a dash between each two digits.
func dashed(digits string) string {
	var pairs []string
	for i := 0; i < len(digits); i += 2 {
		pairs = append(pairs, digits[i:i+2])
	}
	return strings.Join(pairs, "-")
}

func sum(secret walletcrew.Secret, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(body)
	return h.Sum(nil)
}

func hashOf(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func TestWhiteSpaceIsTakenOffWhateverLengthItMakes(t *testing.T) {
	t.Parallel()
	body := []byte("{}")
	h := hmac.New(sha256.New, []byte(vectorSecret))
	h.Write(body)
	signature := base64.StdEncoding.EncodeToString(h.Sum(nil))
	for spaces := range 80 { // 20 make 64 characters, which is the length of hexadecimal
		require.NoError(t, walletcrew.VerifySignature(body, signature+strings.Repeat(" ", spaces), vectorSecret), "%d spaces", spaces)
		require.NoError(t, walletcrew.VerifySignature(body, strings.Repeat(" ", spaces)+"sha256="+signature, vectorSecret), "%d spaces", spaces)
	}
}
