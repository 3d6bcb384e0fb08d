package walletcrewtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

const testSecret walletcrew.Secret = "k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E"

// aReceiver is a running receiver with the secret testSecret; it is yours in a test of your own.
func aReceiver(f receiver.HandlerFunc) *httptest.Server {
	return httptest.NewServer(receiver.NewHandler(must(verifier.New(verifier.Static(testSecret))), f,
		receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)), receiver.WithLogger(quiet)))
}

func ExampleSend() {
	server := aReceiver(func(_ context.Context, e *walletcrew.Event) error {
		fmt.Println("received", e.Name, "of", e.TenantID)
		return nil
	})
	defer server.Close()

	resp, err := walletcrewtest.Send(context.Background(), server.URL, testSecret, "acme",
		walletcrew.EventPassInstalled, walletcrewtest.Sample(walletcrew.EventPassInstalled))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	fmt.Println(resp.Status)
	// Output:
	// received Pass:Installed of acme
	// 204 No Content
}

func ExampleReplay() {
	server := aReceiver(func(_ context.Context, e *walletcrew.Event) error {
		fmt.Println("received", e.Name, e.ID)
		return nil
	})
	defer server.Close()

	file := filepath.Join(os.TempDir(), "walletcrewtest-example.ndjson") // as walletcrew listen --record writes it
	defer func() { _ = os.Remove(file) }()
	events := `{"name":"Pass:Created","tenantId":"acme","receivedAt":"2026-11-23T10:11:12Z","body":"{\"__id\":\"e-1\",\"passId\":\"p-1001\"}"}
{"name":"Pass:Installed","tenantId":"acme","receivedAt":"2026-11-23T10:12:40Z","body":"{\"__id\":\"e-2\",\"passId\":\"p-1001\"}"}
`
	if err := os.WriteFile(file, []byte(events), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(walletcrewtest.Replay(context.Background(), file, server.URL, testSecret))
	// Output:
	// received Pass:Created e-1
	// received Pass:Installed e-2
	// <nil>
}

func TestSendIsADeliveryOfThePlatform(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	resp, err := walletcrewtest.Send(t.Context(), server.URL+"/hook", testSecret, "acme", "Pass:Expired", []byte("no JSON"))
	require.NoError(t, err)
	_ = resp.Body.Close()
	assert.Equal(t, http.StatusFound, resp.StatusCode, "a redirect isn't followed")
	assert.Equal(t, "/hook", got.URL.Path)
	assert.Equal(t, http.MethodPost, got.Method)
	assert.Equal(t, "no JSON", string(body))
	assert.Equal(t, "application/json", got.Header.Get("Content-Type"))
	assert.Equal(t, "acme", got.Header.Get(walletcrew.HeaderTenantID))
	assert.Equal(t, "Pass:Expired", got.Header.Get(walletcrew.HeaderEventName))
	require.NoError(t, walletcrew.VerifySignature(body, got.Header.Get(walletcrew.HeaderSignature), testSecret))
}

func TestSendEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	_, err := walletcrewtest.Send(ctx, server.URL, testSecret, "acme", "Pass:Created", nil)
	assert.ErrorIs(t, err, context.Canceled)
	_, err = walletcrewtest.Send(t.Context(), "no url\n", testSecret, "acme", "Pass:Created", nil)
	assert.Error(t, err)
}

func line(t *testing.T, name, tenant, body string) string {
	t.Helper()
	text, err := json.Marshal(map[string]string{"name": name, "tenantId": tenant, "receivedAt": "2026-11-23T10:11:12Z", "body": body})
	require.NoError(t, err)
	return string(text) + "\n"
}

func TestReplayDeliversEachLineToTheByteAndStopsAtTheFirstThatFails(t *testing.T) {
	t.Parallel()
	const odd = "{ \"__id\":\"\\u0041\",\t\"n\": 1.0e+2, \"name\":\"\U0001F600<>&\" }\r\n"
	for name, test := range map[string]struct {
		file string
		want []string // the bodies that come
		err  string
	}{
		"all":                {line(t, "Pass:Created", "acme", odd) + "\r\n\n" + line(t, "", "", "not JSON"), []string{odd, "not JSON"}, ""},
		"without a last \\n": {strings.TrimSpace(line(t, "Pass:Created", "acme", odd)), []string{odd}, ""},
		"nothing":            {"", nil, ""},
		"refused": {
			line(t, "Pass:Created", "acme", "1") + line(t, "Pass:Created", "acme", "refuse") + line(t, "Pass:Created", "acme", "3"),
			[]string{"1", "refuse"}, "line 2: the answer is 418 I'm a teapot: not 2xx",
		},
		"redirected":   {line(t, "Pass:Created", "acme", "redirect"), []string{"redirect"}, "line 1: the answer is 302 Found: not 2xx"},
		"no JSON":      {"\n{\"body\":secret-body}\n", nil, "line 2: it isn't the JSON of an event"},
		"no body":      {`{"name":"Pass:Created"}`, nil, "line 1: it isn't the JSON of an event"},
		"body as JSON": {`{"name":"Pass:Created","body":{"__id":"secret-body"}}`, nil, "line 1: it isn't the JSON of an event"},
		"a huge line":  {line(t, "", "", "1") + strings.Repeat("x", 17<<20), []string{"1"}, "line 2: it is longer than 16 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = append(got, string(body))
				assert.NoError(t, walletcrew.VerifySignature(body, r.Header.Get(walletcrew.HeaderSignature), testSecret))
				switch string(body) {
				case "refuse":
					w.WriteHeader(http.StatusTeapot)
				case "redirect":
					http.Redirect(w, r, "/elsewhere", http.StatusFound)
				case odd:
					assert.Equal(t, "acme", r.Header.Get(walletcrew.HeaderTenantID))
					assert.Equal(t, "Pass:Created", r.Header.Get(walletcrew.HeaderEventName))
				}
			}))
			defer server.Close()
			file := filepath.Join(t.TempDir(), "events.ndjson")
			require.NoError(t, os.WriteFile(file, []byte(test.file), 0o600))
			err := walletcrewtest.Replay(t.Context(), file, server.URL, testSecret)
			if test.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.err)
				assert.NotContains(t, err.Error(), "secret-body")
			}
			assert.Equal(t, test.want, got)
		})
	}
}

func TestReplayEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { once.Do(cancel) }))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "events.ndjson")
	require.NoError(t, os.WriteFile(file, []byte(line(t, "", "", "1")+line(t, "", "", "2")), 0o600))
	err := walletcrewtest.Replay(ctx, file, server.URL, testSecret)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "line ")
	assert.ErrorIs(t, walletcrewtest.Replay(t.Context(), filepath.Join(t.TempDir(), "none"), server.URL, testSecret), os.ErrNotExist)
}
