package simulation

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A database is a model of PostgreSQL for the statements of sqldedupe: one table of events, and one of effects, transactions of READ
// COMMITTED, and locks on rows that are held until the transaction ends. It reads the conditions of the statements, and knows no others: an
// unknown one is an error.
type database struct {
	server
	rows    map[string]eventRow // committed
	effects map[string]int      // committed
	locks   map[string]*transaction
	freed   chan struct{} // closed and made anew when a lock is given back
}

type eventRow struct {
	token   int64
	done    bool
	expires time.Time
}

// A transaction is that of one statement, or one that was begun.
type transaction struct {
	began   time.Time
	written map[string]*eventRow // nil: deleted
	effects []string
}

func newDatabase(w *world) *database {
	return &database{server: server{w: w, name: "postgres"}, rows: map[string]eventRow{}, effects: map[string]int{}, locks: map[string]*transaction{},
		freed: make(chan struct{})}
}

// lock waits until the transaction has the key's row, or nobody has. It returns with db.mu locked.
func (db *database) lock(t *transaction, key string, closed <-chan struct{}) error {
	for {
		db.mu.Lock()
		holder := db.locks[key]
		if holder == nil || holder == t {
			db.locks[key] = t
			return nil
		}
		freed := db.freed
		db.mu.Unlock()
		select {
		case <-freed:
		case <-closed:
			db.w.sleep(between(db.w.drawNext("cancel", key), time.Millisecond, time.Second))
			db.mu.Lock()
			return pgError("57014") // canceled
		case <-db.w.over:
			db.mu.Lock()
			return errGone
		}
	}
}

// end ends the transaction. db.mu is locked.
func (db *database) end(t *transaction, commit bool) {
	if commit {
		for key, row := range t.written {
			if row == nil {
				delete(db.rows, key)
			} else {
				db.rows[key] = *row
			}
		}
		for _, event := range t.effects {
			db.effects[event]++
		}
	}
	t.written, t.effects = nil, nil
	for key, holder := range db.locks {
		if holder == t {
			delete(db.locks, key)
		}
	}
	close(db.freed)
	db.freed = make(chan struct{})
}

func (t *transaction) see(db *database, key string) (eventRow, bool) {
	if row, ok := t.written[key]; ok {
		if row == nil {
			return eventRow{}, false
		}
		return *row, true
	}
	row, ok := db.rows[key]
	return row, ok
}

func (t *transaction) write(key string, row *eventRow) {
	if t.written == nil {
		t.written = map[string]*eventRow{}
	}
	t.written[key] = row
}

// A pgError is an error with a SQLSTATE.
type pgError string

func (e pgError) Error() string    { return "ERROR: (SQLSTATE " + string(e) + ")" }
func (e pgError) SQLState() string { return string(e) }

var (
	spaces   = regexp.MustCompile(`\s+`)
	interval = regexp.MustCompile(`^(clock_timestamp|now)\(\)(?: ([+-]) \$(\d)::bigint \* interval '1 millisecond')?$`)
)

// A statement is one on its way: its text in one line, what it was given, and the clocks.
type statement struct {
	text       string
	args       []driver.NamedValue
	now, clock time.Time
}

// time evaluates an expression of the statements.
func (s *statement) time(expression string) (time.Time, error) {
	m := interval.FindStringSubmatch(expression)
	if m == nil {
		return time.Time{}, fmt.Errorf("simulation: the model doesn't know %q", expression)
	}
	t := s.clock
	if m[1] == "now" {
		t = s.now
	}
	if m[2] != "" {
		d := time.Duration(s.number(m[3])) * time.Millisecond
		if m[2] == "-" {
			d = -d
		}
		t = t.Add(d)
	}
	return t, nil
}

func (s *statement) arg(number string) any {
	n, _ := strconv.Atoi(strings.TrimPrefix(number, "$"))
	return s.args[n-1].Value
}

func (s *statement) number(number string) int64 {
	n, _ := s.arg(number).(int64)
	return n
}

