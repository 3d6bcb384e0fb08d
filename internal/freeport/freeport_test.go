package freeport

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNoAddressComesTwice(t *testing.T) {
	t.Parallel()
	t.Cleanup(func() { // so that the test can be run over and over
		mu.Lock()
		defer mu.Unlock()
		clear(given)
	})
	seen := map[string]bool{}
	for range 500 {
		address, err := Address()
		require.NoError(t, err)
		require.NotContains(t, seen, address)
		seen[address] = true
	}
	free := 0
	for address := range seen { // another process may have taken any of them by now, but not most
		if listener, err := net.Listen("tcp", address); err == nil {
			free++
			require.NoError(t, listener.Close())
		}
	}
	assert.Greater(t, free, len(seen)/2)
}
