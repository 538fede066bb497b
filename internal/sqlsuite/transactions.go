package sqlsuite

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/sqlstore"
)

var transactionScenarios = []scenario{
	{"a payment is made once, and its retry is a replay", func(w *world) {
		first, err := w.run(pays(201))
		require.NoError(w, err)
		again, err := w.run(pays(500))
		require.NoError(w, err)
		require.Equal(w, first.Response.Body, again.Response.Body)
		require.True(w, again.Replayed)
		w.stored(1, 1)
	}},
	{"a refusal is rolled back and replayed", func(w *world) {
		for range 2 {
			result, err := w.run(pays(402))
			require.NoError(w, err)
			require.Equal(w, 402, result.Response.Status)
			w.stored(0, 1)
		}
	}},
	{"an error frees the key", func(w *world) {
		_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			w.exec(ctx, tx, insert)
			return idempotency.Response{}, errors.New("no")
		})
		require.Error(w, err)
		w.afterwards()
	}},
	{"every call of Tx in a handler returns the same transaction", func(w *world) {
		_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			brief, cancel := context.WithCancel(ctx)
			require.Same(w, tx, sqlstore.Tx(brief))
			cancel()
			w.exec(ctx, tx, insert)
			return idempotency.Response{Status: 201}, nil
		})
		require.NoError(w, err)
		w.stored(1, 1)
	}},
	{"a transaction that was asked for with a context that has ended works on", func(w *world) {
		_, err := w.engine.Run(w.Context(), idempotency.Request{Key: w.key}, func(ctx context.Context) (idempotency.Response, error) {
			brief, cancel := context.WithCancel(ctx)
			tx := sqlstore.Tx(brief)
			cancel()
			runtime.Gosched()
			w.exec(ctx, tx, insert)
			return idempotency.Response{Status: 201}, nil
		})
		require.NoError(w, err)
		w.stored(1, 1)
	}},
	{"Commit and Rollback are refused, and end nothing but the handle", func(w *world) {
		_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			for _, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback} {
				tx := sqlstore.Tx(ctx)
				w.exec(ctx, tx, insert)
				require.ErrorIs(w, end(tx), sqlstore.ErrTxGuarded)
				_, err := tx.ExecContext(ctx, insert)
				require.ErrorIs(w, err, sql.ErrTxDone)
				require.NotSame(w, tx, sqlstore.Tx(ctx))
			}
			w.stored(0, 0)
			w.exec(ctx, sqlstore.Tx(ctx), insert)
			return idempotency.Response{Status: 201}, nil
		})
		require.NoError(w, err)
		w.stored(3, 1)
	}},
	{"outside of a handler every method says that there is no transaction", func(w *world) {
		for range 2 {
			tx := sqlstore.Tx(w.Context())
			w.wantDead(tx, sqlstore.ErrNoTx)
			require.ErrorIs(w, notDone(tx.Commit()), sqlstore.ErrTxGuarded)
		}
	}},
	{"what a handler keeps is dead once it has returned", func(w *world) {
		var tx *sql.Tx
		var kept context.Context
		var stmt *sql.Stmt
		_, err := w.run(func(ctx context.Context, t *sql.Tx) (idempotency.Response, error) {
			tx, kept = t, ctx
			var err error
			stmt, err = tx.PrepareContext(ctx, insert)
			return idempotency.Response{Status: 201}, err
		})
		require.NoError(w, err)
		_, err = stmt.ExecContext(w.Context())
		require.Error(w, err)
		_, err = tx.ExecContext(w.Context(), insert)
		require.Error(w, err)
		w.wantDead(sqlstore.Tx(kept), sqlstore.ErrNoTx)
		w.stored(0, 1)
	}},
	{"a savepoint keeps a failed statement from the rest", func(w *world) {
		_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			w.exec(ctx, tx, insert)
			w.exec(ctx, tx, `SAVEPOINT a`)
			w.exec(ctx, tx, insert)
			_, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES (NULL)`)
			require.Error(w, err)
			w.exec(ctx, tx, `ROLLBACK TO SAVEPOINT a`)
			w.exec(ctx, tx, insert)
			w.exec(ctx, tx, `RELEASE SAVEPOINT a`)
			return idempotency.Response{Status: 201}, nil
		})
		require.NoError(w, err)
		w.stored(2, 1)
	}},
	{"what is left prepared is closed for the handler", func(w *world) {
		_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			_, err := tx.PrepareContext(ctx, `SELECT 'left behind'`)
			return idempotency.Response{Status: 201}, err
		})
		require.NoError(w, err)
		var left int // on the pool's one connection
		require.NoError(w, w.db.QueryRowContext(w.Context(), `SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT ''left behind'''`).Scan(&left))
		require.Zero(w, left)
		w.stored(0, 1)
	}},
	{"a panic rolls back", func(w *world) {
		require.PanicsWithValue(w, "no", func() {
			_, _ = w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
				w.exec(ctx, tx, insert)
				panic("no")
			})
		})
		w.afterwards()
	}},
	{"rows that are left open are an error, and nothing is stored", func(w *world) {
		_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			w.exec(ctx, tx, insert)
			rows, err := tx.QueryContext(ctx, `SELECT generate_series(1, 100000)`)
			require.NoError(w, err)
			require.True(w, rows.Next())
			return idempotency.Response{Status: 201}, nil
		})
		require.ErrorIs(w, err, idempotency.ErrTransactionAborted)
		w.afterwards()
	}},
	{"a goroutine in the middle of a statement is thrown out, and nothing is stored", func(w *world) {
		w.on(pgtest.URL(w), sqlstore.Config{Timeout: time.Hour}) // for which nobody waits
		done := make(chan error, 1)
		_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			w.exec(ctx, tx, insert)
			go func() {
				_, err := tx.ExecContext(context.Background(), `SELECT pg_sleep(600)`)
				done <- err
			}()
			require.Eventually(w, func() bool {
				return w.count(`SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND wait_event = 'PgSleep'
					AND backend_xid IS NOT NULL AND xact_start IS NOT NULL AND pid IN (SELECT pid FROM pg_locks WHERE relation = 'effects'::regclass)`) == 1
			}, 10*time.Second, time.Millisecond)
			return idempotency.Response{Status: 201}, nil
		})
		require.ErrorIs(w, err, idempotency.ErrTransactionAborted)
		require.Error(w, <-done)
		w.afterwards()
	}},
	{"without a key a handler has a transaction, too", func(w *world) {
		result, err := w.keyless(pays(201))
		require.NoError(w, err)
		require.Equal(w, 201, result.Response.Status)
		w.stored(1, 0)
		_, err = w.keyless(pays(402))
		require.NoError(w, err)
		w.stored(1, 0)
		w.afterwardsWith(1)
	}},
}

// keyless runs a request without a key.
func (w *world) keyless(h handler) (idempotency.Result, error) {
	return w.engine.RunWithoutKey(w.Context(), func(ctx context.Context) (idempotency.Response, error) {
		return h(ctx, sqlstore.Tx(ctx))
	})
}

// wantDead checks that every method of tx fails by want. A transaction that is none is shared, so another test may have ended the handle.
func (w *world) wantDead(tx *sql.Tx, want error) {
	w.Helper()
	_, exec := tx.ExecContext(w.Context(), insert)
	_, query := tx.QueryContext(w.Context(), `SELECT 1`)
	_, prepare := tx.PrepareContext(w.Context(), insert)
	for _, err := range []error{exec, query, prepare, tx.QueryRowContext(w.Context(), `SELECT 1`).Scan(new(int))} {
		if want == sqlstore.ErrNoTx && errors.Is(err, sql.ErrTxDone) {
			continue
		}
		require.ErrorIs(w, err, want)
	}
}

// notDone takes a handle that another test has ended for one that is guarded.
func notDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return sqlstore.ErrTxGuarded
	}
	return err
}
