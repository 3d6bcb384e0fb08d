package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
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
	limit         int
}

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
	flags.StringVar(&f.prefix, "prefix", "", "the `prefix` of its subjects (default: walletcrew)")
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
	if changed := cmd.Flags().Changed; !changed("nats") && !changed("postgres") {
		f.nats, f.postgres = os.Getenv("NATS_URL"), os.Getenv("DATABASE_URL")
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
				c.say("there are more than %d: --limit 0 lists all", f.limit)
			}
			return c.print(list, func(w *tabwriter.Writer) {
				row(w, "ID", "DIED", "EVENT", "TENANT", "EVENT ID", "TRIES", "REASON")
				for _, d := range list {
					row(w, d.ID, d.DiedAt.Format(time.DateTime), d.Event, d.Tenant, d.EventID, d.Tries, d.Reason)
				}
			})
		}),
	}
	f.addFilter(cmd)
	cmd.Flags().IntVar(&f.limit, "limit", 100, "how many at most; 0: all")
	return cmd
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
	return c.deadSettle(f, "delete", "Delete dead letters for good", "deleted",
		func(ctx context.Context, letters deadLetters, id string) error { return letters.Delete(ctx, id) })
}

// deadSettle is redrive and delete: by ids, by a filter, or all.
func (c *cli) deadSettle(f *deadFlags, verb, short, done string, do func(ctx context.Context, letters deadLetters, id string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " [ID...]", Short: short,
		Long: short + `: those with these ids, or all that fit --event and --reason, or --all. A filter means all that fit, not only those that
list shows.`,
		PreRunE: func(_ *cobra.Command, args []string) error {
			if filtered := f.event != "" || f.reason != "" || f.all; filtered == (len(args) > 0) {
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
			s := c.settle(ctx, letters, ids, f.dryRun, do)
			err := c.print(s, func(w *tabwriter.Writer) {
				if f.dryRun {
					row(w, fmt.Sprintf("%d would be %s", len(s.IDs), done))
					return
				}
				row(w, fmt.Sprintf("%d %s", s.Done, done))
				for _, failed := range s.Failed {
					row(w, failed.ID, failed.Error)
				}
			})
			if err == nil && (len(s.Failed) > 0 || ctx.Err() != nil) {
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

func (c *cli) settle(ctx context.Context, letters deadLetters, ids []string, dryRun bool, do func(context.Context, deadLetters, string) error) settled {
	s := settled{DryRun: dryRun, IDs: ids, Failed: []settledError{}}
	out := c.err
	if len(ids) <= fewResults || !c.terminal(c.err) {
		out = io.Discard
	}
	bar := progressbar.NewOptions(len(ids), progressbar.OptionSetWriter(out), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		err := error(nil)
		if dryRun {
			_, err = letters.Get(ctx, id)
		} else if err = do(ctx, letters, id); err == nil {
			s.Done++
		}
		if err != nil {
			s.Failed = append(s.Failed, settledError{id, oneLine(err)})
		}
		_ = bar.Add(1)
	}
	_ = bar.Finish()
	return s
}
