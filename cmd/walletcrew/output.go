package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"

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
	text, err := encodeJSON(v)
	if err != nil {
		return err
	}
	_, err = w.Write(escapeObeyed(text, func(r rune) string {
		high, low := utf16.EncodeRune(r) // the others are escaped already
		return fmt.Sprintf(`\u%04x\u%04x`, high, low)
	}))
	return err
}

// encodeJSON escapes what YAML takes for an escape, too: that of two surrogates it doesn't.
func encodeJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return escapeObeyed(buf.Bytes(), func(r rune) string {
		if r > 0xffff {
			return string(r)
		}
		return fmt.Sprintf(`\u%04x`, r)
	}), err
}

// escapeObeyed escapes what a terminal may obey. JSON and YAML needn't, and it means the same.
func escapeObeyed(text []byte, escape func(rune) string) []byte {
	if !bytes.ContainsFunc(text, obeyed) {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		if obeyed(r) {
			b.WriteString(escape(r))
			continue
		}
		b.WriteRune(r)
	}
	return b.Bytes()
}

// obeyed reports whether a terminal may do something else with r than show it, as for the direction of what follows.
func obeyed(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }

// writeYAML writes what writeJSON does: the same members in the same order.
func writeYAML(w io.Writer, v any) error {
	text, err := encodeJSON(v)
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil { // JSON is YAML
		return err
	}
	blockStyle(&node)
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(&node), enc.Close()); err != nil {
		return err
	}
	_, err = w.Write(escapeObeyed(buf.Bytes(), func(r rune) string { return fmt.Sprintf(`\U%08x`, r) }))
	return err
}

func blockStyle(node *yaml.Node) {
	node.Style = 0
	if strings.ContainsFunc(node.Value, obeyed) {
		node.Style = yaml.DoubleQuotedStyle // the only one with escapes
	}
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
		if !unicode.IsPrint(r) {
			return '.'
		}
		return r
	}, text)
}

// clipped is what fits into a line of a name or an id that a sender chose.
func clipped(text string) string {
	const most = 100
	if runes := []rune(text[:min(len(text), 4*most+4)]); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
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
