package walletcrew_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// Whole flows against the platform in memory: what Ensure, Rotate and the retries promise, with requests that fail.

// fault is short for what these tests use most.
type fault = walletcrewtest.Fault

// hopeless makes a request fail however often it is tried.
func hopeless(method string) []fault {
	return slices.Repeat([]fault{{Method: method, StatusCode: http.StatusServiceUnavailable}}, 4)
}

func platform(t *testing.T, opts ...walletcrewtest.Option) *walletcrewtest.Server {
	t.Helper()
	s := walletcrewtest.NewServer(opts...)
	t.Cleanup(s.Close)
	return s
}

func mustCreate(t *testing.T, s *walletcrewtest.Server, spec walletcrew.WebhookSpec) *walletcrew.Webhook {
	t.Helper()
	w, err := s.Client().Webhooks.Create(t.Context(), spec)
	require.NoError(t, err)
	return w
}

func mustDelete(t *testing.T, s *walletcrewtest.Server, id string) {
	t.Helper()
	require.NoError(t, s.Client().Webhooks.Delete(t.Context(), id))
}

// writes are the requests from the nth on that change something.
func writes(s *walletcrewtest.Server, n int) []walletcrewtest.Request {
	return slices.DeleteFunc(s.Requests()[n:], func(r walletcrewtest.Request) bool { return r.Method == http.MethodGet })
}

// between returns a client that calls hook before its nth request with this method: there another process may act.
func between(s *walletcrewtest.Server, hook func(method string, n int)) *walletcrew.Client {
	seen := map[string]int{}
	return s.Client(walletcrew.WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		seen[r.Method]++
		hook(r.Method, seen[r.Method])
		return http.DefaultTransport.RoundTrip(r)
	})}))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func ids(s *walletcrewtest.Server) []string {
	list := []string{}
	for _, w := range s.Webhooks() {
		list = append(list, w.ID)
	}
	return list
}

const hookURL = "https://shop.example/webhooks/walletcrew"

func hookSpec() walletcrew.WebhookSpec {
	return walletcrew.WebhookSpec{Endpoint: hookURL, Events: []walletcrew.EventName{"Pass:*", "Customer:Upserted"}}
}

// slowly delays each request and each answer for up to 3 ms.
func slowly(next http.RoundTripper) http.RoundTripper {
	pause := func() { <-time.After(rand.N(3 * time.Millisecond)) }
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		pause()
		defer pause()
		return next.RoundTrip(r)
	})
}

func TestEnsureByEightReplicasAtOnce(t *testing.T) {
	t.Parallel()
	const rounds, replicas, atOnce = 200, 8, 4
	transport := &http.Transport{MaxIdleConnsPerHost: replicas}
	t.Cleanup(transport.CloseIdleConnections)
	var duplicates atomic.Int64

	round := func() {
		s := walletcrewtest.NewServer()
		defer s.Close()
		results := make([]*walletcrew.EnsureResult, replicas)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range replicas {
			client := s.Client(walletcrew.WithHTTPClient(&http.Client{Transport: slowly(transport)}))
			wg.Go(func() {
				<-start
				var err error
				results[i], err = client.Webhooks.Ensure(t.Context(), hookSpec())
				assert.NoError(t, err)
			})
		}
		close(start)
		wg.Wait()

		left := ids(s)
		assert.NotEmpty(t, left, "no webhook remained")
		for _, r := range results {
			if assert.NotNil(t, r) {
				assert.Contains(t, left, r.Webhook.ID, "a replica was given a webhook that is gone")
			}
		}
		if len(left) > 1 {
			duplicates.Add(1)
		}

		again, err := s.Client().Webhooks.Ensure(t.Context(), hookSpec())
		if assert.NoError(t, err) {
			assert.Equal(t, walletcrew.EnsureUnchanged, again.Action)
			assert.Len(t, again.Duplicates, len(left)-1, "what remains is named")
		}
	}
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for range rounds / atOnce {
				round()
			}
		})
	}
	wg.Wait()
	t.Logf("more than one webhook remained in %d of %d rounds", duplicates.Load(), rounds)
}

func TestEnsureCreatesOnceAndThenChangesNothing(t *testing.T) {
	t.Parallel()
	s := platform(t, walletcrewtest.WithPageSize(1))
	client := s.Client()
	other := mustCreate(t, s, walletcrew.WebhookSpec{Endpoint: "https://shop.example/other", Events: []walletcrew.EventName{"*"}})
	spec := hookSpec()
	spec.Description = "of the shop"

	first, err := client.Webhooks.Ensure(t.Context(), spec)
	require.NoError(t, err)
	assert.Equal(t, walletcrew.EnsureCreated, first.Action)
	assert.Empty(t, first.Duplicates)
	assert.True(t, first.Webhook.Enabled)
	assert.Equal(t, []walletcrew.Webhook{*other, *first.Webhook}, s.Webhooks())

	spec.Events = []walletcrew.EventName{"Customer:Upserted", "Pass:*", "Customer:Upserted"}
	before := len(s.Requests())
	second, err := client.Webhooks.Ensure(t.Context(), spec)
	require.NoError(t, err)
	assert.Equal(t, &walletcrew.EnsureResult{Webhook: first.Webhook, Action: walletcrew.EnsureUnchanged}, second)
	assert.Empty(t, writes(s, before), "neither the order nor the repetition of events is a reason to write")
}

func TestEnsureUpdatesOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	existing := hookSpec()
	existing.Description, existing.Enabled = "was here", new(false)
	tests := map[string]struct {
		change func(*walletcrew.WebhookSpec)
		patch  string // "" for none
	}{
		"nothing":              {func(*walletcrew.WebhookSpec) {}, ""},
		"events":               {func(spec *walletcrew.WebhookSpec) { spec.Events = []walletcrew.EventName{"*"} }, `{"events":["*"]}`},
		"description":          {func(spec *walletcrew.WebhookSpec) { spec.Description = "new" }, `{"description":"new"}`},
		"no description":       {func(spec *walletcrew.WebhookSpec) { spec.Description = "" }, ""},
		"enabled":              {func(spec *walletcrew.WebhookSpec) { spec.Enabled = new(true) }, `{"enabled":true}`},
		"enabled left open":    {func(spec *walletcrew.WebhookSpec) { spec.Enabled = nil }, ""},
		"endpoint, equivalent": {func(spec *walletcrew.WebhookSpec) { spec.Endpoint = "https://SHOP.example:443/webhooks/walletcrew" }, ""},
		"everything": {func(spec *walletcrew.WebhookSpec) {
			spec.Events, spec.Description, spec.Enabled = []walletcrew.EventName{"*"}, "new", new(true)
		}, `{"events":["*"],"description":"new","enabled":true}`},
	}
	for name, test := range tests {
		for _, answer := range []walletcrewtest.Answer{walletcrewtest.AnswerWebhook, walletcrewtest.AnswerEmpty, walletcrewtest.AnswerNoContent} {
			t.Run(fmt.Sprint(name, " ", answer), func(t *testing.T) {
				t.Parallel()
				s := platform(t, walletcrewtest.WithPatchAnswer(answer))
				w := mustCreate(t, s, existing)
				spec := existing
				test.change(&spec)

				got, err := s.Client().Webhooks.Ensure(t.Context(), spec)
				require.NoError(t, err)
				assert.Equal(t, []walletcrew.Webhook{*got.Webhook}, s.Webhooks(), "the webhook as it now is")
				assert.Equal(t, w.ID, got.Webhook.ID)
				sent := writes(s, 1)
				if test.patch == "" {
					assert.Equal(t, walletcrew.EnsureUnchanged, got.Action)
					assert.Empty(t, sent)
					return
				}
				assert.Equal(t, walletcrew.EnsureUpdated, got.Action)
				require.Len(t, sent, 1)
				assert.Equal(t, http.MethodPatch, sent[0].Method)
				assert.JSONEq(t, test.patch, string(sent[0].Body))
			})
		}
	}
}

func TestEnsureWithSeveralOnTheEndpoint(t *testing.T) {
	t.Parallel()
	off, on := hookSpec(), hookSpec()
	off.Enabled = new(false)
	tests := map[string]struct {
		specs []walletcrew.WebhookSpec
		want  int
	}{
		"the first":                   {[]walletcrew.WebhookSpec{on, on, on}, 0},
		"the first that is enabled":   {[]walletcrew.WebhookSpec{off, on, off, on}, 1},
		"the first where none is":     {[]walletcrew.WebhookSpec{off, off}, 0},
		"a rotation's predecessor":    {[]walletcrew.WebhookSpec{on, off}, 0},
		"a rotation that is finished": {[]walletcrew.WebhookSpec{off, on}, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := platform(t, walletcrewtest.WithPageSize(1))
			for _, spec := range test.specs {
				mustCreate(t, s, spec)
			}
			before := s.Webhooks()
			others := slices.Delete(ids(s), test.want, test.want+1)

			got, err := s.Client().Webhooks.Ensure(t.Context(), hookSpec())
			require.NoError(t, err)
			assert.Equal(t, before[test.want], *got.Webhook)
			assert.Equal(t, others, got.Duplicates)
			assert.Equal(t, walletcrew.EnsureUnchanged, got.Action)
			assert.Equal(t, before, s.Webhooks(), "it deletes none, and wakes none")
		})
	}
}

