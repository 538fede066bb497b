package pgstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// A restart of the database kills every connection that is idle in the pool.
func TestAPoolFullOfDeadConnectionsIsNoneOfTheCallersBusiness(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(w *world) error{
		"Claim": func(w *world) error {
			attempt, record, err := w.store.Claim(w.t.Context(), w.key)
			if err != nil {
				return err
			}
			require.Nil(w.t, record)
			return attempt.Release(w.t.Context())
		},
		"Begin": func(w *world) error {
			attempt, err := w.store.Begin(w.t.Context())
			if err != nil {
				return err
			}
			return attempt.Release(w.t.Context())
		},
		"Lookup": func(w *world) error {
			_, err := w.store.Lookup(w.t.Context(), w.key)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
				// pgxpool finds out by itself about connections that were idle for long.
				c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
			})
			killPool(t, w)
			require.NoError(t, call(w))
		})
	}
}

// killPool fills the pool with connections, and has the server end them all.
func killPool(t *testing.T, w *world) {
	t.Helper()
	ctx := t.Context()
	outside, err := pgx.ConnectConfig(ctx, w.pool.Config().ConnConfig)
	require.NoError(t, err)
	defer outside.Close(ctx)
	var idle []*pgxpool.Conn
	for range w.pool.Config().MaxConns {
		conn, err := w.pool.Acquire(ctx)
		require.NoError(t, err)
		_, err = outside.Exec(ctx, `SELECT pg_terminate_backend($1)`, conn.Conn().PgConn().PID())
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			var gone bool
			err := outside.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`, conn.Conn().PgConn().PID()).Scan(&gone)
			return err == nil && gone
		}, 10*time.Second, time.Millisecond)
		idle = append(idle, conn)
	}
	for _, conn := range idle {
		conn.Release()
	}
	require.EqualValues(t, w.pool.Config().MaxConns, w.pool.Stat().IdleConns())
}
