package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// The whole way over HTTP: the platform repeats and shuffles its deliveries, the function fails in 30 % of its runs, and each event
// is completed exactly once.
func TestAPlatformThatRepeatsAndShufflesGetsEachEventDoneOnce(t *testing.T) {
	t.Parallel()
	events := 10_000
	if raceDetector || testing.Short() {
		events = 2_000
	}
	platform := walletcrewtest.NewServer()
	defer platform.Close()
	var completed sync.Map // id to *atomic.Int32
	v := verifierOf(t, verifier.FromAPI(platform.Client()))
	receiver := httptest.NewServer(receiver.NewHandler(v, func(_ context.Context, e *walletcrew.Event) error {
		if rand.Float64() < 0.3 {
			return errors.New("at random")
		}
		count, _ := completed.LoadOrStore(e.ID, new(atomic.Int32))
		count.(*atomic.Int32).Add(1)
		return nil
	}, receiver.WithDeduper(receiver.NewMemoryDeduper(0, 0)), receiver.WithLogger(silentLog())))
	defer receiver.Close()
	_, err := platform.Client().Webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: receiver.URL, Events: []walletcrew.EventName{"*"}})
	require.NoError(t, err)

	var queue [][]byte
	for i := range events {
		body := walletcrewtest.Payload(walletcrew.EventPassUpdated, map[string]any{"__id": fmt.Sprint(i), "passId": "p-1"})
		queue = append(queue, body)
		if i%5 == 0 {
			queue = append(queue, body)
		}
	}
	rand.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })

	var next, attempts atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(queue)); i = next.Add(1) - 1 {
				for status := 0; status/100 != 2; {
					attempts.Add(1)
					deliveries, err := platform.Deliver(context.Background(), walletcrew.EventPassUpdated, queue[i])
					if !assert.NoError(t, err) || !assert.Len(t, deliveries, 1) || !assert.NoError(t, deliveries[0].Err) {
						return
					}
					status = deliveries[0].StatusCode
				}
			}
		})
	}
	wg.Wait()
	onceEach(t, events, func(i int) int {
		count, ok := completed.Load(fmt.Sprint(i))
		if !ok {
			return 0
		}
		return int(count.(*atomic.Int32).Load())
	})
	t.Logf("%d events in %d deliveries", events, attempts.Load())
}
