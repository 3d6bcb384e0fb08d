package ignoredlog_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/thewalletcrew/walletcrew-go/internal/ignoredlog"
)

func TestALineAMinuteForEachKnownNameAndOneForAllOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			log  ignoredlog.Log
			text bytes.Buffer
		)
		logger := slog.New(slog.NewTextHandler(&text, nil))
		flood := func() {
			for range 3 {
				for _, name := range []string{"Pass:Created", "Pass:Installed", "Wallet:New", "Wallet:Newer", "", " "} {
					log.Write(t.Context(), logger, "x", name, strings.HasPrefix(name, "Pass:"), slog.String("id", "1"))
				}
			}
		}
		flood()
		time.Sleep(59 * time.Second)
		flood()
		assert.Equal(t, 3, strings.Count(text.String(), "level=INFO"))
		assert.Equal(t, 1, strings.Count(text.String(), "level=WARN"), "an event without a name")
		assert.Contains(t, text.String(), `"x: no function takes`)
		time.Sleep(time.Second)
		flood()
		assert.Equal(t, 6, strings.Count(text.String(), "level=INFO"))
		assert.Equal(t, 2, strings.Count(text.String(), "level=WARN"))
	})
}
