package mutants

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/onlyonce/onlyonce/integration/history"
	"github.com/onlyonce/onlyonce/integration/overlay"
	"github.com/onlyonce/onlyonce/integration/torture"
)

// Trial is how mutants are tried.
type Trial struct {
	// Root is the repository's folder, and Folder where servers are built and histories are kept.
	Root, Folder string
	// Length of a run, and how many a mutant must come through to be acquitted. Each draws from another seed.
	Length time.Duration
	Runs   int
	Seed   uint64
}

// Finding is what came of trying one mutant, or the unchanged servers.
type Finding struct {
	Convicted bool
	// Rules are those that the last run broke.
	Rules  []history.Rule
	Report torture.Report // of the last run
	Runs   int
	Took   time.Duration
}

// Convict runs the mutant until the checker convicts it, by what clients and database remember, or it has come through all runs.
func (t Trial) Convict(ctx context.Context, m Mutant) (Finding, error) {
	return t.try(ctx, m.Name, m.Under, m.edits)
}

// Acquit runs the servers as they are, under the same conditions, as often as a mutant would have been. They must come through all of it.
func (t Trial) Acquit(ctx context.Context, c Conditions) (Finding, error) {
	return t.try(ctx, "unchanged", c, nil)
}

func (t Trial) try(ctx context.Context, name string, under Conditions, edits []overlay.Edit) (Finding, error) {
	began := time.Now()
	server := filepath.Join(t.Folder, name)
	target := overlay.Target{Root: t.Root, Package: "integration/cmd/tortureserver", Output: server}
	if err := overlay.Build(ctx, target, append(append([]overlay.Edit{}, overlay.Clock...), edits...)...); err != nil {
		return Finding{}, err
	}
	var f Finding
	for f.Runs < t.Runs && !f.Convicted {
		config := under.config
		config.Server, config.Folder = server, t.Folder
		config.Duration, config.Seed = t.Length, t.Seed+uint64(f.Runs)
		report, err := torture.Run(ctx, config)
		if err != nil {
			return Finding{}, fmt.Errorf("%s under %s: %w", name, under.Name, err)
		}
		f.Runs++
		f.Rules = report.Verdict.Broken()
		f.Convicted = len(f.Rules) > 0 || len(edits) == 0 && !report.Clean()
		f.Report = report
	}
	f.Took = time.Since(began)
	return f, nil
}

// All tries mutants, and the unchanged servers under the conditions of each, and says to progress what it is about to do. It
// returns a line for each, and whether everybody got what they deserve.
func (t Trial) All(ctx context.Context, mutants []Mutant, progress func(format string, args ...any)) (Result, error) {
	var result Result
	for i, m := range mutants {
		progress("mutant %d of %d, %s: %s", i+1, len(mutants), m.Name, m.Bug)
		f, err := t.Convict(ctx, m)
		if err != nil {
			return result, err
		}
		result.Mutants = append(result.Mutants, Line{m.Name, m.Bug, m.Under.Name, f})
	}
	seen := map[string]bool{}
	for _, m := range mutants {
		if seen[m.Under.Name] {
			continue
		}
		seen[m.Under.Name] = true
		progress("the unchanged servers, under %s", m.Under.Name)
		f, err := t.Acquit(ctx, m.Under)
		if err != nil {
			return result, err
		}
		result.Unchanged = append(result.Unchanged, Line{"unchanged", "none", m.Under.Name, f})
	}
	return result, nil
}
