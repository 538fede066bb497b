package pgstore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// A scope's completed keys may be millions, and other scopes' pending ones as many as there are scopes.
func TestCountingPendingKeysLooksAtThoseOfTheScopeAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, locally)
	const columns = `(scope, key, state, fingerprint, created_at)`
	_, err := w.pool.Exec(t.Context(), `
		INSERT INTO idempotency_keys `+columns+` SELECT 'alice', 'completed ' || n, 'completed', '', now() FROM generate_series(1, 20000) n;
		INSERT INTO idempotency_keys `+columns+` SELECT 'scope ' || n % 500, 'pending ' || n, 'pending', '', now() FROM generate_series(1, 5000) n;
		INSERT INTO idempotency_keys `+columns+` SELECT 'alice', 'pending ' || n, 'pending', '', now() FROM generate_series(1, 50) n`)
	require.NoError(t, err)
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			_, err := w.pool.Exec(t.Context(), `ANALYZE idempotency_keys`)
			require.NoError(t, err)
		}
		for limit, counted := range map[int]int{10: 10, 1000: 50} {
			var plan []struct {
				Plan node `json:"Plan"`
			}
			require.NoError(t, w.pool.QueryRow(t.Context(), `EXPLAIN (ANALYZE, FORMAT JSON) `+w.store.CountPendingSQL(), "alice", limit).Scan(&plan))
			scan := plan[0].Plan.leaf()
			require.EqualValues(t, counted, scan.Rows, "%+v", plan)
			require.Zero(t, scan.Removed, "%+v", plan)
			require.Contains(t, fmt.Sprint(plan), "idempotency_keys_resume")
		}
	}
}

type node struct {
	Type    string  `json:"Node Type"`
	Index   string  `json:"Index Name"`
	Rows    float64 `json:"Actual Rows"`
	Removed float64 `json:"Rows Removed by Filter"`
	Plans   []node  `json:"Plans"`
}

// leaf is the scan: Limit and Aggregate, or a bitmap's, are above it.
func (n node) leaf() node {
	if len(n.Plans) == 0 || n.Type == "Bitmap Heap Scan" {
		return n
	}
	return n.Plans[0].leaf()
}

// An attempt that holds a connection and waits for another one, as all others do, would wait for ever.
func TestCountingTakesNoSecondConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(e *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
		c.MaxConns = 1
		e.MaxPendingPerScope = 1
	})
	_, err := w.run(func(ctx context.Context, _ pgx.Tx) (idempotency.Response, error) {
		_, err := idempotency.Atomic(ctx, "one", func(context.Context) (int, error) { return 1, nil })
		return idempotency.Response{Status: 201}, err
	})
	require.NoError(t, err)
}
