package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/kraftgo/kraftgo/metadata/config"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "about settings",
		Subcommands: []*cli.Command{{
			Name:        "reference",
			Usage:       "print every setting with its type, default and meaning",
			UsageText:   "kraftgo config reference [--format table|json]",
			Description: "Example:\n\n  kraftgo config reference | grep retention",
			Flags:       []cli.Flag{&cli.StringFlag{Name: "format", Value: "table", Usage: "`FORMAT`: table or json"}},
			Action:      configReference,
		}},
	}
}

func configReference(c *cli.Context) error {
	switch c.String("format") {
	case "json":
		type row struct {
			Scope, Name, Type string
			Default           *string
			Dynamic           bool
			Meaning           string
		}
		var rows []row
		for _, scope := range []config.Scope{config.Broker, config.Topic, config.Group} {
			for _, k := range config.All(scope) {
				r := row{Scope: scope.String(), Name: k.Name, Type: k.Type.String(), Dynamic: scope != config.Broker || k.Dynamic != config.ReadOnly, Meaning: meaning(k)}
				if !k.Null {
					r.Default = &k.Default
				}
				rows = append(rows, r)
			}
		}
		e := json.NewEncoder(c.App.Writer)
		e.SetIndent("", "  ")
		return e.Encode(rows)
	case "table":
		w := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "SCOPE\tNAME\tTYPE\tDEFAULT\tMEANING")
		for _, scope := range []config.Scope{config.Broker, config.Topic, config.Group} {
			for _, k := range config.All(scope) {
				value := k.Default
				if k.Null {
					value = "(none)"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", scope, k.Name, k.Type, value, meaning(k))
			}
		}
		return w.Flush()
	}
	return fmt.Errorf("--format %s: want table or json", c.String("format"))
}

func meaning(k *config.Key) string {
	if k.NoEffect != "" {
		return k.Doc + " No effect: " + k.NoEffect + "."
	}
	return k.Doc
}
