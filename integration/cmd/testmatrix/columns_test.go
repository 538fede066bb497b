package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryTestThatTouchesPostgresIsInOneColumn(t *testing.T) {
	t.Parallel()
	for _, pkg := range packages(columns) {
		names := testsOf(t, filepath.Join("..", "..", "..", strings.TrimPrefix(pkg, module)))
		require.NotEmpty(t, names, pkg)
		for _, name := range names {
			var in []string
			for _, c := range columns {
				for _, s := range c.tests {
					if s.pkg == pkg && s.selects(name) {
						in = append(in, c.name)
					}
				}
			}
			switch {
			case name == "TestStoreConforms":
				assert.Len(t, in, 7, "five modes and two levels")
			case slices.Contains(adapters, strings.TrimPrefix(pkg, module+"/")):
				assert.LessOrEqual(t, len(in), 1, "%s %s", pkg, name) // the others ask no database
			case strings.HasSuffix(pkg, "/integration") && regexp.MustCompile(asksNobody).MatchString(name):
				assert.Empty(t, in, name)
			default:
				assert.Len(t, in, 1, "%s %s", pkg, name)
			}
		}
	}
}

// adapters ask a database in their contract alone.
var adapters = []string{"nethttp", "echo", "echov5", "gin", "fiber", "fiberv2"}

// selects reports whether -run and -skip select a test that is not a part of another.
func (s selection) selects(name string) bool {
	first, _, _ := strings.Cut(s.run, "/")
	return regexp.MustCompile(first).MatchString(name) && (s.skip == "" || !regexp.MustCompile(s.skip).MatchString(name))
}

func testsOf(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	require.NoError(t, err)
	var names []string
	for _, file := range files {
		names = append(names, testsIn(t, file)...)
	}
	return names
}

func testsIn(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	var names []string
	for _, declared := range parsed.Decls {
		if f, is := declared.(*ast.FuncDecl); is && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain" {
			names = append(names, f.Name.Name)
		}
	}
	return names
}

func TestColumnsAreChosenByName(t *testing.T) {
	t.Parallel()
	all, err := chosen("", false)
	require.NoError(t, err)
	assert.Len(t, all, len(columns))
	some, err := chosen("exec, faults", true)
	require.NoError(t, err)
	assert.Equal(t, []string{pgstore, stack}, packages(some))
	short, err := chosen("", true)
	require.NoError(t, err)
	assert.Len(t, short, 2)
	_, err = chosen("exec,tests", false)
	require.ErrorContains(t, err, `no column "tests": there are cache_statement, `)
	assert.Len(t, columns, len(all), "choosing does not change what there is")
}
