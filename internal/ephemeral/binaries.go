package ephemeral

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// ErrNoBinaries says that this machine has no PostgreSQL server binaries where anybody would look for them.
var ErrNoBinaries = errors.New("no PostgreSQL server binaries (initdb, postgres) on PATH, in pg_config --bindir or in the usual folders: " +
	"install the server package (Debian: postgresql, Red Hat: postgresql-server, Homebrew: postgresql@17)")

// The folders in which packages put the server, outside PATH, one for each major version.
var usualFolders = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/usr/local/pgsql/bin",
}

// BinariesVariable is the environment variable that names the folder of initdb and postgres, and then the only one: a run of the
// tests against one version must not take another version's server. A folder that has none leaves the tests without.
const BinariesVariable = "ONLYONCE_TEST_PG_BIN"

// FindBinaries returns the folder of initdb and postgres. With dir it looks there and nowhere else; without, where
// [BinariesVariable] says, if it is set; else on PATH, then in the folder that pg_config names, then in the usual folders,
// the highest major version first. The error is [ErrNoBinaries], wrapped.
func FindBinaries(dir string) (string, error) {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" {
		return "", fmt.Errorf("%w; on %s they are never looked for", ErrNoBinaries, runtime.GOOS)
	}
	if dir == "" {
		dir = os.Getenv(BinariesVariable)
	}
	if dir != "" {
		if !hasServer(dir) {
			return "", fmt.Errorf("no initdb and postgres in %s: %w", dir, ErrNoBinaries)
		}
		return dir, nil
	}
	for _, candidate := range candidates() {
		if hasServer(candidate) {
			return candidate, nil
		}
	}
	return "", ErrNoBinaries
}

// Installed returns the folders of all servers that this machine has where [FindBinaries] looks, the one that it would take first. Two
// names of one folder may both be there.
func Installed() []string {
	if dir := os.Getenv(BinariesVariable); dir != "" || runtime.GOOS == "windows" || runtime.GOOS == "plan9" {
		return slices.DeleteFunc([]string{dir}, func(dir string) bool { return !hasServer(dir) })
	}
	return slices.DeleteFunc(candidates(), func(dir string) bool { return !hasServer(dir) })
}

func candidates() []string {
	var found []string
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(initdb); err == nil {
			found = append(found, filepath.Dir(real))
		}
		found = append(found, filepath.Dir(initdb))
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		found = append(found, strings.TrimSpace(string(out)))
	}
	for _, pattern := range usualFolders {
		folders, _ := filepath.Glob(pattern) // the only error is a malformed pattern
		slices.SortFunc(folders, func(a, b string) int { return major(b) - major(a) })
		found = append(found, folders...)
	}
	return found
}

// major reads the version out of a folder's name: 17 in /usr/lib/postgresql/17/bin, 0 where there is none.
func major(folder string) int {
	name := filepath.Base(filepath.Dir(folder))
	digits := strings.TrimLeft(name, "abcdefghijklmnopqrstuvwxyz-@")
	digits, _, _ = strings.Cut(digits, ".")
	n, _ := strconv.Atoi(digits)
	return n
}

func hasServer(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}
