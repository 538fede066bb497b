package stack

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
	"github.com/onlyonce/onlyonce/migrations"

	example "github.com/onlyonce/onlyonce/examples/payments/server"
)

// newOwnWorld is newWorld in a cluster of the test's own, which may be broken as a whole. Without server binaries on this
// machine the test is skipped, and says so.
func newOwnWorld(t *testing.T, accounts ...string) (*world, *ephemeral.Cluster) {
	t.Helper()
	cluster := ownCluster(t)
	w := &world{url: cluster.URL("")}

	config, err := pgx.ParseConfig(w.url)
	require.NoError(t, err)
	db := stdlib.OpenDB(*config)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS, goose.WithTableName(migrations.VersionTable))
	require.NoError(t, err)
	_, err = provider.Up(deadline(t))
	require.NoError(t, err)

	w.pool = poolOf(t, w.url)
	w.furnish(t, accounts...)
	return w, cluster
}

// newOwnCardWorld is newCardWorld in a cluster of the test's own.
func newOwnCardWorld(t *testing.T) (*world, *ephemeral.Cluster) {
	t.Helper()
	cluster := ownCluster(t)
	w := &world{url: cluster.URL(""), pool: poolOf(t, cluster.URL(""))}
	require.NoError(t, example.MigrateDatabase(deadline(t), w.url, slog.New(slog.DiscardHandler)))
	require.NoError(t, example.SeedDatabase(deadline(t), w.pool))
	return w, cluster
}

func ownCluster(t *testing.T) *ephemeral.Cluster {
	t.Helper()
	cluster, err := ephemeral.Start(deadline(t), ephemeral.Options{})
	if errors.Is(err, ephemeral.ErrNoBinaries) {
		t.Skipf("a cluster of this test's own cannot be started: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, cluster.Stop()) })
	return cluster
}

// poolOf connects to a cluster that goes down now and then, and these connections with it.
func poolOf(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	few(config)
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	pool, err := pgxpool.NewWithConfig(deadline(t), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}
