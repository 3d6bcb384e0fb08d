package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"github.com/thewalletcrew/walletcrew-go/adapters/redisdedupe"
	"github.com/thewalletcrew/walletcrew-go/adapters/sqldedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
)

// A store has remembered so many events, and so many that have expired and are being removed.
type store struct {
	deduper receiver.Deduper
	bytes   int64                 // of disk or memory, before the measurement
	left    func() (int64, error) // how many expired ones are there; nil where nobody can tell
	close   func()
}

// A backend fills a store. What isn't there is an error that wraps errNotHere.
type backend struct {
	name string
	fill func(ctx context.Context, remembered, expired int) (*store, error)
}

// rememberedCurve: the longer the retention, the more a deduper remembers. At the beginning of each measurement a burst has expired.
func rememberedCurve() growth {
	const median, p99, size, rate = "Claim, median", "Claim, 99th percentile", "Size", "Purge, while a burst has expired"
	const x = "remembered events"
	return growth{
		name: "remembered", title: "More remembered events, while 200,000 expired ones are removed",
		panels: []panel{
			{title: median, x: x, y: "ms"}, {title: p99, x: x, y: "ms"},
			{title: size, x: x, y: "MiB, on disk or in memory"}, {title: rate, x: x, y: "rows removed for each that comes in"},
		},
		measure: func(quick bool, add func(point)) error {
			sizes, expired, least := []int{10_000, 100_000, 1_000_000, 10_000_000}, 200_000, 5*time.Second
			if quick {
				sizes, expired, least = []int{1000}, 1000, 100*time.Millisecond
			}
			for _, n := range sizes {
				for _, b := range backends() {
					m, err := b.measure(n, expired, least)
					if errors.Is(err, errNotHere) && os.Getenv("WALLETCREW_TEST_SERVERS") != "required" {
						fmt.Println(b.name+":", err)
						continue
					}
					if err != nil {
						return fmt.Errorf("%s, %d: %w", b.name, n, err)
					}
					fmt.Printf("%s, %d remembered: %s\n", b.name, n, m)
					at := func(panel string, y float64) { add(point{panel, b.name, float64(n), y}) }
					at(median, 1e3*m.median.Seconds())
					at(p99, 1e3*m.p99.Seconds())
					if m.bytes > 0 { // a few events in memory are less than what the rest of the process frees meanwhile
						at(size, float64(m.bytes)/(1<<20))
					}
					if m.removed > 0 {
						at(rate, m.removed/m.arrived)
					}
				}
			}
			return nil
		},
	}
}

func backends() []backend {
	sqlite := sqlBackend{
		dialect: sqldedupe.SQLite, driver: "sqlite",
		fill: `WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < %[1]d - 1)
			INSERT INTO walletcrew_events SELECT printf('bench:%%08x` + keyTail + `', n * (4294967296 / %[1]d)), n, 1,
			CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) + CASE WHEN n * 7919 %% %[1]d < %[2]d THEN -n - 1 ELSE 7200000 + n END FROM s`,
		size: "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
		left: "SELECT count(*) FROM walletcrew_events WHERE expires_at <= CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AND done",
	}
	mariadb := sqlBackend{
		dialect: sqldedupe.MySQL, driver: "mysql",
		source: "root@tcp(" + cmp.Or(os.Getenv("WALLETCREW_TEST_MYSQL"), "127.0.0.1:3306") + ")/%s?interpolateParams=true",
		fill: `INSERT INTO walletcrew_events SELECT concat('bench:', lower(lpad(hex(seq * (4294967296 DIV %[1]d)), 8, '0')), '` + keyTail + `'), seq, true,
			UTC_TIMESTAMP(3) + INTERVAL (CASE WHEN seq * 7919 %% %[1]d < %[2]d THEN -seq - 1 ELSE 7200000 + seq END) * 1000 MICROSECOND FROM seq_0_to_%[3]d`,
		analyze: "ANALYZE TABLE walletcrew_events",
		size:    "SELECT data_length + index_length FROM information_schema.tables WHERE table_schema = database() AND table_name = 'walletcrew_events'",
		left:    "SELECT count(*) FROM walletcrew_events WHERE expires_at <= UTC_TIMESTAMP(3) AND done",
	}
	postgres := sqlBackend{
		dialect: sqldedupe.Postgres, driver: "pgx",
		source: "postgres://postgres@" + cmp.Or(os.Getenv("WALLETCREW_TEST_POSTGRES"), "127.0.0.1:5432") + "/%s?sslmode=disable",
		fill: `INSERT INTO walletcrew_events SELECT 'bench:' || lpad(to_hex(n::bigint * (4294967296 / %[1]d)), 8, '0') || '` + keyTail + `', n, true,
			now() + (CASE WHEN n::bigint * 7919 %% %[1]d < %[2]d THEN -n - 1 ELSE 7200000 + n END) * interval '1 millisecond' FROM generate_series(0, %[3]d) n`,
		analyze: "VACUUM ANALYZE walletcrew_events",
		size:    "SELECT pg_total_relation_size('walletcrew_events')",
		left:    "SELECT count(*) FROM walletcrew_events WHERE expires_at <= now() AND done",
	}
	return []backend{
		{"PostgreSQL", postgres.open}, {"MariaDB", mariadb.open}, {"SQLite", sqlite.open}, {"Redis", fillRedis}, {"memory", fillMemory},
	}
}

