package pgstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

func TestTheTransactionDoesAllButEnd(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
			require.ErrorIs(t, tx.Commit(ctx), pgstore.ErrTxGuarded)
			require.ErrorIs(t, tx.Rollback(ctx), pgstore.ErrTxGuarded)
			require.Same(t, tx, pgstore.Tx(ctx))

			batch := &pgx.Batch{}
			batch.Queue(`INSERT INTO effects VALUES ('batched')`)
			batch.Queue(`INSERT INTO effects VALUES ('batched')`)
			require.NoError(t, tx.SendBatch(ctx, batch).Close())

			n, err := tx.CopyFrom(ctx, pgx.Identifier{"effects"}, []string{"name"}, pgx.CopyFromRows([][]any{{"copied"}, {"copied"}}))
			require.NoError(t, err)
			require.EqualValues(t, 2, n)

			kept, err := tx.Begin(ctx)
			require.NoError(t, err)
			_, err = kept.Exec(ctx, `INSERT INTO effects VALUES ('kept')`)
			require.NoError(t, err)
			deeper, err := kept.Begin(ctx)
			require.NoError(t, err)
			_, err = deeper.Exec(ctx, `INSERT INTO effects VALUES ('dropped')`)
			require.NoError(t, err)
			require.NoError(t, deeper.Rollback(ctx))
			require.NoError(t, kept.Commit(ctx))

			err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO effects VALUES (NULL)`)
				return err
			})
			require.Error(t, err, "a failure inside of a savepoint is survived")

			_, err = tx.Prepare(ctx, "named", `INSERT INTO effects VALUES ('prepared')`)
			require.NoError(t, err)

			rows, err := tx.Query(ctx, `SELECT name FROM effects ORDER BY name`)
			require.NoError(t, err)
			names, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			require.Equal(t, []string{"batched", "batched", "copied", "copied", "kept"}, names)
			return idempotency.Response{Status: 201}, nil
		})
		require.NoError(t, err)
		require.Equal(t, 5, w.effects())
	})
}

func TestLargeObjectsBelongToTheTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var oid uint32
	var late pgx.LargeObjects
	_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		late = tx.LargeObjects()
		var err error
		oid, err = late.Create(ctx, 0)
		return idempotency.Response{Status: 201}, err
	})
	require.NoError(t, err)
	require.Equal(t, 1, w.count(`SELECT lo_unlink($1)`, oid))
	_, err = late.Create(t.Context(), 0)
	require.Error(t, err, "large objects outlived the handler")
}

func TestATransactionIsDeadOutsideItsHandler(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var kept, nested pgx.Tx
	_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		kept = tx
		var err error
		nested, err = tx.Begin(ctx)
		return idempotency.Response{Status: 201}, err
	})
	require.NoError(t, err)
	ctx := t.Context()
	for name, tx := range map[string]pgx.Tx{"kept": kept, "nested": nested, "no handler at all": pgstore.Tx(ctx)} {
		_, err := tx.Exec(ctx, `INSERT INTO effects VALUES ('late')`)
		require.ErrorIs(t, err, pgstore.ErrNoTx, name)
		rows, err := tx.Query(ctx, `SELECT 1`)
		require.ErrorIs(t, err, pgstore.ErrNoTx, name)
		require.False(t, rows.Next(), name)
		require.ErrorIs(t, rows.Err(), pgstore.ErrNoTx, name)
		require.ErrorIs(t, tx.QueryRow(ctx, `SELECT 1`).Scan(), pgstore.ErrNoTx, name)
		require.ErrorIs(t, tx.SendBatch(ctx, &pgx.Batch{}).Close(), pgstore.ErrNoTx, name)
		_, err = tx.CopyFrom(ctx, pgx.Identifier{"effects"}, []string{"name"}, pgx.CopyFromRows(nil))
		require.ErrorIs(t, err, pgstore.ErrNoTx, name)
		_, err = tx.Prepare(ctx, "x", `SELECT 1`)
		require.ErrorIs(t, err, pgstore.ErrNoTx, name)
		_, err = tx.Begin(ctx)
		require.ErrorIs(t, err, pgstore.ErrNoTx, name)
	}
	require.ErrorIs(t, nested.Commit(ctx), pgstore.ErrNoTx)
	require.ErrorIs(t, nested.Rollback(ctx), pgstore.ErrNoTx)
	objects := pgstore.Tx(ctx).LargeObjects()
	_, err = objects.Create(ctx, 0)
	require.ErrorIs(t, err, pgx.ErrTxClosed)
	require.Equal(t, 0, w.effects())
}

func TestAClaimInsideAHandlerIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		_, err := w.engine.Run(ctx, idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "inner"}}, nil)
		return idempotency.Response{}, err
	})
	require.ErrorIs(t, err, idempotency.ErrNested)
	w.afterwards()
}

// A goroutine that outlives its handler must not share a connection with whoever has it next, and two on one connection at once
// would bring the process down.
func TestAGoroutineThatOutlivesItsHandlerIsKeptOffTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) { c.MaxConns = 2 })
	var strays sync.WaitGroup
	for i := range 200 {
		request := idempotency.Request{Key: idempotency.Key{Scope: w.schema, Value: fmt.Sprint(i)}}
		_, err := w.engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
			tx := pgstore.Tx(ctx)
			started := make(chan struct{})
			strays.Go(func() {
				close(started)
				for {
					if _, err := tx.Exec(ctx, `INSERT INTO effects VALUES ('stray')`); err != nil {
						return
					}
				}
			})
			<-started
			return idempotency.Response{Status: 500}, nil
		})
		if err != nil {
			require.ErrorIs(t, err, idempotency.ErrTransactionAborted)
			require.ErrorContains(t, err, "goroutine")
		}
	}
	strays.Wait()
	require.Equal(t, 0, w.effects(), "a stray wrote outside of its transaction")
	w.afterwards()
}

func TestAGoroutineInTheMiddleOfAStatementIsThrownOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out := make(chan error, 1)
	_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		pid := tx.Conn().PgConn().PID()
		go func() {
			_, err := tx.Exec(context.WithoutCancel(ctx), `SELECT pg_sleep(600)`)
			out <- err
		}()
		require.Eventually(t, func() bool {
			return w.count(`SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'`, pid) == 1
		}, 10*time.Second, time.Millisecond)
		return idempotency.Response{Status: 201}, nil
	})
	require.ErrorIs(t, err, idempotency.ErrTransactionAborted)
	select {
	case err := <-out:
		require.Error(t, err)
	case <-time.After(10 * time.Second):
		require.Fail(t, "the goroutine still holds the connection")
	}
	_, err = w.pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query = 'SELECT pg_sleep(600)'`)
	require.NoError(t, err)
}

func TestAKeptTransactionGivesNoConnectionAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var kept pgx.Tx
	_, err := w.run(func(_ context.Context, tx pgx.Tx) (idempotency.Response, error) {
		kept = tx
		require.NotNil(t, tx.Conn())
		return idempotency.Response{Status: 201}, nil
	})
	require.NoError(t, err)
	require.Nil(t, kept.Conn())
	objects := kept.LargeObjects()
	_, err = objects.Create(t.Context(), 0)
	require.ErrorIs(t, err, pgx.ErrTxClosed)
}