func TestEnsureAfterALostAnswerDoesNotCreateASecond(t *testing.T) {
	t.Parallel()
	lost := map[string]fault{
		"dropped":    {CarryOut: true, Drop: true},
		"truncated":  {Truncate: true},
		"502":        {CarryOut: true, StatusCode: http.StatusBadGateway, Body: "<title>Bad gateway</title>"},
		"HTML":       {CarryOut: true, StatusCode: http.StatusOK, Body: "<title>Welcome</title>"},
		"empty body": {CarryOut: true, StatusCode: http.StatusOK},
	}
	for name, f := range lost {
		f.Method = http.MethodPost
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := platform(t)
			s.Fail(f)
			got, err := s.Client().Webhooks.Ensure(t.Context(), hookSpec())
			require.NoError(t, err, "it looks, and finds what it created")
			assert.Equal(t, []string{got.Webhook.ID}, ids(s))
			assert.Empty(t, got.Duplicates)
		})
		t.Run(name+", and it can't look", func(t *testing.T) {
			t.Parallel()
			s := platform(t)
			s.Fail(append([]fault{{Method: http.MethodGet}, f}, hopeless(http.MethodGet)...)...)
			_, err := s.Client().Webhooks.Ensure(t.Context(), hookSpec())
			require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)

			got, err := s.Client().Webhooks.Ensure(t.Context(), hookSpec())
			require.NoError(t, err)
			assert.Equal(t, walletcrew.EnsureUnchanged, got.Action)
			assert.Equal(t, []string{got.Webhook.ID}, ids(s), "the next call finds the first one's")
		})
	}

	t.Run("not carried out", func(t *testing.T) {
		t.Parallel()
		s := platform(t)
		s.Fail(fault{Method: http.MethodPost, Drop: true})
		_, err := s.Client().Webhooks.Ensure(t.Context(), hookSpec())
		require.ErrorIs(t, err, walletcrew.ErrOutcomeUnknown)
		assert.Empty(t, s.Webhooks(), "it doesn't create again what may come yet")
		got, err := s.Client().Webhooks.Ensure(t.Context(), hookSpec())
		require.NoError(t, err)
		assert.Equal(t, walletcrew.EnsureCreated, got.Action)
	})
}

func TestEnsureWhenTheListFails(t *testing.T) {
	t.Parallel()
	other := walletcrew.WebhookSpec{Endpoint: "https://shop.example/other", Events: []walletcrew.EventName{"*"}}

	t.Run("after the match", func(t *testing.T) {
		t.Parallel()
		s := platform(t, walletcrewtest.WithPageSize(1))
		w := mustCreate(t, s, hookSpec())
		mustCreate(t, s, other)
		s.Fail(append([]fault{{}}, hopeless(http.MethodGet)...)...)
		got, err := s.Client().Webhooks.Ensure(t.Context(), hookSpec())
		require.NoError(t, err, "a match that was found counts")
		assert.Equal(t, w, got.Webhook)
		assert.Equal(t, walletcrew.EnsureUnchanged, got.Action)
	})
	t.Run("after a match that is switched off", func(t *testing.T) {
		t.Parallel()
		s := platform(t, walletcrewtest.WithPageSize(1))
		successor := hookSpec()
		successor.Enabled = new(false)
		mustCreate(t, s, successor)
		mustCreate(t, s, hookSpec())
		before := s.Webhooks()
		s.Fail(append([]fault{{}}, hopeless(http.MethodGet)...)...)
		spec := hookSpec()
		spec.Enabled = new(true)
		_, err := s.Client().Webhooks.Ensure(t.Context(), spec)
		require.ErrorIs(t, err, walletcrew.ErrServer)
		assert.Equal(t, before, s.Webhooks(), "it doesn't wake the one that it has seen: the one in use may come after it")
	})
	t.Run("before the match", func(t *testing.T) {
		t.Parallel()
		s := platform(t, walletcrewtest.WithPageSize(1))
		mustCreate(t, s, other)
		mustCreate(t, s, hookSpec())
		s.Fail(append([]fault{{}}, hopeless(http.MethodGet)...)...)
		_, err := s.Client().Webhooks.Ensure(t.Context(), hookSpec())
		require.ErrorIs(t, err, walletcrew.ErrServer)
		assert.Len(t, s.Webhooks(), 2, "who doesn't know the list doesn't create")
	})
	t.Run("after the create", func(t *testing.T) {
		t.Parallel()
		s := platform(t)
		s.Fail(append([]fault{{Method: http.MethodGet}}, hopeless(http.MethodGet)...)...)
		got, err := s.Client().Webhooks.Ensure(t.Context(), hookSpec())
		require.NoError(t, err, "the webhook is there")
		assert.Equal(t, walletcrew.EnsureCreated, got.Action)
		assert.Equal(t, []string{got.Webhook.ID}, ids(s))
	})
}

