package receiver

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Claim that removed all would hold up every other: a million events of one minute are forgotten in one minute.
func TestMemoryDeduperForgetsABurstAFewAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const burst = 10_000
		m := NewMemoryDeduper(burst+1, time.Hour).(*memoryDeduper)
		finish := func(key string) {
			claim, err := m.Claim(t.Context(), key, time.Minute)
			require.NoError(t, err)
			require.Equal(t, Claimed, claim.State, "%s is new, or forgotten", key)
			require.NoError(t, m.Complete(t.Context(), key, claim.Token))
		}
		for i := range burst {
			finish(strconv.Itoa(i))
		}
		time.Sleep(time.Hour)
		claims := 0
		for ; len(m.index) > claims; claims++ {
			before := len(m.index)
			if claims%2 == 0 {
				finish("new-" + strconv.Itoa(claims))
			} else {
				finish(strconv.Itoa(burst - 1 - claims)) // one that is out of date, and in the middle
			}
			require.GreaterOrEqual(t, len(m.index), before-forgottenAtOnce, "one claim removes a few")
		}
		assert.Less(t, claims, burst/4, "it forgets faster than events come in")
	})
}
