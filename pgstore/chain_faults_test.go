package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
	"github.com/onlyonce/onlyonce/pgstore"
)

// proxied returns an engine on the world's schema, whose connections go through a proxy.
func (w *world) proxied(level pgx.TxIsoLevel, change ...func(*idempotency.Config, *pgstore.Config, *pgxpool.Config)) (*wireproxy.Proxy, *idempotency.Engine) {
	t := w.t
	proxy, err := wireproxy.Listen(pgtest.SchemaURL(t, w.schema), wireproxy.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = proxy.Close() })
	url, err := proxy.URL(pgtest.SchemaURL(t, w.schema))
	require.NoError(t, err)
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.ConnConfig.RuntimeParams["search_path"] = w.schema + ", pg_catalog"
	engineConfig, storeConfig := idempotency.Config{}, pgstore.Config{Schema: w.schema, Isolation: level, Lock: lockOfTheRun(t)}
	for _, f := range change {
		f(&engineConfig, &storeConfig, config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	store, err := pgstore.NewWithConfig(pool, storeConfig)
	require.NoError(t, err)
	engine, err := idempotency.New(store, engineConfig)
	require.NoError(t, err)
	return proxy, engine
}

func step(ctx context.Context, name string) error {
	_, err := idempotency.Atomic(ctx, name, func(ctx context.Context) (int, error) { return 1, write(ctx, name) })
	return err
}

func TestAConnectionLostWithNothingWrittenOnItIsNoMatter(t *testing.T) {
	t.Parallel()
	for name, action := range map[string]wireproxy.Action{"before": wireproxy.CutBefore, "after": wireproxy.CutAfter} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			proxy, engine := w.proxied("")
			cut := proxy.At(func(s wireproxy.Statement) bool { return strings.EqualFold(s.SQL, "rollback") }, action)
			_, err := engine.Run(t.Context(), w.request(), func(ctx context.Context) (idempotency.Response, error) {
				require.NoError(t, step(ctx, "one"))
				var one int
				require.NoError(t, pgstore.Tx(ctx).QueryRow(ctx, `SELECT 1`).Scan(&one))
				_, err := idempotency.Foreign(ctx, "two", func(context.Context, string) (int, error) { return 2, nil })
				return idempotency.Response{Status: 201}, err
			})
			require.NoError(t, err)
			<-cut.Done()
		})
	}
}

func TestAChainWhoseLastCommitIsRefusedSaysWhyInItsRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
		require.NoError(t, step(ctx, "one"))
		_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO children VALUES (5)`) // the constraint is checked at COMMIT
		return idempotency.Response{Status: 201}, err
	})
	require.ErrorIs(t, err, idempotency.ErrTransactionAborted)
	require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE last_error LIKE '%children%' AND leased_until <= now() AND completions IS NULL`))
}

func TestTheCompleterDoesNotRepeatAHandlerThatCommitsByItself(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"in a step", "in the tail"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			commits := func(ctx context.Context) error {
				_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO effects VALUES ('by hand')`)
				require.NoError(t, err)
				_, err = pgstore.Tx(ctx).Exec(ctx, `COMMIT`)
				return err
			}
			handler := func(ctx context.Context) (idempotency.Response, error) {
				if err := step(ctx, "one"); err != nil {
					return idempotency.Response{}, err
				}
				if where == "in a step" {
					_, err := idempotency.Atomic(ctx, "two", func(ctx context.Context) (int, error) { return 2, commits(ctx) })
					return idempotency.Response{Status: 201}, err
				}
				return idempotency.Response{Status: 201}, commits(ctx)
			}
			_, err := w.chain(handler)
			require.ErrorIs(t, err, idempotency.ErrTransactionEnded)
			completer, err := idempotency.NewCompleter(w.engine, func(ctx context.Context, _ idempotency.Pending) error {
				_, err := w.engine.Run(ctx, w.request(), handler)
				return err
			}, idempotency.CompleterConfig{Backoff: time.Nanosecond})
			require.NoError(t, err)
			for range 3 {
				pass, err := completer.Pass(t.Context())
				require.NoError(t, err)
				require.Equal(t, idempotency.Pass{Stuck: 1}, pass)
			}
			_, err = w.chain(handler)
			require.ErrorIs(t, err, idempotency.ErrTransactionEnded, "and a client's retry does not either")
			require.Equal(t, 1, w.effect("by hand"))
			require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE last_error <> ''`))
		})
	}
}

// The old backend commits after the read-back's first snapshot was taken and before it has the lock. A read of that snapshot would
// say of a commit that happened that it did not.
func TestAReadBackDoesNotLookIntoThePast(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]idempotency.Handler{
		"one transaction": func(ctx context.Context) (idempotency.Response, error) {
			return idempotency.Response{Status: 201}, write(ctx, "one")
		},
		"a chain": func(ctx context.Context) (idempotency.Response, error) {
			return idempotency.Response{Status: 201}, step(ctx, "one")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, locally)
			const gate = `hashtext(current_schema())::bigint`
			_, err := w.pool.Exec(t.Context(), fmt.Sprintf(`CREATE FUNCTION pg_try_advisory_xact_lock(key bigint) RETURNS bool LANGUAGE plpgsql AS $$
				BEGIN PERFORM pg_advisory_xact_lock(%s); RETURN pg_catalog.pg_try_advisory_xact_lock(key); END $$`, gate))
			require.NoError(t, err)
			keeper, err := w.pool.Begin(t.Context())
			require.NoError(t, err)
			defer func() { _ = keeper.Rollback(context.Background()) }()
			proxy, engine := w.proxied(pgx.RepeatableRead, locally)
			commit := proxy.At(func(s wireproxy.Statement) bool { return s.Commits() }, wireproxy.Orphan)

			var got error
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, got = engine.Run(t.Context(), w.request(), func(ctx context.Context) (idempotency.Response, error) {
					// The claim's own transaction has passed the gate, and holds it until it ends: another gate for the read-back.
					_, err := w.pool.Exec(ctx, fmt.Sprintf(`CREATE OR REPLACE FUNCTION pg_try_advisory_xact_lock(key bigint) RETURNS bool LANGUAGE plpgsql AS $$
						BEGIN PERFORM pg_advisory_xact_lock(%s + 1); RETURN pg_catalog.pg_try_advisory_xact_lock(key); END $$`, gate))
					if err == nil {
						_, err = keeper.Exec(ctx, fmt.Sprintf(`SELECT pg_advisory_xact_lock(%s + 1)`, gate))
					}
					return idempotency.Response{Status: 201}, errors.Join(err, func() error { _, err := handler(ctx); return err }())
				})
			}()
			<-commit.Reached()
			require.Eventually(t, func() bool {
				return w.count(fmt.Sprintf(`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
					AND classid::bigint << 32 | objid::bigint = %s + 1`, gate)) == 1
			}, 10*time.Second, time.Millisecond, "the read-back waits behind its first snapshot")
			commit.Resume()
			require.Eventually(t, func() bool { return w.effect("one") == 1 }, 10*time.Second, time.Millisecond)
			require.NoError(t, keeper.Rollback(t.Context()))
			<-done
			require.NoError(t, got)
		})
	}
}
