package pgstore_test

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

// instead puts a function of the test's own in the way of an advisory lock's, as another engine might have it.
func (w *world) instead(body string) func(*idempotency.Config, *pgstore.Config, *pgxpool.Config) {
	w.t.Helper()
	_, err := w.pool.Exec(w.t.Context(), `CREATE FUNCTION pg_try_advisory_xact_lock(key bigint) RETURNS bool LANGUAGE sql VOLATILE AS $$ `+body+` $$`)
	require.NoError(w.t, err)
	return func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["search_path"] = w.schema + ", pg_catalog"
	}
}

// store opens another one on the world's schema.
func (w *world) open(lock pgstore.Lock, change ...func(*idempotency.Config, *pgstore.Config, *pgxpool.Config)) (*pgstore.Store, *pgxpool.Pool) {
	w.t.Helper()
	config := pgstore.Config{Schema: w.schema, Lock: lock}
	pool := pgtest.Pool(w.t, w.schema, func(c *pgxpool.Config) {
		c.MaxConns = 4
		for _, f := range change {
			f(&idempotency.Config{}, &config, c)
		}
	})
	store, err := pgstore.NewWithConfig(pool, config)
	require.NoError(w.t, err)
	return store, pool
}

var locks = []pgstore.Lock{pgstore.LocalLock, pgstore.ShardLock, pgstore.InsertClaim}

func TestCheckObservesThatAClaimKeepsOthersOff(t *testing.T) {
	t.Parallel()
	for _, lock := range locks {
		t.Run(string(lock), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var all sync.WaitGroup
			for range 4 { // as many processes
				store, _ := w.open(lock)
				all.Go(func() { assert.NoError(t, store.Check(t.Context())) })
			}
			all.Wait()
			require.Zero(t, w.records())
		})
	}
}

func TestCheckRefusesLocksThatDoNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nothing := w.instead(`SELECT true`)
	for _, lock := range []pgstore.Lock{pgstore.LocalLock, pgstore.ShardLock} {
		store, _ := w.open(lock, nothing)
		for range 2 { // what is wrong stays wrong
			require.ErrorContains(t, store.Check(t.Context()), "two connections have claimed one key at a time")
		}
	}
	store, _ := w.open(pgstore.InsertClaim, nothing)
	require.NoError(t, store.Check(t.Context()), "which has no use for them")
	require.Zero(t, w.records())
}

func TestCheckRefusesLocksThatOutliveTheirTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store, _ := w.open(pgstore.LocalLock, w.instead(`SELECT pg_try_advisory_lock(key)`))
	require.ErrorContains(t, store.Check(t.Context()), "still claimed when the transaction that had claimed it was over")
}

func TestCheckRefusesNoPoolForBeingSmallOrBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, lone := w.open(pgstore.LocalLock, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) { c.MaxConns = 1 })
	require.NoError(t, one.Check(t.Context()))
	require.Zero(t, lone.Stat().CanceledAcquireCount(), "nobody waits for a second connection that cannot be")

	busy, pool := w.open(pgstore.LocalLock, w.instead(`SELECT true`), func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) { c.MaxConns = 2 })
	held, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	require.NoError(t, busy.Check(t.Context()))
	held.Release()
	require.Error(t, busy.Check(t.Context()), "what could not be observed is observed later")
}

// What Citus's catalog says, in a schema of the test's own.
func TestCheckRefusesAKeyTableThatIsNotDistributedBesideOthers(t *testing.T) {
	t.Parallel()
	const others = `('effects'::regclass, 'h', 7, 's')`
	for name, c := range map[string]struct {
		rows    string
		refused bool
	}{
		"nothing is distributed":                     {``, false},
		"the keys are not":                           {others, true},
		"the keys are known, and on one node":        {others + `, ('idempotency_keys'::regclass, 'n', 0, 's')`, true},
		"both are":                                   {others + `, ('idempotency_keys'::regclass, 'h', 7, 's')`, false},
		"the keys are on every node":                 {others + `, ('idempotency_keys'::regclass, 'n', 3, 't')`, false},
		"both are in one schema's shard":             {`('effects'::regclass, 'n', 5, 's'), ('idempotency_keys'::regclass, 'n', 5, 's')`, false},
		"other tables are on every node":             {`('effects'::regclass, 'n', 3, 't')`, false},
		"the keys are in a schema's shard, not them": {others + `, ('idempotency_keys'::regclass, 'n', 5, 's')`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, err := w.pool.Exec(t.Context(), `CREATE TABLE pg_dist_partition (logicalrelid regclass, partmethod "char", colocationid int, repmodel "char")`)
			require.NoError(t, err)
			if c.rows != "" {
				_, err = w.pool.Exec(t.Context(), `INSERT INTO pg_dist_partition VALUES `+c.rows)
				require.NoError(t, err)
			}
			err = w.store.Check(t.Context())
			if !c.refused {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
			require.ErrorContains(t, err, "migrations/citus")
		})
	}
}

func TestAnUnknownLockIsRefused(t *testing.T) {
	t.Parallel()
	_, err := pgstore.NewWithConfig(nil, pgstore.Config{Lock: "none"})
	require.ErrorContains(t, err, `Config.Lock is "none": use pgstore.LocalLock`)
	_, err = pgstore.NewWithConfig(nil, pgstore.Config{ClaimWait: -1})
	require.ErrorContains(t, err, "Config.ClaimWait must be a millisecond or more")
	require.ErrorContains(t, pgstore.New(nil).Check(context.Background()), "the store has no pool")
}