func TestEnsureAgainstARival(t *testing.T) {
	t.Parallel()
	t.Run("that created first: its own goes", func(t *testing.T) {
		t.Parallel()
		s := platform(t)
		var theirs *walletcrew.Webhook
		client := between(s, func(method string, _ int) {
			if method == http.MethodPost {
				theirs = mustCreate(t, s, hookSpec())
			}
		})
		got, err := client.Webhooks.Ensure(t.Context(), hookSpec())
		require.NoError(t, err)
		assert.Equal(t, &walletcrew.EnsureResult{Webhook: theirs, Action: walletcrew.EnsureUnchanged}, got)
		assert.Equal(t, []string{theirs.ID}, ids(s))
	})
	t.Run("that created a disabled one first: its own stays", func(t *testing.T) {
		t.Parallel()
		s := platform(t)
		var theirs *walletcrew.Webhook
		client := between(s, func(method string, _ int) {
			if method == http.MethodPost {
				spec := hookSpec()
				spec.Enabled = new(false)
				theirs = mustCreate(t, s, spec)
			}
		})
		got, err := client.Webhooks.Ensure(t.Context(), hookSpec())
		require.NoError(t, err)
		assert.Equal(t, walletcrew.EnsureCreated, got.Action)
		assert.Equal(t, []string{theirs.ID}, got.Duplicates)
		assert.Equal(t, []string{theirs.ID, got.Webhook.ID}, ids(s))
	})
	t.Run("that created first, and its own can't be deleted: it is named", func(t *testing.T) {
		t.Parallel()
		s := platform(t)
		s.Fail(hopeless(http.MethodDelete)...)
		client := between(s, func(method string, _ int) {
			if method == http.MethodPost {
				mustCreate(t, s, hookSpec())
			}
		})
		got, err := client.Webhooks.Ensure(t.Context(), hookSpec())
		require.NoError(t, err)
		left := ids(s)
		require.Len(t, left, 2)
		assert.Equal(t, left[0], got.Webhook.ID)
		assert.Equal(t, left[1:], got.Duplicates)
	})
	t.Run("that created first and deletes again: there is one all the same", func(t *testing.T) {
		t.Parallel()
		s := platform(t)
		client := between(s, func(method string, n int) {
			switch {
			case method == http.MethodPost && n == 1:
				mustCreate(t, s, hookSpec())
			case method == http.MethodDelete && n == 1:
				mustDelete(t, s, ids(s)[0])
			}
		})
		got, err := client.Webhooks.Ensure(t.Context(), hookSpec())
		require.NoError(t, err)
		assert.Equal(t, walletcrew.EnsureCreated, got.Action)
		assert.Equal(t, []string{got.Webhook.ID}, ids(s))
	})
	t.Run("that deletes what is about to be updated", func(t *testing.T) {
		t.Parallel()
		s := platform(t)
		mustCreate(t, s, walletcrew.WebhookSpec{Endpoint: hookURL, Events: []walletcrew.EventName{"*"}})
		client := between(s, func(method string, _ int) {
			if method == http.MethodPatch {
				mustDelete(t, s, ids(s)[0])
			}
		})
		got, err := client.Webhooks.Ensure(t.Context(), hookSpec())
		require.NoError(t, err)
		assert.Equal(t, walletcrew.EnsureCreated, got.Action)
		assert.Equal(t, []string{got.Webhook.ID}, ids(s))
	})
	t.Run("that never stops", func(t *testing.T) {
		t.Parallel()
		s := platform(t)
		differs := walletcrew.WebhookSpec{Endpoint: hookURL, Events: []walletcrew.EventName{"*"}}
		mustCreate(t, s, differs)
		client := between(s, func(method string, _ int) {
			if method == http.MethodPatch {
				mustDelete(t, s, ids(s)[0])
				mustCreate(t, s, differs)
			}
		})
		_, err := client.Webhooks.Ensure(t.Context(), hookSpec())
		require.ErrorIs(t, err, walletcrew.ErrNotFound)
		assert.Contains(t, err.Error(), "found and then not found, 5 times")
	})
}

// A keyring is a receiver that accepts what one of its secrets signed.
type keyring struct {
	*httptest.Server
	mu       sync.Mutex
	secrets  []walletcrew.Secret
	accepted map[string]int // by event
	refused  int
}

func newKeyring(t *testing.T) *keyring {
	t.Helper()
	k := &keyring{accepted: map[string]int{}}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		k.mu.Lock()
		defer k.mu.Unlock()
		if err := walletcrew.VerifySignature(body, r.Header.Get(walletcrew.HeaderSignature), k.secrets...); err != nil {
			k.refused++
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		e, err := walletcrew.ParseEvent("", body)
		assert.NoError(t, err)
		k.accepted[e.ID]++
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(k.Close)
	return k
}

func (k *keyring) know(secrets ...walletcrew.Secret) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.secrets = secrets
}

// A rotationTest has a webhook with a receiver that knows its secret, and lets an event happen before and after each request of
// its client.
type rotationTest struct {
	*walletcrewtest.Server
	t        *testing.T
	receiver *keyring
	client   *walletcrew.Client // doesn't retry
	old      *walletcrew.Webhook
	emitted  []string
}

func newRotationTest(t *testing.T, enabled bool, opts ...walletcrewtest.Option) *rotationTest {
	t.Helper()
	r := &rotationTest{Server: platform(t, opts...), t: t, receiver: newKeyring(t)}
	r.old = mustCreate(t, r.Server, walletcrew.WebhookSpec{
		Endpoint: r.receiver.URL, Events: []walletcrew.EventName{"Pass:*"}, Description: "of the shop", Enabled: &enabled,
	})
	r.receiver.know(r.old.SignatureSecret)
	r.client = r.Client(walletcrew.WithRetries(0, 0, 0), walletcrew.WithHTTPClient(&http.Client{
		Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			r.emit()
			defer r.emit()
			return http.DefaultTransport.RoundTrip(req)
		}),
	}))
	return r
}

func (r *rotationTest) emit() {
	id := fmt.Sprint("event-", len(r.emitted))
	r.emitted = append(r.emitted, id)
	_, err := r.Emit(r.t.Context(), walletcrew.EventPassUpdated, map[string]string{"__id": id})
	assert.NoError(r.t, err)
}

// noneLost checks what the receiver got up to now.
func (r *rotationTest) noneLost() {
	r.t.Helper()
	r.receiver.mu.Lock()
	defer r.receiver.mu.Unlock()
	assert.Zero(r.t, r.receiver.refused, "deliveries were signed with a secret that the receiver doesn't know")
	for _, id := range r.emitted {
		assert.Contains(r.t, r.receiver.accepted, id, "an event was lost")
	}
}

