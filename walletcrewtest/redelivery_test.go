package walletcrewtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A platform on a fixed address, for a receiver in another container.
func ExampleWithAddr() {
	server := walletcrewtest.NewServer(walletcrewtest.WithAddr("127.0.0.1:0"), walletcrewtest.WithPlainHTTP()) // such as ":8090"
	defer server.Close()
	fmt.Println(strings.HasPrefix(server.URL, "http://127.0.0.1:"))
	// Output: true
}

func ExampleWithPlainHTTP() {
	server := walletcrewtest.NewServer(walletcrewtest.WithPlainHTTP())
	defer server.Close()
	// Create and Ensure refuse such an endpoint, since the platform does.
	err := server.Client().Do(context.Background(), http.MethodPost, "webhooks",
		map[string]any{"endpoint": "http://receiver:8080/webhooks", "events": []string{"*"}}, nil)
	fmt.Println(err, server.Webhooks()[0].Endpoint)
	// Output: <nil> http://receiver:8080/webhooks
}

// The receiver fails once: the event comes again.
func ExampleWithRedelivery() {
	server := walletcrewtest.NewServer(walletcrewtest.WithRedelivery(walletcrewtest.Redelivery{Delay: time.Millisecond}))
	defer server.Close()
	done, tries := make(chan struct{}), 0
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // around your handler
		if tries++; tries == 1 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		close(done)
	}))
	defer receiver.Close()
	subscribeAndEmit(server, receiver.URL)
	<-done
	fmt.Println("and then it succeeded")
	// Output:
	// answered 500
	// and then it succeeded
}

func TestAServerListensWhereItIsTold(t *testing.T) {
	t.Parallel()
	s := newServer(t, walletcrewtest.WithAddr("127.0.0.1:0"))
	assert.Panics(t, func() { walletcrewtest.NewServer(walletcrewtest.WithAddr(strings.TrimPrefix(s.URL, "http://"))) }, "the port is taken")
	all := newServer(t, walletcrewtest.WithAddr(":0"))
	_, err := all.Client().Webhooks.List(t.Context(), nil)
	require.NoError(t, err)
	host, _, err := net.SplitHostPort(strings.TrimPrefix(all.URL, "http://"))
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1", host, "[::] isn't an address that everybody can call")
	assert.Contains(t, call(t, all, http.MethodPost, "/webhooks", `{"endpoint":"http://receiver:8080/hook","events":["*"]}`).body, "loopback",
		"plain http is for WithPlainHTTP")
}

// A wire answers deliveries in memory, so that a bubble's time goes on, and records when each came.
type wire struct {
	mu     sync.Mutex
	began  time.Time
	came   []string // "time body"
	answer func(body string, times int) int
}

func newWire(answer func(body string, times int) int) *wire {
	return &wire{began: time.Now(), answer: answer}
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	times := 1
	for _, c := range w.came {
		if strings.HasSuffix(c, " "+string(body)) {
			times++
		}
	}
	w.came = append(w.came, fmt.Sprintf("%v %s", time.Since(w.began), body))
	status := w.answer(string(body), times)
	if status == 0 {
		return nil, errors.New("the connection broke")
	}
	return &http.Response{StatusCode: status, Body: http.NoBody, Request: r}, nil
}

func deliver(t *testing.T, s *walletcrewtest.Server, body string) {
	t.Helper()
	_, err := s.Deliver(t.Context(), "Pass:Created", []byte(body))
	require.NoError(t, err)
}

func quietServer(w *wire, policy walletcrewtest.Redelivery) *walletcrewtest.Server {
	s := walletcrewtest.NewQuietServer(walletcrewtest.WithHTTPClient(&http.Client{Transport: w}), walletcrewtest.WithRedelivery(policy))
	s.Add("http://receiver")
	return s
}

