package freeport_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/internal/freeport"
)

func TestNoAddressComesTwice(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 500 {
		address, err := freeport.Address()
		require.NoError(t, err)
		require.NotContains(t, seen, address)
		seen[address] = true
	}
	for address := range seen {
		listener, err := net.Listen("tcp", address)
		require.NoError(t, err)
		require.NoError(t, listener.Close())
		break
	}
}