// finished checks that the successor took the predecessor's place.
func (r *rotationTest) finished(successor *walletcrew.Webhook) {
	r.t.Helper()
	want := *r.old
	want.ID, want.SignatureSecret = successor.ID, successor.SignatureSecret
	assert.Equal(r.t, []walletcrew.Webhook{want}, r.Webhooks())
	r.receiver.know(successor.SignatureSecret)
	r.emit()
	r.noneLost()
}

func TestRotateLosesNoDelivery(t *testing.T) {
	t.Parallel()
	r := newRotationTest(t, true)
	rotation, err := r.client.Webhooks.Rotate(t.Context(), r.old.ID)
	require.NoError(t, err)
	assert.Equal(t, r.old, rotation.Old)
	assert.False(t, rotation.New.Enabled, "the successor waits until the receivers know its secret")
	assert.Equal(t, []walletcrew.Secret{r.old.SignatureSecret, rotation.New.SignatureSecret}, rotation.Secrets())
	r.emit()
	r.noneLost()

	ensured, err := r.client.Webhooks.Ensure(t.Context(), walletcrew.WebhookSpec{Endpoint: r.old.Endpoint, Events: r.old.Events})
	require.NoError(t, err)
	assert.Equal(t, &walletcrew.EnsureResult{Webhook: r.old, Action: walletcrew.EnsureUnchanged, Duplicates: []string{rotation.New.ID}}, ensured,
		"Ensure keeps to the predecessor and doesn't wake the successor")

	r.receiver.know(rotation.Secrets()...)
	require.NoError(t, rotation.Finish(t.Context()))
	r.finished(rotation.New)
	require.NoError(t, rotation.Finish(t.Context()), "again changes nothing")
	r.finished(rotation.New)
}

func TestRotateOfADisabledWebhookWakesNeither(t *testing.T) {
	t.Parallel()
	r := newRotationTest(t, false)
	rotation, err := r.client.Webhooks.Rotate(t.Context(), r.old.ID)
	require.NoError(t, err)
	require.NoError(t, rotation.Finish(t.Context()))
	require.Len(t, r.Webhooks(), 1)
	assert.Equal(t, rotation.New.ID, r.Webhooks()[0].ID)
	assert.False(t, r.Webhooks()[0].Enabled)
	assert.Empty(t, r.receiver.accepted)
	assert.Zero(t, r.receiver.refused)
}

func TestRotateThatFails(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault fault
		left  int // webhooks afterwards
	}{
		"reading":                  {fault{Method: "GET", StatusCode: 503}, 1},
		"creating":                 {fault{Method: "POST", StatusCode: 403}, 1},
		"creating, dropped":        {fault{Method: "POST", Drop: true}, 1},
		"creating, answer lost":    {fault{Method: "POST", Drop: true, CarryOut: true}, 2},
		"creating, answer cut off": {fault{Method: "POST", Truncate: true}, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRotationTest(t, true)
			r.Fail(test.fault)
			_, err := r.client.Webhooks.Rotate(t.Context(), r.old.ID)
			require.Error(t, err)
			assert.Equal(t, test.fault.Method == "POST" && test.fault.StatusCode == 0, errors.Is(err, walletcrew.ErrOutcomeUnknown))
			require.Len(t, r.Webhooks(), test.left)
			assert.Equal(t, *r.old, r.Webhooks()[0])
			for _, w := range r.Webhooks()[1:] {
				assert.False(t, w.Enabled, "what is left over signs nothing")
			}

			rotation, err := r.client.Webhooks.Rotate(t.Context(), r.old.ID)
			require.NoError(t, err)
			r.receiver.know(rotation.Secrets()...)
			require.NoError(t, rotation.Finish(t.Context()))
			for _, w := range r.Webhooks() {
				assert.Equal(t, w.ID == rotation.New.ID, w.Enabled)
			}
			r.noneLost()
		})
	}
}

func TestFinishThatFailsMayBeCalledAgain(t *testing.T) {
	t.Parallel()
	kinds := map[string]fault{
		"refused":      {StatusCode: http.StatusForbidden},
		"server error": {StatusCode: http.StatusInternalServerError},
		"502 too late": {StatusCode: http.StatusBadGateway, CarryOut: true},
		"dropped":      {Drop: true},
		"answer lost":  {Drop: true, CarryOut: true},
		"cut off":      {Truncate: true},
	}
	for _, answer := range []walletcrewtest.Answer{walletcrewtest.AnswerWebhook, walletcrewtest.AnswerNoContent} {
		steps := []string{"read the successor", "read the predecessor", "enable the successor", "delete the predecessor"}
		if answer == walletcrewtest.AnswerNoContent {
			steps = slices.Insert(steps, 3, "read the successor again")
		}
		for step, stepName := range steps {
			for kind, f := range kinds {
				for _, anew := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/answer %d/a new process %t", stepName, kind, answer, anew), func(t *testing.T) {
						t.Parallel()
						r := newRotationTest(t, true, walletcrewtest.WithPatchAnswer(answer), walletcrewtest.WithDeleteAnswer(answer))
						rotation, err := r.client.Webhooks.Rotate(t.Context(), r.old.ID)
						require.NoError(t, err)
						r.receiver.know(rotation.Secrets()...)
						finish := rotation.Finish
						if anew {
							finish = func(ctx context.Context) error {
								return r.client.Webhooks.FinishRotation(ctx, rotation.Old.ID, rotation.New.ID)
							}
						}

						r.Fail(append(make([]fault, step), f)...)
						err = finish(t.Context())
						if f.StatusCode != 0 {
							require.Error(t, err) // a GET that is dropped is sent again by net/http
						}
						assert.Contains(t, ids(r.Server), rotation.New.ID)
						require.NoError(t, finish(t.Context()))
						r.finished(rotation.New)
					})
				}
			}
		}
	}
}

