package torture

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/onlyonce/onlyonce/integration/database"
	"github.com/onlyonce/onlyonce/integration/torture/protocol"
	"github.com/onlyonce/onlyonce/internal/ephemeral"
	"github.com/onlyonce/onlyonce/migrations"
)

// base is the database, as seen by nobody's server.
type base struct {
	how     string
	cluster *ephemeral.Cluster // nil if it is not ours to break as a whole
	found   *database.Database // nil if it is
	url     string             // without a schema
	schema  string
	// application is how the servers' connections are known.
	application string
	pool        *pgxpool.Pool
	disk        *disk // nil if none can be filled
	diskErr     error
}

// openBase starts a cluster of our own; where that cannot be, it makes a schema of our own in another database.
func openBase(ctx context.Context, config Config) (_ *base, err error) {
	b := &base{schema: "torture_" + strings.ToLower(rand.Text()[:12])}
	b.application = "onlyonce-" + b.schema
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	b.cluster, err = ephemeral.Start(ctx, ephemeral.Options{BinDir: config.binaries})
	switch {
	case err == nil:
		b.how, b.url = "a cluster of its own", b.cluster.URL("")
	case errors.Is(err, ephemeral.ErrNoBinaries):
		if b.found, err = database.Find(ctx, database.Given, database.Docker); err != nil {
			return nil, err
		}
		b.how, b.url = b.found.How+", as there are no server binaries", b.found.URL
	default:
		return nil, err
	}
	pooled, err := pgxpool.ParseConfig(b.url)
	if err != nil {
		return nil, errors.New("torture: DATABASE_URL cannot be read: write postgres://user:password@host:port/database")
	}
	pooled.MaxConns = 4
	pooled.ConnConfig.RuntimeParams["search_path"] = b.schema
	pooled.ConnConfig.ConnectTimeout = 3 * time.Second
	// The cluster goes down now and then, and these connections with it.
	pooled.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	if b.pool, err = pgxpool.NewWithConfig(ctx, pooled); err != nil {
		return nil, err
	}
	if _, err = b.pool.Exec(ctx, "CREATE SCHEMA "+b.schema); err != nil {
		return nil, err
	}
	if err = b.furnish(ctx, pooled.ConnConfig); err != nil {
		return nil, err
	}
	b.disk, b.diskErr = openDisk(ctx, b, config.Duration)
	return b, nil
}

// furnish makes the tables and the accounts.
func (b *base) furnish(ctx context.Context, config *pgx.ConnConfig) error {
	db := stdlib.OpenDB(*config)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS, goose.WithTableName(migrations.VersionTable))
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return err
	}
	if _, err := b.pool.Exec(ctx, protocol.Tables); err != nil {
		return err
	}
	for _, who := range []struct {
		name string
		n    int
	}{{"account", accounts}, {"merchant", merchants}} {
		_, err := b.pool.Exec(ctx, "INSERT INTO accounts SELECT $1 || '-' || n, $2, $2 FROM generate_series(0, $3::int - 1) n", who.name, opening, who.n)
		if err != nil {
			return err
		}
	}
	return nil
}

// forServers is the URL that servers are given, but for the proxies.
func (b *base) forServers() (string, error) {
	u, err := url.Parse(b.url)
	if err != nil {
		return "", errors.New("torture: DATABASE_URL cannot be read: write postgres://user:password@host:port/database")
	}
	query := u.Query()
	query.Set("application_name", b.application)
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// backend draws one of the servers' backends, of those that work if there are any.
func (b *base) backend(ctx context.Context, coin uint64) (pid int, found bool) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	err := b.pool.QueryRow(ctx, `SELECT pid FROM pg_stat_activity WHERE application_name = $1
		ORDER BY xact_start IS NULL, hashint8(pid # $2::bigint) LIMIT 1`, b.application, int64(coin>>1)).Scan(&pid)
	return pid, err == nil
}

// close takes everything away again.
func (b *base) close() error {
	var errs []error
	if b.pool != nil {
		if b.cluster == nil && b.schema != "" {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if _, err := b.pool.Exec(ctx, "DROP SCHEMA IF EXISTS "+b.schema+" CASCADE"); err != nil {
				errs = append(errs, fmt.Errorf("torture: the schema %s stays behind: %w", b.schema, err))
			}
		}
		b.pool.Close()
	}
	if b.cluster != nil {
		errs = append(errs, b.cluster.Stop())
	}
	if b.disk != nil {
		errs = append(errs, b.disk.close())
	}
	if b.found != nil {
		errs = append(errs, b.found.Close())
	}
	return errors.Join(errs...)
}
