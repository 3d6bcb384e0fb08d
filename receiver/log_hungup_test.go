package receiver_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

func TestSendersThatHangUpAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := new(logbook)
		h := receiver.NewHandler(verifierOf(t, verifier.Static(knownSecret)), succeed, receiver.WithLogger(book.logger()))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			send(h, eventWith("1").WithContext(ctx))
		}
		lines := book.lines()
		require.Len(t, lines, 1)
		assert.Contains(t, lines[0], "reason="+string(receiver.ReasonHungUp))
		require.NoError(t, h.Shutdown(t.Context()))
		lines = book.lines()
		require.Len(t, lines, 1)
		assert.Contains(t, lines[0], "hung_up=99")
	})
}
