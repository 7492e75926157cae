package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

// formatFlag is the flag of every command that prints data, but for consume, whose records have formats of their own.
func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Value: "table", Usage: "`FORMAT`: table or json"}
}

// checkFormat is called before the broker is asked for anything.
func checkFormat(c *cli.Context) error {
	switch c.String("format") {
	case "table", "json":
		return nil
	}
	return fmt.Errorf("--format %s: want table or json", c.String("format"))
}

// printData writes data as JSON, or what table makes of it, as the --format flag says.
func printData(c *cli.Context, data any, table func(t *table)) error {
	if c.String("format") == "json" {
		e := json.NewEncoder(c.App.Writer)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(data)
	}
	t := newTable(c)
	table(t)
	return t.flush()
}

// printResult tells a person on standard error what was done, or a script by JSON on standard output, as the --format flag says.
func printResult(c *cli.Context, data any, format string, args ...any) error {
	if c.String("format") == "json" {
		return printData(c, data, nil)
	}
	_, err := fmt.Fprintf(c.App.ErrWriter, format+"\n", args...)
	return err
}

// table prints columns. An empty cell is printed as "-", so that scripts can split at blanks.
type table struct{ w *tabwriter.Writer }

func newTable(c *cli.Context) *table {
	return &table{tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)}
}

func (t *table) row(cells ...any) {
	words := make([]string, len(cells))
	for i, cell := range cells {
		if words[i] = fmt.Sprint(cell); words[i] == "" {
			words[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(words, "\t"))
}

// gap ends one table, so that the next has columns of its own width.
func (t *table) gap() { fmt.Fprintln(t.w) }

func (t *table) flush() error { return t.w.Flush() }

// numbers is a list of brokers or partitions for a table: 1,2,3.
func numbers(list []int32) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = strconv.Itoa(int(n))
	}
	return strings.Join(words, ",")
}
