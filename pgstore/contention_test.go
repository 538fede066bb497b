package pgstore_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// Two keys whose 64 bits are the same cannot be found, so a stranger holds the number of this one as a key's owner would.
func TestAKeyWhoseLockCollidesIsToldToComeBackAndTakesEffectOnceThen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, locally)
	lock := pgstore.LockOf(w.schema, w.key)
	stranger, err := w.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = stranger.Exec(t.Context(), `SELECT pg_advisory_xact_lock($1)`, lock)
	require.NoError(t, err)

	_, err = w.run(pays(201))
	require.ErrorIs(t, err, idempotency.ErrInProgress)
	require.Zero(t, w.count(`SELECT count(*) FROM effects`))

	require.NoError(t, stranger.Rollback(t.Context()))
	_, err = w.run(pays(201))
	require.NoError(t, err)
	assert.Equal(t, 1, w.count(`SELECT count(*) FROM effects`))
}

func TestAnApplicationsOwnPairsOfLocksAreNeverInTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lock := uint64(pgstore.LockOf(w.schema, w.key))
	application, err := w.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = application.Rollback(context.Background()) }()
	_, err = application.Exec(t.Context(), `SELECT pg_advisory_xact_lock($1, $2)`, int32(lock>>32), int32(lock))
	require.NoError(t, err)

	_, err = w.run(pays(201))
	require.NoError(t, err, "the same 64 bits, as two ints")
}

// secondConnection asks the pool for another connection than the transaction's, as an audit log or a lookup would.
func secondConnection(pool *pgxpool.Pool) handler {
	return func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		if _, err := tx.Exec(ctx, `INSERT INTO effects VALUES ('paid')`); err != nil {
			return idempotency.Response{}, err
		}
		var one int
		err := pool.QueryRow(ctx, `SELECT 1`).Scan(&one)
		return idempotency.Response{Status: 201}, err
	}
}

func TestDuplicatesThatWaitLeaveTheSecondConnectionToTheHandlerThatNeedsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *idempotency.Config, _ *pgstore.Config, pool *pgxpool.Config) {
		c.Wait = 30 * time.Second
		pool.MaxConns = 2
	})
	entered, joined := make(chan struct{}), make(chan struct{})
	slow := func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		close(entered)
		<-joined
		return secondConnection(w.pool)(ctx, tx)
	}
	var all sync.WaitGroup
	all.Go(func() {
		_, err := w.run(slow)
		assert.NoError(t, err)
	})
	<-entered
	// As many engines as processes: duplicates of one process would meet in its memory.
	for range 32 {
		other, err := idempotency.New(w.store, idempotency.Config{Wait: 30 * time.Second})
		require.NoError(t, err)
		all.Go(func() {
			result, err := other.Run(t.Context(), idempotency.Request{Key: w.key}, func(ctx context.Context) (idempotency.Response, error) {
				return secondConnection(w.pool)(ctx, pgstore.Tx(ctx))
			})
			assert.NoError(t, err)
			assert.True(t, result.Replayed)
		})
	}
	require.Eventually(t, func() bool { return w.pool.Stat().AcquireCount() > 40 }, 30*time.Second, time.Millisecond, "the duplicates ask")
	close(joined)
	all.Wait()
	assert.Equal(t, 1, w.count(`SELECT count(*) FROM effects`))
}

func TestHandlersThatUseUpThePoolForTheirSecondConnectionsEndAtTheirBound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *idempotency.Config, _ *pgstore.Config, pool *pgxpool.Config) {
		c.HandlerTimeout = 2 * time.Second
		pool.MaxConns = 1
	})
	_, err := w.run(secondConnection(w.pool))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Zero(t, w.count(`SELECT count(*) FROM effects`))
	_, err = w.run(pays(201))
	require.NoError(t, err, "the pool and the key are free again")
	assert.Equal(t, 1, w.count(`SELECT count(*) FROM effects`))
}
