package stack

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A commit that waits for a standby can be cancelled. It is visible then, and not replicated, and PostgreSQL reports it as a
// success with a warning.
func TestACommitThatNoStandbyConfirmedIsNotReportedAsSuccess(t *testing.T) {
	t.Parallel()
	w, _ := newOwnWorld(t)
	s := startServer(t, settings{URL: w.url})
	require.Equal(t, 201, s.send(payFor("alice", "before")).status)
	for _, sql := range []string{"ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()"} {
		_, err := w.pool.Exec(deadline(t), sql)
		require.NoError(t, err)
	}
	w.eventually(t, "commits wait for a standby", "SELECT current_setting('synchronous_standby_names') = 'nobody'")

	first := s.start(payFor("alice", "key"))
	const waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query ILIKE '%commit%')"
	w.eventually(t, "the commit waits", waits)
	_, err := w.pool.Exec(deadline(t), "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
	require.NoError(t, err)

	r := result(t, first)
	assert.Equal(t, 503, r.status, r.body)
	assert.Equal(t, "outcome-unknown", r.code())
	assert.Equal(t, "1", r.header.Get("Retry-After"))
	assert.Equal(t, once, w.effects(t, "key"), "it is there, though not on a standby")
	retried := s.send(payFor("alice", "key"))
	assert.Equal(t, 201, retried.status)
	assert.True(t, retried.replayed)
	assert.Equal(t, once, w.effects(t, "key"))
}
