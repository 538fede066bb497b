// Package migrations holds the table that onlyonce needs, as goose SQL files.
//
// Run them with the goose command line (-dir migrations -table onlyonce_db_version), with a goose Provider over [FS],
// or copy them into your own migrations folder. The table is created in the first schema of the search_path.
//
// Two processes that migrate at once need a lock, as any goose migration does: give the Provider
// goose.WithSessionLocker.
package migrations

import "embed"

// FS holds every migration, at its root.
//
//go:embed *.sql
var FS embed.FS

// VersionTable is the name of the table in which goose counts these migrations. It is not goose's default, so that their
// numbers never collide with the application's.
const VersionTable = "onlyonce_db_version"
