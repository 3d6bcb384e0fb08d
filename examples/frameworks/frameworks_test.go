package frameworks

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/gin-gonic/gin"
	"github.com/gofiber/fiber/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func init() { gin.SetMode(gin.ReleaseMode) }

const (
	secret = walletcrew.Secret("k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E")
	target = "/webhooks/walletcrew"
)

// A sender hands a request to one framework's receiver and returns the status it answers.
type sender func(t *testing.T, r *http.Request) int

// receivers are all the examples, around the same function.
func receivers(t *testing.T, handle receiver.HandlerFunc) map[string]sender {
	t.Helper()
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	serve := func(h http.Handler) sender {
		return func(_ *testing.T, r *http.Request) int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Code
		}
	}
	app, v1, v2, alb := Fiber(v, handle), LambdaV1(v, handle), LambdaV2(v, handle), LambdaALB(v, handle)
	lambda1 := func(spell func(string) string, isBase64 bool) sender {
		return func(t *testing.T, r *http.Request) int {
			resp, err := v1(r.Context(), events.APIGatewayProxyRequest{
				HTTPMethod: r.Method, Headers: headersOf(r, spell), Body: bodyOf(t, r, isBase64), IsBase64Encoded: isBase64,
			})
			require.NoError(t, err)
			return resp.StatusCode
		}
	}
	lambda2 := func(isBase64 bool) sender {
		return func(t *testing.T, r *http.Request) int {
			resp, err := v2(r.Context(), events.APIGatewayV2HTTPRequest{
				Headers: headersOf(r, strings.ToLower), Body: bodyOf(t, r, isBase64), IsBase64Encoded: isBase64,
				RequestContext: events.APIGatewayV2HTTPRequestContext{HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: r.Method}},
			})
			require.NoError(t, err)
			return resp.StatusCode
		}
	}
	lambdaALB := func(multi bool) sender {
		return func(t *testing.T, r *http.Request) int {
			request := events.ALBTargetGroupRequest{HTTPMethod: r.Method, Body: bodyOf(t, r, true), IsBase64Encoded: true}
			if multi {
				request.MultiValueHeaders = map[string][]string{}
				for name, values := range r.Header {
					request.MultiValueHeaders[strings.ToLower(name)] = values
				}
			} else {
				request.Headers = headersOf(r, strings.ToLower)
			}
			resp, err := alb(r.Context(), request)
			require.NoError(t, err)
			return resp.StatusCode
		}
	}
	asItIs := func(name string) string { return name }
	return map[string]sender{
		"chi":  serve(Chi(v, handle)),
		"gin":  serve(Gin(v, handle)),
		"echo": serve(Echo(v, handle)),
		"fiber": func(t *testing.T, r *http.Request) int {
			resp, err := app.Test(r, fiber.TestConfig{Timeout: 0}) // for ever; without, a second
			require.NoError(t, err)
			defer func() { _ = resp.Body.Close() }()
			return resp.StatusCode
		},
		"Lambda, API Gateway v1":                      lambda1(asItIs, false),
		"Lambda, API Gateway v1, base64":              lambda1(asItIs, true),
		"Lambda, API Gateway v1, lower-case headers":  lambda1(strings.ToLower, true),
		"Lambda, API Gateway v1, headers in any case": lambda1(strings.ToUpper, false),
		"Lambda, API Gateway v2":                      lambda2(false),
		"Lambda, API Gateway v2, base64":              lambda2(true),
		"Lambda, load balancer":                       lambdaALB(false),
		"Lambda, load balancer, multi-value headers":  lambdaALB(true),
	}
}

func headersOf(r *http.Request, spell func(string) string) map[string]string {
	headers := map[string]string{}
	for name := range r.Header {
		headers[spell(name)] = r.Header.Get(name)
	}
	return headers
}

func bodyOf(t *testing.T, r *http.Request, isBase64 bool) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	if isBase64 {
		return base64.StdEncoding.EncodeToString(body)
	}
	return string(body)
}

