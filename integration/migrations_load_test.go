package integration

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

// Payments go on while the table is taken away and brought back. Where it is missing nothing is paid, and a migration that
// cannot have its lock in time leaves the payments alone.
func TestMigrationsUpAndDownUnderLoadLeaveNoPaymentHalfDone(t *testing.T) {
	t.Parallel()
	const clients, rounds = 8, 6
	ctx := bounded(t)
	schema := pgtest.EmptySchema(t)
	impatient := provider(t, openImpatient(t, schema))
	_, err := impatient.Up(ctx)
	require.NoError(t, err)
	pool := pgtest.Pool(t, schema)
	_, err = pool.Exec(ctx, `CREATE TABLE payments (key text NOT NULL)`)
	require.NoError(t, err)
	engine, err := idempotency.New(pgstore.New(pool), idempotency.Config{})
	require.NoError(t, err)

	var over atomic.Bool
	var paid, unavailable atomic.Int64
	pay := func(name string) error {
		_, err := engine.Run(ctx, idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: name}}, func(ctx context.Context) (idempotency.Response, error) {
			_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO payments VALUES ($1)`, name)
			return idempotency.Response{Status: 201}, err
		})
		return err
	}
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			for i := 0; !over.Load(); i++ {
				switch err := pay(fmt.Sprintf("%d-%d", client, i)); {
				case err == nil:
					paid.Add(1)
				case !assert.ErrorIs(t, err, idempotency.ErrStoreUnavailable, "an answer that says that nothing was paid"):
					return
				default:
					unavailable.Add(1)
				}
			}
		})
	}
	gaveUp := 0
	for range rounds {
		goes, fails := paid.Load()+20, unavailable.Load()
		require.Eventually(t, func() bool { return paid.Load() >= goes }, time.Minute, time.Millisecond, "payments go on")
		for {
			if _, err := impatient.DownTo(ctx, 0); err == nil {
				break
			}
			require.Less(t, gaveUp, 100, "%v", err)
			gaveUp++
		}
		require.Eventually(t, func() bool { return unavailable.Load() > fails }, time.Minute, time.Millisecond, "payments notice")
		_, err := impatient.Up(ctx)
		require.NoError(t, err)
	}
	over.Store(true)
	all.Wait()

	var stored, doubled int64
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*), count(*) - count(DISTINCT key) FROM payments`).Scan(&stored, &doubled))
	t.Logf("%d payments, %d refused, %d migrations gave up waiting for the lock", paid.Load(), unavailable.Load(), gaveUp)
	assert.Equal(t, paid.Load(), stored, "payments that were answered, and payments that are there")
	assert.Zero(t, doubled)
	assert.NoError(t, pay("after"), "all is as before")
}
