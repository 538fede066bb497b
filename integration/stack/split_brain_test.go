package stack

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A standby cannot know which keys are taken. A server that is connected to one refuses, and, once that is promoted, serves on the
// connections that it has.
func TestAServerAtAStandbyRefusesUntilThatIsPromoted(t *testing.T) {
	t.Parallel()
	r := newReplicated(t, false)
	s := startServer(t, settings{URL: r.url})
	first := s.send(payFor("alice", "before"))
	require.Equal(t, 201, first.status, first.body)
	r.caughtUp(t)
	strayed := startServer(t, settings{URL: r.standby.URL("")})
	for _, key := range []string{"new", "before"} {
		refused := strayed.send(payFor("alice", key))
		assert.Equal(t, "503 store-unavailable", refused.String())
		assert.NotEmpty(t, refused.header.Get("Retry-After"))
	}
	assert.Equal(t, never, r.effects(t, "new"))

	require.NoError(t, r.primary.Kill())
	promoted := r.promote(t)
	wantSame(t, first, strayed.send(payFor("alice", "before")))
	assert.Equal(t, 201, strayed.send(payFor("alice", "new")).status)
	assert.Equal(t, once, promoted.effects(t, "new"))
	assert.Equal(t, once, promoted.effects(t, "before"))
}

// The old primary is cut off, not dead, and a server still talks to it, while everybody else has moved on. With a synchronous
// standby it can confirm nothing: whoever asks there gets no success.
func TestAnIsolatedPrimaryThatWaitsForItsStandbyConfirmsNothing(t *testing.T) {
	t.Parallel()
	r := newReplicated(t, false)
	r.synchronous(t)
	isolated := startServer(t, settings{URL: r.url, Timeout: briefly})
	s := startServer(t, settings{URL: r.through(t)})
	require.Equal(t, 201, isolated.send(payFor("alice", "before")).status)
	r.cut(t)
	promoted := r.promote(t)

	doubtful := isolated.send(payFor("alice", "key"))
	assert.Equal(t, "503 outcome-unknown", doubtful.String(), doubtful.body)
	answer := s.send(payFor("alice", "key"))
	assert.Equal(t, 201, answer.status, answer.body)
	assert.False(t, answer.replayed)
	for _, key := range []string{"key", "before"} {
		assert.Equal(t, "503 outcome-unknown", isolated.send(payFor("alice", key)).String(), "a replay is as good as an answer")
	}
	assert.Equal(t, once, r.effects(t, "key"), "it is there, where nobody else will ever see it")

	require.NoError(t, r.primary.Kill())
	wantSame(t, answer, s.send(payFor("alice", "key")))
	assert.Equal(t, once, promoted.effects(t, "key"))
	promoted.wantBalanced(t)
}

// Without a synchronous standby an isolated primary confirms what nobody else will ever see. No library can prevent that: it
// takes fencing, or a synchronous standby. What it confirmed vanishes as a whole, and the retry pays once where it counts.
func TestWhatAnIsolatedPrimaryConfirmsAloneIsGoneAsAWhole(t *testing.T) {
	t.Parallel()
	r := newReplicated(t, false)
	isolated := startServer(t, settings{URL: r.url})
	s := startServer(t, settings{URL: r.through(t)})
	r.caughtUp(t)
	r.cut(t)
	promoted := r.promote(t)

	alone := isolated.send(payFor("alice", "key"))
	assert.Equal(t, 201, alone.status, alone.body)
	assert.Equal(t, never, promoted.effects(t, "key"))
	answer := s.send(payFor("alice", "key"))
	assert.Equal(t, 201, answer.status, answer.body)
	assert.False(t, answer.replayed)
	assert.Equal(t, once, promoted.effects(t, "key"))
	promoted.wantBalanced(t)
}