func TestEachFrameworkTellsAGoodDeliveryFromABadOne(t *testing.T) {
	t.Parallel()
	body := walletcrewtest.Payload(walletcrew.EventPassInstalled, json.RawMessage("{\n  \"passId\": \"p-1001\",\n  \"device\": \"apple\"\n}"))
	delivery := func(secret walletcrew.Secret) *http.Request {
		return walletcrewtest.NewRequest(target, secret, "acme", walletcrew.EventPassInstalled, body)
	}
	reserialised := func() *http.Request {
		var compact bytes.Buffer
		require.NoError(t, json.Compact(&compact, body))
		require.NotEqual(t, string(body), compact.String())
		r := walletcrewtest.NewRequest(target, secret, "acme", walletcrew.EventPassInstalled, compact.Bytes())
		r.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(secret, body))
		return r
	}
	unsigned := func() *http.Request {
		r := delivery(secret)
		r.Header.Del(walletcrew.HeaderSignature)
		return r
	}
	packed := func() *http.Request {
		r := delivery(secret)
		r.Header.Set("Content-Encoding", "gzip")
		return r
	}
	var got []*walletcrew.Event
	for name, send := range receivers(t, func(_ context.Context, e *walletcrew.Event) error { got = append(got, e); return nil }) {
		got = nil
		assert.Equal(t, http.StatusUnauthorized, send(t, delivery("another secret")), "%s: a forged delivery is refused", name)
		assert.Equal(t, http.StatusUnauthorized, send(t, reserialised()), "%s: a body that was encoded again is refused", name)
		assert.Equal(t, http.StatusUnauthorized, send(t, unsigned()), "%s: a delivery without a signature is refused", name)
		assert.Equal(t, http.StatusUnsupportedMediaType, send(t, packed()), "%s: a Content-Encoding is refused", name)
		assert.Empty(t, got, "%s: the function isn't called for what is refused", name)

		assert.Equal(t, http.StatusNoContent, send(t, delivery(secret)), "%s: a good delivery is acknowledged", name)
		if !assert.Len(t, got, 1, "%s: the function is called once", name) {
			continue
		}
		e := got[0]
		// Other requests in between: what a framework uses again must not change the event.
		for range 20 {
			send(t, walletcrewtest.NewRequest(target, "another secret", "ZZZZ", "Zzzz:Zzzzzzzzz", bytes.Repeat([]byte("Z"), len(body))))
		}
		assert.Equal(t, walletcrew.EventPassInstalled, e.Name, name)
		assert.Equal(t, "acme", e.TenantID, name)
		assert.Equal(t, string(body), string(e.Raw), "%s: the event has the bytes as they came", name)
		d, ok := e.Data.(*walletcrew.PassInstalled)
		require.True(t, ok, "%s: the payload is typed", name)
		assert.Equal(t, "p-1001", d.PassID, name)
	}
}

func TestEachFrameworkAsksAgainForWhatFailedAndNotForWhatWasDiscarded(t *testing.T) {
	t.Parallel()
	errFailed := errors.New("the database is down")
	for want, result := range map[int]error{
		http.StatusInternalServerError: errFailed, http.StatusNoContent: receiver.Discard(errFailed), http.StatusServiceUnavailable: receiver.Temporary(errFailed),
	} {
		for name, send := range receivers(t, func(context.Context, *walletcrew.Event) error { return result }) {
			r := walletcrewtest.NewRequest(target, secret, "acme", walletcrew.EventPassInstalled, []byte(`{"__id":"1"}`))
			assert.Equal(t, want, send(t, r), "%s: the function returned %v", name, result)
		}
	}
}

// The adapters know an event by its key, and would take one without for an event that has no "__id".
func TestEachFrameworkGivesTheFunctionTheEventsKey(t *testing.T) {
	t.Parallel()
	var keys []string
	for name, send := range receivers(t, func(ctx context.Context, _ *walletcrew.Event) error {
		keys = append(keys, receiver.Key(ctx))
		return nil
	}) {
		keys = nil
		for _, id := range []string{"e-1", "é /", ""} {
			for _, tenant := range []string{"acme", "another"} {
				body, err := json.Marshal(map[string]string{"__id": id})
				require.NoError(t, err)
				assert.Equal(t, http.StatusNoContent, send(t, walletcrewtest.NewRequest(target, secret, tenant, walletcrew.EventPassInstalled, body)), name)
			}
		}
		// The first delivery of each alone where the handler has a deduper.
		assert.Equal(t, []string{"-/e-1", "-/%C3%A9%20%2F", ""}, slices.Compact(keys), name)
	}
}

func TestABodyThatIsNoBase64IsABadRequest(t *testing.T) {
	t.Parallel()
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	handle := func(context.Context, *walletcrew.Event) error {
		assert.Fail(t, "the function was called")
		return nil
	}
	resp, err := LambdaV2(v, handle)(t.Context(), events.APIGatewayV2HTTPRequest{
		Body: "{}", IsBase64Encoded: true,
		RequestContext: events.APIGatewayV2HTTPRequestContext{HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: http.MethodPost}},
	})
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, resp.StatusCode)
}

