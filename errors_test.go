package walletcrew_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go"
)

// apiErrorOf makes a GET fail with the answer, without retries.
func apiErrorOf(t *testing.T, answer roundTrip) *walletcrew.APIError {
	t.Helper()
	_, err := clientOn(t, answer, walletcrew.WithRetries(0, 0, 0)).Webhooks.Get(context.Background(), "Ab3xY")
	var api *walletcrew.APIError
	require.ErrorAs(t, err, &api)
	return api
}

func TestProblemDetailsAreInTheError(t *testing.T) {
	t.Parallel()
	const body = `{"type":"https://p.example/validation","title":"One or more validation errors occurred.","status":400,"detail":"See errors.",` +
		`"instance":"/i/7","errors":{"events":["must not be empty","must be known"],"endpoint":["must be https"]},"traceId":"00-1"}`
	e := apiErrorOf(t, always(400, body, "Content-Type", "application/problem+json", "X-Request-Id", "r-1"))
	assert.Equal(t, 400, e.StatusCode)
	assert.Equal(t, "https://p.example/validation", e.Type)
	assert.Equal(t, "One or more validation errors occurred.", e.Title)
	assert.Equal(t, "See errors.", e.Detail)
	assert.Equal(t, "/i/7", e.Instance)
	assert.Equal(t, map[string][]string{"events": {"must not be empty", "must be known"}, "endpoint": {"must be https"}}, e.Errors)
	assert.Equal(t, "GET", e.Method)
	assert.Equal(t, oneHookURL, e.URL)
	assert.Equal(t, "r-1", e.Header.Get("X-Request-Id"))
	assert.Len(t, e.Body, len(body))
	assert.Zero(t, e.RetryAfter)
	assert.Equal(t, 1, e.Attempts)
	assert.Equal(t, "walletcrew: GET /api/acme/webhooks/Ab3xY: 400 Bad Request: One or more validation errors occurred.; See errors.; "+
		"endpoint: must be https; events: must not be empty must be known", e.Error())
}

func TestTheTextOfAnAPIError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer roundTrip
		want   string
	}{
		"without a body":        {always(404, ""), "404 Not Found (if nothing is ever found, check the tenant's id and the base URL: this was app.neostore.cloud)"},
		"with nulls":            {always(409, `{"type":null,"title":null,"detail":null,"errors":null}`), "409 Conflict"},
		"with the status again": {always(404, `{"title":"Not Found","detail":"no such webhook"}`), "404 Not Found: no such webhook"},
		"with a detail that repeats the title": {
			always(409, `{"title":"Exists","detail":"Exists"}`), "409 Conflict: Exists",
		},
		"of the key": {
			always(401, ""), "401 Unauthorized (check the API key: it is invalid, revoked, or not one of app.neostore.cloud)",
		},
		"of a proxy": {
			always(407, ""), "407 Proxy Authentication Required (this is a proxy's answer: check the user and the password in its URL)",
		},
		"of the scope": {
			always(403, `{"title":"Scope missing"}`),
			"403 Forbidden: Scope missing (check the key's scopes: Webhook.Read to read, Webhook.Write to change)",
		},
		"of a firewall": {
			always(403, "<!DOCTYPE html>\n<HTML><head><Title lang=en>\n Attention Required! &amp; more | Cloudflare\n</TITLE>", "Content-Type", "text/html; charset=UTF-8"),
			"403 Forbidden: Attention Required! & more | Cloudflare",
		},
		"of a status without a name": {always(522, "<title>Timed out</title>"), "522: Timed out"},
		"with HTML without a title":  {always(500, "<html><body>Oops</body></html>"), "500 Internal Server Error"},
		"with a title that has no end": {
			always(500, "<title>Oops"), "500 Internal Server Error",
		},
		"with a title tag that has no end": {always(500, "<title"), "500 Internal Server Error"},
		"with a text":                      {always(500, "Oops"), "500 Internal Server Error"},
		"with JSON that is no object":      {always(500, `["Oops"]`), "500 Internal Server Error"},
		"with members of other types": {
			always(400, `{"type":7,"title":{"a":1},"detail":"d","instance":[],"errors":["x"]}`), "400 Bad Request: d",
		},
		"with one message instead of a list": {
			always(400, `{"errors":{"events":"is empty","other":7,"endpoint":[1]}}`), "400 Bad Request: events: is empty",
		},
		"with a wait":           {always(429, "", "Retry-After", "90"), "429 Too Many Requests, retry after 1m30s"},
		"of a redirect":         {always(302, "", "Location", "https://other.example"), "302 Found (not followed: it leads to another host, to http or to another method; check the base URL)"},
		"of an informal status": {always(199, ""), "199"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, "walletcrew: GET /api/acme/webhooks/Ab3xY: "+c.want, apiErrorOf(t, c.answer).Error())
		})
	}
}

