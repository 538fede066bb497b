package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/pgstore"

	ledgermigrations "github.com/onlyonce/onlyonce/examples/payments/ledger/migrations"
)

// connectTimeout bounds the first connection, so that a wrong host is an error and not silence.
const connectTimeout = 5 * time.Second

// openPool opens the pool that serves requests and asks the database whether it is there.
func openPool(ctx context.Context, config Config) (*pgxpool.Pool, error) {
	settings, err := pgxpool.ParseConfig(config.DatabaseURL)
	if err != nil {
		return nil, wrongURL(err)
	}
	settings.MaxConns = int32(config.PoolSize)
	settings.ConnConfig.ConnectTimeout = connectTimeout
	// What makes the lock of a dead or stopped process vanish soon.
	if err := pgstore.Configure(settings, pgstore.PoolConfig{}); err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, settings)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*connectTimeout)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, unreachable(err)
	}
	return pool, nil
}

func wrongURL(err error) error {
	return fmt.Errorf("the database URL cannot be read: write postgres://user:password@host:5432/name: %w", err)
}

func unreachable(err error) error {
	return fmt.Errorf("the database cannot be reached: check that it runs and that DATABASE_URL names it: %w", err)
}

const migrateFirst = "run `payments migrate`, or start with -demo"

// checkLedger reports tables of the service that are missing or older than this program.
func checkLedger(ctx context.Context, pool *pgxpool.Pool) error {
	var version int64
	err := pool.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+ledgermigrations.VersionTable+" WHERE is_applied").Scan(&version)
	if notMigrated(err) {
		return errors.New("the database has no ledger tables: " + migrateFirst)
	}
	if err != nil {
		return unreachable(err)
	}
	if newest := newestMigration(); version < newest {
		return fmt.Errorf("the ledger tables are at version %d and this program needs %d: %s", version, newest, migrateFirst)
	}
	return nil
}

// notMigrated reports that a table, a column or the schema is not there.
func notMigrated(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "42P01" || pg.Code == "42703" || pg.Code == "3F000")
}

func newestMigration() (newest int64) {
	files, _ := fs.Glob(ledgermigrations.FS, "*.sql")
	for _, file := range files {
		var version int64
		number, _, _ := strings.Cut(file, "_")
		_, _ = fmt.Sscanf(number, "%d", &version)
		newest = max(newest, version)
	}
	return newest
}
