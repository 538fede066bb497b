// Package migrate brings the table of keys in PostgreSQL to its newest version, for programs that have no migrations of their own.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"

	"github.com/onlyonce/onlyonce/migrations"
)

const connectTimeout = 10 * time.Second

// Up applies what is missing of migrations.FS, in schema, or where the search_path leads if it is "". The schema has to be there. Processes that migrate
// at once take turns, and the second finds nothing left to do. A statement that waits for a table for longer than 10 seconds gives up, and Up may be
// called again; lock_timeout in the URL says otherwise. The turns are kept by a lock of the session, so that the URL must
// not lead to PgBouncer in transaction mode.
func Up(ctx context.Context, url, schema string, logger *slog.Logger) error {
	settings, err := pgx.ParseConfig(url)
	if err != nil { // it may hold the password
		return errors.New("the database URL cannot be read: only PostgreSQL is migrated, by postgres://user:password@host:5432/database")
	}
	if settings.ConnectTimeout == 0 {
		settings.ConnectTimeout = connectTimeout
	}
	if settings.RuntimeParams["lock_timeout"] == "" {
		settings.RuntimeParams["lock_timeout"] = "10s"
	}
	if schema != "" {
		settings.RuntimeParams["search_path"] = pgx.Identifier{schema}.Sanitize()
	}
	db := stdlib.OpenDB(*settings)
	defer db.Close()

	var current string
	if err := db.QueryRowContext(ctx, "SELECT coalesce(current_schema(), '')").Scan(&current); err != nil {
		return fmt.Errorf("the database cannot be reached; check its URL, and that it runs: %w", err)
	}
	if current == "" {
		return errors.New("the schema does not exist: CREATE SCHEMA first, or name another one")
	}
	turn, err := lock.NewPostgresSessionLocker(lock.WithLockID(lockID(current)), lock.WithLockTimeout(1, 60))
	if err != nil {
		return err
	}
	versions, err := database.NewStore(goose.DialectPostgres, migrations.VersionTable)
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider("", db, migrations.FS, goose.WithStore(versions), goose.WithSessionLocker(turn))
	if err != nil {
		return err
	}
	applied, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("the table of keys could not be migrated: %w", err)
	}
	for _, migration := range applied {
		logger.InfoContext(ctx, "migrated", "file", migration.Source.Path, "took", migration.Duration)
	}
	if len(applied) == 0 {
		logger.InfoContext(ctx, "nothing to migrate")
	}
	return nil
}

// lockID is one for each schema: programs that share a database do not wait for each other.
func lockID(schema string) int64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte("onlyonce migrations " + schema))
	return int64(hash.Sum64())
}
