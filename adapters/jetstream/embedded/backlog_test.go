package embedded_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/embedded"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream/internal/suite"
)

func TestABacklogHoldsUpOnlyItself(t *testing.T) {
	server := start(t, embedded.Options{Dir: t.TempDir(), SyncInterval: time.Minute})
	nc, err := server.Connect()
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	suite.Backlog(t, nc, 20_000)
}
