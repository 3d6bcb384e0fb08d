package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/verifier"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

const secret = walletcrew.Secret("k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E")

var quiet = slog.New(slog.DiscardHandler)

// onEach runs a test on both databases, each time on one of its own.
func onEach(t *testing.T, test func(t *testing.T, c config)) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) { t.Parallel(); test(t, onSQLite(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { t.Parallel(); test(t, onPostgres(t)) })
}

var members = config{listen: "127.0.0.1:0", page: "127.0.0.1:0", customer: "customer.id", store: "store"}

func onSQLite(t *testing.T) config {
	c := members
	c.sqlite = filepath.Join(t.TempDir(), "100%? #1.db")
	return c
}

func onPostgres(t *testing.T) config {
	t.Helper()
	c := members
	c.postgres = "postgres://postgres@" + cmp.Or(os.Getenv("WALLETCREW_TEST_POSTGRES"), "127.0.0.1:5432") + "/test?sslmode=disable"
	admin, err := sql.Open("pgx", c.postgres)
	require.NoError(t, err)
	if err := admin.PingContext(t.Context()); err != nil {
		missing(t, "PostgreSQL", err)
	}
	schema := "adoption_" + strings.ToLower(rand.Text()[:12])
	_, err = admin.ExecContext(t.Context(), "CREATE SCHEMA "+schema)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = admin.ExecContext(context.Background(), "DROP SCHEMA "+schema+" CASCADE")
		_ = admin.Close()
	})
	c.postgres += "&search_path=" + schema
	return c
}

func missing(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("WALLETCREW_TEST_SERVERS") == "required" {
		t.Fatalf("%s is needed: %v", what, err)
	}
	t.Skipf("no %s: %v", what, err)
}

func open(t *testing.T, c config) *service {
	t.Helper()
	s, err := c.open(t.Context(), quiet)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.db.Close() })
	return s
}

// deliver sends an event to a handler as the platform does, and returns the status.
func deliver(s *service, handle receiver.HandlerFunc, name walletcrew.EventName, body string) int {
	v, err := verifier.New(verifier.Static(secret))
	if err != nil {
		panic(err)
	}
	answer := httptest.NewRecorder()
	receiver.NewHandler(v, handle, receiver.WithLogger(s.logger)).ServeHTTP(answer, walletcrewtest.NewRequest("/", secret, "acme", name, []byte(body)))
	return answer.Code
}

type event struct {
	name walletcrew.EventName
	body string
}

const (
	created     = walletcrew.EventPassCreated
	updated     = walletcrew.EventPassUpdated
	installed   = walletcrew.EventPassInstalled
	uninstalled = walletcrew.EventPassUninstalled
	upserted    = walletcrew.EventCustomerUpserted
	redirected  = walletcrew.EventRedirectRedirected
)

// counted is an event that says how often the pass was installed in all, and how often it is now.
func counted(name walletcrew.EventName, id string, total, active int, tags string) event {
	return event{name, fmt.Sprintf(`{"__id":%q,"passId":"p-1","device":"apple","additionalInformation":{"registrationInformation":{"totalRegistrationCount":%d,"activeRegistrationCount":%d},"registrationSource":{"tags":[%s],"medium":"email","origin":"shop"}}}`, id, total, active, tags)}
}

// aLife is that of a customer and a pass: on a phone, off it, and on it again, by another campaign.
var aLife = []event{
	{created, `{"__id":"1","passId":"p-1"}`},
	{updated, `{"__id":"2","passId":"p-1","passType":"loyalty","identifiers":{"customerId":"C-1"}}`},
	counted(installed, "3", 1, 1, `"spring","newsletter"`),
	counted(uninstalled, "4", 1, 0, ``),
	counted(installed, "5", 2, 1, `"autumn"`),
}

