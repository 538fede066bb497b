package stack

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgbouncer"
)

// bouncerConnections is how many connections PgBouncer makes to the server: fewer than there are clients.
const bouncerConnections = 3

// pooled returns a world, and how a server reaches it through a PgBouncer in transaction mode.
func pooled(t *testing.T) (*world, settings) {
	t.Helper()
	w := newWorld(t)
	schema := ""
	require.NoError(t, w.pool.QueryRow(deadline(t), "SELECT current_schema()").Scan(&schema))
	return w, settings{URL: startBouncer(t, w.url, schema), Schema: schema, BehindPooler: true, Connections: 8}
}

// startBouncer sets for its connections what a pool behind PgBouncer cannot set by itself.
func startBouncer(t *testing.T, databaseURL, schema string) string {
	t.Helper()
	return pgbouncer.Start(t, databaseURL, pgbouncer.Options{
		Connections: bouncerConnections,
		OnConnect: fmt.Sprintf("SET search_path = %s; SET application_name = %s; SET idle_in_transaction_session_timeout = %d",
			schema, schema, idle.Milliseconds()),
	}).URL
}

func TestBehindPgBouncerDuplicatesTakeEffectOnce(t *testing.T) {
	t.Parallel()
	w, with := pooled(t)
	with.Wait = patience
	servers := twoProcesses(t, with)

	replies := stampede(t, payFor("alice", "key"), servers...)

	for _, r := range replies {
		wantSame(t, replies[0], r)
	}
	assert.Equal(t, 201, replies[0].status, replies[0].body)
	assert.Equal(t, once, w.effects(t, "key"))
	w.wantBalanced(t)
}

func TestBehindPgBouncerEveryConnectionServesEveryClient(t *testing.T) {
	t.Parallel()
	w, with := pooled(t)
	servers := twoProcesses(t, with)
	const keys = 100
	replies := make([]reply, keys)
	var all sync.WaitGroup
	for i := range replies {
		all.Go(func() { replies[i] = servers[i%2].send(payFor("alice", fmt.Sprintf("key-%d", i))) })
	}
	all.Wait()
	for i, r := range replies {
		require.NoError(t, r.err)
		assert.Equal(t, 201, r.status, r.body)
		key := fmt.Sprintf("key-%d", i)
		assert.Equal(t, once, w.effects(t, key))
		wantSame(t, r, servers[(i+1)%2].send(payFor("alice", key)))
	}
	// PgBouncer's own connections are named after the schema. A replay's transaction ends behind the client's back.
	var connections int
	require.NoError(t, w.pool.QueryRow(deadline(t), "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", with.Schema).Scan(&connections))
	assert.Positive(t, connections)
	assert.LessOrEqual(t, connections, bouncerConnections)
	w.eventually(t, "no transaction leaves a lock behind", `SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory'
		AND pid IN (SELECT pid FROM pg_stat_activity WHERE application_name = $1))`, with.Schema)
	w.wantBalanced(t)
}

func TestBehindPgBouncerAServerKilledBetweenAnyTwoStatementsLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	w, with := pooled(t)
	killBetweenStatements(t, w, with)
}

func TestBehindPgBouncerAStoppedOwnerIsOvertaken(t *testing.T) {
	t.Parallel()
	w, with := pooled(t)
	freezeOwner(t, w, with)
}