func TestAClientWithoutAKeyIsToldSo(t *testing.T) {
	t.Parallel()
	for _, answer := range []roundTrip{always(401, ""), always(401, `{"detail":"Not authenticated."}`)} {
		client, err := walletcrew.NewClient("acme", walletcrew.WithHTTPClient(&http.Client{Transport: answer}))
		require.NoError(t, err)
		_, err = client.Webhooks.Get(context.Background(), "Ab3xY")
		require.ErrorIs(t, err, walletcrew.ErrUnauthorized)
		require.ErrorContains(t, err, "no API key is set")
		assert.NotContains(t, err.Error(), "check the API key")
		_, err = clientOn(t, answer).Webhooks.Get(context.Background(), "Ab3xY")
		require.ErrorIs(t, err, walletcrew.ErrUnauthorized)
		assert.NotContains(t, err.Error(), "is set")
	}
}

// requireOneLine asserts that a text can go into a log as it is.
func requireOneLine(t *testing.T, text string) {
	t.Helper()
	require.True(t, utf8.ValidString(text), "an error's text is valid UTF-8: %q", text)
	require.Falsef(t, strings.ContainsFunc(text, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }), "an error is one line of printable characters: %q", text)
	require.LessOrEqual(t, len(text), 1500, "an error's text is short")
}

func TestAHostileAnswerMakesOneShortLine(t *testing.T) {
	t.Parallel()
	for name, hostile := range map[string]string{
		"line breaks":           "a\r\nlevel=INFO msg=\"all is well\"\n",
		"control characters":    "a\x1b[2J\x00\x07\x7fb",
		"other line breaks":     "a\u2028b\u2029c\u0085d\v\f",
		"bidirectional marks":   "a\u202eb\u2066c\u200bd\ufeffe",
		"100 KB":                strings.Repeat("x", 100_000),
		"100 KB of line breaks": strings.Repeat("\n", 100_000),
		"60 KB of umlauts":      strings.Repeat("é", 30_000),
		"other planes":          strings.Repeat("😀", 1000),
		"private use":           "\ue000\U0010FFFF",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := json.Marshal(hostile)
			require.NoError(t, err)
			for _, body := range []string{
				fmt.Sprintf(`{"title":%s}`, text), fmt.Sprintf(`{"detail":%s,"title":%s}`, text, text), fmt.Sprintf(`{"errors":{%s:[%s,%s]}}`, text, text, text),
				"<title>" + hostile + "</title>", hostile, "<title>" + hostile + "\xff\xfe</title>",
			} {
				e := apiErrorOf(t, always(400, body, "Content-Type", hostile[:1]))
				requireOneLine(t, e.Error())
				assert.LessOrEqual(t, len(e.Body), 64<<10)
			}
		})
	}
}

func TestAHostileTransportErrorMakesOneShortLine(t *testing.T) {
	t.Parallel()
	_, err := clientOn(t, failing(errors.New("a\nb\x1b[2J"+strings.Repeat("x", 10_000)+"\xff"))).Webhooks.Get(context.Background(), "Ab3xY")
	requireOneLine(t, err.Error())
}

