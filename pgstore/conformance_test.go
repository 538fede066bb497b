package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

var execModes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

func TestStoreConforms(t *testing.T) {
	t.Parallel()
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.Subject { return subject(t, mode, "") })
		})
	}
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.Subject {
				return subject(t, pgx.QueryExecModeCacheStatement, level)
			})
		})
	}
}

func subject(t *testing.T, mode pgx.QueryExecMode, level pgx.TxIsoLevel) storetest.Subject {
	schema := pgtest.Schema(t)
	open := func() (*pgstore.Store, *pgxpool.Pool) {
		pool := pgtest.Pool(t, schema, func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = mode; c.MaxConns = 4 })
		store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: schema, Isolation: level})
		require.NoError(t, err)
		return store, pool
	}
	store, pool := open()
	peer, _ := open()
	_, err := pool.Exec(t.Context(), `CREATE TABLE effects (name text NOT NULL)`)
	require.NoError(t, err)
	return storetest.Subject{
		Store:      store,
		Peer:       peer,
		Optimistic: level != "",
		Expire: func(ctx context.Context, key idempotency.Key) error {
			tag, err := pool.Exec(ctx, `UPDATE idempotency_keys SET expires_at = now() - interval '1 second' WHERE scope = $1 AND key = $2`, key.Scope, key.Value)
			if err == nil && tag.RowsAffected() != 1 {
				err = fmt.Errorf("%d records expired", tag.RowsAffected())
			}
			return err
		},
		EndLease: func(ctx context.Context, key idempotency.Key) error {
			tag, err := pool.Exec(ctx, `UPDATE idempotency_keys SET leased_until = now() - interval '1 second' WHERE scope = $1 AND key = $2 AND state = 'pending'`, key.Scope, key.Value)
			if err == nil && tag.RowsAffected() != 1 {
				err = fmt.Errorf("%d leases ended", tag.RowsAffected())
			}
			return err
		},
		Write: func(ctx context.Context, name string) error {
			_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO effects VALUES ($1)`, name)
			return err
		},
		Effects: func(ctx context.Context, name string) (n int, err error) {
			err = pool.QueryRow(ctx, `SELECT count(*) FROM effects WHERE name = $1`, name).Scan(&n)
			return n, err
		},
		Crash: func(ctx context.Context) error {
			conn := pgstore.Tx(ctx).Conn()
			var killed bool
			err := pool.QueryRow(ctx, `SELECT pg_terminate_backend($1)`, conn.PgConn().PID()).Scan(&killed)
			if err == nil && !killed {
				err = errors.New("there is no such backend")
			}
			return err
		},
	}
}
