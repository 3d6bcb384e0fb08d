package verifier_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// fakeAPI is the management API as a transport, so that it lives in a synctest bubble, and as a handler.
type fakeAPI struct {
	mu      sync.Mutex
	secrets []walletcrew.Secret // of the webhooks; every second webhook is disabled
	status  int                 // 0: 200
	err     error               // no answer at all
	takes   time.Duration       // an answer
	calls   int

	retryAfter string // of an answer that isn't 200
	failed     int
}

func (f *fakeAPI) set(secrets ...walletcrew.Secret) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.secrets, f.status, f.err = secrets, 0, nil
}

func (f *fakeAPI) down(status int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status, f.err = status, err
}

func (f *fakeAPI) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// answer counts the call and says what is answered, and after how long.
func (f *fakeAPI) answer() (status int, body []byte, takes time.Duration, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.err != nil || f.status != 0 {
		f.failed++
		return f.status, []byte(`{"title":"no"}`), f.takes, f.err
	}
	type webhook struct {
		ID       string   `json:"id"`
		Endpoint string   `json:"endpoint"`
		Events   []string `json:"events"`
		Enabled  bool     `json:"enabled"`
		Secret   string   `json:"signatureSecret"`
	}
	list := []webhook{}
	for i, secret := range f.secrets {
		list = append(list, webhook{fmt.Sprintf("w%04d", i), "https://shop.example/hooks", []string{"*"}, i%2 == 0, string(secret)})
	}
	body, err = json.Marshal(list)
	return http.StatusOK, body, f.takes, err
}

func (f *fakeAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body, takes, err := f.answer()
	select {
	case <-time.After(takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {f.retryAfter}}, Body: io.NopCloser(strings.NewReader(string(body))), ContentLength: int64(len(body)),
	}, nil
}

// client sends without retries, so that each look is one call.
func (f *fakeAPI) client(t testing.TB, opts ...walletcrew.Option) *walletcrew.Client {
	t.Helper()
	c, err := walletcrew.NewClient("acme", append([]walletcrew.Option{
		walletcrew.WithAPIKey("key"), walletcrew.WithHTTPClient(&http.Client{Transport: f}), walletcrew.WithRetries(0, 0, 0),
	}, opts...)...)
	require.NoError(t, err)
	return c
}

// sentWith is the status that a delivery signed with secret would be answered with.
func sentWith(v *verifier.Verifier, secret walletcrew.Secret) int {
	body := []byte(knownBody)
	return verifier.StatusCode(v.Verify(context.Background(), "acme", body, walletcrew.Sign(secret, body)))
}

func TestFromAPIOverHTTPLoadsOnceAndTakesDisabledWebhooksToo(t *testing.T) {
	t.Parallel()
	api := &fakeAPI{}
	api.set("enabled-1", "disabled-2", knownSecret, "", "disabled-4")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "GET /api/acme/webhooks", r.Method+" "+r.URL.String())
		assert.Equal(t, "key", r.Header.Get("X-API-KEY"))
		status, body, _, _ := api.answer()
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	defer server.Close()
	client, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey("key"), walletcrew.WithBaseURL(server.URL))
	require.NoError(t, err)
	v := verifierOf(t, verifier.FromAPI(client))
	assert.Zero(t, api.asked(), "nothing is asked before the first delivery")

	for range 50 {
		for _, secret := range []walletcrew.Secret{"enabled-1", "disabled-2", knownSecret, "disabled-4"} {
			require.Equal(t, 204, sentWith(v, secret), "the secret of every webhook is accepted, of disabled ones too (%d)", len(secret))
		}
	}
	assert.Equal(t, 1, api.asked(), "the webhooks are listed once for 200 deliveries")
	for _, tenant := range []string{"acme", "globex", ""} {
		require.NoError(t, v.Verify(t.Context(), tenant, []byte(knownBody), knownHex), "whatever tenant the header names: %q", tenant)
	}
	assert.Equal(t, 401, sentWith(v, ""), "a webhook without a secret doesn't make the empty one valid")
}

