package pgtest

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/migrations"
)

const countTables = "SELECT count(*) FROM pg_tables WHERE schemaname = $1"

func TestASchemaHasTheTableAndNobodyElsesRows(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for range 2 {
		schema := Schema(t)
		pool := Pool(t, schema)
		var rows int
		require.NoError(t, pool.QueryRow(ctx, "SELECT count(*) FROM idempotency_keys").Scan(&rows))
		assert.Zero(t, rows)
		_, err := pool.Exec(ctx, `INSERT INTO idempotency_keys (scope, key, state, fingerprint, created_at)
			VALUES ('scope', 'key', 'pending', '', now())`)
		require.NoError(t, err)
	}
}

func TestAnEmptySchemaIsEmpty(t *testing.T) {
	t.Parallel()
	schema := EmptySchema(t)
	var tables int
	require.NoError(t, Pool(t, schema).QueryRow(context.Background(), countTables, schema).Scan(&tables))
	assert.Zero(t, tables)
}

func TestASchemaIsDroppedAfterItsTest(t *testing.T) {
	t.Parallel()
	var schema string
	t.Run("the test", func(t *testing.T) {
		schema = Schema(t)
		Pool(t, schema)
	})
	var left int
	require.NoError(t, Pool(t, "public").QueryRow(context.Background(),
		"SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema).Scan(&left))
	assert.Zero(t, left)
}

func TestASchemaURLLeadsIntoTheSchema(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	schema := Schema(t)
	conn, err := pgx.Connect(ctx, SchemaURL(t, schema))
	require.NoError(t, err)
	defer conn.Close(ctx)
	var current string
	require.NoError(t, conn.QueryRow(ctx, "SELECT current_schema()").Scan(&current))
	assert.Equal(t, schema, current)
}

func TestAPoolTakesItsConfiguration(t *testing.T) {
	t.Parallel()
	pool := Pool(t, Schema(t), func(c *pgxpool.Config) { c.MaxConns = 3 })
	assert.EqualValues(t, 3, pool.Config().MaxConns)
}

func TestEveryMigrationHasAWayUp(t *testing.T) {
	t.Parallel()
	ups, err := migrationsUp(migrations.FS)
	require.NoError(t, err)
	names, err := fs.Glob(migrations.FS, "*.sql")
	require.NoError(t, err)
	require.Len(t, ups, len(names))
	for i, up := range ups {
		assert.Equal(t, names[i], up.name)
		assert.NotContains(t, up.sql, "DROP TABLE idempotency_keys")
	}

	_, err = upOf("CREATE TABLE t ();\n-- +goose Down\n")
	require.ErrorContains(t, err, "goose Up")
	_, err = upOf("-- +goose Up\nCREATE TABLE t ();\n")
	require.ErrorContains(t, err, "goose Down")
}

func TestWithoutAnyDatabaseTheErrorNamesTheWays(t *testing.T) {
	t.Setenv(Variable, "")
	usual := sharedCluster
	t.Cleanup(func() { sharedCluster = usual })
	sharedCluster = func() (string, error) { return "", errors.New("no binaries here") }

	_, err := find()

	for _, way := range []string{Variable + "=postgres://", "server binaries", "Docker", "make test", "no binaries here"} {
		require.ErrorContains(t, err, way)
	}
}

func TestTheURLInTheEnvironmentWins(t *testing.T) {
	t.Setenv(Variable, "postgres://chosen")
	url, err := find()
	require.NoError(t, err)
	assert.Equal(t, "postgres://chosen", url)
}

// reported collects what a helper reports of a test.
type reported struct {
	testing.TB
	errors int
}

func (r *reported) Helper()               {}
func (r *reported) Errorf(string, ...any) { r.errors++ }

func TestAConnectionThatNeverComesBackFailsTheTest(t *testing.T) {
	t.Parallel()
	pool := Pool(t, EmptySchema(t))
	conn, err := pool.Acquire(context.Background())
	require.NoError(t, err)
	defer conn.Release()
	report := &reported{TB: t}

	closePool(report, pool, 10*time.Millisecond)

	assert.Equal(t, 1, report.errors)
}
