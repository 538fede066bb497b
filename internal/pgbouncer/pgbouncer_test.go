package pgbouncer

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
)

func TestAConnectionIsGivenToAnotherClientAfterEachTransaction(t *testing.T) {
	t.Parallel()
	bouncer := Start(t, pgtest.URL(t), Options{Connections: 1, OnConnect: "SET application_name = 'bounced'"})
	clients := make([]*pgx.Conn, 2)
	for i := range clients {
		conn, err := pgx.Connect(t.Context(), bouncer.URL+"&default_query_exec_mode=exec")
		require.NoError(t, err)
		defer conn.Close(t.Context())
		clients[i] = conn
	}
	backends := make([]int, 2)
	name := ""
	for i, conn := range clients { // both are connected, to one backend
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT pg_backend_pid(), current_setting('application_name')").Scan(&backends[i], &name))
	}
	assert.Equal(t, backends[0], backends[1])
	assert.Equal(t, "bounced", name)
}

func TestPreparedStatementsAreTrackedSince121(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]bool{
		"PgBouncer 1.18.0\nlibevent 2.1": false, "PgBouncer 1.20.1": false, "PgBouncer 1.21.0": true, "PgBouncer 1.24.1": true, "PgBouncer 2.0.0": true, "": false,
	} {
		assert.Equal(t, want, prepares(said), said)
	}
}
