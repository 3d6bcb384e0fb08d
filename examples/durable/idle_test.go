package main

import (
	"net/http"
	"testing"

	"github.com/thewalletcrew/walletcrew-go/internal/idletest"
)

func TestNoConnectionIsHeldForEver(t *testing.T) {
	idletest.NoConnectionIsHeld(t, newServer(http.NotFoundHandler()))
}
