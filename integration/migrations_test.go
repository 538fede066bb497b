package integration

import (
	"context"
	"database/sql"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/migrations"
	"github.com/onlyonce/onlyonce/pgstore"
)

const gooseModule = "github.com/pressly/goose/v3"

// lockNotAvailable is what PostgreSQL says when lock_timeout is over.
const lockNotAvailable = "55P03"

func open(t *testing.T, schema string) *sql.DB {
	t.Helper()
	return openWith(t, schema, "application_name", "migrations test")
}

func openWith(t *testing.T, schema, parameter, value string) *sql.DB {
	t.Helper()
	config, err := pgx.ParseConfig(pgtest.SchemaURL(t, schema))
	require.NoError(t, err)
	config.RuntimeParams[parameter] = value
	db := stdlib.OpenDB(*config)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	return db
}

func provider(t *testing.T, db *sql.DB, options ...goose.ProviderOption) *goose.Provider {
	t.Helper()
	options = append([]goose.ProviderOption{goose.WithTableName(migrations.VersionTable)}, options...)
	made, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS, options...)
	require.NoError(t, err)
	return made
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// objects lists everything in the schema by kind and definition, goose's own table left out.
func objects(t *testing.T, db *sql.DB) []string {
	t.Helper()
	rows, err := db.QueryContext(bounded(t), `
		SELECT description FROM (
			SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable
				|| ' ' || coalesce(column_default, '') || ' ' || coalesce(collation_name, '') AS description, table_name AS owner
			FROM information_schema.columns WHERE table_schema = current_schema()
			UNION ALL
			SELECT 'index ' || replace(indexdef, schemaname || '.', ''), tablename
			FROM pg_indexes WHERE schemaname = current_schema()
			UNION ALL
			SELECT 'constraint ' || conname || ' ' || pg_get_constraintdef(oid), conrelid::regclass::text
			FROM pg_constraint WHERE connamespace = current_schema()::regnamespace
			UNION ALL
			SELECT 'options ' || relname || ' ' || array_to_string(reloptions, ' '), relname
			FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND reloptions IS NOT NULL
			UNION ALL
			SELECT 'stored ' || relname || '.' || attname || ' ' || attstorage::text || ' ' || attcompression::text, relname
			FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND attnum > 0
			UNION ALL
			SELECT 'function ' || proname, '' FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
			UNION ALL
			SELECT 'relation ' || relkind::text || ' ' || relname, relname
			FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind <> 'i'
		) AS all_objects
		WHERE owner NOT LIKE $1 || '%' ORDER BY 1`, migrations.VersionTable)
	require.NoError(t, err)
	defer rows.Close()
	var all []string
	for rows.Next() {
		var one string
		require.NoError(t, rows.Scan(&one))
		all = append(all, one)
	}
	require.NoError(t, rows.Err())
	return all
}

func version(t *testing.T, p *goose.Provider) int64 {
	t.Helper()
	got, err := p.GetDBVersion(bounded(t))
	require.NoError(t, err)
	return got
}

func tableExists(t *testing.T, db *sql.DB, name string) bool {
	t.Helper()
	var exists bool
	require.NoError(t, db.QueryRowContext(bounded(t),
		"SELECT to_regclass(quote_ident(current_schema()) || '.' || quote_ident($1)) IS NOT NULL", name).Scan(&exists))
	return exists
}

func TestMigrationsGoUpAndDownAndUpAgain(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	db := open(t, pgtest.EmptySchema(t))
	p := provider(t, db)

	results, err := p.Up(ctx)
	require.NoError(t, err)
	require.Len(t, results, len(p.ListSources()))
	up := objects(t, db)
	require.Contains(t, up, "relation r idempotency_keys")
	results, err = p.Up(ctx)
	require.NoError(t, err)
	assert.Empty(t, results, "a second up has nothing to do")

	_, err = p.DownTo(ctx, 0)
	require.NoError(t, err)
	assert.Empty(t, objects(t, db), "the way down leaves nothing behind")
	assert.True(t, tableExists(t, db, migrations.VersionTable))

	_, err = p.Up(ctx)
	require.NoError(t, err)
	assert.Equal(t, up, objects(t, db), "the second way up ends where the first did")
}

func TestEveryStepDownUndoesItsStepUp(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	db := open(t, pgtest.EmptySchema(t))
	p := provider(t, db)
	for _, source := range p.ListSources() {
		before := objects(t, db)
		_, err := p.UpByOne(ctx)
		require.NoError(t, err, source.Path)
		after := objects(t, db)
		require.NotEqual(t, before, after, "%s does nothing", source.Path)

		_, err = p.Down(ctx)
		require.NoError(t, err, source.Path)
		assert.Equal(t, before, objects(t, db), "%s: the way down", source.Path)

		_, err = p.UpByOne(ctx)
		require.NoError(t, err, source.Path)
		assert.Equal(t, after, objects(t, db), "%s: up again", source.Path)
		assert.Equal(t, source.Version, version(t, p))
	}
}

