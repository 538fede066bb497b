package pgstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
	"github.com/onlyonce/onlyonce/pgstore"
)

// A duplicate is known by the statement of ours that failed. What the server calls the constraint differs: a shard's has a number behind its
// name, and one that another node reports has none.
func TestADuplicateIsKnownByTheStatementThatFailed(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]string{
		"the constraint has another name": `ALTER TABLE idempotency_keys RENAME CONSTRAINT idempotency_keys_pkey TO idempotency_keys_pkey_102008`,
		"the constraint is not named": `CREATE FUNCTION anonymous() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF EXISTS (SELECT FROM idempotency_keys WHERE (scope, key) = (NEW.scope, NEW.key)) THEN
					RAISE 'duplicate key value violates unique constraint' USING ERRCODE = '23505';
				END IF;
				RETURN NEW; END $$;
			CREATE TRIGGER anonymous BEFORE INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION anonymous()`,
	} {
		for _, lock := range []pgstore.Lock{pgstore.LocalLock, pgstore.ShardLock} { // an insert claim finds duplicates before its handler runs
			t.Run(name+", "+string(lock), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, by(lock))
				_, err := w.pool.Exec(t.Context(), prepare)
				require.NoError(t, err)
				stranger, err := pgstore.NewWithConfig(w.pool, pgstore.Config{}) // another lock
				require.NoError(t, err)
				result, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
					attempt, _, err := stranger.Claim(ctx, w.key)
					require.NoError(t, err)
					_, err = attempt.Complete(ctx, &idempotency.Record{Response: idempotency.Response{Status: 201, Body: []byte("the stranger's")}}, time.Hour)
					require.NoError(t, err)
					return pays(201)(ctx, tx)
				})
				require.NoError(t, err)
				require.True(t, result.Replayed)
				require.Equal(t, "the stranger's", string(result.Response.Body))
				require.Zero(t, w.effects())
			})
		}
	}
}

// The handler's own tables may have constraints of any name, ours among them.
func TestADuplicateOfTheHandlersOwnIsNoDuplicateOfTheKey(t *testing.T) {
	t.Parallel()
	for _, lock := range locks {
		for when, constraint := range map[string]string{
			"at its statement": `UNIQUE (id)`, "at the commit": `UNIQUE (id) DEFERRABLE INITIALLY DEFERRED`,
		} {
			t.Run(string(lock)+", "+when, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, by(lock))
				_, err := w.pool.Exec(t.Context(), `CREATE SCHEMA `+w.schema+`_own; CREATE TABLE `+w.schema+`_own.orders (id int, CONSTRAINT idempotency_keys_pkey `+constraint+`);
					INSERT INTO `+w.schema+`_own.orders VALUES (1)`)
				require.NoError(t, err)
				t.Cleanup(func() { _, _ = w.pool.Exec(context.Background(), `DROP SCHEMA `+w.schema+`_own CASCADE`) })
				_, err = w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
					_, _ = tx.Exec(ctx, `INSERT INTO `+w.schema+`_own.orders VALUES (1)`)
					return idempotency.Response{Status: 201}, nil
				})
				require.ErrorIs(t, err, idempotency.ErrTransactionAborted)
				w.afterwards()
			})
		}
	}
}

// A server that has committed may report a failure all the same, when it could not tell another node.
func TestACommitThatIsReportedAsFailedIsReadBack(t *testing.T) {
	t.Parallel()
	for _, lock := range locks {
		for name, handler := range map[string]idempotency.Handler{
			"one transaction": func(ctx context.Context) (idempotency.Response, error) {
				return idempotency.Response{Status: 201, Body: []byte("answer")}, write(ctx, "one")
			},
			"a refusal": func(ctx context.Context) (idempotency.Response, error) {
				return idempotency.Response{Status: 402, Body: []byte("answer")}, nil
			},
			"a recovery point": func(ctx context.Context) (idempotency.Response, error) {
				return idempotency.Response{Status: 201, Body: []byte("answer")}, step(ctx, "one")
			},
			"a foreign call": func(ctx context.Context) (idempotency.Response, error) {
				_, err := idempotency.Foreign(ctx, "two", func(context.Context, string) (int, error) { return 2, nil })
				return idempotency.Response{Status: 201, Body: []byte("answer")}, err
			},
		} {
			t.Run(string(lock)+", "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				proxy, engine := w.proxied("", by(lock))
				told := []*wireproxy.Point{proxy.At(wireproxy.Statement.Commits, wireproxy.FailAfter)}
				if name == "a foreign call" && lock != pgstore.LocalLock { // the result of the call is a commit of its own, too
					told = append(told, proxy.At(wireproxy.Statement.Commits, wireproxy.FailAfter))
				}
				result, err := engine.Run(t.Context(), w.request(), handler)
				require.NoError(t, err)
				require.Equal(t, "answer", string(result.Response.Body))
				for _, point := range told {
					<-point.Done()
				}
				require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE state = 'completed'`))
				require.LessOrEqual(t, w.effects(), 1)
			})
		}
	}
}
