package sqlsuite

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// provider charges once per key, as a payment provider does.
type provider struct {
	mu      sync.Mutex
	charges map[string]int
}

func (p *provider) charge(key string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.charges == nil {
		p.charges = map[string]int{}
	}
	p.charges[key]++
	return "charge of " + key, nil
}

func write(ctx context.Context, name string) error {
	_, err := sqlstore.Tx(ctx).ExecContext(ctx, `INSERT INTO effects VALUES ($1)`, name)
	return err
}

// ride is a handler with two steps and a tail: it writes "ride", charges, and writes "receipt".
func ride(p *provider) idempotency.Handler {
	return func(ctx context.Context) (idempotency.Response, error) {
		_, err := idempotency.Atomic(ctx, "ride_created", func(ctx context.Context) (int, error) { return 7, write(ctx, "ride") })
		if err != nil {
			return idempotency.Response{}, err
		}
		var one int // reading between steps opens a transaction, which the foreign call has to leave
		if err := sqlstore.Tx(ctx).QueryRowContext(ctx, `SELECT 1`).Scan(&one); err != nil {
			return idempotency.Response{}, err
		}
		charge, err := idempotency.Foreign(ctx, "card_charged", func(_ context.Context, key string) (string, error) { return p.charge(key) })
		if err != nil {
			return idempotency.Response{}, err
		}
		return idempotency.Response{Status: 201, Body: []byte(charge)}, write(ctx, "receipt")
	}
}

// request is one whose handler may have steps.
func (w *world) request() idempotency.Request {
	return idempotency.Request{Key: w.key, Describe: func() ([]byte, error) { return []byte("described"), nil }}
}

func (w *world) chain(h idempotency.Handler) (idempotency.Result, error) {
	return w.engine.Run(w.Context(), w.request(), h)
}

func (w *world) effect(name string) int {
	return w.count(`SELECT count(*) FROM effects WHERE name = $1`, name)
}

