package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// formats is the annotation of a command that has further ones.
const formats = "formats"

func (c *cli) checkOutput(cmd *cobra.Command) error {
	if slices.Contains([]string{"table", "json", "yaml"}, c.output) || c.output != "" && c.output == cmd.Annotations[formats] {
		return nil
	}
	return usagef("-o %s: it is table, json or yaml", c.output)
}

// print writes v as the flag -o says; table writes what a person reads.
func (c *cli) print(v any, table func(*tabwriter.Writer)) error {
	switch c.output {
	case "json":
		return writeJSON(c.out, v)
	case "yaml":
		return writeYAML(c.out, v)
	}
	w := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// line writes one of many answers: a line of JSON, a document of YAML, or the text.
func (c *cli) line(v any, text string) error {
	switch c.output {
	case "json":
		return writeJSON(c.out, v)
	case "yaml":
		if _, err := io.WriteString(c.out, "---\n"); err != nil {
			return err
		}
		return writeYAML(c.out, v)
	}
	_, err := fmt.Fprintln(c.out, text)
	return err
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// writeYAML writes what writeJSON does: the same members in the same order.
func writeYAML(w io.Writer, v any) error {
	var buf bytes.Buffer
	if err := writeJSON(&buf, v); err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(buf.Bytes(), &node); err != nil { // JSON is YAML
		return err
	}
	blockStyle(&node)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return err
	}
	return enc.Close()
}

func blockStyle(node *yaml.Node) {
	node.Style = 0
	for _, child := range node.Content {
		blockStyle(child)
	}
}

// row writes the cells of a table's row.
func row(w io.Writer, cells ...any) {
	text := make([]string, len(cells))
	for i, cell := range cells {
		if p, ok := cell.(painted); ok {
			text[i] = string(p)
			continue
		}
		text[i] = visible(fmt.Sprint(cell))
	}
	_, _ = fmt.Fprintln(w, strings.Join(text, "\t"))
}

// visible takes out what a terminal would obey: a sender chooses an event's name.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '.'
		}
		return r
	}, text)
}

// A painted text has been through paint: what it tells the terminal is ours.
type painted string

// A colour is what a terminal is told before a text.
type colour string

const (
	green  colour = "\x1b[32m"
	red    colour = "\x1b[31m"
	yellow colour = "\x1b[33m"
	faint  colour = "\x1b[90m"
)

// paint colours a text on a terminal. All colours are equally long, so that a column of coloured words stays a column.
func (c *cli) paint(col colour, text string) painted {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !c.terminal(c.out) {
		return painted(visible(text))
	}
	return painted(string(col) + visible(text) + "\x1b[0m")
}

// mark is the sign before a line of a report.
func (c *cli) mark(passed bool) painted {
	if passed {
		return c.paint(green, "✓")
	}
	return c.paint(red, "✗")
}