func TestFromAPIForAnEndpointTakesNoOthersSecret(t *testing.T) {
	t.Parallel()
	platform := walletcrewtest.NewServer()
	defer platform.Close()
	client := platform.Client()
	create := func(endpoint string) walletcrew.Secret {
		w, err := client.Webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: endpoint, Events: []walletcrew.EventName{"*"}})
		require.NoError(t, err)
		return w.SignatureSecret
	}
	v := verifierOf(t, verifier.FromAPI(client, verifier.ForEndpoint("https://SHOP.example:443/hook")))
	vendors := create("https://mail.example/in")
	err := v.Verify(t.Context(), "", []byte(knownBody), walletcrew.Sign(vendors, []byte(knownBody)))
	require.ErrorIs(t, err, verifier.ErrUnknownTenant)
	require.ErrorContains(t, err, "with the endpoint of ForEndpoint")
	empty := walletcrewtest.NewServer()
	defer empty.Close()
	err = verifierOf(t, verifier.FromAPI(empty.Client())).Verify(t.Context(), "", []byte(knownBody), nowhere)
	require.ErrorIs(t, err, verifier.ErrUnknownTenant)
	require.NotContains(t, err.Error(), "ForEndpoint", "which wasn't used")
	ours := create("https://shop.example/hook")
	assert.Equal(t, 204, sentWith(v, ours))
	assert.Equal(t, 401, sentWith(v, vendors), "who runs another endpoint can't sign for this one")
	assert.Equal(t, 204, sentWith(verifierOf(t, verifier.FromAPI(client)), vendors), "without the option he can")
}

func TestFromAPISaysWhyASecretMayBeMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(knownSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		forged := func() string {
			err := v.Verify(t.Context(), "", []byte(knownBody), nowhere)
			require.ErrorIs(t, err, walletcrew.ErrSignatureMismatch)
			require.Equal(t, 401, verifier.StatusCode(err))
			return err.Error()
		}
		for range 4 {
			assert.NotContains(t, forged(), "or the webhook", "the list is as new as can be")
		}
		api.down(http.StatusUnauthorized, nil)
		time.Sleep(7 * time.Second)
		assert.Contains(t, forged(), "the list, which is 7s old and can't be had now: walletcrew: GET /api/acme/webhooks: 401")
		api.down(0, nil)
		time.Sleep(time.Second)
		forged()
		assert.Contains(t, forged(), "FromAPI looks only once each 30s")
	})
}

func TestFromAPIFindsAWebhookMadeAMomentAgo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(otherSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, otherSecret))
		api.set(otherSecret, knownSecret)
		assert.Equal(t, 204, sentWith(v, knownSecret), "the first delivery of a new webhook is accepted at once")
		assert.Equal(t, 2, api.asked())
		assert.Equal(t, 204, sentWith(v, otherSecret))
		assert.Equal(t, 204, sentWith(v, knownSecret))
		assert.Equal(t, 2, api.asked(), "both are cached then")
	})
}

func TestFromAPITakesEachSecretOnceAndNoneThatIsEmpty(t *testing.T) {
	t.Parallel()
	api := &fakeAPI{}
	api.set(knownSecret, "", otherSecret, knownSecret, otherSecret)
	secrets, err := verifier.FromAPI(api.client(t)).Secrets(t.Context(), "acme")
	require.NoError(t, err)
	assert.Equal(t, []walletcrew.Secret{knownSecret, otherSecret}, secrets, "a hash each is what a forgery costs")
}

func TestFromAPIOfATenantWithoutWebhooksKnowsNoTenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		err := v.Verify(t.Context(), "acme", []byte(knownBody), knownHex)
		require.ErrorIs(t, err, verifier.ErrUnknownTenant)
		require.ErrorContains(t, err, "has no webhook, or none yet")
		assert.Equal(t, 401, verifier.StatusCode(err))
		api.set(knownSecret)
		assert.Equal(t, 204, sentWith(v, knownSecret), "its first webhook is found")
	})
}

