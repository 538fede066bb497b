package pgstore_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// What a cache may go by is the database's clock, and an operator may have set an expiry to anything.
func TestARecordTellsWhatIsLeftOfItsRetentionByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.run(pays(201))
	require.NoError(t, err)
	for _, test := range []struct {
		name, expires string
		least, most   time.Duration // both 0: there is no record any more
	}{
		{"as it was stored", `expires_at`, 24*time.Hour - time.Minute, 24 * time.Hour},
		{"for a minute", `clock_timestamp() + interval '1 minute'`, 30 * time.Second, time.Minute},
		{"for a month, of which a day is told", `clock_timestamp() + interval '1 month'`, 24 * time.Hour, 24 * time.Hour},
		{"for ever, of which a day is told", `'infinity'`, 24 * time.Hour, 24 * time.Hour},
		{"since ever it is over", `'-infinity'`, 0, 0},
		{"it is over", `clock_timestamp()`, 0, 0},
	} {
		_, err := w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET expires_at = `+test.expires)
		require.NoError(t, err)
		record, err := w.store.Lookup(t.Context(), w.key)
		require.NoError(t, err, test.name)
		if test.most == 0 {
			require.Nil(t, record, test.name)
			var attempt idempotency.Attempt
			require.Eventually(t, func() bool { // the claim before may end behind its answer
				attempt, _, err = w.store.Claim(t.Context(), w.key)
				return !errors.Is(err, idempotency.ErrInProgress)
			}, 20*time.Second, time.Millisecond)
			require.NoError(t, err, test.name)
			require.NoError(t, attempt.Release(t.Context()))
			continue
		}
		_, claimed, err := w.store.Claim(t.Context(), w.key)
		require.NoError(t, err, test.name)
		for _, found := range []*idempotency.Record{record, claimed} {
			require.LessOrEqual(t, found.Left, test.most, test.name)
			require.GreaterOrEqual(t, found.Left, test.least, test.name)
		}
	}
}