func TestProvidersThatMigrateAtOnceTakeTurns(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	schema := pgtest.EmptySchema(t)
	db := open(t, schema)
	// A table of the same name, not yet committed, holds up whoever gets as far as making ours.
	holder, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	defer func() { _ = holder.Rollback() }()
	_, err = holder.ExecContext(ctx, "CREATE TABLE idempotency_keys (taken boolean)")
	require.NoError(t, err)

	applied := make(chan int, 4)
	var group errgroup.Group
	for range cap(applied) {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
		require.NoError(t, err)
		p := provider(t, openWith(t, schema, "application_name", schema), goose.WithSessionLocker(locker))
		group.Go(func() error {
			results, err := p.Up(ctx)
			applied <- len(results)
			return err
		})
	}
	// All of them have begun: one waits for the table, and were they not taking turns, so would the others.
	require.Eventually(t, func() bool {
		var begun int
		err := db.QueryRowContext(ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1
			AND (wait_event_type = 'Lock' OR query LIKE '%pg_try_advisory_lock%')`, schema).Scan(&begun)
		return err == nil && begun == cap(applied)
	}, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, holder.Rollback())
	require.NoError(t, group.Wait())

	close(applied)
	total := 0
	for n := range applied {
		total += n
	}
	p := provider(t, db)
	assert.Equal(t, len(p.ListSources()), total, "each migration is applied by one of them")
	assert.Equal(t, p.ListSources()[len(p.ListSources())-1].Version, version(t, p))
}

func TestMigrationsStandBesideTheApplicationsOwn(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	db := open(t, pgtest.EmptySchema(t))
	// The application counts from 1 as well, in goose's default table.
	application, err := goose.NewProvider(goose.DialectPostgres, db, fstest.MapFS{
		"00001_accounts.sql": {Data: []byte("-- +goose Up\nCREATE TABLE accounts (id bigint);\n-- +goose Down\nDROP TABLE accounts;\n")},
		"00002_payments.sql": {Data: []byte("-- +goose Up\nCREATE TABLE payments (id bigint);\n-- +goose Down\nDROP TABLE payments;\n")},
	})
	require.NoError(t, err)
	ours := provider(t, db)

	_, err = application.UpByOne(ctx)
	require.NoError(t, err)
	_, err = ours.Up(ctx)
	require.NoError(t, err)
	_, err = application.Up(ctx)
	require.NoError(t, err)
	for _, table := range []string{"accounts", "payments", "idempotency_keys"} {
		assert.True(t, tableExists(t, db, table), table)
	}
	assert.EqualValues(t, 2, version(t, application))

	_, err = ours.DownTo(ctx, 0)
	require.NoError(t, err)
	assert.False(t, tableExists(t, db, "idempotency_keys"))
	assert.True(t, tableExists(t, db, "payments"))
	assert.EqualValues(t, 2, version(t, application), "our way down is not the application's")

	_, err = ours.Up(ctx)
	require.NoError(t, err)
	_, err = application.DownTo(ctx, 0)
	require.NoError(t, err)
	assert.True(t, tableExists(t, db, "idempotency_keys"), "the application's way down is not ours")
}

func TestAWayDownThatWaitsForALockFailsAndLeavesEverything(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	schema := pgtest.EmptySchema(t)
	db := open(t, schema)
	p := provider(t, db)
	_, err := p.Up(ctx)
	require.NoError(t, err)
	before, at := objects(t, db), version(t, p)

	// Such as a request in flight.
	holder, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	defer func() { _ = holder.Rollback() }()
	_, err = holder.ExecContext(ctx, "LOCK TABLE idempotency_keys IN ROW EXCLUSIVE MODE")
	require.NoError(t, err)
	impatient := provider(t, openImpatient(t, schema))

	_, err = impatient.DownTo(ctx, 0)

	requireLockTimeout(t, err, at)
	assert.Equal(t, before, objects(t, db))
	assert.Equal(t, at, version(t, p), "the version does not move")

	require.NoError(t, holder.Rollback())
	_, err = impatient.DownTo(ctx, 0)
	require.NoError(t, err, "nothing is left in the way of a second try")
	assert.Empty(t, objects(t, db))
}

func TestAWayUpThatWaitsForALockFailsAndLeavesEverything(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	schema := pgtest.EmptySchema(t)
	db := open(t, schema)
	impatient := provider(t, openImpatient(t, schema))
	// Goose makes its version table first; the migration itself then meets a table of the same name being made.
	_, err := impatient.GetDBVersion(ctx)
	require.NoError(t, err)
	holder, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	defer func() { _ = holder.Rollback() }()
	_, err = holder.ExecContext(ctx, "CREATE TABLE idempotency_keys (taken boolean)")
	require.NoError(t, err)

	_, err = impatient.Up(ctx)

	requireLockTimeout(t, err, 1)
	assert.Empty(t, objects(t, db))
	assert.Zero(t, version(t, impatient))

	require.NoError(t, holder.Rollback())
	_, err = impatient.Up(ctx)
	require.NoError(t, err, "nothing is left in the way of a second try")
}

// What is stored before a migration is read after it, by the new code and the old, and so is what is stored in between a way up and down.
func TestRecordsAreReadOnEitherSideOfEveryMigration(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	schema := pgtest.EmptySchema(t)
	db := open(t, schema)
	p := provider(t, db)
	pool := pgtest.Pool(t, schema)
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: schema})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	body := []byte(strings.Repeat(`{"id":"01a1fdc5","amount":100}`, 1000)) // large enough to be compressed
	stored := map[string]bool{}
	check := func(key string) {
		t.Helper()
		stored[key] = false
		for key := range stored {
			result, err := engine.Run(ctx, idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: key}}, func(context.Context) (idempotency.Response, error) {
				return idempotency.Response{Status: 201, Body: body}, nil
			})
			require.NoError(t, err)
			require.Equal(t, stored[key], result.Replayed, key)
			require.Equal(t, body, result.Response.Body)
			stored[key] = true
		}
	}
	_, err = p.UpByOne(ctx)
	require.NoError(t, err)
	check("first")
	sources := p.ListSources()
	for _, source := range sources[1:] {
		_, err = p.UpByOne(ctx)
		require.NoError(t, err)
		check("after " + source.Path)
	}
	for _, source := range slices.Backward(sources[1:]) {
		_, err = p.Down(ctx)
		require.NoError(t, err)
		check("without " + source.Path)
	}
	require.Len(t, stored, 2*len(sources)-1)
}

func openImpatient(t *testing.T, schema string) *sql.DB {
	t.Helper()
	return openWith(t, schema, "lock_timeout", "100ms")
}

// requireLockTimeout finds in the error which migration failed, and PostgreSQL's own reason.
func requireLockTimeout(t *testing.T, err error, version int64) {
	t.Helper()
	var partial *goose.PartialError
	require.ErrorAs(t, err, &partial)
	require.Equal(t, version, partial.Failed.Source.Version)
	var reason *pgconn.PgError
	require.ErrorAs(t, err, &reason)
	require.Equal(t, lockNotAvailable, reason.Code)
}

// The real goose command, of the version that go.mod names, over the files as they stand in the repository. It is built
// without its other databases' drivers, which would take minutes.
func TestTheGooseCommandLineUnderstandsTheFiles(t *testing.T) {
	t.Parallel()
	schema := pgtest.EmptySchema(t)
	db := open(t, schema)
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, migrations.FS))
	bin := buildGoose(t)
	cli := func(command ...string) string {
		t.Helper()
		args := append([]string{"-dir", dir, "-table", migrations.VersionTable, "postgres", pgtest.SchemaURL(t, schema)}, command...)
		out, err := exec.CommandContext(bounded(t), bin, args...).CombinedOutput()
		require.NoError(t, err, "goose %v: %s", command, out)
		return string(out)
	}

	cli("up")
	up := objects(t, db)
	require.Contains(t, up, "relation r idempotency_keys")
	assert.Contains(t, cli("status"), "00001_idempotency_keys.sql")
	results, err := provider(t, db).Up(bounded(t))
	require.NoError(t, err)
	assert.Empty(t, results, "command and provider share one count")

	cli("down-to", "0")
	assert.Empty(t, objects(t, db))
	cli("up")
	assert.Equal(t, up, objects(t, db))

	out, err := exec.CommandContext(bounded(t), bin, "-dir", dir, "validate").CombinedOutput()
	require.NoError(t, err, "goose validate: %s", out)
}

func buildGoose(t *testing.T) string {
	t.Helper()
	list := exec.CommandContext(bounded(t), "go", "list", "-m", "-f", "{{.Version}}", gooseModule)
	list.Env = append(os.Environ(), "GOWORK=off")
	version, err := list.Output()
	require.NoError(t, err)
	bin := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// Outside this module, whose go.sum would otherwise list every database driver there is.
	install := exec.CommandContext(ctx, "go", "install",
		"-tags=no_clickhouse no_libsql no_mssql no_mysql no_sqlite3 no_vertica no_ydb", gooseModule+"/cmd/goose@"+strings.TrimSpace(string(version)))
	install.Env = append(os.Environ(), "GOBIN="+bin, "GOWORK=off")
	out, err := install.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return filepath.Join(bin, "goose")
}

func TestMigrationFilesAreNamedInOneUnbrokenCount(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(migrations.FS, "*")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for i, name := range names {
		number, err := goose.NumericComponent(name)
		require.NoError(t, err)
		assert.EqualValues(t, i+1, number, name)
	}
}
