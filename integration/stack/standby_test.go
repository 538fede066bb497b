package stack

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A commit that waits for a standby can be cancelled. It is visible then, and not replicated, and PostgreSQL reports it as a
// success with a warning.
func TestACommitThatNoStandbyConfirmedIsNotReportedAsSuccess(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"pg_cancel_backend", "pg_terminate_backend"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			unconfirmed(t, end)
		})
	}
}

func unconfirmed(t *testing.T, end string) {
	w, _ := newOwnWorld(t)
	s := startServer(t, settings{URL: w.url})
	require.Equal(t, 201, s.send(payFor("alice", "before")).status)
	for _, sql := range []string{"ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()"} {
		_, err := w.pool.Exec(deadline(t), sql)
		require.NoError(t, err)
	}
	first, key := awaitUnconfirmed(t, w, s)
	_, err := w.pool.Exec(deadline(t), "SELECT "+end+"(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
	require.NoError(t, err)

	r := result(t, first)
	assert.Equal(t, 503, r.status, r.body)
	assert.Equal(t, "outcome-unknown", r.code())
	assert.Equal(t, "1", r.header.Get("Retry-After"))
	assert.Equal(t, once, w.effects(t, key), "it is there, though not on a standby")
	retried := s.send(payFor("alice", key))
	assert.Equal(t, 201, retried.status)
	assert.True(t, retried.replayed)
	assert.Equal(t, once, w.effects(t, key))
}

// awaitUnconfirmed pays until a commit waits for the standby: the server's processes take the setting over one by one.
func awaitUnconfirmed(t *testing.T, w *world, s *server) (<-chan reply, string) {
	t.Helper()
	for i := range 1000 {
		key := fmt.Sprintf("key-%d", i)
		started := s.start(payFor("alice", key))
		for waits := false; ; {
			select {
			case r := <-started:
				require.Equal(t, 201, r.status, r.body)
			default:
				err := w.pool.QueryRow(deadline(t), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')").Scan(&waits)
				require.NoError(t, err)
				if waits {
					return started, key
				}
				continue
			}
			break
		}
	}
	t.Fatal("no commit waits for a standby")
	return nil, ""
}
