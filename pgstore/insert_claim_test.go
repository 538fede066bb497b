package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
	"github.com/onlyonce/onlyonce/pgstore"
)

// inserting is a world whose claims wait long enough for whatever a test does meanwhile.
func inserting(t *testing.T, wait time.Duration) *world {
	return newWorld(t, func(_ *idempotency.Config, s *pgstore.Config, _ *pgxpool.Config) {
		s.Lock, s.ClaimWait, s.Timeout = pgstore.InsertClaim, wait, 30*time.Second
	})
}

// waits returns when a statement like this one waits for another transaction.
func (w *world) waits(statement string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		return w.count(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1 AND query LIKE $2`,
			"%"+w.schema+"%", statement+"%") > 0
	}, 20*time.Second, time.Millisecond)
}

func TestAClaimThatWaitsGetsTheAnswerOfTheOneThatItWaitedFor(t *testing.T) {
	t.Parallel()
	w := inserting(t, 20*time.Second)
	winner, _, err := w.store.Claim(t.Context(), w.key)
	require.NoError(t, err)
	type claimed struct {
		attempt idempotency.Attempt
		record  *idempotency.Record
		err     error
	}
	second := make(chan claimed)
	go func() {
		attempt, record, err := w.store.Claim(t.Context(), w.key)
		second <- claimed{attempt, record, err}
	}()
	w.waits("INSERT INTO")
	want := &idempotency.Record{Response: idempotency.Response{Status: 201, Body: []byte("the first")}}
	_, err = winner.Complete(t.Context(), want, time.Hour)
	require.NoError(t, err)
	got := <-second
	require.NoError(t, got.err)
	require.Nil(t, got.attempt)
	require.Equal(t, "the first", string(got.record.Response.Body))
}

func TestAClaimThatWaitedForWhatWasRolledBackIsTheNextAttempt(t *testing.T) {
	t.Parallel()
	w := inserting(t, 20*time.Second)
	first, _, err := w.store.Claim(t.Context(), w.key)
	require.NoError(t, err)
	second := make(chan error)
	go func() {
		attempt, _, err := w.store.Claim(t.Context(), w.key)
		if err == nil {
			_, err = attempt.Complete(t.Context(), &idempotency.Record{Response: idempotency.Response{Status: 201}}, time.Hour)
		}
		second <- err
	}()
	w.waits("INSERT INTO")
	require.NoError(t, first.Release(t.Context()))
	require.NoError(t, <-second)
	require.Equal(t, 1, w.records())
}

// The bound is the claim's alone: a handler's statements run under what its session has set.
func TestAHandlerHasItsOwnTimeouts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, s *pgstore.Config, c *pgxpool.Config) {
		s.Lock = pgstore.InsertClaim
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `SET lock_timeout = '7s'; SET statement_timeout = '1min'`)
			return err
		}
	})
	own := func(ctx context.Context) {
		var lock, statement string
		require.NoError(t, pgstore.Tx(ctx).QueryRow(ctx, `SELECT current_setting('lock_timeout'), current_setting('statement_timeout')`).Scan(&lock, &statement))
		require.Equal(t, []string{"7s", "1min"}, []string{lock, statement})
	}
	_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
		own(ctx)
		err := step(ctx, "one")
		own(ctx)
		return idempotency.Response{Status: 201}, err
	})
	require.NoError(t, err)
	_, err = w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET expires_at = now() - interval '1 second'`)
	require.NoError(t, err)
	again, err := idempotency.New(w.store, idempotency.Config{})
	require.NoError(t, err)
	_, err = again.Run(t.Context(), w.request(), func(ctx context.Context) (idempotency.Response, error) {
		own(ctx)
		return idempotency.Response{Status: 201}, nil
	})
	require.NoError(t, err)
	_, err = w.pool.Exec(t.Context(), `DELETE FROM idempotency_keys`)
	require.NoError(t, err)
}

