package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A deadLetter is an event that could not be handled.
type deadLetter struct {
	ID       string    `json:"id"`
	Event    string    `json:"event"` // "" if it can't be parsed
	Tenant   string    `json:"tenant"`
	EventID  string    `json:"eventId"`
	Reason   string    `json:"reason"`
	Consumer string    `json:"consumer"`
	Tries    int       `json:"tries"`
	Time     time.Time `json:"time"`   // when it was published first
	DiedAt   time.Time `json:"diedAt"` // when it was given up
	Bytes    int       `json:"bytes"`

	body []byte
}

// deadLetters is where they are kept: a stream of adapters/jetstream, or a table of adapters/riverinbox.
type deadLetters interface {
	// All returns those that are there when it is called, the oldest first.
	All(ctx context.Context) iter.Seq2[deadLetter, error]
	// Get's error is errNoDeadLetter if there is none.
	Get(ctx context.Context, id string) (deadLetter, error)
	Redrive(ctx context.Context, id string) error
	Delete(ctx context.Context, id string) error
	Close()
}

var errNoDeadLetter = errors.New("there is no such dead letter")

// deadFlags say where they are, and which are meant.
type deadFlags struct {
	nats, creds    string
	stream, prefix string

	postgres           string
	inbox              string
	table, riverSchema string

	event, reason string
	all, dryRun   bool
	yes           bool
	limit         int
	summary       bool
}

// filtered reports whether a filter chooses.
func (f *deadFlags) filtered() bool { return f.event != "" || f.reason != "" }

func (c *cli) deadCommand() *cobra.Command {
	var f deadFlags
	cmd := group("dead", "Dead letters of adapters/jetstream and adapters/riverinbox: list, show, redrive, delete",
		c.deadList(&f), c.deadShow(&f), c.deadRedrive(&f), c.deadDelete(&f))
	cmd.Long = `Dead letters, which are events that no try could handle: of adapters/jetstream (--nats or NATS_URL), or of adapters/riverinbox
(--postgres or DATABASE_URL). Every process can read the flags of all others, so let the password of a URL come from the environment, or,
for PostgreSQL, from PGPASSWORD or the file PGPASSFILE.`
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.nats, "nats", "", "the NATS server's `URL`, such as nats://127.0.0.1:4222 (default: NATS_URL)")
	flags.StringVar(&f.creds, "creds", "", "the `file` with the NATS credentials")
	flags.StringVar(&f.stream, "stream", "", "the stream's `name` (default: WALLETCREW)")
	flags.StringVar(&f.prefix, "prefix", "", "the `prefix` of its subjects, which is the program's StreamConfig.Prefix (default: that of the stream's subjects)")
	flags.StringVar(&f.postgres, "postgres", "", "the PostgreSQL database's `URL`, such as postgres://user@127.0.0.1:5432/shop (default: DATABASE_URL)")
	flags.StringVar(&f.inbox, "inbox", "", "the inbox's `name` in PostgreSQL, if several have dead letters")
	flags.StringVar(&f.table, "table", "", "the `name` of the table (default: walletcrew_dead_letters)")
	flags.StringVar(&f.riverSchema, "river-schema", "", "the PostgreSQL `schema` of River's tables (default: by the search_path)")
	cmd.MarkFlagsMutuallyExclusive("nats", "postgres")
	return cmd
}

// addFilter adds the flags that choose dead letters.
func (f *deadFlags) addFilter(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.event, "event", "", "only events of this `name` or pattern, such as \"Pass:*\"")
	cmd.Flags().StringVar(&f.reason, "reason", "", "only those whose reason has this `text` in it, in any case")
}

func (f *deadFlags) matches(d deadLetter) bool {
	if f.event != "" && !walletcrew.EventName(d.Event).Matches(walletcrew.EventName(f.event)) {
		return false
	}
	return strings.Contains(strings.ToLower(d.Reason), strings.ToLower(f.reason))
}

// withDead makes a command's function that uses the dead letters.
func (c *cli) withDead(f *deadFlags, do func(ctx context.Context, letters deadLetters, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		letters, err := c.openDead(cmd, *f)
		if err != nil {
			return err
		}
		defer letters.Close()
		c.warnOfPassword("nats", f.nats, "NATS_URL or --creds")
		c.warnOfPassword("postgres", f.postgres, "DATABASE_URL, PGPASSWORD or PGPASSFILE")
		return do(cmd.Context(), letters, args)
	}
}

