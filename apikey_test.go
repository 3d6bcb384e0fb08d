package walletcrew_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

// logged runs what a program may do and returns what was logged, at least at level, and every error.
func logged(t *testing.T, level slog.Level, key string, answer roundTrip) (string, []error) {
	t.Helper()
	var out bytes.Buffer
	client := clientOn(t, answer, walletcrew.WithAPIKey(key),
		walletcrew.WithLogger(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level}))), walletcrew.WithRetries(1, 0, time.Second))
	ctx := context.Background()
	var errs []error
	_, err := client.Webhooks.Get(ctx, "Ab3xY")
	errs = append(errs, err)
	_, err = client.Webhooks.List(ctx, nil)
	errs = append(errs, err)
	_, err = client.Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: "https://shop.example", Events: []walletcrew.EventName{"*"}})
	errs = append(errs, err)
	_, err = client.Webhooks.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Enabled: new(true)})
	errs = append(errs, err, client.Webhooks.Delete(ctx, "Ab3xY"))
	_, err = client.Webhooks.Get(ctx, key)
	errs = append(errs, err, client.Do(ctx, "GET", "x?key="+url.QueryEscape(key), nil, nil))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	return out.String(), append(errs, client.Do(cancelled, "GET", url.PathEscape(key), nil, nil))
}

func TestTheKeyIsInNoLogLineAndInNoError(t *testing.T) {
	t.Parallel()
	for _, key := range []string{mockedKey, `aB3+/x==&'<"\>`, "Zm9v+YmFy/YmF6=="} {
		marshalled, err := json.Marshal(key)
		require.NoError(t, err)
		quoted := strings.Trim(string(marshalled), `"`)
		spellings := []string{
			key, quoted, strings.ReplaceAll(quoted, "+", `\u002B`), strings.ReplaceAll(key, "/", `\/`),
			html.EscapeString(key), strings.ReplaceAll(html.EscapeString(key), "+", "&#x2B;"), url.QueryEscape(key), url.PathEscape(key),
		}
		problem := fmt.Sprintf(`{"type":"about:%[1]s","title":"Key %[1]s","detail":"%[1]s%[1]s","instance":"/%[1]s","errors":{"a%[1]s":["%[1]s","x"],"b":"%[1]s"},"other":"%[1]s"}`, quoted)
		dotNet := strings.ReplaceAll(problem, "+", `\u002B`)
		long := strings.Repeat("x", 64<<10-len(key)/2) + key
		longTitle := "<title>" + strings.Repeat("x", 200-len(key)/2) + key + "</title>"
		longDetail := `{"detail":"` + strings.Repeat("x", 1000-len(key)/2) + quoted + `"}`
		many := strings.Repeat(key, 64<<10/len(key)+1)
		answers := map[string]roundTrip{
			"success":                               always(200, hookJSON),
			"success that repeats it":               always(200, `{"id":"`+quoted+`"`),
			"problem details":                       always(400, problem, "X-Echo", key, "Set-Cookie", "k="+key),
			"problem details, escaped":              always(400, dotNet),
			"retries":                               always(503, problem, "X-Echo", key),
			"HTML":                                  always(403, "<html><title>Key "+html.EscapeString(key)+"</title>"+key+"</html>", "Content-Type", "text/html"),
			"HTML, escaped":                         always(403, "<html><title>Key "+strings.ReplaceAll(html.EscapeString(key), "+", "&#x2B;")+"</title>", "Content-Type", "text/html"),
			"HTML cut in the title":                 always(403, longTitle, "Content-Type", "text/html"),
			"a body cut in the key":                 always(500, long),
			"a body full of it":                     always(500, many),
			"a text cut in the key":                 always(500, longDetail),
			"a redirect":                            always(302, "", "Location", "https://other.example/?key="+url.QueryEscape(key)),
			"a transport's error":                   failing(fmt.Errorf("proxy refused the header X-API-KEY: %s (%w)", key, errReset)),
			"a transport's error, not passing":      failing(&tls.CertificateVerificationError{Err: errors.New(key)}),
			"a transport that panics not but fails": failing(&url.Error{Op: "Get", URL: "https://h/?k=" + url.QueryEscape(key), Err: errors.New("x " + key)}),
		}
		for name, answer := range answers {
			t.Run(name+" "+key, func(t *testing.T) {
				t.Parallel()
				text, errs := logged(t, slog.LevelDebug, key, answer)
				assert.NotEmpty(t, text)
				hidden := func(text, where string) {
					t.Helper()
					for _, s := range spellings {
						require.NotContains(t, text, s, "the key must not be in %s", where)
					}
					// Where a text was cut, no more than a few characters of it.
					require.False(t, strings.HasSuffix(strings.TrimRight(text, "…\x00 "), key[:len(key)/2]), "the key's first half must not be in %s", where)
				}
				hidden(text, "the log")
				for _, err := range errs {
					if err == nil {
						continue
					}
					hidden(err.Error(), "an error's text")
					hidden(fmt.Sprintf("%+v", err), "%+v of an error")
					hidden(fmt.Sprintf("%#v", err), "%#v of an error")
					if failed, ok := errors.AsType[*walletcrew.RequestError](err); ok {
						hidden(failed.URL, "RequestError.URL")
						for cause := failed.Err; cause != nil; cause = errors.Unwrap(cause) {
							hidden(cause.Error(), "a cause")
						}
					}
					if api, ok := errors.AsType[*walletcrew.APIError](err); ok {
						hidden(api.Title, "APIError.Title")
						hidden(api.Detail, "APIError.Detail")
						hidden(string(api.Body), "APIError.Body")
						hidden(api.URL, "APIError.URL")
						hidden(fmt.Sprintf("%#v %v %v", *api, api.Header, api.Errors), "a field of an APIError")
						assert.LessOrEqual(t, len(api.Body), 64<<10)
					}
				}
			})
		}
	}
}

