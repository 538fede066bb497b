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

// watched is a world whose pool reports what goes past the transaction.
func watched(t *testing.T) (w *world, outside func() []pgstore.Outside) {
	var mu sync.Mutex
	var found []pgstore.Outside
	w = newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
		c.ConnConfig.Tracer = pgstore.NewOutsideTracer(func(_ context.Context, o pgstore.Outside) {
			mu.Lock()
			defer mu.Unlock()
			found = append(found, o)
		})
	})
	return w, func() []pgstore.Outside {
		mu.Lock()
		defer mu.Unlock()
		taken := found
		found = nil
		return taken
	}
}

func TestWhatAHandlerSendsPastItsTransactionIsReported(t *testing.T) {
	t.Parallel()
	w, outside := watched(t)
	const insert = `INSERT INTO effects VALUES ($1)`
	for _, c := range []struct {
		name string
		send func(ctx context.Context) error
		want []string
		read bool
	}{
		{"exec", func(ctx context.Context) error {
			_, err := w.pool.Exec(ctx, insert, "outside")
			return err
		}, []string{insert}, false},
		{"query", func(ctx context.Context) error {
			var n int
			return w.pool.QueryRow(ctx, `SELECT 1`).Scan(&n)
		}, []string{`SELECT 1`}, true},
		{"a transaction", func(ctx context.Context) error {
			return pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
				return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
					_, err := tx.Exec(ctx, insert, "outside")
					return err
				})
			})
		}, []string{insert}, false},
		{"a batch", func(ctx context.Context) error {
			batch := &pgx.Batch{}
			batch.Queue(insert, "outside")
			batch.Queue(`DELETE FROM parents`)
			return w.pool.SendBatch(ctx, batch).Close()
		}, []string{insert, `DELETE FROM parents`}, false},
		{"a copy", func(ctx context.Context) error {
			_, err := w.pool.CopyFrom(ctx, pgx.Identifier{"effects"}, []string{"name"}, pgx.CopyFromRows([][]any{{"outside"}}))
			return err
		}, []string{`"effects"`}, false},
		{"a transaction in one text", func(ctx context.Context) error {
			_, err := w.pool.Exec(ctx, `BEGIN; INSERT INTO effects VALUES ('outside'); COMMIT`)
			return err
		}, []string{`BEGIN; INSERT INTO effects VALUES ('outside'); COMMIT`}, false},
		{"a ping", func(ctx context.Context) error { return w.pool.Ping(ctx) }, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
				if _, err := tx.Exec(ctx, `INSERT INTO effects VALUES ('inside')`); err != nil {
					return idempotency.Response{}, err
				}
				return idempotency.Response{Status: 503}, c.send(ctx)
			})
			require.NoError(t, err)
			var sql []string
			for _, o := range outside() {
				sql = append(sql, o.SQL)
				assert.Equal(t, w.key.Scope, o.Scope)
				assert.NoError(t, o.Err)
				assert.Equal(t, c.read, o.Tag.Select())
			}
			assert.Equal(t, c.want, sql)
		})
	}
	assert.Zero(t, w.count(`SELECT count(*) FROM effects WHERE name = 'inside'`))
	assert.Positive(t, w.count(`SELECT count(*) FROM effects WHERE name = 'outside'`), "which is what the report is for")
}

func TestAFailedStatementPastTheTransactionIsReportedWithItsError(t *testing.T) {
	t.Parallel()
	w, outside := watched(t)
	_, err := w.run(func(ctx context.Context, _ pgx.Tx) (idempotency.Response, error) {
		_, err := w.pool.Exec(ctx, `INSERT INTO effects VALUES (NULL)`)
		return idempotency.Response{Status: 200}, err
	})
	require.Error(t, err)
	found := outside()
	require.Len(t, found, 1)
	assert.ErrorContains(t, found[0].Err, "23502")
}

