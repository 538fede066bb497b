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
	"github.com/onlyonce/onlyonce/internal/pgbouncer"
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
			storetest.Run(t, func(t *testing.T) storetest.Subject { return subject(t, mode, "", lockOfTheRun(t)) })
		})
	}
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.Subject {
				return subject(t, pgx.QueryExecModeCacheStatement, level, lockOfTheRun(t))
			})
		})
	}
}

// Every lock is the same store. The modes are those between which its statements differ most on the wire.
func TestStoreConformsWithEveryLock(t *testing.T) {
	t.Parallel()
	for _, lock := range []pgstore.Lock{pgstore.ShardLock, pgstore.InsertClaim} {
		for name, c := range map[string]struct {
			mode  pgx.QueryExecMode
			level pgx.TxIsoLevel
		}{
			"cache_statement": {mode: pgx.QueryExecModeCacheStatement},
			"exec":            {mode: pgx.QueryExecModeExec},
			"simple_protocol": {mode: pgx.QueryExecModeSimpleProtocol},
			"repeatable_read": {pgx.QueryExecModeCacheStatement, pgx.RepeatableRead},
			"serializable":    {pgx.QueryExecModeCacheStatement, pgx.Serializable},
		} {
			t.Run(string(lock)+"/"+name, func(t *testing.T) {
				t.Parallel()
				storetest.Run(t, func(t *testing.T) storetest.Subject { return subject(t, c.mode, c.level, lock) })
			})
		}
	}
}

// Behind PgBouncer in transaction mode each transaction may have another connection to the server. The modes are those in which
// nothing is prepared by name on one and used on another. Not describe_exec: it describes on one connection and executes on
// the next. Since 1.21 PgBouncer keeps track of what is prepared.
func TestStoreConformsBehindPgBouncer(t *testing.T) {
	t.Parallel()
	// More than one test holds at a time, and fewer than the clients have.
	bouncer := pgbouncer.Start(t, pgtest.URL(t), pgbouncer.Options{Connections: 50})
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeCacheStatement,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			if mode == pgx.QueryExecModeCacheStatement && !bouncer.Prepared {
				t.Skip("PgBouncer keeps track of prepared statements since 1.21; this one is older")
			}
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.Subject { return pooledSubject(t, mode, bouncer.URL) })
		})
	}
}

// pooledSubject is subject with its stores behind a pooler. What acts from outside is not.
func pooledSubject(t *testing.T, mode pgx.QueryExecMode, url string) storetest.Subject {
	schema := pgtest.Schema(t)
	outside := pgtest.Pool(t, schema, func(c *pgxpool.Config) { c.MaxConns = 1 })
	open := func() *pgstore.Store {
		config, err := pgxpool.ParseConfig(url)
		require.NoError(t, err)
		require.NoError(t, pgstore.Configure(config, pgstore.PoolConfig{BehindPooler: true}))
		config.MaxConns, config.ConnConfig.DefaultQueryExecMode = 4, mode
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: schema, Lock: lockOfTheRun(t)})
		require.NoError(t, err)
		return store
	}
	_, err := outside.Exec(t.Context(), `CREATE TABLE effects (name text NOT NULL)`)
	require.NoError(t, err)
	s := subjectOn(outside, "idempotency_keys")
	s.Store, s.Peer = open(), open()
	s.Write = func(ctx context.Context, name string) error {
		_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO `+schema+`.effects VALUES ($1)`, name)
		return err
	}
	s.Crash = func(ctx context.Context) error {
		var backend uint32 // what the connection knows is PgBouncer's own number
		if err := pgstore.Tx(ctx).QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&backend); err != nil {
			return err
		}
		return crash(ctx, outside, backend)
	}
	return s
}

func subject(t *testing.T, mode pgx.QueryExecMode, level pgx.TxIsoLevel, lock pgstore.Lock) storetest.Subject {
	schema := pgtest.Schema(t)
	open := func() (*pgstore.Store, *pgxpool.Pool) {
		pool := pgtest.Pool(t, schema, func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = mode; c.MaxConns = 4 })
		store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: schema, Isolation: level, Lock: lock})
		require.NoError(t, err)
		return store, pool
	}
	store, pool := open()
	peer, _ := open()
	_, err := pool.Exec(t.Context(), `CREATE TABLE effects (name text NOT NULL)`)
	require.NoError(t, err)
	s := subjectOn(pool, "idempotency_keys")
	s.Store, s.Peer, s.Optimistic = store, peer, level != "" && lock != pgstore.InsertClaim
	return s
}

// subjectOn is a subject without its stores: the means to act on the table from outside.
func subjectOn(pool *pgxpool.Pool, table string) storetest.Subject {
	return storetest.Subject{
		Expire: func(ctx context.Context, key idempotency.Key) error {
			tag, err := pool.Exec(ctx, `UPDATE `+table+` SET expires_at = now() - interval '1 second', leased_until = leased_until - interval '1 day' WHERE scope = $1 AND key = $2`, key.Scope, key.Value)
			if err == nil && tag.RowsAffected() != 1 {
				err = fmt.Errorf("%d records expired", tag.RowsAffected())
			}
			return err
		},
		EndLease: func(ctx context.Context, key idempotency.Key) error {
			tag, err := pool.Exec(ctx, `UPDATE `+table+` SET leased_until = now() - interval '1 second' WHERE scope = $1 AND key = $2 AND state = 'pending'`, key.Scope, key.Value)
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
		Crash: func(ctx context.Context) error { return crash(ctx, pool, pgstore.Tx(ctx).Conn().PgConn().PID()) },
	}
}

func crash(ctx context.Context, outside *pgxpool.Pool, backend uint32) error {
	var killed bool
	err := outside.QueryRow(ctx, `SELECT pg_terminate_backend($1)`, backend).Scan(&killed)
	if err == nil && !killed {
		err = errors.New("there is no such backend")
	}
	return err
}
