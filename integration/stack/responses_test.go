package stack

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

func TestResponsesOfEveryShapeAreReplayedByteForByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, other := startServer(t, settings{URL: w.url}), startServer(t, settings{URL: w.url})
	for _, test := range []struct {
		name, method, path string
		status             int
		body               func(t *testing.T, body string)
	}{
		{"no header and no body", http.MethodPost, "/empty", http.StatusOK, isEmpty},
		{"204", http.MethodPost, "/nothing", http.StatusNoContent, isEmpty},
		{"HEAD", http.MethodHead, "/payments", http.StatusOK, isEmpty},
		{"a body in pieces, flushed in vain", http.MethodPost, "/streams", http.StatusOK, func(t *testing.T, body string) {
			assert.Len(t, strings.Split(strings.TrimSpace(body), "\n"), 20)
			assert.NotContains(t, body, "flushed")
			assert.NotContains(t, body, "hijacked")
		}},
		{"a body of the largest size", http.MethodPost, "/fits", http.StatusOK, func(t *testing.T, body string) {
			assert.Len(t, body, maxResponse)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			key := test.method + strings.Trim(test.path, "/")
			r := request{method: test.method, path: test.path, account: "alice", key: key}
			first := s.send(r)
			require.NoError(t, first.err)
			assert.Equal(t, test.status, first.status)
			test.body(t, first.body)
			for _, replay := range []reply{s.send(r), other.send(r)} {
				wantSame(t, first, replay)
				assert.True(t, replay.replayed)
			}
			assert.Equal(t, once, w.effects(t, key))
		})
	}
	t.Cleanup(func() { w.wantBalanced(t) })
}

func isEmpty(t *testing.T, body string) { assert.Empty(t, body) }

func TestAResponseOneByteTooLargeUndoesItsPayment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := startServer(t, settings{URL: w.url})
	for range 2 {
		r := s.send(payFor("alice", "key").to("/oversize"))
		assert.Equal(t, http.StatusInternalServerError, r.status)
		assert.Equal(t, "response-too-large", r.code())
		assert.NotContains(t, r.body, "xxx")
	}
	assert.Equal(t, never, w.effects(t, "key"))
	w.wantBalanced(t)
}

func TestAHandlerThatPanicsLeavesItsKeyFree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := startServer(t, settings{URL: w.url})
	for range 2 {
		require.Error(t, s.send(payFor("alice", "key").to("/panics")).err, "net/http closes the connection")
	}
	assert.Len(t, s.events.of(idempotency.Claimed), 2)
	assert.Len(t, s.events.of(idempotency.Released), 2)
	assert.Equal(t, never, w.effects(t, "key"))
	assert.Equal(t, http.StatusCreated, s.send(payFor("alice", "key")).status)
	assert.Equal(t, once, w.effects(t, "key"))
	w.wantBalanced(t)
}

func TestAProtectedHandlerInsideAnotherIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := startServer(t, settings{URL: w.url})

	r := s.send(payFor("alice", "key").to("/nested"))

	assert.Equal(t, http.StatusInternalServerError, r.status)
	assert.Equal(t, "nested", r.code())
	assert.Equal(t, never, w.effects(t, "key"))
}

func TestAClientThatGoesAwayIsAnsweredWhenItComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, point := stopped(t, w, settings{URL: w.url}, isPaymentInsert)
	ctx, leave := context.WithCancel(context.Background())
	r := payFor("alice", "key")
	r.ctx = ctx
	gone := s.start(r)
	reach(t, point, gone)

	leave()
	require.ErrorIs(t, result(t, gone).err, context.Canceled)
	// The handler is stopped in the middle of its statements until the server knows that nobody waits for it.
	await(t, "the server notices", s.left)
	point.Resume()

	require.True(t, s.events.await(idempotency.Completed, 1, patience), "what has begun is finished")
	back, _ := insist(t, payFor("alice", "key"), s) // the event comes a moment before the key is free for replays
	assert.Equal(t, http.StatusCreated, back.status, back.body)
	assert.True(t, back.replayed)
	assert.Equal(t, once, w.effects(t, "key"))
}

func TestAClientThatGoesAwayWhileItsCommitIsUnderwayIsAnsweredWhenItComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, point := stopped(t, w, settings{URL: w.url}, wireproxy.Statement.Commits)
	ctx, leave := context.WithCancel(context.Background())
	r := payFor("alice", "key")
	r.ctx = ctx
	gone := s.start(r)
	reach(t, point, gone)

	leave()
	require.Error(t, result(t, gone).err)
	await(t, "the server notices", s.left)
	point.Resume()

	require.True(t, s.events.await(idempotency.Completed, 1, patience))
	assert.Empty(t, s.events.of(idempotency.UnknownResolved), "the commit does not see the client's context")
	back, _ := insist(t, payFor("alice", "key"), s)
	assert.True(t, back.replayed)
	assert.Equal(t, once, w.effects(t, "key"))
}
