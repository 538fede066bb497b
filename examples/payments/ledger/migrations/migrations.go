// Package migrations holds the ledger's tables as goose SQL files.
package migrations

import "embed"

// FS holds every migration, at its root.
//
//go:embed *.sql
var FS embed.FS

// VersionTable is the table in which goose counts these migrations. The library counts its own in another one, so that
// neither numbering ever meets the other.
const VersionTable = "goose_db_version"