// openDead opens the store that a flag names, or else the environment.
func (c *cli) openDead(cmd *cobra.Command, f deadFlags) (deadLetters, error) {
	changed := func(names ...string) bool { return slices.ContainsFunc(names, cmd.Flags().Changed) }
	ofNATS, ofPostgres := changed("nats", "creds", "stream", "prefix"), changed("postgres", "inbox", "table", "river-schema")
	if ofNATS && ofPostgres { // what is deleted from the other store can't be brought back
		return nil, usagef("--nats, --creds, --stream and --prefix are of JetStream; --postgres, --inbox, --table and --river-schema are of PostgreSQL: which one is meant?")
	}
	if !changed("nats", "postgres") {
		if !ofPostgres {
			f.nats = os.Getenv("NATS_URL")
		}
		if !ofNATS {
			f.postgres = os.Getenv("DATABASE_URL")
		}
	}
	switch {
	case f.nats != "" && f.postgres != "":
		return nil, usagef("NATS_URL and DATABASE_URL are both set: say with --nats or --postgres which one is meant")
	case f.nats != "":
		return openJetStream(cmd.Context(), f)
	case f.postgres != "":
		return c.openPostgres(cmd.Context(), f)
	}
	return nil, usagef("which server? --nats nats://127.0.0.1:4222 or NATS_URL; --postgres postgres://user@127.0.0.1:5432/shop or DATABASE_URL")
}

// warnOfPassword says that a password is where every process can read it.
func (c *cli) warnOfPassword(flag, value, instead string) {
	inURL := strings.Contains(value, "password=")
	if u, err := url.Parse(value); err == nil && !inURL {
		_, inURL = u.User.Password()
	}
	if inURL {
		c.say("every process can read the password in --%s: %s can have it instead", flag, instead)
	}
}

func (c *cli) deadList(f *deadFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "The dead letters, the oldest first", Args: cobra.NoArgs,
		RunE: c.withDead(f, func(ctx context.Context, letters deadLetters, _ []string) error {
			if f.summary {
				return c.deadSummary(ctx, f, letters)
			}
			list, more := []deadLetter{}, false
			for d, err := range letters.All(ctx) {
				if err != nil {
					return err
				}
				if !f.matches(d) {
					continue
				}
				if more = f.limit > 0 && len(list) == f.limit; more {
					break
				}
				list = append(list, d)
			}
			if more {
				c.say("there are more than %d: --limit 0 lists all, --summary counts all", f.limit)
			}
			return c.print(list, func(w *tabwriter.Writer) { deadTable(w, list) })
		}),
	}
	f.addFilter(cmd)
	cmd.Flags().IntVar(&f.limit, "limit", 100, "how many at most; 0: all")
	cmd.Flags().BoolVar(&f.summary, "summary", false, "count all of them by event and reason, numbers in a reason left out")
	return cmd
}

func deadTable(w *tabwriter.Writer, list []deadLetter) {
	row(w, "ID", "DIED", "EVENT", "TENANT", "EVENT ID", "TRIES", "REASON")
	for _, d := range list {
		row(w, d.ID, d.DiedAt.Format(time.DateTime), d.Event, d.Tenant, d.EventID, d.Tries, briefly(d.Reason))
	}
}

// stack is where the stack of a panic begins, which both adapters keep on the reason's only line.
var stack = regexp.MustCompile(`\s+goroutine [0-9]+ \[`)

// briefly is as much of a reason as fits into a table, without the stack of a panic.
func briefly(reason string) string {
	if at := stack.FindStringIndex(reason); at != nil && at[0] > 0 {
		reason = reason[:at[0]] + " …"
	}
	return clipped(reason)
}

