package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

func inMode(mode pgx.QueryExecMode) func(*idempotency.Config, *pgstore.Config, *pgxpool.Config) {
	return func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
		c.ConnConfig.DefaultQueryExecMode = mode
	}
}

func everyMode(t *testing.T, test func(t *testing.T, w *world)) {
	t.Parallel()
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, inMode(mode)))
		})
	}
}

func TestASwallowedStatementErrorIsNeverASuccess(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
			_, _ = tx.Exec(ctx, `INSERT INTO effects VALUES ('before')`)
			_, failed := tx.Exec(ctx, `INSERT INTO effects VALUES (NULL)`)
			require.Error(t, failed)
			return idempotency.Response{Status: 201}, nil
		})
		require.ErrorIs(t, err, idempotency.ErrTransactionAborted)
		require.Equal(t, 0, w.effects())
		w.afterwards()
	})
}

func TestARefusalAfterAStatementErrorIsKept(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		no := func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
			_, _ = tx.Exec(ctx, `INSERT INTO effects VALUES (NULL)`)
			return idempotency.Response{Status: 422, Body: []byte("no")}, nil
		}
		for _, replayed := range []bool{false, true} {
			result, err := w.run(no)
			require.NoError(t, err)
			require.Equal(t, idempotency.Result{Response: idempotency.Response{Status: 422, Header: result.Response.Header, Body: []byte("no")}, Replayed: replayed}, result)
		}
		require.Equal(t, 1, w.records())
	})
}

func TestAHandlerThatEndsItsOwnTransactionFailsLoudly(t *testing.T) {
	for name, end := range map[string][]string{
		"COMMIT":             {`COMMIT`},
		"ROLLBACK":           {`ROLLBACK`},
		"COMMIT and BEGIN":   {`COMMIT`, `BEGIN`},
		"ROLLBACK and BEGIN": {`ROLLBACK`, `BEGIN`},
		"COMMIT AND CHAIN":   {`COMMIT AND CHAIN`},
		"COMMIT and failing": {`COMMIT`, `BEGIN`, `SELECT 1 / 0`},
	} {
		for _, status := range []int{201, 402, 500} {
			t.Run(fmt.Sprint(name, " then ", status), func(t *testing.T) {
				everyMode(t, func(t *testing.T, w *world) {
					_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
						for _, sql := range append(end, `INSERT INTO effects VALUES ('after')`) {
							_, _ = tx.Exec(ctx, sql)
						}
						return idempotency.Response{Status: status}, nil
					})
					require.ErrorIs(t, err, idempotency.ErrTransactionEnded)
					require.Contains(t, w.kinds(), idempotency.Failed)
					w.afterwards()
				})
			})
		}
	}
}

func TestACommitThatTheDatabaseRefusesIsReadBack(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
			_, err := tx.Exec(ctx, `INSERT INTO children VALUES (42)`) // the constraint is looked at by COMMIT
			return idempotency.Response{Status: 201}, err
		})
		require.ErrorIs(t, err, idempotency.ErrTransactionAborted)
		require.Contains(t, w.kinds(), idempotency.UnknownResolved)
		require.Equal(t, 0, w.count(`SELECT count(*) FROM children`))
		w.afterwards()
	})
}

func TestAnExpiredRecordIsNotTakenForAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, s *pgstore.Config, _ *pgxpool.Config) { s.ReadBackTimeout = 5 * time.Second })
	_, err := w.run(pays(201))
	require.NoError(t, err)
	_, err = w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET expires_at = now() - interval '1 second'`)
	require.NoError(t, err)
	_, err = w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		_, err := w.pool.Exec(ctx, `SELECT pg_terminate_backend($1)`, tx.Conn().PgConn().PID())
		return idempotency.Response{Status: 201, Body: []byte("another answer")}, err
	})
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.Contains(t, w.kinds(), idempotency.UnknownResolved)
	require.Equal(t, 1, w.effects())
}

// Two stores that do not see each other's locks stand for whatever a lock lets through: another entry node of a
// distributed database, a snapshot older than the lock.
func TestThePrimaryKeyDecidesWhereTheLockDoesNot(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		store, err := pgstore.NewWithConfig(w.pool, pgstore.Config{Schema: w.schema})
		require.NoError(t, err)
		w.engine, err = idempotency.New(store, idempotency.Config{})
		require.NoError(t, err)
		stranger, err := pgstore.NewWithConfig(w.pool, pgstore.Config{}) // same table, by the search_path: another lock
		require.NoError(t, err)
		want := &idempotency.Record{Response: idempotency.Response{Status: 201, Body: []byte("the stranger's")}}
		inside := func(ctx context.Context, tx pgx.Tx) error {
			attempt, _, err := stranger.Claim(ctx, w.key)
			if err != nil {
				return err
			}
			if _, err = attempt.Complete(ctx, want, time.Hour); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `INSERT INTO effects VALUES ('doubled')`)
			return err
		}
		for _, status := range []int{201, 402} {
			result, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
				return idempotency.Response{Status: status, Body: []byte("ours")}, inside(ctx, tx)
			})
			require.NoError(t, err)
			require.True(t, result.Replayed)
			require.Equal(t, "the stranger's", string(result.Response.Body))
			require.Equal(t, 0, w.effects())
			require.Equal(t, 1, w.count(`WITH gone AS (DELETE FROM idempotency_keys RETURNING 1) SELECT count(*) FROM gone`))
		}
	})
}

func TestAHandlerThatChangesTheSearchPathDoesNotStoreElsewhere(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		elsewhere := pgtest.Schema(t)
		store, err := pgstore.NewWithConfig(w.pool, pgstore.Config{})
		require.NoError(t, err)
		w.engine, err = idempotency.New(store, idempotency.Config{})
		require.NoError(t, err)
		_, err = w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
			_, err := tx.Exec(ctx, `INSERT INTO effects VALUES ('x')`)
			require.NoError(t, err)
			_, err = tx.Exec(ctx, `SET LOCAL search_path = `+elsewhere)
			return idempotency.Response{Status: 201}, err
		})
		require.ErrorIs(t, err, idempotency.ErrTransactionAborted)
		require.ErrorContains(t, err, "pgstore.Config.Schema")
		require.Equal(t, 0, w.count(`SELECT count(*) FROM `+elsewhere+`.idempotency_keys`))
		require.Equal(t, 0, w.effects())
		w.afterwards()
	})
}

func TestAConflictWithAnotherTransactionIsToldOrRerun(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"returns the error", "answers 500", "swallows it"} {
		for _, reruns := range []int{0, 2} {
			t.Run(fmt.Sprintf("a handler that %s, %d reruns", answer, reruns), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, func(e *idempotency.Config, s *pgstore.Config, _ *pgxpool.Config) {
					e.Reruns, s.Isolation = reruns, pgx.RepeatableRead
				})
				_, err := w.pool.Exec(t.Context(), `INSERT INTO effects VALUES ('balance')`)
				require.NoError(t, err)
				runs := 0
				result, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
					runs++
					var n int
					if err := tx.QueryRow(ctx, `SELECT count(*) FROM effects`).Scan(&n); err != nil {
						return idempotency.Response{}, err
					}
					if runs == 1 { // somebody else is quicker
						if _, err := w.pool.Exec(ctx, `UPDATE effects SET name = name || '+'`); err != nil {
							return idempotency.Response{}, err
						}
					}
					_, err := tx.Exec(ctx, `UPDATE effects SET name = name || '!'`)
					switch {
					case err == nil || answer == "swallows it":
						return idempotency.Response{Status: 201}, nil
					case answer == "answers 500":
						return idempotency.Response{Status: 500}, nil
					}
					return idempotency.Response{}, err
				})
				var name string
				require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT name FROM effects`).Scan(&name))
				if reruns == 0 {
					require.ErrorIs(t, err, idempotency.ErrTransactionConflict)
					require.Equal(t, "balance+", name)
					require.Equal(t, 1, runs)
					return
				}
				require.NoError(t, err)
				require.Equal(t, 201, result.Response.Status)
				require.Equal(t, "balance+!", name)
				require.Equal(t, 2, runs)
			})
		}
	}
}

// However a statement is run, a handler that swallows its error cannot hide a conflict.
func TestAConflictIsNoticedInEveryKindOfResult(t *testing.T) {
	t.Parallel()
	const update = `UPDATE effects SET name = name || '!' RETURNING name`
	for kind, run := range map[string]func(ctx context.Context, tx pgx.Tx){
		"Exec":     func(ctx context.Context, tx pgx.Tx) { _, _ = tx.Exec(ctx, update) },
		"QueryRow": func(ctx context.Context, tx pgx.Tx) { _ = tx.QueryRow(ctx, update).Scan(new(string)) },
		"Query": func(ctx context.Context, tx pgx.Tx) {
			rows, _ := tx.Query(ctx, update)
			for rows.Next() {
				_ = rows.Scan(new(string))
			}
		},
		"Query and Close": func(ctx context.Context, tx pgx.Tx) {
			rows, _ := tx.Query(ctx, update)
			rows.Close()
		},
		"batch": func(ctx context.Context, tx pgx.Tx) {
			batch := &pgx.Batch{}
			batch.Queue(update)
			_ = tx.SendBatch(ctx, batch).Close()
		},
		"batch Exec": func(ctx context.Context, tx pgx.Tx) {
			batch := &pgx.Batch{}
			batch.Queue(update)
			results := tx.SendBatch(ctx, batch)
			_, _ = results.Exec()
			_ = results.Close()
		},
		"savepoint": func(ctx context.Context, tx pgx.Tx) {
			nested, _ := tx.Begin(ctx)
			_, _ = nested.Exec(ctx, update)
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(_ *idempotency.Config, s *pgstore.Config, _ *pgxpool.Config) { s.Isolation = pgx.RepeatableRead })
			_, err := w.pool.Exec(t.Context(), `INSERT INTO effects VALUES ('balance')`)
			require.NoError(t, err)
			_, err = w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
				_, err := tx.Exec(ctx, `SELECT FROM effects`)
				require.NoError(t, err)
				_, err = w.pool.Exec(ctx, `UPDATE effects SET name = name || '+'`)
				require.NoError(t, err)
				run(ctx, tx)
				return idempotency.Response{Status: 201}, nil
			})
			require.ErrorIs(t, err, idempotency.ErrTransactionConflict)
			require.Equal(t, 1, w.count(`SELECT count(*) FROM effects WHERE name = 'balance+'`))
		})
	}
}

