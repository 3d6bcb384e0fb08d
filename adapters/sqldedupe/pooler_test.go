package sqldedupe_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/internal/pgbouncer"
)

func TestAPoolerThatBreaksPreparedStatementsIsFoundAtStart(t *testing.T) {
	t.Parallel()
	d := onEngine(t, sqldedupe.Postgres)
	d.ready(t)
	address := pgbouncer.Start(t, postgresAddress())
	behind := strings.Replace(d.source, postgresAddress(), address, 1)
	for mode, works := range map[string]bool{
		"": false, "cache_statement": false, "exec": true, "simple_protocol": true, "cache_describe": true,
	} {
		source := behind
		if mode != "" {
			source += "&default_query_exec_mode=" + mode
		}
		deduper := d.deduper(t, connect(t, d.driver, source))
		err := deduper.EnsureSchema(t.Context())
		if !works {
			require.ErrorContains(t, err, "default_query_exec_mode=exec", mode)
			require.ErrorContains(t, err, "PgBouncer", mode)
			continue
		}
		require.NoError(t, err, mode)
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := range 20 {
					key := fmt.Sprintf("%s-%d-%d", mode, worker, i)
					claim, err := deduper.Claim(t.Context(), key, time.Minute)
					if assert.NoError(t, err, mode) {
						assert.NoError(t, deduper.Complete(t.Context(), key, claim.Token), mode)
					}
				}
			})
		}
		wg.Wait()
	}
}
