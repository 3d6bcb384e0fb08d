package verifier_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

const (
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
)

// after lets time pass, in a bubble.
func after(d time.Duration) { time.Sleep(d) }

// discarded is a ResponseWriter.
type discarded struct{}

func (discarded) Header() http.Header         { return http.Header{} }
func (discarded) Write(p []byte) (int, error) { return len(p), nil }
func (discarded) WriteHeader(int)             {}

// database counts the look-ups of each tenant, and those that are under way at once.
type database struct {
	mu      sync.Mutex
	takes   time.Duration
	slow    map[string]time.Duration
	down    map[string]error
	rotated map[string]walletcrew.Secret // instead of secretOf
	asked   map[string]int
	under   map[string]int
	most    int // of one tenant at once
}

func secretOf(tenantID string) walletcrew.Secret {
	return walletcrew.Secret("the secret of " + tenantID)
}

func (d *database) Secrets(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	d.mu.Lock()
	if d.asked == nil {
		d.asked, d.under = map[string]int{}, map[string]int{}
	}
	d.asked[tenantID]++
	d.under[tenantID]++
	d.most = max(d.most, d.under[tenantID])
	takes := max(d.takes, d.slow[tenantID])
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.under[tenantID]--
		d.mu.Unlock()
	}()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.down[tenantID]; err != nil {
		return nil, err
	}
	if secret, ok := d.rotated[tenantID]; ok {
		return []walletcrew.Secret{secret}, nil
	}
	if tenantID[0] == '?' {
		return nil, nil
	}
	return []walletcrew.Secret{secretOf(tenantID)}, nil
}

func (d *database) lookUps(tenantID string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[tenantID]
}

func (d *database) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

// source says it by a SecretFunc.
func (d *database) source() verifier.SecretSource { return verifier.SecretFunc(d.Secrets) }

// tenants says it by Tenants.
func (d *database) tenants() verifier.SecretSource {
	return verifier.Tenants(func(ctx context.Context, claimed string) (verifier.Tenant, error) {
		secrets, err := d.Secrets(ctx, claimed)
		if err != nil || len(secrets) == 0 {
			return verifier.Tenant{}, errors.Join(err, verifier.ErrUnknownTenant)
		}
		return verifier.Tenant{ID: claimed, Source: verifier.Static(secrets...)}, nil
	})
}

func TestCachedLooksATenantUpOnceUntilTheTimeIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, source := range map[string]func(*database) verifier.SecretSource{"SecretFunc": (*database).source, "Tenants": (*database).tenants} {
			alone, err := deliveredFor(verifierOf(t, source(&database{})), "acme", secretOf("acme"))
			require.NoError(t, err)
			db := &database{}
			v := verifierOf(t, verifier.Cached(source(db), minute, 10))
			for range 5 {
				d, err := deliveredFor(v, "acme", secretOf("acme"))
				require.NoError(t, err)
				assert.Equal(t, alone.Scope, d.Scope, "%s: the scope is kept", name)
			}
			require.Equal(t, 204, statusFor(v, "globex", secretOf("globex")))
			require.Equal(t, 1, db.lookUps("acme"), name)
			after(minute - 1)
			require.Equal(t, 204, statusFor(v, "acme", secretOf("acme")))
			require.Equal(t, 1, db.lookUps("acme"), name)
			after(1)
			require.Equal(t, 204, statusFor(v, "acme", secretOf("acme")))
			require.Equal(t, 2, db.lookUps("acme"), name)
		}
	})
}

