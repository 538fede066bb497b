package sqlsuite

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// Cost is in round trips, on a connection that has prepared what it prepares.
type Cost struct {
	// Plain is the payment in a transaction of database/sql's own.
	Plain int
	// Fresh, Refused and Freed are the payment under a key, answered by 201, 402 and 500.
	Fresh, Refused, Freed int
	// Replayed is a replay, in the process that knows the key; Elsewhere in another one, the roll-back behind the client's back included.
	Replayed, Elsewhere int
	// Keyless is the payment without a key.
	Keyless int
	// Step is what a second step adds, with its write.
	Step int
}

// Costs checks what driver costs.
func Costs(t *testing.T, driver Driver, want Cost) {
	w := newWorld(t, driver)
	proxy := w.behind(sqlstore.Config{})
	key := 0
	run := func(status int) func() {
		return func() {
			key++
			_, err := w.engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: fmt.Sprint(key)}}, func(ctx context.Context) (idempotency.Response, error) {
				return pays(status)(ctx, sqlstore.Tx(ctx))
			})
			require.NoError(t, err)
		}
	}
	again := func(engine *idempotency.Engine) func() {
		return func() {
			result, err := engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "known"}}, func(ctx context.Context) (idempotency.Response, error) {
				return pays(201)(ctx, sqlstore.Tx(ctx))
			})
			require.NoError(t, err)
			require.Equal(t, 201, result.Response.Status)
		}
	}
	steps := func(n int) func() {
		return func() {
			key++
			request := w.request()
			request.Key.Value = fmt.Sprint(key)
			_, err := w.engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
				for step := range n {
					if _, err := idempotency.Atomic(ctx, fmt.Sprint(step), func(ctx context.Context) (int, error) { return 1, write(ctx, "step") }); err != nil {
						return idempotency.Response{}, err
					}
				}
				return idempotency.Response{Status: 201}, nil
			})
			require.NoError(t, err)
		}
	}
	elsewhere := func() { // an engine that knows no key
		engine, err := idempotency.New(w.store, idempotency.Config{})
		require.NoError(t, err)
		again(engine)()
	}
	plain := func() {
		tx, err := w.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = pays(201)(t.Context(), tx)
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
	}
	measure := func(do func()) int {
		do()
		w.settled()
		proxy.Forget()
		do()
		w.settled()
		trips := proxy.RoundTrips()
		for _, s := range proxy.Executed() {
			if isPing(s) { // of pgx's driver, on a connection that was idle for a second
				trips--
			}
		}
		t.Logf("%d:\n%s", trips, wireproxy.Lines(proxy.Statements()))
		return trips
	}
	assert.Equal(t, want, Cost{
		Plain: measure(plain), Fresh: measure(run(201)), Refused: measure(run(402)), Freed: measure(run(500)),
		Replayed: measure(again(w.engine)), Elsewhere: measure(elsewhere),
		Keyless: measure(func() { _, err := w.keyless(pays(201)); require.NoError(t, err) }),
		Step:    measure(steps(3)) - measure(steps(2)),
	})
}

// settled returns when no connection is at work any more: a replay's transaction ends behind the client's back.
func (w *world) settled() {
	w.Helper()
	require.Eventually(w, func() bool { return w.db.Stats().InUse == 0 }, patience, 100*1000)
}

func isPing(s wireproxy.Statement) bool {
	return strings.HasPrefix(s.SQL, "-- ping") || strings.Trim(s.SQL, "; ") == ""
}
