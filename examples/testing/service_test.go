package shop_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	shop "github.com/thewalletcrew/walletcrew-go/examples/testing"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

const secret, body = walletcrew.Secret("the secret of the tests"), `{"__id":"1","passId":"p-1"}`

func TestDeliveryChangesTheStore(t *testing.T) {
	t.Parallel()
	tests := []struct {
		behaviour string
		name      walletcrew.EventName
		body      string
		want      []any
	}{
		{"installed", walletcrew.EventPassInstalled, `{"passId":"p-1","device":"apple"}`, []any{installed{"p-1", true}}},
		{"uninstalled", walletcrew.EventPassUninstalled, `{"passId":"p-1"}`, []any{installed{"p-1", false}}},
		{"customer", walletcrew.EventCustomerUpserted, `{"customerId":"c-1","email":"a@b"}`, []any{shop.Customer{ID: "c-1", Email: "a@b"}}},
		{"a pass without an id is given up", walletcrew.EventPassInstalled, `{}`, nil},
		{"a customer without an id is given up", walletcrew.EventCustomerUpserted, `{"email":"a@b"}`, nil},
		{"another event is let pass", walletcrew.EventPassUpdated, `{"passId":"p-1"}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.behaviour, func(t *testing.T) {
			t.Parallel()
			store := &fakeStore{}
			service := newService(t, verifier.Static(secret), store)

			assert.Equal(t, http.StatusNoContent, serve(service, signed(tt.name, secret, tt.body)))
			assert.Equal(t, tt.want, store.calls)
		})
	}
}

func TestDuplicateIsAcknowledgedAndNotHandledAgain(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	service := newService(t, verifier.Static(secret), store)
	for range 2 {
		assert.Equal(t, http.StatusNoContent, serve(service, signed(walletcrew.EventPassInstalled, secret, body)))
	}
	assert.Len(t, store.calls, 1, "one __id is one event")
}

func TestWhatIsNotThePlatformsIsRefused(t *testing.T) {
	t.Parallel()
	forged := signed(walletcrew.EventPassInstalled, "a guess", body)
	unsigned := signed(walletcrew.EventPassInstalled, secret, body)
	unsigned.Header.Del(walletcrew.HeaderSignature)
	tampered := signed(walletcrew.EventPassInstalled, secret, `{"__id":"1","passId":"p-2"}`)
	tampered.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(secret, []byte(body)))

	for name, r := range map[string]*http.Request{"forged": forged, "unsigned": unsigned, "tampered": tampered} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &fakeStore{}
			assert.Equal(t, http.StatusUnauthorized, serve(newService(t, verifier.Static(secret), store), r))
			assert.Empty(t, store.calls)
		})
	}
}

func TestEventComesThroughOnceTheStoreHasRecovered(t *testing.T) {
	t.Parallel()
	store := &fakeStore{fail: func(context.Context) error { return errors.New("the database is down") }}
	service := newService(t, verifier.Static(secret), store)
	send := func() int { return serve(service, signed(walletcrew.EventPassInstalled, secret, body)) }

	assert.Equal(t, http.StatusInternalServerError, send(), "no 2xx: the platform shall deliver it again")
	store.fail = nil
	assert.Equal(t, http.StatusNoContent, send(), "what failed is no duplicate")
	assert.Equal(t, []any{installed{"p-1", true}}, store.calls)
}

func TestHangingStoreIsAnsweredBeforeThePlatformGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // its clock jumps: this takes no time
		store := &fakeStore{fail: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		service, start := newService(t, verifier.Static(secret), store), time.Now()

		assert.Equal(t, http.StatusServiceUnavailable, serve(service, signed(walletcrew.EventPassInstalled, secret, body)))
		assert.Less(t, time.Since(start), 30*time.Second)
	})
}

// The whole way: the service subscribes itself at the platform, which delivers over HTTP, before, during and after a rotation.
func TestServiceOnThePlatform(t *testing.T) {
	t.Parallel()
	platform := walletcrewtest.NewServer()
	t.Cleanup(platform.Close)
	client, store := platform.Client(), &fakeStore{}
	service := newService(t, verifier.FromAPI(client), store)
	receiver := httptest.NewServer(service)
	t.Cleanup(func() {
		receiver.Close()
		assert.NoError(t, service.Shutdown(context.Background()))
	})

	// The platform creates our webhook, but its answer is lost; then the service starts a second time.
	platform.Fail(walletcrewtest.Fault{Method: http.MethodPost, CarryOut: true, Drop: true})
	for range 2 {
		_, err := shop.Subscribe(t.Context(), client, receiver.URL)
		require.NoError(t, err)
	}
	require.Len(t, platform.Webhooks(), 1, "two webhooks would deliver everything twice")
	assert.ElementsMatch(t, []walletcrew.EventName{walletcrew.EventPassInstalled, walletcrew.EventPassUninstalled, walletcrew.EventCustomerUpserted}, platform.Webhooks()[0].Events)

	emit := func(passID string) {
		deliveries, err := platform.Emit(t.Context(), walletcrew.EventPassInstalled, map[string]any{"passId": passID})
		require.NoError(t, err)
		require.Len(t, deliveries, 1)
		require.NoError(t, deliveries[0].Err)
		assert.Equal(t, http.StatusNoContent, deliveries[0].StatusCode, passID)
	}
	emit("p-1")
	rotation, err := client.Webhooks.Rotate(t.Context(), platform.Webhooks()[0].ID)
	require.NoError(t, err)
	emit("p-2")
	require.NoError(t, rotation.Finish(t.Context()))
	emit("p-3")
	assert.Equal(t, []any{installed{"p-1", true}, installed{"p-2", true}, installed{"p-3", true}}, store.calls)
}

// newService is the service with its own middleware: a handler tested without its router says nothing of what is before it.
func newService(t *testing.T, source verifier.SecretSource, store shop.Store) *shop.Service {
	t.Helper()
	service, err := shop.Routes(source, store, slog.New(slog.NewTextHandler(t.Output(), nil)))
	require.NoError(t, err)
	return service
}

func signed(name walletcrew.EventName, secret walletcrew.Secret, body string) *http.Request {
	return walletcrewtest.NewRequest(shop.WebhookPath, secret, "shop", name, []byte(body))
}

func serve(service http.Handler, r *http.Request) (status int) {
	rec := httptest.NewRecorder()
	service.ServeHTTP(rec, r)
	return rec.Code
}

type installed struct {
	passID string
	yes    bool
}

// A fakeStore remembers what it was told, or fails as fail does.
type fakeStore struct {
	mu    sync.Mutex
	calls []any
	fail  func(context.Context) error
}

func (s *fakeStore) SetInstalled(ctx context.Context, passID string, yes bool) error {
	return s.call(ctx, installed{passID, yes})
}

func (s *fakeStore) SaveCustomer(ctx context.Context, c shop.Customer) error { return s.call(ctx, c) }

func (s *fakeStore) call(ctx context.Context, what any) error {
	if s.fail != nil {
		return s.fail(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, what)
	return nil
}
