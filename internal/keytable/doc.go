// Package keytable is what the stores on PostgreSQL have in common, whatever driver they speak through: the table's statements, each in
// one text; the locks of its keys; and what a row means. A process on pgx and one on database/sql share keys because of it.
package keytable
