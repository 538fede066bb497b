package integration_test

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/integration/mutants"
)

// A page that names a test which is gone promises what nobody attacks.
func TestEveryTestThatTheGuaranteesNameExists(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/guarantees.md")
	require.NoError(t, err)
	// A Go test, or a scenario of the shared suites: a function in lower camel case.
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9_]+|[a-z]+(?:[A-Z0-9][a-z0-9]*){2,})`").FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(named), 50, "the names are not found any more")

	functions := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (\w+)\(`)
	require.NoError(t, fs.WalkDir(os.DirFS(".."), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return err
		}
		content, err := os.ReadFile("../" + name)
		for _, found := range declared.FindAllStringSubmatch(string(content), -1) {
			functions[found[1]] = true
		}
		return err
	}))
	for _, match := range named {
		assert.True(t, functions[match[1]], "%s is named, and there is no such test", match[1])
	}
	for _, mutant := range mutants.All {
		assert.Contains(t, string(page), "`"+mutant.Name+"`", "what does this mutant attack?")
	}
}
