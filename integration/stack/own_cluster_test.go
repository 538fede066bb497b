package stack

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
	"github.com/onlyonce/onlyonce/migrations"
)

// newOwnWorld is newWorld in a cluster of the test's own, which may be broken as a whole. Without server binaries on this
// machine the test is skipped, and says so.
func newOwnWorld(t *testing.T, accounts ...string) (*world, *ephemeral.Cluster) {
	t.Helper()
	cluster, err := ephemeral.Start(deadline(t), ephemeral.Options{})
	if errors.Is(err, ephemeral.ErrNoBinaries) {
		t.Skipf("a cluster of this test's own cannot be started: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, cluster.Stop()) })
	w := &world{url: cluster.URL("")}

	config, err := pgx.ParseConfig(w.url)
	require.NoError(t, err)
	db := stdlib.OpenDB(*config)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS, goose.WithTableName(migrations.VersionTable))
	require.NoError(t, err)
	_, err = provider.Up(deadline(t))
	require.NoError(t, err)

	pooled, err := pgxpool.ParseConfig(w.url)
	require.NoError(t, err)
	few(pooled)
	// The cluster goes down now and then, and these connections with it.
	pooled.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	w.pool, err = pgxpool.NewWithConfig(deadline(t), pooled)
	require.NoError(t, err)
	t.Cleanup(w.pool.Close)
	w.furnish(t, accounts...)
	return w, cluster
}
