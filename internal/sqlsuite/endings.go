package sqlsuite

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// byHand are the ways in which a handler can end its transaction by itself, and what of its two effects is there then for everybody.
var byHand = []struct {
	name    string
	sql     []string
	effects int
}{
	{"COMMIT", []string{insert, `COMMIT`}, 1},
	{"END", []string{insert, `end`}, 1},
	{"ROLLBACK", []string{insert, `ROLLBACK`}, 0},
	{"COMMIT and BEGIN", []string{insert, `COMMIT`, `BEGIN`, insert}, 1},
	{"ROLLBACK and BEGIN", []string{insert, `/* anew */ rollback work`, `BEGIN`, insert}, 0},
	{"COMMIT AND CHAIN", []string{insert, `COMMIT AND CHAIN`, insert}, 1},
	{"in one text", []string{insert + `; COMMIT; BEGIN; ` + insert}, 1},
}

var endingScenarios = []scenario{
	{"a handler that ends its transaction by SQL is found out", func(w *world) {
		for _, c := range byHand {
			w.each(c.name, func(w *world) {
				for end, status := range map[string]int{"success": 201, "refusal": 402, "failure": 500} {
					before := w.effects()
					_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
						w.byHand(ctx, tx, c.sql)
						return idempotency.Response{Status: status}, nil
					})
					require.ErrorIs(w, err, idempotency.ErrTransactionEnded, end)
					w.stored(before+c.effects, 0)
				}
				w.afterwardsWith(w.effects())
			})
		}
	}},
	{"so is one without a key", func(w *world) {
		for _, c := range byHand {
			w.each(c.name, func(w *world) {
				_, err := w.keyless(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
					w.byHand(ctx, tx, c.sql)
					return idempotency.Response{Status: 201}, nil
				})
				require.ErrorIs(w, err, idempotency.ErrTransactionEnded)
				w.afterwardsWith(c.effects)
			})
		}
	}},
	{"so is one whose next transaction has failed", func(w *world) {
		for name, run := range map[string]func(handler) (idempotency.Result, error){"with a key": w.run, "without": w.keyless} {
			_, err := run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
				w.byHand(ctx, tx, []string{insert, `COMMIT`, `BEGIN`})
				_, err := tx.ExecContext(ctx, `SELECT 1 / 0`)
				require.Error(w, err)
				return idempotency.Response{Status: 201}, nil
			})
			require.ErrorIs(w, err, idempotency.ErrTransactionEnded, name)
		}
		w.afterwardsWith(2)
	}},
	{"an expired record is deleted by no transaction but the attempt's", func(w *world) {
		_, err := w.run(pays(201))
		require.NoError(w, err)
		_, err = w.outside.Exec(w.Context(), `UPDATE idempotency_keys SET expires_at = now() - interval '1 second'`)
		require.NoError(w, err)
		_, err = w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			w.byHand(ctx, tx, []string{insert, `COMMIT`})
			return idempotency.Response{Status: 201}, nil
		})
		require.ErrorIs(w, err, idempotency.ErrTransactionEnded)
		w.stored(2, 1)
		_, err = w.run(pays(201))
		require.NoError(w, err)
		w.stored(3, 1)
	}},
	{"a failed statement that is swallowed is an error, and nothing is stored", func(w *world) {
		for name, run := range map[string]func(handler) (idempotency.Result, error){"with a key": w.run, "without": w.keyless} {
			_, err := run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
				w.exec(ctx, tx, insert)
				_, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES (NULL)`)
				require.Error(w, err)
				return idempotency.Response{Status: 201}, nil
			})
			require.ErrorIs(w, err, idempotency.ErrTransactionAborted, name)
			require.NotErrorIs(w, err, idempotency.ErrTransactionEnded)
		}
		w.afterwards()
	}},
	{"a failed statement is no matter to a refusal", func(w *world) {
		result, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			w.exec(ctx, tx, insert)
			_, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES (NULL)`)
			require.Error(w, err)
			return idempotency.Response{Status: 422}, nil
		})
		require.NoError(w, err)
		require.Equal(w, 422, result.Response.Status)
		w.stored(0, 1)
	}},
	{"a conflict that is swallowed is one, whatever the answer", func(w *world) {
		for _, status := range []int{201, 402, 500} {
			_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
				w.exec(ctx, tx, insert)
				_, err := tx.ExecContext(ctx, `DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$`)
				require.Error(w, err)
				return idempotency.Response{Status: status}, nil
			})
			require.ErrorIs(w, err, idempotency.ErrTransactionConflict)
		}
		w.afterwards()
	}},
	{"a deferred constraint is checked by the commit, which says so", func(w *world) {
		for name, run := range map[string]func(handler) (idempotency.Result, error){"with a key": w.run, "without": w.keyless} {
			_, err := run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
				w.exec(ctx, tx, `INSERT INTO children VALUES (5)`)
				return idempotency.Response{Status: 201}, nil
			})
			require.ErrorIs(w, err, idempotency.ErrTransactionAborted, name)
		}
		w.afterwards()
	}},
	{"a search_path that the handler changes does not lead to another table", func(w *world) {
		store, err := sqlstore.NewWithConfig(w.db, sqlstore.Config{})
		require.NoError(w, err)
		engine, err := idempotency.New(store, idempotency.Config{})
		require.NoError(w, err)
		other := w.schema + "_other"
		_, err = w.outside.Exec(w.Context(), `CREATE SCHEMA `+other+`; CREATE TABLE `+other+`.idempotency_keys (LIKE idempotency_keys INCLUDING ALL)`)
		require.NoError(w, err)
		w.Cleanup(func() { _, _ = w.outside.Exec(context.Background(), `DROP SCHEMA `+other+` CASCADE`) })
		_, err = engine.Run(w.Context(), idempotency.Request{Key: w.key}, func(ctx context.Context) (idempotency.Response, error) {
			w.exec(ctx, sqlstore.Tx(ctx), `SET LOCAL search_path TO `+other)
			return idempotency.Response{Status: 201}, nil
		})
		require.ErrorIs(w, err, idempotency.ErrTransactionAborted)
		require.ErrorContains(w, err, "search_path")
		w.afterwards()
	}},
	{"a backend that ends in the handler leaves nothing", func(w *world) {
		_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			w.exec(ctx, tx, insert)
			var backend int
			require.NoError(w, tx.QueryRowContext(ctx, `SELECT pg_backend_pid()`).Scan(&backend))
			w.count(`SELECT pg_terminate_backend($1)::int`, backend)
			_, err := tx.ExecContext(ctx, insert)
			require.Error(w, err)
			return idempotency.Response{Status: 201}, nil
		})
		require.ErrorIs(w, err, idempotency.ErrStoreUnavailable)
		w.afterwards()
	}},
	{"a pool whose connections have all died is no error", func(w *world) {
		_, err := w.run(pays(201))
		require.NoError(w, err)
		var backend int
		require.NoError(w, w.db.QueryRow(`SELECT pg_backend_pid()`).Scan(&backend))
		w.count(`SELECT pg_terminate_backend($1)::int`, backend)
		require.Eventually(w, func() bool { return w.count(`SELECT count(*) FROM pg_stat_activity WHERE pid = $1`, backend) == 0 }, 10*time.Second, time.Millisecond)
		again, err := w.run(pays(500))
		require.NoError(w, err)
		require.True(w, again.Replayed)
	}},
	{"Check is content, and says what is wrong", func(w *world) {
		w.db.SetMaxOpenConns(2)
		require.NoError(w, w.store.Check(w.Context()))
		require.NoError(w, w.store.Check(w.Context()))
		w.stored(0, 0)
		_, err := w.outside.Exec(w.Context(), `ALTER TABLE idempotency_keys RENAME COLUMN steps TO stairs`)
		require.NoError(w, err)
		require.ErrorIs(w, w.store.Check(w.Context()), sqlstore.ErrNotMigrated)
		_, err = w.outside.Exec(w.Context(), `DROP TABLE idempotency_keys`)
		require.NoError(w, err)
		require.ErrorIs(w, w.store.Check(w.Context()), sqlstore.ErrNotMigrated)
	}},
}

// byHand runs the statements of a case.
func (w *world) byHand(ctx context.Context, tx *sql.Tx, statements []string) {
	w.Helper()
	for _, statement := range statements {
		w.exec(ctx, tx, statement)
	}
}

// each runs a case on a world of its own.
func (w *world) each(name string, run func(w *world)) {
	w.Helper()
	outer := w
	if !outer.Run(name, func(t *testing.T) { run(newWorld(t, outer.driver)) }) {
		outer.FailNow()
	}
}