func TestTheKeyIsFoundHoweverOftenItIsEscaped(t *testing.T) {
	t.Parallel()
	inJSON := func(s string) string { b, _ := json.Marshal(s); return string(b[1 : len(b)-1]) }
	hex := func(format string) func(string) string {
		return func(s string) string {
			var b strings.Builder
			for _, c := range []byte(s) {
				fmt.Fprintf(&b, format, c)
			}
			return b.String()
		}
	}
	plus := func(instead string) func(string) string {
		return func(s string) string { return strings.ReplaceAll(s, "+", instead) }
	}
	spellings := map[string]func(string) string{
		"as it is": func(s string) string { return s }, "in JSON": inJSON, "in HTML": html.EscapeString, "in a URL": url.QueryEscape, "in upper case": strings.ToUpper,
		"all in URL escapes": hex("%%%02x"), "all in JSON escapes": hex(`\u%04X`), "all in HTML escapes": hex("&#x%X;"), "all in decimals": hex("&#%d"),
		"all in hexadecimal": hex(`\x%02x`), "all in octal": hex(`\%03o`), "all in braces": hex(`\u{%x}`), "all long": hex(`\U%08x`), "in a script's": hex("%%u%04X"),
		"with a name": plus("&plus;"), "with a backslash": plus(`\+`), "with JSON's": plus(`\u002B`), "with hexadecimal": plus(`\x2b`), "with a URL's": plus("%2b"),
	}
	for _, key := range []string{"aB3+/x==" + `&'<"\>`, "Zm9v+YmFy/YmF6==", "key%2Bwith%2Bescapes"} {
		for outer, escape := range spellings {
			if outer == "in upper case" { // which no escape survives
				continue
			}
			for inner, first := range spellings {
				t.Run(outer+" around "+inner+" "+key, func(t *testing.T) {
					t.Parallel()
					echo := "x " + escape(first(key)) + " y"
					quoted, err := json.Marshal(echo)
					require.NoError(t, err)
					for _, answer := range []roundTrip{
						always(400, fmt.Sprintf(`{"title":%[1]s,"detail":%[1]s,"errors":{%[1]s:[%[1]s]}}`, quoted), "X-Echo", echo),
						always(400, "<title>"+echo+"</title>", "Content-Type", "text/html"),
						always(400, echo), always(400, echo+strings.Repeat("z", 200_000)),
						failing(errors.New(echo)), failing(quietError{errors.New(echo)}),
					} {
						_, err := clientOn(t, answer, walletcrew.WithAPIKey(key), walletcrew.WithRetries(0, 0, 0)).Webhooks.Get(context.Background(), "Ab3xY")
						require.Error(t, err)
						texts := []string{err.Error()}
						for cause := err; cause != nil; cause = errors.Unwrap(cause) {
							texts = append(texts, cause.Error())
						}
						if api, ok := errors.AsType[*walletcrew.APIError](err); ok {
							texts = append(texts, api.Title, api.Detail, string(api.Body), fmt.Sprint(api.Header), fmt.Sprint(api.Errors))
						}
						for _, text := range texts {
							require.NotContains(t, text, escape(first(key)))
							require.NotContains(t, text, first(key))
							require.NotContains(t, text, key)
						}
					}
				})
			}
		}
	}
}