func TestSentinels(t *testing.T) {
	t.Parallel()
	sentinels := map[string]error{
		"ErrBadRequest": walletcrew.ErrBadRequest, "ErrUnauthorized": walletcrew.ErrUnauthorized, "ErrForbidden": walletcrew.ErrForbidden,
		"ErrNotFound": walletcrew.ErrNotFound, "ErrConflict": walletcrew.ErrConflict, "ErrRateLimited": walletcrew.ErrRateLimited,
		"ErrServer": walletcrew.ErrServer,
	}
	want := map[int]string{
		400: "ErrBadRequest", 422: "ErrBadRequest", 401: "ErrUnauthorized", 403: "ErrForbidden", 404: "ErrNotFound", 409: "ErrConflict",
		429: "ErrRateLimited", 500: "ErrServer", 502: "ErrServer", 503: "ErrServer", 520: "ErrServer", 526: "ErrServer", 599: "ErrServer",
		402: "", 405: "", 418: "", 499: "", 301: "",
	}
	for status, name := range want {
		e := apiErrorOf(t, always(status, "{}", "Content-Type", "application/problem+json"))
		wrapped := fmt.Errorf("wrapped: %w", e)
		for other, sentinel := range sentinels {
			assert.Equal(t, other == name, errors.Is(wrapped, sentinel), "is %d an %s?", status, other)
			assert.True(t, strings.HasPrefix(sentinel.Error(), "walletcrew: "))
		}
		require.NotErrorIs(t, e, io.EOF)
	}
}

func TestASuccessWhoseBodyCannotBeReadSaysThatItIsOne(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	spec := walletcrew.WebhookSpec{Endpoint: "https://shop.example", Events: []walletcrew.EventName{"*"}}
	for name, c := range map[string]struct {
		answer roundTrip
		want   string
	}{
		"it breaks off":     {brokenBody(200), "the answer was a success, but its body can't be read: unexpected EOF"},
		"it isn't JSON":     {always(200, "<html>secret page</html>"), "the answer was a success, but its body can't be decoded: it is not JSON (at byte"},
		"it is a page":      {always(200, "<html>secret page</html>", "Content-Type", "text/html; charset=utf-8"), "it is not JSON (at byte 0) (it is text/html; charset=utf-8: is app.neostore.cloud the API?)"},
		"it doesn't fit":    {always(200, `{"id":"Ab3xY","events":"topsecret"}`), `the answer was a success, but its body can't be decoded: member "events" doesn't fit the type []walletcrew.EventName`},
		"it is over 10 MiB": {endless(200, new(int64)), "the answer's body is over 10 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := clientOn(t, c.answer)
			_, err := client.Webhooks.Create(ctx, spec)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "(the call may have been carried out)")
			require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
			assert.NotContains(t, err.Error(), "secret", "an error quotes no body")
			_, err = client.Webhooks.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Enabled: new(true)})
			require.ErrorContains(t, err, c.want)
			require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
			_, err = client.Webhooks.Get(ctx, "Ab3xY")
			require.ErrorContains(t, err, c.want)
			require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "a GET changes nothing")
		})
	}
}

func TestATruncatedAnswerOfARealServer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, hookJSON)
	}))
	defer server.Close()
	client := clientOn(t, &http.Transport{}, walletcrew.WithBaseURL(server.URL))
	_, err := client.Webhooks.Create(context.Background(), walletcrew.WebhookSpec{Endpoint: "https://shop.example", Events: []walletcrew.EventName{"*"}})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
	assert.Equal(t, 1, attemptsOf(t, err), "a create isn't tried again")
	_, err = client.Webhooks.Get(context.Background(), "Ab3xY")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, 4, attemptsOf(t, err), "a GET is")
}

// endless answers with a body that has no end, and counts what is read of it.
func endless(status int, read *int64) roundTrip {
	return func(req *http.Request) (*http.Response, error) {
		resp := respond(req, status, "")
		resp.ContentLength = -1
		resp.Body = io.NopCloser(readFunc(func(p []byte) (int, error) {
			for i := range p {
				p[i] = ' '
			}
			*read += int64(len(p))
			return len(p), nil
		}))
		return resp, nil
	}
}

func TestAnEndlessBodyIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	for status, most := range map[int]int64{200: 11 << 20, 400: 256 << 10, 503: 256 << 10, 302: 256 << 10} {
		var read int64
		_, err := clientOn(t, endless(status, &read), walletcrew.WithRetries(0, 0, 0)).Webhooks.Get(context.Background(), "Ab3xY")
		require.Error(t, err)
		assert.LessOrEqual(t, read, most, "bytes read of a %d", status)
	}
}

func TestABodyOfJustUnder10MiBIsRead(t *testing.T) {
	t.Parallel()
	body := hookJSON + strings.Repeat(" ", 10<<20-len(hookJSON))
	got, err := clientOn(t, always(200, body)).Webhooks.Get(context.Background(), "Ab3xY")
	require.NoError(t, err)
	assert.Equal(t, theHook(), got)
	_, err = clientOn(t, always(200, body+" ")).Webhooks.Get(context.Background(), "Ab3xY")
	require.ErrorContains(t, err, "over 10 MiB")
}

