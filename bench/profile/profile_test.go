package main

import (
	"bytes"
	"errors"
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

func TestAProfileHasTheStatementsThePlansAndTheClient(t *testing.T) {
	t.Parallel()
	var out, progress bytes.Buffer
	err := run(t.Context(), []string{"-length", "200ms", "-connections", "2", "-out", t.TempDir()}, &out, &progress)
	if errors.Is(err, ephemeral.ErrNoBinaries) || errors.Is(err, errNoExtensions) {
		t.Skip(err)
	}
	require.NoError(t, err)
	for _, part := range []string{
		"onlyonce: ", "pg_try_advisory_xact_lock", `INSERT INTO "idempotency_keys"`, "UPDATE accounts", "wal bytes", // by the server's books
		"Index Scan using idempotency_keys_pkey", "Insert on idempotency_keys", "WAL: records=", "Buffers: shared hit=", // by its plans
		"Showing nodes accounting for", "contender.protected.Pay", // by the client
	} {
		require.Contains(t, out.String(), part)
	}
}

func TestWhatCannotBeProfiledIsSaid(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"redis-set-nx"}, `no contender "redis-set-nx" that keeps to PostgreSQL`},
		{[]string{"nobody"}, `no contender "nobody"`},
		{[]string{"-connections", "0"}, "there must be a connection"},
		{[]string{"-length", time.Millisecond.String()}, "10ms"},
	} {
		var out bytes.Buffer
		require.ErrorContains(t, run(t.Context(), tt.args, &out, &out), tt.says)
	}
	var out bytes.Buffer
	require.ErrorIs(t, run(t.Context(), []string{"-h"}, &out, &out), flag.ErrHelp)
	require.Contains(t, out.String(), "pg_stat_statements")
}
