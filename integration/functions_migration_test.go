package integration

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/migrations/functions"
)

func functionsProvider(t *testing.T, db *sql.DB) *goose.Provider {
	t.Helper()
	made, err := goose.NewProvider(goose.DialectPostgres, db, functions.FS, goose.WithTableName(functions.VersionTable))
	require.NoError(t, err)
	return made
}

func TestTheFunctionsGoUpAndDownAndUpAgain(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.Schema(t))
	ctx := bounded(t)
	made := functionsProvider(t, db)
	before := objects(t, db)
	_, err := made.Up(ctx)
	require.NoError(t, err)
	up := objects(t, db)
	require.Contains(t, up, "function idempotency_begin")
	for range 2 {
		_, err = made.DownTo(ctx, 0)
		require.NoError(t, err)
		assert.Equal(t, before, withoutVersions(objects(t, db)))
		_, err = made.Up(ctx)
		require.NoError(t, err)
		assert.Equal(t, up, objects(t, db))
	}
}

// withoutVersions leaves goose's own table out.
func withoutVersions(objects []string) (rest []string) {
	for _, object := range objects {
		if !strings.Contains(object, functions.VersionTable) {
			rest = append(rest, object)
		}
	}
	return rest
}

// In a schema of any name the functions find their own table, whatever the search_path of their caller is and whatever stands in for it there.
func TestTheFunctionsWorkInASchemaOfAnyName(t *testing.T) {
	t.Parallel()
	for name, hostile := range map[string]string{
		"quotes":       `"'"''""`,
		"a statement":  `"; DROP TABLE effects; --`,
		"a list":       `a, b`,
		"dollars":      `$$ $1 $function$ %s %I`,
		"backslashes":  `\'; DROP TABLE effects; --\`,
		"Unicode":      "ünï \"💸\"",
		"line breaks":  "\r\n\t",
		"capitals":     "ABC",
		"a user's own": `"$user"`,
	} {
		for _, namespaced := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", as the namespace"}[namespaced], func(t *testing.T) {
				t.Parallel()
				plain := pgtest.Schema(t)
				schema := plain[len(plain)-8:] + hostile
				quoted := pgx.Identifier{schema}.Sanitize()
				admin := open(t, plain)
				ctx := bounded(t)
				_, err := admin.ExecContext(ctx, `CREATE SCHEMA `+quoted+`; CREATE TABLE `+quoted+`.idempotency_keys (LIKE idempotency_keys INCLUDING ALL)`)
				require.NoError(t, err)
				t.Cleanup(func() {
					_, err := admin.ExecContext(context.Background(), `DROP SCHEMA `+quoted+` CASCADE`)
					assert.NoError(t, err)
				})
				config, err := pgx.ParseConfig(pgtest.SchemaURL(t, plain))
				require.NoError(t, err)
				config.RuntimeParams["search_path"] = quoted
				namespace := ""
				if namespaced {
					namespace = schema
				}
				config.RuntimeParams["onlyonce.namespace"] = namespace
				db := stdlib.OpenDB(*config)
				defer db.Close()
				_, err = functionsProvider(t, db).Up(ctx)
				require.NoError(t, err)

				key := idempotency.Key{Scope: "alice", Value: plain}
				var number int64
				require.NoError(t, db.QueryRowContext(ctx, `SELECT idempotency_lock($1, $2)`, key.Scope, key.Value).Scan(&number))
				require.Equal(t, keytable.LockOf(namespace, key), number)

				// The caller's search_path leads elsewhere, and a temporary table is in the way.
				tx, err := admin.BeginTx(ctx, nil)
				require.NoError(t, err)
				defer tx.Rollback()
				_, err = tx.ExecContext(ctx, `CREATE TEMPORARY TABLE idempotency_keys (LIKE idempotency_keys) ON COMMIT DROP`)
				require.NoError(t, err)
				for _, sql := range []string{
					`idempotency_begin('alice', $1, '\x01' || sha256('a'))`,
					`idempotency_checkpoint('alice', $1, '\x01' || sha256('a'), 'a', ` + quoted + `.idempotency_step_add(NULL, 'a', '1'))`,
					`idempotency_complete('alice', $1, '\x01' || sha256('a'), 201, '', 'done')`,
				} {
					_, err = tx.ExecContext(ctx, `SELECT `+quoted+`.`+sql, key.Value)
					require.NoError(t, err)
				}
				require.NoError(t, tx.Commit())
				var outcome string
				require.NoError(t, db.QueryRowContext(ctx, `SELECT outcome FROM idempotency_begin('alice', $1, '\x01' || sha256('a'))`, key.Value).Scan(&outcome))
				require.Equal(t, "replay", outcome)
				var count int
				require.NoError(t, admin.QueryRowContext(ctx, `SELECT count(*) FROM idempotency_keys`).Scan(&count))
				require.Zero(t, count)
			})
		}
	}
}

func TestTheFunctionsAreNotMadeWhereTheyWouldBeWrong(t *testing.T) {
	t.Parallel()
	up := func(t *testing.T, path, namespace string) error {
		config, err := pgx.ParseConfig(pgtest.URL(t))
		require.NoError(t, err)
		config.RuntimeParams["search_path"], config.RuntimeParams["onlyonce.namespace"] = path, namespace
		db := stdlib.OpenDB(*config)
		defer db.Close()
		_, err = functionsProvider(t, db).Up(bounded(t))
		return err
	}
	empty, full := pgtest.EmptySchema(t), pgtest.Schema(t)
	require.ErrorContains(t, up(t, empty, ""), "the table idempotency_keys is not there")
	require.ErrorContains(t, up(t, empty+","+full, ""), "in another schema")
	require.ErrorContains(t, up(t, full, "payments"), "onlyonce.namespace")
	require.NoError(t, up(t, full, full))
}

// Nobody may call them who was not told so, and they give nobody a right to the table.
func TestTheFunctionsGiveNobodyARight(t *testing.T) {
	t.Parallel()
	schema := pgtest.Schema(t)
	db := open(t, schema)
	ctx := bounded(t)
	_, err := functionsProvider(t, db).Up(ctx)
	require.NoError(t, err)
	role := "role_" + schema
	_, err = db.ExecContext(ctx, `CREATE ROLE `+role+`; GRANT USAGE ON SCHEMA `+schema+` TO `+role)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.ExecContext(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role)
		assert.NoError(t, err)
	})
	as := func(sql string) string {
		tx, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		defer tx.Rollback()
		_, err = tx.ExecContext(ctx, `SET LOCAL ROLE `+role)
		require.NoError(t, err)
		_, err = tx.ExecContext(ctx, sql)
		var server *pgconn.PgError
		if errors := assert.New(t); err != nil && errors.ErrorAs(err, &server) {
			return server.Code + " " + server.Message
		}
		return ""
	}
	const begin = `SELECT idempotency_begin('alice', 'k', '\x01' || sha256('a'))`
	require.Contains(t, as(begin), "42501 permission denied for function idempotency_begin")
	_, err = db.ExecContext(ctx, `GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA `+schema+` TO `+role)
	require.NoError(t, err)
	require.Contains(t, as(begin), "42501 permission denied for table idempotency_keys")
	_, err = db.ExecContext(ctx, `GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO `+role)
	require.NoError(t, err)
	require.Empty(t, as(begin+`, idempotency_release('alice', 'k', NULL)`))

	var open int
	require.NoError(t, db.QueryRowContext(ctx, `SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'idempotency%'
		AND (prosecdef OR proacl::text LIKE '%{=X/%' OR proacl::text LIKE '%,=X/%' OR proacl IS NULL OR (prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql') AND proname <> 'idempotency_claim'
			AND proconfig IS DISTINCT FROM ARRAY[format('search_path=pg_catalog, %I, pg_temp', current_schema())]))`).Scan(&open))
	require.Zero(t, open, "functions that are everybody's, or their owner's, or have no search_path of their own")
}
