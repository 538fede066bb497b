package stack

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

func TestAServerKilledBetweenAnyTwoStatementsLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	killBetweenStatements(t, w, settings{URL: w.url})
}

// killBetweenStatements kills a server process at every place of a request, and has another one answer the retry.
func killBetweenStatements(t *testing.T, w *world, with settings) {
	t.Helper()
	survivor := startServer(t, with)
	for _, at := range places(t, w, with) {
		t.Run(at.name, func(t *testing.T) {
			proxy, url := behind(t, with.URL, wireproxy.Config{})
			with := with
			with.URL = url
			victim := startProcess(t, with)
			point := proxy.At(at.match(), at.action)
			key := "killed-" + at.key
			first := victim.start(payFor("alice", key))
			reach(t, point, first)

			victim.kill()

			require.Error(t, result(t, first).err, "a dead server answers nobody")
			await(t, "the proxy let go", point.Done())
			retried, before := insist(t, payFor("alice", key), survivor)
			assert.Equal(t, 201, retried.status, retried.body)
			if at.action == wireproxy.StopAfter {
				assert.True(t, retried.replayed, "it was committed, so it is not done again")
			} else {
				assert.False(t, retried.replayed, "it was not committed, so it is done now")
			}
			assert.Equal(t, once, w.effects(t, key))
			wantSame(t, retried, survivor.send(payFor("alice", key)))
			t.Logf("%d retries before the answer: %v", len(before), before)
		})
	}
	w.wantBalanced(t)
}