// dump is all that the tables hold.
func dump(t *testing.T, s *service) string {
	t.Helper()
	var out strings.Builder
	for _, query := range []string{
		"SELECT * FROM passes ORDER BY pass_id", "SELECT * FROM installs ORDER BY pass_id", "SELECT * FROM outbox ORDER BY customer_id",
		"SELECT * FROM redirects ORDER BY store, day", "SELECT * FROM events ORDER BY event_id",
	} {
		rows, err := s.db.QueryContext(t.Context(), query)
		require.NoError(t, err)
		columns, err := rows.Columns()
		require.NoError(t, err)
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			require.NoError(t, rows.Scan(values...))
			for i, column := range columns {
				fmt.Fprintf(&out, "%s=%v ", column, *values[i].(*any))
			}
			out.WriteByte('\n')
		}
		require.NoError(t, rows.Err())
	}
	return out.String()
}

func one[T any](t *testing.T, s *service, query string, args ...any) (value T) {
	t.Helper()
	require.NoError(t, s.db.QueryRowContext(t.Context(), query, args...).Scan(&value), query)
	return value
}

func TestItDoesTheFourJobs(t *testing.T) {
	onEach(t, func(t *testing.T, c config) {
		s := open(t, c)
		for _, e := range []event{
			aLife[0], aLife[1], aLife[2],
			{upserted, `{"__id":"u1","customer":{"id":"C-1"}}`}, {upserted, `{"__id":"u2","customer":{"id":"C-1"},"email":"new"}`}, {upserted, `{"__id":"u3","customer":{"id":2}}`},
			{redirected, `{"__id":"r1","store":"Paris"}`}, {redirected, `{"__id":"r2","store":"Lyon"}`}, {redirected, `{"__id":"r3","store":"Paris"}`}, {redirected, `{"__id":"r4"}`},
		} {
			require.Equal(t, 204, deliver(s, s.mux().Handle, e.name, e.body), e.body)
		}
		assert.True(t, one[bool](t, s, "SELECT installed FROM passes WHERE pass_id = 'p-1' AND customer_id = 'C-1' AND pass_type = 'loyalty'"))
		assert.Equal(t, "newsletter + spring", one[string](t, s, "SELECT campaign FROM installs WHERE pass_id = 'p-1'"))
		assert.Equal(t, 2, one[int](t, s, "SELECT COUNT(*) FROM outbox WHERE journey = 'welcome' AND sent_at IS NULL AND customer_id IN ('C-1', '2')"), "one journey for each customer")
		assert.Equal(t, 2, one[int](t, s, "SELECT count FROM redirects WHERE store = 'Paris'"))
		assert.Equal(t, 1, one[int](t, s, "SELECT count FROM redirects WHERE store = ''"), "a redirect without a store is one all the same")
		assert.Equal(t, 10, one[int](t, s, "SELECT COUNT(*) FROM events"))
		assert.Equal(t, aLife[2].body, one[string](t, s, "SELECT body FROM events WHERE event_id = '3' AND medium = 'email' AND origin = 'shop' AND device = 'apple' AND active = 1 AND total = 1"))

		require.Equal(t, 204, deliver(s, s.mux().Handle, aLife[3].name, aLife[3].body))
		assert.False(t, one[bool](t, s, "SELECT installed FROM passes WHERE pass_id = 'p-1'"), "it was uninstalled")
	})
}

// A mail that the outbox's reader has sent already isn't sent again.
func TestASecondUpsertStartsNoSecondJourney(t *testing.T) {
	onEach(t, func(t *testing.T, c config) {
		s := open(t, c)
		require.Equal(t, 204, deliver(s, s.mux().Handle, upserted, `{"__id":"u1","customer":{"id":"C-1"}}`))
		_, err := s.db.ExecContext(t.Context(), "UPDATE outbox SET sent_at = CURRENT_TIMESTAMP")
		require.NoError(t, err)
		require.Equal(t, 204, deliver(s, s.mux().Handle, upserted, `{"__id":"u2","customer":{"id":"C-1"}}`))
		assert.Equal(t, 1, one[int](t, s, "SELECT COUNT(*) FROM outbox WHERE sent_at IS NOT NULL"))
		assert.Equal(t, 0, one[int](t, s, "SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL"))
	})
}

