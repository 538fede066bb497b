package stack

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

func TestABackendTerminatedBetweenAnyTwoStatementsLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := startServer(t, settings{URL: w.url})
	for _, at := range places(t, w, settings{URL: w.url}) {
		t.Run(at.name, func(t *testing.T) {
			t.Parallel()
			proxy, url := w.behind(t, wireproxy.Config{})
			hit := startServer(t, settings{URL: url})
			point := proxy.At(at.match(), at.action)
			key := "terminated-" + at.key
			first := hit.start(payFor("alice", key))
			reach(t, point, first)

			backend := point.Statement().Backend
			var signalled bool
			require.NoError(t, w.pool.QueryRow(deadline(t), "SELECT pg_terminate_backend($1)", backend).Scan(&signalled))
			require.True(t, signalled)
			w.backendGone(t, backend)
			point.Resume()

			brokenAnswer(t, w, result(t, first), key, hit, other)
		})
	}
	t.Cleanup(func() { w.wantBalanced(t) })
}

// brokenAnswer judges the answer to a request whose connection to the database broke, and what a retry then finds.
func brokenAnswer(t *testing.T, w *world, first reply, key string, hit, other *server) {
	t.Helper()
	require.NoError(t, first.err, "the server lives, so it answers")
	t.Logf("the first answer: %v, and events: %v", first, hit.events.of(idempotency.UnknownResolved))
	if first.status != 201 {
		// 409: a claim that lost its backend is made again at once, and the dying one may hold the lock still.
		assert.Contains(t, []string{"store-unavailable", "in-progress"}, first.code(), first.body)
		assert.Equal(t, "1", first.header.Get("Retry-After"))
	}
	retried, _ := insist(t, payFor("alice", key), other)
	assert.Equal(t, 201, retried.status, retried.body)
	if first.status == 201 {
		wantSame(t, first, retried)
	}
	assert.Equal(t, once, w.effects(t, key))
	again, _ := insist(t, payFor("alice", key), hit) // the server may notice only now that a backend was killed, and end all others
	wantSame(t, retried, again)
}
