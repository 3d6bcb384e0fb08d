package main

import (
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/internal/idletest"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A spy finds the server in the context of what a function logs.
type spy struct {
	slog.Handler
	server chan *http.Server
}

func (s spy) Handle(ctx context.Context, r slog.Record) error {
	if server, ok := ctx.Value(http.ServerContextKey).(*http.Server); ok {
		s.server <- server
	}
	return s.Handler.Handle(ctx, r)
}

func TestNoConnectionIsHeldForEver(t *testing.T) {
	const secret = walletcrew.Secret("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	setenv(t, "WALLETCREW_SECRET", string(secret))
	log := &journal{more: make(chan struct{}, 1000)}
	found := make(chan *http.Server, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, slog.New(spy{slog.NewJSONHandler(log, nil), found})) }()
	url := "http://" + log.wait(t, "listening")["address"].(string) + "/webhooks/walletcrew"
	r := walletcrewtest.NewRequest(url, secret, "acme", walletcrew.EventPassInstalled, []byte(`{"__id":"1"}`))
	r.RequestURI = ""
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	_ = resp.Body.Close()
	limits := <-found
	cancel()
	require.NoError(t, <-ended)

	idletest.NoConnectionIsHeld(t, limits)
}
