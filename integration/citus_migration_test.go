package integration

import (
	"testing"

	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/migrations/citus"
)

// Citus's functions and catalog, as far as the migration uses them: they note what they are asked for.
const fakeCitus = `
	CREATE TABLE pg_dist_partition (logicalrelid regclass, partmethod "char", colocated_with text);
	CREATE FUNCTION create_distributed_table(name regclass, distribution_column text, distribution_type text DEFAULT 'hash', colocate_with text DEFAULT 'default')
		RETURNS void LANGUAGE sql AS $$ INSERT INTO pg_dist_partition SELECT $1, 'h', $4 WHERE $2 = 'scope' $$;
	CREATE FUNCTION undistribute_table(name regclass) RETURNS void LANGUAGE sql AS $$ DELETE FROM pg_dist_partition WHERE logicalrelid = $1 $$`

func TestTheCitusMigrationDistributesTheKeysByTheirScope(t *testing.T) {
	for asked, with := range map[string]string{"": "default", "payments": "payments"} {
		t.Run(with, func(t *testing.T) {
			t.Setenv("ONLYONCE_CITUS_COLOCATE_WITH", asked)
			db := open(t, pgtest.Schema(t))
			ctx := bounded(t)
			_, err := db.ExecContext(ctx, fakeCitus)
			require.NoError(t, err)
			distributed := func() (found []string) {
				rows, err := db.QueryContext(ctx, `SELECT logicalrelid || ' ' || colocated_with FROM pg_dist_partition`)
				require.NoError(t, err)
				defer rows.Close()
				for rows.Next() {
					var row string
					require.NoError(t, rows.Scan(&row))
					found = append(found, row)
				}
				require.NoError(t, rows.Err())
				return found
			}
			made, err := goose.NewProvider(goose.DialectPostgres, db, citus.FS, goose.WithTableName(citus.VersionTable))
			require.NoError(t, err)
			_, err = made.Up(ctx)
			require.NoError(t, err)
			assert.Equal(t, []string{"idempotency_keys " + with}, distributed())
			_, err = made.DownTo(ctx, 0)
			require.NoError(t, err)
			assert.Empty(t, distributed())

			_, err = db.ExecContext(ctx, `INSERT INTO pg_dist_partition VALUES ('idempotency_keys', 'h', 'by hand')`)
			require.NoError(t, err)
			_, err = made.Up(ctx)
			require.NoError(t, err)
			assert.Equal(t, []string{"idempotency_keys by hand"}, distributed(), "what is distributed already stays")
		})
	}
}