func TestFromAPILooksFiveTimesAndThenOnceEachHalfMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(otherSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		forged := func(want int, message string) {
			t.Helper()
			require.Equal(t, 401, sentWith(v, "forged"))
			assert.Equal(t, want, api.asked(), message)
		}
		require.Equal(t, 204, sentWith(v, otherSecret))
		for i := range 5 {
			forged(1+i+1, "each of the first five looks")
		}
		forged(6, "the sixth doesn't")
		require.ErrorIs(t, v.Verify(t.Context(), "acme", []byte(knownBody), knownHex), walletcrew.ErrSignatureMismatch,
			"the tenant is known, whether it looks or not")
		time.Sleep(30*time.Second - time.Nanosecond)
		forged(6, "nor does one just under 30 s later")
		time.Sleep(time.Nanosecond)
		forged(7, "after 30 s, one looks")
		forged(7, "and only one")
		time.Sleep(75 * time.Second)
		forged(8, "two after 75 s: the first")
		forged(9, "two after 75 s: the second")
		forged(9, "no third")
		time.Sleep(15 * time.Second)
		forged(10, "the half minute that had begun counts")
		time.Sleep(9 * time.Minute)
		for i := range 5 {
			forged(10+i+1, "after a long pause there are five again")
		}
		forged(15, "and not more")

		api.set(otherSecret, knownSecret)
		assert.Equal(t, 401, sentWith(v, knownSecret), "with no look left, a new webhook must wait")
		time.Sleep(30 * time.Second)
		assert.Equal(t, 204, sentWith(v, knownSecret), "for half a minute at most")
	})
}

func TestFromAPISharesOneCallAmongAllWhoAskAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{takes: 2 * time.Second}
		api.set(otherSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		atOnce := func(secret walletcrew.Secret, want int) {
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() { assert.Equal(t, want, sentWith(v, secret)) })
			}
			wg.Wait()
		}
		atOnce(otherSecret, 204)
		assert.Equal(t, 1, api.asked(), "100 first deliveries share one call")
		atOnce("forged", 401)
		assert.Equal(t, 2, api.asked(), "100 forged ones share one call")
		api.set(otherSecret, knownSecret)
		atOnce(knownSecret, 204)
		assert.Equal(t, 3, api.asked(), "100 of a new webhook share one call")
	})
}

func TestFromAPIFindsAWebhookMadeWhileALookWasUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(otherSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, otherSecret))

		api.mu.Lock()
		api.takes = time.Second
		api.mu.Unlock()
		go sentWith(v, "forged") // anyone can make it look
		synctest.Wait()
		time.Sleep(500 * time.Millisecond)
		api.set(otherSecret, knownSecret)
		assert.Equal(t, 204, sentWith(v, knownSecret), "the look that it waited for was too old to know its webhook")
		assert.Equal(t, 3, api.asked())
	})
}

func TestFromAPIALookUnderWayServesWhoseSecretItFinds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(otherSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, otherSecret))

		api.mu.Lock()
		api.takes = time.Second
		api.mu.Unlock()
		api.set(otherSecret, knownSecret)
		go sentWith(v, "forged")
		synctest.Wait()
		time.Sleep(500 * time.Millisecond)
		assert.Equal(t, 204, sentWith(v, knownSecret))
		assert.Equal(t, 2, api.asked(), "it needn't be asked again")
	})
}

func TestFromAPIWhoAsksATenthOfASecondAfterALookBeganSharesIt(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]struct{ status, asked int }{
		100 * time.Millisecond:                 {401, 2},
		100*time.Millisecond + time.Nanosecond: {204, 3},
		60 * time.Millisecond:                  {401, 2},
		190 * time.Millisecond:                 {204, 3},
	} {
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				api := &fakeAPI{}
				api.set(otherSecret)
				v := verifierOf(t, verifier.FromAPI(api.client(t)))
				require.Equal(t, 204, sentWith(v, otherSecret))

				api.mu.Lock()
				api.takes = time.Second
				api.mu.Unlock()
				go sentWith(v, "forged")
				synctest.Wait()
				time.Sleep(after)
				api.set(otherSecret, knownSecret)
				assert.Equal(t, want.status, sentWith(v, knownSecret), "a webhook made %v after the look began", after)
				assert.Equal(t, want.asked, api.asked())
			})
		})
	}
}

func TestFromAPIGoesOnAfterAClientThatEndedItsGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(knownSecret)
		ends := true
		transport := transportFunc(func(r *http.Request) (*http.Response, error) {
			if ends {
				runtime.Goexit() // as t.FailNow does in a mock
			}
			return api.RoundTrip(r)
		})
		c, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey("key"), walletcrew.WithHTTPClient(&http.Client{Transport: transport}))
		require.NoError(t, err)
		v := verifierOf(t, verifier.FromAPI(c))
		require.Equal(t, 503, sentWith(v, knownSecret))
		ends = false
		time.Sleep(time.Second)
		assert.Equal(t, 204, sentWith(v, knownSecret))
	})
}

// A framework's context that is used for the next request once this one has been answered, as gin's is.
type reusedContext struct {
	context.Context
	t    *testing.T
	over atomic.Bool
}

