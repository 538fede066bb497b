package integration

import (
	"context"
	"errors"
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
				case errors.Is(err, idempotency.ErrStoreUnavailable):
					unavailable.Add(1)
				case errors.Is(err, idempotency.ErrTransactionAborted): // another table stands there than when the key was claimed
					unavailable.Add(1)
				default:
					assert.NoError(t, err, "an answer that does not say that nothing was paid")
					return
				}
			}
		})
	}
	gaveUp := 0
	insist := func(migrate func() error) {
		for err := migrate(); err != nil; err = migrate() {
			require.Less(t, gaveUp, 100, "%v", err)
			gaveUp++
		}
	}
	for range rounds {
		goes, fails := paid.Load()+20, unavailable.Load()
		require.Eventually(t, func() bool { return paid.Load() >= goes }, time.Minute, time.Millisecond, "payments go on")
		insist(func() error { _, err := impatient.DownTo(ctx, 0); return err })
		require.Eventually(t, func() bool { return unavailable.Load() > fails }, time.Minute, time.Millisecond, "payments notice")
		insist(func() error { _, err := impatient.Up(ctx); return err })
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
