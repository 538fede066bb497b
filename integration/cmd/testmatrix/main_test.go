package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/integration/database"
	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

// call runs the command, and returns its exit code and all that it says.
func call(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var said bytes.Buffer
	code := run(args, &said, &said)
	return code, said.String()
}

// The smallest selection of the grid, on every version that this machine has.
func TestTheSmallestSelectionOnEveryVersion(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	if os.Getenv(foldersVariable) == "" && len(distinct(t)) == 0 {
		t.Skipf("no server's binaries are here: %s", howToGet)
	}
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1") // what is here, not what a registry has
	t.Setenv(database.URLVariable, "")
	code, said := call(t, "-short", "-race=false", "-timeout=3m")
	t.Log("\n" + said)
	assert.Zero(t, code)
	assert.NotContains(t, said, "FAILED")
}

// distinct are the versions that are installed here.
func distinct(t *testing.T) []server {
	t.Helper()
	found, err := fromFolders(t.Context(), ephemeral.Installed())
	require.NoError(t, err)
	return found
}

// fakeServers are folders with programs that say that they are of a version, as a list.
func fakeServers(t *testing.T, versions ...string) string {
	t.Helper()
	var folders []string
	for _, version := range versions {
		folder := t.TempDir()
		for _, name := range []string{"initdb", "postgres"} {
			require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte("#!/bin/sh\necho \"postgres (PostgreSQL) "+version+"\"\n"), 0o755))
		}
		folders = append(folders, folder)
	}
	return strings.Join(folders, string(os.PathListSeparator))
}

func TestTheVersionsOfTheFoldersAreListedAndTheMissingOnesToo(t *testing.T) {
	t.Setenv(foldersVariable, fakeServers(t, "18beta1 (Debian 18)", "14.3", "14.2")+string(os.PathListSeparator))
	code, said := call(t, "-list")
	assert.Zero(t, code)
	assert.Contains(t, said, "PostgreSQL 14: 14.3 in /")
	assert.Contains(t, said, "PostgreSQL 18: 18beta1 in /")
	assert.NotContains(t, said, "14.2", "the first folder of a version counts")
	assert.Contains(t, said, "PostgreSQL 15, 16, 17: MISSING, not tested. To test it, name a folder")
	assert.Contains(t, said, "columns: cache_statement, ")

	code, said = call(t, "-list", "-versions", "14")
	assert.Zero(t, code)
	assert.NotContains(t, said, "PostgreSQL 18")
	assert.NotContains(t, said, "MISSING")
}

func TestAVersionThatWasNamedAndIsMissingIsAFailure(t *testing.T) {
	t.Setenv(foldersVariable, fakeServers(t, "14.3"))
	code, said := call(t, "-versions", "17")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, said, "PostgreSQL 17: MISSING")
	assert.Contains(t, said, "no version to test against")
}

func TestAServerThatDoesNotStartIsMissingAndNotForgotten(t *testing.T) {
	t.Setenv(foldersVariable, fakeServers(t, "16.1"))
	code, said := call(t, "-columns", "http", "-race=false")
	assert.Equal(t, exitFailed, code, "nothing was tested")
	assert.Contains(t, said, "PostgreSQL 16: MISSING, not tested: ")
	assert.Contains(t, said, "not tested: 14, 15, 16, 17, 18")
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	t.Setenv(foldersVariable, fakeServers(t, "16.1"))
	for _, args := range [][]string{{"-columns", "nothing"}, {"-nonsense"}, {"extra"}} {
		code, said := call(t, args...)
		assert.Equal(t, exitUsage, code, said)
	}
	code, said := call(t, "-h")
	assert.Zero(t, code)
	assert.Contains(t, said, foldersVariable)

	t.Setenv(foldersVariable, t.TempDir())
	code, said = call(t)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, said, foldersVariable+": no initdb and postgres in ")
}