func TestTheBodyOfAnErrorIsCutAt64KiB(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]int{0: 0, 1: 1, 64 << 10: 64 << 10, 64<<10 + 1: 64 << 10, 10 << 20: 64 << 10} {
		e := apiErrorOf(t, always(500, strings.Repeat("x", size)))
		assert.Len(t, e.Body, want, "of %d bytes", size)
	}
	e := apiErrorOf(t, brokenBody(500))
	assert.JSONEq(t, `"{\"id\":"`, fmt.Sprintf("%q", e.Body), "what came of a body that broke off serves")
}

func TestARequestErrorNamesTheCallAndTheCause(t *testing.T) {
	t.Parallel()
	_, err := clientOn(t, failing(errReset)).Webhooks.Get(context.Background(), "Ab3xY")
	require.EqualError(t, err, "walletcrew: GET /api/acme/webhooks/Ab3xY: read tcp: connection reset by peer (after 4 attempts)")
	err = clientOn(t, failing(errReset)).Do(context.Background(), "POST", "things?a=b", nil, nil)
	require.EqualError(t, err, "walletcrew: POST /api/acme/things: read tcp: connection reset by peer (the call may have been carried out)")
	var failed *walletcrew.RequestError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, walletcrew.ProductionURL+"/api/acme/things?a=b", failed.URL)
	require.NotErrorIs(t, err, walletcrew.ErrServer)
}

func TestRotationErrorsNameThePackageOnceAndKeepTheirKind(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	oldHook, newHook := hookJSON, strings.NewReplacer(`"Ab3xY"`, `"Zz9zZ"`, `true`, `false`, "s-123", "s-456").Replace(hookJSON)
	newHookURL := hooksURL + "/Zz9zZ"
	for name, c := range map[string]struct {
		oldGet, newGet, newPatch, oldDelete int
		want                                error
		text                                string
	}{
		"the successor is gone":          {200, 404, 0, 0, walletcrew.ErrNotFound, "the successor"},
		"the predecessor can't be read":  {403, 200, 0, 0, walletcrew.ErrForbidden, "the predecessor"},
		"the successor can't be enabled": {200, 200, 500, 0, walletcrew.ErrOutcomeUnknown, "enable the successor"},
		"the old one can't be deleted":   {200, 200, 200, 403, walletcrew.ErrForbidden, "delete the predecessor"},
		"the old one is gone meanwhile":  {200, 200, 200, 404, nil, ""},
		"everything works":               {200, 200, 200, 204, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client := newMockedPlatform(t)
			p.answer("GET", oneHookURL, c.oldGet, oldHook)
			p.answer("GET", newHookURL, c.newGet, newHook, "Content-Type", "application/json")
			p.answer("PATCH", newHookURL, c.newPatch, strings.Replace(newHook, "false", "true", 1))
			p.answer("DELETE", oneHookURL, c.oldDelete, "", "Content-Type", "application/problem+json")
			p.answer("GET", hooksURL, 200, "["+newHook+"]")
			err := client.Webhooks.FinishRotation(ctx, "Ab3xY", "Zz9zZ")
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, "walletcrew: finish the rotation: "+c.text)
			assert.Equal(t, 1, strings.Count(err.Error(), "walletcrew:"), "the package is named once: %s", err)
		})
	}
	p, client := newMockedPlatform(t)
	requireRefused(t, client.Webhooks.FinishRotation(ctx, "Ab3xY", "Ab3xY"), "newID", p)
	p.answer("GET", oneHookURL, 200, oldHook)
	p.answer("GET", newHookURL, 200, strings.Replace(newHook, "shop.example", "other.example", 1))
	var invalid *walletcrew.ValidationError
	require.ErrorAs(t, client.Webhooks.FinishRotation(ctx, "Ab3xY", "Zz9zZ"), &invalid)
	for _, sent := range p.Sent {
		assert.Equal(t, "GET", sent.Method, "another endpoint's webhook isn't touched")
	}
}

