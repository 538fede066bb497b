package sqlstore_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/sqlstore"
)

func TestAConfigurationThatIsWrongSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for message, config := range map[string]sqlstore.Config{
		"Config.Isolation is": {Isolation: sql.LevelLinearizable},
		"sql.LevelReadComm":   {Isolation: sql.LevelReadUncommitted},
		"Config.Schema is":    {Schema: "a\x00b"},
		"must be positive":    {Timeout: -1},
		"ReadBackTimeout":     {ReadBackTimeout: -time.Second},
	} {
		_, err := sqlstore.NewWithConfig(nil, config)
		require.ErrorContains(t, err, message)
	}
}

func TestAStoreWithoutADatabaseSaysSo(t *testing.T) {
	t.Parallel()
	store := sqlstore.New(nil)
	_, _, err := store.Claim(t.Context(), idempotency.Key{Scope: "a", Value: "b"})
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.ErrorContains(t, err, "pass one to sqlstore.New")
	require.ErrorContains(t, store.Check(t.Context()), "pass one to sqlstore.New")
}

// world is a store on an empty table.
func newStore(t *testing.T) (*sqlstore.Store, *sql.DB) {
	schema := pgtest.Schema(t)
	db, err := by(pgx.QueryExecModeCacheStatement).Open(pgtest.URL(t), schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	store, err := sqlstore.NewWithConfig(db, sqlstore.Config{Schema: schema})
	require.NoError(t, err)
	return store, db
}

// keep stores a completed record that ends at a time, in SQL.
func keep(t *testing.T, db *sql.DB, key idempotency.Key, end string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), `INSERT INTO idempotency_keys (scope, key, state, fingerprint, status, headers, body, created_at, completed_at, expires_at)
		VALUES ($1, $2, 'completed', $3, 200, '', '', now(), now(), `+end+`)`, key.Scope, key.Value, make([]byte, 33))
	require.NoError(t, err)
}

func TestHowLongARecordIsKeptYetIsReadWhateverItsEnd(t *testing.T) {
	t.Parallel()
	store, db := newStore(t)
	for end, want := range map[string]struct{ least, most time.Duration }{
		"now() + interval '1 hour'":        {59 * time.Minute, time.Hour},
		"now() + interval '1000 years'":    {24 * time.Hour, 24 * time.Hour},
		"'infinity'":                       {24 * time.Hour, 24 * time.Hour},
		"now() - interval '1 microsecond'": {},
		"'-infinity'":                      {},
		"'0001-01-01 BC'":                  {},
	} {
		key := idempotency.Key{Scope: "alice", Value: end}
		keep(t, db, key, end)
		found, err := store.Lookup(t.Context(), key)
		require.NoError(t, err, end)
		if want.most == 0 {
			require.Nil(t, found, end)
			continue
		}
		require.NotNil(t, found, end)
		require.GreaterOrEqual(t, found.Left, want.least, end)
		require.LessOrEqual(t, found.Left, want.most, end)
	}
}

func TestWhatIsOverIsReapedWhateverItsEnd(t *testing.T) {
	t.Parallel()
	store, db := newStore(t)
	for _, end := range []string{"now() + interval '1 hour'", "'infinity'", "now() - interval '1 hour'", "'-infinity'", "'0044-03-15 BC'", "now() - interval '1 minute'"} {
		keep(t, db, idempotency.Key{Scope: "alice", Value: end}, end)
	}
	deleted := 0
	for range 6 {
		reaped, err := store.Reap(context.Background(), 1)
		require.NoError(t, err)
		deleted += reaped.Deleted
	}
	require.Equal(t, 4, deleted)
	keep(t, db, idempotency.Key{Scope: "alice", Value: "late"}, "'-infinity'") // before where the reaper has come to
	reaped, err := store.Reap(context.Background(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, reaped.Deleted)
}

func TestARetentionIsKeptToTheMicrosecond(t *testing.T) {
	t.Parallel()
	store, db := newStore(t)
	for i, retention := range []time.Duration{time.Microsecond, time.Second + time.Microsecond, 24*time.Hour - time.Microsecond, 100 * 365 * 24 * time.Hour} {
		key := idempotency.Key{Scope: "alice", Value: string(rune('a' + i))}
		attempt, _, err := store.Claim(t.Context(), key)
		require.NoError(t, err)
		_, err = attempt.Complete(t.Context(), &idempotency.Record{Response: idempotency.Response{Status: 201}}, retention)
		require.NoError(t, err)
		var kept int64
		require.NoError(t, db.QueryRow(`SELECT (extract(epoch FROM expires_at - completed_at) * 1000000)::bigint FROM idempotency_keys WHERE key = $1`, key.Value).Scan(&kept))
		require.Equal(t, retention.Microseconds(), kept)
	}
}
