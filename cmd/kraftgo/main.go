// Command kraftgo runs a broker that speaks the Kafka protocol, and is the client to talk to one: it works against any
// Kafka cluster.
//
// One file a command. Commands that run a node are in node.go and dev.go; the others are clients. Exit codes: 0 all went
// well; 1 the command was used wrongly, or could not start; 2 the broker answered with an error, or could not be reached.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

// version is set by the release build: -ldflags "-X main.version=...".
var version = "dev"

func main() {
	execute = syscall.Exec
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// brokerError marks the errors that are the broker's: exit code 2.
type brokerError struct{ error }

func (e brokerError) Unwrap() error { return e.error }

// run is main with its streams as arguments, and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := newApp(stdin, stdout, stderr)
	words, err := reorder(app, args)
	if err == nil {
		err = app.Run(words)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "kraftgo:", err)
	var broker brokerError
	if errors.As(err, &broker) {
		return 2
	}
	return 1
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:                      "kraftgo",
		Usage:                     "a broker cluster that speaks the Apache Kafka protocol and coordinates itself",
		Version:                   version,
		Reader:                    stdin,
		Writer:                    stdout,
		ErrWriter:                 stderr,
		DisableSliceFlagSeparator: true, // --set listeners=A://x,B://y is one value
		EnableBashCompletion:      true,
		HideHelpCommand:           true,
		// Errors are printed and turned into exit codes by run alone.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return err },
		Commands:       commands(),
		Action: func(c *cli.Context) error {
			if word := c.Args().First(); word != "" {
				return fmt.Errorf("no command %q; 'kraftgo --help' lists them", word)
			}
			return cli.ShowAppHelp(c)
		},
	}
	refuseUsageQuietly(app.Commands)
	return app
}

// refuseUsageQuietly makes every command answer wrong use with one line instead of its help text.
func refuseUsageQuietly(list []*cli.Command) {
	for _, c := range list {
		c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return err }
		if c.Action == nil && len(c.Subcommands) > 0 {
			c.Action = func(ctx *cli.Context) error {
				if word := ctx.Args().First(); word != "" {
					return fmt.Errorf("no command %q under %q; see '%s --help'", word, ctx.Command.Name, ctx.Command.HelpName)
				}
				return cli.ShowSubcommandHelp(ctx)
			}
		}
		refuseUsageQuietly(c.Subcommands)
	}
}

// reorder puts the flags of a command before its other words, since the library takes flags behind the first word for
// words, without an error. Words after "--" stay words.
func reorder(app *cli.App, args []string) ([]string, error) {
	out := args[:1:1]
	rest := args[1:]
	list, flags := app.Commands, append([]cli.Flag{}, app.Flags...)
	for len(rest) > 0 {
		c := findCommand(list, rest[0])
		if c == nil {
			break
		}
		out, rest = append(out, rest[0]), rest[1:]
		list, flags = c.Subcommands, c.Flags
	}
	var front, words []string
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		switch {
		case word == "--":
			words = append(words, rest...)
			rest = nil
		case word == "-" || !strings.HasPrefix(word, "-"):
			words = append(words, word)
		default:
			front = append(front, word)
			if takesValue(flags, word) {
				if len(rest) == 0 {
					return nil, fmt.Errorf("flag %s needs a value", word)
				}
				front, rest = append(front, rest[0]), rest[1:]
			}
		}
	}
	out = append(out, front...)
	if len(words) > 0 {
		out = append(append(out, "--"), words...)
	}
	return out, nil
}

func findCommand(list []*cli.Command, name string) *cli.Command {
	for _, c := range list {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// takesValue reports whether the flag takes the next word as its value.
func takesValue(flags []cli.Flag, word string) bool {
	name := strings.TrimLeft(word, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				_, isBool := f.(*cli.BoolFlag)
				return !isBool
			}
		}
	}
	return false
}
