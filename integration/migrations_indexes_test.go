package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
)

// A table that is large and busy gets its index before the migration, which would keep writers out while it builds one.
func TestAnIndexThatWasBuiltBeforehandIsTaken(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	db := open(t, pgtest.EmptySchema(t))
	p := provider(t, db)
	_, err := p.Up(ctx)
	require.NoError(t, err)
	want := objects(t, db)
	_, err = p.DownTo(ctx, 3)
	require.NoError(t, err)
	require.NotEqual(t, want, objects(t, db))
	_, err = db.ExecContext(ctx, `CREATE INDEX idempotency_keys_reap ON idempotency_keys (expires_at);
		CREATE INDEX idempotency_keys_resume ON idempotency_keys (scope, created_at) WHERE state = 'pending'`)
	require.NoError(t, err)
	_, err = p.Up(ctx)
	require.NoError(t, err)
	assert.Equal(t, want, objects(t, db))
}

// A CREATE INDEX CONCURRENTLY that fails leaves an index that no query uses.
func TestAnIndexWhoseBuildingFailedIsMadeAnew(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	db := open(t, pgtest.EmptySchema(t))
	p := provider(t, db)
	for _, step := range []struct {
		after   int64
		indexes map[string]string
	}{
		{1, map[string]string{"idempotency_keys_pending_scope": `(scope) WHERE state = 'pending'`}},
		{3, map[string]string{"idempotency_keys_reap": `(expires_at)`, "idempotency_keys_resume": `(scope, created_at) WHERE state = 'pending'`}},
	} {
		_, err := p.UpTo(ctx, step.after)
		require.NoError(t, err)
		for name, on := range step.indexes {
			_, err = db.ExecContext(ctx, `CREATE INDEX `+name+` ON idempotency_keys `+on)
			require.NoError(t, err)
			_, err = db.ExecContext(ctx, `UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::regclass`, name)
			require.NoError(t, err)
		}
		_, err = p.UpTo(ctx, step.after+1)
		require.NoError(t, err)
		for name := range step.indexes {
			var valid bool
			require.NoError(t, db.QueryRowContext(ctx, `SELECT indisvalid FROM pg_index WHERE indexrelid = $1::regclass`, name).Scan(&valid))
			assert.True(t, valid, name)
		}
	}
}