var chainScenarios = []scenario{
	{"a ride is created, charged and answered once", func(w *world) {
		p := &provider{}
		first, err := w.chain(ride(p))
		require.NoError(w, err)
		again, err := w.chain(ride(p))
		require.NoError(w, err)
		require.Equal(w, first.Response.Body, again.Response.Body)
		require.Len(w, p.charges, 1)
		require.Equal(w, 1, w.effect("ride"))
		require.Equal(w, 1, w.effect("receipt"))
	}},
	{"a transaction says what has become of it", func(w *world) {
		_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
			var step *sql.Tx
			_, err := idempotency.Atomic(ctx, "one", func(ctx context.Context) (int, error) {
				step = sqlstore.Tx(ctx)
				return 1, write(ctx, "one")
			})
			require.NoError(w, err)
			w.wantDead(step, sqlstore.ErrTxCommitted)
			tail := sqlstore.Tx(ctx)
			require.Same(w, tail, sqlstore.Tx(ctx))
			require.NotSame(w, tail, step)
			require.NoError(w, tail.QueryRowContext(ctx, `SELECT 1`).Scan(new(int)))
			_, err = idempotency.Foreign(ctx, "two", func(ctx context.Context, _ string) (int, error) {
				w.wantDead(sqlstore.Tx(ctx), sqlstore.ErrTxForeign)
				w.wantDead(tail, sqlstore.ErrTxForeign)
				return 2, nil
			})
			require.NoError(w, err)
			return idempotency.Response{Status: 201}, write(ctx, "tail")
		})
		require.NoError(w, err)
		require.Equal(w, 1, w.effect("tail"))
	}},
	{"a step that fails is rolled back, and the retry resumes after the last one", func(w *world) {
		ran := map[string]int{}
		step := func(ctx context.Context, name string, fail error) error {
			_, err := idempotency.Atomic(ctx, name, func(ctx context.Context) (int, error) {
				ran[name]++
				return 1, errors.Join(write(ctx, name), fail)
			})
			return err
		}
		fail := errors.New("no")
		handler := func(ctx context.Context) (idempotency.Response, error) {
			if err := errors.Join(step(ctx, "one", nil), step(ctx, "two", fail)); err != nil {
				return idempotency.Response{}, err
			}
			return idempotency.Response{Status: 201}, nil
		}
		_, err := w.chain(handler)
		require.Error(w, err)
		require.Equal(w, 0, w.effect("two"))
		fail = nil
		_, err = w.chain(handler)
		require.NoError(w, err)
		require.Equal(w, map[string]int{"one": 1, "two": 2}, ran)
		require.Equal(w, 1, w.effect("one"))
		require.Equal(w, 1, w.effect("two"))
	}},
	{"a failed read between steps is no matter", func(w *world) {
		_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
			tx := sqlstore.Tx(ctx)
			require.Error(w, tx.QueryRowContext(ctx, `SELECT 1 / 0`).Scan(new(int)))
			_, err := idempotency.Atomic(ctx, "one", func(ctx context.Context) (int, error) { return 1, write(ctx, "one") })
			return idempotency.Response{Status: 201}, err
		})
		require.NoError(w, err)
		require.Equal(w, 1, w.effect("one"))
	}},
	{"a step is not begun in the middle of a result", func(w *world) {
		_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
			rows, err := sqlstore.Tx(ctx).QueryContext(ctx, `SELECT generate_series(1, 10)`)
			require.NoError(w, err)
			defer rows.Close()
			_, err = idempotency.Atomic(ctx, "one", func(ctx context.Context) (int, error) { return 1, write(ctx, "one") })
			require.ErrorIs(w, err, idempotency.ErrStepMisuse)
			return idempotency.Response{}, err
		})
		require.Error(w, err)
		w.afterwards()
	}},
	{"a handler that ends its transaction is held for an operator", func(w *world) {
		for _, where := range []string{"in a step", "in the tail", "before a step"} {
			w.each(where, func(w *world) {
				commits := func(ctx context.Context) error {
					w.exec(ctx, sqlstore.Tx(ctx), insert)
					w.exec(ctx, sqlstore.Tx(ctx), `COMMIT`)
					return nil
				}
				handler := func(ctx context.Context) (idempotency.Response, error) {
					if _, err := idempotency.Atomic(ctx, "one", func(context.Context) (int, error) { return 1, nil }); err != nil {
						return idempotency.Response{}, err
					}
					if where != "in a step" {
						if err := commits(ctx); err != nil || where == "in the tail" {
							return idempotency.Response{Status: 201}, err
						}
					}
					_, err := idempotency.Atomic(ctx, "two", func(ctx context.Context) (int, error) {
						if where == "in a step" {
							return 2, commits(ctx)
						}
						return 2, write(ctx, "two")
					})
					return idempotency.Response{Status: 201}, err
				}
				for range 2 { // the retry does not run
					_, err := w.chain(handler)
					require.ErrorIs(w, err, idempotency.ErrTransactionEnded)
					require.Equal(w, 1, w.effect("paid"))
					require.Zero(w, w.effect("two"), "a step that was never begun")
				}
				require.Equal(w, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE completions = 2147483647 AND last_error <> ''`))
			})
		}
	}},
	{"a chain whose last commit is refused says why in its row", func(w *world) {
		_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
			_, err := idempotency.Atomic(ctx, "one", func(ctx context.Context) (int, error) { return 1, write(ctx, "one") })
			require.NoError(w, err)
			w.exec(ctx, sqlstore.Tx(ctx), `INSERT INTO children VALUES (5)`)
			return idempotency.Response{Status: 201}, nil
		})
		require.ErrorIs(w, err, idempotency.ErrTransactionAborted)
		require.Equal(w, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE last_error LIKE '%23503%children%' AND leased_until <= now() AND completions IS NULL`))
	}},
}

// behind puts a proxy between the world's store and its server.
func (w *world) behind(config sqlstore.Config) *wireproxy.Proxy {
	proxy, err := wireproxy.Listen(pgtest.URL(w), wireproxy.Config{})
	require.NoError(w, err)
	w.Cleanup(func() { _ = proxy.Close() })
	url, err := proxy.URL(pgtest.URL(w))
	require.NoError(w, err)
	w.on(url, config)
	return proxy
}

var actions = map[string]wireproxy.Action{"before": wireproxy.CutBefore, "after": wireproxy.CutAfter}

// everywhere cuts the connection at each statement of do in turn, before it and after it. do is then repeated, as a client does, and
// check looks at what is there. Each cut is in a world of its own.
func (w *world) everywhere(do func(w *world) error, check func(w *world)) {
	proxy := w.behind(sqlstore.Config{})
	require.NoError(w, do(w))
	require.NoError(w, w.db.Close())
	statements := proxy.Executed()
	check(w)
	require.Greater(w, len(statements), 3)
	for name, action := range actions {
		for n, statement := range statements {
			short := strings.Join(strings.Fields(statement.SQL), " ")
			w.Run(name+" "+short[:min(len(short), 40)], func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, w.driver)
				proxy := w.behind(sqlstore.Config{})
				point := proxy.At(wireproxy.Number(n+1), action)
				until := time.Now().Add(20 * time.Second)
				err := do(w)
				if statement.Commits() && action == wireproxy.CutAfter {
					require.NoError(t, err, "it was committed, and that can be known")
				}
				for ; err != nil; err = do(w) {
					require.NotErrorIs(t, err, idempotency.ErrOutcomeUnknown, "it can be known")
					require.True(t, time.Now().Before(until), "the last error: %v", err)
				}
				<-point.Done()
				check(w)
			})
		}
	}
}