func TestDuplicatesChangeNothing(t *testing.T) {
	onEach(t, func(t *testing.T, c config) {
		s := open(t, c)
		all := append([]event{{upserted, `{"__id":"u1","customer":{"id":"C-1"}}`}, {redirected, `{"__id":"r1","store":"Paris"}`}}, aLife...)
		for _, e := range all {
			require.Equal(t, 204, deliver(s, s.mux().Handle, e.name, e.body))
		}
		want := dump(t, s)
		for _, e := range all {
			require.Equal(t, 204, deliver(s, s.mux().Handle, e.name, e.body))
		}
		assert.Equal(t, want, dump(t, s))
	})
}

// Several replicas get the events of one pass at once, each event twice.
func TestAtOnceIsAsOneAfterTheOther(t *testing.T) {
	onEach(t, func(t *testing.T, c config) {
		replicas := []*service{open(t, c), open(t, c)}
		var deliveries sync.WaitGroup
		for _, e := range aLife {
			for _, s := range replicas {
				deliveries.Go(func() { assert.Equal(t, 204, deliver(s, s.mux().Handle, e.name, e.body)) })
			}
		}
		deliveries.Wait()
		assert.Equal(t, "2 1 2 1 C-1", strings.Join(strings.Fields(one[string](t, replicas[0],
			"SELECT installs || ' ' || uninstalls || ' ' || total || ' ' || active || ' ' || customer_id FROM passes")), " "))
		assert.Equal(t, len(aLife), one[int](t, replicas[1], "SELECT COUNT(*) FROM events"))
	})
}

func TestAnyOrderGivesTheSameTables(t *testing.T) {
	lives := []struct {
		name   string
		events []event
		want   string // whether it is installed, and by which campaign it was first
	}{
		{"installed again", aLife, "true newsletter + spring"},
		{"uninstalled", []event{counted(installed, "1", 1, 1, `"spring"`), counted(uninstalled, "2", 1, 0, `"spring"`)}, "false spring"},
		{"one of two devices", []event{counted(installed, "1", 1, 1, `"spring"`), counted(installed, "2", 2, 2, `"autumn"`), counted(uninstalled, "3", 2, 1, ``)}, "true spring"},
		{"from before the service", []event{counted(uninstalled, "1", 3, 0, ``), counted(installed, "2", 4, 1, `"spring"`)}, "true spring"},
		{"without counts", []event{
			{created, `{"__id":"1","passId":"p-1","identifiers":{"customerId":"C-1"}}`}, {installed, `{"__id":"2","passId":"p-1"}`},
			{uninstalled, `{"__id":"3","passId":"p-1"}`}, {installed, `{"__id":"4","passId":"p-1","additionalInformation":{"registrationSource":{"tags":["autumn"]}}}`},
		}, "true "},
		{"uninstalled, without counts", []event{{installed, `{"__id":"1","passId":"p-1"}`}, {uninstalled, `{"__id":"2","passId":"p-1"}`}}, "false "},
		{"with counts and without", []event{
			{installed, `{"__id":"1","passId":"p-1"}`}, counted(uninstalled, "2", 1, 0, ""), counted(installed, "3", 2, 1, `"spring"`), {uninstalled, `{"__id":"4","passId":"p-1"}`},
		}, "true "},
		{"no pass", []event{
			{upserted, `{"__id":"1","customer":{"id":"C-1"}}`}, {upserted, `{"__id":"2","customer":{"id":"C-1"},"name":"Ada"}`},
			{redirected, `{"__id":"3","store":"Paris"}`}, {redirected, `{"__id":"4","store":"Paris"}`},
		}, ""},
	}
	onEach(t, func(t *testing.T, c config) {
		s := open(t, c)
		for _, life := range lives {
			var kept []*walletcrew.Event
			for i, e := range life.events {
				event, err := walletcrew.ParseEvent(e.name, []byte(e.body))
				require.NoError(t, err)
				event.ReceivedAt = time.Date(2026, 11, 1+i/2, 12, 0, 0, 0, time.UTC)
				kept = append(kept, event)
			}
			want := ""
			for order := range permutations(kept) {
				_, err := s.db.ExecContext(t.Context(), "DELETE FROM passes; DELETE FROM installs; DELETE FROM outbox; DELETE FROM redirects; DELETE FROM events; DELETE FROM walletcrew_events")
				require.NoError(t, err)
				var ids []string
				for _, e := range append(order, order[0]) { // the first comes again at the end
					ids = append(ids, e.ID)
					require.NoError(t, s.mux().Handle(receiver.WithKey(t.Context(), e.ID), e))
				}
				got := dump(t, s)
				require.Equal(t, cmp.Or(want, got), got, "%s: the order %v gives other tables", life.name, ids)
				want = got
			}
			if life.want != "" {
				assert.Equal(t, life.want, fmt.Sprint(one[bool](t, s, "SELECT installed FROM passes"), " ", one[string](t, s, "SELECT campaign FROM installs")), life.name)
			}
		}
	})
}

