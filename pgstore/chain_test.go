package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
	"github.com/onlyonce/onlyonce/pgstore"
)

// provider charges once per key, as a payment provider does.
type provider struct {
	mu      sync.Mutex
	charges map[string]int // by key: how often it was asked
	fail    func() error   // after the charge; may be nil
}

func (p *provider) charge(key string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.charges == nil {
		p.charges = map[string]int{}
	}
	p.charges[key]++
	if p.fail != nil {
		if err := p.fail(); err != nil {
			return "", err
		}
	}
	return "charge of " + key, nil
}

// ride is a handler with two steps and a tail: it writes "ride", charges, and writes "receipt".
func ride(p *provider) idempotency.Handler {
	return func(ctx context.Context) (idempotency.Response, error) {
		id, err := idempotency.Atomic(ctx, "ride_created", func(ctx context.Context) (int, error) {
			return 7, write(ctx, "ride")
		})
		if err != nil {
			return idempotency.Response{}, err
		}
		var one int // reading between steps opens a transaction, which the foreign call has to leave
		if err := pgstore.Tx(ctx).QueryRow(ctx, `SELECT 1`).Scan(&one); err != nil {
			return idempotency.Response{}, err
		}
		charge, err := idempotency.Foreign(ctx, "card_charged", func(ctx context.Context, key string) (string, error) {
			return p.charge(key)
		})
		if err != nil {
			return idempotency.Response{}, err
		}
		if err := write(ctx, "receipt"); err != nil {
			return idempotency.Response{}, err
		}
		return idempotency.Response{Status: 201, Body: fmt.Appendf(nil, "ride %d, %s", id, charge)}, nil
	}
}

func write(ctx context.Context, name string) error {
	_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO effects VALUES ($1)`, name)
	return err
}

func (w *world) chain(h idempotency.Handler) (idempotency.Result, error) {
	return w.engine.Run(w.t.Context(), w.request(), h)
}

func (w *world) request() idempotency.Request {
	return idempotency.Request{Key: w.key, Describe: func() ([]byte, error) { return []byte("the request"), nil }}
}

func (w *world) effect(name string) int {
	w.t.Helper()
	return w.count(`SELECT count(*) FROM effects WHERE name = $1`, name)
}

// endLease ends the lease of the key, as the passing of time would.
func (w *world) endLease() {
	w.t.Helper()
	_, err := w.pool.Exec(w.t.Context(), `UPDATE idempotency_keys SET leased_until = now() - interval '1 second' WHERE state = 'pending'`)
	require.NoError(w.t, err)
}

func TestARideIsAChainOfTransactions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := &provider{}
	result, err := w.chain(ride(p))
	require.NoError(t, err)
	require.Equal(t, "ride 7, charge of "+idempotency.ForeignKey(w.key, "card_charged"), string(result.Response.Body))
	again, err := w.chain(ride(p))
	require.NoError(t, err)
	require.True(t, again.Replayed)
	require.Equal(t, result.Response.Body, again.Response.Body)
	require.Len(t, p.charges, 1)
	require.Equal(t, 1, w.effect("ride"))
	require.Equal(t, 1, w.effect("receipt"))
	require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE state = 'completed' AND recovery_point = 'card_charged'
		AND num_nulls(steps, request, owner, leased_until, last_error) = 5 AND num_nulls(status, body, completed_at, expires_at) = 0`))
	require.Equal(t, int32(0), w.pool.Stat().AcquiredConns())
}

func TestNothingIsHeldDuringAForeignCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	result, err := w.chain(func(outer context.Context) (idempotency.Response, error) {
		_, err := idempotency.Foreign(outer, "called", func(ctx context.Context, _ string) (int, error) {
			require.Equal(t, int32(0), w.pool.Stat().AcquiredConns())
			require.Equal(t, 0, w.count(`SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory'
				AND a.application_name = current_setting('application_name') AND l.classid::bigint << 32 | l.objid::bigint = $1`, pgstore.LockOf(w.schema, w.key)))
			require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE state = 'pending' AND leased_until > now() AND request = 'the request'`))
			require.ErrorIs(t, write(ctx, "inside"), pgstore.ErrTxForeign)
			require.ErrorIs(t, write(outer, "inside"), pgstore.ErrTxForeign)
			return 1, nil
		})
		return idempotency.Response{Status: 204}, err
	})
	require.NoError(t, err)
	require.Equal(t, 204, result.Response.Status)
	require.Equal(t, 0, w.effects())
}

func TestTheTransactionsOfAChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
		first := pgstore.Tx(ctx)
		var one int
		require.NoError(t, first.QueryRow(ctx, `SELECT 1`).Scan(&one), "reading before a step is fine")
		_, err := idempotency.Atomic(ctx, "one", func(ctx context.Context) (int, error) {
			require.Same(t, first, pgstore.Tx(ctx))
			return 1, write(ctx, "one")
		})
		require.NoError(t, err)
		_, err = first.Exec(ctx, `SELECT 1`)
		require.ErrorIs(t, err, pgstore.ErrTxCommitted)
		require.NoError(t, pgstore.Tx(ctx).QueryRow(ctx, `SELECT 1`).Scan(&one), "and between steps")
		_, err = idempotency.Foreign(ctx, "two", func(context.Context, string) (int, error) { return 2, nil })
		require.NoError(t, err)
		failed := errors.New("out of stock")
		_, err = idempotency.Atomic(ctx, "three", func(ctx context.Context) (int, error) { return 3, errors.Join(write(ctx, "three"), failed) })
		require.ErrorIs(t, err, failed)
		tail := pgstore.Tx(ctx)
		require.Same(t, tail, pgstore.Tx(ctx))
		return idempotency.Response{Status: 201}, write(ctx, "tail")
	})
	require.NoError(t, err)
	require.Equal(t, 1, w.effect("one"))
	require.Equal(t, 0, w.effect("three"))
	require.Equal(t, 1, w.effect("tail"))
}

func TestWritingOutsideOfAStepBeforeAStepIsAnError(t *testing.T) {
	t.Parallel()
	steps := map[string]func(ctx context.Context) error{
		"atomic": func(ctx context.Context) error {
			_, err := idempotency.Atomic(ctx, "later", func(ctx context.Context) (int, error) { return 0, write(ctx, "later") })
			return err
		},
		"foreign": func(ctx context.Context) error {
			_, err := idempotency.Foreign(ctx, "later", func(context.Context, string) (int, error) { panic("called") })
			return err
		},
	}
	for name, step := range steps {
		for _, earlier := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, behind another step: %t", name, earlier), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
					if earlier {
						_, err := idempotency.Atomic(ctx, "first", func(ctx context.Context) (int, error) { return 0, write(ctx, "first") })
						require.NoError(t, err)
					}
					require.NoError(t, write(ctx, "outside"))
					require.ErrorIs(t, step(ctx), idempotency.ErrStepMisuse)
					return idempotency.Response{Status: 201}, nil // swallowed, and an error all the same
				})
				require.ErrorIs(t, err, idempotency.ErrStepMisuse)
				require.ErrorContains(t, err, "outside of a step before a step")
				require.Equal(t, 0, w.effect("outside"))
				require.Equal(t, 0, w.effect("later"))
				if earlier {
					require.Equal(t, 1, w.effect("first"))
					require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE state = 'pending' AND recovery_point = 'first' AND last_error LIKE '%outside of a step%'`))
				} else {
					w.afterwards()
				}
			})
		}
	}
}

func TestAZombieChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := &provider{}
	asleep, awake := make(chan struct{}), make(chan struct{})
	other, err := idempotency.New(w.store, idempotency.Config{})
	require.NoError(t, err)
	var zombie error
	var wait sync.WaitGroup
	wait.Go(func() {
		_, zombie = w.chain(func(ctx context.Context) (idempotency.Response, error) {
			// It names its steps as ride does, but is stopped between the first and the second.
			_, err := idempotency.Atomic(ctx, "ride_created", func(ctx context.Context) (int, error) { return 7, write(ctx, "ride") })
			require.NoError(t, err)
			close(asleep)
			<-awake
			_, err = idempotency.Foreign(ctx, "card_charged", func(context.Context, string) (string, error) { return p.charge("a second key") })
			require.ErrorIs(t, err, idempotency.ErrLeaseLost)
			require.ErrorIs(t, write(ctx, "zombie"), idempotency.ErrLeaseLost)
			return idempotency.Response{Status: 201}, nil
		})
	})
	<-asleep
	_, err = other.Run(t.Context(), w.request(), ride(p))
	require.ErrorIs(t, err, idempotency.ErrInProgress, "the lease lasts")
	w.endLease()
	result, err := other.Run(t.Context(), w.request(), ride(p))
	require.NoError(t, err)
	close(awake)
	wait.Wait()
	require.ErrorIs(t, zombie, idempotency.ErrLeaseLost)
	require.Len(t, p.charges, 1)
	require.Equal(t, 1, w.effect("ride"))
	require.Equal(t, 1, w.effect("receipt"))
	require.Equal(t, 0, w.effect("zombie"))
	again, err := w.chain(ride(p))
	require.NoError(t, err)
	require.Equal(t, result.Response.Body, again.Response.Body)
}

func TestAConflictInAStepIsRunAgainFromItsRecoveryPoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *idempotency.Config, _ *pgstore.Config, _ *pgxpool.Config) { c.Reruns = 1 })
	runs, conflicts := 0, 1
	result, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
		runs++
		_, err := idempotency.Atomic(ctx, "one", func(ctx context.Context) (int, error) { return 1, write(ctx, "one") })
		require.NoError(t, err)
		_, err = idempotency.Atomic(ctx, "two", func(ctx context.Context) (int, error) {
			if conflicts--; conflicts >= 0 {
				_, err := pgstore.Tx(ctx).Exec(ctx, `DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$`)
				return 0, err
			}
			return 2, write(ctx, "two")
		})
		return idempotency.Response{Status: 201}, err
	})
	require.NoError(t, err)
	require.Equal(t, 201, result.Response.Status)
	require.Equal(t, 2, runs)
	require.Equal(t, 1, w.effect("one"))
	require.Equal(t, 1, w.effect("two"))
}

func TestAHandlerThatEndsTheTransactionOfAStepIsFoundOut(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{`COMMIT`, `ROLLBACK`, `COMMIT; BEGIN`, `ROLLBACK; BEGIN`} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			for _, where := range []string{"first step", "second step", "tail"} {
				w := newWorld(t)
				ends := func(ctx context.Context, here string) error {
					if here != where {
						return write(ctx, here)
					}
					_, err := pgstore.Tx(ctx).Conn().PgConn().Exec(ctx, sql).ReadAll()
					return err
				}
				_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
					for _, name := range []string{"first step", "second step"} {
						if _, err := idempotency.Atomic(ctx, name, func(ctx context.Context) (int, error) { return 0, ends(ctx, name) }); err != nil {
							return idempotency.Response{Status: 201}, nil
						}
					}
					return idempotency.Response{Status: 201}, ends(ctx, "tail")
				})
				require.ErrorIs(t, err, idempotency.ErrTransactionEnded, where)
				require.Equal(t, 0, w.count(`SELECT count(*) FROM idempotency_keys WHERE state = 'completed'`), where)
			}
		})
	}
}

// Each statement of a chain on the wire is the last one that gets through, or the first whose answer does not.
func TestAChainThatIsCutAnywhereIsFinishedByTheNextAttempt(t *testing.T) {
	t.Parallel()
	statements := len(cutChain(t, 0, 0))
	require.Greater(t, statements, 10)
	for n := range statements {
		for name, action := range map[string]wireproxy.Action{"before": wireproxy.CutBefore, "after": wireproxy.CutAfter, "reset": wireproxy.ResetAfter} {
			t.Run(fmt.Sprintf("%s statement %d", name, n+1), func(t *testing.T) {
				t.Parallel()
				cutChain(t, n+1, action)
			})
		}
	}
}

