package stack

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

func TestADatabaseThatRestartsUnderLoadLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	const restarts = 3
	everybody := accounts(12)
	w, cluster := newOwnWorld(t, everybody...)
	clients := startTraffic(everybody, startServer(t, settings{URL: w.url, Connections: 8}), startServer(t, settings{URL: w.url, Connections: 8}))
	for range restarts {
		clients.more(t, 100)
		require.NoError(t, cluster.Restart(deadline(t), ephemeral.Immediate))
	}
	for _, p := range clients.stop(t) {
		require.Equal(t, once, w.effects(t, p.key), p.key)
	}
	w.wantBalanced(t)
	assert.Positive(t, clients.answers["503 store-unavailable"], "the restarts hit nobody")
}

func TestConnectionsThatARestartLeftBehindAreNoneOfTheClientsBusiness(t *testing.T) {
	t.Parallel()
	for _, mode := range []ephemeral.StopMode{ephemeral.Fast, ephemeral.Immediate} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			w, cluster := newOwnWorld(t)
			const connections = 4
			s := startServer(t, settings{URL: w.url, Connections: connections})
			replayed := s.send(payFor("alice", "before"))
			fill(t, s, connections)
			require.NoError(t, cluster.Restart(deadline(t), mode))
			assert.EqualValues(t, connections, s.pool.Stat().IdleConns(), "connections of the old server")

			started := time.Now()
			fresh := s.send(payFor("alice", "after"))
			t.Logf("the first request after the restart took %v", time.Since(started))
			assert.Equal(t, 201, fresh.status, fresh.body)

			fill(t, s, connections)
			require.NoError(t, cluster.Restart(deadline(t), mode))
			wantSame(t, replayed, s.send(payFor("alice", "before")))
			assert.Equal(t, once, w.effects(t, "before"))
			assert.Equal(t, once, w.effects(t, "after"))
		})
	}
}

// fill opens all of a pool's connections, and leaves them idle.
func fill(t *testing.T, s *server, connections int) {
	t.Helper()
	for range connections {
		conn, err := s.pool.Acquire(deadline(t))
		require.NoError(t, err)
		defer conn.Release()
	}
}
