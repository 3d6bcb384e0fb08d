package pgxdedupe_test

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/pgxdedupe"
	"github.com/thewalletcrew/walletcrew-go/internal/pgbouncer"
)

func TestAPoolerThatBreaksPreparedStatementsIsFoundAtStart(t *testing.T) {
	t.Parallel()
	direct := postgres(t)
	counter(t, direct)
	var schema string
	require.NoError(t, direct.QueryRow(t.Context(), "SELECT current_schema()").Scan(&schema))
	host, port, err := net.SplitHostPort(pgbouncer.Start(t, cmp.Or(os.Getenv("WALLETCREW_TEST_POSTGRES"), "127.0.0.1:5432")))
	require.NoError(t, err)
	number, err := strconv.ParseUint(port, 10, 16)
	require.NoError(t, err)
	works := []pgx.QueryExecMode{pgx.QueryExecModeExec, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeSimpleProtocol}
	for i, mode := range append(works, pgx.QueryExecModeCacheStatement) { // pgx's default
		config := direct.Config().Copy()
		config.ConnConfig.Host, config.ConnConfig.Port, config.ConnConfig.DefaultQueryExecMode = host, uint16(number), mode
		delete(config.ConnConfig.RuntimeParams, "search_path") // PgBouncer's connections are everybody's
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		d, err := pgxdedupe.New(pool, "orders", pgxdedupe.WithTable(schema+".events"))
		require.NoError(t, err)
		err = d.EnsureSchema(t.Context())
		if i == len(works) {
			require.ErrorContains(t, err, "default_query_exec_mode=exec", mode)
			continue
		}
		require.NoError(t, err, mode)
		before := count(t, direct)
		handle := d.Once(func(ctx context.Context, tx pgx.Tx, _ *walletcrew.Event) error {
			_, err := tx.Exec(ctx, "UPDATE "+schema+".counter SET n = n + 1")
			return err
		})
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for event := range 20 {
					assert.NoError(t, call(t.Context(), handle, fmt.Sprintf("%v-%d", mode, event)), "%v, worker %d", mode, worker)
				}
			})
		}
		wg.Wait()
		assert.Equal(t, before+20, count(t, direct), mode)
	}
}
