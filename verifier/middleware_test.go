package verifier_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

func silentLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestMiddlewareLetsNextFindTheBodyUnreadAndTheEvent(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	for name, length := range map[string]int64{"Content-Length": int64(len(knownBody)), "chunked": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			called := 0
			next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				called++
				body, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				assert.True(t, bytes.Equal([]byte(knownBody), body), "next finds the body unread")
				assert.EqualValues(t, len(knownBody), r.ContentLength, "next can trust the length")
				assert.Empty(t, r.TransferEncoding)
				again, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				assert.Empty(t, again, "a second read finds the end, as with any body")
				assert.NoError(t, r.Body.Close())

				e, ok := verifier.EventFromContext(r.Context())
				if assert.True(t, ok, "the event is in the context") {
					assert.Equal(t, walletcrew.EventPassInstalled, e.Name)
					assert.Equal(t, "acme", e.TenantID)
					assert.Equal(t, knownBody, string(e.Raw))
				}
				assert.Equal(t, "kept", r.Header.Get("X-Other"))
				w.Header().Set("X-Next", "was here")
				w.WriteHeader(http.StatusAccepted)
			})
			r := posted([]byte(knownBody))
			r.ContentLength = length
			if length < 0 {
				r.TransferEncoding = []string{"chunked"}
			}
			r.Header.Set("X-Other", "kept")
			w := httptest.NewRecorder()
			v.Middleware(next).ServeHTTP(w, r)
			assert.Equal(t, 1, called, "next is called once")
			assert.Equal(t, http.StatusAccepted, w.Code, "next's answer is the answer")
			assert.Equal(t, "was here", w.Header().Get("X-Next"))
			_, ok := verifier.EventFromContext(r.Context())
			assert.False(t, ok, "the caller's request isn't changed")
		})
	}
}

func TestMiddlewareTwiceInARowVerifiesTwice(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	w := httptest.NewRecorder()
	v.Middleware(v.Middleware(receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error { return nil }))).
		ServeHTTP(w, posted([]byte(knownBody)))
	assert.Equal(t, http.StatusNoContent, w.Code, "what follows can verify the body again")
}

func TestMiddlewareKeepsWhatIsRefusedFromNext(t *testing.T) {
	t.Parallel()
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	down := verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
		return nil, errors.New("the database is down")
	})
	for name, tt := range map[string]struct {
		source verifier.SecretSource
		body   string
		change func(*http.Request)
		status int
		header map[string]string
	}{
		"GET":                 {change: func(r *http.Request) { r.Method = http.MethodGet }, status: 405, header: map[string]string{"Allow": "POST"}},
		"gzip":                {change: set("Content-Encoding", "gzip"), status: 415},
		"too large":           {body: string(paddedBody(1<<20 + 1)), status: 413},
		"no signature":        {change: func(r *http.Request) { r.Header.Del(walletcrew.HeaderSignature) }, status: 401},
		"a wrong signature":   {change: set(walletcrew.HeaderSignature, nowhere), status: 401},
		"another body":        {change: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(knownBody + " ")) }, status: 401},
		"a contradicted name": {body: `{"__eventName":"Pass:Created"}`, status: 400},
		"not JSON":            {body: `not JSON`, status: 400},
		"secrets unavailable": {source: down, status: 503, header: map[string]string{"Retry-After": "10"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := tt.source
			if source == nil {
				source = verifier.Static(knownSecret)
			}
			body := tt.body
			if body == "" {
				body = knownBody
			}
			r := posted([]byte(body))
			if tt.change != nil {
				tt.change(r)
			}
			w := httptest.NewRecorder()
			verifierOf(t, source).Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				assert.Fail(t, "a refused request reached next")
			})).ServeHTTP(w, r)
			assert.Equal(t, tt.status, w.Code)
			assert.Equal(t, http.StatusText(tt.status)+"\n", w.Body.String(), "the answer says no more than its status")
			for name, value := range tt.header {
				assert.Equal(t, value, w.Header().Get(name), name)
			}
		})
	}
}

func TestMiddlewareUnderAServeMux(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, verifier.Static(knownSecret))
	mux := http.NewServeMux()
	mux.Handle("POST /hooks/{name}", v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, ok := verifier.EventFromContext(r.Context())
		assert.True(t, ok)
		assert.Equal(t, "wallet", r.PathValue("name"), "the mux's own values are still there")
		assert.Equal(t, "POST /hooks/{name}", r.Pattern)
		_, _ = io.WriteString(w, e.ID)
	})))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		_, ok := verifier.EventFromContext(r.Context())
		assert.False(t, ok, "there is no event where there is no middleware")
		w.WriteHeader(http.StatusOK)
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	send := func(method, path, signature string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, bytes.NewReader([]byte(knownBody)))
		require.NoError(t, err)
		req.Header.Set(walletcrew.HeaderSignature, signature)
		resp, err := server.Client().Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	status, body := send(http.MethodPost, "/hooks/wallet", knownHex)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "0b9d3a52-6f0e-4c55-9a55-0a3c2f5f9d10", body)
	status, _ = send(http.MethodPost, "/hooks/wallet", nowhere)
	assert.Equal(t, http.StatusUnauthorized, status)
	status, _ = send(http.MethodPut, "/hooks/wallet", knownHex)
	assert.Equal(t, http.StatusMethodNotAllowed, status)
	status, _ = send(http.MethodGet, "/healthz", "")
	assert.Equal(t, http.StatusOK, status)
}

func TestThereIsNoEventInAContextOfAnother(t *testing.T) {
	t.Parallel()
	e, ok := verifier.EventFromContext(t.Context())
	assert.False(t, ok)
	assert.Nil(t, e)
}