func (c *reusedContext) Value(key any) any {
	assert.False(c.t, c.over.Load(), "the look reads a context that may be the next request's")
	return c.Context.Value(key)
}

func TestFromAPITakesNothingOfADeliveryThatIsOver(t *testing.T) {
	t.Parallel()
	server := walletcrewtest.NewServer()
	defer server.Close()
	server.Fail(walletcrewtest.Fault{StatusCode: 503}) // so that the look tries again
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	reused := &reusedContext{Context: ctx, t: t}
	var attempts atomic.Int32
	goOn := make(chan struct{})
	client := server.Client(walletcrew.WithHTTPClient(&http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
		if attempts.Add(1) == 1 {
			hangUp()
			<-goOn
		}
		return http.DefaultTransport.RoundTrip(r)
	})}))
	v := verifierOf(t, verifier.FromAPI(client))
	require.ErrorIs(t, v.Verify(reused, "t", []byte("{}"), nowhere), verifier.ErrSecretsUnavailable)
	reused.over.Store(true)
	close(goOn)
	require.ErrorIs(t, v.Verify(t.Context(), "t", []byte("{}"), nowhere), verifier.ErrUnknownTenant, "the look goes on, for the next")
	assert.GreaterOrEqual(t, attempts.Load(), int32(2), "it has tried again")
}

func TestFromAPIAPanicOfTheClientIsAnErrorAndNotTheEndOfTheProcess(t *testing.T) {
	t.Parallel()
	transport := transportFunc(func(*http.Request) (*http.Response, error) { panic("a transport with a fault") })
	c, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey("key"), walletcrew.WithHTTPClient(&http.Client{Transport: transport}))
	require.NoError(t, err)
	v := verifierOf(t, verifier.FromAPI(c))
	assert.Equal(t, 503, sentWith(v, knownSecret))
	assert.Equal(t, 503, sentWith(v, knownSecret), "and it goes on to answer")
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestFromAPIKeepsToWhatTheAPIAsksFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{retryAfter: "60"}
		api.set(otherSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, otherSecret))
		api.down(http.StatusTooManyRequests, nil)
		for range 600 {
			require.Equal(t, 401, sentWith(v, "forged"))
			time.Sleep(100 * time.Millisecond)
		}
		assert.Equal(t, 2, api.asked(), "one call in the minute that it asked for")
	})
}

func TestFromAPIWaitsTenMinutesAtMostHoweverLongTheAPIAsksFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{retryAfter: "86400"}
		api.set(otherSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, otherSecret))
		api.down(http.StatusTooManyRequests, nil)
		require.Equal(t, 401, sentWith(v, "forged"))
		require.Equal(t, 2, api.asked())
		time.Sleep(10*time.Minute - time.Nanosecond)
		require.Equal(t, 401, sentWith(v, "forged"))
		assert.Equal(t, 2, api.asked(), "just under ten minutes are within the pause")
		time.Sleep(time.Nanosecond)
		require.Equal(t, 401, sentWith(v, "forged"))
		assert.Equal(t, 3, api.asked(), "a day without looking would be a day of refused deliveries")
	})
}

func TestFromAPIPausesAWholeSecondAfterAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(otherSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, otherSecret))
		api.down(http.StatusBadGateway, nil)
		require.Equal(t, 401, sentWith(v, "forged"))
		time.Sleep(time.Second - time.Nanosecond)
		require.Equal(t, 401, sentWith(v, "forged"))
		assert.Equal(t, 2, api.asked())
		time.Sleep(time.Nanosecond)
		require.Equal(t, 401, sentWith(v, "forged"))
		assert.Equal(t, 3, api.asked())
	})
}

func TestFromAPIAReviewIsOneOfTheFiveLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(otherSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, otherSecret))
		for range 6 {
			require.Equal(t, 401, sentWith(v, "forged"))
		}
		require.Equal(t, 6, api.asked(), "all five are used up")
		time.Sleep(11 * time.Minute)
		require.Equal(t, 204, sentWith(v, otherSecret))
		synctest.Wait()
		require.Equal(t, 7, api.asked(), "the review")
		for range 6 {
			require.Equal(t, 401, sentWith(v, "forged"))
		}
		assert.Equal(t, 11, api.asked(), "four looks are left")
	})
}