// A key of the stores is spread evenly over all hexadecimal numbers, so that new ones, which are random as UUIDs are, come among them
// everywhere.
const keyTail = "-6f0e-4c55-9a55-0a3c2f5f9d10"

func newKey() string { return fmt.Sprintf("%08x-%04x-new", rand.Uint32(), rand.Uint32()&0xffff) } //nolint:gosec // no secret

type measured struct {
	median, p99, most time.Duration
	removed, arrived  float64 // in the time in which there was something to remove
	took              time.Duration
	claims            int
	bytes             int64
}

func (m measured) String() string {
	s := fmt.Sprintf("claim %s median, %s p99, %s at most, of %d; %.1f MiB", m.median, m.p99, m.most, m.claims, float64(m.bytes)/(1<<20))
	if m.removed > 0 {
		s += fmt.Sprintf("; %.0f removed and %.0f came in within %s", m.removed, m.arrived, m.took.Round(time.Millisecond))
	}
	return s
}

// measure delivers on two goroutines until what has expired is removed, for 30 s at most.
func (b backend) measure(remembered, expired int, least time.Duration) (m measured, err error) {
	ctx := context.Background()
	s, err := b.fill(ctx, remembered, expired)
	if err != nil {
		return m, err
	}
	defer s.close()
	const deliverers, most = 2, 30 * time.Second
	var mu sync.Mutex
	var took []time.Duration
	done, began := make(chan struct{}), time.Now()
	var before int64
	if s.left != nil {
		if before, err = s.left(); err != nil {
			return m, err
		}
		began = time.Now()
	}
	arrived := func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return float64(len(took))
	}
	failed := make(chan error, deliverers)
	var wg sync.WaitGroup
	for range deliverers {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				key, start := newKey(), time.Now()
				claim, err := s.deduper.Claim(ctx, key, time.Minute)
				t := time.Since(start)
				if err == nil && claim.State == receiver.Claimed {
					err = s.deduper.Complete(ctx, key, claim.Token)
				}
				if err != nil {
					failed <- err
					return
				}
				mu.Lock()
				took = append(took, t)
				mu.Unlock()
			}
		})
	}
	for purged := s.left == nil; time.Since(began) < most && len(failed) == 0 && (!purged || time.Since(began) < least); {
		time.Sleep(least / 20)
		if purged {
			continue
		}
		left, err := s.left()
		if err != nil {
			failed <- err
			break
		}
		m.removed, m.arrived, m.took = float64(before-left), arrived(), time.Since(began)
		purged = left == 0
	}
	close(done)
	wg.Wait()
	if len(failed) > 0 {
		return m, <-failed
	}
	slices.Sort(took)
	m.claims, m.bytes = len(took), s.bytes
	m.median, m.p99, m.most = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	return m, nil
}

// A sqlBackend makes a database of its own, and removes it.
type sqlBackend struct {
	dialect       sqldedupe.Dialect
	driver        string
	source        string // with %s for the database; none for SQLite
	fill          string // all rows, expired, all rows less one
	analyze, size string
	left          string
}

const growthDatabase = "wc_growth"

func (b sqlBackend) open(ctx context.Context, remembered, expired int) (_ *store, err error) {
	remove, source, err := b.create(ctx)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open(b.driver, source)
	if err != nil {
		remove()
		return nil, err
	}
	db.SetMaxIdleConns(8)
	s := &store{
		close: func() { _ = db.Close(); remove() },
		left: func() (n int64, err error) {
			err = db.QueryRowContext(ctx, b.left).Scan(&n)
			return n, err
		},
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	deduper, err := sqldedupe.New(db, b.dialect, "bench")
	if err != nil {
		return nil, err
	}
	s.deduper = deduper
	if err := deduper.EnsureSchema(ctx); err != nil {
		return nil, err
	}
	// The second index is made anew when all rows are there: much faster, and the same tree.
	drop := "DROP INDEX walletcrew_events_expires_at"
	if b.dialect == sqldedupe.MySQL {
		drop += " ON walletcrew_events"
	}
	for _, statement := range []string{
		drop, fmt.Sprintf(b.fill, remembered+expired, expired, remembered+expired-1),
		"CREATE INDEX walletcrew_events_expires_at ON walletcrew_events (expires_at)", b.analyze,
	} {
		if statement == "" {
			continue
		}
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return nil, fmt.Errorf("%.40s: %w", statement, err)
		}
	}
	return s, db.QueryRowContext(ctx, b.size).Scan(&s.bytes)
}

