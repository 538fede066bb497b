// Package dropin shows what changes in a service that comes from Fiber's own middleware: before and after.
package dropin

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// changing are the places at which the two programs may differ.
var changing = regexp.MustCompile(`(?s)import \(\n(.*?)\n\)\n|func protection\(\) \(fiber\.Handler, error\) \{\n(.*?)\n\}\n`)

func TestOnlyTheImportAndTheConstructorChange(t *testing.T) {
	t.Parallel()
	before, after := read(t, "before/main.go"), read(t, "after/main.go")
	require.NotEqual(t, before, after)
	require.Len(t, changing.FindAllString(before, -1), 2)
	require.Len(t, changing.FindAllString(after, -1), 2)
	require.Equal(t, rest(before), rest(after), "something else changed, too")
	for _, line := range imports(before) {
		if !strings.Contains(line, "middleware/idempotency") {
			require.Contains(t, imports(after), line, "an import was lost that has nothing to do with it")
		}
	}
	require.Equal(t, read(t, "before/main_test.go"), read(t, "after/main_test.go"), "they are not held to the same")
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

func rest(program string) []string {
	return strings.Split(changing.ReplaceAllString(program, "(changes)\n"), "\n")
}

func imports(program string) []string {
	return strings.Fields(changing.FindStringSubmatch(program)[1])
}
