package stack

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// cut is how a connection ends at a COMMIT.
type cut struct {
	name      string
	action    wireproxy.Action
	committed bool
}

var cuts = []cut{
	{"cut before", wireproxy.CutBefore, false},
	{"reset before", wireproxy.ResetBefore, false},
	{"half closed before", wireproxy.HalfClose, false},
	{"cut after", wireproxy.CutAfter, true},
	{"reset after", wireproxy.ResetAfter, true},
}

func TestACommitWhoseReplyIsLostIsReadBack(t *testing.T) {
	t.Parallel()
	for _, cut := range cuts {
		for _, mode := range modes {
			t.Run(cut.name+" in "+mode.String(), func(t *testing.T) {
				t.Parallel()
				loseTheReply(t, cut, settings{Mode: mode})
			})
		}
	}
}

// loseTheReply cuts the connection of a payment at its COMMIT.
func loseTheReply(t *testing.T, cut cut, with settings) {
	t.Helper()
	w := newWorld(t)
	proxy, url := w.behind(t, wireproxy.Config{})
	with.URL = url
	s := startServer(t, with)
	require.Equal(t, 201, s.send(payFor("alice", "before")).status)
	point := proxy.At(wireproxy.Statement.Commits, cut.action)

	first := s.send(payFor("alice", "key"))

	await(t, "the connection is cut", point.Done())
	resolved := s.events.of(idempotency.UnknownResolved)
	require.Len(t, resolved, 1, "it was not read back")
	if cut.committed {
		assert.Equal(t, 201, first.status, first.body)
		assert.False(t, first.replayed)
		assert.Empty(t, resolved[0].Err)
		assert.Equal(t, once, w.effects(t, "key"))
	} else {
		assert.Equal(t, 503, first.status)
		assert.Equal(t, "store-unavailable", first.code())
		assert.NotEmpty(t, resolved[0].Err)
		assert.Equal(t, never, w.effects(t, "key"))
	}
	retried := s.send(payFor("alice", "key"))
	assert.Equal(t, 201, retried.status, retried.body)
	if cut.committed {
		wantSame(t, first, retried)
	}
	assert.Equal(t, once, w.effects(t, "key"))
	w.wantBalanced(t)
}

func TestACommitThatIsOnItsWayIsWaitedForBeforeItIsReadBack(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			proxy, url := w.behind(t, wireproxy.Config{})
			s := startServer(t, settings{URL: url, Mode: mode})
			point := proxy.At(wireproxy.Statement.Commits, wireproxy.Orphan)
			first := s.start(payFor("alice", "key"))
			reach(t, point, first)

			// The server has lost its connection, and looks what became of the COMMIT, which has not arrived yet.
			asked := func() (n int) {
				for _, statement := range proxy.Executed() {
					// By the lock of the key, or by inserting it.
					if statement.Number > point.Statement().Number && (strings.Contains(statement.SQL, "pg_try_advisory_xact_lock") || strings.Contains(statement.SQL, "DO NOTHING")) {
						n++
					}
				}
				return n
			}
			eventually(t, "the outcome is asked for, and again", func() (bool, error) { return asked() >= 3, nil })
			select {
			case r := <-first:
				t.Fatalf("the outcome was guessed: %v", r)
			default:
			}
			point.Resume()

			r := result(t, first)
			assert.Equal(t, 201, r.status, r.body)
			require.Len(t, s.events.of(idempotency.UnknownResolved), 1)
			wantSame(t, r, s.send(payFor("alice", "key")))
			assert.Equal(t, once, w.effects(t, "key"))
		})
	}
}

func TestARefusalWhoseReplyIsLostIsReadBack(t *testing.T) {
	t.Parallel()
	loseTheReplyToARefusal(t, settings{})
}

// loseTheReplyToARefusal cuts the connection where a refusal is committed.
func loseTheReplyToARefusal(t *testing.T, with settings) {
	t.Helper()
	for _, action := range []wireproxy.Action{wireproxy.CutBefore, wireproxy.CutAfter} {
		w := newWorld(t)
		proxy, url := w.behind(t, wireproxy.Config{})
		with.URL = url
		s := startServer(t, with)
		point := proxy.At(wireproxy.Statement.Commits, action)

		first := s.send(payFor("alice", "key").to("/refused"))

		await(t, "the connection is cut", point.Done())
		assert.Len(t, s.events.of(idempotency.UnknownResolved), 1)
		retried := s.send(payFor("alice", "key").to("/refused"))
		assert.Equal(t, 402, retried.status)
		if action == wireproxy.CutAfter {
			wantSame(t, first, retried)
		} else {
			assert.Equal(t, 503, first.status)
		}
		assert.Equal(t, refused, w.effects(t, "key"))
		w.wantBalanced(t)
	}
}
