// Package citus holds what distributes the table of package migrations over a Citus cluster, as goose SQL files. It is optional, comes after all
// of those, and is run at the coordinator:
//
//	goose -dir migrations/citus -table onlyonce_citus_db_version postgres "$DATABASE_URL" up
//
// or with a goose Provider over [FS]. The environment variable ONLYONCE_CITUS_COLOCATE_WITH names a table of the handlers' to colocate the keys
// with. See docs/scaling.md.
package citus

import "embed"

// FS holds every migration, at its root.
//
//go:embed *.sql
var FS embed.FS

// VersionTable is the name of the table in which goose counts these migrations, apart from those of package migrations.
const VersionTable = "onlyonce_citus_db_version"
