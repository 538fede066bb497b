package pgstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// A transaction that pgx made would come past the guard.
func TestABatchInATransactionBeginsNone(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
			nested, err := tx.Begin(ctx)
			require.NoError(t, err)
			for _, tx := range []pgx.Tx{tx, nested} {
				batch := &pgx.Batch{}
				batch.BeginTx(pgx.TxOptions{})
				batch.Queue(`INSERT INTO effects VALUES ('doubly begun')`)
				results := tx.SendBatch(ctx, batch)
				require.ErrorContains(t, results.Close(), "within a transaction")
			}
			return pays(201)(ctx, tx)
		})
		require.NoError(t, err)
		require.Equal(t, 1, w.effects())
	})
}

func TestASavepointThatHasEndedDoesNothing(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
			for _, end := range []func(pgx.Tx) error{
				func(s pgx.Tx) error { return s.Commit(ctx) }, func(s pgx.Tx) error { return s.Rollback(ctx) },
			} {
				s, err := tx.Begin(ctx)
				require.NoError(t, err)
				open := s.LargeObjects()
				_, err = open.Create(ctx, 0)
				require.NoError(t, err)
				require.NoError(t, end(s))
				_, err = s.Exec(ctx, `INSERT INTO effects VALUES ('late')`)
				require.ErrorIs(t, err, pgx.ErrTxClosed)
				rows, err := s.Query(ctx, `SELECT 1`)
				require.ErrorIs(t, err, pgx.ErrTxClosed)
				require.False(t, rows.Next())
				require.ErrorIs(t, s.QueryRow(ctx, `SELECT 1`).Scan(), pgx.ErrTxClosed)
				batch := &pgx.Batch{}
				batch.Queue(`SELECT 1`)
				require.ErrorIs(t, s.SendBatch(ctx, batch).Close(), pgx.ErrTxClosed)
				_, err = s.CopyFrom(ctx, pgx.Identifier{"effects"}, []string{"name"}, pgx.CopyFromRows(nil))
				require.ErrorIs(t, err, pgx.ErrTxClosed)
				_, err = s.Prepare(ctx, "late", `SELECT 1`)
				require.ErrorIs(t, err, pgx.ErrTxClosed)
				_, err = s.Begin(ctx)
				require.ErrorIs(t, err, pgx.ErrTxClosed)
				require.ErrorIs(t, s.Commit(ctx), pgx.ErrTxClosed)
				require.ErrorIs(t, s.Rollback(ctx), pgx.ErrTxClosed)
				late := s.LargeObjects()
				_, err = late.Create(ctx, 0)
				require.ErrorIs(t, err, pgx.ErrTxClosed)
			}
			return idempotency.Response{Status: 201}, nil
		})
		require.NoError(t, err)
		require.Equal(t, 0, w.effects())
	})
}

// Asking for large objects takes a round trip, which a goroutine that outlives the handler must not make.
func TestAGoroutineThatAsksForLargeObjectsIsKeptOffTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) { c.MaxConns = 2 })
	var strays sync.WaitGroup
	for i := range 100 {
		request := idempotency.Request{Key: idempotency.Key{Scope: w.schema, Value: fmt.Sprint(i)}}
		_, err := w.engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
			tx := pgstore.Tx(ctx)
			started := make(chan struct{})
			strays.Go(func() {
				close(started)
				for range 20 {
					_ = tx.LargeObjects()
				}
			})
			<-started
			return idempotency.Response{Status: 201}, nil
		})
		if err != nil {
			require.ErrorIs(t, err, idempotency.ErrTransactionAborted)
		}
	}
	strays.Wait()
}