func TestCachedFindsARotatedSecretAtOnceButRarelyLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, source := range map[string]func(*database) verifier.SecretSource{"SecretFunc": (*database).source, "Tenants": (*database).tenants} {
			db := &database{rotated: map[string]walletcrew.Secret{}}
			v := verifierOf(t, verifier.Cached(source(db), hour, 10))
			require.Equal(t, 401, statusFor(v, "acme", "forged"))
			require.Equal(t, 1, db.lookUps("acme"), "%s: what was looked up for this delivery is new", name)
			require.Equal(t, 204, statusFor(v, "globex", secretOf("globex")))
			after(second)
			db.set(func() { db.rotated["acme"] = "the new one" })
			require.Equal(t, 204, statusFor(v, "acme", "the new one"), "%s: within the time, and at once", name)
			require.Equal(t, 2, db.lookUps("acme"), name)
			require.Equal(t, 401, statusFor(v, "acme", secretOf("acme")), "%s: the old one has gone", name)

			for range 100 { // each a second after the last
				after(second)
				require.Equal(t, 401, statusFor(v, "acme", "forged"))
			}
			assert.LessOrEqual(t, db.lookUps("acme"), 2+5+4, "%s: five at once, then one each 30 s", name)
			assert.GreaterOrEqual(t, db.lookUps("acme"), 2+4+3, "%s: but it does look", name)
			assert.Equal(t, 1, db.lookUps("globex"), name)
			_, err := deliveredFor(v, "acme", "forged")
			require.ErrorContains(t, err, "looks only once each 30s", name)
			db.set(func() { db.rotated["globex"] = "another" })
			assert.Equal(t, 204, statusFor(v, "globex", "another"), "%s: another tenant's looks are its own", name)
			db.set(func() { db.rotated["acme"] = "the third" })
			after(30 * second)
			assert.Equal(t, 204, statusFor(v, "acme", "the third"), name)
		}
	})
}

func TestCachedOverFromAPIKeepsItsRefreshing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		api.set("first")
		fromAPI := verifier.FromAPI(api.client(t))
		for name, source := range map[string]verifier.SecretSource{
			"FromAPI": fromAPI, "Tenants": collated(map[string]verifier.SecretSource{"acme": fromAPI}), "a wrapper": wrapping{collated(map[string]verifier.SecretSource{"acme": wrapping{fromAPI}})},
		} {
			v := verifierOf(t, verifier.Cached(source, hour, 10))
			api.set("first")
			after(hour)
			require.Equal(t, 204, statusFor(v, "acme", "first"), name)
			after(second)
			api.set("second")
			assert.Equal(t, 204, statusFor(v, "acme", "second"), "%s: a webhook made a moment ago is found through both", name)
			calls := api.asked()
			for range 20 {
				require.Equal(t, 204, statusFor(v, "acme", "second"), name)
			}
			assert.Equal(t, calls, api.asked())
			for range 100 {
				require.Equal(t, 401, statusFor(v, "acme", "forged"), name)
			}
			assert.LessOrEqual(t, api.asked()-calls, 5, name)
			after(hour)
		}
		// A tenant without webhooks gets one.
		api.set()
		v := verifierOf(t, verifier.Cached(verifier.FromAPI(api.client(t)), hour, 10))
		require.Equal(t, 401, statusFor(v, "acme", "third"))
		after(second)
		api.set("third")
		assert.Equal(t, 204, statusFor(v, "acme", "third"))
	})
}

