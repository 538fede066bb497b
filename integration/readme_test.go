package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheREADMEsProgramCompiles(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, program, found := strings.Cut(string(readme), "```go\n")
	require.True(t, found, "README.md has no Go program")
	program, _, _ = strings.Cut(program, "```")
	file := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(file, []byte(program), 0o600))

	build := exec.Command("go", "build", "-o", os.DevNull, file)
	build.Dir = ".." // in the root module, with what it requires
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// The program in C is tested where it stands: in clib.
func TestTheREADMEHasTheProgramInCAsItIs(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	program, err := os.ReadFile("../clib/examples/charge.c")
	require.NoError(t, err)
	require.Contains(t, string(readme), "```c\n"+string(program)+"```\n")
}
