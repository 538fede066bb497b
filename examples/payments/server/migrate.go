package server

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"

	"github.com/onlyonce/onlyonce/migrations"

	ledgermigrations "github.com/onlyonce/onlyonce/examples/payments/ledger/migrations"
)

// MigrateDatabase brings the library's tables and the service's to their newest version. Each counts in a version table of its
// own. Processes that migrate at once take turns, and the second finds nothing left to do.
func MigrateDatabase(ctx context.Context, databaseURL string, logger *slog.Logger) error {
	settings, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return wrongURL(err)
	}
	settings.ConnectTimeout = connectTimeout
	// A migration that waits for a table makes every request behind it wait too. Give up instead; running it again is safe.
	if settings.RuntimeParams["lock_timeout"] == "" {
		settings.RuntimeParams["lock_timeout"] = "10s"
	}
	db := stdlib.OpenDB(*settings)
	defer db.Close()

	var schema string
	if err := db.QueryRowContext(ctx, "SELECT coalesce(current_schema(), '')").Scan(&schema); err != nil {
		return unreachable(err)
	}
	if schema == "" {
		return errors.New("no schema of the search_path exists: create one, or name another in DATABASE_URL")
	}
	for _, set := range []struct {
		name  string
		files fs.FS
		table string
	}{
		{"onlyonce", migrations.FS, migrations.VersionTable},
		{"payments", ledgermigrations.FS, ledgermigrations.VersionTable},
	} {
		if err := up(ctx, db, set.files, set.table, schema, logger.With("set", set.name)); err != nil {
			return fmt.Errorf("migrating the tables of %s: %w", set.name, err)
		}
	}
	return nil
}

func up(ctx context.Context, db *sql.DB, files fs.FS, table, schema string, logger *slog.Logger) error {
	turn, err := lock.NewPostgresSessionLocker(lock.WithLockID(lockID(schema)), lock.WithLockTimeout(1, 60))
	if err != nil {
		return err
	}
	versions, err := database.NewStore(goose.DialectPostgres, table)
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider("", db, files, goose.WithStore(versions), goose.WithSessionLocker(turn))
	if err != nil {
		return err
	}
	applied, err := provider.Up(ctx)
	if err != nil {
		return err
	}
	for _, migration := range applied {
		logger.InfoContext(ctx, "migrated", "file", migration.Source.Path, "took", migration.Duration)
	}
	return nil
}

// lockID is one for each schema: deployments that share a database do not wait for each other.
func lockID(schema string) int64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte("payments migrations " + schema))
	return int64(hash.Sum64())
}
