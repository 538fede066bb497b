package pgstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

func TestTheLocksOfSchemasScopesAndKeysDifferHoweverTheyAreCut(t *testing.T) {
	t.Parallel()
	seen := map[int64]string{}
	const text = "abcdefgh"
	for i := range len(text) + 1 {
		for j := i; j <= len(text); j++ {
			name := text[:i] + "|" + text[i:j] + "|" + text[j:]
			lock := pgstore.LockOf(text[:i], idempotency.Key{Scope: text[i:j], Value: text[j:]})
			require.Empty(t, seen[lock], "%s has the same lock", name)
			seen[lock] = name
		}
		require.NotContains(t, seen, pgstore.ReaperLock(text[:i]))
	}
}

func TestTheKeysOfTwoScopesAreLockedApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, locally)
	var held []idempotency.Attempt
	for i, scope := range []string{"alice", "bob", "alice "} {
		attempt, _, err := w.store.Claim(t.Context(), idempotency.Key{Scope: scope, Value: w.schema})
		require.NoError(t, err)
		_, err = pgstore.Tx(attempt.Context(t.Context())).Exec(t.Context(), `SET LOCAL application_name = '`+w.schema+`'`)
		require.NoError(t, err)
		held = append(held, attempt)
		require.Equal(t, i+1, w.count(`SELECT count(DISTINCT (classid, objid)) FROM pg_locks JOIN pg_stat_activity USING (pid)
			WHERE locktype = 'advisory' AND application_name = $1`, w.schema))
	}
	_, _, err := w.store.Claim(t.Context(), idempotency.Key{Scope: "bob", Value: w.schema})
	require.ErrorIs(t, err, idempotency.ErrInProgress)
	for _, attempt := range held {
		require.NoError(t, attempt.Release(t.Context()))
	}
}
