package ephemeral_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

func fakeServer(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755))
	}
	return dir
}

func TestAnExplicitFolderIsTheOnlyOneLookedIn(t *testing.T) {
	t.Parallel()
	whole := fakeServer(t, "initdb", "postgres")
	found, err := ephemeral.FindBinaries(whole)
	require.NoError(t, err)
	assert.Equal(t, whole, found)

	client := fakeServer(t, "psql", "initdb")
	_, err = ephemeral.FindBinaries(client)
	require.ErrorIs(t, err, ephemeral.ErrNoBinaries)
	require.ErrorContains(t, err, client)
}

func TestThePathWinsOverTheUsualFolders(t *testing.T) {
	onPath := fakeServer(t, "initdb", "postgres")
	t.Setenv("PATH", onPath)
	t.Setenv(ephemeral.BinariesVariable, "")
	found, err := ephemeral.FindBinaries("")
	require.NoError(t, err)
	want, err := filepath.EvalSymlinks(onPath)
	require.NoError(t, err)
	assert.Equal(t, want, found)
}

func TestASymlinkOnThePathLeadsToTheFolderItPointsInto(t *testing.T) {
	whole := fakeServer(t, "initdb", "postgres")
	links := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(whole, "initdb"), filepath.Join(links, "initdb")))
	t.Setenv("PATH", links)
	t.Setenv(ephemeral.BinariesVariable, "")
	found, err := ephemeral.FindBinaries("")
	require.NoError(t, err)
	want, err := filepath.EvalSymlinks(whole)
	require.NoError(t, err)
	assert.Equal(t, want, found)
}

func TestTheFolderInTheEnvironmentIsTheOnlyOneLookedIn(t *testing.T) {
	t.Setenv("PATH", fakeServer(t, "initdb", "postgres"))
	named := fakeServer(t, "initdb", "postgres")
	t.Setenv(ephemeral.BinariesVariable, named)
	found, err := ephemeral.FindBinaries("")
	require.NoError(t, err)
	assert.Equal(t, named, found)

	t.Setenv(ephemeral.BinariesVariable, fakeServer(t))
	_, err = ephemeral.FindBinaries("")
	require.ErrorIs(t, err, ephemeral.ErrNoBinaries)
}