func TestCachedKeepsNoErrorAndNoUnknownTenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := &database{down: map[string]error{"acme": errors.New("the database is down")}, rotated: map[string]walletcrew.Secret{}}
		v := verifierOf(t, verifier.Cached(db.source(), hour, 2))
		require.Equal(t, 503, statusFor(v, "acme", secretOf("acme")))
		require.Equal(t, 503, statusFor(v, "acme", secretOf("acme")))
		require.Equal(t, 2, db.lookUps("acme"), "once for each delivery")
		db.set(func() { clear(db.down) })
		require.Equal(t, 204, statusFor(v, "acme", secretOf("acme")), "an error isn't kept")
		require.Equal(t, 204, statusFor(v, "globex", secretOf("globex")))

		for i := range 1000 {
			require.Equal(t, 401, statusFor(v, fmt.Sprint("?", i), "x"))
			require.Equal(t, 1, db.lookUps(fmt.Sprint("?", i)), "one look-up for one that isn't known")
		}
		require.Equal(t, 204, statusFor(v, "acme", secretOf("acme")))
		require.Equal(t, 204, statusFor(v, "globex", secretOf("globex")))
		assert.Equal(t, []int{3, 1}, []int{db.lookUps("acme"), db.lookUps("globex")}, "made-up names take no room")
		db.set(func() { db.rotated["?1"] = "made" })
		assert.Equal(t, 204, statusFor(v, "?1", "made"), "a tenant that was made a moment ago is known at once")

		// The database is away while what is cached is good.
		after(second)
		db.set(func() { db.down["?1"] = errors.New("away") })
		assert.Equal(t, 204, statusFor(v, "?1", "made"))
		for range 10 {
			assert.Equal(t, 503, statusFor(v, "?1", "newer"), "whether it is a new secret can't be told")
		}
		assert.Equal(t, 3, db.lookUps("?1"), "after one that failed it pauses: twice, and once more")
		after(second)
		db.set(func() { clear(db.down); db.rotated["?1"] = "newer" })
		assert.Equal(t, 204, statusFor(v, "?1", "newer"))
		after(second)
		db.set(func() { delete(db.rotated, "?1") })
		assert.Equal(t, 401, statusFor(v, "?1", "made"), "the tenant has gone")
		assert.Equal(t, 401, statusFor(v, "?1", "newer"), "and isn't kept")
	})
}

func TestCachedKeepsTheTenantsThatAreAskedFor(t *testing.T) {
	t.Parallel()
	db := &database{}
	v := verifierOf(t, verifier.Cached(db.source(), hour, 2))
	for _, tenantID := range []string{"a", "b", "a", "c", "a", "b"} {
		require.Equal(t, 204, statusFor(v, tenantID, secretOf(tenantID)))
	}
	assert.Equal(t, map[string]int{"a": 1, "b": 2, "c": 1}, db.asked, "the one that wasn't asked for the longest is forgotten first")
}

// Whoever has no secret can write any spelling into the header.
func TestOtherSpellingsOfATenantTakeNoRoomFromOthers(t *testing.T) {
	t.Parallel()
	asked := map[string]int{}
	tenants := collated(map[string]verifier.SecretSource{"acme": verifier.Static(knownSecret), "other": verifier.Static(otherSecret)})
	source := verifier.Cached(askedFor{wrapping{tenants}, asked}, hour, 2)
	v := verifierOf(t, source)
	require.Equal(t, 204, statusFor(v, "other", otherSecret))
	for i := range 1 << 10 {
		claimed := []byte("acme")
		for bit := range 4 {
			if i>>bit&1 == 1 {
				claimed[bit] -= 'a' - 'A'
			}
		}
		require.Equal(t, 401, statusFor(v, string(claimed), "forged"))
	}
	require.Equal(t, 204, statusFor(v, "other", otherSecret))
	assert.Equal(t, 1, asked["other"])
}

type askedFor struct {
	wrapping
	asked map[string]int
}

func (c askedFor) Secrets(ctx context.Context, tenantID string) ([]walletcrew.Secret, error) {
	c.asked[tenantID]++
	return c.SecretSource.Secrets(ctx, tenantID)
}

func TestATenantThatIsNowAnotherIsNotTheOldOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		id := "1"
		v := verifierOf(t, verifier.Cached(verifier.Tenants(func(context.Context, string) (verifier.Tenant, error) {
			return verifier.Tenant{ID: id, Source: verifier.Static(knownSecret)}, nil
		}), minute, 10))
		for _, want := range []string{"1", "2", "1"} {
			id = want
			d, err := deliveredFor(v, "acme", knownSecret)
			require.NoError(t, err)
			assert.Equal(t, want, d.Event.TenantID)
			after(minute)
		}
	})
}

func TestAThunderingHerdIsOneLookUpATenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const tenants, each = 10_000, 3
		db := &database{takes: second}
		v := verifierOf(t, verifier.Cached(db.tenants(), hour, tenants))
		var refused atomic.Int64
		var wg sync.WaitGroup
		for i := range tenants * each {
			wg.Go(func() {
				tenantID := fmt.Sprint("tenant ", i%tenants)
				if v.Verify(context.Background(), tenantID, []byte("{}"), walletcrew.Sign(secretOf(tenantID), []byte("{}"))) != nil {
					refused.Add(1)
				}
			})
		}
		began := time.Now()
		wg.Wait()
		assert.Zero(t, refused.Load())
		assert.Equal(t, second, time.Since(began), "no tenant waits for another's look-up")
		assert.Len(t, db.asked, tenants)
		for tenantID, n := range db.asked {
			require.Equal(t, 1, n, "%s was looked up once", tenantID)
		}
		assert.Equal(t, 1, db.most)
	})
}

func TestOneTenantsTroubleIsNotAnothers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := &database{slow: map[string]time.Duration{"slow": hour}, down: map[string]error{"down": errors.New("no")}}
		v := verifierOf(t, verifier.Cached(db.source(), hour, 10))
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { assert.Equal(t, 503, statusFor(v, "slow", secretOf("slow"))) })
		}
		synctest.Wait()
		began := time.Now()
		for range 100 {
			require.Equal(t, 204, statusFor(v, "good", secretOf("good")))
			require.Equal(t, 503, statusFor(v, "down", secretOf("down")))
		}
		assert.Zero(t, time.Since(began))
		assert.Equal(t, 1, db.lookUps("slow"))
		wg.Wait()
		assert.Equal(t, 10*second, time.Since(began), "a look-up ends after 10 s")
	})
}

func TestEachWhoWaitsForALookUpKeepsToItsOwnContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := &database{takes: 5 * second}
		v := verifierOf(t, verifier.Cached(db.source(), hour, 10))
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		began := time.Now()
		err := v.Verify(ctx, "acme", []byte(knownBody), walletcrew.Sign(secretOf("acme"), []byte(knownBody)))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, verifier.ErrSecretsUnavailable)
		assert.Equal(t, second, time.Since(began))
		require.Equal(t, 204, statusFor(v, "acme", secretOf("acme")), "it goes on for the others")
		assert.Equal(t, 5*second, time.Since(began))
		assert.Equal(t, 1, db.lookUps("acme"))
	})
}

// A look-up that began before a tenant was made doesn't know it.
func TestALookUpThatIsOlderThanTheDeliveryIsNotTheLastWord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Bool
		calls := 0
		v := verifierOf(t, verifier.Cached(verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
			calls++
			known := made.Load() // as of the query's beginning
			time.Sleep(second)
			if !known {
				return nil, nil
			}
			return []walletcrew.Secret{knownSecret}, nil
		}), hour, 10))
		done := make(chan int)
		go func() { done <- statusFor(v, "acme", knownSecret) }()
		after(second / 2)
		made.Store(true)
		assert.Equal(t, 204, statusFor(v, "acme", knownSecret))
		assert.Equal(t, 401, <-done)
		assert.Equal(t, 2, calls)
	})
}

func TestAPanicOrAGoexitOfACachedSourceIsAnswered(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(){
		"a panic": func() { panic("a source with a fault") }, "with an error": func() { panic(fmt.Errorf("x: %w", verifier.ErrUnknownTenant)) }, "Goexit": runtime.Goexit,
	} {
		faulty := true
		v := verifierOf(t, verifier.Cached(verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
			if faulty {
				fault()
			}
			return []walletcrew.Secret{knownSecret}, nil
		}), hour, 10))
		var out receiver.Outcome
		h := receiver.NewHandler(v, func(context.Context, *walletcrew.Event) error { return nil }, receiver.WithLogger(silentLog()),
			receiver.WithObserver(func(_ context.Context, o receiver.Outcome) { out = o }))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, posted([]byte(knownBody)))
		if name == "Goexit" {
			assert.Equal(t, 503, w.Code, name)
		} else {
			assert.Equal(t, 500, w.Code, name)
			assert.Equal(t, receiver.Panicked, out.Result, "as without Cached")
		}
		assert.Equal(t, w.Code, statusFor(v, "acme", knownSecret), name)
		faulty = false
		assert.Equal(t, 204, statusFor(v, "acme", knownSecret), "%s: and it goes on", name)
	}
}

