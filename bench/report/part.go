// Package report writes what was measured: tables on a terminal, a page in Markdown, and charts in SVG.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Run is what a reader has to know of the run that a figure comes from.
type Run struct {
	Date       string // of the day, 2006-01-02
	Command    string
	PostgreSQL string // version and what is set
	Redis      string
	Go         string
	CPU        string
	Rounds     int
	Length     string
	Seed       uint64
	Versions   []string // of the modules compared
	Quick      bool     `json:",omitempty"`
}

// Text is all of it in one line.
func (r Run) Text() string {
	says := []string{r.Date, r.Command, r.PostgreSQL}
	if r.Redis != "" {
		says = append(says, "Redis "+r.Redis)
	}
	says = append(append(says, r.Go, r.CPU), r.Versions...)
	says = append(says, fmt.Sprintf("%d rounds of %s", r.Rounds, r.Length), fmt.Sprintf("seed %d", r.Seed))
	if r.Quick {
		says = append([]string{"QUICK: does it run? The figures below mean nothing"}, says...)
	}
	return strings.Join(says, " · ")
}

// Part is what one measurement found.
type Part struct {
	Name   string // of its place in the page
	Run    Run
	Tables []Table
	Notes  []string `json:",omitempty"`
	Goals  []Goal   `json:",omitempty"`
	Charts []Chart  `json:",omitempty"`
	// Safety is, by contender, what it did wrong under kills.
	Safety map[string]string `json:",omitempty"`
}

// Table has a name for each column. The first column is the contender where Safety is set, and then what is known of its safety
// is put beside its figures.
type Table struct {
	Title  string
	Head   []string
	Rows   [][]string
	Safety bool `json:",omitempty"`
}

// Goal is what a figure should be.
type Goal struct {
	Says     string
	Wanted   string
	Measured string
	Reached  bool
}

// Verdict is "reached" or "not reached".
func (g Goal) Verdict() string {
	if g.Reached {
		return "reached"
	}
	return "**not reached**"
}

// Results are parts by name, of one run or of several.
type Results map[string]Part

// Load reads what Save has kept. A file that is not there holds nothing.
func Load(file string) (Results, error) {
	kept, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Results{}, nil
	}
	if err != nil {
		return nil, err
	}
	results := Results{}
	return results, json.Unmarshal(kept, &results)
}

// Save keeps the results for a run that measures only some of them anew.
func (r Results) Save(file string) error {
	kept, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(kept, '\n'), 0o644)
}

// goals returns all goals, the parts in the given order.
func (r Results) goals(order []string) []Goal {
	var goals []Goal
	for _, name := range order {
		goals = append(goals, r[name].Goals...)
	}
	return goals
}

// safety returns what is known of the contenders' safety, or nil.
func (r Results) safety() map[string]string {
	for _, part := range r {
		if part.Safety != nil {
			return part.Safety
		}
	}
	return nil
}

// joined returns the table with a column for safety, where it asks for one and there is anything known.
func (r Results) joined(t Table) Table {
	safety := r.safety()
	if !t.Safety || safety == nil {
		return t
	}
	t.Head = append(slices.Clone(t.Head), "under kills")
	rows := make([][]string, len(t.Rows))
	for i, row := range t.Rows {
		says, known := safety[row[0]]
		if !known {
			says = "–"
		}
		rows[i] = append(slices.Clone(row), says)
	}
	t.Rows = rows
	return t
}
