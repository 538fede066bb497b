package protocol

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
	"github.com/onlyonce/onlyonce/internal/pgtest"
)

const benchmarkPay = `INSERT INTO effects VALUES ('paid')`

// BenchmarkPayments is a fresh key with one write in three round trips: in a plain transaction, with pgstore's statements, and with the
// functions; all of them pipelined alike, over one pool. The connections are as many as the name says.
func BenchmarkPayments(b *testing.B) {
	for _, connections := range []int{1, 8} {
		for _, way := range []string{"plain", "statements", "functions"} {
			b.Run(fmt.Sprintf("%d/%s", connections, way), func(b *testing.B) {
				pay := newPayer(b, connections, way)
				each(b, connections, pay)
			})
		}
	}
}

// BenchmarkReplays is one round trip: a claim that finds its record, with pgstore's statements and with the function.
func BenchmarkReplays(b *testing.B) {
	for _, way := range []string{"statements", "functions"} {
		b.Run(way, func(b *testing.B) {
			pay := newPayer(b, 1, way)
			require.NoError(b, pay(b.Context(), "paid"))
			each(b, 1, func(ctx context.Context, _ string) error { return pay(ctx, "paid") })
		})
	}
}

func each(b *testing.B, connections int, do func(ctx context.Context, key string) error) {
	b.Helper()
	var keys atomic.Int64
	b.SetParallelism(connections)
	b.ResetTimer()
	b.RunParallel(func(loop *testing.PB) {
		for loop.Next() {
			if err := do(b.Context(), fmt.Sprint("key-", keys.Add(1))); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// newPayer returns what pays for a key, or finds that it is paid for.
func newPayer(b *testing.B, connections int, way string) func(ctx context.Context, key string) error {
	b.Helper()
	schema := pgtest.Schema(b)
	pgtest.Functions(b, schema, schema)
	pool := pgtest.Pool(b, schema, func(c *pgxpool.Config) { c.MaxConns = int32(connections) })
	_, err := pool.Exec(b.Context(), `CREATE TABLE effects (name text NOT NULL)`)
	require.NoError(b, err)
	sql := keytable.Of(keytable.NameIn(schema))
	print := (&idempotency.Fingerprinter{}).Sum([]byte("pay 10"))
	headers, body := []byte("Content-Type: application/json\r\n"), []byte(`{"payment": 1}`)
	return func(ctx context.Context, key string) error {
		return pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
			var began time.Time
			var table uint32
			found := false
			claim := &pgx.Batch{}
			claim.Queue(`BEGIN`)
			switch way {
			case "statements":
				claim.Queue(sql.Lock, keytable.LockOf(schema, idempotency.Key{Scope: "alice", Value: key})).
					QueryRow(func(row pgx.Row) error { return row.Scan(nil, &began, &table, nil) })
				claim.Queue(sql.Read, "alice", key).Query(func(rows pgx.Rows) error { found = rows.Next(); rows.Close(); return rows.Err() })
			case "functions":
				claim.Queue(`SELECT outcome = 'replay', status, headers, body FROM idempotency_begin($1, $2, $3)`, "alice", key, print[:]).
					QueryRow(func(row pgx.Row) error { return row.Scan(&found, nil, nil, nil) })
			}
			if err := conn.SendBatch(ctx, claim).Close(); err != nil {
				return err
			}
			if found {
				_, err := conn.Exec(ctx, `ROLLBACK`)
				return err
			}
			if _, err := conn.Exec(ctx, benchmarkPay); err != nil {
				return err
			}
			last := &pgx.Batch{}
			switch way {
			case "statements":
				last.Queue(sql.Complete, "alice", key, print[:], 201, headers, body, began, 24*time.Hour, table)
			case "functions":
				last.Queue(`SELECT idempotency_complete($1, $2, $3, $4, $5, $6)`, "alice", key, print[:], 201, headers, body)
			}
			last.Queue(`COMMIT`)
			return conn.SendBatch(ctx, last).Close()
		})
	}
}
