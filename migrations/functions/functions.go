// Package functions holds the protocol of the table of package migrations as SQL functions, as goose SQL files, for programs in any language
// that write in their own transaction. It is optional, and comes after all of those:
//
//	goose -dir migrations/functions -table onlyonce_functions_db_version postgres "$DATABASE_URL" up
//
// or with a goose Provider over [FS]. The schema of the table has to be the first of the search_path. Where the Go services that share the
// table set pgstore.Config.Schema, the functions must be told, so that their locks are the same: connect with the parameter
// onlyonce.namespace, set to the schema's name (PGOPTIONS="-c onlyonce.namespace=payments"). See docs/protocol.md.
package functions

import "embed"

// FS holds every migration, at its root.
//
//go:embed *.sql
var FS embed.FS

// VersionTable is the name of the table in which goose counts these migrations, apart from those of package migrations.
const VersionTable = "onlyonce_functions_db_version"