// holds evaluates a condition on a row.
func (s *statement) holds(condition, key string, row eventRow) (bool, error) {
	for term := range strings.SplitSeq(condition, " AND ") {
		term = strings.TrimPrefix(term, "e.")
		left, right, compared := strings.Cut(term, " = ")
		ok := false
		switch {
		case term == "NOT done":
			ok = !row.done
		case term == "true":
			ok = true
		case compared && left == "event_key":
			ok = s.arg(right) == key
		case compared && left == "token":
			ok = s.number(right) == row.token
		case strings.HasPrefix(term, "(done OR expires_at <= "):
			t, err := s.time(strings.TrimSuffix(strings.TrimPrefix(term, "(done OR expires_at <= "), ")"))
			if err != nil {
				return false, err
			}
			ok = row.done || !row.expires.After(t)
		case strings.HasPrefix(term, "expires_at <= "):
			t, err := s.time(strings.TrimPrefix(term, "expires_at <= "))
			if err != nil {
				return false, err
			}
			ok = !row.expires.After(t)
		default:
			return false, fmt.Errorf("simulation: the model doesn't know the condition %q", term)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

// exec runs a statement in the transaction. It returns how many rows it changed.
func (db *database) exec(t *transaction, s *statement, closed <-chan struct{}) (int64, error) {
	_, condition, _ := strings.Cut(s.text, " WHERE ")
	change := func(key string, next func(row eventRow) *eventRow) (int64, error) {
		err := db.lock(t, key, closed)
		defer db.mu.Unlock()
		if err != nil {
			return 0, err
		}
		s.clock = time.Now().Add(db.offset)
		row, there := t.see(db, key)
		if !there {
			return 0, nil
		}
		ok, err := s.holds(condition, key, row)
		if err != nil || !ok {
			return 0, err
		}
		t.write(key, next(row))
		return 1, nil
	}
	switch {
	case strings.HasPrefix(s.text, "INSERT INTO effects "):
		t.effects = append(t.effects, s.arg("$1").(string))
		return 1, nil
	case strings.HasPrefix(s.text, "INSERT INTO walletcrew_events AS e (event_key, token, done, expires_at) VALUES ($1, $2, $3, clock_timestamp() + $4::bigint"):
		key := s.arg("$1").(string)
		err := db.lock(t, key, closed)
		defer db.mu.Unlock()
		if err != nil {
			return 0, err
		}
		s.clock = time.Now().Add(db.offset)
		row, there := t.see(db, key)
		if there {
			if ok, err := s.holds(condition, key, row); err != nil || !ok {
				return 0, err
			}
		}
		done, _ := s.arg("$3").(bool)
		t.write(key, &eventRow{s.number("$2"), done, s.clock.Add(time.Duration(s.number("$4")) * time.Millisecond)})
		return 1, nil
	case strings.HasPrefix(s.text, "UPDATE walletcrew_events SET done = true, expires_at = clock_timestamp() + $1::bigint"):
		return change(s.arg("$2").(string), func(row eventRow) *eventRow {
			return &eventRow{row.token, true, s.clock.Add(time.Duration(s.number("$1")) * time.Millisecond)}
		})
	case strings.HasPrefix(s.text, "DELETE FROM walletcrew_events WHERE event_key = $1"):
		return change(s.arg("$1").(string), func(eventRow) *eventRow { return nil })
	case strings.HasPrefix(s.text, "DELETE FROM walletcrew_events WHERE event_key = ANY (ARRAY ( SELECT event_key FROM walletcrew_events WHERE "):
		_, condition, _ = strings.Cut(condition, " WHERE ")
		condition, _, _ = strings.Cut(condition, " ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))")
		db.mu.Lock()
		defer db.mu.Unlock()
		s.clock = time.Now().Add(db.offset)
		keys := make([]string, 0, len(db.rows))
		for key := range db.rows {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(a, b string) int { return db.rows[a].expires.Compare(db.rows[b].expires) })
		var n int64
		for _, key := range keys {
			if holder := db.locks[key]; holder != nil && holder != t || n == s.number("$2") {
				continue
			}
			ok, err := s.holds(condition, key, db.rows[key])
			if err != nil {
				return 0, err
			}
			if ok {
				t.write(key, nil)
				n++
			}
		}
		return n, nil
	}
	return 0, fmt.Errorf("simulation: the model doesn't know the statement %q", s.text)
}

// open returns the pool of a process.
func (db *database) open(p *process) *sql.DB { return sql.OpenDB(&pgConnector{db, p}) }

type pgConnector struct {
	db *database
	p  *process
}

func (c *pgConnector) Driver() driver.Driver { return nil }

func (c *pgConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn := &pgConn{db: c.db, p: c.p, closed: make(chan struct{})}
	if err := c.p.ask(ctx, &c.db.server, request{call: "connect", about: "-", effect: func() string { return "welcome" }}); err != nil {
		return nil, err
	}
	go conn.watch()
	return conn, nil
}

// A pgConn is a connection, and the server's end of it.
type pgConn struct {
	db      *database
	p       *process
	tx      *transaction
	broken  bool
	closed  chan struct{} // when the client has given it up
	pending chan struct{} // closed when the server has no request of it any more; nil: none
}

// watch is the server that sees the end of a connection: it rolls back, after a while.
func (c *pgConn) watch() {
	select {
	case <-c.closed:
	case <-c.p.gone:
		c.db.w.sleep(between(c.db.w.drawNext("rollback", c.p.name), 0, 3*time.Second))
		c.db.mu.Lock()
		select {
		case <-c.closed:
		default:
			close(c.closed) // what waits for a lock doesn't any more
		}
		c.db.mu.Unlock()
	case <-c.db.w.over:
		return
	}
	c.db.mu.Lock()
	pending := c.pending
	c.db.mu.Unlock()
	if pending != nil {
		<-pending
	}
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	if c.tx != nil {
		c.db.end(c.tx, false)
	}
}

func (c *pgConn) giveUp() {
	c.broken = true
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
}

// send sends what the server does with do.
func (c *pgConn) send(ctx context.Context, call, about string, do func() (string, error)) error {
	if c.broken {
		return driver.ErrBadConn
	}
	pending := make(chan struct{})
	c.db.mu.Lock()
	c.pending = pending
	c.db.mu.Unlock()
	var refused error
	err := c.p.ask(ctx, &c.db.server, request{call: call, about: about, arrived: func() { close(pending) }, effect: func() string {
		text, err := do()
		if refused = err; err != nil {
			return err.Error()
		}
		return text
	}})
	if err != nil {
		c.giveUp()
		return err
	}
	return refused
}

func (c *pgConn) Prepare(string) (driver.Stmt, error) {
	return nil, errors.New("simulation: no statements are prepared")
}
func (c *pgConn) Begin() (driver.Tx, error) { return nil, errors.New("simulation: no Begin") }
func (c *pgConn) Close() error              { c.giveUp(); return nil }
func (c *pgConn) IsValid() bool             { return !c.broken }

func (c *pgConn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	err := c.send(ctx, "BEGIN", "-", func() (string, error) {
		c.db.mu.Lock()
		defer c.db.mu.Unlock()
		c.tx = &transaction{began: time.Now().Add(c.db.offset)}
		return "ok", nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *pgConn) finish(call string, commit bool) error {
	t := c.tx
	return c.send(context.Background(), call, c.about(t), func() (string, error) {
		c.db.mu.Lock()
		defer c.db.mu.Unlock()
		c.tx = nil
		c.db.end(t, commit)
		return "ok", nil
	})
}

func (c *pgConn) about(t *transaction) string {
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	for key, holder := range c.db.locks {
		if holder == t {
			return aboutOf(key)
		}
	}
	return "-"
}

func (c *pgConn) Commit() error { return c.finish("COMMIT", true) }

func (c *pgConn) Rollback() error {
	if !c.broken {
		time.Sleep(time.Microsecond) // others who wait for the end of the context go first, each time
	}
	return c.finish("ROLLBACK", false)
}

func (c *pgConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s := c.statement(query, args)
	var n int64
	err := c.send(ctx, s.call(), s.about(), func() (text string, err error) {
		c.db.mu.Lock()
		s.clock = time.Now().Add(c.db.offset)
		t, own := c.tx, c.tx == nil
		if own {
			t = &transaction{began: s.clock}
		}
		s.now = t.began
		c.db.mu.Unlock()
		n, err = c.db.exec(t, s, c.closed)
		if own {
			c.db.mu.Lock()
			c.db.end(t, err == nil)
			c.db.mu.Unlock()
		}
		return fmt.Sprintf("%d rows", n), err
	})
	return driver.RowsAffected(n), err
}

func (c *pgConn) statement(query string, args []driver.NamedValue) *statement {
	if m := c.db.w.mutant; m != nil && m.sql != nil {
		query = m.sql(query)
	}
	return &statement{text: strings.TrimSpace(spaces.ReplaceAllString(query, " ")), args: args}
}

// call is the statement in a word.
func (s *statement) call() string {
	switch {
	case strings.HasPrefix(s.text, "INSERT INTO walletcrew_events"):
		return "take"
	case strings.HasPrefix(s.text, "INSERT INTO effects"):
		return "INSERT effect"
	case strings.HasPrefix(s.text, "UPDATE"):
		return "complete"
	case strings.Contains(s.text, "ANY (ARRAY"):
		return "purge"
	case strings.HasPrefix(s.text, "DELETE"):
		return "release"
	}
	return "look"
}

func (s *statement) about() string {
	for _, arg := range s.args {
		if text, ok := arg.Value.(string); ok {
			return aboutOf(text)
		}
	}
	return "-"
}

func (c *pgConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s := c.statement(query, args)
	if s.text != "SELECT token, done FROM walletcrew_events WHERE event_key = $1" {
		return nil, fmt.Errorf("simulation: the model doesn't know the statement %q", s.text)
	}
	rows := &pgRows{}
	err := c.send(ctx, s.call(), s.about(), func() (string, error) {
		c.db.mu.Lock()
		defer c.db.mu.Unlock()
		t := c.tx
		if t == nil {
			t = &transaction{}
		}
		row, ok := t.see(c.db, s.arg("$1").(string))
		if !ok {
			return "no row", nil
		}
		rows.values = []driver.Value{row.token, row.done}
		return fmt.Sprintf("done=%v", row.done), nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

type pgRows struct{ values []driver.Value }

func (r *pgRows) Columns() []string { return []string{"token", "done"} }
func (r *pgRows) Close() error      { return nil }
func (r *pgRows) Next(dest []driver.Value) error {
	if r.values == nil {
		return io.EOF
	}
	copy(dest, r.values)
	r.values = nil
	return nil
}