func (c *cli) deadShow(f *deadFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "One dead letter, with its body", Args: cobra.ExactArgs(1),
		RunE: c.withDead(f, func(ctx context.Context, letters deadLetters, args []string) error {
			d, err := letters.Get(ctx, args[0])
			if err != nil {
				return fmt.Errorf("%s: %w", visible(args[0]), err)
			}
			full := struct {
				deadLetter
				Body string `json:"body"`
			}{d, string(d.body)}
			return c.print(full, func(w *tabwriter.Writer) {
				row(w, "id", d.ID)
				row(w, "event", d.Event)
				row(w, "tenant", d.Tenant)
				row(w, "event id", d.EventID)
				row(w, "reason", d.Reason)
				row(w, "consumer", d.Consumer)
				row(w, "tries", d.Tries)
				row(w, "published", d.Time.Format(time.RFC3339))
				row(w, "died", d.DiedAt.Format(time.RFC3339))
				_, _ = fmt.Fprint(w, "\n", pretty(d.body))
			})
		}),
	}
}

// pretty is a body for a person.
func pretty(body []byte) string {
	var indented bytes.Buffer
	if json.Indent(&indented, body, "", "  ") == nil {
		body = indented.Bytes()
	}
	var b strings.Builder
	for line := range strings.Lines(string(body)) {
		b.WriteString(visible(strings.TrimRight(line, "\r\n")) + "\n")
	}
	return b.String()
}

// A settled is what became of the dead letters that were meant.
type settled struct {
	Done   int            `json:"done"` // redriven or deleted
	DryRun bool           `json:"dryRun"`
	Failed []settledError `json:"failed"`
	IDs    []string       `json:"ids"`
}

type settledError struct {
	ID    string `json:"id"`
	Error string `json:"error"`
}

func (c *cli) deadRedrive(f *deadFlags) *cobra.Command {
	return c.deadSettle(f, "redrive", "Put dead letters back where they were, to be tried anew", "redriven",
		func(ctx context.Context, letters deadLetters, id string) error { return letters.Redrive(ctx, id) })
}

func (c *cli) deadDelete(f *deadFlags) *cobra.Command {
	cmd := c.deadSettle(f, "delete", "Delete dead letters for good; on a terminal it asks before", "deleted",
		func(ctx context.Context, letters deadLetters, id string) error { return letters.Delete(ctx, id) })
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "don't ask")
	return cmd
}

// deadSettle is redrive and delete: by ids, by a filter, or all.
func (c *cli) deadSettle(f *deadFlags, verb, short, done string, do func(ctx context.Context, letters deadLetters, id string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " [ID...]", Short: short,
		Long: short + `: those with these ids, or all that fit --event and --reason, or --all. A filter means all that fit, not only those that
list shows. If nothing fits a filter, the exit code is 1.`,
		PreRunE: func(_ *cobra.Command, args []string) error {
			if chosen := f.filtered() || f.all; chosen == (len(args) > 0) {
				return usagef("which ones? Ids, or --event and --reason, or --all")
			}
			return nil
		},
		RunE: c.withDead(f, func(ctx context.Context, letters deadLetters, args []string) error {
			ids := args
			if len(args) == 0 {
				var err error
				if ids, err = f.ids(ctx, letters); err != nil {
					return err
				}
			}
			nothing := len(ids) == 0 && f.filtered()
			if nothing {
				c.say("nothing fits; walletcrew dead list shows the reasons")
			}
			ask := verb == "delete" && !f.yes && !f.dryRun && c.terminal(c.in) && len(ids) > 0
			var found []deadLetter
			if ask || f.dryRun {
				var s settled
				s, found = c.lookUp(ctx, letters, ids)
				if f.dryRun {
					return c.printDryRun(ctx, s, found, done, nothing)
				}
				if ok, err := c.confirmedDead(ctx, found); err != nil || !ok {
					return cmp.Or(err, errNo)
				}
			}
			s := c.settle(ctx, ids, func(ctx context.Context, id string) error { return do(ctx, letters, id) })
			err := c.print(s, func(w *tabwriter.Writer) {
				row(w, fmt.Sprintf("%d %s", s.Done, done))
				for _, failed := range s.Failed {
					row(w, failed.ID, failed.Error)
				}
			})
			if err == nil && (len(s.Failed) > 0 || nothing || ctx.Err() != nil) {
				return errNo
			}
			return err
		}),
	}
	f.addFilter(cmd)
	cmd.Flags().BoolVar(&f.all, "all", false, "all dead letters")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say which, and do nothing")
	return cmd
}

// lookUp gets the dead letters with these ids, and does nothing to them.
func (c *cli) lookUp(ctx context.Context, letters deadLetters, ids []string) (settled, []deadLetter) {
	found := []deadLetter{}
	s := c.settle(ctx, ids, func(ctx context.Context, id string) error {
		d, err := letters.Get(ctx, id)
		if err == nil {
			d.body = nil // all of them together may be large
			found = append(found, d)
		}
		return err
	})
	s.Done, s.DryRun = 0, true
	return s, found
}

