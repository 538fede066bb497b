package pgtest

import (
	"fmt"
	"io/fs"
	"strings"
)

type migration struct {
	name, sql string
}

// migrationsUp reads the way up out of goose's files. The root module does without goose; that goose understands them,
// up and down, is tested in the integration module.
func migrationsUp(set fs.FS) ([]migration, error) {
	names, err := fs.Glob(set, "*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var ups []migration
	for _, name := range names {
		content, err := fs.ReadFile(set, name)
		if err != nil {
			return nil, err
		}
		sql, err := upOf(string(content))
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", name, err)
		}
		ups = append(ups, migration{name: name, sql: sql})
	}
	if len(ups) == 0 {
		return nil, fmt.Errorf("no migrations: nothing to test against")
	}
	return ups, nil
}

func upOf(content string) (string, error) {
	_, rest, found := strings.Cut(content, "-- +goose Up\n")
	if !found {
		return "", fmt.Errorf("no line `-- +goose Up`: every migration needs one")
	}
	up, _, found := strings.Cut(rest, "-- +goose Down\n")
	if !found {
		return "", fmt.Errorf("no line `-- +goose Down`: every step down has to be there")
	}
	return up, nil
}
