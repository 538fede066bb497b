package stack

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// An owner that is stopped is not dead: its connection is intact, and so is its lock. Only the server's own timeout frees it.
func TestAStoppedOwnerIsOvertakenAndDoublesNothingWhenItWakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	freezeOwner(t, w, settings{URL: w.url, IdleInTransaction: idle})
}

// idle is how long the server lets a transaction stand still: longer than a process, on a busy machine, may take between two statements.
const idle = 3 * time.Second

// freezeOwner stops the process that works on a key, and has another one answer the retry.
func freezeOwner(t *testing.T, w *world, with settings) {
	t.Helper()
	patient := with
	patient.IdleInTransaction = patience
	other := startServer(t, patient)
	proxy, url := behind(t, with.URL, wireproxy.Config{})
	with.URL = url
	owner := startProcess(t, with)
	point := proxy.At(isPaymentInsert, wireproxy.StopAfter)
	begun := time.Now()
	first := owner.start(payFor("alice", "key"))
	reach(t, point, first)

	owner.signal(t, syscall.SIGSTOP)
	owner.awaitStopped(t)
	point.Resume()
	retried, before := insist(t, payFor("alice", "key"), other) // answered while the owner stands still: nobody else wakes it
	waited := time.Since(begun)
	t.Logf("the owner stands still, the server gives up on it after %v: the retry is answered after %v and %d conflicts",
		idle, waited.Round(time.Millisecond), len(before))

	assert.Equal(t, 201, retried.status, retried.body)
	assert.False(t, retried.replayed)
	assert.GreaterOrEqual(t, waited, idle, "the owner's lock did not count")
	for _, r := range before {
		assert.Equal(t, 409, r.status, r.body)
	}
	assert.Equal(t, once, w.effects(t, "key"))

	owner.signal(t, syscall.SIGCONT)
	woken := result(t, first)
	t.Logf("the owner, awake, answers %v", woken)
	if woken.status == 201 {
		wantSame(t, retried, woken)
	} else {
		assert.Equal(t, 503, woken.status, woken.body)
	}
	assert.Equal(t, once, w.effects(t, "key"))
	again, _ := insist(t, payFor("alice", "key"), owner.server) // its first connection may still be on the way out
	wantSame(t, retried, again)
	w.wantBalanced(t)
}

// An owner that stops in the middle of a batch, with a part of it sent, is not idle for the server, which waits for the rest. Since
// PostgreSQL 17 a bound on the whole transaction frees its lock.
func TestAnOwnerThatStopsInTheMiddleOfABatchIsOvertakenSincePostgreSQL17(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	known := false
	require.NoError(t, w.pool.QueryRow(deadline(t), "SELECT current_setting('server_version_num')::int >= 170000").Scan(&known))
	if !known {
		t.Skip("this server is older than PostgreSQL 17, and has no transaction_timeout")
	}
	other := startServer(t, settings{URL: w.url, IdleInTransaction: patience})
	proxy, url := w.behind(t, wireproxy.Config{})
	with := settings{URL: url, IdleInTransaction: patience, Transaction: 5 * time.Second}
	owner := startProcess(t, with)
	require.Equal(t, 201, owner.send(payFor("alice", "before")).status)
	point := proxy.At(wireproxy.Statement.Commits, wireproxy.Stop)
	first := owner.start(payFor("alice", "key"))
	reach(t, point, first)
	owner.signal(t, syscall.SIGSTOP)

	assert.Equal(t, "409 in-progress", other.send(payFor("alice", "key")).String(), "its lock counts")
	retried, _ := insist(t, payFor("alice", "key"), other)
	assert.Equal(t, 201, retried.status, retried.body)
	assert.False(t, retried.replayed)

	owner.signal(t, syscall.SIGCONT)
	point.Resume()
	wantSame(t, retried, result(t, first)) // its COMMIT comes too late, and it reads back what became of the key
	assert.Equal(t, once, w.effects(t, "key"))
	w.wantBalanced(t)
}
