package pgstore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// What a server may say in between is not taken for an answer.
func TestNoticesNotificationsAndParametersInBetweenAreNoAnswers(t *testing.T) {
	t.Parallel()
	notices := 0
	w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
		c.MaxConns = 1
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `LISTEN chatter`)
			return err
		}
		c.ConnConfig.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) { notices++ }
	})
	_, err := w.pool.Exec(t.Context(), `CREATE FUNCTION chat() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			FOR i IN 1..200 LOOP RAISE NOTICE 'number % %', i, repeat('x', 1000); END LOOP;
			PERFORM set_config('application_name', 'chatting ' || random(), false);
			PERFORM pg_notify('chatter', i::text) FROM generate_series(1, 100) i;
			RETURN NEW;
		END $$;
		CREATE TRIGGER chat BEFORE INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION chat()`)
	require.NoError(t, err)
	for i := range 3 {
		w.key.Value = fmt.Sprint(w.schema, i)
		for _, replayed := range []bool{false, true} {
			result, err := w.run(pays(201))
			require.NoError(t, err)
			require.Equal(t, replayed, result.Replayed)
		}
	}
	require.Equal(t, 3, w.effects())
	require.Equal(t, 600, notices)
}

func TestAServerThatEndsTheSessionBeforeTheCommitHasNotCommitted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 2 { // the second prepares nothing
		w.key.Value += "+"
		_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
			var pid int
			if err := tx.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
				return idempotency.Response{}, err
			}
			if _, err := tx.Exec(ctx, `INSERT INTO effects VALUES ('lost')`); err != nil {
				return idempotency.Response{}, err
			}
			_, err := w.pool.Exec(ctx, `SELECT pg_terminate_backend($1, 10000)`, pid)
			return idempotency.Response{Status: 201}, err
		})
		require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
		require.Contains(t, w.kinds(), idempotency.UnknownResolved)
		require.Equal(t, 0, w.count(`SELECT count(*) FROM effects WHERE name = 'lost'`))
		result, err := w.run(pays(201))
		require.NoError(t, err)
		require.False(t, result.Replayed)
	}
}

// A server that says no to any statement of a round trip leaves a connection that goes on.
func TestAStatementOfTheStoresThatFailsLeavesItsConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, s *pgstore.Config, c *pgxpool.Config) { c.MaxConns = 1 })
	_, err := w.run(pays(201))
	require.NoError(t, err)
	var pid, now int
	require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid))
	for i, broken := range []struct{ breaks, mends string }{
		{`ALTER TABLE idempotency_keys RENAME COLUMN headers TO heads`, `ALTER TABLE idempotency_keys RENAME COLUMN heads TO headers`},
		{`ALTER TABLE idempotency_keys RENAME TO elsewhere`, `ALTER TABLE elsewhere RENAME TO idempotency_keys`},
		{`ALTER TABLE idempotency_keys ADD CONSTRAINT nothing CHECK (false) NOT VALID`, `ALTER TABLE idempotency_keys DROP CONSTRAINT nothing`},
	} {
		w.key.Value = fmt.Sprint(w.schema, i)
		_, err := w.pool.Exec(t.Context(), broken.breaks)
		require.NoError(t, err)
		for range 3 {
			_, err = w.run(pays(201))
			require.Error(t, err, broken.breaks)
		}
		_, err = w.pool.Exec(t.Context(), broken.mends)
		require.NoError(t, err)
		_, err = w.run(pays(201))
		require.NoError(t, err, broken.mends)
		require.Equal(t, i+2, w.effects())
		require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&now))
		require.Equal(t, pid, now, broken.breaks)
	}
	require.LessOrEqual(t, w.count(`SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'onlyonce%'`), 6)
}

func TestLargeBodiesAndTextsOfManyBytesComeBackAsTheyWere(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		w.key = idempotency.Key{Scope: "a\u0301 €uro 😀 " + strings.Repeat("ü", 50), Value: w.schema + "-key"}
		body := make([]byte, 2<<20)
		for i := range body {
			body[i] = byte(i * 7)
		}
		for _, replayed := range []bool{false, true} {
			attempt, record, err := w.store.Claim(t.Context(), w.key)
			require.NoError(t, err)
			if replayed {
				require.Equal(t, body, record.Response.Body)
				require.Equal(t, 299, record.Response.Status)
				continue
			}
			_, err = attempt.Complete(t.Context(), &idempotency.Record{Response: idempotency.Response{Status: 299, Body: body}}, time.Hour)
			require.NoError(t, err)
		}
	})
}

func TestAStatusThatTheColumnDoesNotHoldIsAnErrorAndNoOtherStatus(t *testing.T) {
	everyMode(t, func(t *testing.T, w *world) {
		for _, status := range []int{1 << 15, 1<<16 + 201, -1<<15 - 1} {
			attempt, _, err := w.store.Claim(t.Context(), w.key)
			require.NoError(t, err)
			_, err = attempt.Complete(t.Context(), &idempotency.Record{Response: idempotency.Response{Status: status}}, time.Hour)
			require.Error(t, err)
			require.Equal(t, 0, w.records())
		}
	})
}