func TestDeadlockedHandlersAreRerun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(e *idempotency.Config, _ *pgstore.Config, _ *pgxpool.Config) { e.Reruns = 3 })
	_, err := w.pool.Exec(t.Context(), `INSERT INTO parents VALUES (1), (2)`)
	require.NoError(t, err)
	var both sync.WaitGroup // both hold their first row before they want the other's
	both.Add(2)
	var done sync.WaitGroup
	for i, order := range [][]int{{1, 2}, {2, 1}} {
		done.Go(func() {
			first := sync.OnceFunc(func() { both.Done(); both.Wait() })
			_, err := w.engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: fmt.Sprint(i)}}, func(ctx context.Context) (idempotency.Response, error) {
				for _, id := range order {
					if _, err := pgstore.Tx(ctx).Exec(ctx, `SELECT FROM parents WHERE id = $1 FOR UPDATE`, id); err != nil {
						return idempotency.Response{}, err
					}
					first()
				}
				return idempotency.Response{Status: 200}, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	require.Equal(t, 2, w.records())
}

func TestAResultLeftOpenIsNotCommitted(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
			_, err := tx.Exec(ctx, `INSERT INTO effects VALUES ('x')`)
			require.NoError(t, err)
			rows, err := tx.Query(ctx, `SELECT generate_series(1, 10)`)
			require.NoError(t, err)
			require.True(t, rows.Next())
			return idempotency.Response{Status: 201}, nil
		})
		require.ErrorIs(t, err, idempotency.ErrTransactionAborted)
		require.ErrorContains(t, err, "close its rows")
		w.afterwards()
	})
}

func TestAPanicAfterTheHandlerEndedItsTransactionIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Panics(t, func() {
		_, _ = w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
			_, _ = tx.Exec(ctx, `COMMIT`)
			panic("boom")
		})
	})
	require.Contains(t, w.kinds(), idempotency.Failed)
}

func TestARefusalOfATransactionThatConflictedIsNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, s *pgstore.Config, _ *pgxpool.Config) { s.Isolation = pgx.RepeatableRead })
	_, err := w.pool.Exec(t.Context(), `INSERT INTO effects VALUES ('balance')`)
	require.NoError(t, err)
	_, err = w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		_, err := tx.Exec(ctx, `SELECT FROM effects`)
		require.NoError(t, err)
		_, err = w.pool.Exec(ctx, `UPDATE effects SET name = 'other'`)
		require.NoError(t, err)
		_, err = tx.Exec(ctx, `UPDATE effects SET name = 'mine'`)
		require.Error(t, err)
		return idempotency.Response{Status: 422}, nil
	})
	require.ErrorIs(t, err, idempotency.ErrTransactionConflict)
	require.Equal(t, 0, w.records())
}

func TestAPanicOrGoexitFreesTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boom := func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		_, _ = tx.Exec(ctx, `INSERT INTO effects VALUES ('x')`)
		panic("boom")
	}
	require.PanicsWithValue(t, "boom", func() { _, _ = w.run(boom) })
	require.Equal(t, 0, w.effects())
	require.Contains(t, w.kinds(), idempotency.Released)
	w.afterwards()
}

func TestAnErrorOfTheHandlerRollsBackAndIsReturned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mine := errors.New("mine")
	_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		_, _ = tx.Exec(ctx, `INSERT INTO effects VALUES ('x')`)
		return idempotency.Response{}, mine
	})
	require.Same(t, mine, err)
	w.afterwards()
}

func TestWorkThatHasBegunIsFinishedWhenTheClientGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := w.engine.Run(ctx, idempotency.Request{Key: w.key}, func(ctx context.Context) (idempotency.Response, error) {
		cancel()
		return pays(201)(ctx, pgstore.Tx(ctx))
	})
	require.NoError(t, err)
	require.Equal(t, 1, w.effects())
	require.Equal(t, 1, w.records())
}

func TestAPoolWithoutAFreeConnectionIsUnavailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, s *pgstore.Config, c *pgxpool.Config) {
		c.MaxConns, s.Timeout, s.ClaimWait = 1, time.Second, 10*time.Millisecond
	})
	conn, err := w.pool.Acquire(t.Context())
	require.NoError(t, err)
	_, err = w.run(pays(201))
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	conn.Release()
	w.afterwards()
}

func TestAStandInForTheTableIsNeverWrittenTo(t *testing.T) {
	t.Parallel()
	schema := pgtest.EmptySchema(t)
	store, err := pgstore.NewWithConfig(pgtest.Pool(t, schema), pgstore.Config{Schema: schema})
	require.NoError(t, err)
	_, _, err = store.Claim(t.Context(), key)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.ErrorContains(t, err, "run the goose migrations")
}