func TestCachedTakesNothingOfADelivery(t *testing.T) {
	t.Parallel()
	type key struct{}
	v := verifierOf(t, verifier.Cached(verifier.SecretFunc(func(ctx context.Context, _ string) ([]walletcrew.Secret, error) {
		assert.Nil(t, ctx.Value(key{}), "a server may use its context again when the delivery is over")
		deadline, ok := ctx.Deadline()
		assert.True(t, ok)
		assert.LessOrEqual(t, time.Until(deadline), 10*second)
		return []walletcrew.Secret{knownSecret}, nil
	}), hour, 10))
	require.NoError(t, v.Verify(context.WithValue(t.Context(), key{}, 1), "acme", []byte(knownBody), knownHex))
}

func TestCachedRefusesWhatCannotBeMeant(t *testing.T) {
	t.Parallel()
	good := (&database{}).source()
	for says, source := range map[string]verifier.SecretSource{
		"a ttl of 30ns is under 1 ms: did you mean 30*time.Second?": verifier.Cached(good, 30, 1),
		"a ttl of -1ns is under 1 ms":                               verifier.Cached(good, -1, 1),
		"a size of 0: at least one tenant must fit":                 verifier.Cached(good, hour, 0),
		"a size of -5":                           verifier.Cached(good, hour, -5),
		"verifier: Cached: the source is nil":    verifier.Cached(nil, hour, 1),
		"the SecretFunc is nil":                  verifier.Cached(verifier.SecretFunc(nil), hour, 1),
		"verifier: Tenants: the function is nil": wrapping{verifier.Cached(wrapping{verifier.Tenants(nil)}, hour, 1)},
	} {
		_, err := verifier.New(source)
		require.ErrorContains(t, err, says)
	}
	_, err := verifier.New(verifier.Cached(good, time.Millisecond, 1))
	require.NoError(t, err)
}

func TestWhatIsCachedOfTenThousandTenantsIsBounded(t *testing.T) { //nolint:paralleltest // measures the heap
	if raceDetector {
		t.Skip("the race detector takes memory of its own")
	}
	v := verifierOf(t, verifier.Cached(verifier.SecretFunc(func(_ context.Context, tenantID string) ([]walletcrew.Secret, error) {
		if tenantID[0] == '?' {
			return nil, verifier.ErrUnknownTenant
		}
		return []walletcrew.Secret{secretOf(tenantID)}, nil
	}), hour, 1000))
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	verify := func(n int) {
		var wg sync.WaitGroup
		for worker := range 100 {
			wg.Go(func() {
				for i := worker; i < n; i += 100 {
					tenantID := fmt.Sprint("tenant ", i)
					assert.NoError(t, v.Verify(context.Background(), tenantID, []byte("{}"), walletcrew.Sign(secretOf(tenantID), []byte("{}"))))
					_ = v.Verify(context.Background(), fmt.Sprint("?", i), []byte("{}"), nowhere)
				}
			})
		}
		wg.Wait()
	}
	before := heap()
	verify(10_000)
	after := heap()
	runtime.KeepAlive(v)
	grown := int64(after) - int64(before)
	t.Logf("%d bytes for 1,000 tenants of 10,000, and as many unknown", grown)
	assert.Less(t, grown, int64(2<<20))
}

func TestCachedPrintsNoSecret(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := verifier.Cached(verifier.SecretFunc(func(context.Context, string) ([]walletcrew.Secret, error) {
			return []walletcrew.Secret{knownSecret}, nil
		}), hour, 10)
		tenants := collated(map[string]verifier.SecretSource{"acme": source})
		v := verifierOf(t, tenants)
		require.Equal(t, 204, statusFor(v, "acme", knownSecret))
		synctest.Wait() // the look has ended: fmt reads a field that isn't exported without a lock
		for _, value := range []any{source, tenants, v, struct{ s verifier.SecretSource }{source}, []any{tenants}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
				noSecretIn(t, fmt.Sprintf(verb, value), "%s", verb)
			}
		}
	})
}