func TestPrintingASourceSaysWhichItIs(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		assert.Equal(t, "verifier.FromAPI(...)", fmt.Sprintf(format, verifier.FromAPI(new(fakeAPI).client(t))))
		assert.Equal(t, "verifier.Static([redacted])", fmt.Sprintf(format, verifier.Static(knownSecret)))
	}
}

func TestFromAPIAFailedLookCostsASecondButNoToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(otherSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, otherSecret))
		api.down(http.StatusBadGateway, nil)
		for i := range 60 {
			for range 10 {
				require.Equal(t, 401, sentWith(v, "forged"), "what doesn't fit the cached secrets is refused")
			}
			assert.Equal(t, 1+i+1, api.asked(), "one call a second while the API fails")
			time.Sleep(time.Second)
		}
		api.set(otherSecret)
		before := api.asked()
		for range 10 {
			require.Equal(t, 401, sentWith(v, "forged"))
		}
		assert.Equal(t, 5, api.asked()-before, "60 failed looks took none of the five tokens")
	})
}

func TestFromAPIGoesOnWithTheSecretsItHasWhileTheAPIIsDown(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]struct {
		status int
		err    error
	}{
		"500": {500, nil}, "429": {429, nil}, "the key was revoked": {401, nil}, "the scope is gone": {403, nil}, "no connection": {0, errors.New("connection refused")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				api := &fakeAPI{}
				api.set(knownSecret)
				v := verifierOf(t, verifier.FromAPI(api.client(t)))
				require.Equal(t, 204, sentWith(v, knownSecret))
				api.down(down.status, down.err)
				for range 100 {
					assert.Equal(t, 204, sentWith(v, knownSecret), "good deliveries are accepted for as long as the API is down")
					assert.Equal(t, 401, sentWith(v, "forged"), "bad ones are refused: the cached secrets say so")
					time.Sleep(time.Minute)
				}
				synctest.Wait()
				api.set(otherSecret)
				time.Sleep(2 * time.Second)
				assert.Equal(t, 204, sentWith(v, otherSecret), "when it is back, the new list counts")
				assert.Equal(t, 401, sentWith(v, knownSecret), "and only the new list")
			})
		})
	}
}

func TestFromAPIAnswers503UntilItHasHadSecretsAndThenRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.down(http.StatusForbidden, nil)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		for i := range 10 {
			for _, secret := range []walletcrew.Secret{knownSecret, "forged"} {
				err := v.Verify(t.Context(), "acme", []byte(knownBody), walletcrew.Sign(secret, []byte(knownBody)))
				require.ErrorIs(t, err, verifier.ErrSecretsUnavailable)
				assert.Equal(t, 503, verifier.StatusCode(err), "without secrets nothing can be said of a signature: 503, not 401")
				assert.ErrorIs(t, err, walletcrew.ErrForbidden, "the cause is named, within the pause too")
				assert.ErrorContains(t, err, "Webhook.Read", "and what to do about it")
			}
			assert.Equal(t, i+1, api.asked(), "within a second of a failure it doesn't ask again")
			time.Sleep(time.Second)
		}
		api.set(knownSecret)
		assert.Equal(t, 204, sentWith(v, knownSecret), "it recovers by itself")
		before := api.asked()
		for range 10 {
			require.Equal(t, 401, sentWith(v, "forged"))
		}
		assert.Equal(t, 5, api.asked()-before, "the first load costs no token")
	})
}

func TestFromAPIReviewsItsSecretsInTheBackgroundAfterTenMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{takes: 5 * time.Second}
		api.set(knownSecret, otherSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, knownSecret))
		api.set(otherSecret) // the webhook is deleted
		time.Sleep(10 * time.Minute)
		assert.Equal(t, 204, sentWith(v, knownSecret))
		synctest.Wait()
		assert.Equal(t, 1, api.asked(), "ten minutes old is not yet too old")
		time.Sleep(time.Second)

		began := time.Now()
		for range 100 {
			assert.Equal(t, 204, sentWith(v, otherSecret))
		}
		assert.Zero(t, time.Since(began), "no delivery waits for the review")
		time.Sleep(6 * time.Second)
		assert.Equal(t, 2, api.asked(), "one review for all of them")
		assert.Equal(t, 401, sentWith(v, knownSecret), "the deleted webhook's secret is refused after the review")
		assert.Equal(t, 204, sentWith(v, otherSecret))
	})
}