func TestARotationThatWasStoredAndReadBackSaysWhatToUse(t *testing.T) {
	t.Parallel()
	for _, r := range []*walletcrew.Rotation{{}, {Old: &walletcrew.Webhook{ID: "a"}, New: &walletcrew.Webhook{ID: "b"}}} {
		require.ErrorContains(t, r.Finish(t.Context()), "use FinishRotation")
	}
}

func TestFinishRotationRefusesWhatIsNotOne(t *testing.T) {
	t.Parallel()
	s := platform(t)
	old := mustCreate(t, s, hookSpec())
	other := mustCreate(t, s, walletcrew.WebhookSpec{Endpoint: "https://shop.example/other", Events: []walletcrew.EventName{"*"}})
	before, service := s.Webhooks(), s.Client().Webhooks

	invalid := &walletcrew.ValidationError{}
	require.ErrorAs(t, service.FinishRotation(t.Context(), old.ID, old.ID), &invalid)
	require.ErrorAs(t, service.FinishRotation(t.Context(), old.ID, other.ID), &invalid)
	require.ErrorIs(t, service.FinishRotation(t.Context(), old.ID, "gone1"), walletcrew.ErrNotFound)
	assert.Equal(t, before, s.Webhooks(), "the predecessor isn't deleted where there is no successor")
	require.NoError(t, service.FinishRotation(t.Context(), "gone1", old.ID), "finished before")
}

func TestFinishRotationWithTheIDsSwappedDeletesNothing(t *testing.T) {
	t.Parallel()
	s := platform(t)
	service := s.Client().Webhooks
	r, err := service.Rotate(t.Context(), mustCreate(t, s, hookSpec()).ID)
	require.NoError(t, err)
	before := s.Webhooks()
	var invalid *walletcrew.ValidationError
	require.ErrorAs(t, service.FinishRotation(t.Context(), r.New.ID, r.Old.ID), &invalid)
	assert.Contains(t, invalid.Reason, "swapped")
	assert.Equal(t, before, s.Webhooks())
	require.NoError(t, service.FinishRotation(t.Context(), r.Old.ID, r.New.ID))
	assert.Equal(t, []string{r.New.ID}, ids(s))
}

func TestRotateNeedsTheSuccessorsSecret(t *testing.T) {
	t.Parallel()
	client := clientOn(t, roundTrip(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodPost {
			return respond(req, 201, `{"id":"Zz9zZ","endpoint":"https://shop.example/hook","events":["*"],"enabled":false}`), nil
		}
		if strings.HasSuffix(req.URL.Path, "/webhooks") {
			return respond(req, 200, "["+hookJSON+"]"), nil
		}
		return respond(req, 200, hookJSON), nil
	}))
	_, err := client.Webhooks.Rotate(t.Context(), "Ab3xY")
	require.ErrorContains(t, err, "no secret of the successor Zz9zZ")
}

// faultKinds is every way in which a call can go wrong. None claims a success for what wasn't carried out: no client could tell.
func faultKinds() []fault {
	html := http.Header{"Content-Type": {"text/html"}}
	kinds := []fault{
		{StatusCode: 429},
		{StatusCode: 429, Header: http.Header{"Retry-After": {"0"}}, Body: `{"title":"Too many requests","status":429}`},
		{StatusCode: 429, Header: http.Header{"Retry-After": {"3600"}}},
		{StatusCode: 403, Header: html, Body: "<html><title>Attention Required!</title>"},
		{StatusCode: 409, Body: `{"title":"Conflict","errors":{"endpoint":["taken"]}}`},
		{StatusCode: 302, Header: http.Header{"Location": {"https://elsewhere.example/"}}},
		{StatusCode: 503, Header: http.Header{"Retry-After": {"Wed, 21 Oct 2015 07:28:00 GMT"}}},
		{CarryOut: true, StatusCode: 200, Body: "<title>Welcome</title>"},
		{CarryOut: true, StatusCode: 200, Body: `{"id":7}`},
		{CarryOut: true, StatusCode: 200},
		{Truncate: true},
		{Drop: true},
		{Drop: true, CarryOut: true},
		{Delay: time.Millisecond},
		{Delay: time.Hour},
		{Delay: time.Hour, CarryOut: true},
	}
	for _, status := range []int{500, 502, 504, 520, 521, 522, 523, 524} {
		kinds = append(kinds, fault{StatusCode: status, Header: html, Body: "<title>Error</title>"}, fault{StatusCode: status, CarryOut: true})
	}
	return kinds
}

