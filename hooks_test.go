package walletcrew_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

type contextKey string

type counting struct {
	mu   sync.Mutex
	base http.RoundTripper
	seen []string
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	value, _ := r.Context().Value(contextKey("call")).(string)
	c.seen = append(c.seen, value)
	c.mu.Unlock()
	return c.base.RoundTrip(r)
}

func TestAHookSeesACallWithAllItsAttempts(t *testing.T) {
	t.Parallel()
	server := walletcrewtest.NewServer()
	t.Cleanup(server.Close)
	server.Fail(walletcrewtest.Fault{StatusCode: http.StatusServiceUnavailable})
	attempts := new(counting)
	var events []string
	hook := func(name string) walletcrew.Option {
		return walletcrew.WithCallHook(func(ctx context.Context, method, path string) (context.Context, func(error)) {
			events = append(events, name+" "+method+" "+path)
			return context.WithValue(ctx, contextKey("call"), name), func(err error) {
				events = append(events, name+" ends: "+map[bool]string{true: "ok", false: "error"}[err == nil])
			}
		})
	}
	client := server.Client(
		walletcrew.WithRetries(3, time.Millisecond, time.Millisecond), hook("outer"), hook("inner"),
		walletcrew.WithTransport(func(base http.RoundTripper) http.RoundTripper { attempts.base = base; return attempts }),
	)
	_, err := client.Webhooks.List(t.Context(), nil)
	require.NoError(t, err)
	path := "/api/" + client.TenantID() + "/webhooks"
	assert.Equal(t, []string{"outer GET " + path, "inner GET " + path, "inner ends: ok", "outer ends: ok"}, events)
	assert.Equal(t, []string{"inner", "inner"}, attempts.seen, "two attempts, under the hook's context")

	events = nil
	_, err = client.Webhooks.Get(t.Context(), "missing")
	require.ErrorIs(t, err, walletcrew.ErrNotFound)
	assert.Equal(t, []string{"outer GET " + path + "/missing", "inner GET " + path + "/missing", "inner ends: error", "outer ends: error"}, events)
}

func TestHooksThatAreNilAreErrors(t *testing.T) {
	t.Parallel()
	for _, opt := range []walletcrew.Option{
		walletcrew.WithCallHook(nil), walletcrew.WithTransport(nil),
		walletcrew.WithTransport(func(http.RoundTripper) http.RoundTripper { return nil }),
	} {
		_, err := walletcrew.NewClient("shop", walletcrew.WithAPIKey("key"), opt)
		require.Error(t, err)
	}
}

// The key must not follow a redirect to another host, whoever wraps the transport.
func TestAWrappedTransportKeepsTheKeyAtHome(t *testing.T) {
	t.Parallel()
	var hosts []string
	client, err := walletcrew.NewClient("shop", walletcrew.WithAPIKey("key"), walletcrew.WithRetries(0, 0, 0),
		walletcrew.WithTransport(func(http.RoundTripper) http.RoundTripper {
			return transportFunc(func(r *http.Request) (*http.Response, error) {
				hosts = append(hosts, r.URL.Host)
				return &http.Response{StatusCode: http.StatusFound, Header: http.Header{"Location": {"https://elsewhere.example/"}}, Body: http.NoBody, Request: r}, nil
			})
		}))
	require.NoError(t, err)
	_, err = client.Webhooks.List(t.Context(), nil)
	var api *walletcrew.APIError
	require.ErrorAs(t, err, &api)
	assert.Equal(t, []string{"app.neostore.cloud"}, hosts)
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
