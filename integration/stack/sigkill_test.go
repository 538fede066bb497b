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
	survivor := startServer(t, settings{URL: w.url})
	for _, at := range places(t, w) {
		t.Run(at.name, func(t *testing.T) {
			proxy, url := w.behind(t, wireproxy.Config{})
			victim := startProcess(t, settings{URL: url})
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
