package stack

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// The primary is lost while a payment is between two statements of its last round trip, or before anybody was told that it is
// committed. What became of it is read back at the promoted standby, which has all of it or nothing.
func TestACommitWhosePrimaryIsLostIsReadBackAtThePromotedStandby(t *testing.T) {
	t.Parallel()
	stores := func(s wireproxy.Statement) bool {
		return strings.Contains(s.SQL, "idempotency_keys") && strings.Contains(s.SQL, "completed_at")
	}
	for _, lost := range []struct {
		name string
		at   func(wireproxy.Statement) bool
		act  wireproxy.Action
		cut  bool // the standby does not get what comes last
		kept bool
	}{
		{name: "before the response is stored", at: stores, act: wireproxy.Stop},
		{name: "before COMMIT", at: wireproxy.Statement.Commits, act: wireproxy.Stop},
		{name: "after COMMIT, and the standby has it", at: wireproxy.Statement.Commits, act: wireproxy.StopAfter, kept: true},
		{name: "after COMMIT, and the standby does not have it", at: wireproxy.Statement.Commits, act: wireproxy.StopAfter, cut: true},
	} {
		t.Run(lost.name, func(t *testing.T) {
			t.Parallel()
			r := newReplicated(t, false)
			proxy, url := behind(t, r.through(t), wireproxy.Config{})
			s := startServer(t, settings{URL: url})
			require.Equal(t, 201, s.send(payFor("alice", "before")).status)
			r.caughtUp(t)
			if lost.cut {
				r.cut(t)
			}
			point := proxy.At(lost.at, lost.act)
			first := s.start(payFor("alice", "key"))
			reach(t, point, first)
			committed := never
			if lost.act == wireproxy.StopAfter {
				committed = once
			}
			assert.Equal(t, committed, r.effects(t, "key"), "at the primary")
			if !lost.cut {
				r.caughtUp(t)
			}

			require.NoError(t, r.primary.Kill())
			promoted := r.promote(t)
			proxy.Reset() // the answer never comes
			answer := result(t, first)
			told := s.events.of(idempotency.UnknownResolved)
			require.Len(t, told, 1)
			again := s.send(payFor("alice", "key"))
			assert.Equal(t, 201, again.status, again.body)
			if lost.kept {
				assert.Empty(t, told[0].Err)
				wantSame(t, answer, again)
			} else {
				assert.NotEmpty(t, told[0].Err)
				assert.Equal(t, "503 store-unavailable", answer.String(), "it did not happen, as far as anybody will ever know")
			}
			assert.Equal(t, lost.kept, again.replayed)
			assert.Equal(t, once, promoted.effects(t, "key"))
			promoted.wantBalanced(t)
		})
	}
}
