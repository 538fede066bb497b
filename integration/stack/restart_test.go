package stack

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

func TestADatabaseThatRestartsUnderLoadLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	const restarts, clients = 3, 12
	accounts := make([]string, clients)
	for i := range accounts {
		accounts[i] = fmt.Sprintf("account-%d", i)
	}
	w, cluster := newOwnWorld(t, accounts...)
	servers := []*server{startServer(t, settings{URL: w.url, Connections: 8}), startServer(t, settings{URL: w.url, Connections: 8})}

	var over atomic.Bool
	var mu sync.Mutex
	answers := map[string]int{} // how often each was given
	var keys []string
	var all sync.WaitGroup
	for _, account := range accounts {
		all.Go(func() {
			for i := 0; !over.Load(); i++ {
				key := fmt.Sprintf("%s-%d", account, i)
				final, before := insist(t, payFor(account, key), servers...)
				assert.Equal(t, 201, final.status, final.body)
				mu.Lock()
				keys = append(keys, key)
				for _, r := range append(before, final) {
					answers[r.String()]++
				}
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for range restarts {
		completed := len(servers[0].events.of(idempotency.Completed))
		require.True(t, servers[0].events.await(idempotency.Completed, completed+50, patience), "payments go on")
		require.NoError(t, cluster.Restart(deadline(t), ephemeral.Immediate))
	}
	over.Store(true)
	await(t, "every client has its last answer", done)

	t.Logf("%d restarts, %d keys, answers: %v", restarts, len(keys), answers)
	for _, key := range keys {
		require.Equal(t, once, w.effects(t, key), key)
	}
	w.wantBalanced(t)
	allowed := maps.Clone(answers)
	for _, known := range []string{"201", "409 in-progress", "503 store-unavailable", "503 outcome-unknown"} {
		delete(allowed, known)
	}
	assert.Empty(t, allowed, "answers that a client cannot make sense of")
	assert.Positive(t, answers["503 store-unavailable"], "the restarts hit nobody")
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
