package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/integration/database"
	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

// foldersVariable lists folders of initdb and postgres, one for each version, separated as in PATH.
const foldersVariable = "ONLYONCE_TEST_PG_BINS"

// supported are the major versions that the grid is meant to have.
var supported = []string{"14", "15", "16", "17", "18"}

// server is a version that tests can be run against.
type server struct {
	major  string
	how    string
	folder string // of its binaries; "": it has none here, and tests that start clusters of their own are skipped
	search database.Search
}

// servers are those that can be had: of the folders that are named, else of images, else of this machine. wanted, where there are
// any, are the only ones.
func servers(ctx context.Context, wanted []string) ([]server, error) {
	found, err := candidates(ctx)
	if err != nil || len(wanted) == 0 {
		return found, err
	}
	return slices.DeleteFunc(found, func(s server) bool { return !slices.Contains(wanted, s.major) }), nil
}

func candidates(ctx context.Context) ([]server, error) {
	if named := os.Getenv(foldersVariable); named != "" {
		return fromFolders(ctx, filepath.SplitList(named))
	}
	if database.DockerAnswers(ctx) == nil {
		return fromImages(), nil
	}
	folders := ephemeral.Installed()
	if len(folders) == 0 {
		return nil, fmt.Errorf("no PostgreSQL server to test against: %s", howToGet)
	}
	return fromFolders(ctx, folders)
}

func fromFolders(ctx context.Context, folders []string) ([]server, error) {
	var found []server
	for _, folder := range folders {
		if folder == "" {
			continue
		}
		folder, err := ephemeral.FindBinaries(folder)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", foldersVariable, err)
		}
		major, full, err := versionOf(ctx, folder)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(found, func(s server) bool { return s.major == major }) {
			continue
		}
		found = append(found, server{major: major, how: full + " in " + folder, folder: folder,
			search: database.Search{Order: []database.Way{database.Local}, Folder: folder}})
	}
	slices.SortFunc(found, func(a, b server) int { return strings.Compare(a.major, b.major) })
	return found, nil
}

func fromImages() []server {
	var found []server
	for _, major := range supported {
		image := "postgres:" + major + "-alpine"
		found = append(found, server{major: major, how: "a container of " + image,
			search: database.Search{Order: []database.Way{database.Docker}, Image: image}})
	}
	return found
}

var versionNumber = regexp.MustCompile(`(\d+)[.\w]*`)

// versionOf asks the server's program.
func versionOf(ctx context.Context, folder string) (major, full string, err error) {
	said, err := exec.CommandContext(ctx, filepath.Join(folder, "postgres"), "--version").Output()
	if err != nil {
		return "", "", fmt.Errorf("ask %s for its version: %w", folder, err)
	}
	number := versionNumber.FindStringSubmatch(string(said))
	if number == nil {
		return "", "", fmt.Errorf("ask %s for its version: it says %q", folder, said)
	}
	return number[1], number[0], nil
}

// serverVersion asks a server that runs.
func serverVersion(ctx context.Context, url string) (version string, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&version)
	return version, err
}

// environment is what tests are run in: against this server's database, and with its programs, or none.
func (s server) environment(url string) []string {
	folder := s.folder
	if folder == "" {
		folder = os.DevNull
	}
	return append(os.Environ(), database.URLVariable+"="+url, ephemeral.BinariesVariable+"="+folder)
}

// missing are the versions that the grid lacks.
func missing(wanted []string, found []server) []string {
	if len(wanted) == 0 {
		wanted = supported
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(major string) bool {
		return slices.ContainsFunc(found, func(s server) bool { return s.major == major })
	})
}

const howToGet = "name a folder of initdb and postgres for each version in " + foldersVariable + ", separated as in PATH " +
	"(Debian: apt.postgresql.org has them all, in /usr/lib/postgresql/*/bin), or start Docker"
