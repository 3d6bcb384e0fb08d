package inspector

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func ids(records []Record) []string {
	list := []string{}
	for _, r := range records {
		list = append(list, r.ID)
	}
	return list
}

func TestTheStoreKeepsTheLatest(t *testing.T) {
	t.Parallel()
	store := NewStore(3, 0)
	for n := range 10 {
		store.Add(Record{ID: fmt.Sprint(n)})
	}
	assert.Equal(t, []string{"9", "8", "7"}, ids(store.List(0)))
	assert.Equal(t, []string{"9", "8"}, ids(store.List(2)))
	_, held := store.Get("6")
	assert.False(t, held, "the oldest are gone")
	r, held := store.Get("7")
	assert.True(t, held)
	assert.Equal(t, "7", r.ID)
}

func TestTheStoreIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	const limit = 100_000
	store := NewStore(1_000_000, limit)
	for n := range 5000 {
		store.Add(Record{ID: fmt.Sprint(n), Body: make([]byte, 1000)})
		store.Update(fmt.Sprint(n), func(r *Record) { r.Answer = strings.Repeat("x", 1000) })
	}
	var total int64
	for _, r := range store.List(0) {
		total += r.size()
	}
	assert.LessOrEqual(t, total, int64(limit))
	assert.Greater(t, total, int64(limit*9/10), "it holds as much as it may")
	assert.Equal(t, total, store.bytes, "the sum is right")
	assert.Len(t, store.byID, len(store.List(0)), "what is gone is gone everywhere")
	assert.Less(t, cap(store.records), 1000, "the slice doesn't grow for ever")
}

func TestADeliveryThatIsTooLargeToKeepIsShownWithoutItsBody(t *testing.T) {
	t.Parallel()
	store := NewStore(10, 5000)
	store.Add(Record{ID: "small", Body: make([]byte, 100)})
	store.Add(Record{ID: "large", Event: "Pass:Created", Body: make([]byte, 10_000)})
	r, held := store.Get("large")
	require.True(t, held)
	assert.True(t, r.Omitted)
	assert.Empty(t, r.Body)
	assert.Equal(t, "Pass:Created", r.Event)
	_, held = store.Get("small")
	assert.True(t, held, "it pushes nothing else out")
}

func TestAnUpdateKeepsTheDeliverysPlace(t *testing.T) {
	t.Parallel()
	store := NewStore(5, 0)
	for n := range 8 {
		store.Add(Record{ID: fmt.Sprint(n)})
	}
	before, _ := store.Get("5")
	store.Update("5", func(r *Record) { r.ID, r.Status = "another", 204 })
	after, held := store.Get("5")
	require.True(t, held, "its ID can't be changed")
	assert.Equal(t, 204, after.Status)
	assert.Zero(t, before.Status, "a record that was handed out doesn't change")
	assert.Equal(t, []string{"7", "6", "5", "4", "3"}, ids(store.List(0)))
	store.Update("0", func(*Record) { t.Error("it is gone: there is nothing to update") })

	store.Add(Record{ID: "4", Status: 500})
	assert.Equal(t, []string{"7", "6", "5", "4", "3"}, ids(store.List(0)), "the same ID is the same delivery")
}

func TestASubscriberLearnsOfEachChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := NewStore(0, 0)
		ctx, cancel := context.WithCancel(t.Context())
		changed := store.Subscribe(ctx)
		told := func() bool {
			select {
			case <-changed:
				return true
			default:
				return false
			}
		}
		assert.False(t, told(), "nothing has changed")
		store.Add(Record{ID: "a"})
		store.Add(Record{ID: "b"})
		assert.True(t, told())
		assert.False(t, told(), "two changes that nobody took are one value")
		store.Update("a", func(r *Record) { r.Status = 200 })
		assert.True(t, told())
		cancel()
		synctest.Wait()
		store.Add(Record{ID: "c"})
		assert.False(t, told(), "it ends with its context")
		assert.Empty(t, store.watchers)
	})
}

func TestTheStoreMayBeUsedFromManyGoroutines(t *testing.T) {
	t.Parallel()
	store := NewStore(50, 100_000)
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for n := range 300 {
				id := fmt.Sprint(worker, "-", n)
				store.Add(Record{ID: id, Body: make([]byte, n*7)})
				store.Update(id, func(r *Record) { r.Duration = time.Second })
				store.Get(id)
				store.List(5)
			}
		})
	}
	group.Wait()
	list := store.List(0)
	assert.LessOrEqual(t, len(list), 50)
	changed, _, oldest := store.since(0)
	require.NotEmpty(t, changed)
	assert.Equal(t, oldest, changed[0].seq)
	assert.True(t, slices.IsSortedFunc(changed, func(a, b *entry) int { return int(a.seq) - int(b.seq) }))
}