func TestWhatBelongsToTheTransactionOrToTheStoreIsNotReported(t *testing.T) {
	t.Parallel()
	w, outside := watched(t)
	all := func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		_, err := tx.Exec(ctx, `INSERT INTO effects VALUES ('inside')`)
		if err == nil {
			batch := &pgx.Batch{}
			batch.Queue(`INSERT INTO effects VALUES ('inside')`)
			err = tx.SendBatch(ctx, batch).Close()
		}
		if err == nil {
			_, err = tx.CopyFrom(ctx, pgx.Identifier{"effects"}, []string{"name"}, pgx.CopyFromRows([][]any{{"inside"}}))
		}
		if err == nil {
			err = pgx.BeginFunc(ctx, tx, func(pgx.Tx) error { return nil })
		}
		return idempotency.Response{Status: 201}, err
	}
	steps := func(ctx context.Context, _ pgx.Tx) (idempotency.Response, error) {
		for _, name := range []string{"one", "two"} {
			if _, err := idempotency.Atomic(ctx, name, func(ctx context.Context) (int, error) {
				_, err := all(ctx, pgstore.Tx(ctx))
				return 0, err
			}); err != nil {
				return idempotency.Response{}, err
			}
		}
		if _, err := idempotency.Foreign(ctx, "call", func(context.Context, string) (int, error) { return 0, nil }); err != nil {
			return idempotency.Response{}, err
		}
		return all(ctx, pgstore.Tx(ctx)) // the tail, whose transaction Tx opens
	}
	for _, h := range []handler{all, steps} {
		for range 2 { // and a replay
			_, err := w.run(h)
			require.NoError(t, err)
		}
		w.key.Value += "-next"
	}
	_, err := w.pool.Exec(t.Context(), `INSERT INTO effects VALUES ('nobody''s handler')`)
	require.NoError(t, err)
	assert.Empty(t, outside())
}

func TestAForeignCallThatWritesIsReported(t *testing.T) {
	t.Parallel()
	w, outside := watched(t)
	_, err := w.run(func(ctx context.Context, _ pgx.Tx) (idempotency.Response, error) {
		_, err := idempotency.Foreign(ctx, "call", func(ctx context.Context, _ string) (int, error) {
			_, err := w.pool.Exec(ctx, `INSERT INTO effects VALUES ('outside')`)
			return 0, err
		})
		return idempotency.Response{Status: 201}, err
	})
	require.NoError(t, err)
	assert.Len(t, outside(), 1)
}

func TestTheStoresStatementsForAHandlerThatHasReturnedAreItsOwn(t *testing.T) {
	t.Parallel()
	w, outside := watched(t)
	var left context.Context
	_, err := w.run(func(ctx context.Context, _ pgx.Tx) (idempotency.Response, error) {
		left = ctx
		return idempotency.Response{Status: 201}, nil
	})
	require.NoError(t, err)
	_, err = w.engine.Run(context.WithoutCancel(left), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "a job after it"}}, func(ctx context.Context) (idempotency.Response, error) {
		_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO effects VALUES ('inside')`)
		return idempotency.Response{Status: 201}, err
	})
	require.NoError(t, err)
	assert.Empty(t, outside())
}

// The attempt takes a connection under its lock, and whoever is traced has one.
func TestWhoIsTracedDoesNotWaitForTheAttempt(t *testing.T) {
	t.Parallel()
	tracer := pgstore.NewOutsideTracer(func(context.Context, pgstore.Outside) {})
	var handlers context.Context
	other := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) { c.ConnConfig.Tracer = tracer })
	w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
		c.PrepareConn = func(context.Context, *pgx.Conn) (bool, error) {
			if handlers == nil {
				return true, nil
			}
			bounded, cancel := context.WithTimeout(handlers, time.Second)
			defer cancel()
			_, err := other.pool.Exec(bounded, `INSERT INTO effects VALUES ('outside')`)
			return true, err
		}
	})
	_, err := w.run(func(ctx context.Context, _ pgx.Tx) (idempotency.Response, error) {
		handlers = ctx
		defer func() { handlers = nil }()
		if _, err := idempotency.Atomic(ctx, "one", func(context.Context) (int, error) { return 1, nil }); err != nil {
			return idempotency.Response{}, err
		}
		_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO effects VALUES ('inside')`) // opens a transaction
		return idempotency.Response{Status: 201}, err
	})
	require.NoError(t, err)
	assert.Positive(t, other.count(`SELECT count(*) FROM effects`))
}