func cutChain(t *testing.T, n int, action wireproxy.Action) []wireproxy.Statement {
	w := newWorld(t)
	proxy, err := wireproxy.Listen(pgtest.SchemaURL(t, w.schema), wireproxy.Config{})
	require.NoError(t, err)
	defer proxy.Close()
	url, err := proxy.URL(pgtest.SchemaURL(t, w.schema))
	require.NoError(t, err)
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	defer pool.Close()
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: w.schema})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	p := &provider{}

	warm := w.request() // so that nothing is prepared on the way that is looked at
	warm.Key.Value += " warm"
	_, err = engine.Run(t.Context(), warm, ride(&provider{}))
	require.NoError(t, err)
	proxy.Forget()
	if n > 0 {
		proxy.At(wireproxy.Number(n), action)
	}
	result, err := engine.Run(t.Context(), w.request(), ride(p))
	if own := (*idempotency.Error)(nil); errors.As(err, &own) { // any other is what the handler's own statement returned
		require.True(t, own.Code.Retryable(), "%v", err)
	}
	statements := proxy.Statements()

	var again idempotency.Result
	require.Eventually(t, func() bool {
		w.endLease()
		again, err = w.chain(ride(p))
		return !errors.Is(err, idempotency.ErrInProgress)
	}, 10*time.Second, 5*time.Millisecond, "the server notices a closed connection in its own time")
	require.NoError(t, err)
	require.Len(t, p.charges, 1, "one key at the provider")
	require.Equal(t, 2, w.effect("ride"), "that of the warm-up and one more")
	require.Equal(t, 2, w.effect("receipt"))
	if result.Response.Body != nil {
		require.Equal(t, string(result.Response.Body), string(again.Response.Body))
	}
	require.Equal(t, 0, w.count(`SELECT count(*) FROM idempotency_keys WHERE state = 'pending'`))
	return statements
}

// A lease that is renewed every few seconds must not touch the indexes.
func TestMovingALeaseOrARecoveryPointIsAHOTUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	down := errors.New("down")
	_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
		_, err := idempotency.Atomic(ctx, "one", func(ctx context.Context) (int, error) { return 1, write(ctx, "one") })
		return idempotency.Response{}, errors.Join(err, down)
	})
	require.ErrorIs(t, err, down)
	tx, err := w.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	updates := func() (all, hot int) {
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables
			WHERE schemaname = $1 AND relname = 'idempotency_keys'`, w.schema).Scan(&all, &hot))
		return all, hot
	}
	allBefore, hotBefore := updates() // what the connection has done and not yet reported
	var owner []byte
	require.NoError(t, tx.QueryRow(t.Context(), `SELECT owner FROM idempotency_keys`).Scan(&owner))
	tag, err := tx.Exec(t.Context(), w.store.RenewSQL(), w.key.Scope, w.key.Value, owner, 1_000_000)
	require.NoError(t, err)
	require.Equal(t, int64(1), tag.RowsAffected())
	tag, err = tx.Exec(t.Context(), w.store.PutSQL(), w.key.Scope, w.key.Value, "two", []byte("steps"), nil, []byte("next"), 2, 1, "error", 1_000_000, owner, make([]byte, 33))
	require.NoError(t, err)
	require.Equal(t, int64(1), tag.RowsAffected())
	all, hot := updates()
	require.Equal(t, 2, all-allBefore)
	require.Equal(t, 2, hot-hotBefore)
}

// With one connection in the pool nothing may ask for a second one while it holds the first.
func TestAChainNeedsOneConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, s *pgstore.Config, c *pgxpool.Config) { c.MaxConns = 1 })
	p := &provider{}
	_, err := w.chain(ride(p))
	require.NoError(t, err)
	require.Equal(t, 1, w.effect("receipt"))
}