func TestFromAPIAfterALongSilenceTheFirstDeliveryWaitsForTheReview(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{takes: time.Second}
		api.set(knownSecret, otherSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, knownSecret))
		api.set(otherSecret) // the secret has leaked, and its webhook is deleted
		time.Sleep(21 * time.Minute)
		assert.Equal(t, 401, sentWith(v, knownSecret), "not once more")
		assert.Equal(t, 204, sentWith(v, otherSecret))

		time.Sleep(3 * time.Hour)
		api.mu.Lock()
		api.takes = time.Hour
		api.mu.Unlock()
		began := time.Now()
		assert.Equal(t, 204, sentWith(v, otherSecret), "while the API hangs, what is known serves")
		assert.Equal(t, 3*time.Second, time.Since(began))
		time.Sleep(time.Minute) // the look has failed
		began = time.Now()
		for range 10 {
			assert.Equal(t, 204, sentWith(v, otherSecret))
		}
		assert.Zero(t, time.Since(began), "and nobody waits for an API that isn't well")
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, v.Verify(canceled, "acme", []byte(knownBody), walletcrew.Sign(otherSecret, []byte(knownBody))))
		time.Sleep(time.Minute) // the last look ends
	})
}

func TestFromAPIADeliveryThatIsGivenUpWhileItWaitsForTheReviewIsNotChecked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(knownSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, knownSecret))
		time.Sleep(time.Hour)
		api.mu.Lock()
		api.takes = time.Hour
		api.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := v.Verify(ctx, "acme", []byte(knownBody), walletcrew.Sign(knownSecret, []byte(knownBody)))
		require.ErrorIs(t, err, verifier.ErrSecretsUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Minute) // the look ends
	})
}

func TestFromAPIAReviewThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(knownSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, knownSecret))
		api.down(http.StatusServiceUnavailable, nil)
		time.Sleep(11 * time.Minute)
		for i := range 5 {
			for range 10 {
				assert.Equal(t, 204, sentWith(v, knownSecret), "a failed review takes nothing away")
				synctest.Wait()
			}
			assert.Equal(t, 1+i+1, api.asked(), "one try a second")
			time.Sleep(time.Second)
		}
		api.set(knownSecret)
		require.Equal(t, 204, sentWith(v, knownSecret))
		synctest.Wait()
		after := api.asked()
		time.Sleep(9 * time.Minute)
		require.Equal(t, 204, sentWith(v, knownSecret))
		synctest.Wait()
		assert.Equal(t, after, api.asked(), "once it succeeded, it is done for ten minutes")
	})
}

func TestFromAPIAFloodOfForgedDeliveriesIsNoFloodOfCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{takes: 10 * time.Millisecond}
		api.set(knownSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for range 200 {
					assert.Equal(t, 401, sentWith(v, "forged"))
				}
			})
		}
		wg.Wait()
		assert.LessOrEqual(t, api.asked(), 6, "10,000 forged deliveries make at most 6 calls")
		assert.Equal(t, 204, sentWith(v, knownSecret), "and good ones are served meanwhile")
	})
}

func TestFromAPIAFloodWhileTheAPIHangsHoldsUpNoGoodDelivery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(knownSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		require.Equal(t, 204, sentWith(v, knownSecret))
		api.mu.Lock()
		api.takes = time.Hour
		api.mu.Unlock()
		var wg sync.WaitGroup
		began := time.Now()
		for range 100 {
			wg.Go(func() { assert.Equal(t, 401, sentWith(v, "forged")) })
		}
		synctest.Wait()
		assert.Equal(t, 204, sentWith(v, knownSecret))
		assert.Zero(t, time.Since(began), "good deliveries don't wait for the look")
		wg.Wait()
		assert.Equal(t, 10*time.Second, time.Since(began), "a look is given up after 10 s")
		assert.Equal(t, 2, api.asked())
	})
}

func TestFromAPIAHangingFirstLookIs503InTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{takes: time.Hour}
		api.set(knownSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		began := time.Now()
		assert.Equal(t, 503, sentWith(v, knownSecret))
		assert.LessOrEqual(t, time.Since(began), 25*time.Second, "the platform waits 30 s")
	})
}

func TestFromAPIAnAskerWhoGivesUpDoesNotFailTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{takes: 3 * time.Second}
		api.set(knownSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		first, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			err := v.Verify(first, "acme", []byte(knownBody), knownHex)
			assert.ErrorIs(t, err, context.Canceled, "who gave up hears so at once")
			assert.Equal(t, 503, verifier.StatusCode(err))
		})
		synctest.Wait()
		for range 20 {
			wg.Go(func() { assert.Equal(t, 204, sentWith(v, knownSecret), "the others get the answer") })
		}
		synctest.Wait()
		time.Sleep(time.Second)
		cancel()
		wg.Wait()
		assert.Equal(t, 1, api.asked(), "and it is the same call")
	})
}