func TestAThousandCallsWithFaults(t *testing.T) {
	t.Parallel()
	tests := map[string][]walletcrewtest.Option{
		"PATCH answers 200": nil,
		"PATCH answers 204": {walletcrewtest.WithPatchAnswer(walletcrewtest.AnswerNoContent), walletcrewtest.WithDeleteAnswer(walletcrewtest.AnswerEmpty)},
		"the list is paged": {walletcrewtest.WithPageSize(5), walletcrewtest.WithDeleteAnswer(walletcrewtest.AnswerWebhook)},
	}
	for name, opts := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const callers, calls = 4, 250
			s := platform(t, opts...)
			kinds := faultKinds()
			queue := make([]fault, 10*callers*calls) // more than there are requests
			for i := range queue {
				if rand.N(5) == 0 {
					queue[i] = kinds[rand.N(len(kinds))]
				}
			}
			s.Fail(queue...)
			transport := &http.Transport{MaxIdleConnsPerHost: callers}
			t.Cleanup(transport.CloseIdleConnections)

			all := make([]*caller, callers)
			var wg sync.WaitGroup
			for i := range all {
				c := &caller{t: t, name: fmt.Sprint("caller", i), known: map[string]*knowledge{}, maybe: map[string]bool{}}
				// Seldom enough retries, so that there are errors to look at.
				c.service = s.Client(walletcrew.WithRetries(i%3, 0, time.Millisecond),
					walletcrew.WithHTTPClient(&http.Client{Transport: c.noting(transport), Timeout: 200 * time.Millisecond})).Webhooks
				all[i] = c
				wg.Go(func() {
					for range calls {
						all[i].call()
					}
				})
			}
			wg.Wait()

			known, maybe, failed, unknown := map[string]*knowledge{}, map[string]bool{}, 0, 0
			for _, c := range all {
				maps.Copy(known, c.known)
				maps.Copy(maybe, c.maybe)
				failed, unknown = failed+c.failed, unknown+c.unknown
			}
			for _, w := range s.Webhooks() {
				if k := known[w.ID]; k != nil {
					k.mustAllow(t, w)
					delete(known, w.ID)
					continue
				}
				assert.True(t, maybe[w.Endpoint], "webhook %s is there, and no result implies it", w.ID)
			}
			for id, k := range known {
				assert.True(t, k.maybeGone, "webhook %s is gone, and no result implies it", id)
			}
			t.Logf("%d calls, of which %d failed, %d of them with an unknown outcome",
				callers*calls, failed, unknown)
			assert.Positive(t, failed)
			assert.Positive(t, unknown)
		})
	}
}

// A caller makes calls at random, and remembers what their results say about its webhooks.
type caller struct {
	t               *testing.T
	name            string
	service         *walletcrew.WebhooksService
	known           map[string]*knowledge // by id
	maybe           map[string]bool       // endpoints of creates whose outcome is unknown
	n               int
	failed, unknown int
}

// knowledge is what is known of one webhook.
type knowledge struct {
	states    []walletcrew.Webhook // one of these it is
	late      []string             // descriptions that it may have instead, at any time
	maybeGone bool
}

// noting notes the PATCH that wasn't answered in time: where the machine stood still, the server may come to it after those that follow.
func (c *caller) noting(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err != nil && !errors.Is(err, io.EOF) && r.Method == http.MethodPatch { // EOF is a connection that the server closed
			body, err := r.GetBody()
			var patch struct{ Description string }
			if assert.NoError(c.t, err) && assert.NoError(c.t, json.NewDecoder(body).Decode(&patch)) {
				k := c.known[path.Base(r.URL.Path)]
				k.late = append(k.late, patch.Description)
			}
		}
		return resp, err
	})
}

// mustAllow checks that the webhook may be as it is.
func (k *knowledge) mustAllow(t *testing.T, w walletcrew.Webhook) {
	t.Helper()
	if slices.Contains(k.late, w.Description) {
		w.Description = k.states[0].Description
	}
	assert.Contains(t, k.states, w, "webhook %s isn't as the results imply", w.ID)
}

