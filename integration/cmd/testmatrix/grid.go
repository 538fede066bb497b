package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// row is a server version's line of the grid. A column that was not run is not in it.
type row struct {
	version string
	how     string // where the server came from
	cells   map[string]cell
}

// cell is one version's results in one column.
type cell struct {
	results
	took time.Duration
	logs []string
}

func (c cell) String() string { return fmt.Sprintf("%d/%d/%d", c.passed, c.failed, c.skipped) }

// printGrid prints versions downwards and columns across.
func printGrid(out io.Writer, shown []column, rows []row) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	head := []string{"PostgreSQL"}
	for _, c := range shown {
		head = append(head, c.name)
	}
	fmt.Fprintln(table, strings.Join(append(head, "all"), "\t"))
	for _, r := range rows {
		line := []string{r.version}
		var all cell
		for _, c := range shown {
			counted, ran := r.cells[c.name]
			if !ran {
				line = append(line, "-")
				continue
			}
			line = append(line, counted.String())
			all.add(counted.results)
		}
		fmt.Fprintln(table, strings.Join(append(line, all.String()), "\t"))
	}
	_ = table.Flush()
	fmt.Fprintln(out, "tests passed/failed/skipped; -: not run")
}

// printTroubles names what was skipped, and what failed and where it said why. It returns how many tests failed.
func printTroubles(out io.Writer, shown []column, rows []row) (failed int) {
	for _, r := range rows {
		for _, c := range shown {
			counted := r.cells[c.name]
			for _, reason := range counted.reasons {
				fmt.Fprintf(out, "skipped  %s  %s  %s\n", r.version, c.name, reason)
			}
		}
	}
	for _, r := range rows {
		for _, c := range shown {
			counted := r.cells[c.name]
			failed += counted.failed
			for _, name := range counted.names {
				fmt.Fprintf(out, "FAILED   %s  %s  %s\n", r.version, c.name, name)
			}
			if counted.failed > 0 {
				fmt.Fprintf(out, "         what it said: %s\n", strings.Join(counted.logs, " "))
			}
		}
	}
	return failed
}