// What a handler has committed by itself includes the claim's row. Here nobody was left to find that out.
func TestAClaimThatAHandlerCommittedIsTakenOver(t *testing.T) {
	t.Parallel()
	for _, level := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.Serializable} {
		for name, run := range map[string]func(w *world) (idempotency.Result, error){
			"by one transaction": func(w *world) (idempotency.Result, error) { return w.run(pays(201)) },
			"by a refusal":       func(w *world) (idempotency.Result, error) { return w.run(pays(402)) },
			"by a chain": func(w *world) (idempotency.Result, error) {
				return w.chain(func(ctx context.Context) (idempotency.Response, error) {
					return idempotency.Response{Status: 201}, step(ctx, "one")
				})
			},
		} {
			t.Run(name+" "+string(level), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, by(pgstore.InsertClaim), func(_ *idempotency.Config, s *pgstore.Config, _ *pgxpool.Config) { s.Isolation = level })
				_, err := w.pool.Exec(t.Context(), `INSERT INTO idempotency_keys (scope, key, state, fingerprint, owner, created_at)
					VALUES ($1, $2, 'pending', '', $3, now())`, w.key.Scope, w.key.Value, []byte("0123456789abcdef"))
				require.NoError(t, err)
				found, err := w.store.Pending(t.Context(), idempotency.Due{Limit: 10, MaxCompletions: 10})
				require.NoError(t, err)
				require.Equal(t, idempotency.PendingKeys{Stuck: 1}, found, "an operator sees it")

				_, err = run(w)
				require.NoError(t, err)
				require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE state = 'completed'`))
			})
		}
	}
}

func TestARefusalThatMeetsAnotherAttemptIsNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, by(pgstore.InsertClaim))
	proxy, engine := w.proxied("", by(pgstore.InsertClaim))
	var other idempotency.Attempt
	between := proxy.At(func(s wireproxy.Statement) bool {
		return strings.HasPrefix(s.SQL, "BEGIN ISOLATION LEVEL READ COMMITTED")
	}, wireproxy.Stop)
	refused := make(chan error)
	go func() {
		_, err := engine.Run(t.Context(), w.request(), func(context.Context) (idempotency.Response, error) {
			return idempotency.Response{Status: 402}, nil
		})
		refused <- err
	}()
	<-between.Reached()
	require.Eventually(t, func() bool {
		var err error
		other, _, err = w.store.Claim(t.Context(), w.key)
		return err == nil
	}, 20*time.Second, time.Millisecond, "the key is free between the two transactions")
	between.Resume()
	require.ErrorIs(t, <-refused, idempotency.ErrTransactionConflict)
	_, err := other.Complete(t.Context(), &idempotency.Record{Response: idempotency.Response{Status: 201}}, time.Hour)
	require.NoError(t, err)
	require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE status = 201`))
}

