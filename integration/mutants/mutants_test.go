package mutants

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/integration/overlay"
	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

func TestEveryBugStillHasItsPlace(t *testing.T) {
	t.Parallel()
	for _, m := range All {
		t.Run(m.Name, func(t *testing.T) {
			require.NoError(t, overlay.Build(t.Context(), overlay.Target{Root: "../..", Package: "pgstore", Output: os.DevNull}, m.edits...))
		})
	}
}

// The trial of all of them is make mutants. This is of one, and of the servers as they are.
func TestAMutantIsConvictedAndTheServersAsTheyAreAreNot(t *testing.T) {
	if _, err := ephemeral.FindBinaries(""); errors.Is(err, ephemeral.ErrNoBinaries) {
		t.Skipf("a cluster that may be broken cannot be started: %v", err)
	}
	trial := Trial{Root: "../..", Folder: t.TempDir(), Length: 8 * time.Second, Runs: 2, Seed: 1}
	one := slices.IndexFunc(All, func(m Mutant) bool { return m.Name == "two-transactions" })
	result, err := trial.All(t.Context(), All[one:one+1], t.Logf)
	require.NoError(t, err)
	t.Logf("\n%v", result)
	assert.True(t, result.Just())
	assert.Contains(t, result.String(), "convicted 1/1; unchanged servers acquitted 1/1")
}

func TestATrialIsJustIfTheGuiltyAloneAreConvicted(t *testing.T) {
	t.Parallel()
	guilty, innocent := Line{Finding: Finding{Convicted: true}}, Line{}
	for _, c := range []struct {
		result Result
		just   bool
	}{
		{Result{Mutants: []Line{guilty, guilty}, Unchanged: []Line{innocent}}, true},
		{Result{Mutants: []Line{guilty, innocent}, Unchanged: []Line{innocent}}, false},
		{Result{Mutants: []Line{guilty, guilty}, Unchanged: []Line{innocent, guilty}}, false},
	} {
		assert.Equal(t, c.just, c.result.Just(), c.result.String())
	}
}