func TestARotationCreatesADisabledSuccessor(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p, client := newMockedPlatform(t)
	p.answer("GET", oneHookURL, 200, hookJSON)
	p.answer("GET", hooksURL, 200, "["+hookJSON+"]")
	p.answer("POST", hooksURL, 200, strings.NewReplacer(`"Ab3xY"`, `"Zz9zZ"`, "s-123", "s-456", "true", "false").Replace(hookJSON))
	rotation, err := client.Webhooks.Rotate(ctx, "Ab3xY")
	require.NoError(t, err)
	assert.Equal(t, []walletcrew.Secret{"s-123", "s-456"}, rotation.Secrets())
	assert.JSONEq(t, `{"endpoint":"https://shop.example/hook","events":["Pass:*","Customer:Upserted"],"description":"the shop","enabled":false}`, p.Sent[2].Body)

	p.answer("POST", hooksURL, 500, "")
	_, err = client.Webhooks.Rotate(ctx, "Ab3xY")
	require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
	p.answer("GET", oneHookURL, 404, "{}", "Content-Type", "application/problem+json")
	_, err = client.Webhooks.Rotate(ctx, "Ab3xY")
	require.ErrorIs(t, err, walletcrew.ErrNotFound)
}

func TestAnErrorSaysWhatToDoWhereTheServerDoesNot(t *testing.T) {
	t.Parallel()
	const checkKey, notFollowed = "check the API key", "not followed"
	assert.ErrorContains(t, apiErrorOf(t, always(401, "")), checkKey)
	assert.NotContains(t, apiErrorOf(t, always(401, `{"detail":"The key has expired."}`)).Error(), checkKey, "the server has said what is wrong")
	for _, status := range []int{300, 304, 307, 399} {
		assert.ErrorContains(t, apiErrorOf(t, always(status, "")), notFollowed, "status %d", status)
	}
	assert.NotContains(t, apiErrorOf(t, always(400, "")).Error(), notFollowed)
}

func TestAnErrorsTextSaysHowOftenAndThatItMayHaveHappened(t *testing.T) {
	t.Parallel()
	const unknown = "(the call may have been carried out)"
	for name, failure := range map[string]roundTrip{"an answer": always(503, ""), "no answer": failing(errReset)} {
		client := clientOn(t, failure, walletcrew.WithRetries(1, 0, 0))
		err := client.Webhooks.Delete(context.Background(), "Ab3xY")
		require.ErrorContains(t, err, "after 2 attempts", name)
		require.ErrorContains(t, err, unknown, name)
		require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown, name)
		require.NotErrorIs(t, err, walletcrew.ErrNotFound, "%s: it is no other kind", name)
		require.NotErrorIs(t, err, context.Canceled, name)
		_, err = client.Webhooks.Get(context.Background(), "Ab3xY")
		require.Error(t, err)
		assert.NotContains(t, err.Error(), unknown, "%s: reading changes nothing", name)
		require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown, name)
	}
}

func TestAStepsErrorIsOfNoOtherKind(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p, client := newMockedPlatform(t)
	p.answer("GET", oneHookURL, 404, "{}", "Content-Type", "application/problem+json")
	err := client.Webhooks.FinishRotation(ctx, "Zz9zZ", "Ab3xY")
	require.ErrorIs(t, err, walletcrew.ErrNotFound)
	require.NotErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "only a read failed")

	p.answer("PATCH", oneHookURL, 204, "")
	_, err = client.Webhooks.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Enabled: new(true)})
	require.ErrorIs(t, err, walletcrew.ErrNotFound, "it can't be read back")
	require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown, "but it was patched")
	require.NotErrorIs(t, err, walletcrew.ErrConflict)
}