func (c *cli) printDryRun(ctx context.Context, s settled, found []deadLetter, done string, nothing bool) error {
	err := c.print(s, func(w *tabwriter.Writer) {
		if len(found) > 0 {
			deadTable(w, found)
		}
		for _, failed := range s.Failed {
			row(w, failed.ID, failed.Error)
		}
		row(w, fmt.Sprintf("%d would be %s", len(found), done))
	})
	if err == nil && (len(s.Failed) > 0 || nothing || ctx.Err() != nil) {
		return errNo
	}
	return err
}

// confirmedDead shows what is to be deleted, and asks once for all.
func (c *cli) confirmedDead(ctx context.Context, found []deadLetter) (bool, error) {
	if len(found) == 0 {
		return true, nil // each id's error is to be told
	}
	w := tabwriter.NewWriter(c.err, 0, 4, 2, ' ', 0)
	deadTable(w, found[:min(len(found), fewResults)])
	if more := len(found) - fewResults; more > 0 {
		row(w, fmt.Sprintf("and %d more", more))
	}
	_ = w.Flush()
	what := "this dead letter"
	if len(found) > 1 {
		what = fmt.Sprintf("these %d dead letters", len(found))
	}
	return c.ask(ctx, "Delete "+what+" for good?")
}

// ids returns those that fit, before any of them is touched.
func (f *deadFlags) ids(ctx context.Context, letters deadLetters) ([]string, error) {
	ids := []string{}
	for d, err := range letters.All(ctx) {
		if err != nil {
			return nil, err
		}
		if f.matches(d) {
			ids = append(ids, d.ID)
		}
	}
	return ids, nil
}

func (c *cli) settle(ctx context.Context, ids []string, do func(ctx context.Context, id string) error) settled {
	s := settled{IDs: ids, Failed: []settledError{}}
	out := c.err
	if len(ids) <= fewResults || !c.terminal(c.err) {
		out = io.Discard
	}
	bar := progressbar.NewOptions(len(ids), progressbar.OptionSetWriter(out), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		if err := do(ctx, id); err != nil {
			s.Failed = append(s.Failed, settledError{id, oneLine(err)})
		} else {
			s.Done++
		}
		_ = bar.Add(1)
	}
	_ = bar.Finish()
	return s
}

// A deadGroup is how many dead letters have one event and one reason, whatever numbers the reason has.
type deadGroup struct {
	Count  int       `json:"count"`
	Event  string    `json:"event"`
	Reason string    `json:"reason"` // its beginning, with # for each number
	Oldest time.Time `json:"oldest"` // when the first of them was given up
	Newest time.Time `json:"newest"`
}

// number is what differs in the same reason of two events: a number, or a UUID.
var number = regexp.MustCompile(`(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]+`)

func (c *cli) deadSummary(ctx context.Context, f *deadFlags, letters deadLetters) error {
	groups, all := map[[2]string]*deadGroup{}, []*deadGroup{}
	for d, err := range letters.All(ctx) {
		if err != nil {
			return err
		}
		if !f.matches(d) {
			continue
		}
		key := [2]string{d.Event, number.ReplaceAllString(briefly(d.Reason), "#")}
		g := groups[key]
		if g == nil {
			g = &deadGroup{Event: key[0], Reason: key[1], Oldest: d.DiedAt, Newest: d.DiedAt}
			groups[key], all = g, append(all, g)
		}
		g.Count++
		if d.DiedAt.Before(g.Oldest) {
			g.Oldest = d.DiedAt
		}
		if d.DiedAt.After(g.Newest) {
			g.Newest = d.DiedAt
		}
	}
	slices.SortStableFunc(all, func(a, b *deadGroup) int { return cmp.Compare(b.Count, a.Count) })
	return c.print(all, func(w *tabwriter.Writer) {
		row(w, "COUNT", "EVENT", "OLDEST", "NEWEST", "REASON")
		for _, g := range all {
			row(w, g.Count, g.Event, g.Oldest.Format(time.DateTime), g.Newest.Format(time.DateTime), g.Reason)
		}
	})
}
