package ephemeral_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

func standbyOf(t *testing.T, primary *ephemeral.Cluster, options ephemeral.StandbyOptions) *ephemeral.Cluster {
	t.Helper()
	standby, err := primary.Standby(within(t, time.Minute), options)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, standby.Stop()) })
	return standby
}

func ask(t *testing.T, conn *pgx.Conn, query string) (is bool) {
	t.Helper()
	require.NoError(t, conn.QueryRow(within(t, time.Minute), query).Scan(&is))
	return is
}

func TestAStandbyFollowsAndTakesOver(t *testing.T) {
	t.Parallel()
	primary := start(t, ephemeral.Options{Settings: map[string]string{"max_connections": "50"}})
	there := connect(t, primary.URL(""))
	_, err := there.Exec(within(t, time.Minute), "CREATE TABLE kept AS SELECT 1 AS n")
	require.NoError(t, err)
	url := primary.URL("")

	standby := standbyOf(t, primary, ephemeral.StandbyOptions{Name: "second"})

	require.Error(t, there.Ping(within(t, time.Minute)), "the primary was stopped for the copy")
	assert.Equal(t, url, primary.URL(""), "and has kept its port")
	there, here := connect(t, url), connect(t, standby.URL(""))
	assert.True(t, ask(t, here, "SELECT pg_is_in_recovery() AND n = 1 FROM kept"), "what was there before")
	assert.Equal(t, "50", setting(t, here, "max_connections"), "a standby takes the primary's settings")

	_, err = there.Exec(within(t, time.Minute), "ALTER SYSTEM SET synchronous_standby_names = 'second'")
	require.NoError(t, err)
	require.NoError(t, primary.Restart(within(t, time.Minute), ephemeral.Fast))
	there = connect(t, url)
	_, err = there.Exec(within(t, time.Minute), "INSERT INTO kept VALUES (2)")
	require.NoError(t, err, "confirmed by the standby, which is known by its name")
	require.NoError(t, primary.Kill())
	assert.True(t, ask(t, here, "SELECT pg_promote()"))
	assert.True(t, ask(t, here, "SELECT NOT pg_is_in_recovery() AND sum(n) = 3 FROM kept"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = here.Exec(ctx, "INSERT INTO kept VALUES (4)")
	require.NoError(t, err, "a promoted standby waits for nobody")
}

func TestAStandbyLeavesNothing(t *testing.T) {
	t.Parallel()
	primary := start(t, ephemeral.Options{})
	standby := standbyOf(t, primary, ephemeral.StandbyOptions{Name: "second"})
	pid := standby.PID()
	require.NoError(t, primary.Stop(), "the primary may go first")
	require.True(t, alive(pid))
	require.NoError(t, standby.Stop())
	assert.False(t, alive(pid))
	assert.NoDirExists(t, filepath.Dir(standby.DataDir()))
}

func TestAStandbyNeedsANameAndAPrimaryThatRuns(t *testing.T) {
	t.Parallel()
	primary := start(t, ephemeral.Options{})
	for _, name := range []string{"", "it's", "Second"} {
		_, err := primary.Standby(within(t, time.Minute), ephemeral.StandbyOptions{Name: name})
		require.ErrorContains(t, err, "use lower-case letters")
	}
	_, err := primary.Standby(within(t, time.Minute), ephemeral.StandbyOptions{Name: "second", Primary: "nowhere"})
	require.ErrorContains(t, err, "the primary's address")
	assert.NotZero(t, primary.PID(), "the primary goes on after a standby that failed")
	require.NoError(t, primary.Kill())
	_, err = primary.Standby(within(t, time.Minute), ephemeral.StandbyOptions{Name: "second"})
	require.ErrorContains(t, err, "not running")
}
