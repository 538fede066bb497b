package pgstore_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

// BenchmarkLocks is a fresh key with one write, under each lock, beside the same write in a plain transaction.
func BenchmarkLocks(b *testing.B) {
	for _, lock := range append([]pgstore.Lock{"none"}, locks...) {
		b.Run(string(lock), func(b *testing.B) {
			schema := pgtest.Schema(b)
			pool := pgtest.Pool(b, schema, func(c *pgxpool.Config) { c.MaxConns = 8 })
			_, err := pool.Exec(b.Context(), `CREATE TABLE effects (name text NOT NULL)`)
			require.NoError(b, err)
			pay := func(context.Context, string) error {
				return pgx.BeginFunc(b.Context(), pool, func(tx pgx.Tx) error {
					_, err := tx.Exec(b.Context(), `INSERT INTO effects VALUES ('paid')`)
					return err
				})
			}
			if lock != "none" {
				store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: schema, Lock: lock})
				require.NoError(b, err)
				engine, err := idempotency.New(store, idempotency.Config{})
				require.NoError(b, err)
				pay = func(ctx context.Context, key string) error {
					_, err := engine.Run(ctx, idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: key}}, func(ctx context.Context) (idempotency.Response, error) {
						return idempotency.Response{Status: 201, Body: []byte("answer")}, write(ctx, "paid")
					})
					return err
				}
			}
			var keys atomic.Int64
			b.SetParallelism(4)
			b.ResetTimer()
			b.RunParallel(func(loop *testing.PB) {
				for loop.Next() {
					if err := pay(b.Context(), fmt.Sprint(keys.Add(1))); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
