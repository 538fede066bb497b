package pgstore_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// Deleting what a key had before touches what holds its long values; a table may have partitions. Neither is the handler's writing.
func TestWhatAClaimItselfHasWrittenIsNotTheHandlers(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"long values": `INSERT INTO idempotency_keys (scope, key, state, fingerprint, status, headers, body, created_at, completed_at, expires_at)
			SELECT $1, $2, 'completed', decode(repeat('01', 33), 'hex'), 201, '', string_agg(sha512(n::text::bytea), ''), now(), now(), now() - interval '1 second'
			FROM generate_series(1, 1000) n`,
		"partitions": ``,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, by(pgstore.InsertClaim))
			if sql != "" {
				_, err := w.pool.Exec(t.Context(), sql, w.key.Scope, w.key.Value)
				require.NoError(t, err)
			} else {
				_, err := w.pool.Exec(t.Context(), `CREATE TABLE partitioned (LIKE idempotency_keys INCLUDING ALL) PARTITION BY HASH (scope, key);
					CREATE TABLE whole PARTITION OF partitioned FOR VALUES WITH (MODULUS 1, REMAINDER 0);
					DROP TABLE idempotency_keys;
					ALTER TABLE partitioned RENAME TO idempotency_keys`)
				require.NoError(t, err)
			}
			_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
				var n int
				if err := pgstore.Tx(ctx).QueryRow(ctx, `SELECT count(*) FROM effects`).Scan(&n); err != nil {
					return idempotency.Response{}, err
				}
				return idempotency.Response{Status: 201}, step(ctx, "one")
			})
			require.NoError(t, err)
			require.Equal(t, 1, w.effect("one"))
		})
	}
}