func TestFromAPIGoesOnAfterItsOnlyAskerLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{takes: 3 * time.Second}
		api.set(knownSecret)
		v := verifierOf(t, verifier.FromAPI(api.client(t)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, v.Verify(ctx, "acme", []byte(knownBody), knownHex), context.DeadlineExceeded)
		time.Sleep(3 * time.Second)
		began := time.Now()
		assert.Equal(t, 204, sentWith(v, knownSecret))
		assert.Zero(t, time.Since(began), "what the first one asked for is there for the second")
		assert.Equal(t, 1, api.asked())
	})
}

// forwarding is how a user puts metrics, say, around a source.
type forwarding struct {
	source verifier.SecretSource
	mu     sync.Mutex
	looked int
}

func (f *forwarding) Secrets(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	return f.source.Secrets(ctx, tenantID)
}

func (f *forwarding) Refresh(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	f.mu.Lock()
	f.looked++
	f.mu.Unlock()
	return f.source.(verifier.Refresher).Refresh(ctx, tenantID)
}

func (f *forwarding) Unwrap() verifier.SecretSource { return f.source }

func TestFromAPIWorksBehindAWrapperThatForwards(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set(otherSecret)
		wrapped := &forwarding{source: verifier.FromAPI(api.client(t))}
		v := verifierOf(t, wrapped)
		require.Equal(t, 204, sentWith(v, otherSecret))
		api.set(otherSecret, knownSecret)
		assert.Equal(t, 204, sentWith(v, knownSecret), "the refresh goes through the wrapper")
		assert.Equal(t, 1, wrapped.looked)
		for range 1000 {
			require.Equal(t, 401, sentWith(v, "forged"))
		}
		assert.LessOrEqual(t, api.asked(), 6, "and is limited as without it")
	})
}

func TestFromAPIRetriesOfTheClientStayWithinOneLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.down(http.StatusServiceUnavailable, nil)
		v := verifierOf(t, verifier.FromAPI(api.client(t, walletcrew.WithRetries(3, 500*time.Millisecond, 30*time.Second))))
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { assert.Equal(t, 503, sentWith(v, knownSecret)) })
		}
		wg.Wait()
		assert.LessOrEqual(t, api.asked(), 4, "ten deliveries cause one look of at most four attempts")
	})
}

func TestFromAPIGoesByWhatItCouldReadWhereThePagingIsNotAsExpected(t *testing.T) {
	t.Parallel()
	const page = `[{"id":"w1","endpoint":"https://shop.example/hooks","events":["*"],"enabled":true,"signatureSecret":"one"}]`
	for name, second := range map[string]struct {
		status int
		body   string
		token  string // "each": another each time
	}{
		"the last page repeats its token": {200, strings.NewReplacer("w1", "w2", "one", "two").Replace(page), "2"},
		"page 1 comes again":              {200, page, "2"},
		"page 1 comes again and again":    {200, page, "each"},
		"the token is refused":            {400, `{"title":"unknown parameter"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Query().Get("continuationToken") == "" {
					w.Header().Set("X-continuationToken", "2")
					_, _ = io.WriteString(w, page)
					return
				}
				n := asked.Add(1)
				if second.token != "" {
					w.Header().Set("X-continuationToken", strings.Replace(second.token, "each", fmt.Sprint("t", n), 1))
				}
				w.WriteHeader(second.status)
				_, _ = io.WriteString(w, second.body)
			}))
			t.Cleanup(api.Close)
			client, err := walletcrew.NewClient("acme", walletcrew.WithAPIKey("key-4f9c2d71e8"), walletcrew.WithBaseURL(api.URL))
			require.NoError(t, err)
			v := verifierOf(t, verifier.FromAPI(client))
			assert.Equal(t, http.StatusNoContent, sentWith(v, "one"), "the secret stands on page 1")
			if strings.Contains(second.body, "two") {
				assert.Equal(t, http.StatusNoContent, sentWith(v, "two"))
			}
			assert.LessOrEqual(t, asked.Load(), int32(4), "it doesn't ask for ever")
		})
	}
}
