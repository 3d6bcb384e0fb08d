package riverinbox_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/riverinbox"
	"github.com/thewalletcrew/walletcrew-go/internal/pgbouncer"
)

func TestBehindPgBouncerInTransactionMode(t *testing.T) {
	t.Parallel()
	direct := newDatabase(t)
	schema := schemaOf(t, direct)
	host, port, err := net.SplitHostPort(pgbouncer.Start(t, cmp.Or(os.Getenv("WALLETCREW_TEST_POSTGRES"), "127.0.0.1:5432")))
	require.NoError(t, err)
	number, err := strconv.ParseUint(port, 10, 16)
	require.NoError(t, err)
	works := []pgx.QueryExecMode{pgx.QueryExecModeExec, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeSimpleProtocol}
	for _, k := range kinds {
		for i, mode := range append(works, pgx.QueryExecModeCacheStatement) { // pgx's default
			config := direct.Config().Copy()
			config.ConnConfig.Host, config.ConnConfig.Port, config.ConnConfig.DefaultQueryExecMode = host, uint16(number), mode
			delete(config.ConnConfig.RuntimeParams, "search_path") // PgBouncer's connections are everybody's
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			require.NoError(t, err)
			t.Cleanup(pool.Close)
			inbox, err := k.inbox(pool, "orders", riverinbox.WithRiverSchema(schema), riverinbox.WithTables(schema+".events", schema+".dead"))
			require.NoError(t, err)
			err = inbox.EnsureSchema(t.Context())
			if i == len(works) {
				require.ErrorContains(t, err, "default_query_exec_mode=exec")
				continue
			}
			require.NoError(t, err, mode)
			before := count(t, direct, jobs)
			h := newHandler(t, inbox.Handle)
			for event := range 10 {
				for range 2 {
					require.Equal(t, http.StatusNoContent, deliver(h, "shop", fmt.Sprintf(`{"__id":"%s-%v-%d"}`, k.name, mode, event)))
				}
			}
			require.Equal(t, before+10, count(t, direct, jobs))

			worker := &river.Config{Workers: river.NewWorkers(), Logger: quiet, PollOnly: true, Schema: schema}
			require.NoError(t, inbox.AddWorker(worker, func(context.Context, *walletcrew.Event) error { return errors.New("boom") },
				riverinbox.WithTries(1), riverinbox.WithLogger(quiet)))
			stop := k.start(t, pool, worker)
			eventually(t, "all die", func() bool { return count(t, direct, "SELECT count(*) FROM dead") == 10 })
			stop()
			for d, err := range inbox.DeadLetters(t.Context()) {
				require.NoError(t, err)
				assert.NoError(t, d.Delete(t.Context()))
			}
		}
	}
}
