package mutants

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/onlyonce/onlyonce/integration/history"
)

// Result is what came of a trial.
type Result struct {
	Mutants, Unchanged []Line
}

// Line is one of its findings.
type Line struct {
	Name, Bug, Under string
	Finding
}

// Just reports whether every mutant was convicted, and the unchanged servers were not.
func (r Result) Just() bool {
	return r.convicted() == len(r.Mutants) && r.acquitted() == len(r.Unchanged)
}

func (r Result) convicted() (n int) {
	for _, line := range r.Mutants {
		if line.Convicted {
			n++
		}
	}
	return n
}

func (r Result) acquitted() (n int) {
	for _, line := range r.Unchanged {
		if !line.Convicted {
			n++
		}
	}
	return n
}

func (r Result) String() string {
	var s strings.Builder
	table := tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "servers\tunder\tverdict\trules broken\truns\ttime")
	for _, lines := range [][]Line{r.Mutants, r.Unchanged} {
		for _, line := range lines {
			verdict := "acquitted"
			if line.Convicted {
				verdict = "convicted"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%v\n", line.Name, line.Under, verdict, rules(line.Rules), line.Runs, line.Took.Round(time.Second))
		}
	}
	_ = table.Flush()
	fmt.Fprintf(&s, "convicted %d/%d; unchanged servers acquitted %d/%d\n", r.convicted(), len(r.Mutants), r.acquitted(), len(r.Unchanged))
	return s.String()
}

func rules(broken []history.Rule) string {
	if len(broken) == 0 {
		return "-"
	}
	var all []string
	for _, rule := range broken {
		all = append(all, string(rule))
	}
	return strings.Join(all, ", ")
}
