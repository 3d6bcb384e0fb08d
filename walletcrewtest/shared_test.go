package walletcrewtest_test

import (
	"io"
	"log"
	"log/slog"
)

var quiet = slog.New(slog.DiscardHandler)

// quietLog is quiet for an http.Server.
var quietLog = log.New(io.Discard, "", 0)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
