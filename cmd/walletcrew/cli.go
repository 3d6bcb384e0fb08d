package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// The exit codes.
const (
	exitYes   = 0
	exitNo    = 1 // the answer is no, or it failed
	exitUsage = 2 // a wrong call
)

// A cli is what the commands share: where they read and write, and the flags that all of them have.
type cli struct {
	in       io.Reader
	out, err io.Writer

	output  string // table, json or yaml
	verbose bool

	secretFile string
	account    account

	// terminal reports whether a person is at the other end of in, out or err. A test sets it.
	terminal func(any) bool
}

// run carries one command line out and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, stderr io.Writer) int {
	c := &cli{in: in, out: out, err: stderr, terminal: isTerminal}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(stderr)

	started := false // what fails before is a wrong call: a flag or an argument
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(c.checkOutput(cmd), cmd.ValidateFlagGroups()); err != nil {
			return err
		}
		started = true
		return nil
	}
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitYes
	case errors.Is(err, errNo):
		return exitNo
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		c.say("walletcrew: interrupted")
		return exitNo
	}
	hint := ""
	switch {
	case !started && !errors.Is(err, errUsage):
		hint = "; usage: " + cmd.UseLine()
		if cmd.HasSubCommands() {
			hint = "; see " + cmd.CommandPath() + " --help"
		}
	case errors.Is(err, walletcrew.ErrUnauthorized), errors.Is(err, walletcrew.ErrForbidden):
		hint = " walletcrew doctor says more"
	}
	c.say("walletcrew: %s%s", oneLine(err), hint)
	var invalid *walletcrew.ValidationError
	if !started || errors.Is(err, errUsage) || errors.As(err, &invalid) {
		return exitUsage
	}
	return exitNo
}

// errNo ends a command whose answer is no, and which has said so itself.
var errNo = errors.New("no")

// errUsage is a wrong call that only the command itself could see.
var errUsage = errors.New("wrong call")

type usageError struct{ text string }

func (e *usageError) Error() string        { return e.text }
func (e *usageError) Is(target error) bool { return target == errUsage }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// oneLine is the error's text without the line breaks that a joined error has, and without a package's name twice.
func oneLine(err error) string {
	return strings.TrimPrefix(strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " "), "walletcrew: ")
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "walletcrew",
		Short: "The Wallet Crew's webhooks: see deliveries, send yourself some, replay one, find out what is wrong",
		Long: `See deliveries, send yourself some, replay one, and find out why a signature doesn't match.
It needs no account: the platform is in it. Begin with

  walletcrew dev --forward-to http://localhost:8080/webhooks

Exit codes: 0; 1: the answer is no, or it failed; 2: a wrong call.`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&c.output, "output", "o", "table", "table, json or yaml")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "log each call of the API to stderr")
	root.AddCommand(
		c.devCommand(), c.listenCommand(), c.triggerCommand(), c.replayCommand(), c.resendCommand(), c.verifyCommand(), c.checkCommand(),
		c.doctorCommand(), c.webhooksCommand(), c.deadCommand(), c.platformCommand(), c.versionCommand(),
	)
	root.InitDefaultCompletionCmd()
	return root
}

// group is a command that has commands only.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	g.AddCommand(commands...)
	return g
}

// say writes a line for a person, to stderr: stdout is for answers.
func (c *cli) say(format string, args ...any) {
	_, _ = fmt.Fprintln(c.err, visible(fmt.Sprintf(format, args...)))
}

// isTerminal reports whether a person is at the other end of f, an io.Reader or an io.Writer.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