// FuzzClientResponse: whatever the server answers, there is a value or an error, never both or neither, and no more is read or
// kept than the limits say.
func FuzzClientResponse(f *testing.F) {
	f.Add(200, "Content-Type", "application/json", []byte(hookJSON), uint16(1))
	f.Add(200, "X-continuationToken", "t", []byte("["+hookJSON+"]"), uint16(1))
	f.Add(200, "X-continuationToken", "t", []byte(`{"items":[]}`), uint16(1))
	f.Add(204, "", "", []byte(nil), uint16(0))
	f.Add(400, "Content-Type", "application/problem+json", []byte(`{"title":"a\nb","errors":{"a":["b"]}}`), uint16(1))
	f.Add(403, "Content-Type", "text/html", []byte("<title>A &amp; B</title>"), uint16(700))
	f.Add(429, "Retry-After", "99999999999", []byte(`{}`), uint16(1))
	f.Add(503, "Retry-After", "Wed, 21 Oct 2099 07:28:00 GMT", []byte("x"), uint16(60000))
	f.Add(307, "Location", "/round", []byte(""), uint16(1))
	f.Add(302, "Location", "http://other.example/%zz", []byte(""), uint16(1))
	f.Add(200, "", "", []byte(strings.Repeat("[", 20000)), uint16(1))
	f.Add(500, "", "", []byte(mockedKey+`\u0`), uint16(6000))
	f.Add(401, "X-Echo", mockedKey, []byte(`{"title":"`+strings.ReplaceAll(mockedKey, "k", `\u006b`)+`"}`), uint16(1))
	f.Add(403, "Content-Type", "text/html", []byte("<TITLE>"+strings.ReplaceAll(mockedKey, "k", "&#107;")), uint16(3000))
	f.Add(101, "Upgrade", "x", []byte("{}"), uint16(1))
	f.Add(200, "", "", []byte("[{},"), uint16(60000))
	f.Add(200, "", "", []byte(" "), uint16(65535))
	f.Add(200, "", "", []byte(`{"id":"Ab3xY","signatureSecret":"[redacted]"}`), uint16(1))
	f.Add(429, "Retry-After", " -1 ", []byte(`null`), uint16(1))
	f.Add(404, "", "", []byte(`{"errors":{"a":"b","c":[1],"d":["e",""]}}`), uint16(1))
	f.Fuzz(func(t *testing.T, status int, name, value string, body []byte, repeat uint16) {
		var read int64
		answer := roundTrip(func(req *http.Request) (*http.Response, error) {
			resp := respond(req, status, "")
			if name != "" {
				resp.Header.Set(name, value)
			}
			left := int64(len(body)) * int64(repeat)
			resp.ContentLength = -1
			resp.Body = io.NopCloser(readFunc(func(p []byte) (int, error) {
				if left == 0 {
					return 0, io.EOF
				}
				at := int(-left % int64(len(body)))
				n := copy(p, body[(at+len(body))%len(body):])
				left -= int64(n)
				read += int64(n)
				return n, nil
			}))
			return resp, nil
		})
		client := clientOn(t, answer, walletcrew.WithRetries(1, 0, 0))
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		allocated := allocatedBytes()
		check := func(got bool, err error) {
			t.Helper()
			// All of it, what is free again included.
			now := allocatedBytes()
			if now-allocated > 64<<20+256*uint64(read) {
				t.Fatalf("%d bytes were allocated for an answer of %d", now-allocated, read)
			}
			defer func() { allocated = allocatedBytes() }()
			if got == (err != nil) {
				t.Fatalf("a value or an error, not %v and %v", got, err)
			}
			if read > 2*11<<20+2*11*(256<<10) {
				t.Fatalf("%d bytes were read", read)
			}
			read = 0
			if err == nil {
				return
			}
			requireOneLine(t, err.Error())
			var api *walletcrew.APIError
			var failed *walletcrew.RequestError
			if !errors.As(err, &api) && !errors.As(err, &failed) {
				t.Fatalf("the error is of no kind: %T", err)
			}
			if api != nil {
				if len(api.Body) > 64<<10 {
					t.Fatalf("%d bytes of the body are kept", len(api.Body))
				}
				if bytes.Contains(api.Body, []byte(mockedKey)) {
					t.Fatal("the body holds the key")
				}
			}
			if strings.Contains(err.Error(), mockedKey) {
				t.Fatal("the error holds the key")
			}
		}
		w, err := client.Webhooks.Get(ctx, "Ab3xY")
		check(w != nil, err)
		list, err := client.Webhooks.List(ctx, nil)
		check(list != nil, err)
		w, err = client.Webhooks.Patch(ctx, "Ab3xY", walletcrew.WebhookPatch{Enabled: new(true)})
		check(w != nil, err)
		w, err = client.Webhooks.Create(ctx, walletcrew.WebhookSpec{Endpoint: "https://shop.example", Events: []walletcrew.EventName{"*"}})
		check(w != nil, err)
		err = client.Webhooks.Delete(ctx, "Ab3xY")
		check(err == nil, err)
		var out any
		err = client.Do(ctx, "QUERY", "things", nil, &out)
		check(err == nil, err)
	})
}

func allocatedBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
