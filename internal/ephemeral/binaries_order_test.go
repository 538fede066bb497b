package ephemeral

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheHighestMajorVersionOfAUsualFolderWins(t *testing.T) {
	root := t.TempDir()
	for _, folder := range []string{"9.6", "15", "17", "pgsql-16", "postgresql@18"} {
		bin := filepath.Join(root, folder, "bin")
		require.NoError(t, os.MkdirAll(bin, 0o755))
		for _, name := range []string{"initdb", "postgres"} {
			require.NoError(t, os.WriteFile(filepath.Join(bin, name), nil, 0o755))
		}
	}
	usual := usualFolders
	t.Cleanup(func() { usualFolders = usual })
	usualFolders = []string{filepath.Join(root, "*", "bin")}
	t.Setenv("PATH", "")
	t.Setenv(BinariesVariable, "")

	found, err := FindBinaries("")
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(root, "postgresql@18", "bin"), found)
	all := Installed()
	assert.Contains(t, all, filepath.Join(root, "9.6", "bin"))
	assert.Equal(t, found, all[0])

	usualFolders = nil
	_, err = FindBinaries("")
	require.ErrorIs(t, err, ErrNoBinaries)
}