func (c *caller) call() {
	c.n++
	ctx := c.t.Context()
	id := ""
	for id = range c.known { // any
		break
	}
	switch op := rand.N(20); {
	case op < 6 || id == "":
		endpoint := fmt.Sprintf("https://shop.example/%s/%d", c.name, c.n)
		w, err := c.service.Create(ctx, walletcrew.WebhookSpec{Endpoint: endpoint, Events: []walletcrew.EventName{"*"}})
		switch {
		case c.ok(err):
			c.known[w.ID] = &knowledge{states: []walletcrew.Webhook{*w}}
		case errors.Is(err, walletcrew.ErrOutcomeUnknown):
			c.maybe[endpoint] = true
		}
	case op < 9:
		w, err := c.service.Get(ctx, id)
		if c.ok(err) {
			c.known[id].mustAllow(c.t, *w)
		}
		c.gone(id, err)
	case op < 11:
		seen := map[string]walletcrew.Webhook{}
		for w, err := range c.service.All(ctx, nil) {
			if !c.ok(err) {
				return
			}
			seen[w.ID] = *w
		}
		for id, k := range c.known {
			if w, ok := seen[id]; ok {
				k.mustAllow(c.t, w)
			} else {
				assert.True(c.t, k.maybeGone, "webhook %s isn't in the list, and no result says that it is gone", id)
			}
		}
	case op < 15:
		text := fmt.Sprint(c.name, " call ", c.n)
		w, err := c.service.Patch(ctx, id, walletcrew.WebhookPatch{Description: &text})
		switch k := c.known[id]; {
		case c.ok(err):
			if !slices.Contains(k.late, w.Description) {
				assert.Equal(c.t, text, w.Description)
			}
			k.states = []walletcrew.Webhook{*w}
		case errors.Is(err, walletcrew.ErrOutcomeUnknown):
			for _, state := range k.states {
				state.Description = text
				k.states = append(k.states, state)
			}
		default:
			c.gone(id, err)
		}
	case op < 18:
		err := c.service.Delete(ctx, id)
		switch {
		case c.ok(err):
			delete(c.known, id)
		case errors.Is(err, walletcrew.ErrOutcomeUnknown) && errors.Is(err, walletcrew.ErrNotFound):
			assert.Fail(c.t, "a DELETE that is answered 404 on a retry is a success", "%v", err)
		case errors.Is(err, walletcrew.ErrOutcomeUnknown):
			c.known[id].maybeGone = true
		default:
			c.gone(id, err)
		}
	case op < 19:
		_, err := c.service.Get(ctx, "none")
		assert.False(c.t, c.ok(err))
	default:
		_, err := c.service.Create(ctx, walletcrew.WebhookSpec{Endpoint: "http://shop.example/", Events: []walletcrew.EventName{"*"}})
		invalid := &walletcrew.ValidationError{}
		assert.ErrorAs(c.t, err, &invalid)
	}
}

// gone takes note of a 404.
func (c *caller) gone(id string, err error) {
	if errors.Is(err, walletcrew.ErrNotFound) {
		assert.True(c.t, c.known[id].maybeGone, "webhook %s isn't found, and no result says that it is gone", id)
		delete(c.known, id)
	}
}

// ok reports whether err is nil, and checks that any other can be told apart.
func (c *caller) ok(err error) bool {
	if err == nil {
		return true
	}
	c.failed++
	if errors.Is(err, walletcrew.ErrOutcomeUnknown) {
		c.unknown++
	}
	api, isAPI := errors.AsType[*walletcrew.APIError](err)
	request, isRequest := errors.AsType[*walletcrew.RequestError](err)
	switch {
	case isAPI:
		assert.Positive(c.t, api.Attempts)
		sentinel := slices.ContainsFunc([]error{
			walletcrew.ErrBadRequest, walletcrew.ErrForbidden, walletcrew.ErrNotFound, walletcrew.ErrConflict, walletcrew.ErrRateLimited, walletcrew.ErrServer,
		}, func(target error) bool { return errors.Is(err, target) })
		assert.True(c.t, sentinel || api.StatusCode == http.StatusFound, "no sentinel for %v", err)
	case isRequest:
		assert.Positive(c.t, request.Attempts)
		assert.NotEmpty(c.t, request.Err.Error())
	default:
		assert.Fail(c.t, "an error that can't be classified", "%T: %v", err, err)
	}
	assert.NotContains(c.t, err.Error(), "\n")
	assert.True(c.t, strings.HasPrefix(err.Error(), "walletcrew: "), err)
	return false
}

func TestFinishDeletesNothingBeforeTheSuccessorIsEnabled(t *testing.T) {
	t.Parallel()
	s := platform(t)
	created := mustCreate(t, s, walletcrew.WebhookSpec{Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{"*"}})
	r, err := s.Client().Webhooks.Rotate(t.Context(), created.ID)
	require.NoError(t, err)
	// The platform takes the patch and does nothing.
	s.Fail(fault{Method: http.MethodPatch, StatusCode: http.StatusNoContent})
	require.ErrorContains(t, r.Finish(t.Context()), "still disabled")
	assert.Len(t, s.Webhooks(), 2, "the predecessor goes on to work")
	assert.True(t, s.Webhooks()[0].Enabled)
	require.NoError(t, r.Finish(t.Context()), "it may be called again")
}

func TestARotationWhosePredecessorSomebodyDeleted(t *testing.T) {
	t.Parallel()
	s := platform(t)
	created := mustCreate(t, s, walletcrew.WebhookSpec{Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{"*"}})
	r, err := s.Client().Webhooks.Rotate(t.Context(), created.ID)
	require.NoError(t, err)
	mustDelete(t, s, created.ID)
	require.ErrorContains(t, s.Client().Webhooks.FinishRotation(t.Context(), r.Old.ID, r.New.ID), "is gone, and the successor is disabled",
		"who starts anew can't know whether it was enabled")
	require.NoError(t, r.Finish(t.Context()), "who began it knows")
	assert.True(t, s.Webhooks()[0].Enabled, "or no event would be delivered any more")
	require.NoError(t, s.Client().Webhooks.FinishRotation(t.Context(), r.Old.ID, r.New.ID), "it was finished before")
}