func (b sqlBackend) create(ctx context.Context) (remove func(), source string, err error) {
	if b.source == "" {
		folder, err := os.MkdirTemp("", growthDatabase)
		file := filepath.Join(folder, "events.db")
		return func() { _ = os.RemoveAll(folder) }, "file:" + file + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)", err
	}
	admin, err := sql.Open(b.driver, fmt.Sprintf(b.source, map[sqldedupe.Dialect]string{sqldedupe.Postgres: "postgres"}[b.dialect]))
	if err != nil {
		return nil, "", err
	}
	if err := admin.PingContext(ctx); err != nil {
		_ = admin.Close()
		return nil, "", fmt.Errorf("%w: %w", errNotHere, err)
	}
	_, _ = admin.ExecContext(ctx, "DROP DATABASE IF EXISTS "+growthDatabase)
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+growthDatabase); err != nil {
		_ = admin.Close()
		return nil, "", err
	}
	return func() {
		_, _ = admin.ExecContext(ctx, "DROP DATABASE IF EXISTS "+growthDatabase)
		_ = admin.Close()
	}, fmt.Sprintf(b.source, growthDatabase), nil
}

// fillRedis starts a server of its own: ten million keys are a lot for one that others use. It removes expired keys by itself, and leaves
// up to a tenth of all in peace, so it has no rate.
func fillRedis(ctx context.Context, remembered, expired int) (_ *store, err error) {
	client, stop, err := startRedis(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	deduper, err := redisdedupe.New(client, "bench")
	if err != nil {
		return nil, err
	}
	used := func() (n int64, err error) {
		text, err := client.Info(ctx, "memory").Result()
		if err != nil {
			return 0, err
		}
		_, after, _ := strings.Cut(text, "\nused_memory:")
		_, err = fmt.Sscan(after, &n)
		return n, err
	}
	empty, err := used()
	if err != nil {
		return nil, err
	}
	// As redisdedupe keeps an event that is done: its token, until the retention is over.
	fill := redis.NewScript(`for n = ARGV[1], ARGV[2] do
		redis.call('SET', string.format('%s%08x%s', KEYS[1], n, ARGV[3]), '1234567890123456789', 'PXAT', string.format('%.0f', ARGV[4] + n % ARGV[5]))
	end`)
	until := func(from, to int, at time.Time, spread int) error {
		for ; from < to; from += 10_000 {
			if err := fill.Run(ctx, client, []string{"walletcrew:bench:"}, from, min(from+10_000, to)-1, keyTail, at.UnixMilli(), spread).Err(); err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
		}
		return nil
	}
	if err := until(0, remembered, time.Now().Add(2*time.Hour), 3_600_000); err != nil {
		return nil, err
	}
	burst := time.Now().Add(time.Second + time.Duration(expired)*20*time.Microsecond)
	if err := until(remembered, remembered+expired, burst, 1); err != nil {
		return nil, err
	}
	full, err := used()
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Until(burst))
	return &store{deduper: deduper, bytes: full - empty, close: stop}, nil
}

func startRedis(ctx context.Context) (client *redis.Client, stop func(), err error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNotHere, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // at once
	if err != nil {
		return nil, nil, err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	folder, err := os.MkdirTemp("", growthDatabase)
	if err != nil {
		return nil, nil, err
	}
	server := exec.CommandContext(ctx, path, "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "yes") //nolint:gosec // found in the path
	if err := server.Start(); err != nil {
		return nil, nil, err
	}
	client = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, ReadTimeout: time.Minute})
	stop = func() {
		_ = client.Close()
		_ = server.Process.Kill()
		_ = server.Wait()
		_ = os.RemoveAll(folder)
	}
	for range 200 {
		if err = client.Ping(ctx).Err(); err == nil {
			return client, stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return nil, nil, err
}

// fillMemory: what is done first expires while the rest is still remembered. How much is left, the deduper doesn't tell: a Claim removes
// eight at most.
func fillMemory(ctx context.Context, remembered, expired int) (*store, error) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what pools and finalizers of the others held
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc) //nolint:gosec // fits
	}
	empty := heap()
	gap := 100*time.Millisecond + time.Duration(expired)*60*time.Microsecond         // longer than the measurement
	ttl := gap + time.Second + time.Duration(remembered+expired)*20*time.Microsecond // longer than the filling
	deduper := receiver.NewMemoryDeduper(2*remembered+4*expired+1_000_000, ttl)
	fill := func(n int) error {
		for range n {
			key := newKey()
			claim, err := deduper.Claim(ctx, key, time.Minute)
			if err == nil && claim.State == receiver.Claimed {
				err = deduper.Complete(ctx, key, claim.Token)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := fill(expired); err != nil {
		return nil, err
	}
	burst := time.Now()
	time.Sleep(gap)
	if err := fill(remembered); err != nil {
		return nil, err
	}
	s := &store{deduper: deduper, bytes: heap() - empty, close: func() { runtime.KeepAlive(deduper) }}
	if time.Since(burst) > ttl {
		return nil, errors.New("filling it took longer than it remembers")
	}
	time.Sleep(ttl - time.Since(burst))
	return s, nil
}
