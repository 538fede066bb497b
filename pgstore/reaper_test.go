package pgstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// rows inserts records that expired n seconds ago, and what no reaper may take.
func (w *world) rows(expired ...int) {
	w.t.Helper()
	_, err := w.pool.Exec(w.t.Context(), `
		INSERT INTO idempotency_keys (scope, key, state, fingerprint, created_at, completed_at, expires_at)
			SELECT 'alice', 'over ' || n, 'completed', '', now(), now(), now() - n * interval '1 second' FROM unnest($1::int[]) n`, expired)
	require.NoError(w.t, err)
	_, err = w.pool.Exec(w.t.Context(), `INSERT INTO idempotency_keys (scope, key, state, fingerprint, created_at, leased_until, expires_at) VALUES
		('alice', 'fresh', 'completed', '', now(), NULL, now() + interval '1 hour'), ('alice', 'pending', 'pending', '', now(), now() - interval '1 day', NULL),
		('alice', 'odd', 'pending', '', now(), now() - interval '1 day', now() - interval '1 day')`)
	require.NoError(w.t, err)
}

func (w *world) keys() (keys []string) {
	w.t.Helper()
	rows, err := w.pool.Query(w.t.Context(), `SELECT key FROM idempotency_keys ORDER BY key`)
	require.NoError(w.t, err)
	keys, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(w.t, err)
	return keys
}

func TestEveryReaperTakesTheSame(t *testing.T) {
	t.Parallel()
	for _, lock := range locks {
		t.Run(string(lock), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, by(lock))
			w.rows(10, 20, 30, 40, 50)
			for _, want := range []struct {
				deleted int
				left    []string
			}{
				{3, []string{"fresh", "odd", "over 10", "over 20", "pending"}},
				{2, []string{"fresh", "odd", "pending"}},
				{0, []string{"fresh", "odd", "pending"}},
			} {
				reaped, err := w.store.Reap(t.Context(), 3)
				require.NoError(t, err)
				require.Equal(t, idempotency.Reaped{Deleted: want.deleted}, reaped)
				require.Equal(t, want.left, w.keys())
			}
		})
	}
}

// The record is replaced between the moment in which the reaper finds it and that in which it would delete it.
func TestAReaperDoesNotTakeWhatWasReplacedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string][]string{
		"by an update": {`UPDATE idempotency_keys SET expires_at = now() + interval '1 hour' WHERE key = 'over 10'`},
		"by an insert": {`DELETE FROM idempotency_keys WHERE key = 'over 10'`,
			`INSERT INTO idempotency_keys (scope, key, state, fingerprint, created_at, expires_at) VALUES ('alice', 'over 10', 'completed', '', now(), now() + interval '1 hour')`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, by(pgstore.ShardLock), func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
				c.ConnConfig.RuntimeParams["application_name"] = w0(t)
			})
			w.rows(10, 20)
			retry, err := w.pool.Begin(t.Context())
			require.NoError(t, err)
			defer func() { _ = retry.Rollback(context.Background()) }()
			for _, sql := range replace {
				_, err = retry.Exec(t.Context(), sql)
				require.NoError(t, err)
			}
			done := make(chan error)
			go func() {
				_, err := w.store.Reap(t.Context(), 10)
				done <- err
			}()
			require.Eventually(t, func() bool {
				return w.count(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = $1`, w0(t)) == 1
			}, 10*time.Second, time.Millisecond, "the reaper waits for it")
			require.NoError(t, retry.Commit(t.Context()))
			require.NoError(t, <-done)
			require.Contains(t, w.keys(), "over 10")
		})
	}
}

// w0 is a name that a test's connections can be told by, cut as the server does.
func w0(t *testing.T) string {
	name := t.Name()
	return name[max(0, len(name)-60):]
}

func TestAReaperThatIsKeptWaitingComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, by(pgstore.InsertClaim))
	w.rows(10)
	attempt, _, err := w.store.Claim(t.Context(), idempotency.Key{Scope: "alice", Value: "over 10"})
	require.NoError(t, err)
	reaped, err := w.store.Reap(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, idempotency.Reaped{Busy: true}, reaped)
	require.NoError(t, attempt.Release(t.Context()))
	reaped, err = w.store.Reap(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, idempotency.Reaped{Deleted: 1}, reaped)
}

// perScope is a reaper as a user may have one.
type perScope struct{ scope string }

func (r perScope) Reap(ctx context.Context, tx pgx.Tx, limit int) (int, error) {
	tag, err := tx.Exec(ctx, `DELETE FROM idempotency_keys WHERE state = 'completed' AND expires_at <= statement_timestamp() AND (scope, key) IN (
		SELECT scope, key FROM idempotency_keys WHERE scope = $1 AND state = 'completed' AND expires_at <= statement_timestamp() LIMIT $2 FOR UPDATE SKIP LOCKED)`, r.scope, limit)
	return int(tag.RowsAffected()), err
}

func TestAReaperOfTheUsersIsAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, s *pgstore.Config, _ *pgxpool.Config) { s.Reaper = perScope{"alice"} })
	w.rows(10, 20)
	_, err := w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET scope = 'bob' WHERE key = 'over 20'`)
	require.NoError(t, err)
	deleted, err := w.engine.Reap(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, deleted)
	require.Equal(t, []string{"fresh", "odd", "over 20", "pending"}, w.keys())
}