// The old backend has the COMMIT before it, and nobody can say yet what becomes of it.
func TestAReadBackWithoutLocksWaitsForTheOldTransaction(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]idempotency.Handler{
		"one transaction": func(ctx context.Context) (idempotency.Response, error) {
			return idempotency.Response{Status: 201}, write(ctx, "one")
		},
		"the first recovery point": func(ctx context.Context) (idempotency.Response, error) {
			return idempotency.Response{Status: 201}, step(ctx, "one")
		},
		"a later one": func(ctx context.Context) (idempotency.Response, error) {
			return idempotency.Response{Status: 201}, errors.Join(step(ctx, "zero"), step(ctx, "one"))
		},
		"the end of a chain": func(ctx context.Context) (idempotency.Response, error) {
			return idempotency.Response{Status: 201}, errors.Join(step(ctx, "zero"), write(ctx, "one"))
		},
	} {
		for _, level := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.RepeatableRead} {
			t.Run(name+" "+string(level), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				proxy, engine := w.proxied(level, by(pgstore.InsertClaim))
				wrote := false
				commit := proxy.At(func(s wireproxy.Statement) bool {
					wrote = wrote || strings.Contains(s.SQL, "INTO effects") && (name == "one transaction" || name == "the first recovery point" || s.Number > 8)
					return wrote && s.Commits()
				}, wireproxy.Orphan)
				done := make(chan error)
				go func() {
					_, err := engine.Run(t.Context(), w.request(), handler)
					done <- err
				}()
				<-commit.Reached()
				looks := proxy.At(func(s wireproxy.Statement) bool {
					return strings.Contains(s.SQL, "DO NOTHING") || strings.Contains(s.SQL, "SKIP LOCKED")
				}, wireproxy.Stop)
				<-looks.Reached()
				looks.Resume()
				again := proxy.At(func(s wireproxy.Statement) bool {
					return strings.Contains(s.SQL, "DO NOTHING") || strings.Contains(s.SQL, "SKIP LOCKED")
				}, wireproxy.Stop)
				<-again.Reached() // the first look has said nothing
				require.Zero(t, w.effect("one"))
				again.Resume()
				commit.Resume()
				require.NoError(t, <-done)
				require.Equal(t, 1, w.effect("one"))
				require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE state = 'completed'`))
			})
		}
	}
}

// As during a deployment that changes the lock: handlers may run that are rolled back, and each key takes effect once.
func TestProcessesWithDifferentLocksTakeEffectOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var engines []*idempotency.Engine
	for _, lock := range []pgstore.Lock{pgstore.LocalLock, pgstore.ShardLock, pgstore.InsertClaim} {
		pool := pgtest.Pool(t, w.schema, func(c *pgxpool.Config) { c.MaxConns = 4 })
		store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: w.schema, Lock: lock})
		require.NoError(t, err)
		engine, err := idempotency.New(store, idempotency.Config{Wait: 20 * time.Second, Reruns: 10})
		require.NoError(t, err)
		engines = append(engines, engine, engine)
	}
	for n := range 60 {
		request := idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: fmt.Sprint(n)}}
		answers := make([]string, len(engines))
		var all sync.WaitGroup
		for i, engine := range engines {
			all.Go(func() {
				run := func(ctx context.Context) (idempotency.Response, error) {
					effect := write
					if n%2 == 1 {
						effect = step
					}
					return idempotency.Response{Status: 201, Body: fmt.Append(nil, i)}, effect(ctx, request.Key.Value)
				}
				result, err := engine.Run(t.Context(), request, run)
				for errors.Is(err, idempotency.ErrLeaseLost) || errors.Is(err, idempotency.ErrInProgress) { // as a client does
					result, err = engine.Run(t.Context(), request, run)
				}
				if assert.NoError(t, err) {
					answers[i] = string(result.Response.Body)
				}
			})
		}
		all.Wait()
		require.Equal(t, 1, w.effect(request.Key.Value))
		for _, answer := range answers {
			require.Equal(t, answers[0], answer)
		}
	}
}

// The COMMIT of a handler's own commits the claim's row with it, and nothing of that may be in the next attempt's way.
func TestAHandlerThatEndsTheTransactionOfItsClaimFreesTheKey(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{
		"COMMIT": `COMMIT`, "COMMIT and BEGIN": `COMMIT; BEGIN`, "ROLLBACK and BEGIN": `ROLLBACK; BEGIN`,
	} {
		for _, status := range []int{201, 402, 500} {
			for _, lock := range []pgstore.Lock{pgstore.ShardLock, pgstore.InsertClaim} {
				t.Run(fmt.Sprint(name, " then ", status, ", ", lock), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, by(lock), func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) { c.MaxConns = 1 })
					_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
						_, err := tx.Conn().PgConn().Exec(ctx, end).ReadAll() // past the guard, in one message
						return idempotency.Response{Status: status}, err
					})
					require.ErrorIs(t, err, idempotency.ErrTransactionEnded)
					w.afterwards()
				})
			}
		}
	}
	for _, end := range []string{`COMMIT; BEGIN`, `ROLLBACK; BEGIN`} {
		t.Run(end+" in the first step", func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, by(pgstore.InsertClaim))
			_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
				_, err := idempotency.Atomic(ctx, "one", func(ctx context.Context) (int, error) {
					_, err := pgstore.Tx(ctx).Conn().PgConn().Exec(ctx, end).ReadAll()
					return 1, err
				})
				return idempotency.Response{Status: 201}, err
			})
			require.ErrorIs(t, err, idempotency.ErrTransactionEnded)
			w.afterwards()
		})
	}
}

func TestAHandlerThatChangesTheSearchPathLosesItsClaimAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"one transaction", "a chain"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			elsewhere := pgtest.Schema(t)
			store, err := pgstore.NewWithConfig(w.pool, pgstore.Config{Lock: pgstore.InsertClaim})
			require.NoError(t, err)
			w.engine, err = idempotency.New(store, idempotency.Config{})
			require.NoError(t, err)
			moves := func(ctx context.Context) (int, error) {
				_, err := pgstore.Tx(ctx).Exec(ctx, `SET LOCAL search_path = `+elsewhere)
				return 1, err
			}
			_, err = w.chain(func(ctx context.Context) (idempotency.Response, error) {
				var err error
				if name == "a chain" {
					_, err = idempotency.Atomic(ctx, "one", moves)
				} else {
					_, err = moves(ctx)
				}
				return idempotency.Response{Status: 201}, err
			})
			require.ErrorContains(t, err, "pgstore.Config.Schema")
			require.Zero(t, w.count(`SELECT count(*) FROM `+elsewhere+`.idempotency_keys`))
			w.afterwards()
		})
	}
}