func TestEachFrameworkTakesNothingButAPOST(t *testing.T) {
	t.Parallel()
	for name, send := range receivers(t, func(context.Context, *walletcrew.Event) error { assert.Fail(t, "it was called"); return nil }) {
		r := walletcrewtest.NewRequest(target, secret, "acme", walletcrew.EventPassInstalled, []byte(`{"__id":"1"}`))
		r.Method = http.MethodGet
		assert.Contains(t, []int{http.StatusMethodNotAllowed, http.StatusNotFound}, send(t, r), name)
	}
}

// Lambda ends its function's process by itself, and asks again.
func TestAPanicOfTheFunctionEndsNoServer(t *testing.T) {
	t.Parallel()
	for name, send := range receivers(t, func(context.Context, *walletcrew.Event) error { panic("boom") }) {
		if strings.HasPrefix(name, "Lambda") || name == "echo" { // net/http's server recovers what echo lets through
			continue
		}
		r := walletcrewtest.NewRequest(target, secret, "acme", walletcrew.EventPassInstalled, []byte(`{"__id":"1"}`))
		assert.Equal(t, http.StatusInternalServerError, send(t, r), name)
	}
}

func TestFiberTellsTheSenderNothingButTheStatus(t *testing.T) {
	t.Parallel()
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	for name, handle := range map[string]receiver.HandlerFunc{
		"a panic":  func(context.Context, *walletcrew.Event) error { panic("password=hunter2") },
		"an error": func(context.Context, *walletcrew.Event) error { return errors.New("password=hunter2") },
	} {
		app := Fiber(v, handle)
		resp, err := app.Test(walletcrewtest.NewRequest(target, secret, "acme", walletcrew.EventPassInstalled, []byte(`{"__id":"1"}`)), fiber.TestConfig{Timeout: 0})
		require.NoError(t, err, name)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err, name)
		assert.Equal(t, "Internal Server Error", string(body), name)
		assert.Equal(t, http.StatusInternalServerError, resp.StatusCode, name)
	}
}

// Fiber waits for ever by default.
func TestFiberEndsConnectionsThatSayNothing(t *testing.T) {
	t.Parallel()
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	config := Fiber(v, func(context.Context, *walletcrew.Event) error { return nil }).Config()
	for what, limit := range map[string]time.Duration{"idle": config.IdleTimeout, "reading": config.ReadTimeout, "writing": config.WriteTimeout} {
		assert.Positive(t, limit, what)
		assert.LessOrEqual(t, limit, 2*time.Minute, what)
	}
}

func TestAServiceEndsWhenItsFunctionsHaveEnded(t *testing.T) {
	t.Parallel()
	v, err := verifier.New(verifier.Static(secret))
	require.NoError(t, err)
	for name, framework := range map[string]func(*verifier.Verifier, receiver.HandlerFunc) *Service{"chi": Chi, "gin": Gin} {
		began, goOn := make(chan struct{}, 2), make(chan struct{})
		service := framework(v, func(context.Context, *walletcrew.Event) error {
			began <- struct{}{}
			<-goOn
			return nil
		})
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended, statuses := make(chan error, 1), make(chan int, 2)
		go func() { ended <- service.Serve(ctx, listener) }()
		delivery := func(url, id string) *http.Request {
			r := walletcrewtest.NewRequest(url+target, secret, "acme", walletcrew.EventPassInstalled, []byte(`{"__id":"`+id+`"}`))
			r.RequestURI = ""
			return r
		}
		go func() {
			resp, err := http.DefaultClient.Do(delivery("http://"+listener.Addr().String(), "1"))
			if err == nil {
				statuses <- resp.StatusCode
				_ = resp.Body.Close()
			}
		}()
		go func() { // one that the server doesn't know of, as on HTTP/2 when the sender has hung up
			rec := httptest.NewRecorder()
			service.ServeHTTP(rec, delivery("", "2"))
			statuses <- rec.Code
		}()
		<-began
		<-began
		cancel()
		for {
			if _, err := net.Dial("tcp", listener.Addr().String()); err != nil {
				break // it takes no more
			}
		}
		select {
		case err := <-ended:
			require.Fail(t, "it ended before its functions", "%s: %v", name, err)
		default:
		}
		close(goOn)
		assert.NoError(t, <-ended, name)
		assert.Equal(t, []int{204, 204}, []int{<-statuses, <-statuses}, name)
	}
}