// quietError has a text that doesn't tell its cause's.
type quietError struct{ error }

func (quietError) Error() string   { return "quiet" }
func (e quietError) Unwrap() error { return e.error }

func TestWhatIsLeftOfAnErrorThatHeldTheKeyStillHelps(t *testing.T) {
	t.Parallel()
	e := apiErrorOf(t, always(400, `{"title":"Bad key key-4f9c2d71e8","detail":"see \\u006bey-4f9c2d71e8","instance":"/i/7"}`, "X-Request-Id", "r-1", "X-Key-4F9C2D71E8", "x"))
	assert.Equal(t, "Bad key [redacted]", e.Title)
	assert.Equal(t, "[redacted: the API key was in this text]", e.Detail)
	assert.Equal(t, "[redacted: the API key was in this text]", string(e.Body))
	assert.Equal(t, "/i/7", e.Instance)
	assert.Equal(t, "r-1", e.Header.Get("X-Request-Id"))
	assert.NotContains(t, strings.ToLower(fmt.Sprint(e.Header)), mockedKey)
}

func TestAShortKeyGarblesNoMessage(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{"e": "See errors.", "errors": "See errors.", "a-key.8b": "See errors."} {
		err := clientOn(t, always(400, `{"detail":"See errors."}`), walletcrew.WithAPIKey(key)).Do(context.Background(), "GET", "things", nil, nil)
		require.EqualError(t, err, "walletcrew: GET /api/acme/things: 400 Bad Request: "+want)
	}
}

func TestATextWithEscapesWithoutEndIsNotShown(t *testing.T) {
	t.Parallel()
	e := apiErrorOf(t, always(400, "%"+strings.Repeat("25", 30)+"41"))
	assert.Equal(t, "[redacted: the API key was in this text]", string(e.Body), "nobody can say what it becomes")
}

func TestABodyThatIsCutHoldsNoBeginningOfTheKey(t *testing.T) {
	t.Parallel()
	for pad := range len(mockedKey) { // wherever the cut comes
		body := strings.Repeat("x", pad) + strings.Repeat(mockedKey, 20_000)
		e := apiErrorOf(t, always(500, body))
		assert.NotEmpty(t, e.Body)
		assert.NotContains(t, string(e.Body), mockedKey[:2], "cut after %d and whole keys", pad)
	}
}

func TestABodyOfNothingButLongKeysIsHidden(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("k", 8<<10)
	err := clientOn(t, always(500, strings.Repeat(key, 30)), walletcrew.WithAPIKey(key), walletcrew.WithRetries(0, 0, 0)).
		Webhooks.Delete(context.Background(), "Ab3xY")
	var api *walletcrew.APIError
	require.ErrorAs(t, err, &api)
	assert.NotContains(t, string(api.Body), "kk")
}

func TestAHiddenErrorKeepsItsCause(t *testing.T) {
	t.Parallel()
	client := clientOn(t, failing(fmt.Errorf("header %s: %w", mockedKey, errRefused)))
	_, err := client.Webhooks.Get(context.Background(), "Ab3xY")
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "errors.Is works where the text had to be changed")
	require.NotErrorIs(t, err, io.EOF, "and finds nothing that isn't there")
	require.ErrorContains(t, err, "header [redacted]: dial tcp: connection refused")
}

func TestPrintingAClientShowsNoKey(t *testing.T) {
	t.Parallel()
	client := clientOn(t, always(200, "[]"))
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		for _, v := range []any{client, *client, client.Webhooks, *client.Webhooks, struct{ C *walletcrew.Client }{client}} {
			text := fmt.Sprintf(format, v)
			assert.NotContains(t, text, mockedKey)
			assert.NotContains(t, text, fmt.Sprintf("%x", mockedKey))
		}
	}
}

func TestTheSecretIsInNoLogLine(t *testing.T) {
	t.Parallel()
	text, errs := logged(t, slog.LevelDebug, mockedKey, always(200, strings.Replace(hookJSON, `"id"`, `"id":"Ab3xY","broken`, 1)))
	for _, err := range errs {
		if err != nil {
			text += err.Error()
		}
	}
	assert.NotContains(t, text, "s-123")
}
