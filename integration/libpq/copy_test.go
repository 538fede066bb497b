package libpq

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// lib/pq hears what the server says of a COPY when its statement is closed. One that is left open is closed by the store.
func TestLibPQsCopyThatIsLeftToFailIsNoSuccess(t *testing.T) {
	t.Parallel()
	schema := pgtest.Schema(t)
	db, err := open(nil)(pgtest.URL(t), schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.Exec(`CREATE TABLE effects (n int NOT NULL)`)
	require.NoError(t, err)
	store, err := sqlstore.NewWithConfig(db, sqlstore.Config{Schema: schema})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	copies := func(n any) idempotency.Handler {
		return func(ctx context.Context) (idempotency.Response, error) {
			tx := sqlstore.Tx(ctx)
			_, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES (1)`)
			require.NoError(t, err)
			statement, err := tx.PrepareContext(ctx, `COPY effects (n) FROM STDIN`)
			require.NoError(t, err)
			_, err = statement.ExecContext(ctx, n)
			require.NoError(t, err)
			return idempotency.Response{Status: 201}, nil
		}
	}
	for _, c := range []struct {
		n    any
		rows int
		err  error
	}{{"not a number", 0, idempotency.ErrTransactionAborted}, {2, 4, nil}} {
		_, keyless := engine.RunWithoutKey(t.Context(), copies(c.n))
		_, keyed := engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: schema}}, copies(c.n))
		require.ErrorIs(t, keyless, c.err)
		require.ErrorIs(t, keyed, c.err)
		var rows int
		require.NoError(t, db.QueryRow(`SELECT count(*) FROM effects`).Scan(&rows))
		require.Equal(t, c.rows, rows)
	}
}
