package stack

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// A backend that is killed takes all sessions with it: the server goes through crash recovery.
func TestABackendKilledBetweenAnyTwoStatementsLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	w, _ := newOwnWorld(t)
	other := startServer(t, settings{URL: w.url})
	for _, at := range places(t, w, settings{URL: w.url}) {
		t.Run(at.name, func(t *testing.T) {
			proxy, url := w.behind(t, wireproxy.Config{})
			hit := startServer(t, settings{URL: url})
			point := proxy.At(at.match(), at.action)
			key := "crashed-" + at.key
			first := hit.start(payFor("alice", key))
			reach(t, point, first)

			backend := point.Statement().Backend
			require.NoError(t, syscall.Kill(int(backend), syscall.SIGKILL))
			eventually(t, "the backend ends", func() (bool, error) {
				return syscall.Kill(int(backend), 0) != nil, nil
			})
			point.Resume()

			brokenAnswer(t, w, result(t, first), key, hit, other)
		})
	}
	w.wantBalanced(t)
}