func TestADeliveryIsMadeAgainUntilItIsAccepted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy walletcrewtest.Redelivery
		answer func(body string, times int) int
		want   []string
	}{
		"accepted": {
			walletcrewtest.Redelivery{}, func(string, int) int { return 299 },
			[]string{"0s e"},
		},
		"refused, lost, redirected": {
			walletcrewtest.Redelivery{}, func(_ string, times int) int { return []int{500, 0, 302, 199, 200}[times-1] },
			[]string{"0s e", "1s e", "3s e", "7s e", "15s e"},
		},
		"tries": {
			walletcrewtest.Redelivery{Delay: time.Minute, MaxTries: 3}, func(string, int) int { return 404 },
			[]string{"0s e", "1m0s e", "3m0s e"},
		},
		"one try": {
			walletcrewtest.Redelivery{MaxTries: 1}, func(string, int) int { return 404 },
			[]string{"0s e"},
		},
		"a duplicate": {
			walletcrewtest.Redelivery{Duplicates: 1, MaxTries: 1}, func(string, int) int { return 204 },
			[]string{"0s e", "1s e"},
		},
		"a failure and a duplicate that fails": {
			walletcrewtest.Redelivery{Duplicates: 1, MaxTries: 2}, func(_ string, times int) int { return []int{500, 200, 500, 500}[times-1] },
			[]string{"0s e", "1s e", "2s e", "4s e"},
		},
		"doubled until it can't be": {
			walletcrewtest.Redelivery{Delay: math.MaxInt64/3 + 1, MaxTries: 2}, func(string, int) int { return 500 },
			[]string{"0s e"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWire(test.answer)
				s := quietServer(w, test.policy)
				deliver(t, s, "e")
				time.Sleep(time.Hour)
				s.Stop()
				assert.Equal(t, test.want, w.came)
			})
		})
	}
}

func TestCloseAndADeletedWebhookEndRedeliveries(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*walletcrewtest.Server){
		"Close": (*walletcrewtest.Server).Stop, "Delete": (*walletcrewtest.Server).Clear,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire(func(string, int) int { return 500 })
			s := quietServer(w, walletcrewtest.Redelivery{})
			defer s.Stop()
			deliver(t, s, "e")
			time.Sleep(4 * time.Second)
			end(s)
			synctest.Wait()
			time.Sleep(time.Hour)
			assert.Equal(t, []string{"0s e", "1s e", "3s e"}, w.came, name)
		})
	}
}

func TestCloseEndsADeliveryUnderWay(t *testing.T) {
	t.Parallel()
	came := make(chan struct{}, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		came <- struct{}{}
		<-r.Context().Done()
	}))
	defer receiver.Close()
	s := newServer(t)
	create(t, s, `{"endpoint":"`+receiver.URL+`","events":["*"]}`)
	go func() {
		<-came
		s.Close()
	}()
	deliveries, err := s.Deliver(t.Context(), "Pass:Created", []byte("{}"))
	require.NoError(t, err)
	assert.ErrorIs(t, deliveries[0].Err, context.Canceled)
}

func TestTheSeedDecidesWhatIsDeliveredAgain(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, seed uint64) (came []string) {
		synctest.Test(t, func(t *testing.T) {
			w := newWire(func(string, int) int { return 204 })
			s := quietServer(w, walletcrewtest.Redelivery{Seed: seed, Duplicates: 0.3})
			for i := range 1000 {
				deliver(t, s, fmt.Sprint("e", i))
			}
			time.Sleep(time.Hour)
			s.Stop()
			came = slices.Sorted(slices.Values(w.came))
		})
		return came
	}
	first := run(t, 1)
	assert.InDelta(t, 1300, len(first), 60)
	assert.Equal(t, first, run(t, 1))
	assert.NotEqual(t, first, run(t, 2))
}

func TestARedeliveryThatMakesNoSensePanics(t *testing.T) {
	t.Parallel()
	for _, policy := range []walletcrewtest.Redelivery{{Delay: -1}, {MaxTries: -1}, {Duplicates: -0.1}, {Duplicates: 1.1}, {Duplicates: math.NaN()}} {
		assert.Panics(t, func() { walletcrewtest.WithRedelivery(policy) }, "%+v", policy)
	}
}