// permutations are all orders of the elements.
func permutations[T any](all []T) func(yield func([]T) bool) {
	var from func(done, left []T, yield func([]T) bool) bool
	from = func(done, left []T, yield func([]T) bool) bool {
		if len(left) == 0 {
			return yield(slices.Clone(done))
		}
		for i := range left {
			if !from(append(slices.Clone(done), left[i]), slices.Delete(slices.Clone(left), i, i+1), yield) {
				return false
			}
		}
		return true
	}
	return func(yield func([]T) bool) { from(nil, all, yield) }
}

func TestACrashLosesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, c config) {
		s := open(t, c)
		for _, e := range append([]event{{upserted, `{"__id":"u1","customer":{"id":"C-1"}}`}, {redirected, `{"__id":"r1","store":"Paris"}`}}, aLife...) {
			before := dump(t, s)
			crash := s.dedupe.Once(func(ctx context.Context, tx *sql.Tx, e *walletcrew.Event) error {
				if err := s.effects(ctx, tx, e); err != nil {
					return err
				}
				panic("crash")
			})
			require.Equal(t, 500, deliver(s, crash, e.name, e.body), "the platform delivers it again")
			require.Equal(t, before, dump(t, s), "half of an effect is left")
			require.Equal(t, 204, deliver(s, s.mux().Handle, e.name, e.body))
			after := dump(t, s)
			require.NotEqual(t, before, after)
			require.Equal(t, 204, deliver(s, s.mux().Handle, e.name, e.body), "the answer was lost after the commit, so it comes again")
			require.Equal(t, after, dump(t, s))
		}
	})
}

// Whatever a member holds, the event is kept: an error would bring it back for ever.
func TestNoMemberIsTooOdd(t *testing.T) {
	onEach(t, func(t *testing.T, c config) {
		s := open(t, c)
		long := ""
		for range 400 { // a text of one letter would be compressed, and fit an index
			long += "é" + rand.Text()
		}
		for i, e := range []event{
			{installed, `"passId":"p\u0000-1","passType":"\u0000","identifiers":{"customerId":"\u0000"},"device":"\u0000"`},
			{installed, `"passId":"` + long + `","additionalInformation":{"registrationSource":{"tags":["` + long + `","\u0000"]}}`},
			{installed, `"passId":"p-2","additionalInformation":{"registrationInformation":{"totalRegistrationCount":9007199254740993,"activeRegistrationCount":-1}}`},
			{installed, `"passId":["p-3"]`},
			{installed, `"passType":"no passId"`},
			{"Pass:Expired", `"passId":"p-4"`},
			{upserted, `"customer":{"id":"` + long + `"}`},
			{upserted, `"customer":{"id":null}`},
			{upserted, `"customer":"C-1"`},
			{redirected, `"store":"Par\u0000is"`},
			{"Pass:\xff", `"passId":"p-5"`}, // a header isn't signed, and may hold any byte
			{updated, `"passId":"p-6","identifiers":{"customerId":null}`},
		} {
			assert.Equal(t, 204, deliver(s, s.mux().Handle, e.name, fmt.Sprintf(`{"__id":"%d\u0000",%s}`, i, e.body)), "%.80s", e.body)
		}
		assert.Equal(t, 12, one[int](t, s, "SELECT COUNT(*) FROM events"), "each is logged")
		assert.Equal(t, 4, one[int](t, s, "SELECT COUNT(*) FROM passes"))
		assert.Equal(t, 0, one[int](t, s, "SELECT COUNT(*) FROM passes WHERE customer_id <> ''"), "null is no customer")
		assert.Equal(t, 1, one[int](t, s, "SELECT COUNT(*) FROM outbox"))
	})
}

