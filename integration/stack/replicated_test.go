package stack

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

// standbyName is what synchronous_standby_names calls the standby.
const standbyName = "second"

// replicated is a primary, and a standby that follows it over a line which can be cut.
type replicated struct {
	*world           // at the primary
	primary, standby *ephemeral.Cluster
	line             *address
	// address leads to the primary, until it is moved.
	address *address
}

// newReplicated makes the payments' tables, or, with cards, those of the payments example.
func newReplicated(t *testing.T, cards bool, accounts ...string) *replicated {
	t.Helper()
	r := &replicated{}
	if cards {
		r.world, r.primary = newOwnCardWorld(t)
	} else {
		r.world, r.primary = newOwnWorld(t, accounts...)
	}
	r.line, r.address = newAddress(t, r.primary.Address()), newAddress(t, r.primary.Address())
	standby, err := r.primary.Standby(deadline(t), ephemeral.StandbyOptions{Name: standbyName, Primary: r.line.String()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, standby.Stop()) })
	r.standby = standby
	r.eventually(t, "the standby follows", `SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')`)
	return r
}

// synchronous has every commit wait until the standby has it.
func (r *replicated) synchronous(t *testing.T) {
	t.Helper()
	r.alter(t, "synchronous_standby_names", standbyName)
	// The server's processes take settings over one by one: now none has the old one.
	require.NoError(t, r.primary.Restart(deadline(t), ephemeral.Fast))
	r.eventually(t, "the standby is the synchronous one",
		`SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync')`)
}

// cut breaks the line, and returns when the primary has no standby.
func (r *replicated) cut(t *testing.T) {
	t.Helper()
	r.line.moveTo("")
	r.eventually(t, "the standby is gone", `SELECT NOT EXISTS (SELECT FROM pg_stat_replication)`)
}

// rejoin mends the line.
func (r *replicated) rejoin(t *testing.T) {
	t.Helper()
	r.line.moveTo(r.primary.Address())
	r.line.hangUp()
}

// caughtUp waits until the standby shows all that the primary has committed.
func (r *replicated) caughtUp(t *testing.T) {
	t.Helper()
	var at string
	require.NoError(t, r.pool.QueryRow(deadline(t), "SELECT pg_current_wal_flush_lsn()::text").Scan(&at))
	r.eventually(t, "the standby has caught up",
		`SELECT coalesce(bool_or(replay_lsn >= $1::text::pg_lsn), false) FROM pg_stat_replication`, at)
}

// promote makes the standby a primary, and has the address lead there. It returns the world as that one has it.
func (r *replicated) promote(t *testing.T) *world {
	t.Helper()
	promoted := &world{url: r.standby.URL(""), pool: poolOf(t, r.standby.URL(""))}
	is := false
	require.NoError(t, promoted.pool.QueryRow(deadline(t), "SELECT pg_promote()").Scan(&is))
	require.True(t, is, "promoted")
	r.address.moveTo(r.standby.Address())
	return promoted
}

// through is the database's URL by way of the address that moves.
func (r *replicated) through(t *testing.T) string {
	t.Helper()
	return at(t, r.url, r.address.String(), "")
}

// either is the URL that names both servers, of which the one that can be written to is meant.
func (r *replicated) either(t *testing.T) string {
	t.Helper()
	return at(t, r.url, r.primary.Address()+","+r.standby.Address(), "read-write")
}

// at returns the URL with another host, or hosts.
func at(t *testing.T, databaseURL, host, attributes string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	u.Host = host
	query := u.Query()
	if attributes != "" {
		query.Set("target_session_attrs", attributes)
	}
	u.RawQuery = query.Encode()
	return u.String()
}
