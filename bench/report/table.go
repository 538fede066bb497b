package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Markdown returns the table in Markdown.
func (t Table) Markdown() string {
	var out strings.Builder
	if t.Title != "" {
		fmt.Fprintf(&out, "%s:\n\n", t.Title)
	}
	line := func(cells []string) {
		escaped := make([]string, len(cells))
		for i, cell := range cells {
			escaped[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		fmt.Fprintf(&out, "| %s |\n", strings.Join(escaped, " | "))
	}
	line(t.Head)
	fmt.Fprintf(&out, "|%s\n", strings.Repeat("---|", len(t.Head)))
	for _, row := range t.Rows {
		line(row)
	}
	return out.String()
}

// Print writes the table in columns, without Markdown's marks.
func (t Table) Print(to io.Writer) {
	if t.Title != "" {
		fmt.Fprintf(to, "%s\n", t.Title)
	}
	widths := make([]int, len(t.Head))
	rows := append([][]string{t.Head}, t.Rows...)
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(bare(cell)))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			cell = bare(cell)
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		fmt.Fprintln(to, strings.TrimRight(line.String(), " "))
	}
	fmt.Fprintln(to)
}

func bare(cell string) string { return strings.NewReplacer("**", "", "`", "").Replace(cell) }

// goalTable is the goals and whether they are reached.
func goalTable(goals []Goal) Table {
	t := Table{Head: []string{"goal", "wanted", "measured", ""}}
	for _, g := range goals {
		t.Rows = append(t.Rows, []string{g.Says, g.Wanted, g.Measured, g.Verdict()})
	}
	return t
}

// Print writes all parts to a terminal, in the given order, and the goals at the end.
func (r Results) Print(to io.Writer, order []string) {
	for _, name := range order {
		part, measured := r[name]
		if !measured {
			continue
		}
		for _, t := range part.Tables {
			r.joined(t).Print(to)
		}
		for _, note := range part.Notes {
			fmt.Fprintf(to, "%s\n", bare(note))
		}
		if len(part.Notes) > 0 {
			fmt.Fprintln(to)
		}
	}
	if goals := r.goals(order); len(goals) > 0 {
		t := goalTable(goals)
		t.Title = "Goals"
		t.Print(to)
	}
}
