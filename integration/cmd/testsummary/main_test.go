package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func lastLine(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return lines[len(lines)-1]
}

func TestASummaryOfAModule(t *testing.T) {
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "")
	tests := []struct {
		name, source string
		wantCode     int
		wantLast     string
		contains     []string
	}{
		{
			name: "all is well",
			source: `func TestA(t *testing.T) { t.Run("one", func(t *testing.T) {}); t.Run("two", func(t *testing.T) {}) }
				func TestB(t *testing.T) { t.Log("quiet") }`,
			wantLast: "4 passed, 0 failed, 0 skipped",
			contains: []string{"ok    example.com/m"},
		},
		{
			name:     "a skip keeps its reason",
			source:   `func TestA(t *testing.T) {}; func TestB(t *testing.T) { t.Skip("needs the moon") }`,
			wantLast: "1 passed, 0 failed, 1 skipped",
			contains: []string{"skipped  example.com/m TestB: m_test.go:5: needs the moon"},
		},
		{
			name:     "a failure is printed in full",
			source:   `func TestA(t *testing.T) {}; func TestB(t *testing.T) { t.Log("first"); t.Error("second") }`,
			wantCode: 1,
			wantLast: "1 passed, 1 failed, 0 skipped",
			contains: []string{"first", "second", "failed   example.com/m TestB", "FAIL  example.com/m"},
		},
		{
			name:     "a panic fails its test",
			source:   `func TestA(t *testing.T) {}; func TestB(t *testing.T) { panic("boom") }`,
			wantCode: 1,
			wantLast: "1 passed, 1 failed, 0 skipped",
			contains: []string{"boom", "goroutine"},
		},
		{
			name:     "a timeout shows the stacks",
			source:   `func TestA(t *testing.T) { t.Parallel(); select {} }; func TestB(t *testing.T) { t.Parallel() }`,
			wantCode: 1,
			wantLast: "1 passed, 1 failed, 0 skipped",
			contains: []string{"panic: test timed out", "running tests:", "m.TestA("},
		},
		{
			name:     "an exit in the middle is a failure",
			source:   `func TestA(t *testing.T) { println("going"); os.Exit(3) }`,
			wantCode: 1,
			wantLast: "0 passed, 1 failed, 0 skipped",
			contains: []string{"example.com/m"},
		},
		{
			name:     "a package that does not build is a failure",
			source:   `func TestA(t *testing.T) { nonsense }`,
			wantCode: 1,
			wantLast: "0 passed, 1 failed, 0 skipped",
			contains: []string{"undefined: nonsense", "failed   example.com/m: the package itself"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/m\n\ngo 1.25.0\n"), 0o644))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "m_test.go"),
				[]byte("package m\n\nimport (\"os\"; \"testing\"); var _ = os.Exit\n\n"+test.source+"\n"), 0o644))
			t.Chdir(dir)
			var stdout, stderr bytes.Buffer

			code := run([]string{"-timeout=3s", "./..."}, &stdout, &stderr)

			output := stdout.String()
			assert.Equal(t, test.wantCode, code, "%s%s", output, stderr.String())
			assert.Equal(t, test.wantLast, lastLine(output), output)
			for _, part := range test.contains {
				assert.Contains(t, output, part)
			}
		})
	}
}

func TestGoTestsOwnErrorsAreNotLost(t *testing.T) {
	var stdout, stderr bytes.Buffer
	assert.NotZero(t, run([]string{"-nonsense"}, &stdout, &stderr))
	assert.Contains(t, stdout.String()+stderr.String(), "nonsense")
}