func TestTheLogIsInTheOrderOfArrival(t *testing.T) {
	onEach(t, func(t *testing.T, c config) {
		s := open(t, c)
		for id, after := range map[string]time.Duration{"1": 0, "2": time.Microsecond, "3": 500 * time.Millisecond, "4": time.Second} {
			e, err := walletcrew.ParseEvent(created, fmt.Appendf(nil, `{"__id":%q,"passId":"p-1"}`, id))
			require.NoError(t, err)
			e.ReceivedAt = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC).Add(after)
			require.NoError(t, s.mux().Handle(receiver.WithKey(t.Context(), id), e))
		}
		rows, err := s.db.QueryContext(t.Context(), "SELECT event_id FROM events ORDER BY received_at")
		require.NoError(t, err)
		defer func() { _ = rows.Close() }()
		order := ""
		for rows.Next() {
			var id string
			require.NoError(t, rows.Scan(&id))
			order += id
		}
		require.NoError(t, rows.Err())
		assert.Equal(t, "1234", order)
	})
}

func TestAMemberIsFoundByItsPath(t *testing.T) {
	t.Parallel()
	e, err := walletcrew.ParseEvent(upserted, []byte(`{"__id":"1","id":"C-1","n":42,"none":null,"a":{"b":{"c":"deep"}},"list":["x"]}`))
	require.NoError(t, err)
	for path, want := range map[string]string{"id": "C-1", "n": "42", "none": "", "missing": "", "a.b.c": "deep", "a.x.c": "", "id.x": "", "list.0": "", "__id": "1"} {
		assert.Equal(t, want, member(e, path), path)
	}
}

func TestItSubscribesToWhatItCanUse(t *testing.T) {
	t.Parallel()
	c := onSQLite(t)
	assert.Equal(t, []walletcrew.EventName{upserted, walletcrew.AllPassEvents, redirected}, open(t, c).mux().Patterns())
	c.customer, c.store = "", ""
	assert.Equal(t, []walletcrew.EventName{walletcrew.AllPassEvents}, open(t, c).mux().Patterns())
}

func TestReplicasMayStartAtOnceAndAgain(t *testing.T) {
	onEach(t, func(t *testing.T, c config) {
		var starts sync.WaitGroup
		for range 6 {
			starts.Go(func() {
				s, err := c.open(t.Context(), quiet)
				if assert.NoError(t, err) {
					assert.NoError(t, s.db.Close())
				}
			})
		}
		starts.Wait()
		s := open(t, c)
		require.Equal(t, 204, deliver(s, s.mux().Handle, aLife[0].name, aLife[0].body))
		assert.Equal(t, 1, one[int](t, open(t, c), "SELECT COUNT(*) FROM passes"), "a start leaves what is there")
		assert.Equal(t, 8, s.db.Stats().MaxOpenConnections, "a burst of deliveries takes all connections of the database")
	})
}

func TestNoPasswordIsTakenFromAFlag(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://u:s3cret@db/crm", "postgres://u:@db/crm", "postgres://db/crm?password=s3cret", "host=db password=s3cret", "s3cret", "postgres://u:s3c\x7fret@db/crm"} {
		_, err := config{postgres: url}.open(t.Context(), quiet)
		require.ErrorContains(t, err, "PGPASSWORD", url)
		assert.NotContains(t, err.Error(), "s3c")
	}
}

// A log is what was logged, and can be waited for.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) after(t *testing.T, key string) string {
	t.Helper()
	value := ""
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		_, rest, found := strings.Cut(l.text.String(), " "+key+"=")
		value, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
		return found
	}, 3*time.Minute, 10*time.Millisecond, "the log has no %s", key)
	value, _, _ = strings.Cut(value, "\n")
	return value
}
