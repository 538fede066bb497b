package overlay_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/integration/overlay"
)

const root = "../.."

func program(t *testing.T) overlay.Target {
	t.Helper()
	return overlay.Target{Root: root, Package: "integration/cmd/testsummary", Output: filepath.Join(t.TempDir(), "program")}
}

func TestAProgramIsBuiltFromTheEditedSourcesWhichStayAsTheyAre(t *testing.T) {
	t.Parallel()
	const file = "integration/cmd/testsummary/main.go"
	before, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	target := program(t)
	require.NoError(t, overlay.Build(t.Context(), target,
		overlay.Edit{File: file, Old: "func main() {\n", New: "func main() {\n\tprintln(\"first\")\n"},
		overlay.Edit{File: file, Old: "println(\"first\")", New: "println(\"edited twice\")\n\tos.Exit(7)"},
	))

	said, err := exec.Command(target.Output).CombinedOutput()

	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 7, exit.ExitCode())
	assert.Equal(t, "edited twice\n", string(said))
	after, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestAnEditWhosePlaceIsGoneOrNotTheOnlyOneBuildsNothing(t *testing.T) {
	t.Parallel()
	for _, edit := range []overlay.Edit{
		{File: "go.mod", Old: "no such text", New: "x"},
		{File: "go.mod", Old: "github.com", New: "x"},
		{File: "nowhere.go", Old: "x", New: "y"},
	} {
		target := program(t)
		assert.Error(t, overlay.Build(t.Context(), target, edit))
		assert.NoFileExists(t, target.Output)
	}
}

func TestWhatDoesNotCompileIsReportedWithTheCompilersWords(t *testing.T) {
	t.Parallel()
	err := overlay.Build(t.Context(), program(t), overlay.Edit{File: "integration/cmd/testsummary/main.go", Old: "func main() {\n", New: "func main() {\n\tundefinedThing()\n"})
	assert.ErrorContains(t, err, "undefinedThing")
}

func TestABuildCanBeInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, overlay.Build(ctx, program(t)), context.Canceled)
}
