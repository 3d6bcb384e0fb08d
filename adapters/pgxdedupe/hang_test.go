package pgxdedupe_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/pgxdedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A database that stops answering must not keep the delivery, and its connection, for as long as TCP waits.
func TestARollbackThatHangsEnds(t *testing.T) {
	t.Parallel()
	pool := postgres(t)
	hung := make(chan struct{})
	config := pool.Config().Copy()
	config.MaxConns = 1
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		there, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		here, far := net.Pipe()
		forward := func(to io.Writer, from io.Reader) {
			buffer := make([]byte, 64<<10)
			for {
				n, err := from.Read(buffer)
				select {
				case <-hung:
					return
				default:
				}
				if err != nil {
					return
				}
				if _, err := to.Write(buffer[:n]); err != nil {
					return
				}
			}
		}
		go forward(there, far)
		go forward(far, there)
		t.Cleanup(func() { _ = there.Close(); _ = far.Close() })
		return here, nil
	}
	slow, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	dedupe, err := pgxdedupe.New(slow, "orders")
	require.NoError(t, err)
	require.NoError(t, dedupe.EnsureSchema(t.Context()))
	boom := errors.New("boom")
	handle := dedupe.Once(func(context.Context, pgx.Tx, *walletcrew.Event) error {
		close(hung)
		return boom
	})
	ended := make(chan error, 1)
	go func() { ended <- handle(receiver.WithKey(context.Background(), "e-1"), &walletcrew.Event{ID: "e-1"}) }()
	select {
	case err := <-ended:
		assert.ErrorIs(t, err, boom)
	case <-time.After(20 * time.Second):
		t.Fatal("it hangs")
	}
}
